"""Intact recordings that count, order or name their streams otherwise than an mp4 file does."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from builders.numbered_pictures import FPS, SAMPLE_RATE, chirp, number_of, numbered
from subtext.corpora.studio.write import write_mp4
from subtext.errors import MediaError
from subtext.media.audio import Sound, read_segments, rms_db
from subtext.media.container import Recording
from subtext.media.segment import Segment
from subtext.media.video import Frame, probe, sample_frames

B_FRAMES = {"x264-params": "b-adapt=0:bframes=3:b-pyramid=normal:scenecut=0:keyint=25"}


@pytest.fixture(scope="module")
def six_seconds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("six") / "six.mp4"
    return write_mp4(path, numbered(6 * FPS), FPS, chirp(6), SAMPLE_RATE, preset="medium")


def moved(source: Path, path: Path, seconds: float) -> Path:
    """The same packets with stamps that begin later."""
    with av.open(str(source)) as original, av.open(str(path), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in original.streams}
        for packet in original.demux():
            if packet.dts is not None:
                by = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + by, packet.dts + by
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return path


def encoded(path: Path, codec: str, count: int, options: dict[str, str] | None = None) -> Path:
    """Numbered pictures of which some are decoded before others that are shown earlier."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = 32, 80
        stream.bit_rate = 4_000_000
        stream.codec_context.max_b_frames = 3
        stream.codec_context.gop_size = FPS
        for image in numbered(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def tracks(path: Path, sounds: Sequence[np.ndarray], default: int | None) -> Path:
    """Several sound tracks, of which one may be marked as the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition.dub
        for stream, sound in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def sound_of(path: Path, segment: Segment = Segment()) -> Sound:  # noqa: B008
    ((_, sound),) = read_segments(path, [segment])
    assert isinstance(sound, Sound), sound
    return sound


@pytest.mark.parametrize("ending", ["mkv", "asf", "nut", "mp4", "mov", "ts", "flv"])
@pytest.mark.parametrize("start", [0.0, 1.0, 12.0])
def test_a_file_whose_stamps_begin_late_is_as_long_and_as_whole_as_it_is(
    six_seconds: Path, tmp_path: Path, ending: str, start: float
) -> None:
    path = moved(six_seconds, tmp_path / f"late.{ending}", start)
    assert probe(path).duration == pytest.approx(6.0, abs=0.15)
    sound = sound_of(path)
    assert len(sound.samples) / SAMPLE_RATE + sound.start == pytest.approx(6.0, abs=0.15)
    found = [frame for _, frame in sample_frames(path, [Segment()], rate=5.0)]
    assert all(isinstance(frame, Frame) for frame in found), found
    assert len(found) == pytest.approx(30, abs=1)
    late = [int(f.time * FPS + 1e-6) - number_of(f.image) for f in found if isinstance(f, Frame)]
    assert max(map(abs, late)) <= 2  # the sound's run-up of 64 ms is where some of them begin to count


def test_an_opus_file_whose_stamps_begin_late(tmp_path: Path) -> None:
    path, rate = tmp_path / "late.ogg", 48_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=rate)
        wave = chirp(6, rate)
        for first in range(0, len(wave), 960):
            frame = av.AudioFrame.from_ndarray(wave[None, first : first + 960].copy(), format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, first + 12 * rate, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probe(path).duration == pytest.approx(6.0, abs=0.1)
    assert len(sound_of(path).samples) / SAMPLE_RATE == pytest.approx(6.0, abs=0.1)


def test_a_length_that_does_not_count_from_0_stays_a_length(
    six_seconds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = moved(six_seconds, tmp_path / "late.mkv", 12.0)  # as other writers of this kind than FFmpeg declare it
    monkeypatch.setattr(Recording, "_declared", lambda self: 6.064)
    assert probe(path).duration == pytest.approx(6.064)


@pytest.mark.parametrize("start", [0.0, 12.0])
def test_a_file_whose_stamps_begin_late_still_breaks_off(six_seconds: Path, tmp_path: Path, start: float) -> None:
    whole = moved(six_seconds, tmp_path / "late.mkv", start).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    for reader in (read_segments, sample_frames):
        found = [one for _, one in reader(path, [Segment()])]
        assert any(isinstance(one, MediaError) and "breaks off" in str(one) for one in found), found


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("h264.avi", "libx264"),
        ("xvid.avi", "mpeg4"),
        ("mpeg2.avi", "mpeg2video"),
        ("h264.asf", "libx264"),
        ("mpeg4.wmv", "mpeg4"),
        ("mpeg2.m2v", "mpeg2video"),
        ("h264.mkv", "libx264"),
        ("h264.mp4", "libx264"),
    ],
)
def test_pictures_that_are_decoded_ahead_are_shown_in_their_order(
    tmp_path: Path, name: str, codec: str, threads: int
) -> None:
    path = encoded(tmp_path / name, codec, 140, B_FRAMES if codec == "libx264" else None)
    found = [frame for _, frame in sample_frames(path, [Segment(1.0, 5.0)], float(FPS), threads=threads)]
    assert [number_of(f.image) for f in found if isinstance(f, Frame)] == list(range(FPS, 5 * FPS))


def test_pictures_decoded_ahead_keep_their_order_behind_a_jump(tmp_path: Path) -> None:
    path = encoded(tmp_path / "long.avi", "libx264", 40 * FPS, B_FRAMES)
    with Recording(path) as recording:
        assert recording.has_index
    found = [f for _, f in sample_frames(path, [Segment(1.0, 2.0), Segment(30.2, 31.2)], float(FPS))]
    numbers = [number_of(f.image) for f in found if isinstance(f, Frame)]
    assert numbers == [*range(FPS, 2 * FPS), *(number % 1024 for number in range(755, 780))]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
@pytest.mark.parametrize(
    "damage", [b"", bytes(40), b"\0\0\1\xb6" + bytes(8)], ids=["empty", "zeros", "an empty picture"]
)
def test_pictures_that_are_lost_do_not_move_the_others(tmp_path: Path, codec: str, damage: bytes) -> None:
    whole = encoded(tmp_path / "whole.avi", codec, 140, B_FRAMES if codec == "libx264" else None)
    path = tmp_path / "damaged.avi"
    with av.open(str(whole)) as original, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(original.streams.video[0])
        for number, packet in enumerate(p for p in original.demux() if p.dts is not None):
            written = packet
            if 40 <= number < 45:
                written = av.Packet(damage)
                written.pts, written.dts, written.time_base = packet.pts, packet.dts, packet.time_base
            written.stream = stream
            copy.mux(written)
    found = [f for _, f in sample_frames(path, [Segment(4.0, 5.0)], float(FPS))]
    assert [number_of(f.image) for f in found if isinstance(f, Frame)] == list(range(4 * FPS, 5 * FPS))


@pytest.mark.parametrize("sample_rate", [SAMPLE_RATE, 44_100])
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_channels_that_cancel_each_other_out_are_heard_and_reported(
    tmp_path: Path, sample_rate: int, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, wave = tmp_path / f"wired.{ending}", 0.5 * chirp(3, sample_rate)
    soundfile.write(path, np.stack([wave, -wave], axis=1), sample_rate)
    with caplog.at_level(logging.WARNING):
        found = dict(read_segments(path, [Segment(0, 1), Segment(1, 2), Segment()]))
    assert all(
        isinstance(s, Sound) and rms_db(s.samples) == pytest.approx(rms_db(wave), abs=0.2) for s in found.values()
    )
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert "cancel each other out" in told[0]


@pytest.mark.parametrize(
    "channels",
    [
        lambda wave, other: [wave, wave],
        lambda wave, other: [wave, 0 * wave],
        lambda wave, other: [0 * wave, wave],
        lambda wave, other: [wave, other],
        lambda wave, other: [wave, -0.5 * wave],
        lambda wave, other: [0 * wave, 0 * wave],
    ],
    ids=["alike", "left", "right", "unlike", "weaker", "silent"],
)
def test_channels_that_do_not_are_mixed_as_ever(
    tmp_path: Path, channels: object, caplog: pytest.LogCaptureFixture
) -> None:
    wave = 0.3 * chirp(2)
    other = 0.3 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    given = np.stack(channels(wave, other), axis=1)  # type: ignore[operator]
    path = tmp_path / "two.wav"
    soundfile.write(path, given, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(sound_of(path).samples, given.sum(axis=1) / np.sqrt(2), atol=1e-5)
    assert not caplog.records


def test_a_reversed_channel_among_six(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wave = 0.3 * chirp(2)
    path = tmp_path / "six.wav"
    soundfile.write(path, np.stack([wave, -wave, *[0 * wave] * 4], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(sound_of(path).samples, wave, atol=1e-5)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("default", "read"), [(1, 1), (0, 0), (None, 0)])
def test_the_default_sound_track_is_read_and_named(
    tmp_path: Path, default: int | None, read: int, caplog: pytest.LogCaptureFixture
) -> None:
    sounds = [0 * chirp(2), 0.4 * chirp(2)]
    sound = sound_of(tracks(tmp_path / "two.mkv", sounds, default))
    assert rms_db(sound.samples) == pytest.approx(rms_db(sounds[read]), abs=0.1)
    (told,) = [r.getMessage() for r in caplog.records]
    assert f"has 2 audio tracks, of which track {read + 1} is read" in told


def test_one_track_is_not_worth_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound_of(tracks(tmp_path / "one.mkv", [chirp(2)], None))
    assert not caplog.records


@pytest.mark.parametrize("marked", [True, False], ids=["marked cover", "cover without its mark"])
def test_a_cover_is_not_the_moving_picture(
    six_seconds: Path, tmp_path: Path, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "covered.mp4"
    with av.open(str(six_seconds)) as original, av.open(str(path), "w") as copy:
        cover = copy.add_stream("png", rate=FPS)
        cover.pix_fmt, cover.height, cover.width = "rgb24", 32, 80
        if marked:
            cover.disposition = Disposition.attached_pic
        moving = copy.add_stream_from_template(original.streams.video[0])
        white = av.VideoFrame.from_ndarray(np.full((32, 80, 3), 255, np.uint8), format="rgb24")
        pictures = [*cover.encode(white), *cover.encode()]
        for packet in pictures:
            copy.mux(packet)
        for packet in original.demux(original.streams.video[0]):
            if packet.dts is not None:
                packet.stream = moving
                copy.mux(packet)
    found = [f for _, f in sample_frames(path, [Segment(1.0, 2.0)], float(FPS))]
    assert [number_of(f.image) for f in found if isinstance(f, Frame)] == list(range(FPS, 2 * FPS))
    assert not caplog.records


def test_of_two_cameras_the_default_one_is_read_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cameras.mkv"
    with av.open(str(path), "w") as container:
        cameras = [container.add_stream("ffv1", rate=FPS) for _ in range(2)]
        for number, camera in enumerate(cameras):
            camera.pix_fmt, camera.height, camera.width = "gray", 32, 80
            camera.disposition = Disposition.default if number else Disposition.dub
        for grey, camera in zip((50, 200), cameras, strict=True):
            for _ in range(2 * FPS):
                image = np.full((32, 80), grey, np.uint8)
                container.mux(camera.encode(av.VideoFrame.from_ndarray(image, format="gray")))
            container.mux(camera.encode())
    found = [f for _, f in sample_frames(path, [Segment()], 5.0)]
    assert {int(f.image.mean()) for f in found if isinstance(f, Frame)} == {200}
    (told,) = [r.getMessage() for r in caplog.records]
    assert "has 2 video tracks, of which track 2 is read" in told
