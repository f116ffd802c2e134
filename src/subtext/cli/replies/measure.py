"""Measure replies: one row a reply, one column a measure, without any words.

REPLIES are tables (.csv, .tsv, .parquet, .jsonl) with id, session, client, reply,
and optionally system, seed, next; what generate writes is one. A reply that is
empty, in another language than English, or longer than 10,000 characters is said
and not scored. --list says what each measure means.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subtext.cli.arguments import Input, natural
from subtext.core.writing import write_parquet

NAME = "measure"
HELP = "engagement, artificial language, person-centred cues of each reply"


class _ListMeasures(argparse.Action):
    """Print the measures and end, as `--version` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from subtext.replies.measures import measures_markdown

        print(measures_markdown())
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "replies",
        metavar="REPLIES",
        nargs="+",
        type=Input("a table of replies: .csv, .tsv, .parquet or .jsonl"),
        help="tables of replies",
    )
    parser.add_argument(
        "--list", nargs=0, action=_ListMeasures, help="print every measure as a Markdown table, and end"
    )
    parser.add_argument(
        "--coder",
        metavar="FOLDER",
        type=Input("the folder that coder wrote", folder=True),
        help="what coder wrote; without it nothing rests on codes",
    )
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, default=Path("work/replies/measured.parquet"))
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="draws replies to compare with; default 0")


def run(options: argparse.Namespace) -> None:
    """Read, measure, show and write."""
    from rich.console import Console

    from subtext.errors import ConfigError
    from subtext.replies import pages
    from subtext.replies.coder import BehaviourCoder
    from subtext.replies.embedding import Embedder
    from subtext.replies.exchanges import read_replies
    from subtext.replies.measured import measure_replies, status_lines

    if options.out.suffix != ".parquet":
        raise ConfigError(f"--out {options.out}: use a name that ends in .parquet")
    table = read_replies(options.replies)
    embed = Embedder()
    coder = None if options.coder is None else BehaviourCoder.load(options.coder, embed)
    measured = measure_replies(table, code=None if coder is None else coder.code, embed=embed, seed=options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(options.out, measured)
    console = Console(highlight=False)
    for overview in pages.measured_overview(measured):
        console.print(overview)
    for line in status_lines(measured):
        print(line)
    print(f"Written: {options.out}")
