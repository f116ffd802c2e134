"""How far raters agree: per label, per pair and per rater, with intervals over sessions, and where they don't.

Krippendorff's alpha and the ICCs are written from their papers, because the packages that have them are under the GPL;
kappas come from statsmodels. Every coefficient is held as sums over units, so that an interval can resample sessions:
from 20 sessions on it is the cluster bootstrap, with fewer a t interval on the sessions' own figures (see
`subtext.evaluation.intervals`). With one rater there is no agreement to compute, and the report says so.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.annotation.codebook import Codebook, Label, Scale
from subtext.annotation.ratings import coverage, rated
from subtext.errors import AnnotationError
from subtext.evaluation.intervals import FEW_CLUSTERS, Interval, Units, count_interval
from subtext.evaluation.metrics import CountStatistic

Floats = npt.NDArray[np.float64]

COEFFICIENT_NAMES: Final[Mapping[str, str]] = {
    "alpha": "Krippendorff's alpha",
    "fleiss_kappa": "Fleiss' kappa",
    "mean_pairwise_kappa": "Cohen's kappa, mean of pairs",
    "icc_2_1": "ICC(2,1)",
    "icc_2_k": "ICC(2,k)",
    "pairwise_agreement": "same value, share of pairs",
}


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
        table: ratings as `read_ratings` gives them.
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


def rating_matrix(table: pd.DataFrame, label: Label) -> tuple[Floats, pd.DataFrame, list[str]]:
    """One label's values as a matrix.

    Returns:
        `[units, raters]` (nominal and binary: the value's place in the codebook; else its number; NaN where there is
        none), the units' `session` and `turn`, and the raters.
    """
    own = rated(table, label)
    places = {value: float(place) for place, value in enumerate(label.values)}
    numbers = own["value"].map(places if label.scale in ("nominal", "binary") else label.number)
    keyed = own.assign(session=own["session"].fillna(""), turn=own["turn"].fillna(""), number=numbers)
    wide = keyed.pivot(index=["session", "turn"], columns="rater", values="number").sort_index()
    units = wide.index.to_frame(index=False).astype(object)
    return wide.to_numpy(dtype=np.float64), units.where(units != "", None), [str(rater) for rater in wide.columns]


def krippendorff_alpha(values: Floats, scale: Literal["nominal", "ordinal", "interval"]) -> float:
    """Krippendorff's alpha, NaN where it is undefined (no unit with two values, or only one value throughout).

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", with his difference functions.

    Args:
        values: `[units, raters]`, numbers in order; NaN where a rater gave none.
        scale: how values differ.
    """
    return alpha_statistic(np.asarray(values, dtype=np.float64), scale).value


def alpha_statistic(values: Floats, scale: Literal["nominal", "ordinal", "interval"]) -> CountStatistic:
    """Krippendorff's alpha as sums over units (see `krippendorff_alpha`)."""
    given = np.isfinite(values)
    in_unit = given.sum(axis=1)
    pairable = in_unit >= 2
    if scale == "interval":
        # Observed and expected squared differences follow from sums and squares; the mean off, for precision.
        centred = np.where(given & pairable[:, None], values - (np.nanmean(values) if given.any() else 0.0), 0.0)
        total, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
        m = np.where(pairable, in_unit, 0)
        observed = 2 * (m * squares - total**2) / np.maximum(m - 1, 1)
        return CountStatistic(np.column_stack([m, total, squares, observed]), _interval_alpha, low=-np.inf)
    levels = np.unique(values[given])
    counts = np.stack([(values == level).sum(axis=1) for level in levels], axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(levels))
    coincidences = np.where(pairable[:, None, None], pairs / np.maximum(in_unit - 1, 1)[:, None, None], 0.0)
    figure = _nominal_alpha if scale == "nominal" else _ordinal_alpha
    return CountStatistic(coincidences.reshape(len(values), -1), figure, low=-np.inf)


def _interval_alpha(sums: Floats) -> Floats:
    n, total, squares, observed = np.moveaxis(np.asarray(sums), -1, 0)
    return _one_minus((n - 1) * observed, 2 * (n * squares - total**2))


