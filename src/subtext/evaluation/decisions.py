"""What validation rows decide about test rows: threshold, temperature and abstention level.

Where the tables pool the runs of several folds, each fold's rows go by what that fold's own validation rows chose: the
models differ, and so do the scales of their scores.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from subtext.evaluation.calibration import abstention_level, choose_threshold, confidence, fit_temperature
from subtext.evaluation.metrics import Bools, Floats, UndefinedMetricError, auroc, decision_metrics


def has_folds(test: pd.DataFrame) -> bool:
    """Whether test rows come from the runs of several folds."""
    return "fold" in test and test["fold"].nunique() > 1


def parts(test: pd.DataFrame, validation: pd.DataFrame) -> Iterator[tuple[str, Bools, Bools]]:
    """The rows of each fold's run, or all rows of a single run: name, which test rows, which validation rows."""
    if not has_folds(test):
        yield "0", np.ones(len(test), dtype=bool), np.ones(len(validation), dtype=bool)
        return
    for fold in sorted(test["fold"].dropna().unique()):
        held_out = validation["fold"] if "fold" in validation else pd.Series(pd.NA, index=validation.index)
        yield str(fold), *((column == fold).fillna(False).to_numpy(dtype=bool) for column in (test["fold"], held_out))


def usable(table: pd.DataFrame, head: str) -> Bools:
    """Which rows have both a label and a probability."""
    column = f"prob_{head}"
    if head not in table or column not in table:
        return np.zeros(len(table), dtype=bool)
    return (table[head].notna() & table[column].notna()).to_numpy(dtype=bool)


def labels_of(table: pd.DataFrame, head: str) -> Bools:
    """The labels of rows that have one."""
    return table[head].to_numpy(dtype=bool)


def probabilities_of(table: pd.DataFrame, head: str) -> Floats:
    """The probabilities, NaN where there is none."""
    return table[f"prob_{head}"].to_numpy(dtype=np.float64, na_value=np.nan)


def decide(head: str, test: pd.DataFrame, validation: pd.DataFrame) -> tuple[dict[str, Any], Bools]:
    """Yes-no decisions on test rows by the threshold that the validation rows choose.

    Returns:
        `value`, the threshold (of folds the mean, which decides nothing), `folds` with each fold's, `reason` where
        one could not be chosen; and the decisions, false without a probability.
    """
    decided = np.zeros(len(test), dtype=bool)
    found: dict[str, float] = {}
    reason = None
    for name, at, held_out in parts(test, validation):
        rows = validation.loc[held_out & usable(validation, head)]
        labels = labels_of(rows, head) if len(rows) else np.zeros(0, dtype=bool)
        if labels.any() and not labels.all():
            found[name] = choose_threshold(probabilities_of(rows, head), labels)
        else:
            found[name], reason = 0.5, f"0.5 for want of validation clips of both classes ({len(rows)} clips)"
        decided[at] = probabilities_of(test.loc[at], head) >= found[name]
    described: dict[str, Any] = {"value": float(np.mean(list(found.values())))}
    if len(found) > 1:
        described["folds"] = found
    if reason:
        described["reason"] = reason
    return described, decided


def temperature(head: str, test: pd.DataFrame, validation: pd.DataFrame) -> dict[str, Any]:
    """The temperature that fits the validation rows best; of folds the mean, with `folds` for each.

    It is what the run's probabilities were made with; here it is only told.
    """
    column = f"logit_{head}"
    if column not in validation or head not in validation:
        return {"value": None, "reason": "no validation logits"}
    known = (validation[head].notna() & validation[column].notna()).to_numpy(dtype=bool)
    found: dict[str, float] = {}
    for name, _, held_out in parts(test, validation):
        rows = validation.loc[held_out & known]
        labels = labels_of(rows, head)
        if not labels.any() or labels.all():
            return {"value": None, "reason": f"{len(rows)} validation clips hold fewer than two classes"}
        found[name] = fit_temperature(rows[column].to_numpy(dtype=np.float64), labels)
    described: dict[str, Any] = {"value": float(np.mean(list(found.values())))}
    return described | ({"folds": found} if len(found) > 1 else {})


def abstention(head: str, test: pd.DataFrame, validation: pd.DataFrame, target: float) -> dict[str, Any]:
    """What withholding answers of low confidence does to the test rows.

    Args:
        head: the question.
        test: rows with label and probability.
        validation: rows that choose threshold and level.
        target: accuracy that answers are asked to reach.

    Returns:
        `validation`, the level as `AbstentionLevel` has it, or `folds`, each fold's; `test`, the share of clips that
        are answered and the accuracy with and without abstaining.
    """
    kept, right = np.zeros(len(test), dtype=bool), np.zeros(len(test), dtype=bool)
    levels: dict[str, dict[str, Any]] = {}
    thresholds, decided = decide(head, test, validation)
    p, labels = probabilities_of(test, head), labels_of(test, head)
    for name, at, held_out in parts(test, validation):
        rows = validation.loc[held_out & usable(validation, head)]
        threshold = thresholds.get("folds", {}).get(name, thresholds["value"])
        level = abstention_level(
            probabilities_of(rows, head), labels_of(rows, head), threshold=threshold, target=target
        )
        levels[name] = level.as_dict()
        kept[at] = confidence(p[at], threshold) >= level.level
        right[at] = decided[at] == labels[at]
    return {
        **({"folds": levels} if has_folds(test) else {"validation": next(iter(levels.values()))}),
        "test": {
            "coverage": float(kept.mean()) if len(p) else None,
            "accuracy_of_answers": float(right[kept].mean()) if kept.any() else None,
            "accuracy_without_abstention": float(right.mean()) if len(p) else None,
        },
    }


def fold_figures(head: str, test: pd.DataFrame, decided: Bools) -> dict[str, Any]:
    """Figures of each fold, with mean and standard deviation over the folds.

    Beside them the pooled AUROC also ranks clips of different folds against each other, by scores of different models.
    Where nothing is known that lies below 0.5: a fold with more positives leaves fewer to train on, so that its own
    scores are lower (Parker, Guenter & Bedo 2007, "Stratification bias in low signal microarray studies"; Airola et al.
    2011, "An experimental comparison of cross-validation techniques for estimating the area under the ROC curve").

    No interval: folds share training rows, so their spread is not the error of their mean.

    Returns:
        `each` fold's clips, positives, `auroc`, `macro_f1` (null with a reason where undefined), and for both figures
        mean, sd and the number of folds that have one.
    """
    known = usable(test, head)
    rows: list[dict[str, Any]] = []
    for name, at, _ in parts(test, test):
        here = at & known
        labels = labels_of(test.loc[here], head)
        row: dict[str, Any] = {"fold": int(name), "clips": int(here.sum()), "positive": int(labels.sum())}
        try:
            found = decision_metrics(labels, decided[here])
            area = auroc(labels, probabilities_of(test.loc[here], head))
            row |= {"auroc": area.value, "macro_f1": found["macro_f1"].value}
        except UndefinedMetricError as error:
            row |= {"auroc": None, "macro_f1": None, "reason": str(error)}
        rows.append(row)
    summary = {}
    for name in ("auroc", "macro_f1"):
        values = [row[name] for row in rows if row[name] is not None]
        summary[name] = {
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "folds": len(values),
        }
    return {"each": rows} | summary
