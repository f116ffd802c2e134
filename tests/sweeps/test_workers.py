"""Whole sweeps as commands: processes killed at any moment, several at a time, on each kind of storage."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from subtext.sweeps.space import point_key
from subtext.sweeps.storage import open_storage
from subtext.sweeps.study import REASON, RETRY_OF, counts

HERE = Path(__file__).parent


class Commands:
    """Starts subtext-sweep on a corpus that is never read, with the objective that trains nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder / "ran.jsonl"
        (folder / "conf" / "sweep").mkdir(parents=True)
        (folder / "conf" / "sweep" / "mine.yaml").write_text(
            "# @package _global_\n"
            "space:\n"
            "  task.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
            "  encoder.text.dim: {choices: [16, 32]}\n"
        )
        # Six points, three of them with late.
        (folder / "conf" / "sweep" / "six.yaml").write_text(
            "# @package _global_\n"
            "defaults: [override /sampler: grid]\n"
            "name: mine-manifest\n"
            "space:\n"
            "  fusion: {choices: [late, concat]}\n"
            "  task.optimizer.lr: {choices: [0.001, 0.002, 0.003]}\n"
        )

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "subtext.cli.sweep", "--config-dir", "conf", "sweep=mine", "corpus=manifest"]
        command += ["corpus.path=none.csv", "objective=fake_objective.FakeObjective", "refit_seeds=0", "max_failures=5"]
        command += arguments
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(HERE), "FAKE_RAN": str(self.ran), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run to the end; gives what was said."""
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, out + err
        assert "Traceback" not in err, err
        return out + err

    def runs(self) -> list[dict[str, Any]]:
        """What the objective noted: one entry each time that it ran."""
        return [json.loads(line) for line in self.ran.read_text().splitlines()] if self.ran.exists() else []

    def trials(self, storage: str | None) -> list[FrozenTrial]:
        kept = open_storage(storage, self.folder / "runs" / "sweeps" / "mine-manifest", "mine-manifest")
        study = optuna.load_study(study_name="mine-manifest", storage=kept.optuna)
        return [trial for trial in study.get_trials() if counts(trial)]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def setting(storage: str | None) -> str:
    return f"storage={storage or 'null'}"


def test_workers_killed_on_any_storage_lose_nothing_and_count_nothing_twice(
    commands: Commands, storage: str | None
) -> None:
    # Of the runs, the 2nd and 5th end with the death of their process.
    said = commands.run(setting(storage), "workers=2", "trials=7", FAKE_KILL="[2,5]")
    assert said.count("its process died (signal 9)") == 2
    trials = commands.trials(storage)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 7
    assert len({point_key(trial.params) for trial in trials}) == 7
    runs = commands.runs()
    assert len(runs) == 9
    assert len({run["pid"] for run in runs}) >= 3
    again = [trial for trial in trials if RETRY_OF in trial.user_attrs]
    for number in (2, 5):
        killed = runs[number - 1]
        assert any(trial.params == killed["params"] for trial in again)
    # Once more: there is nothing left to do.
    assert "7 of 7 trials so far" in commands.run(setting(storage), "workers=2", "trials=7")
    assert len(commands.runs()) == 9


def test_a_command_killed_goes_on_with_what_it_had_begun(commands: Commands) -> None:
    process = commands.start("workers=2", "trials=4", env={"FAKE_SLEEP": "60"})
    wait_for(lambda: len(commands.runs()) == 2)
    process.kill()
    process.communicate(timeout=60)
    for run in commands.runs():  # its workers end with it
        wait_for(lambda run=run: not Path(f"/proc/{run['pid']}").exists())
    commands.run("workers=1", "trials=4")
    assert [trial.state for trial in commands.trials(None)] == [TrialState.COMPLETE] * 4
    begun, after = commands.runs()[:2], commands.runs()[2:]
    assert len(after) == 4
    assert all(run["params"] in [other["params"] for other in after] for run in begun)


def test_an_interrupted_command_leaves_its_trial_to_the_next(commands: Commands) -> None:
    process = commands.start("workers=1", "trials=2", env={"FAKE_SLEEP": "60"})
    wait_for(lambda: len(commands.runs()) == 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    commands.run("workers=0", "trials=2")
    runs = commands.runs()
    assert len(runs) == 3
    assert runs[1]["params"] == runs[0]["params"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("memory", "MemoryError: no more"),
        ("nan", "ValueError: the figures are [nan]: not a number"),
        ("always killed", "its process died 3 times: out of memory, or a fault in a library"),
    ],
)
def test_what_fails_is_told_and_the_rest_goes_on(commands: Commands, how: str, reason: str) -> None:
    commands.run("sweep=six", "workers=1", FAKE_FAIL=how)
    trials = commands.trials(None)
    states = {trial.params["fusion"]: set() for trial in trials}
    for trial in trials:
        states[trial.params["fusion"]].add(trial.state)
    assert states == {"late": {TrialState.FAIL}, "concat": {TrialState.COMPLETE}}
    assert len(trials) == 6
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert {trial.user_attrs[REASON] for trial in failed} == {reason}
    if how != "always killed":
        place = commands.folder / "runs/sweeps/mine-manifest/failures" / f"trial-{failed[0].number:04d}.txt"
        text = place.read_text()
        assert "fusion=late" in text.splitlines()[0]
        assert "Traceback" in text


def test_too_many_failures_end_it_with_the_reason(commands: Commands) -> None:
    said = commands.run("workers=2", "fusion=late", "max_failures=2", code=2, FAKE_FAIL="memory")
    last = said.strip().splitlines()[-1]
    assert (
        last.startswith("SweepError: 3 trials of mine-manifest failed, more than max_failures=2") or "4 trials" in last
    )
    assert "MemoryError: no more" in last
    assert len(commands.runs()) <= 4


def test_pruned_is_pruned(commands: Commands) -> None:
    said = commands.run("workers=0", "fusion=late", "trials=2", code=2, FAKE_FAIL="pruned")
    assert [trial.state for trial in commands.trials(None)] == [TrialState.PRUNED] * 2
    assert "no trial of mine-manifest completed (all were pruned)" in said


def test_two_commands_on_one_storage_share_the_trials(commands: Commands) -> None:
    storage = str(commands.folder / "study.log")
    arguments = [setting(storage), "workers=0", "trials=6"]
    both = [commands.start(*arguments, env={"FAKE_SLEEP": "0.3"}) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    trials = commands.trials(storage)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len(commands.runs()) == 6


def wait_for(holds: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)
