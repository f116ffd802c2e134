"""From a table of predictions to `metrics.json`: every figure with its interval, next to the controls.

Everything is computed from the prediction tables and nothing else, so it can be computed again later. The threshold
comes from validation rows, figures from test rows. What is undefined is null and says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError, RunError
from subtext.evaluation.decisions import abstention, fold_figures, has_folds, labels_of, temperature
from subtext.evaluation.intervals import LEVEL, Interval, Units
from subtext.evaluation.judge import METRICS, REDRAWN, REDRAWN_REASON, Answers, Figure, Judge, known
from subtext.evaluation.metrics import (
    ECE_BINS,
    Bools,
    CountStatistic,
    Floats,
    calibration_floor,
    confusion_matrix,
    multiclass_metrics,
    regression_metrics,
)
from subtext.evaluation.novelty import unlike
from subtext.evaluation.tables import BINARY_HEADS, CHOICES, check_once, check_predictions
from subtext.labels import (
    EMOTION_COLUMN,
    EMOTIONS,
    ETHER_OF_TYPE,
    ETHER_TYPES,
    MODALITIES,
    POLARITY_COLUMN,
    emotion_names,
)

SUBSETS: Final = ("all", "all_streams")
"""Every labelled test clip, and those that have every stream of the model."""

CONTROLS: Final = (
    "majority",
    "metadata",
    "speaker",
    "visual",
    "text",
    "prosody",
    "visual+text",
    "visual+prosody",
    "text+prosody",
    "posterior_product",
    "permuted",
    "shuffled",
)
"""The controls that stand beside every result; one that was not run is named in the notes."""

BINARY_METRICS: Final = tuple(metric for metric in METRICS if metric != "log_loss")
COMPARED: Final = ("auroc", "macro_f1", "balanced_accuracy")
"""Metrics in which the model is held against each control."""

Judges = Callable[[pd.DataFrame], Judge]
"""The judge of some rows, whose units are those that are known of these rows."""


def evaluate(
    predictions: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    groups: Sequence[str] = ("speaker",),
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    abstention_target: float = 0.75,
) -> dict[str, Any]:
    """Evaluate one run.

    Args:
        predictions: one row a clip, as in docs/architecture.md, predictions table; splits `val` and `test`, one seed.
        controls: the same in long form with a column `control`; None where none were run.
        groups: columns of reused units that intervals are clustered by; one that is absent or empty is reported.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling.
        abstention_target: accuracy that answers are asked to reach when choosing the abstention level.

    Returns:
        What `metrics.json` holds: plain types only.

    Raises:
        RunError: there are no test rows, ids repeat, the table mixes seeds, or a column of either table holds what it
            may not hold; see `subtext.evaluation.tables`.
    """
    _check(predictions, controls)
    test = predictions.loc[predictions["split"] == "test"].reset_index(drop=True)
    validation = predictions.loc[predictions["split"] == "val"].reset_index(drop=True)

    def judge(rows: pd.DataFrame) -> Judge:
        return Judge(Units.of(rows, groups), n_bootstrap, seed)

    masks, missing = subsets_of(test)
    result: dict[str, Any] = {
        "format": 1,
        "clips": {split: int(count) for split, count in predictions["split"].value_counts().sort_index().items()},
        "seed": _only(predictions, "seed"),
        "groups": describe_groups(test, groups),
        "settings": {"level": LEVEL, "n_bootstrap": n_bootstrap, "seed": seed, "ece_bins": ECE_BINS},
        "subsets": {name: int(mask.sum()) for name, mask in masks.items()},
        "notes": missing,
        "heads": {},
        "controls": {},
    }
    fused = {head: Answers.of(predictions, head, test["id"]) for head in BINARY_HEADS}
    for head, answers in fused.items():
        if answers is None:
            result["notes"].append(f"{head}: no predictions or no labels")
        else:
            result["heads"][head] = _binary_head(head, test, validation, masks, answers, judge, abstention_target)
    result["type"] = {name: _type(test.loc[mask], judge) for name, mask in masks.items()}
    result["ether_type"] = {name: _ether_type(test.loc[mask], judge) for name, mask in masks.items()}
    result["polarity"] = {modality: _polarity(test, modality, judge) for modality in MODALITIES}
    emotions = {m: _emotion(test, m, judge) for m in MODALITIES if f"prob_{EMOTION_COLUMN[m]}_{EMOTIONS[0]}" in test}
    if emotions:
        result["emotion"] = emotions
    result["engagement"] = _engagement(test, judge)
    result["presence"] = {m: float(test[f"present_{m}"].mean()) for m in MODALITIES if f"present_{m}" in test}
    if novelty := unlike(test):
        result["novelty"] = novelty
    if controls is not None:
        for name, rows in controls.groupby("control", sort=False):
            own = {head: Answers.of(predictions, head, test["id"], rows) for head in BINARY_HEADS}
            found: dict[str, Any] = {
                head: _control(head, test, masks, answers, fused[head], judge)
                for head, answers in own.items()
                if answers is not None
            }
            if not found:
                found = {"reason": f"control '{name}' has no test probabilities"}
            result["controls"][str(name)] = _one_draw(found) if name in REDRAWN else found
    absent = [name for name in CONTROLS if name not in result["controls"]]
    # A model that was asked and not trained has controls of its own.
    if absent and result["heads"] and not set(result["controls"]) - set(CONTROLS):
        result["notes"].append(f"controls that were not run: {', '.join(absent)}")
    return result


def _check(predictions: pd.DataFrame, controls: pd.DataFrame | None) -> None:
    check_predictions(predictions, "the table of predictions")
    if controls is not None:
        check_predictions(controls, "the table of controls", ["control"])
    if not (predictions["split"] == "test").any():
        raise RunError("predictions hold no test rows; give the manifest a test split")
    seeds = predictions["seed"].nunique() if "seed" in predictions else 1
    if seeds > 1:
        raise RunError(
            f"predictions mix {seeds} seeds; evaluate one run each and pool them with subtext-evaluate RUN RUN ..."
        )
    # A row may serve for validation in several folds; it is tested once.
    validated = predictions["split"] == "val"
    fold = predictions["fold"].where(validated) if "fold" in predictions else None
    check_once(predictions.assign(fold=fold), ["split", "id", "fold"], "the table of predictions")


def subsets_of(test: pd.DataFrame) -> tuple[dict[str, Bools], list[str]]:
    """Which rows belong to each of `SUBSETS`, and a note where that is not known.

    A stream that no clip has, as of a modality that the model does not use, is not asked for.
    """
    masks: dict[str, Bools] = {"all": np.ones(len(test), dtype=bool)}
    columns = [f"present_{modality}" for modality in MODALITIES]
    absent = [column for column in columns if column not in test]
    if absent:
        return masks, [f"clips with all streams: not known, predictions lack {', '.join(absent)}"]
    present = test[columns].fillna(False).astype(bool)
    used = [column for column in columns if present[column].any()]
    unused = [modality for modality, column in zip(MODALITIES, columns, strict=True) if column not in used]
    masks["all_streams"] = present[used].all(axis=1).to_numpy()
    return masks, [f"no test clip has {', '.join(unused)}: 'all streams' leaves it out"] if unused else []


def check_groups(groups: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
    """Whether units that somebody named are columns of every table of predictions.

    Raises:
        ConfigError: one is not, and intervals would be too narrow without a word.
    """
    for table in tables:
        for group in groups:
            if group not in table:
                ours = ", ".join(name for name in ("speaker", "session", "corpus") if name in table)
                raise ConfigError(
                    f"the predictions have no column '{group}' to cluster by; name one of theirs"
                    f"{f', such as {ours}' if ours else ''}"
                )


def describe_groups(test: pd.DataFrame, groups: Sequence[str]) -> dict[str, Any]:
    """Clusters of each reused unit among the test clips, or why there are none."""
    described: dict[str, Any] = {}
    for group in groups:
        if group not in test or test[group].isna().all():
            described[group] = {"clusters": None, "reason": "no such column" if group not in test else "no values"}
        else:
            described[group] = {
                "clusters": int(test[group].nunique()),
                "largest": int(test[group].value_counts().max()),
                "unknown": int(test[group].isna().sum()),
            }
    return described


def _binary_head(
    head: str,
    test: pd.DataFrame,
    validation: pd.DataFrame,
    masks: Mapping[str, Bools],
    answers: Answers,
    judge: Judges,
    target: float,
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "threshold": {**answers.threshold, "chosen": "largest balanced accuracy on validation"},
        "temperature": temperature(head, test, validation),
        "subsets": {},
    }
    labelled = _labelled(test, head)
    for name, mask in masks.items():
        at = known([answers], mask & labelled)
        labels, p = labels_of(test.loc[at], head), answers.p[at]
        result["subsets"][name] = _judged(head, test, mask, answers, judge) | {
            "positive": int(labels.sum()),
            "without_label": int((mask & ~labelled).sum()),
            "ece_if_calibrated": calibration_floor(p) if len(p) else None,
            "uncalibrated": {"reason": "no logits"},
        }
        if answers.raw is not None and not np.isnan(answers.raw[at]).any():
            raw = replace(answers, p=answers.raw).at(at)
            result["subsets"][name]["uncalibrated"] = _plain(
                judge(test.loc[at]).figures(labels, [raw], ("brier", "ece"))
            )
    everywhere = known([answers], labelled)
    result["abstention"] = abstention(head, test.loc[everywhere], validation, target)
    if has_folds(test):
        result["folds"] = fold_figures(head, test, answers.decided)
    return result


def _control(
    head: str,
    test: pd.DataFrame,
    masks: Mapping[str, Bools],
    answers: Answers,
    fused: Answers | None,
    judge: Judges,
) -> dict[str, Any]:
    result: dict[str, Any] = {"threshold": answers.threshold, "subsets": {}}
    for name, mask in masks.items():
        entry = result["subsets"][name] = _judged(head, test, mask, answers, judge)
        if fused is not None:
            at = known([answers, fused], mask & _labelled(test, head))
            labels, own, sides = labels_of(test.loc[at], head), judge(test.loc[at]), ([fused.at(at)], [answers.at(at)])
            less = {m: Figure.of(own.difference(m, labels, *sides, together=True)) for m in COMPARED}
            entry["fused_minus_control"] = {"clips": len(labels)} | _plain(less)
    if has_folds(test):
        result["folds"] = fold_figures(head, test.assign(**{f"prob_{head}": answers.p}), answers.decided)
    return result


def _judged(head: str, test: pd.DataFrame, mask: Bools, answers: Answers, judge: Judges) -> dict[str, Any]:
    """What is said of the model and of every control alike."""
    wanted = mask & _labelled(test, head)
    at = known([answers], wanted)
    rows = test.loc[at]
    return {
        "clips": len(rows),
        "without_probability": int((wanted & ~at).sum()),
        "metrics": _plain(judge(rows).figures(labels_of(rows, head), [answers.at(at)], BINARY_METRICS)),
    } | _apart(head, rows, answers.p[at], judge)


def _labelled(test: pd.DataFrame, head: str) -> Bools:
    return test[head].notna().to_numpy(dtype=bool)


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures of one training, which have no spread over seeds."""
    return {name: figure.interval.as_dict() for name, figure in figures.items()}


