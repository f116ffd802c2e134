import json
from dataclasses import replace

import numpy as np
import pytest

from builders.prediction_tables import run_tables
from subtext.errors import RunError
from subtext.evaluation.evaluate import evaluate
from subtext.evaluation.seeds import EvaluatedRun, figures_of, per_seed_rows, pool_seeds, summarise_seeds
from subtext.report.terminal import rests_on_few


def run(seed: int, **changes) -> EvaluatedRun:
    predictions, controls = run_tables(seed=seed, val=100, test=300, **changes)
    controls = controls[controls["control"].isin(["visual", "visual+text"])]
    metrics = evaluate(predictions, controls, ("speaker",), n_bootstrap=20)
    return EvaluatedRun(f"seed_{seed}", seed, predictions, controls, metrics=metrics)


@pytest.fixture(scope="module")
def runs() -> list[EvaluatedRun]:
    return [run(seed) for seed in (3, 4, 5)]


def test_mean_and_spread_are_over_the_seeds(runs: list[EvaluatedRun]) -> None:
    areas = [r.metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] for r in runs]
    pooled = pool_seeds(runs, ("speaker",))
    found = pooled["auroc"]["incongruent"]["all"]["fused"]
    assert found["per_seed"] == pytest.approx(areas)
    assert found["value"] == pytest.approx(np.mean(areas))
    assert found["seed_sd"] == pytest.approx(np.std(areas, ddof=1))
    assert found["low"] < found["value"] < found["high"]
    assert pooled["seeds"] == [3, 4, 5]
    summary = summarise_seeds([r.metrics for r in runs]).set_index(["system", "part", "subset", "metric"])
    row = summary.loc[("fused", "incongruent", "all", "auroc")]
    assert (row["mean"], row["sd"], row["seeds"]) == pytest.approx((np.mean(areas), np.std(areas, ddof=1), 3))
    json.dumps(pooled, allow_nan=False)


def test_differences_are_averaged_over_seeds_with_an_interval(runs: list[EvaluatedRun]) -> None:
    pooled = pool_seeds(runs, ("speaker",))["auroc"]["incongruent"]["all_streams"]
    difference = pooled["visual+text"]["fused_minus_control"]
    assert difference["value"] == pytest.approx(pooled["fused"]["value"] - pooled["visual+text"]["value"])
    assert difference["low"] < difference["value"] < difference["high"]


def test_shuffled_pairs_have_an_interval_over_draws_alone() -> None:
    drawn = []
    for seed in (3, 4, 5):
        predictions, controls = run_tables(seed=seed, val=100, test=300)
        controls = controls[controls["control"] == "shuffled"]
        # Few clusters, whose mark must not stand beside an interval that has nothing to do with them.
        metrics = evaluate(predictions, controls, ("actor",), n_bootstrap=10)
        drawn.append(EvaluatedRun(f"s{seed}", seed, predictions, controls, metrics=metrics))
    alone = drawn[0].metrics["controls"]["shuffled"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
    assert alone["value"] is not None
    assert alone["low"] is None
    found = pool_seeds(drawn, ("actor",))["auroc"]["incongruent"]["all"]["shuffled"]
    half = 4.302653 * np.std(found["per_seed"], ddof=1) / np.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((found["value"] - half, found["value"] + half), abs=1e-5)
    assert not rests_on_few(found)
    assert "fused_minus_control" not in found


def test_one_run_pools_to_its_own_interval(runs: list[EvaluatedRun]) -> None:
    own = runs[0].metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
    found = pool_seeds(runs[:1], ("speaker",))["auroc"]["incongruent"]["all"]["fused"]
    assert (found["low"], found["high"]) == pytest.approx((own["low"], own["high"]))
    assert found["seed_sd"] is None


def test_order_of_rows_in_a_run_changes_nothing(runs: list[EvaluatedRun]) -> None:
    mixed = replace(
        runs[1],
        predictions=runs[1].predictions.sample(frac=1, random_state=0),
        controls=runs[1].controls.sample(frac=1, random_state=1),
    )
    one = pool_seeds(runs, ("speaker",))["auroc"]
    other = pool_seeds([runs[0], mixed, runs[2]], ("speaker",))["auroc"]
    assert one["incongruent"]["all"]["visual"]["low"] == pytest.approx(other["incongruent"]["all"]["visual"]["low"])
    assert one["incongruent"]["all"]["fused"]["per_seed"] == pytest.approx(
        other["incongruent"]["all"]["fused"]["per_seed"]
    )


def test_per_seed_rows_name_run_and_seed(runs: list[EvaluatedRun]) -> None:
    table = per_seed_rows(runs)
    assert set(table["seed"]) == {3, 4, 5}
    assert {"fused", "visual", "fused - visual"} <= set(table["system"])
    assert len(table) == 3 * len(figures_of(runs[0].metrics))
    assert not table.duplicated(["run", "system", "part", "subset", "metric"]).any()


def test_a_control_that_one_run_lacks_is_not_averaged(runs: list[EvaluatedRun]) -> None:
    lacking = replace(runs[2], label="lacking", controls=runs[2].controls.query("control != 'visual'"))
    found = pool_seeds([*runs[:2], lacking], ("speaker",))["auroc"]["incongruent"]["all"]
    assert set(found) == {"fused", "visual+text"}
    assert pool_seeds([*runs[:2], lacking], ("speaker",))["notes"] == ["visual: only seed_3, seed_4 ran it"]


def test_runs_on_other_clips_or_of_the_same_seed_are_refused(runs: list[EvaluatedRun]) -> None:
    with pytest.raises(RunError, match="different clips"):
        pool_seeds([runs[0], run(9, clip_seed=1)], ("speaker",))
    with pytest.raises(RunError, match="repeat a seed"):
        pool_seeds([runs[0], runs[0]], ("speaker",))
