"""The winner of a sweep: its configuration as an experiment file, trained anew with fresh seeds, tested once.

Nothing before this step has looked at the test split. The refit goes through `training.train`, so that the file alone,
`subtext-train --config-dir SWEEP/conf experiment=winner seed=N`, gives the same figures again.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig

from subtext.core.composition import Composition
from subtext.core.writing import write_text
from subtext.errors import ConfigError, RunError
from subtext.runs.folder import RunFolder, writing_into
from subtext.runs.train import train
from subtext.sweeps.composition import NOT_COMPARED, unresolved

log = logging.getLogger(__name__)

WINNER: Final = "winner"
"""Name of the winner's experiment file, and of the folder of its runs."""
_LEFT_OUT: Final = (*NOT_COMPARED, "seed", "experiment")
_GROUPS_LEFT_OUT: Final = ("paths", "logger", "experiment")


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
    import yaml

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


def refit(
    settings_of: Callable[[int], Mapping[str, Any]],
    folder: Path,
    *,
    seeds: Sequence[int],
    trust: Collection[str] = (),
) -> Mapping[str, Any] | None:
    """Train the winner with fresh seeds and test it; finished runs are left as they are, interrupted ones go on.

    Args:
        settings_of: the winner's resolved configuration with a given seed.
        folder: the runs go into `seed-N` below it, what they say together beside them.
        seeds: none of which a trial has used.
        trust: see `subtext.runs.train.train`.

    Returns:
        The pooled metrics, see `evaluation.seeds.pool_seeds`; None without seeds.
    """
    from subtext.runs.evaluate import evaluate_seeds

    runs = [RunFolder(folder / f"seed-{seed}") for seed in seeds]
    for seed, run in zip(seeds, runs, strict=True):
        if run.is_finished:
            continue
        log.info("winner: seed %d", seed)
        own = run.settings() if run.is_begun else settings_of(seed)
        train(own, run.path, resume=run.is_begun, trust=trust)
    return evaluate_seeds([run.path for run in runs], folder) if runs else None


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