def _one_draw(control: dict[str, Any]) -> dict[str, Any]:
    """A control without its intervals: over clips they would say nothing about another draw of it."""
    if "low" in control and "high" in control:
        return {"value": control["value"], "low": None, "high": None, "reason": REDRAWN_REASON}
    return {key: _one_draw(entry) if isinstance(entry, dict) else entry for key, entry in control.items()}


def _apart(head: str, rows: pd.DataFrame, p: Floats, judge: Judges) -> dict[str, Any]:
    """AUROC of opposite signs, and of mismatches that involve a zero, each against congruent clips alone.

    A corpus that is balanced for the whole label is not balanced for either part of it: a single modality can tell
    them in part, which is why the controls have these figures too. Clips of unknown polarities belong to neither.
    """
    other = BINARY_HEADS[head]
    positive = labels_of(rows, head)
    result: dict[str, Any] = {}

    def area(labels: Bools, at: Bools) -> dict[str, Any]:
        return judge(rows.loc[at]).ranking("auroc", labels[at], [p[at]]).interval.as_dict()

    labelled = "verbal_polarity" in rows and other in rows
    if labelled and (rows["verbal_polarity"].notna() & rows[other].notna()).any():
        said, shown = rows["verbal_polarity"].astype("Int64"), rows[other].astype("Int64")
        both = (said.notna() & shown.notna()).to_numpy()
        congruent = (said == shown).fillna(False).to_numpy(dtype=bool)
        opposite = (said * shown < 0).fillna(False).to_numpy(dtype=bool)
        zero = positive & both & ~opposite & ~congruent
        warmth = ((said == 0) & (shown == 1)).fillna(False).to_numpy(dtype=bool)
    else:
        reason = "polarities are not known"
        return {key: {"auroc": Interval(None, reason=reason).as_dict()} for key in ("contradiction", "zero_cell")}
    for key, kind in (("contradiction", opposite), ("zero_cell", zero)):
        at = kind | congruent
        result[key] = {
            "clips": int(kind.sum()),
            "congruent": int(congruent.sum()),
            "auroc": area(kind, at),
        }
    if warmth.any():
        everywhere = np.ones(len(rows), dtype=bool)
        result["unvoiced_warmth"] = {
            "clips": int(warmth.sum()),
            "counted_as_incongruent": area(positive | warmth, everywhere),
            "counted_as_congruent": area(positive & ~warmth, everywhere),
        }
    return result


