"""The studio as it is built: files, faces, voices, and what happens when it is built again."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

from builders.dead_processes import left_by_the_dead
from subtext.corpora.studio import Nuisance, Studio
from subtext.corpora.studio import corpus as studio_corpus
from subtext.corpora.studio.render import PictureFormat, clips_of, render_clip
from subtext.errors import ConfigError, SubtextError
from subtext.manifest import Manifest
from subtext.media.face_detectors import HaarDetector

CONF = Path(__file__).resolve().parents[2] / "conf" / "corpus" / "studio.yaml"
SETTINGS = {
    "size": "tiny",
    "speakers_train": 20,
    "speakers_val": 20,
    "speakers_test": 20,
    "width": 160,
    "height": 120,
    "fps": 6,
    "min_duration": 0.8,
    "max_duration": 1.2,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A small studio of 60 speakers, made by two workers."""
    return Studio(tmp_path_factory.mktemp("studio"), workers=2, **SETTINGS).build()


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def waveform(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_manifest_is_what_training_needs(built: Manifest) -> None:
    table = built.table
    assert built.groups == ("speaker", "sentence")
    assert len(table) == 120
    assert table["split"].value_counts().to_dict() == {"train": 40, "val": 40, "test": 40}
    assert table["speaker"].nunique() == 60
    assert table["incongruent"].mean() == 0.5
    assert table[["verbal_polarity", "visual_polarity", "vocal_polarity", "vocal_incongruent"]].notna().all(axis=None)
    assert (table["transcript"].str.len() > 10).all()
    assert table["id"].str.fullmatch(r"studio-\d{6}").all()
    assert (table["video"] == "clips/" + table["id"] + ".mp4").all()


def test_files_are_h264_and_aac_of_the_size_asked_for(built: Manifest) -> None:
    for row in built.table.head(30).itertuples():
        with av.open(str(built.path(row.video))) as container:
            video = container.streams.video[0]
            assert video.codec_context.name == "h264"
            assert (video.codec_context.width, video.codec_context.height) == (160, 120)
            assert float(video.average_rate) == pytest.approx(6, abs=0.01)
            assert 0.7 < float(video.duration * video.time_base) < 1.4
            assert len(container.streams.audio) == row.sound_recorded
            for audio in container.streams.audio:
                assert audio.codec_context.name == "aac"
                assert audio.codec_context.sample_rate == 16_000


def test_nothing_about_a_file_tells_the_label(built: Manifest) -> None:
    table = built.table
    sound = [waveform(built.path(video)) for video in table["video"]]
    first = [pictures(built.path(video))[0] for video in table["video"]]
    measured = {
        "size": [built.path(video).stat().st_size for video in table["video"]],
        "loudness": [float(np.sqrt(np.mean(wave**2))) if len(wave) else 0.0 for wave in sound],
        "length": [len(wave) for wave in sound],
        "brightness": [float(image.mean()) for image in first],
        "words": table["transcript"].str.len(),
    }
    for name, values in measured.items():
        assert roc_auc_score(table["incongruent"], values) == pytest.approx(0.5, abs=0.02), name


def test_haar_finds_the_faces_and_nothing_else(built: Manifest) -> None:
    detector = HaarDetector()
    table = built.table
    found = {
        shown: [
            bool(detector.detect(image))
            for video in table.loc[table["face_shown"] == shown, "video"]
            for image in pictures(built.path(video))[1::3]
        ]
        for shown in (True, False)
    }
    assert len(found[True]) >= 200
    assert np.mean(found[True]) >= 0.95
    assert len(found[False]) >= 6
    assert np.mean(found[False]) <= 0.05


def test_any_process_renders_the_same_bytes(built: Manifest, tmp_path: Path) -> None:
    plan = Studio(tmp_path, **SETTINGS).plan()
    clips = clips_of(plan, tmp_path)
    for number in (0, 1, 57, 119):
        path = render_clip(clips[number], 0, PictureFormat(160, 120, 6))
        assert path.read_bytes() == built.path(f"clips/{path.name}").read_bytes()
    other = render_clip(clips_of(plan, tmp_path / "other")[0], 1, PictureFormat(160, 120, 6))
    assert other.read_bytes() != built.path(f"clips/{other.name}").read_bytes()


def test_a_complete_corpus_may_lie_on_storage_that_cannot_be_written(
    built: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subtext.corpora.studio.corpus.write_manifest", lambda *_: pytest.fail("it wrote"))
    again = Studio(built.root, workers=0, **SETTINGS).build()
    assert again.table.equals(built.table)


def test_a_complete_corpus_is_taken_as_it_is(built: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Studio, "_render", lambda *_: pytest.fail("rendered again"))
    again = Studio(built.root, workers=0, **SETTINGS).build()
    pd.testing.assert_frame_equal(again.table, built.table)
    assert (again.root.resolve(), again.groups, again.name) == (built.root.resolve(), built.groups, built.name)


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes placeholders instead of clips, and lists what was written."""
    written: list[str] = []

    def write(clip: object, seed: int, picture: PictureFormat) -> Path:
        path: Path = clip.path  # type: ignore[attr-defined]
        if not path.is_file():
            path.write_bytes(f"{seed} {path.name} {picture.width}".encode())
            written.append(path.name)
        return path

    monkeypatch.setattr("subtext.corpora.studio.render.render_clip", write)
    return written


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "clips").iterdir()}


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path, renders: list[str]) -> None:
    studio = Studio(tmp_path, size="tiny", workers=0)
    manifest = studio.build()
    whole, table = contents(tmp_path), (tmp_path / "manifest.parquet").read_bytes()
    assert len(renders) == 120
    # As a kill leaves it: begun, not done, some clips missing, one half written.
    os.replace(tmp_path / "studio.json", tmp_path / "studio.part.json")
    (tmp_path / "manifest.parquet").unlink()
    missing = list(manifest.table["video"][:5])
    for video in missing:
        manifest.path(video).unlink()
    left_by_the_dead(tmp_path / "clips" / "studio-000001.mp4")
    renders.clear()
    studio.build()
    assert sorted(f"clips/{name}" for name in renders) == sorted(missing)
    assert contents(tmp_path) == whole
    assert (tmp_path / "manifest.parquet").read_bytes() == table
    assert not (tmp_path / "studio.part.json").exists()


def test_a_lost_clip_is_made_again(tmp_path: Path, renders: list[str]) -> None:
    studio = Studio(tmp_path, size="tiny", workers=0)
    manifest = studio.build()
    manifest.path("clips/studio-000003.mp4").unlink()
    renders.clear()
    studio.build()
    assert renders == ["studio-000003.mp4"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"width": 200}, {"nuisance": Nuisance(lighting=0.5)}, {"n_test": 80}])
def test_other_settings_replace_the_corpus(tmp_path: Path, renders: list[str], change: dict[str, object]) -> None:
    Studio(tmp_path, size="tiny", workers=0).build()
    (tmp_path / "clips" / "notes.txt").write_text("mine")
    renders.clear()
    manifest = Studio(tmp_path, size="tiny", workers=0, **change).build()
    assert len(renders) == len(manifest)
    assert (tmp_path / "clips" / "notes.txt").read_text() == "mine"
    assert len(list((tmp_path / "clips").glob("studio-*.mp4"))) == len(manifest)
    settings = json.loads((tmp_path / "studio.json").read_text())
    assert settings["sizes"]["train"] == {"clips": 40, "speakers": 10}


def test_workers_do_not_change_the_settings(tmp_path: Path, renders: list[str]) -> None:
    Studio(tmp_path, size="tiny", workers=0).build()
    renders.clear()
    Studio(tmp_path, size="tiny", workers=3).build()
    assert renders == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, renders: list[str]) -> None:
    recording = tmp_path / "clips" / "studio-000000.mp4"
    recording.parent.mkdir()
    recording.write_bytes(b"a recording of mine")
    with pytest.raises(ConfigError, match=r"studio did not make; set another corpus\.folder"):
        Studio(tmp_path, size="tiny", workers=0).build()
    assert recording.read_bytes() == b"a recording of mine"
    assert renders == []


def test_an_unreadable_settings_file_means_another_build(tmp_path: Path, renders: list[str]) -> None:
    studio = Studio(tmp_path, size="tiny", workers=0)
    studio.build()
    (tmp_path / "studio.json").write_bytes(b'{"seed": \xff')
    renders.clear()
    studio.build()
    assert len(renders) == 120


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (partial(os._exit, 3), SubtextError, "worker process died"),
        (partial(os.mkdir, "/"), OSError, "exists"),
    ],
)
def test_a_worker_that_fails_ends_the_build(job: Callable[[], Path], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        studio_corpus._render_apart(1, [job] * 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": "huge"}, "^Studio: size is 'huge'; write tiny, demo or full"),
        ({"width": 10}, "^Studio: width is 10; write a whole number from 64 to 1920"),
        ({"fps": 0}, "^Studio: fps is 0; write a number from 1 to 60"),
        ({"workers": -1}, "^Studio: workers is -1; write a whole number of at least 0 or null"),
        ({"voice_follows_face": 1.5}, "^Studio: voice_follows_face is 1.5; write a number from 0 to 1"),
        ({"n_val": 41}, "multiple of 40"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Studio(tmp_path / "new", **setting).build()
    assert not (tmp_path / "new").exists()


def test_the_config_states_the_defaults(tmp_path: Path) -> None:
    config = OmegaConf.create({"corpus": OmegaConf.load(CONF), "paths": {"corpora": str(tmp_path)}})
    studio = instantiate(config.corpus)
    plain = Studio(tmp_path / "studio" / "demo-0")
    assert {**vars(studio), "folder": None} == {**vars(plain), "folder": None}
    assert studio.folder == plain.folder
    given = set(config.corpus) - {"_target_"}
    assert given == set(Studio.__init__.__annotations__) - {"return"}
