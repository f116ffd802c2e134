"""Notebooks run as they stand, on small runs of constructed clips and on constructed replies, and hold no outputs."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from builders.prediction_tables import run_tables
from builders.studio_runs import build_studio, compare_studio, corpus_of, sweep_studio, train_studio
from builders.tiny_runs import settings as light_settings
from subtext.audit import audit_corpus
from subtext.corpora.card import write_card
from subtext.evaluation.metrics import auroc
from subtext.replies import pages
from subtext.replies.compare import compare_systems
from subtext.replies.measures import CLAIMS, MEASURES
from subtext.replies.validate import validate
from subtext.report.audit_page import write_audit
from subtext.runs.compare import compare_runs
from subtext.runs.evaluate import evaluate_run
from subtext.runs.train import train

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
SHOWN = {
    "00_train_in_five_cells": "lines",
    "04_add_your_own_fusion": "systems",
    "read_a_run": "found",
    "01_corpora": "told",
    "02_fusion_comparison": "systems",
    "03_error_analysis": "errors",
    "05_vlm_and_replies": "controls",
}
"""Notebook -> a table in it that holds at least five rows once it has run."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    predictions, controls = run_tables(val=80, test=160)
    predictions.to_parquet(folder / "predictions.parquet")
    controls.to_parquet(folder / "controls.parquet")
    (folder / "run.json").write_text(json.dumps({"commit": "abc", "seed": 0, "groups": ["speaker"]}))
    evaluate_run(folder, n_bootstrap=20)
    return folder


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny studio corpus, in the place where runs look for it."""
    folder = tmp_path_factory.mktemp("studio")
    build_studio(folder)
    return folder


@pytest.fixture(scope="module")
def experiments(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card and audit of a tiny studio corpus, beside the published table of CREMA-D."""
    folder = tmp_path_factory.mktemp("experiments")
    shutil.copytree(NOTEBOOKS[0].parents[1] / "experiments" / "crema_d", folder / "crema_d")
    corpus = corpus_of(studio)
    manifest = corpus.build()
    write_card(corpus, manifest, folder / "corpora" / "studio" / "card.md")
    write_audit(audit_corpus(manifest), folder / "corpora" / "studio")
    return folder


@pytest.fixture(scope="module")
def trained(studio: Path) -> dict[str, Path]:
    """Two strategies, trained with two seeds each."""
    with pytest.MonkeyPatch.context() as patch:
        return train_studio(studio, patch)


@pytest.fixture(scope="module")
def results(studio: Path, trained: dict[str, Path]) -> Path:
    """The studio's folder with runs, their comparison and a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        compare_studio(studio, trained, patch)
    sweep_studio(studio)
    return studio


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a tiny vision-language model, with all controls, and of a light one on the same clips; compared."""
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).touch())
        from builders.scored_runs import vlm_settings, write_talking_corpus
        from builders.tiny_models import write_tiny
        from subtext.vlm.score import score

        (folder / "corpus").mkdir()
        corpus = write_talking_corpus(folder / "corpus")
        model = write_tiny("smolvlm", folder / "model")
        score(vlm_settings(corpus, model, folder / "vlm", "controls=true"), folder / "vlm")
        light = light_settings(folder, corpus, heads=["incongruent"])
        light["trainer"]["max_epochs"] = 1
        train(light, folder / "light")
        runs = [f"{name}={folder / name}" for name in ("light", "vlm")]
        compare_runs(runs, folder / "comparison", reference="light", cost=False, n_bootstrap=20)
    return folder


