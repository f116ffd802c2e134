"""The manifest: one row a segment, from any corpus, in one plain table."""

import difflib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from subtext.errors import ManifestError
from subtext.labels import (
    EMOTION_POLARITY,
    INCONGRUENCE_TYPES,
    POLARITIES,
    POLARITY_COLUMN,
    IncongruenceRule,
    derive_labels,
)
from subtext.privacy import write_csv
from subtext.transcripts import is_unicode, seconds

TEXT_COLUMNS: Final = (
    "id",
    "session",
    "speaker",
    "role",
    "video",
    "image",
    "audio",
    "features",
    "transcript",
    "context",
    "verbal_emotion",
    "visual_emotion",
    "vocal_emotion",
    "incongruence_type",
    "split",
    "corpus",
)
PATH_COLUMNS: Final = ("video", "image", "audio", "features")
TIME_COLUMNS: Final = ("start", "end")
POLARITY_COLUMNS: Final = tuple(POLARITY_COLUMN.values())
BINARY_COLUMNS: Final = ("incongruent", "vocal_incongruent", "contradiction")
LABEL_COLUMNS: Final = (*BINARY_COLUMNS, "incongruence_type", *POLARITY_COLUMNS, "engagement")
STREAM_COLUMNS: Final = (*PATH_COLUMNS, "transcript")
SPLITS: Final = ("train", "val", "test")
REJECT_COLUMNS: Final = ("row", "id", "column", "value", "reason", "remedy")
OnError = Literal["stop", "skip"]
# What people said and who they are is in no message, no log and no list of rejects.
_UNQUOTED: Final = ("transcript", "context", "speaker", "session")
_log = logging.getLogger(__name__)
# Absolute (POSIX, Windows, network share), climbing, or unusable by any system call.
_LEAVES_ROOT: Final = re.compile(r"^/|(?:^|/)\.\.(?:/|$)|\x00")
_LEAVES_ROOT_ON_WINDOWS: Final = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)")
_SUSPICIOUS: Final = re.compile(r"^/|\.\.|[\\\x00:]")  # what every path has that one of the others finds
_ON_A_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_LIST_FROM: Final = 8
"""From so many wanted files on, a folder is listed once instead of asking for each of them."""
_EMOTION_COLUMN: Final = {
    "verbal_polarity": "verbal_emotion",
    "visual_polarity": "visual_emotion",
    "vocal_polarity": "vocal_emotion",
}


@dataclass(frozen=True)
class Manifest:
    """A validated table of segments and where its files are.

    Attributes:
        table: one row a segment; every column of the contract is there, unknown ones are carried through. `fold`
            (Int64, null = in no fold) is there where the source has one.
        root: folder that the path columns are relative to.
        name: the corpus's name.
        groups: columns whose values are reused between rows (speaker, identity, dialogue ...): the units that
            intervals and tests resample.
        allow_links: whether a path may lead out of `root` through a symbolic link.
        rejects: the cells for which rows were left out (`on_error="skip"`), one row each, see `REJECT_COLUMNS`:
            number of the row in the source from 1 on, its id, column, value (null where it is a name or what somebody
            said), reason and remedy.
    """

    table: pd.DataFrame
    root: Path
    name: str
    groups: tuple[str, ...] = ("speaker",)
    allow_links: bool = False
    rejects: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(REJECT_COLUMNS)), repr=False, compare=False
    )
    _root: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_root", self.root.resolve())

    def __len__(self) -> int:
        return len(self.table)

    def path(self, relative: str) -> Path:
        """The file that a path cell names.

        Raises:
            ManifestError: the path leads out of `root`.
        """
        for problem in _bad_paths([relative], self._root, self.allow_links).values():
            raise ManifestError(f"{self.name}: {problem.reason}; {problem.remedy}")
        return self._root / relative

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """The same corpus with other rows."""
        return replace(self, table=table)