def _type(rows: pd.DataFrame, judge: Judges) -> dict[str, Any]:
    return _choice(rows, "type", *CHOICES["type"], judge)


def _ether_type(rows: pd.DataFrame, judge: Judges) -> dict[str, Any]:
    """The same in E-THER's own view: as the model was asked for it, else summed from our types."""
    columns = {kind: f"prob_ether_type_{kind}" for kind in ETHER_TYPES}
    ours = {kind: [f"prob_type_{own}" for own, theirs in ETHER_OF_TYPE.items() if theirs == kind] for kind in columns}
    if not set(columns.values()) <= set(rows) and {c for each in ours.values() for c in each} <= set(rows):
        rows = rows.assign(**{columns[kind]: rows[each].sum(axis=1, skipna=False) for kind, each in ours.items()})
    label, names, classes = CHOICES["ether_type"]
    rows = rows.rename(columns={label: "ether_type"})
    return _choice(rows, "ether_type", "ether_type", names, classes, judge)


def _polarity(test: pd.DataFrame, modality: str, judge: Judges) -> dict[str, Any]:
    head = POLARITY_COLUMN[modality]
    return _choice(_present(test, modality), head, *CHOICES[head], judge)


def _emotion(test: pd.DataFrame, modality: str, judge: Judges) -> dict[str, Any]:
    label, rows = EMOTION_COLUMN[modality], _present(test, modality)
    if label in rows:
        rows = rows.assign(**{label: emotion_names(rows[label])})
    return _choice(rows, label, label, EMOTIONS, {name: n for n, name in enumerate(EMOTIONS)}, judge)


