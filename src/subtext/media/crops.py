"""Face crops of many segments of a recording in one pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from subtext.errors import MediaError
from subtext.media.container import Recording
from subtext.media.face_detectors import Face, FaceDetector
from subtext.media.segment import Segment, is_open
from subtext.media.tracking import Box, FaceTracker, Track, centred, n_people
from subtext.media.video import Image, read_image, sample_frames

MAX_SIDE = 1280
"""Longer side (px) that pictures are shrunk to as they are decoded: enough for a face, and 4k stays within memory."""

Alteration = Callable[[Image], Image]
"""What is done to a segment's pictures, one by one, before a face is looked for in them; it makes new pictures."""


@dataclass(frozen=True)
class FaceCrops:
    """The chosen person's face in a segment; no crops = no face, which is an absent modality.

    Attributes:
        crops: uint8 RGB `[n, size, size, 3]`.
        times: `[n]` seconds from the segment's start.
        boxes: `[n, 4]` x, y, width, height of the face as a share of the picture's width and height.
        face_share: share of the sampled pictures that show the person's face.
        n_people: most faces seen at once.
        n_frames: pictures sampled.
        rate: pictures per second that were sampled: below the wanted rate where a segment was too long for it.
        detector: name of what found the face.
    """

    crops: npt.NDArray[np.uint8]
    times: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    face_share: float
    n_people: int
    n_frames: int
    rate: float
    detector: str


def face_crops(
    path: Path,
    segments: Sequence[Segment],
    *,
    detector: FaceDetector,
    rate: float = 5.0,
    size: int = 112,
    margin: float = 0.15,
    grey: bool = False,
    detect_rate: float = 1.0,
    max_frames: int = 300,
    threads: int = 0,
    sides: Sequence[str] | None = None,
    alter: Callable[[], Alteration | None] | None = None,
) -> Iterator[tuple[int, FaceCrops | MediaError]]:
    """Follow the person of each segment and cut out the face.

    The person is the face with the longest track, then the largest; where a side is given, of those whose median place
    is in that half of the picture.

    Args:
        path: the recording.
        segments: may overlap and come in any order.
        detector: what finds faces.
        rate: pictures per second.
        size: side of the square crops (px).
        margin: added on each side, as a share of the face's longer side.
        grey: luminance in all three channels.
        detect_rate: detections per second; between them faces are tracked.
        max_frames: at most this many pictures a segment; a longer one is sampled evenly at a lower rate.
        threads: decoder threads; 0 = as many as there are cores.
        sides: for each segment "left" or "right", as the picture shows it, or "" for either.
        alter: called once a segment, gives what is done to its pictures; None leaves them as they are.

    Yields:
        Segment index and its crops, or the error that concerns this segment alone, as soon as it is complete.

    Raises:
        MediaError: the file is missing, empty, no recording, has no video, or nothing in it can be decoded.
        WeightsError: the detector's weights are missing or altered.
    """
    with Recording(path) as recording:
        duration = recording.duration
    open_segments: dict[int, _Collector] = {}

    def cut(image: Image, box: Box) -> tuple[Image, npt.NDArray[np.float64]]:
        return crop_square(image, box, size, margin, grey), _relative(box, image)

    frames = sample_frames(path, segments, rate, max_side=MAX_SIDE, max_frames=max_frames, threads=threads)
    for index, frame in frames:
        if isinstance(frame, MediaError):
            open_segments.pop(index, None)
            yield index, frame
            continue
        for number in [n for n, c in open_segments.items() if frame.time >= c.end]:
            yield number, open_segments.pop(number).finish(detector.name)
        if index not in open_segments:
            tracker = FaceTracker(detector, cut, detect_rate)
            side = sides[index] if sides else ""
            altered = alter() if alter else None
            open_segments[index] = _Collector(segments[index], duration, tracker, rate, size, max_frames, side, altered)
        open_segments[index].add(frame.image, frame.time)
    for number, collector in open_segments.items():
        yield number, collector.finish(detector.name)


