"""Train the behaviour coder on counsellors' turns and save it.

It is saved without pickle and without the corpus's words. How good such a coder
is, `validate` says. With --split it learns from those rows only, so that it may
judge replies to the others.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import natural
from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "coder"
HELP = "train the coder of behaviour (reflection, question, input, other) on AnnoMI"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--split", metavar="NAMES", help="learn from these splits only, with commas between")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("work/replies/coder"))
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="of the folds; default 0")


def run(options: argparse.Namespace) -> None:
    """Build, train and save."""
    from subtext.replies.coder import train_coder
    from subtext.replies.embedding import Embedder
    from subtext.replies.exchanges import counsellor_turns, of_splits

    turns = counsellor_turns(of_splits(chosen_corpus(options).build(), options.split))
    coder = train_coder(turns, Embedder(), seed=options.seed)
    coder.save(options.out)
    for head, facts in coder.facts["heads"].items():
        print(f"{head}: {facts['replies']:,} replies of {facts['groups']} films")
    print(f"Written: {options.out}")
