"""Ranking inside each unit: does a system order one person's clips, whatever people differ by among themselves?

Pooled AUROC mixes two abilities: to order the clips of one person, and to give people with more positives higher
scores. Where every unit has the same share of positives, as in pairs made for balance, the second is noise.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import Interval, mean_interval
from subtext.evaluation.metrics import UndefinedMetricError, auroc


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


def within_auroc(table: pd.DataFrame, label: str, score: str, unit: str, strata: Sequence[str] = ()) -> Interval:
    """Mean over units of the AUROC inside each, with a t interval over the units; see `auroc_by_unit`."""
    return mean_interval(auroc_by_unit(table, label, score, unit, strata).dropna().to_list(), unit)


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
