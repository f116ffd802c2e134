"""An open recording: its streams, its clock, and its decoded frames, whatever is damaged."""

import heapq
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import av.error
from av.stream import Disposition

from subtext.errors import MediaError
from subtext.media.named import told
from subtext.media.segment import StreamMissing

log = logging.getLogger(__name__)

NOT_RECORDINGS: Final = ("tty", "srt", "ass", "webvtt", "hls", "concat", "ffmetadata")
"""Text that FFmpeg would open too."""

GUESSED_DURATION: Final = ("mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegvideo", "h264", "hevc", "m4v")
"""Bare streams without a header that says how long they are; FFmpeg guesses from the bit rate."""

INDEXED: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav")
"""Containers with an index, so that a seek lands where it says; others are read through."""

ORDER_IS_TIME: Final = ("avi", "asf", "mpegvideo")
"""Containers that keep one time a picture: when it is decoded, or shown. Sorted, either is the order in which pictures
come out of the decoder; FFmpeg's own guess of the time is late where pictures are decoded ahead (B-frames)."""

BREAK_TOLERANCE: Final = 0.5
"""Seconds by which a file may end before its header says so and still count as whole."""


class Recording:
    """A recording opened for reading, to be used in a `with` statement.

    Attributes:
        path: the file.
        container: PyAV's.
        duration: length in seconds: what the header says, else the end of the last packet (browsers and live recorders
            write no length); None where there is no packet either.
        origin: time stamp in seconds of the beginning of the file: MPEG-TS, for one, does not begin at 0. What comes
            before 0 is the run-up of a sound codec, which is never played.
        decoded: frames decoded so far.

    Raises:
        MediaError: the file is missing, empty, or no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.container = _open(path)
        self.origin = max(0.0, (self.container.start_time or 0) / av.time_base)
        self.duration = self._length()
        self.decoded = 0
        self._damaged = 0
        self._told: set[str] = set()
        self._ended = False
        self._file_end = 0.0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._damaged:
            log.warning("%s: %d packets are damaged and were left out", told(self.path), self._damaged)
        self.container.close()

    @property
    def video(self) -> Any:
        """The moving picture that is marked as the default, else the first; None if there is none.

        A cover image does not count, nor does a track of one picture beside others: that is a cover without its mark.
        """
        return _default(self._tracks("video"))

    @property
    def audio(self) -> Any:
        """The sound track that is marked as the default, else the first; None if there is none."""
        return _default(self._tracks("audio"))

    def _tracks(self, kind: str) -> list[Any]:
        if kind == "audio":
            return list(self.container.streams.audio)
        pictures = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        return [s for s in pictures if s.frames != 1] or pictures

    def tell(self, notice: str) -> None:
        """Say once what is odd about the recording but does not stop its reading."""
        if notice not in self._told:
            self._told.add(notice)
            log.warning("%s: %s", told(self.path), notice)

    def require(self, kind: str) -> Any:
        """The stream of a kind, "video" or "audio".

        Raises:
            StreamMissing: there is none.
            MediaError: there is no decoder for it.
        """
        stream = self.video if kind == "video" else self.audio
        if stream is None:
            other = "audio" if kind == "video" else "video"
            raise StreamMissing(
                f"{self.path}: has no {kind} stream; give a recording that has one, or name the file as {other} only"
            )
        if stream.codec_context is None:
            raise MediaError(
                f"{self.path}: its {kind} is of a codec that cannot be decoded here; convert it to H.264 + AAC"
            )
        tracks = self._tracks(kind)
        if len(tracks) > 1:
            self.tell(
                f"has {len(tracks)} {kind} tracks, of which track {tracks.index(stream) + 1} is read (the one marked "
                "as the default, else the first); give another one as a file of its own"
            )
        return stream

    @property
    def has_index(self) -> bool:
        """Whether a seek can be trusted."""
        return self.container.format.name in INDEXED

    def seek(self, stream: Any, time: float) -> None:
        """Go to the key frame before `time` (s); frames must then be asked for anew."""
        self.container.seek(round((time + self.origin) / stream.time_base), stream=stream, backward=True)
        stream.codec_context.flush_buffers()

    def frames(self, stream: Any) -> Iterator[tuple[float | None, Any]]:
        """Decoded frames of a stream with their times in seconds; damaged packets are left out and counted."""
        name = self.container.format.name
        order = _OutputOrder() if stream.type == "video" and name in ORDER_IS_TIME else None
        for number, (packet, reached) in enumerate(_packets(self.container)):
            # Every stream tells how far the file reaches, so a track that ends early is not taken for a broken file.
            self._file_end = max(self._file_end, reached - self.origin)
            if packet.stream.index != stream.index:
                continue
            if order is not None:
                order.enter(packet, number)
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                log.debug("%s: packet not decoded: %s", told(self.path), type(error).__name__)
                self._damaged += 1
                if order is not None:
                    order.refused(packet.dts)
                continue
            self.decoded += len(frames)
            for frame in frames:
                stamp = frame.pts if order is None else order.stamp(frame)
                yield None if stamp is None else float(stamp * frame.time_base) - self.origin, frame
        self._ended = True

    def _length(self) -> float | None:
        declared = self._declared()
        if declared is None:
            return self._measured()
        if self.origin <= BREAK_TOLERANCE or self.container.format.name == "mpegts":  # FFmpeg counts that from stamps
            return declared
        # Where stamps begin late some writers declare the length, others the end as it is counted from 0.
        counted_from_0 = declared - self.origin
        reached = self._measured() or 0.0
        return counted_from_0 if reached <= counted_from_0 + BREAK_TOLERANCE else declared

    def _declared(self) -> float | None:
        if self.container.format.name in GUESSED_DURATION:
            return None
        if self.container.duration is not None and self.container.duration > 0:
            return self.container.duration / av.time_base
        lengths = [float(s.duration * s.time_base) for s in self.container.streams if s.duration and s.time_base]
        return max(lengths, default=None)

    def _measured(self) -> float | None:
        # In a container of its own: not every kind of file can be wound back.
        with _open(self.path) as container:
            end = max((reached for _, reached in _packets(container)), default=0.0) - self.origin
        return end if end > 0 else None

    def breaks_off_at(self) -> float | None:
        """Seconds at which the file ends although its header promises more; None while that is not known."""
        if not self._ended or self.duration is None or self._file_end >= self.duration - BREAK_TOLERANCE:
            return None
        return self._file_end

    def break_error(self, time: float) -> MediaError:
        """What to say of a segment that reaches beyond the point where the file breaks off."""
        return MediaError(
            f"{self.path}: the file breaks off at {time:.2f} s, before this segment's end; copy or record it again"
        )


class _OutputOrder:
    """Times of pictures that come out of a decoder in the order in which they are shown (see `ORDER_IS_TIME`)."""

    def __init__(self) -> None:
        self.stamps: list[int] = []  # a heap: of packets that went in, without those given to pictures
        self.inside: set[int] = set()  # numbers of packets whose own pictures are not out yet
        self.refusals = 0  # packets that were refused, which are still among those inside

    def enter(self, packet: Any, number: int) -> None:
        """Note a packet's stamp, and give it its number, which the decoder hands on to its picture."""
        if packet.size and packet.dts is not None:
            heapq.heappush(self.stamps, packet.dts)
            self.inside.add(number)
            packet.pts = number

    def refused(self, stamp: int | None) -> None:
        """One packet has no picture: this one, or one a little before it that another thread was at."""
        if stamp in self.stamps:
            self.stamps.remove(stamp)
            heapq.heapify(self.stamps)
            self.refusals += 1

    def stamp(self, frame: Any) -> int | None:
        """The stamp of the next picture: the earliest that is left."""
        self.inside.discard(frame.pts)
        if frame.key_frame and frame.pts is not None:
            # What was decoded before a key frame is out with it, or was damaged, of which decoders may say nothing.
            lost = {number for number in self.inside if number < frame.pts}
            self.inside -= lost
            for _ in range(min(len(lost) - self.refusals, len(self.stamps) - 1)):
                heapq.heappop(self.stamps)
            self.refusals = max(0, self.refusals - len(lost))
        return heapq.heappop(self.stamps) if self.stamps else None


