"""Vocal synchrony: signals whose lag is known, and independent ones."""

import numpy as np
import pytest

from builders.benchmark_scripts import benchmark
from subtext.behaviour.synchrony import (
    SynchronySettings,
    lagged_synchrony,
    moving_average,
    turn_synchrony,
)
from subtext.errors import ConfigError

POINTS = 720
"""An hour, a point every 5 s."""


def smooth_noise(seed: int, points: int = POINTS) -> np.ndarray:
    """Noise that changes within half a minute or so."""
    noise = np.random.default_rng(seed).normal(size=points + 40)
    return np.convolve(noise, np.hanning(9), mode="valid")[:points]


@pytest.mark.parametrize("lag", [-15.0, -5.0, 0.0, 10.0, 20.0])
def test_the_lag_of_a_follower_is_found(lag: float) -> None:
    course = smooth_noise(1, POINTS + 20)
    shift = round(lag / 5)
    first = course[10 : 10 + POINTS - 10]
    second = course[10 - shift : 10 - shift + POINTS - 10] + 0.1 * smooth_noise(2)[: POINTS - 10]
    found = lagged_synchrony(first, second)
    assert found.lag == lag
    assert found.peak > 0.9
    assert found.p == 1 / 501
    assert found.effect > 5


def test_two_modulated_sines_with_a_known_lag() -> None:
    # F0 around 120 and 200 Hz, its melody's height going up and down every 90 s or so; the second is 10 s late.
    times = np.arange(POINTS) * 5.0
    course = np.sin(2 * np.pi * times / 90) + 0.7 * np.sin(2 * np.pi * times / 61)
    late = np.sin(2 * np.pi * (times - 10) / 90) + 0.7 * np.sin(2 * np.pi * (times - 10) / 61)
    found = lagged_synchrony(np.log(120 + 10 * course), np.log(200 + 25 * late))
    assert found.lag == 10.0
    assert found.peak > 0.99


@pytest.mark.parametrize("seed", range(5))
def test_independent_series_are_within_chance(seed: int) -> None:
    found = lagged_synchrony(smooth_noise(100 + seed), smooth_noise(200 + seed))
    assert abs(found.effect) < 3
    assert found.p > 0.01


def test_p_values_of_independent_series_are_spread_evenly() -> None:
    settings = SynchronySettings(surrogates=99)
    p = np.array([lagged_synchrony(smooth_noise(2 * i), smooth_noise(2 * i + 1), settings).p for i in range(100)])
    assert 0.4 < p.mean() < 0.6
    assert np.mean(p <= 0.05) <= 0.12


def test_a_shared_slow_drift_adds_to_chance_and_not_to_the_effect() -> None:
    drift = np.linspace(0, 60, POINTS)
    found = lagged_synchrony(smooth_noise(5) + drift, smooth_noise(6) + drift)
    alone = lagged_synchrony(smooth_noise(5), smooth_noise(6))
    assert found.chance > alone.chance
    assert abs(found.effect) < 3


def test_a_constant_pair_of_series_has_no_synchrony_rather_than_zero() -> None:
    found = lagged_synchrony(np.full(POINTS, 5.0), smooth_noise(1))
    assert np.isnan(found.value)
    assert np.isnan(found.lag)


def test_missing_points_are_left_out() -> None:
    first, second = smooth_noise(1), np.roll(smooth_noise(1), 2)
    gaps = np.random.default_rng(0).random(POINTS) < 0.25
    found = lagged_synchrony(np.where(gaps, np.nan, first), second)
    assert found.lag == 10.0
    assert found.peak > 0.95


def test_invariant_to_each_voices_own_height_and_range() -> None:
    first, second = smooth_noise(1), smooth_noise(1) + smooth_noise(2)
    one, other = lagged_synchrony(first, second), lagged_synchrony(5 + 3 * first, 1e6 + 0.01 * second)
    assert one.value == pytest.approx(other.value, rel=1e-6)
    assert one.p == other.p


def test_too_short_a_session_is_missing() -> None:
    found = lagged_synchrony(smooth_noise(1)[:72], smooth_noise(1)[:72])
    assert found.segments == 3
    assert np.isnan(found.value)
    assert np.isnan(found.p)


def test_the_same_seed_gives_the_same_chance() -> None:
    settings = SynchronySettings(seed=3)
    first, second = smooth_noise(1), smooth_noise(2)
    assert lagged_synchrony(first, second, settings).effect == lagged_synchrony(first, second, settings).effect
    assert lagged_synchrony(first, second).effect != lagged_synchrony(first, second, settings).effect


def test_series_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one clock"):
        lagged_synchrony(smooth_noise(1), smooth_noise(1)[:-1])


