"""A training run keeps where its clips lie: beside the model, held against its test clips, in folds, when resumed."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.tiny_runs import settings, write_corpus
from subtext.prediction.predictor import Predictor
from subtext.runs.folder import RunFolder
from subtext.runs.folds import fold_of
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

SIZES = (160, 120, 80)
"""Of each split; some rows lack a stream, and more than a hundred of the validation rows have each."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("novelty")
    write_corpus(folder / "corpus", sizes=SIZES)
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    return settings(place, place / "corpus" / "tiny.csv")


@pytest.fixture(scope="module")
def run(place: Path, base: dict[str, Any]) -> RunFolder:
    return train(base, place / "run")


def test_it_is_kept_with_the_model(run: RunFolder) -> None:
    novelty = run.model()["novelty"]
    assert {modality: entry["clips"] for modality, entry in novelty.items()} == {"text": 111, "prosody": 111}
    assert all(entry["level"] > 0 for entry in novelty.values())
    assert set(run.novelty(run.classifier())) == {"text", "prosody"}


def test_validation_and_test_clips_are_held_against_it(run: RunFolder) -> None:
    table = run.predictions()
    for modality in ("text", "prosody"):
        distances = table[f"novelty_{modality}"]
        assert (distances.notna() == table[f"present_{modality}"]).all()
        validation = distances[table["split"] == "val"].dropna()
        assert (validation > 1 + 1e-5).sum() <= len(validation) * 0.01
        assert (validation > 0.99).any()
    assert "novelty_visual" not in table


def test_the_page_says_how_many_test_clips_are_unlike(run: RunFolder) -> None:
    table = run.predictions().query("split == 'test'")
    expected = {
        modality: {"clips": int(far.notna().sum()), "unlike": int((far > 1).sum())}
        for modality in ("text", "prosody")
        for far in [table[f"novelty_{modality}"]]
    }
    assert run.metrics()["novelty"] == expected
    assert (
        "Unlike the training clips, farther from them than 99 % of the validation clips are: "
        f"words in {expected['text']['unlike']} of {expected['text']['clips']}"
    ) in run.report.read_text()
    # A level of 111 clips is rough; how many of a corpus's own clips are called unlike is measured by a benchmark.
    assert all(entry["unlike"] <= 0.15 * entry["clips"] for entry in expected.values()), expected


def strange(corpus: Path, folder: Path, modality: str) -> Path:
    """The corpus's rows, with streams of one modality that nothing in it is like."""
    shutil.copytree(corpus, folder)
    for file in (folder / "streams").glob("test-*.npz"):
        arrays = dict(np.load(file))
        if modality in arrays:
            arrays[modality] = arrays[modality] * -4 - 20
        np.savez(file, **arrays)
    return folder / "tiny.csv"


@pytest.mark.parametrize("modality", ["text", "prosody"])
def test_prediction_abstains_from_what_is_unlike(run: RunFolder, place: Path, tmp_path: Path, modality: str) -> None:
    manifest = strange(place / "corpus", tmp_path / "corpus", modality)
    lines = [line for line in Predictor(run).predict(manifest) if "polarity" in line]
    for line in lines:
        unlike = line["id"].startswith("test-") and modality in line["polarity"]
        assert (modality in line["unlike"]) >= unlike, line["id"]
        assert not line["unlike"] or line["abstain"]
    alike = [line for line in lines if not line["id"].startswith("test-")]
    assert sum(bool(line["unlike"]) for line in alike) <= 0.15 * len(alike)


def test_without_its_column_a_table_is_judged_as_before(run: RunFolder, tmp_path: Path) -> None:
    """Folders of earlier versions have none."""
    from subtext.evaluation.evaluate import evaluate

    table = run.predictions()
    assert "novelty" not in evaluate(table.drop(columns=["novelty_text", "novelty_prosody"]), n_bootstrap=20)


def test_a_run_that_goes_on_judges_by_what_is_kept(run: RunFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.path, tmp_path / "run"))
    for name in ("predictions.parquet", "metrics.json", "report.md"):
        (folder / name).unlink()
    kept = (folder / "novelty.safetensors").read_bytes()
    train(RunFolder(folder).settings(), folder, resume=True)
    assert (folder / "novelty.safetensors").read_bytes() == kept
    columns = ["novelty_text", "novelty_prosody"]
    pd.testing.assert_frame_equal(RunFolder(folder).predictions()[columns], run.predictions()[columns], atol=1e-5)


def test_folds_are_judged_each_by_its_own(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["speaker"] = [f"s{number % 12}" for number in range(len(table))]
    path = place / "corpus" / "folds.csv"
    table.drop(columns="split").to_csv(path, index=False)
    made = copy.deepcopy(base) | {"cv": 3, "fold": None}
    made["corpus"]["path"] = str(path)
    made["trainer"]["max_epochs"] = 1
    run = train(made, tmp_path / "run")
    for fold in range(3):
        assert set(fold_of(run, fold).model()["novelty"]) == {"text", "prosody"}
    tested = run.predictions().query("split == 'test'")
    assert len(tested) == len(table)
    assert (tested["novelty_text"].notna() == tested["present_text"]).all()
    assert run.metrics()["novelty"]["text"]["clips"] == int(tested["present_text"].sum())
    assert "Unlike the training clips" in run.report.read_text()


def test_too_few_validation_clips_are_said(base: dict[str, Any], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    made = copy.deepcopy(base)
    made["corpus"]["path"] = str(tmp_path / "corpus" / "tiny.csv")
    made["trainer"]["max_epochs"] = 1
    run = train(made, tmp_path / "run")
    assert [entry["level"] for entry in run.model()["novelty"].values()] == [None, None]
    assert not run.file("novelty.safetensors").exists()
    assert not [column for column in run.predictions() if column.startswith("novelty_")]
    note = "novelty is not checked for want of 100 different validation clips: words (37), voice (37)"
    assert note in run.metrics()["notes"]
    assert note in run.report.read_text()


def test_overwriting_leaves_no_earlier_measure(base: dict[str, Any], run: RunFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.path, tmp_path / "run"))
    write_corpus(tmp_path / "corpus")
    made = copy.deepcopy(base) | {"overwrite": True}
    made["corpus"]["path"] = str(tmp_path / "corpus" / "tiny.csv")
    made["trainer"]["max_epochs"] = 1
    train(made, folder)
    assert not (folder / "novelty.safetensors").exists()
    assert json.loads((folder / "model.json").read_text())["novelty"]["text"]["level"] is None
