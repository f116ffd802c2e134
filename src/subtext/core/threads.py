"""Threads that compute: how many, and how they wait. Chosen before libraries are loaded that read it when they are.

Threads of OpenMP wait for their next piece of work by spinning, which costs nothing on an idle machine and everything
on a busy one: what waits takes the processor from what it waits for. So they sleep, unless the environment says how
they wait (`OMP_WAIT_POLICY`, `KMP_BLOCKTIME`, `KMP_LIBRARY`, `GOMP_SPINCOUNT`). It changes no figure.

There are as many as this process may use cores. Libraries count those of its affinity themselves; where a container's
quota or SLURM allows fewer, they are told, unless the environment says how many (`OMP_NUM_THREADS`, `MKL_NUM_THREADS`,
`OPENBLAS_NUM_THREADS`).
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_WAITING: Final = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY", "GOMP_SPINCOUNT")
_NUMBER: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Time in a period, and the period, in microseconds (cgroup v2)."""
_chosen: dict[str, str] = {}
"""What of the environment was set here."""


def ready_threads() -> None:
    """Choose, before torch, numpy and their like are loaded; whatever is loaded already stays as it is.

    Commands call it first of all, and so does the first use of a name of `subtext`. Processes that are started
    afterwards inherit the choice.
    """
    if not any(name in os.environ for name in _WAITING):
        _choose({"OMP_WAIT_POLICY": "PASSIVE"})
    if cores() < _of_affinity():
        _choose(of_threads(cores()))


def cores() -> int:
    """How many cores this process may use, at least 1: by its affinity, its container's quota, and SLURM."""
    found = _of_affinity()
    with contextlib.suppress(OSError, ValueError):
        time, period = _QUOTA.read_text(encoding="ascii").split()
        found = min(found, math.ceil(int(time) / int(period)))  # "max" is no number: no quota
    with contextlib.suppress(KeyError, ValueError):
        found = min(found, int(os.environ["SLURM_CPUS_PER_TASK"]))
    return max(1, found)


def of_threads(number: int) -> dict[str, str]:
    """The environment of a process whose libraries compute with so many threads."""
    return {name: str(number) for name in _NUMBER}


@contextmanager
def threads_of_children(number: int | None) -> Iterator[None]:
    """Around the start of processes: libraries that are loaded in them compute with so many threads.

    Args:
        number: of threads; None leaves it to the environment.
    """
    wanted = {} if number is None else of_threads(number)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def share_of(processes: int) -> int | None:
    """Threads for each of several processes that compute side by side; None where the environment says how many."""
    if any(name in os.environ and _chosen.get(name) != os.environ[name] for name in _NUMBER):
        return None
    return max(1, cores() // processes)


def share_cores(processes: int) -> None:
    """Compute in this process as one of several of this machine that each take their share, see `share_of`."""
    threads = share_of(processes)
    if threads is None:
        return
    os.environ.update(of_threads(threads))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _choose(settings: dict[str, str]) -> None:
    if any(name in os.environ for name in settings):
        return
    _chosen.update(settings)
    os.environ.update(settings)


def _of_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
