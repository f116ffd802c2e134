"""Coefficients of agreement, each held as sums over units, so that an interval can resample or leave out sessions.

Krippendorff's alpha and the ICCs are written from their papers, because the packages that have them are under the GPL;
kappas come from statsmodels.

Their intervals take sessions for independent of each other, not turns. From 20 sessions on it is a bootstrap over
sessions with expanded percentiles (Hesterberg 2015, The American Statistician 69(4), 371-386, section 5.3): plain
percentiles are too narrow by a factor of about sqrt((n - 1) / n) times normal over t quantile. With fewer it is the
jackknife over sessions with Student's t (Efron & Stein 1981, Annals of Statistics 9(3), 586-596). Sessions' own
coefficients would not do: how often a value occurs, and so what chance would give, differs between sessions, and a
coefficient over all of them varies with that too.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from subtext.evaluation.intervals import (
    FEW_CLUSTERS,
    Floats,
    Interval,
    Units,
    cluster_weights,
    effective_clusters,
    expanded_tail,
    t_quantile,
)
from subtext.evaluation.metrics import CountStatistic


def alpha_statistic(values: Floats, scale: Literal["nominal", "ordinal", "interval"]) -> CountStatistic:
    """Krippendorff's alpha as sums over units.

    It is NaN where it is undefined (no unit with two values, or only one value throughout). Source: Krippendorff 2011,
    "Computing Krippendorff's Alpha-Reliability", with his difference functions.

    Args:
        values: `[units, raters]`, numbers in order; NaN where a rater gave none.
        scale: how values differ.
    """
    given = np.isfinite(values)
    in_unit = given.sum(axis=1)
    pairable = in_unit >= 2
    if scale == "interval":
        # Observed and expected squared differences follow from sums and squares.
        centred = np.where(given & pairable[:, None], _standardised(values), 0.0)
        total, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
        m = np.where(pairable, in_unit, 0)
        observed = 2 * (m * squares - total**2) / np.maximum(m - 1, 1)
        return CountStatistic(np.column_stack([m, total, squares, observed]), _interval_alpha, low=-np.inf)
    levels = np.unique(values[given])
    counts = (values[:, None, :] == levels[:, None]).sum(axis=2).astype(np.float64)
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
    values = _standardised(values)
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

    Returns:
        Lower and upper end of each; NaN where it has none, such as where raters or units never differ.
    """
    from scipy.stats import f

    n, k = values.shape
    if not np.ptp(values, axis=1).any():
        return (np.nan, np.nan), (np.nan, np.nan)
    single, _ = icc_statistics(values)
    between, judges, error = _mean_squares(single.terms.sum(axis=0), k)
    rho = single.value
    # The paper's degrees of freedom with both terms times the error, which may be nothing.
    of_judges, spread = k * rho * judges, (n * (1 + (k - 1) * rho) - k * rho) * error
    with np.errstate(invalid="ignore"):
        degrees = (k - 1) * (n - 1) * (of_judges + spread) ** 2 / ((n - 1) * of_judges**2 + spread**2)
    upper = f.ppf((1 + level) / 2, n - 1, degrees)
    lower = f.ppf((1 + level) / 2, degrees, n - 1)
    rest = k * judges + (k * n - k - n) * error
    low = float(n * (between - upper * error) / (upper * rest + n * between))
    high = float(n * (lower * between - error) / (rest + n * lower * between))
    # Spearman and Brown's formula has no value from -1 / (k - 1) down.
    stepped = [k * end / (1 + (k - 1) * end) if 1 + (k - 1) * end > 0 else np.nan for end in (low, high)]
    return (low, high), (stepped[0], stepped[1])


def _standardised(values: Floats) -> Floats:
    """The same values about 0 and in units of their range, which leaves the coefficients as they are, for precision."""
    given = values[np.isfinite(values)]
    span = np.ptp(given) if len(given) else 0.0
    return (values - given.mean()) / span if span else np.zeros_like(values)


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
    return _share(between - error, between + (k - 1) * error + k * (judges - error) / sums[..., 0])


def _icc_mean(sums: Floats, k: int) -> Floats:
    between, judges, error = _mean_squares(sums, k)
    return _share(between - error, between + (judges - error) / sums[..., 0])


def _share(part: Floats, whole: Floats) -> Floats:
    # Estimates of variance can be negative; a part of nothing or less is no share.
    return np.where(whole > 0, _ratio(part, whole), np.nan)


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


def same_value_statistic(values: Floats) -> CountStatistic:
    pairs = list(combinations(range(values.shape[1]), 2))
    both = np.stack([np.isfinite(values[:, i]) & np.isfinite(values[:, j]) for i, j in pairs], axis=1)
    same = np.stack([values[:, i] == values[:, j] for i, j in pairs], axis=1)
    terms = np.column_stack([same.sum(axis=1), both.sum(axis=1)]).astype(np.float64)
    return CountStatistic(terms, lambda sums: _ratio(sums[..., 0], sums[..., 1]))


def session_interval(statistic: CountStatistic, units: Units, *, n_bootstrap: int, seed: int) -> Interval:
    """A coefficient with its interval over sessions; over single turns where no session is known.

    Args:
        statistic: the coefficient, of units that it is defined on.
        units: the units' sessions.
        n_bootstrap: resamples of sessions.
        seed: seeds them.
    """
    unit, codes = next(iter(units.codes.items()), ("turn", np.arange(units.n)))
    sums = np.zeros((int(codes.max()) + 1, statistic.terms.shape[1]))
    np.add.at(sums, codes, statistic.terms)
    clusters, effective = {unit: len(sums)}, effective_clusters(codes)
    if len(sums) < 2:
        return _none(statistic, clusters, f"one {unit} only; 2 are needed for an interval")
    without = np.asarray(statistic.figure(sums.sum(axis=0) - sums))
    if not np.isfinite(without).all():
        return _none(statistic, clusters, f"undefined without one {unit}, which alone has other values")
    if np.ptp(without) < 1e-12 and abs(statistic.value - 1) < 1e-12:
        return _none(statistic, clusters, "raters never differ, so nothing tells how the figure would vary")
    if len(sums) < FEW_CLUSTERS:
        half = t_quantile(effective - 1) * float(np.sqrt((len(sums) - 1) * np.var(without)))
        ends = max(statistic.low, statistic.value - half), min(1.0, statistic.value + half)
        return Interval(statistic.value, *ends, f"jackknife over {unit}s, t", (unit,), clusters)
    draws = np.asarray(statistic.figure(cluster_weights(len(sums), n_bootstrap, seed) @ sums))
    defined: Floats = draws[np.isfinite(draws)]
    if len(defined) < 0.9 * len(draws):
        return _none(statistic, clusters, f"undefined in {1 - len(defined) / len(draws):.0%} of the resamples")
    tail = expanded_tail(effective)
    low, high = np.quantile(defined, [tail, 1 - tail])
    method = f"bootstrap over {unit}s, expanded percentile"
    return Interval(statistic.value, float(low), float(high), method, (unit,), clusters)


def _none(statistic: CountStatistic, clusters: Mapping[str, int], reason: str) -> Interval:
    return Interval(statistic.value, units=tuple(clusters), clusters=clusters, reason=reason)


def _square(sums: Floats) -> Floats:
    size = round(np.sqrt(sums.shape[-1]))
    return np.reshape(sums, (*np.shape(sums)[:-1], size, size))


def _ratio(over: Floats, under: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(under) > 1e-12, np.divide(over, under), np.nan)


def _one_minus(over: Floats, under: Floats) -> Floats:
    return 1 - _ratio(over, under)
