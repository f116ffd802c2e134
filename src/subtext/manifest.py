"""The manifest: one row a segment, from any corpus, in one plain table."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import ManifestError
from subtext.labels import EMOTION_POLARITY, INCONGRUENCE_TYPES, POLARITIES, POLARITY_COLUMN, IncongruenceRule, derive_labels

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
_EMOTION_COLUMN: Final = {
    "verbal_polarity": "verbal_emotion",
    "visual_polarity": "visual_emotion",
    "vocal_polarity": "vocal_emotion",
}


@dataclass(frozen=True)
class Manifest:
    """A validated table of segments and where its files are.

    Attributes:
        table: one row a segment; every column of the contract is there, unknown ones are carried through.
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
        return _inside(self._root, relative, self.allow_links, self.name)

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
    if "id" not in table:
        raise ManifestError(f"{name}: the manifest has no column 'id'; give each segment a unique id")
    if not any(column in table and table[column].notna().any() for column in STREAM_COLUMNS):
        raise ManifestError(f"{name}: no row has a stream; fill one of the columns {', '.join(STREAM_COLUMNS)}")
    out = table.reset_index(drop=True).copy()
    for column in TEXT_COLUMNS:
        out[column] = _text(out[column]) if column in out else pd.Series(pd.NA, index=out.index, dtype="string")
    _check_ids(out, name)
    _check_choices(out, "split", SPLITS, name)
    _check_choices(out, "incongruence_type", INCONGRUENCE_TYPES, name)
    for column in TIME_COLUMNS:
        out[column] = _number(out, column, name)
    _check_times(out, name)
    for column in POLARITY_COLUMNS:
        _fill_polarity(out, column, name)
    for column in BINARY_COLUMNS:
        out[column] = _binary(out, column, name)
    out["engagement"] = _number(out, "engagement", name)
    out = derive_labels(out, rule)
    out["corpus"] = out["corpus"].fillna(name)
    for column in groups:
        if column not in out:
            raise ManifestError(f"{name}: group column '{column}' is not in the table; name existing columns in corpus.groups")
    for column in PATH_COLUMNS:
        for value in out[column].dropna().unique():
            _inside(root.resolve(), value, allow_links, name)
    return Manifest(out, root, name, tuple(groups), allow_links)


def check_splits(manifest: Manifest, keys: Iterable[str] = ("speaker",)) -> None:
    """Refuse a split in which a unit stands on both sides.

    Args:
        manifest: the corpus; rows without a split are ignored.
        keys: columns whose values must not be shared between splits.

    Raises:
        ManifestError: naming the column, the value and the splits.
    """
    for key in keys:
        table = manifest.table.dropna(subset=["split"])
        if key not in table:
            continue
        splits = table.dropna(subset=[key]).groupby(key)["split"].unique()
        shared = splits[splits.map(len) > 1]
        if len(shared):
            value, sides = shared.index[0], ", ".join(sorted(shared.iloc[0]))
            raise ManifestError(
                f"{manifest.name}: {key} '{value}' is in the splits {sides} ({len(shared)} such values); "
                f"move its rows into one split, or drop '{key}' from corpus.disjoint to accept the leak"
            )


def read_manifest(path: Path, **options: object) -> Manifest:
    """Read a manifest that `write_manifest` wrote: a Parquet file with its description beside it."""
    description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Manifest(
        pd.read_parquet(path),
        (path.parent / description["root"]).resolve(),
        description["name"],
        tuple(description["groups"]),
        bool(description["allow_links"]),
    )


