"""The pruner that is patient: reports never fall, so standing still is what it waits for."""

import optuna
import pytest

from subtext.sweeps.samplers import PatientPruner


class Always(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return True


@pytest.mark.parametrize(
    ("reports", "pruned"),
    [
        ([0.5, 0.5, 0.5], False),  # too early to tell
        ([0.5, 0.5, 0.5, 0.5], True),
        ([0.4, 0.5, 0.5, 0.5], False),
        ([0.4, 0.5, 0.5, 0.5, 0.5], True),
        ([0.5, 0.5, 0.5, 0.6], False),
        ([0.9, 0.9, 0.9, 0.7, 0.7, 0.7], False),  # a second seed has begun
        ([0.9, 0.9, 0.9, 0.7, 0.7, 0.7, 0.7], True),
    ],
)
def test_a_trial_that_stands_still_is_left_to_the_other_pruner(reports: list[float], pruned: bool) -> None:
    study = optuna.create_study(direction="maximize", pruner=PatientPruner(Always(), patience=3))
    trial = study.ask()
    for step, value in enumerate(reports):
        trial.report(value, step)
    assert trial.should_prune() == pruned


def test_where_the_other_pruner_would_go_on_it_goes_on() -> None:
    study = optuna.create_study(pruner=PatientPruner(optuna.pruners.NopPruner(), patience=1))
    trial = study.ask()
    trial.report(0.5, 0)
    trial.report(0.5, 1)
    assert not trial.should_prune()
