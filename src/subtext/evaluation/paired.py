"""Differences of two systems on the same clips: intervals, tests, and what they could have found at all.

A system is one training or several that differ in their seed. Its figure is the mean over them, and the difference of
two systems varies for two reasons that stay apart:

- **sampling**: other clips, people and dialogues would have given another difference, with the same trained systems;
- **seeds**: other trainings would have given another difference, on the same clips. What the seeds differ by beyond
  what the clips alone make them differ by: their observed variance less the sampling variance of their own differences.

The standard error joins both, so that p speaks of the strategies, trained anew and judged on other clips, and not of
these trainings only. Where trainings differ more than clips do, the degrees of freedom go down to those of the seeds:
4 with 3 trainings of each system, however many clips and speakers there are. That is what it takes. Of equal strategies
with 24 speakers and 3 trainings each, which differ much, the test calls 5.0 % different by figures inside each speaker
and 3.5 % by pooled AUROC (at 5 %, `benchmarks/false_positives.py`), and a test of these trainings alone, the sign
flips, 54 %. More seeds narrow the interval then, more clips don't. With one training a system the second part is
unknown, and the result says so.

Trainings that belong together, such as two on the same encoders where each seed has its own, and a run and its own
control, are compared one by one (`together`): what both share makes no difference between them. Where the encoders
decide most, 3.2 % of equal strategies are called different with 3 trainings and 4.6 % with 5, and the minimal
detectable difference is 0.06 with either. As if they shared nothing it would be 0 % and 0.16 or 0.12. Where encoders
decide little, comparing one by one costs next to nothing (6.2 and 4.4 %, 0.19 and 0.13).

**AUROC** (`paired_auroc`): DeLong's covariance (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44) through the
difference of the clips' influence values, clustered by every reused unit at once; see `subtext.evaluation.intervals`.
A unit with few clusters, such as 6 actors, gives a variance that is itself very uncertain. Taking it in with the
quantile of its own 5 degrees of freedom rejects a true null in 1 % where 5 % are stated, leaving it out rejects in
up to 60 %. So it counts where it adds to the variance by the other units, and the degrees of freedom of the sum are
Satterthwaite's (1946, Biometrics Bulletin 2). At 5 % and in the collage's sizes, `benchmarks/false_positives.py` then
rejects 3.2 to 6.2 % of true nulls on crossed pairs, 5.9 % where skills hang on all three units alike, and 2.7 %
where nothing hangs on any of them.

**Figures inside each unit** (`paired_within`), such as the AUROC of each actor: a paired t test, and beside it a
sign-flip test, which needs no normality.

**Metrics of counts** (`paired_counts`): the interval of the difference by the resamples of `count_interval`, the same
for both systems.

No p is given where it could not fall below alpha whatever the data: flipping the signs of k clusters gives none below
2 / 2^k, so 5 clusters or fewer have no test at 5 %. Nor is there one at any alpha with fewer than `FEWEST_CLUSTERS`
clusters, or clips of either label: six clips tell nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import (
    FEWEST_CLUSTERS,
    Units,
    clustered_variance,
    count_interval,
    mean_of,
    mean_of_counts,
    t_quantile,
)
from subtext.evaluation.metrics import Bools, CountStatistic, Floats, Linearised, UndefinedMetricError, auroc

ALPHA: Final = 0.05
POWER: Final = 0.8
"""Probability with which the minimal detectable difference would be found."""
SIGN_PATTERNS: Final = 2**15
"""Up to so many patterns of signs, of 15 units, the sign-flip test goes through all of them."""
SIGN_FLIPS: Final = 9_999
"""Random patterns of signs where there are more."""
_ROUNDING: Final = 1e-10
ONE_TRAINING: Final = "one training of a system does not tell how others would differ"


@dataclass(frozen=True)
class PairedDifference:
    """Our figure less theirs on the same clips, as a mean over the trainings of each.

    Attributes:
        value: the difference; None where it is undefined.
        low: lower end of its 95 % interval, None where there is none.
        high: upper end.
        p: two-sided p of no difference; None where there is no test.
        test: how p and interval were made.
        units: what the clips or figures were clustered by.
        clusters: how many clusters each of those has.
        sampling_sd: standard error from the choice of clips and units, these trained systems given.
        seed_sd: standard error from the trainings' seeds, beyond that; None where neither system has two trainings. The
            interval and the t test use the root of the sum of both squares.
        degrees: degrees of freedom of the standard error.
        minimal_detectable: size of a true difference that this design and test would call significant with probability
            `POWER`, at the level of one test; `subtext.evaluation.multiple.corrected` has it for one of several.
        smallest_p: the smallest p that flipping the signs of so few clusters or units can give.
        sign_flip_p: p of the sign-flip test over units, of these trained systems; only from `paired_within`.
        ours: our figure in each training.
        theirs: their figure in each training.
        clips: clips compared (of `paired_within`: units).
        reason: what is missing and why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: str | None = None
    units: tuple[str, ...] = ()
    clusters: Mapping[str, int] | None = None
    sampling_sd: float | None = None
    seed_sd: float | None = None
    degrees: float | None = None
    minimal_detectable: float | None = None
    smallest_p: float | None = None
    sign_flip_p: float | None = None
    ours: tuple[float, ...] = ()
    theirs: tuple[float, ...] = ()
    clips: int | None = None
    reason: str | None = None

    @property
    def standard_error(self) -> float:
        """Of the value, from clips and from seeds; 0 where nothing tells it."""
        return float(np.hypot(self.sampling_sd or 0.0, self.seed_sd or 0.0))

    def as_dict(self) -> dict[str, Any]:
        """Plain types; besides value, ends and p only what says something."""
        out: dict[str, Any] = {}
        for field in fields(self):
            item = getattr(self, field.name)
            if isinstance(item, tuple):
                item = list(item)
            elif isinstance(item, Mapping):
                item = dict(item)
            if field.name in ("value", "low", "high", "p") or not (item is None or item == [] or item == {}):
                out[field.name] = item
        return out


