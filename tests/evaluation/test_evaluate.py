import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from builders.prediction_tables import CONTROLS, run_tables
from subtext.errors import RunError
from subtext.evaluation.calibration import choose_threshold
from subtext.evaluation.evaluate import evaluate

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return run_tables(val=200, test=400)


@pytest.fixture(scope="module")
def metrics(tables: Tables) -> dict:
    return evaluate(*tables, ("speaker",), n_bootstrap=200)


def dig(entry, *path: str):
    for key in path:
        entry = entry[key]
    return entry


def test_metrics_are_plain_json_without_nan(metrics: dict) -> None:
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_figures_are_those_of_the_test_rows(tables: Tables, metrics: dict) -> None:
    predictions, _ = tables
    test = predictions[predictions["split"] == "test"]
    streams = test[test[["present_visual", "present_text", "present_prosody"]].all(axis=1)]
    val = predictions[predictions["split"] == "val"]
    threshold = choose_threshold(val["prob_incongruent"], val["incongruent"])
    head = metrics["heads"]["incongruent"]
    assert head["threshold"]["value"] == pytest.approx(threshold)
    for subset, rows in (("all", test), ("all_streams", streams)):
        labels, p = rows["incongruent"].to_numpy(dtype=bool), rows["prob_incongruent"].to_numpy()
        found = head["subsets"][subset]
        assert found["clips"] == len(rows)
        assert found["metrics"]["auroc"]["value"] == pytest.approx(roc_auc_score(labels, p))
        assert found["metrics"]["macro_f1"]["value"] == pytest.approx(f1_score(labels, p >= threshold, average="macro"))
    assert metrics["subsets"]["all_streams"] < metrics["subsets"]["all"]


def test_every_figure_has_its_interval_and_the_count_of_clusters(tables: Tables, metrics: dict) -> None:
    predictions, _ = tables
    count = predictions.loc[predictions["split"] == "test", "speaker"].nunique()
    assert metrics["groups"]["speaker"]["clusters"] == count
    for figure in metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["clusters"] == {"speaker": count}
        assert figure["method"]


def test_thresholds_come_from_validation_and_figures_from_test(tables: Tables, metrics: dict) -> None:
    predictions, controls = tables
    altered = predictions.copy()
    altered["incongruent"] = np.where(altered["split"] == "test", ~altered["incongruent"], altered["incongruent"])
    everything = evaluate(altered, controls, groups=("speaker",), n_bootstrap=20)
    for name, control in everything["controls"].items():
        assert control["incongruent"]["threshold"] == metrics["controls"][name]["incongruent"]["threshold"], name
    # With every test label turned over, decisions by unchanged thresholds are wrong where they were right.
    pair, before = (m["controls"]["visual+text"]["incongruent"]["subsets"]["all"] for m in (everything, metrics))
    difference = "fused_minus_control", "balanced_accuracy", "value"
    assert dig(pair, *difference) == pytest.approx(-dig(before, *difference))
    found = everything["heads"]["incongruent"]
    expected = metrics["heads"]["incongruent"]
    assert found["threshold"] == expected["threshold"]
    assert found["temperature"] == expected["temperature"]
    assert found["abstention"]["validation"] == expected["abstention"]["validation"]
    area = expected["subsets"]["all"]["metrics"]["auroc"]["value"]
    assert found["subsets"]["all"]["metrics"]["auroc"]["value"] == pytest.approx(1 - area)


def test_contradictions_and_zero_cells_stand_apart_against_congruent_clips(tables: Tables, metrics: dict) -> None:
    predictions, _ = tables
    test = predictions[predictions["split"] == "test"]
    product = test["verbal_polarity"] * test["visual_polarity"]
    congruent = test["verbal_polarity"] == test["visual_polarity"]
    found = metrics["heads"]["incongruent"]["subsets"]["all"]
    for key, kind in (("contradiction", product < 0), ("zero_cell", (product == 0) & ~congruent)):
        rows = test[kind | congruent]
        area = roc_auc_score(kind[kind | congruent], rows["prob_incongruent"])
        assert found[key]["auroc"]["value"] == pytest.approx(area)
        assert found[key]["clips"] == kind.sum()
    assert "unvoiced_warmth" not in found, "the cell table has no smile under neutral words"
    face = metrics["controls"]["visual"]["incongruent"]["subsets"]["all"]["contradiction"]
    assert face["clips"] == found["contradiction"]["clips"]
    assert face["auroc"]["value"] is not None


