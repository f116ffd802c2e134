"""Figures and differences of several systems, against direct computation."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from prediction_tables import run_tables
from subtext.errors import ConfigError
from subtext.evaluation.compare import choose_reference, compare
from subtext.evaluation.compare_runs import alarms
from subtext.evaluation.evaluate import evaluate
from subtext.evaluation.intervals import Units
from subtext.evaluation.multiple import holm
from subtext.evaluation.paired import paired_auroc
from subtext.evaluation.systems import System, TrainedRun
from subtext.evaluation.within import auroc_by_unit

GROUPS = ("identity", "dialogue")
SKILLS = {"posterior": 1.3, "late": 1.3, "gated": 2.6}


def system(name: str, skill: float, seeds: tuple[int, ...] = (0, 1)) -> System:
    runs = []
    for seed in seeds:
        number = sorted(SKILLS).index(name) if name in SKILLS else 9
        predictions, controls = run_tables(
            seed=seed + 10 * number, skill=skill, train=10, val=80, test=200, speakers=18
        )
        controls = controls[controls["control"].isin(["visual", "shuffled", "posterior_product"])]
        runs.append(TrainedRun(f"{name}/{seed}", seed, predictions, controls))
    return System(f"fusion={name}", tuple(runs), {}, name)


@pytest.fixture(scope="module")
def systems() -> list[System]:
    return [system(name, skill) for name, skill in SKILLS.items()]


@pytest.fixture(scope="module")
def found(systems: list[System]) -> dict:
    return compare(systems, GROUPS, within="speaker", n_bootstrap=50)


def judged(run: TrainedRun, everywhere: bool = True) -> pd.DataFrame:
    rows = run.predictions[run.predictions["split"] == "test"]
    streams = rows[[f"present_{m}" for m in ("visual", "text", "prosody")]].all(axis=1)
    return rows.sort_values("id") if everywhere else rows[streams].sort_values("id")


def test_figures_are_means_over_seeds_of_direct_ones(systems: list[System], found: dict) -> None:
    for subset, everywhere in (("all", True), ("all_streams", False)):
        for each in systems:
            figures = found["heads"]["incongruent"]["subsets"][subset]["systems"][each.name]["metrics"]
            tables = [judged(run, everywhere) for run in each.runs]
            truth = [table["incongruent"].astype(bool) for table in tables]
            p = [table["prob_incongruent"] for table in tables]
            for metric, direct in (("auroc", roc_auc_score), ("brier", brier_score_loss), ("log_loss", log_loss)):
                values = [direct(t, q) for t, q in zip(truth, p, strict=True)]
                assert figures[metric]["per_seed"] == pytest.approx(values)
                assert figures[metric]["value"] == pytest.approx(np.mean(values))
                assert figures[metric]["seed_sd"] == pytest.approx(np.std(values, ddof=1))
                assert figures[metric]["low"] < figures[metric]["value"] < figures[metric]["high"]


def test_one_seed_gives_what_evaluate_gives(systems: list[System]) -> None:
    run = systems[1].runs[0]
    alone = compare([System("one", (run,), {}, "late")], GROUPS, n_bootstrap=50)
    own = evaluate(run.predictions, run.controls, GROUPS, n_bootstrap=50)
    for subset in ("all", "all_streams"):
        ours = alone["heads"]["incongruent"]["subsets"][subset]
        theirs = own["heads"]["incongruent"]["subsets"][subset]["metrics"]
        for metric, figure in theirs.items():
            assert ours["systems"]["one"]["metrics"][metric]["value"] == pytest.approx(figure["value"])
            assert ours["systems"]["one"]["metrics"][metric]["low"] == pytest.approx(figure["low"])
        control = own["controls"]["visual"]["incongruent"]["subsets"][subset]["metrics"]
        mine = ours["controls"]["one"]["visual"]["metrics"]
        assert mine["macro_f1"]["value"] == pytest.approx(control["macro_f1"]["value"])
        assert mine["auroc"]["high"] == pytest.approx(control["auroc"]["high"])
    assert ours["differences"] == {"reference": [], "all_pairs": []}
    assert any("one run only of one" in note for note in alone["notes"])


def test_differences_are_those_of_paired_auroc_with_holm(systems: list[System], found: dict) -> None:
    families = found["heads"]["incongruent"]["subsets"]["all"]["differences"]
    assert found["reference"] == "fusion=posterior"
    assert {(row["system"], row["other"]) for row in families["reference"]} == {
        ("fusion=gated", "fusion=posterior"),
        ("fusion=late", "fusion=posterior"),
    }
    tables = {s.name: [judged(run) for run in s.runs] for s in systems}
    first = tables["fusion=late"][0]
    direct = {}
    for row in families["all_pairs"]:
        ours, theirs = (
            [table["prob_incongruent"].to_numpy(dtype=float) for table in tables[row[side]]]
            for side in ("system", "other")
        )
        paired = paired_auroc(first["incongruent"].to_numpy(dtype=bool), ours, theirs, Units.of(first, GROUPS))
        assert (row["value"], row["low"], row["p"]) == pytest.approx((paired.value, paired.low, paired.p))
        assert row["minimal_detectable"] == pytest.approx(paired.minimal_detectable)
        direct[row["system"], row["other"]] = paired.p
    assert len(direct) == 3
    assert [row["p_holm"] for row in families["all_pairs"]] == pytest.approx(list(holm(direct).values()))
    by_name = {row["system"]: row for row in families["reference"]}
    assert by_name["fusion=late"]["verdict"] == "tie"
    assert by_name["fusion=late"]["minimal_detectable"] > abs(by_name["fusion=late"]["value"])
    assert by_name["fusion=gated"]["metrics"]["brier"]["value"] < 0


def test_inside_units_is_what_within_gives(systems: list[System], found: dict) -> None:
    within = found["heads"]["incongruent"]["subsets"]["all"]["within"]
    for each in systems:
        series = [auroc_by_unit(judged(run), "incongruent", "prob_incongruent", "speaker") for run in each.runs]
        mean = pd.concat(series, axis=1).mean(axis=1)
        assert within["systems"][each.name]["value"] == pytest.approx(mean.mean())
        assert within["each"][each.name] == pytest.approx(mean.to_dict())
    row = next(r for r in within["differences"]["reference"] if r["system"] == "fusion=gated")
    assert "paired t" in row["test"]
    assert 0 < row["sign_flip_p"] <= 1


def test_calibration_before_is_of_the_logits(systems: list[System], found: dict) -> None:
    calibration = found["heads"]["incongruent"]["calibration"]["fusion=gated"]
    tables = [judged(run) for run in systems[2].runs]
    raw = [1 / (1 + np.exp(-table["logit_incongruent"])) for table in tables]
    before = [log_loss(t["incongruent"].astype(bool), p) for t, p in zip(tables, raw, strict=True)]
    after = found["heads"]["incongruent"]["subsets"]["all"]["systems"]["fusion=gated"]["metrics"]["log_loss"]["value"]
    assert calibration["before"]["log_loss"]["per_seed"] == pytest.approx(before)
    assert calibration["after"]["log_loss"]["value"] == pytest.approx(after)
    assert calibration["change"]["log_loss"]["value"] == pytest.approx(after - np.mean(before))
    assert sum(row["clips"] for row in calibration["bins"]["before"]) == pytest.approx(len(tables[0]))


def test_types_are_held_against_congruent_clips(systems: list[System], found: dict) -> None:
    types = found["heads"]["incongruent"]["types"]
    tables = [judged(run) for run in systems[2].runs]
    values = []
    for table in tables:
        rows = table[table["incongruence_type"].isin(["masking", "congruent"])]
        values.append(roc_auc_score(rows["incongruence_type"] == "masking", rows["prob_incongruent"]))
    assert types["masking"]["systems"]["fusion=gated"]["auroc"]["value"] == pytest.approx(np.mean(values))
    assert "auroc" not in types["congruent"]["systems"]["fusion=gated"]
    assert types["masking"]["clips"] == (tables[0]["incongruence_type"] == "masking").sum()
    assert 0 < types["congruent"]["systems"]["fusion=gated"]["called"]["value"] < 0.5


def test_the_worst_speaker_is_named_with_its_clips(systems: list[System]) -> None:
    spoiled = []
    for run in systems[2].runs:
        table = run.predictions.copy()
        speaker = table.loc[table["split"] == "test", "speaker"].iloc[0]
        own = table["speaker"] == speaker
        table.loc[own, "prob_incongruent"] = 1 - table.loc[own, "prob_incongruent"]
        spoiled.append(TrainedRun(run.label, run.seed, table, None))
    speakers = compare([System("one", tuple(spoiled), {}, "gated")], GROUPS, n_bootstrap=20)["heads"]["incongruent"][
        "speakers"
    ]
    worst = speakers["worst"]["one"]
    rows = judged(spoiled[0])
    assert (speakers["unit"], worst["speaker"], worst["clips"]) == ("speaker", speaker, sum(rows["speaker"] == speaker))
    assert worst["value"] < 0.5
    assert worst["low"] is not None or "too few" in worst["reason"]


def test_order_of_systems_and_rows_changes_nothing(systems: list[System], found: dict) -> None:
    mixed = [
        System(
            s.name,
            tuple(
                TrainedRun(r.label, r.seed, r.predictions.sample(frac=1, random_state=3), r.controls) for r in s.runs
            ),
            s.settings,
            s.strategy,
        )
        for s in reversed(systems)
    ]
    again = compare(mixed, GROUPS, within="speaker", n_bootstrap=50)
    one, other = (json.dumps(_rounded(c), sort_keys=True, allow_nan=False) for c in (found, again))
    assert one == other


def _rounded(node):
    if isinstance(node, dict):
        return {key: _rounded(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rounded(value) for value in node]
    return round(node, 7) + 0.0 if isinstance(node, float) else node


def test_the_reference_is_the_posterior_else_the_first_else_what_is_asked_for(systems: list[System]) -> None:
    assert choose_reference(systems[::-1], None) == "fusion=posterior"
    assert choose_reference(systems[1:], None) == "fusion=late"
    assert choose_reference(systems, "gated") == choose_reference(systems, "fusion=gated") == "fusion=gated"
    with pytest.raises(ConfigError, match="the systems are: fusion=posterior, fusion=late, fusion=gated"):
        choose_reference(systems, "mean")


def test_unusable_settings_are_refused(systems: list[System]) -> None:
    with pytest.raises(ConfigError, match="known are: identity, dialogue, speaker"):
        compare(systems, GROUPS, within="show")
    with pytest.raises(ConfigError, match="alpha"):
        compare(systems, GROUPS, alpha=1.5)


def test_a_control_of_one_draw_has_no_interval_over_clips(found: dict) -> None:
    controls = found["heads"]["incongruent"]["subsets"]["all"]["controls"]["fusion=late"]
    assert controls["shuffled"]["metrics"]["auroc"]["method"] == "t over 2 draws"
    assert set(controls["shuffled"]["metrics"]) == {"auroc"}
    assert controls["visual"]["system_minus_control"]["value"] > 0


@pytest.mark.parametrize("reference", ["fusion=posterior", "fusion=late"])
def test_above_the_posterior_on_constructed_clips_is_an_alarm(systems: list[System], reference: str) -> None:
    compared = compare([*systems[:2], system("gated", 6.0)], GROUPS, reference=reference, n_bootstrap=10)
    assert alarms(compared | {"nature": "acted"}) == []
    raised = alarms(compared | {"nature": "constructed"})
    assert {(alarm["system"], alarm["posterior"]) for alarm in raised} == {("fusion=gated", "fusion=posterior")}
    assert all(alarm["value"] > 0 and alarm["p_holm"] <= 0.05 for alarm in raised)