def paired_auroc(
    labels: Bools,
    ours: Sequence[Floats],
    theirs: Sequence[Floats],
    units: Units,
    *,
    alpha: float = ALPHA,
    together: bool = False,
) -> PairedDifference:
    """Difference of two systems' AUROC, clustered by every unit.

    Args:
        labels: `[n]`, yes or no.
        ours: our scores `[n]`, one array a training; NaN where a clip has none, which leaves it out everywhere.
        theirs: their scores, likewise; the number of trainings may differ.
        units: the clips' clusters.
        alpha: level of the test and of the minimal detectable difference.
        together: whether our n-th training and theirs belong together, such as by encoders that both were given: then
            what they share makes no difference, and only the spread of their differences counts.

    Raises:
        ValueError: no scores, or of another number of clips; trainings that belong together but are not as many.
    """
    labels = np.asarray(labels, dtype=bool)
    if not ours or not theirs or any(len(row) != len(labels) for row in (*ours, *theirs)) or units.n != len(labels):
        raise ValueError(f"need scores of the same {len(labels)} clips from both systems, and their units")
    _check_together(ours, theirs, together)
    known = np.all([~np.isnan(scores) for scores in (*ours, *theirs)], axis=0)
    labels, units = labels[known], units.take(known)
    try:
        a, b = ([auroc(labels, np.asarray(scores)[known]) for scores in system] for system in (ours, theirs))
    except UndefinedMetricError as error:
        return PairedDifference(None, clips=units.n, reason=str(error))
    difference = mean_of(a) - mean_of(b)
    clusters = units.counts() or {"clip": units.n}
    found = PairedDifference(
        difference.value,
        test="clustered DeLong, t" if len(clusters) < 2 else f"{len(clusters)}-way clustered DeLong, t",
        units=tuple(clusters),
        clusters=clusters,
        smallest_p=_smallest_p(min(clusters.values())),
        ours=tuple(estimate.value for estimate in a),
        theirs=tuple(estimate.value for estimate in b),
        clips=units.n,
    )
    seeds = []
    for system in [[x - y for x, y in zip(a, b, strict=True)]] if together else [a, b]:
        deviations = [estimate - mean_of(system) for estimate in system]
        seeds.append(([e.value for e in system], [_between_clips(d, units).variance for d in deviations]))
    of_each = {"clips with the label": int(labels.sum()), "clips without it": int((~labels).sum())}
    return _conclude(found, _between_clips(difference, units), seeds, alpha, of_each)