def build_manifest(
    table: pd.DataFrame,
    *,
    root: Path,
    name: str,
    groups: Sequence[str] = ("speaker",),
    allow_links: bool = False,
    rule: IncongruenceRule | None = None,
    on_error: OnError = "stop",
    check_media: bool = False,
    row_numbers: Sequence[int] | npt.NDArray[np.integer[Any]] | None = None,
    rejects: pd.DataFrame | None = None,
) -> Manifest:
    """Check a table of segments and bring it into the contract's form.

    Polarities are filled in from emotions, and the incongruence labels from polarities, where they are missing. Times
    may be seconds or clock times (`0:06`, `00:16:16,059`).

    Args:
        table: at least the column `id` and one stream (`video`, `image`, `audio`, `features` or `transcript`).
        root: folder that paths are relative to.
        name: the corpus's name, used in messages.
        groups: columns of reused units; one that the table lacks is an error.
        allow_links: accept files that symbolic links bring in from outside `root`.
        rule: what counts as incongruent.
        on_error: "stop" at the first cell that cannot be used, or "skip" its row: `Manifest.rejects` then lists all
            such cells and a warning says how many. Of rows with the same id the first is kept.
        check_media: whether a file that is named but not there is such a cell. Folders are listed, no file is opened.
        row_numbers: the rows' numbers in the source, where a reader left some out; 1, 2, 3 ... by default.
        rejects: what that reader left out, to stand before what is found here.

    Raises:
        ManifestError: naming the row, the column, the value and the remedy; with `on_error="skip"` only where the
            table as a whole cannot be used, or none of its rows.
    """
    if on_error not in ("stop", "skip"):
        raise ManifestError(f"{name}: on_error is {_quoted(on_error)}; use stop or skip")
    if table.empty:
        raise ManifestError(f"{name}: the manifest has no rows; add at least one segment")
    out = table.reset_index(drop=True)
    out.columns = pd.Index([str(column) for column in out.columns])
    repeated = out.columns[out.columns.duplicated()]
    if len(repeated):
        raise ManifestError(f"{name}: several columns are named {_quoted(repeated[0])}; rename or remove all but one")
    if "id" not in out:
        raise ManifestError(f"{name}: the manifest has no column 'id'; give each segment a unique id")
    for column in groups:
        if column not in out and column not in TEXT_COLUMNS:
            raise ManifestError(
                f"{name}: group column '{column}' is not in the table; name existing columns in corpus.groups"
            )
    checks = _Checks(out, name, on_error, row_numbers, rejects)
    for column in dict.fromkeys((*TEXT_COLUMNS, *groups)):
        out[column] = _text(out, column, checks) if column in out else pd.Series(pd.NA, index=out.index, dtype="string")
    if not any(out[column].notna().any() for column in STREAM_COLUMNS):
        raise ManifestError(f"{name}: no row has a stream; fill one of the columns {', '.join(STREAM_COLUMNS)}")
    checks.ids(out["id"])
    _check_choices(out, "split", SPLITS, checks)
    out["incongruence_type"] = out["incongruence_type"].str.strip().str.lower().str.replace(" ", "_", regex=False)
    _check_choices(out, "incongruence_type", INCONGRUENCE_TYPES, checks)
    for column in TIME_COLUMNS:
        out[column] = _number(out, column, checks, "write seconds or hh:mm:ss.fff, or leave it empty", seconds)
    _check_times(out, checks)
    for column in POLARITY_COLUMNS:
        out[column] = _polarity(out, column, checks)
    for column in BINARY_COLUMNS:
        out[column] = _binary(out, column, checks)
    out["engagement"] = _number(out, "engagement", checks)
    if "fold" in out:
        out["fold"] = _fold(out, checks)
    for column in PATH_COLUMNS:
        bad = _bad_paths(out[column].dropna().unique(), root.resolve(), allow_links, check_media)
        if bad:
            checks.refuse_values(out[column], bad)
    out = checks.kept(out)
    out = derive_labels(out, rule)
    out["corpus"] = out["corpus"].fillna(name)
    for column in out.select_dtypes(object).columns:
        out[column] = _storable(out[column])
    return Manifest(out, root, name, tuple(groups), allow_links, checks.table())


def write_rejects(manifest: Manifest, path: Path) -> Path | None:
    """Write what was left out as CSV; without any, nothing is written and what an earlier call left is removed."""
    if manifest.rejects.empty:
        path.unlink(missing_ok=True)
        return None
    return write_csv(manifest.rejects, path)


