"""The rater files that a command line names."""

import argparse
from typing import TYPE_CHECKING

from subtext.cli.arguments import Input

if TYPE_CHECKING:
    from subtext.annotation.codebook import Codebook
    from subtext.annotation.ratings import Ratings


def add_rater_arguments(parser: argparse.ArgumentParser) -> None:
    """RATINGS, the codebook, and what to do with rows that cannot be used."""
    parser.add_argument(
        "ratings",
        metavar="RATINGS",
        nargs="+",
        type=Input("a file of ratings: a table, .eaf or Label Studio's .json"),
        help="tables (.csv, .tsv, .parquet, .jsonl), ELAN files (.eaf) or Label Studio exports (.json)",
    )
    parser.add_argument(
        "--codebook",
        metavar="FILE",
        type=Input("a codebook, a .yaml file"),
        help="default: ours, in the style of E-THER",
    )
    parser.add_argument(
        "--sessions", metavar="COLUMN", help="the tables' column that names the session; default session"
    )
    parser.add_argument(
        "--on-error", choices=("raise", "skip"), default="raise", help="skip: leave out what cannot be used and list it"
    )


def chosen_ratings(options: argparse.Namespace) -> "tuple[Codebook, Ratings]":
    """The codebook and all ratings, checked together.

    Raises:
        AnnotationError: a file or a rating in it cannot be used.
    """
    from subtext.annotation.codebook_file import read_codebook
    from subtext.annotation.rater_files import read_rater_files

    codebook = read_codebook(options.codebook)
    columns = {"session": options.sessions} if options.sessions else None
    return codebook, read_rater_files(options.ratings, codebook, columns=columns, on_error=options.on_error)
