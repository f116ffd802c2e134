"""Write a blinded form on pairs of replies, for people to rate.

form.html works without a network and saves each rater's answers as a CSV file;
label_studio.xml and .json are the same for Label Studio. Beside the folder,
FOLDER_key.json says who wrote what: keep it from the raters, and give it to
`ratings`.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input, natural, positive

NAME = "form"
HELP = "a blinded pairwise rating form (HTML, Label Studio)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "replies",
        metavar="REPLIES",
        nargs="+",
        type=Input("a table of replies: .csv, .tsv, .parquet or .jsonl"),
        help="tables of replies, of two systems",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--pairs", metavar="N", type=positive, default=60, help="at most; default 60")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="draws turns, sides and order; default 0")


def run(options: argparse.Namespace) -> None:
    """Read, draw and write."""
    from subtext.replies.exchanges import read_replies
    from subtext.replies.rating_form import draw_pairs, write_form

    pairs = draw_pairs(read_replies(options.replies), options.pairs, options.seed)
    for path in write_form(pairs, options.out):
        print(f"Written: {path}")
    print(f"{len(pairs)} pairs. Keep the key from the raters.")
