import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, norm, ttest_rel
from scipy.stats import t as student

from subtext.evaluation.intervals import Units, clustered_variance, count_interval, effective_clusters
from subtext.evaluation.metrics import auroc, decision_metrics, probability_metrics
from subtext.evaluation.paired import (
    ONE_TRAINING,
    detectable,
    paired_auroc,
    paired_counts,
    paired_within,
    sign_flip,
)

OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1 3.7 6.7 6 1
3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1
3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1
3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
"""Albumin, total protein, K-G score, outcome of the patients in DeLong et al. 1988, as in the documentation of SAS's
PROC LOGISTIC ("Comparing Receiver Operating Characteristic Curves")."""
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Differences of Darwin's crossed and self-fertilised maize in eighths of an inch (Fisher 1935, The Design of
Experiments, section 21)."""
SLEEP = (
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
)
"""Hours of sleep gained with two drugs (Student 1908, Biometrika 6; R's `sleep`)."""


def crossed(seed: int, n: int = 400, identities: int = 80, dialogues: int = 60, actors: int = 24) -> tuple:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "identity": rng.integers(0, identities, n),
            "dialogue": rng.integers(0, dialogues, n),
            "actor": np.arange(n) % actors,
        }
    )
    labels = rng.random(n) < 0.5
    return labels, frame, Units.of(frame, list(frame)), rng


@pytest.mark.parametrize(
    ("column", "sign", "area", "difference", "error", "chi2"),
    [(0, 1, 0.7366, 0.0108, 0.0953, 0.0127), (1, 1, 0.6478, -0.0780, 0.1046, 0.5554)],
)
def test_delongs_own_example(column: int, sign: int, area: float, difference: float, error: float, chi2: float) -> None:
    data = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    labels, score = data[:, 3] == 1, -data[:, 2]
    found = paired_auroc(labels, [sign * data[:, column]], [score], Units({}, len(data)))
    assert found.ours[0] == pytest.approx(area, abs=5e-5)
    assert found.theirs[0] == pytest.approx(0.7258, abs=5e-5)
    assert found.value == pytest.approx(difference, abs=5e-5)
    assert found.sampling_sd == pytest.approx(error, abs=5e-5)
    assert (found.value / found.sampling_sd) ** 2 == pytest.approx(chi2, abs=5e-5)
    assert found.degrees == len(data) - 1
    # The published p is the normal's, ours is Student's with 42 degrees of freedom.
    assert found.p == pytest.approx(2 * norm.sf(abs(found.value) / error), abs=0.005)


def test_error_with_many_clusters_is_the_multiway_clustered_one_with_students_quantile() -> None:
    labels, frame, units, rng = crossed(0)
    ours, theirs = rng.normal(size=(2, len(labels))) + 0.5 * labels
    found = paired_auroc(labels, [ours], [theirs], units)
    variance = clustered_variance(auroc(labels, ours) - auroc(labels, theirs), units, list(frame))
    assert found.sampling_sd == pytest.approx(variance**0.5)
    # 24 actors with nearly as many clips each tell as much as nearly 24.
    degrees = effective_clusters(units.codes["actor"]) - 1
    assert 22.9 < degrees < 23
    assert found.degrees == pytest.approx(degrees)
    assert found.p == pytest.approx(2 * student.sf(abs(found.value) / variance**0.5, degrees))
    half = student.ppf(0.975, degrees) * variance**0.5
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert found.clusters == {"identity": frame["identity"].nunique(), "dialogue": 60, "actor": 24}


def test_few_clusters_count_where_they_add_to_the_variance_and_then_cost_degrees_of_freedom() -> None:
    labels, frame, units, rng = crossed(1, n=600, actors=6)
    signal = rng.normal(size=600) + labels
    skill = np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])[frame["actor"]]
    without = Units.of(frame, ["identity", "dialogue"])
    apart = [signal + skill * labels, signal - skill * labels]
    found = paired_auroc(labels, apart[:1], apart[1:], units)
    blind = paired_auroc(labels, apart[:1], apart[1:], without)
    assert found.sampling_sd > 2 * blind.sampling_sd
    assert 4.99 <= found.degrees < 6
    assert blind.degrees > 50
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(2, 600))
        same = paired_auroc(labels, [signal + noise[0]], [signal + noise[1]], units)
        blind = paired_auroc(labels, [signal + noise[0]], [signal + noise[1]], without)
        assert same.sampling_sd >= blind.sampling_sd
        assert same.degrees > 4.99


