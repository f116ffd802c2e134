"""Notebooks run as they stand, on a small evaluated run and what a tiny studio corpus gave, and hold no outputs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from prediction_tables import run_tables
from studio_runs import build_studio, compare_studio, corpus_of, sweep_studio, train_studio
from subtext.corpora.audit import audit_corpus
from subtext.corpora.card import write_card
from subtext.evaluation.run import evaluate_run
from subtext.report.audit_page import write_audit

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
SHOWN = {"read_a_run": "found", "01_corpora": "told", "02_fusion_comparison": "systems", "03_error_analysis": "errors"}
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


@pytest.fixture
def places(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names to a notebook what it reads, and has it made."""
    match path.stem:
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
    if path.stem == "02_fusion_comparison":
        drawn = {picture.stem for picture in names["drawn"].glob("*.png")}  # type: ignore[attr-defined]
        assert drawn == {"systems", "differences", "reliability", "strategies", "history", "importance"}
        assert names["costs"]["ms a clip"].notna().all()  # type: ignore[index]
        assert len(names["trials"]) == 12  # type: ignore[arg-type]
    if path.stem == "03_error_analysis":
        assert set(names["focus"]["id"]) == set(names["test"]["id"])  # type: ignore[index]
        assert names["agreement"].to_numpy().sum() == 40  # type: ignore[attr-defined]
        assert "face_height" in names["quality"]  # type: ignore[operator]


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
