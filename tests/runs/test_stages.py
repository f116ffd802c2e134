"""Encoder stages: what a run takes over from one, and when it must not."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.tiny_runs import changed, settings, write_corpus
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    write_corpus(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    node = settings(place, place / "corpus" / "tiny.csv")
    node["trainer"]["max_epochs"] = 1
    return node


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out metrics, figures and report."""
    monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", lambda self: self.run.write_json("metrics.json", {}))


def stage_of(base: dict[str, Any], folder: Path, **more: Any) -> RunFolder:
    first = {"fusion": None, "task__heads": ["vocal_polarity"], "task__rows": "streams", "task__swap": 0.0}
    return train(changed(base, **first, **more), folder)


@pytest.fixture
def stage(base: dict[str, Any], tmp_path: Path) -> RunFolder:
    return stage_of(base, tmp_path / "stage")


def on_top(base: dict[str, Any], stage: RunFolder, **more: Any) -> dict[str, Any]:
    return changed(base, encoders=str(stage.path), encoder__prosody__trainable=False, **more)


def with_splits(place: Path, name: str, moved: dict[str, str], speaker: str = "") -> str:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["split"] = table["split"].replace(moved)
    if speaker:
        table["speaker"] = speaker + table["speaker"]
    path = place / "corpus" / f"{name}.csv"
    table.to_csv(path, index=False)
    return str(path)


def with_other_recordings(place: Path, path: str) -> str:
    """The same table of other recordings, with ids of their own."""
    table = pd.read_csv(path)
    (place / "corpus" / "others").mkdir()
    for name in table["features"]:
        with np.load(place / "corpus" / name) as streams:
            np.savez(place / "corpus" / "others" / Path(name).name, **{key: 2 * streams[key] for key in streams})
    table["features"] = table["features"].str.replace("streams/", "others/")
    other = place / "corpus" / "others.csv"
    table.assign(id="other-" + table["id"]).to_csv(other, index=False)
    return str(other)


def test_a_stage_on_the_same_splits_is_taken(base: dict[str, Any], stage: RunFolder, tmp_path: Path) -> None:
    assert train(on_top(base, stage), tmp_path / "run").is_finished


def test_a_stage_that_saw_the_test_recordings_is_refused(
    place: Path, base: dict[str, Any], stage: RunFolder, tmp_path: Path
) -> None:
    # Other speaker names and another corpus name: the recordings alone must show it.
    path = with_splits(place, "turned", {"train": "test", "test": "train"}, speaker="other-")
    with pytest.raises(
        RunError, match=r"prosody stream of row 1 of other is in this run's test split and in the train"
    ):
        train(on_top(base, stage, corpus__path=path, corpus__name="other"), tmp_path / "run")


def test_a_stage_that_chose_its_epoch_on_the_test_speakers_is_refused(
    place: Path, base: dict[str, Any], stage: RunFolder, tmp_path: Path
) -> None:
    path = with_splits(place, "chosen", {"val": "test", "test": "val"})
    known = r"the prosody stream of row \d+ of tiny is in this run's test split and in the train or val split"
    with pytest.raises(RunError, match=known):
        train(on_top(base, stage, corpus__path=path), tmp_path / "run")
    # Other recordings under other ids; that the speakers are the same still shows.
    other = on_top(base, stage, corpus__path=with_other_recordings(place, path))
    with pytest.raises(
        RunError, match=r"the speaker of row \d+ of tiny is in this run's test split and in the train or val split"
    ):
        train(other, tmp_path / "others")


def test_a_missing_stage_is_named_before_anything_begins(base: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no finished encoder stage in .*nowhere.*_encoders"):
        train(changed(base, encoders=str(tmp_path / "nowhere")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_shape_embeddings_must_be_the_stage_s(base: dict[str, Any], tmp_path: Path) -> None:
    stage = stage_of(base, tmp_path / "stage", encoder__prosody__window=3)
    # No weight's shape depends on it, so that loading alone would not notice.
    with pytest.raises(ConfigError, match=r"encoder\.prosody\.window is 2.*set encoder\.prosody\.window=3"):
        train(on_top(base, stage, encoder__prosody__window=2), tmp_path / "run")


def test_a_run_does_not_go_on_with_other_encoders(base: dict[str, Any], stage: RunFolder, tmp_path: Path) -> None:
    node = on_top(base, stage)
    run = train(node, tmp_path / "run")
    run.file("metrics.json").unlink()
    assert train(node, run.path, resume=True).is_finished
    stage_of(base, stage.path, seed=1, overwrite=True)
    with pytest.raises(RunError, match="the prosody encoder changed since the run"):
        train(node, run.path, resume=True)


def test_one_recording_in_two_splits_is_refused(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    twin = table[table["id"] == "train-000"].assign(id="again", split="test", speaker="somebody else")
    path = place / "corpus" / "twice.csv"
    pd.concat([table, twin]).to_csv(path, index=False)
    with pytest.raises(ManifestError, match=r"row \d+ \(test\) and row 1 \(train\) are the same recording"):
        train(changed(base, corpus__path=str(path)), tmp_path / "run")


def test_speakers_may_be_shared_where_the_user_says_so(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["speaker"] = table["speaker"].str.replace(r"\w+-", "s", regex=True)
    path = place / "corpus" / "shared.csv"
    table.to_csv(path, index=False)
    asked = changed(base, corpus__path=str(path), controls=["speaker"])
    with pytest.raises(ManifestError, match="one speaker is in the splits"):
        train(asked, tmp_path / "refused")
    asked["corpus"]["disjoint"] = []
    rows = pd.read_parquet(train(asked, tmp_path / "run").file("controls.parquet"))
    assert rows["prob_incongruent"].nunique() > 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task__batch_size": 0}, "task.batch_size is 0; write a whole number of at least 1"),
        ({"task__rows": "stream"}, "task.rows is 'stream'; write clips or streams"),
        ({"task__max_steps__prosody": 0}, "task.max_steps.prosody is 0; write a whole number of at least 1"),
        (
            {"task__head_weights": {"incongruant": 3}},
            "task.head_weights has no setting 'incongruant'; its settings are incongruent, vocal_incongruent, ",
        ),
        (
            {"trainer__precision": "bf16-true"},
            "trainer.precision is 'bf16-true'; write 32-true, bf16-mixed, 16-mixed or 32$",
        ),
        ({"trainer__accelerator": "abacus"}, "invalid accelerator name"),
        ({"fusion__layers": 0}, "fusion.layers is 0; write a whole number from 1 to 256"),
        ({"encoder__text__embed_dim": 5}, "has 8 values, but encoder.text.embed_dim is 5; set it to 8"),
        ({"encoder__prosody__input_dim": 5}, "has 6 values, but encoder.prosody.input_dim is 5; set it to 6"),
        ({"task__optimizer__lr": -1.0}, "task.optimizer.lr is -1.0; write a number of at least 0"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    base: dict[str, Any], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?i){words}"):
        train(changed(base, **change), tmp_path / "run")
