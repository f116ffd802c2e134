"""Processes: how workers start and end, how one ended, and whether the one that made something still lives."""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from subtext.core.safe_path import safe_path
from subtext.core.threads import threads_of_children

_STARTER: Final = "SUBTEXT_STARTED_BY"


@contextmanager
def starting_workers(threads: int | None = None) -> Iterator[None]:
    """Around the start of worker processes, which call `begin_work` first.

    From their first moment they ignore Ctrl-C, which reaches the whole group and which their parent answers; they do
    not find modules in the current folder; and libraries that are loaded in them compute with so many threads.

    Args:
        threads: of each worker, see `subtext.core.threads.threads_of_children`.
    """
    with _interrupts_ignored(), safe_path(), threads_of_children(threads):
        yield


def begin_work() -> None:
    """What a worker does first: leave Ctrl-C to its parent, and end when its parent does, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        # Nobody would know of this process any more, and what it waits for would never come.
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_with_starter() -> None:
    """Before a command starts copies of itself (`trainer=ddp`), and in each of them: they end when it does."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_STARTER] = str(os.getpid())
    elif starter := os.environ.get(_STARTER):

        def watch() -> None:
            while str(os.getppid()) == starter:
                time.sleep(1)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def how_it_ended(code: int | None) -> str:
    """In words, how a process ended that should not have.

    Args:
        code: its exit code, as `multiprocessing` gives it: below 0 the signal that ended it.

    Example:
        >>> how_it_ended(-15)
        'something outside ended it (SIGTERM), as a time limit or the end of a job does'
    """
    if code is None or code >= 0:
        return f"exit code {code or 0}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    match name:
        case "SIGKILL":
            return "it was killed (SIGKILL), as a system does that is out of memory"
        case "SIGTERM" | "SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGXCPU":
            return f"something outside ended it ({name}), as a time limit or the end of a job does"
    return f"it crashed ({name}), a fault in a library"


@cache
def this_machine() -> str:
    """Tells apart machines, and containers that do not see each other's processes, although they may share a name."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)


def start_of(pid: int) -> str | None:
    """When a living process began, in ticks since the machine did: tells it from a later one with its number."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in parentheses, may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # ended, but not yet fetched by its parent
    return None


def lives(pid: int, start: str | None) -> bool:
    """Whether a process of this machine lives.

    Args:
        pid: its number.
        start: as `start_of` gave it; None where that is not known.
    """
    if os.name == "nt":
        return True  # there a signal to ask with would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start is None or start_of(pid) == start


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    # A child ignores Ctrl-C from its first moment on if its parent does while it starts; only the main thread may.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