@pytest.mark.parametrize(("name", "value"), [("window", 0.0), ("step", -1.0), ("max_lag", 61.0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SynchronySettings(**{name: value})


def test_moving_average_by_hand() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    values = np.array([1.0, 3.0, np.nan, 5.0, 7.0])
    found = moving_average(times, values, np.array([1.0, 3.0, 6.0, 9.0]), 4.0, least=2)
    assert found[:2].tolist() == pytest.approx([2.0, 4.0])  # a window takes in its start and not its end
    assert np.isnan(found[2:]).all()


def test_turns_that_answer_each_other_correlate() -> None:
    generator = np.random.default_rng(0)
    client = generator.normal(size=200)
    counsellor = 0.8 * client + 0.6 * generator.normal(size=200)
    found = turn_synchrony(client, counsellor)
    assert found.value == pytest.approx(np.corrcoef(client, counsellor)[0, 1])
    assert found.p < 1e-6
    assert abs(found.beyond_drift - found.value) < 0.1
    assert found.exchanges == 200


def test_turns_that_go_against_each_other_have_a_p_near_1() -> None:
    client = np.random.default_rng(0).normal(size=200)
    found = turn_synchrony(client, -client)
    assert found.value == pytest.approx(-1.0)
    assert found.p == pytest.approx(1.0)


def test_independent_turns_are_within_chance() -> None:
    p = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        p.append(turn_synchrony(generator.normal(size=120), generator.normal(size=120)).p)
    assert 0.4 < np.mean(p) < 0.6
    assert np.mean(np.array(p) <= 0.05) <= 0.13


def test_few_exchanges_are_missing() -> None:
    found = turn_synchrony(np.arange(9.0), np.arange(9.0))
    assert np.isnan(found.value)
    assert found.exchanges == 9


def test_exchanges_without_a_value_are_left_out() -> None:
    first, second = np.arange(30.0), np.arange(30.0) ** 2
    first[3] = second[7] = np.nan
    known = np.isfinite(first) & np.isfinite(second)
    found = turn_synchrony(first, second)
    assert found.exchanges == 28
    assert found.value == pytest.approx(np.corrcoef(first[known], second[known])[0, 1])


def test_short_recordings_of_independent_voices_are_not_synchronous_too_often() -> None:
    # Five segments: orders in which no segment keeps its partner would call one in ten synchronous.
    p = np.array([lagged_synchrony(smooth_noise(2 * i, 125), smooth_noise(2 * i + 1, 125)).p for i in range(600)])
    assert 0.03 <= np.mean(p <= 0.05) <= 0.075
    assert p.min() >= 1 / 120


def rejected(kind: str, exchanges: int, samples: int = 300, seed: int = 5) -> float:
    """Share of samples with p <= .05 of `benchmarks/turn_synchrony.py`."""
    simulation = benchmark("turn_synchrony")
    generator = np.random.default_rng(seed)
    return float(
        np.mean([turn_synchrony(*simulation.voices(kind, generator, exchanges)).p <= 0.05 for _ in range(samples)])
    )


@pytest.mark.parametrize("exchanges", [20, 60])
@pytest.mark.parametrize(
    "kind", ["noise", "lines", "curves", "same curve", "slow", "very slow", "walks", "noisy walks"]
)
def test_independent_voices_that_drift_are_not_synchronous_too_often(kind: str, exchanges: int) -> None:
    # Sliding one voice along the other rejected lines in 25 to 40 %, curves in 15 to 30 % and walks in 14 %.
    assert 0.015 <= rejected(kind, exchanges) <= 0.085


@pytest.mark.parametrize("kind", ["noise", "lines", "slow", "walks"])
def test_voices_whose_turns_stand_in_two_exchanges_each_are_not_synchronous_too_often(kind: str) -> None:
    simulation = benchmark("turn_synchrony")
    generator = np.random.default_rng(6)
    p = [turn_synchrony(*simulation.alternating(kind, generator, 60)).p for _ in range(300)]
    assert 0.015 <= np.mean(np.array(p) <= 0.05) <= 0.085


def test_planted_synchrony_is_found_about_as_often_as_by_sliding() -> None:
    """Beside what the test before drift was taken off found, on noise, where sliding was right."""
    simulation = benchmark("turn_synchrony")
    generator = np.random.default_rng(7)
    now = before = 0
    for _ in range(250):
        one, two = simulation.voices("synchrony", generator, 40)
        now += turn_synchrony(one, two).p <= 0.05
        before += simulation.sliding_p(one, two) <= 0.05
    assert before > 125, "sliding must find it often, or this test shows nothing"
    assert now >= 0.8 * before


def test_planted_synchrony_is_found_where_turns_stand_in_two_exchanges_each() -> None:
    simulation = benchmark("turn_synchrony")
    generator = np.random.default_rng(8)
    pairs = [simulation.alternating("synchrony", generator, 80) for _ in range(300)]
    now = np.mean([turn_synchrony(*pair).p <= 0.05 for pair in pairs])
    before = np.mean([simulation.sliding_p(*pair) <= 0.05 for pair in pairs])
    assert now > 1.3 * before


def test_too_few_exchanges_for_a_p_have_none() -> None:
    generator = np.random.default_rng(9)
    client = generator.normal(size=20)
    counsellor = client + 0.1 * generator.normal(size=20)
    few, enough = turn_synchrony(client[:19], counsellor[:19]), turn_synchrony(client, counsellor)
    assert few.value > 0.9
    assert np.isnan([few.p, few.beyond_drift]).all()
    assert enough.p < 0.001


def test_a_voice_that_never_changes_has_no_synchrony() -> None:
    found = turn_synchrony(np.random.default_rng(10).normal(size=30), np.full(30, 4.0))
    assert np.isnan([found.value, found.beyond_drift, found.p]).all()
    straight = turn_synchrony(np.random.default_rng(10).normal(size=30), np.arange(30.0))
    assert np.isfinite(straight.value)
    assert np.isnan(straight.p), "nothing but drift is left nothing to correlate"
