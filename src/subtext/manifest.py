"""The manifest: one row a segment, from any corpus, in one plain table."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
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
# Absolute (POSIX, Windows, network share), climbing, or unusable by any system call.
_LEAVES_ROOT: Final = re.compile(r"^/|(?:^|/)\.\.(?:/|$)|\x00")
_LEAVES_ROOT_ON_WINDOWS: Final = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)")
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
    """

    table: pd.DataFrame
    root: Path
    name: str
    groups: tuple[str, ...] = ("speaker",)
    allow_links: bool = False
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
        _check_paths([relative], self._root, self.allow_links, self.name)
        return self._root / relative

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """The same corpus with other rows."""
        return Manifest(table, self.root, self.name, self.groups, self.allow_links)


def build_manifest(
    table: pd.DataFrame,
    *,
    root: Path,
    name: str,
    groups: Sequence[str] = ("speaker",),
    allow_links: bool = False,
    rule: IncongruenceRule | None = None,
) -> Manifest:
    """Check a table of segments and bring it into the contract's form.

    Polarities are filled in from emotions, and the incongruence labels from polarities, where they are missing.

    Args:
        table: at least the column `id` and one stream (`video`, `image`, `audio`, `features` or `transcript`).
        root: folder that paths are relative to.
        name: the corpus's name, used in messages.
        groups: columns of reused units; one that the table lacks is an error.
        allow_links: accept files that symbolic links bring in from outside `root`.
        rule: what counts as incongruent.

    Raises:
        ManifestError: naming the row, the column, the value and the remedy.
    """
    if table.empty:
        raise ManifestError(f"{name}: the manifest has no rows; add at least one segment")
    out = table.reset_index(drop=True)
    out.columns = pd.Index([str(column) for column in out.columns])
    repeated = out.columns[out.columns.duplicated()]
    if len(repeated):
        raise ManifestError(f"{name}: several columns are named {_quoted(repeated[0])}; rename or remove all but one")
    if "id" not in out:
        raise ManifestError(f"{name}: the manifest has no column 'id'; give each segment a unique id")
    for column in TEXT_COLUMNS:
        out[column] = _text(out, column, name) if column in out else pd.Series(pd.NA, index=out.index, dtype="string")
    if not any(out[column].notna().any() for column in STREAM_COLUMNS):
        raise ManifestError(f"{name}: no row has a stream; fill one of the columns {', '.join(STREAM_COLUMNS)}")
    _check_ids(out, name)
    _check_choices(out, "split", SPLITS, name)
    out["incongruence_type"] = out["incongruence_type"].str.strip().str.lower().str.replace(" ", "_", regex=False)
    _check_choices(out, "incongruence_type", INCONGRUENCE_TYPES, name)
    for column in TIME_COLUMNS:
        out[column] = _number(out, column, name)
    _check_times(out, name)
    for column in POLARITY_COLUMNS:
        out[column] = _polarity(out, column, name)
    for column in BINARY_COLUMNS:
        out[column] = _binary(out, column, name)
    out["engagement"] = _number(out, "engagement", name)
    if "fold" in out:
        out["fold"] = _fold(out, name)
    out = derive_labels(out, rule)
    out["corpus"] = out["corpus"].fillna(name)
    for column in groups:
        if column not in out:
            raise ManifestError(
                f"{name}: group column '{column}' is not in the table; name existing columns in corpus.groups"
            )
        out[column] = _text(out, column, name)
    for column in PATH_COLUMNS:
        _check_paths(out[column].dropna().unique(), root.resolve(), allow_links, name)
    for column in out.select_dtypes(object).columns:
        out[column] = _storable(out[column])
    return Manifest(out, root, name, tuple(groups), allow_links)


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
            value = shared.iloc[0]
            splits = ", ".join(split for split in SPLITS if split in set(sides.loc[sides[key] == value, "split"]))
            raise ManifestError(
                f"{manifest.name}: {key} {_quoted(value)} is in the splits {splits} ({len(shared)} such values); "
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


def _where(table: pd.DataFrame, row: int, column: str, name: str) -> str:
    return f"{name}: row {row + 1} (id {_quoted(table['id'].iloc[row])}), column '{column}'"


def _text(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    """The column as text, verbatim; only an empty cell is missing ("NA" and "null" are words)."""
    values = table[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype == object:
        for row, value in enumerate(values):
            if isinstance(value, (bytes, list, tuple, set, dict, np.ndarray)):
                raise ManifestError(
                    f"{name}: row {row + 1}, column '{column}': {_quoted(value)} is a {type(value).__name__}; "
                    "write text"
                )
    elif pd.api.types.is_float_dtype(values):
        # A whole number that a reader took for a float, because other rows are empty, must not become "7.0".
        known = values.dropna()
        if (known == known.round()).all() and (known.abs() < 2**53).all():
            values = values.astype("Int64")
    try:
        text = values.astype("string")
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"{name}: column '{column}' holds text that is not valid Unicode ({_quoted(error)}); save it as UTF-8"
        ) from error
    return text.mask(text.str.len() == 0)


def _storable(column: pd.Series) -> pd.Series:
    """An unknown column as it is if Parquet can hold it, else as text."""
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return column.map(str, na_action="ignore").astype("string")
    return column


def _check_ids(table: pd.DataFrame, name: str) -> None:
    missing = table.index[table["id"].isna()]
    if len(missing):
        raise ManifestError(
            f"{name}: row {missing[0] + 1} has no id ({len(missing)} such rows); give each segment a unique id"
        )
    repeated = table.index[table["id"].duplicated(keep=False)]
    if len(repeated):
        value = table["id"].iloc[repeated[0]]
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(table["id"] == value)[:5])
        raise ManifestError(
            f"{name}: id {_quoted(value)} stands in rows {rows} ({len(repeated)} rows share ids); make ids unique"
        )


def _check_choices(table: pd.DataFrame, column: str, choices: Sequence[str], name: str) -> None:
    bad = table.index[table[column].notna() & ~table[column].isin(choices)]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: unknown value {_quoted(table[column].iloc[bad[0]])} "
            f"({len(bad)} such rows); use one of {', '.join(choices)} or leave it empty"
        )


