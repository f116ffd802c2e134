"""The columns of a manifest, each brought into its form; what cannot be is refused."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from subtext.labels import EMOTION_POLARITY, POLARITIES
from subtext.manifest.checks import Checks, hint
from subtext.sessions.transcripts import is_unicode

_EMOTION_COLUMN: Final = {
    "verbal_polarity": "verbal_emotion",
    "visual_polarity": "visual_emotion",
    "vocal_polarity": "vocal_emotion",
}


def text_column(table: pd.DataFrame, column: str, checks: Checks) -> pd.Series:
    """The column as text, verbatim; only an empty cell is missing ("NA" and "null" are words)."""
    values = table[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype == object:
        bad = np.array([isinstance(cell, (bytes, list, tuple, set, dict, np.ndarray)) for cell in values], dtype=bool)
        checks.refuse(bad, column, lambda cell: f"the cell is a {type(cell).__name__}", "write text")
        values = values.mask(bad)
    elif pd.api.types.is_float_dtype(values):
        # A whole number that a reader took for a float, because other rows are empty, must not become "7.0".
        known = values.dropna()
        if (known == known.round()).all() and (known.abs() < 2**53).all():
            values = values.astype("Int64")
    try:
        text = values.astype("string")
    except UnicodeEncodeError:
        bad = np.array([isinstance(cell, str) and not is_unicode(cell) for cell in values], dtype=bool)
        checks.refuse(bad, column, "the text is not valid Unicode", "save it as UTF-8")
        text = values.mask(bad).astype("string")
    return text.mask(text.str.len() == 0)


def storable(column: pd.Series) -> pd.Series:
    """An unknown column as it is if Parquet can hold it, else as text."""
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return column.map(str, na_action="ignore").astype("string")
    return column


def check_choices(table: pd.DataFrame, column: str, choices: Sequence[str], checks: Checks) -> None:
    """Refuse cells of a text column that are none of the choices."""
    remedy = f"use one of {', '.join(choices)} or leave it empty"
    checks.refuse(
        table[column].notna() & ~table[column].isin(choices),
        column,
        "unknown value",
        lambda cell: hint(cell, choices) + remedy,
    )


def number_column(
    table: pd.DataFrame,
    column: str,
    checks: Checks,
    remedy: str = "write a number or leave it empty",
    otherwise: Callable[[str], float | None] | None = None,
) -> pd.Series:
    """The column as numbers; what `float` cannot read goes to `otherwise`, which raises ValueError if it cannot."""
    if column not in table:
        return pd.Series(float("nan"), index=table.index)
    cells = table[column]
    if pd.api.types.is_datetime64_any_dtype(cells) or pd.api.types.is_timedelta64_dtype(cells):
        cells = cells.astype("string")  # Would become nanoseconds.
    if pd.api.types.is_numeric_dtype(cells):
        numbers = cells.astype("float64")
        empty = cells.isna()
    else:
        words = cells.astype("string").str.strip()
        numbers = pd.to_numeric(words, errors="coerce").astype("float64")
        empty = words.isna() | (words == "")
        if otherwise is not None:
            rest = words[numbers.isna() & ~empty]
            read = {word: _or_nan(otherwise, word) for word in rest.unique()}
            numbers = numbers.fillna(rest.map(read).astype("float64"))
    bad = ~np.isfinite(numbers) & ~empty
    kind = "a number" if otherwise is None else "a number of seconds or a clock time"
    checks.refuse(bad, column, f"the cell is not {kind}", remedy)
    return numbers.mask(bad)


def _or_nan(read: Callable[[str], float | None], word: str) -> float:
    try:
        value = read(word)
    except ValueError:
        return float("nan")
    return float("nan") if value is None else value


def check_times(table: pd.DataFrame, checks: Checks) -> None:
    """Refuse a negative start, and an end before its start; both columns are numbers already."""
    checks.refuse(
        table["start"] < 0,
        "start",
        "the time is negative",
        "times are seconds from the beginning of the file",
    )
    start, end = table["start"].fillna(0), table["end"]
    checks.refuse(end < start, "end", "the segment ends before it starts", "exchange or correct the times")


def polarity_column(table: pd.DataFrame, column: str, checks: Checks) -> pd.Series:
    """-1, 0, 1 as Int64; where missing, that of the emotion in the column that belongs to it."""
    remedy = "use -1, 0, 1 or leave it empty"
    values = number_column(table, column, checks, remedy)
    bad = values.notna() & ~values.isin(POLARITIES)
    checks.refuse(bad, column, "the cell is not a polarity", remedy)
    emotion = _EMOTION_COLUMN[column]
    words = table[emotion].str.strip().str.lower()
    choices = f"use one of {', '.join(EMOTION_POLARITY)}, or leave it empty and fill {column}"
    checks.refuse(
        words.notna() & ~words.isin(list(EMOTION_POLARITY)),
        emotion,
        "unknown emotion",
        lambda cell: hint(cell, EMOTION_POLARITY) + choices,
    )
    return values.mask(bad).astype("Int64").fillna(words.map(EMOTION_POLARITY).astype("Int64"))


def fold_column(table: pd.DataFrame, checks: Checks) -> pd.Series:
    """Whole numbers from 0 on as Int64."""
    remedy = "number folds 0, 1, 2 ... or leave it empty"
    values = number_column(table, "fold", checks, remedy)
    bad = values.notna() & ((values < 0) | (values != values.round()))
    checks.refuse(bad, "fold", "the cell is not the number of a fold", remedy)
    return values.mask(bad).astype("Int64")


def binary_column(table: pd.DataFrame, column: str, checks: Checks) -> pd.Series:
    """True and false as boolean, missing where the column or the cell is."""
    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="boolean")
    spelled = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    words = table[column].astype("string").str.strip().str.lower()
    words = words.mask(words == "")
    checks.refuse(
        words.notna() & ~words.isin(list(spelled)),
        column,
        "the cell is neither true nor false",
        "use 1, 0, true, false or leave it empty",
    )
    return words.map(spelled).astype("boolean")