def paired_within(
    ours: Sequence[pd.Series],
    theirs: Sequence[pd.Series],
    unit: str,
    *,
    alpha: float = ALPHA,
    together: bool = False,
    seed: int = 0,
) -> PairedDifference:
    """Difference of figures computed inside each unit, such as `subtext.evaluation.within.auroc_by_unit`.

    Args:
        ours: our figure by unit, one series a training; a unit that lacks it in any training is left out.
        theirs: theirs, likewise.
        unit: what the units are.
        alpha: level of the tests and of the minimal detectable difference.
        together: see `paired_auroc`.
        seed: seeds the sign flips, where there are too many units to go through all patterns.
    """
    if not ours or not theirs:
        raise ValueError("need figures of at least one training of both systems")
    _check_together(ours, theirs, together)
    table = pd.concat([*ours, *theirs], axis=1, join="outer").astype(np.float64)
    complete = table.dropna()
    a, b = np.split(complete.to_numpy().T, [len(ours)])
    size = len(complete)
    found = PairedDifference(
        float(a.mean() - b.mean()) if size else None,
        test=f"paired t over {size} units",
        units=(unit,),
        clusters={unit: size},
        smallest_p=_smallest_p(size),
        ours=tuple(float(mean) for mean in a.mean(axis=1)) if size else (),
        theirs=tuple(float(mean) for mean in b.mean(axis=1)) if size else (),
        clips=size,
        reason=f"{len(table) - size} of {len(table)} units lack a figure" if len(table) > size else None,
    )
    if size < 2:
        return replace(found, test=None, reason=f"{size} units have a figure of their own; 2 are needed")
    differences = a.mean(axis=0) - b.mean(axis=0)
    seeds = []
    for system in (a - b,) if together else (a, b):
        deviations = system - system.mean(axis=0)
        seeds.append((list(system.mean(axis=1)), [_mean_error(d).variance for d in deviations]))
    result = _conclude(found, _mean_error(differences), seeds, alpha)
    if result.p is None:
        return result
    p, smallest = sign_flip(differences, seed=seed)
    return replace(result, sign_flip_p=p, smallest_p=smallest)


def paired_counts(
    ours: Sequence[CountStatistic], theirs: Sequence[CountStatistic], units: Units, *, n_bootstrap: int, seed: int
) -> PairedDifference:
    """Difference of a metric of counts, with the interval of `count_interval` (both systems in the same resamples).

    There is no p, and the interval is of these trained systems: it does not know of other seeds.

    Args:
        ours: our metric on the clips, one statistic a training.
        theirs: their metric on the same clips.
        units: the clips' clusters.
        n_bootstrap: resamples, where the interval is a bootstrap's.
        seed: seeds the resampling.
    """
    found = count_interval(mean_of_counts(ours) - mean_of_counts(theirs), units, n_bootstrap=n_bootstrap, seed=seed)
    return PairedDifference(
        found.value,
        found.low,
        found.high,
        test=found.method,
        units=found.units,
        clusters=found.clusters,
        ours=tuple(statistic.value for statistic in ours),
        theirs=tuple(statistic.value for statistic in theirs),
        clips=units.n,
        reason=found.reason,
    )


