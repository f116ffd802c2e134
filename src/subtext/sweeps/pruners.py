"""Pruners that Optuna lacks."""

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial


class PatientPruner(BasePruner):
    """Asks another pruner only where a trial has stood still for some epochs.

    Optuna's own waits for values below those before. A trial reports the best epoch so far, which never falls, so it
    would wait for ever. A further seed begins at another mean, and so is given its epochs anew.

    Args:
        wrapped_pruner: the one that is asked.
        patience: epochs without a better one.
    """

    def __init__(self, wrapped_pruner: BasePruner, patience: int) -> None:
        self._wrapped = wrapped_pruner
        self._patience = patience

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is not worth while."""
        reported = trial.intermediate_values
        last = [reported[step] for step in sorted(reported)[-self._patience - 1 :]]
        if len(last) <= self._patience or len(set(last)) > 1:
            return False
        return self._wrapped.prune(study, trial)
