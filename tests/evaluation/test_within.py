"""AUROC inside units."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from subtext.evaluation.intervals import mean_interval
from subtext.evaluation.within import auroc_by_unit, within_auroc


def pairs(people: int = 12, seed: int = 0) -> pd.DataFrame:
    """Every face of a person with every voice; they agree where their emotions do."""
    rng = np.random.default_rng(seed)
    rows = [
        {"person": person, "face": f"{person}-{face}", "voice": f"{person}-{voice}", "apart": face != voice}
        for person in range(people)
        for face in range(4)
        for voice in range(4)
    ]
    table = pd.DataFrame(rows)
    table["noise"] = rng.normal(size=len(table))
    return table


def test_people_who_differ_do_not_count():
    table = pairs()
    table["score"] = table["apart"] + 100.0 * table["person"]
    assert auroc_by_unit(table, "apart", "score", "person").tolist() == [1.0] * 12
    table["score"] = table["person"] * table["apart"].groupby(table["person"]).transform("mean")
    assert auroc_by_unit(table, "apart", "score", "person").tolist() == [0.5] * 12


def test_the_interval_is_students_over_units():
    table = pairs().assign(score=lambda t: t["apart"] + 1.5 * t["noise"])
    found = within_auroc(table, "apart", "score", "person")
    each = auroc_by_unit(table, "apart", "score", "person")
    low, high = stats.t.interval(0.95, 11, loc=each.mean(), scale=each.std(ddof=1) / np.sqrt(12))
    assert found.value == pytest.approx(each.mean())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.clusters == {"person": 12}


def test_a_unit_of_one_class_has_no_figure_and_is_left_out():
    table = pairs(3).assign(score=lambda t: t["noise"])
    table.loc[table["person"] == 1, "apart"] = True
    each = auroc_by_unit(table, "apart", "score", "person")
    assert each.isna().tolist() == [False, True, False]
    assert within_auroc(table, "apart", "score", "person").clusters == {"person": 2}
    table["apart"] = True
    nothing = within_auroc(table, "apart", "score", "person")
    assert nothing.value is None
    assert "no person has a figure" in nothing.reason


def test_strata_leave_one_half_alone_at_chance_where_kinds_do_not():
    """Of the pairs with face or voice 0, and all that agree, 'it is 0' tells much, unless pairs are matched."""
    table = pairs()
    kind = table[table["face"].str.endswith("-0") | table["voice"].str.endswith("-0") | ~table["apart"]].copy()
    kind["face_alone"] = kind["face"].str.endswith("-0").astype(float)
    assert within_auroc(kind, "apart", "face_alone", "person").value > 0.6
    assert within_auroc(kind, "apart", "face_alone", "person", ["face", "voice"]).value == pytest.approx(0.5)
    kind["both"] = kind["apart"].astype(float)
    assert within_auroc(kind, "apart", "both", "person", ["face", "voice"]).value == 1.0


def test_a_mean_of_one_cluster_has_no_interval():
    found = mean_interval([0.7], "actor")
    assert (found.value, found.low) == (0.7, None)
    assert "2 are needed" in found.reason
