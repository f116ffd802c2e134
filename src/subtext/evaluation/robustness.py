"""How well a system still ranks clips whose streams are missing or spoiled: AUROC by strength, and the area under it.

Everything is computed from `robustness.parquet` tables. A clip of which a condition leaves nothing to judge by (no face
is found any more, say, by a model of faces alone) stays in: all such clips get one and the same probability, the median
of the system's clean ones, so that every strength is judged on the same clips.

The area is the mean of AUROC along the scale of a condition (see `Condition.level`) from the clean end to the largest
strength tried, by the trapezoidal rule: a number between 0 and 1 that can be compared where strengths are the same.
Being a weighted sum of AUROCs on the same clips, it has an interval of the same kind.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.conditions import CLEAN, CONDITIONS
from subtext.evaluation.intervals import Units
from subtext.evaluation.judge import Judge
from subtext.evaluation.metrics import Bools, Floats, Linearised, auroc

POINT_COLUMNS: Final = (
    "condition",
    "strength",
    "level",
    "auroc",
    "low",
    "high",
    "few",
    "seed_sd",
    "seeds",
    "clips",
    "judged",
    "present",
    "reason",
)
"""`few`: whether the interval rests on a unit with few clusters. `judged`: share of the clips of which anything is left
to judge by. `present`: of the clips that had the modality, the share in which it is still found."""

AREA_COLUMNS: Final = (
    "condition",
    "strengths",
    "area",
    "low",
    "high",
    "few",
    "seed_sd",
    "seeds",
    "clips",
    "clean",
    "reason",
)


class RobustnessCurves:
    """One system's AUROC under every condition, from one run or several that differ in their seed.

    Args:
        tables: a `robustness.parquet` each, of the same test clips.
        groups: columns of reused units, by which intervals are clustered.
        head: "incongruent" or "vocal_incongruent".

    Raises:
        RunError: a table lacks the head or its clean rows, or holds other clips than the first.
    """

    def __init__(self, tables: Sequence[pd.DataFrame], groups: Sequence[str], head: str = "incongruent") -> None:
        column = f"prob_{head}"
        if any(column not in table or head not in table for table in tables):
            raise RunError(f"a robustness table has no {column}: that model does not answer '{head}'")
        first = _rows(tables[0], CLEAN, 0.0)
        known = first[head].notna()
        if any(not _same(first, _rows(table, CLEAN, 0.0), head) for table in tables[1:]):
            raise RunError("robustness tables hold other test clips, or other labels; give runs on the same clips")
        # A clip that a run cannot judge at its best is none to measure a loss on.
        clean = [_rows(table, CLEAN, 0.0).set_index("id")[column].reindex(first["id"]) for table in tables]
        for values in clean:
            known &= values.notna().to_numpy()
        self.clips = first.loc[known].reset_index(drop=True)
        self.labels: Bools = self.clips[head].to_numpy(dtype=bool)
        self.units = Units.of(self.clips, groups)
        self.points = _shared_points(tables)
        self._scores: dict[tuple[str, float], list[Floats]] = {}
        self._judged: dict[tuple[str, float], float] = {}
        self._present: dict[tuple[str, float], float | None] = {}
        ids = self.clips["id"]
        for point in [(CLEAN, 0.0), *self.points]:
            found = [_rows(table, *point).set_index("id")[column].reindex(ids) for table in tables]
            self._judged[point] = float(np.mean([values.notna().mean() for values in found])) if len(ids) else 0.0
            self._present[point] = _still_there(tables, *point, set(ids))
            self._scores[point] = [
                values.fillna(own.reindex(ids).median()).to_numpy(dtype=np.float64)
                for values, own in zip(found, clean, strict=True)
            ]

    def curve(self, condition: str) -> list[tuple[float, float]]:
        """Strengths and their places on the condition's scale, from the clean end on."""
        how = CONDITIONS[condition]
        own = [strength for name, strength in self.points if name == condition]
        return sorted([(how.clean, 0.0), *((s, how.level(s)) for s in own)], key=lambda pair: pair[1])

    @property
    def conditions(self) -> list[str]:
        """Conditions that have strengths, in the order of the table."""
        return list(dict.fromkeys(name for name, _ in self.points if name in CONDITIONS))

    def at(self, condition: str, strength: float, rows: Bools | None = None) -> list[Linearised]:
        """AUROC of each run under a condition, on some of the clips.

        Raises:
            UndefinedMetricError: these clips have one label only.
        """
        point = (condition, strength)
        if condition in CONDITIONS and strength == CONDITIONS[condition].clean:
            point = (CLEAN, 0.0)
        chosen = np.ones(len(self.labels), dtype=bool) if rows is None else rows
        return [auroc(self.labels[chosen], scores[chosen]) for scores in self._scores[point]]

    def area(
        self, condition: str, rows: Bools | None = None, strengths: Collection[float] | None = None
    ) -> list[Linearised]:
        """Area under the curve of each run, on some of the clips; differences of systems may be taken from it.

        Args:
            condition: its name.
            rows: which clips; all where None.
            strengths: those that count beside the clean end, such as those that another system has too; all where None.

        Raises:
            UndefinedMetricError: these clips have one label only.
        """
        curve = self._counted(condition, strengths)
        weights = trapezoid_weights([level for _, level in curve])
        each = zip(*(self.at(condition, strength, rows) for strength, _ in curve), strict=True)
        return [_weighted(estimates, weights) for estimates in each]

    def point_table(self) -> pd.DataFrame:
        """A row a condition and strength, with the clean point first: `POINT_COLUMNS`."""
        rows: list[dict[str, Any]] = []
        for name, strength in [(CLEAN, 0.0), *self.points]:
            level = CONDITIONS[name].level(strength) if name in CONDITIONS else strength
            found = self._figure("auroc", partial(self.at, name, strength))
            shares = {"judged": self._judged[(name, strength)], "present": self._present[(name, strength)]}
            rows.append({"condition": name, "strength": strength, "level": level, **shares, **found})
        return pd.DataFrame(rows, columns=list(POINT_COLUMNS))

    def area_table(self, strengths: Mapping[str, Collection[float]] | None = None) -> pd.DataFrame:
        """A row a condition that has strengths: `AREA_COLUMNS`.

        Args:
            strengths: by condition, those that count; a condition without any has no row. All where None.
        """
        rows: list[dict[str, Any]] = []
        clean = self._figure("auroc", partial(self.at, CLEAN, 0.0))["auroc"]
        for name in self.conditions:
            only = None if strengths is None else strengths.get(name, ())
            curve = self._counted(name, only)
            if len(curve) < 2:
                continue
            found = self._figure("area", partial(self.area, name, strengths=only))
            told = " ".join(f"{strength:g}" for strength, _ in curve)
            rows.append({"condition": name, "strengths": told, "clean": clean, **found})
        return pd.DataFrame(rows, columns=list(AREA_COLUMNS))

    def _counted(self, condition: str, strengths: Collection[float] | None) -> list[tuple[float, float]]:
        curve = self.curve(condition)
        return curve if strengths is None else [curve[0], *(pair for pair in curve[1:] if pair[0] in strengths)]

    def _figure(self, name: str, estimates: Callable[[Bools], Sequence[Linearised]]) -> dict[str, Any]:
        figure = Judge(self.units).ranked(estimates)
        return {
            name: figure.interval.value,
            "low": figure.interval.low,
            "high": figure.interval.high,
            "few": figure.interval.rests_on_few,
            "seed_sd": figure.seed_sd,
            "seeds": len(self._scores[(CLEAN, 0.0)]),
            "clips": len(self.clips),
            "reason": figure.interval.reason,
        }


