"""95 % intervals for figures on clips that share speakers, identities, actors or dialogues.

Clips that reuse a unit are not independent, and treating them as such rejects a true null two to three times too often.
Every interval here resamples, or sums over, the units and not the clips:

- **AUROC and average precision**: the variance of clustered influence values. With one unit this is the clustered
  DeLong variance of Obuchowski (1997, Biometrics 53); with several crossed units the one-way variances are added and
  those of their intersections taken off (inclusion-exclusion; Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29).
  The sum, which can come out too small and even negative, is never taken below the largest one-way variance. The
  quantile is Student's with the smallest unit's count less one degrees of freedom.
- **Metrics of counts** (F1, MCC, Brier, calibration error ...): with one unit the percentile bootstrap over its
  clusters; with several the same inclusion-exclusion over delete-one-cluster jackknife variances (MacKinnon, Nielsen &
  Webb 2024). The product-weight ("pigeonhole") bootstrap of Owen (2007) is on hand as `pigeonhole_draws`; it counts
  what varies from clip to clip 2^units - 1 times over, which makes it far too wide where units are reused a few times.
- **A unit with fewer than `FEW_CLUSTERS` clusters** can carry neither. For it the metric is computed within each
  cluster and a Student's t half-width taken from the spread of those figures, set around the pooled value. Figures
  within clusters don't see that whole clusters may score higher than others, so for ranking metrics the first interval
  is also computed over all units. Where several intervals apply the widest is given, and it says which it is.

A clip whose unit is unknown counts as a cluster of its own.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.evaluation.metrics import CountStatistic, Linearised, UndefinedMetricError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEW_CLUSTERS: Final = 20
FEWEST_CLUSTERS: Final = 6
"""Clusters, and clips of each label, below which nothing is concluded: five differences have one and the same sign by
chance once in sixteen times, whatever the figures."""
LEVEL: Final = 0.95


def enough(clips: int, positive: int, clusters: Iterable[int] = ()) -> bool:
    """Whether there is enough to conclude anything from figures on some clips; see `FEWEST_CLUSTERS`.

    Args:
        clips: all of them.
        positive: those with the label.
        clusters: how many each unit has.
    """
    return min(positive, clips - positive, *clusters) >= FEWEST_CLUSTERS


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval and how it came about.

    Attributes:
        value: the figure on all clips; None where it is undefined.
        low: lower end, None where there is no interval.
        high: upper end, None where there is no interval.
        method: how the interval was made.
        units: the units that it was clustered by.
        clusters: how many clusters each of those has among these clips.
        reason: why the figure or its interval is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    units: tuple[str, ...] = ()
    clusters: Mapping[str, int] | None = None
    reason: str | None = None

    @property
    def width(self) -> float:
        """High less low; minus infinity where there is no interval."""
        return float("-inf") if self.low is None or self.high is None else self.high - self.low

    @property
    def rests_on_few(self) -> bool:
        """Whether it was clustered by a unit with fewer clusters than its width can be trusted with."""
        counts = self.clusters or {}
        return any(counts.get(unit, FEW_CLUSTERS) < FEW_CLUSTERS for unit in self.units)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, without fields that say nothing."""
        fields = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "method": self.method,
            "units": list(self.units),
            "clusters": dict(self.clusters or {}),
            "reason": self.reason,
        }
        return {key: item for key, item in fields.items() if key in ("value", "low", "high") or item}


