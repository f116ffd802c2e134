"""Read the sound of many segments of a recording in one streaming pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from subtext.errors import MediaError
from subtext.media.container import BREAK_TOLERANCE, Recording
from subtext.media.segment import LEAST_COVER, Segment, Span, resolve

Waveform = npt.NDArray[np.float32]
"""Mono sound `[samples]`, full scale = 1."""

SEEK_GAP: Final = 30.0
"""Seconds without a wanted sample above which the reader jumps; decoding sound is cheaper than seeking for less."""
PREROLL: Final = 0.5
"""Seconds decoded and thrown away after a jump: MP3 and AAC frames need the ones before them."""
GAP: Final = 0.05
"""Seconds by which time stamps may wander from the count of samples before they are believed."""
CANCELLED: Final = 0.05
"""Share of one channel's power below which the mix of all counts as cancelled out, as where one channel is wired the
wrong way round. Of microphones in a room, whose sounds are unlike each other, the mix keeps about all of it."""
MAX_LOSS: Final = 0.1
"""Share of a segment that may be missing inside it (damaged packets) before the segment is refused."""


@dataclass(frozen=True)
class Sound:
    """What a recording holds of a segment's sound, from its first sample to its last. NumPy takes it for its samples.

    Attributes:
        samples: mono, full scale = 1; what is missing in between (damaged packets) is silent.
        start: seconds from the segment's start to the first sample: the sound of a file may begin late.
        share: share of the segment that really is there.
    """

    samples: Waveform
    start: float
    share: float


def read_segments(
    path: Path, segments: Sequence[Segment], sample_rate: int = 16_000, *, max_duration: float = 900.0
) -> Iterator[tuple[int, Sound | MediaError]]:
    """The sound of many segments of one recording, in one pass.

    All channels are mixed to one and resampled; where they cancel each other out, the first one is taken alone, which
    is reported. Only segments that are being read are held.

    Args:
        path: the recording; any container and codec of FFmpeg.
        segments: may overlap and come in any order.
        sample_rate: of what is returned (Hz).
        max_duration: longer segments (s) are refused: they are no utterances and would not fit the memory bound.

    Yields:
        Segment index and sound, as soon as the segment is read; or segment index and the error that concerns this
        segment alone.

    Raises:
        MediaError: the file is missing, empty, no recording, has no sound, or nothing in it can be decoded.
    """
    with Recording(path) as recording:
        stream = recording.require("audio")
        if recording.duration is None:
            raise _nothing(path)
        waiting: list[tuple[Span, int]] = []
        for index, span in enumerate(resolve(segments, recording.duration, path)):
            if isinstance(span, MediaError):
                yield index, span
            elif span.duration > max_duration:
                yield (
                    index,
                    MediaError(
                        f"{path}: the segment at {span.start:g} s is longer than {max_duration:.0f} s; give turns "
                        "(.srt, .vtt, or start and end in a manifest)"
                    ),
                )
            else:
                waiting.append((span, index))
        if waiting:
            waiting.sort(key=lambda item: (item[0].start, item[0].end))
            yield from _read(recording, stream, waiting, sample_rate)


def _read(
    recording: Recording, stream: Any, waiting: list[tuple[Span, int]], sample_rate: int
) -> Iterator[tuple[int, Sound | MediaError]]:
    reader = _SampleReader(recording, stream, sample_rate)
    active: list[_Take] = []
    while waiting or active:
        chunk = reader.next(waiting[0][0].start if waiting and not active else None)
        if chunk is None:
            break
        time, samples, alone = chunk
        chunk_end = time + len(samples) / sample_rate
        while waiting and waiting[0][0].start < chunk_end:
            span, index = waiting.pop(0)
            active.append(_Take(span, index, sample_rate))
        for take in active:
            take.add(time, samples, alone)
        done = [take for take in active if chunk_end >= take.span.end]
        active = [take for take in active if chunk_end < take.span.end]
        for take in sorted(done, key=lambda take: take.span.end):
            yield take.index, take.finish(recording, None)
    if recording.decoded == 0:
        raise _nothing(recording.path)
    broken = recording.breaks_off_at()
    for take in active:
        yield take.index, take.finish(recording, broken)
    for span, index in waiting:
        yield index, _no_sound(recording, span) if broken is None else recording.break_error(broken)


def _nothing(path: Path) -> MediaError:
    return MediaError(f"{path}: no sound can be decoded; it may be damaged or of an unsupported codec")


def _no_sound(recording: Recording, span: Span) -> MediaError:
    return MediaError(
        f"{recording.path}: no sound at {span.start:.2f} to {span.end:.2f} s, where it has not begun yet or has ended; "
        "correct the segment's times or record it again"
    )


_Chunk = tuple[float, Waveform, Waveform | None]
"""Its time in s, the mix of all channels, and the first of several."""


class _Take:
    """The samples of one segment while they arrive."""

    def __init__(self, span: Span, index: int, sample_rate: int) -> None:
        self.span, self.index, self.sample_rate = span, index, sample_rate
        self.limit = round(span.duration * sample_rate)
        self.values = np.zeros(self.limit, dtype=np.float32)  # memory is taken only as it is written to
        self.alone: Waveform | None = None  # the first channel, once there are several
        self.filled = 0  # samples that really arrived
        self.first = 0  # position of the first of them
        self.length = 0  # position after the last of them

    def add(self, time: float, samples: Waveform, alone: Waveform | None) -> None:
        first = round((time - self.span.start) * self.sample_rate)
        end = min(first + len(samples), self.limit)
        begin = max(first, self.length)  # where time stamps overlap, the first sound stays
        if end > begin:
            self.values[begin:end] = samples[begin - first : end - first]
            if alone is not None and self.alone is None:
                self.alone = np.zeros(self.limit, dtype=np.float32)
                self.alone[:begin] = self.values[:begin]
            if self.alone is not None:
                self.alone[begin:end] = (samples if alone is None else alone)[begin - first : end - first]
            if not self.filled:
                self.first = begin
            self.filled += end - begin
            self.length = end

    def finish(self, recording: Recording, broken: float | None) -> Sound | MediaError:
        if broken is not None and broken + BREAK_TOLERANCE < self.span.end:
            return recording.break_error(broken)
        if not self.filled:
            return _no_sound(recording, self.span)
        covered = self.length - self.first
        if self.filled < (1 - MAX_LOSS) * covered:
            return MediaError(
                f"{recording.path}: {1 - self.filled / covered:.0%} of the sound at {self.span.start:.2f} s is "
                "missing or damaged; copy or record it again"
            )
        if self.span.end_given and covered < LEAST_COVER * self.limit:
            begin, end = (self.span.start + place / self.sample_rate for place in (self.first, self.length))
            return MediaError(
                f"{recording.path}: its sound, {begin:.2f} to {end:.2f} s, covers less than half of the segment "
                f"{self.span.start:.2f} to {self.span.end:.2f} s; correct the times or record it again"
            )
        values = self.values[self.first : self.length]
        if self.alone is not None:
            alone = self.alone[self.first : self.length]
            if _power(values) < CANCELLED * _power(alone):
                recording.tell(
                    "its channels cancel each other out when mixed (one is wired the wrong way round); the first "
                    "channel is read alone"
                )
                values = alone
        wrong = np.count_nonzero(~np.isfinite(values))
        if wrong:
            return MediaError(
                f"{recording.path}: {wrong} samples at {self.span.start:.2f} s are not finite (NaN or infinite); "
                "export the sound again"
            )
        return Sound(values, self.first / self.sample_rate, self.filled / self.limit)


class _SampleReader:
    """Samples of a recording in order of time, with jumps: of all channels mixed, and of the first of several."""

    def __init__(self, recording: Recording, stream: Any, sample_rate: int) -> None:
        self.recording, self.stream, self.sample_rate = recording, stream, sample_rate
        self.reached = 0.0
        self.chunks = self._resampled()

    def next(self, wanted: float | None) -> _Chunk | None:
        """The next chunk, jumping ahead first where `wanted` (s) is far; None at the end."""
        if wanted is not None and self.recording.has_index and wanted - self.reached > SEEK_GAP:
            self.recording.seek(self.stream, wanted - PREROLL)
            self.chunks = self._resampled()
            self.reached = wanted
        chunk = next(self.chunks, None)
        if chunk is not None:
            self.reached = max(self.reached, chunk[0] + len(chunk[1]) / self.sample_rate)
        return chunk

    def _resampled(self) -> Iterator[_Chunk]:
        run: _Run | None = None
        for time, frame in self.recording.frames(self.stream):
            if run is not None and not run.continues(time, frame):
                yield from run.give(None)
                run = None
            if run is None:
                run = _Run(self.reached if time is None else time, frame, self.sample_rate)
            yield from run.give(frame)
        if run is not None:
            yield from run.give(None)


class _Run:
    """Sound of one kind without a gap. Within it the count of samples is the clock, because time stamps are rounded."""

    def __init__(self, start: float, frame: Any, sample_rate: int) -> None:
        self.start, self.kind, self.sample_rate = start, _kind(frame), sample_rate
        self.taken = 0.0  # seconds that went in
        self.given = 0  # samples that came out
        self.resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate)
        several = frame.layout.nb_channels > 1
        self.apart = av.AudioResampler(format="fltp", layout=frame.layout, rate=sample_rate) if several else None

    def continues(self, time: float | None, frame: Any) -> bool:
        """Whether a frame at `time` (s) follows without a gap and is of the same kind."""
        return _kind(frame) == self.kind and (time is None or abs(time - self.start - self.taken) <= GAP)

    def give(self, frame: Any) -> Iterator[_Chunk]:
        """What comes out for a frame; None = the end."""
        if frame is not None:
            self.taken += frame.samples / frame.sample_rate
            frame.pts = None
        channels = self.apart.resample(frame) if self.apart is not None else []
        for out, apart in zip_longest(self.resampler.resample(frame), channels):
            samples = out.to_ndarray().reshape(-1)
            alone = None if apart is None else apart.to_ndarray()[0]
            yield self.start + self.given / self.sample_rate, samples, alone
            self.given += len(samples)


def _kind(frame: Any) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _power(waveform: Waveform) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0


def rms_db(waveform: Waveform) -> float:
    """Loudness in dB relative to full scale; -120 for silence."""
    return 10 * float(np.log10(max(_power(waveform), 1e-12)))
