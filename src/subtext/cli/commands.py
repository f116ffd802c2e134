"""What the command lines of several commands share: `subtext-data COMMAND`, `subtext-replies COMMAND`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from types import ModuleType

from subtext import __version__
from subtext.cli.arguments import Paragraphs, check_inputs
from subtext.cli.outcome import finish


def run_command(top: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run the command that the arguments name; gives the exit code."""
    options, rest = top.parse_known_args(arguments)
    # argparse takes KEY=VALUE in one place only; people also put it behind the options.
    if rest and not (hasattr(options, "settings") and all("=" in part and part[0] != "-" for part in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.settings = [*options.settings, *rest]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def run() -> int | None:
        check_inputs(options.parser, options)
        code: int | None = options.run(options)
        return code

    return finish(run, debug=options.debug)


def commands_parser(program: str, description: str, commands: Sequence[ModuleType]) -> argparse.ArgumentParser:
    """The command line, with every command's own options.

    Args:
        program: as it is called.
        description: what `--help` says of it.
        commands: modules with NAME, HELP, `add_arguments(parser)` and `run(options)`, in the order in which `--help`
            lists them; the docstring of each is its own `--help`.
    """
    top = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"subtext {__version__}")
    parsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        sub = parsers.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.__doc__,
            formatter_class=Paragraphs,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.add_argument(
            "--debug", action="store_true", help="show the traceback of an error, with words that it may hold"
        )
        sub.set_defaults(run=command.run, parser=sub)
    return top
