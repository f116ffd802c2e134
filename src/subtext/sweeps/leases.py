"""Who runs a trial, and whether that process is still alive, on this machine or another."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

LEASE: Final = 180.0
"""Seconds after its last sign of life at which a process on another machine counts as dead."""
BEAT: Final = 30.0
"""Seconds between signs of life."""


@cache
def _this_machine() -> str:
    # Containers may share a host name, and not see each other's processes.
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)


def _start_of(pid: int) -> str | None:
    """When a living process began, in ticks since the machine did: tells it from a later one with its number."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in parentheses, may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # ended, but not yet fetched by its parent
    return None


def own_lease() -> dict[str, Any]:
    """A sign of life of this process."""
    pid = os.getpid()
    return {"machine": _this_machine(), "pid": pid, "start": _start_of(pid), "beat": time.time()}


def is_alive(lease: Mapping[str, Any]) -> bool:
    """Whether the process that gave a sign of life still lives.

    On this machine its number tells; of another machine's it is not known until its lease is over.
    """
    if lease.get("machine") != _this_machine():
        return time.time() - float(lease.get("beat", 0)) < LEASE
    pid = int(lease.get("pid", 0))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return lease.get("start") is None or _start_of(pid) == lease["start"]


class SignsOfLife:
    """Gives signs of life from a thread until left.

    Args:
        give: writes one; an error in it (the trial was taken over, the server is away) is left to the work itself.
    """

    def __init__(self, give: Callable[[dict[str, Any]], None]) -> None:
        self._give = give
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "SignsOfLife":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(Exception):
                self._give(own_lease())