def constructed_replies() -> pd.DataFrame:
    """Four turns of each of 40 sessions by three systems, all measures noise; the good sessions give less advice and
    invite more, and `plain` gives more advice than the others. Nobody said any of it.
    """
    rng = np.random.default_rng(0)
    rows = []
    for session, turn, system in np.ndindex(40, 4, 3):
        name, high = ("counsellor", "plain", "placebo")[system], session // 2 % 3 > 0
        row = {measure.name: rng.normal() for measure in MEASURES}
        row["advice"] += 3 * (name == "plain") - high
        row["invitation"] += high
        told = {"mi_quality": "high" if high else "low", "source": f"film {session // 2}", "status": "scored"}
        rows.append(row | told | {"id": f"{session}-{turn}", "session": str(session), "system": name, "seed": "0"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `experiments/replies` holds, of constructed replies."""
    folder = tmp_path_factory.mktemp("replies")
    measured = constructed_replies()
    found = validate(None, measured[measured["system"] == "counsellor"]).as_dict()
    pages.validation_table(found).to_csv(folder / "validation.csv", index=False)
    figure = {"value": 0.6, "low": 0.5, "high": 0.7}
    parts = ("coder", "reference", "difference", "people", "coder_as_annotator", "less_people")
    checks = {head: {"replies": 90, "ties": 2, **dict.fromkeys(parts, figure)} for head in pages.HEAD_TITLES}
    pages.coder_table({"coder": checks}).to_csv(folder / "coder.csv", index=False)
    for reference in ("counsellor", "placebo"):
        content = compare_systems(measured, reference, found).as_dict()
        pages.comparison_table(content).to_csv(folder / f"against_{reference}.csv", index=False)
    return folder


@pytest.fixture
def places(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names to a notebook what it reads, and has it made."""
    match path.stem:
        case "00_train_in_five_cells" | "04_add_your_own_fusion":
            # The corpus is there already, in the same pictures.
            monkeypatch.setenv("SUBTEXT_WORK", str(request.getfixturevalue("studio")))
            monkeypatch.setattr(sys, "path", sys.path[:])
        case "read_a_run":
            monkeypatch.setenv("SUBTEXT_RUN", str(request.getfixturevalue("run")))
        case "01_corpora":
            monkeypatch.setenv("SUBTEXT_EXPERIMENTS", str(request.getfixturevalue("experiments")))
        case "02_fusion_comparison":
            folder = request.getfixturevalue("results")
            monkeypatch.setenv("SUBTEXT_COMPARISON", str(folder / "comparison"))
            monkeypatch.setenv("SUBTEXT_SWEEP", str(folder / "runs" / "sweeps" / "tiny"))
        case "03_error_analysis":
            monkeypatch.setenv("SUBTEXT_RUN", str(request.getfixturevalue("trained")["crossmodal"] / "seed-0"))
            monkeypatch.setenv("SUBTEXT_FEATURES", str(request.getfixturevalue("studio") / "features"))
        case "05_vlm_and_replies":
            folder = request.getfixturevalue("asked")
            monkeypatch.setenv("SUBTEXT_COMPARISON", str(folder / "comparison"))
            monkeypatch.setenv("SUBTEXT_VLM_RUN", str(folder / "vlm"))
            monkeypatch.setenv("SUBTEXT_REPLIES", str(request.getfixturevalue("replies")))


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def execute(path: Path) -> dict[str, object]:
    """Run every cell, and give the names that are there at the end."""
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            # IPython is the reader's, not a dependency; what it would show is made all the same.
            source = "".join(cell["source"]).replace("from IPython.display import Image", "Image = bytes_of")
            names["bytes_of"] = lambda picture: picture.read_bytes()
            exec(compile(source, f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("places")
def test_every_cell_runs(path: Path) -> None:
    names = execute(path)
    assert len(names[SHOWN[path.stem]]) >= 5  # type: ignore[arg-type]
    if path.stem == "00_train_in_five_cells":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert [cell["cell_type"] for cell in cells].count("code") == 5
        assert len(names["lines"]) == 120  # type: ignore[arg-type]
        assert set(names["table"]["system"]) >= {"fused", "majority", "text", "visual", "posterior_product"}  # type: ignore[index]
    if path.stem == "04_add_your_own_fusion":
        assert list(names["shown"].query("control.isna()")["system"]) == ["late", "mine"]  # type: ignore[attr-defined]
        fused = [names["fused"].embedding, names["padded"].embedding]  # type: ignore[attr-defined]
        assert torch.allclose(fused[0], fused[1], atol=1e-6)
        assert torch.allclose(fused[0][1], names["alone"].embedding[0], atol=1e-6)  # type: ignore[attr-defined]
    if path.stem == "02_fusion_comparison":
        drawn = {picture.stem for picture in names["drawn"].glob("*.png")}  # type: ignore[attr-defined]
        assert drawn == {"systems", "differences", "reliability", "strategies", "history", "importance"}
        assert names["costs"]["ms a clip"].notna().all()  # type: ignore[index]
        assert len(names["trials"]) == 12  # type: ignore[arg-type]
    if path.stem == "03_error_analysis":
        assert set(names["focus"]["id"]) == set(names["test"]["id"])  # type: ignore[index]
        assert names["agreement"].to_numpy().sum() == 40  # type: ignore[attr-defined]
        assert "face_height" in names["quality"]  # type: ignore[operator]
    if path.stem == "05_vlm_and_replies":
        check_models(names)
        check_replies(names)


def check_models(names: dict[str, Any]) -> None:
    """What the first part says of the tiny model is what its tables hold."""
    controls, systems = names["controls"], names["systems"]
    kinds = ["", "words_only", "frames_only", "black_frames", "other_frames", "shuffled_frames", "content_free"]
    assert list(controls["control"]) == kinds
    table = pd.read_parquet(names["run"] / "predictions.parquet").query("split == 'test'")
    area = auroc(table["incongruent"].to_numpy(bool), table["logit_incongruent"].to_numpy(float)).value
    assert controls.loc["as asked", "AUROC"] == pytest.approx(area)
    assert list(systems.loc[systems["control"] == "", "system"]) == ["light", "vlm"]
    assert controls.loc["content-free", "AUROC"] == 0.5
    gaps = controls.loc["as asked", "AUROC"] - controls["AUROC"]
    assert np.allclose(controls["gap"][1:], gaps[1:])
    assert controls.loc["content-free", "sd of P(yes)"] == pytest.approx(0, abs=1e-9)
    assert names["prior"] == controls.loc["content-free", "P(yes)"]
    assert (controls["p (Holm)"] >= controls["p"])[controls["p"].notna()].all()
    assert list(names["differences"]["system"]) == ["vlm"]
    assert len(names["asking"]) == 20
    assert names["heads"].set_index("head").loc["incongruent", ["clips", "unscored"]].to_list() == [18, 0]
    assert 0 < names["heads"]["mass"].item() < 0.05, "random weights answer something else"
    costs = names["costs"]
    assert list(costs.index) == ["light", "vlm", "SUBTEXT_VLM_RUN"]
    assert costs.loc["vlm"].equals(costs.loc["SUBTEXT_VLM_RUN"].rename("vlm"))
    assert costs.loc["vlm", "parameters frozen"] == names["about"]["parameters"] > 0
    assert costs.loc["vlm", "FLOPs a clip"] > costs.loc["light", "FLOPs a clip"] > 0
    assert costs.loc["vlm", "tokens a clip"] == pytest.approx(20 * names["about"]["tokens"])
    assert {path.stem for path in names["drawn"].glob("*.png")} == {"systems", "differences", "cost"}


def check_replies(names: dict[str, Any]) -> None:
    """What was put into the constructed replies is found, in its direction; only what held in validation counts."""
    measures, claims = names["measures"].set_index("measure"), names["claims"].set_index(["pair", "name"])
    assert names["held"] == {"advice", "invitation"} == set(measures.index[measures["enters a claim"]])
    assert len(measures) == len(MEASURES)
    assert list(names["sums"]["claim"]) == list(CLAIMS)
    assert len(names["coder"]) == 3
    assert len(claims) == 3 * len(names["pairs"]) == 12
    assert set(claims.index.get_level_values("name")) == set(CLAIMS.values())
    fidelity = claims.xs(CLAIMS["person_centred"], level="name")["verdict"]
    assert fidelity.to_dict() == {
        "plain less counsellor": "worse",
        "placebo less counsellor": "not_distinguished",
        "counsellor less placebo": "not_distinguished",
        "plain less placebo": "worse",
    }
    singles = names["singles"].set_index(["pair", "name"])
    assert singles.loc[("plain less placebo", "advice"), "difference"] == pytest.approx(3, abs=0.6)


@pytest.mark.slow
def test_what_is_not_there_is_said_in_a_line(
    replies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither models nor a comparison, and of the replies the validation alone."""
    shutil.copy(replies / "validation.csv", tmp_path)
    for name in ("SUBTEXT_COMPARISON", "SUBTEXT_VLM_RUN"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("SUBTEXT_REPLIES", str(tmp_path))
    names = execute(next(path for path in NOTEBOOKS if path.stem == "05_vlm_and_replies"))
    said = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) in line]
    beginnings = ("no comparison in", "no predictions in", f"no {tmp_path / 'coder.csv'}", "no against_*.csv in")
    assert [line.startswith(beginning) for line, beginning in zip(said, beginnings, strict=True)] == [True] * 4
    assert names["held"]
    for name in ("systems", "differences", "controls", "heads", "costs", "coder", "claims", "singles"):
        assert names[name].empty, name  # type: ignore[attr-defined]


@pytest.mark.slow  # shares the runs of the test above
def test_without_a_sweep_and_of_a_fusion_that_does_not_attend(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not there is said, and everything else is shown."""
    comparison, errors = (path for path in NOTEBOOKS if path.stem[:2] in ("02", "03"))
    monkeypatch.setenv("SUBTEXT_COMPARISON", str(results / "comparison"))
    monkeypatch.setenv("SUBTEXT_SWEEP", str(tmp_path / "none"))
    names = execute(comparison)
    assert names["no_sweep"] == f"no sweep in {tmp_path / 'none'}"
    assert not (tmp_path / "none").exists()
    run = shutil.copytree(results / "runs" / "late" / "seed-0", tmp_path / "run")
    (run / "controls.parquet").unlink()
    monkeypatch.setenv("SUBTEXT_RUN", str(run))
    monkeypatch.setenv("SUBTEXT_FEATURES", str(results / "features"))
    execute(errors)
    said = capsys.readouterr().out
    assert "does not attend along time" in said
    assert "posterior_product was not run" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
