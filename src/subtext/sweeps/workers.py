"""Processes that run a sweep's trials, one trial at a time each, all against the one storage.

They need nothing from each other: the same command on another machine, with the same storage, is more of them. In a
SLURM array each task runs `subtext-sweep ... storage=postgresql://NAME@HOST/DATABASE`, or `storage=/shared/study.log`
for a journal on a file system that all see; with Ray, a remote function runs the same command in a subprocess.
"""

import copy
import logging
import math
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Protocol, cast

import optuna

from subtext.core.composition import Composition, override
from subtext.core.located import locate
from subtext.core.processes import begin_work, how_it_ended, starting_workers
from subtext.core.threads import share_of
from subtext.core.writing import write_text
from subtext.errors import ConfigError, NotFiniteError, SubtextError, safe_reason
from subtext.runs.stages import with_stage_of_fold
from subtext.sweeps.composition import settings_hash
from subtext.sweeps.space import Point
from subtext.sweeps.storage import open_storage, quiet_optuna, signs_of_life
from subtext.sweeps.study import REASON, Claim, Nothing, Search, Sweep, figures_told

log = logging.getLogger(__name__)

_MOST_IDLE_DEATHS: Final = 3


class Objective(Protocol):
    """What runs a trial: `subtext.sweeps.objective.Objective`, or a class of one's own with the same arguments."""

    def __init__(
        self, settings: Mapping[str, Any], *, objectives: Sequence[str], seeds: Sequence[int], epochs: int
    ) -> None: ...

    def prepare(self) -> None:
        """Do once what all trials share."""

    def __call__(self, trial: optuna.Trial, settings_of: Callable[[int], Mapping[str, Any]]) -> tuple[float, ...]:
        """Run a trial, given its settings with each seed; gives the figures, in the order of `objectives`."""


@dataclass(frozen=True, kw_only=True)
class Plan(Search):
    """All that a process needs to know to work on a sweep: plain values, which go to other processes.

    Attributes:
        folder: of the sweep.
        storage: as `open_storage` takes it.
        groups: those keys of the space that are groups of the configuration.
        conf: folder of the configuration.
        overrides: what the trials have in common, besides what is searched.
        search_path: further configuration folders.
        objective: dotted name of the class that runs trials.
        seeds: each trial is trained with each.
        epochs: of the longest training of any trial.
        base: resolved settings of some trial.
        workers: processes on this machine.
        trust: see `subtext.runs.train.train`, for runs of the sweep that are gone on with.
    """

    folder: Path
    storage: str | None
    groups: frozenset[str]
    conf: Path
    overrides: tuple[str, ...]
    search_path: tuple[str, ...]
    objective: str
    seeds: tuple[int, ...]
    epochs: int
    base: Mapping[str, Any]
    workers: int
    trust: tuple[str, ...] = ()

    def open(self) -> Sweep:
        """The study in its storage."""
        return Sweep(self, open_storage(self.storage, self.folder, self.name))

    def compose(self) -> Composition:
        """What makes a trial's settings."""
        return Composition(self.conf, self.overrides, self.search_path)

    def settings(self, composition: Composition, point: Point, seed: int) -> dict[str, Any]:
        """The resolved configuration at a point of the space.

        Raises:
            ConfigError: it cannot be made.
        """
        return with_stage_of_fold(composition.settings(self.space.settings(point) | {"seed": seed}, self.groups))

    def overrides_of(self, point: Point) -> list[str]:
        """What a point adds to the overrides that all trials have in common, groups first."""
        values = self.space.settings(point)
        return [override(key, values[key]) for key in sorted(values, key=lambda key: key not in self.groups)]

    def make_objective(self) -> Objective:
        """What runs trials.

        Raises:
            ConfigError: there is no such class, or it does not take these settings.
        """
        kind = locate(self.objective)
        return cast(
            Objective, kind(self.base, objectives=list(self.objectives), seeds=list(self.seeds), epochs=self.epochs)
        )


