"""Rater files of every kind, checked together: tables, ELAN files, Label Studio exports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from subtext.annotation.codebook import Codebook
from subtext.annotation.elan import read_elan_ratings
from subtext.annotation.label_studio import read_label_studio_ratings
from subtext.annotation.ratings import Ratings, check_ratings, read_ratings
from subtext.errors import AnnotationError

TABLE_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".jsonl")
RATING_SUFFIXES: Final = (*TABLE_SUFFIXES, ".eaf", ".json")
"""Every ending that `read_rater_files` knows."""


def read_rater_files(
    paths: Sequence[Path],
    codebook: Codebook,
    *,
    session: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> Ratings:
    """Read and check rater files of several kinds.

    Args:
        paths: one file or several, whose endings say what they are.
        codebook: which labels and values there are.
        session: the session of what names none.
        columns: our column name -> the tables', for those that differ.
        on_error: `skip` leaves out what cannot be used and lists it in `rejects`.

    Raises:
        AnnotationError: a file or a rating in it cannot be used, or one rater judges a label of a turn in two files.
        ManifestError: a table cannot be read.
        TranscriptError: an ELAN file or an export cannot be read.
    """
    for path in paths:
        if path.suffix.lower() not in RATING_SUFFIXES:
            raise AnnotationError(f"{path}: unknown kind of rater file; use one of {', '.join(RATING_SUFFIXES)}")
        if not path.is_file():
            raise AnnotationError(f"{path}: no such file of ratings; correct the path")
    elan = [path for path in paths if path.suffix.lower() == ".eaf"]
    exports = [path for path in paths if path.suffix.lower() == ".json"]
    tables = [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]
    found = []
    if tables or not paths:
        found.append(read_ratings(tables, codebook, session=session, columns=columns, on_error=on_error))
    if elan:
        found.append(read_elan_ratings(elan, codebook, session=session, on_error=on_error))
    if exports:
        found.append(read_label_studio_ratings(exports, codebook, session=session, on_error=on_error))
    if len(found) == 1:
        return found[0]
    # The same judgement may stand in two kinds of file.
    checked = check_ratings(pd.concat([ratings.table for ratings in found]), codebook, on_error=on_error)
    rejects = pd.concat([*(ratings.rejects for ratings in found), checked.rejects], ignore_index=True)
    return Ratings(checked.table, rejects)
