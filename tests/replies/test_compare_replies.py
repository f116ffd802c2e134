"""Comparison of systems: pairs, clusters, spans beyond 1, Holm, and claims."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.errors import ConfigError, ManifestError
from subtext.replies import pages
from subtext.replies.compare import compare_systems
from subtext.replies.measures import BY_NAME, MEASURES


def measured(shift: float = 0.0, seed: int = 0, trainings: int = 1, dialogues: int = 24) -> pd.DataFrame:
    """Two systems on 5 turns of each dialogue; `reading_ease` of the second differs by `shift` (sd 10)."""
    rng = np.random.default_rng(seed)
    rows = []
    for dialogue in range(dialogues):
        level = rng.normal(60, 20)
        for turn in range(5):
            for system, training in [("base", 0), *[("new", n) for n in range(trainings)]]:
                row = {measure.name: rng.normal() for measure in MEASURES}
                row["reading_ease"] = level + rng.normal(0, 10) + shift * (system == "new")
                rows.append(
                    {
                        **row,
                        "id": f"{dialogue}-{turn}",
                        "session": str(dialogue),
                        "system": system,
                        "seed": str(training),
                        "status": "scored",
                    }
                )
    return pd.DataFrame(rows)


def validation(**verdicts: str) -> dict[str, object]:
    return {
        "measures": [
            {"measure": n, "claim": BY_NAME[n].claim, "codes": "", "verdict": v, "mean": 1.0, "sd": 2.0}
            for n, v in verdicts.items()
        ]
    }


def row(found: tuple, name: str) -> object:  # type: ignore[type-arg]
    return next(one for one in found if one.name == name)


def test_a_difference_beyond_1_keeps_its_unit_and_its_interval() -> None:
    found = row(compare_systems(measured(20.0), "base").measures, "reading_ease")
    assert found.difference.low < 20 < found.difference.high  # type: ignore[attr-defined]
    assert found.difference.low > 10  # type: ignore[attr-defined]
    assert found.ours - found.theirs == pytest.approx(found.difference.value)  # type: ignore[attr-defined]
    assert found.verdict == "worse", "readability is a mark of artificiality: less is better"  # type: ignore[attr-defined]


def test_it_is_the_paired_t_test_over_dialogues() -> None:
    from scipy.stats import ttest_rel

    table = measured(3.0)
    found = row(compare_systems(table, "base").measures, "reading_ease")
    means = table.groupby(["session", "system"])["reading_ease"].mean().unstack()
    expected = ttest_rel(means["new"], means["base"])
    assert found.difference.p == pytest.approx(expected.pvalue)  # type: ignore[attr-defined]
    low, high = expected.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))  # type: ignore[attr-defined]


def test_trainings_that_differ_widen_the_interval() -> None:
    table = measured(0.0, trainings=3)
    apart = table.copy()
    apart.loc[apart["system"] == "new", "reading_ease"] += 15.0 * apart["seed"].astype(int)
    same, wide = (row(compare_systems(t, "base").measures, "reading_ease") for t in (table, apart))
    assert wide.difference.high - wide.difference.low > 2 * (same.difference.high - same.difference.low)  # type: ignore[attr-defined]


def test_equal_systems_are_rarely_told_apart() -> None:
    found = [one for seed in range(4) for one in compare_systems(measured(0.0, seed), "base").measures]
    p = [one.difference.p for one in found if one.difference.p is not None]
    assert np.mean([value < 0.05 for value in p]) < 0.12
    assert not [one for one in found if one.verdict in ("better", "worse")]


def test_only_turns_that_both_have_scored_count() -> None:
    table = measured(0.0)
    lost = (table["system"] == "new") & (table["id"] == "0-0")
    table.loc[lost, "status"] = "empty"
    table.loc[lost, [m.name for m in MEASURES]] = np.nan
    # A figure of the turn that the other lost must not matter.
    other = table.copy()
    other.loc[(other["system"] == "base") & (other["id"] == "0-0"), "reading_ease"] = 1e6
    a, b = (row(compare_systems(t, "base").measures, "reading_ease") for t in (table, other))
    assert a.difference.value == b.difference.value  # type: ignore[attr-defined]
    assert compare_systems(table, "base").scored.set_index("system")["scored"].to_dict() == {"base": 120, "new": 119}


def test_a_claim_is_the_mean_of_what_held() -> None:
    found = compare_systems(
        measured(0.0),
        "base",
        validation(advice="holds", judgement="holds", input="includes 0.5", copying="against its claim"),
    )
    claim = row(found.claims, "fidelity to person-centred therapy")
    advice, judgement = row(found.measures, "advice"), row(found.measures, "judgement")
    expected = -(advice.difference.value + judgement.difference.value) / 2 / 2.0  # type: ignore[attr-defined]
    assert claim.difference.value == pytest.approx(expected)  # type: ignore[attr-defined]
    assert claim.validation == "advice, judgement"  # type: ignore[attr-defined]
    empty = row(found.claims, "less artificial or exaggerated language")
    assert empty.difference.value is None  # type: ignore[attr-defined]
    assert empty.validation == "no measure held"  # type: ignore[attr-defined]
    assert row(found.measures, "input").validation == "includes 0.5"  # type: ignore[attr-defined]
    assert row(found.measures, "length").validation == "not validated"  # type: ignore[attr-defined]
    assert len(found.claims) == 3
    content = {"reference": "base", **found.as_dict()}
    assert len(pages.comparison_table(content)) == 3 + len(found.measures)
    assert "no measure held" in pages.comparison_markdown(content)


def test_what_nobody_has_a_figure_of_is_no_row() -> None:
    names = [one.name for one in compare_systems(measured().assign(next_words=np.nan), "base").measures]
    assert "next_words" not in names


def test_what_cannot_be_compared_is_told() -> None:
    table = measured()
    with pytest.raises(ConfigError, match="there is no system 'old'"):
        compare_systems(table, "old")
    with pytest.raises(ConfigError, match="is the only system"):
        compare_systems(table[table["system"] == "base"], "base")
    with pytest.raises(ConfigError, match="the validation holds no measures"):
        compare_systems(table, "base", {"measures": [{}]})
    apart = table.copy()
    apart.loc[apart["system"] == "new", "id"] += "x"
    with pytest.raises(ManifestError, match="share no turn"):
        compare_systems(apart, "base")


def test_a_system_s_name_breaks_no_table(tmp_path: Path) -> None:
    table = measured()
    name = "=cmd|'/c calc'!A1\n[red]<script>"
    table.loc[table["system"] == "new", "system"] = name
    content = {"reference": "base", **compare_systems(table, "base").as_dict()}
    text = pages.comparison_markdown(content)
    assert "<script>" not in text
    assert all(line.startswith("|") for line in text.split("\n") if "cmd" in line)
    from subtext.core.tables import write_csv

    written = write_csv(pages.comparison_table(content), tmp_path / "c.csv").read_text()
    assert "'=cmd" in written
    assert ",=cmd" not in written


def test_a_validation_with_numbers_that_are_none_is_told() -> None:
    content = validation(advice="holds")
    content["measures"][0]["sd"] = "wide"  # type: ignore[index]
    with pytest.raises(ConfigError, match="holds no measures"):
        compare_systems(measured(), "base", content)