def _default(tracks: Sequence[Any]) -> Any:
    return next((t for t in tracks if t.disposition & Disposition.default), next(iter(tracks), None))


def reason(error: Exception) -> str:
    """An error of a library in a few words."""
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _open(path: Path) -> Any:
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
            f"{path}: cannot be opened as a recording ({reason(error)}); it may be cut off, or of another kind than "
            "its name says"
        ) from error
    if container.format.name in NOT_RECORDINGS:
        container.close()
        raise MediaError(f"{path}: is a text file, not a recording; give a video or sound file")
    return container


def _packets(container: Any) -> Iterator[tuple[Any, float]]:
    """Each packet and the second that its stream reaches with it, until the file ends or cannot be read on."""
    reached: dict[int, float] = defaultdict(float)
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, IndexError) as error:
            # PyAV trips over a stream that begins in mid-file (MPEG-TS), once the others are read: that is the end too.
            log.debug("%s: reading stops: %s", told(Path(container.name)), type(error).__name__)
            return
        if packet is None:
            return
        stream = packet.stream.index
        if packet.size and packet.time_base:
            stamp = packet.dts if packet.pts is None else packet.pts
            begin = reached[stream] if stamp is None else float(stamp * packet.time_base)
            reached[stream] = max(reached[stream], begin + float((packet.duration or 0) * packet.time_base))
        yield packet, reached[stream]