def check_splits(manifest: Manifest, keys: Iterable[str] = ("speaker",)) -> None:
    """Refuse a split in which a unit stands on both sides.

    Args:
        manifest: the corpus; rows without a split are ignored.
        keys: columns whose values must not be shared between splits.

    Raises:
        ManifestError: naming the column, the value and the splits.
    """
    table = manifest.table
    for key in keys:
        if key not in table:
            raise ManifestError(
                f"{manifest.name}: column '{key}' is not in the table, so its splits cannot be checked; "
                "name existing columns in corpus.disjoint"
            )
        sides = table[[key, "split"]].dropna().drop_duplicates()
        shared = sides.loc[sides[key].duplicated(), key].drop_duplicates()
        if len(shared):
            rows = table.loc[table[key] == shared.iloc[0], ["id", "split"]].dropna().drop_duplicates("split")
            rows = rows.sort_values("split", key=lambda split: split.map(SPLITS.index))
            # By a segment in each split, not by its value: that may be somebody's name, or what somebody said.
            raise ManifestError(
                f"{manifest.name}: one {key} is in the splits {', '.join(rows['split'])}, with the segments "
                f"{', '.join(map(_quoted, rows['id']))} ({len(shared)} such values); "
                f"move its rows into one split, or drop '{key}' from corpus.disjoint to accept the leak"
            )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that `write_manifest` wrote: a Parquet file with its description beside it.

    Raises:
        ManifestError: one of the two files is missing or damaged.
    """
    beside = path.with_suffix(".json")
    try:
        description = json.loads(beside.read_text(encoding="utf-8"))
        return Manifest(
            pd.read_parquet(path),
            (path.parent / description["root"]).resolve(),
            description["name"],
            tuple(description["groups"]),
            bool(description["allow_links"]),
        )
    except FileNotFoundError as error:
        raise ManifestError(
            f"no manifest {path} with {beside.name} beside it ({error.filename or path} is missing)"
            "; build the corpus again"
        ) from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError, pa.ArrowException) as error:
        raise ManifestError(
            f"{path} and {beside.name} are no manifest that can be read ({_quoted(error)}); build the corpus again"
        ) from error


def write_manifest(manifest: Manifest, path: Path) -> Path:
    """Write the table as Parquet and root, name and groups as JSON beside it.

    Each file appears in one step, so that another process never reads half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    root = manifest.root.resolve()
    parent = path.parent.resolve()
    description = {
        "name": manifest.name,
        "root": str(root.relative_to(parent)) if root.is_relative_to(parent) else str(root),
        "groups": list(manifest.groups),
        "allow_links": manifest.allow_links,
    }
    _replace(path, lambda made: manifest.table.to_parquet(made, index=False))
    text = json.dumps(description, indent=2) + "\n"
    _replace(path.with_suffix(".json"), lambda made: made.write_text(text, encoding="utf-8"))
    return path


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        write(made)
        os.replace(made, path)


def _quoted(value: object) -> str:
    """A value for a message: in quotes, on one line, not too long."""
    text = repr(str(value))
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


@dataclass(frozen=True)
class _Problem:
    reason: str
    remedy: str


class _Checks:
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
            reason: what is wrong, or gives it for a cell as it was written.
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

    def refuse_values(self, column: pd.Series, bad: dict[str, _Problem]) -> None:
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
                f"{self.name}: id {_quoted(value)} stands in rows {rows} ({len(shared)} rows share ids); "
                "make ids unique"
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
        example = f"row {first['row']}" + ("" if _is_missing(first["id"]) else f" (id {_quoted(first['id'])})")
        example += "" if _is_missing(first["column"]) else f", column '{first['column']}'"
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
        return f"{self.name}: row {self._numbers[row]} (id {_quoted(self._written['id'].iloc[row])}), column '{column}'"


def _is_missing(cell: object) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))  # type: ignore[call-overload]


def _short(cell: object) -> str:
    """A cell for the list of rejects."""
    text = str(cell)
    return text if len(text) <= 200 else f"{text[:180]} ... {text[-15:]}"


