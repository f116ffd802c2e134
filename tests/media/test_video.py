from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from builders.numbered_pictures import FPS, SECONDS, number_of, numbered
from subtext.corpora.studio.write import write_mp4
from subtext.errors import MediaError
from subtext.media import video
from subtext.media.segment import Segment, Span, StreamMissing
from subtext.media.video import Frame, probe, read_image, sample_frames, sample_times


def frames_of(path: Path, segments: list[Segment], rate: float = 5.0, **options: int) -> list[tuple[int, Frame]]:
    found = list(sample_frames(path, segments, rate, **options))
    assert all(isinstance(frame, Frame) for _, frame in found), found
    return [(index, frame) for index, frame in found if isinstance(frame, Frame)]


def errors_of(path: Path, segments: list[Segment]) -> dict[int, str]:
    return {index: str(found) for index, found in sample_frames(path, segments) if isinstance(found, MediaError)}


# Where pictures are taken


def test_a_segment_is_sampled_in_the_middle_of_equal_steps() -> None:
    assert sample_times(Span(2, 3), 5) == pytest.approx([2.1, 2.3, 2.5, 2.7, 2.9])
    assert sample_times(Span(2, 2.04), 5) == pytest.approx([2.02])
    assert sample_times(Span(0, 10), 5, max_frames=4) == pytest.approx([1.25, 3.75, 6.25, 8.75])


def test_each_sample_is_the_picture_then_on_screen(recording: Path) -> None:
    found = frames_of(recording, [Segment()])
    assert len(found) == SECONDS * 5
    assert [frame.time for _, frame in found] == pytest.approx(np.arange(0.1, SECONDS, 0.2))
    assert [number_of(frame.image) for _, frame in found] == [int(frame.time * FPS + 1e-6) for _, frame in found]


def test_overlapping_segments_share_one_pass_in_order_of_time(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = video.Recording
    monkeypatch.setattr(video, "Recording", lambda path: opened.append(path) or original(path))
    segments = [Segment(3, 5), Segment(0.5, 1), Segment(4, 4.5), Segment(3, 5)]
    found = frames_of(recording, segments)
    assert len(opened) == 1
    times = [frame.time for _, frame in found]
    assert times == sorted(times)
    for index, segment in enumerate(segments):
        alone = [frame for _, frame in frames_of(recording, [segment])]
        together = [frame for i, frame in found if i == index]
        assert [f.time for f in together] == [f.time for f in alone]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "flv"])
def test_jumping_over_gaps_changes_no_picture(
    recording: Path, tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy"
    with av.open(str(recording)) as source, av.open(str(path), "w", format=container) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    segments = [Segment(1, 1.5), Segment(7.3, 8), Segment(11, 11.5)]
    through = frames_of(path, segments)
    monkeypatch.setattr(video, "SEEK_GAP", 0.3)
    jumping = frames_of(path, segments)
    assert [f.time for _, f in jumping] == [f.time for _, f in through]
    assert [number_of(f.image) for _, f in jumping] == [number_of(f.image) for _, f in through]


def test_a_long_gap_is_not_decoded(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEEK_GAP", 3.0)
    decoded = []
    original = video.Recording.frames

    def counting(self: video.Recording, stream: object) -> object:
        for time, frame in original(self, stream):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(video.Recording, "frames", counting)
    frames_of(recording, [Segment(0, 0.5), Segment(10.5, 11)])
    assert not [time for time in decoded if 2 < time < 9]


def test_variable_frame_rate_keeps_the_picture_that_is_on_screen(tmp_path: Path, encode: Callable[..., Path]) -> None:
    times = [0, 0.1, 0.2, 0.25, 2.0, 2.05, 3.9]
    images = [np.full((16, 16), 30 * number, np.uint8) for number in range(7)]
    path = encode(tmp_path / "vfr.mkv", images, times=times)
    found = frames_of(path, [Segment()], rate=10)
    for _, frame in found:
        expected = 30 * int(np.searchsorted(times, frame.time + 1e-6, side="right") - 1)
        assert abs(int(frame.image[0, 0, 0]) - expected) <= 1


def test_a_long_segment_is_thinned_evenly(recording: Path) -> None:
    found = frames_of(recording, [Segment()], max_frames=6)
    assert [frame.time for _, frame in found] == pytest.approx([1, 3, 5, 7, 9, 11])


# What pictures look like


def test_rotation_metadata_turns_the_picture(tmp_path: Path) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :48, 0] = 255  # red on the left
    upright = write_mp4(tmp_path / "upright.mp4", [image] * 5, 5)
    for angle, red in [(90, np.s_[60:, :]), (180, np.s_[:, 60:]), (270, np.s_[:30, :])]:
        path = tmp_path / f"{angle}.mp4"
        with av.open(str(upright)) as source, av.open(str(path), "w") as copy:
            stream = copy.add_stream_from_template(source.streams.video[0])
            stream.set_display_rotation(angle)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
        assert probe(path).rotation == angle
        picture = frames_of(path, [Segment()])[0][1].image
        assert picture.shape == ((64, 96, 3) if angle == 180 else (96, 64, 3))
        assert picture[red][..., 0].mean() > 230
        assert picture[..., 0].mean() < 140


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "given", "channels"),
    [
        ("ffv1", "mkv", "gray", "gray", 1),
        ("ffv1", "mkv", "bgra", "bgra", 4),
        ("qtrle", "mov", "argb", "argb", 4),
        ("ffv1", "mkv", "yuv444p", "rgb24", 3),
        ("ffv1", "mkv", "yuv420p10le", "rgb24", 3),
    ],
)
def test_pixel_formats_and_odd_sizes(
    tmp_path: Path, encode: Callable[..., Path], codec: str, suffix: str, pix_fmt: str, given: str, channels: int
) -> None:
    image = np.full((33, 47, channels) if channels > 1 else (33, 47), 120, np.uint8)
    if channels == 4:
        image[..., 0 if given == "argb" else 3] = 255
    path = encode(tmp_path / f"a.{suffix}", [image] * 4, codec=codec, pix_fmt=pix_fmt, given=given)
    picture = frames_of(path, [Segment()])[0][1].image
    assert picture.shape == (33, 47, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - 120).max() <= 3


