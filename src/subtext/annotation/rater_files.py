"""Rater files of every kind, checked together: tables, ELAN files, Label Studio exports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from subtext.annotation.codebook import Codebook
from subtext.annotation.elan import elan_ratings
from subtext.annotation.label_studio import label_studio_ratings
from subtext.annotation.ratings import Problem, Ratings, check_ratings, table_ratings
from subtext.errors import AnnotationError

RATING_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".jsonl", ".eaf", ".json")
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
    if not paths:
        raise AnnotationError(f"no file of ratings is named; name at least one of {', '.join(RATING_SUFFIXES)}")
    found: list[pd.DataFrame] = []
    problems: list[Problem] = []
    for path in paths:
        suffix = path.suffix.lower()
        if suffix not in RATING_SUFFIXES:
            raise AnnotationError(f"{path}: unknown kind of rater file; use one of {', '.join(RATING_SUFFIXES)}")
        if not path.is_file():
            raise AnnotationError(f"{path}: no such file of ratings; correct the path")
        if suffix == ".eaf":
            found.append(elan_ratings(path, codebook, session))
        elif suffix == ".json":
            found.append(label_studio_ratings(path, session))
        else:
            table, unusable = table_ratings(path, codebook, session, columns or {}, on_error == "skip")
            found.append(table)
            problems += unusable
    return check_ratings(pd.concat(found, ignore_index=True), codebook, problems=problems, on_error=on_error)
