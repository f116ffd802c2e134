"""Whether the paths of a manifest stay under its root, and lead to files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from subtext.core.paths import leaves
from subtext.manifest.checks import Problem

_LIST_FROM: Final = 8
"""From so many wanted files on, a folder is listed once instead of asking for each of them."""


def bad_paths(paths: Iterable[str], root: Path, allow_links: bool, check_media: bool = False) -> dict[str, Problem]:
    """Paths that lead out of `root` (which is resolved), as written or through a link, or to no file."""
    bad: dict[str, Problem] = {}
    by_folder: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        if leaves(path, root):
            bad[path] = Problem(
                f"the path leaves the manifest's root {root}",
                "write it relative to the root, without '..', or set corpus.root",
            )
        elif check_media or not allow_links:
            folder, file = os.path.split(path)
            by_folder.setdefault(folder, []).append((file, path))
    inside = os.path.join(root, "")
    for folder, files in by_folder.items():
        place = os.path.join(root, folder)
        leads_out = not allow_links and not os.path.join(os.path.realpath(place), "").startswith(inside)
        listed = {} if leads_out else _listed(place, files)
        for file, path in files:
            entry = listed.get(file) if listed else None
            if leads_out or (
                not allow_links and listed is not None and _leads_out(os.path.join(place, file), entry, inside)
            ):
                bad[path] = Problem(
                    f"the path leads out of the manifest's root {root} through a link",
                    "set corpus.allow_links=true if that is meant",
                )
            elif check_media and not (entry.is_file() if entry else os.path.isfile(os.path.join(place, file))):
                bad[path] = Problem(
                    f"there is no such file under {root}",
                    "put it there, correct the path or corpus.root, or set corpus.check_media=false",
                )
    return bad


def _listed(folder: str, files: Sequence[tuple[str, str]]) -> dict[str, os.DirEntry[str]] | None:
    """The wanted files that are in a folder, by one listing; none where asking for each costs less; null: no folder.

    A file system may know a name that is not listed, such as one in other case.
    """
    if len(files) < _LIST_FROM:
        return {}
    wanted = {file for file, _ in files}
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries if entry.name in wanted}
    except FileNotFoundError:
        return None
    except OSError:
        return {}


def _leads_out(file: str, entry: os.DirEntry[str] | None, inside: str) -> bool:
    is_link = entry.is_symlink() if entry else os.path.islink(file)
    return is_link and not os.path.realpath(file).startswith(inside)