def _nominal_alpha(sums: Floats) -> Floats:
    coincidences = _square(sums)
    given = coincidences.sum(axis=-1)
    n = given.sum(axis=-1)
    differing = n - np.trace(coincidences, axis1=-2, axis2=-1)
    return _one_minus((n - 1) * differing, n**2 - (given**2).sum(axis=-1))


def _ordinal_alpha(sums: Floats) -> Floats:
    coincidences = _square(sums)
    given = coincidences.sum(axis=-1)
    n = given.sum(axis=-1)
    # The values from c to k, those of c and k counted half, lie between the middles of c's and k's ranks.
    middle = given.cumsum(axis=-1) - given / 2
    difference = (middle[..., :, None] - middle[..., None, :]) ** 2
    expected = (given[..., :, None] * given[..., None, :] * difference).sum(axis=(-2, -1))
    return _one_minus((n - 1) * (coincidences * difference).sum(axis=(-2, -1)), expected)


def icc_statistics(values: Floats) -> tuple[CountStatistic, CountStatistic]:
    """ICC(2,1) and ICC(2,k): two-way random effects, absolute agreement, of one rater and of the mean of k.

    Source: Shrout & Fleiss 1979, Psychological Bulletin 86(2), 420-428.

    Args:
        values: `[units, raters]` without gaps.
    """
    k = values.shape[1]
    values = values - values.mean()
    terms = np.column_stack([np.ones(len(values)), values, (values**2).sum(axis=1), values.sum(axis=1) ** 2])
    return (
        CountStatistic(terms, lambda sums: _icc_single(sums, k), low=-np.inf),
        CountStatistic(terms, lambda sums: _icc_mean(sums, k), low=-np.inf),
    )


def icc_f_interval(values: Floats, level: float = 0.95) -> tuple[tuple[float, float], tuple[float, float]]:
    """F-based intervals of ICC(2,1) and ICC(2,k), which take the units for independent.

    Source: Shrout & Fleiss 1979, the interval for case 2, after Satterthwaite.

    Args:
        values: `[units, raters]` without gaps.
        level: of the interval.
    """
    from scipy.stats import f

    n, k = values.shape
    single, _ = icc_statistics(values)
    between, judges, error = (float(square) for square in _mean_squares(single.terms.sum(axis=0), k))
    rho, ratio = single.value, judges / error
    spread = n * (1 + (k - 1) * rho) - k * rho
    degrees = (k - 1) * (n - 1) * (k * rho * ratio + spread) ** 2 / ((n - 1) * (k * rho * ratio) ** 2 + spread**2)
    upper = f.ppf((1 + level) / 2, n - 1, degrees)
    lower = f.ppf((1 + level) / 2, degrees, n - 1)
    rest = k * judges + (k * n - k - n) * error
    low = float(n * (between - upper * error) / (upper * rest + n * between))
    high = float(n * (lower * between - error) / (rest + n * lower * between))
    stepped = tuple(k * end / (1 + (k - 1) * end) for end in (low, high))
    return (low, high), (stepped[0], stepped[1])


