"""Notebooks run as they stand, on a small evaluated run, and hold no outputs."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest

from prediction_tables import run_tables
from subtext.evaluation.run import evaluate_run

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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBTEXT_RUN", str(run))
    mpl.use("Agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            # IPython is the reader's, not a dependency; what it would show is made all the same.
            source = "".join(cell["source"]).replace("from IPython.display import Image", "Image = bytes_of")
            names["bytes_of"] = lambda picture: picture.read_bytes()
            exec(compile(source, f"{path.name}, cell {number}", "exec"), names)
    assert len(names["found"]) > 10  # type: ignore[arg-type]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
