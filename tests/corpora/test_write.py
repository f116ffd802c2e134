import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from builders.numbered_pictures import chirp, number_of, numbered
from subtext.corpora.studio.write import write_mp4
from subtext.media.audio import Sound, read_segments
from subtext.media.segment import Segment
from subtext.media.video import Frame, probe, sample_frames


def test_what_is_written_is_h264_and_aac_and_reads_back(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "new" / "folder" / "a.mp4", numbered(50), 25, chirp(2))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.audio[0].codec_context.name == "aac"
    assert probe(path).duration == pytest.approx(2, abs=0.07)
    pictures = [f.image for _, f in sample_frames(path, [Segment()], 25) if isinstance(f, Frame)]
    assert [number_of(image) for image in pictures] == list(range(50))
    ((_, sound),) = read_segments(path, [Segment()])
    assert isinstance(sound, Sound)
    assert np.corrcoef(sound.samples[: 2 * 16_000], chirp(2)[: len(sound.samples)])[0, 1] > 0.99


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    digests = {
        hashlib.sha256(write_mp4(tmp_path / name, noise, 10, chirp(2)).read_bytes()).hexdigest()
        for name in ("a.mp4", "b.mp4")
    }
    assert len(digests) == 1


def test_odd_sizes_are_made_even_without_shifting(tmp_path: Path) -> None:
    image = np.full((15, 17, 3), 80, np.uint8)
    ((_, frame),) = sample_frames(write_mp4(tmp_path / "a.mp4", [image], 5), [Segment()])
    assert isinstance(frame, Frame)
    assert frame.image.shape == (16, 18, 3)
    assert np.abs(frame.image.astype(int) - 80).max() <= 2


@pytest.mark.parametrize("fps", [12.5, 24000 / 1001, 30])
def test_frame_rates(tmp_path: Path, fps: float) -> None:
    assert probe(write_mp4(tmp_path / "a.mp4", numbered(30), fps)).fps == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize(("video", "sound"), [(True, False), (False, True)])
def test_one_stream_alone(tmp_path: Path, video: bool, sound: bool) -> None:
    path = write_mp4(tmp_path / "a.mp4", numbered(5) if video else None, 5, chirp(1) if sound else None)
    info = probe(path)
    assert (info.has_video, info.has_audio) == (video, sound)


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames, a waveform, or both"):
        write_mp4(tmp_path / "a.mp4", None)
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(tmp_path / "a.mp4", [])
    assert not (tmp_path / "a.mp4").exists()