@dataclass(frozen=True)
class Units:
    """Which cluster of each reused unit every clip belongs to.

    Attributes:
        codes: unit -> `[n]` cluster numbers 0, 1, ...; empty where no unit is known, then each clip stands for itself.
        n: clips.
    """

    codes: Mapping[str, Ints]
    n: int

    @classmethod
    def of(cls, table: pd.DataFrame, groups: Sequence[str]) -> "Units":
        """Read the group columns of a table; a column that is absent or all null is left out."""
        codes: dict[str, Ints] = {}
        for group in groups:
            if group in table and table[group].notna().any():
                found, _ = pd.factorize(table[group])
                alone = found < 0
                found = found.astype(np.int64)
                found[alone] = found.max() + 1 + np.arange(alone.sum())
                codes[group] = found
        return cls(codes, len(table))

    def take(self, rows: npt.NDArray[Any]) -> "Units":
        """The units of some of the clips (a mask or positions)."""
        taken = {
            unit: np.unique(codes[rows], return_inverse=True)[1].astype(np.int64) for unit, codes in self.codes.items()
        }
        return Units(taken, int(np.count_nonzero(rows) if rows.dtype == bool else len(rows)))

    def counts(self) -> dict[str, int]:
        """Clusters of each unit."""
        return {unit: int(codes.max()) + 1 if len(codes) else 0 for unit, codes in self.codes.items()}

    def split(self) -> tuple[list[str], list[str]]:
        """Units with enough clusters to resample, and units with fewer than `FEW_CLUSTERS`."""
        counts = self.counts()
        return (
            [unit for unit in counts if counts[unit] >= FEW_CLUSTERS],
            [unit for unit in counts if counts[unit] < FEW_CLUSTERS],
        )

    def crossings(self, units: Sequence[str]) -> Iterator[tuple[int, Ints]]:
        """Sign and cluster numbers of every intersection of `units`, in inclusion-exclusion."""
        if not units:
            yield 1, np.arange(self.n)
        for size in range(1, len(units) + 1):
            for chosen in itertools.combinations(units, size):
                codes = self.codes[chosen[0]]
                for unit in chosen[1:]:
                    other = self.codes[unit]
                    codes = np.unique(codes * (other.max() + 1) + other, return_inverse=True)[1]
                yield (-1) ** (size + 1), codes


def ranking_interval(
    estimate: Linearised,
    units: Units,
    within: Callable[[npt.NDArray[np.bool_]], float] | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    method: str = "DeLong",
) -> Interval:
    """Interval of an AUROC, an average precision, or the difference of two.

    Args:
        estimate: the figure with each clip's influence.
        units: the clips' clusters.
        within: the figure on some of the clips (bool `[n]`), needed where a unit has few clusters; raises
            `UndefinedMetricError` where it has no value.
        low: smallest value that the figure can take.
        high: largest value.
        method: what the influence values are called.
    """
    many, few = units.split()
    candidates = []
    counts = units.counts()
    for chosen in ([many] if many or not counts else []) + ([list(counts)] if few else []):
        clusters = {unit: counts[unit] for unit in chosen} or {"clip": units.n}
        if min(clusters.values()) < 2:
            continue
        name = f"clustered {method}" if len(chosen) < 2 else f"{len(chosen)}-way clustered {method}"
        variance = clustered_variance(estimate, units, chosen)
        candidates.append(_symmetric(estimate.value, variance, clusters, name, low, high))
    for unit in few:
        figures = _per_cluster(within, units.codes[unit]) if within is not None else []
        candidates.append(_few(estimate.value, figures, unit, units.counts()[unit], low, high))
    return _widest(candidates)


def count_interval(statistic: CountStatistic, units: Units, *, n_bootstrap: int, seed: int) -> Interval:
    """Interval of a metric that is a function of sums over clips.

    Args:
        statistic: the metric.
        units: the clips' clusters.
        n_bootstrap: resamples, where the interval is a bootstrap's.
        seed: seeds the resampling; equal seeds give equal resamples, whatever the metric.
    """
    value = statistic.value
    if not np.isfinite(value):
        return Interval(None, reason="undefined on these clips")
    many, few = units.split()
    candidates = []
    if len(many) < 2 and (many or not units.codes):
        _, codes = next(units.crossings(many))
        sums = _cluster_sums(statistic.terms, codes)
        draws = np.asarray(statistic.figure(cluster_weights(len(sums), n_bootstrap, seed) @ sums))
        clusters = {many[0] if many else "clip": len(sums)}
        candidates.append(_percentile(statistic, draws, tuple(clusters), clusters))
    elif many:
        clusters = {unit: units.counts()[unit] for unit in many}
        terms = [(sign, _jackknife_variance(statistic, codes)) for sign, codes in units.crossings(many)]
        name = f"{len(many)}-way clustered jackknife"
        variance = _inclusion_exclusion(terms, many)
        candidates.append(_symmetric(value, variance, clusters, name, statistic.low, statistic.high))
    for unit in few:
        figures = np.asarray(statistic.figure(_cluster_sums(statistic.terms, units.codes[unit])))
        found = [float(figure) for figure in figures if np.isfinite(figure)]
        candidates.append(_few(value, found, unit, units.counts()[unit], statistic.low, statistic.high))
    return _widest(candidates)


