"""Spoiled pictures: out of focus, or with something in front of the face."""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import cv2
import numpy as np

from subtext.features.extractor import settings_digest
from subtext.features.faces import FaceExtractor
from subtext.media.crops import Alteration, faces_in_picture
from subtext.media.face_detectors import Face
from subtext.media.video import Image

VERSION: Final = 1
GREY: Final = 128
_WIDEST: Final = 8.0
"""px of standard deviation above which a blurred picture is computed at a lower resolution, of which it has no need."""


def blur(image: Image, deviation: float) -> Image:
    """A Gaussian blur, as of a lens out of focus.

    Args:
        image: uint8 RGB `[height, width, 3]`; it is left as it is.
        deviation: standard deviation in px.
    """
    if deviation <= 0:
        return image.copy()
    factor = max(1, math.floor(2 * deviation / _WIDEST))
    if factor == 1:
        return cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
    height, width = image.shape[:2]
    small = cv2.resize(image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    # Averaging over squares (variance 1/12) and the straight lines of growing back (1/6) are blurs themselves.
    rest = math.sqrt((deviation / factor) ** 2 - 0.25)
    small = cv2.GaussianBlur(small, (0, 0), rest, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def occlude(image: Image, box: Sequence[float], share: float, place: tuple[float, float]) -> Image:
    """A grey rectangle, of the face's proportions, over a share of its box.

    Args:
        image: uint8 RGB `[height, width, 3]`; it is left as it is.
        box: x, y, width, height of the face in px.
        share: of the box's area.
        place: where in the box, 0 (left, top) to 1 (right, bottom). Of two shares at one place the larger hides all
            that the smaller hides.
    """
    x, y, width, height = box
    side = math.sqrt(share)
    left, top = x + place[0] * (1 - side) * width, y + place[1] * (1 - side) * height
    out = image.copy()
    if share > 0:
        edges = [max(0, round(edge)) for edge in (left, top, left + side * width, top + side * height)]
        out[edges[1] : edges[3], edges[0] : edges[2]] = GREY
    return out


class DegradedFaces(FaceExtractor):
    """A run's face extractor on spoiled pictures.

    Where the faces are is told by the run's own detector on the pictures as they were: the blur's width goes by the
    height of the largest, and something is put in front of every one. Detector and tracker then see spoiled pictures
    only. Where a picture shows no face, those of the picture before count.

    Args:
        clean: the run's extractor.
        kind: "blur" or "occlusion".
        strength: standard deviation of the blur by the height of the face, or share of the face's box.
        seed: with a segment's first picture, decides where the rectangle is; it moves with the face.
    """

    def __init__(self, clean: FaceExtractor, kind: str, strength: float, seed: int) -> None:
        vars(self).update(vars(clean))
        self.kind, self.strength, self.seed = kind, strength, seed

    def fingerprint(self) -> str:
        """sha256 over the clean extractor and what is done to the pictures."""
        settings: dict[str, Any] = {"kind": self.kind, "strength": self.strength, "seed": self.seed, "version": VERSION}
        return settings_digest({"clean": super().fingerprint(), **settings})

    def alteration(self, is_picture: bool = False) -> Alteration | None:
        """What is done to the pictures of one segment."""
        find = partial(faces_in_picture, detector=self.detector) if is_picture else self.detector.detect
        return _Alteration(find, self.kind, self.strength, self.seed)


class _Alteration:
    def __init__(self, find: Callable[[Image], list[Face]], kind: str, strength: float, seed: int) -> None:
        self.find, self.kind, self.strength, self.seed = find, kind, strength, seed
        self.faces: list[Face] = []
        self.place: tuple[float, float] | None = None

    def __call__(self, image: Image) -> Image:
        if self.strength == 0:
            return image
        if self.place is None:
            digest = hashlib.sha256(f"{self.seed} {image.shape} ".encode() + image.tobytes()).digest()
            x, y = np.random.default_rng(int.from_bytes(digest[:8], "big")).random(2)
            self.place = (float(x), float(y))
        self.faces = self.find(image) or self.faces
        if not self.faces:
            return image
        if self.kind == "blur":
            return blur(image, self.strength * self.faces[0].box[3])
        for face in self.faces:
            image = occlude(image, face.box, self.strength, self.place)
        return image
