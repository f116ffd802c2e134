"""Write a dataset card: what a corpus holds, its licence, and what to beware of, as Markdown.

It holds counts and figures only: no media, no transcripts, no names of people.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "card"
HELP = "a dataset card: counts, durations, missing streams, licence, cautions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FILE.md", type=Path, help="default: work/data/CORPUS/card.md")


def run(options: argparse.Namespace) -> None:
    """Build, describe and write."""
    from subtext.corpora.card import write_card

    chosen = chosen_corpus(options)
    manifest = chosen.build()
    path = write_card(chosen.corpus, manifest, options.out or chosen.folder / "card.md")
    print(f"Written: {path}")
