"""Faces: constructed landmarks and moving pictures whose angles and speeds are known."""

from pathlib import Path

import numpy as np
import pytest

from subtext.behaviour.face import FaceTrack, FacingRule, facing, head_angles, read_faces, speeds
from subtext.corpora.studio.write import write_mp4
from subtext.errors import MediaError
from subtext.media.face_detectors import Face, FaceDetector, make_detector
from subtext.media.segment import StreamMissing
from subtext.media.video import Image, read_image

HEAD = np.array([[-30.0, 0, 0], [30, 0, 0], [0, 33, 24], [-24, 60, 0], [24, 60, 0]])
"""Right eye, left eye, nose tip, corners of the mouth: x, y (down) and z (to the camera), mm."""


def turned_face(yaw: float = 0.0, roll: float = 0.0, scale: float = 1.0) -> Face:
    """The face as a distant camera sees it, its head turned by degrees."""
    turn, tilt = np.deg2rad([yaw, roll])
    x = HEAD[:, 0] * np.cos(turn) + HEAD[:, 2] * np.sin(turn)
    y = HEAD[:, 1]
    landmarks = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], axis=1)
    return Face((0.0, 0.0, 100.0, 130.0), 0.9, (200 + scale * landmarks).astype(np.float32))


def track(**values: list[float]) -> FaceTrack:
    """A track of one picture every 0.2 s."""
    count = len(next(iter(values.values())))
    full = {"x": [100.0] * count, "y": [80.0] * count, "width": [50.0] * count, "yaw": [0.0] * count}
    full |= {"pitch": [0.55] * count} | values
    return FaceTrack(
        np.arange(count) * 0.2,
        np.stack([full["x"], full["y"]], axis=1),
        np.array(full["width"]),
        np.array(full["yaw"]),
        np.array(full["pitch"]),
    )


class BrightSquares(FaceDetector):
    """Finds white squares: faces whose place is known exactly."""

    name = "squares"

    def detect(self, image: Image) -> list[Face]:
        bright = image[..., 1] > 128
        columns = np.flatnonzero(bright.any(axis=0))
        faces = []
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else ():
            rows = np.flatnonzero(bright[:, run].any(axis=1))
            faces.append(Face((float(run[0]), float(rows[0]), float(len(run)), float(len(rows))), 1.0))
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])

    def fingerprint(self) -> str:
        return "squares"


@pytest.mark.parametrize("yaw", [-40, -10, 0, 5, 25])
def test_yaw_is_the_tangent_of_the_turn_times_the_nose_depth(yaw: float) -> None:
    offset, height = head_angles(turned_face(yaw))
    assert offset == pytest.approx(24 / 60 * np.tan(np.deg2rad(yaw)), abs=1e-4)
    assert height == pytest.approx(33 / 60, abs=1e-4)


@pytest.mark.parametrize("roll", [-60, -20, 15, 45])
def test_a_head_tilted_to_the_shoulder_faces_as_much_as_an_upright_one(roll: float) -> None:
    assert head_angles(turned_face(20, roll)) == pytest.approx(head_angles(turned_face(20)), abs=1e-4)


def test_size_of_the_face_does_not_matter() -> None:
    assert head_angles(turned_face(20, 10, scale=3)) == pytest.approx(head_angles(turned_face(20, 10)), abs=1e-3)


def test_no_landmarks_no_angle() -> None:
    assert np.isnan(head_angles(Face((0, 0, 10, 10), 1.0))).all()
    assert np.isnan(facing(track(yaw=[np.nan] * 3, pitch=[np.nan] * 3))).all()


def test_facing_by_hand() -> None:
    turned = track(
        yaw=[0.0, 0.1, -0.2, 0.3, -0.5, np.nan, np.inf, 0.0],
        pitch=[0.55, 0.55, 0.55, 0.55, 0.55, np.nan, np.nan, 0.8],
        width=[50.0, 50, 50, 50, 50, np.nan, 50, 50],
    )
    assert facing(turned)[:5].tolist() == [1, 1, 1, 0, 0]
    assert np.isnan(facing(turned)[5])  # no face is neither
    assert facing(turned)[6:].tolist() == [0, 0]  # in profile; looking down
    assert facing(turned, FacingRule(yaw=0.4, pitch=0.3)).tolist()[3:5] == [1, 0]


def test_speed_by_hand() -> None:
    # 10 px to the right and 0 down in 0.2 s at a width of 50 px = 1 face width a second; then 3-4-5.
    found = speeds(track(x=[100.0, 110, 113, np.nan, 113], y=[80.0, 80, 84, np.nan, 84]))
    assert np.isnan(found[0])
    assert found[1:3].tolist() == pytest.approx([1.0, 0.5])
    assert np.isnan(found[3:]).all()


def test_speed_over_lost_pictures_is_missing() -> None:
    whole = track(x=[100.0, 101, 102, 103, 150, 151])
    gap = FaceTrack(whole.times + np.array([0, 0, 0, 0, 2, 2]), whole.centre, whole.width, whole.yaw, whole.pitch)
    assert np.isnan(speeds(gap)[4])
    assert speeds(gap)[5] == pytest.approx(0.1)


