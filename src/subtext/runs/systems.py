"""Runs sorted into systems: which differ in their seed only, in what the others differ, and what to call them."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from subtext.errors import ConfigError, RunError
from subtext.evaluation.systems import System, TrainedRun
from subtext.runs.evaluate import flat
from subtext.runs.folder import RunFile, RunFolder

IGNORED: Final = (
    "seed",
    "name",
    "resume",
    "overwrite",
    "workers",
    "debug",
    "paths",
    "folder",
    "logger",
    "controls",
    "audit",
    "strict",
    "labels",
    "tune",
    "reply",
    "light",
)
"""Settings that don't make another system: they follow from the seed, or change no prediction."""


_OF_A_SEED: Final = re.compile(r"seed-\d+")


_NOT_IN_NAMES: Final = "|<>`*\n\r"
"""Signs that would break the tables of a page."""


FAMILY: Final = "vlm.name"
"""What sets a vision-language model apart from a light one, which has no such setting, and from other families."""


_FIRST: Final = ("fusion", "encoder", "encoders", "task", "corpus", "cv", "trainer")
"""The order in which settings are tried as names."""


def read_systems(arguments: Sequence[str]) -> list[System]:
    """Find, read and group runs.

    Args:
        arguments: `RUN` or `NAME=RUN`. A run is a folder that subtext-train wrote, one that holds such folders as
            `seed-*`, or the folder of a sweep, whose refitted winner is taken.

    Returns:
        Systems in the order in which they are first named.

    Raises:
        RunError: a folder holds no finished run; a name is given to runs of different settings; a system repeats a
            seed.
        ConfigError: a name cannot stand in a table.
    """
    named: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    order: dict[Path, int] = {}
    for argument in arguments:
        name, folder = _parsed(argument)
        for found in run_folders(folder):
            if found.resolve() in order:
                raise RunError(f"run {found} is given twice; give each run once")
            order[found.resolve()] = len(order)
            (unnamed if name is None else named.setdefault(name, [])).append(found)
    groups: dict[str, tuple[list[Path], Mapping[str, Any]]] = {
        name: (folders, _one_setting(name, folders)) for name, folders in named.items()
    }
    alike: dict[str, tuple[list[Path], Mapping[str, Any]]] = {}
    for folder in unnamed:
        settings = settings_of(RunFolder(folder))
        # A folder without a configuration, as of somebody else's tables, is a system of its own.
        key = repr(sorted(settings.items(), key=lambda item: item[0])) if settings else str(folder.resolve())
        alike.setdefault(key, ([], settings))[0].append(folder)
    names = system_names([settings for _, settings in alike.values()], [folders for folders, _ in alike.values()])
    for name, group in zip(names, alike.values(), strict=True):
        if name in groups:
            raise RunError(f"two systems are called '{name}'; give one another name, as NAME=RUN")
        groups[name] = group
    differing = _differing([settings for _, settings in groups.values()])
    return [
        System(
            name,
            tuple(sorted((_read(folder) for folder in folders), key=_by_seed)),
            _own(settings, differing),
            _module(settings.get("fusion._target_")) or ("none" if settings else None),
        )
        for name, (folders, settings) in sorted(
            groups.items(), key=lambda group: min(order[folder.resolve()] for folder in group[1][0])
        )
    ]


def run_folders(folder: Path) -> list[Path]:
    """The runs that a folder stands for: itself, its `seed-*`, or those of a sweep's `winner`.

    Raises:
        RunError: there is none.
    """
    if not folder.is_dir():
        raise RunError(f"no run folder {folder}; give a folder that subtext-train or subtext-sweep wrote")
    if (folder / RunFile.PREDICTIONS).is_file():
        return [folder]
    if (folder / "winner").is_dir():
        return run_folders(folder / "winner")
    inside = sorted(path for path in folder.glob("seed-*") if path.is_dir())
    for path in inside:
        if not (path / RunFile.PREDICTIONS).is_file():
            raise RunError(
                f"{path} holds no {RunFile.PREDICTIONS}; finish the run with: subtext-train resume={path}, or name the "
                "finished runs one by one"
            )
    if not inside:
        advice = (
            f"finish the run with: subtext-train resume={folder}"
            if RunFolder(folder).is_begun
            else "give a run folder, one that holds runs as seed-*, or a sweep folder whose winner has been refitted"
        )
        raise RunError(f"{folder} holds no {RunFile.PREDICTIONS}; {advice}")
    return inside


def settings_of(run: RunFolder) -> dict[str, Any]:
    """What makes the run's system, flat; empty where there is no configuration."""
    if not run.is_begun:
        return {}
    settings = {key: value for key, value in run.settings().items() if key not in IGNORED}
    # Seeds may each have an encoder stage of their own; that there is one is what counts.
    settings["encoders"] = None if settings.get("encoders") is None else "given"
    if "prompts" in settings:
        words = json.dumps(settings["prompts"], sort_keys=True)
        settings["prompts"] = f"{settings['prompts']['version']} ({sha256(words.encode()).hexdigest()[:8]})"
    adapter = (settings.get("vlm") or {}).get("adapter")
    if adapter is not None:
        # So may adapters, as subtext-vlm tune calls its folders: .../placebo/seed-0/adapter.
        settings["vlm"] = {**settings["vlm"], "adapter": _OF_A_SEED.sub("seed-*", str(adapter))}
    return flat(settings)


