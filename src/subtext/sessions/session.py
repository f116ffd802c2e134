"""A session: long recordings of a client and a counsellor, and the turns that they take.

`session.yaml` says what the folder cannot say by itself (see `subtext.sessions.settings`). Turns are
numbered in order of time unless the file names them (column `turn` of a table; a template of ours in ELAN).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from subtext.errors import SessionError
from subtext.sessions.settings import (
    EVERYBODY,
    ROLE_SPELLINGS,
    SETTINGS,
    Files,
    checked_faces,
    mapping,
    offsets_of,
    positive,
    read_settings,
    recordings_of,
    split_of,
    texts,
    the_file,
)
from subtext.sessions.transcripts import Turn
from subtext.sessions.turns import SESSION_SUFFIXES, read_session_turns
from subtext.sessions.words import WORD_SUFFIXES

ROLES: Final = ("client", "counsellor")

Interval = tuple[float, float]
"""Start and end in s."""


@dataclass(frozen=True)
class Problem:
    """Something that keeps a turn from being used. It holds neither words nor names.

    Attributes:
        session: the session.
        file: where it stands.
        row: the turn's place in its file, from 1.
        turn: what the turn is called.
        column: what of it is wrong.
        value: as it stands there; not shown in messages.
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
        return f"{self.file}: turn {self.row}, {self.column}: {self.reason}; {self.remedy}"


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
        events: what is heard in it beside words, as written.
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
    events: tuple[str, ...] = ()

    @property
    def overlap_s(self) -> float:
        """Seconds in which somebody else speaks too."""
        return math.fsum(end - start for start, end in self.overlap)


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
    settings = read_settings(folder)
    name = str(settings.get("session", folder.name)).strip()
    turns_file = the_file(folder, settings, "turns", SESSION_SUFFIXES)
    words_file = the_file(folder, settings, "words", WORD_SUFFIXES)
    if turns_file is None:
        raise SessionError(
            f"{folder}: no file of turns; expected turns.csv or another of {', '.join(SESSION_SUFFIXES)}, "
            f"or name it in {SETTINGS} (turns)"
        )
    turns = read_session_turns(
        turns_file,
        words_file,
        encoding=str(settings.get("encoding", "utf-8")),
        tiers=texts(settings, "tiers", folder),
        frame_rate=positive(settings, "frame_rate", folder),
    )
    used, problems = _checked(turns, name, turns_file, settings)
    return Session(
        name=name,
        folder=folder,
        turns_file=turns_file,
        turns=tuple(used),
        problems=tuple(problems),
        recordings=recordings_of(folder, settings),
        offsets=offsets_of(folder, settings),
        faces=checked_faces(mapping(settings, "faces", folder), f"{folder / SETTINGS}, faces"),
        split=split_of(folder, settings),
    )


def _checked(
    turns: Sequence[Turn], name: str, path: Path, settings: Mapping[str, Any]
) -> tuple[list[SessionTurn], list[Problem]]:
    roles = mapping(settings, "roles", path.parent)
    speakers = mapping(settings, "speakers", path.parent)
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
            # A speaker's label may be a name, which no message shows.
            refuse(
                "role" if turn.role else "speaker",
                turn.role,
                "is no role" if turn.role else "has no role",
                f"name {', '.join(ROLES)} in the file, or say in {SETTINGS} which label is which (roles)",
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
                SessionTurn(
                    id=id,
                    row=row,
                    start=turn.start,
                    end=turn.end,
                    transcript=turn.transcript,
                    role=role,
                    speaker=_speaker(turn, role, speakers),
                    events=turn.events,
                )
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
        if label.strip().lower() in ROLE_SPELLINGS:
            return ROLE_SPELLINGS[label.strip().lower()]
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


def overlaps(turns: Sequence[Interval], owners: Sequence[str]) -> list[list[tuple[int, Interval]]]:
    """For each turn the stretches in which somebody else speaks too.

    Args:
        turns: start and end of each.
        owners: who speaks in each.

    Returns:
        For each turn pairs of the other turn's number and the common stretch, in order of time.
    """
    order = sorted(range(len(turns)), key=lambda number: turns[number])
    found: list[list[tuple[int, Interval]]] = [[] for _ in turns]
    running: list[int] = []  # turns that have begun and may go on
    for number in order:
        start, end = turns[number]
        running = [other for other in running if turns[other][1] > start]
        for other in running:
            if owners[other] != owners[number]:
                common = (start, min(end, turns[other][1]))
                if common[1] > common[0]:
                    found[number].append((other, common))
                    found[other].append((number, common))
        running.append(number)
    return [sorted(pairs, key=lambda pair: pair[1]) for pairs in found]


def union(stretches: Sequence[Interval]) -> list[Interval]:
    """The stretches without what they have in common."""
    joined: list[Interval] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def longest_free(turn: Interval, taken: Sequence[Interval]) -> Interval | None:
    """The longest part of a turn outside the stretches, the earlier one of equals; None where nothing is left."""
    at, parts = turn[0], []
    for start, end in union(taken):
        parts.append((at, min(start, turn[1])))
        at = max(at, end)
    parts.append((at, turn[1]))
    free = [part for part in parts if part[1] > part[0]]
    return max(free, key=lambda part: part[1] - part[0]) if free else None
