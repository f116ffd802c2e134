"""AUROC inside units and of kinds of clips."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from subtext.evaluation.intervals import Interval, Units, mean_interval, ranking_interval
from subtext.evaluation.metrics import auroc
from subtext.evaluation.within import auroc_by, auroc_by_unit, within_auroc


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


def inside(table: pd.DataFrame, score: str, strata: Sequence[str] = ()) -> Interval:
    return within_auroc([auroc_by_unit(table, "apart", score, "person", strata)], "person").interval


def test_people_who_differ_do_not_count():
    table = pairs()
    table["score"] = table["apart"] + 100.0 * table["person"]
    assert auroc_by_unit(table, "apart", "score", "person").tolist() == [1.0] * 12
    table["score"] = table["person"] * table["apart"].groupby(table["person"]).transform("mean")
    assert auroc_by_unit(table, "apart", "score", "person").tolist() == [0.5] * 12


def test_the_interval_is_students_over_units():
    table = pairs().assign(score=lambda t: t["apart"] + 1.5 * t["noise"])
    found = inside(table, "score")
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
    assert inside(table, "score").clusters == {"person": 2}
    table["apart"] = True
    nothing = inside(table, "score")
    assert nothing.value is None
    assert "no person has a figure" in nothing.reason


def test_strata_leave_one_half_alone_at_chance_where_kinds_do_not():
    """Of the pairs with face or voice 0, and all that agree, 'it is 0' tells much, unless pairs are matched."""
    table = pairs()
    kind = table[table["face"].str.endswith("-0") | table["voice"].str.endswith("-0") | ~table["apart"]].copy()
    kind["face_alone"] = kind["face"].str.endswith("-0").astype(float)
    assert inside(kind, "face_alone").value > 0.6
    assert inside(kind, "face_alone", ["face", "voice"]).value == pytest.approx(0.5)
    kind["both"] = kind["apart"].astype(float)
    assert inside(kind, "both", ["face", "voice"]).value == 1.0


def test_a_mean_of_one_cluster_has_no_interval():
    found = mean_interval([0.7], "actor")
    assert (found.value, found.low) == (0.7, None)
    assert "2 are needed" in found.reason


def clips(seed: int = 0) -> pd.DataFrame:
    """Kinds "a" and "b" with 120 clips of thirty speakers each, "few" with 12, "one" with positives alone."""
    rng = np.random.default_rng(seed)
    kinds = ["a"] * 120 + ["b"] * 120 + ["few"] * 12 + ["one"] * 30
    table = pd.DataFrame({"kind": kinds, "speaker": [f"s{n % 30}" for n in range(len(kinds))]})
    table["label"] = pd.array(np.arange(len(table)) % 3 == 0, dtype="boolean")
    table.loc[table["kind"] == "one", "label"] = True
    table["score"] = rng.normal(size=len(table)) + table["label"].astype(float) * (table["kind"] == "a")
    return table


def test_each_kind_has_the_figure_that_its_clips_alone_give() -> None:
    table = clips()
    found = auroc_by(table, "label", "score", "kind", ["speaker"])
    assert found.index.tolist() == ["a", "b", "few", "one"]
    assert found["clips"].tolist() == [120, 120, 12, 30]
    assert found.loc["a", "positive"] == 40
    for kind in ("a", "b"):
        own = table[table["kind"] == kind]
        labels, scores = own["label"].to_numpy(bool), own["score"].to_numpy()
        assert found.loc[kind, "value"] == pytest.approx(roc_auc_score(labels, scores))
        interval = ranking_interval(auroc(labels, scores), Units.of(own, ["speaker"]))
        assert found.loc[kind, ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
        assert found.loc[kind, "reason"] == ""


def test_few_clips_have_no_interval_and_one_class_no_figure() -> None:
    found = auroc_by(clips(), "label", "score", "kind")
    assert np.isfinite(found.loc["few", "value"])
    assert found.loc["few", ["low", "high"]].isna().all()
    assert found.loc["few", "reason"] == "12 clips: too few for an interval"
    assert np.isnan(found.loc["one", "value"])
    assert found.loc["one", "reason"] == "all 30 labelled clips are positive"
    assert np.isfinite(auroc_by(clips(), "label", "score", "kind", fewest=12).loc["few", "low"])


def test_clips_without_label_score_or_kind_are_left_out() -> None:
    table = clips()
    table.loc[0, "label"] = pd.NA
    table.loc[1, "score"] = np.nan
    table.loc[2, "kind"] = None
    assert auroc_by(table, "label", "score", "kind").loc["a", "clips"] == 117
    assert auroc_by(table.iloc[:0], "label", "score", "kind").empty


def test_the_kind_is_no_unit_inside_itself() -> None:
    table = clips()
    by_speaker = auroc_by(table, "label", "score", "speaker", ["speaker"], fewest=5)
    alone = auroc_by(table, "label", "score", "speaker", [], fewest=5)
    pd.testing.assert_frame_equal(by_speaker, alone)
    assert by_speaker["low"].notna().any()
