"""A run killed at any moment goes on to the same figures as one that was left alone."""

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from builders.tiny_runs import settings, write_corpus
from subtext.errors import RunError, WeightsError
from subtext.model.checkpoints import BEST, LAST, PREVIOUS, read_checkpoint, resumable
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

EPOCHS = 6

# Runs training in a process that can be killed. `pause` names a moment at which it stops and waits for that:
# "batch E B" in the middle of an epoch, "save N" with half of the Nth checkpoint written, "swap N" between putting the
# last checkpoint aside and moving the new one into its place, "control" after the first control.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import subtext.model.checkpoints, subtext.runs.train
from subtext.runs.controls import Controls
from subtext.model.task import IncongruenceTask
folder, pause = Path(sys.argv[1]), sys.argv[2].split()

def stop():
    (folder / "reached").touch()
    time.sleep(120)

if pause[0] == "batch":
    step = IncongruenceTask.training_step
    def training_step(self, batch, batch_idx):
        if self.trainer.logger is None and self.current_epoch == int(pause[1]) and batch_idx == int(pause[2]):
            stop()
        return step(self, batch, batch_idx)
    IncongruenceTask.training_step = training_step
count = 0
if pause[0] == "save":
    save = torch.save
    def half(content, file):
        global count
        count += 1
        if count == int(pause[1]):
            file.write(b"PK half a checkpoint")
            file.flush()
            stop()
        save(content, file)
    torch.save = half
if pause[0] == "swap":
    replace = os.replace
    def slow(source, target):
        global count
        if str(target).endswith("last.ckpt"):
            count += 1
            if count == int(pause[1]):
                stop()
        replace(source, target)
    os.replace = slow
if pause[0] == "control":
    retrained = Controls.retrained
    def second(self, modalities, *, shuffled):
        global count
        count += 1
        if count == 2:
            stop()
        return retrained(self, modalities, shuffled=shuffled)
    Controls.retrained = second

def train():
    settings = json.loads((folder / "settings.json").read_text()) | {"resume": None, "trust": []}
    train_composed(settings, folder / "run", ())

from subtext.cli.outcome import finish
from subtext.runs.front_door import train_composed
sys.exit(finish(train))
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("resume")
    out = settings(place, write_corpus(place / "corpus"))
    out["trainer"]["max_epochs"] = EPOCHS
    out["controls"] = ["majority", "text", "prosody"]
    # The rate follows the figures, so that a scheduler's and a callback's memory count too.
    out["callbacks"] = {
        "early_stopping": {
            "_target_": "pytorch_lightning.callbacks.EarlyStopping",
            "monitor": "val/selection",
            "mode": "max",
            "patience": 10,
        }
    }
    return out


@pytest.fixture(scope="module")
def whole(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nobody interrupts, with what resuming would have needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subtext.runs.one_run._Run._forget_checkpoints", leave_out)
        return train(asked, tmp_path_factory.mktemp("whole") / "run")


def leave_out(*_: Any) -> None:
    """Stands in for steps that the figures of training do not depend on."""


def kill_when_reached(folder: Path, asked: dict[str, Any], pause: str, by: signal.Signals = signal.SIGKILL) -> int:
    """Begin a run, wait until it has come to `pause`, and end it; gives its exit code."""
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(asked))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), pause],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "reached").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the run never came to '{pause}': {process.communicate()[0][-2000:]}")
        time.sleep(0.05)
    process.send_signal(by)
    output = process.communicate()[0]
    if by is signal.SIGINT:
        assert "Traceback" not in output
        how, last = output.strip().splitlines()[-2:]
        assert how == f"What was done is kept; go on with it by resume={folder / 'run'}"
        assert last == "Interrupted."
    return process.returncode


