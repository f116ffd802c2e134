"""The winner of a sweep: its configuration as an experiment file, trained anew with fresh seeds, tested once.

Nothing before this step has looked at the test split. The refit goes through `runs.train.train`, so that the file
alone, `subtext-train --config-dir SWEEP/conf experiment=winner seed=N`, gives the same figures again.
"""

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf import DictConfig
from optuna.trial import FrozenTrial

from subtext.core.composition import Composition
from subtext.core.writing import write_json, write_text
from subtext.errors import ConfigError, RunError
from subtext.report.terminal import headline, print_pooled
from subtext.runs.controls import time_left
from subtext.runs.evaluate import evaluate_seeds
from subtext.runs.folder import RunFolder, writing_into
from subtext.runs.train import train
from subtext.sweeps.composition import NOT_COMPARED, unresolved
from subtext.sweeps.storage import is_alive, own_lease, signs_of_life
from subtext.sweeps.study import Search, Sweep, figures_told, front
from subtext.sweeps.workers import Plan

log = logging.getLogger(__name__)

WINNER: Final = "winner"
"""Name of the winner's experiment file, and of the folder of its runs."""
_LEFT_OUT: Final = (*NOT_COMPARED, "seed", "experiment")
_GROUPS_LEFT_OUT: Final = ("paths", "logger", "experiment")
_REFIT: Final = "refit"


class Winner:
    """What becomes of the best trial: its configuration, and the runs that are trained with it.

    Args:
        plan: of the sweep.
        save_as: name under which its configuration becomes an experiment.

    Raises:
        ConfigError: an experiment of that name is there that is not this sweep's.
    """

    def __init__(self, plan: Plan, save_as: str | None) -> None:
        self.plan = plan
        self.save_as = save_as
        self.composition = plan.compose()
        # With --config-dir a person's experiments are there, and the package's configuration is not theirs to change.
        self.conf = Path(plan.search_path[0]) if plan.search_path else plan.conf
        place = None if save_as is None else experiment_place(self.conf, save_as)
        if place is None or not place.is_file() or self._origin not in place.read_text(encoding="utf-8"):
            check_save_as(save_as, self.conf)

    @property
    def _origin(self) -> str:
        return f"Winner of the sweep {self.plan.name}, "

    def keep(self, sweep: Sweep, best: FrozenTrial) -> None:
        """Write the winner's configuration, of several objectives that of every trial on the Pareto front."""
        own = self.plan.folder / "conf"
        self._write(best, own, WINNER)
        if len(self.plan.objectives) > 1:
            kept = {self._write(trial, own, f"pareto_{trial.number}") for trial in front(sweep.study)}
            for former in set((own / "experiment").glob("pareto_*.yaml")) - kept:
                former.unlink()  # a later trial is better in everything
        if self.save_as is not None:
            log.info("Saved as %s", self._write(best, self.conf, self.save_as))

    def _write(self, trial: FrozenTrial, conf: Path, name: str) -> Path:
        origin = f"{self._origin}trial {trial.number}: {figures_of(self.plan, trial)}."
        overrides = self.plan.overrides_of(trial.params)
        return write_experiment(self.composition, overrides, experiment_place(conf, name), name=name, origin=origin)

    def refit(self, sweep: Sweep, best: FrozenTrial, seeds: Sequence[int]) -> None:
        """Train the winner with seeds that no trial had, and test it; what was begun goes on."""

        def train_with(seed: int, run: RunFolder) -> None:
            settings = run.settings() if run.is_begun else self.plan.settings(self.composition, best.params, seed)
            train(settings, run.path, resume=run.is_begun, trust=self.plan.trust)

        with alone(sweep) as nobody_else:
            if nobody_else:
                note_winner(self.plan.folder / WINNER, "trial.json", facts_of(best))
                refit(train_with, self.plan.folder / WINNER, seeds)


def refit(train_with: Callable[[int, RunFolder], Any], folder: Path, seeds: Sequence[int]) -> None:
    """Train with fresh seeds, and pool what the runs say; finished runs are left as they are.

    Says a line a run and prints the pooled table; what the trainings themselves have to say is in their folders.

    Args:
        train_with: trains with a seed into a run folder, and goes on with one that is begun.
        folder: the runs go into `seed-N` below it, what they say together beside them.
        seeds: at least one, none of which a trial has used.
    """
    runs = {seed: RunFolder(folder / f"seed-{seed}") for seed in seeds}
    left = [seed for seed, run in runs.items() if not run.is_finished]
    if left:
        log.info("Refit: training the winner with %d fresh seeds, each with its controls, for the test", len(left))
    began = time.perf_counter()
    for number, seed in enumerate(left, start=1):
        with _warnings_only():
            train_with(seed, runs[seed])
        each = (time.perf_counter() - began) / number
        told = headline(runs[seed].metrics())
        log.info(
            "Refit %d of %d, seed %d: test %s%s", number, len(left), seed, told, time_left(each * (len(left) - number))
        )
    print_pooled(evaluate_seeds([run.path for run in runs.values()], folder))


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Leave out what a training says of its progress."""
    package = logging.getLogger("subtext")
    level = package.level
    package.setLevel(logging.WARNING)
    try:
        yield
    finally:
        package.setLevel(level)


def facts_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a folder of a winner's runs notes about the trial that won."""
    return {"trial": trial.number, "params": trial.params, "values": [float(value) for value in trial.values]}


