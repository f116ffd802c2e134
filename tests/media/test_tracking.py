import cv2
import numpy as np
import pytest

from subtext.media.face_detectors import Face, FaceDetector
from subtext.media.tracking import FaceTracker, Track, n_people

SIZE = 48
RNG = np.random.default_rng(3)
BACKGROUND = cv2.GaussianBlur(RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8), (0, 0), 6)
PATCHES = [cv2.GaussianBlur(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 3) for _ in range(3)]
Places = dict[int, tuple[float, float, int]]
"""Which patch is where: centre x, centre y, size in px."""


def picture(places: Places) -> np.ndarray:
    image = BACKGROUND.copy()
    for number, (x, y, size) in places.items():
        left, top = round(x - size / 2), round(y - size / 2)
        image[top : top + size, left : left + size] = cv2.resize(PATCHES[number], (size, size))
    return image


class KnownPlaces(FaceDetector):
    """Finds what the test put there, save at the calls it is told to fail at."""

    name = "known"

    def __init__(self, blind: tuple[int, ...] = (), jitter: float = 0.0) -> None:
        self.places: Places = {}
        self.calls = 0
        self.blind, self.jitter = blind, jitter
        self.rng = np.random.default_rng(0)

    def detect(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        if self.calls - 1 in self.blind:
            return []
        boxes = []
        for x, y, size in self.places.values():
            dx, dy, ds = self.jitter * self.rng.standard_normal(3)
            boxes.append((x + dx - (size + ds) / 2, y + dy - (size + ds) / 2, size + ds, size + ds))
        return [Face(box, 1.0) for box in sorted(boxes, key=lambda box: -box[2])]

    def fingerprint(self) -> str:
        return "known"


def run(scenes: list[Places], detector: KnownPlaces, rate: float = 5, detect_rate: float = 1) -> list[Track]:
    tracker = FaceTracker(detector, lambda image, box: box.copy(), detect_rate)
    for number, places in enumerate(scenes):
        detector.places = places
        tracker.add(picture(places), number / rate)
    return tracker.finish()


def error(track: Track, scenes: list[Places], number: int = 0) -> float:
    """Largest distance of a box from where the face is, px."""
    truth = np.array([scenes[position][number][:2] for position in track.positions])
    return float(np.hypot(*(np.array(track.boxes)[:, :2] - truth).T).max())


def test_the_detector_runs_rarely_and_every_picture_has_its_box() -> None:
    scenes: list[Places] = [{0: (100 + number, 100, SIZE)} for number in range(21)]
    detector = KnownPlaces()
    (track,) = run(scenes, detector)
    assert detector.calls == 5
    assert track.positions == list(range(21))
    assert track.detections == 5
    assert error(track, scenes) < 3
    assert all(isinstance(crop, np.ndarray) for crop in track.crops)


def test_a_head_that_nods_between_detections_is_followed() -> None:
    # At every detection it is in the same place: interpolation alone would be wrong by 16 px.
    scenes: list[Places] = [{0: (150, 110 + 16 * np.sin(2 * np.pi * n / 5), SIZE)} for n in range(16)]
    (track,) = run(scenes, KnownPlaces())
    middle = np.array(track.boxes)[:, 1]
    assert np.ptp(middle) > 16
    assert error(track, scenes) < 9  # places are smoothed over three pictures


def test_jitter_of_the_detector_is_damped() -> None:
    scenes: list[Places] = [{0: (150, 110, SIZE)}] * 101
    (rough,) = run(scenes, KnownPlaces(jitter=4), detect_rate=5)
    assert np.array(rough.boxes)[20:, 0].std() < 3
    assert np.array(rough.boxes)[20:, 2].std() < 3


def test_one_missed_detection_breaks_no_track() -> None:
    scenes: list[Places] = [{0: (100 + number, 100, SIZE)} for number in range(16)]
    (track,) = run(scenes, KnownPlaces(blind=(1,)))
    assert len(track.positions) == 16
    assert error(track, scenes) < 4


def test_a_face_that_leaves_ends_and_one_that_comes_begins_there() -> None:
    here: Places = {0: (150, 110, SIZE)}
    scenes: list[Places] = [here] * 8 + [{}] * 13
    (track,) = run(scenes, KnownPlaces())
    assert track.positions == list(range(8))
    scenes = [{}] * 8 + [here] * 8
    (track,) = run(scenes, KnownPlaces())
    assert track.positions == list(range(8, 16))


def test_a_face_that_comes_back_where_it_left_is_the_same() -> None:
    here: Places = {0: (150, 110, SIZE)}
    (track,) = run([here] * 6 + [{}] * 10 + [here] * 6, KnownPlaces())
    assert set(track.positions) >= {*range(6), *range(16, 22)}
    assert not set(track.positions) & set(range(7, 15))


def test_the_person_is_the_longest_track_then_the_largest() -> None:
    long_small, short_large = (60.0, 110.0, 40), (220.0, 110.0, 80)
    scenes: list[Places] = [{0: long_small, 1: short_large}] * 8 + [{0: long_small}] * 8
    tracks = run(scenes, KnownPlaces())
    assert [len(track.positions) for track in tracks] == [16, 8]
    assert tracks[0].boxes[0][0] == pytest.approx(60, abs=2)
    both: list[Places] = [{0: long_small, 1: short_large}] * 10
    tracks = run(both, KnownPlaces())
    assert tracks[0].boxes[0][0] == pytest.approx(220, abs=2)
    assert n_people(tracks) == 2


def test_people_who_pass_each_other_are_counted_not_mixed() -> None:
    scenes: list[Places] = [{0: (60 + 4 * n, 80, SIZE), 1: (260 - 4 * n, 170, SIZE)} for n in range(26)]
    tracks = run(scenes, KnownPlaces(), detect_rate=2.5)
    assert [len(track.positions) for track in tracks] == [26, 26]
    assert {round(track.boxes[0][1] / 10) for track in tracks} == {8, 17}
    for track in tracks:
        assert np.ptp(np.array(track.boxes)[:, 1]) < 10


def test_a_single_false_detection_is_no_person() -> None:
    scenes: list[Places] = [{0: (100, 100, SIZE)}] * 21

    class Once(KnownPlaces):
        def detect(self, image: np.ndarray) -> list[Face]:
            false = [Face((230, 150, 40, 40), 0.1)] if self.calls == 2 else []
            return super().detect(image) + false

    assert n_people(run(scenes, Once())) == 1


def test_no_face_and_one_picture() -> None:
    assert run([{}] * 10, KnownPlaces()) == []
    assert n_people([]) == 0
    assert FaceTracker(KnownPlaces(), lambda image, box: None).finish() == []
    (track,) = run([{0: (100, 100, SIZE)}], KnownPlaces())
    assert track.positions == [0]
    assert n_people([track]) == 1


def test_the_last_picture_is_looked_at() -> None:
    scenes: list[Places] = [{}] * 3 + [{0: (100, 100, SIZE)}] * 1
    (track,) = run(scenes, KnownPlaces())
    assert track.positions == [3]


def test_pictures_are_held_only_until_the_next_detection() -> None:
    detector = KnownPlaces()
    detector.places = {0: (100, 100, SIZE)}
    tracker = FaceTracker(detector, lambda image, box: None, detect_rate=1)
    image = picture(detector.places)
    for number in range(50):
        tracker.add(image, number / 5)
        assert len(tracker._waiting) <= 6