def test_speed_does_not_depend_on_the_face_size() -> None:
    near = track(x=[100.0, 120], width=[100.0, 100])
    far = track(x=[100.0, 105], width=[25.0, 25])
    assert speeds(near)[1] == pytest.approx(speeds(far)[1])


def moving_squares(path: Path, seconds: float, *, pixels_a_second: float, second: bool = False) -> Path:
    """Write a white square, 40 px wide, that moves to the right; and one that stands still in the right half."""
    frames = []
    for number in range(round(seconds * 25)):
        frame = np.zeros((240, 640, 3), np.uint8)
        left = round(20 + pixels_a_second * number / 25)
        frame[100:150, left : left + 40] = 255
        if second:
            frame[100:170, 500:560] = 255
        frames.append(frame)
    return write_mp4(path, frames, crf=10)


def test_a_moving_face_in_a_real_file_has_its_speed(tmp_path: Path) -> None:
    # The picture is halved to 320 px on reading; face widths do not know.
    path = moving_squares(tmp_path / "moving.mp4", 4, pixels_a_second=50)
    found = read_faces(path, [(None, None)], BrightSquares())[""]
    assert found.times == pytest.approx(np.arange(20) * 0.2 + 0.1)
    assert found.present.all()
    assert np.nanmedian(speeds(found)) == pytest.approx(50 / 40, rel=0.05)
    assert np.isnan(facing(found)).all()


def test_two_people_in_one_picture_are_told_apart_by_where_they_sit(tmp_path: Path) -> None:
    path = moving_squares(tmp_path / "two.mp4", 3, pixels_a_second=40, second=True)
    found = read_faces(path, [(0.0, 3.0)], BrightSquares(), sides={"client": "left", "counsellor": "right"})
    assert np.nanmedian(speeds(found["client"])) == pytest.approx(1.0, rel=0.1)
    assert np.nanmedian(speeds(found["counsellor"])) == pytest.approx(0.0, abs=0.05)
    assert found["counsellor"].centre[0, 0] == pytest.approx(265, abs=2)


def test_the_person_stays_the_same_when_a_larger_face_comes_in(tmp_path: Path) -> None:
    frames = []
    for number in range(75):
        frame = np.zeros((240, 320, 3), np.uint8)
        frame[100:140, 40:80] = 255
        if number >= 40:
            frame[60:180, 180:280] = 255
        frames.append(frame)
    path = write_mp4(tmp_path / "visitor.mp4", frames)
    found = read_faces(path, [(None, None)], BrightSquares())[""]
    assert found.centre[:, 0] == pytest.approx(np.full(15, 60.0), abs=2)


def test_a_stretch_is_read_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    path = moving_squares(tmp_path / "moving.mp4", 6, pixels_a_second=20)
    found = read_faces(path, [(3.0, 4.0), (1.0, 2.0)], BrightSquares())[""]
    assert (found.times[0], found.times[-1]) == pytest.approx((1.1, 3.9))


def test_sound_alone_has_no_faces(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "voice.mp4", None, waveform=np.zeros(16_000, np.float32))
    with pytest.raises(StreamMissing):
        read_faces(path, [(None, None)], BrightSquares())
    with pytest.raises(MediaError, match="no such file"):
        read_faces(tmp_path / "none.mp4", [(None, None)], BrightSquares())


def test_actors_who_were_told_to_look_at_the_camera_face_it(shared_data: Path, shared_models: Path) -> None:
    detector = make_detector("yunet", shared_models)
    for clip in sorted((shared_data / "crema_d" / "VideoFlash").glob("*.flv"))[:3]:
        found = read_faces(clip, [(None, None)], detector)[""]
        assert found.present.all()
        assert np.nanmean(facing(found)) > 0.9
        assert np.nanmedian(speeds(found)) < 0.4


def test_a_photograph_moved_and_mirrored(shared_data: Path, shared_models: Path, tmp_path: Path) -> None:
    detector = make_detector("yunet", shared_models)
    picture = read_image(sorted((shared_data / "faces" / "images").glob("*"))[0])
    (face, *_) = detector.detect(picture)
    (mirrored, *_) = detector.detect(np.ascontiguousarray(picture[:, ::-1]))
    assert head_angles(mirrored)[0] == pytest.approx(-head_angles(face)[0], abs=0.06)
    assert head_angles(mirrored)[1] == pytest.approx(head_angles(face)[1], abs=0.1)
    height, width = picture.shape[:2]
    frames = []
    for number in range(75):
        frame = np.full((height, width + 160, 3), 120, np.uint8)
        left = 2 * number  # 50 px a second
        frame[:, left : left + width] = picture
        frames.append(frame)
    found = read_faces(write_mp4(tmp_path / "moved.mp4", frames), [(None, None)], detector)[""]
    expected = 50 / face.box[2]
    assert np.nanmedian(speeds(found)) == pytest.approx(expected, rel=0.2)