def test_clips_of_unknown_polarity_are_no_mismatch_with_zero(tables: Tables, metrics: dict) -> None:
    predictions, _ = tables
    expected = metrics["heads"]["incongruent"]["subsets"]["all"]["zero_cell"]["clips"]
    gaps = predictions.copy()
    zero = (gaps["verbal_polarity"] * gaps["visual_polarity"] == 0) & (gaps["split"] == "test")
    gaps.loc[~zero, "visual_polarity"] = pd.NA
    half = evaluate(gaps, groups=("speaker",), n_bootstrap=10)["heads"]["incongruent"]["subsets"]["all"]
    assert half["zero_cell"]["clips"] == expected
    gaps["verbal_polarity"] = pd.NA
    none = evaluate(gaps, groups=("speaker",), n_bootstrap=10)["heads"]["incongruent"]["subsets"]["all"]
    assert none["zero_cell"] == {
        "auroc": {"value": None, "low": None, "high": None, "reason": none["zero_cell"]["auroc"]["reason"]}
    }
    assert "not known" in none["zero_cell"]["auroc"]["reason"]


def test_a_modality_that_the_model_does_not_use_is_not_asked_for(tables: Tables) -> None:
    predictions, controls = tables
    pair = predictions.assign(present_prosody=False)
    found = evaluate(pair, controls, ("speaker",), n_bootstrap=10)
    test = predictions[predictions["split"] == "test"]
    assert found["subsets"]["all_streams"] == (test["present_visual"] & test["present_text"]).sum() > 300
    assert any("no test clip has prosody" in note for note in found["notes"])


def test_unvoiced_warmth_is_shown_both_ways(metrics: dict) -> None:
    warmth = metrics["heads"]["vocal_incongruent"]["subsets"]["all"]["unvoiced_warmth"]
    assert warmth["clips"] > 0
    assert warmth["counted_as_incongruent"]["value"] != warmth["counted_as_congruent"]["value"]
    area = metrics["heads"]["vocal_incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"]
    assert warmth["counted_as_congruent"]["value"] == pytest.approx(area)


def test_controls_are_judged_and_compared_on_the_same_clips(tables: Tables, metrics: dict) -> None:
    predictions, controls = tables
    assert list(metrics["controls"]) == list(CONTROLS)
    assert metrics["notes"] == []
    test = predictions[predictions["split"] == "test"]
    pair = controls[(controls["control"] == "visual+text") & (controls["split"] == "test")].set_index("id")
    labels = test["incongruent"].to_numpy(dtype=bool)
    ours = roc_auc_score(labels, test["prob_incongruent"])
    theirs = roc_auc_score(labels, pair.loc[test["id"], "prob_incongruent"])
    found = metrics["controls"]["visual+text"]["incongruent"]["subsets"]["all"]
    assert found["metrics"]["auroc"]["value"] == pytest.approx(theirs)
    difference = found["fused_minus_control"]["auroc"]
    assert difference["value"] == pytest.approx(ours - theirs)
    assert difference["low"] < difference["value"] < difference["high"]
    assert metrics["controls"]["majority"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] == 0.5
    shuffled = controls.sample(frac=1, random_state=0)
    again = evaluate(predictions, shuffled, ("speaker",), n_bootstrap=200)["controls"]
    assert again["visual+text"]["incongruent"]["subsets"]["all"]["fused_minus_control"]["auroc"] == difference


def test_a_control_that_lacks_clips_says_how_many(tables: Tables) -> None:
    predictions, controls = tables
    gaps = controls[controls["control"] == "visual"].copy()
    gaps.loc[gaps.index[::3], "prob_incongruent"] = np.nan
    found = evaluate(predictions, gaps, ("speaker",), n_bootstrap=20)
    entry = found["controls"]["visual"]["incongruent"]["subsets"]["all"]
    assert entry["without_probability"] > 100
    assert entry["clips"] + entry["without_probability"] == 400
    assert entry["fused_minus_control"]["clips"] == entry["clips"]
    assert any("were not run" in note and "shuffled" in note for note in found["notes"])


def test_clips_without_label_or_probability_are_counted_not_filled(tables: Tables) -> None:
    predictions, _ = tables
    gaps = predictions.copy()
    test = gaps.index[gaps["split"] == "test"]
    gaps.loc[test[:30], "incongruent"] = pd.NA
    gaps.loc[test[30:50], "prob_incongruent"] = np.nan
    found = evaluate(gaps, groups=("speaker",), n_bootstrap=20)["heads"]["incongruent"]["subsets"]["all"]
    assert (found["without_label"], found["without_probability"], found["clips"]) == (30, 20, 350)
    rows = gaps.loc[test[50:]]
    area = roc_auc_score(rows["incongruent"].astype(bool), rows["prob_incongruent"])
    assert found["metrics"]["auroc"]["value"] == pytest.approx(area)


