"""`subtext-replies COMMAND ...`: counsellors' replies made, measured, validated and compared. One module a command."""

import argparse
import logging
import sys
from collections.abc import Sequence

from subtext import __version__
from subtext.cli.outcome import finish
from subtext.cli.replies import coder, compare, convert, form, generate, judge, measure, ratings, tune, validate

COMMANDS = (generate, measure, validate, compare, coder, tune, form, judge, ratings, convert)
"""In the order in which `--help` lists them. Each has NAME, HELP, `add_arguments(parser)` and `run(options)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    # argparse takes KEY=VALUE in one place only; people also put it behind the options.
    if rest and not (hasattr(options, "settings") and all("=" in part and part[0] != "-" for part in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.settings = [*options.settings, *rest]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return finish(lambda: options.run(options), debug=options.debug)


def parser() -> argparse.ArgumentParser:
    """The command line, with every command's own options."""
    top = argparse.ArgumentParser(
        prog="subtext-replies",
        description="A counsellor's next reply: generated, measured, validated on AnnoMI, compared, rated by people.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"subtext {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=command.run)
    return top