def figures_of(search: Search, trial: FrozenTrial) -> str:
    """The figures of a trial of a search with their names, for people."""
    return figures_told(search.objectives, trial.values, trial)


def experiment_place(folder: Path, name: str) -> Path:
    """Where an experiment file of a configuration folder is."""
    return folder / "experiment" / f"{name}.yaml"


def check_save_as(name: str | None, conf: Path) -> None:
    """Whether the winner's configuration can be saved under a name, before anything is searched.

    Raises:
        ConfigError: the name is no plain word, or an experiment of that name is there.
    """
    if name is None:
        return
    if not name.isidentifier():
        raise ConfigError(f"save_as={name}: give a name of letters, digits and underscores; experiment=NAME calls it")
    place = experiment_place(conf, name)
    if place.exists():
        raise ConfigError(f"save_as={name}: {place} is there already; choose another name, or remove that file")


def write_experiment(
    composition: Composition, overrides: Sequence[str], place: Path, *, name: str, origin: str
) -> Path:
    """Write what a trial was trained with as an experiment file.

    Choices of groups become overrides of the defaults list, everything else that differs becomes values, references
    unresolved. What belongs to one machine or one run (paths, seed, name, logger) is left out. The file is composed
    again and compared before it counts.

    Args:
        composition: of the sweep.
        overrides: what the trial adds to it, as arguments of the command line.
        place: where the file goes; its folder must be named experiment.
        name: `name` of the runs that are made with it.
        origin: a line that says where it comes from.

    Raises:
        RunError: it cannot be written, or would not give back the trial's settings.
    """
    wanted = Composition(composition.folder, [*composition.overrides, *overrides], composition.search_path).config({})
    chosen = _choices(wanted)
    usual = _choices(Composition(composition.folder, [], composition.search_path).config({}))
    groups = {group: choice for group, choice in chosen.items() if choice != usual.get(group)}
    groups |= dict.fromkeys(usual.keys() - chosen.keys())  # switched off by ~GROUP
    # A group that an experiment switches off cannot be set to null on a command line.
    off = [f"~{group}" for group, choice in groups.items() if choice is None]
    start = Composition(composition.folder, off, composition.search_path).config(
        {group: choice for group, choice in groups.items() if choice is not None}
    )
    content: dict[str, Any] = {
        "defaults": [{f"override /{group}": choice} for group, choice in groups.items()],
        "name": name,
        **_difference(_kept(wanted), _kept(start)),
    }
    text = f"# @package _global_\n# {origin}\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    with writing_into(place.parent):
        write_text(place, text)
    again = Composition(
        composition.folder, [f"experiment={place.stem}"], [*composition.search_path, str(place.parent.parent.resolve())]
    ).config({})
    if _kept(again) != _kept(wanted):
        different = ", ".join(_difference(_kept(wanted), _kept(again))) or "a setting that was removed"
        raise RunError(f"{place} does not give back the settings of the trial ({different}); use its overrides instead")
    return place


def note_winner(folder: Path, file: str, facts: Mapping[str, Any]) -> None:
    """Write down which winner a folder's runs are of; a folder of another one's is moved aside first.

    There is another one when more trials have found a better, or when the study was removed and begun anew. The runs of
    the former stay what they are, under another name.

    Args:
        folder: of the winner's runs.
        file: where in it the facts are.
        facts: which trial won, and by what.
    """
    noted = folder / file
    if noted.is_file():
        before = json.loads(noted.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(facts))
        if any(before.get(key, value) != value for key, value in now.items()):
            numbers = itertools.count(1)
            aside = next(p for n in numbers if not (p := folder.with_name(f"{folder.name}-former-{n}")).exists())
            log.info("There is another winner than before; the runs of the former one are now in %s", aside)
            folder.rename(aside)
    with writing_into(folder):
        write_json(folder / file, facts)


@contextmanager
def alone(sweep: Sweep) -> Iterator[bool]:
    """Whether nobody else refits the winner; as long as this lasts nobody does."""
    study = sweep.study
    with sweep.storage.lock():
        lease = study.user_attrs.get(_REFIT) or {}
        taken = bool(lease) and is_alive(lease)
        if not taken:
            study.set_user_attr(_REFIT, own_lease())
    if taken:
        log.info("Another session refits the winner")
        yield False
        return
    try:
        with signs_of_life(lambda lease: study.set_user_attr(_REFIT, lease)):
            yield True
    finally:
        study.set_user_attr(_REFIT, None)


def _choices(config: DictConfig) -> dict[str, Any]:
    return {
        str(group): choice
        for group, choice in config.hydra.runtime.choices.items()
        if not str(group).startswith("hydra") and group not in _GROUPS_LEFT_OUT
    }


def _kept(config: DictConfig) -> dict[str, Any]:
    return {key: value for key, value in unresolved(config).items() if key not in _LEFT_OUT}


def _difference(wanted: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What must be set on top of `base` to have `wanted`."""
    out: dict[str, Any] = {}
    for key, value in wanted.items():
        if key in base and base[key] == value:
            continue
        inner = base.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and set(inner) <= set(value):
            out[key] = _difference(value, inner)
        else:
            out[key] = value
    return out
