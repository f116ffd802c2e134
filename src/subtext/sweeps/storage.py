"""Where a study is kept, the lock under which a session takes a trial, and the signs that who runs one still lives."""

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from subtext.core.processes import lives, start_of, this_machine
from subtext.errors import ConfigError

LEASE_SECONDS: Final = 180.0
"""After so long without a sign of life a process on another machine counts as dead."""
BEAT_SECONDS: Final = 30.0
"""Between signs of life."""
_LOCK_TIMEOUT: Final = 60
"""Seconds that a session waits for another one that writes."""
_JOURNAL: Final = ".journal"
_NETWORK_JOURNAL: Final = ".log"
_SQLITE: Final = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class Storage:
    """A study's storage.

    Attributes:
        optuna: what Optuna reads and writes.
        lock: makes a context in which no other session takes a trial.
        shown: where it is, for people: without a password.
    """

    optuna: BaseStorage
    lock: Callable[[], AbstractContextManager[None]]
    shown: str


def open_storage(where: str | None, folder: Path, study: str) -> Storage:
    """Open a storage, and make it where it is not there yet.

    Args:
        where: null for Optuna's journal in the sweep's folder; a path that ends in .journal for one elsewhere on this
            machine, in .log for one on a network file system that several machines see, in .db for an SQLite file;
            or an SQLAlchemy address that begins with sqlite, postgresql or mysql.
        folder: of the sweep.
        study: name of the study, which several machines lock by where they share no file.

    Raises:
        ConfigError: it cannot be opened.
    """
    place = str(_default(folder)) if where is None else str(where)
    scheme = place.partition(":")[0].partition("+")[0] if "://" in place else None
    suffix = Path(place).suffix.lower()
    if scheme is None and suffix in (_JOURNAL, _NETWORK_JOURNAL):
        return _journal(Path(place).resolve(), on_network=suffix == _NETWORK_JOURNAL)
    if scheme is None and suffix in _SQLITE:
        return _sqlite(f"sqlite:///{Path(place).resolve()}", Path(place))
    if scheme == "sqlite":
        file = _address(place).database
        if not file or file == ":memory:":
            raise ConfigError(f"storage={place} is not kept anywhere; name a file, as in sqlite:///study.db")
        return _sqlite(place, Path(file))
    if scheme in ("postgresql", "mysql"):
        return _server(place, scheme, study)
    raise ConfigError(
        f"storage={place} is of no known kind; give a file that ends in .journal, .log or .db, or an address that "
        "begins with sqlite://, postgresql:// or mysql://"
    )


def quiet_optuna() -> None:
    """Leave it to the sweep to say what happens: Optuna would say it again, and warn of what is experimental in it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _default(folder: Path) -> Path:
    """A journal, which TPE reads faster than SQLite; but a sweep that was begun in SQLite goes on there."""
    journal, former = folder / "study.journal", folder / "study.db"
    return former if former.exists() and not journal.exists() else journal


# -- journals ----------------------------------------------------------------------------------------------------------


class _Journal(BaseJournalBackend):
    """A journal that this machine alone writes, from several processes.

    As Optuna's own, but that the system frees the lock when its owner dies, in whatever way, that a line which was left
    half written is taken away by the next writer, and that nobody waits for the disk: as with SQLite below. Whoever
    does not know of this lock, as optuna-dashboard, may write too: every line goes to the end of the file as a whole.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reader = JournalFileBackend(str(file))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = memoryview("".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs).encode())
        # Unbuffered, so that nothing is left to be written after the lock is free, as where the disk is full.
        number = os.open(self._file, os.O_RDWR | os.O_APPEND)
        with open(number, "r+b", buffering=0) as journal, _alone(journal):
            _cut_to_whole_lines(journal)
            while lines:
                lines = lines[journal.write(lines) :]


def _cut_to_whole_lines(journal: IO[bytes]) -> None:
    """Take away what stands behind the last end of a line."""
    end = journal.seek(0, os.SEEK_END)
    journal.seek(max(0, end - 1))
    if journal.read(1) not in (b"", b"\n"):
        journal.seek(0)
        journal.truncate(journal.read().rfind(b"\n") + 1)


