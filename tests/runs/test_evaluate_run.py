import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from builders.prediction_tables import run_tables
from subtext.cli.evaluate import main
from subtext.errors import RunError
from subtext.runs.evaluate import evaluate_run

pytestmark = pytest.mark.usefixtures("undrawn")


def write_run(folder: Path, seed: int = 0, **changes) -> Path:
    folder.mkdir()
    predictions, controls = run_tables(seed=seed, val=100, test=240, **changes)
    predictions.to_parquet(folder / "predictions.parquet")
    controls.to_parquet(folder / "controls.parquet")
    facts = {
        "command": ["/bin/cli/train.py", "hydra.job.name=subtext-train", "experiment=studio"],
        "seed": seed,
        "commit": "abc",
        "groups": ["speaker"],
    }
    (folder / "run.json").write_text(json.dumps(facts | {"versions": {"torch": "2"}}))
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    history = pd.DataFrame(
        {"epoch": [0, 1, 2], "train/loss": [1.0, 0.8, 0.7], "val/incongruent_auroc": [0.5, 0.7, 0.8]}
    )
    history.to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "studio")


def test_everything_is_written_and_can_be_done_again(run: Path) -> None:
    first = evaluate_run(run, n_bootstrap=50)
    written = json.loads((run / "metrics.json").read_text())
    assert written == first
    names = {path.name for path in (run / "figures").iterdir()}
    assert names == {
        "controls_incongruent.png",
        "controls_vocal_incongruent.png",
        "roc_pr_incongruent.png",
        "roc_pr_vocal_incongruent.png",
        "reliability_incongruent.png",
        "reliability_vocal_incongruent.png",
        "confusion_type.png",
        "confusion_polarity.png",
        "training.png",
    }
    report = (run / "report.md").read_text()
    for name in names:
        assert f"(figures/{name})" in report
    assert "`subtext-train experiment=studio`" in report
    assert "/bin/" not in report
    (run / "metrics.json").unlink()
    assert evaluate_run(run, n_bootstrap=50) == first
    assert (run / "report.md").read_text() == report


def test_command_prints_the_table_and_takes_settings(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(run), "--bootstrap", "30", "--seed", "7", "--groups", "identity", "dialogue"]) == 0
    shown = capsys.readouterr().out
    assert "fused" in shown
    assert "posterior product" in shown
    assert "identity (" in shown
    written = json.loads((run / "metrics.json").read_text())
    assert written["settings"]["n_bootstrap"] == 30
    assert written["settings"]["seed"] == 7
    assert list(written["groups"]) == ["identity", "dialogue"]


def test_several_runs_are_pooled_into_a_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = write_run(tmp_path / "second", seed=1)
    out = tmp_path / "pooled"
    assert main([str(run), str(other), "--out", str(out), "--bootstrap", "20"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "config.yaml",
        "metrics.json",
        "per_seed.csv",
        "report.md",
        "runs.json",
    }
    pooled = json.loads((out / "metrics.json").read_text())
    assert pooled["seeds"] == [0, 1]
    assert len(pooled["auroc"]["incongruent"]["all"]["fused"]["per_seed"]) == 2
    assert set(pd.read_csv(out / "per_seed.csv")["seed"]) == {0, 1}
    assert "mean of 2 runs" in " ".join(capsys.readouterr().out.split())
    assert "studio, second" in (out / "report.md").read_text()
    made = json.loads((out / "runs.json").read_text())
    assert {name: (entry["commit"], entry["seed"]) for name, entry in made.items()} == {
        "studio": ("abc", 0),
        "second": ("abc", 1),
    }
    assert made["studio"]["command"] == ["subtext-train", "experiment=studio"]
    assert (out / "config.yaml").read_text() == "seed: 0\n"


def test_runs_of_different_settings_are_not_pooled(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = write_run(tmp_path / "second", seed=1)
    (other / "config.yaml").write_text("seed: 1\nfusion:\n  layers: 2\n")
    assert main([str(run), str(other), "--out", str(tmp_path / "pooled")]) == 2
    assert "differ in fusion.layers" in capsys.readouterr().err
    assert not (tmp_path / "pooled").exists()


def damaged(tmp_path: Path, name: str) -> Path:
    folder = write_run(tmp_path / "damaged")
    if name == "predictions cut short":
        path = folder / "predictions.parquet"
        path.write_bytes(path.read_bytes()[:200])
    elif name == "predictions missing":
        (folder / "predictions.parquet").unlink()
    elif name == "run.json damaged":
        (folder / "run.json").write_text("{")
    elif name == "no units":
        (folder / "run.json").write_text("{}")
    elif name == "history damaged":
        (folder / "history.csv").write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("predictions cut short", "train the run again"),
        ("predictions missing", "resume="),
        ("run.json damaged", "run.json"),
        ("no units", "--groups"),
        ("history damaged", "history.csv"),
    ],
)
def test_a_damaged_run_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, name: str, words: str) -> None:
    assert main([str(damaged(tmp_path, name))]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("RunError: ")
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_wrong_command_lines_end_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tmp_path / "nothing, (here)=")]) == 2
    assert "nothing, (here)=" in capsys.readouterr().err
    assert main([str(run), str(run)]) == 2
    assert "--out" in capsys.readouterr().err
    assert main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert "several runs" in capsys.readouterr().err
    before = (run / "metrics.json").read_bytes()
    assert main([str(run), "--bootstrap", "10", "--groups", "nope"]) == 2
    assert "no column 'nope' to cluster by; name one of theirs" in capsys.readouterr().err
    other = write_run(tmp_path / "other", seed=1)
    (tmp_path / "file").write_text("")
    for out, words in (
        (other, "is a run, whose configuration and metrics would be lost"),
        (tmp_path / "file", "is a file; name another folder with --out"),
        (tmp_path / "file" / "inside", "is a file; name another folder with --out"),
    ):
        assert main([str(run), str(other), "--bootstrap", "10", "--out", str(out)]) == 2
        shown = capsys.readouterr().err
        assert words in shown
        assert shown.count("\n") == 1
    assert (run / "metrics.json").read_bytes() == before
    for wrong in ("0", "-3", "many"):
        with pytest.raises(SystemExit) as error:
            main([str(run), "--bootstrap", wrong])
        assert error.value.code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error_for_a_person(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "locked")
    folder.chmod(0o500)
    try:
        with pytest.raises(RunError, match="cannot write"):
            evaluate_run(folder, n_bootstrap=10)
    finally:
        folder.chmod(0o700)


def test_a_full_disk_leaves_the_old_metrics_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    evaluate_run(run, n_bootstrap=10)
    before = (run / "metrics.json").read_bytes()

    def full(self: Figure, *args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(RunError, match="No space left"):
        evaluate_run(run, n_bootstrap=11)
    assert (run / "metrics.json").read_bytes() == before


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, subtext.cli.evaluate as e\n"
        "try:\n    e.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_evaluating_needs_no_torch(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from subtext.runs.evaluate import evaluate_run\n"
        f"evaluate_run(Path({str(run)!r}), n_bootstrap=10)\n"
        "heavy = {'torch', 'pytorch_lightning', 'torchmetrics', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