def system_names(settings: Sequence[Mapping[str, Any]], folders: Sequence[Sequence[Path]]) -> list[str]:
    """A short name for each system, from the settings in which it differs from the others.

    The choice of classes comes first (`fusion=late`); where it leaves systems apart from each other alike, as few
    further settings as tell these apart are added. Systems without settings are called by their folder.

    Args:
        settings: of each system, flat.
        folders: its runs.
    """
    names: list[list[str]] = [[] for _ in settings]
    keys = _differing(settings)
    classes = sorted((key for key in keys if key.endswith("_target_") or key == FAMILY), key=lambda key: key != FAMILY)

    def split(members: list[int], candidates: list[str]) -> None:
        if len(members) < 2:
            return
        for place, key in enumerate(candidates):
            parts: dict[str, list[int]] = {}
            for member in members:
                parts.setdefault(_shown(key, settings[member]), []).append(member)
            if len(parts) > 1:
                for text, part in parts.items():
                    for member in part:
                        names[member] += [text] if text else []
                    split(part, candidates[place + 1 :])
                return

    known = [place for place, found in enumerate(settings) if found]
    split(known, [*classes, *(key for key in keys if key not in classes)])
    joined = [" ".join(name) or _system_folder(paths) for name, paths in zip(names, folders, strict=True)]
    # Two folders may be called alike; with the one above them they seldom are.
    return [_label(paths[0]) if joined.count(name) > 1 else name for name, paths in zip(joined, folders, strict=True)]


def _parsed(argument: str) -> tuple[str | None, Path]:
    name, equals, folder = argument.partition("=")
    # The path of a run may itself hold "=", as Hydra's folders do.
    if not equals or not name or "/" in name or Path(argument).exists():
        return None, Path(argument)
    if any(sign in _NOT_IN_NAMES for sign in name):
        raise ConfigError(f"'{name}' cannot stand in tables and figures; name the system without any of | < > ` *")
    return name, Path(folder)


def _one_setting(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    found = [settings_of(RunFolder(folder)) for folder in folders]
    for key in _differing(found):
        values = [settings.get(key) for settings in found]
        other = next(place for place, value in enumerate(values) if value != values[0])
        raise RunError(
            f"runs {folders[0]} and {folders[other]} are both called '{name}' but differ in {key} ({values[0]!r} and "
            f"{values[other]!r}); a system's runs differ in their seed only"
        )
    return found[0]


def _read(folder: Path) -> TrainedRun:
    run = RunFolder(folder)
    predictions, controls = run.predictions(), run.controls()
    facts = run.run() if run.file(RunFile.RUN).is_file() else {}
    seed = facts.get("seed")
    encoders = run.settings().get("encoders") if run.is_begun else None
    return TrainedRun(
        _label(folder),
        None if seed is None else int(seed),
        predictions,
        controls,
        folder,
        None if encoders is None else str(encoders),
    )


def _by_seed(run: TrainedRun) -> tuple[int, str]:
    return (-1 if run.seed is None else run.seed, run.label)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose value is not the same in all, those of `_FIRST` first."""
    described = [found for found in settings if found]
    keys = dict.fromkeys(sorted(set().union(*described))) if described else {}
    # A node that is off in one system and a class in another differs in its class.
    off = {key for key in keys if f"{key}._target_" in keys}
    # A light model has no prompts and a vision-language model no fusion: such systems differ in their kind.
    mixed = len({FAMILY in found for found in described}) > 1
    parts = [{key.partition(".")[0] for key in found} for found in described]
    different = []
    for key in keys:
        owner = _owner(key, keys)
        having = [
            found
            for found, own in zip(described, parts, strict=True)
            if (owner is None or f"{owner}._target_" in found)
            and (not mixed or key == FAMILY or key.partition(".")[0] in own)
        ]
        if key not in off and any(_value(found, key) != _value(having[0], key) for found in having):
            different.append(key)
    return sorted(different, key=_rank)


def _own(settings: Mapping[str, Any], differing: Sequence[str]) -> dict[str, Any]:
    """A system's values of some settings; a node that is off in it stands for all of its own."""
    own = {}
    for key in differing:
        node = key.removesuffix("._target_")
        if key in settings:
            own[key] = settings[key]
        elif node in settings:
            own[node] = settings[node]
    return own


def _owner(key: str, keys: Collection[str]) -> str | None:
    """The node with a class that a setting belongs to; where that is off, its settings say nothing more."""
    parts = key.removesuffix("._target_").split(".")
    nodes = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((node for node in nodes if f"{node}._target_" in keys), None)


def _rank(key: str) -> tuple[int, str]:
    part = key.partition(".")[0]
    return (_FIRST.index(part) if part in _FIRST else len(_FIRST), key)


_ABSENT: Final = object()


def _value(settings: Mapping[str, Any], key: str) -> Any:
    return settings.get(key, _ABSENT)


def _shown(key: str, settings: Mapping[str, Any]) -> str:
    value = settings.get(key)
    if key == FAMILY:
        return "" if value is None else f"vlm={value}"
    if key.endswith("._target_"):
        group = key.removesuffix("._target_")
        # As on the command line, where groups inside groups are written with a slash.
        module = _module(value) or "none"
        last = group.rpartition(".")[2]
        return f"{group.replace('.', '/')}={'on' if module == last else module}"
    text = "null" if value is None else str(value)
    return f"{key}={text if len(text) <= 32 else text[:29] + '...'}"


def _module(target: Any) -> str | None:
    """`late` of `subtext.fusion.late.LateFusion`, as its configuration file is called."""
    if not isinstance(target, str):
        return None
    return target.rpartition(".")[0].rpartition(".")[2] or target


def _label(folder: Path) -> str:
    return "/".join(folder.resolve().parts[-2:])


def _system_folder(folders: Sequence[Path]) -> str:
    folder = folders[0].resolve()
    return folder.parent.name if folder.name.startswith("seed-") else folder.name
