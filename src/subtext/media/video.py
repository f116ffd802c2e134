"""Sample frames of many segments in one streaming pass over a recording."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from subtext.core.threads import cores
from subtext.errors import MediaError
from subtext.media.container import BREAK_TOLERANCE, Recording, reason
from subtext.media.segment import LEAST_COVER, Segment, Span, resolve

Image = npt.NDArray[np.uint8]
"""Picture `[height, width, 3]`, RGB."""

SEEK_GAP: Final = 8.0
"""Seconds without a wanted picture above which seeking is tried; key frames are rarely farther apart."""

CLOCK: Final = 1e-6
"""Seconds within which two times are the same: both are rounded."""

MAX_THREADS: Final = 4
"""Decoder threads at most: each holds pictures."""

MAX_HOLD: Final = 2.0
"""Seconds that a picture stays on screen; after longer, pictures were lost, and none may stand in for a moving face."""


@dataclass(frozen=True)
class MediaInfo:
    """What a recording's header says.

    Attributes:
        duration: seconds; measured where the header does not tell, None where nothing can be read.
        has_video: whether there is a moving picture (a cover image does not count).
        has_audio: whether there is sound.
        fps: mean frames per second; None without video or where unknown.
        width: px as stored, before rotation; None without video, or a decoder for it.
        height: px as stored, before rotation; None without video, or a decoder for it.
        sample_rate: Hz; None without audio, or a decoder for it.
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


def probe(path: Path) -> MediaInfo:
    """Read a recording's header.

    Raises:
        MediaError: the file is missing, empty, or no recording.
    """
    with Recording(path) as recording:
        video, audio = recording.video, recording.audio
        rate = None if video is None else video.average_rate or video.guessed_rate
        picture = None if video is None else video.codec_context
        sound = None if audio is None else audio.codec_context
        first = None if picture is None else next(recording.frames(video), None)
        return MediaInfo(
            duration=recording.duration,
            has_video=video is not None,
            has_audio=audio is not None,
            fps=None if rate is None else float(rate),
            width=None if picture is None else picture.width,
            height=None if picture is None else picture.height,
            sample_rate=None if sound is None else sound.sample_rate,
            rotation=0 if first is None else round(first[1].rotation) % 360,
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
    care; where pictures are missing for longer than `MAX_HOLD`, none is. Only these pictures are converted to RGB.
    Stretches that no segment needs are jumped over where the container has an index. One picture is held at a time.

    Args:
        path: the recording.
        segments: may overlap and come in any order.
        rate: pictures per second of a segment (see `sample_times`).
        max_side: shrink pictures whose longer side exceeds this (px).
        max_frames: at most this many pictures a segment, spread evenly.
        threads: decoder threads; 0 = as many as there are cores, 4 at most.

    Yields:
        Segment index and picture in order of time; or segment index and the error that concerns this segment alone,
        before any picture that lies past its end.

    Raises:
        MediaError: the file is missing, empty, no recording, has no video, or nothing in it can be decoded.
    """
    with Recording(path) as recording:
        stream = recording.require("video")
        if recording.duration is None:
            raise _nothing(path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or min(MAX_THREADS, cores())
        spans = resolve(segments, recording.duration, path)
        targets: list[tuple[float, int]] = []
        for index, span in enumerate(spans):
            if isinstance(span, MediaError):
                yield index, span
            else:
                targets += [(time, index) for time in sample_times(span, rate, max_frames)]
        if targets:
            yield from _walk(recording, stream, spans, sorted(targets), rate, max_side)


def _walk(
    recording: Recording,
    stream: Any,
    spans: Sequence[Span | MediaError],
    targets: Sequence[tuple[float, int]],
    rate: float,
    max_side: int | None,
) -> Iterator[tuple[int, Frame | MediaError]]:
    reader = _PictureReader(recording, stream)
    aspect = float(stream.sample_aspect_ratio or 1)
    expected = Counter(index for _, index in targets)
    given: Counter[int] = Counter()
    ends = [(span.end, index, span) for index, span in enumerate(spans) if isinstance(span, Span)]
    ends.sort(key=lambda item: item[:2], reverse=True)
    shown: tuple[float, Any] | None = None  # the picture on screen, not yet converted, and since when
    converted: Image | None = None
    position = 0

    def judge(until: float) -> Iterator[tuple[int, MediaError]]:
        broken = recording.breaks_off_at()
        while ends and ends[-1][0] <= until:
            _, index, span = ends.pop()
            if broken is not None and broken + BREAK_TOLERANCE < span.end:
                yield index, recording.break_error(broken)
            elif given[index] < LEAST_COVER * expected[index] and (span.end_given or not given[index]):
                yield (
                    index,
                    MediaError(
                        f"{recording.path}: {given[index]} of {expected[index]} pictures between {span.start:.2f} and "
                        f"{span.end:.2f} s can be read; the video is shorter than the file, or damaged"
                    ),
                )

    def give(until: float) -> Iterator[tuple[int, Frame | MediaError]]:
        nonlocal position, converted
        while position < len(targets) and targets[position][0] < until - CLOCK:
            time, index = targets[position]
            position += 1
            if shown is None or time - shown[0] > max(MAX_HOLD, reader.frame_duration):
                continue
            yield from judge(time)
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
    if recording.decoded == 0:
        raise _nothing(recording.path)
    yield from judge(math.inf)


def _nothing(path: Path) -> MediaError:
    return MediaError(f"{path}: no picture can be decoded; it may be damaged or of an unsupported codec")


class _PictureReader:
    """Decoded pictures of a recording in order of time, with jumps."""

    def __init__(self, recording: Recording, stream: Any) -> None:
        self.recording, self.stream = recording, stream
        self.frame_duration = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25)))
        self.seek_gap = SEEK_GAP
        self.last = -math.inf
        self.pictures = self._timed()

    def next(self, wanted: float) -> tuple[float, Any] | None:
        """The next picture, jumping ahead first where `wanted` (s) is far; None at the end."""
        reached = max(self.last, 0.0)
        if self.recording.has_index and wanted - reached > self.seek_gap:
            self._seek(wanted, reached)
        for time, picture in self.pictures:
            if time > self.last:  # a jump may give pictures a second time
                self.last = time
                return time, picture
        return None

    def _seek(self, wanted: float, reached: float) -> None:
        # A misleading index gives a picture after the wanted one: go back farther, at last to where reading was.
        for back in (0.0, 2 * SEEK_GAP, None):
            self.recording.seek(self.stream, reached if back is None else max(wanted - back, reached))
            self.pictures = self._timed()
            first = next(self.pictures, None)
            if first is not None and (first[0] <= wanted or back is None):
                if first[0] <= reached:
                    self.seek_gap *= 2  # key frames are farther apart than the gap
                self.pictures = chain([first], self.pictures)
                return

    def _timed(self) -> Iterator[tuple[float, Any]]:
        # Bare streams carry no time stamps: their pictures follow one another at the frame rate.
        clock = 0.0
        for stamp, picture in self.recording.frames(self.stream):
            time = clock if stamp is None else stamp
            clock = time + self.frame_duration
            yield time, picture


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
    turns = round(frame.rotation / 90) % 4
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
            f"{path}: cannot be read as a picture ({reason(error)}); copy it again or convert it to PNG"
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
