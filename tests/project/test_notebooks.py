"""Notebooks run as they stand, on a small evaluated run and a generated corpus, and hold no outputs."""

import json
import shutil
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from prediction_tables import run_tables
from subtext.corpora.audit import audit_corpus
from subtext.corpora.card import write_card
from subtext.corpora.studio import Studio
from subtext.evaluation.run import evaluate_run
from subtext.report.audit_page import write_audit

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


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
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card and audit of a tiny studio corpus, beside the published table of CREMA-D."""
    folder = tmp_path_factory.mktemp("experiments")
    shutil.copytree(NOTEBOOKS[0].parents[1] / "experiments" / "crema_d", folder / "crema_d")
    corpus = Studio(folder / "clips", size="tiny", workers=0)
    manifest = corpus.build()
    write_card(corpus, manifest, folder / "corpora" / "studio" / "card.md")
    write_audit(audit_corpus(manifest), folder / "corpora" / "studio")
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, run: Path, experiments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBTEXT_RUN", str(run))
    monkeypatch.setenv("SUBTEXT_EXPERIMENTS", str(experiments))
    mpl.use("Agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            # IPython is the reader's, not a dependency; what it would show is made all the same.
            source = "".join(cell["source"]).replace("from IPython.display import Image", "Image = bytes_of")
            names["bytes_of"] = lambda picture: picture.read_bytes()
            exec(compile(source, f"{path.name}, cell {number}", "exec"), names)
    plt.close("all")
    shown = {"read_a_run": "found", "01_corpora": "told"}[path.stem]
    assert len(names[shown]) >= 5  # type: ignore[arg-type]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
