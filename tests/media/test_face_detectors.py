import csv
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from subtext.errors import ConfigError, WeightsError
from subtext.media import face_detectors as faces
from subtext.media.face_detectors import (
    YUNET_FILE,
    FaceDetector,
    HaarDetector,
    YuNetDetector,
    make_detector,
    read_weights,
)
from subtext.media.segment import Segment
from subtext.media.video import Frame, read_image, sample_frames


@pytest.fixture(scope="module")
def clip_picture(shared_data: Path) -> np.ndarray:
    clip = shared_data / "crema_d" / "VideoFlash" / "1001_DFA_NEU_XX.flv"
    _, frame = next(sample_frames(clip, [Segment(1, 1.2)]))
    assert isinstance(frame, Frame)
    return frame.image


def centre(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_a_real_face_is_found_wherever_and_however_large(
    name: str, shared_models: Path, clip_picture: np.ndarray
) -> None:
    detector = make_detector(name, shared_models)
    (face,) = detector.detect(clip_picture)
    x, y = centre(face.box)
    assert (x, y) == pytest.approx((235, 165), abs=45)
    assert 90 < face.box[2] < 260
    moved = np.roll(clip_picture, (20, 40), axis=(0, 1))
    (again,) = detector.detect(moved)
    assert centre(again.box) == pytest.approx((x + 40, y + 20), abs=12)
    doubled = cv2.resize(clip_picture, None, fx=3, fy=3)
    (large,) = detector.detect(doubled)
    assert centre(large.box) == pytest.approx((3 * x, 3 * y), abs=30)


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_nothing_is_found_in_noise_or_tiny_pictures(name: str, shared_models: Path) -> None:
    detector = make_detector(name, shared_models)
    rng = np.random.default_rng(0)
    for shape in [(240, 320, 3), (16, 16, 3), (1, 1, 3), (2, 300, 3)]:
        assert detector.detect(rng.integers(0, 256, shape, dtype=np.uint8)) == []
        assert detector.detect(np.zeros(shape, np.uint8)) == []


def test_landmarks_lie_in_the_face(shared_models: Path, clip_picture: np.ndarray) -> None:
    (face,) = make_detector("yunet", shared_models).detect(clip_picture)
    assert face.landmarks is not None
    x, y, width, height = face.box
    inside = (face.landmarks > [x, y]) & (face.landmarks < [x + width, y + height])
    assert inside.all()
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_several_faces_come_largest_first(shared_models: Path, clip_picture: np.ndarray) -> None:
    small = cv2.resize(clip_picture, (240, 180))
    both = np.full((360, 720, 3), 128, np.uint8)
    both[90:270, :240] = small
    both[:, 240:] = clip_picture
    found = make_detector("yunet", shared_models).detect(both)
    assert len(found) == 2
    assert found[0].box[2] > 1.5 * found[1].box[2]
    assert found[0].box[0] > 240 > found[1].box[0]


def test_photographs(shared_data: Path, shared_models: Path) -> None:
    with open(shared_data / "faces" / "labels.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "lfw"][::90]
    pictures = [read_image(shared_data / "faces" / "images" / row["image"]) for row in rows]
    detector = make_detector("yunet", shared_models)
    assert sum(len(detector.detect(picture)) >= 1 for picture in pictures) >= 0.98 * len(pictures)


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_a_detector_can_be_sent_to_another_process(name: str, shared_models: Path, clip_picture: np.ndarray) -> None:
    detector = make_detector(name, shared_models)
    before = detector.detect(clip_picture)  # the OpenCV object exists now
    copy: FaceDetector = pickle.loads(pickle.dumps(detector))
    assert [face.box for face in copy.detect(clip_picture)] == [face.box for face in before]


def test_fingerprints_tell_settings_apart() -> None:
    prints = {
        detector.fingerprint()
        for detector in (
            YuNetDetector(),
            YuNetDetector(score=0.5),
            YuNetDetector(side=640),
            HaarDetector(),
            HaarDetector(side=200),
            HaarDetector(neighbours=3),
            HaarDetector(smallest=0.3),
        )
    }
    assert len(prints) == 7
    # Where the weights lie does not shape what is found.
    assert YuNetDetector(Path("a")).fingerprint() == YuNetDetector(Path("b")).fingerprint()


def test_weights_that_are_missing_or_altered_are_refused(tmp_path: Path, shared_models: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"at .*face_detection_yunet_2023mar.onnx; get that file .* folder by paths\.models"
    ):
        make_detector("yunet", tmp_path).detect(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(WeightsError, match=r"encoder\.visual\.extractor\.detector=haar"):
        make_detector("yunet").detect(np.zeros((64, 64, 3), np.uint8))
    content = bytearray((shared_models / YUNET_FILE).read_bytes())
    content[1000] ^= 1
    (tmp_path / YUNET_FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="sha256 differs"):
        read_weights(tmp_path)
    assert len(read_weights(shared_models)) == len(content)
    assert read_weights(shared_models / YUNET_FILE) == read_weights(shared_models)


def test_the_hub_is_asked_only_where_allowed(
    tmp_path: Path, shared_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(faces, "_download", lambda: asked.append(True) or shared_models / YUNET_FILE)
    with pytest.raises(WeightsError):
        read_weights(tmp_path)
    assert not asked
    read_weights(shared_models, allow_download=True)
    assert not asked
    read_weights(tmp_path, allow_download=True)
    assert asked


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"no face detector 'mtcnn'; use yunet or haar: encoder\.visual\.extractor\.detector=NAME"
    ):
        make_detector("mtcnn")


def test_a_narrow_picture_gives_the_same_whatever_was_in_memory(shared_models: Path) -> None:
    rng = np.random.default_rng(5)
    shapes = [(2, 300, 3), (16, 320, 3), (300, 2, 3), (240, 320, 3)]
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    found = []
    for seed in range(80):
        detector = YuNetDetector(shared_models, score=0.3)
        left_behind = [np.full(n, 1e30, np.float32) for n in np.random.default_rng(seed).integers(1000, 200_000, 20)]
        del left_behind
        found.append([[face.box for face in detector.detect(picture)] for picture in noise])
    assert all(boxes == found[0] for boxes in found)
