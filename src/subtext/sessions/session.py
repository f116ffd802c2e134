"""A session: long recordings of a client and a counsellor, and the turns that they take.

A folder holds one file of turns (`turns.*`), for formats without words one of words (`words.*`), and the recordings:
one of everybody, or one camera or microphone each, named by role (`client.mp4`, `counsellor.mp4`). What the folder
cannot say by itself stands in `session.yaml`; every key may be left out:

    session: S01                    # else the folder's name
    speakers: {client: P07, counsellor: T02}    # pseudonyms, the same in every session of that person
    roles: {SPEAKER_00: client, SPEAKER_01: counsellor, noise: null}  # label in the file of turns -> role; null: left
    out turns: turns.eaf                # else the only file turns.*
    words: words.ctm                # else the only file words.*, if any
    tiers: [client, counsellor]     # of an ELAN file
    frame_rate: 24                  # of a Label Studio file that counts video frames
    encoding: latin-1               # of the files of turns and words, else UTF-8
    recordings:                     # role, or `all`, -> file, or {video: file, audio: file}
      client: {video: cam_a.mp4, audio: mic_a.wav}
      all: room.mp4
    offsets: {cam_a.mp4: 1.25, mic_a.wav: -0.4}   # s; a file's time = the turns' time + its offset
    faces: {client: left, counsellor: right}      # half of the picture in which each one sits, where both are in view
    split: train                    # train, val or test

Turns are numbered in order of time unless the file names them (column `turn` of a table).
"""

import difflib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from subtext.errors import SessionError
from subtext.sessions.overlaps import overlaps, union
from subtext.sessions.turns import SESSION_SUFFIXES, read_session_turns
from subtext.sessions.words import WORD_SUFFIXES
from subtext.transcripts import Turn

ROLES: Final = ("client", "counsellor")
EVERYBODY: Final = "all"
SIDES: Final = ("left", "right")
SOUND_SUFFIXES: Final = (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma")
VIDEO_SUFFIXES: Final = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"),
)
SETTINGS: Final = "session.yaml"
_KEYS: Final = (
    *("session", "speakers", "roles", "turns", "words", "tiers", "frame_rate", "encoding", "recordings", "offsets"),
    *("faces", "split"),
)
_SPELLED: Final = {"client": "client", "counsellor": "counsellor", "counselor": "counsellor"}


@dataclass(frozen=True)
class Problem:
    """Something that keeps a turn from being used. It holds neither words nor names.

    Attributes:
        session: the session.
        file: where it stands.
        row: the turn's place in its file, from 1.
        turn: what the turn is called.
        column: what of it is wrong.
        value: as it stands there.
        reason: why it cannot be used.
        remedy: what to do.
    """

    session: str
    file: Path
    row: int
    turn: str
    column: str
    value: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        shown = f": '{self.value}'" if self.value else ":"
        return f"{self.file}: turn {self.row}, {self.column}{shown} {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class SessionTurn:
    """A turn that can be used.

    Attributes:
        id: what ratings call it.
        row: its place in its file, from 1.
        start: s on the turns' clock.
        end: s on the turns' clock.
        transcript: the words, None where it has none.
        role: client, counsellor, or another that the session's roles name.
        speaker: pseudonym of the person, None where nothing says it.
        overlap: stretches in which somebody else speaks too, without what they have in common.
        overlapped_by: roles of those.
    """

    id: str
    row: int
    start: float
    end: float
    transcript: str | None
    role: str
    speaker: str | None
    overlap: tuple[tuple[float, float], ...] = ()
    overlapped_by: tuple[str, ...] = ()

    @property
    def overlap_s(self) -> float:
        """Seconds in which somebody else speaks too."""
        return math.fsum(end - start for start, end in self.overlap)


@dataclass(frozen=True)
class Files:
    """The recordings of one role.

    Attributes:
        video: with picture, relative to the session's folder.
        audio: with sound, where another file than the video holds it.
    """

    video: str | None = None
    audio: str | None = None


@dataclass(frozen=True)
class Session:
    """A session as its folder describes it.

    Attributes:
        name: its name.
        folder: its folder.
        turns_file: where the turns stand.
        turns: those that can be used, in order of time.
        problems: those that cannot.
        recordings: role, or `all`, -> files.
        offsets: file -> s to be added to a turn's time to get the file's time.
        faces: role -> half of the picture.
        split: train, val or test.
    """

    name: str
    folder: Path
    turns_file: Path
    turns: tuple[SessionTurn, ...]
    problems: tuple[Problem, ...] = ()
    recordings: Mapping[str, Files] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)
    faces: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None

    def files(self, role: str) -> Files:
        """Where a role is seen and heard: in recordings of its own, else in those of everybody."""
        own, everybody = self.recordings.get(role, Files()), self.recordings.get(EVERYBODY, Files())
        return Files(own.video or everybody.video, own.audio or (None if own.video else everybody.audio))

    def is_shared(self, role: str) -> bool:
        """Whether the role's video is one in which others may be in view too."""
        own = self.recordings.get(role, Files()).video
        shown = self.files(role).video
        return shown is not None and (
            own is None or any(f.video == own for r, f in self.recordings.items() if r != role)
        )


