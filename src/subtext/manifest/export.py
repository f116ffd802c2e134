"""What leaves the group: tables without names and free text where that is asked for, and their description."""

import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pandas as pd

from subtext.core.tables import ESCAPED, write_csv
from subtext.core.writing import write_parquet, write_text
from subtext.errors import ConfigError
from subtext.manifest.table import Manifest, columns_told

_PATHS: Final = ("video", "image", "audio", "features")
"""Columns of file names, which often hold a person's name: pseudonymised, with their ending kept."""

KEPT: Final = (
    "role",
    "start",
    "end",
    "verbal_emotion",
    "visual_emotion",
    "vocal_emotion",
    "verbal_polarity",
    "visual_polarity",
    "vocal_polarity",
    "incongruent",
    "vocal_incongruent",
    "contradiction",
    "incongruence_type",
    "engagement",
    "split",
    "fold",
    "corpus",
)
"""Columns that a pseudonymous export keeps as they are: times and labels."""

_SHORTEST_KEY: Final = 16
_LONGEST_ENDING: Final = 6


def read_key(path: Path) -> bytes:
    """The key of pseudonyms; a file that is not there is made, for its owner only.

    Raises:
        ConfigError: it cannot be read or made, or is too short to keep anybody from guessing it.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the key file {path}: {error.strerror}; name a file that can be read or made") from error
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(
            f"the key file {path} holds {len(key)} bytes; use at least {_SHORTEST_KEY}, or name a file that is not "
            "there yet, and a key is made"
        )
    return key


def pseudonymise(manifest: Manifest, key: bytes, keep: Collection[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """A table without names and free text, from which the units can still be told apart.

    This is no anonymisation: whoever has the key can try names until they fit, and times, labels and who speaks with
    whom may tell people who know them. A name is replaced by HMAC-SHA256 (RFC 2104) under the key of its column and
    itself, of which 80 bits are kept; the same name in the same column always has the same pseudonym.

    Args:
        manifest: the corpus.
        key: secret, see `read_key`.
        keep: further columns to keep as they are.

    Returns:
        The table, and the columns that were left out: what was said, and every one that the manifest's contract does
        not know, unless it is a group (pseudonymised) or in `keep`.

    Raises:
        ConfigError: a column of `keep` is not there.
    """
    missing = [column for column in keep if column not in manifest.table]
    if missing:
        raise ConfigError(f"there is no column '{missing[0]}' to keep; the manifest has {columns_told(manifest.table)}")
    table = manifest.table
    names = {"id", "session", "speaker", *_PATHS, *manifest.groups} - {"transcript", "context"}
    out: dict[str, pd.Series] = {}
    for column in map(str, table.columns):
        cells = table[column]
        if column in keep:
            out[column] = cells
        elif column in names:
            known = cells.dropna().astype(str)
            made = {cell: _pseudonym(key, column, cell) for cell in known.unique()}
            out[column] = known.map(made).reindex(table.index).astype("string")
        elif column in KEPT:
            out[column] = cells
    return pd.DataFrame(out, index=table.index), [column for column in map(str, table.columns) if column not in out]


def _pseudonym(key: bytes, column: str, name: str) -> str:
    # A group may be a file, such as the collage's image; equal files in any column are one file.
    path = column in _PATHS
    digest = hmac.digest(key, f"{'path' if path else column}\0{name}".encode(), "sha256").hex()[:20]
    ending = PurePosixPath(name).suffix if path else ""
    return digest + (ending if len(ending) <= _LONGEST_ENDING and ending[1:].isalnum() else "")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def export(
    manifest: Manifest, table: pd.DataFrame, path: Path, *, keep_root: bool, about: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a table and, beside it, the description that a later reading needs.

    Args:
        manifest: the corpus.
        table: its table, or what `pseudonymise` gave.
        path: ends in .csv, .parquet or .jsonl.
        keep_root: whether the description says where the files are; a folder's name may be somebody's.
        about: what is to be known of the corpus, see `Description.as_json`: its licence goes with it.

    Returns:
        The two files.

    Raises:
        ConfigError: there is a file beside the table that an export did not write.
    """
    beside = path.with_suffix(".json")
    if beside.exists() and b'"escaped"' not in beside.read_bytes():
        raise ConfigError(f"{beside} would be overwritten by the description of {path.name}; choose another name")
    kind = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)  # Never an old description beside a new table.
    if kind == ".csv":
        write_csv(table, path)
    elif kind == ".parquet":
        write_parquet(path, table)
    else:
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in rows))
    description = {
        "name": manifest.name,
        "groups": list(manifest.groups),
        "escaped": ESCAPED if kind == ".csv" else None,
        **({} if about is None else {"about": about}),
    }
    if keep_root:
        description["root"] = os.path.relpath(manifest.root.resolve(), path.parent.resolve())
    write_text(beside, json.dumps(description, indent=2) + "\n")
    return [path, beside]
