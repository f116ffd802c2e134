"""Write a dataset card: what a corpus holds, its licence, and what to beware of, as Markdown.

It holds counts and figures only: no media, no transcripts, no names of people.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus
from subtext.errors import ConfigError

NAME = "card"
HELP = "a dataset card: counts, durations, missing streams, licence, cautions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FILE.md", type=Path, help="default: work/data/CORPUS/card.md")


def run(options: argparse.Namespace) -> None:
    """Build, describe and write."""
    from subtext.corpora.card import write_card

    chosen = chosen_corpus(options, may_leak=True)
    path = options.out or chosen.folder / "card.md"
    beside = path.with_suffix(".json")
    if path.suffix != ".md":
        raise ConfigError(f"--out {path}: use a name that ends in .md")
    if beside.exists() and b'"tables"' not in beside.read_bytes():
        raise ConfigError(f"{beside} would be overwritten by the card's tables; choose another --out")
    write_card(chosen.corpus, chosen.build(), path)
    print(f"Written: {path}")
