"""Turns and their words, from subtitles (.srt, .vtt), turn tables (.csv, .tsv, .json, .jsonl) and plain text (.txt).

The two subtitle formats are read here and not by a library. Of the permissive readers, pysubs2 drops text in braces and
speaker names, and joins WebVTT comments and cues whose times it cannot read to the words before them; webvtt-py drops
words between '<' and '>' and leaves such cues out. Here words stay as written, and a cue that cannot be used says why.
"""

import csv
import difflib
import html
import io
import json
import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from subtext.core.delimited import layout_of, with_decimal_point
from subtext.core.headers import did_you_mean, misspelt
from subtext.errors import TranscriptError
from subtext.sessions.spoken import begin_with_names, spoken

SUBTITLE_SUFFIXES: Final = (".srt", ".vtt")
TABLE_SUFFIXES: Final = (".csv", ".tsv", ".json", ".jsonl")
TURN_SUFFIXES: Final = (*SUBTITLE_SUFFIXES, *TABLE_SUFFIXES, ".txt")
"""Every ending that `read_turns` knows, in the order in which a file beside a recording is preferred."""
_COLUMNS: Final = ("start", "end", "transcript", "speaker", "role", "turn")
"""Of a table of turns."""

SHORT_TURN: Final = 0.1
"""Seconds below which a turn is suspiciously short: a syllable takes longer."""

