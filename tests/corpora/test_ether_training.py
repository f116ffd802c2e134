"""From recordings, turns and rater files to a model: every step as a researcher takes it, on generated sessions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from subtext.cli.data import main

SESSIONS = ("S01", "S02", "S03", "S04")
TURNS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sessions of two cameras, three raters who now and then skip or differ."""
    folder = tmp_path_factory.mktemp("study")
    clip = write_talking_face(folder / "clip.mp4", 16.0, width=160, height=120)
    for number, name in enumerate(SESSIONS):
        session = folder / "ether" / name
        (session / "ratings").mkdir(parents=True)
        turns = []
        for turn in range(TURNS):
            start = 0.25 * (number + 1) + 1.2 * turn  # No stretch of the clip is two sessions'.
            role = "counsellor" if turn % 2 == 0 else "client"
            turns.append(f"{turn},{start:.2f},{start + 1.0:.2f},{role},Turn {turn} of session {number}")
        (session / "turns.csv").write_text("\n".join(["turn,start,end,role,transcript", *turns]))
        (session / "session.yaml").write_text(f"speakers: {{client: C{number}, counsellor: T{number}}}\n")
        for role in ("client", "counsellor"):
            shutil.copy(clip, session / f"{role}.mp4")
        for place, rater in enumerate(("ann", "bob", "cara")):
            rows = []
            for turn in range(1, TURNS, 2):
                value = (turn // 2 + number) % 2
                differs, skips = turn % 7 == place and place == 2, (turn + number) % 11 == place
                rows.append(f"{turn},{'' if skips else value ^ differs}")
            (session / "ratings" / f"{rater}.csv").write_text("\n".join(["turn,incongruent", *rows]))
    return folder


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
