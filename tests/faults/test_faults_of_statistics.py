"""Planted faults of statistics: what few, uneven or drifting data must not say, and margins that are none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.commands import command_here
from subtext.behaviour.synchrony import turn_synchrony
from subtext.evaluation.intervals import Units, count_interval
from subtext.evaluation.metrics import CountStatistic
from subtext.evaluation.multiple import corrected, verdict
from subtext.evaluation.paired import PairedDifference, paired_auroc

TIME = np.linspace(0.0, 1.0, 60)
DRIFTS = {
    "both rise": (3 * TIME, 3 * TIME),
    "both fall": (-3 * TIME, -3 * TIME),
    "both warm up": (-3 * np.exp(-5 * TIME), -3 * np.exp(-5 * TIME)),
    "both tire at the end": (-4 * TIME**3, -4 * TIME**3),
    "both are low in the middle": (6 * (2 * TIME - 1) ** 2, 6 * (2 * TIME - 1) ** 2),
    "both rise, then fall": (3 * np.sin(3 * TIME), 3 * np.sin(3 * TIME)),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
def test_voices_that_drift_alike_are_not_called_synchronous(drift: tuple[np.ndarray, np.ndarray]) -> None:
    generator = np.random.default_rng(0)
    found = [turn_synchrony(*(own + generator.normal(size=60) for own in drift)) for _ in range(60)]
    assert np.mean([each.value for each in found]) > 0.25, "drift must make them correlate"
    assert np.mean([each.p <= 0.05 for each in found]) <= 0.12


def share(yes: np.ndarray, speakers: np.ndarray) -> tuple[CountStatistic, Units]:
    terms = np.stack([yes, np.ones(len(yes))], axis=1).astype(float)
    units = Units.of(pd.DataFrame({"speaker": speakers}), ["speaker"])
    return CountStatistic(terms, lambda sums: sums[..., 0] / sums[..., 1]), units


UNEVEN = {
    "two speakers": [100, 100],
    "three speakers": [100, 100, 100],
    "one of eight has most": [350, *[20] * 7],
    "one of forty has most": [400, *[5] * 39],
    "two of thirty have nearly all": [300, 300, *[3] * 28],
}


@pytest.mark.parametrize("sizes", UNEVEN.values(), ids=UNEVEN)
def test_a_share_that_few_speakers_decide_has_no_interval(sizes: list[int]) -> None:
    speakers = np.repeat(np.arange(len(sizes)), sizes)
    statistic, units = share(np.random.default_rng(0).random(len(speakers)) < 0.4, speakers)
    found = count_interval(statistic, units, n_bootstrap=200, seed=0)
    assert found.low is None
    assert "of even size; 4 are needed" in str(found.reason)


def test_copies_of_a_difference_do_not_make_it_a_tie() -> None:
    """Few clips, no difference found: neither system is shown to be as good as the other."""
    rng = np.random.default_rng(0)
    labels = rng.random(80) < 0.5
    ours, theirs = (labels + 1.5 * rng.normal(size=80) for _ in range(2))
    found = paired_auroc(labels, [ours], [theirs], Units({}, 80))
    assert found.p is not None
    assert found.p > 0.05
    assert verdict(found) == "not_distinguished"
    # Twelve comparisons ask for more than one does.
    family = corrected({str(number): found for number in range(12)})
    assert all(each.minimal_detectable > 1.3 * found.minimal_detectable for each in family.values())


def test_an_interval_that_only_reaches_over_the_margin_is_no_tie() -> None:
    for value in (0.0, 0.01, -0.015):
        found = PairedDifference(value, value - 0.04, value + 0.04, 0.5, sampling_sd=0.02, degrees=200.0)
        assert verdict(found) == "not_distinguished"


@pytest.mark.parametrize("margin", ["0", "1", "-0.02", "nan", "inf", "2"])
def test_a_margin_that_is_no_difference_in_auroc_is_refused(margin: str, tmp_path: Path) -> None:
    done = command_here("compare", "runs/a", f"--margin={margin}", folder=tmp_path)
    assert done.code == 2
    assert "--margin" in done.err.splitlines()[-1]
    assert done.written == []
