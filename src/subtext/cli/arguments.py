"""How ordinary command lines show their help, and kinds of numbers that they take."""

import argparse
import itertools
import textwrap
from typing import Final

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