def test_swapping_systems_only_changes_the_sign_and_order_of_clips_nothing() -> None:
    labels, frame, units, rng = crossed(2, actors=6)
    ours, theirs = rng.normal(size=(2, len(labels))) + 0.5 * labels
    found, swapped = paired_auroc(labels, [ours], [theirs], units), paired_auroc(labels, [theirs], [ours], units)
    assert swapped.value == pytest.approx(-found.value)
    assert (swapped.low, swapped.high, swapped.p) == pytest.approx((-found.high, -found.low, found.p))
    order = rng.permutation(len(labels))
    mixed = Units.of(frame.iloc[order].astype(str), list(frame))
    again = paired_auroc(labels[order], [ours[order]], [theirs[order]], mixed)
    assert (again.value, again.low, again.p) == pytest.approx((found.value, found.low, found.p))


def test_clips_that_any_training_lacks_are_left_out() -> None:
    labels, frame, units, rng = crossed(3)
    ours, theirs = rng.normal(size=(2, len(labels))) + 0.5 * labels
    hole = ours.copy()
    hole[:50] = np.nan
    found = paired_auroc(labels, [ours, hole], [theirs], units)
    rest = paired_auroc(labels[50:], [ours[50:]], [theirs[50:]], Units.of(frame.iloc[50:], list(frame)))
    assert found.clips == 350
    assert (found.value, found.sampling_sd) == pytest.approx((rest.value, rest.sampling_sd))
    with pytest.raises(ValueError, match="same 400 clips"):
        paired_auroc(labels, [ours[50:]], [theirs], units)
    assert "all" in str(paired_auroc(np.ones(400, dtype=bool), [ours], [theirs], units).reason)


def test_no_p_where_flipping_the_clusters_signs_could_not_give_one() -> None:
    for actors, tested in ((5, False), (6, True)):
        labels, _, units, rng = crossed(4, actors=actors)
        ours, theirs = rng.normal(size=(2, len(labels))) + np.array([3, 0])[:, None] * labels
        found = paired_auroc(labels, [ours], [theirs], units)
        assert found.smallest_p == 2.0 ** (1 - actors)
        assert (found.p is not None) == (found.minimal_detectable is not None) == tested
        assert found.low is not None
        assert ("no test: 5 clusters" in str(found.reason)) != tested
    strict = paired_auroc(labels, [ours], [theirs], units, alpha=0.01)
    assert strict.p is None
    labels, _, units, rng = crossed(4, actors=1)
    single = paired_auroc(labels, [rng.normal(size=400)], [rng.normal(size=400)], units)
    assert (single.low, single.p) == (None, None)
    assert "one cluster of 'actor'" in str(single.reason)


def test_equal_systems_tie_and_perfect_ones_have_no_interval() -> None:
    labels, _, units, rng = crossed(5)
    scores = rng.normal(size=len(labels))
    same = paired_auroc(labels, [scores], [2 * scores + 1], units)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert paired_auroc(labels, [scores] * 3, [scores] * 5, units).p == 1.0
    perfect = paired_auroc(labels, [labels * 1.0], [np.zeros(len(labels))], units)
    assert perfect.value == 0.5
    assert (perfect.low, perfect.p) == (None, None)


def test_seeds_add_what_they_differ_by_beyond_the_clips() -> None:
    labels, _, units, rng = crossed(6, n=2000, identities=400, dialogues=300)
    signal = rng.normal(size=2000)
    weak, strong = ([signal + gain * labels for gain in gains] for gains in ((0.6, 0.8, 1.0), (1.3, 1.5, 1.7)))
    found = paired_auroc(labels, strong, weak, units)
    one = paired_auroc(labels, strong[1:2], weak[1:2], units)
    # Two thirds of the spread of each system's three areas, as the variance of its mean.
    spread = sum(np.var(areas, ddof=1) / 3 for areas in (found.ours, found.theirs))
    assert found.seed_sd == pytest.approx(spread**0.5, rel=0.05)
    assert found.sampling_sd == pytest.approx(one.sampling_sd, rel=0.1)
    half = student.ppf(0.975, found.degrees) * np.hypot(found.sampling_sd, found.seed_sd)
    assert found.high - found.low == pytest.approx(2 * half)
    assert found.high - found.low > 1.5 * (one.high - one.low)
    assert one.seed_sd is None
    assert one.reason == ONE_TRAINING
    copies = paired_auroc(labels, strong[1:2] * 3, weak[1:2] * 3, units)
    assert copies.seed_sd == pytest.approx(0, abs=1e-12)
    assert (copies.low, copies.p) == pytest.approx((one.low, one.p))