def _mean_squares(sums: Floats, k: int) -> tuple[Floats, Floats, Floats]:
    n, judges, squares, rows = sums[..., 0], sums[..., 1 : k + 1], sums[..., k + 1], sums[..., k + 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = judges.sum(axis=-1) ** 2 / (n * k)
        between = rows / k - mean
        of_judges = (judges**2).sum(axis=-1) / n - mean
        error = squares - mean - between - of_judges
        return between / (n - 1), of_judges / (k - 1), error / ((n - 1) * (k - 1))


def _icc_single(sums: Floats, k: int) -> Floats:
    between, judges, error = _mean_squares(sums, k)
    return _ratio(between - error, between + (k - 1) * error + k * (judges - error) / sums[..., 0])


def _icc_mean(sums: Floats, k: int) -> Floats:
    between, judges, error = _mean_squares(sums, k)
    return _ratio(between - error, between + (judges - error) / sums[..., 0])


def fleiss_statistic(values: Floats) -> CountStatistic:
    """Fleiss' kappa (statsmodels) of `[units, raters]` without gaps, as counts of the patterns that units show."""
    levels = np.unique(values)
    counts = np.stack([(values == level).sum(axis=1) for level in levels], axis=1)
    patterns, of_unit = np.unique(counts, axis=0, return_inverse=True)

    def kappa(sums: Floats) -> float:
        from statsmodels.stats.inter_rater import fleiss_kappa

        rows = np.repeat(patterns, np.rint(sums).astype(int), axis=0)
        return float(fleiss_kappa(rows)) if len(rows) and (rows.sum(axis=0) > 0).sum() > 1 else float("nan")

    terms = np.eye(len(patterns))[np.ravel(of_unit)]
    return CountStatistic(terms, lambda sums: np.apply_along_axis(kappa, -1, sums), low=-1.0)


def mean_kappa_statistic(
    values: Floats, weighted: bool, pairs: Sequence[tuple[int, int]] | None = None
) -> CountStatistic:
    """Mean of Cohen's kappa (statsmodels) over pairs of raters, each on the units that both rated.

    Args:
        values: `[units, raters]`, NaN where a rater gave no value.
        weighted: with quadratic weights on the values' numbers, for ordinal scales.
        pairs: columns to compare; default every pair. A pair whose kappa is undefined is left out of the mean.
    """
    pairs = list(combinations(range(values.shape[1]), 2)) if pairs is None else pairs
    levels = np.unique(values[np.isfinite(values)])
    width = len(levels) ** 2
    terms = np.zeros((len(values), len(pairs) * width))
    for index, (first, second) in enumerate(pairs):
        both = np.flatnonzero(np.isfinite(values[:, first]) & np.isfinite(values[:, second]))
        cell = np.searchsorted(levels, values[both, first]) * len(levels) + np.searchsorted(
            levels, values[both, second]
        )
        terms[both, index * width + cell] = 1
    weights = (levels[:, None] - levels[None, :]) ** 2 if weighted else None

    def mean(sums: Floats) -> float:
        kappas = [_cohen(table.reshape(len(levels), -1), weights) for table in sums.reshape(len(pairs), width)]
        defined = [kappa for kappa in kappas if np.isfinite(kappa)]
        return float(np.mean(defined)) if defined else float("nan")

    return CountStatistic(terms, lambda sums: np.apply_along_axis(mean, -1, sums), low=-1.0)


def _cohen(table: Floats, weights: Floats | None) -> float:
    from statsmodels.stats.inter_rater import cohens_kappa

    if not table.sum() or (np.count_nonzero(table.sum(axis=0) + table.sum(axis=1)) < 2):
        return float("nan")
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")
        return float(cohens_kappa(table, weights=weights, return_results=False))


def _same_value_statistic(values: Floats) -> CountStatistic:
    pairs = list(combinations(range(values.shape[1]), 2))
    both = np.stack([np.isfinite(values[:, i]) & np.isfinite(values[:, j]) for i, j in pairs], axis=1)
    same = np.stack([values[:, i] == values[:, j] for i, j in pairs], axis=1)
    terms = np.column_stack([same.sum(axis=1), both.sum(axis=1)]).astype(np.float64)
    return CountStatistic(terms, lambda sums: _ratio(sums[..., 0], sums[..., 1]))


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
                return Interval(None, reason="every shared value is the same, so chance agreement is complete")
            alone = int(rows.sum())
            if label.unit == "session" and alone < FEW_CLUSTERS:
                # A session is one unit: it has no figure of its own, and so few cannot be resampled.
                why = f"{alone} sessions, each judged once; an interval needs {FEW_CLUSTERS}"
                return Interval(kept.value, units=("session",), clusters={"session": alone}, reason=why)
            return count_interval(kept, clusters.take(np.flatnonzero(rows)), n_bootstrap=n_bootstrap, seed=seed)

    figures["alpha"] = interval(alpha_statistic(values, scale), shared)
    if len(raters) >= 2:
        gaps = f"{complete.sum()} {label.unit}s have a value of every rater ({len(raters)}); 2 are needed"
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
        figures["pairwise_agreement"] = interval(_same_value_statistic(values), shared)
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


def _square(sums: Floats) -> Floats:
    size = round(np.sqrt(sums.shape[-1]))
    return np.reshape(sums, (*np.shape(sums)[:-1], size, size))


def _ratio(over: Floats, under: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(under) > 1e-12, np.divide(over, under), np.nan)


def _one_minus(over: Floats, under: Floats) -> Floats:
    return 1 - _ratio(over, under)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