def trapezoid_weights(levels: Sequence[float]) -> Floats:
    """`[n]`: what each point of a curve counts in its mean by the trapezoidal rule; they add up to 1.

    Args:
        levels: at least two, increasing.
    """
    widths = np.diff(np.asarray(levels, dtype=np.float64))
    weights = np.zeros(len(levels))
    weights[:-1] += widths / 2
    weights[1:] += widths / 2
    return weights / widths.sum()


def _weighted(estimates: Sequence[Linearised], weights: Floats) -> Linearised:
    value = float(sum(w * e.value for w, e in zip(weights, estimates, strict=True)))
    influence = np.sum([w * e.influence for w, e in zip(weights, estimates, strict=True)], axis=0)
    return Linearised(value, influence, estimates[0].positive)


def _rows(table: pd.DataFrame, condition: str, strength: float) -> pd.DataFrame:
    rows = table[(table["condition"] == condition) & (table["strength"] == strength)]
    if rows.empty:
        raise RunError(f"a robustness table has no rows of {condition} at {strength:g}; run subtext-robustness again")
    return rows


def _still_there(tables: Sequence[pd.DataFrame], condition: str, strength: float, ids: set[Any]) -> float | None:
    """Share of the clips with the spoiled modality in which it is still found, mean over runs."""
    if condition not in CONDITIONS:
        return None
    column = f"present_{CONDITIONS[condition].modality}"
    shares = []
    for table in tables:
        before = _rows(table, CLEAN, 0.0).set_index("id")[column].astype(bool)
        had = [row for row in before.index[before] if row in ids]
        after = _rows(table, condition, strength).set_index("id")[column].astype(bool)
        if had:
            shares.append(float(after.reindex(had).mean()))
    return float(np.mean(shares)) if shares else None


def _same(first: pd.DataFrame, other: pd.DataFrame, head: str) -> bool:
    ours, theirs = (table.set_index("id")[head].astype("boolean") for table in (first, other))
    return set(ours.index) == set(theirs.index) and ours.equals(theirs.reindex(ours.index))


def _shared_points(tables: Sequence[pd.DataFrame]) -> list[tuple[str, float]]:
    """Conditions and strengths that every table has for all its clips, in the first one's order."""
    counts: list[dict[Any, int]] = [
        dict(table.groupby(["condition", "strength"], sort=False).size().items()) for table in tables
    ]
    whole = [{point for point, n in found.items() if n == found[(CLEAN, 0.0)]} for found in counts]
    names = {name: number for number, name in enumerate(CONDITIONS)}
    points = [(str(n), float(s)) for n, s in counts[0] if n != CLEAN and all((n, s) in have for have in whole)]
    # A curve that went on in a second call has its strengths in order all the same.
    return sorted(points, key=lambda p: (names.get(p[0], -1), CONDITIONS[p[0]].level(p[1]) if p[0] in names else 0.0))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table of points or areas as plain types; what JSON has no number for is None."""
    return [
        {str(key): None if pd.isna(value) or value in (math.inf, -math.inf) else value for key, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]
