"""AUROC of kinds of clips."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from subtext.evaluation.breakdown import auroc_by
from subtext.evaluation.intervals import Units, ranking_interval
from subtext.evaluation.metrics import auroc


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