def assert_same(run: RunFolder, whole: RunFolder) -> None:
    first, second = (load_file(r.file("model.safetensors")) for r in (run, whole))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    for table in ("predictions.parquet", "controls.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(run.file(table)), pd.read_parquet(whole.file(table)))
    pd.testing.assert_frame_equal(pd.read_csv(run.file("history.csv")), pd.read_csv(whole.file("history.csv")))


@pytest.mark.slow
@pytest.mark.parametrize("pause", ["batch 0 1", "batch 3 2", "save 3", "swap 3", "control"])
def test_a_killed_run_goes_on_to_the_same_figures(
    asked: dict[str, Any], whole: RunFolder, tmp_path: Path, pause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_when_reached(tmp_path, asked, pause)
    run = RunFolder(tmp_path / "run")
    assert not run.is_finished
    epochs_before = 0 if (place := resumable(run.path)) is None else int(read_checkpoint(place)["epoch"]) + 1
    # Once the model is written nothing of its training is needed any more.
    assert epochs_before == {"batch 0 1": 0, "batch 3 2": 3, "save 3": 2, "swap 3": 2, "control": 0}[pause]
    written = run.file("model.safetensors")
    model = written.stat().st_mtime_ns if written.exists() else None
    assert (model is not None) == (pause == "control")
    if pause != "control":
        monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", leave_out)
    assert_same(train(run.settings(), run.path, resume=True), whole)
    if pause == "control":
        assert written.stat().st_mtime_ns == model
        assert run.file("metrics.json").read_text() == whole.file("metrics.json").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_a_run_like_any_command(
    asked: dict[str, Any], whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kill_when_reached(tmp_path, asked, "batch 2 1", signal.SIGINT) == 130
    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", leave_out)
    assert_same(train(run.settings(), run.path, resume=True), whole)


@pytest.mark.slow
def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(
    asked: dict[str, Any], whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", leave_out)
    kill_when_reached(tmp_path, asked, "batch 4 0")
    run = RunFolder(tmp_path / "run")
    data = bytearray(run.file(LAST).read_bytes())
    data[len(data) // 2] ^= 0xFF
    run.file(LAST).write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(run.file(LAST))
    place = resumable(run.path)
    assert place == run.file(PREVIOUS)
    assert_same(train(run.settings(), run.path, resume=True), whole)


def test_a_run_that_stopped_early_does_not_train_on(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", leave_out)
    monkeypatch.setattr("subtext.runs.one_run._Run._controls", leave_out)
    short = json.loads(json.dumps(asked))
    short["callbacks"]["early_stopping"] |= {"patience": 1, "min_delta": 1.0}
    with monkeypatch.context() as patch:
        # As if killed between the last epoch and writing the model.
        patch.setattr("subtext.runs.one_run._Run._forget_checkpoints", leave_out)
        run = train(short, tmp_path / "run")
    epochs = len(pd.read_csv(run.file("history.csv")))
    assert epochs < EPOCHS
    before = load_file(run.file("model.safetensors"))
    for name in ("model.json", "model.safetensors", "history.csv", "predictions.parquet"):
        run.file(name).unlink()
    with caplog.at_level(logging.INFO):
        train(run.settings(), run.path, resume=True)
    assert " s, 0 clips/s)" in caplog.text  # of this session, which trained none
    assert len(pd.read_csv(run.file("history.csv"))) == epochs
    after = load_file(run.file("model.safetensors"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_finished_run_may_be_resumed_and_keeps_no_checkpoints(whole: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(whole.path, tmp_path / "run"))
    train(run.settings(), run.path, resume=True)
    assert run.file("predictions.parquet").read_bytes() == whole.file("predictions.parquet").read_bytes()
    there = {name: [folder.file(name).exists() for folder in (whole, run)] for name in (LAST, PREVIOUS, BEST)}
    assert there == {name: [True, False] for name in (LAST, PREVIOUS, BEST)}


def test_there_must_be_a_run_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run that could go on"):
        RunFolder(tmp_path).settings()


def test_checkpoints_hold_tensors_and_plain_types_only(whole: RunFolder) -> None:
    path = whole.file(LAST)
    torch.load(path, weights_only=True)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return set().union(*(kinds(v) for pair in value.items() for v in pair)) if value else set()
        if isinstance(value, list | tuple):
            return set().union(*map(kinds, value)) if value else set()
        return {type(value)}

    assert kinds(read_checkpoint(path)) <= {torch.Tensor, str, int, float, bool, type(None)}


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not a checkpoint")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {}}))


def _other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


@pytest.mark.parametrize("damage", [_truncated, _empty, _text, _pickle, _other_archive])
def test_what_is_no_checkpoint_is_refused(whole: RunFolder, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / LAST
    path.write_bytes(whole.file(LAST).read_bytes())
    assert resumable(tmp_path) == path
    damage(path)
    with pytest.raises(WeightsError, match="was not loaded"):
        resumable(tmp_path)


def test_a_full_disk_while_saving_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from subtext.model.checkpoints import SafeCheckpointIO

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    SafeCheckpointIO().save_checkpoint({"state_dict": {}}, tmp_path / LAST)
    before = (tmp_path / LAST).read_bytes()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"No space left.*resume="):
        SafeCheckpointIO().save_checkpoint({"state_dict": {}}, tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == before
