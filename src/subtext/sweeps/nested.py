"""A sweep of a cross-validated corpus: one study a fold, so that no fold is tested with settings it helped to choose.

The study of fold k sees the training folds and the validation fold that fold k has; its winner is trained again, and
fold k is tested by it alone. What is pooled over the folds is the result of the whole procedure, search included
(nested cross-validation; Cawley & Talbot 2010, JMLR 11), not of one configuration: each fold may have another winner.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from subtext.errors import ConfigError, SweepError
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.folds import train_folds
from subtext.sweeps.sweep import refit_seeds_of, run_sweep
from subtext.sweeps.winner import WINNER, alone, facts_of, note_winner, refit
from subtext.sweeps.workers import Plan

log = logging.getLogger(__name__)

WINNERS: Final = "winners.json"
"""File that says which trial won in which fold."""


def run_nested(
    plan_of: Callable[[Path, int], Plan],
    base: Callable[[int], dict[str, Any]],
    folder: Path,
    *,
    folds: int,
    refit_seeds: int,
    save_as: str | None,
) -> None:
    """Search in every fold, then train and test each fold with its own winner.

    Args:
        plan_of: the plan of a study in a folder, of a fold.
        base: the configuration of the whole with a given seed, which the pooled runs hold.
        folder: of the sweep; the fold's studies are in `folds/K`, the pooled runs in `winner/seed-N`.
        folds: how many there are.
        refit_seeds: how many fresh seeds the winners are trained with; 0: none.
        save_as: must be None, there being no single winner.

    Raises:
        ConfigError: `save_as` names an experiment.
        SweepError: a fold's trials failed.
    """
    if save_as is not None:
        raise ConfigError(
            f"save_as={save_as}: a cross-validated sweep has a winner in every fold, each in {RunFile.FOLDS}/K/conf; "
            "name one fold by fold= to save its winner"
        )
    plans = []
    for fold in range(folds):
        plan = plan_of(folder / RunFile.FOLDS / str(fold), fold)
        plan = replace(plan, name=f"{plan.name}-fold-{fold}")
        plans.append(plan)
        log.info("fold %d of %d", fold + 1, folds)
        run_sweep(plan, refit_seeds=0, save_as=None)
    if not refit_seeds:
        return
    winners = [_best(plan) for plan in plans]
    if any(winner is None for winner in winners):
        log.info("Other sessions run trials still; the last one refits the winners")
        return
    with alone(plans[0].open()) as nobody_else:
        if nobody_else:
            note_winner(folder / WINNER, WINNERS, {str(fold): winner for fold, winner in enumerate(winners)})
            _refit(plans, base, folder / WINNER, refit_seeds_of(plans[0], refit_seeds))
    log.info("Sweep folder: %s", folder)


def _best(plan: Plan) -> dict[str, Any] | None:
    """The winner of a fold; None while trials run elsewhere."""
    sweep = plan.open()
    if sweep.unfinished():
        return None
    best = sweep.best()
    if best is None:
        raise SweepError(f"no trial of {plan.name} completed; correct that and begin anew by name=")
    return facts_of(best)


def _refit(plans: Sequence[Plan], base: Callable[[int], dict[str, Any]], folder: Path, seeds: Sequence[int]) -> None:
    compositions = [plan.compose() for plan in plans]
    params = [(_best(plan) or {})["params"] for plan in plans]

    def train_with(seed: int, run: RunFolder) -> None:
        train_folds(
            base(seed),
            RunFolder(run.path, plans[0].trust),
            resume=run.is_begun,
            of_fold=lambda fold: plans[fold].settings(compositions[fold], params[fold], seed),
        )

    refit(train_with, folder, seeds)