def write_manifest(manifest: Manifest, path: Path) -> Path:
    """Write the table as Parquet and root, name and groups as JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest.table.to_parquet(path, index=False)
    root = manifest.root.resolve()
    parent = path.parent.resolve()
    description = {
        "name": manifest.name,
        "root": str(root.relative_to(parent)) if root.is_relative_to(parent) else str(root),
        "groups": list(manifest.groups),
        "allow_links": manifest.allow_links,
    }
    path.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return path


def _where(table: pd.DataFrame, row: int, column: str, name: str) -> str:
    return f"{name}: row {row + 1} (id '{table['id'].iloc[row]}'), column '{column}'"


def _text(column: pd.Series) -> pd.Series:
    # An identifier that a reader took for a whole number must not become "7.0".
    text = column.astype("Int64").astype("string") if pd.api.types.is_integer_dtype(column) else column.astype("string")
    return text.mask(text.str.len() == 0)


def _check_ids(table: pd.DataFrame, name: str) -> None:
    missing = table.index[table["id"].isna()]
    if len(missing):
        raise ManifestError(f"{name}: row {missing[0] + 1} has no id ({len(missing)} such rows); give each segment a unique id")
    repeated = table.index[table["id"].duplicated(keep=False)]
    if len(repeated):
        rows = ", ".join(str(index + 1) for index in repeated[table.loc[repeated, "id"] == table["id"].iloc[repeated[0]]][:5])
        raise ManifestError(
            f"{name}: id '{table['id'].iloc[repeated[0]]}' stands in rows {rows} ({len(repeated)} rows share ids); make ids unique"
        )


def _check_choices(table: pd.DataFrame, column: str, choices: Sequence[str], name: str) -> None:
    bad = table.index[table[column].notna() & ~table[column].isin(choices)]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: unknown value '{table[column].iloc[bad[0]]}' ({len(bad)} such rows); "
            f"use one of {', '.join(choices)} or leave it empty"
        )


def _number(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    if column not in table:
        return pd.Series(float("nan"), index=table.index)
    numbers = pd.to_numeric(table[column], errors="coerce").astype("float64")
    bad = table.index[numbers.isna() & table[column].notna() & (table[column].astype("string") != "")]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: '{table[column].iloc[bad[0]]}' is not a number "
            f"({len(bad)} such rows); write a number or leave it empty"
        )
    return numbers


def _check_times(table: pd.DataFrame, name: str) -> None:
    negative = table.index[table["start"] < 0]
    if len(negative):
        raise ManifestError(
            f"{_where(table, negative[0], 'start', name)}: {table['start'].iloc[negative[0]]} is negative; "
            "times are seconds from the beginning of the file"
        )
    reversed_ = table.index[table["end"] < table["start"].fillna(0)]
    if len(reversed_):
        row = reversed_[0]
        raise ManifestError(
            f"{_where(table, row, 'end', name)}: the segment ends at {table['end'].iloc[row]} s before it starts at "
            f"{table['start'].iloc[row]} s ({len(reversed_)} such rows); exchange or correct the times"
        )


def _fill_polarity(table: pd.DataFrame, column: str, name: str) -> None:
    values = _number(table, column, name)
    bad = table.index[values.notna() & ~values.isin(POLARITIES)]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: {table[column].iloc[bad[0]]} is not a polarity; use -1, 0, 1 or leave it empty"
        )
    emotion = _EMOTION_COLUMN[column]
    words = table[emotion].str.strip().str.lower()
    unknown = table.index[words.notna() & ~words.isin(list(EMOTION_POLARITY))]
    if len(unknown):
        raise ManifestError(
            f"{_where(table, unknown[0], emotion, name)}: unknown emotion '{table[emotion].iloc[unknown[0]]}'; "
            f"use one of {', '.join(EMOTION_POLARITY)}, or leave it empty and fill {column}"
        )
    table[column] = values.astype("Int64").fillna(words.map(EMOTION_POLARITY).astype("Int64"))


def _binary(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="boolean")
    spelled = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    words = table[column].astype("string").str.strip().str.lower()
    words = words.mask(words == "")
    bad = table.index[words.notna() & ~words.isin(list(spelled))]
    if len(bad):
        raise ManifestError(
            f"{_where(table, bad[0], column, name)}: '{table[column].iloc[bad[0]]}' is neither true nor false; "
            "use 1, 0, true, false or leave it empty"
        )
    return words.map(spelled).astype("boolean")


def _inside(root: Path, relative: str, allow_links: bool, name: str) -> Path:
    # The written path is judged without following links, then where it really leads.
    written = Path(relative)
    if written.is_absolute() or ".." in written.parts:
        raise ManifestError(
            f"{name}: path '{relative}' leaves the manifest's root; write it relative to the root, without '..', or set corpus.root"
        )
    path = root / written
    if not allow_links and not path.resolve().is_relative_to(root):
        raise ManifestError(
            f"{name}: path '{relative}' leads out of the manifest's root through a link; set corpus.allow_links=true if that is meant"
        )
    return path
