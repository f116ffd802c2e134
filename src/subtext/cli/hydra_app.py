"""What the Hydra commands share: where the configuration is, how they end, and a hint for a misspelt key."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from subtext.cli.outcome import UNUSABLE, finish
from subtext.core.plugins import plugin_configs, search_plugins
from subtext.errors import SubtextError
from subtext.runs.folder import RunFolder

CONFIG_NAME = "config"


def conf_folder() -> Path:
    """The configuration: beside the package in a wheel, at the top of the repository in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def conf_folders() -> list[Path]:
    """That folder, and those of installed plug-ins."""
    return [conf_folder(), *plugin_configs()]


class FolderFirst(Callback):
    """Makes the run folder before Hydra does, whose error would be a traceback."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder of one run, in which Hydra opens the log file next."""
        HydraConfig.instance().set_config(config)  # what the folder's name is made of may be found there
        self._make(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder that the runs of a grid have in common."""
        HydraConfig.instance().set_config(config)
        self._make(config.hydra.sweep.dir)

    def _make(self, folder: str) -> None:
        # Hydra lets nothing out of a callback but the end of the program.
        place = RunFolder(folder)
        code = finish(place.check_links) or finish(place.make)
        if code:
            sys.exit(code)


def run(
    task: Callable[[DictConfig], int | None],
    name: str,
    *,
    config_name: str = CONFIG_NAME,
    has_run_folder: bool = True,
    run_folder: str | None = None,
) -> NoReturn:
    """Compose the configuration from the command line, do the task, exit.

    Args:
        task: gets the composed configuration; gives the exit code, None for success.
        name: the command, for `--help` and the log file.
        config_name: the file that the configuration begins with.
        has_run_folder: whether there is a folder of this run for Hydra to make and to keep the log in.
        run_folder: where that folder is; None leaves it to the configuration.
    """
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    search_plugins()
    composed = False

    def job(config: DictConfig) -> None:
        nonlocal composed
        composed = True
        code = finish(lambda: _unwrapped(task, config), debug=bool(config.debug))
        if code:
            sys.exit(code)

    if "debug=true" in sys.argv:
        os.environ["HYDRA_FULL_ERROR"] = "1"
    own = [f"hydra.job.name={name}"]
    if has_run_folder:
        # "++", because trainer=ddp gives our arguments to processes that add them again.
        own.append(f"++hydra.callbacks.folder_first._target_={__name__}.FolderFirst")
    else:
        own += ["hydra.run.dir=.", "hydra/job_logging=console"]
    if run_folder is not None:
        own.append(f"hydra.run.dir={run_folder}")
    for group in _nothing_chosen(sys.argv[1:]):
        print(f"ConfigError: {group}=null: a group has a choice; ~{group} leaves it out", file=sys.stderr)
        sys.exit(UNUSABLE)
    # The program stays as it was called: trainer=ddp starts its other processes by it.
    sys.argv = [str(Path(sys.argv[0]).absolute()), *_with_overrides(sys.argv[1:], own)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
    except SystemExit as end:
        if end.code and not composed:
            for hint in misspelt(sys.argv[1:], config_name):
                print(hint, file=sys.stderr)
        raise
    sys.exit(0)


def _with_overrides(arguments: list[str], own: list[str]) -> list[str]:
    # Overrides must stand together, and the user's after ours, so that theirs win.
    first = next((i for i, a in enumerate(arguments) if _is_override(a)), len(arguments))
    return [*arguments[:first], *own, *arguments[first:]]


def _is_override(argument: str) -> bool:
    return argument.startswith("~") or ("=" in argument and not argument.startswith("-"))


def _unwrapped(task: Callable[[DictConfig], int | None], config: DictConfig) -> int | None:
    """Do the task; an error for a person that Hydra wrapped while making an object comes out as it was."""
    try:
        return task(config)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SubtextError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _nothing_chosen(arguments: list[str]) -> Iterator[str]:
    """The groups that are set to null, which Hydra meets with a traceback."""
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals and value.lower() == "null" and any(conf_folder().joinpath(key).glob("*.yaml")):
            yield key


def search_path() -> list[str]:
    """The folders of configuration that the command line adds, as full paths."""
    sources = HydraConfig.get().runtime.config_sources
    return [str(Path(source.path).resolve()) for source in sources if source.provider == "command-line"]


def misspelt(arguments: list[str], config_name: str = CONFIG_NAME) -> Iterator[str]:
    """For each override whose key or choice does not exist, a line that names the nearest that does."""
    try:
        parsed = OverridesParser.create().parse_overrides([a for a in arguments if _is_override(a)])
    except HydraException:
        return
    choices: dict[str, list[str]] = {}
    for folder in (*conf_folders(), *_config_dirs(arguments)):
        for path in folder.rglob("*.yaml"):
            choices.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    choices.pop(".", None)
    keys = choices.keys() | set(_keys(OmegaConf.to_container(_defaults(choices, parsed, config_name), resolve=False)))
    keys = {key for key in keys if not key.startswith("space.")}  # entries of a sweep, not keys of their own
    for override in parsed:
        key = override.key_or_group
        if override.is_add() or key.startswith("hydra"):
            continue
        if key in choices:
            for value in _values(override):
                if value not in choices[key]:
                    yield from _hint(f"{key}={value}", [f"{key}={c}" for c in choices[key]])
        elif key not in keys:
            # The setting itself is oftener right than where it is said to be.
            same = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
            yield from _hint(key, same or keys)


def _config_dirs(arguments: list[str]) -> Iterator[Path]:
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            yield from (Path(v) for v in ([value] if equals else arguments[place + 1 : place + 2]))


def _values(override: Override) -> list[str]:
    """What a group is set to: one choice, or those of a grid."""
    value = override.value()
    return [str(v) for v in (value.list if isinstance(value, ChoiceSweep) else [value]) if isinstance(v, str)]


def _defaults(choices: dict[str, list[str]], parsed: list[Override], config_name: str) -> DictConfig:
    # The chosen groups decide which keys exist, so the valid choices among the overrides are kept.
    valid = [
        f"{o.key_or_group}={value}"
        for o in parsed
        for value in _values(o)[:1]
        if o.key_or_group in choices and (conf_folder() / o.key_or_group / f"{value}.yaml").is_file()
    ]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(config_name, overrides=valid)


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _hint(written: str, valid: Iterable[str]) -> Iterator[str]:
    nearest = difflib.get_close_matches(written, sorted(valid), n=1, cutoff=0.5)
    if nearest:
        yield f"'{written}' is not known; did you mean '{nearest[0]}'?"


def _run_folder(resume: str | None, fresh: str) -> str:
    return resume or fresh
