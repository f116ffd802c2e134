import numpy as np
import pytest

from subtext.evaluation.multiple import VERDICTS, holm, verdict
from subtext.evaluation.paired import PairedDifference


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


def difference(value: float, p: float | None, detectable: float | None = 0.055) -> PairedDifference:
    return PairedDifference(value, value - 0.04, value + 0.04, p, minimal_detectable=detectable)


def test_a_tie_is_called_a_tie() -> None:
    assert verdict(difference(0.06, 0.01)) == "better"
    assert verdict(difference(-0.06, 0.01)) == "worse"
    assert verdict(difference(-0.06, 0.01), higher_is_better=False) == "better"
    assert verdict(difference(0.03, 0.2)) == "tie"
    assert verdict(difference(0.06, 0.01), p=0.08) == "undecided"
    # Its interval leaves out 0, whatever the correction says.
    assert verdict(difference(0.045, 0.03), p=0.12) == "undecided"
    assert verdict(difference(0.06, 0.01), alpha=0.001) == "tie"
    assert verdict(difference(0.06, None)) == "untested"
    assert verdict(PairedDifference(None)) == "untested"
    assert set(VERDICTS) == {"better", "worse", "tie", "undecided", "untested"}
