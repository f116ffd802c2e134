"""How ordinary command lines show their help, and kinds of numbers that they take."""

import argparse
import itertools
import os
import stat
import textwrap
from pathlib import Path
from typing import Final

from subtext.errors import ConfigError

TRUST: Final = "a package that RUN may have parts of, such as your own; again for more. Installed plug-ins are trusted"


class Paragraphs(argparse.HelpFormatter):
    """Fills paragraphs to the terminal's width; indented lines stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = itertools.groupby(text.splitlines(), key=lambda line: bool(line.strip()) and not line.startswith(" "))
        return "\n".join(
            textwrap.fill(" ".join(lines), width, initial_indent=indent, subsequent_indent=indent)
            if is_prose
            else "\n".join(lines)
            for is_prose, lines in parts
        )


class Input:
    """The `type` of an argument that names something to read, which `check_inputs` then looks for.

    Args:
        what: what it is to name, for a person: "the form's key".
        folder: whether that is a folder.
    """

    def __init__(self, what: str, *, folder: bool = False) -> None:
        self.what = what
        self.folder = folder

    def __call__(self, text: str) -> Path:
        """The path."""
        return Path(text)

    def check(self, name: str, path: Path) -> None:
        """Whether it is there.

        Raises:
            ConfigError: it is not, or is of the other kind.
        """
        try:
            mode = os.stat(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{name} {path}: it cannot be opened ({reason}); name {self.what}") from error
        if stat.S_ISDIR(mode.st_mode) is not self.folder:
            raise ConfigError(f"{name} {path}: it is {'no' if self.folder else 'a'} folder; name {self.what}")


def check_inputs(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Whether everything that a command line names to be read is there, before anything is done.

    Args:
        parser: of the command.
        options: as it parsed them.

    Raises:
        ConfigError: naming the first argument that leads nowhere, and what belongs there.
    """
    for action in parser._actions:
        given = getattr(options, action.dest, None)
        if isinstance(action.type, Input) and given is not None:
            for path in given if isinstance(given, list) else [given]:
                action.type.check((action.option_strings or [str(action.metavar)])[0], path)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def natural(text: str) -> int:
    """A whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number
