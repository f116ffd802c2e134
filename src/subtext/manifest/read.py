"""Tables that people bring, read cell by cell as they were written."""

import csv
import io
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from subtext.core.delimited import layout_of, with_decimal_point
from subtext.core.tables import read_parquet
from subtext.errors import ManifestError
from subtext.manifest.checks import REJECT_COLUMNS
from subtext.manifest.table import TEXT_COLUMNS
from subtext.sessions.transcripts import is_unicode, with_whole_characters

_log = logging.getLogger(__name__)
_REMEDY: Final = (
    "each row needs as many cells as the first, cells with commas, quotes or line breaks stand in double quotes"
)


@dataclass(frozen=True)
class Unread:
    """A row of a file that has no cells to check: its number among the rows, why, and what to do."""

    row: int
    reason: str
    remedy: str


def rejects_of(unread: Sequence[Unread] | None) -> pd.DataFrame | None:
    if not unread:
        return None
    # Not what the row holds: that may be what somebody said.
    table = pd.DataFrame(columns=list(REJECT_COLUMNS), index=range(len(unread)))
    table["row"] = [row.row for row in unread]
    table["reason"] = [row.reason for row in unread]
    table["remedy"] = [row.remedy for row in unread]
    return table


def read_table(path: Path) -> pd.DataFrame:
    """A table from CSV, TSV, Parquet or JSON Lines, as `read_numbered_table` reads it, without the numbers."""
    return read_numbered_table(path)[0]


def read_numbered_table(
    path: Path, unread: list[Unread] | None = None
) -> tuple[pd.DataFrame, npt.NDArray[np.integer[Any]]]:
    """A table from CSV, TSV, Parquet or JSON Lines, its text verbatim, and the numbers that its rows have in the file.

    CSV is read as UTF-8 (with or without mark), UTF-16 with mark, else as Windows-1252 or Latin-1, which is reported.
    In CSV every cell is text; Parquet and JSON keep their types. Cells may be divided by semicolons or tabs (see
    `subtext.core.delimited`); a column of numbers then may have decimal commas, which become points. Rows without
    anything in them are left out.

    Args:
        path: its ending says what it is.
        unread: takes the rows that cannot be told apart into cells, which are then left out; by default they are an
            error. A quote that is never closed always is one: there is no telling where its row ends.

    Returns:
        The table, and `[rows]` from 1: the place of each row in the file, headers and blank lines not counted.

    Raises:
        ManifestError: naming the file, where in it, and the remedy.
    """
    table, left_out = _read(path, unread)
    numbers = np.setdiff1d(np.arange(1, len(table) + len(left_out) + 1), left_out)
    empty = _empty_rows(table)
    return table.loc[~empty].reset_index(drop=True), numbers[~empty]


