"""Whether a path that somebody wrote stays in the folder that it belongs to."""

import os
import re
from pathlib import Path
from typing import Final

# Absolute (POSIX, Windows, network share), climbing, or unusable by any system call.
_LEAVES_ROOT: Final = re.compile(r"^/|(?:^|/)\.\.(?:/|$)|\x00")
_LEAVES_ROOT_ON_WINDOWS: Final = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)")
_SUSPICIOUS: Final = re.compile(r"^/|\.\.|[\\\x00:]")  # what every path has that one of the others finds
_ON_A_DRIVE: Final = re.compile(r"^[A-Za-z]:")


def leaves(path: str, root: Path) -> bool:
    """Whether a path, as it is written, leads out of a folder: links are not looked at.

    Example:
        >>> leaves("../somewhere/clip.mp4", Path("corpus")), leaves("clips/a..b.mp4", Path("corpus"))
        (True, False)
    """
    if not _SUSPICIOUS.search(path):
        return False
    if _LEAVES_ROOT.search(path):
        return True
    if os.sep == "\\":
        return bool(_LEAVES_ROOT_ON_WINDOWS.search(path) or _ON_A_DRIVE.search(path))
    # Here a backslash may be a part of a name; only where there is such a file it is meant so.
    return bool(_LEAVES_ROOT_ON_WINDOWS.search(path)) and not os.path.lexists(os.path.join(root, path))
