"""Files that processes left unfinished, and writing that fails as on a full disk."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from subtext.core.writing import replacing
with replacing(Path(sys.argv[1])) as place:
    place.write_bytes(b"half")
    print(place, flush=True)
    if sys.argv[2] == "dies":
        os._exit(9)
    sys.stdin.read()
"""


def left_by_the_dead(path: Path) -> Path:
    """The unfinished file of a process that died while it wrote `path`."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path), "dies"], stdout=subprocess.PIPE, text=True)
    place = Path(done.stdout.strip())
    assert place.is_file()
    return place


@contextmanager
def being_written(path: Path) -> Iterator[Path]:
    """The unfinished file of a living process that writes `path`."""
    command = [sys.executable, "-c", PROGRAM, str(path), "lives"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        yield Path(writer.stdout.readline().strip())
        writer.kill()


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """No file can grow beyond `room` bytes: writing fails in the midst, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def gone(pids: list[int]) -> bool:
    """Whether these processes end within some seconds."""
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.05)
    return False
