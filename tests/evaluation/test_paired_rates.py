"""A small version of `benchmarks/false_positives.py`: its designs and sizes, fewer samples."""

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from builders.benchmark_scripts import benchmark
from subtext.evaluation.intervals import Units
from subtext.evaluation.paired import paired_auroc, paired_within


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    return benchmark("false_positives")


@pytest.mark.slow
@pytest.mark.parametrize("design", ["skills", "actors"])
def test_true_null_on_crossed_pairs_is_rejected_about_as_often_as_stated(simulation: ModuleType, design: str) -> None:
    """At 5 %, 150 samples stay inside 1 and 10 % in 98 of 100 runs; by clip 40 % and more are rejected."""
    rng = np.random.default_rng(0)
    sizes = simulation.Sizes()
    clustered = plain = 0
    for _ in range(150):
        pairs = simulation.draw_pairs(rng, sizes)
        ours, theirs = simulation.systems(rng, pairs, design)
        clustered += simulation.significant(paired_auroc(pairs.labels, ours, theirs, pairs.units))
        plain += simulation.significant(paired_auroc(pairs.labels, ours, theirs, Units({}, sizes.pairs)))
    assert 2 <= clustered <= 14
    assert plain > 45, "by clip the null must be rejected too often, or this test shows nothing"


def test_trainings_of_differing_quality_are_no_difference_of_systems(simulation: ModuleType) -> None:
    rng = np.random.default_rng(1)
    sizes = simulation.Sizes(pairs=600)
    joint = sampling = 0
    for _ in range(100):
        pairs = simulation.draw_pairs(rng, sizes)
        ours, theirs = simulation.systems(rng, pairs, "pairs", seeds=3, quality=0.4)
        found = paired_auroc(pairs.labels, ours, theirs, pairs.units)
        joint += simulation.significant(found)
        sampling += abs(found.value) > 1.96 * found.sampling_sd
    assert 1 <= joint <= 11
    assert sampling > 20, "the clips' error alone must reject too often, or this test shows nothing"


def test_figures_inside_24_actors_are_tested_at_the_stated_rate(simulation: ModuleType) -> None:
    rng = np.random.default_rng(2)
    hits = sum(
        simulation.significant(paired_within(*simulation.within_units(rng, 24, 1, False, size=28), "actor"))
        for _ in range(50)
    )
    assert hits <= 9


def test_a_difference_as_large_as_the_minimal_detectable_one_is_mostly_found(simulation: ModuleType) -> None:
    """At 80 %, 150 samples stay inside 71 and 89 % in 99 of 100 runs."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(150):
        pairs = simulation.draw_pairs(rng, simulation.Sizes())
        found.append(paired_auroc(pairs.labels, *simulation.systems(rng, pairs, "skills", effect=0.51), pairs.units))
    ratio = np.mean([f.value for f in found]) / np.mean([f.minimal_detectable for f in found])
    assert 0.9 < ratio < 1.1, "the effect must be as large as the minimal detectable one, or this test shows nothing"
    assert 0.68 < np.mean([simulation.significant(f) for f in found]) < 0.92


def test_sign_flips_speak_of_these_trainings_and_the_t_test_of_strategies() -> None:
    """Figures of 24 actors from 3 trainings a system, which differ much: equal strategies, other luck."""
    rng = np.random.default_rng(4)
    by_t = by_signs = 0
    for _ in range(60):
        ours, theirs = (
            [pd.Series(0.7 + skill + 0.06 * rng.normal() + 0.03 * rng.normal(size=24)) for _ in range(3)]
            for skill in 0.02 * rng.normal(size=(2, 24))
        )
        found = paired_within(ours, theirs, "actor")
        by_t += found.p <= 0.05
        by_signs += found.sign_flip_p <= 0.05
        assert found.degrees < 8
    assert by_t <= 8
    assert by_signs > 25
