"""Speaker segments from RTTM (Rich Transcription Time Marked), as diarisation tools such as pyannote write it.

A line is `SPEAKER <file> <channel> <onset> <duration> <NA> <NA> <speaker> <confidence> <NA>`, times in seconds; `;;`
begins a comment, and lines of other types are left aside. Tools write names of files, and of people, with blanks in
them, and leave out what stands behind the speaker; the two `<NA>` between times and speaker tell them apart. Format:
NIST, Rich Transcription evaluations; as quoted from KWS15-evalplan-v05 by the documentation of the R package `voice`
(`read_rttm`), where it was read.
"""

import re
from pathlib import Path
from typing import Final

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, checked_turn, read_text

_BEHIND: Final = re.compile(r"<NA>|\d*\.?\d+")
"""What stands behind a speaker: how sure the tool is, and how far it looks ahead."""


def read_rttm(path: Path, encoding: str = "utf-8") -> list[Turn]:
    """The speaker segments of one recording, without words.

    Raises:
        TranscriptError: the file cannot be read, a line is no RTTM, or it is about several recordings.
    """
    turns = []
    files: dict[str, int] = {}
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        if line.split(maxsplit=1)[:1] not in (["SPEAKER"], ["speaker"]):
            continue
        file, onset, duration, speaker = _fields(path, number, line)
        files.setdefault(file, number)
        try:
            begin, length = float(onset), float(duration)
        except ValueError:
            raise TranscriptError(
                f"{path}: line {number}: onset and duration must be numbers of seconds; correct them"
            ) from None
        turns.append(checked_turn(begin, begin + length, None, speaker))
    if not turns:
        raise TranscriptError(f"{path}: no turn in it; expected lines that begin with SPEAKER")
    if len(files) > 1:
        second = list(files.values())[1]
        raise TranscriptError(f"{path}: line {second}: of a second recording; give each session a file of its own")
    return turns


def _fields(path: Path, number: int, line: str) -> tuple[str, str, str, str]:
    """File, onset, duration and speaker of a line."""
    fields = line.split()
    nothing = [place for place in range(5, len(fields) - 2) if fields[place] == fields[place + 1] == "<NA>"]
    if nothing:
        at = nothing[0]
        file, onset, duration, rest = " ".join(fields[1 : at - 3]), fields[at - 2], fields[at - 1], fields[at + 2 :]
        name = list(rest)
        while len(name) > max(1, len(rest) - 2) and _BEHIND.fullmatch(name[-1]):
            name.pop()
        speaker = " ".join(name)
    elif len(fields) in (9, 10):
        file, onset, duration, speaker = fields[1], fields[3], fields[4], fields[7]
    else:
        raise TranscriptError(
            f"{path}: line {number} has {len(fields)} fields; write "
            "SPEAKER FILE CHANNEL ONSET DURATION <NA> <NA> SPEAKER <NA> <NA>"
        )
    if speaker.upper() == "<NA>":
        raise TranscriptError(f"{path}: line {number} names no speaker; write one in place of <NA>")
    return file, onset, duration, speaker
