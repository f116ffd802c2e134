"""Words with times of their own, which speaker's turn each belongs to, and the turns of recognised speech.

Words are read from NIST's CTM (`<file> <channel> <begin> <duration> <word> [<confidence>]`, `;;` begins a comment;
usnistgov/SCTK, doc/infmts.htm), from JSON as WhisperX writes it (segments with `words`, each `word`, `start`, `end`),
and from a table (.csv, .tsv) with the columns word, start, end (s).

Turns are read from JSON of speech recognition with speakers. WhisperX (m-bain/whisperX, whisperx/diarize.py,
`assign_word_speakers`): `segments`, each with start, end (s), text, speaker and words. pyannoteAI (docs.pyannote.ai,
DiarizationSchema): `turnLevelTranscription` with start, end, text, speaker; or `diarization` without text, whose words
are in `wordLevelTranscription`.
"""

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from subtext.core.delimited import layout_of
from subtext.errors import TranscriptError
from subtext.sessions.transcripts import (
    Turn,
    checked_turn,
    meant,
    parse_json,
    read_text,
    seconds,
    with_whole_characters,
)

WORD_SUFFIXES: Final = (".ctm", ".json", ".csv", ".tsv")
_LISTS: Final = ("segments", "turnLevelTranscription", "diarization")
_WORD_LISTS: Final = ("word_segments", "wordLevelTranscription", "words")
_Untimed = tuple[float | None, float | None, str]
"""A word as it stands in a file: start and end (s) where it has them, and its text."""
_ALTERNATIVES: Final = frozenset(("<ALT_BEGIN>", "<ALT>", "<ALT_END>"))
_CTM_LINE: Final = "write FILE CHANNEL BEGIN DURATION WORD [CONFIDENCE], one word a line"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Word:
    """A spoken word.

    Attributes:
        start: s from the beginning of the recording.
        end: s.
        text: as written, without outer white space.
    """

    start: float
    end: float
    text: str


def read_words(path: Path, encoding: str = "utf-8") -> list[Word]:
    """The words of a file, in order of time.

    Raises:
        TranscriptError: the file cannot be read, is of an unknown kind, or holds no word with a time.
    """
    suffix = path.suffix.lower()
    if suffix not in WORD_SUFFIXES:
        raise TranscriptError(f"{path}: unknown kind of words '{path.suffix}'; use one of {', '.join(WORD_SUFFIXES)}")
    text = read_text(path, encoding)
    if suffix == ".ctm":
        words = list(_ctm(path, text))
    elif suffix == ".json":
        words = json_words(parse_json(path, text), path)
    else:
        delimiter, cells = layout_of(text, tabs=suffix == ".tsv")
        words = list(_table(path, cells, delimiter))
    if not words:
        raise TranscriptError(f"{path}: no word with a time in it; check that it is the file of words")
    return sorted(words, key=lambda word: (word.start, word.end))


def json_words(content: Any, path: Path) -> list[Word]:
    """The words of JSON as WhisperX or pyannoteAI write it.

    A word that could not be aligned, such as a number, has no time: it is spoken with the word before it in its
    segment, else with the one after it.

    Raises:
        TranscriptError: it holds no such words, or a time is none.
    """
    found: list[Word] = []
    counted = untimed = 0
    for entries, span in _json_lists(content, path):
        words: list[_Untimed] = []
        for number, entry in enumerate(entries, counted + 1):
            text = entry.get("word", entry.get("text"))
            if text is None or not str(text).strip():
                continue
            start, end = entry.get("start"), entry.get("end")
            written = with_whole_characters(str(text)).strip()
            if start is None or end is None:
                words.append((None, None, written))
            else:
                word = _word(path, f"word {number}", start, end, written)
                words.append((word.start, word.end, word.text))
        counted += len(entries)
        timed = _beside_others(words, span)
        untimed += len(words) - len(timed)
        found += timed
    if untimed:
        log.warning("%s: %d words have no time, nor has any beside them, and were left out", path, untimed)
    return found


