"""The one way in which files are written: whole or not at all."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.core.processes import lives, start_of, this_machine

if TYPE_CHECKING:
    import pandas as pd

UNFINISHED: Final = ".part-"
"""What the names of files begin with that are not finished: whose they are comes next, see `remove_leftovers`."""
_LEFT_BEHIND: Final = 24 * 3600
"""Age in s after which an unfinished file is nobody's, where it cannot be told whether its writer lives."""


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A place of the same ending as a file to write to; what is there in the end takes the file's place.

    Other processes see the old file or the new one, never half of it, and a link at `path` is replaced, not followed.
    If the block raises, as where the disk is full, the file stays as it was. Folders are made where they are not there.
    The first file that a process writes in a folder takes away what dead processes left there unfinished.

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
    _remove_leftovers_once(folder.absolute())
    # By chance, so that two threads never write to one place, and nobody can lay a link there. Names have 255 bytes.
    place = folder / f"{UNFINISHED}{_own_name(os.getpid())}-{secrets.token_hex(4)}{path.suffix[:100]}"
    try:
        yield place
        with place.open("rb") as file:
            os.fsync(file.fileno())
        place.replace(path)
    finally:
        place.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what was being written in a folder by processes that are dead, as after `kill -9`; never a living one's.

    Of another machine's processes it is not known whether they live: theirs are removed a day after they last wrote.
    """
    for left in folder.glob(f"{UNFINISHED}*"):
        # It may be gone by now, or in a folder that cannot be written, or no file at all.
        with suppress(OSError):
            if not _may_be_written(left):
                left.unlink()


def _may_be_written(place: Path) -> bool:
    machine, pid, start, *_ = (*place.name.removeprefix(UNFINISHED).split("-"), "", "", "")
    if machine == _own_machine() and pid.isdecimal():
        return lives(int(pid), start or None)
    return time.time() - place.lstat().st_mtime < _LEFT_BEHIND


@cache
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


@cache
def _own_name(pid: int) -> str:
    return f"{_own_machine()}-{pid}-{start_of(pid) or ''}"


@cache
def _own_machine() -> str:
    return hashlib.sha256(this_machine().encode()).hexdigest()[:8]


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
