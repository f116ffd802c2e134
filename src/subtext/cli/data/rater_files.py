"""The rater files that a command line names."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subtext.annotation.codebook import Codebook
    from subtext.annotation.ratings import Ratings


def add_rater_arguments(parser: argparse.ArgumentParser) -> None:
    """RATINGS, the codebook, and what to do with rows that cannot be used."""
    parser.add_argument(
        "ratings",
        metavar="RATINGS",
        nargs="+",
        type=Path,
        help="tables (.csv, .tsv, .parquet, .jsonl), ELAN files (.eaf) or Label Studio exports (.json)",
    )
    parser.add_argument("--codebook", metavar="FILE", type=Path, help="default: ours, in the style of E-THER")
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
    import pandas as pd

    from subtext.annotation.codebook_file import read_codebook
    from subtext.annotation.elan import read_elan_ratings
    from subtext.annotation.label_studio import read_label_studio_ratings
    from subtext.annotation.ratings import Ratings, check_ratings, read_ratings

    codebook = read_codebook(options.codebook)
    by_kind: dict[str, list[Path]] = {}
    for path in options.ratings:
        by_kind.setdefault(path.suffix.lower() if path.suffix.lower() in (".eaf", ".json") else "table", []).append(
            path
        )
    columns = {"session": options.sessions} if options.sessions else None
    found = []
    if "table" in by_kind:
        found.append(read_ratings(by_kind["table"], codebook, columns=columns, on_error=options.on_error))
    if ".eaf" in by_kind:
        found.append(read_elan_ratings(by_kind[".eaf"], codebook, on_error=options.on_error))
    if ".json" in by_kind:
        found.append(read_label_studio_ratings(by_kind[".json"], codebook, on_error=options.on_error))
    if len(found) == 1:
        return codebook, found[0]
    # The same judgement may stand in two kinds of file.
    table = pd.concat([ratings.table for ratings in found], ignore_index=True)
    placed = table.assign(file="all files together", row=range(1, len(table) + 1), column="value")
    checked = check_ratings(placed, codebook, on_error=options.on_error)
    rejects = pd.concat([*(ratings.rejects for ratings in found), checked.rejects], ignore_index=True)
    return codebook, Ratings(checked.table, rejects)
