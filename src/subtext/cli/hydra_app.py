"""What the Hydra commands share: where the configuration is, how they end, and a hint for a misspelt key."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from subtext.cli.outcome import finish
from subtext.core.composition import CONFIG_NAME, check_chosen, conf_folder, misspelt, ready_hydra
from subtext.errors import SubtextError
from subtext.runs.folder import RunFolder


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
    callbacks: Mapping[str, str] | None = None,
) -> NoReturn:
    """Compose the configuration from the command line, do the task, exit.

    Args:
        task: gets the composed configuration; gives the exit code, None for success.
        name: the command, for `--help` and the log file.
        config_name: the file that the configuration begins with.
        has_run_folder: whether there is a folder of this run for Hydra to make and to keep the log in.
        run_folder: where that folder is; None leaves it to the configuration.
        callbacks: further callbacks of Hydra, by a name of theirs: dotted names of classes.
    """
    ready_hydra()
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
    own += [f"++hydra.callbacks.{key}._target_={target}" for key, target in (callbacks or {}).items()]
    if run_folder is not None:
        own.append(f"hydra.run.dir={run_folder}")
    given = [argument for argument in sys.argv[1:] if _is_override(argument)]
    code = finish(lambda: check_chosen(given))
    if code:
        sys.exit(code)
    config_dirs = list(_config_dirs(sys.argv[1:]))
    # The program stays as it was called: trainer=ddp starts its other processes by it.
    sys.argv = [str(Path(sys.argv[0]).absolute()), *_with_overrides(sys.argv[1:], own)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
    except SystemExit as end:
        if end.code and not composed:
            for hint in misspelt(given, config_name, config_dirs):
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


def search_path() -> list[str]:
    """The folders of configuration that the command line adds, as full paths."""
    sources = HydraConfig.get().runtime.config_sources
    return [str(Path(source.path).resolve()) for source in sources if source.provider == "command-line"]


def _config_dirs(arguments: list[str]) -> Iterator[Path]:
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            yield from (Path(v) for v in ([value] if equals else arguments[place + 1 : place + 2]))
