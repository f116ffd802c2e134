"""The frames that a model is sent: which moments they are, and what is cut from them."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builders.talking_face import write_talking_face
from subtext.corpora.studio.write import write_mp4
from subtext.errors import ConfigError
from subtext.features.extractor import NoSource, Source
from subtext.features.faces import FaceExtractor
from subtext.media.segment import Segment
from subtext.vlm.clips import FrameReader
from subtext.vlm.inputs import Frames

FPS = 25


def reader(**settings: object) -> FrameReader:
    given = {"face": FaceExtractor(detector="haar", size=64)} | settings
    return FrameReader(**given)  # type: ignore[arg-type]


def grey(frames: Frames | str) -> list[int]:
    assert isinstance(frames, Frames), frames
    return [round(float(image.mean())) for image in frames.images]


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s whose grey rises by 2 with every picture."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    pictures = (np.full((48, 64, 3), 20 + 2 * number, np.uint8) for number in range(4 * FPS))
    return write_mp4(path, pictures, FPS, None, 16_000)


def test_frames_are_those_of_their_times(ramp: Path) -> None:
    sources = {
        "whole": Source(ramp, column="video"),
        "late": Source(ramp, Segment(2.0, 4.0), "video"),
        "early": Source(ramp, Segment(0.0, 1.0), "video"),
    }
    found = reader(count=4).read(sources)
    for name, start, length in (("whole", 0.0, 4.0), ("late", 2.0, 2.0), ("early", 0.0, 1.0)):
        frames = found[name]
        assert isinstance(frames, Frames)
        assert frames.duration == pytest.approx(length)
        assert frames.times == pytest.approx([length * (n + 0.5) / 4 for n in range(4)])
        shown = [20 + 2 * int((start + time) * FPS + 1e-6) for time in frames.times]
        assert np.abs(np.array(grey(frames)) - shown).max() <= 2


def test_times_are_a_setting_and_reach_both_ends(ramp: Path) -> None:
    frames = reader(times=[0.0, 0.25, 1.0]).read({"a": Source(ramp, column="video")})["a"]
    assert isinstance(frames, Frames)
    assert frames.times == pytest.approx([0.0, 1.0, 4.0])
    assert np.abs(np.array(grey(frames)) - [20, 70, 218]).max() <= 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"view": "side"}, "FrameReader: view is 'side'; write whole, face or both"),
        ({"count": 0}, "FrameReader: count is 0; write a whole number of at least 1"),
        ({"times": []}, "frames.times=[]: write shares of the segment from 0 to 1, in rising order"),
        ({"times": [0.5, 0.1]}, "frames.times=[0.5, 0.1]: write shares of the segment from 0 to 1, in rising order"),
        ({"times": [-0.1]}, "FrameReader: times[0] is -0.1; write a number from 0 to 1"),
        ({"times": [1.1]}, "FrameReader: times[0] is 1.1; write a number from 0 to 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(said)}$"):
        reader(**settings)


def test_what_cannot_be_read_says_why_and_spoils_nothing_else(ramp: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    found = reader(count=2).read(
        {
            "good": Source(ramp, column="video"),
            "past": Source(ramp, Segment(10.0, 11.0), "video"),
            "none": NoSource("absent", "the row names no video or image"),
            "empty": Source(tmp_path / "empty.mp4", column="video"),
            "text": Source(tmp_path / "text.mp4", column="video"),
            "gone": Source(tmp_path / "gone.mp4", column="video"),
        }
    )
    assert isinstance(found["good"], Frames)
    assert all(isinstance(reason, str) and reason for name, reason in found.items() if name != "good")
    assert "the file ends at 4.00 s" in str(found["past"])


def test_a_picture_stands_twice(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (200, 100, 0)).save(tmp_path / "a.png")
    frames = reader(count=8).read({"a": Source(tmp_path / "a.png", column="image")})["a"]
    assert isinstance(frames, Frames)
    assert frames.images.shape == (2, 48, 64, 3)
    assert (frames.images[0] == frames.images[1]).all()


def test_the_face_alone_or_beside_the_picture(tmp_path: Path) -> None:
    path = write_talking_face(tmp_path / "a.mp4", 2.0, width=160, height=120, fps=10)
    source = {"a": Source(path, column="video")}
    whole, face, both = (reader(count=3, view=view).read(source)["a"] for view in ("whole", "face", "both"))
    assert isinstance(whole, Frames)
    assert isinstance(face, Frames)
    assert isinstance(both, Frames)
    assert face.images.shape == (3, 64, 64, 3)
    assert np.abs(np.array(face.times) - whole.times).max() <= 0.2, "the nearest pictures in which it is followed"
    assert both.images.shape == (3, 120, 160 + 120, 3)
    assert (both.images[:, :, :160] == whole.images).all()
    assert both.images[:, :, 160:].std() > 20


def test_no_face_is_no_frame_and_black_beside_the_picture(ramp: Path) -> None:
    source = {"a": Source(ramp, Segment(0.0, 1.0), "video")}
    assert "no face found" in str(reader(view="face").read(source)["a"])
    both = reader(view="both", count=2).read(source)["a"]
    assert isinstance(both, Frames)
    assert both.images[:, :, 64:].max() == 0


def test_a_real_face(shared_data: Path, shared_models: Path) -> None:
    path = shared_data / "crema_d" / "VideoFlash" / "1001_DFA_ANG_XX.flv"
    face = FaceExtractor(models=shared_models, size=96)
    frames = reader(count=4, view="face", face=face).read({"a": Source(path, column="video")})["a"]
    assert isinstance(frames, Frames)
    assert frames.images.shape == (4, 96, 96, 3)
    assert list(frames.times) == sorted(frames.times)
