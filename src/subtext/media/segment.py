"""A stretch of a recording, and how segments of one file are checked before anything is decoded."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from subtext.errors import MediaError
from subtext.media.named import told

log = logging.getLogger(__name__)

NOTEWORTHY = 0.5
"""Seconds past the end of the file above which a shortened segment is reported."""
LEAST_COVER = 0.5
"""Share of a segment that the recording must cover: subtitles often outlast it a little, wrong times by much."""


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
    """A checked segment.

    Attributes:
        start: seconds from the beginning of the file.
        end: seconds; infinite where neither the segment nor the file says.
        end_given: whether the segment said where it ends; if not, any stream of the file may end earlier.
    """

    start: float
    end: float
    end_given: bool = True

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def resolve(segments: Sequence[Segment], duration: float | None, path: Path) -> list[Span | MediaError]:
    """Check segments against a file of `duration` seconds (None = unknown).

    An end past the end of the file is moved to it where at least `LEAST_COVER` of the segment remains.

    Returns:
        For each segment its span, or the error that says why it cannot be read.
    """
    return [_resolve(segment, math.inf if duration is None else duration, path) for segment in segments]


def _resolve(segment: Segment, duration: float, path: Path) -> Span | MediaError:
    start = 0.0 if is_open(segment.start) else float(segment.start or 0.0)
    end = duration if is_open(segment.end) else float(segment.end or 0.0)
    if start < 0:
        return MediaError(
            f"{path}: a segment starts at {start:g} s; times count from the beginning of the file: use 0 or more"
        )
    if start >= duration:
        return MediaError(
            f"{path}: a segment starts at {start:g} s but the file ends at {duration:.2f} s; correct its times or the "
            "file name"
        )
    if end < start:
        return MediaError(
            f"{path}: a segment ends at {end:g} s before it starts at {start:g} s; exchange or correct its times"
        )
    if end == start:
        return MediaError(f"{path}: the segment at {start:g} s lasts 0 s; give it an end after its start")
    if duration - start < LEAST_COVER * (end - start):
        return MediaError(
            f"{path}: the segment {start:g} to {end:g} s lies mostly past the file's end at {duration:.2f} s; correct "
            "its times or the file name"
        )
    if end > duration + NOTEWORTHY:
        log.warning(
            "%s: the segment %g to %g s is read up to the file's end at %.2f s", told(path), start, end, duration
        )
    return Span(start, min(end, duration), not is_open(segment.end))


def is_open(bound: float | None) -> bool:
    """Whether a segment's start or end is not given (None, or NaN as tables write it)."""
    return bound is None or math.isnan(bound)
