"""Speaker segments from RTTM (Rich Transcription Time Marked), as diarisation tools such as pyannote write it.

A line is `SPEAKER <file> <channel> <onset> <duration> <NA> <NA> <speaker> <confidence> <NA>`, times in seconds; `;;`
begins a comment, and lines of other types are left aside. Format: NIST, Rich Transcription evaluations; as quoted from
KWS15-evalplan-v05 by the documentation of the R package `voice` (`read_rttm`), where it was read.
"""

from pathlib import Path

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, checked_turn, read_text


def read_rttm(path: Path, encoding: str = "utf-8") -> list[Turn]:
    """The speaker segments of one recording, without words.

    Raises:
        TranscriptError: the file cannot be read, a line is no RTTM, or it is about several recordings.
    """
    turns = []
    files: dict[str, int] = {}
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        fields = line.split()
        if not fields or line.lstrip().startswith(";;") or fields[0] != "SPEAKER":
            continue
        if len(fields) not in (9, 10):
            raise TranscriptError(
                f"{path}: line {number} has {len(fields)} fields; write "
                "SPEAKER FILE CHANNEL ONSET DURATION <NA> <NA> SPEAKER <NA> <NA>"
            )
        try:
            onset, duration = float(fields[3]), float(fields[4])
        except ValueError:
            raise TranscriptError(
                f"{path}: line {number}: onset '{fields[3]}' and duration '{fields[4]}' must be numbers of seconds"
            ) from None
        files.setdefault(fields[1], number)
        turns.append(checked_turn(onset, onset + duration, None, fields[7]))
    if not turns:
        raise TranscriptError(f"{path}: no turn in it; expected lines that begin with SPEAKER")
    if len(files) > 1:
        names = list(files)
        raise TranscriptError(
            f"{path}: line {files[names[1]]}: a second recording, '{names[1]}' beside '{names[0]}'; "
            "give each session a file of its own"
        )
    return turns
