"""Cross-validation: every row is tested once by a model that did not see its fold, and the pooled figures say so."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from subtext.cross_validation import fold_of, train_folds
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.evaluation.metrics import auroc
from subtext.run_folder import RunFolder
from subtext.training import train
from tiny_runs import settings, write_corpus


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    table = pd.read_csv(write_corpus(folder / "corpus"))
    table["speaker"] = [f"s{number % 12}" for number in range(len(table))]
    table.drop(columns="split").to_csv(folder / "corpus" / "tiny.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    made = settings(place, place / "corpus" / "tiny.csv") | {"cv": 3, "fold": None, "controls": ["majority", "text"]}
    made["trainer"] = made["trainer"] | {"max_epochs": 6}
    return made


@pytest.fixture(scope="module")
def run(place: Path, base: dict[str, Any]) -> RunFolder:
    return train(base, place / "run")


def test_every_row_is_tested_once_and_by_a_model_that_saw_no_speaker_of_it(run: RunFolder, place: Path) -> None:
    table = pd.read_parquet(run.file("predictions.parquet"))
    test = table[table["split"] == "test"]
    manifest = pd.read_csv(place / "corpus" / "tiny.csv")
    assert sorted(test["id"]) == sorted(manifest["id"])
    for fold in range(3):
        rows = pd.read_parquet(fold_of(run, fold).file("rows.parquet"))
        trained = set(rows.loc[rows["split"] == "train", "speaker"])
        assert trained
        assert not trained & set(test.loc[test["fold"] == fold, "speaker"])


def test_pooled_and_fold_figures_are_those_of_the_table(run: RunFolder) -> None:
    metrics = json.loads(run.file("metrics.json").read_text())
    table = pd.read_parquet(run.file("predictions.parquet"))
    test = table[(table["split"] == "test") & table["prob_incongruent"].notna() & table["incongruent"].notna()]
    labels, p = test["incongruent"].to_numpy(bool), test["prob_incongruent"].to_numpy(float)
    pooled = metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
    assert pooled["value"] == pytest.approx(auroc(labels, p).value)
    folds = metrics["heads"]["incongruent"]["folds"]
    each = folds["each"]
    assert [row["fold"] for row in each] == [0, 1, 2]
    assert sum(row["clips"] for row in each) == len(test)
    for row in each:
        at = (test["fold"] == row["fold"]).to_numpy()
        assert row["auroc"] == pytest.approx(auroc(labels[at], p[at]).value)
    found = [row["auroc"] for row in each]
    assert folds["auroc"]["mean"] == pytest.approx(np.mean(found))
    assert metrics["controls"]["text"]["incongruent"]["subsets"]["all"]["clips"] > 0
    assert "| standard deviation |" in run.file("report.md").read_text()


def test_thresholds_are_those_of_each_fold(run: RunFolder) -> None:
    pooled = json.loads(run.file("metrics.json").read_text())["heads"]["incongruent"]["threshold"]["folds"]
    for fold in range(3):
        own = json.loads(fold_of(run, fold).file("metrics.json").read_text())
        assert pooled[str(fold)] == pytest.approx(own["heads"]["incongruent"]["threshold"]["value"])


def test_an_interrupted_cross_validation_goes_on(
    base: dict[str, Any], run: RunFolder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subtext.training

    trained: list[Path] = []
    real = subtext.training.train

    def counting(own: dict[str, Any], folder: Path, *, resume: bool = False) -> RunFolder:
        trained.append(folder)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(own, folder, resume=resume)

    monkeypatch.setattr("subtext.training.train", counting)
    again = RunFolder(place / "again")
    with pytest.raises(KeyboardInterrupt):
        train_folds(base, again, resume=False)
    assert not again.is_finished
    train_folds(again.settings(), again, resume=True)
    assert [folder.name for folder in trained] == ["0", "1", "1", "2"]
    ours, theirs = (pd.read_parquet(r.file("predictions.parquet")) for r in (again, run))
    pd.testing.assert_frame_equal(ours, theirs)


def test_one_fold_alone_is_that_fold_of_all(base: dict[str, Any], run: RunFolder, place: Path) -> None:
    alone = train(base | {"fold": 1}, place / "alone")
    ours = pd.read_parquet(alone.file("predictions.parquet"))
    theirs = pd.read_parquet(fold_of(run, 1).file("predictions.parquet"))
    pd.testing.assert_frame_equal(ours, theirs)


def test_the_folds_of_the_corpus_are_taken(base: dict[str, Any], place: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["fold"] = [int(speaker[1:]) % 4 for speaker in table["speaker"]]
    table.to_csv(place / "corpus" / "own.csv", index=False)
    own = copy.deepcopy(base) | {"cv": 4, "fold": 2, "controls": False}
    own["corpus"]["path"] = str(place / "corpus" / "own.csv")
    rows = pd.read_parquet(train(own, place / "own").file("predictions.parquet"))
    assert set(rows.loc[rows["split"] == "test", "fold"]) == {2}
    assert set(rows.loc[rows["split"] == "val", "fold"]) == {3}
    with pytest.raises(ManifestError, match="set cv=4"):
        train(own | {"cv": 5}, place / "wrong")


def test_encoders_of_a_cross_validated_stage_go_fold_by_fold(base: dict[str, Any], run: RunFolder, place: Path) -> None:
    staged = train(base | {"encoders": str(run.path), "controls": False}, place / "staged")
    for fold in range(3):
        assert fold_of(staged, fold).settings()["encoders"] == str(fold_of(run, fold).path)
    with pytest.raises(RunError, match="split of the encoder stage"):
        # The encoders of another fold have seen this fold's test rows.
        train(base | {"fold": 0, "encoders": str(fold_of(run, 1).path)}, place / "leak")


def test_impossible_folds_say_why(base: dict[str, Any], place: Path, run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        train(base | {"cv": 2}, place / "two")
    with pytest.raises(ConfigError, match="one process"):
        train(base | {"trainer": base["trainer"] | {"strategy": "ddp"}}, place / "ddp")
    with pytest.raises(RunError, match="cross-validated: give the run of one fold"):
        run.model()