def _number(table: pd.DataFrame, column: str, name: str, remedy: str = "write a number or leave it empty") -> pd.Series:
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
    bad = table.index[~np.isfinite(numbers) & ~empty]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: {_quoted(table[column].iloc[bad[0]])} is not a number "
            f"({len(bad)} such rows); {remedy}"
        )
    return numbers


def _check_times(table: pd.DataFrame, name: str) -> None:
    negative = table.index[table["start"] < 0]
    if len(negative):
        raise ManifestError(
            f"{_where(table, negative[0], 'start', name)}: {table['start'].iloc[negative[0]]} is negative; "
            "times are seconds from the beginning of the file"
        )
    start = table["start"].fillna(0)
    reversed_ = table.index[table["end"] < start]
    if len(reversed_):
        row = reversed_[0]
        raise ManifestError(
            f"{_where(table, row, 'end', name)}: the segment ends at {table['end'].iloc[row]} s before it starts at "
            f"{start.iloc[row]} s ({len(reversed_)} such rows); exchange or correct the times"
        )


def _polarity(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    remedy = "use -1, 0, 1 or leave it empty"
    values = _number(table, column, name, remedy)
    bad = table.index[values.notna() & ~values.isin(POLARITIES)]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: {_quoted(table[column].iloc[bad[0]])} is not a polarity "
            f"({len(bad)} such rows); {remedy}"
        )
    emotion = _EMOTION_COLUMN[column]
    words = table[emotion].str.strip().str.lower()
    unknown = table.index[words.notna() & ~words.isin(list(EMOTION_POLARITY))]
    if len(unknown):
        raise ManifestError(
            f"{_where(table, unknown[0], emotion, name)}: unknown emotion {_quoted(table[emotion].iloc[unknown[0]])} "
            f"({len(unknown)} such rows); use one of {', '.join(EMOTION_POLARITY)}, "
            f"or leave it empty and fill {column}"
        )
    return values.astype("Int64").fillna(words.map(EMOTION_POLARITY).astype("Int64"))


def _fold(table: pd.DataFrame, name: str) -> pd.Series:
    remedy = "number folds 0, 1, 2 ... or leave it empty"
    values = _number(table, "fold", name, remedy)
    bad = table.index[values.notna() & ((values < 0) | (values != values.round()))]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], 'fold', name)}: {_quoted(table['fold'].iloc[bad[0]])} is not the number of a fold "
            f"({len(bad)} such rows); {remedy}"
        )
    return values.astype("Int64")


def _binary(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="boolean")
    spelled = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    words = table[column].astype("string").str.strip().str.lower()
    words = words.mask(words == "")
    bad = table.index[words.notna() & ~words.isin(list(spelled))]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: {_quoted(table[column].iloc[bad[0]])} is neither true nor false "
            f"({len(bad)} such rows); use 1, 0, true, false or leave it empty"
        )
    return words.map(spelled).astype("boolean")


def _check_paths(paths: Iterable[str], root: Path, allow_links: bool, name: str) -> None:
    """Refuse paths that lead out of `root` (which is resolved), as written or through a link."""
    inside = os.path.join(root, "")
    # Folders are resolved once each; a file then leads elsewhere only if it is a link itself.
    folders: dict[str, bool] = {}
    for path in paths:
        # Elsewhere than on Windows a backslash may be a part of a name; only where there is such a file it is meant so.
        if _LEAVES_ROOT.search(path) or (
            _LEAVES_ROOT_ON_WINDOWS.search(path) and (os.sep == "\\" or not os.path.lexists(os.path.join(root, path)))
        ):
            raise ManifestError(
                f"{name}: path {_quoted(path)} leaves the manifest's root {root}; "
                "write it relative to the root, without '..', or set corpus.root"
            )
        if allow_links:
            continue
        folder, full = os.path.dirname(path), os.path.join(root, path)
        if folder not in folders:
            folders[folder] = os.path.join(os.path.realpath(os.path.join(root, folder)), "").startswith(inside)
        if not folders[folder] or (os.path.islink(full) and not os.path.realpath(full).startswith(inside)):
            raise ManifestError(
                f"{name}: path {_quoted(path)} leads out of the manifest's root {root} through a link; "
                "set corpus.allow_links=true if that is meant"
            )