def _beside_others(words: Sequence[_Untimed], span: tuple[float, float] | None) -> list[Word]:
    """Words of one list: those without times have those of the word before, else of the one after, else of the list."""
    timed = [(start, end) for start, end, _ in words if start is not None and end is not None]
    last = timed[0] if timed else span
    found = []
    for start, end, text in words:
        if start is not None and end is not None:
            last = (start, end)
        if last is not None:
            found.append(Word(*last, text))
    return found


def assign_words(turns: Sequence[Turn], words: Sequence[Word], path: Path, reach: float = 0.5) -> list[Turn]:
    """Give each word to the turn that it overlaps most (as WhisperX's `assign_word_speakers` does), the earlier one on
    a tie.

    A word beside all turns goes to the nearest one within `reach` s, because speaker segments are often cut tightly;
    one further away belongs to nobody, which is reported.

    Returns:
        The turns, with their words as transcript; None where a turn got none.
    """
    begins = np.array([0.0 if turn.start is None else turn.start for turn in turns])
    ends = np.array([np.inf if turn.end is None else turn.end for turn in turns])
    usable = np.array([turn.problem is None for turn in turns], dtype=bool)
    spoken: list[list[str]] = [[] for _ in turns]
    lost = 0
    for word in words:
        if not usable.any():
            lost += 1
            continue
        # Negative beside a turn: minus the distance to it.
        overlap = np.where(usable, np.minimum(ends, word.end) - np.maximum(begins, word.start), -np.inf)
        best = int(overlap.argmax())
        if overlap[best] < -reach:
            lost += 1
        else:
            spoken[best].append(word.text)
    if lost:
        log.warning("%s: %d of %d words lie in no speaker's segment and were left out", path, lost, len(words))
    return [
        replace(turn, transcript=" ".join(texts) or None) if turn.problem is None else turn
        for turn, texts in zip(turns, spoken, strict=True)
    ]


def is_speech_json(content: Any) -> bool:
    """Whether a JSON file's content is of this kind."""
    content = _unwrapped(content)
    return isinstance(content, dict) and any(content.get(name) is not None for name in _LISTS)


def speech_json_turns(content: Any, path: Path) -> list[Turn]:
    """One turn a segment, in the file's order.

    Raises:
        TranscriptError: a segment lacks its times, or a time is none.
    """
    content = _unwrapped(content)
    name = next(name for name in _LISTS if content.get(name) is not None)
    segments = content[name]
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise TranscriptError(f"{path}: '{name}' is no list of objects; expected start, end, text and speaker in each")
    turns = [_turn(path, name, number, segment) for number, segment in enumerate(segments, 1)]
    if name == "diarization" and content.get("wordLevelTranscription"):
        turns = assign_words(turns, json_words(content["wordLevelTranscription"], path), path)
    return turns


def _unwrapped(content: Any) -> Any:
    # What pyannoteAI's API gives for a finished job.
    return content["output"] if isinstance(content, dict) and isinstance(content.get("output"), dict) else content


def _turn(path: Path, name: str, number: int, segment: Mapping[str, Any]) -> Turn:
    times = []
    for key in ("start", "end"):
        try:
            times.append(seconds(segment[key]))
        except KeyError:
            raise TranscriptError(f"{path}: {name}, entry {number} has no '{key}'; write its time in seconds") from None
        except ValueError:
            raise TranscriptError(f"{path}: {name}, entry {number}, {key}: not a time; write seconds") from None
    text = segment.get("text")
    if text is None:
        listed = segment.get("words")
        words = [word for word in listed if isinstance(word, dict)] if isinstance(listed, list) else []
        text = " ".join(str(word.get("word", "")).strip() for word in words)
    speaker = segment.get("speaker")
    turn = checked_turn(
        times[0],
        times[1],
        with_whole_characters(str(text)).strip(),
        None if speaker is None else with_whole_characters(str(speaker)).strip(),
    )
    if None in times and turn.problem is None:
        # Recognisers write null where they could not align a segment: that is no turn to the recording's end.
        key = "start" if times[0] is None else "end"
        return replace(turn, problem=f"entry {number} of {name} has no {key}; write its time in seconds")
    return turn


