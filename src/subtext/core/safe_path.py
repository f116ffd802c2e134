"""What Python processes of ours begin with: neither the current folder's modules nor the script that is running."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def safe_path() -> Iterator[None]:
    """Around the start of processes: they begin without the current folder on their path, and then get this one's.

    It may be somebody else's.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def without_script() -> Iterator[None]:
    """Around the start of processes: they do not run the script again that this one runs.

    It may be a few lines without a guard, which would begin in each of them what this one is in the midst of. What a
    process is given may not be defined in the script then.
    """
    program = sys.modules["__main__"].__dict__
    before: dict[str, object] = {name: program.pop(name) for name in ("__file__", "__spec__") if name in program}
    program["__spec__"] = None
    try:
        yield
    finally:
        program |= before