class Worker:
    """Runs trials in this process until there are none left to take.

    Args:
        plan: of the sweep.
        objective: what runs a trial; made as the plan says, unless given.
        tell: gets a line about each trial that ended.
    """

    def __init__(
        self, plan: Plan, *, objective: Objective | None = None, tell: Callable[[str], Any] = log.info
    ) -> None:
        quiet_optuna()
        self.plan = plan
        self.sweep = plan.open()
        self.composition = plan.compose()
        self.objective = plan.make_objective() if objective is None else objective
        self.tell = tell

    def run(self, begun: Callable[[int], Any] = lambda number: None) -> Nothing:
        """Run trials; gives the reason why there are no more.

        Args:
            begun: gets the number of each trial that is begun.
        """
        while isinstance(claim := self.sweep.claim(), Claim):
            begun(claim.trial.number)
            began = time.monotonic()
            with signs_of_life(partial(self.sweep.give_sign, claim)):
                try:
                    outcome = self._run(claim)
                except KeyboardInterrupt:
                    self.sweep.release(claim.trial.number)
                    raise
            self.tell(f"Trial {claim.trial.number}: {outcome} ({time.monotonic() - began:.1f} s) {_shown(claim)}")
        return claim

    def _run(self, claim: Claim) -> str:
        """Run one trial and record what became of it; gives that in words."""
        trial = claim.trial
        # Resolving takes a third of what a trial costs beside its training, so once a seed.
        resolved = cache(partial(self.plan.settings, self.composition, claim.point))
        try:
            trial.set_user_attr("overrides", [*self.plan.overrides, *self.plan.overrides_of(claim.point)])
            trial.set_user_attr("settings_hash", settings_hash(resolved(self.plan.seeds[0])))
            values = [float(value) for value in self.objective(trial, lambda seed: copy.deepcopy(resolved(seed)))]
            if not all(math.isfinite(value) for value in values):
                raise NotFiniteError(f"the figures are {values}: not a number")
        except optuna.TrialPruned:
            told = self.sweep.prune(claim)
            reason = trial.user_attrs.get(REASON)
            outcome = str(reason or "pruned")
        except Exception as error:
            reason = safe_reason(error)
            told = self.sweep.fail(claim, reason)
            where = "".join(traceback.format_tb(error.__traceback__))
            outcome = f"failed, {reason}; see {self._write_failure(claim, f'{where}{reason}')}" if told else ""
        else:
            told = self.sweep.complete(claim, values)
            outcome = figures_told(self.plan.objectives, values, trial)
        return outcome if told else "given up: another process took this one for dead, and has taken it over"

    def _write_failure(self, claim: Claim, text: str) -> Path:
        place = self.plan.folder / "failures" / f"trial-{claim.trial.number:04d}.txt"
        with suppress(OSError):  # a full disk may be what it failed of
            command = " ".join(claim.trial.user_attrs.get("overrides", []))
            write_text(place, f"subtext-train {command}\n\n{text}")
        return place


def work(plan: Plan) -> Nothing:
    """Run the sweep's trials with the plan's number of processes; 0 runs them in this one.

    A process that dies is replaced, and the trial that it ran is run again, up to three times in all.

    Returns:
        Why there are no more trials.

    Raises:
        SubtextError: nothing can be run at all.
    """
    if plan.workers == 0:
        return Worker(plan).run()
    crew: dict[Connection, _Process] = {}
    to_start = plan.workers
    idle_deaths = 0
    reason: Nothing = "done"
    try:
        while crew or to_start:
            while to_start:
                process = _Process(plan)
                crew[process.pipe] = process
                to_start -= 1
            for pipe in wait(list(crew)):
                process = crew[cast(Connection, pipe)]
                kind, content = process.told()
                match kind:
                    case "began":
                        process.trial, idle_deaths = content, 0
                    case "line":
                        log.info(content)
                    case "error":
                        raise content
                    case "over":
                        del crew[process.pipe]
                        process.end()
                        reason = content if reason == "done" else reason
                        if content == "failures":
                            return content
                    case "died":
                        del crew[process.pipe]
                        idle_deaths += process.trial is None
                        how = how_it_ended(content)
                        if idle_deaths >= _MOST_IDLE_DEATHS and content < 0:
                            raise SubtextError(
                                f"worker processes end before they begin a trial: {how}; run the same command again, "
                                "and set fewer workers= where that comes back"
                            )
                        if idle_deaths >= _MOST_IDLE_DEATHS:
                            raise ConfigError(
                                f"worker processes die before they begin a trial ({how}); try workers=0, or in a "
                                "script of your own put what it does under if __name__ == '__main__':"
                            )
                        if process.trial is None:
                            log.warning("A process ended before it began a trial: %s", how)
                        else:
                            log.warning("Trial %d: its process died: %s", process.trial, how)
                        to_start += 1
    finally:
        for process in crew.values():
            process.end()
        _release(plan, [process.trial for process in crew.values() if process.trial is not None])
    return reason


def _release(plan: Plan, numbers: Sequence[int]) -> None:
    """Note that these trials, if they still ran, were broken off by this command and by no fault of theirs."""
    if numbers:
        with suppress(Exception):  # the storage may be what ended the work; the trials then count as died once
            sweep = plan.open()
            for number in numbers:
                sweep.release(number)


class _Process:
    """A process that works on a sweep and tells what it does."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process that holds threads of torch may hang
        self.pipe, other = context.Pipe()
        # Not a daemon, which could start no processes of its own to load data with.
        self.process: BaseProcess = context.Process(target=_work, args=(other, plan))
        with starting_workers(threads=share_of(plan.workers)):
            self.process.start()
        other.close()
        self.trial: int | None = None

    def told(self) -> tuple[str, Any]:
        """What it says next, or how it ended."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return "died", self.process.exitcode or 0

    def end(self) -> None:
        """End the process; a trial that it runs waits for the next session."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _work(pipe: Connection, plan: Plan) -> None:
    begin_work()
    try:
        worker = Worker(plan, tell=lambda line: pipe.send(("line", line)))
        worker.objective.prepare()
        pipe.send(("over", worker.run(lambda number: pipe.send(("began", number)))))
    except SubtextError as error:
        pipe.send(("error", error))
    except ConnectionError:  # the parent is gone
        return


def _shown(claim: Claim) -> str:
    return " ".join(
        override(k, round(v, 6) if isinstance(v, float) and v > 1e-3 else v) for k, v in claim.point.items()
    )
