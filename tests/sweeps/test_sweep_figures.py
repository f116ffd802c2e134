import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from builders.sweep_studies import new_study, swept, trial
from subtext.sweeps.figures import FIGURES, importances, strategy_of, sweep_figures
from subtext.sweeps.study import completed_trials, front

TWO = {"selection": "maximize", "flops_per_clip": "minimize"}


def names(paths: list[Path]) -> set[str]:
    return {path.stem for path in paths}


@pytest.mark.parametrize("objectives", [None, TWO], ids=["one", "two"])
def test_every_figure_of_a_sweep_is_drawn(objectives: dict[str, str] | None, tmp_path: Path) -> None:
    paths = sweep_figures(tmp_path, swept(24, objectives=objectives))
    assert names(paths) == set(FIGURES) - (set() if objectives else {"pareto"})
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.02
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def nothing() -> Study:
    return new_study()


def one_completed() -> Study:
    study = new_study()
    study.add_trial(trial("late", 0.7))
    return study


def all_failed() -> Study:
    study = new_study()
    for name in ("late", "concat"):
        study.add_trial(trial(name, state=TrialState.FAIL, reason="out of memory"))
    return study


def one_pruned_one_waiting() -> Study:
    study = new_study()
    study.add_trial(trial("late", state=TrialState.PRUNED, reported=[0.5]))
    study.add_trial(trial("concat", state=TrialState.WAITING))
    return study


def equal_values() -> Study:
    study = new_study()
    rng = np.random.default_rng(3)
    for _ in range(12):
        study.add_trial(trial("late", 0.5, rng=rng))
    return study


def not_finite() -> Study:
    study = new_study()
    for value in (math.inf, -math.inf):
        study.add_trial(trial("late", value))
    return study


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        (nothing, set()),
        (all_failed, set()),
        (one_pruned_one_waiting, set()),
        (not_finite, set()),
        (one_completed, {"history"}),
        (equal_values, {"history"}),
    ],
)
def test_small_and_failed_sweeps_get_the_figures_that_their_trials_allow(make, drawn: set[str], tmp_path: Path) -> None:
    assert names(sweep_figures(tmp_path, make())) == drawn


def test_repeats_and_requeued_trials_are_in_no_figure(tmp_path: Path) -> None:
    study = one_completed()
    study.add_trial(trial("concat", 0.9, same_as=0))
    study.add_trial(trial("gated", 0.9, requeued=True))
    assert [t.number for t in completed_trials(study)] == [0]
    assert names(sweep_figures(tmp_path, study)) == {"history"}


def test_front_holds_what_nothing_beats_and_keeps_ties() -> None:
    study = new_study(TWO)
    for values in ((0.8, 9.0), (0.7, 5.0), (0.7, 6.0), (0.6, 5.0), (0.5, 1.0), (0.8, 9.0)):
        study.add_trial(trial("late", values))
    assert [t.number for t in front(study)] == [0, 5, 1, 4]
    assert {t.number for t in front(study)} == {t.number for t in study.best_trials}


def test_importance_is_the_same_every_time_and_finds_what_matters() -> None:
    study = new_study()
    rng = np.random.default_rng(0)
    for _ in range(40):
        made = trial("lowrank", 0.0, rng=rng)
        made.values = [-abs(math.log10(made.params["optimizer.lr"]) + 3)]
        study.add_trial(made)
    explained, parting = importances(study)
    assert next(iter(explained)) == next(iter(parting)) == "optimizer.lr"
    assert "fusion" not in explained  # never varied
    assert sum(explained.values()) == pytest.approx(1)
    assert importances(study) == (explained, parting)


def test_importance_counts_conditional_settings_among_all_but_not_among_common_ones() -> None:
    explained, parting = importances(swept(60))
    assert "fusion.layers" in parting
    assert set(explained) == {"fusion", "encoder.dim", "optimizer.lr", "task.modality_dropout"}


def test_importance_of_what_is_minimised_looks_at_the_lowest() -> None:
    """PED-ANOVA asks what parts the best: which end is the best must follow the direction."""
    found = {}
    for way in ("maximize", "minimize"):
        study = new_study({"selection": way})
        rng = np.random.default_rng(1)
        for _ in range(60):
            made = trial("concat", 0.0, rng=rng)
            # The learning rate parts the top; among the lowest only the dropout counts.
            high = math.log10(made.params["optimizer.lr"]) > -2.7
            made.values = [10.0 if high else made.params["task.modality_dropout"] + 0.01 * rng.normal()]
            study.add_trial(made)
        found[way] = importances(study)[1]
    assert next(iter(found["maximize"])) == "optimizer.lr"
    assert next(iter(found["minimize"])) == "task.modality_dropout"


def test_importance_needs_trials() -> None:
    assert importances(swept(8)) == ({}, {})


def test_strategy_of_a_constant_is_read_from_the_overrides() -> None:
    made = trial("late", 0.5)
    assert strategy_of(made) == "late"
    del made.params["fusion"], made.distributions["fusion"]
    made.user_attrs["overrides"] = ["fusion=late", "+fusion='gated'", "fusion.heads=2"]
    assert strategy_of(made) == "gated"
    made.user_attrs["overrides"] = []
    assert strategy_of(made) is None
