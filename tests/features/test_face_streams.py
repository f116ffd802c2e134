"""The face's stream, from videos and pictures."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from subtext.corpora.studio.write import write_mp4
from subtext.errors import ConfigError, WeightsError
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.features.faces import FaceExtractor
from subtext.features.prosody import ProsodyExtractor
from subtext.manifest import build_manifest


@pytest.fixture
def empty_room(tmp_path: Path) -> Path:
    """A video of noise, with a tone."""

    def frames() -> Iterator[np.ndarray]:
        generator = np.random.default_rng(0)
        for _ in range(20):
            yield generator.integers(0, 256, (120, 160, 3), dtype=np.uint8)

    wave = 0.3 * np.sin(2 * np.pi * 150 * np.arange(32_000) / 16_000).astype(np.float32)
    return write_mp4(tmp_path / "room.mp4", frames(), 10.0, wave)


def test_no_face_is_absent_with_its_share(empty_room: Path) -> None:
    manifest = build_manifest(
        pd.DataFrame([{"id": "a", "video": empty_room.name}]), root=empty_room.parent, name="own", groups=()
    )
    index = extract(manifest, {"visual": FaceExtractor(detector="haar"), "prosody": ProsodyExtractor()}, MemoryCache())
    face, voice = index.table.iloc[0], index.table.iloc[1]
    assert (face["status"], face["face_share"]) == ("absent", 0.0)
    assert face["reason"].startswith("no face found in")
    assert voice["status"] == "ok"


def test_a_segment_that_cannot_be_read_fails_alone(empty_room: Path) -> None:
    rows = [
        {"id": "inside", "video": empty_room.name, "start": 0.5, "end": 1.5},
        {"id": "empty", "video": empty_room.name, "start": 1.0, "end": 1.0},
        {"id": "past", "video": empty_room.name, "start": 60.0, "end": 61.0},
    ]
    manifest = build_manifest(pd.DataFrame(rows), root=empty_room.parent, name="own", groups=())
    index = extract(manifest, {"visual": FaceExtractor(detector="haar"), "prosody": ProsodyExtractor()}, MemoryCache())
    status = index.table.set_index(["modality", "id"])["status"]
    assert status["prosody"].to_dict() == {"inside": "ok", "empty": "failed", "past": "failed"}
    assert status["visual"].to_dict() == {"inside": "absent", "empty": "failed", "past": "failed"}
    assert not index.table["reason"].str.contains(str(empty_room.parent)).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_real_recordings_and_photographs(shared_data: Path, shared_models: Path, tmp_path: Path, workers: int) -> None:
    videos = sorted((shared_data / "crema_d" / "VideoFlash").glob("*.flv"))[:2]
    photographs = sorted((shared_data / "faces" / "images").glob("*.jpg"))[:4]
    rows = [{"id": p.stem, "video": str(p.relative_to(shared_data))} for p in videos]
    rows += [{"id": p.stem, "image": str(p.relative_to(shared_data))} for p in photographs]
    manifest = build_manifest(pd.DataFrame(rows), root=shared_data, name="real", groups=())
    cache = FeatureCache(tmp_path)
    extractor = FaceExtractor(models=shared_models, size=64, rate=5)
    index = extract(manifest, {"visual": extractor}, cache, workers=workers)
    assert (index.table["status"] == "ok").all()
    assert (index.table["step_shape"] == "64x64x3").all()
    for video in videos:
        stream = cache.read(index.key(video.stem, "visual") or "")
        assert stream.values.dtype == np.uint8
        assert 8 <= len(stream) <= 16
        assert stream.quality["face_share"] > 0.9
        assert stream.values.std() > 10
    steps = index.table.set_index("id")["n_steps"]
    assert all(steps[p.stem] == 1 for p in photographs)


def test_a_picture_that_is_none_fails(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    cv2.imwrite(str(tmp_path / "b.png"), np.full((16, 16, 3), 90, np.uint8))
    rows = [{"id": "a", "image": "a.jpg"}, {"id": "b", "image": "b.png"}]
    manifest = build_manifest(pd.DataFrame(rows), root=tmp_path, name="own", groups=())
    index = extract(manifest, {"visual": FaceExtractor(detector="haar")}, MemoryCache())
    assert index.table["status"].tolist() == ["failed", "absent"]
    assert index.table["reason"].iloc[1] == "no face found in 1 picture"


def test_missing_detector_weights_stop_the_extraction(tmp_path: Path, empty_room: Path) -> None:
    manifest = build_manifest(
        pd.DataFrame([{"id": "a", "video": empty_room.name}]), root=empty_room.parent, name="own", groups=()
    )
    with pytest.raises(WeightsError, match="detector=haar"):
        extract(manifest, {"visual": FaceExtractor(models=tmp_path / "none")}, MemoryCache())


def test_every_setting_is_in_the_fingerprint() -> None:
    base = FaceExtractor(detector="haar")
    others = [
        FaceExtractor(detector="yunet"),
        FaceExtractor(detector="haar", rate=4),
        FaceExtractor(detector="haar", size=96),
        FaceExtractor(detector="haar", margin=0.3),
        FaceExtractor(detector="haar", grey=True),
        FaceExtractor(detector="haar", detect_rate=2),
        FaceExtractor(detector="haar", max_frames=100),
    ]
    assert len({e.fingerprint() for e in [base, *others]}) == 8
    assert FaceExtractor(detector="haar", models="elsewhere", rate=5).fingerprint() == base.fingerprint()


@pytest.mark.parametrize(
    "settings", [{"rate": 0}, {"size": -1}, {"margin": -0.1}, {"detector": "magic"}, {"max_frames": 0}]
)
def test_settings_that_cannot_be_used(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        FaceExtractor(**settings)  # type: ignore[arg-type]
