"""A stretch of a recording, and how segments of one file are checked before anything is decoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from subtext.errors import MediaError

END_TOLERANCE = 0.05
"""Seconds by which a segment may begin past the declared end and still be tried: headers round."""


class StreamMissing(MediaError):
    """The recording is sound but carries no such stream: the modality is absent, extraction has not failed."""


@dataclass(frozen=True)
class Segment:
    """Part of a recording.

    Attributes:
        start: seconds from the beginning of the file; None = the beginning.
        end: seconds from the beginning of the file; None = the end.
    """

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Span:
    """A checked segment with both ends known; `end` is infinite where the file does not say how long it is."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def resolve(segments: Sequence[Segment], duration: float | None, path: Path) -> list[Span | MediaError]:
    """Check segments against a file of `duration` seconds (None = unknown).

    An end past the end of the file is moved to it; nothing else is corrected.

    Returns:
        For each segment its span, or the error that says why it cannot be read.
    """
    return [_resolve(segment, math.inf if duration is None else duration, path) for segment in segments]


def _resolve(segment: Segment, duration: float, path: Path) -> Span | MediaError:
    start = 0.0 if segment.start is None or math.isnan(segment.start) else float(segment.start)
    end = duration if segment.end is None or math.isnan(segment.end) else float(segment.end)
    whole = segment.end is None or math.isnan(segment.end)
    if start < 0:
        return MediaError(
            f"{path}: segment starts at {start:g} s; times count from the beginning of the file, use 0 or more"
        )
    if start >= duration + END_TOLERANCE:
        return MediaError(
            f"{path}: segment starts at {start:g} s but the file ends at {duration:.2f} s; correct its times or the file name"
        )
    if not whole and end < start:
        return MediaError(
            f"{path}: segment ends at {end:g} s before it starts at {start:g} s; exchange or correct the times"
        )
    if not whole and end == start:
        return MediaError(f"{path}: segment at {start:g} s lasts 0 s; give it an end after its start")
    return Span(start, max(min(end, duration), start))
