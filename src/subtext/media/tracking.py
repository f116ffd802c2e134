"""Follow faces through the sampled pictures of a segment: detect sparsely, track between, smooth, choose the person."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from subtext.media.face_detectors import Face, FaceDetector, shrink
from subtext.media.video import Image

Box = npt.NDArray[np.float64]
"""Centre x, centre y, width, height in px."""

TRACK_SIDE: Final = 320
"""Longer side (px) of the grey pictures that templates are compared on."""
TEMPLATE_SIDE: Final = 32
"""Side (px) that a face has when it is compared: coarse enough that expressions matter little."""
SEARCH: Final = 0.4
"""Reach of the search around the expected place, in face widths."""
LIKENESS: Final = 0.5
"""Least normalised cross-correlation for a face to count as found between detections."""
INERTIA: Final = 0.5
"""Weight of the tracked size and place when a detection updates them."""
MAX_TRACKS: Final = 4
"""Faces followed at once, the largest ones."""


@dataclass
class Track:
    """One face through a segment.

    Attributes:
        detections: how often the detector itself found it.
        positions: index of each picture that shows it.
        boxes: its box in each of them.
        crops: what `cut` made of each of them.
    """

    detections: int = 0
    positions: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    crops: list[Any] = field(default_factory=list)
    # State at the last picture that was a detection.
    last: Box = field(default_factory=lambda: np.zeros(4))
    size: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    template: npt.NDArray[np.uint8] | None = None
    seen: bool = False  # in the most recent detection

    @property
    def area(self) -> float:
        """Median area in px."""
        return float(np.median([box[2] * box[3] for box in self.boxes])) if self.boxes else 0.0


@dataclass(frozen=True)
class _Picture:
    position: int
    image: Image
    grey: npt.NDArray[np.uint8]
    scale: float


class FaceTracker:
    """Faces of one segment, picture by picture.

    The detector runs `detect_rate` times a second of the recording and on the last picture. Between two detections of
    the same face its box moves from one to the other, corrected by matching its own template; where only one of the two
    shows it, the template alone must find it (normalised cross-correlation of at least `LIKENESS`), else the face
    counts as not there. Detections move a tracked box half way, and places are smoothed over three pictures. A face
    that comes back where it left is the same one. Pictures are held only until the next detection.

    Args:
        detector: what finds faces.
        cut: called with each picture and box (px) of each face; its result is kept in the track.
        detect_rate: detections per second.
    """

    def __init__(self, detector: FaceDetector, cut: Callable[[Image, Box], Any], detect_rate: float = 1.0) -> None:
        self.detector, self.cut, self.interval = detector, cut, 1 / detect_rate
        self.tracks: list[Track] = []
        self.pictures = 0
        self._waiting: list[_Picture] = []  # since the last detection, which is the first of them
        self._detected_at = -np.inf

    def add(self, image: Image, time: float) -> None:
        """Take the next picture, `time` in seconds."""
        small, scale = shrink(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), TRACK_SIDE)
        self._waiting.append(_Picture(self.pictures, image, small, scale))
        self.pictures += 1
        if time - self._detected_at >= self.interval - 1e-6:
            self._detected_at = time
            self._detect()

    def finish(self) -> list[Track]:
        """End the segment; its faces, the chosen person first: longest track, then largest."""
        if len(self._waiting) > 1 or (self._waiting and self._detected_at == -np.inf):
            self._detect()
        self._waiting = []
        tracks = [track for track in self.tracks if track.positions]
        return sorted(tracks, key=lambda track: (-len(track.positions), -track.area))

    def _detect(self) -> None:
        first_ever = self._waiting[0].position == self._waiting[-1].position
        between, here = (self._waiting[:-1] if first_ever else self._waiting[1:-1]), self._waiting[-1]
        faces = [centred(face) for face in self.detector.detect(here.image)[:MAX_TRACKS]]
        matches = _match(self.tracks, faces)
        for number, track in enumerate(self.tracks):
            if number in matches:
                self._update(track, faces[matches[number]], between, here)
            elif track.seen:
                self._lose(track, [*between, here])
        for number, face in enumerate(faces):
            if number not in matches.values():
                track = Track()
                self.tracks.append(track)
                self._update(track, face, between, here)
        self._waiting = [here]

    def _update(self, track: Track, face: Box, between: list[_Picture], here: _Picture) -> None:
        size = face[2:]
        ratio = size / np.maximum(track.size, 1e-9)
        if track.detections and np.all((ratio > 0.7) & (ratio < 1.4)):
            size = INERTIA * track.size + (1 - INERTIA) * size
        target = np.concatenate([face[:2], size])
        if track.seen:
            # The template follows motion without the detector's jitter; the detector keeps it from drifting.
            place, likeness = _find(here, track.template, target)
            if likeness >= LIKENESS:
                target[:2] = INERTIA * place[:2] + (1 - INERTIA) * target[:2]
        template = _template(here, target)
        if track.seen:
            path = self._interpolate(track, target, between)
        else:
            path = self._follow(template, target, between[::-1])[::-1]
        path.append((here, target))
        self._keep(track, path)
        track.detections += 1
        track.last, track.size, track.template, track.seen = target, size, template, True

    def _lose(self, track: Track, after: list[_Picture]) -> None:
        self._keep(track, self._follow(track.template, track.last, after))
        track.seen = False

    def _interpolate(self, track: Track, target: Box, between: list[_Picture]) -> list[tuple[_Picture, Box]]:
        path = []
        for step, picture in enumerate(between, start=1):
            share = step / (len(between) + 1)
            expected = (1 - share) * track.last + share * target
            place, likeness = _find(picture, track.template, expected)
            path.append((picture, place if likeness >= LIKENESS else expected))
        return path

    def _follow(
        self, template: npt.NDArray[np.uint8] | None, start: Box, pictures: list[_Picture]
    ) -> list[tuple[_Picture, Box]]:
        path = []
        box = start
        for picture in pictures:
            place, likeness = _find(picture, template, box)
            if likeness < LIKENESS:
                break
            box = place
            path.append((picture, box))
        return path

    def _keep(self, track: Track, path: list[tuple[_Picture, Box]]) -> None:
        boxes = [box for _, box in path]
        joined = bool(track.positions and path and track.positions[-1] == path[0][0].position - 1)
        for number, (picture, box) in enumerate(path):
            before = boxes[number - 1] if number else (track.boxes[-1] if joined else None)
            after = boxes[number + 1] if number + 1 < len(boxes) else None
            smooth = box.copy()
            if before is not None and after is not None:
                smooth[:2] = 0.25 * before[:2] + 0.5 * box[:2] + 0.25 * after[:2]
            track.positions.append(picture.position)
            track.boxes.append(smooth)
            track.crops.append(self.cut(picture.image, smooth))


def n_people(tracks: list[Track]) -> int:
    """Most faces in one picture; one that was detected only once counts only if no other was detected more often."""
    often = max((track.detections for track in tracks), default=0)
    counted = [track for track in tracks if track.detections > 1 or often == 1]
    positions = [position for track in counted for position in track.positions]
    return int(np.bincount(positions).max()) if positions else 0


def centred(face: Face) -> Box:
    """The face's box by its centre."""
    x, y, width, height = face.box
    return np.array([x + width / 2, y + height / 2, width, height])