def sign_flip(differences: Floats, *, seed: int = 0) -> tuple[float, float]:
    """Two-sided p that the differences' mean is zero, by flipping their signs, and the smallest p it can give.

    All patterns of signs where there are at most `SIGN_PATTERNS`, else `SIGN_FLIPS` at random and the observed one.

    Args:
        differences: one of each unit.
        seed: seeds the random patterns.
    """
    from scipy.stats import permutation_test

    exact = 2 ** len(differences) <= SIGN_PATTERNS
    # Rounding keeps patterns that are equal but for the order of adding from counting as less extreme.
    result = permutation_test(
        (np.round(differences, 12),),
        lambda sample, axis: np.round(sample.mean(axis=axis), 12),
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_PATTERNS if exact else SIGN_FLIPS,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue), _smallest_p(len(differences)) if exact else 2 / (SIGN_FLIPS + 1)


def equivalence_p(difference: PairedDifference, margin: float) -> float:
    """P that a true difference is as large as the margin, of either sign: the larger of two one-sided tests' p.

    1 where there is no standard error, unless the systems are equal throughout: then 0.

    Args:
        difference: ours less theirs.
        margin: above 0.
    """
    from scipy.stats import t

    if difference.value is None or difference.low is None:
        return 1.0
    error = difference.standard_error
    if difference.degrees is None or error == 0:
        return 0.0 if difference.low == difference.high == 0 else 1.0
    return float(t.sf((margin - abs(difference.value)) / error, difference.degrees))


def detectable(standard_error: float, degrees: float, alpha: float = ALPHA) -> float | None:
    """Size of a true difference that a two-sided t test finds with probability `POWER` (noncentral t).

    None where it is too large to be computed: a very small alpha at one degree of freedom or two.

    Args:
        standard_error: of the difference.
        degrees: its degrees of freedom.
        alpha: level of the test.
    """
    from scipy.optimize import brentq
    from scipy.stats import t
    from statsmodels.stats.power import ttest_power

    near = t_quantile(degrees, 1 - alpha) + float(t.ppf(POWER, degrees))

    def shortfall(effect: float) -> float:
        # One observation whose deviation is the standard error. Being found with the wrong sign does not count.
        return float(ttest_power(effect, 1, alpha / 2, df=degrees, alternative="larger")) - POWER

    try:
        return standard_error * float(brentq(shortfall, near / 2, 1.5 * near))
    except ValueError:
        return None


@dataclass(frozen=True)
class _Error:
    """A squared standard error, or a part of one.

    Attributes:
        variance: its size.
        noise: its own uncertainty, as the sum of v^2 / degrees over the estimates v that it was made from.
            Satterthwaite's degrees of freedom are `variance`^2 / `noise`.
    """

    variance: float
    noise: float

    def __add__(self, other: "_Error") -> "_Error":
        return _Error(self.variance + other.variance, self.noise + other.noise)


def _between_clips(estimate: Linearised, units: Units) -> _Error:
    """Error of a ranking figure (or a difference) from the choice of clusters."""
    counts = units.counts()
    many, few = units.split()
    few = [unit for unit in few if counts[unit] > 1]
    if many or not few:
        base = clustered_variance(estimate, units, many)
        error = _Error(base, base**2 / units.degrees(many))
    else:
        error = _Error(0.0, 0.0)
    if few:
        excess = clustered_variance(estimate, units, many + few) - error.variance
        if excess > 0:
            # What these units add is as uncertain as what they are alone, however little of that it is: with less, 8 %
            # of true nulls were rejected where skills hang on all of three crossed units.
            alone = (clustered_variance(estimate, units, [unit]) ** 2 / units.degrees([unit]) for unit in few)
            error = error + _Error(excess, sum(alone))
            # But not fewer degrees of freedom than that unit has.
            error = replace(error, noise=min(error.noise, error.variance**2 / units.degrees(few)))
    return error


def _mean_error(figures: Floats) -> _Error:
    variance = float(np.var(figures, ddof=1)) / len(figures)
    return _Error(variance, variance**2 / (len(figures) - 1))


def _check_together(ours: Sequence[Any], theirs: Sequence[Any], together: bool) -> None:
    if together and len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} trainings cannot belong together one by one")