def _journal(file: Path, *, on_network: bool) -> Storage:
    begin = b'{"op_code"'
    with _said(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+b") as journal:
            journal.seek(0)
            if not begin.startswith(journal.read(len(begin))):
                raise ConfigError(f"the storage {file} is no journal of Optuna's; give another file by storage=")
        backend: BaseJournalBackend = _Journal(file)
        # Not .lock, which is that of Optuna's own for whoever writes with it.
        lock = partial(_file_lock, file.with_name(f"{file.name}.claim"))
        if on_network:
            # Unlike those of the system and of SQLite, these locks work on network file systems. A lock whose owner
            # was killed is broken after the grace period.
            backend = JournalFileBackend(str(file), lock_obj=JournalFileOpenLock(str(file)))
            lock = partial(_open_lock, JournalFileOpenLock(f"{file}.claim", grace_period=_LOCK_TIMEOUT))
        return Storage(JournalStorage(backend), lock, str(file))


@contextmanager
def _open_lock(lock: JournalFileOpenLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _file_lock(file: Path) -> Iterator[None]:
    with file.open("a") as held, _alone(held):
        yield


@contextmanager
def _alone(file: IO[Any]) -> Iterator[None]:
    """Hold an open file's lock, which the system frees when its owner dies, in whatever way."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


# -- databases ---------------------------------------------------------------------------------------------------------


def _sqlite(address: str, file: Path) -> Storage:
    import sqlalchemy

    lock = partial(_file_lock, file.with_name(f"{file.name}.lock"))
    with _said(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        with lock():
            storage = RDBStorage(address, engine_kwargs={"connect_args": {"timeout": _LOCK_TIMEOUT}})
            sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # what it has opened so far has not heard of this
    return Storage(storage, lock, str(file))


def _write_ahead(connection: Any, _: Any) -> None:
    # A trial takes about thirty small writes. So they wait for the disk at checkpoints only: the death of a process
    # loses nothing, that of the machine at most the last trials, which then run again.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _server(address: str, scheme: str, study: str) -> Storage:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    url = _address(address)
    if url.drivername == "postgresql" and importlib.util.find_spec("pg8000"):
        url = url.set(drivername="postgresql+pg8000")
    shown = url.render_as_string(hide_password=True)
    # A name of our own, so that other programs' locks in the same database do not meet ours.
    name = f"subtext {study}"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    take, free = {
        "postgresql": (f"SELECT pg_advisory_lock({number})", f"SELECT pg_advisory_unlock({number})"),
        "mysql": (f"SELECT GET_LOCK('{number}', -1)", f"SELECT RELEASE_LOCK('{number}')"),
    }[scheme]

    with _said(shown):
        engine = sqlalchemy.create_engine(url, poolclass=NullPool)

    @contextmanager
    def lock() -> Iterator[None]:
        # The server frees it when the connection ends, and so when its owner dies.
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(take))
            try:
                yield
            finally:
                connection.execute(sqlalchemy.text(free))

    with _said(shown), lock():
        # Connections of an earlier trial may have ended since.
        storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs={"pool_pre_ping": True})
    return Storage(storage, lock, shown)


def _address(place: str) -> Any:
    import sqlalchemy

    try:
        return sqlalchemy.make_url(place)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            "storage is no address that SQLAlchemy understands, such as postgresql://NAME@HOST/DATABASE"
        ) from error


@contextmanager
def _said(shown: str) -> Iterator[None]:
    """Turn what opening a storage can meet into one line."""
    import sqlalchemy

    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the storage {shown} needs the Python package {error.name}; for PostgreSQL: "
            "pip install subtext[postgresql]"
        ) from error
    except (OSError, ValueError, RuntimeError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(
            f"cannot open the storage {shown}: {reason}; check the path or address, that it may be written, and that "
            "the server runs"
        ) from error


# -- signs of life -----------------------------------------------------------------------------------------------------


def own_lease() -> dict[str, Any]:
    """A sign of life of this process."""
    pid = os.getpid()
    return {"machine": this_machine(), "pid": pid, "start": start_of(pid), "beat": time.time()}


def is_alive(lease: Mapping[str, Any]) -> bool:
    """Whether the process that gave a sign of life still lives.

    On this machine its number tells; of another machine's it is not known until its lease is over.
    """
    if lease.get("machine") != this_machine():
        return time.time() - float(lease.get("beat", 0)) < LEASE_SECONDS
    return lives(int(lease.get("pid", 0)), lease.get("start"))


@contextmanager
def signs_of_life(give: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Give signs of life from a thread until left.

    Args:
        give: writes one; an error in it (the trial was taken over, the server is away) is left to the work itself.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):
                give(own_lease())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
