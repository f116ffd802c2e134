"""How far raters agree: per label, per pair and per rater, with intervals over sessions.

With one rater there is no agreement to compute, and the report says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.annotation.codebook import Codebook, Label, Scale
from subtext.annotation.coefficients import (
    Floats,
    alpha_statistic,
    fleiss_statistic,
    icc_f_interval,
    icc_statistics,
    mean_kappa_statistic,
    same_value_statistic,
    session_interval,
)
from subtext.annotation.ratings import coverage, rated, rating_matrix
from subtext.errors import AnnotationError
from subtext.evaluation.intervals import FEW_CLUSTERS, Interval, Units
from subtext.evaluation.metrics import CountStatistic

COEFFICIENT_NAMES: Final[Mapping[str, str]] = {
    "alpha": "Krippendorff's alpha",
    "fleiss_kappa": "Fleiss' kappa",
    "mean_pairwise_kappa": "Cohen's kappa, mean of pairs",
    "icc_2_1": "ICC(2,1)",
    "icc_2_k": "ICC(2,k)",
    "pairwise_agreement": "same value, share of pairs",
}
_ALL_THE_SAME: Final = "every shared value is the same, so chance agreement is complete"
_NO_VALUE: Final = "undefined: raters differ from each other more than turns or sessions do"


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement on one label.

    Attributes:
        label: its name.
        scale: as in the codebook.
        unit: turn or session.
        raters: who gave at least one value.
        units: how many turns or sessions have a value.
        shared: how many have values of two or more raters; only these tell about agreement.
        complete: how many have a value of every rater; Fleiss' kappa and the ICCs rest on these.
        sessions: how many sessions the shared ones are from; None where no session is named.
        values: value -> how often it was given.
        coefficients: name (see `COEFFICIENT_NAMES`) -> figure with its interval, or with the reason why there is none.
        pairs: one row a pair of raters: `rater`, `other`, `shared`, `kappa`, `agreement`.
        per_rater: one row a rater: `rater`, `units`, `rated`, `unratable`, `skipped`, `mean_kappa` with the others, and
            `alpha_without`, alpha of the others without this rater.
    """

    label: str
    scale: Scale
    unit: str
    raters: tuple[str, ...]
    units: int
    shared: int
    complete: int
    sessions: int | None
    values: Mapping[str, int]
    coefficients: Mapping[str, Interval]
    pairs: tuple[Mapping[str, Any], ...] = ()
    per_rater: tuple[Mapping[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            **{name: getattr(self, name) for name in ("label", "scale", "unit", "units", "shared", "complete")},
            "sessions": self.sessions,
            "raters": list(self.raters),
            "values": dict(self.values),
            "coefficients": {name: interval.as_dict() for name, interval in self.coefficients.items()},
            "pairs": [dict(pair) for pair in self.pairs],
            "per_rater": [
                {key: item.as_dict() if isinstance(item, Interval) else item for key, item in row.items()}
                for row in self.per_rater
            ],
        }


@dataclass(frozen=True)
class Agreement:
    """Agreement on every label that anyone rated.

    Attributes:
        codebook: its name and version.
        labels: label name -> agreement on it.
        notes: what a reader must know about these figures.
        settings: resamples and seed.
    """

    codebook: str
    labels: Mapping[str, LabelAgreement]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "codebook": self.codebook,
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "labels": {name: label.as_dict() for name, label in self.labels.items()},
        }


def agreement(table: pd.DataFrame, codebook: Codebook, *, n_bootstrap: int = 2000, seed: int = 0) -> Agreement:
    """Every coefficient that fits each label's scale.

    Nominal and binary labels get nominal alpha, Fleiss' and Cohen's kappa; ordinal ones ordinal alpha, Cohen's kappa
    with quadratic weights, and the ICCs; interval ones interval alpha and the ICCs.

    Args:
        table: ratings as `read_rater_files` gives them.
        codebook: the scheme.
        n_bootstrap: resamples of sessions.
        seed: seeds the resampling.

    Raises:
        AnnotationError: no label has a value.
    """
    skipped = coverage(table, codebook)
    found = {}
    for label in codebook.labels.values():
        own = rated(table, label)
        if len(own):
            counts = skipped[skipped["label"] == label.name].drop(columns="label")
            found[label.name] = _label_agreement(own, label, counts, n_bootstrap, seed)
    if not found:
        raise AnnotationError("no label has a value, so there is nothing to agree on; fill in the ratings")
    notes: list[str] = []
    if len(set(table["rater"])) == 1:
        notes.append(
            f"All ratings are {table['rater'].iloc[0]}'s: with one rater agreement cannot be computed, "
            "and nothing tells how reliable the labels are. Have a part of the turns rated by a second person."
        )
    if table["session"].isna().all():
        notes.append(
            "No session is named, so intervals take turns for independent of each other and are too narrow; "
            "name the recording in a column 'session'."
        )
    return Agreement(
        f"{codebook.name} {codebook.version}", found, tuple(notes), {"n_bootstrap": n_bootstrap, "seed": seed}
    )


