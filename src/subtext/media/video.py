"""Sample frames of many segments in one streaming pass over a recording."""

import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from subtext.errors import MediaError
from subtext.media.segment import LEAST_COVER, Segment, Span, StreamMissing, resolve

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
"""Picture `[height, width, 3]`, RGB."""

SEEKABLE: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")
"""Containers with an index, so that a seek lands where it says; others are read through."""

NOT_RECORDINGS: Final = ("tty", "srt", "ass", "webvtt", "hls", "concat", "ffmetadata")
"""Text that FFmpeg would open too."""

GUESSED_DURATION: Final = ("mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegvideo", "h264", "hevc", "m4v")
"""Bare streams without a header that says how long they are."""

SEEK_GAP: Final = 8.0
"""Seconds without a wanted frame above which seeking is tried; key frames are rarely farther apart."""

CLOCK: Final = 1e-6
"""Seconds within which two times are the same: both are rounded."""

BREAK_TOLERANCE: Final = 0.5
"""Seconds by which a file may end before its header says so and still count as whole."""


@dataclass(frozen=True)
class MediaInfo:
    """What a recording's header says.

    Attributes:
        duration: seconds; None where the container does not tell.
        has_video: whether there is a moving picture (a cover image does not count).
        has_audio: whether there is sound.
        fps: mean frames per second; None without video or where unknown.
        width: px as stored, before rotation; None without video.
        height: px as stored, before rotation; None without video.
        sample_rate: Hz; None without audio.
        rotation: degrees, counter-clockwise, that the file asks to turn the picture by.
    """

    duration: float | None
    has_video: bool
    has_audio: bool
    fps: float | None
    width: int | None
    height: int | None
    sample_rate: int | None
    rotation: int


@dataclass(frozen=True)
class Frame:
    """One sampled picture.

    Attributes:
        time: seconds from the beginning of the file at which this picture is on screen.
        image: uint8 RGB `[height, width, 3]`, upright.
    """

    time: float
    image: Image


