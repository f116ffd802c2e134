"""The one way in which files are written: whole or not at all."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

UNFINISHED: Final = ".part-"
"""What the names of files begin with that were never finished, as after a power cut; they may be removed."""


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A place of the same ending as a file to write to; what is there in the end takes the file's place.

    Other processes see the old file or the new one, never half of it, and a link at `path` is replaced, not followed.
    If the block raises, the file stays as it was. Folders are made where they are not there.

    Args:
        path: the file.
        within: a folder of the same file system for the place; None for the file's own.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "rows.csv") as place:
        ...         _ = place.write_text("id")
        ...     (Path(folder) / "rows.csv").read_text()
        'id'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent if within is None else within
    folder.mkdir(parents=True, exist_ok=True)
    # By chance, so that two processes never write to one place, and nobody can lay a link there. Names have 255 bytes.
    place = folder / f"{UNFINISHED}{secrets.token_hex(4)}{path.suffix[:100]}"
    try:
        yield place
        with place.open("rb") as file:
            os.fsync(file.fileno())
        place.replace(path)
    finally:
        place.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file, its line ends as they are; gives its path."""
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8", newline="")
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file; gives its path."""
    with replacing(path) as place:
        place.write_bytes(content)
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write strict JSON; gives its path.

    Raises:
        ValueError: a number is not finite, which JSON does not know.
    """
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_parquet(path: Path, table: "pd.DataFrame") -> Path:
    """Write a table without its index; gives its path."""
    with replacing(path) as place:
        table.to_parquet(place, index=False)
    return path
