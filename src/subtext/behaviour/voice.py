"""F0 and loudness along a recording, for measures that compare turns or two speakers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from subtext.behaviour.turns import Spans, merged
from subtext.errors import MediaError
from subtext.media.audio import Sound, read_segments
from subtext.media.container import Recording
from subtext.media.named import pathless, told
from subtext.media.prosody_frames import PROSODY_NAMES, prosody_frames
from subtext.media.segment import Segment

log = logging.getLogger(__name__)

HOP: Final = 0.02
"""Seconds between frames."""
TILE: Final = 60.0
"""Seconds analysed at once: bounds memory, and the loudness that "silent" is measured against."""
SAMPLE_RATE: Final = 16_000

Values = npt.NDArray[np.float64]
"""One value a frame, `[frames]`."""


@dataclass(frozen=True)
class VoiceTrack:
    """F0 and loudness of a recording, frame by frame.

    Attributes:
        times: s from the beginning of the file, the middle of each frame.
        log_f0: natural logarithm of F0 in Hz; missing where unvoiced.
        energy: dB relative to full scale.
    """

    times: Values
    log_f0: Values
    energy: Values

    def within(self, start: float, end: float, excluded: Spans | None = None) -> npt.NDArray[np.bool_]:
        """Which frames lie in a stretch but in none of the `excluded` ones (s)."""
        inside = np.zeros(len(self.times), dtype=bool)
        inside[slice(*np.searchsorted(self.times, [start, end]))] = True
        for begin, stop in excluded[(excluded[:, 1] > start) & (excluded[:, 0] < end)] if excluded is not None else ():
            inside[slice(*np.searchsorted(self.times, [begin, stop]))] = False
        return inside


def read_voice(path: Path, spans: Sequence[tuple[float | None, float | None]]) -> VoiceTrack:
    """F0 and loudness of the stretches of a recording, read in one pass; stretches that touch are read as one.

    Args:
        path: any recording with sound.
        spans: start and end in s, None = the file's.

    Raises:
        MediaError: the file has no sound or cannot be read. A stretch that cannot be read is left out and logged.
    """
    with Recording(path) as recording:
        duration = recording.duration
    if duration is None:
        raise MediaError(f"{path}: nothing can be decoded; it may be damaged or of an unsupported codec")
    given = np.array([[start or 0.0, duration if end is None else min(end, duration)] for start, end in spans])
    tiles = []
    for start, end in merged(given[given[:, 1] > given[:, 0]]):
        edges = np.arange(start, end, TILE)
        if len(edges) > 1 and end - edges[-1] < 1.0:  # no sliver at the end
            edges = edges[:-1]
        tiles += [Segment(float(a), float(b)) for a, b in zip(edges, [*edges[1:], end], strict=True)]
    parts, errors = [], []
    for number, sound in read_segments(path, tiles, SAMPLE_RATE) if tiles else ():
        if isinstance(sound, MediaError):
            errors.append(sound)
            continue
        parts.append(_analysed(sound, tiles[number].start or 0.0))
    if errors:
        log.warning(
            "%s: %d of %d stretches have no usable sound, such as: %s",
            told(path),
            len(errors),
            len(tiles),
            pathless(errors[0], path),
        )
    parts.sort(key=lambda part: part[0][0])
    times, log_f0, energy = (
        (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else [np.empty(0)] * 3
    )
    return VoiceTrack(times, log_f0, energy)


def _analysed(sound: Sound, start: float) -> tuple[Values, Values, Values]:
    frames = prosody_frames(sound.samples, SAMPLE_RATE, hop=HOP).astype(np.float64)
    voiced = frames[:, PROSODY_NAMES.index("voicing")] > 0.5
    log_f0 = np.where(voiced, frames[:, PROSODY_NAMES.index("log_f0")], np.nan)
    times = start + sound.start + (np.arange(len(frames), dtype=np.float64) + 0.5) * HOP
    return times, log_f0, frames[:, PROSODY_NAMES.index("energy")]