def open_container(path: Path) -> Any:
    """Open a recording for reading.

    Raises:
        MediaError: the file is missing, empty, or no recording.
    """
    if not path.exists():
        raise MediaError(f"{path}: no such file; check the path and the manifest's root")
    if not path.is_file():
        raise MediaError(f"{path}: not a file; give a recording")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        # Neither a name that looks like an address nor a playlist may reach for anything but this file.
        container = av.open(f"file:{path}", mode="r", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(
            f"{path}: cannot be opened as a recording ({_reason(error)}); it may be cut off, or of another kind than "
            "its name says"
        ) from error
    if container.format.name in NOT_RECORDINGS:
        container.close()
        raise MediaError(f"{path}: is a text file, not a recording; give a video or sound file")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """The moving picture of an open recording.

    Raises:
        StreamMissing: there is none.
    """
    for stream in container.streams.video:
        if not _is_cover(stream):
            return stream
    raise StreamMissing(f"{path}: has no video stream; name it in the column 'audio' instead, or leave 'video' empty")


def container_duration(container: Any) -> float | None:
    """Declared length in seconds; None where unknown, or only guessed from the bit rate."""
    if container.format.name in GUESSED_DURATION:
        return None
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    lengths = [float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base]
    return max(lengths, default=None)


def container_origin(container: Any) -> float:
    """Time stamp in seconds of the beginning of the file: MPEG-TS, for one, does not begin at 0.

    What comes before 0 is the run-up of a sound codec, which is never played.
    """
    return max(0.0, (container.start_time or 0) / av.time_base)


def probe(path: Path) -> MediaInfo:
    """Read a recording's header.

    Raises:
        MediaError: the file is missing, empty, or no recording.
    """
    with open_container(path) as container:
        video = next((s for s in container.streams.video if not _is_cover(s)), None)
        audio = next(iter(container.streams.audio), None)
        rate = None if video is None else video.average_rate or video.guessed_rate
        return MediaInfo(
            duration=container_duration(container),
            has_video=video is not None,
            has_audio=audio is not None,
            fps=None if rate is None else float(rate),
            width=None if video is None else video.codec_context.width,
            height=None if video is None else video.codec_context.height,
            sample_rate=None if audio is None else audio.codec_context.sample_rate,
            rotation=0 if video is None else _first_rotation(container, video),
        )


def sample_times(span: Span, rate: float, max_frames: int | None = None) -> npt.NDArray[np.float64]:
    """Where a segment is sampled: the middles of equal steps, at least one.

    Args:
        span: the segment.
        rate: frames per second.
        max_frames: a longer segment is sampled evenly at a lower rate instead.

    Returns:
        Seconds from the beginning of the file.
    """
    count = max(1, math.floor(span.duration * rate + 1e-6))
    if max_frames is not None and count > max_frames:
        return span.start + (np.arange(max_frames, dtype=np.float64) + 0.5) * (span.duration / max_frames)
    if count == 1 and span.duration < 1 / rate:
        return np.array([span.start + span.duration / 2])
    return span.start + (np.arange(count, dtype=np.float64) + 0.5) / rate


def sample_frames(
    path: Path,
    segments: Sequence[Segment],
    rate: float = 5.0,
    *,
    max_side: int | None = None,
    max_frames: int | None = None,
    threads: int = 0,
) -> Iterator[tuple[int, Frame | MediaError]]:
    """Pictures of many segments of one recording, in one pass.

    For each sampled time the picture that is on screen then is given, so that a variable frame rate needs no special
    care. Only these pictures are converted to RGB. Stretches that no segment needs are jumped over where the container
    has an index. One picture is held at a time.

    Args:
        path: the recording.
        segments: may overlap and come in any order.
        rate: pictures per second of a segment (see `sample_times`).
        max_side: shrink pictures whose longer side exceeds this (px).
        max_frames: at most this many pictures a segment, spread evenly.
        threads: decoder threads; 0 = as many as there are cores, 4 at most.

    Yields:
        Segment index and picture in order of time; or segment index and the error that concerns this segment alone.

    Raises:
        MediaError: the file is missing, empty, no recording, has no video, or nothing in it can be decoded.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or min(4, os.cpu_count() or 1)
        duration = container_duration(container)
        spans = resolve(segments, duration, path)
        targets: list[tuple[float, int]] = []
        for index, span in enumerate(spans):
            if isinstance(span, MediaError):
                yield index, span
            else:
                targets += [(time, index) for time in _times(span, rate, max_frames)]
        if not targets:
            return
        targets.sort()
        yield from _walk(container, stream, path, spans, targets, rate, max_side)


def _walk(
    container: Any,
    stream: Any,
    path: Path,
    spans: Sequence[Span | MediaError],
    targets: Sequence[tuple[float, int]],
    rate: float,
    max_side: int | None,
) -> Iterator[tuple[int, Frame | MediaError]]:
    reader = _FrameReader(container, stream, path)
    aspect = float(stream.sample_aspect_ratio or 1)
    given: Counter[int] = Counter()
    expected = Counter(index for _, index in targets)
    shown: tuple[float, Any] | None = None  # the picture on screen, not yet converted, and since when
    converted: Image | None = None
    position = 0

    def give(until: float) -> Iterator[tuple[int, Frame | MediaError]]:
        nonlocal position, converted
        while position < len(targets) and targets[position][0] < until - CLOCK:
            time, index = targets[position]
            position += 1
            if shown is None:
                continue
            if converted is None:
                converted = to_rgb(shown[1], max_side, aspect)
            given[index] += 1
            yield index, Frame(time, converted)

    while position < len(targets):
        wanted = targets[position][0]
        found = reader.next(wanted)
        if found is None:
            break
        time, picture = found
        if shown is None and time > wanted and time - wanted <= 1 / rate:
            shown, converted = (wanted, picture), None  # the first picture comes a little late
        yield from give(time)
        shown, converted = (time, picture), None
    if shown is not None:
        yield from give(shown[0] + max(reader.frame_duration, 1 / rate))
    if reader.decoded == 0:
        raise MediaError(f"{path}: no picture can be decoded; the file may be damaged or of an unsupported codec")
    broken = reader.breaks_off_at()
    for index, span in enumerate(spans):
        if isinstance(span, MediaError):
            continue
        if broken is not None and broken + BREAK_TOLERANCE < span.end < math.inf:
            yield index, breaks_off(path, broken)
        elif given[index] < LEAST_COVER * expected[index] and (span.end_given or not given[index]):
            yield (
                index,
                MediaError(
                    f"{path}: {given[index]} of {expected[index]} pictures between {span.start:.2f} and {span.end:.2f} "
                    "s can be read; the video is shorter than the file, or damaged"
                ),
            )


def breaks_off(path: Path, time: float) -> MediaError:
    """The error of a segment that reaches beyond the point where a file was cut off."""
    return MediaError(
        f"{path}: the file breaks off at {time:.2f} s, before this segment's end; copy or record it again"
    )


class _FrameReader:
    """Decoded pictures of one stream in order of time, with jumps."""

    def __init__(self, container: Any, stream: Any, path: Path) -> None:
        self.container, self.stream, self.path = container, stream, path
        self.origin = container_origin(container)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.frame_duration = float(1 / rate)
        self.can_seek = container.format.name in SEEKABLE
        self.seek_gap = SEEK_GAP
        self.declared = container_duration(container)
        self.file_end = 0.0
        self.decoded = 0
        self.failures = 0
        self.last = -math.inf
        self.frames = self._decode()

    def next(self, wanted: float) -> tuple[float, Any] | None:
        """The next picture, jumping ahead first where `wanted` (s) is far; None at the end."""
        reached = max(self.last, 0.0)
        if self.can_seek and wanted - reached > self.seek_gap:
            self._seek(wanted, reached)
        for time, frame in self.frames:
            if time <= self.last:
                continue  # pictures that a jump gives a second time
            self.last = time
            return time, frame
        return None

    def _seek(self, wanted: float, reached: float) -> None:
        # A file whose index misleads gives a picture after the wanted one: go back farther, at last to where we were.
        for back in (0.0, 2 * SEEK_GAP, None):
            goal = reached if back is None else max(wanted - back, reached)
            self.container.seek(round((goal + self.origin) / self.stream.time_base), stream=self.stream, backward=True)
            self.stream.codec_context.flush_buffers()
            frames = self._decode()
            first = next(frames, None)
            if first is not None and (first[0] <= wanted or back is None):
                if first[0] <= reached:
                    self.seek_gap *= 2  # key frames are farther apart than the gap
                self.frames = _chain(first, frames)
                return
        self.frames = iter(())

    def _decode(self) -> Iterator[tuple[float, Any]]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                log.debug("%s: reading stops: %s", self.path, error)
                packet = None
            if packet is None:
                return
            if packet.stream.index != self.stream.index:
                self._note_end(packet)
                continue
            self._note_end(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                self.failures += 1
                log.debug("%s: packet not decoded: %s", self.path, error)
                continue
            for frame in frames:
                if frame.pts is None:
                    continue
                self.decoded += 1
                yield float(frame.pts * frame.time_base) - self.origin, frame

    def _note_end(self, packet: Any) -> None:
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.origin
            self.file_end = max(self.file_end, end)

    def breaks_off_at(self) -> float | None:
        """Seconds at which the file ends although its header promises more; None for a whole file."""
        if self.declared is None or self.file_end >= self.declared - BREAK_TOLERANCE:
            return None
        return None if next(self.frames, None) is not None else self.file_end


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _times(span: Span, rate: float, max_frames: int | None) -> list[float]:
    if math.isinf(span.end):
        # The length is unknown: go on until the stream ends, a day at most.
        return (span.start + (np.arange(int(86_400 * rate)) + 0.5) / rate).tolist()
    return sample_times(span, rate, max_frames).tolist()


def to_rgb(frame: Any, max_side: int | None = None, aspect: float = 1.0) -> Image:
    """One decoded picture as upright RGB.

    Args:
        frame: PyAV's. Transparent parts of it are shown on white.
        max_side: shrink to this longer side (px).
        aspect: width of a stored pixel by its height; the result has square ones.
    """
    width, height = max(1, round(frame.width * aspect)), frame.height
    if max_side is not None and max(width, height) > max_side:
        scale = max_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    has_alpha = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
    converted = frame.reformat(
        width=width, height=height, format="rgba" if has_alpha else "rgb24", interpolation="AREA"
    )
    image = converted.to_ndarray()
    if has_alpha:
        image = _on_white(image)
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def read_image(path: Path, max_side: int | None = None) -> Image:
    """A picture file as upright RGB (camera orientation applied, transparency shown on white).

    Args:
        path: any format that Pillow reads; of an animated one the first picture.
        max_side: shrink to this longer side (px).

    Raises:
        MediaError: the file is missing, empty, or no picture.
    """
    if not path.is_file():
        raise MediaError(f"{path}: no such picture; check the path and the manifest's root")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the picture is empty (0 bytes); copy it again")
    try:
        with PillowImage.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise MediaError(
            f"{path}: cannot be read as a picture ({_reason(error)}); copy it again or convert it to PNG"
        ) from error
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if picture.mode != "F" and values.max(initial=0) > 255 else 255.0
        picture = PillowImage.fromarray(np.clip(np.nan_to_num(values) * (255.0 / top), 0, 255).astype(np.uint8))
    if max_side is not None and max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), reducing_gap=2.0)
    if picture.has_transparency_data:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _on_white(image: npt.NDArray[np.uint8]) -> Image:
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _first_rotation(container: Any, stream: Any) -> int:
    try:
        frame = next(container.decode(stream), None)
    except av.error.FFmpegError:
        return 0
    return 0 if frame is None else round(getattr(frame, "rotation", 0)) % 360


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return text[0] if text else type(error).__name__