def _empty_rows(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """`[rows]`: which hold nothing but nulls and white space, such as those that spreadsheets leave at the end."""
    empty = np.ones(len(table), dtype=bool)
    for position in range(table.shape[1]):
        rows = np.flatnonzero(empty)  # hardly any are left after the first column
        if not len(rows):
            break
        cells = table.iloc[rows, position]
        empty[rows] = cells.isna().to_numpy() | [isinstance(cell, str) and not cell.strip() for cell in cells]
    return empty


def _read(path: Path, unread: list[Unread] | None) -> tuple[pd.DataFrame, list[int]]:
    """The table, and the numbers of rows that are not in it."""
    kind = kind_of(path)
    if not os.path.exists(path):  # unlike pathlib's, it bears a name that no file system takes
        raise ManifestError(f"no manifest {path}; set corpus.path to a .csv, .tsv, .parquet or .jsonl file")
    if path.is_dir():
        raise ManifestError(f"{path} is a folder; set corpus.path to a .csv, .tsv, .parquet or .jsonl file")
    try:
        if kind == "parquet":
            table = read_parquet(path)
            # A notebook may have made a column, such as the id, the index.
            return (table if table.index.names == [None] else table.reset_index()), []
        content = path.read_bytes()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as {kind} ({one_line(error)}); save it again") from error
    if not content.strip():
        raise ManifestError(f"{path} is empty; write one line of column names and one line a segment")
    text = _decode(content, path)
    if kind == "jsonl":
        return _read_json_lines(text, path, unread), [row.row for row in unread or ()]
    return _read_csv(text, path, kind, unread)


def kind_of(path: Path) -> str:
    kinds = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ManifestError(f"{path} is no table that can be read; use a .csv, .tsv, .parquet or .jsonl file")
    return kind


def _decode(content: bytes, path: Path) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        # Windows-1252 is Latin-1 with quotes and dashes where that has control characters.
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding in ("cp1252", "latin-1"):
            _log.warning("%s is not UTF-8; read as %s. Save it as UTF-8 if letters look wrong", path, encoding)
        return text
    raise ManifestError(f"{path} is not text; save the table as UTF-8 CSV or JSON Lines")


def _read_csv(text: str, path: Path, kind: str, unread: list[Unread] | None) -> tuple[pd.DataFrame, list[int]]:
    delimiter, text = layout_of(text, tabs=kind == "tsv")
    _check_quotes(text, delimiter, path)
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (StopIteration, csv.Error) as error:
        raise ManifestError(f"{path} has no line of column names; write one, and one line a segment") from error
    content = text.encode()
    torn = [] if unread is None else unread
    empty: list[int] = []

    def leave_out(row: pyarrow.csv.InvalidRow) -> str:
        if row.text is not None and not row.text.replace(delimiter, "").strip():
            empty.append(row.number - 1)
            return "skip"
        reason = f"{row.actual_columns} cells where {row.expected_columns} are expected"
        torn.append(Unread(row.number - 1, reason, _REMEDY))  # Arrow counts the header.
        return "error" if unread is None else "skip"

    try:
        table = pa.csv.read_csv(
            io.BytesIO(content),
            # Errors name the row only when one thread reads, and no cell may be longer than a block.
            pa.csv.ReadOptions(use_threads=False, block_size=max(1 << 20, len(content))),
            pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=leave_out),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        ).to_pandas()
    except pa.ArrowException as error:
        # Not in Arrow's words, which quote the row: that may be what somebody said.
        where = f"row {torn[0].row}: {torn[0].reason}" if torn else "it cannot be read as a table"
        raise ManifestError(f"{path}: {where}; {_REMEDY}") from error
    table.columns = table.columns.str.strip()
    # Spreadsheets leave nameless empty columns at the end.
    table = table.loc[:, (table.columns != "") | table.notna().any().to_numpy()]
    repeated = np.flatnonzero(table.columns.duplicated(keep=False) & (table.columns == _first_repeated(table.columns)))
    if len(repeated):
        cells = " and ".join(str(place + 1) for place in repeated)
        raise ManifestError(f"{path}: header cells {cells} have the same name; rename or remove all but one")
    if delimiter != ",":
        for position, column in enumerate(table.columns):
            if column not in TEXT_COLUMNS:
                table.isetitem(position, _with_decimal_points(table.iloc[:, position]))
    return table, [*(row.row for row in torn), *empty]


def _first_repeated(names: pd.Index) -> str | None:
    return next(iter(names[names.duplicated()]), None)


def _with_decimal_points(column: pd.Series) -> pd.Series:
    """A column of numbers with points for commas; one that mostly holds something else as it is."""
    cells = column.dropna()
    changed = cells.map(with_decimal_point)
    if changed.equals(cells) or pd.to_numeric(changed, errors="coerce").notna().mean() <= 0.5:
        return column
    return changed.reindex(column.index)


def _check_quotes(text: str, delimiter: str, path: Path) -> None:
    """Refuse a quote that is never closed: it would swallow the rows behind it."""
    if text.count('"') % 2 == 0:
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 0
    try:
        for _ in reader:
            line = reader.line_num
    except csv.Error as error:
        raise ManifestError(
            f"{path}: a double quote in line {line + 1} is not closed ({error}); close it, or double it if it is meant"
        ) from error


def _read_json_lines(text: str, path: Path, unread: list[Unread] | None) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    replaced = 0
    # Not splitlines(): transcripts may hold U+2028 and its kin.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _object(line)
        except ValueError as error:
            if unread is None:
                raise ManifestError(f"{path}, line {number}: {error}; write one object a line") from error
            unread.append(Unread(len(rows) + len(unread) + 1, f"line {number}: {error}", "write one object a line"))
            continue
        if "\\u" in line:
            for key, value in row.items():
                if isinstance(value, str) and not is_unicode(value):
                    row[key] = with_whole_characters(value)
                    replaced += 1
        rows.append(row)
    if replaced:
        _log.warning("%s: %d cells hold halves of characters, which became U+FFFD", path, replaced)
    columns = {column: None for row in rows for column in row}
    return pd.DataFrame({column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns})


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({one_line(error)})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}")
    return row


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