def _present(test: pd.DataFrame, modality: str) -> pd.DataFrame:
    present = f"present_{modality}"
    return test.loc[test[present].fillna(False).astype(bool)] if present in test else test


def _choice(
    rows: pd.DataFrame, head: str, label: str, names: Sequence[str], classes: Mapping[Any, int], judge: Judges
) -> dict[str, Any]:
    columns = [f"prob_{head}_{name}" for name in names]
    if label not in rows or any(column not in rows for column in columns):
        return {"clips": 0, "reason": f"no predictions or no labels of {label}"}
    rows = rows.loc[rows[label].notna() & rows[columns].notna().all(axis=1)]
    codes = rows[label].map(classes).to_numpy(dtype=np.int64)
    predicted = rows[columns].to_numpy(dtype=np.float64).argmax(axis=1) if len(rows) else codes
    make = lambda: multiclass_metrics(codes, predicted, len(names))  # noqa: E731
    return {
        "clips": len(rows),
        "classes": list(names),
        "metrics": _counted(judge(rows), ("macro_f1", "accuracy"), make),
        "confusion": confusion_matrix(codes, predicted, len(names)).tolist(),
    }


def _engagement(test: pd.DataFrame, judge: Judges) -> dict[str, Any]:
    if "engagement" not in test or "pred_engagement" not in test:
        return {"clips": 0, "reason": "no predictions or no labels of engagement"}
    rows = test.loc[test["engagement"].notna() & test["pred_engagement"].notna()]
    labels, predicted = (rows[c].to_numpy(dtype=np.float64) for c in ("engagement", "pred_engagement"))
    figures = _counted(judge(rows), ("mae", "pearson"), lambda: regression_metrics(labels, predicted))
    return {"clips": len(rows), "metrics": figures}


def _counted(judge: Judge, names: Sequence[str], make: Callable[[], Mapping[str, CountStatistic]]) -> dict[str, Any]:
    def figure(name: str) -> Figure:
        return judge.counted(lambda: [make()[name]])

    return _plain({name: figure(name) for name in names})


def _only(table: pd.DataFrame, column: str) -> int | None:
    values = list(table[column].dropna().unique()) if column in table else []
    return int(values[0]) if len(values) == 1 else None
