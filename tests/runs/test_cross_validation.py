"""Cross-validation: every row is tested once by a model that did not see its fold, and the pooled figures say so."""

import copy
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.tiny_runs import settings, write_corpus
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.evaluation.metrics import auroc
from subtext.runs.evaluate import evaluate_seeds
from subtext.runs.folder import RunFolder
from subtext.runs.folds import fold_of, train_folds
from subtext.runs.one_run import train_one
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    table = pd.read_csv(write_corpus(folder / "corpus"))
    table["speaker"] = [f"s{number % 12}" for number in range(len(table))]
    table.drop(columns="split").to_csv(folder / "corpus" / "tiny.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    return settings(place, place / "corpus" / "tiny.csv") | {"cv": 3, "fold": None, "controls": ["majority", "text"]}


@pytest.fixture(scope="module")
def run(place: Path, base: dict[str, Any]) -> RunFolder:
    return train(base, place / "run")


def quick(base: dict[str, Any], path: Path) -> dict[str, Any]:
    """One epoch, no controls, on another table."""
    made = copy.deepcopy(base) | {"controls": False}
    made["corpus"]["path"] = str(path)
    made["trainer"]["max_epochs"] = 1
    return made


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


@pytest.mark.slow
def test_an_interrupted_cross_validation_goes_on(
    base: dict[str, Any], run: RunFolder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []

    def counting(own: dict[str, Any], fold: RunFolder, **more: Any) -> RunFolder:
        trained.append(fold.path)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_one(own, fold, **more)

    monkeypatch.setattr("subtext.runs.folds.train_one", counting)
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


@pytest.mark.slow
def test_encoders_of_a_cross_validated_stage_go_fold_by_fold(base: dict[str, Any], run: RunFolder, place: Path) -> None:
    staged = train(base | {"encoders": str(run.path), "controls": False}, place / "staged")
    for fold in range(3):
        assert fold_of(staged, fold).settings()["encoders"] == str(fold_of(run, fold).path)
    alone = train(base | {"fold": 1, "encoders": str(run.path), "controls": False}, place / "one_of_the_folds")
    assert alone.settings()["encoders"] == str(fold_of(run, 1).path)
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


@pytest.mark.slow
def test_a_cross_validation_killed_in_its_second_fold_goes_on_to_the_same_figures(
    base: dict[str, Any], run: RunFolder, place: Path
) -> None:
    program = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from subtext.runs.controls import Controls
from subtext.runs.train import train
retrained = Controls.retrained
def killed(self, modalities, *, shuffled):
    if self.run.path.name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return retrained(self, modalities, shuffled=shuffled)
Controls.retrained = killed
train(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
"""
    (place / "killed.json").write_text(json.dumps(base))
    done = subprocess.run(
        [sys.executable, "-c", program, str(place / "killed.json"), str(place / "killed")],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL
    killed = RunFolder(place / "killed")
    assert fold_of(killed, 1).is_trained
    assert not fold_of(killed, 1).is_finished
    assert not fold_of(killed, 2).is_begun
    train(killed.settings(), killed.path, resume=True)
    for name in ("predictions.parquet", "controls.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(killed.file(name)), pd.read_parquet(run.file(name)))
    assert killed.file("metrics.json").read_text() == run.file("metrics.json").read_text()


def test_folds_of_a_corpus_that_changed_in_between_are_not_pooled(base: dict[str, Any], place: Path) -> None:
    path = place / "corpus" / "growing.csv"
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table.to_csv(path, index=False)
    asked = quick(base, path)
    growing = RunFolder(place / "growing")
    growing.begin(dict(asked), overwrite=False)
    train(asked | {"fold": 0}, fold_of(growing, 0).path)
    table.iloc[1:].to_csv(path, index=False)
    with pytest.raises(RunError, match="corpus changed between fold 0 and fold 1"):
        train(asked, growing.path, resume=True)


def test_a_fold_of_one_class_is_tested_and_has_no_area_of_its_own(base: dict[str, Any], place: Path) -> None:
    path = place / "corpus" / "one_class.csv"
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    alike = (table["verbal_polarity"] == table["visual_polarity"]) & (table.index < 60)
    table["fold"] = np.where(alike, 0, 1 + np.arange(len(table)) % 3)
    table["speaker"] = [f"s{fold}" for fold in table["fold"]]
    table.to_csv(path, index=False)
    done = train(quick(base, path) | {"cv": 4, "fold": 0}, place / "one_class")
    found = json.loads(done.file("metrics.json").read_text())["heads"]["incongruent"]["subsets"]["all"]
    assert found["clips"] > 0
    assert found["positive"] == 0
    assert found["metrics"]["auroc"]["value"] is None
    # As validation it cannot choose anything, which is told before the first fold is trained.
    with pytest.raises(ManifestError, match="while fold 3 is tested, the labels 'incongruent' of the split 'val'"):
        train(quick(base, path) | {"cv": 4}, place / "one_class_cv")
    assert not (place / "one_class_cv").exists()


def test_folds_keep_sessions_together_where_speakers_are_not_known(base: dict[str, Any], place: Path) -> None:
    path = place / "corpus" / "sessions.csv"
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["session"] = table["speaker"]
    table.drop(columns="speaker").to_csv(path, index=False)
    asked = quick(base, path) | {"fold": 0}
    asked["corpus"]["groups"] = ["session"]
    rows = pd.read_parquet(train(asked, place / "sessions").file("rows.parquet"))
    assert (rows.groupby("session")["split"].nunique() == 1).all()


def test_a_column_fold_means_nothing_to_a_run_that_does_not_go_by_it(base: dict[str, Any], place: Path) -> None:
    path = place / "corpus" / "both.csv"
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    number = table["speaker"].str[1:].astype(int)
    table["split"] = np.select([number < 6, number < 9], ["train", "val"], "test")
    table["fold"] = number % 3
    table.to_csv(path, index=False)
    done = train(quick(base, path) | {"cv": None}, place / "both")
    assert pd.read_parquet(done.file("predictions.parquet"))["fold"].isna().all()
    assert "folds" not in json.loads(done.file("metrics.json").read_text())["heads"]["incongruent"]


@pytest.mark.slow
def test_seeds_of_cross_validated_runs_are_pooled(base: dict[str, Any], run: RunFolder, place: Path) -> None:
    other = train(quick(base, place / "corpus" / "tiny.csv") | {"seed": 1}, place / "other")
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    same = train(quick(base, place / "corpus" / "tiny.csv"), place / "same")
    pooled = evaluate_seeds([same.path, other.path], place / "pooled", n_bootstrap=10)
    assert pooled["clips"] == len(table)
    assert len(pooled["auroc"]["incongruent"]["all"]["fused"]["per_seed"]) == 2
    with pytest.raises(RunError, match="differ in"):
        evaluate_seeds([run.path, other.path], place / "different", n_bootstrap=10)


def test_a_missing_stage_is_told_before_anything_is_begun(base: dict[str, Any], place: Path) -> None:
    with pytest.raises(RunError, match="no finished encoder stage"):
        train(base | {"encoders": str(place / "nowhere")}, place / "unstaged")
    assert not (place / "unstaged").exists()


@pytest.mark.parametrize(
    ("cv", "fold", "words"),
    [
        (None, 2, "say of how many by cv="),
        ("five", 0, "cv is 'five'; write a whole number of at least 3 or null"),
        (3, "a", "fold is 'a'; write a whole number of at least 0 or null"),
        (3, 3, "fold=3: there is no such fold; those of cv=3 are 0 to 2"),
    ],
)
def test_folds_that_cannot_be_say_so(base: dict[str, Any], place: Path, cv: Any, fold: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(base | {"cv": cv, "fold": fold}, place / f"no-{cv}-{fold}")
