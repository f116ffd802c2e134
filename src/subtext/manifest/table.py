"""The manifest: one row a segment, from any corpus, in one plain table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from subtext.core.tables import read_parquet, write_csv
from subtext.core.writing import write_json, write_parquet
from subtext.errors import ManifestError, TrustError
from subtext.labels import INCONGRUENCE_TYPES, POLARITY_COLUMN, IncongruenceRule, derive_labels
from subtext.manifest.checks import REJECT_COLUMNS, Checks, OnError, row_number
from subtext.manifest.columns import (
    binary_column,
    check_choices,
    check_times,
    fold_column,
    number_column,
    polarity_column,
    storable,
    text_column,
)
from subtext.manifest.paths import bad_paths
from subtext.sessions.transcripts import seconds

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
_OURS: Final = frozenset({*TEXT_COLUMNS, *TIME_COLUMNS, *LABEL_COLUMNS, "fold"})


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
        for problem in bad_paths([relative], self._root, self.allow_links).values():
            raise ManifestError(f"{self.name}: {problem.reason}; {problem.remedy}")
        return self._root / relative

    def place(self, row: int, column: str) -> str:
        """What a message calls a cell, and the file that it names.

        Never by its content or its row's id: those may be names. Of a recording that was named itself, as
        `subtext-predict` takes them, `name` is the file.

        Args:
            row: from 0 on.
            column: one of ours.

        Example:
            >>> manifest.place(11, "video")
            "pilot: row 12, column 'video'"
        """
        if self.table[column].iloc[row] == Path(self.name).name:
            return self.name
        return f"{self.name}: row {row_number(self.table.index, row)}, column '{column}'"

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """The same corpus with other rows."""
        return replace(self, table=table)


def build_manifest(
    table: pd.DataFrame,
    *,
    root: str | Path,
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
        ManifestError: naming the row, the column and the remedy; with `on_error="skip"` only where the
            table as a whole cannot be used, or none of its rows.
    """
    if on_error not in ("stop", "skip"):
        raise ManifestError(f"{name}: on_error is '{on_error}'; use stop or skip")
    if table.empty:
        raise ManifestError(f"{name}: the manifest has no rows; add at least one segment")
    root = Path(root)
    out = table.reset_index(drop=True)
    out.columns = pd.Index([str(column) for column in out.columns])
    repeated = np.flatnonzero(out.columns.duplicated(keep=False))
    if len(repeated):
        same = np.flatnonzero(out.columns == out.columns[repeated[0]]) + 1
        raise ManifestError(
            f"{name}: header cells {', '.join(map(str, same))} hold the same name; rename or remove all but one"
        )
    if "id" not in out:
        raise ManifestError(
            f"{name}: the manifest has no column 'id'; give each segment a unique id, or name the "
            "column that has it: corpus.columns.id=NAME"
        )
    for column in groups:
        if column not in out and column not in TEXT_COLUMNS:
            raise ManifestError(
                f"{name}: group column '{column}' is not in the table; name existing columns in corpus.groups"
            )
    checks = Checks(out, name, on_error, row_numbers, rejects)
    for column in dict.fromkeys((*TEXT_COLUMNS, *groups)):
        out[column] = (
            text_column(out, column, checks) if column in out else pd.Series(pd.NA, index=out.index, dtype="string")
        )
    if not any(out[column].notna().any() for column in STREAM_COLUMNS):
        raise ManifestError(f"{name}: no row has a stream; fill one of the columns {', '.join(STREAM_COLUMNS)}")
    checks.ids(out["id"])
    check_choices(out, "split", SPLITS, checks)
    out["incongruence_type"] = out["incongruence_type"].str.strip().str.lower().str.replace(" ", "_", regex=False)
    check_choices(out, "incongruence_type", INCONGRUENCE_TYPES, checks)
    for column in TIME_COLUMNS:
        out[column] = number_column(out, column, checks, "write seconds or hh:mm:ss.fff, or leave it empty", seconds)
    check_times(out, checks)
    for column in POLARITY_COLUMNS:
        out[column] = polarity_column(out, column, checks)
    for column in BINARY_COLUMNS:
        out[column] = binary_column(out, column, checks)
    out["engagement"] = number_column(out, "engagement", checks)
    if "fold" in out:
        out["fold"] = fold_column(out, checks)
    for column in PATH_COLUMNS:
        bad = bad_paths(out[column].dropna().unique(), root.resolve(), allow_links, check_media)
        if bad:
            checks.refuse_values(out[column], bad)
    out = checks.kept(out)
    out = derive_labels(out, rule)
    out["corpus"] = out["corpus"].fillna(name)
    for column in out.select_dtypes(object).columns:
        out[column] = storable(out[column])
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
        ManifestError: naming the column, and a row in each of the splits.
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
            splits = table.loc[table[key] == shared.iloc[0], "split"].dropna().drop_duplicates()
            splits = splits.sort_values(key=lambda split: split.map(SPLITS.index))
            # By a row in each split, not by its value: that may be somebody's name, or what somebody said.
            rows = ", ".join(
                str(row_number(table.index, int(place))) for place in table.index.get_indexer(splits.index)
            )
            raise ManifestError(
                f"{manifest.name}: one {key} is in the splits {', '.join(splits)}, in rows {rows} ({len(shared)} such "
                "values); "
                f"move its rows into one split, or drop '{key}' from corpus.disjoint to accept the leak"
            )