def clustered_variance(estimate: Linearised, units: Units, chosen: Sequence[str]) -> float:
    """Variance of a ranking metric, clustered by the `chosen` units (by clip where there are none)."""
    terms = [(sign, _one_way_variance(estimate, codes)) for sign, codes in units.crossings(chosen)]
    return _inclusion_exclusion(terms, chosen)


@functools.lru_cache(maxsize=2)
def cluster_weights(clusters: int, n_bootstrap: int, seed: int) -> Floats:
    """`[n_bootstrap, clusters]`: how often each cluster is drawn in each resample with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=n_bootstrap).astype(np.float64)


def pigeonhole_draws(statistic: CountStatistic, units: Units, *, n_bootstrap: int, seed: int) -> Floats:
    """The metric in resamples that draw the clusters of every unit, a clip's weight being the product of its units'.

    Source: Owen 2007, "The pigeonhole bootstrap" (Ann. Appl. Stat. 1). Never too narrow, and close where every unit is
    reused many times.
    """
    weights = np.ones((n_bootstrap, units.n))
    for index, codes in enumerate(units.codes.values()):
        weights *= cluster_weights(int(codes.max()) + 1, n_bootstrap, seed + index)[:, codes]
    return np.asarray(statistic.figure(weights @ statistic.terms))


def mean_interval(figures: Sequence[float], unit: str, *, low: float = 0.0, high: float = 1.0) -> Interval:
    """Mean of a figure that was computed inside each cluster, with Student's t interval over the clusters.

    Args:
        figures: one of each cluster.
        unit: what the clusters are.
        low: smallest value that the figure can take.
        high: largest value.
    """
    if not len(figures):
        return Interval(None, units=(unit,), clusters={unit: 0}, reason=f"no {unit} has a figure of its own")
    return _few(float(np.mean(figures)), figures, unit, len(figures), low, high)


def mean_of(estimates: Sequence[Linearised]) -> Linearised:
    """The mean of one figure over several systems (seeds) on the same clips.

    Its influence is the mean of theirs, so that its interval says how the mean would vary over other clips and units,
    with these trained systems.
    """
    first = estimates[0]
    if any(not np.array_equal(first.positive, other.positive) for other in estimates):
        raise ValueError("a mean over systems needs the same clips with the same labels")
    return Linearised(
        float(np.mean([e.value for e in estimates])), np.mean([e.influence for e in estimates], axis=0), first.positive
    )


def mean_of_counts(statistics: Sequence[CountStatistic]) -> CountStatistic:
    """The mean of one metric of counts over several systems (seeds) on the same clips.

    Resampling takes a clip out of all systems at once, so that its interval says, as that of `mean_of`, how the mean
    would vary over other clips and units.
    """
    first = statistics[0]
    ends = np.cumsum([0, *(statistic.terms.shape[1] for statistic in statistics)])

    def mean(sums: Floats) -> Floats:
        each = [s.figure(sums[..., a:b]) for s, a, b in zip(statistics, ends[:-1], ends[1:], strict=True)]
        return np.asarray(np.mean(each, axis=0))

    return CountStatistic(
        np.hstack([statistic.terms for statistic in statistics]), mean, first.low, first.high, first.nonnegative_bias
    )


def _one_way_variance(estimate: Linearised, codes: Ints) -> float:
    """Obuchowski's clustered variance; with each clip a cluster, DeLong's."""
    positive = _cluster_sums(np.where(estimate.positive, estimate.influence, 0.0)[:, None], codes)[:, 0]
    negative = _cluster_sums(np.where(estimate.positive, 0.0, estimate.influence)[:, None], codes)[:, 0]
    with_positive = len(np.unique(codes[estimate.positive]))
    with_negative = len(np.unique(codes[~estimate.positive]))
    variance = (
        _correction(with_positive) * np.sum(positive**2)
        + _correction(with_negative) * np.sum(negative**2)
        + 2 * _correction(len(positive)) * np.sum(positive * negative)
    )
    return float(max(variance, 0.0))


def _jackknife_variance(statistic: CountStatistic, codes: Ints) -> float:
    sums = _cluster_sums(statistic.terms, codes)
    left_out = np.asarray(statistic.figure(sums.sum(axis=0) - sums))
    left_out = left_out[np.isfinite(left_out)]
    return float((len(left_out) - 1) * np.var(left_out)) if len(left_out) else 0.0


def _inclusion_exclusion(terms: Sequence[tuple[int, float]], units: Sequence[str]) -> float:
    # The one-way terms come first.
    largest = max(variance for _, variance in terms[: max(1, len(units))])
    return max(largest, sum(sign * variance for sign, variance in terms))


def _symmetric(
    value: float, variance: float, clusters: Mapping[str, int], method: str, low: float, high: float
) -> Interval:
    if variance == 0 and value in (low, high):
        return Interval(value, units=tuple(clusters), clusters=clusters, reason=_AT_ITS_END)
    half = _t(min(clusters.values()) - 1) * np.sqrt(variance)
    ends = max(low, float(value - half)), min(high, float(value + half))
    return Interval(value, *ends, method, tuple(clusters), clusters)


_AT_ITS_END: Final = "as good or as bad as can be on every clip, so nothing tells how the figure would vary"


def _correction(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else 1.0


def _cluster_sums(terms: Floats, codes: Ints) -> Floats:
    sums = np.zeros((int(codes.max()) + 1, terms.shape[1]))
    np.add.at(sums, codes, terms)
    return sums


def _percentile(
    statistic: CountStatistic, draws: Floats, units: tuple[str, ...], clusters: Mapping[str, int]
) -> Interval:
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.9 * len(draws):
        return Interval(
            statistic.value,
            clusters=clusters,
            reason=f"undefined in {1 - len(defined) / len(draws):.0%} of the resamples",
        )
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high and statistic.value in (statistic.low, statistic.high):
        return Interval(statistic.value, units=units, clusters=clusters, reason=_AT_ITS_END)
    method = "cluster bootstrap, percentile"
    if statistic.nonnegative_bias:
        # Resampling adds the same upward bias once more: reflecting the draws takes it off again. The value itself,
        # which still has its bias, stays inside.
        low, high = max(statistic.low, 2 * statistic.value - high), max(statistic.value, 2 * statistic.value - low)
        method = "cluster bootstrap, reflected percentile"
    return Interval(statistic.value, float(low), float(high), method, units, clusters)


def _per_cluster(within: Callable[[npt.NDArray[np.bool_]], float], codes: Ints) -> list[float]:
    figures = []
    for cluster in range(int(codes.max()) + 1):
        try:
            figures.append(within(codes == cluster))
        except UndefinedMetricError:
            continue
    return figures


def _few(value: float, figures: Sequence[float], unit: str, clusters: int, low: float, high: float) -> Interval:
    if len(figures) < 2:
        return Interval(
            value,
            units=(unit,),
            clusters={unit: clusters},
            reason=f"{len(figures)} of {clusters} clusters of '{unit}' have a figure of their own; 2 are needed",
        )
    half = float(_t(len(figures) - 1) * np.std(figures, ddof=1) / np.sqrt(len(figures)))
    if half == 0 and value in (low, high):
        return Interval(value, units=(unit,), clusters={unit: clusters}, reason=_AT_ITS_END)
    return Interval(
        value,
        max(low, value - half),
        min(high, value + half),
        f"t interval on {len(figures)} per-cluster figures",
        (unit,),
        {unit: clusters},
    )


def _widest(candidates: Sequence[Interval]) -> Interval:
    chosen = max(candidates, key=lambda interval: interval.width)
    counts: dict[str, int] = {}
    for interval in candidates:
        counts.update(interval.clusters or {})
    reasons = [interval.reason for interval in candidates if interval.reason]
    return replace(chosen, clusters=counts, reason="; ".join(reasons) or None)


def _t(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, max(degrees, 1)))