def read_session(folder: Path) -> Session:
    """Read a session's folder. Recordings are looked for, not opened.

    Raises:
        SessionError: `session.yaml` cannot be used, or turns or recordings are missing or ambiguous.
        TranscriptError: the turns or words cannot be read.
    """
    settings = _settings(folder)
    name = str(settings.get("session", folder.name)).strip()
    turns_file = _the_file(folder, settings, "turns", SESSION_SUFFIXES)
    words_file = _the_file(folder, settings, "words", WORD_SUFFIXES)
    if turns_file is None:
        raise SessionError(
            f"{folder}: no file of turns; expected turns.csv or another of {', '.join(SESSION_SUFFIXES)}, "
            f"or name it in {SETTINGS} (turns)"
        )
    turns = read_session_turns(
        turns_file,
        words_file,
        encoding=str(settings.get("encoding", "utf-8")),
        tiers=_texts(settings, "tiers", folder),
        frame_rate=_positive(settings, "frame_rate", folder),
    )
    used, problems = _checked(turns, name, turns_file, settings)
    return Session(
        name=name,
        folder=folder,
        turns_file=turns_file,
        turns=tuple(used),
        problems=tuple(problems),
        recordings=_recordings(folder, settings),
        offsets=_offsets(folder, settings),
        faces=checked_faces(_mapping(settings, "faces", folder), f"{folder / SETTINGS}, faces"),
        split=_split(folder, settings),
    )


def checked_faces(faces: Mapping[str, Any], where: str) -> dict[str, str]:
    """Role -> half of the picture, checked.

    Raises:
        SessionError: a side is neither left nor right, or one half is two people's.
    """
    sides = {str(role): str(side) for role, side in faces.items() if side is not None}
    for role, side in sides.items():
        if side not in SIDES:
            raise SessionError(f"{where}: {role}: '{side}' is no side; write left or right, as the picture shows it")
    if len(set(sides.values())) < len(sides):
        raise SessionError(f"{where}: both roles are on the same side; give each its half of the picture")
    return sides


def _checked(
    turns: Sequence[Turn], name: str, path: Path, settings: Mapping[str, Any]
) -> tuple[list[SessionTurn], list[Problem]]:
    roles = _mapping(settings, "roles", path.parent)
    speakers = _mapping(settings, "speakers", path.parent)
    problems: list[Problem] = []
    used: list[SessionTurn] = []
    ids: dict[str, int] = {}
    seen: dict[tuple[float, float, str], int] = {}
    # In order of time; those without a time keep their places at the end.
    times = [(turn.start is None, turn.start or 0.0, turn.end or 0.0) for turn in turns]
    for number, index in enumerate(sorted(range(len(turns)), key=times.__getitem__), 1):
        turn, row = turns[index], index + 1
        id = turn.id or str(number)

        def refuse(column: str, value: object, reason: str, remedy: str, row: int = row, id: str = id) -> None:
            text = "" if value is None else str(value)
            problems.append(Problem(name, path, row, id, column, text, reason, remedy))

        role = _role(turn, roles)
        if isinstance(role, Unknown):
            known = ", ".join(dict.fromkeys([*ROLES, *(str(r) for r in roles.values() if r is not None)]))
            # A speaker's label may be a name, which no message shows.
            refuse(
                "role" if turn.role else "speaker",
                turn.role,
                "is no role" if turn.role else "has no role",
                f"name {known} in the file, or say in {SETTINGS} which label is which (roles)",
            )
        elif role is None:
            continue
        elif turn.problem is not None:
            reason, _, remedy = turn.problem.rpartition("; ")
            refuse("start, end", f"{turn.start}, {turn.end}", reason, remedy)
        elif turn.start is None or turn.end is None:
            refuse("end" if turn.end is None else "start", None, "is missing", "write both times of each turn")
        elif id in ids:
            refuse("turn", id, f"is also what turn {ids[id]} is called", "give each turn an id of its own")
        elif (turn.start, turn.end, role) in seen:
            first = seen[turn.start, turn.end, role]
            refuse("start", turn.start, f"is the same stretch of the same person as turn {first}", "remove one of them")
        else:
            ids[id] = row
            seen[turn.start, turn.end, role] = row
            used.append(
                SessionTurn(id, row, turn.start, turn.end, turn.transcript, role, _speaker(turn, role, speakers))
            )
    return _with_overlaps(used), problems


class Unknown:
    """Of a turn's role: nothing says it."""


def _role(turn: Turn, roles: Mapping[str, Any]) -> str | Unknown | None:
    for label in (turn.role, turn.speaker):
        if label is None:
            continue
        if label in roles:
            return None if roles[label] is None else str(roles[label])
        if label.strip().lower() in _SPELLED:
            return _SPELLED[label.strip().lower()]
    return Unknown()


