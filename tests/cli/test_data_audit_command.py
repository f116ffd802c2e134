"""`subtext-data audit`: what it prints, writes and exits with."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.cli.data import main


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A table whose label follows duration, with one session on both sides."""
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(30), 8)
    label = rng.random(len(speaker)) < 0.5
    table = pd.DataFrame(
        {
            "id": [f"r{number}" for number in range(len(speaker))],
            "speaker": [f"Jo Secret {number}" for number in speaker],
            "session": np.where(np.isin(speaker, [0, 29]), "one", [f"s{number}" for number in speaker]),
            "start": 0,
            "end": 2 + rng.random(len(speaker)) + 0.8 * label,
            "transcript": [f"nobody may read this {number}" for number in range(len(speaker))],
            "incongruent": label,
            "split": np.where(speaker < 18, "train", np.where(speaker < 24, "val", "test")),
        }
    )
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    return path


def test_alarms_come_first_and_strict_fails(leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "audit"
    assert main(["audit", str(leaky), "--out", str(out), "--strict"]) == 1
    printed = capsys.readouterr().out
    assert printed.index("ALARM session") < printed.index("ALARM duration, incongruent") < printed.index("note  ")
    report = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert {alarm["subject"] for alarm in report["alarms"]} == {"session", "duration", "all together"}
    assert all(alarm["remedy"] for alarm in report["alarms"])
    page = (out / "audit.md").read_text(encoding="utf-8")
    for picture in ("audit_sides.png", "audit_predictability.png", "audit_speakers.png"):
        assert f"]({picture})" in page
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    for text in (page, printed, json.dumps(report)):
        assert "Jo Secret" not in text
        assert "nobody may read" not in text


def test_without_strict_alarms_are_no_failure(leaky: Path, tmp_path: Path) -> None:
    assert main(["audit", str(leaky), "--out", str(tmp_path / "audit")]) == 0


def test_another_label_is_audited(leaky: Path, tmp_path: Path) -> None:
    table = pd.read_csv(leaky)
    table["quality"] = np.where(np.arange(len(table)) % 2, "high", "low")
    table.to_csv(leaky, index=False)
    out = tmp_path / "audit"
    assert main(["audit", str(leaky), "--out", str(out), "--label", "quality"]) == 0
    report = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert list(report["labels"]) == ["quality=low"]


def test_an_unknown_label_is_refused(leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(leaky), "--out", str(tmp_path / "audit"), "--label", "mood"]) == 2
    assert "no column 'mood' to audit" in capsys.readouterr().err
