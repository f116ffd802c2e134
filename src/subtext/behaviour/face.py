"""Where a face is and which way it is turned, picture by picture."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from subtext.errors import MediaError
from subtext.media.face_detectors import Face, FaceDetector
from subtext.media.named import pathless, told
from subtext.media.segment import Segment
from subtext.media.tracking import centred
from subtext.media.video import sample_frames

log = logging.getLogger(__name__)

Side = Literal["left", "right"]
Values = npt.NDArray[np.float64]

RATE: Final = 5.0
"""Pictures per second."""
MAX_SIDE: Final = 320
"""Px of the longer side that pictures are shrunk to; YuNet looks at no more."""
NEAR: Final = 1.0
"""Face widths within which the face of the next picture is the same person's."""


@dataclass(frozen=True)
class FacingRule:
    """When a face counts as turned to the camera; see `facing`.

    Attributes:
        yaw: largest sideways offset of the nose, in inter-ocular distances.
        pitch: largest difference of the nose's height from its median in the recording, as a share of the distance
            from eyes to mouth.
    """

    yaw: float = 0.2
    pitch: float = 0.15


@dataclass(frozen=True)
class FaceTrack:
    """One person's face through a recording; every value is missing where no face was found.

    Attributes:
        times: s from the beginning of the file, `[pictures]`.
        centre: x and y of the face in px, `[pictures, 2]`.
        width: of the face in px, `[pictures]`.
        yaw: offset of the nose tip from the middle between the eyes, along the line through them, in inter-ocular
            distances, `[pictures]`; 0 = frontal, positive = to the picture's right. It grows with the tangent of the
            head's turn; the factor, how far the nose stands out, differs from face to face, so there are no degrees.
            Missing too where the detector gives no landmarks (haar).
        pitch: where the nose tip is between the line of the eyes (0) and the mouth (1), `[pictures]`.
    """

    times: Values
    centre: Values
    width: Values
    yaw: Values
    pitch: Values

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """In which pictures there is a face."""
        return np.isfinite(self.width)

    def between(self, start: float, end: float) -> slice:
        """The pictures of a stretch (s)."""
        return slice(*(int(place) for place in np.searchsorted(self.times, [start, end])))


def facing(track: FaceTrack, rule: FacingRule | None = None) -> Values:
    """For each picture 1 where the face is turned to the camera, 0 where it is turned away, else missing.

    A proxy of looking at the camera. Rule: |yaw| at most `rule.yaw`, and pitch at most `rule.pitch` from the track's
    median, because where the nose stands between eyes and mouth depends on the person and the camera's height. That
    head orientation tells much but not all of gaze: Stiefelhagen & Zhu 2002, "Head orientation and gaze direction in
    meetings", found it to contribute 68.9 % on average.

    What it cannot tell: where the eyes look within the head, with closed eyes or a sideways glance; whether the person
    looks at the other person, unless the camera stands close to the other's face; a head turned so far that no face is
    found (see the share of pictures with a face beside it); a person who looks down most of the time, whose median is
    then down. Its thresholds are ours and not fitted to gaze recordings.
    """
    rule = rule or FacingRule()
    known = track.present & ~np.isnan(track.yaw)
    if not np.isfinite(track.pitch).any():
        return np.full(len(track.times), np.nan)
    level = float(np.nanmedian(track.pitch[known]))
    with np.errstate(invalid="ignore"):
        turned = (np.abs(track.yaw) <= rule.yaw) & (np.abs(track.pitch - level) <= rule.pitch)
    return np.where(known, turned.astype(float), np.nan)