def _between_seeds(systems: Sequence[tuple[Sequence[float], Sequence[float]]]) -> _Error | None:
    """Error of the difference of two means over trainings, from the trainings' seeds; None where there is one of each.

    Args:
        systems: of each (or of the differences, where trainings belong together), the figure in each training, and
            the sampling variance of each figure's deviation from their mean.
    """
    observed, expected = [], 0.0
    for values, sampling in systems:
        if (count := len(values)) > 1:
            observed.append((float(np.var(values, ddof=1)) / count, count - 1))
            expected += sum(sampling) / (count - 1) / count
    if not observed:
        return None
    excess = sum(variance for variance, _ in observed) - expected
    if excess <= 0:
        return _Error(0.0, 0.0)
    # An excess as large as the observed variances is as uncertain as they are. A small one is mostly chance that came
    # out positive; the negative is cut off, which makes the sum too large on average already.
    largest = max(variance for variance, _ in observed)
    noise = sum(variance**2 / degrees for variance, degrees in observed)
    return _Error(excess, min(1.0, excess / largest) * noise)


def _conclude(
    found: PairedDifference,
    sampling: _Error,
    trainings: Sequence[tuple[Sequence[float], Sequence[float]]],
    alpha: float,
    counts: Mapping[str, int] | None = None,
) -> PairedDifference:
    """Fill in interval, test and minimal detectable difference.

    Args:
        found: so far.
        sampling: error from the choice of clips and units.
        trainings: see `_between_seeds`.
        alpha: level of the test.
        counts: what else there must be enough of for a test, besides clusters.
    """
    from scipy.stats import t

    reasons = [found.reason] if found.reason else []
    if min(len(values) for values, _ in trainings) < 2:
        reasons.append(ONE_TRAINING)
    seeds = _between_seeds(trainings)
    total = sampling if seeds is None else sampling + seeds
    found = replace(
        found,
        sampling_sd=float(np.sqrt(sampling.variance)),
        seed_sd=None if seeds is None else float(np.sqrt(seeds.variance)),
    )
    value, clusters = float(found.value or 0.0), found.clusters or {}
    single = [unit for unit, size in clusters.items() if size < 2]
    certain = total.variance < _ROUNDING**2
    if single or (certain and abs(value) > _ROUNDING):
        why = f"one cluster of {', '.join(map(repr, single))}" if single else "no spread at all"
        return replace(found, test=None, reason="; ".join([*reasons, f"{why}: nothing tells how this would vary"]))
    if certain:
        reasons.append("no difference anywhere")
        return replace(found, low=0.0, high=0.0, p=1.0, reason="; ".join(reasons))
    # Fewer degrees than one training more than one leaves come from the compromise on small excesses alone.
    error, degrees = float(np.sqrt(total.variance)), max(1.0, total.variance**2 / total.noise)
    half = t_quantile(degrees) * error
    found = replace(found, low=max(-1.0, value - half), high=min(1.0, value + half), degrees=degrees)
    smallest = found.smallest_p or 0.0
    size = min(clusters.values(), default=FEWEST_CLUSTERS)
    few = [f"{count} {what}" for what, count in (counts or {}).items() if count < FEWEST_CLUSTERS]
    if smallest > alpha:
        reasons.append(f"no test: {size} clusters give no p below {smallest:.3g}, and alpha is {alpha:g}")
        return replace(found, reason="; ".join(reasons))
    if few or size < FEWEST_CLUSTERS:
        what = few[0] if few else f"{size} clusters"
        reasons.append(f"no test: {what}, and {FEWEST_CLUSTERS} are needed")
        return replace(found, reason="; ".join(reasons))
    return replace(
        found,
        p=float(2 * t.sf(abs(value) / error, degrees)),
        minimal_detectable=detectable(error, degrees, alpha),
        reason="; ".join(reasons) or None,
    )


def _smallest_p(clusters: int) -> float:
    return float(2.0 ** (1 - clusters)) if clusters else 1.0
