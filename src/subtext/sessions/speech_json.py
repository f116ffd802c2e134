"""Turns from JSON of speech recognition with speakers: WhisperX, and pyannoteAI.

WhisperX (m-bain/whisperX, whisperx/diarize.py, `assign_word_speakers`): `segments`, each with start, end (s), text,
speaker and words. pyannoteAI (docs.pyannote.ai, DiarizationSchema): `turnLevelTranscription` with start, end, text,
speaker; or `diarization` without text, whose words are in `wordLevelTranscription`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, checked_turn, seconds, with_whole_characters
from subtext.sessions.words import assign_words, json_words

_LISTS: Final = ("segments", "turnLevelTranscription", "diarization")


def is_speech_json(content: Any) -> bool:
    """Whether a JSON file's content is of this kind."""
    content = _unwrapped(content)
    return isinstance(content, dict) and any(name in content for name in _LISTS)


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
            raise TranscriptError(
                f"{path}: {name}, entry {number}, {key}: '{segment[key]}' is not a time; write seconds"
            ) from None
    text = segment.get("text")
    if text is None:
        text = " ".join(str(word.get("word", "")).strip() for word in segment.get("words") or ())
    speaker = segment.get("speaker")
    return checked_turn(
        times[0],
        times[1],
        with_whole_characters(str(text)).strip(),
        None if speaker is None else with_whole_characters(str(speaker)).strip(),
    )
