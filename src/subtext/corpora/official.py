"""Official files as a corpus distributes them: found, or missed with a remedy; their cells checked, not guessed."""

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subtext.errors import DatasetNotFound, ManifestError
from subtext.manifest.checks import row_number
from subtext.manifest.read import read_table
from subtext.sessions.transcripts import each_seconds


def official_table(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """A corpus's own CSV file, every cell as text, the empty one missing.

    UTF-8 with or without mark, Windows-1252 and Latin-1, any line ends and line breaks inside quotes are read.

    Args:
        path: the file.
        columns: what it must have; others are carried along.
        remedy: where to get it.

    Raises:
        DatasetNotFound: it is missing or lacks columns.
        ManifestError: it cannot be read as CSV.
    """
    if not path.is_file():
        raise DatasetNotFound(f"no {path.name} under {path.parent}. {remedy}")
    table = read_table(path)
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise DatasetNotFound(f"{path} lacks the columns {', '.join(lacking)}; it needs {', '.join(columns)}. {remedy}")
    if table.empty:
        raise DatasetNotFound(f"{path} has column names but no rows. {remedy}")
    return table


def official_text(path: Path, remedy: str) -> str:
    """A corpus's own text file (UTF-8 with or without mark), with Unix line ends.

    Raises:
        DatasetNotFound: it is missing.
        ManifestError: it is not UTF-8.
    """
    if not path.is_file():
        raise DatasetNotFound(f"no {path.name} under {path.parent}. {remedy}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); download the file again"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def recode(table: pd.DataFrame, column: str, codes: Mapping[str, Any], path: Path, empty: bool = False) -> pd.Series:
    """A column's official codes as our values, whatever their case and the blanks around them.

    Args:
        table: as read from `path`.
        column: its column.
        codes: official code in lower case -> our value.
        path: for messages.
        empty: whether an empty cell is allowed; it stays missing.

    Raises:
        ManifestError: a cell holds something else; naming row, column and what is allowed.
    """
    words = table[column].astype("string").str.strip().str.lower()
    words = words.mask(words == "")
    wrong = words.notna() & ~words.isin(list(codes)) if empty else ~words.isin(list(codes))
    refuse_cells(table, column, wrong, path, f"use one of {', '.join(codes)}" + (" or leave it empty" if empty else ""))
    return words.map(codes)


def numbers(
    table: pd.DataFrame,
    column: str,
    low: float,
    high: float,
    path: Path,
    *,
    whole: bool = False,
    empty: bool = True,
) -> pd.Series:
    """A column of numbers as float64 (whole ones as Int64), the empty cell missing.

    Args:
        table: as read from `path`.
        column: its column.
        low: least number.
        high: largest number.
        path: for messages.
        whole: whether they are whole numbers.
        empty: whether an empty cell is allowed.

    Raises:
        ManifestError: a cell is no such number; naming row and column.
    """
    words = table[column].astype("string").str.strip()
    values = pd.to_numeric(words, errors="coerce").astype("float64")
    given = values.between(low, high) & np.isfinite(values)
    if whole:
        given &= values == values.round()
    ends = [f"from {low:g}" if np.isfinite(low) else "", f"to {high:g}" if np.isfinite(high) else ""]
    wanted = " ".join(["write a whole number" if whole else "write a number", *filter(None, ends)])
    known = words.notna() & (words != "")
    refuse_cells(table, column, (known if empty else True) & ~given, path, wanted)
    return values.astype("Int64") if whole else values


def times(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """A column of times such as 0:06, 0:02.300000 or 00:16:16,059 in s; missing where the cell or the column is.

    Raises:
        ManifestError: a cell is no time; naming row and column.
    """
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    values, unread = each_seconds(table[column].astype(object).where(table[column].notna(), None))
    wrong = pd.Series(False, index=table.index)
    wrong.iloc[unread] = True
    refuse_cells(table, column, wrong, path, "write a time such as hh:mm:ss or leave it empty")
    return pd.Series(values, index=table.index, dtype="float64")


def refuse_cells(table: pd.DataFrame, column: str, wrong: pd.Series, path: Path, remedy: str) -> None:
    """Refuse a file with wrong cells.

    Raises:
        ManifestError: naming row and column of the first one.
    """
    rows = np.flatnonzero(wrong.fillna(False).to_numpy(dtype=bool))
    if len(rows):
        what = "an empty cell" if pd.isna(table[column].iloc[rows[0]]) else "the cell"
        raise ManifestError(
            f"{path}: row {row_number(table.index, rows[0])}, column '{column}': {what} is not what stands there "
            f"officially ({len(rows)} such rows); {remedy}"
        )


def check_unique(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse a file in which two rows have the same key.

    Raises:
        ManifestError: naming the rows and the key's columns.
    """
    keys = table[list(columns)].astype("string").fillna("")
    repeated = np.flatnonzero(keys.duplicated(keep=False).to_numpy())
    if len(repeated):
        first = keys.iloc[repeated[0]]
        rows = [row_number(table.index, row) for row in np.flatnonzero((keys == first).all(axis=1).to_numpy())[:5]]
        raise ManifestError(
            f"{path}: the same {' and '.join(columns)} in rows {', '.join(map(str, rows))} ({len(repeated)} rows share "
            "keys); "
            "remove the repeated rows, or download the file again"
        )


def present(root: Path, *places: "pd.Series[str]") -> pd.Series:
    """For each row the first of its paths (relative to `root`) whose file exists; missing where there is none.

    A folder is listed once.
    """
    listed: dict[str, frozenset[str]] = {}
    found: dict[Hashable, str] = {}
    for label, path in (item for paths in places for item in paths.dropna().items()):
        folder, name = os.path.split(path)
        if folder not in listed:
            where = root / folder
            listed[folder] = frozenset(os.listdir(where)) if where.is_dir() else frozenset()
        if name in listed[folder]:
            found.setdefault(label, path)
    return pd.Series(found, dtype="object").reindex(places[0].index).astype("string")


def lines_before(texts: pd.Series, groups: pd.Series, turns: int) -> pd.Series:
    """For every row the `turns` texts before it in its group, a line each, oldest first; missing at the beginning."""
    earlier = [texts.groupby(groups, sort=False).shift(step) for step in range(turns, 0, -1)]
    joined = [
        "\n".join(text for text in row if isinstance(text, str) and text) for row in zip(*earlier, strict=True)
    ] or [""] * len(texts)
    return pd.Series([text or None for text in joined], index=texts.index, dtype="string")
