"""`subtext-data COMMAND ...`: build, describe, check and divide corpora. One module a command."""

import argparse
from collections.abc import Sequence

from subtext.cli.commands import commands_parser, run_command
from subtext.cli.data import aggregate, agreement, audit, behaviour, build, card, codebook, export, join, split

COMMANDS = (build, card, split, join, export, audit, behaviour, codebook, agreement, aggregate)
"""In the order in which `--help` lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    return run_command(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line, with every command's own options."""
    about = "Corpora: from official files or your own recordings and rater files to a checked, split table."
    return commands_parser("subtext-data", about, COMMANDS)
