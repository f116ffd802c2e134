"""Commands run in this process, which has imported all that they need, and what a refusal must look like."""

import contextlib
import importlib
import io
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: its exit code.
        out: what it printed.
        err: its error stream, with what it logged there.
        written: files and folders that are in its folder now and were not before, or hold something else.
    """

    code: int
    out: str
    err: str
    written: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """Everything that it printed and logged."""
        return self.out + self.err

    def refused(self, *named: str, apart_from: tuple[str, ...] = ()) -> None:
        """Check that the fault ended it with exit code 2 and one line that names what is meant, and wrote nothing.

        Args:
            named: what the line must hold: the setting, the column, the position.
            apart_from: folders that it may have begun, such as a run's with its log, where the fault is in what is
                read and not in the settings.
        """
        assert self.code == 2, self.said
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        for name in named:
            assert name in lines[0], lines[0]
        assert "Traceback" not in self.said
        assert self.out == ""
        assert [name for name in self.written if not f"{name}/".startswith(tuple(f"{a}/" for a in apart_from))] == []


def command_here(program: str, *arguments: str, folder: Path) -> Done:
    """Run `subtext-PROGRAM ARGUMENTS` in a folder.

    Args:
        program: `train`, `data`, `predict`, ...: the module of `subtext.cli`.
        arguments: as they stand on the command line.
        folder: the working folder.
    """
    main = importlib.import_module(f"subtext.cli.{program}").main
    before = _content(folder)
    root, out, err = logging.getLogger(), io.StringIO(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        # Of pytest, which would take logs that belong on the error stream.
        root.handlers[:] = []
        patch.chdir(folder)
        patch.setattr(sys, "argv", [f"subtext-{program}", *arguments])
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
            for handler in set(root.handlers) - set(handlers):
                root.removeHandler(handler)
                handler.close()
            root.handlers[:], root.level = handlers, level
    after = _content(folder)
    written = sorted(name for name, content in after.items() if before.get(name) != content)
    return Done(int(code or 0), out.getvalue(), err.getvalue(), written)


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[path.relative_to(folder).as_posix()] = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
    return found