@pytest.mark.parametrize("split", ["val", "test"])
def test_one_class_in_a_split_is_null_with_the_reason(tables: Tables, split: str) -> None:
    predictions, controls = tables
    one = predictions.copy()
    one.loc[one["split"] == split, "incongruent"] = True
    found = evaluate(one, controls, ("speaker",), n_bootstrap=20)
    json.dumps(found, allow_nan=False)
    head = found["heads"]["incongruent"]
    if split == "test":
        for name in ("auroc", "auprc", "macro_f1"):
            figure = head["subsets"]["all"]["metrics"][name]
            assert figure["value"] is None
            assert "all 400 labelled clips are positive" in figure["reason"]
        assert head["subsets"]["all"]["metrics"]["brier"]["value"] is not None
    else:
        assert head["threshold"]["value"] == 0.5
        assert "validation" in head["threshold"]["reason"]
        assert "fewer than two classes" in head["temperature"]["reason"]


def test_heads_and_presence_that_are_not_there_are_named(tables: Tables) -> None:
    predictions, _ = tables
    bare = predictions[["id", "split", "incongruent", "prob_incongruent"]]
    found = evaluate(bare, groups=("speaker", "show"), n_bootstrap=20)
    notes = " ".join(found["notes"])
    assert "vocal_incongruent" in notes
    assert "present_visual" in notes
    assert list(found["subsets"]) == ["all"]
    assert found["groups"]["show"] == {"clusters": None, "reason": "no such column"}
    figure = found["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
    assert figure["clusters"] == {"clip": 400}
    assert "reason" in found["heads"]["incongruent"]["subsets"]["all"]["uncalibrated"]
    assert "reason" in found["heads"]["incongruent"]["subsets"]["all"]["contradiction"]["auroc"]
    assert found["type"]["all"]["clips"] == 0


def test_an_encoder_stage_has_polarity_figures_only(tables: Tables) -> None:
    predictions, _ = tables
    heads = ("prob_incongruent", "prob_vocal_incongruent", "logit", "prob_type")
    stage = predictions[[c for c in predictions if not c.startswith(heads)]].copy()
    stage["present_visual"] &= np.arange(len(stage)) % 2 == 0
    stage["present_prosody"] &= ~stage["present_visual"]
    stage["present_text"] = False
    shown = stage.loc[stage["split"] == "test", "present_visual"].sum()
    found = evaluate(stage, groups=("speaker",), n_bootstrap=50)
    assert found["heads"] == {}
    assert found["subsets"]["all_streams"] == 0
    assert 150 < found["polarity"]["visual"]["clips"] == shown
    assert found["polarity"]["visual"]["metrics"]["macro_f1"]["value"] > 0.8
    assert found["polarity"]["text"]["metrics"]["macro_f1"]["value"] is None
    assert not any("controls" in note for note in found["notes"])


def test_polarity_counts_only_clips_that_show_the_modality(tables: Tables, metrics: dict) -> None:
    predictions, _ = tables
    test = predictions[(predictions["split"] == "test") & predictions["present_prosody"]]
    columns = [f"prob_vocal_polarity_{name}" for name in ("negative", "neutral", "positive")]
    expected = f1_score(test["vocal_polarity"], test[columns].to_numpy().argmax(axis=1) - 1, average="macro")
    assert metrics["polarity"]["prosody"]["clips"] == len(test)
    assert metrics["polarity"]["prosody"]["metrics"]["macro_f1"]["value"] == pytest.approx(expected)
    assert np.sum(metrics["polarity"]["prosody"]["confusion"]) == len(test)


def test_calibration_is_shown_before_and_after(metrics: dict) -> None:
    head = metrics["heads"]["incongruent"]
    assert head["temperature"]["value"] == pytest.approx(1.8, rel=0.25)
    entry = head["subsets"]["all"]
    assert entry["uncalibrated"]["ece"]["value"] > entry["metrics"]["ece"]["value"]


def test_abstaining_raises_accuracy_on_test(tables: Tables) -> None:
    predictions, _ = run_tables(val=400, test=800, skill=0.9)
    found = evaluate(predictions, groups=("speaker",), n_bootstrap=20, abstention_target=0.75)
    abstention = found["heads"]["incongruent"]["abstention"]
    assert abstention["validation"]["reason"] is None
    assert abstention["test"]["coverage"] < 1
    assert abstention["test"]["accuracy_of_answers"] > abstention["test"]["accuracy_without_abstention"]


def test_folds_have_thresholds_of_their_own(tables: Tables) -> None:
    predictions, _ = tables
    folded = predictions.copy()
    folded["fold"] = np.arange(len(folded)) % 2
    shifted = folded["fold"] == 1
    folded.loc[shifted, "prob_incongruent"] = folded.loc[shifted, "prob_incongruent"] * 0.2
    found = evaluate(folded, groups=("speaker",), n_bootstrap=20)["heads"]["incongruent"]
    assert found["threshold"]["folds"]["1"] < 0.25 < found["threshold"]["folds"]["0"]
    assert found["subsets"]["all"]["metrics"]["macro_f1"]["value"] > 0.8


def test_folds_abstain_by_levels_of_their_own() -> None:
    predictions, controls = run_tables(val=600, test=800, skill=0.9)
    assert np.array_equal(predictions["split"] == "val", np.arange(1400) < 600)
    folded, _ = (table.assign(fold=np.arange(len(table)) % 2) for table in (predictions, controls))
    second = folded["fold"] == 1
    folded.loc[second, "prob_incongruent"] = folded.loc[second, "prob_incongruent"] * 0.3
    pooled = evaluate(folded, groups=("speaker",), n_bootstrap=5)["heads"]["incongruent"]
    alone = [
        evaluate(folded[folded["fold"] == fold], groups=("speaker",), n_bootstrap=5)["heads"]["incongruent"]
        for fold in (0, 1)
    ]
    for fold, own in enumerate(alone):
        assert pooled["abstention"]["folds"][str(fold)] == own["abstention"]["validation"]
        assert pooled["temperature"]["folds"][str(fold)] == own["temperature"]["value"]
        assert pooled["folds"]["each"][fold]["auroc"] == own["subsets"]["all"]["metrics"]["auroc"]["value"]
    levels = [own["abstention"]["validation"]["level"] for own in alone]
    assert min(levels) > 0
    assert levels[0] != levels[1]
    for figure in ("coverage", "accuracy_without_abstention"):
        assert pooled["abstention"]["test"][figure] == pytest.approx(
            np.mean([own["abstention"]["test"][figure] for own in alone])
        )


def test_a_score_that_is_constant_in_folds_is_at_chance_inside_them_and_below_it_when_pooled(tables: Tables) -> None:
    predictions, controls = (table.assign(fold=np.arange(len(table)) % 4) for table in tables)
    shares = predictions[predictions["split"] == "test"].groupby("fold")["incongruent"].mean()
    majority = controls["control"] == "majority"
    ids = predictions.set_index("id")["fold"]
    controls["fold"] = controls["id"].map(ids)
    controls.loc[majority, "prob_incongruent"] = 1 - controls.loc[majority, "fold"].map(shares)
    found = evaluate(predictions, controls, ("speaker",), n_bootstrap=5)["controls"]["majority"]["incongruent"]
    assert found["subsets"]["all"]["metrics"]["auroc"]["value"] < 0.5
    assert found["folds"]["auroc"] == {"mean": 0.5, "sd": 0.0, "folds": 4}


def test_engagement_is_judged_where_it_is_labelled(tables: Tables) -> None:
    predictions, _ = tables
    table = predictions.copy()
    table["engagement"] = np.where(np.arange(len(table)) % 2, np.linspace(0, 1, len(table)), np.nan)
    table["pred_engagement"] = np.linspace(0, 1, len(table)) + 0.1
    found = evaluate(table, groups=("speaker",), n_bootstrap=20)["engagement"]
    assert found["clips"] == 200
    assert found["metrics"]["mae"]["value"] == pytest.approx(0.1)
    assert found["metrics"]["pearson"]["value"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[t["split"] == "val"], "no test rows"),
        (lambda t: t.drop(columns="split"), "lacks the column 'split'"),
        (lambda t: pd.concat([t, t.tail(1)]), "row 601, column 'id' names a clip of an earlier row"),
        (lambda t: t.assign(seed=np.arange(len(t)) % 2), "mix 2 seeds"),
    ],
)
def test_tables_that_cannot_be_evaluated_say_why(tables: Tables, change, words: str) -> None:
    with pytest.raises(RunError, match=words):
        evaluate(change(tables[0]))


def test_a_thousand_clips_with_all_controls_take_seconds() -> None:
    predictions, controls = run_tables(val=400, test=1000)
    began = time.process_time()
    evaluate(predictions, controls, ("identity", "actor", "dialogue"), n_bootstrap=1000)
    assert time.process_time() - began < 20