def test_seeds_that_differ_by_their_errors_on_these_clips_alone_add_little() -> None:
    added = []
    for seed in range(20):
        labels, _, units, rng = crossed(seed, n=300)
        scores = labels + rng.normal(size=300) + rng.normal(size=(8, 300))
        found = paired_auroc(labels, list(scores[:4]), list(scores[4:]), units)
        spread = sum(np.var(areas, ddof=1) / 4 for areas in (found.ours, found.theirs))
        added.append(found.seed_sd**2 / spread)
    assert np.mean(added) < 0.35, "most of the spread is the clips'"
    assert min(added) == 0


def test_within_units_is_the_paired_t_and_the_exact_sign_flip() -> None:
    ours, theirs = (pd.Series(values) / 10 for values in SLEEP)
    found = paired_within([ours], [theirs], "patient")
    expected = ttest_rel(ours, theirs)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((0.07001142, 0.24598858), abs=5e-9)
    assert found.degrees == pytest.approx(9)
    # All but one of the ten differ, all in one direction: both signs of a zero are as extreme.
    assert found.sign_flip_p == pytest.approx(4 / 2**10)
    assert found.smallest_p == 2 / 2**10


def test_sign_flip_gives_fishers_count_on_darwins_maize() -> None:
    p, smallest = sign_flip(np.array(DARWIN, dtype=float))
    assert p == pytest.approx(1726 / 32768)
    assert smallest == 2 / 32768


def test_sign_flip_of_many_units_is_drawn_and_repeats_with_its_seed() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1.0, 24)
    p, smallest = sign_flip(differences)
    assert sign_flip(differences) == (p, smallest)
    assert sign_flip(differences, seed=1)[0] != p
    flips = np.random.default_rng(1).choice([-1, 1], (20000, 24))
    own = np.mean(np.abs((flips * differences).mean(axis=1)) >= abs(differences.mean()))
    assert p == pytest.approx(own, abs=0.015)
    assert sign_flip(np.ones(24))[0] == pytest.approx(smallest)


def test_within_leaves_out_units_without_a_figure_and_gives_no_test_for_few() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = (pd.Series(rng.normal(size=8) / 10, index=list("abcdefgh")) for _ in range(2))
    ours["a"] = np.nan
    found = paired_within([ours], [theirs.iloc[::-1]], "actor")
    assert found.clusters == {"actor": 7}
    assert found.value == pytest.approx((ours - theirs).iloc[1:].mean())
    assert "1 of 8 units lack a figure" in str(found.reason)
    few = paired_within([ours.iloc[:4]], [theirs.iloc[:4]], "actor")
    assert (few.p, few.sign_flip_p, few.smallest_p) == (None, None, 0.25)
    assert few.low is not None
    assert "no p below 0.25" in str(few.reason)
    assert paired_within([ours.iloc[:1]], [theirs.iloc[:1]], "actor").value is None


def test_within_adds_the_seeds_part() -> None:
    rng = np.random.default_rng(2)
    units = rng.normal(0.7, 0.05, 24)
    ours, theirs = ([pd.Series(units + 0.01 * rng.normal(size=24) + shift) for shift in (-0.1, 0, 0.1)] for _ in "ab")
    found = paired_within(ours, theirs, "actor")
    assert found.seed_sd == pytest.approx((2 * 0.01 / 3) ** 0.5, rel=0.05)
    assert found.sampling_sd < 0.005


