"""One trial: what it trains, what it reports, and that it never sees a test row."""

import math
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from builders.tiny_runs import changed, settings, write_corpus
from subtext.errors import ConfigError, NotFiniteError
from subtext.runs import prepare
from subtext.runs.folder import RunFolder
from subtext.runs.train import train
from subtext.sweeps import objective as module
from subtext.sweeps.objective import Objective

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("objective")
    return changed(settings(folder, write_corpus(folder)), fold=None) | {"audit": False}


def study(**options: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(**({"direction": "maximize"} | options))


def run(objective: Objective, base: dict[str, Any], asked: optuna.Study, **values: Any) -> tuple[float, ...]:
    return objective(asked.ask(), lambda seed: changed(base, seed=seed, **values))


def test_a_trial_scores_what_a_training_run_of_the_same_settings_scores(base: dict[str, Any], tmp_path: Path) -> None:
    objective = Objective(base, objectives=["selection"], seeds=[3], epochs=3)
    objective.prepare()  # fills the caches, as a worker finds them
    asked = study()
    run(objective, base, asked, task__optimizer__lr=0.02)
    (score,) = run(objective, base, asked)

    train(changed(base, seed=3), tmp_path / "run")

    described = RunFolder(tmp_path / "run").model()
    assert score == described["best"]["score"]
    attributes = asked.trials[1].user_attrs
    assert attributes["best_epochs"] == {"3": described["best"]["epoch"]}
    assert attributes["parameters"] == described["parameters"]["trainable"]
    assert attributes["flops_per_clip"] == described["flops_per_clip"]
    assert (attributes["epochs"], attributes["epochs_planned"]) == (3, 3)


def test_test_rows_are_left_out_before_a_stream_is_read(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (honest,) = run(Objective(base, objectives=["selection"], seeds=[0], epochs=3), base, study())
    table = pd.read_csv(base["corpus"]["path"])
    test = table["split"] == "test"
    for column in ("verbal_polarity", "vocal_polarity"):
        table.loc[test, column] = -table.loc[test, column]
    path = Path(base["corpus"]["path"]).with_name("turned.csv")
    table.to_csv(path, index=False)
    seen: list[pd.DataFrame] = []
    load = prepare.load_clips

    def watched(rows: pd.DataFrame, *rest: Any) -> Any:
        seen.append(rows)
        return load(rows, *rest)

    monkeypatch.setattr(prepare, "load_clips", watched)

    turned = changed(base, corpus__path=str(path))
    (score,) = run(Objective(turned, objectives=["selection"], seeds=[0], epochs=3), turned, study())

    assert score == honest
    assert [set(rows["split"]) for rows in seen] == [{"train", "val"}]


def test_the_score_is_the_mean_over_seeds_and_each_seed_begins_at_its_own_step(base: dict[str, Any]) -> None:
    alone = [run(Objective(base, objectives=["selection"], seeds=[s], epochs=3), base, study())[0] for s in (0, 1)]
    asked = study()

    (score,) = run(Objective(base, objectives=["selection"], seeds=[0, 1], epochs=5), base, asked)

    assert score == pytest.approx(sum(alone) / 2)
    assert asked.trials[0].user_attrs["seed_scores"] == {"0": alone[0], "1": alone[1]}
    assert sorted(asked.trials[0].intermediate_values) == [0, 1, 2, 5, 6, 7]
    assert asked.trials[0].intermediate_values[7] == pytest.approx(score)


@pytest.mark.parametrize(("lower", "epochs", "where"), [(2.0, 1, "epoch 1 of seed 0"), (None, 4, "epoch 1 of seed 1")])
def test_what_the_pruner_stops_is_pruned_also_between_seeds(
    base: dict[str, Any], lower: float | None, epochs: int, where: str
) -> None:
    class AtSecondSeed(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.last_step == 3

    pruner = AtSecondSeed() if lower is None else optuna.pruners.ThresholdPruner(lower=lower)
    asked = study(pruner=pruner)

    with pytest.raises(optuna.TrialPruned, match=where):
        run(Objective(base, objectives=["selection"], seeds=[0, 1], epochs=3), base, asked)

    attributes = asked.trials[0].user_attrs
    assert (attributes["epochs"], attributes["epochs_planned"]) == (epochs, 6)
    assert where in attributes["reason"]


def test_several_figures_come_in_their_order_and_nothing_is_reported(base: dict[str, Any]) -> None:
    asked = study(direction=None, directions=["minimize", "maximize"])

    cost, score = run(Objective(base, objectives=["flops_per_clip", "selection"], seeds=[0], epochs=3), base, asked)

    assert cost == asked.trials[0].user_attrs["flops_per_clip"] > 0
    assert 0 <= score <= 1
    assert not asked.trials[0].intermediate_values


def test_a_loss_that_is_no_number_is_an_error_of_its_own(base: dict[str, Any]) -> None:
    with pytest.raises(NotFiniteError, match="lower task"):
        run(Objective(base, objectives=["selection"], seeds=[0], epochs=3), base, study(), task__optimizer__lr=1e20)


def test_what_trials_share_is_read_once(base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"read_corpus": 0, "load_clips": 0}
    for name in calls:
        original = getattr(prepare, name)

        def counted(*given: Any, name: str = name, original: Any = original) -> Any:
            calls[name] += 1
            return original(*given)

        monkeypatch.setattr(prepare, name, counted)
    objective = Objective(base, objectives=["selection"], seeds=[0], epochs=3)
    asked = study()
    for rate in (0.001, 0.01):
        run(objective, base, asked, task__optimizer__lr=rate)

    assert calls == {"read_corpus": 1, "load_clips": 1}

    run(objective, base, asked, task__max_steps__prosody=7)

    assert calls == {"read_corpus": 1, "load_clips": 2}


def test_an_objective_of_all_folds_is_refused(base: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name it by fold="):
        Objective(base | {"cv": 4}, objectives=["selection"], seeds=[0], epochs=3)


def test_no_epoch_is_worth_reporting_without_a_number() -> None:
    asked = study()
    trial = asked.ask()
    progress = module._Progress(trial, reports=True)
    progress.begin(0, [], 0)

    progress.told({"val/selection": -math.inf})

    assert not asked.trials[0].intermediate_values