def _hint(value: object, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(value).strip().lower(), list(choices), n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def _text(table: pd.DataFrame, column: str, checks: _Checks) -> pd.Series:
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


def _storable(column: pd.Series) -> pd.Series:
    """An unknown column as it is if Parquet can hold it, else as text."""
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return column.map(str, na_action="ignore").astype("string")
    return column


def _check_choices(table: pd.DataFrame, column: str, choices: Sequence[str], checks: _Checks) -> None:
    remedy = f"use one of {', '.join(choices)} or leave it empty"
    checks.refuse(
        table[column].notna() & ~table[column].isin(choices),
        column,
        lambda cell: f"unknown value {_quoted(cell)}",
        lambda cell: _hint(cell, choices) + remedy,
    )


def _number(
    table: pd.DataFrame,
    column: str,
    checks: _Checks,
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
    checks.refuse(bad, column, lambda cell: f"{_quoted(cell)} is not {kind}", remedy)
    return numbers.mask(bad)


def _or_nan(read: Callable[[str], float | None], word: str) -> float:
    try:
        value = read(word)
    except ValueError:
        return float("nan")
    return float("nan") if value is None else value


def _check_times(table: pd.DataFrame, checks: _Checks) -> None:
    checks.refuse(
        table["start"] < 0,
        "start",
        lambda cell: f"{_quoted(cell)} is negative",
        "times are seconds from the beginning of the file",
    )
    start, end = table["start"].fillna(0), table["end"]
    rows = (end < start).to_numpy()
    found = iter(zip(end[rows], start[rows], strict=True))

    def reason(_: object) -> str:
        ends, starts = next(found)
        return f"the segment ends at {ends} s before it starts at {starts} s"

    checks.refuse(rows, "end", reason, "exchange or correct the times")


def _polarity(table: pd.DataFrame, column: str, checks: _Checks) -> pd.Series:
    remedy = "use -1, 0, 1 or leave it empty"
    values = _number(table, column, checks, remedy)
    bad = values.notna() & ~values.isin(POLARITIES)
    checks.refuse(bad, column, lambda cell: f"{_quoted(cell)} is not a polarity", remedy)
    emotion = _EMOTION_COLUMN[column]
    words = table[emotion].str.strip().str.lower()
    choices = f"use one of {', '.join(EMOTION_POLARITY)}, or leave it empty and fill {column}"
    checks.refuse(
        words.notna() & ~words.isin(list(EMOTION_POLARITY)),
        emotion,
        lambda cell: f"unknown emotion {_quoted(cell)}",
        lambda cell: _hint(cell, EMOTION_POLARITY) + choices,
    )
    return values.mask(bad).astype("Int64").fillna(words.map(EMOTION_POLARITY).astype("Int64"))


def _fold(table: pd.DataFrame, checks: _Checks) -> pd.Series:
    remedy = "number folds 0, 1, 2 ... or leave it empty"
    values = _number(table, "fold", checks, remedy)
    bad = values.notna() & ((values < 0) | (values != values.round()))
    checks.refuse(bad, "fold", lambda cell: f"{_quoted(cell)} is not the number of a fold", remedy)
    return values.mask(bad).astype("Int64")


def _binary(table: pd.DataFrame, column: str, checks: _Checks) -> pd.Series:
    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="boolean")
    spelled = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    words = table[column].astype("string").str.strip().str.lower()
    words = words.mask(words == "")
    checks.refuse(
        words.notna() & ~words.isin(list(spelled)),
        column,
        lambda cell: f"{_quoted(cell)} is neither true nor false",
        "use 1, 0, true, false or leave it empty",
    )
    return words.map(spelled).astype("boolean")


def _bad_paths(paths: Iterable[str], root: Path, allow_links: bool, check_media: bool = False) -> dict[str, _Problem]:
    """Paths that lead out of `root` (which is resolved), as written or through a link, or to no file."""
    bad: dict[str, _Problem] = {}
    by_folder: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        if _leaves(path, root):
            bad[path] = _Problem(
                f"path {_quoted(path)} leaves the manifest's root {root}",
                "write it relative to the root, without '..', or set corpus.root",
            )
        elif check_media or not allow_links:
            folder, file = os.path.split(path)
            by_folder.setdefault(folder, []).append((file, path))
    inside = os.path.join(root, "")
    for folder, files in by_folder.items():
        place = os.path.join(root, folder)
        leads_out = not allow_links and not os.path.join(os.path.realpath(place), "").startswith(inside)
        listed = {} if leads_out else _listed(place, files)
        for file, path in files:
            entry = listed.get(file) if listed else None
            if leads_out or (
                not allow_links and listed is not None and _leads_out(os.path.join(place, file), entry, inside)
            ):
                bad[path] = _Problem(
                    f"path {_quoted(path)} leads out of the manifest's root {root} through a link",
                    "set corpus.allow_links=true if that is meant",
                )
            elif check_media and not (entry.is_file() if entry else os.path.isfile(os.path.join(place, file))):
                bad[path] = _Problem(
                    f"there is no file {_quoted(path)} under {root}",
                    "put it there, correct the path or corpus.root, or set corpus.check_media=false",
                )
    return bad


def _leaves(path: str, root: Path) -> bool:
    if not _SUSPICIOUS.search(path):
        return False
    if _LEAVES_ROOT.search(path):
        return True
    if os.sep == "\\":
        return bool(_LEAVES_ROOT_ON_WINDOWS.search(path) or _ON_A_DRIVE.search(path))
    # Here a backslash may be a part of a name; only where there is such a file it is meant so.
    return bool(_LEAVES_ROOT_ON_WINDOWS.search(path)) and not os.path.lexists(os.path.join(root, path))


def _listed(folder: str, files: Sequence[tuple[str, str]]) -> dict[str, os.DirEntry[str]] | None:
    """The wanted files that are in a folder, by one listing; none where asking for each costs less; null: no folder.

    A file system may know a name that is not listed, such as one in other case.
    """
    if len(files) < _LIST_FROM:
        return {}
    wanted = {file for file, _ in files}
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries if entry.name in wanted}
    except FileNotFoundError:
        return None
    except OSError:
        return {}


def _leads_out(file: str, entry: os.DirEntry[str] | None, inside: str) -> bool:
    is_link = entry.is_symlink() if entry else os.path.islink(file)
    return is_link and not os.path.realpath(file).startswith(inside)
