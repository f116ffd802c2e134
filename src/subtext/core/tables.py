"""CSV that no spreadsheet executes, and that gives back what was written.

A cell that begins with = + - @, a tab or a line break is a formula to a spreadsheet, and a subtitle may well begin with
'-'. Such a cell is written with an apostrophe in front; a cell that already has apostrophes there gets one more, so
that taking one off again gives the very same text. Plain numbers are left alone: -1 is a polarity, not a formula. An
apostrophe is taken off only where the description beside the table says that Subtext put it there.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.core.writing import replacing

ESCAPED: Final = "leading apostrophe"
"""What the description beside an exported table says of its cells, under `escaped`."""

# The full-width signs are formulas in East Asian spreadsheets (OWASP, CSV Injection).
_FORMULA: Final = re.compile(
    r"'*(?!'|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", re.ASCII
)


def escape(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; `unescape` gives the text back."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> Path:
    """Write a table as UTF-8 CSV, without its index, in one step; formulas are escaped in cells and column names.

    Cells that are not text (numbers, true and false) are written as they are, null as the empty cell.

    Args:
        table: what to write.
        path: the file; its folder is made.
        float_format: of numbers, such as `%.6g`; None writes them exactly.
    """
    out = table.rename(columns=lambda column: escape(str(column)))
    for position, dtype in enumerate(out.dtypes):
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            out.isetitem(position, _each_text(out.iloc[:, position], escape).array)
    with replacing(path) as made:
        # RFC 4180, and with "\n" alone Python before 3.13 would not quote a cell that holds a carriage return.
        out.to_csv(made, index=False, encoding="utf-8", lineterminator="\r\n", float_format=float_format)
    return path


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file as pandas reads it, whose texts are texts.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no Parquet file, or a damaged one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pandas takes bytes that are no UTF-8 for text, and fails where the text is used.
        pq.read_table(path).validate(full=True)
        return pd.read_parquet(path)
    except (pa.ArrowException, NotImplementedError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"no Parquet file that can be read: {' '.join(str(error).split())}") from error


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `write_csv` was given, from one that was read back as text."""
    out = table.rename(columns=unescape)
    for position, dtype in enumerate(out.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            out.isetitem(position, _each_text(out.iloc[:, position], unescape).array)
    return out


def _each_text(cells: pd.Series, change: Callable[[str], str]) -> pd.Series:
    # Not by map(), which would make floats of whole numbers beside nulls.
    changed = [change(cell) if isinstance(cell, str) else cell for cell in cells]
    return pd.Series(changed, cells.index, dtype=object)
