"""Intervals of agreement, which take sessions for independent of each other, not turns.

From 20 sessions on it is a bootstrap over sessions with expanded percentiles (Hesterberg 2015, The American
Statistician 69(4), 371-386, section 5.3): plain percentiles are too narrow by a factor of about sqrt((n - 1) / n) times
normal over t quantile. With fewer it is the jackknife over sessions with Student's t (Efron & Stein 1981, Annals of
Statistics 9(3), 586-596). Sessions' own coefficients would not do: how often a value occurs, and so what chance would
give, differs between sessions, and a coefficient over all of them varies with that too.
"""

from collections.abc import Mapping

import numpy as np

from subtext.evaluation.intervals import FEW_CLUSTERS, LEVEL, Floats, Interval, Units, cluster_weights
from subtext.evaluation.metrics import CountStatistic


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
    clusters = {unit: len(sums)}
    if len(sums) < 2:
        return _none(statistic, clusters, f"one {unit} only; 2 are needed for an interval")
    without = np.asarray(statistic.figure(sums.sum(axis=0) - sums))
    if not np.isfinite(without).all():
        return _none(statistic, clusters, f"undefined without one {unit}, which alone has other values")
    if np.ptp(without) < 1e-12 and abs(statistic.value - 1) < 1e-12:
        return _none(statistic, clusters, "raters never differ, so nothing tells how the figure would vary")
    if len(sums) < FEW_CLUSTERS:
        half = _t(len(sums) - 1) * float(np.sqrt((len(sums) - 1) * np.var(without)))
        ends = max(statistic.low, statistic.value - half), min(1.0, statistic.value + half)
        return Interval(statistic.value, *ends, f"jackknife over {unit}s, t", (unit,), clusters)
    draws = np.asarray(statistic.figure(cluster_weights(len(sums), n_bootstrap, seed) @ sums))
    defined: Floats = draws[np.isfinite(draws)]
    if len(defined) < 0.9 * len(draws):
        return _none(statistic, clusters, f"undefined in {1 - len(defined) / len(draws):.0%} of the resamples")
    tail = _expanded_tail(len(sums))
    low, high = np.quantile(defined, [tail, 1 - tail])
    method = f"bootstrap over {unit}s, expanded percentile"
    return Interval(statistic.value, float(low), float(high), method, (unit,), clusters)


def _none(statistic: CountStatistic, clusters: Mapping[str, int], reason: str) -> Interval:
    return Interval(statistic.value, units=tuple(clusters), clusters=clusters, reason=reason)


def _expanded_tail(clusters: int) -> float:
    from scipy.stats import norm

    return float(norm.cdf(-np.sqrt(clusters / (clusters - 1)) * _t(clusters - 1)))


def _t(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, degrees))