_CLOCK: Final = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMING: Final = re.compile(rf"(?P<start>-?\s?{_CLOCK})\s*-->\s*(?P<end>-?\s?{_CLOCK})(?:\s.*)?$")
_LIKE_TIMING: Final = re.compile(r"^-?[\d:.,;]+\s*-->|-->\s*-?\d+[:.,;]\d")
"""What stands for a timing, readable or not, in contrast to an arrow in somebody's words."""
_TAGS: Final = re.compile(rf"</?(?:c|i|b|u|s|v|lang|ruby|rt|font)(?:[.\s][^<>]*)?>|<{_CLOCK}>", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});", re.IGNORECASE)
_HALF: Final = re.compile("[\ud800-\udfff]")
_MARKS: Final = re.compile("^\ufeff+", re.MULTILINE)
_VOICE: Final = re.compile(r"<v(?:\.[^\s<>]+)?\s([^<>]+)>", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """One stretch of one person's speech.

    Attributes:
        start: in s from the beginning of the recording, None = its beginning.
        end: in s, None = its end.
        transcript: the words, None where the turn has none.
        speaker: who speaks, where the file says so.
        role: client, counsellor ..., where the file says so.
        problem: why the turn cannot be used, None where it can.
        id: what other files, such as ratings, call the turn, where the file says so.
        events: what is heard beside words, as written: `("[Music]",)`.
    """

    start: float | None
    end: float | None
    transcript: str | None
    speaker: str | None = None
    role: str | None = None
    problem: str | None = None
    id: str | None = None
    events: tuple[str, ...] = ()


def read_turns(path: Path, encoding: str = "utf-8") -> list[Turn]:
    """The turns of a file, in its order; a turn with impossible times is among them and carries its problem.

    Raises:
        TranscriptError: the file cannot be read or decoded, is of an unknown kind, or holds no turn.
    """
    return as_spoken(written_turns(path, encoding), path)


def written_turns(path: Path, encoding: str = "utf-8") -> list[Turn]:
    """The same with everything that the file has between two timings, or in a cell, as words.

    Raises:
        TranscriptError: the file cannot be read or decoded, is of an unknown kind, or holds no turn.
    """
    suffix = path.suffix.lower()
    if suffix not in TURN_SUFFIXES:
        raise TranscriptError(
            f"{path}: unknown kind of transcript '{path.suffix}'; use one of {', '.join(TURN_SUFFIXES)}"
        )
    text = read_text(path, encoding)
    if suffix == ".txt":
        return [Turn(None, None, text.strip() or None)]
    if suffix in SUBTITLE_SUFFIXES:
        turns = _cues(path, text, is_vtt=suffix == ".vtt")
        wanted = "a line like 00:00:01.000 --> 00:00:02.500 before each turn's words"
    else:
        turns = _table(path, text)
        wanted = "one row a turn with start, end and transcript"
    if not turns:
        raise TranscriptError(f"{path}: no turn in it; expected {wanted}")
    return turns


def as_spoken(turns: Sequence[Turn], where: object) -> list[Turn]:
    """Turns with nothing but words as words: labels of speakers, events and marks are told apart (see
    `subtext.sessions.spoken`); and with a problem where an open start or end lets a turn run over others.

    Args:
        turns: of one recording, as its file has them.
        where: the file, for notices.
    """
    texts = [turn.transcript or "" for turn in turns]
    names = begin_with_names(texts)
    if names:
        log.warning(
            "%s: every turn's words begin with a name and a colon, which are taken for who speaks and not for words",
            where,
        )
    said = [spoken(text, names) for text in texts]
    told = [
        replace(turn, transcript=own.words or None, speaker=turn.speaker or own.speaker, events=own.events)
        for turn, own in zip(within_others(turns), said, strict=True)
    ]
    usable = [place for place, turn in enumerate(told, 1) if turn.problem is None]
    short = short_turns((told[place - 1].start, told[place - 1].end) for place in usable)
    if short:
        log.warning("%s: %s", where, told_short([usable[place] for place in short], "turn"))
    return told


def short_turns(times: Iterable[tuple[float | None, float | None]]) -> list[int]:
    """Places, from 0, of turns that last less than `SHORT_TURN`."""
    return [
        place
        for place, (start, end) in enumerate(times)
        if start is not None and end is not None and round(end - start, 6) < SHORT_TURN
    ]


def told_short(places: Sequence[int], unit: str) -> str:
    """A notice of turns that are too short, by their numbers; of one that needs none, without."""
    shown = ", ".join(map(str, places[:5])) + (" ..." if len(places) > 5 else "")
    who = f"{unit}s {shown} ({len(places)} in all) last" if len(places) > 1 else f"{unit} {shown}".strip() + " lasts"
    return f"{who} less than {SHORT_TURN:g} s, too short for a word; check the times"


def within_others(turns: Sequence[Turn]) -> list[Turn]:
    """Turns with a problem where a start or an end is open, so that they would take in what others say."""
    usable = [turn for turn in turns if turn.problem is None]
    if len(usable) < 2:
        return list(turns)
    begin = sorted(turn.start or 0.0 for turn in usable)[-2]  # the last but one: each is among them itself
    close = sorted(math.inf if turn.end is None else turn.end for turn in usable)[1]
    checked = []
    for turn in turns:
        problem = turn.problem
        if problem is None and turn.end is None and begin >= (turn.start or 0.0):
            problem = "the turn has no end, and another one begins after it; give it an end"
        elif problem is None and turn.start is None and turn.end is not None and close <= turn.end:
            problem = "the turn has no start, and another one ends before it does; give it a start"
        checked.append(replace(turn, problem=problem))
    return checked


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A text file's content without byte-order marks, with Unix line ends.

    Raises:
        TranscriptError: it is missing, unreadable, or not in this encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = "check its rights" if isinstance(error, PermissionError) else "check the path"
        raise TranscriptError(f"{path}: cannot read the transcript ({error.strerror}); {remedy}") from error
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TranscriptError(
            f"{path}: not valid {encoding} at byte {error.start} (0x{content[error.start]:02x}); "
            "save it as UTF-8, or name its encoding with --encoding (older Western files: latin-1, Windows: cp1252)"
        ) from error
    except (LookupError, ValueError) as error:
        raise TranscriptError(
            f"unknown text encoding '{encoding}'; use for example utf-8, latin-1, cp1252 or utf-16"
        ) from error
    if not is_unicode(text):  # such as what unicode_escape makes of "\\ud83d"
        raise TranscriptError(f"{path}: holds halves of characters when read as {encoding}; save it as UTF-8")
    # Files that were joined have marks inside too.
    return _MARKS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; bytes of a command line or file name that cannot arrive as stand-ins."""
    return not _HALF.search(text)


def with_whole_characters(text: str) -> str:
    """A text in which U+FFFD stands for every half of a character, as JSON escapes can write them."""
    return _HALF.sub("\ufffd", text)


def printable(text: str) -> str:
    """A text on one line; what a terminal would take for a command is written as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def seconds(written: object) -> float | None:
    """A time in s from a number or a clock time (`[hh:]mm:ss[.fff]`); None where nothing is written.

    Raises:
        ValueError: it is neither.
    """
    if written is None or (isinstance(written, str) and not written.strip()):
        return None
    text = str(written).strip()
    clock = re.fullmatch(_CLOCK, text)
    value = _clock_seconds(clock.groups()) if clock else float(text)
    if not math.isfinite(value) or "_" in text:  # Python reads 1_5 as 15
        raise ValueError("not a time")
    return value


def each_seconds(cells: Iterable[object]) -> tuple[list[float | None], list[int]]:
    """Times of many cells as `seconds` reads them, None also where one cannot be read; and the places of those."""
    times: list[float | None] = []
    unread = []
    for place, written in enumerate(cells):
        try:
            times.append(seconds(written))
        except ValueError:
            times.append(None)
            unread.append(place)
    return times, unread


def _clock_seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, whole, fraction = parts
    return round(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{int(whole or 0)}.{fraction or 0}"), 9)


def checked_turn(
    start: float | None,
    end: float | None,
    transcript: str | None,
    speaker: str | None = None,
    role: str | None = None,
    id: str | None = None,
) -> Turn:
    """A turn that carries its problem if its times are impossible; empty texts become None."""
    problem = None
    finite = [time is None or math.isfinite(time) for time in (start, end)]
    if not all(finite):
        start, end = (time if known else None for time, known in zip((start, end), finite, strict=True))
        problem = "a time of the turn is no number of seconds; correct it"
    elif start is not None and start < 0:
        problem = f"the turn starts at {start:g} s, before the recording; correct its times"
    elif end is not None and end < (start or 0.0):
        problem = f"the turn ends at {end:g} s before it starts at {start or 0.0:g} s; exchange or correct its times"
    elif end is not None and end == (start or 0.0):
        problem = f"the turn starts and ends at {end:g} s and so holds nothing; correct its times"
    return Turn(start, end, transcript or None, speaker or None, role or None, problem, id or None)


def _cues(path: Path, text: str, is_vtt: bool) -> list[Turn]:
    # Timings are the anchors: numbers may be missing or wrong, and in .srt words may hold blank lines.
    lines = text.split("\n")
    anchors = [i for i, line in enumerate(lines) if "-->" in line and _LIKE_TIMING.search(line.strip())]
    # Where the first cue has a number the others have: else a line of digits is what somebody says.
    numbered = bool(anchors) and lines[max(0, anchors[0] - 1)].strip().isdecimal()
    turns = []
    for index, stop in pairwise([*anchors, len(lines)]):
        words = lines[index + 1 : stop]
        if numbered:
            words = _without_numbers(words, lines[index - 1].strip(), followed=stop < len(lines))
        if is_vtt:
            # An empty line, not a blank one, ends a cue; so does the head of another file that was joined to it.
            words = words[: next((i for i, line in enumerate(words) if not line or _is_head(line)), len(words))]
        turns.append(_cue(lines[index].strip(), index + 1, "\n".join(words)))
    return _each_line_once(path, turns)


def _is_head(line: str) -> bool:
    return line == "WEBVTT" or line.startswith(("WEBVTT ", "WEBVTT\t"))


def _without_numbers(words: list[str], own: str, followed: bool) -> list[str]:
    """A cue's lines without the number of the cue that follows, and of one that has nothing but its number."""
    if followed and words and words[-1].strip().isdecimal():
        words = words[:-1]
    at = str(int(own) + 1) if own.isdecimal() and len(own) < 10 else None
    while at is not None:
        end = next((i for i in range(len(words), 0, -1) if words[i - 1].strip()), 0)
        if end < 2 or words[end - 1].strip() != at or words[end - 2].strip():
            break
        words = words[: end - 1]
    return words


def _cue(timing: str, line: int, written: str) -> Turn:
    voices = list(dict.fromkeys(_unescaped(v).strip() for v in _VOICE.findall(written)))
    words = _unescaped(_TAGS.sub("", written)).strip()
    # A cue in which two people speak belongs to neither.
    speaker = voices[0] if len(voices) == 1 else None
    found = _TIMING.match(timing)
    if found is None:
        problem = f"line {line} is not a timing; write 00:00:01.000 --> 00:00:02.500"
        return Turn(None, None, words or None, speaker, problem=problem)
    signs = [-1 if found.group(name).startswith("-") else 1 for name in ("start", "end")]
    times = [_clock_seconds(found.groups()[first : first + 4]) for first in (1, 6)]
    return checked_turn(signs[0] * times[0], signs[1] * times[1], words, speaker)


def _unescaped(text: str) -> str:
    return _REFERENCE.sub(lambda found: html.unescape(found.group()), text)


def _each_line_once(path: Path, turns: Sequence[Turn]) -> list[Turn]:
    """Captions that roll show a line again above the next one: each line is what somebody said once."""
    shown = [[line.strip() for line in (turn.transcript or "").split("\n") if line.strip()] for turn in turns]
    again = [_repeated(above, below) for above, below in pairwise([[], *shown])]
    rolling = sum(0 < count < len(lines) for count, lines in zip(again, shown, strict=True))
    pairs = sum(bool(above and below) for above, below in pairwise(shown))
    repeats = sum(map(bool, again))
    # Somebody may say the same twice: captions roll where most cues begin so, and some go on.
    if not rolling or repeats < 2 or 2 * repeats < pairs:
        return list(turns)
    log.warning("%s: its captions roll; lines that %d cues show again were left out", path, repeats)
    return [
        replace(turn, transcript="\n".join(lines[count:])) if count else turn
        for turn, lines, count in zip(turns, shown, again, strict=True)
        if not count or len(lines) > count
    ]


def _repeated(above: Sequence[str], below: Sequence[str]) -> int:
    """How many lines at the end of one cue stand at the beginning of the next one."""
    most = min(len(above), len(below), 4)
    return next((n for n in range(most, 0, -1) if above[-n:] == below[:n]), 0)


def _table(path: Path, text: str) -> list[Turn]:
    rows = _json_rows(path, text) if path.suffix.lower() in (".json", ".jsonl") else _csv_rows(path, text)
    turns = []
    halved = 0
    place = "key" if path.suffix.lower() in (".json", ".jsonl") else "header cell"
    for number, row in enumerate(rows, 1):
        if number == 1 and (near := misspelt(list(row), _COLUMNS)):
            raise TranscriptError(f"{path}: {did_you_mean(near)}")
        if all(cell is None or not str(cell).strip() for cell in row.values()):
            continue  # spreadsheets leave such rows at the end
        missing = [column for column in ("start", "end", "transcript") if column not in row]
        if missing:
            raise TranscriptError(
                f"{path}: turn {number} has no {', '.join(missing)}; {meant(missing, list(row), place)}name the "
                "columns start, end (s), transcript and, if known, speaker, role and turn (its id)"
            )
        times = []
        for column in ("start", "end"):
            try:
                times.append(seconds(row[column]))
            except ValueError as error:
                raise TranscriptError(
                    f"{path}: turn {number}, {column}: not a time; write seconds or hh:mm:ss.fff"
                ) from error
        written = [None if row.get(c) is None else str(row[c]) for c in ("transcript", "speaker", "role", "turn")]
        words, speaker, role, id = (None if text is None else with_whole_characters(text) for text in written)
        halved += [words, speaker, role, id] != written
        turns.append(checked_turn(times[0], times[1], (words or "").strip(), speaker, role, (id or "").strip()))
    if halved:
        log.warning("%s: %d turns hold halves of characters, which became U+FFFD", path, halved)
    return turns


def _csv_rows(path: Path, text: str) -> Iterable[dict[str, object]]:
    # Not pandas: it would take the words "NA" and "None" for nothing.
    delimiter, below = layout_of(text, tabs=path.suffix.lower() == ".tsv")
    above = text.count("\n") - below.count("\n")
    reader = csv.reader(io.StringIO(below), delimiter=delimiter, strict=True)
    read = above
    try:
        header = next(reader, [])
        read = above + reader.line_num
        repeated = [place for place, name in enumerate(header, 1) if name and name in header[: place - 1]]
        if repeated:
            first = header.index(header[repeated[0] - 1]) + 1
            raise TranscriptError(
                f"{path}: header cells {first} and {repeated[0]} are named alike; rename or remove one of them"
            )
        for row in reader:
            if not any(map(str.strip, row)):
                row = [""] * len(header)
            if len(row) != len(header):
                raise TranscriptError(
                    f"{path}: line {above + reader.line_num} has {'more' if len(row) > len(header) else 'fewer'} cells "
                    'than the header; leave a cell empty where nothing is known, put "quotes" around words that hold '
                    "what divides cells"
                )
            read = above + reader.line_num
            if delimiter != ",":
                is_time = [name in ("start", "end") for name in header]
                row = [with_decimal_point(c) if time else c for c, time in zip(row, is_time, strict=True)]
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise TranscriptError(
            f"{path}: line {read + 1} begins an unreadable row ({error}); check its quotes"
        ) from error


def _json_rows(path: Path, text: str) -> list[dict[str, object]]:
    if path.suffix.lower() == ".jsonl":
        rows = [parse_json(path, line, above) for above, line in enumerate(text.split("\n")) if line.strip()]
    else:
        rows = parse_json(path, text)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TranscriptError(f"{path}: expected a list of turns, each an object with start, end and transcript")
    return rows


def parse_json(path: Path, text: str, lines_above: int = 0) -> Any:
    """What a JSON text holds.

    Raises:
        TranscriptError: it is not JSON, with the line of the file.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = lines_above + error.lineno
        raise TranscriptError(f"{path}: not readable as JSON at line {where} ({error.msg}); correct it") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
        raise TranscriptError(
            f"{path}: not readable as JSON from line {lines_above + 1} on ({error}); correct it"
        ) from error


def meant(ours: Sequence[str], theirs: Sequence[object], place: str = "header cell") -> str:
    """A question for names that are missing: which cell of theirs is nearly one, without what it holds.

    Args:
        ours: the names that are missing.
        theirs: those that are there.
        place: what one of them is: "header cell" or "key".
    """
    names = [str(name).strip().lower() for name in theirs]
    for name in ours:
        for near in difflib.get_close_matches(name.lower(), names, n=1):
            return f"did you mean {name}? ({place} {names.index(near) + 1}) "
    return ""
