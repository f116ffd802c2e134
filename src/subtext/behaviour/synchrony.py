"""Whether two speakers' voices go up and down together, who follows, and how much of it chance would give.

Voices of two people in one room resemble each other for many reasons, so no figure here stands alone: each comes with
what pseudo-interactions made of the same two recordings give. Synchrony is not sympathy. Reich, Berman, Dale & Levitt
2014, "Vocal synchrony in psychotherapy", found more pitch synchrony with poorer relationships, and the association of
F0 synchrony with rated empathy (Imel et al. 2014, "The association of therapist empathy and synchrony in vocally
encoded arousal") was not replicated in two larger samples ("Modeling empathy as synchrony in clinician and patient
vocally encoded emotional arousal: a failure to replicate", 2019).
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subtext.errors import ConfigError

Values = npt.NDArray[np.float64]

LEAST_POINTS = 5
"""Pairs of values below which a correlation is not computed."""
LEAST_SEGMENTS = 4
"""Segments below which there are too few ways of exchanging them."""
LEAST_EXCHANGES = 10
"""Exchanges below which turn-level synchrony is missing: so few say nothing."""
LEAST_TESTED = 20
"""Exchanges below which turn-level synchrony has no p: too few to tell drift from what follows the other."""
DRIFT_DEGREE = 3
"""Degree of the curve in time that is taken off each voice's turns."""
TURNS_A_LAG = 50
"""Turns for each earlier turn that a turn is predicted from; one where there are fewer."""


@dataclass(frozen=True)
class SynchronySettings:
    """How `lagged_synchrony` sees two voices.

    Attributes:
        window: s of speech around a point that its value is the mean of; it must span several turns.
        step: s between points.
        segment: s within which values are correlated.
        max_lag: s by which one may trail the other.
        surrogates: pseudo-interactions.
        seed: of their choice.

    Raises:
        ConfigError: a value is out of range.
    """

    window: float = 20.0
    step: float = 5.0
    segment: float = 120.0
    max_lag: float = 20.0
    surrogates: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window", "step", "segment", "surrogates"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"synchrony: {name}={getattr(self, name)} must be above 0")
        if not 0 <= 2 * self.max_lag <= self.segment:
            raise ConfigError(
                f"synchrony: max_lag={self.max_lag:g} s needs a segment of at least twice that, not "
                f"{self.segment:g} s; shorten the lag or lengthen the segment"
            )


@dataclass(frozen=True)
class LaggedSynchrony:
    """What `lagged_synchrony` finds; everything but the curve is missing (NaN) where there are too few segments.

    Attributes:
        value: mean absolute Fisher z over lags and segments, from 0.
        chance: the same over the pairs of segments that do not belong together.
        effect: (value - chance) / standard deviation of the pseudo-interactions.
        p: (1 + pseudo-interactions with at least this value) / (1 + pseudo-interactions).
        lag: s at which the mean correlation is highest; positive = the second follows the first.
        peak: that correlation, -1 to 1. It is the best of several lags and so is above 0 by chance too.
        lags: s, `[lags]`.
        curve: mean correlation at each of them, `[lags]`.
        segments: number of segments.
    """

    value: float
    chance: float
    effect: float
    p: float
    lag: float
    peak: float
    lags: Values
    curve: Values
    segments: int


@dataclass(frozen=True)
class TurnSynchrony:
    """What `turn_synchrony` finds.

    Attributes:
        value: Pearson's r over the exchanges, -1 to 1; missing (NaN) below `LEAST_EXCHANGES`.
        beyond_drift: r of what is left of the two voices once each one's own drift is taken off, -1 to 1; missing
            below `LEAST_TESTED`.
        p: one-sided, of as large an r of what is left; near 1 where the voices go against each other; missing below
            `LEAST_TESTED`.
        exchanges: number of exchanges.
    """

    value: float
    beyond_drift: float
    p: float
    exchanges: int


def moving_average(times: Values, values: Values, grid: Values, window: float, *, least: int = LEAST_POINTS) -> Values:
    """Means of the values around each point of a grid, `[points]`; missing where fewer than `least` are known.

    After the time-aligned moving average of Kousidis et al. 2008: overlapping windows, the same for both speakers,
    give two series on one clock although the two speak in turn.

    Args:
        times: s, ascending, `[n]`.
        values: NaN = unknown, `[n]`.
        grid: s, `[points]`.
        window: width in s.
        least: known values that a mean needs.
    """
    known = np.isfinite(values)
    times, values = times[known], values[known]
    first, last = np.searchsorted(times, grid - window / 2), np.searchsorted(times, grid + window / 2)
    middle = values.mean() if len(values) else 0.0  # sums of what is near 0 lose no digits
    sums = np.concatenate([[0.0], np.cumsum(values - middle)])
    count = last - first
    return np.where(count >= least, middle + (sums[last] - sums[first]) / np.maximum(count, 1), np.nan)


