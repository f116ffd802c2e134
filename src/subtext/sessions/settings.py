"""What a session's folder holds and `session.yaml` says of it.

A folder holds one file of turns (`turns.*`), for formats without words one of words (`words.*`), and the recordings:
one of everybody, or one camera or microphone each, named by role (`client.mp4`, `counsellor.mp4`). What the folder
cannot say by itself stands in `session.yaml`; every key may be left out:

    session: S01                    # else the folder's name
    speakers: {client: P07, counsellor: T02}    # pseudonyms, the same in every session of that person
    roles: {SPEAKER_00: client, SPEAKER_01: counsellor, noise: null}  # label -> role; null: left out
    turns: turns.eaf                # else the only file turns.*
    words: words.ctm                # else the only file words.*, if any
    tiers: [client, counsellor]     # of an ELAN file
    frame_rate: 24                  # of a Label Studio file that counts video frames
    encoding: latin-1               # of the files of turns and words, else UTF-8
    recordings:                     # role, or `all`, -> file, or {video: file, audio: file}
      client: {video: cam_a.mp4, audio: mic_a.wav}
      all: room.mp4
    offsets: {cam_a.mp4: 1.25, mic_a.wav: -0.4}   # s; a file's time = the turns' time + its offset
    faces: {client: left, counsellor: right}      # half of the picture of each, if one camera shows both
    split: train                    # train, val or test
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from subtext.core.paths import leaves
from subtext.core.yaml_file import read_yaml
from subtext.errors import SessionError

EVERYBODY: Final = "all"
SIDES: Final = ("left", "right")
SOUND_SUFFIXES: Final = (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma")
VIDEO_SUFFIXES: Final = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".flv",
    ".wmv",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".3gp",
    ".ogv",
)
SETTINGS: Final = "session.yaml"
_KEYS: Final = (
    *("session", "speakers", "roles", "turns", "words", "tiers", "frame_rate", "encoding", "recordings", "offsets"),
    *("faces", "split"),
)
_MOST: Final = 10**9
"""Above every number of seconds or frames a second; an integer of hundreds of digits is no float."""
ROLE_SPELLINGS: Final = {"client": "client", "counsellor": "counsellor", "counselor": "counsellor"}


@dataclass(frozen=True)
class Files:
    """The recordings of one role.

    Attributes:
        video: with picture, relative to the session's folder.
        audio: with sound, where another file than the video holds it.
    """

    video: str | None = None
    audio: str | None = None


def checked_faces(faces: Mapping[str, Any], where: str) -> dict[str, str]:
    """Role -> half of the picture, checked.

    Raises:
        SessionError: a side is neither left nor right, or one half is two people's.
    """
    sides = {str(role): str(side) for role, side in faces.items() if side is not None}
    for number, side in enumerate(sides.values(), 1):
        if side not in SIDES:
            raise SessionError(f"{where}: entry {number} is no side; write left or right, as the picture shows it")
    if len(set(sides.values())) < len(sides):
        raise SessionError(f"{where}: both roles are on the same side; give each its half of the picture")
    return sides


def read_settings(folder: Path) -> dict[str, Any]:
    """What `session.yaml` says, without keys that are left empty; nothing where there is none.

    Raises:
        SessionError: it cannot be read, or a key is unknown.
    """
    path = folder / SETTINGS
    if not path.exists():
        return {}
    read = read_yaml(path, SessionError)
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise SessionError(f"{path}: expected keys with values, such as 'session: S01'")
    for number, key in enumerate(read, 1):
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise SessionError(f"{path}: key {number} is unknown; {hint}There are {', '.join(_KEYS)}")
    return {key: value for key, value in read.items() if value is not None}


def the_file(folder: Path, settings: Mapping[str, Any], kind: str, suffixes: Sequence[str]) -> Path | None:
    """The file of turns or words: the one that is named, else the only one there.

    Raises:
        SessionError: it is not there, or several could be meant.
    """
    named = settings.get(kind)
    if named is not None:
        path = folder / str(named)
        if leaves(str(named), folder):
            raise SessionError(f"{folder / SETTINGS}: {kind}: the file is not in {folder}; put it there")
        if not _is_file(path):
            raise SessionError(f"{folder / SETTINGS}: {kind}: no such file in {folder}; correct the name")
        return path
    found = sorted(p for p in folder.glob(f"{kind}.*") if p.suffix.lower() in suffixes and p.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise SessionError(f"{folder}: several files of {kind} ({names}); keep one, or name it in {SETTINGS} ({kind})")
    return found[0] if found else None


def recordings_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, Files]:
    """Role, or `all`, -> recordings: those that are named, else those found.

    Raises:
        SessionError: one is not there, or several could be meant.
    """
    if "recordings" not in settings:
        return _found_recordings(folder)
    named = {}
    for number, (role, entry) in enumerate(mapping(settings, "recordings", folder).items(), 1):
        files = {_kind(str(entry)): str(entry)} if isinstance(entry, str) else entry
        where = f"{folder / SETTINGS}: recordings: entry {number}"
        if not isinstance(files, dict) or not files or not set(files) <= {"video", "audio"}:
            raise SessionError(f"{where}: name a file, or {{video: FILE, audio: FILE}}")
        for file in files.values():
            if not _is_file(folder / str(file)):
                raise SessionError(f"{where}: no such file in {folder}; put it there or correct the name")
        named[str(role)] = Files(**{kind: str(file) for kind, file in files.items()})
    return named


def _found_recordings(folder: Path) -> dict[str, Files]:
    """One recording of everybody, or those named by role."""
    suffixes = (*VIDEO_SUFFIXES, *SOUND_SUFFIXES)
    found: dict[str, dict[str, str]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in suffixes):
        role = ROLE_SPELLINGS.get(path.stem.lower(), EVERYBODY)
        kind = _kind(path.name)
        if kind in found.setdefault(role, {}):
            raise SessionError(
                f"{folder}: {found[role][kind]} and {path.name} could both be the {kind} of "
                f"{'everybody' if role == EVERYBODY else f'the {role}'}; say in {SETTINGS} which is whose (recordings)"
            )
        found[role][kind] = path.name
    if not found:
        raise SessionError(
            f"{folder}: no recording; expected one of everybody, or client.mp4 and counsellor.mp4 (or .wav ...)"
        )
    return {role: Files(**kinds) for role, kinds in found.items()}


def _kind(name: str) -> str:
    return "audio" if name.lower().endswith(SOUND_SUFFIXES) else "video"


def offsets_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    """File -> seconds to be added to a turn's time.

    Raises:
        SessionError: no number, or no such file.
    """
    offsets = {}
    for number, (file, written) in enumerate(mapping(settings, "offsets", folder).items(), 1):
        where = f"{folder / SETTINGS}: offsets: entry {number}"
        if not _is_number(written):
            raise SessionError(f"{where}: its value is no number; write seconds, such as -0.4")
        if not _is_file(folder / str(file)):
            raise SessionError(f"{where}: no such file in {folder}; correct the name")
        offsets[str(file)] = float(written)
    return offsets


def split_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The session's split, where it is said.

    Raises:
        SessionError: it is none.
    """
    split = settings.get("split")
    if split is not None and split not in ("train", "val", "test"):
        raise SessionError(f"{folder / SETTINGS}: split: no such split; use train, val or test")
    return split


def mapping(settings: Mapping[str, Any], key: str, folder: Path) -> dict[str, Any]:
    """A setting that consists of names with values.

    Raises:
        SessionError: it is something else.
    """
    value = settings.get(key, {})
    if not isinstance(value, dict):
        raise SessionError(f"{folder / SETTINGS}: {key}: expected name: value pairs, found a {type(value).__name__}")
    return {str(name): entry for name, entry in value.items()}


def texts(settings: Mapping[str, Any], key: str, folder: Path) -> list[str]:
    """A setting that is a list.

    Raises:
        SessionError: it is something else.
    """
    value = settings.get(key, [])
    if not isinstance(value, list):
        raise SessionError(f"{folder / SETTINGS}: {key}: expected a list, such as [client, counsellor]")
    return [str(entry) for entry in value]


def positive(settings: Mapping[str, Any], key: str, folder: Path) -> float | None:
    """A setting that is a number above 0.

    Raises:
        SessionError: it is something else.
    """
    value = settings.get(key)
    if value is not None and not (_is_number(value) and value > 0):
        raise SessionError(f"{folder / SETTINGS}: {key}: write a number above 0")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < _MOST and math.isfinite(value)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
