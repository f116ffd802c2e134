"""Where raters differ: what to settle in adjudication."""

import re
from itertools import combinations

import numpy as np
import pandas as pd

from subtext.annotation.codebook import Codebook, Label
from subtext.annotation.coefficients import Floats
from subtext.annotation.ratings import rated, rating_matrix


def disagreements(table: pd.DataFrame, codebook: Codebook) -> pd.DataFrame:
    """What to settle in adjudication, worst first.

    The score of a unit and label is the mean, over all pairs of raters who gave a value, of the distance between the
    two: 0 or 1 for nominal and binary labels, for the others the difference in units of the whole scale (from lowest to
    highest value; of an interval scale without bounds, of the values given). So 0 is agreement, and 1 that two raters
    stand at opposite ends. Equal scores are ordered by how many gave a value, then by session and turn.

    Returns:
        `session`, `turn`, `start`, `end`, `label`, `score`, `raters` (how many gave a value), and a column
        `rater NAME` each with what that rater answered, also where that is no value ("not_visible").
    """
    names = sorted(table["rater"].unique())
    rows = []
    for label in codebook.labels.values():
        if not len(rated(table, label)):
            continue
        values, units, _ = rating_matrix(table, label)
        scores = _unit_scores(values, label)
        answers = table[(table["label"] == label.name) & table["value"].notna()]
        answers = answers.assign(session=answers["session"].fillna(""), turn=answers["turn"].fillna(""))
        of_unit = answers.groupby(["session", "turn"], sort=False)
        for unit in np.flatnonzero(np.nan_to_num(scores) > 0).tolist():
            session, turn = units["session"].iat[unit], units["turn"].iat[unit]
            own = of_unit.get_group((session or "", turn or ""))
            said = dict(zip(own["rater"], own["value"], strict=True))
            start, end = (own[column].min() for column in ("start", "end"))
            given = int(np.isfinite(values[unit]).sum())
            times = (start, end) if label.unit == "turn" else (np.nan, np.nan)
            row = (session, turn, *times, label.name, float(scores[unit]), given)
            rows.append((*row, *(said.get(name) for name in names)))
    columns = ["session", "turn", "start", "end", "label", "score", "raters", *(f"rater {name}" for name in names)]
    found = pd.DataFrame(rows, columns=columns)
    keys = pd.DataFrame(
        {
            "score": -found["score"].round(9),
            "raters": -found["raters"],
            "session": found["session"].fillna("").map(_natural),
            "turn": found["turn"].fillna("").map(_natural),
        }
    )
    order = keys.sort_values(["score", "raters", "session", "turn"], kind="stable").index.to_numpy()
    return found.take(order).reset_index(drop=True)


def _unit_scores(values: Floats, label: Label) -> Floats:
    pairs = list(combinations(range(values.shape[1]), 2))
    if not pairs:
        return np.full(len(values), np.nan)
    differences = np.stack([np.abs(values[:, i] - values[:, j]) for i, j in pairs], axis=1)
    if label.scale in ("nominal", "binary"):
        distances = np.where(np.isnan(differences), np.nan, (differences > 0).astype(np.float64))
    else:
        ends = [label.number(value) for value in label.values] or [
            end if end is not None else float(extreme(values))
            for end, extreme in ((label.minimum, np.nanmin), (label.maximum, np.nanmax))
        ]
        distances = differences / ((max(ends) - min(ends)) or 1.0)
    known = np.isfinite(distances)
    with np.errstate(invalid="ignore"):
        return np.where(known, distances, 0.0).sum(axis=1) / known.sum(axis=1)


def _natural(text: str) -> str:
    """A sort key that puts turn 9 before turn 10."""
    return re.sub(r"\d+", lambda digits: digits.group().zfill(12), text)
