"""Analyse the ratings of a form: agreement of the raters, and who won.

RATINGS are the CSV files that form.html saved, or Label Studio's exports (.json).
Writes ratings.json. A rater named by --judge is a model: its answers are shown
apart, with how often it says what most people say, and count nowhere else.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input, natural
from subtext.core.writing import write_text

NAME = "ratings"
HELP = "agreement and Bradley-Terry strengths from ratings of the form"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("ratings", metavar="RATINGS", nargs="+", type=Input("a table of what raters chose in the form"))
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Input("the file FOLDER_key.json that form wrote"),
        required=True,
        help="the form's FOLDER_key.json",
    )
    parser.add_argument("--judge", metavar="RATER", action="append", default=[], help="a rater that is a model")
    parser.add_argument(
        "--measured",
        metavar="FILE",
        type=Input("a table that measure wrote"),
        help="the replies' measures, to hold judges against",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("work/replies/ratings"))
    parser.add_argument("--bootstrap", metavar="N", type=int, default=500, help="resamples of dialogues; default 500")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="of the resampling; default 0")


def run(options: argparse.Namespace) -> None:
    """Read, analyse, show and write."""
    import json

    from rich.console import Console

    from subtext.errors import ConfigError
    from subtext.replies import pages
    from subtext.replies.measured import read_measured
    from subtext.replies.rating_form import read_key
    from subtext.replies.ratings import analyse_ratings, read_pair_ratings

    if options.bootstrap < 100:
        raise ConfigError(f"--bootstrap {options.bootstrap} is too few for an interval; use 100 or more")
    ratings = read_pair_ratings(options.ratings, read_key(options.key))
    measured = None if options.measured is None else read_measured([options.measured])
    found = analyse_ratings(
        ratings, judges=options.judge, measured=measured, n_bootstrap=options.bootstrap, seed=options.seed
    )
    content = found.as_dict()
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(options.out / "ratings.json", text + "\n")
    console = Console(highlight=False)
    for table in pages.ratings_overview(content):
        console.print(table)
    for note in found.agreement.notes:
        print(note)
    print(f"Written: {options.out}")
