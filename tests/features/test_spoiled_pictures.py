"""Blur and rectangles: as large as the face says, where the face is, and nowhere else."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders.talking_face import write_talking_face
from subtext.features.extractor import Source
from subtext.features.faces import FaceExtractor
from subtext.features.spoiled_pictures import DegradedFaces, blur, occlude
from subtext.media.crops import image_crop
from subtext.media.face_detectors import Face, HaarDetector

BOX = (60.0, 40.0, 80.0, 100.0)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    noise[noise == 128] = 127  # so that what is grey was covered
    return noise


class OneFace(HaarDetector):
    """Sees a face in the same place of every picture that is not uniform, and remembers what it saw."""

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        super().__init__()
        self.box = box
        self.blind = False

    def detect(self, image: np.ndarray) -> list[Face]:
        return [] if self.blind else [Face(self.box, 1.0)]


def faces(kind: str, strength: float, box: tuple[float, float, float, float] = BOX, seed: int = 0) -> DegradedFaces:
    clean = FaceExtractor(detector="haar")
    clean.detector = OneFace(box)
    return DegradedFaces(clean, kind, strength, seed)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.8), (1.0, 1.0)])
def test_a_rectangle_covers_its_share_of_the_face_and_nothing_else(
    picture: np.ndarray, share: float, place: tuple[float, float]
) -> None:
    before = picture.copy()
    out = occlude(picture, BOX, share, place)
    covered = (out == 128).all(axis=2)
    assert covered[40:140, 60:140].sum() / (80 * 100) == pytest.approx(share, abs=0.02)
    covered[40:140, 60:140] = False
    assert not covered.any()
    unchanged = ~(out == 128).all(axis=2)
    assert (out[unchanged] == picture[unchanged]).all()
    assert (picture == before).all()


def test_a_larger_rectangle_hides_what_a_smaller_one_hides(picture: np.ndarray) -> None:
    small, large = ((occlude(picture, BOX, share, (0.7, 0.2)) == 128).all(axis=2) for share in (0.2, 0.6))
    assert (large | ~small).all()


def test_a_face_over_the_edge_is_covered_as_far_as_it_is_seen(picture: np.ndarray) -> None:
    out = occlude(picture, (-40, -50, 80, 100), 1.0, (0.5, 0.5))
    assert (out[:50, :40] == 128).all()
    assert (out[50:] == picture[50:]).all()
    assert (occlude(picture, (-200, -200, 80, 100), 1.0, (0.5, 0.5)) == picture).all()


@pytest.mark.parametrize("deviation", [1.0, 4.0, 9.0, 24.0, 40.0])
def test_a_wide_blur_is_the_gaussian_that_it_stands_for(picture: np.ndarray, deviation: float) -> None:
    smooth = cv2.GaussianBlur(picture, (0, 0), 3)
    smooth[80:160, 100:220] = (200, 30, 90)
    before = smooth.copy()
    exact = cv2.GaussianBlur(smooth, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE).astype(float)
    # Of 255 grey levels; the most where a repeated edge is averaged first.
    difference = np.abs(blur(smooth, deviation) - exact)
    assert difference.max() <= 8
    assert difference[60:180, 80:240].max() <= 4
    assert (smooth == before).all()
    assert (blur(np.full((50, 70, 3), 93, np.uint8), deviation) == 93).all()


def test_no_blur_is_the_same_picture(picture: np.ndarray) -> None:
    assert (blur(picture, 0.0) == picture).all()


def test_blur_goes_by_the_height_of_the_face(picture: np.ndarray) -> None:
    for height in (50.0, 100.0):
        alter = faces("blur", 0.04, (60.0, 40.0, 30.0, height)).alteration()
        assert alter is not None
        assert (alter(picture) == blur(picture, 0.04 * height)).all()


def test_a_rectangle_stays_in_its_place_on_the_face(picture: np.ndarray) -> None:
    extractor = faces("occlusion", 0.25)
    alter = extractor.alteration()
    assert alter is not None
    first = (alter(picture) == 128).all(axis=2)
    extractor.detector.box = (90.0, 60.0, 80.0, 100.0)  # type: ignore[attr-defined]
    second = (alter(picture[::-1].copy()) == 128).all(axis=2)
    assert (np.roll(first, (20, 30), axis=(0, 1)) == second).all()
    # Where no face is seen it stays where the face was last.
    extractor.detector.blind = True  # type: ignore[attr-defined]
    assert ((alter(picture) == 128).all(axis=2) == second).all()
    # Another segment, another seed: another place.
    places = {
        tuple(np.argwhere((f.alteration()(picture) == 128).all(axis=2))[0])
        for f in (faces("occlusion", 0.25, seed=seed) for seed in range(4))  # type: ignore[misc]
    }
    assert len(places) > 1


def test_without_a_face_nothing_is_done(picture: np.ndarray) -> None:
    extractor = faces("occlusion", 0.5)
    extractor.detector.blind = True  # type: ignore[attr-defined]
    alter = extractor.alteration(is_picture=True)
    assert alter is not None
    assert (alter(picture) == picture).all()


def test_strength_zero_gives_the_clean_crops(tmp_path: Path) -> None:
    clip = write_talking_face(tmp_path / "clip.mp4", seconds=1.0)
    clean = FaceExtractor(detector="haar", size=48)
    ((_, expected),) = clean.extract([Source(clip, column="video")])
    for kind in ("blur", "occlusion"):
        none: DegradedFaces = pickle.loads(pickle.dumps(DegradedFaces(clean, kind, 0.0, 0)))
        ((_, found),) = none.extract([Source(clip, column="video")])
        np.testing.assert_array_equal(found.values, expected.values)  # type: ignore[union-attr]
        ((_, spoiled),) = DegradedFaces(clean, kind, 0.05, 0).extract([Source(clip, column="video")])
        assert spoiled.values.shape != expected.values.shape or (spoiled.values != expected.values).any()  # type: ignore[union-attr]
    prints = {
        DegradedFaces(clean, kind, strength, seed).fingerprint()
        for kind in ("blur", "occlusion")
        for strength in (0.1, 0.2)
        for seed in (0, 1)
    }
    assert len(prints | {clean.fingerprint()}) == 9


def test_the_detector_sees_the_spoiled_picture_only(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    detector = OneFace(BOX)
    seen: list[np.ndarray] = []
    original = detector.detect
    detector.detect = lambda image: (seen.append(image), original(image))[1]  # type: ignore[method-assign]
    crops = image_crop(path, detector=detector, size=32, alter=lambda image: np.full_like(image, 7))
    assert len(seen) == 1
    assert (seen[0] == 7).all()
    assert (crops.crops == 7).all()
