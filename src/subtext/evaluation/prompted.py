"""What validation rows decide about the answers of a model that was asked and not trained: calibration; and the spread
over wordings, which decides nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from subtext.evaluation.calibration import calibrate, fit_bias_corrected
from subtext.evaluation.metrics import UndefinedMetricError, auroc
from subtext.evaluation.tables import BINARY_HEADS, CHOICES


def classes_of(head: str) -> tuple[str, ...]:
    """The classes of a head; of a yes-no head `no` and `yes`."""
    return ("no", "yes") if head in BINARY_HEADS else CHOICES[head][1]


def score_columns(head: str) -> list[str]:
    """The columns of raw scores: one logit of a yes-no head, else a log-probability a class."""
    return [f"logit_{head}"] if head in BINARY_HEADS else [f"logit_{head}_{name}" for name in classes_of(head)]


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `prob_*` columns, made from its `logit_*` columns by what its validation rows say.

    Of a yes-no head this is Platt scaling with a slope above 0, so that it cannot turn a ranking round; of a choice a
    temperature and a bias a class. Each fold's rows go by that fold's validation rows.

    Args:
        table: rows with `split`, `fold`, labels and raw scores; NaN where there is none.
    """
    out = table.copy()
    folds = out["fold"].astype("string").fillna("") if "fold" in out else pd.Series("", index=out.index)
    for head in (*BINARY_HEADS, *CHOICES):
        columns = score_columns(head)
        if not set(columns) <= set(out):
            continue
        scores = out[columns].to_numpy(dtype=np.float64, na_value=np.nan)
        if head in BINARY_HEADS:
            scores = np.column_stack([np.zeros(len(scores)), scores[:, 0]])
        targets = _targets(out, head)
        shares = np.full_like(scores, np.nan)
        for fold in folds.unique():
            here = (folds == fold).to_numpy(dtype=bool)
            validated = here & (out["split"] == "val").to_numpy(dtype=bool) & ~np.isnan(targets)
            # By id, so that the order of rows does not show in the last digits.
            fitting = np.flatnonzero(validated)[np.argsort(out["id"].to_numpy(dtype=str)[validated], kind="stable")]
            temperature, biases = fit_bias_corrected(scores[fitting], targets[fitting])
            shares[here] = calibrate(scores[here] / temperature + biases)
        if head in BINARY_HEADS:
            out[f"prob_{head}"] = shares[:, 1]
        else:
            out[[f"prob_{head}_{name}" for name in classes_of(head)]] = shares
    return out


def spread_over_wordings(answers: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """How well each wording of a yes-no head does by itself on the test rows. It is told, and nothing is chosen by it.

    Args:
        answers: the answer log; `score` is the probability of `yes` to the head's question as its label means it.
        predictions: the rows with their labels.

    Returns:
        A row a head and wording: `auroc` of the raw score, mean `mass`, `clips`, `unparsed`.
    """
    labels = predictions.loc[predictions["split"] == "test"].drop_duplicates("id").set_index("id")
    is_yes_no = answers["head"].isin(list(BINARY_HEADS))
    own = answers.loc[(answers["control"] == "") & is_yes_no & answers["id"].isin(labels.index)]
    rows: list[dict[str, Any]] = []
    for (head, wording), asked in own.groupby(["head", "wording"], sort=True):
        known = asked.loc[asked["score"].notna() & labels[head].reindex(asked["id"]).notna().to_numpy()]
        truth = labels[head].reindex(known["id"]).to_numpy(dtype=bool)
        try:
            area: float | None = auroc(truth, known["score"].to_numpy(dtype=np.float64)).value
        except UndefinedMetricError:
            area = None
        unparsed = int(asked["parsed"].isna().sum())
        mass = float(asked["mass"].mean())
        rows.append(
            {"head": head, "wording": wording, "auroc": area, "mass": mass, "clips": len(known), "unparsed": unparsed}
        )
    return pd.DataFrame(rows, columns=["head", "wording", "auroc", "mass", "clips", "unparsed"])


def summary(predictions: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    """What a reader must know of the answers: by head the clips without a score and why, mass, spread over wordings,
    answers that could not be read; and the tokens of a prompt.
    """
    rows = predictions.drop_duplicates("id")
    heads = {
        head: {
            "unscored": {str(why): int(count) for why, count in rows[f"reason_{head}"].value_counts().items()},
            "mass": _mean(rows[f"mass_{head}"]),
            "spread": _mean(rows[f"spread_{head}"]),
            "unparsed": int(rows[f"unparsed_{head}"].sum()),
        }
        for head in (*BINARY_HEADS, *CHOICES)
        if f"reason_{head}" in rows
    }
    own = answers.loc[answers["control"] == ""]
    return {"heads": heads, "tokens": _mean(own["tokens"]), "vision_tokens": _mean(own["vision_tokens"])}


def answer_notes(about: Mapping[str, Any], wordings: pd.DataFrame) -> list[str]:
    """Sentences that belong beside the figures of a model that was asked.

    Args:
        about: a run's facts of its model, with what `summary` gives.
        wordings: what `spread_over_wordings` gives.
    """
    notes = [f"{about['family']} is given {about['note']}"] if about.get("note") else []
    for head, told in about["heads"].items():
        own = wordings.loc[wordings["head"] == head]
        if len(own):
            areas = own["auroc"].dropna()
            spread = "n/a" if told["spread"] is None else f"{told['spread']:.3f}"
            notes.append(
                f"{head}: mean over {len(own)} prompts ({about['prompts']}) by {about['answer']}, sd over them {spread}"
                + (f", AUROC of single ones {areas.min():.2f} to {areas.max():.2f}" if len(areas) else "")
            )
        if about["answer"] == "generation":
            notes.append(f"{head}: {told['unparsed']} written answers could not be read")
        notes += [f"{head}: {count} clips not scored: {why}" for why, count in told["unscored"].items()]
    masses = {head: told["mass"] for head, told in about["heads"].items() if told["mass"] is not None}
    if masses and about["answer"] == "likelihood":
        each = ", ".join(f"{head} {mass:.3f}" for head, mass in masses.items())
        notes.append(f"mass of the answer tokens (floor {about['floor']:g}): {each}")
    return notes


def _mean(values: pd.Series) -> float | None:
    mean = values.astype("float64").mean()
    return None if np.isnan(mean) else float(mean)


def _targets(table: pd.DataFrame, head: str) -> np.ndarray:
    """Number of each row's class, NaN where its label is missing."""
    column, values = (head, {False: 0, True: 1}) if head in BINARY_HEADS else (CHOICES[head][0], CHOICES[head][2])
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].map(values, na_action="ignore").astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
