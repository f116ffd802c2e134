"""The audit at the start of training: it warns, and `strict` stops."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from builders.tiny_runs import changed, settings, write_corpus
from subtext.errors import AuditError
from subtext.runs.folder import RunFile
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A corpus of which one session stands in training and test rows, and one stream under two names."""
    path = write_corpus(tmp_path / "corpus")
    table = pd.read_csv(path)
    table["session"] = table["speaker"]
    rows = {split: table.index[table["split"] == split] for split in ("train", "val", "test")}
    table.loc[[rows["train"][0], rows["test"][0]], "session"] = "Monday with Jo"
    streams = path.parent / "streams"
    source, copy = (table.loc[rows[split][1], "id"] for split in ("val", "test"))  # of train and test it is an error
    (streams / f"{copy}.npz").write_bytes((streams / f"{source}.npz").read_bytes())
    table.to_csv(path, index=False)
    return path


def test_an_earlier_audit_is_not_shown_as_that_of_a_run_without(tmp_path: Path, leaky: Path) -> None:
    audited = changed(settings(tmp_path, leaky), audit=True, trainer__max_epochs=1)
    run = train(audited, tmp_path / "run")
    assert (run.path / "audit" / "audit.md").is_file()
    assert {path.name for path in run.path.iterdir()} <= set(RunFile)
    train(changed(audited, audit=False, overwrite=True), run.path)
    assert not (run.path / "audit").exists()


def test_strict_stops_before_anything_is_trained(tmp_path: Path, leaky: Path) -> None:
    strict = changed(settings(tmp_path, leaky), audit=True, strict=True)
    with pytest.raises(AuditError, match=r"alarms, first: .*strict=false"):
        train(strict, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert {"session", "sound copy"} <= {alarm["subject"] for alarm in report["alarms"]}
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_otherwise_it_warns_names_nobody_and_trains(
    tmp_path: Path, leaky: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="subtext"):
        run = train(
            changed(settings(tmp_path, leaky), audit=True, strict=False, trainer__max_epochs=1), tmp_path / "run"
        )
    said = [record for record in caplog.records if record.getMessage().startswith("audit: ")]
    assert any("session" in record.getMessage() and record.levelno == logging.WARNING for record in said)
    assert "Monday with Jo" not in caplog.text
    assert run.file("model.safetensors").is_file()
    page = run.file("audit/audit.md").read_text(encoding="utf-8")
    assert "Monday" not in page
    assert "# Audit of tiny" in page
