"""From recordings, turns and rater files to a model: every step as a researcher takes it, on generated sessions."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from builders.ether_study import write_study
from subtext.cli.data import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.mark.slow
def test_sessions_become_folds_and_folds_a_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings = pd.concat(
        pd.read_csv(path).assign(session=path.parts[-3], rater=path.stem)
        for path in sorted(data.glob("ether/*/ratings/*.csv"))
    )
    ratings.to_csv(data / "all.csv", index=False)
    assert main(["agreement", str(data / "all.csv"), "--out", str(data / "agreement")]) == 0
    alpha = json.loads((data / "agreement" / "agreement.json").read_text())["labels"]["incongruent"]["coefficients"]
    assert 0.6 < alpha["alpha"]["value"] < 1.0

    corpus, table = ["ether", f"corpus.data={data / 'ether'}"], data / "folds.parquet"
    assert main(["card", *corpus, "--out", str(data / "card.md")]) == 0
    assert "| S04 | 12 | 6 |" in (data / "card.md").read_text()
    assert main(["split", *corpus, "--folds", "4", "--out", str(table)]) == 0
    rows = pd.read_parquet(table)
    assert len(rows) == 24
    assert (rows.groupby("fold")["session"].nunique() == 1).all()
    assert main(["audit", str(table), "--out", str(data / "audit")]) == 0

    settings = ["corpus=manifest", f"corpus.path={table}", "cv=4", "task.heads=[incongruent]", "controls=false"]
    settings += ["trainer.max_epochs=1", "workers=0", "encoder.visual.trainable=true", f"hydra.run.dir={data / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-m", "subtext.cli.train", *settings],
        capture_output=True,
        text=True,
        cwd=data,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    predictions = pd.read_parquet(data / "run" / "predictions.parquet")
    tested = predictions[predictions["split"] == "test"]
    assert sorted(tested["id"]) == sorted(rows["id"])
    assert tested["prob_incongruent"].between(0, 1).all()
    assert "of session" not in done.stdout + done.stderr + capsys.readouterr().out
