"""Whose face is cut out where two people are in one picture, and sound with a clock of its own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from subtext.corpora.studio.write import write_mp4
from subtext.errors import ManifestError
from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.extractor import Source
from subtext.features.faces import FaceExtractor
from subtext.features.prosody import ProsodyExtractor
from subtext.manifest import Manifest, build_manifest
from subtext.media.segment import Segment
from subtext.media.video import sample_frames


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face in full light on the left, the same one in half light on the right; then the right half alone."""
    folder = tmp_path_factory.mktemp("two")
    one = write_talking_face(folder / "one.mp4", 3.0, sound=False)
    frames = [frame.image for _, frame in sample_frames(one, [Segment()], 12.5)]
    dark = [(frame * 0.5).astype(np.uint8) for frame in frames]
    empty = np.full_like(frames[0], 90)
    both = [np.hstack(pair) for pair in zip(frames, dark, strict=True)]
    write_mp4(folder / "both.mp4", both, fps=12.5)
    write_mp4(folder / "right.mp4", [np.hstack([empty, frame]) for frame in dark], fps=12.5)
    return folder


def rows(folder: Path, **columns: object) -> Manifest:
    table = pd.DataFrame(columns)
    table.insert(0, "id", [f"t{row}" for row in range(len(table))])
    return build_manifest(table.assign(speaker="a"), root=folder, name="two")


def test_the_side_says_whose_face_is_cut_out(two: Path) -> None:
    manifest = rows(
        two,
        video=["both.mp4", "both.mp4", "right.mp4", "right.mp4"],
        face_side=["left", "right", "left", "right"],
        start=[0.2] * 4,
        end=[2.6] * 4,
    )
    cache = MemoryCache()
    index = extract(manifest, {"visual": FaceExtractor(detector="haar", size=48)}, cache, progress=False).table
    assert index["status"].tolist() == ["ok", "ok", "absent", "ok"]
    assert "no face found in the left half of" in index["reason"][2]
    light = {row: cache.read(index["key"][row]).values.mean() for row in (0, 1, 3)}
    assert light[1] < 0.65 * light[0]
    assert light[3] == pytest.approx(light[1], rel=0.1)
    assert index["n_people"][0] == index["n_people"][1] == 2


def test_a_side_that_is_none_names_the_row(two: Path) -> None:
    manifest = rows(two, video=["both.mp4"] * 2, face_side=[None, "middle"])
    with pytest.raises(ManifestError, match="row 2, column 'face_side': no side; write left or right"):
        FaceExtractor(detector="haar").sources(manifest)


def test_sound_with_a_clock_of_its_own_is_read_at_its_own_times(tmp_path: Path) -> None:
    manifest = rows(
        tmp_path,
        video=["v.mp4", "v.mp4", "v.mp4"],
        audio=["a.wav", None, "a.wav"],
        start=[1.0, 1.0, None],
        end=[2.0, 2.0, 2.0],
        audio_offset=[0.5, 0.5, None],
    )
    voices = ProsodyExtractor().sources(manifest)
    assert [source.segment for source in voices] == [Segment(1.5, 2.5), Segment(1.0, 2.0), Segment(None, 2.0)]
    faces = FaceExtractor(detector="haar").sources(manifest)
    assert faces[0] == Source(tmp_path.resolve() / "v.mp4", Segment(1.0, 2.0), "video")
    wrong = rows(tmp_path, audio=["a.wav"], audio_offset=["late"])
    with pytest.raises(ManifestError, match="row 1, column 'audio_offset': not a number"):
        ProsodyExtractor().sources(wrong)
