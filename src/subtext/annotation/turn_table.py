"""The turns that an annotation tool is to show, from a table."""

from pathlib import Path
from typing import Final

import pandas as pd

from subtext.core.headers import did_you_mean, misspelt
from subtext.errors import AnnotationError
from subtext.manifest.read import read_numbered_table
from subtext.sessions.transcripts import each_seconds, meant

TURN_COLUMNS: Final = ("session", "turn", "role", "start", "end", "transcript")


def read_turn_table(path: Path, session: str | None = None) -> pd.DataFrame:
    """Turns from a CSV, TSV, Parquet or JSON Lines file.

    Args:
        path: columns `start` and `end` (s or clock time), and where known `session`, `turn`, `role`, `transcript`;
            further ones are kept. Without `turn`, turns are numbered from 1 in each session.
        session: of rows that name none; default the file's name without its ending.

    Raises:
        AnnotationError: a column is missing or a cell cannot be used, with row, column, value and the remedy.
    """
    if not path.is_file():
        raise AnnotationError(f"{path}: no such table of turns; correct the path")
    table, numbers = read_numbered_table(path)
    if near := misspelt(list(table.columns), TURN_COLUMNS):
        raise AnnotationError(f"{path}: {did_you_mean(near)}")
    for column in ("start", "end"):
        if column not in table:
            raise AnnotationError(
                f"{path}: no column '{column}'; {meant([column], list(table.columns))}add it, in seconds"
            )
        written = table[column]
        times = pd.Series(each_seconds(written.astype(object).where(written.notna(), None))[0], dtype="float64")
        if times.isna().any():
            row = int(times.isna().argmax())
            raise AnnotationError(
                f"{path}: row {numbers[row]}, column '{column}': no time; write seconds or hh:mm:ss.fff"
            )
        table[column] = times
    for column in ("session", "turn", "role", "transcript"):
        written = table[column] if column in table else pd.Series([None] * len(table), dtype=object)
        table[column] = pd.Series([None if pd.isna(cell) else str(cell) for cell in written], dtype=object)
    table["session"] = table["session"].fillna(session or path.stem)
    table["turn"] = table["turn"].fillna((table.groupby("session").cumcount() + 1).astype(str))
    for row, (start, end) in zip(numbers, table[["start", "end"]].to_numpy(dtype=float), strict=True):
        if start < 0 or round(end * 1000) <= round(start * 1000):
            raise AnnotationError(
                f"{path}: row {row}, column 'end': the turn from {start:g} to {end:g} s holds nothing; correct it"
            )
    twice = table[table.duplicated(["session", "turn"])]
    if len(twice):
        raise AnnotationError(
            f"{path}: row {numbers[twice.index[0]]}, column 'turn': a row above has the same in this session; give "
            "each turn a name of its own"
        )
    return table


def rated_turns(turns: pd.DataFrame) -> pd.DataFrame:
    """The client's turns; every turn where no role says which they are."""
    client = turns["role"].fillna("").str.strip().str.casefold() == "client"
    return turns[client] if client.any() else turns
