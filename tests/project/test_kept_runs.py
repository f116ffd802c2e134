"""Run folders and a sweep that an earlier version left on its users' disks are read as they were: kept_runs/."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from builders.commands import command_here
from builders.talking_face import write_talking_face
from builders.tiny_runs import write_corpus
from subtext.cli import compare, evaluate, predict, robustness
from subtext.core.composition import conf_folder

KEPT = Path(__file__).with_name("kept_runs")

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the runs, the sweep and their corpus, where they and their configurations expect to be."""
    monkeypatch.chdir(tmp_path)
    for name in ("streams", "posterior", "recordings"):
        shutil.copytree(KEPT / name, tmp_path / name)
    write_corpus(tmp_path / "corpus")
    return tmp_path


def figures(node: Any, path: str = "") -> dict[str, float]:
    """Every number of a JSON document, by its place."""
    if isinstance(node, dict):
        return {k: v for key, inner in node.items() for k, v in figures(inner, f"{path}/{key}").items()}
    if isinstance(node, list):
        return {k: v for number, inner in enumerate(node) for k, v in figures(inner, f"{path}/{number}").items()}
    return {path: float(node)} if isinstance(node, int | float) and not isinstance(node, bool) else {}


def assert_same_figures(ours: Any, kept: Any, tolerance: float) -> None:
    ours, kept = figures(ours), figures(kept)
    assert kept.keys() <= ours.keys()
    assert {k: ours[k] for k in kept} == pytest.approx(kept, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("name", ["streams", "posterior", "recordings"])
def test_evaluating_again_gives_the_figures_of_then(name: str, place: Path) -> None:
    kept = json.loads((place / name / "metrics.json").read_text())
    (place / name / "metrics.json").unlink()
    assert evaluate.main([name]) == 0
    ours = json.loads((place / name / "metrics.json").read_text())
    assert len(figures(kept)) > 100
    # Intervals are those of today's statistics; the figures that they are about stay.
    assert_same_figures(without_ends(ours), without_ends(kept), 1e-9)
    assert ends_around(ours) > 20


def without_ends(node: Any) -> Any:
    """The same without the ends of intervals."""
    if isinstance(node, dict):
        return {key: without_ends(inner) for key, inner in node.items() if key not in ("low", "high")}
    return [without_ends(inner) for inner in node] if isinstance(node, list) else node


def ends_around(node: Any) -> int:
    """How many intervals there are, of which each holds its figure."""
    if isinstance(node, list):
        return sum(map(ends_around, node))
    if not isinstance(node, dict):
        return 0
    found = sum(map(ends_around, node.values()))
    if node.get("low") is not None and node.get("value") is not None:
        assert node["low"] - 1e-9 <= node["value"] <= node["high"] + 1e-9
        found += 1
    return found


def test_they_are_compared(place: Path) -> None:
    assert compare.main(["streams", "posterior", "--no-cost", "--bootstrap", "20"]) == 0
    table = pd.read_csv(place / "comparison" / "systems.csv")
    (shown,) = table.query(
        "system == 'fusion=crossmodal' and head == 'incongruent' and subset == 'all' and metric == 'auroc'"
        " and control.isna()"
    )["value"]
    kept = pd.read_parquet(KEPT / "streams" / "predictions.parquet").query("split == 'test'")
    assert shown == pytest.approx(roc_auc_score(kept["incongruent"].astype(bool), kept["prob_incongruent"]), abs=1e-5)


def test_recordings_are_predicted_as_then(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talking_face(place / "clip.mp4", seconds=2.0)
    assert predict.main(["recordings", "clip.mp4", "--transcript", "I am fine, really."]) == 0
    line = json.loads(capsys.readouterr().out)
    kept = json.loads((KEPT / "recordings" / "lines.jsonl").read_text())
    assert_same_figures(line, kept, 1e-3)
    assert line["model"] == kept["model"]
    assert line["missing"] == kept["missing"]


@pytest.mark.parametrize("name", ["streams", "posterior"])
def test_robustness_is_measured_on_them(name: str, place: Path) -> None:
    assert robustness.main([name, "--conditions", "drop", "--workers", "0"]) == 0
    measured = pd.read_parquet(place / name / "robustness.parquet").set_index("id")
    kept = pd.read_parquet(place / name / "predictions.parquet").query("split == 'test'").set_index("id")
    whole = measured[measured["condition"] == "clean"]
    assert set(kept.index) == set(whole.index)
    assert np.allclose(whole["prob_incongruent"], kept.loc[whole.index, "prob_incongruent"], atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", ["streams", "posterior"])
def test_a_trained_run_is_finished(name: str, place: Path) -> None:
    kept = pd.read_parquet(place / name / "predictions.parquet")
    for file in ("predictions.parquet", "controls.parquet", "metrics.json", "report.md"):
        (place / name / file).unlink()
    done = command_here("train", f"resume={name}", folder=place)
    assert done.code == 0, done.said
    ours = pd.read_parquet(place / name / "predictions.parquet")
    assert list(ours.columns) == list(kept.columns)
    for column in kept.filter(like="prob_"):
        assert np.allclose(ours[column].astype(float), kept[column].astype(float), atol=1e-5, equal_nan=True)
    assert (place / name / "metrics.json").is_file()


def test_a_sweep_goes_on(place: Path) -> None:
    shutil.copytree(KEPT / "sweep", place / "sweeps" / "sweep")
    before = pd.read_csv(KEPT / "sweep" / "trials.csv")
    given = json.loads((KEPT / "sweep" / "sweep.json").read_text())["overrides"]
    (place / "conf" / "sweep").mkdir(parents=True)
    (place / "conf" / "sweep" / "kept.yaml").write_text(
        "# @package _global_\nspace:\n  fusion: {choices: [late, posterior]}\n"
        "  task.optimizer.lr: {low: 1.0e-3, high: 1.0e-2, log: true}\n"
    )
    own = ["sweep=kept", "name=sweep", "trials=5", "refit_seeds=0", "sampler=tpe", "workers=0"]
    # Defaults that were not there when it was begun; trials under them would be refused as those of another study.
    own += ["++fusion.anchor=null", "task.reader=null", "encoder.text.baseline=null"]
    voice = (conf_folder() / "encoder" / "prosody" / "conv.yaml").read_text().splitlines(keepends=True)
    (place / "conf" / "encoder" / "prosody").mkdir(parents=True)
    (place / "conf" / "encoder" / "prosody" / "kept.yaml").write_text(
        "".join(line for line in voice if not line.startswith(("summary", "baseline")))
    )
    own += ["encoder/prosody=kept"]
    done = command_here("sweep", "--config-dir", "conf", *given, *own, folder=place)
    assert done.code == 0, done.said
    after = pd.read_csv(place / "sweeps" / "sweep" / "trials.csv")
    assert len(after) == 5
    same = ["number", "state", "value_selection", "params_fusion", "params_task.optimizer.lr"]
    pd.testing.assert_frame_equal(after.loc[:3, same], before[same])
