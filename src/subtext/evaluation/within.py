"""Ranking inside each unit, or among clips of each kind (a speaker's, those of poor sound, anything a table tells).

Does a system order one person's clips, whatever people differ by among themselves? Pooled AUROC mixes two abilities: to
order the clips of one person, and to give people with more positives higher scores. Where every unit has the same share
of positives, as in pairs made for balance, the second is noise.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import Interval, Units, mean_interval
from subtext.evaluation.judge import Figure, Judge
from subtext.evaluation.metrics import UndefinedMetricError, auroc

FEW_CLIPS: Final = 20
"""Clips of a speaker, or of another kind, below which there is no interval."""


def auroc_by_unit(table: pd.DataFrame, label: str, score: str, unit: str, strata: Sequence[str] = ()) -> pd.Series:
    """AUROC inside each unit; null where a unit has one class only.

    Args:
        table: one row a clip.
        label: column of yes-no labels; rows without one are left out.
        score: column of scores.
        unit: column of units.
        strata: columns of smaller groups inside the units, such as the take that a face comes from. With them, clips
            are compared inside these groups only, every comparison with the same weight in its column, and the columns
            are averaged. On pairs made for balance a score that sees one half alone then gets one half, whichever kinds
            of pairs are looked at.

    Returns:
        By unit, in the units' order.
    """
    known = table[table[label].notna() & table[unit].notna()]
    out = {}
    for name, own in known.groupby(unit, sort=True):
        if strata:
            out[name] = float(np.mean([_auroc_inside(own, label, score, column) for column in strata]))
        else:
            out[name] = _auroc(own, label, score)
    return pd.Series(out, name="auroc", dtype="float64").rename_axis(unit)


def within_auroc(each: Sequence[pd.Series], unit: str) -> Figure:
    """Mean over units of the AUROC inside each, with a t interval over the units.

    Args:
        each: what `auroc_by_unit` gave of each training. A unit without a figure in one of them is left out.
        unit: what the units are.
    """
    mean = pd.concat(each, axis=1).mean(axis=1, skipna=False).dropna()
    return Figure(mean_interval(mean.to_list(), unit), tuple(float(one.mean()) for one in each))


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
    rows: dict[Any, tuple[Any, ...]] = {}
    for kind, own in known.groupby(by, sort=True, observed=True):
        labels, scores = own[label].to_numpy(dtype=bool), own[score].to_numpy(dtype=np.float64)
        judge = Judge(Units.of(own, [group for group in groups if group != by]))
        found = judge.ranking("auroc", labels, [scores]).interval
        if found.value is not None and len(own) < fewest:
            found = Interval(found.value, reason=f"{len(own)} clips: too few for an interval")
        rows[kind] = (len(own), labels.sum(), found.value, found.low, found.high, found.reason or "")
    columns = ["clips", "positive", "value", "low", "high", "reason"]
    out = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(by)
    return out.astype({"clips": "int64", "positive": "int64", "value": "float64", "low": "float64", "high": "float64"})


def _auroc(table: pd.DataFrame, label: str, score: str) -> float:
    try:
        return auroc(table[label].to_numpy(dtype=bool), table[score].to_numpy(dtype=np.float64)).value
    except UndefinedMetricError:
        return float("nan")


def _auroc_inside(table: pd.DataFrame, label: str, score: str, column: str) -> float:
    """Share of the comparisons inside the groups of a column that are ordered rightly."""
    right = comparisons = 0.0
    for _, group in table.groupby(column):
        positives = int(group[label].sum())
        if here := positives * (len(group) - positives):
            right += here * _auroc(group, label, score)
            comparisons += here
    return right / comparisons if comparisons else float("nan")
