"""What the Hydra commands share: where the configuration is, what is checked before they begin, and how they end."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from subtext.cli.outcome import OK, finish
from subtext.core.composition import (
    CONFIG_NAME,
    check_config_dirs,
    check_overrides,
    conf_folder,
    ready_hydra,
    resolved,
    uncomposable,
)
from subtext.core.located import locate
from subtext.core.schema import lines
from subtext.errors import ConfigError, SubtextError
from subtext.runs.folder import RunFolder

SHOW: Final = "--settings"
"""Prints every setting of the command with what it may be, and does nothing."""


class BeforeRun(Callback):
    """What is done with a composed configuration before Hydra makes the run folder: check it, and make the folder.

    Args:
        form: dotted name of the `Form` that says what settings may be.
        show: print them, with what they may be, and end.
        folder: whether there is a folder to make, before Hydra, whose error would be a traceback.
    """

    def __init__(self, form: str, show: bool, folder: bool) -> None:
        self.form, self.show, self.folder = form, show, folder
        self.checked = False

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the settings of one run, and make its folder, in which Hydra opens the log file next."""
        self._do(config, lambda: config.hydra.run.dir, check=True)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder that the runs of a grid have in common."""
        self._do(config, lambda: config.hydra.sweep.dir, check=False)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Check the settings of one run of a grid."""
        if not self.checked:
            self._do(config, None, check=True)

    def _do(self, config: DictConfig, folder: Callable[[], str] | None, *, check: bool) -> None:
        HydraConfig.instance().set_config(config)  # what the folder's name is made of may be found there

        def work() -> None:
            if check:
                settings = resolved(config)
                locate(self.form).check(settings)
                self.checked = folder is not None
                if self.show:
                    for line in lines(settings, locate(self.form)):
                        print(line)
                    sys.exit(OK)
            if self.folder and folder is not None:
                try:
                    place = RunFolder(folder())
                except OmegaConfBaseException as error:
                    raise ConfigError(f"the run folder cannot be named: {str(error).splitlines()[0]}") from error
                place.check_links()
                if config.get("resume") is not None:
                    RunFolder(str(config.resume)).check_begun()  # where no run is, none is made
                place.make()

        # Hydra lets nothing out of a callback but the end of the program, and would go on after any other error.
        try:
            code = finish(work, debug="debug=true" in sys.argv)
        except Exception:
            traceback.print_exc()
            code = 1
        if code:
            sys.exit(code)


def run(
    task: Callable[[DictConfig], int | None],
    name: str,
    *,
    form: str,
    config_name: str = CONFIG_NAME,
    has_run_folder: bool = True,
    run_folder: str | None = None,
) -> NoReturn:
    """Compose the configuration from the command line, check it, do the task, exit.

    Args:
        task: gets the composed configuration; gives the exit code, None for success.
        name: the command, for `--help` and the log file.
        form: dotted name of the `Form` that says what settings may be, and refuses others before anything is written.
        config_name: the file that the configuration begins with.
        has_run_folder: whether there is a folder of this run for Hydra to make and to keep the log in.
        run_folder: where that folder is; None leaves it to the configuration.
    """
    ready_hydra()
    # What goes wrong in composing comes to us as it is, and ends in one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    composed = False

    def job(config: DictConfig) -> None:
        nonlocal composed
        composed = True
        debug = bool(OmegaConf.select(config, "debug"))
        code = finish(lambda: _unwrapped(task, config), debug=debug)
        if code:
            sys.exit(code)

    before = "hydra.callbacks.before_run.{}"
    own = [
        f"hydra.job.name={name}",
        # "++", because trainer=ddp gives our arguments to processes that add them again.
        f"++{before.format('_target_')}={__name__}.BeforeRun",
        f"++{before.format('form')}={form}",
        f"++{before.format('show')}={str(SHOW in sys.argv).lower()}",
        f"++{before.format('folder')}={str(has_run_folder).lower()}",
    ]
    if not has_run_folder:
        own += ["hydra.run.dir=.", "hydra/job_logging=console"]
    if run_folder is not None:
        own.append(f"hydra.run.dir={run_folder}")
    given = [argument for argument in sys.argv[1:] if _is_override(argument)]
    arguments = [argument for argument in sys.argv[1:] if argument != SHOW]
    config_dirs = list(_config_dirs(arguments))
    # The program stays as it was called: trainer=ddp starts its other processes by it.
    sys.argv = [str(Path(sys.argv[0]).absolute()), *_with_overrides(arguments, own)]

    def composing() -> None:
        check_overrides(given)
        check_config_dirs(config_dirs)
        try:
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
        except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError) as error:
            if composed:
                raise
            raise uncomposable(error, given, config_name, config_dirs) from error

    sys.exit(finish(composing, debug="debug=true" in given))


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
