from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from subtext.corpora.studio.write import write_mp4
from subtext.errors import MediaError
from subtext.media.crops import FaceCrops, crop_square, face_crops, image_crop
from subtext.media.face_detectors import Face, FaceDetector, HaarDetector, make_detector
from subtext.media.segment import Segment, StreamMissing
from subtext.media.video import Frame, sample_frames


class BrightDisc(FaceDetector):
    """Finds the white discs that these tests draw."""

    name = "disc"

    def detect(self, image: np.ndarray) -> list[Face]:
        found, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 1] > 200).astype(np.uint8))
        boxes = [tuple(map(float, stats[n, :4])) for n in range(1, found) if stats[n, 4] > 50]
        return [Face(box, 1.0) for box in sorted(boxes, key=lambda box: -box[2])]  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        return "disc"


def scene(x: int | None, shift: int = 0) -> np.ndarray:
    """A red background, and at column `x` a white disc of 40 px with a black mouth."""
    image = np.full((120, 200, 3), (150, 20, 20), np.uint8)
    if x is not None:
        cv2.circle(image, (x, 60 + shift), 20, (255, 255, 255), -1)
        cv2.line(image, (x - 8, 70 + shift), (x + 8, 70 + shift), (90, 90, 90), 3)
    return image


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face for 4 s, none for 4 s, then a face for 4 s; 10 pictures a second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    pictures = [scene(70 + n // 4) for n in range(40)] + [scene(None)] * 40 + [scene(130)] * 40
    return write_mp4(path, pictures, 10, crf=10)


def crops_of(path: Path, segments: list[Segment], **options: object) -> list[FaceCrops]:
    found = dict(face_crops(path, segments, detector=BrightDisc(), **options))  # type: ignore[arg-type]
    assert all(isinstance(crops, FaceCrops) for crops in found.values()), found
    return [crops for _, crops in sorted(found.items()) if isinstance(crops, FaceCrops)]


def test_crops_times_and_shares(film: Path) -> None:
    whole, first, none, last, border = crops_of(
        film, [Segment(), Segment(0, 3), Segment(5, 7), Segment(9, 12), Segment(3, 5)], size=48
    )
    assert first.crops.shape == (15, 48, 48, 3)
    assert first.crops.dtype == np.uint8
    assert first.times == pytest.approx(np.arange(0.1, 3, 0.2))
    assert (first.face_share, first.n_people, first.n_frames, first.rate) == (1.0, 1, 15, 5.0)
    assert last.times[0] == pytest.approx(0.1)  # from the segment's start, not the file's
    assert none.crops.shape == (0, 48, 48, 3)
    assert (none.face_share, none.n_people, none.n_frames) == (0.0, 0, 10)
    assert border.face_share == pytest.approx(0.5)
    assert whole.n_frames == 60
    assert len(whole.crops) == len(whole.times) == len(whole.boxes)
    # The disc comes back 60 px away: another track, as long as the first; one of them is the person.
    assert whole.face_share == pytest.approx(1 / 3, abs=0.02)


def test_the_crop_shows_the_face_with_its_margin(film: Path) -> None:
    for margin in (0.0, 0.25):
        (crops,) = crops_of(film, [Segment(0, 2)], size=64, margin=margin)
        white = crops.crops[..., 1] > 128
        assert white.sum(axis=2).max() == pytest.approx(64 / (1 + 2 * margin), abs=6)
        rows, columns = white.mean(axis=0).nonzero()
        assert (rows.min() + rows.max()) / 2 == pytest.approx(32, abs=4)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(32, abs=4)


def test_boxes_are_shares_of_the_picture(film: Path) -> None:
    (crops,) = crops_of(film, [Segment(9, 11)])
    x, y, width, height = crops.boxes.mean(axis=0)
    assert (x + width / 2, y + height / 2) == pytest.approx((130 / 200, 0.5), abs=0.02)
    assert (width, height) == pytest.approx((41 / 200, 41 / 120), abs=0.04)


def test_grey_crops_keep_three_equal_channels(film: Path) -> None:
    (crops,) = crops_of(film, [Segment(0, 1)], grey=True)
    assert crops.crops.shape[-1] == 3
    assert np.ptp(crops.crops.astype(int), axis=-1).max() == 0


def test_segments_are_given_as_soon_as_they_are_read(film: Path) -> None:
    order = []
    stream = face_crops(film, [Segment(8, 9), Segment(0, 1), Segment(0, 12)], detector=BrightDisc())
    order = [index for index, _ in stream]
    assert order == [1, 0, 2]


def test_a_long_segment_is_sampled_more_thinly_and_says_so(film: Path) -> None:
    (crops,) = crops_of(film, [Segment()], max_frames=24)
    assert crops.n_frames == 24
    assert crops.rate == pytest.approx(2.0)


def test_errors_concern_their_segment(film: Path, tmp_path: Path) -> None:
    found = dict(face_crops(film, [Segment(20, 21), Segment(0, 1), Segment(2, 2)], detector=BrightDisc()))
    assert isinstance(found[0], MediaError)
    assert isinstance(found[1], FaceCrops)
    assert isinstance(found[2], MediaError)
    only_wrong = dict(face_crops(film, [Segment(20, 21)], detector=BrightDisc()))
    assert isinstance(only_wrong[0], MediaError)
    voice = write_mp4(tmp_path / "voice.mp4", None, waveform=np.zeros(8000, np.float32))
    with pytest.raises(StreamMissing):
        list(face_crops(voice, [Segment()], detector=BrightDisc()))
    with pytest.raises(MediaError, match="no such file"):
        list(face_crops(tmp_path / "none.mp4", [Segment()], detector=BrightDisc()))


def test_what_else_is_asked_for_does_not_decide_whether_a_segment_is_covered(tmp_path: Path) -> None:
    source = write_mp4(tmp_path / "source.mp4", [scene(100)] * 100, 10, keyframe_interval=10)
    path = tmp_path / "late.mkv"
    with av.open(str(source)) as original, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(original.streams.video[0])
        sound = copy.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 80_000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        copy.mux(sound.encode(frame))
        copy.mux(sound.encode())
        for packet in original.demux():
            if packet.dts is not None and packet.pts * packet.time_base >= 4:
                packet.stream = stream
                copy.mux(packet)
    alone = list(face_crops(path, [Segment(0, 5)], detector=BrightDisc()))
    company = list(face_crops(path, [Segment(0, 5), Segment(6, 8)], detector=BrightDisc()))
    assert [index for index, _ in company] == [0, 1]
    for _, error in (alone[0], company[0]):
        assert "5 of 25 pictures between 0.00 and 5.00 s can be read" in str(error)
    assert isinstance(company[1][1], FaceCrops)


def test_a_file_that_breaks_off(cut_off: Path) -> None:
    found = dict(face_crops(cut_off, [Segment(1, 2), Segment()], detector=BrightDisc()))
    assert isinstance(found[0], FaceCrops)
    assert "breaks off" in str(found[1])


def test_one_picture_and_tiny_pictures(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "one.mp4", [scene(100)], 25)
    (crops,) = crops_of(path, [Segment()])
    assert (len(crops.crops), crops.face_share, crops.n_people) == (1, 1.0, 1)
    tiny = write_mp4(tmp_path / "tiny.mp4", [np.zeros((16, 16, 3), np.uint8)] * 5, 5)
    found = dict(face_crops(tiny, [Segment()], detector=HaarDetector()))
    assert isinstance(found[0], FaceCrops)
    assert found[0].face_share == 0


@pytest.mark.parametrize(
    "box",
    [(100, 60, 40, 40), (5, 60, 40, 40), (199, 119, 40, 40), (100, 60, 500, 500), (-80, 300, 40, 40), (9, 9, 1, 1)],
)
def test_a_square_stays_inside_the_picture(box: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (120, 200, 3), dtype=np.uint8)
    crop = crop_square(image, np.array(box, float), 32, 0.2)
    assert crop.shape == (32, 32, 3)
    assert crop.min() >= 1


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_real_clips(name: str, shared_data: Path, shared_models: Path) -> None:
    detector = make_detector(name, shared_models)
    for clip in sorted((shared_data / "crema_d" / "VideoFlash").glob("*.flv")):
        ((_, crops),) = face_crops(clip, [Segment()], detector=detector, size=64)
        assert isinstance(crops, FaceCrops)
        assert crops.face_share == 1.0
        assert crops.n_people == 1
        # The head of one actor hardly moves: neither may the crops.
        assert np.ptp(crops.boxes[:, :2] + crops.boxes[:, 2:] / 2, axis=0).max() < 0.12
        assert np.abs(np.diff(crops.boxes, axis=0)).max() < 0.06


def test_two_people_and_the_longer_one(shared_data: Path, shared_models: Path, tmp_path: Path) -> None:
    clip = shared_data / "crema_d" / "VideoFlash" / "1001_DFA_NEU_XX.flv"
    pictures = [f.image for _, f in sample_frames(clip, [Segment()], 10) if isinstance(f, Frame)]
    wall = np.full_like(pictures[0], 120)
    both = [np.hstack([p, q if n < 6 else wall]) for n, (p, q) in enumerate(zip(pictures, pictures[::-1], strict=True))]
    path = write_mp4(tmp_path / "two.mp4", both, 10)
    ((_, crops),) = face_crops(path, [Segment()], detector=make_detector("yunet", shared_models), detect_rate=2.5)
    assert isinstance(crops, FaceCrops)
    assert crops.n_people == 2
    assert crops.face_share == 1.0
    assert (crops.boxes[:, 0] < 0.5).all()


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_photographs(name: str, shared_data: Path, shared_models: Path) -> None:
    pictures = sorted((shared_data / "faces" / "images").glob("*.jpg"))[:4000:100]
    found = [image_crop(p, detector=make_detector(name, shared_models), size=96, grey=True) for p in pictures]
    assert sum(len(crops.crops) for crops in found) >= 0.9 * len(found)
    for crops in found:
        assert crops.crops.shape == (len(crops.times), 96, 96, 3)
        assert crops.face_share == len(crops.crops)


def test_a_picture_without_a_face_is_absent(tmp_path: Path) -> None:
    PillowImage.new("RGB", (80, 60), (40, 90, 40)).save(tmp_path / "a.png")
    crops = image_crop(tmp_path / "a.png", detector=HaarDetector(), size=32)
    assert crops.crops.shape == (0, 32, 32, 3)
    assert (crops.face_share, crops.n_people, crops.n_frames) == (0.0, 0, 1)
    with pytest.raises(MediaError, match="no such picture"):
        image_crop(tmp_path / "b.png", detector=HaarDetector())