def lagged_synchrony(first: Values, second: Values, settings: SynchronySettings | None = None) -> LaggedSynchrony:
    """Windowed, lagged correlation of two series with a chance level.

    The series are cut into segments. In each, Pearson's r at every lag up to `max_lag` both ways becomes Fisher's z;
    `value` is the mean of |z| over lags, then over segments; `chance` the same over all pairs of segments that do not
    belong together. Each pseudo-interaction pairs the first's segments with the second's in another order; where there
    are fewer orders than `surrogates`, each is taken once. They are drawn from all orders, some of which keep a pair:
    with orders that keep none, one odd pair that does belong together would show in no pseudo-interaction, and of
    recordings of ten minutes that have nothing to do with each other one in ten came out as synchronous at 5 %.

    Source: Boker, Rotondo, Xu & King 2002, "Windowed cross-correlation and peak picking for the analysis of variability
    in the association between behavioral time series"; Ramseyer & Tschacher 2011, "Nonverbal synchrony in
    psychotherapy" (pseudo-interactions by shuffled segments); aggregated as in Tschacher & Meier 2020 (SUSY).

    What changes far more slowly than a segment (both tire, a gain is turned) is in the pseudo-interactions too and so
    adds to chance, not to the difference. A noise on both channels is synchrony here.

    Args:
        first: one value every `settings.step` s, NaN = unknown, `[points]`.
        second: on the same clock, `[points]`.
        settings: see `SynchronySettings`.

    Raises:
        ValueError: the series differ in length.
    """
    settings = settings or SynchronySettings()
    if len(first) != len(second):
        raise ValueError(f"series of {len(first)} and {len(second)} points are not on one clock")
    length = round(settings.segment / settings.step)
    count = len(first) // length
    most = round(settings.max_lag / settings.step)
    steps = range(-most, most + 1)
    one, two = (series[: count * length].reshape(count, length) for series in (first, second))
    z = np.stack([_fisher_z(one, two, lag) for lag in steps])  # [lags, segments of one, segments of two]
    curve = np.tanh(_mean(np.diagonal(z, axis1=1, axis2=2), axis=1))
    strength = _mean(np.abs(z), axis=0)
    # A segment in which somebody is silent tells nothing, whichever other it is paired with.
    told = np.flatnonzero(np.isfinite(np.diagonal(strength)))
    lags = np.array([step * settings.step for step in steps])
    if len(told) < LEAST_SEGMENTS:
        nan = float("nan")
        return LaggedSynchrony(nan, nan, nan, nan, nan, nan, lags, curve, len(told))
    strength = strength[np.ix_(told, told)]
    value = float(np.diagonal(strength).mean())
    own = np.arange(len(told))
    pseudo = np.array([float(_mean(strength[own, order], axis=0)) for order in _orders(len(told), settings)])
    pseudo = pseudo[np.isfinite(pseudo)]
    chance = float(_mean(strength[own[:, None] != own], axis=0))
    spread = float(pseudo.std(ddof=1)) if len(pseudo) > 1 else float("nan")
    best = int(np.nanargmax(curve))
    return LaggedSynchrony(
        value=value,
        chance=chance,
        effect=(value - chance) / spread if spread > 0 else float("nan"),
        p=(1 + int(np.count_nonzero(pseudo >= value))) / (1 + len(pseudo)),
        lag=float(lags[best]),
        peak=float(curve[best]),
        lags=lags,
        curve=curve,
        segments=len(told),
    )