class _Collector:
    """One segment while its pictures arrive."""

    def __init__(
        self,
        segment: Segment,
        duration: float | None,
        tracker: FaceTracker,
        rate: float,
        size: int,
        max_frames: int,
        side: str,
        alter: Alteration | None,
    ) -> None:
        start, end = segment.start, segment.end
        self.start = 0.0 if is_open(start) else float(start or 0.0)
        self.end = np.inf if is_open(end) else float(end or 0.0)
        length = min(self.end, np.inf if duration is None else duration) - self.start
        self.rate = min(rate, max_frames / length) if np.isfinite(length) and length > 0 else rate
        self.tracker, self.size, self.side, self.alter = tracker, size, side, alter
        self.times: list[float] = []

    def add(self, image: Image, time: float) -> None:
        self.times.append(time - self.start)
        self.tracker.add(image if self.alter is None else self.alter(image), time)

    def finish(self, detector: str) -> FaceCrops:
        return _collect(self.tracker.finish(), np.array(self.times), self.size, self.rate, detector, self.side)


def _collect(
    everybody: list[Track], times: npt.NDArray[np.float64], size: int, rate: float, detector: str, side: str = ""
) -> FaceCrops:
    tracks = [track for track in everybody if not side or _side(track) == side]
    cuts = tracks[0].crops if tracks else []
    return FaceCrops(
        crops=np.stack([crop for crop, _ in cuts]) if cuts else np.zeros((0, size, size, 3), np.uint8),
        times=times[tracks[0].positions] if tracks else np.zeros(0),
        boxes=np.stack([box for _, box in cuts]) if cuts else np.zeros((0, 4)),
        face_share=len(cuts) / len(times) if len(times) else 0.0,
        n_people=n_people(everybody),
        n_frames=len(times),
        rate=rate,
        detector=detector,
    )


def _side(track: Track) -> str:
    return "left" if np.median([box[0] + box[2] / 2 for _, box in track.crops]) < 0.5 else "right"


def image_crop(
    path: Path,
    *,
    detector: FaceDetector,
    size: int = 112,
    margin: float = 0.15,
    grey: bool = False,
    alter: Alteration | None = None,
) -> FaceCrops:
    """The largest face of a picture file, as a segment of one picture at 0 s.

    Raises:
        MediaError: the file is missing, empty, or no picture.
        WeightsError: the detector's weights are missing or altered.
    """
    image = read_image(path, max_side=MAX_SIDE)
    if alter is not None:
        image = alter(image)
    faces = faces_in_picture(image, detector)
    tracks = []
    if faces:
        box = centred(faces[0])
        cut = (crop_square(image, box, size, margin, grey), _relative(box, image))
        tracks = [Track(detections=1, positions=[0], boxes=[box], crops=[cut])]
    return replace(_collect(tracks, np.zeros(1), size, 0.0, detector.name), n_people=len(faces))


def faces_in_picture(image: Image, detector: FaceDetector) -> list[Face]:
    """The faces of a picture that may be cut close, largest first; without landmarks where it had to be bordered.

    Detectors that expect surroundings miss a face that fills the picture, so a picture without a face is searched again
    with a border of half its size.
    """
    faces = detector.detect(image)
    if faces:
        return faces
    border = max(image.shape[:2]) // 2
    faces = detector.detect(cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE))
    return [Face((f.box[0] - border, f.box[1] - border, f.box[2], f.box[3]), f.score) for f in faces]


def crop_square(image: Image, box: Box, size: int, margin: float, grey: bool = False) -> Image:
    """A square around a box (centre x, centre y, width, height in px), resized to `[size, size, 3]`.

    The square stays inside the picture: it is no larger than the shorter side, and moved inwards at an edge. A repeated
    edge would show pixels that nobody recorded.
    """
    height, width = image.shape[:2]
    side = min(max(2, round(max(box[2], box[3]) * (1 + 2 * margin))), height, width)
    left = min(max(round(box[0] - side / 2), 0), width - side)
    top = min(max(round(box[1] - side / 2), 0), height - side)
    part = image[top : top + side, left : left + side]
    if grey:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    out = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return cv2.cvtColor(out, cv2.COLOR_GRAY2RGB) if grey else out


def _relative(box: Box, image: Image) -> npt.NDArray[np.float64]:
    height, width = image.shape[:2]
    x, y = box[0] - box[2] / 2, box[1] - box[3] / 2
    return np.array([x / width, y / height, box[2] / width, box[3] / height])
