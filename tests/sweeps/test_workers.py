"""Whole sweeps as commands: processes killed at any moment, several at a time, on each kind of storage."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from builders.sweep_commands import Commands
from subtext.sweeps.space import point_key
from subtext.sweeps.study import INTERRUPTED, REASON, RETRY_OF

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]  # each starts several processes


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def setting(storage: str | None) -> str:
    return f"storage={storage or 'null'}"


def test_workers_killed_on_any_storage_lose_nothing_and_count_nothing_twice(
    commands: Commands, storage: str | None
) -> None:
    # Of the runs, the 2nd and 5th end with the death of their process.
    said = commands.here(setting(storage), "workers=2", "trials=6", FAKE_KILL="[2,5]")
    assert said.count("its process died: it was killed (SIGKILL)") == 2
    trials = commands.trials(storage)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({point_key(trial.params) for trial in trials}) == 6
    runs = commands.runs()
    assert len(runs) == 8
    assert len({run["pid"] for run in runs}) >= 3
    again = [trial for trial in trials if RETRY_OF in trial.user_attrs]
    for number in (2, 5):
        killed = runs[number - 1]
        assert any(trial.params == killed["params"] for trial in again)
    # Once more: there is nothing left to do.
    assert "6 of 6 trials so far" in commands.here(setting(storage), "workers=2", "trials=6")
    assert len(commands.runs()) == 8


def test_a_command_killed_goes_on_with_what_it_had_begun(commands: Commands) -> None:
    process = commands.start("workers=2", "trials=4", env={"FAKE_SLEEP": "60"})
    wait_for(lambda: len(commands.runs()) == 2)
    process.kill()
    process.communicate(timeout=60)
    for run in commands.runs():  # its workers end with it
        wait_for(lambda run=run: not Path(f"/proc/{run['pid']}").exists())
    commands.here("workers=0", "trials=4")
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
    (left,) = commands.trials(None)
    assert left.user_attrs[INTERRUPTED]  # no death of its own making
    commands.here("workers=0", "trials=2")
    runs = commands.runs()
    assert len(runs) == 3
    assert runs[1]["params"] == runs[0]["params"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("memory", "MemoryError"),
        ("nan", "NotFiniteError: the figures are [nan]: not a number"),
        ("infinite", "NotFiniteError: the figures are [inf]: not a number"),
    ],
)
def test_what_fails_is_told_and_the_rest_goes_on(commands: Commands, how: str, reason: str) -> None:
    commands.here("sweep=six", "workers=0", FAKE_FAIL=how)
    trials = commands.trials(None)
    states = {(trial.params["fusion"], trial.state) for trial in trials}
    assert states == {("late", TrialState.FAIL), ("concat", TrialState.COMPLETE)}
    assert len(trials) == 6
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert {trial.user_attrs[REASON] for trial in failed} == {reason}
    place = commands.folder / "runs/sweeps/mine-none/failures" / f"trial-{failed[0].number:04d}.txt"
    text = place.read_text()
    assert "fusion=late" in text.splitlines()[0]
    assert 'File "' in text
    assert text.splitlines()[-1] == reason


def test_a_point_that_kills_its_process_fails_in_the_end(commands: Commands) -> None:
    commands.here("sweep=six", "task.optimizer.lr=0.001", "workers=1", FAKE_FAIL="always killed")
    outcome = {trial.params["fusion"]: trial for trial in commands.trials(None)}
    assert {name: trial.state for name, trial in outcome.items()} == {
        "late": TrialState.FAIL,
        "concat": TrialState.COMPLETE,
    }
    assert outcome["late"].user_attrs[REASON] == "its process died 3 times: out of memory, or a fault in a library"


def test_too_many_failures_end_it_with_the_reason(commands: Commands) -> None:
    said = commands.here("workers=2", "fusion=late", "max_failures=2", code=2, FAKE_FAIL="memory")
    last = said.strip().splitlines()[-1]
    assert last.startswith("SweepError: 3 trials of mine-none failed, more than max_failures=2") or "4 trials" in last
    assert "MemoryError" in last
    assert "no more" not in last
    assert len(commands.runs()) <= 4


def test_pruned_is_pruned(commands: Commands) -> None:
    said = commands.here("workers=0", "fusion=late", "trials=2", code=2, FAKE_FAIL="pruned")
    assert [trial.state for trial in commands.trials(None)] == [TrialState.PRUNED] * 2
    assert "no trial of mine-none completed (all were pruned)" in said


def test_two_commands_on_one_storage_share_the_trials(commands: Commands) -> None:
    storage = str(commands.folder / "study.log")
    arguments = [setting(storage), "workers=0", "trials=6"]
    go = commands.folder / "go"
    other = commands.start(*arguments, env={"FAKE_WAIT": str(go)})
    wait_for(lambda: commands.runs())
    said = commands.here(*arguments)
    assert "Other sessions run 1 trials still" in said
    assert len(commands.runs()) == 6
    go.touch()
    _, err = other.communicate(timeout=240)
    assert other.returncode == 0, err
    trials = commands.trials(storage)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len(commands.runs()) == 6
    assert "Best: trial" in err


def wait_for(holds: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)
