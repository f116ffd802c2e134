"""The turns of a session, from any of the formats that researchers have them in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import (
    TURN_SUFFIXES,
    Turn,
    as_spoken,
    parse_json,
    read_text,
    within_others,
    written_turns,
)

SESSION_SUFFIXES: Final = (*TURN_SUFFIXES, ".eaf", ".rttm")
"""Every ending that `read_session_turns` knows."""


def read_session_turns(
    path: Path,
    words: Path | None = None,
    *,
    encoding: str = "utf-8",
    tiers: Sequence[str] = (),
    frame_rate: float | None = None,
) -> list[Turn]:
    """The turns of a file, in its order; a turn with impossible times is among them and carries its problem.

    Beside tables, subtitles and plain text (see `subtext.sessions.transcripts.read_turns`): ELAN (.eaf), RTTM (.rttm),
    and JSON as Label Studio, WhisperX or pyannoteAI write it, which is told from a table of turns by its content.

    Args:
        path: the turns.
        words: words with times of their own, each of which goes to the turn that it overlaps most; replaces what the
            turns file says.
        encoding: of text files.
        tiers: of an ELAN file, those that hold turns.
        frame_rate: of a Label Studio file that counts video frames.

    Raises:
        TranscriptError: the file cannot be read or decoded, is of an unknown kind, or holds no turn.
    """
    from subtext.sessions.words import assign_words, read_words

    turns = _turns(path, encoding, tiers, frame_rate)
    if not turns:
        raise TranscriptError(f"{path}: no turn in it; check that it is the file of turns")
    turns = within_others(turns)
    if words is not None:
        turns = assign_words(turns, read_words(words, encoding), words)
    return as_spoken(turns, path)


def _turns(path: Path, encoding: str, tiers: Sequence[str], frame_rate: float | None) -> list[Turn]:
    suffix = path.suffix.lower()
    if suffix == ".eaf":
        from subtext.sessions.elan import read_elan_turns

        return read_elan_turns(path, tiers)
    if suffix == ".rttm":
        from subtext.sessions.rttm import read_rttm

        return read_rttm(path, encoding)
    if suffix == ".json":
        from subtext.sessions.label_studio import is_label_studio, label_studio_turns
        from subtext.sessions.words import is_speech_json, speech_json_turns

        content = parse_json(path, read_text(path, encoding))
        if is_label_studio(content):
            return label_studio_turns(content, path, frame_rate)
        if is_speech_json(content):
            return speech_json_turns(content, path)
    if suffix not in SESSION_SUFFIXES:
        raise TranscriptError(
            f"{path}: unknown kind of transcript '{path.suffix}'; use one of {', '.join(SESSION_SUFFIXES)}"
        )
    return written_turns(path, encoding)
