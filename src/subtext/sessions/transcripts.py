"""Turns and their words, from subtitles (.srt, .vtt), turn tables (.csv, .tsv, .json, .jsonl) and plain text (.txt).

The two subtitle formats are read here and not by a library. Of the permissive readers, pysubs2 drops text in braces and
speaker names, and joins WebVTT comments and cues whose times it cannot read to the words before them; webvtt-py drops
words between '<' and '>' and leaves such cues out. Here words stay as written, and a cue that cannot be used says why.
"""

import csv
import html
import io
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from subtext.core.headers import did_you_mean, misspelt
from subtext.errors import TranscriptError

SUBTITLE_SUFFIXES: Final = (".srt", ".vtt")
TABLE_SUFFIXES: Final = (".csv", ".tsv", ".json", ".jsonl")
TURN_SUFFIXES: Final = (*SUBTITLE_SUFFIXES, *TABLE_SUFFIXES, ".txt")
"""Every ending that `read_turns` knows, in the order in which a file beside a recording is preferred."""
_COLUMNS: Final = ("start", "end", "transcript", "speaker", "role", "turn")
"""Of a table of turns."""

_CLOCK: Final = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMING: Final = re.compile(rf"\s*(?P<start>-?\s*{_CLOCK})\s*-->\s*(?P<end>-?\s*{_CLOCK})(?:\s.*)?$")
_STYLE_TAGS: Final = re.compile(r"</?(?:i|b|u|s|font)(?:\s[^<>]*)?>|\{\\an?\d+\}", re.IGNORECASE)
_VTT_TAGS: Final = re.compile(rf"</?(?:c|i|b|u|v|lang|ruby|rt)(?:[.\s][^<>]*)?>|<{_CLOCK}>")
_HALF: Final = re.compile("[\ud800-\udfff]")
_VOICE: Final = re.compile(r"<v(?:\.[^\s<>]+)?\s+([^<>]+)>")

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
    """

    start: float | None
    end: float | None
    transcript: str | None
    speaker: str | None = None
    role: str | None = None
    problem: str | None = None
    id: str | None = None


def read_turns(path: Path, encoding: str = "utf-8") -> list[Turn]:
    """The turns of a file, in its order; a turn with impossible times is among them and carries its problem.

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
        turns = _cues(text, _vtt_turn if suffix == ".vtt" else _srt_turn, blank_ends_cue=suffix == ".vtt")
        wanted = "a line like 00:00:01.000 --> 00:00:02.500 before each turn's words"
    else:
        turns = _table(path, text)
        wanted = "one row a turn with start, end and transcript"
    if not turns:
        raise TranscriptError(f"{path}: no turn in it; expected {wanted}")
    return turns


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A text file's content without a byte-order mark, with Unix line ends.

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
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


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
    clock = re.fullmatch(rf"\s*{_CLOCK}\s*", str(written))
    value = _clock_seconds(clock.groups()) if clock else float(str(written))
    if not math.isfinite(value):
        raise ValueError(f"{written} is not a time")
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
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{int(whole or 0)}.{fraction or 0}")


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
    if start is not None and start < 0:
        problem = f"the turn starts at {start:g} s, before the recording; correct its times"
    elif end is not None and end < (start or 0.0):
        problem = f"the turn ends at {end:g} s before it starts at {start or 0.0:g} s; exchange or correct its times"
    elif end is not None and end == (start or 0.0):
        problem = f"the turn starts and ends at {end:g} s and so holds nothing; correct its times"
    return Turn(start, end, transcript or None, speaker or None, role or None, problem, id or None)


def _cues(text: str, make: Callable[[float, float, str], Turn], blank_ends_cue: bool) -> list[Turn]:
    # Lines with an arrow are the anchors: numbers may be missing or wrong, and in .srt words may hold blank lines.
    lines = text.split("\n")
    anchors = [i for i, line in enumerate(lines) if "-->" in line]
    # Where the first cue has a number the others have: else a line of digits is what somebody says.
    numbered = bool(anchors) and lines[max(0, anchors[0] - 1)].strip().isdecimal()
    turns = []
    for index, stop in pairwise([*anchors, len(lines)]):
        words = lines[index + 1 : stop]
        if numbered and stop < len(lines) and words and words[-1].strip().isdecimal():
            words = words[:-1]  # the number of the cue that follows
        if blank_ends_cue:
            words = words[: next((i for i, line in enumerate(words) if not line.strip()), len(words))]
        timing = _TIMING.match(lines[index])
        if timing is None:
            problem = (
                f"line {index + 1}, '{lines[index].strip()}', is not a timing; write 00:00:01.000 --> 00:00:02.500"
            )
            turns.append(Turn(None, None, "\n".join(words).strip() or None, problem=problem))
            continue
        signs = [-1 if timing.group(name).startswith("-") else 1 for name in ("start", "end")]
        times = [_clock_seconds(timing.groups()[first : first + 4]) for first in (1, 6)]
        turns.append(make(signs[0] * times[0], signs[1] * times[1], "\n".join(words)))
    return turns


def _srt_turn(start: float, end: float, words: str) -> Turn:
    return checked_turn(start, end, _STYLE_TAGS.sub("", words).strip())


def _vtt_turn(start: float, end: float, words: str) -> Turn:
    voices = list(dict.fromkeys(html.unescape(v).strip() for v in _VOICE.findall(words)))
    plain = html.unescape(_VTT_TAGS.sub("", words)).strip()
    # A cue in which two people speak belongs to neither.
    return checked_turn(start, end, plain, voices[0] if len(voices) == 1 else None)


def _table(path: Path, text: str) -> list[Turn]:
    rows = _json_rows(path, text) if path.suffix.lower() in (".json", ".jsonl") else _csv_rows(path, text)
    turns = []
    halved = 0
    for number, row in enumerate(rows, 1):
        if number == 1 and (near := misspelt(list(row), _COLUMNS)):
            raise TranscriptError(f"{path}: {did_you_mean(near)}")
        missing = [column for column in ("start", "end", "transcript") if column not in row]
        if missing:
            raise TranscriptError(
                f"{path}: turn {number} has no {', '.join(missing)} (it has {', '.join(map(str, row)) or 'nothing'}); "
                "name the columns start, end (s), transcript and, if known, speaker, role and turn (its id)"
            )
        times = []
        for column in ("start", "end"):
            try:
                times.append(seconds(row[column]))
            except ValueError as error:
                raise TranscriptError(
                    f"{path}: turn {number}, {column}: '{row[column]}' is not a time; write seconds or hh:mm:ss.fff"
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
    reader = csv.reader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    read = 0
    try:
        header = next(reader, [])
        repeated = [name for name, times in Counter(header).items() if name and times > 1]
        if repeated:
            raise TranscriptError(f"{path}: several columns are named '{repeated[0]}'; rename or remove all but one")
        for row in reader:
            if row and len(row) != len(header):
                raise TranscriptError(
                    f"{path}: line {reader.line_num} has {'more' if len(row) > len(header) else 'fewer'} cells than "
                    'the header; leave a cell empty where nothing is known, put words that hold a comma in "quotes"'
                )
            read = reader.line_num
            if row:
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
