"""95 % intervals for figures on clips that share speakers, identities, actors or dialogues.

Clips that reuse a unit are not independent, and treating them as such rejects a true null two to three times too often.
Every interval here resamples, or sums over, the units and not the clips:

- **AUROC and average precision**: the variance of clustered influence values. With one unit this is the clustered
  DeLong variance of Obuchowski (1997, Biometrics 53); with several crossed units the one-way variances are added and
  those of their intersections taken off (inclusion-exclusion; Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29).
  The sum, which can come out too small and even negative, is never taken below the largest one-way variance.
- **Metrics of counts** (F1, MCC, Brier ...): the delete-one-cluster jackknife, over several units by the same
  inclusion-exclusion (MacKinnon, Nielsen & Webb 2024), on a scale without ends: the logit of where the
  figure lies between its smallest and largest value, or the logarithm where it has one end only. The product-weight
  ("pigeonhole") bootstrap of Owen (2007) is on hand as `pigeonhole_draws`; it counts what varies from clip to clip
  2^units - 1 times over, which makes it far too wide where units are reused a few times.
- **The calibration error**, which noise pushes upwards, has no such symmetry: the percentile bootstrap over clusters,
  expanded (Hesterberg 2015, The American Statistician 69(4), section 5.3) and reflected.
- **A unit with fewer than `FEW_CLUSTERS` clusters** is taken apart from the others. For ranking metrics the metric is
  computed within each cluster and a Student's t half-width taken from the spread of those figures, set around the
  pooled value. Figures within clusters don't see that whole clusters may score higher than others, so the first
  interval is also computed over all units. For metrics of counts it is the jackknife over that unit alone. Where
  several intervals apply the widest is given, and it says which it is.

**Degrees of freedom** are the unit's effective number of clusters less one (`effective_clusters`): a count takes 8
clusters for 8, even where one of them holds 70 % of the clips and decides the figure. Below `LEAST_EFFECTIVE` of them a
metric of counts has no interval. In simulations (`benchmarks/interval_coverage.py`) the jackknife then covers 93 to
98 % from four effective clusters on; what it does not reach stands in `benchmarks/README.md`.

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
LEAST_EFFECTIVE: Final = 4
"""Effective clusters of a unit below which a metric of counts has no interval."""
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
        degrees: of freedom of Student's t, where the interval is made with it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    units: tuple[str, ...] = ()
    clusters: Mapping[str, int] | None = None
    reason: str | None = None
    degrees: float | None = None

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

    def degrees(self, chosen: Sequence[str]) -> float:
        """Degrees of freedom that some units leave: the least effective number of clusters less one."""
        effective = [effective_clusters(self.codes[unit]) for unit in chosen] or [float(self.n)]
        return min(effective) - 1

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


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """The t such that a variable of Student's distribution lies between -t and t with probability `level`.

    Example:
        >>> round(t_quantile(10), 3)
        2.228
    """
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, degrees))


def effective_clusters(codes: Ints) -> float:
    """How many clusters of even size would tell as much: (sum of sizes)^2 / sum of squared sizes.

    What Carter, Schnepel & Steigerwald 2017 (Rev. Econ. Stat. 99) have for clips that are alike inside a cluster, and
    Kish for weights.

    Args:
        codes: `[n]` cluster numbers 0, 1, ...

    Example:
        >>> effective_clusters(np.array([0, 0, 1, 1, 2, 2]))
        3.0
        >>> round(effective_clusters(np.array([0] * 70 + [1] * 10 + [2] * 10 + [3] * 10)), 2)
        1.92
    """
    sizes = np.bincount(codes).astype(np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2)) if len(codes) else 0.0


def expanded_tail(clusters: float) -> float:
    """Share of draws to leave off on either side, as if there were Student's t and an unbiased variance.

    Source: Hesterberg 2015, The American Statistician 69(4), 371-386, section 5.3: plain percentiles are too narrow by
    a factor of about sqrt((n - 1) / n) times normal over t quantile.
    """
    from scipy.stats import norm

    return float(norm.cdf(-np.sqrt(clusters / (clusters - 1)) * t_quantile(clusters - 1)))


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
        candidates.append(_symmetric(estimate.value, variance, clusters, units.degrees(chosen), name, low, high))
    for unit in few:
        own = units.codes[unit]
        figures = _per_cluster(within, own) if within is not None else {}
        effective = effective_clusters(own[np.isin(own, list(figures))])
        values = list(figures.values())
        candidates.append(_few(estimate.value, values, unit, units.counts()[unit], effective, low, high))
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
    # A clip that adds to no sum, such as one that a rater left out, carries none of the figure.
    carrying: npt.NDArray[np.bool_] = np.any(statistic.terms, axis=1)
    if not carrying.all():
        units, statistic = units.take(carrying), replace(statistic, terms=statistic.terms[carrying])
    if not units.codes:
        units = Units({"clip": np.arange(units.n)}, units.n)
    counts = units.counts()
    single = [unit for unit in counts if counts[unit] < 2]
    alone = [f"1 cluster of '{unit}'; 2 are needed" for unit in single]
    several = [unit for unit in counts if unit not in single]
    unable = alone if not several else [why for unit in several if (why := _too_uneven(unit, units))]
    if unable:
        return Interval(value, units=tuple(counts), clusters=counts, reason="; ".join(unable))
    candidates = []
    many = [unit for unit in units.split()[0] if unit in several]
    for chosen in ([many] if many else []) + [[unit] for unit in several if unit not in many]:
        if statistic.nonnegative_bias:
            candidates += [_reflected(statistic, unit, units, n_bootstrap, seed) for unit in chosen]
        else:
            candidates.append(_jackknife(statistic, chosen, units))
    missing = [candidate for candidate in candidates if candidate.low is None]
    found = missing[0] if missing else _widest(candidates)
    return replace(
        found, clusters=counts, reason="; ".join([*alone, *([found.reason] if found.reason else [])]) or None
    )


def _too_uneven(unit: str, units: Units) -> str | None:
    effective = units.degrees([unit]) + 1
    if effective >= LEAST_EFFECTIVE:
        return None
    count = units.counts()[unit]
    clusters = f"{count} {unit}s" if unit == "clip" else f"{count} clusters of '{unit}'"
    return f"{clusters} tell as much as {effective:.1f} of even size; {LEAST_EFFECTIVE} are needed"


def _jackknife(statistic: CountStatistic, chosen: Sequence[str], units: Units) -> Interval:
    """Interval by the variance over clusters left out, symmetric on a scale without ends."""
    value, low, high = statistic.value, statistic.low, statistic.high
    clusters = {unit: units.counts()[unit] for unit in chosen}
    terms = []
    for sign, codes in units.crossings(chosen):
        without = _left_out(statistic, codes)
        if not np.isfinite(without).all():
            which = next((unit for unit in chosen if units.counts()[unit] == len(without)), "part")
            reason = f"undefined without one {which}, which alone has other labels or decisions"
            return Interval(value, units=tuple(chosen), clusters=clusters, reason=reason)
        terms.append((sign, float((len(without) - 1) * np.var(without))))
    variance = _inclusion_exclusion(terms, chosen)
    if variance == 0 and value in (low, high):
        return Interval(value, units=tuple(chosen), clusters=clusters, reason=_AT_ITS_END)
    degrees = units.degrees(chosen)
    ends = _on_open_scale(value, t_quantile(degrees) * np.sqrt(variance), low, high)
    name = "clustered jackknife" if len(chosen) < 2 else f"{len(chosen)}-way clustered jackknife"
    return Interval(value, *ends, name, tuple(chosen), clusters, degrees=degrees)


def _left_out(statistic: CountStatistic, codes: Ints) -> Floats:
    """The metric without each cluster, `[clusters]`."""
    sums = _cluster_sums(statistic.terms, codes)
    return np.asarray(statistic.figure(sums.sum(axis=0) - sums))


def _on_open_scale(value: float, half: float, low: float, high: float) -> tuple[float, float]:
    """Ends of value -+ half on the scale that a figure between two ends has none on.

    The half-width is carried over by the scale's slope at the value. So the ends never leave the figure's range, and a
    rare answer's interval reaches further up than down.
    """
    if not low < value < high:
        return max(low, value - half), min(high, value + half)
    below, above = value - low, high - value
    if np.isinf(below) and np.isinf(above):
        return value - half, value + half
    if np.isinf(above):
        return low + below * float(np.exp(-half / below)), low + below * float(np.exp(half / below))
    if np.isinf(below):
        return high - above * float(np.exp(half / above)), high - above * float(np.exp(-half / above))
    moved = half * (1 / below + 1 / above)
    ends = (below / (below + above * float(np.exp(sign * moved))) for sign in (1, -1))
    down, up = (low + (high - low) * share for share in ends)
    return down, up


def _reflected(statistic: CountStatistic, unit: str, units: Units, n_bootstrap: int, seed: int) -> Interval:
    """Interval by resampled clusters of a figure that noise pushes upwards.

    Resampling adds the same bias once more: reflecting the draws takes it off again. The value itself, which still has
    its bias, stays inside.
    """
    value, clusters = statistic.value, {unit: units.counts()[unit]}
    sums = _cluster_sums(statistic.terms, units.codes[unit])
    draws = np.asarray(statistic.figure(cluster_weights(len(sums), n_bootstrap, seed) @ sums))
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.9 * len(draws):
        reason = f"undefined in {1 - len(defined) / len(draws):.0%} of the resamples"
        return Interval(value, units=(unit,), clusters=clusters, reason=reason)
    tail = expanded_tail(effective_clusters(units.codes[unit]))
    low, high = np.quantile(defined, [tail, 1 - tail])
    if low == high and value in (statistic.low, statistic.high):
        return Interval(value, units=(unit,), clusters=clusters, reason=_AT_ITS_END)
    ends = max(statistic.low, 2 * value - float(high)), max(value, 2 * value - float(low))
    return Interval(value, *ends, "cluster bootstrap, expanded percentile, reflected", (unit,), clusters)


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
    return _few(float(np.mean(figures)), figures, unit, len(figures), len(figures), low, high)


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


def _inclusion_exclusion(terms: Sequence[tuple[int, float]], units: Sequence[str]) -> float:
    # The one-way terms come first.
    largest = max(variance for _, variance in terms[: max(1, len(units))])
    return max(largest, sum(sign * variance for sign, variance in terms))


def _symmetric(
    value: float,
    variance: float,
    clusters: Mapping[str, int],
    degrees: float,
    method: str,
    low: float,
    high: float,
) -> Interval:
    if variance == 0 and value in (low, high):
        return Interval(value, units=tuple(clusters), clusters=clusters, reason=_AT_ITS_END)
    half = t_quantile(degrees) * np.sqrt(variance)
    ends = max(low, float(value - half)), min(high, float(value + half))
    return Interval(value, *ends, method, tuple(clusters), clusters, degrees=degrees)


_AT_ITS_END: Final = "as good or as bad as can be on every clip, so nothing tells how the figure would vary"


def _correction(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else 1.0


def _cluster_sums(terms: Floats, codes: Ints) -> Floats:
    sums = np.zeros((int(codes.max()) + 1, terms.shape[1]))
    np.add.at(sums, codes, terms)
    return sums


def _per_cluster(within: Callable[[npt.NDArray[np.bool_]], float], codes: Ints) -> dict[int, float]:
    """The figure of each cluster that has one of its own."""
    figures = {}
    for cluster in range(int(codes.max()) + 1):
        try:
            figures[cluster] = within(codes == cluster)
        except UndefinedMetricError:
            continue
    return figures


def _few(
    value: float, figures: Sequence[float], unit: str, clusters: int, effective: float, low: float, high: float
) -> Interval:
    if len(figures) < 2:
        return Interval(
            value,
            units=(unit,),
            clusters={unit: clusters},
            reason=f"{len(figures)} of {clusters} clusters of '{unit}' have a figure of their own; 2 are needed",
        )
    half = float(t_quantile(effective - 1) * np.std(figures, ddof=1) / np.sqrt(effective))
    if half == 0 and value in (low, high):
        return Interval(value, units=(unit,), clusters={unit: clusters}, reason=_AT_ITS_END)
    return Interval(
        value,
        max(low, value - half),
        min(high, value + half),
        f"t interval on {len(figures)} per-cluster figures",
        (unit,),
        {unit: clusters},
        degrees=effective - 1,
    )


def _widest(candidates: Sequence[Interval]) -> Interval:
    chosen = max(candidates, key=lambda interval: interval.width)
    counts: dict[str, int] = {}
    for interval in candidates:
        counts.update(interval.clusters or {})
    reasons = [interval.reason for interval in candidates if interval.reason]
    return replace(chosen, clusters=counts, reason="; ".join(reasons) or None)