@pytest.mark.parametrize("degrees", [5.0, 23.0, 400.0])
def test_minimal_detectable_difference_is_found_in_four_cases_of_five(degrees: float) -> None:
    found = detectable(0.02, degrees)
    assert nct.sf(student.ppf(0.975, degrees), degrees, found / 0.02) == pytest.approx(0.8)
    assert detectable(0.04, degrees) == pytest.approx(2 * found)
    rng = np.random.default_rng(0)
    drawn = (rng.normal(found, 0.02, 20000)) / (0.02 * np.sqrt(rng.chisquare(degrees, 20000) / degrees))
    assert np.mean(2 * student.sf(np.abs(drawn), degrees) < 0.05) == pytest.approx(0.8, abs=0.015)


def test_minimal_detectable_difference_with_many_degrees_is_the_normals() -> None:
    assert detectable(1.0, 1e5) == pytest.approx(norm.ppf(0.975) + norm.ppf(0.8), abs=1e-3)


def test_count_metrics_take_the_interval_of_the_difference() -> None:
    labels, _, units, rng = crossed(7)
    scores = 0.5 + 0.2 * (labels - 0.5) + 0.2 * rng.normal(size=(4, len(labels)))
    for name, statistics in (
        ("mcc", [decision_metrics(labels, s > 0.5)["mcc"] for s in scores]),
        ("brier", [probability_metrics(labels, np.clip(s, 0, 1))["brier"] for s in scores]),
    ):
        one = paired_counts(statistics[:1], statistics[1:2], units, n_bootstrap=50, seed=0)
        expected = count_interval(statistics[0] - statistics[1], units, n_bootstrap=50, seed=0)
        assert (one.value, one.low, one.high) == pytest.approx((expected.value, expected.low, expected.high)), name
        two = paired_counts(statistics[:2], statistics[2:], units, n_bootstrap=50, seed=0)
        values = [s.value for s in statistics]
        assert two.value == pytest.approx(np.mean(values[:2]) - np.mean(values[2:])), name
        assert two.low < two.value < two.high
        assert two.high - two.low < one.high - one.low


def test_plain_types_leave_out_what_says_nothing() -> None:
    labels, _, units, rng = crossed(8)
    plain = paired_auroc(labels, [rng.normal(size=400)], [rng.normal(size=400)], units).as_dict()
    assert plain["units"] == ["identity", "dialogue", "actor"]
    assert "seed_sd" not in plain
    assert isinstance(plain["ours"], list)
    assert paired_auroc(labels | True, [labels * 1.0], [labels * 1.0], units).as_dict().keys() >= {"value", "low", "p"}


def test_what_trainings_that_belong_together_share_makes_no_difference() -> None:
    labels, _, units, rng = crossed(3)
    sign = np.where(labels, 0.5, -0.5)
    base = rng.normal(size=len(labels))
    quality = (-0.8, 0.0, 0.9, 0.4)
    ours = [(1.2 + q) * sign + base for q in quality]
    theirs = [(1.2 + q) * sign + base + 0.01 * rng.normal(size=len(labels)) for q in quality]
    apart = paired_auroc(labels, ours, theirs, units)
    together = paired_auroc(labels, ours, theirs, units, together=True)
    assert together.value == apart.value
    assert together.sampling_sd == apart.sampling_sd
    assert apart.seed_sd > 0.03
    assert together.seed_sd < 0.1 * apart.seed_sd
    assert together.high - together.low < 0.2 * (apart.high - apart.low)
    # In another order they do not belong together, and what they share is gone.
    turned = paired_auroc(labels, ours, theirs[::-1], units, together=True)
    assert turned.seed_sd > 0.03
    figures = [pd.Series(rng.normal(0.6, 0.1, 20)) for _ in quality]
    shifted = [one + q for one, q in zip(figures, quality, strict=True)]
    other = [one + 0.01 * rng.normal(size=20) for one in shifted]
    assert paired_within(shifted, other, "actor", together=True).seed_sd < 0.02
    assert paired_within(shifted, other, "actor").seed_sd > 0.3
    with pytest.raises(ValueError, match="4 and 3 trainings"):
        paired_auroc(labels, ours, theirs[:3], units, together=True)


def test_a_minimal_detectable_difference_beyond_computing_is_left_out() -> None:
    assert detectable(0.01, 1, 0.05) == pytest.approx(0.16334, abs=1e-5)
    assert detectable(0.01, 0.2, 0.001) is None
