"""What messages call a recording: its path, or the place of the table that names it.

A path on the command line is the user's own word. A path in a table's cell is content, and may be somebody's name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from subtext.errors import MediaError

_PLACES: ContextVar[Mapping[Path, str]] = ContextVar("_PLACES", default={})  # noqa: B039 (never changed in place)


@contextmanager
def named_by(places: Mapping[Path, str]) -> Iterator[None]:
    """While files that a table names are read, messages call each by its place.

    Args:
        places: such as `{root / "a.mp4": "pilot: row 12, column 'video'"}`.
    """
    token = _PLACES.set({**_PLACES.get(), **places})
    try:
        yield
    finally:
        _PLACES.reset(token)


def pathless(error: MediaError | str, path: Path) -> str:
    """What is wrong with a file, without its path: whoever tells it says where the file is named."""
    return str(error).replace(f"{path}: ", "")


def told(path: Path) -> str:
    """What a message calls a file."""
    return _PLACES.get().get(path, str(path))