def turn_synchrony(first: Values, second: Values) -> TurnSynchrony:
    """Correlation of the two speakers' values over their exchanges, and whether it goes beyond how each one drifts.

    Formula: Pearson's r over pairs of adjacent turns by different speakers. Source: local synchrony in Levitan &
    Hirschberg 2011, "Measuring acoustic-prosodic entrainment with respect to multiple levels and dimensions"; there the
    values are of the inter-pausal units on both sides of the exchange, here of whole turns.

    Two voices that tire, or warm up, correlate without ever listening to each other. So p is of the correlation between
    what is left of both after prewhitening (Haugh 1976, JASA 71; Dean & Dunsmuir 2016, Behav. Res. Methods 48): of each
    voice's own turns a curve in time (`DRIFT_DEGREE`) is taken off, then what its own earlier turns predict, by one of
    them for each `TURNS_A_LAG` turns. p is Student's, the curve's degrees taken off. Surrogates that slide one voice
    along the other (Moulder, Boker, Ramseyer & Tschacher 2018) won't do: a drift has no end that fits its beginning,
    and sliding called voices that merely drift synchronous in 12 to 20 % of cases at 5 %.

    A turn between two turns of the other speaker stands in two exchanges. Values that repeat the one before are taken
    for such a turn, which counts once for its voice's drift.

    Args:
        first: of the one speaker at each exchange, in order of time, `[exchanges]`; NaN = unknown.
        second: of the other, `[exchanges]`.

    Example:
        >>> both = np.random.default_rng(0).normal(size=40)
        >>> drift = np.linspace(0.0, 3.0, 40)
        >>> followed = turn_synchrony(both, both + np.random.default_rng(1).normal(size=40))
        >>> drifting = turn_synchrony(both + drift, np.random.default_rng(2).normal(size=40) + drift)
        >>> followed.p < 0.001, drifting.value > 0.3, drifting.p > 0.2
        (True, True, True)
    """
    nan = float("nan")
    known = np.isfinite(first) & np.isfinite(second)
    one, two = first[known], second[known]
    value = _pearson(one, two) if len(one) >= LEAST_EXCHANGES else nan
    if not np.isfinite(value) or len(one) < LEAST_TESTED:
        return TurnSynchrony(value, nan, nan, len(one))
    left = [_beyond_drift(voice) for voice in (one, two)]
    told = np.isfinite(left[0]) & np.isfinite(left[1])
    r = _pearson(left[0][told], left[1][told])
    degrees = int(told.sum()) - 2 - DRIFT_DEGREE
    if not np.isfinite(r) or degrees < 1:
        return TurnSynchrony(value, nan, nan, len(one))
    from scipy.stats import t

    p = float(t.sf(r * np.sqrt(degrees / max(1 - r**2, 1e-12)), degrees))
    return TurnSynchrony(value, r, p, len(one))


def _beyond_drift(values: Values) -> Values:
    """What a voice's own drift leaves of its value at each exchange; NaN where nothing precedes it."""
    new = np.concatenate([[True], values[1:] != values[:-1]])
    turns = values[new]
    count = len(turns)
    lags = max(1, count // TURNS_A_LAG)
    left = np.full(count, np.nan)
    if count > DRIFT_DEGREE + 2 * lags + 1:
        place = np.linspace(-1.0, 1.0, count)
        turns = turns - np.polynomial.Polynomial.fit(place, turns, DRIFT_DEGREE)(place)
        earlier = np.column_stack([turns[lags - lag : count - lag] for lag in range(1, lags + 1)])
        weights = np.linalg.lstsq(earlier, turns[lags:])[0]
        if count < len(values) and lags == 1:
            # Taking off a curve makes turns look less alike than they are (Kendall 1954, Biometrika 41). Where a turn
            # stands in two exchanges, likeness that is left over makes the two products alike, and p too small.
            weights = np.clip(weights + (DRIFT_DEGREE + 1 + (DRIFT_DEGREE + 3) * weights) / count, -1.0, 1.0)
        left[lags:] = turns[lags:] - earlier @ weights
    return left[np.cumsum(new) - 1]


def _pearson(one: Values, two: Values) -> float:
    one, two = one - one.mean(), two - two.mean()
    size = float(np.sqrt(np.square(one).sum() * np.square(two).sum()))
    return float((one * two).sum()) / size if size > 1e-12 else float("nan")


def _fisher_z(one: Values, two: Values, lag: int) -> Values:
    """Fisher's z of each segment of `one` with each of `two` read `lag` points later, `[segments, segments]`."""
    length = one.shape[1]
    one, two = one[:, max(0, -lag) : length - max(0, lag)], two[:, max(0, lag) : length - max(0, -lag)]
    known_one, known_two = (np.isfinite(values).astype(float) for values in (one, two))
    # Means of what is there first, so that squares of large values lose no digits.
    one, two = (np.where(np.isfinite(values), values - _mean(values, axis=1)[:, None], 0.0) for values in (one, two))
    count = known_one @ known_two.T
    sum_one, sum_two = one @ known_two.T, known_one @ two.T
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = one @ two.T - sum_one * sum_two / count
        variances = (np.square(one) @ known_two.T - sum_one**2 / count) * (
            known_one @ np.square(two).T - sum_two**2 / count
        )
        r = covariance / np.sqrt(np.where(variances > 1e-18, variances, np.nan))
    return np.where(count >= LEAST_POINTS, np.arctanh(np.clip(r, -0.9999, 0.9999)), np.nan)


def _mean(values: Values, axis: int) -> Values:
    """Mean of what is known; NaN, without a warning, where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def _orders(count: int, settings: SynchronySettings) -> list[npt.NDArray[np.int64]]:
    """Other orders of the segments: all there are, or `settings.surrogates` of them, drawn."""
    own = np.arange(count)
    if math.factorial(min(count, 20)) <= settings.surrogates + 1:
        return [np.array(order) for order in itertools.permutations(range(count))][1:]
    generator = np.random.default_rng(settings.seed)
    found: list[npt.NDArray[np.int64]] = []
    while len(found) < settings.surrogates:
        order = generator.permutation(count)
        if not np.array_equal(order, own):
            found.append(order)
    return found
