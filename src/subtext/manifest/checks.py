"""Cells of a manifest that cannot be used: the first ends the work, or their rows are left out and listed."""

import difflib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.errors import ManifestError

REJECT_COLUMNS: Final = ("row", "id", "column", "value", "reason", "remedy")
OnError = Literal["stop", "skip"]
# What people said and who they are is in no message, no log and no list of rejects.
_UNQUOTED: Final = ("transcript", "context", "speaker", "session")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value, and what to do about it."""

    reason: str
    remedy: str


class Checks:
    """Cells that cannot be used: the first ends the work, or all are kept and their rows left out."""

    def __init__(
        self,
        table: pd.DataFrame,
        name: str,
        on_error: OnError,
        row_numbers: Sequence[int] | npt.NDArray[np.integer[Any]] | None,
        rejects: pd.DataFrame | None,
    ) -> None:
        self.name = name
        self._skip = on_error == "skip"
        self._written = table.copy(deep=False)
        self._numbers = np.arange(1, len(table) + 1) if row_numbers is None else np.asarray(row_numbers)
        self._bad = np.zeros(len(table), dtype=bool)
        self._before = 0 if rejects is None else len(rejects)
        self._found = [] if rejects is None or rejects.empty else [rejects]

    def refuse(
        self,
        bad: "pd.Series | npt.NDArray[np.bool_]",
        column: str,
        reason: str | Callable[[Any], str],
        remedy: str | Callable[[Any], str],
    ) -> None:
        """Refuse the cells of a column where `bad` is true.

        Args:
            bad: `[rows]`, null counts as false.
            column: where they are.
            reason: what is wrong, or gives it for a cell as it was written; without what stands in it.
            remedy: what to do about it, or gives it for such a cell.
        """
        rows = np.flatnonzero(pd.Series(bad).astype("boolean").fillna(False).to_numpy(dtype=bool))
        if not len(rows):
            return
        cells = self._written[column].iloc[rows]
        if not self._skip:
            reason = reason if isinstance(reason, str) else reason(cells.iloc[0])
            remedy = remedy if isinstance(remedy, str) else remedy(cells.iloc[0])
            raise ManifestError(f"{self._where(rows[0], column)}: {reason} ({len(rows)} such rows); {remedy}")
        hidden = column in _UNQUOTED
        self._add(
            rows,
            column,
            [pd.NA if hidden or _is_missing(cell) else _short(cell) for cell in cells],
            [reason if isinstance(reason, str) else reason(cell) for cell in cells],
            [remedy if isinstance(remedy, str) else remedy(cell) for cell in cells],
        )

    def refuse_values(self, column: pd.Series, bad: dict[str, Problem]) -> None:
        """Refuse the cells that hold one of these values."""
        self.refuse(
            column.isin(list(bad)),
            str(column.name),
            lambda cell: bad[str(cell)].reason,
            lambda cell: bad[str(cell)].remedy,
        )

    def ids(self, ids: pd.Series) -> None:
        """Refuse rows without an id, and those whose id another row has."""
        remedy = "give each segment a unique id"
        missing = np.flatnonzero(ids.isna())
        if len(missing) and not self._skip:
            raise ManifestError(
                f"{self.name}: row {self._numbers[missing[0]]} has no id ({len(missing)} such rows); {remedy}"
            )
        shared = np.flatnonzero(ids.notna() & ids.duplicated(keep=False))
        if len(shared) and not self._skip:
            value = ids.iloc[shared[0]]
            rows = ", ".join(str(self._numbers[row]) for row in np.flatnonzero(ids == value)[:5])
            raise ManifestError(
                f"{self.name}: one id stands in rows {rows} ({len(shared)} rows share ids); make ids unique"
            )
        self._add(missing, "id", pd.NA, "the row has no id", remedy)
        first = dict(zip(ids.iloc[shared[::-1]], self._numbers[shared[::-1]], strict=True))
        later = np.flatnonzero(ids.notna() & ids.duplicated())
        self._add(
            later,
            "id",
            [_short(value) for value in ids.iloc[later]],
            [f"row {first[value]} has this id already" for value in ids.iloc[later]],
            "make ids unique",
        )

    def kept(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that can be used."""
        found = self.table()
        if found.empty:
            return table
        left_out = int(self._bad.sum()) + len(found["row"].iloc[: self._before].unique())
        first = found.iloc[0]
        example = f"row {first['row']}" + ("" if _is_missing(first["column"]) else f", column '{first['column']}'")
        example += f": {first['reason']}; {first['remedy']}"
        if self._bad.all():
            raise ManifestError(f"{self.name}: none of the {left_out} rows can be used; the first: {example}")
        _log.warning(
            "%s: %d of %d rows are left out, the first: %s",
            self.name,
            left_out,
            len(table) + left_out - int(self._bad.sum()),
            example,
        )
        return table[~self._bad].reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """One row a refused cell, by row."""
        if not self._found:
            return pd.DataFrame(columns=list(REJECT_COLUMNS))
        before, found = self._found[: bool(self._before)], self._found[bool(self._before) :]
        if found:
            before = [*before, pd.concat(found).sort_values("row", kind="stable")]
        return pd.concat(before, ignore_index=True)

    def _add(
        self, rows: npt.NDArray[np.intp], column: str, value: object, reason: str | list[str], remedy: str | list[str]
    ) -> None:
        if not len(rows):
            return
        self._bad[rows] = True
        ids = [pd.NA if _is_missing(cell) else _short(cell) for cell in self._written["id"].iloc[rows]]
        values = (self._numbers[rows], ids, column, value, reason, remedy)
        self._found.append(pd.DataFrame(dict(zip(REJECT_COLUMNS, values, strict=True))))

    def _where(self, row: int, column: str) -> str:
        return f"{self.name}: row {self._numbers[row]}, column '{column}'"


def _is_missing(cell: object) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))  # type: ignore[call-overload]


def _short(cell: object) -> str:
    """A cell for the list of rejects."""
    text = str(cell)
    return text if len(text) <= 200 else f"{text[:180]} ... {text[-15:]}"


def row_number(rows: "pd.Index[Any]", position: int) -> int:
    """The number of a row in its source, from 1 on: parts of a table keep its labels.

    Args:
        rows: the index of the table, or of the part.
        position: in it, from 0 on.
    """
    label = rows[position]
    return 1 + (int(label) if isinstance(label, (int, np.integer)) else position)


def near_cell(wanted: str, columns: Iterable[object]) -> str:
    """The header cell whose name is nearest to one that was looked for, as a question; empty where none is near.

    By its number, from 1 on: a table without a header has words of a conversation there.
    """
    names = [str(column) for column in columns]
    near = difflib.get_close_matches(wanted, names, n=1)
    return f"did you mean that of header cell {names.index(near[0]) + 1}? " if near else ""


def hint(value: object, choices: Iterable[str]) -> str:
    """The nearest of the choices as a question, empty where none is near."""
    near = difflib.get_close_matches(str(value).strip().lower(), list(choices), n=1)
    return f"did you mean '{near[0]}'? " if near else ""
