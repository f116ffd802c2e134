"""What a table of predictions holds, and whether one can be judged: anybody's tool may have written it.

A message names the column and the row, counted from 1, and never a cell: ids and speakers are somebody's.
"""

import math
from collections.abc import Collection, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.metrics import Bools, Floats
from subtext.labels import (
    ETHER_OF_TYPE,
    ETHER_TYPES,
    INCONGRUENCE_TYPES,
    MODALITIES,
    POLARITIES,
    POLARITY_COLUMN,
    POLARITY_NAMES,
)

ANSWERS: Final = (
    *("prob_", "logit_", "pred_", "evidence_", "anchor_", "novelty_"),
    *(f"baseline_{modality}" for modality in MODALITIES),
)
"""What the names of columns begin with that hold what a model says of a clip, and not what is known of it."""
BINARY_HEADS: Final[Mapping[str, str]] = {"incongruent": "visual_polarity", "vocal_incongruent": "vocal_polarity"}
"""Binary head -> the polarity that the words' polarity is held against."""

_POLARITY: Final = dict(zip(POLARITIES, range(3), strict=True))
CHOICES: Final[Mapping[str, tuple[str, tuple[str, ...], Mapping[Any, int]]]] = {
    "type": ("incongruence_type", INCONGRUENCE_TYPES, {kind: n for n, kind in enumerate(INCONGRUENCE_TYPES)}),
    "ether_type": (
        "incongruence_type",
        ETHER_TYPES,
        {ours: ETHER_TYPES.index(theirs) for ours, theirs in ETHER_OF_TYPE.items()},
    ),
    **{column: (column, POLARITY_NAMES, _POLARITY) for column in POLARITY_COLUMN.values()},
}
"""Head that is a choice -> the label's column, the classes, and which class each value of the label is."""

_ROUNDING: Final = 1e-6
"""By how much a probability may be off in a table of single precision."""
_REMEDY: Final = "correct the table, or train the run again"
_NAMES: Final = ("id", "split", "control", "condition")
"""Columns that have a text or a number in every row."""


def check_predictions(table: pd.DataFrame, source: Path | str, also: Collection[str] = ()) -> None:
    """Whether the columns that figures are computed from hold what they may hold.

    Probabilities lie from 0 to 1, other answers are finite, labels are of their classes, each of them may be missing;
    every row says which clip it is of and which split.

    Args:
        table: a row a clip; of controls and of robustness a row a clip and control or condition.
        source: the file, for messages.
        also: columns that must be there besides `id` and `split`, such as `control`.

    Raises:
        RunError: naming the first column that does not, and the first row of it.
    """
    if not len(table):
        raise RunError(f"{source} has no rows; {_REMEDY}")
    repeated = np.flatnonzero(table.columns.duplicated())
    if len(repeated):
        raise RunError(f"{source} has the column '{_short(table.columns[repeated[0]])}' twice; {_REMEDY}")
    for column in ("id", "split", *also):
        if column not in table:
            raise RunError(f"{source} lacks the column '{column}'; {_REMEDY}")
    for name in map(str, table.columns):
        if name in _NAMES:
            _refuse(table, name, ~_is_name(table[name]), "is neither a text nor a number", source)
        elif name.startswith("prob_"):
            values = _numbers(table, name, source)
            outside = (values < -_ROUNDING) | (values > 1 + _ROUNDING)
            _refuse(table, name, outside, "is no probability from 0 to 1", source)
        elif name.startswith(ANSWERS) or name in ("engagement", "strength"):
            _refuse(table, name, np.isinf(_numbers(table, name, source)), "is not a finite number", source)
        elif name in ("seed", "fold"):
            values = _numbers(table, name, source)
            with np.errstate(invalid="ignore"):
                odd = (values != np.floor(values)) | (values < 0) | np.isinf(values)
            _refuse(table, name, odd & ~np.isnan(values), "is no whole number from 0", source)
        elif name.startswith("present_") or name in BINARY_HEADS:
            values = _numbers(table, name, source, booleans=True)
            _refuse(table, name, ~np.isin(values, (0, 1)) & ~np.isnan(values), "is neither true nor false", source)
    for head, (label, names, classes) in CHOICES.items():
        if label in table and all(f"prob_{head}_{name}" in table for name in names):
            known = [_is_missing(cell) or (_is_scalar(cell) and cell in classes) for cell in table[label]]
            _refuse(table, label, ~np.array(known, dtype=bool), f"is none of the classes of '{head}'", source)


def check_once(table: pd.DataFrame, columns: Collection[str], source: Path | str, rows: Bools | None = None) -> None:
    """Whether each clip has one row.

    Args:
        table: a row a clip.
        columns: what tells rows apart.
        source: the file, for messages.
        rows: `[rows]`, those that are judged together; None for all.

    Raises:
        RunError: two rows are of one clip.
    """
    places = np.arange(len(table)) if rows is None else np.flatnonzero(rows)
    repeated = places[table[list(columns)].iloc[places].duplicated().to_numpy(dtype=bool)]
    bad = np.isin(np.arange(len(table)), repeated)
    _refuse(table, "id", bad, f"names a clip of an earlier row ({len(repeated)} such rows)", source)


def _numbers(table: pd.DataFrame, name: str, source: Path | str, booleans: bool = False) -> Floats:
    """A column as numbers, NaN where it is empty."""
    column = table[name]
    is_boolean = pd.api.types.is_bool_dtype(column)
    if pd.api.types.is_numeric_dtype(column) and (booleans or not is_boolean):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    cells = list(column)
    fits = [
        _is_missing(cell) or (isinstance(cell, Real) and (booleans or not isinstance(cell, bool))) for cell in cells
    ]
    wanted = "neither true nor false" if booleans else "not a number"
    _refuse(table, name, ~np.array(fits, dtype=bool), f"is {wanted}", source)
    return np.array([np.nan if _is_missing(cell) else float(cell) for cell in cells])


def _is_name(column: pd.Series) -> Bools:
    return np.array([_is_scalar(cell) and not _is_missing(cell) for cell in column], dtype=bool)


def _is_scalar(cell: Any) -> bool:
    return isinstance(cell, str | Real)


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def _refuse(table: pd.DataFrame, column: str, bad: Bools, what: str, source: Path | str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise RunError(f"{source}: row {rows[0] + 1}, column '{_short(column)}' {what}; {_REMEDY}")


def _short(column: object) -> str:
    return str(column)[:80]