def _label_agreement(
    own: pd.DataFrame, label: Label, counts: pd.DataFrame, n_bootstrap: int, seed: int
) -> LabelAgreement:
    values, units, raters = rating_matrix(own, label)
    given = np.isfinite(values)
    shared = given.sum(axis=1) >= 2
    complete: npt.NDArray[np.bool_] = np.asarray(given.all(axis=1))
    clusters = Units.of(units, ["session"])
    nominal = label.scale in ("nominal", "binary")
    scale: Literal["nominal", "ordinal", "interval"] = "nominal" if nominal else label.scale  # type: ignore[assignment]
    few = f"one rater only ({raters[0]})" if len(raters) < 2 else f"no {label.unit} has values of two raters"
    figures: dict[str, Interval] = {}

    def interval(statistic: CountStatistic, rows: npt.NDArray[np.bool_], why: str = "") -> Interval:
        if not rows.any():
            return Interval(None, reason=why or few)
        kept = CountStatistic(statistic.terms[rows], statistic.figure, statistic.low, statistic.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            if not np.isfinite(kept.value):
                same = len(np.unique(values[rows][given[rows]])) < 2
                return Interval(None, reason=_ALL_THE_SAME if same else _NO_VALUE)
            alone = int(rows.sum())
            if label.unit == "session" and alone < FEW_CLUSTERS:
                # A session is one unit: it has no figure of its own, and so few cannot be resampled.
                why = f"{alone} sessions, each judged once; an interval needs {FEW_CLUSTERS}"
                return Interval(kept.value, units=("session",), clusters={"session": alone}, reason=why)
            return session_interval(kept, clusters.take(np.flatnonzero(rows)), n_bootstrap=n_bootstrap, seed=seed)

    figures["alpha"] = interval(alpha_statistic(values, scale), shared)
    if len(raters) >= 2:
        gaps = (
            f"{complete.sum()} {label.unit}s have a value of all {len(raters)} raters, and 2 are needed; "
            "leave out who judged few"
        )
        enough = complete if complete.sum() >= 2 else np.zeros_like(complete)
        if nominal:
            statistic = fleiss_statistic(values[enough]) if enough.any() else None
            figures["fleiss_kappa"] = _spread(statistic, enough, interval, gaps)
        if label.scale != "interval":
            figures["mean_pairwise_kappa"] = interval(mean_kappa_statistic(values, not nominal), shared)
        if not nominal:
            singles = icc_statistics(values[enough]) if enough.any() else (None, None)
            for name, one in zip(("icc_2_1", "icc_2_k"), singles, strict=True):
                figures[name] = _spread(one, enough, interval, gaps)
            if label.unit == "session" and enough.any():
                _fall_back_on_f(figures, values[enough])
        figures["pairwise_agreement"] = interval(same_value_statistic(values), shared)
    sessions = units.loc[shared, "session"].dropna().nunique() if units["session"].notna().any() else None
    return LabelAgreement(
        label=label.name,
        scale=label.scale,
        unit=label.unit,
        raters=tuple(raters),
        units=len(values),
        shared=int(shared.sum()),
        complete=int(complete.sum()),
        sessions=sessions,
        values=_value_counts(own, label),
        coefficients=figures,
        pairs=tuple(_pair_rows(values, raters, nominal, label.scale)),
        per_rater=tuple(_rater_rows(values, raters, scale, nominal, counts, interval)),
    )


def _spread(
    statistic: CountStatistic | None,
    rows: npt.NDArray[np.bool_],
    interval: Callable[[CountStatistic, npt.NDArray[np.bool_], str], Interval],
    why: str,
) -> Interval:
    """The interval of a statistic that was made from some of the units only."""
    if statistic is None:
        return Interval(None, reason=why)
    terms = np.zeros((len(rows), statistic.terms.shape[1]))
    terms[rows] = statistic.terms
    return interval(CountStatistic(terms, statistic.figure, statistic.low, statistic.high), rows, why)


def _fall_back_on_f(figures: dict[str, Interval], values: Floats) -> None:
    """With few sessions, each judged once, nothing can be resampled; sessions are independent, so F serves."""
    for name, (low, high) in zip(("icc_2_1", "icc_2_k"), icc_f_interval(values), strict=True):
        found = figures[name]
        if found.value is not None and found.low is None and np.isfinite([low, high]).all():
            figures[name] = replace(
                found,
                low=low,
                high=high,
                method="F distribution (Shrout & Fleiss 1979)",
                units=("session",),
                reason=None,
            )


def _value_counts(own: pd.DataFrame, label: Label) -> dict[str, int]:
    counts = own["value"].value_counts()
    order = list(label.values) or sorted(counts.index, key=label.number)
    return {str(value): int(counts.get(value, 0)) for value in order}


def _pair_rows(values: Floats, raters: Sequence[str], nominal: bool, scale: Scale) -> Iterator[dict[str, Any]]:
    for first, second in combinations(range(len(raters)), 2):
        both = np.isfinite(values[:, first]) & np.isfinite(values[:, second])
        kappa = None
        if scale != "interval" and both.any():
            kappa = _finite(mean_kappa_statistic(values, not nominal, [(first, second)]).value)
        yield {
            "rater": raters[first],
            "other": raters[second],
            "shared": int(both.sum()),
            "kappa": kappa,
            "agreement": float((values[both, first] == values[both, second]).mean()) if both.any() else None,
        }


def _rater_rows(
    values: Floats,
    raters: Sequence[str],
    scale: Literal["nominal", "ordinal", "interval"],
    nominal: bool,
    counts: pd.DataFrame,
    interval: Callable[..., Interval],
) -> Iterator[dict[str, Any]]:
    """Every rater against the others, also those who gave no value at all."""
    for row in counts.to_dict("records"):
        found = {str(key): item for key, item in row.items()}
        if found["rater"] in raters and len(raters) > 1:
            column = raters.index(found["rater"])
            pairs = [(min(column, other), max(column, other)) for other in range(len(raters)) if other != column]
            kappa = None
            if scale != "interval":
                kappa = _finite(mean_kappa_statistic(values, not nominal, pairs).value)
            found["mean_kappa"] = kappa
            if len(raters) > 2:
                others = np.delete(values, column, axis=1)
                found["alpha_without"] = interval(alpha_statistic(others, scale), np.isfinite(others).sum(axis=1) >= 2)
        yield found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