def _match(tracks: list[Track], faces: list[Box]) -> dict[int, int]:
    """Track number -> face number, nearest first; centres at most 0.7 mean sizes apart, sizes within a factor of 2."""
    pairs = []
    for t, track in enumerate(tracks):
        for f, face in enumerate(faces):
            size = (track.last[2] + face[2]) / 2
            distance = float(np.hypot(*(track.last[:2] - face[:2]))) / max(size, 1e-9)
            ratio = max(track.last[2], face[2]) / max(min(track.last[2], face[2]), 1e-9)
            if distance < 0.7 and ratio < 2:
                pairs.append((distance, t, f))
    matches: dict[int, int] = {}
    for _, t, f in sorted(pairs):
        if t not in matches and f not in matches.values():
            matches[t] = f
    return matches


def _patch(picture: _Picture, box: Box, reach: float) -> tuple[npt.NDArray[np.uint8], float] | None:
    """The surroundings of a box, `1 + 2 * reach` boxes wide, scaled so that the box is `TEMPLATE_SIDE` px wide."""
    centre = box[:2] * picture.scale
    side = max(box[2:]) * picture.scale
    if side < 4:
        return None
    pixels = round(TEMPLATE_SIDE * (1 + 2 * reach))
    zoom = TEMPLATE_SIDE / side
    matrix = np.array([[zoom, 0, pixels / 2 - zoom * centre[0]], [0, zoom, pixels / 2 - zoom * centre[1]]])
    patch = cv2.warpAffine(
        picture.grey, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return patch, zoom * picture.scale


def _template(picture: _Picture, box: Box) -> npt.NDArray[np.uint8] | None:
    found = _patch(picture, box, 0.0)
    return None if found is None else found[0]


def _find(picture: _Picture, template: npt.NDArray[np.uint8] | None, expected: Box) -> tuple[Box, float]:
    """The place near `expected` most like the template, and the normalised cross-correlation there."""
    found = _patch(picture, expected, SEARCH)
    if found is None or template is None:
        return expected, -1.0
    patch, zoom = found
    scores = cv2.matchTemplate(patch, template, cv2.TM_CCOEFF_NORMED)
    _, likeness, _, (x, y) = cv2.minMaxLoc(scores)
    middle = (patch.shape[0] - TEMPLATE_SIDE) / 2
    box = expected.copy()
    box[:2] += np.array([x - middle, y - middle]) / zoom
    return box, float(likeness) if np.isfinite(likeness) else -1.0
