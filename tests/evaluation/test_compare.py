"""Figures and differences of several systems, against direct computation."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from builders.prediction_tables import run_tables
from subtext.errors import ConfigError, RunError
from subtext.evaluation.compare import choose_reference, compare
from subtext.evaluation.evaluate import evaluate
from subtext.evaluation.intervals import Units
from subtext.evaluation.multiple import holm
from subtext.evaluation.paired import detectable, paired_auroc
from subtext.evaluation.seeds import EvaluatedRun, pool_seeds
from subtext.evaluation.systems import System, TrainedRun, same_encoders
from subtext.evaluation.within import auroc_by_unit
from subtext.runs.compare import alarms

GROUPS = ("identity", "dialogue")
SKILLS = {"posterior": 1.3, "late": 1.3, "gated": 2.6}


def system(name: str, skill: float, seeds: tuple[int, ...] = (0, 1)) -> System:
    runs = []
    for seed in seeds:
        number = sorted(SKILLS).index(name) if name in SKILLS else 9
        predictions, controls = run_tables(
            seed=seed + 10 * number, skill=skill, train=10, val=80, test=160, speakers=18
        )
        controls = controls[controls["control"].isin(["visual", "shuffled", "posterior_product"])]
        runs.append(TrainedRun(f"{name}/{seed}", seed, predictions, controls))
    return System(f"fusion={name}", tuple(runs), {}, name)


@pytest.fixture(scope="module")
def systems() -> list[System]:
    return [system(name, skill) for name, skill in SKILLS.items()]


@pytest.fixture(scope="module")
def found(systems: list[System]) -> dict:
    return compare(systems, GROUPS, within="speaker", n_bootstrap=20)


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


@pytest.mark.parametrize("groups", [GROUPS, ("speaker", "actor")])
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_its_seeds_and_a_comparison_give_one_and_the_same_figure(
    systems: list[System], groups: tuple[str, ...], seeds: int
) -> None:
    """Also where few actors, or trainings that differ, make an interval."""
    runs = systems[1].runs[:seeds]
    own = [evaluate(run.predictions, run.controls, groups, n_bootstrap=5) for run in runs]
    evaluated = [
        EvaluatedRun(run.label, run.seed, run.predictions, run.controls, metrics=metrics)
        for run, metrics in zip(runs, own, strict=True)
    ]
    pooled = pool_seeds(evaluated, groups)["auroc"]["incongruent"]["all"]
    compared = compare([System("one", runs)], groups, n_bootstrap=5)["heads"]["incongruent"]["subsets"]["all"]
    theirs = compared["controls"]["one"]["visual"]
    less = pooled["visual"]["fused_minus_control"]
    keys = ("value", "low", "high")
    assert [theirs["system_minus_control"][key] for key in keys] == pytest.approx([less[key] for key in keys])
    assert [theirs["metrics"]["auroc"][key] for key in keys] == pytest.approx([pooled["visual"][key] for key in keys])
    mine = compared["systems"]["one"]["metrics"]["auroc"]
    assert [mine[key] for key in keys] == pytest.approx([pooled["fused"][key] for key in keys])
    assert (less["per_seed"], less["clips"]) == (
        pytest.approx(np.subtract(pooled["fused"]["per_seed"], pooled["visual"]["per_seed"])),
        160,
    )
    if seeds == 1:
        entry = own[0]["controls"]["visual"]["incongruent"]["subsets"]["all"]
        assert [entry["fused_minus_control"]["auroc"][key] for key in keys] == pytest.approx(
            [less[key] for key in keys]
        )
        assert [entry["metrics"]["auroc"][key] for key in keys] == pytest.approx(
            [pooled["visual"][key] for key in keys]
        )


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
        # At the level of Holm's first step over three pairs.
        size = detectable(paired.standard_error, paired.degrees, 0.05 / 3)
        assert row["minimal_detectable"] == pytest.approx(size)
        assert size > 1.1 * paired.minimal_detectable
        direct[row["system"], row["other"]] = paired.p
    assert len(direct) == 3
    assert [row["p_holm"] for row in families["all_pairs"]] == pytest.approx(list(holm(direct).values()))
    by_name = {row["system"]: row for row in families["reference"]}
    assert by_name["fusion=late"]["verdict"] == "not_distinguished"
    assert by_name["fusion=late"]["minimal_detectable"] > abs(by_name["fusion=late"]["value"])
    assert by_name["fusion=gated"]["metrics"]["brier"]["value"] < 0


def test_a_tie_depends_on_the_declared_margin(systems: list[System], found: dict) -> None:
    wide = compare(systems, GROUPS, margin=0.5, n_bootstrap=5)
    assert wide["settings"]["margin"] == 0.5
    rows = {
        row["system"]: row["verdict"]
        for row in wide["heads"]["incongruent"]["subsets"]["all"]["differences"]["reference"]
    }
    assert rows["fusion=late"] == "tie"
    assert found["settings"]["margin"] == 0.02
    for margin in (0.0, -0.02, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="margin"):
            compare(systems, GROUPS, margin=margin)


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
    again = compare(mixed, GROUPS, within="speaker", n_bootstrap=20)
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


def test_above_its_own_readings_on_constructed_clips_is_an_alarm() -> None:
    strong, weak = system("gated", 6.0, seeds=(0,)), system("late", 0.8, seeds=(0,))

    def standing_on(each: System, other: System) -> System:
        readings = other.runs[0].predictions["prob_incongruent"].astype(float).to_numpy()
        return changed(each, lambda table: table.assign(anchor_incongruent=logit(readings)))

    # Each is far from the other one; only the first is above what it stands on itself.
    pair = [standing_on(strong, weak), standing_on(weak, weak)]
    compared = compare(pair, GROUPS, n_bootstrap=2)
    assert alarms(compared | {"nature": "acted"}) == []
    raised = alarms(compared | {"nature": "constructed"})
    assert {alarm["system"] for alarm in raised} == {"fusion=gated"}
    assert {alarm["head"] for alarm in raised} == {"incongruent"}
    assert all(alarm["value"] > 0 and alarm["p_holm"] <= 0.05 for alarm in raised)
    assert alarms(compare([standing_on(strong, strong)], GROUPS, n_bootstrap=2) | {"nature": "constructed"}) == []


def test_clips_without_labels_may_stand_in_some_runs_only() -> None:
    one, two = system("gated", 2.0, seeds=(0,)), system("late", 0.8, seeds=(0,))

    def enrolled(table: pd.DataFrame) -> pd.DataFrame:
        more = table[table["split"] == "test"].head(2).assign(id=["e1", "e2"])
        heads = ["incongruent", "vocal_incongruent"]
        more[heads] = None
        return pd.concat([table, more], ignore_index=True)

    plain, more = (compare([first, two], GROUPS, n_bootstrap=2) for first in (one, changed(one, enrolled)))
    assert plain["clips"] == more["clips"]


def test_a_product_that_stands_among_the_controls_will_do() -> None:
    strong, weak = system("gated", 6.0, seeds=(0,)), system("late", 0.8, seeds=(0,))
    run, other = strong.runs[0], weak.runs[0].predictions
    product = other[["id", "split", "prob_incongruent"]].assign(control="posterior_product")
    given = System(strong.name, (replace(run, controls=product),), {}, strong.strategy)
    raised = alarms(compare([given], GROUPS, n_bootstrap=2) | {"nature": "constructed"})
    assert {(alarm["system"], alarm["head"]) for alarm in raised} == {("fusion=gated", "incongruent")}


def changed(each: System, change: Callable[[pd.DataFrame], pd.DataFrame], **more: Any) -> System:
    """The first run of a system with another table."""
    run = each.runs[0]
    return System(each.name, (TrainedRun(run.label, run.seed, change(run.predictions.copy()), None, **more),))


def test_a_speaker_with_a_clip_or_two_of_a_label_is_not_the_worst_by_auroc(systems: list[System]) -> None:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        test = table[table["split"] == "test"]
        own = test[test["speaker"] == test["speaker"].value_counts().index[0]]
        yes = own.index[own["incongruent"].astype(bool)]
        table.loc[yes[2:], "incongruent"] = False
        table.loc[yes[:2], "prob_incongruent"] = 0.0
        table["actor"] = table["speaker"]
        self.append((own["speaker"].iloc[0], len(own)))
        return table

    self: list[tuple[str, int]] = []
    one = changed(systems[2], spoil)
    found = compare([one], ["identity", "actor"], n_bootstrap=2)["heads"]["incongruent"]["speakers"]
    (name, clips), worst = self[0], found["worst"]["fusion=gated"]
    row = next(row for row in found["systems"]["fusion=gated"] if row["speaker"] == name)
    assert (row["auroc"], row["clips"], row["positive"]) == (0.0, clips, 2)
    assert clips >= 10
    assert worst["speaker"] != name
    # The actor is the speaker here: one cluster, which tells nothing.
    assert "actor" not in worst.get("reason", "")


def test_trainings_on_the_same_encoders_and_own_controls_are_compared_seed_by_seed(systems: list[System]) -> None:
    def given(each: System, encoders: str | None) -> System:
        return System(each.name, tuple(replace(r, encoders=encoders and f"{encoders}/{r.seed}") for r in each.runs))

    def error(*compared: System) -> float:
        judged_ = compare(compared, GROUPS, n_bootstrap=2)["heads"]["incongruent"]["subsets"]["all"]
        return judged_["differences"]["all_pairs"][0].get("seed_sd", 0.0)

    spoiled = [
        System(s.name, tuple(replace(r, predictions=_one_head(r.predictions, r.seed), controls=None) for r in s.runs))
        for s in (systems[0], systems[1])
    ]
    assert same_encoders(given(spoiled[0], "e"), given(spoiled[1], "e"))
    assert not same_encoders(given(spoiled[0], "e"), given(spoiled[1], "other"))
    assert not same_encoders(*spoiled)
    fixed = [System(s.name, tuple(replace(r, encoders="e") for r in s.runs)) for s in spoiled]
    assert not same_encoders(*fixed)
    notes = compare(fixed, GROUPS, n_bootstrap=2)["notes"]
    assert any("all seeds of fusion=late, fusion=posterior were given the same encoders" in note for note in notes)
    assert not same_encoders(given(spoiled[0], "e"), given(System("one", spoiled[1].runs[:1]), "e"))
    apart = error(*(given(s, None) for s in spoiled))
    assert apart > 0.05
    assert error(*(given(s, "e") for s in spoiled)) < 0.6 * apart
    # A control that says what the run says differs from it in no seed.
    copied = tuple(
        replace(r, controls=r.predictions[["id", "split", "prob_incongruent"]].assign(control="visual"))
        for r in spoiled[0].runs
    )
    entry = compare([System("one", copied)], GROUPS, n_bootstrap=2)["heads"]["incongruent"]["subsets"]["all"]
    less = entry["controls"]["one"]["visual"]["system_minus_control"]
    assert (less["value"], less["low"], less["high"]) == (0.0, 0.0, 0.0)


def _one_head(table: pd.DataFrame, seed: int | None) -> pd.DataFrame:
    """Predictions of one question, of the second seed much worse ones."""
    table = table.drop(columns="prob_vocal_incongruent")
    if not seed:
        return table
    noise = np.random.default_rng(0).normal(size=len(table))
    return table.assign(prob_incongruent=1 / (1 + np.exp(-0.3 * table["logit_incongruent"] - 2 * noise)))


def test_folds_have_their_mean_beside_the_pooled_auroc(systems: list[System]) -> None:
    """Scores of the second fold's model lie higher, which ranks nothing inside a fold."""

    def folded(table: pd.DataFrame) -> pd.DataFrame:
        test = table["split"] == "test"
        second = test & (np.arange(len(table)) % 2 == 0)
        table["fold"] = pd.array(np.where(second, 1, 0), dtype="Int64")
        table.loc[second, "prob_incongruent"] = 0.5 + table.loc[second, "prob_incongruent"] / 2
        table.loc[test & ~second, "prob_incongruent"] /= 2
        return table

    one = changed(systems[2], folded)
    judged_ = compare([one, changed(systems[0], lambda table: table)], GROUPS, n_bootstrap=2)
    found = judged_["heads"]["incongruent"]
    assert set(found["folds"]) == {"fusion=gated"}
    rows = one.runs[0].predictions.query("split == 'test'")
    each = [roc_auc_score(own["incongruent"].astype(bool), own["prob_incongruent"]) for _, own in rows.groupby("fold")]
    fold = found["folds"]["fusion=gated"]
    assert (fold["value"], fold["folds"]) == (pytest.approx(np.mean(each)), 2)
    assert found["subsets"]["all"]["systems"]["fusion=gated"]["metrics"]["auroc"]["value"] < fold["value"] - 0.1
    assert any("have other folds" in note for note in judged_["notes"])


def test_units_inside_which_systems_are_compared_must_be_the_same(systems: list[System]) -> None:
    other = changed(systems[0], lambda table: table.assign(actor=table["actor"].iloc[::-1].to_numpy()))
    with pytest.raises(RunError, match="differ in 'actor'"):
        compare([other, changed(systems[2], lambda table: table)], GROUPS, within="actor", n_bootstrap=2)