def test_transparent_video_is_shown_on_white(tmp_path: Path, encode: Callable[..., Path]) -> None:
    image = np.full((20, 20, 4), 60, np.uint8)
    image[:, 10:, 3], image[:, :10, 3] = 255, 0
    picture = frames_of(encode(tmp_path / "a.mkv", [image], pix_fmt="bgra", given="bgra"), [Segment()])[0][1].image
    assert (picture[:, :10] == 255).all()
    assert (picture[:, 10:] == 60).all()


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, encode: Callable[..., Path]) -> None:
    images = [np.full((32, 32, 3), 90, np.uint8)] * 3
    path = encode(tmp_path / "a.mp4", images, codec="libx264", pix_fmt="yuv420p", given="rgb24", aspect=Fraction(2, 1))
    assert frames_of(path, [Segment()])[0][1].image.shape == (32, 64, 3)


@pytest.mark.parametrize("size", [(16, 16), (2160, 3840)])
def test_smallest_and_4k_video(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_mp4(tmp_path / "a.mp4", [np.full((*size, 3), 77, np.uint8)] * 2, 5, preset="ultrafast")
    for _, frame in frames_of(path, [Segment()], max_side=640):
        assert frame.image.shape == ((360, 640, 3) if size[0] > 16 else (16, 16, 3))
        assert np.abs(frame.image.astype(int) - 77).max() <= 2


def test_one_frame_is_a_recording(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "one.mp4", numbered(1), 25)
    ((_, frame),) = frames_of(path, [Segment()])
    assert number_of(frame.image) == 0


def test_only_wanted_pictures_are_converted(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    original = video.to_rgb
    monkeypatch.setattr(video, "to_rgb", lambda *a: converted.append(a) or original(*a))
    assert len(frames_of(recording, [Segment(0, 2), Segment(0, 2)])) == 20
    assert len(converted) == 10


# What cannot be read


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "beginning", "playlist", "plain text"])
def test_what_is_no_recording_is_refused_in_one_line(bad_files: dict[str, Path], what: str) -> None:
    for read in (lambda path: list(sample_frames(path, [Segment()])), probe):
        with pytest.raises(MediaError) as caught:
            read(bad_files[what])
        assert str(bad_files[what]) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_sound_without_picture_is_absent_not_failed(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", None, waveform=np.zeros(8000, np.float32))
    assert (probe(path).has_video, probe(path).has_audio) == (False, True)
    with pytest.raises(StreamMissing, match="no video stream"):
        list(sample_frames(path, [Segment()]))


def test_wrong_segments_are_reported_and_the_others_read(recording: Path) -> None:
    found = list(sample_frames(recording, [Segment(20, 21), Segment(1, 2), Segment(3, 3), Segment(5, 4)]))
    wrong = {index for index, result in found if isinstance(result, MediaError)}
    assert wrong == {0, 2, 3}
    assert sum(index == 1 for index, _ in found) == 5


def test_a_file_that_breaks_off_gives_what_is_whole_and_says_the_rest(cut_off: Path) -> None:
    segments = [Segment(1, 2), Segment(), Segment(10, 11)]
    errors = errors_of(cut_off, segments)
    assert set(errors) == {1, 2}
    assert all("breaks off at" in error for error in errors.values())
    whole = [f for i, f in sample_frames(cut_off, segments) if i == 0]
    assert [number_of(f.image) for f in whole if isinstance(f, Frame)] == [27, 32, 37, 42, 47]


def test_damaged_pictures_do_not_end_the_reading(recording: Path, tmp_path: Path) -> None:
    content = bytearray(recording.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    found = list(sample_frames(path, [Segment(0, 1), Segment(11, 12)]))
    assert [number_of(f.image) for i, f in found if i == 1 and isinstance(f, Frame)] == [277, 282, 287, 292, 297]


def test_damaged_packets_are_counted(
    tmp_path: Path, encode: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(20)]
    path = encode(tmp_path / "a.mov", images, codec="png", pix_fmt="rgb24", given="rgb24")
    content = bytearray(path.read_bytes())
    headers = [place for place in range(len(content)) if content[place : place + 4] == b"\x89PNG"]
    assert len(headers) == 20
    for place in headers[4:7]:
        content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with caplog.at_level("WARNING"):
        frames = frames_of(path, [Segment()], rate=10)
    assert "3 packets are damaged" in caplog.text
    assert len(frames) == 20  # the picture before stays on screen
    assert np.array_equal(frames[5][1].image, frames[3][1].image)


def test_a_bare_stream_without_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 32, 80, "yuv420p"
        for image in numbered(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert probe(path).duration == pytest.approx(4)
    found = frames_of(path, [Segment(1, 2), Segment(3, None)])
    assert [number_of(frame.image) for index, frame in found if index == 0] == [27, 32, 37, 42, 47]
    assert [number_of(frame.image) for index, frame in found if index == 1][:5] == [77, 82, 87, 92, 97]
    errors = errors_of(path, [Segment(1, 2), Segment(50, 51)])
    assert set(errors) == {1}


def without(path: Path, out: Path, lost: tuple[float, float], options: dict[str, str] | None = None) -> Path:
    """A copy whose pictures from one second to another are lost."""
    with av.open(str(path)) as source, av.open(str(out), "w", options=options or {}) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None or (
                packet.stream.type == "video" and lost[0] <= float(packet.pts / FPS / 512) < lost[1]
            ):
                continue
            packet.stream = streams[packet.stream.index]
            copy.mux(packet)
    return out


def test_no_picture_stands_in_for_a_lost_stretch(recording: Path, tmp_path: Path) -> None:
    path = without(recording, tmp_path / "gap.mkv", (4, 10))
    found = list(sample_frames(path, [Segment(), Segment(3.5, 10.5), Segment(7, 9)]))
    times = {index: [f.time for i, f in found if i == index and isinstance(f, Frame)] for index in range(3)}
    assert [time for time in times[0] if 4 < time < 10] == pytest.approx(np.arange(4.1, 4 + video.MAX_HOLD, 0.2))
    assert len(times[0]) == 40
    errors = {index: str(error) for index, error in found if isinstance(error, MediaError)}
    assert set(errors) == {1, 2}
    assert "0 of 10 pictures between 7.00 and 9.00 s can be read" in errors[2]


def test_a_segment_with_too_few_pictures_is_refused_before_a_later_picture(recording: Path, tmp_path: Path) -> None:
    path = without(recording, tmp_path / "late.mkv", (0, 4))
    found = list(sample_frames(path, [Segment(0, 6), Segment(7, 8), Segment(3, 4.5)]))
    errors = {index: position for position, (index, error) in enumerate(found) if isinstance(error, MediaError)}
    assert set(errors) == {0, 2}
    for index, end in ((0, 6), (2, 4.5)):
        assert not [f for _, f in found[: errors[index]] if isinstance(f, Frame) and f.time > end]


def test_a_file_that_does_not_say_how_long_it_is_is_measured(recording: Path, tmp_path: Path) -> None:
    path = without(recording, tmp_path / "live.mkv", (0, 0), {"live": "1"})
    assert probe(path).duration == pytest.approx(SECONDS, abs=0.1)
    assert len(frames_of(path, [Segment()], max_frames=6)) == 6
    errors = errors_of(path, [Segment(), Segment(20, 21)])
    assert list(errors) == [1]
    assert "the file ends at 12." in errors[1]


def test_a_codec_without_a_decoder_is_one_line(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(recording.read_bytes().replace(b"avc1", b"none"))
    info = probe(path)
    assert (info.has_video, info.has_audio, info.width, info.sample_rate) == (True, True, None, 16_000)
    with pytest.raises(MediaError, match="its video is of a codec that cannot be decoded here; convert it"):
        list(sample_frames(path, [Segment()]))


def test_a_stream_that_begins_in_mid_file_does_not_end_the_reading(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyAV raises this at the end of such MPEG-TS files, which FFmpeg only writes with megabytes in between.
    class Container:
        def __init__(self, container: object) -> None:
            self.container = container

        def __getattr__(self, name: str) -> object:
            return getattr(self.container, name)

        def demux(self) -> Iterator[object]:
            yield from self.container.demux()  # type: ignore[attr-defined]
            raise IndexError("list index out of range")

    original = video.Recording.__init__

    def opened(self: video.Recording, path: Path) -> None:
        original(self, path)
        self.container = Container(self.container)

    monkeypatch.setattr(video.Recording, "__init__", opened)
    assert len(frames_of(recording, [Segment()], rate=FPS)) == SECONDS * FPS


def test_a_video_track_shorter_than_the_sound(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", numbered(50), 25, np.zeros(16_000 * 6, np.float32))
    found = list(sample_frames(path, [Segment(), Segment(4, 5), Segment(1, 2)]))
    assert sum(index == 2 and isinstance(f, Frame) for index, f in found) == 5
    errors = {index: str(f) for index, f in found if isinstance(f, MediaError)}
    assert set(errors) >= {1}
    assert "the video is shorter" in errors[1]


def test_probe_tells_what_is_there(recording: Path) -> None:
    info = probe(recording)
    assert info.duration == pytest.approx(SECONDS, abs=0.1)
    assert (info.has_video, info.has_audio, info.width, info.height, info.rotation) == (True, True, 80, 32, 0)
    assert info.fps == pytest.approx(FPS)
    assert info.sample_rate == 16_000


# Still pictures


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (40, 0), (255, 255, 255)),
        ("I;16", 32896, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_kinds_of_pictures(tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    path = tmp_path / "a.png"
    PillowImage.new(mode, (7, 5), colour).save(path)
    image = read_image(path)
    assert image.shape == (5, 7, 3)
    assert image.dtype == np.uint8
    assert (image == expected).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = PillowImage.new("P", (4, 4), 0)
    picture.putpalette([200, 0, 0, 0, 0, 200])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png")[0, :2].tolist() == [[0, 0, 200], [200, 0, 0]]
    picture.save(tmp_path / "clear.png", transparency=0)
    assert read_image(tmp_path / "clear.png")[0, :2].tolist() == [[0, 0, 200], [255, 255, 255]]


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    picture = PillowImage.new("RGB", (40, 20), (0, 0, 0))
    picture.paste((255, 0, 0), (0, 0, 20, 20))  # red on the left
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to see it upright
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (40, 20, 3)
    assert image[:18, :, 0].mean() > 240
    assert image[22:, :, 0].mean() < 15


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    PillowImage.new("RGB", (400, 100), (9, 9, 9)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_side=100).shape == (25, 100, 3)


def test_what_is_no_picture_is_refused(bad_files: dict[str, Path], tmp_path: Path) -> None:
    whole = tmp_path / "a.png"
    PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole)
    broken = tmp_path / "broken.png"
    broken.write_bytes(whole.read_bytes()[:3000])
    for path in (bad_files["missing"], bad_files["empty"], bad_files["text"], broken):
        with pytest.raises(MediaError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


def test_real_clips_are_read_whole(shared_data: Path) -> None:
    clips = sorted((shared_data / "crema_d" / "VideoFlash").glob("*.flv"))
    assert len(clips) == 6
    for clip in clips:
        info = probe(clip)
        assert (info.has_video, info.has_audio) == (True, True)
        found = frames_of(clip, [Segment()])
        assert len(found) == pytest.approx(5 * (info.duration or 0), abs=1.5)
        assert found[0][1].image.shape == (360, 480, 3)
