"""Read the sound of many segments of a recording in one streaming pass."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np
import numpy.typing as npt

from subtext.errors import MediaError
from subtext.media.segment import LEAST_COVER, Segment, Span, StreamMissing, resolve
from subtext.media.video import BREAK_TOLERANCE, breaks_off, container_duration, container_origin, open_container

log = logging.getLogger(__name__)

Waveform = npt.NDArray[np.float32]
"""Mono sound `[samples]`, full scale = 1."""

SEEKABLE: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav")
SEEK_GAP: Final = 30.0
"""Seconds without a wanted sample above which the reader jumps; decoding sound is cheaper than seeking for less."""
PREROLL: Final = 0.5
"""Seconds decoded and thrown away after a jump: MP3 and AAC frames need the ones before them."""
GAP: Final = 0.05
"""Seconds by which time stamps may wander from the count of samples before they are believed."""
MAX_LOSS: Final = 0.1
"""Share of a segment that may be missing inside it (damaged packets) before the segment is refused."""


def read_segments(
    path: Path, segments: Sequence[Segment], sample_rate: int = 16_000, *, max_duration: float = 900.0
) -> Iterator[tuple[int, Waveform | MediaError]]:
    """The sound of many segments of one recording, in one pass.

    All channels are mixed to one and resampled. Only segments that are being read are held.

    Args:
        path: the recording; any container and codec of FFmpeg.
        segments: may overlap and come in any order.
        sample_rate: of what is returned (Hz).
        max_duration: longer segments (s) are refused: they are no utterances and would not fit the memory bound.

    Yields:
        Segment index and float32 `[samples]`, as soon as the segment is read; or segment index and the error that
        concerns this segment alone.

    Raises:
        MediaError: the file is missing, empty, no recording, has no sound, or nothing in it can be decoded.
    """
    with open_container(path) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise StreamMissing(f"{path}: has no audio stream; name the voice's file in the column 'audio'")
        waiting: list[tuple[Span, int]] = []
        for index, span in enumerate(resolve(segments, container_duration(container), path)):
            if isinstance(span, MediaError):
                yield index, span
            elif span.duration > max_duration and span.end != float("inf"):
                yield (
                    index,
                    MediaError(
                        f"{path}: segment of {span.duration:.0f} s is longer than {max_duration:.0f} s; give turns "
                        "(.srt, .vtt or start and end in the manifest)"
                    ),
                )
            else:
                waiting.append((span, index))
        if not waiting:
            return
        waiting.sort(key=lambda item: (item[0].start, item[0].end))
        yield from _read(container, stream, path, waiting, sample_rate, max_duration)


def _read(
    container: Any, stream: Any, path: Path, waiting: list[tuple[Span, int]], sample_rate: int, max_duration: float
) -> Iterator[tuple[int, Waveform | MediaError]]:
    reader = _SampleReader(container, stream, path, sample_rate)
    active: list[_Recording] = []
    while waiting or active:
        chunk = reader.next(waiting[0][0].start if waiting and not active else None)
        if chunk is None:
            break
        time, samples = chunk
        chunk_end = time + len(samples) / sample_rate
        while waiting and waiting[0][0].start < chunk_end:
            span, index = waiting.pop(0)
            active.append(_Recording(span, index, sample_rate, max_duration))
        for recording in active:
            recording.add(time, samples)
        done = [recording for recording in active if chunk_end >= recording.span.end]
        active = [recording for recording in active if chunk_end < recording.span.end]
        for recording in sorted(done, key=lambda r: r.span.end):
            yield recording.index, recording.finish(path, None)
    if reader.decoded == 0:
        raise MediaError(f"{path}: no sound can be decoded; the file may be damaged or of an unsupported codec")
    broken = reader.breaks_off_at()
    for recording in active:
        yield recording.index, recording.finish(path, broken)
    for span, index in waiting:
        yield index, _too_late(path, span, broken)


def _too_late(path: Path, span: Span, broken: float | None) -> MediaError:
    if broken is not None:
        return breaks_off(path, broken)
    return MediaError(f"{path}: no sound at {span.start:.2f} s; the sound is shorter than the file")


def _too_long(path: Path, span: Span, max_duration: float) -> MediaError:
    return MediaError(
        f"{path}: the segment at {span.start:g} s is longer than {max_duration:.0f} s; give turns (.srt, .vtt, or "
        "start and end in a manifest)"
    )


class _Recording:
    """The samples of one segment while they arrive."""

    def __init__(self, span: Span, index: int, sample_rate: int, max_duration: float) -> None:
        self.span, self.index, self.sample_rate, self.max_duration = span, index, sample_rate, max_duration
        # Memory is taken only as it is written to. Where the end is unknown, one sample more tells that it is too long.
        self.limit = round(min(span.duration, max_duration) * sample_rate) + (span.end == math.inf)
        self.values = np.zeros(self.limit, dtype=np.float32)
        self.filled = 0  # samples that really arrived
        self.length = 0  # position after the last of them

    def add(self, time: float, samples: Waveform) -> None:
        first = round((time - self.span.start) * self.sample_rate)
        end = min(first + len(samples), self.limit)
        begin = max(first, self.length)  # where time stamps overlap, the first sound stays
        if end > begin:
            self.values[begin:end] = samples[begin - first : end - first]
            self.filled += end - begin
            self.length = end

    def finish(self, path: Path, broken: float | None) -> Waveform | MediaError:
        if broken is not None and broken + BREAK_TOLERANCE < self.span.end < math.inf:
            return breaks_off(path, broken)
        if self.span.end == math.inf and self.length == self.limit:
            return _too_long(path, self.span, self.max_duration)
        if self.length == 0:
            return _too_late(path, self.span, None)
        if self.filled < (1 - MAX_LOSS) * self.length:
            return MediaError(
                f"{path}: {1 - self.filled / self.length:.0%} of the sound at {self.span.start:.2f} s is missing or "
                "damaged; copy or record it again"
            )
        if self.span.end_given and self.length < LEAST_COVER * self.limit:
            return MediaError(
                f"{path}: the sound ends at {self.span.start + self.length / self.sample_rate:.2f} s, well before the "
                f"segment's end at {self.span.end:.2f} s; correct its times or record it again"
            )
        values = self.values[: self.length]
        wrong = np.count_nonzero(~np.isfinite(values))
        if wrong:
            return MediaError(
                f"{path}: {wrong} samples at {self.span.start:.2f} s are not finite (NaN or infinite); export the "
                "sound again"
            )
        return values


class _SampleReader:
    """Mono samples of one stream in order of time, with jumps."""

    def __init__(self, container: Any, stream: Any, path: Path, sample_rate: int) -> None:
        self.container, self.stream, self.path, self.sample_rate = container, stream, path, sample_rate
        self.origin = container_origin(container)
        self.can_seek = container.format.name in SEEKABLE
        self.declared = container_duration(container)
        self.file_end = 0.0
        self.decoded = 0
        self.reached = 0.0
        self.ended = False
        self.chunks = self._decode()

    def next(self, wanted: float | None) -> tuple[float, Waveform] | None:
        """The next chunk (its time in s, samples), jumping ahead first where `wanted` (s) is far; None at the end."""
        if wanted is not None and self.can_seek and wanted - self.reached > SEEK_GAP:
            goal = round((wanted - PREROLL + self.origin) / self.stream.time_base)
            self.container.seek(goal, stream=self.stream, backward=True)
            self.stream.codec_context.flush_buffers()
            self.chunks = self._decode()
            self.reached = wanted
        chunk = next(self.chunks, None)
        if chunk is not None:
            self.reached = max(self.reached, chunk[0] + len(chunk[1]) / self.sample_rate)
        return chunk

    def _decode(self) -> Iterator[tuple[float, Waveform]]:
        resampler = self._resampler()
        anchor: float | None = None  # time of the first sample that this resampler gives
        taken = 0.0  # seconds that went into it
        given = 0  # samples that came out of it
        for frame in self._frames():
            time = None if frame.pts is None else float(frame.pts * frame.time_base) - self.origin
            if anchor is not None and time is not None and abs(time - anchor - taken) > GAP:
                for samples in self._drain(resampler, None):
                    yield anchor + given / self.sample_rate, samples
                    given += len(samples)
                resampler, anchor = self._resampler(), None
            if anchor is None:
                anchor, taken, given = (self.reached if time is None else time), 0.0, 0
            taken += frame.samples / frame.sample_rate
            frame.pts = None  # the count of samples is the clock
            for samples in self._drain(resampler, frame):
                yield anchor + given / self.sample_rate, samples
                given += len(samples)
        if anchor is not None:
            for samples in self._drain(resampler, None):
                yield anchor + given / self.sample_rate, samples
                given += len(samples)

    def _resampler(self) -> Any:
        return av.AudioResampler(format="flt", layout="mono", rate=self.sample_rate)

    def _drain(self, resampler: Any, frame: Any) -> Iterator[Waveform]:
        for out in resampler.resample(frame):
            yield out.to_ndarray().reshape(-1)

    def _frames(self) -> Iterator[Any]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                log.debug("%s: reading stops: %s", self.path, error)
                packet = None
            if packet is None:
                self.ended = True
                return
            if packet.pts is not None and packet.time_base:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.origin
                self.file_end = max(self.file_end, end)
            if packet.stream.index != self.stream.index:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                log.debug("%s: packet not decoded: %s", self.path, error)
                continue
            self.decoded += len(frames)
            yield from frames

    def breaks_off_at(self) -> float | None:
        """Seconds at which the file ends although its header promises more; None for a whole file."""
        if not self.ended or self.declared is None or self.file_end >= self.declared - BREAK_TOLERANCE:
            return None
        return self.file_end


def rms_db(waveform: Waveform) -> float:
    """Loudness in dB relative to full scale; -120 for silence."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * float(np.log10(max(power, 1e-12)))
