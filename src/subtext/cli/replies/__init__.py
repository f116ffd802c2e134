"""`subtext-replies COMMAND ...`: counsellors' replies made, measured, validated and compared. One module a command."""

import argparse
from collections.abc import Sequence

from subtext.cli.commands import commands_parser, run_command
from subtext.cli.replies import coder, compare, convert, form, generate, judge, measure, ratings, tune, validate

COMMANDS = (generate, measure, validate, compare, coder, tune, form, judge, ratings, convert)
"""In the order in which `--help` lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    return run_command(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line, with every command's own options."""
    about = "A counsellor's next reply: generated, measured, validated on AnnoMI, compared, rated by people."
    return commands_parser("subtext-replies", about, COMMANDS)