def _json_lists(content: Any, path: Path) -> Iterator[tuple[list[Mapping[str, Any]], tuple[float, float] | None]]:
    """Lists of words, each with the times of its segment where it is one's."""
    content = _unwrapped(content)
    if isinstance(content, dict):
        segments = content.get("segments")
        spoken = [s for s in segments if isinstance(s, dict)] if isinstance(segments, list) else []
        if not any(segment.get("words") for segment in spoken):
            spoken = [{"words": next((content[name] for name in _WORD_LISTS if content.get(name)), [])}]
    else:
        spoken = [{"words": content}]
    for segment in spoken:
        words = segment.get("words") or []
        if not isinstance(words, list) or not all(isinstance(entry, dict) for entry in words):
            raise TranscriptError(
                f"{path}: no words in it; expected WhisperX's segments with words, each with word, start and end"
            )
        yield words, _span(segment)


def _span(segment: Mapping[str, Any]) -> tuple[float, float] | None:
    try:
        start, end = seconds(segment.get("start")), seconds(segment.get("end"))
    except ValueError:
        return None
    return None if start is None or end is None or not 0 <= start <= end else (start, end)


def _ctm(path: Path, text: str) -> Iterator[Word]:
    files: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or line.lstrip().startswith(";;"):
            continue
        if len(fields) > 4 and not _ALTERNATIVES.isdisjoint(fields):
            raise TranscriptError(f"{path}: line {number}: alternatives are not read; {_CTM_LINE}")
        # Names of files may hold blanks: what stands behind them is told by its numbers.
        sure = len(fields) > 5 and _is_share(fields[-1])
        behind = fields[-5 if sure else -4 :]
        if len(fields) < 5:
            raise TranscriptError(f"{path}: line {number}: no CTM line; {_CTM_LINE}")
        files.add(" ".join(fields[: -len(behind)]))
        if len(files) > 1:
            raise TranscriptError(
                f"{path}: line {number}: words of a second recording; give each session a file of its own"
            )
        begin = _time(path, f"line {number}", behind[1])
        yield Word(begin, begin + _time(path, f"line {number}", behind[2]), behind[3])


def _is_share(text: str) -> bool:
    try:
        return text.upper() in ("NA", "<NA>") or 0 <= float(text) <= 1
    except ValueError:
        return False


def _table(path: Path, text: str, delimiter: str) -> Iterator[Word]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    read = 0
    try:
        header = [name.strip() for name in next(reader, [])]
        read = reader.line_num
        missing = [column for column in ("word", "start", "end") if column not in header]
        if missing:
            raise TranscriptError(
                f"{path}: no column {', '.join(missing)}; {meant(missing, header)}name the columns word, start, end (s)"
            )
        words: list[_Untimed] = []
        for number, cells in enumerate(reader, 1):
            read = reader.line_num
            row = dict(zip(header, cells, strict=False))
            said = row.get("word", "").strip()
            start, end = row.get("start", ""), row.get("end", "")
            if said and (start.strip() or end.strip()):
                word = _word(path, f"row {number}", start, end, said)
                words.append((word.start, word.end, word.text))
            elif said:
                words.append((None, None, said))
    except csv.Error as error:
        raise TranscriptError(f"{path}: line {read + 1} begins an unreadable row; check its quotes") from error
    yield from _beside_others(words, None)


def _word(path: Path, where: str, start: object, end: object, text: str) -> Word:
    word = Word(_time(path, f"{where}, start", start), _time(path, f"{where}, end", end), text.strip())
    if word.end < word.start:
        raise TranscriptError(
            f"{path}: {where} ends at {word.end:g} s before it starts at {word.start:g} s; exchange or "
            "correct its times"
        )
    return word


def _time(path: Path, where: str, written: object) -> float:
    try:
        value = seconds(written)
        if value is None or value < 0:
            raise ValueError
    except ValueError:
        raise TranscriptError(f"{path}: {where}: not a time; write seconds from 0 up") from None
    return value
