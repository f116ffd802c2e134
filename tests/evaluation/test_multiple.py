from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from subtext.evaluation.multiple import VERDICT_WORDS, VERDICTS, corrected, holm, verdict
from subtext.evaluation.paired import PairedDifference, detectable, equivalence_p


def test_holm_on_worked_examples() -> None:
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    found = holm({name: p for name, p in zip("abcde", (0.01, 0.02, 0.03, 0.04, 0.05), strict=True)})
    assert list(found.values()) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    # https://en.wikipedia.org/wiki/Holm-Bonferroni_method, example: H4 and H1 are rejected, H3 and H2 are not.
    found = holm({"H1": 0.01, "H2": 0.04, "H3": 0.03, "H4": 0.005})
    assert found == pytest.approx({"H1": 0.03, "H2": 0.06, "H3": 0.06, "H4": 0.02})


def test_holm_by_its_definition_and_without_the_untested() -> None:
    p = np.random.default_rng(0).random(12) ** 3
    expected = np.empty(12)
    running = 0.0
    for rank, index in enumerate(np.argsort(p)):
        running = max(running, min(1.0, (12 - rank) * p[index]))
        expected[index] = running
    named = {str(i): float(value) for i, value in enumerate(p)}
    found = holm(dict(list(named.items())[:5]) | {"none": None} | dict(list(named.items())[5:]))
    assert list(found) == [*map(str, range(5)), "none", *map(str, range(5, 12))]
    assert found.pop("none") is None
    assert list(found.values()) == pytest.approx(expected)
    assert holm({"only": None}) == {"only": None}
    assert holm({}) == {}


def test_holm_collects_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As statsmodels does in every call, which takes longer than all the rest of a comparison where much is loaded."""
    monkeypatch.setattr("gc.collect", lambda *_: pytest.fail("garbage was collected"))
    assert holm({"a": 0.01, "b": 0.04}) == {"a": 0.02, "b": 0.04}


def difference(value: float, p: float | None, error: float = 0.02) -> PairedDifference:
    return PairedDifference(value, value - 2 * error, value + 2 * error, p, sampling_sd=error, degrees=40.0)


def test_verdicts() -> None:
    assert verdict(difference(0.06, 0.01)) == "better"
    assert verdict(difference(-0.06, 0.01)) == "worse"
    assert verdict(difference(-0.06, 0.01), higher_is_better=False) == "better"
    assert verdict(difference(0.03, 0.2)) == "not_distinguished"
    assert verdict(difference(0.06, 0.01), p=0.08) == "undecided"
    # Its interval leaves out 0, whatever the correction says.
    assert verdict(difference(0.045, 0.03), p=0.12) == "undecided"
    assert verdict(difference(0.06, 0.01), alpha=0.001) == "not_distinguished"
    assert verdict(difference(0.06, None)) == "untested"
    assert verdict(PairedDifference(None)) == "untested"
    assert set(VERDICTS) == set(VERDICT_WORDS)
    assert set(VERDICTS) == {"better", "worse", "tie", "undecided", "not_distinguished", "untested"}


def test_a_tie_has_to_be_shown() -> None:
    """Two one-sided tests at 5 %: the 90 % interval lies inside the margin."""
    reach = float(student.ppf(0.95, 40)) * 0.005
    inside, outside = (difference(0.02 - reach - gap, 0.3, error=0.005) for gap in (1e-6, -1e-6))
    assert verdict(inside) == "tie"
    assert verdict(outside) == "not_distinguished"
    assert verdict(replace(inside, value=-inside.value)) == "tie"
    assert verdict(outside, margin=0.021) == "tie"
    assert verdict(inside, margin=0.019) == "not_distinguished"
    assert verdict(inside, alpha=0.01) == "not_distinguished"
    assert verdict(inside, margin=None) == "not_distinguished"
    # 0.000 from so few clips that anything could be: no tie.
    assert verdict(difference(0.0, 1.0, error=0.03)) == "not_distinguished"
    assert equivalence_p(inside, 0.02) == pytest.approx(0.05, abs=1e-3)


def test_the_seeds_error_counts_for_a_tie() -> None:
    sure = difference(0.001, 0.8, error=0.004)
    assert verdict(sure) == "tie"
    assert verdict(replace(sure, seed_sd=0.02)) == "not_distinguished"


def test_systems_that_answer_alike_throughout_are_a_tie() -> None:
    same = PairedDifference(0.0, 0.0, 0.0, 1.0, sampling_sd=0.0)
    assert verdict(same) == "tie"
    assert equivalence_p(PairedDifference(0.01, p=1.0), 0.02) == 1.0


def test_minimal_detectable_difference_is_that_of_the_level_that_the_verdict_uses() -> None:
    """With twelve tests Holm's first step asks for .05 / 12, and so for a larger difference than one test."""
    one = difference(0.01, 0.6)
    one = replace(one, minimal_detectable=detectable(0.02, 40.0))
    family = {str(number): one for number in range(12)} | {"none": PairedDifference(None)}
    found = corrected(family)
    assert found["none"] == family["none"]
    assert found["3"].minimal_detectable == pytest.approx(detectable(0.02, 40.0, 0.05 / 12))
    assert 1.3 < found["3"].minimal_detectable / one.minimal_detectable < 1.9
    assert corrected({"only": one})["only"] == one
    # At that difference four samples of five have a p that Holm leaves.
    rng = np.random.default_rng(0)
    t = (found["3"].minimal_detectable + 0.02 * rng.normal(size=20_000)) / (
        0.02 * np.sqrt(rng.chisquare(40, 20_000) / 40)
    )
    assert np.mean(12 * student.sf(t, 40) * 2 <= 0.05) == pytest.approx(0.8, abs=0.01)