def columns_told(table: pd.DataFrame) -> str:
    """The columns of a table for a message: ours by name, of others the number.

    What is not ours may be the words of a table that has no header.
    """
    ours = [column for column in table if column in _OURS]
    others = len(table.columns) - len(ours)
    more = f"{others} of {'another name' if others == 1 else 'other names'}" if others else ""
    return " and ".join(part for part in (", ".join(ours), more) if part) or "no columns"


def described_root(path: Path, named: str, table: pd.DataFrame) -> Path:
    """The root that the description beside a table names, if it is the table's folder or in it.

    Args:
        path: the table's file.
        named: what the description says; a table that names no files needs none, and has its own folder.
        table: the rows.

    Raises:
        TrustError: the files would be looked for elsewhere, which is for the user to say, not for a file.
    """
    if not any(column in table and table[column].notna().any() for column in PATH_COLUMNS):
        return path.parent
    root = (path.parent / named).resolve()
    if not root.is_relative_to(path.parent.resolve()):
        raise TrustError(
            f"{path.with_suffix('.json')}, key 'root': the files of {path.name} would be looked for outside of the "
            "table's own folder; if that is meant, name the folder yourself: corpus.root=FOLDER (--root for "
            "subtext-predict)"
        )
    return root


def read_written_manifest(path: Path, root: Path | None = None) -> Manifest:
    """Read what `write_manifest` wrote, a Parquet file with its description beside it; it was checked then.

    Tables that people bring are read, and checked, by `subtext.corpora.files.read_manifest`; it takes these too.

    Args:
        path: the Parquet file.
        root: where its files are; None for what the description says, which must lie in the table's own folder.

    Raises:
        ManifestError: one of the two files is missing or damaged.
        TrustError: see `described_root`.
    """
    beside = path.with_suffix(".json")
    try:
        description = json.loads(beside.read_text(encoding="utf-8"))
        table = read_parquet(path)
        return Manifest(
            table,
            described_root(path, description["root"], table) if root is None else root.resolve(),
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
            f"{path} and {beside.name} are no manifest that can be read ({type(error).__name__}); build the corpus "
            "again"
        ) from error


def write_manifest(manifest: Manifest, path: Path, about: Mapping[str, Any] | None = None) -> Path:
    """Write the table as Parquet and root, name and groups as JSON beside it.

    Each file appears in one step, so that another process never reads half of it.

    Args:
        manifest: the corpus.
        path: the Parquet file.
        about: what is to be known of the corpus, see `Description.as_json`; it goes into the JSON.
    """
    root = manifest.root.resolve()
    parent = path.parent.resolve()
    description = {
        "name": manifest.name,
        "root": str(root.relative_to(parent)) if root.is_relative_to(parent) else str(root),
        "groups": list(manifest.groups),
        "allow_links": manifest.allow_links,
        **({} if about is None else {"about": about}),
    }
    write_parquet(path, manifest.table)
    write_json(path.with_suffix(".json"), description)
    return path