def _speaker(turn: Turn, role: str, speakers: Mapping[str, Any]) -> str | None:
    for label in (turn.speaker, role):
        if label is not None and speakers.get(label) is not None:
            return str(speakers[label])
    # Only beside a role is a speaker's label the person's: alone it is a role's name, or a diariser's number, which is
    # another person's in the next session.
    return turn.speaker if turn.role is not None else None


def _with_overlaps(turns: Sequence[SessionTurn]) -> list[SessionTurn]:
    pairs = overlaps([(turn.start, turn.end) for turn in turns], [turn.role for turn in turns])
    return [
        replace(
            turn,
            overlap=tuple(union([common for _, common in found])),
            overlapped_by=tuple(sorted({turns[other].role for other, _ in found})),
        )
        for turn, found in zip(turns, pairs, strict=True)
    ]


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, ((key_node, _), key) in enumerate(zip(node.value, keys, strict=True)):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' stands twice", key_node.start_mark)
        return super().construct_mapping(node, deep)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    if not path.exists():
        return {}
    try:
        read = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except OSError as error:
        raise SessionError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    except UnicodeDecodeError as error:
        raise SessionError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "nested too deeply"
        raise SessionError(f"{path}{where}: not readable as YAML ({reason}); correct it") from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise SessionError(f"{path}: expected keys with values, such as 'session: S01'")
    for key in read:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise SessionError(f"{path}: unknown key '{key}'; {hint}there are {', '.join(_KEYS)}")
    return {key: value for key, value in read.items() if value is not None}


def _the_file(folder: Path, settings: Mapping[str, Any], kind: str, suffixes: Sequence[str]) -> Path | None:
    named = settings.get(kind)
    if named is not None:
        path = folder / str(named)
        if not path.is_file():
            raise SessionError(f"{folder / SETTINGS}: {kind}: no file '{named}' in {folder}; correct the name")
        return path
    found = sorted(p for p in folder.glob(f"{kind}.*") if p.suffix.lower() in suffixes and p.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise SessionError(f"{folder}: several files of {kind} ({names}); keep one, or name it in {SETTINGS} ({kind})")
    return found[0] if found else None


def _recordings(folder: Path, settings: Mapping[str, Any]) -> dict[str, Files]:
    if "recordings" not in settings:
        return _found_recordings(folder)
    named = {}
    for role, entry in _mapping(settings, "recordings", folder).items():
        files = {_kind(str(entry)): str(entry)} if isinstance(entry, str) else entry
        if not isinstance(files, dict) or not files or not set(files) <= {"video", "audio"}:
            raise SessionError(f"{folder / SETTINGS}: recordings: {role}: name a file, or {{video: FILE, audio: FILE}}")
        for file in files.values():
            if not (folder / str(file)).is_file():
                raise SessionError(
                    f"{folder / SETTINGS}: recordings: {role}: no file '{file}' in {folder}; put it there "
                    "or correct the name"
                )
        named[str(role)] = Files(**{kind: str(file) for kind, file in files.items()})
    return named


def _found_recordings(folder: Path) -> dict[str, Files]:
    """One recording of everybody, or those named by role."""
    suffixes = (*VIDEO_SUFFIXES, *SOUND_SUFFIXES)
    found: dict[str, dict[str, str]] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in suffixes):
        role = _SPELLED.get(path.stem.lower(), EVERYBODY)
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


def _offsets(folder: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    offsets = {}
    for file, written in _mapping(settings, "offsets", folder).items():
        if isinstance(written, bool) or not isinstance(written, (int, float)) or not math.isfinite(written):
            raise SessionError(
                f"{folder / SETTINGS}: offsets: {file}: '{written}' is no number; write seconds, such as -0.4"
            )
        if not (folder / str(file)).is_file():
            raise SessionError(f"{folder / SETTINGS}: offsets: no file '{file}' in {folder}; correct the name")
        offsets[str(file)] = float(written)
    return offsets


def _split(folder: Path, settings: Mapping[str, Any]) -> str | None:
    split = settings.get("split")
    if split is not None and split not in ("train", "val", "test"):
        raise SessionError(f"{folder / SETTINGS}: split: '{split}' is none; use train, val or test")
    return split


def _mapping(settings: Mapping[str, Any], key: str, folder: Path) -> dict[str, Any]:
    value = settings.get(key, {})
    if not isinstance(value, dict):
        raise SessionError(f"{folder / SETTINGS}: {key}: expected name: value pairs, found a {type(value).__name__}")
    return {str(name): entry for name, entry in value.items()}


def _texts(settings: Mapping[str, Any], key: str, folder: Path) -> list[str]:
    value = settings.get(key, [])
    if not isinstance(value, list):
        raise SessionError(f"{folder / SETTINGS}: {key}: expected a list, such as [client, counsellor]")
    return [str(entry) for entry in value]


def _positive(settings: Mapping[str, Any], key: str, folder: Path) -> float | None:
    value = settings.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise SessionError(f"{folder / SETTINGS}: {key}: '{value}' must be a number above 0")
    return value
