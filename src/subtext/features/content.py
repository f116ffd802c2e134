"""Content hashes of files, remembered so that an unchanged file is read only once."""

import errno
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

_LOOK_UP: Final = "SELECT size, mtime_ns, digest FROM files WHERE path = ?"
_STORE: Final = "INSERT OR REPLACE INTO files (path, size, mtime_ns, digest) VALUES (?, ?, ?, ?)"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest TEXT)"
_AT_ONCE: Final = 2
"""Files that are read at once."""
_WAIT: Final = 60.0
"""Seconds to wait while another process writes."""


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read, or is a pipe or device, which might never end.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestMemory:
    """Digests by (path, size, modification time), kept in one small SQLite file that several processes may share.

    It is only a memory: where the file cannot be read or written, digests are computed again, and nothing else is lost.

    Args:
        database: the SQLite file; its folder need not exist yet.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def recall(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The digests of those files that have not changed since they were stored."""
        if not self._database.is_file() or self._leads_away():
            return {}
        known: dict[Path, str] = {}
        try:
            with closing(
                sqlite3.connect(f"{self._database.absolute().as_uri()}?mode=ro", _WAIT, uri=True)
            ) as connection:
                for path in paths:
                    row = connection.execute(_LOOK_UP, (_name(path),)).fetchone()
                    if row and row[:2] == _state(path):
                        known[path] = row[2]
        except sqlite3.DatabaseError:
            return known
        return known

    def store(self, digests: Mapping[Path, str], states: Mapping[Path, tuple[int, int]] | None = None) -> None:
        """Remember digests of files.

        Args:
            digests: digest of each file.
            states: (size, modification time in ns) of each file before it was read; its present state where not given.
        """
        rows = [
            (_name(path), *state, digest)
            for path, digest in digests.items()
            if (state := (states or {}).get(path) or _state(path)) is not None
        ]
        if not rows or self._leads_away():
            return
        try:
            self._write(rows)
        except (OSError, sqlite3.OperationalError):
            return  # locked for long, read-only or full: the digests are computed again next time
        except sqlite3.DatabaseError:
            self._database.unlink(missing_ok=True)  # not a database (any more): begin a new one

    def _leads_away(self) -> bool:
        """Whether the file is a link, or of several names: it may be somebody else's, and SQLite would write there."""
        return self._database.is_symlink() or any(
            beside.is_symlink() for beside in self._database.parent.glob(f"{self._database.name}-*")
        )

    def _write(self, rows: list[tuple[bytes, int, int, str]]) -> None:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database, _WAIT)) as connection, connection:
            connection.execute(_TABLE)
            connection.executemany(_STORE, rows)

    def digests(self, paths: Iterable[Path]) -> dict[Path, str | OSError]:
        """The sha256 of each file in hex, computed where it is not remembered, or the error that kept it unread."""
        wanted = list(dict.fromkeys(paths))
        found: dict[Path, str | OSError] = dict(self.recall(wanted))
        unknown = [path for path in wanted if path not in found]
        # The state is taken before reading, so that a file that changes meanwhile is read again next time.
        states = {path: state for path in unknown if (state := _state(path)) is not None}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            computed = dict(zip(unknown, pool.map(_digest_or_error, unknown), strict=True))
        self.store({path: d for path, d in computed.items() if isinstance(d, str)}, states)
        return {path: {**found, **computed}[path] for path in wanted}


def _name(path: Path) -> bytes:
    return os.fsencode(path.absolute())  # a path need not be text


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest_or_error(path: Path) -> str | OSError:
    try:
        return file_digest(path)
    except OSError as error:
        return error
