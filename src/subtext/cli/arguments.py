"""Kinds of numbers that ordinary command lines take."""

import argparse
from typing import Final

TRUST: Final = "a package that RUN may have parts of, such as your own; again for more. Installed plug-ins are trusted"


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
