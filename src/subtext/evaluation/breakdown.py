"""Figures of some kinds of clips each: by speaker, by the quality of a stream, by anything that a table tells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from subtext.evaluation.compare import FEW_CLIPS
from subtext.evaluation.intervals import Interval, Units, ranking_interval
from subtext.evaluation.metrics import UndefinedMetricError, auroc


def auroc_by(
    table: pd.DataFrame, label: str, score: str, by: str, groups: Sequence[str] = (), fewest: int = FEW_CLIPS
) -> pd.DataFrame:
    """AUROC of each kind of clips with its 95 % interval, or why there is none.

    Args:
        table: one row a clip.
        label: column of yes-no labels; rows without one are left out.
        score: column of scores; rows without one are left out.
        by: column of kinds; rows without one are left out.
        groups: columns of reused units that intervals are clustered by; `by` itself is none inside a kind.
        fewest: clips of a kind below which there is no interval.

    Returns:
        A row a kind, in the kinds' order, with `clips`, `positive`, `value`, `low`, `high` and `reason`, which says
        what is missing, if anything.
    """
    known = table[table[[label, score, by]].notna().all(axis=1)]
    rows: dict[Any, dict[str, Any]] = {}
    for kind, own in known.groupby(by, sort=True, observed=True):
        labels, scores = own[label].to_numpy(dtype=bool), own[score].to_numpy(dtype=np.float64)
        found = _interval(labels, scores, Units.of(own, [group for group in groups if group != by]), fewest)
        rows[kind] = {
            "clips": len(own),
            "positive": int(labels.sum()),
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "reason": found.reason or "",
        }
    columns = ["clips", "positive", "value", "low", "high", "reason"]
    out = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(by)
    return out.astype({"clips": "int64", "positive": "int64", "value": "float64", "low": "float64", "high": "float64"})


def _interval(labels: np.ndarray, scores: np.ndarray, units: Units, fewest: int) -> Interval:
    try:
        area = auroc(labels, scores)
    except UndefinedMetricError as error:
        return Interval(None, reason=str(error))
    if len(labels) < fewest:
        return Interval(area.value, reason=f"{len(labels)} clips: too few for an interval")
    return ranking_interval(area, units, lambda at: auroc(labels[at], scores[at]).value)