def speeds(track: FaceTrack) -> Values:
    """Speed of the head in face widths per second up to each picture, `[pictures]`; missing where there is no face.

    Formula: distance of the face's centre from that in the picture before / mean face width of the two / seconds
    between them; missing for the first picture. Frame-to-frame displacement of the head is a common measure, such as
    `mov_headvel` of OpenDBM; head movement in psychotherapy: Ramseyer & Tschacher 2014, "Nonverbal synchrony of head-
    and body-movement in psychotherapy". Range from 0, but a still head never gives 0: the detector's box trembles.
    Motion towards the camera and turning on the spot hardly show, a camera that moves does, and what is faster than
    half the picture rate (small nods) is missed.
    """
    out = np.full(len(track.times), np.nan)
    if len(out) < 2:
        return out
    distance = np.hypot(*np.diff(track.centre, axis=0).T)
    seconds = np.diff(track.times)
    width = (track.width[1:] + track.width[:-1]) / 2
    # Over a gap in the pictures a mean speed would be too low.
    joined = seconds < 1.5 * float(np.median(seconds))
    out[1:] = np.where(joined, distance / width / seconds, np.nan)
    return out


def head_angles(face: Face) -> tuple[float, float]:
    """Yaw and pitch offsets of a face as `FaceTrack` has them; missing (NaN) without landmarks.

    In the eyes' own frame, so that a head tilted to the shoulder changes neither.
    """
    if face.landmarks is None:
        return float("nan"), float("nan")
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks.astype(np.float64)
    line = left_eye - right_eye
    distance = float(np.hypot(*line))
    if distance < 1e-6:
        return float("inf"), float("nan")  # in profile: surely not frontal
    across = line / distance
    down = np.array([-across[1], across[0]])
    middle = (right_eye + left_eye) / 2
    height = float(((right_mouth + left_mouth) / 2 - middle) @ down)
    yaw = float((nose - middle) @ across) / distance
    return yaw, float((nose - middle) @ down) / height if abs(height) > 1e-6 else float("nan")


def read_faces(
    path: Path,
    spans: Sequence[tuple[float | None, float | None]],
    detector: FaceDetector,
    *,
    sides: Mapping[str, Side] | None = None,
    rate: float = RATE,
) -> dict[str, FaceTrack]:
    """The faces of a recording, read in one pass.

    Args:
        path: any recording with a picture.
        spans: start and end in s, None = the file's; read as one stretch from the first start to the last end, so that
            listening is seen too.
        detector: what finds faces; it looks at every picture.
        sides: who sits in which half of the picture, where two people are in view. None = one person, whose track has
            the name "": the largest face, then the one nearest to it.
        rate: pictures per second.

    Returns:
        Track of each person.

    Raises:
        MediaError: the file has no picture or cannot be read.
    """
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    whole = Segment(
        None if None in starts else min(start for start in starts if start is not None),
        None if None in ends else max(end for end in ends if end is not None),
    )
    people = {"": None} if sides is None else dict(sides)
    rows: dict[str, list[tuple[float, ...]]] = {person: [] for person in people}
    times: list[float] = []
    for _, frame in sample_frames(path, [whole], rate, max_side=MAX_SIDE):
        if isinstance(frame, MediaError):
            if not times:
                raise frame
            log.warning("%s: %s", told(path), pathless(frame, path))
            continue
        times.append(frame.time)
        faces = detector.detect(frame.image)
        middle = frame.image.shape[1] / 2
        for person, side in people.items():
            own = faces if side is None else [f for f in faces if (centred(f)[0] < middle) == (side == "left")]
            rows[person].append(_row(own, rows[person]))
    return {person: _track(times, values) for person, values in rows.items()}


_ABSENT: Final = (float("nan"),) * 5


def _row(faces: Sequence[Face], before: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Centre, width, yaw and pitch of the person's face in the next picture; `faces` are largest first."""
    if not faces:
        return _ABSENT
    face = faces[0]
    last = next((row for row in before[:-6:-1] if row[2] == row[2]), None)
    if last is not None:
        distances = [float(np.hypot(*(centred(one)[:2] - last[:2]))) for one in faces]
        nearest = int(np.argmin(distances))
        if distances[nearest] <= NEAR * last[2]:
            face = faces[nearest]
    return (*centred(face)[:3], *head_angles(face))


def _track(times: Sequence[float], rows: Sequence[tuple[float, ...]]) -> FaceTrack:
    values = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return FaceTrack(np.array(times), values[:, :2], values[:, 2], values[:, 3], values[:, 4])
