import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from builders.numbered_pictures import SAMPLE_RATE, SECONDS, chirp, numbered
from subtext.corpora.studio.write import write_mp4
from subtext.errors import MediaError
from subtext.media import audio
from subtext.media.audio import Sound, read_segments, rms_db
from subtext.media.container import Recording
from subtext.media.segment import Segment, StreamMissing


def sounds(path: Path, segments: list[Segment], sample_rate: int = SAMPLE_RATE) -> list[np.ndarray]:
    found = dict(read_segments(path, segments, sample_rate))
    assert sorted(found) == list(range(len(segments)))
    assert all(isinstance(sound, Sound) for sound in found.values()), found
    return [found[index].samples for index in range(len(segments))]


def lag(values: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples `values` comes late."""
    return int(np.correlate(values, reference, "full").argmax()) - (len(reference) - 1)


@pytest.fixture(scope="module")
def tone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tone") / "tone.wav"
    soundfile.write(path, chirp(6), SAMPLE_RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def late_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of pictures, with a tone from 2 s on."""
    source = write_mp4(tmp_path_factory.mktemp("late") / "source.mp4", numbered(60), 10)
    path = source.with_name("late.mkv")
    with av.open(str(source)) as original, av.open(str(path), "w") as copy:
        pictures = copy.add_stream_from_template(original.streams.video[0])
        sound = copy.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        for packet in original.demux():
            if packet.dts is not None:
                packet.stream = pictures
                copy.mux(packet)
        frame = av.AudioFrame.from_ndarray((chirp(4)[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 2 * SAMPLE_RATE
        copy.mux(sound.encode(frame))
        copy.mux(sound.encode())
    return path


def test_segments_are_cut_to_the_sample(tone_file: Path) -> None:
    segments = [Segment(1, 2), Segment(0.5, 1.5), Segment(), Segment(5.5, None), Segment(1, 2)]
    whole = chirp(6)
    for segment, values in zip(segments, sounds(tone_file, segments), strict=True):
        first = round((segment.start or 0) * SAMPLE_RATE)
        last = round((segment.end or 6) * SAMPLE_RATE)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, whole[first:last], atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_other_sample_rates_keep_time_and_level(tmp_path: Path, sample_rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, chirp(2, sample_rate), sample_rate)
    (values,) = sounds(path, [Segment()])
    assert len(values) == pytest.approx(2 * SAMPLE_RATE, abs=2)
    middle = slice(2000, -2000)
    assert abs(lag(values[2000:10_000], chirp(2)[2000:10_000])) <= 1
    assert rms_db(values[middle]) == pytest.approx(rms_db(chirp(2)[middle]), abs=0.1)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.repeat(0.3 * chirp(1)[:, None], channels, axis=1), SAMPLE_RATE)
    (values,) = sounds(path, [Segment()])
    assert values.shape == (SAMPLE_RATE,)
    assert np.corrcoef(values, chirp(1))[0, 1] > 0.999
    assert np.abs(values).max() <= 1


# FFmpeg's time stamps of Vorbis and MP3 count the codec's run-up, up to 75 ms.
@pytest.mark.parametrize(("name", "late"), [("a.flac", 0), ("a.aiff", 0), ("a.ogg", 256), ("a.mp3", 1200)])
def test_kinds_of_files(tmp_path: Path, name: str, late: int) -> None:
    soundfile.write(tmp_path / name, chirp(3), SAMPLE_RATE)
    whole, part = sounds(tmp_path / name, [Segment(), Segment(1, 2)])
    assert len(whole) == pytest.approx(3 * SAMPLE_RATE, abs=2500)
    assert abs(lag(part[:8000], chirp(3)[SAMPLE_RATE : SAMPLE_RATE + 8000])) <= late


def test_sound_of_a_video_is_in_step_with_it(recording: Path) -> None:
    segments = [Segment(1, 2), Segment(10.5, 11.5)]
    for segment, values in zip(segments, sounds(recording, segments), strict=True):
        first = round((segment.start or 0) * SAMPLE_RATE)
        assert abs(lag(values, chirp(SECONDS)[first : first + SAMPLE_RATE])) <= 2


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_jumping_over_gaps_moves_no_sample(tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_mp4(tmp_path / "a.mp4", numbered(100), 5, chirp(20))
    path = tmp_path / "b"
    with av.open(str(source)) as original, av.open(str(path), "w", format=container) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in original.streams}
        for packet in original.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    segments = [Segment(1, 2), Segment(9.25, 10), Segment(18, 19)]
    through = sounds(path, segments)
    monkeypatch.setattr(audio, "SEEK_GAP", 1.0)
    for jumped, expected in zip(sounds(path, segments), through, strict=True):
        np.testing.assert_allclose(jumped, expected, atol=1e-4)


def test_silence_is_allowed_and_measurable(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), SAMPLE_RATE)
    (values,) = sounds(tmp_path / "a.wav", [Segment()])
    assert (values == 0).all()
    assert rms_db(values) == -120
    assert rms_db(np.ones(4, np.float32)) == 0


def test_samples_that_are_no_numbers_spoil_their_segment_only(tmp_path: Path) -> None:
    values = chirp(4)
    values[5 * 16_000 // 2] = np.nan
    soundfile.write(tmp_path / "a.wav", values, SAMPLE_RATE, subtype="FLOAT")
    found = dict(read_segments(tmp_path / "a.wav", [Segment(0, 2), Segment(2, 3), Segment(3, 4)]))
    assert isinstance(found[1], MediaError)
    assert "not finite" in str(found[1])
    assert isinstance(found[0], Sound)
    assert isinstance(found[2], Sound)


def test_picture_without_sound_is_absent_not_failed(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", numbered(5), 5)
    with pytest.raises(StreamMissing, match="no audio stream"):
        list(read_segments(path, [Segment()]))


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "beginning", "playlist", "plain text"])
def test_what_is_no_recording_is_refused_in_one_line(bad_files: dict[str, Path], what: str) -> None:
    with pytest.raises(MediaError) as caught:
        list(read_segments(bad_files[what], [Segment()]))
    assert str(bad_files[what]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_segments_are_reported_and_the_others_read(tone_file: Path) -> None:
    segments = [Segment(20, 21), Segment(1, 2), Segment(3, 3), Segment(5, 4), Segment(5.9, 6)]
    found = dict(read_segments(tone_file, segments))
    assert {index for index, result in found.items() if isinstance(result, MediaError)} == {0, 2, 3}
    assert len(found[4].samples) == 1600


def test_a_file_that_breaks_off_gives_what_is_whole_and_says_the_rest(cut_off: Path) -> None:
    found = dict(read_segments(cut_off, [Segment(1, 2), Segment(), Segment(10, 11)]))
    assert isinstance(found[0], Sound)
    for index in (1, 2):
        assert "breaks off at" in str(found[index])


def test_a_wav_file_that_breaks_off(tmp_path: Path, tone_file: Path) -> None:
    path = tmp_path / "cut.wav"
    content = tone_file.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = dict(read_segments(path, [Segment(1, 2), Segment(2, 5)]))
    assert isinstance(found[0], Sound)
    assert isinstance(found[1], MediaError)


def test_a_file_of_no_samples(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    with pytest.raises(MediaError) as caught:
        list(read_segments(tmp_path / "a.wav", [Segment()]))
    assert "\n" not in str(caught.value)


def test_a_segment_that_is_no_utterance_is_refused(tone_file: Path) -> None:
    assert "longer than 5 s" in str(dict(read_segments(tone_file, [Segment()], max_duration=5))[0])
    found = dict(read_segments(tone_file, [Segment(), Segment(1, 2)], max_duration=5))
    assert "longer than 5 s" in str(found[0])
    assert isinstance(found[1], Sound)


def test_sound_shorter_than_the_video(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", numbered(60), 10, chirp(2))
    found = dict(read_segments(path, [Segment(0, 1), Segment(1.5, 3), Segment(4, 5), Segment()]))
    assert isinstance(found[0], Sound)
    assert "its sound, 1.50 to 2." in str(found[1])
    assert "no sound at 4.00 to 5.00 s" in str(found[2])
    assert isinstance(found[3], Sound)
    assert len(found[3].samples) == pytest.approx(2 * SAMPLE_RATE, abs=1100)
    assert found[3].share == pytest.approx(1 / 3, abs=0.02)


def test_sound_that_begins_late_is_judged_like_one_that_ends_early(late_sound: Path) -> None:
    segments = [Segment(0, 6), Segment(1.5, 4), Segment(0, 3), Segment(0, 1), Segment(), Segment(3, 4)]
    found = dict(read_segments(late_sound, segments))
    for index, start, share in [(0, 2, 2 / 3), (1, 0.5, 0.8), (4, 2, 2 / 3), (5, 0, 1)]:
        sound = found[index]
        assert isinstance(sound, Sound)
        assert (sound.start, sound.share) == pytest.approx((start, share), abs=1e-3)
        # Nothing that was not recorded stands in front of what was.
        assert rms_db(sound.samples[:800]) > -20
    assert "its sound, 2.00 to 3.00 s, covers less than half of the segment 0.00 to 3.00 s" in str(found[2])
    assert "no sound at 0.00 to 1.00 s, where it has not begun" in str(found[3])


# As browsers record; and a bare stream, whose length FFmpeg only guesses.
@pytest.mark.parametrize(("name", "codec", "form"), [("a.webm", "libopus", "flt"), ("a.mp3", "libmp3lame", "fltp")])
def test_a_file_that_does_not_say_how_long_it_is_is_measured(tmp_path: Path, name: str, codec: str, form: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", options={"live": "1"} if name == "a.webm" else {}) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(chirp(4, 48_000)[None], format=form, layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Recording(path) as recording:
        assert recording.duration == pytest.approx(4, abs=0.1)
    found = dict(read_segments(path, [Segment(1, None), Segment(9, 10)]))
    assert isinstance(found[0], Sound)
    assert found[0].share == pytest.approx(1, abs=0.03)
    assert "the file ends at 4." in str(found[1])
    assert "longer than 3 s" in str(dict(read_segments(path, [Segment()], max_duration=3))[0])


def test_sound_of_an_unknown_codec_is_one_line(tmp_path: Path, tone_file: Path) -> None:
    content = bytearray(tone_file.read_bytes())
    content[20:22] = b"\x99\x99"  # the kind of samples
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError, match="its audio is of a codec that cannot be decoded here; convert it"):
        list(read_segments(tmp_path / "a.wav", [Segment()]))


def test_real_recordings(shared_data: Path) -> None:
    clip = shared_data / "crema_d" / "VideoFlash" / "1001_DFA_HAP_XX.flv"
    (values,) = sounds(clip, [Segment()])
    assert 1.5 < len(values) / SAMPLE_RATE < 3
    assert rms_db(values) > -50
    voice = shared_data / "ravdess" / "Actor_01" / "03-01-03-02-01-01-01.flac"
    expected, sample_rate = soundfile.read(voice, dtype="float32")
    np.testing.assert_allclose(sounds(voice, [Segment()], sample_rate)[0], expected, atol=1e-6)
