"""One study, many processes: every point once, the total exact, the dead's trials run again, outcomes as they were."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from subtext.errors import ConfigError
from subtext.sweeps import storage as module
from subtext.sweeps.space import Space, point_key
from subtext.sweeps.storage import Storage, is_alive, open_storage, own_lease, quiet_optuna, signs_of_life
from subtext.sweeps.study import REASON, REQUEUED, RETRY_OF, SAME_AS, Claim, Search, Sweep, counted_trials, front

SAMPLERS = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "multivariate": True, "group": True, "n_startup_trials": 3},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "n_startup_trials": 3},
    "qmc": {"_target_": "optuna.samplers.QMCSampler", "seed": 0, "scramble": True},
    "nsga2": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 4},
    "grid": {"_target_": "subtext.sweeps.samplers.GridSampler"},
}
SMALL = {
    "fusion": {"choices": ["late", "lowrank"]},
    "late.combine": {"choices": ["mean", "weights", "stacking"], "when": {"fusion": "late"}},
    "lowrank.rank": {"low": 1, "high": 3, "when": {"fusion": "lowrank"}},
    "dropout": {"low": 0.0, "high": 0.2, "step": 0.1},
}
"""18 points."""
ENDLESS = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "rank": {"low": 1, "high": 20}}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def sweep(
    folder: Path,
    space: dict[str, Any] = SMALL,
    *,
    sampler: str | dict[str, Any] = "random",
    storage: str | None = None,
    **more: Any,
) -> Sweep:
    # A journal opens fastest.
    kept: Storage = open_storage(storage or str(folder / "study.journal"), folder, "test")
    wanted = {
        "name": "test",
        "space": Space.parse(space, where="mine.yaml"),
        "objectives": {"selection": "maximize"},
        "sampler": SAMPLERS[sampler] if isinstance(sampler, str) else sampler,
        "pruner": {"_target_": "optuna.pruners.NopPruner"},
        "trials": 8,
        "max_failures": None,
        "study_seed": 0,
        "definition": {},
    }
    return Sweep(Search(**(wanted | more)), kept)


def run(one: Sweep, score: Callable[[dict[str, Any]], float] = lambda point: 0.5) -> list[dict[str, Any]]:
    """Run all that is left; the points, in the order in which they ran."""
    ran = []
    while isinstance(claim := one.claim(), Claim):
        ran.append(claim.point)
        assert one.complete(claim, [score(claim.point) for _ in one.search.objectives])
    return ran


def dead_lease() -> dict[str, Any]:
    """The sign of life of a process of this machine that has ended since."""
    script = "import json; from subtext.sweeps.storage import own_lease; print(json.dumps(own_lease()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_total_counts_every_session_and_no_point_runs_twice(sampler: str, tmp_path: Path) -> None:
    ran = run(sweep(tmp_path, sampler=sampler, trials=7))
    assert len(ran) == 7
    assert run(sweep(tmp_path, sampler=sampler, trials=7)) == []
    ran += run(sweep(tmp_path, sampler=sampler, trials=12))
    assert len(ran) == 12
    assert len({point_key(point) for point in ran}) == 12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_ends_the_sweep(sampler: str, tmp_path: Path) -> None:
    one = sweep(tmp_path, sampler=sampler, trials=100)
    assert len({point_key(point) for point in run(one)}) == 18
    assert one.claim() == "exhausted"
    assert len(counted_trials(one.study)) == 18


@given(seed=st.integers(0, 1000), sampler=st.sampled_from(["tpe", "random", "qmc"]), breaks=st.sets(st.integers(1, 11)))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sessions_broken_off_anywhere_never_repeat_a_point(
    seed: int, sampler: str, breaks: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("study")
    ran: list[dict[str, Any]] = []
    for total in [*sorted(breaks), 12]:
        ran += run(sweep(folder, sampler=sampler, trials=total, study_seed=seed), lambda point: len(str(point)))
        assert len(ran) == total
    assert len({point_key(point) for point in ran}) == 12


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_a_sweep_broken_off_draws_what_one_left_alone_draws(sampler: str, tmp_path: Path) -> None:
    """A sampler that is seeded anew in each session draws the first session's points again: the trap of the plug-in."""

    def score(point: dict[str, Any]) -> float:
        return -abs(point["lr"] - 1e-3)

    whole = run(sweep(tmp_path / "whole", ENDLESS, sampler=sampler, trials=9), score)
    parts = run(sweep(tmp_path / "parts", ENDLESS, sampler=sampler, trials=4), score)
    parts += run(sweep(tmp_path / "parts", ENDLESS, sampler=sampler, trials=9), score)
    assert parts == whole
    other = run(sweep(tmp_path / "other", ENDLESS, sampler=sampler, trials=9, study_seed=1), score)
    if sampler != "qmc":  # whose seed is in its configuration
        assert other != whole


def test_a_grid_in_order_goes_along_the_space(tmp_path: Path) -> None:
    space = {"a": {"choices": [1, 2]}, "b": {"choices": ["x", "y"], "when": {"a": 2}}}
    shuffled = sweep(tmp_path, space, sampler="grid", trials=100)
    in_order = Sweep(
        dataclasses.replace(shuffled.search, sampler=SAMPLERS["grid"] | {"shuffle": False}), shuffled.storage
    )
    assert run(in_order) == [{"a": 1}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_grid_refuses_a_space_without_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lr has endlessly many values; give it choices or a step"):
        sweep(tmp_path, ENDLESS, sampler="grid")


def test_cmaes_refuses_several_objectives(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="take sampler=nsga2"):
        sweep(tmp_path, sampler="cmaes", objectives={"selection": "maximize", "parameters": "minimize"})


def test_a_point_drawn_again_is_not_run_but_told_to_the_sampler(tmp_path: Path) -> None:
    space = {"a": {"choices": [1, 2, 3]}}
    one = sweep(tmp_path, space, trials=3, study_seed=3)
    values = {1: 0.1, 2: 0.2, 3: 0.3}
    assert len(run(one, lambda point: values[point["a"]])) == 3
    again = [t for t in one.study.get_trials() if SAME_AS in t.user_attrs]
    assert again, "choose another seed: this one draws no point twice"
    for trial in again:
        assert trial.state == TrialState.COMPLETE
        assert trial.value == values[trial.params["a"]]
        assert one.study.trials[trial.user_attrs[SAME_AS]].params == trial.params
    assert sorted(t.params["a"] for t in counted_trials(one.study)) == [1, 2, 3]


def test_outcomes_stay_what_they_were(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=3)
    pruned, failed, done = (one.claim() for _ in range(3))
    assert isinstance(pruned, Claim)
    assert isinstance(failed, Claim)
    assert isinstance(done, Claim)
    pruned.trial.report(0.25, 3)
    assert one.prune(pruned)
    assert one.fail(failed, "MemoryError: no more")
    assert one.complete(done, [0.75])
    states = [trial.state for trial in counted_trials(sweep(tmp_path, trials=3).study)]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]
    assert [t.user_attrs[REASON] for t in one.failures()] == ["MemoryError: no more"]
    best = one.best()
    assert best is not None
    assert best.number == done.trial.number
    assert one.claim() == "done"


def test_more_failures_than_allowed_stop_it(tmp_path: Path) -> None:
    one = sweep(tmp_path, max_failures=1)
    for _ in range(2):
        claim = one.claim()
        assert isinstance(claim, Claim)
        assert one.fail(claim, "ValueError: no")
    assert one.claim() == "failures"
    assert one.failed_too_often()
    assert isinstance(sweep(tmp_path, max_failures=2).claim(), Claim)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_dead_processs_trial_runs_again_and_counts_once(sampler: str, tmp_path: Path) -> None:
    _lose_one(sweep(tmp_path, sampler=sampler, trials=4))


def test_so_it_is_with_every_storage(tmp_path: Path, storage: str | None) -> None:
    _lose_one(sweep(tmp_path, storage=storage or str(tmp_path / "study.journal"), trials=4))


def _lose_one(one: Sweep) -> None:
    lost = one.claim()
    assert isinstance(lost, Claim)
    lost.trial.report(0.1, 0)
    one.give_sign(lost, dead_lease())
    ran = run(one)
    assert len(ran) == 4
    assert ran[0] == lost.point
    former, again = one.study.trials[:2]
    assert former.user_attrs[REQUEUED]
    assert again.user_attrs[RETRY_OF] == former.number
    assert again.intermediate_values == {}
    assert len(counted_trials(one.study)) == 4
    assert one.failures() == []


def test_a_trial_that_kills_its_process_is_given_up_at_last(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=1)
    lease = dead_lease()
    for _ in range(3):
        claim = one.claim()
        assert isinstance(claim, Claim)
        one.give_sign(claim, lease)
    assert one.claim() == "done"
    assert [t.user_attrs[REASON] for t in one.failures()] == [
        "its process died 3 times: out of memory, or a fault in a library"
    ]


def test_a_trial_broken_off_by_hand_is_never_given_up(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=1)
    lease = dead_lease()
    for _ in range(4):
        claim = one.claim()
        assert isinstance(claim, Claim)
        one.give_sign(claim, lease)
        one.release(claim.trial.number)
    assert len(run(one)) == 1
    one.release(one.study.trials[-1].number)  # it has ended: there is nothing to note
    assert one.failures() == []


def test_a_trial_that_runs_again_begins_at_the_first_rung(tmp_path: Path) -> None:
    halving = {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1}
    one = sweep(tmp_path, pruner=halving, trials=1)
    claim = one.claim()
    assert isinstance(claim, Claim)
    claim.trial.report(0.5, 1)
    claim.trial.should_prune()
    assert "completed_rung_0" in one.study.trials[0].system_attrs
    one.give_sign(claim, dead_lease())
    again = one.claim()
    assert isinstance(again, Claim)
    assert not [key for key in one.study.trials[1].system_attrs if key.startswith("completed_rung")]


def test_a_living_process_keeps_its_trial(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=1)
    claim = one.claim()
    assert isinstance(claim, Claim)
    assert sweep(tmp_path, trials=1).claim() == "done"
    assert one.unfinished()
    assert one.complete(claim, [1.0])
    assert not one.unfinished()


def test_a_process_of_another_machine_is_dead_when_its_lease_is_over(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=1)
    claim = one.claim()
    assert isinstance(claim, Claim)
    one.give_sign(claim, {"machine": "elsewhere", "pid": os.getpid(), "start": "1", "beat": time.time()})
    assert sweep(tmp_path, trials=1).claim() == "done"
    beat = time.time() - module.LEASE_SECONDS - 1
    one.give_sign(claim, {"machine": "elsewhere", "pid": os.getpid(), "start": "1", "beat": beat})
    other = sweep(tmp_path, trials=1).claim()
    assert isinstance(other, Claim)
    assert other.point == claim.point
    # The first was not dead after all, but late: what it found is not counted beside the other's.
    assert one.has_ended(claim)
    assert not one.complete(claim, [1.0])


def test_a_process_that_died_while_it_drew_leaves_nothing_to_run(tmp_path: Path) -> None:
    one = sweep(tmp_path, trials=3)
    one.study.ask()
    assert len(run(one)) == 3
    assert [t.user_attrs.get(REQUEUED) for t in one.study.trials] == [True, None, None, None]


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    lease = own_lease()
    assert is_alive(lease)
    if lease["start"] is not None:
        assert not is_alive(lease | {"start": "1"})
    assert not is_alive(dead_lease())


def test_signs_of_life_come_until_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    came: list[dict[str, Any]] = []
    with signs_of_life(came.append):
        while len(came) < 3:
            time.sleep(0.01)
    after = len(came)
    time.sleep(0.05)
    assert len(came) == after
    assert came[0]["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"definition": {"settings": {"task": {"swap": 0.0}}, "seeds": 1}}, "settings.task.swap was 0.5 and is 0.0"),
        ({"definition": {"settings": {"task": {"swap": 0.5}}, "seeds": 3}}, "seeds was 1 and is 3"),
    ],
)
def test_a_study_goes_on_with_the_settings_it_was_begun_with(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    before = {"settings": {"task": {"swap": 0.5}}, "seeds": 1}
    run(sweep(tmp_path, definition=before, trials=1))
    sweep(tmp_path, definition=before, trials=100, max_failures=3)
    with pytest.raises(ConfigError, match="begun with other settings") as raised:
        sweep(tmp_path, **change)
    assert said in str(raised.value)


def test_a_study_begun_when_classes_had_other_names_goes_on(tmp_path: Path) -> None:
    before = {"sampler": {"_target_": "subtext.sweeps.grid.GridSampler"}}
    patient = {"_target_": "subtext.sweeps.pruners.PatientPruner", "patience": 3}
    before["pruner"] = patient | {"wrapped_pruner": {"_target_": "optuna.pruners.NopPruner"}}
    ran = run(sweep(tmp_path, definition=before, trials=2, **before))
    now = json.loads(json.dumps(before).replace("grid.Grid", "samplers.Grid").replace("pruners.Pat", "samplers.Pat"))
    assert now != before
    ran += run(sweep(tmp_path, definition=now, trials=4, **now))
    assert len({point_key(point) for point in ran}) == 4


def test_objectives_in_another_order_are_refused(tmp_path: Path) -> None:
    """The values of a trial have an order, and would be taken for each other's."""
    one, other = (
        {"selection": "maximize", "parameters": "minimize"},
        {"parameters": "minimize", "selection": "maximize"},
    )
    first = sweep(tmp_path, objectives=one, definition={"objectives": one})
    claim = first.claim()
    assert isinstance(claim, Claim)
    first.complete(claim, [0.5, 100.0])
    with pytest.raises(ConfigError, match="the objectives in the order selection, parameters"):
        sweep(tmp_path, objectives=other, definition={"objectives": other})


def test_settings_that_never_came_to_a_trial_may_be_corrected(tmp_path: Path) -> None:
    sweep(tmp_path, definition={"seeds": 1})
    both = {"selection": "maximize", "parameters": "minimize"}
    one = sweep(tmp_path, definition={"seeds": 3}, objectives=both)
    assert len(one.study.directions) == 2


def test_somebody_elses_study_is_left_alone(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "study.journal"), tmp_path, "test")
    optuna.create_study(study_name="test", storage=storage.optuna).ask()
    with pytest.raises(ConfigError, match="was not made by subtext-sweep; choose another name="):
        sweep(tmp_path)


def test_of_several_objectives_the_front_is_kept_and_the_first_decides(tmp_path: Path) -> None:
    values = iter([[0.9, 100.0], [0.8, 10.0], [0.7, 50.0], [0.9, 200.0]])
    one = sweep(
        tmp_path,
        ENDLESS,
        sampler="nsga2",
        objectives={"selection": "maximize", "flops_per_clip": "minimize"},
        trials=4,
    )
    while isinstance(claim := one.claim(), Claim):
        assert one.complete(claim, next(values))
    assert [trial.values for trial in front(one.study)] == [[0.9, 100.0], [0.8, 10.0]]
    best = one.best()
    assert best is not None
    assert best.values == [0.9, 100.0]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("study.txt", "is of no known kind"),
        ("redis://localhost", "is of no known kind"),
        ("sqlite://", "is not kept anywhere"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "check the path or address"),
        ("file/study.db", "check the path or address"),
        ("file/study.journal", "check the path or address"),
        ("file/study.log", "check the path or address"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(
    where: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as raised:
        open_storage(where, tmp_path, "test")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_line_that_a_dead_process_left_half_written_is_taken_away(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    one = sweep(tmp_path)
    claim = one.claim()
    assert isinstance(claim, Claim)
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"')
    assert one.complete(claim, [0.5])
    found = journal.read_bytes()
    assert found.startswith(whole)
    assert all(json.loads(line) for line in found.splitlines())
    assert [trial.values for trial in counted_trials(sweep(tmp_path).study)] == [[0.5]]


def test_a_sweep_begun_in_sqlite_goes_on_there(tmp_path: Path) -> None:
    former = open_storage(str(tmp_path / "study.db"), tmp_path, "test")
    optuna.create_study(study_name="test", storage=former.optuna)
    assert [study.study_name for study in open_storage(None, tmp_path, "test").optuna.get_all_studies()] == ["test"]
    (tmp_path / "study.journal").touch()
    assert open_storage(None, tmp_path, "test").shown.endswith("study.journal")


@pytest.mark.parametrize("kind", ["journal", "log"])
@pytest.mark.parametrize("content", [b"SQLite format 3", b"notes", b"5\n", b'{"a": 1}\n'])
def test_what_is_no_journal_is_left_as_it_is(content: bytes, kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"study.{kind}"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is no journal of Optuna's; give another file by storage="):
        open_storage(str(file), tmp_path, "test")
    assert file.read_bytes() == content


def test_a_writer_that_does_not_know_of_the_lock_writes_no_line_of_ours_over(tmp_path: Path) -> None:
    one, journal = sweep(tmp_path), tmp_path / "study.journal"
    other = JournalFileBackend(str(journal))
    whole = len(journal.read_bytes().splitlines())
    note = [{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"note": "n" * 5000}}]

    def write() -> None:
        for _ in range(200):
            other.append_logs(note)

    with ThreadPoolExecutor() as pool:
        done = pool.submit(write)
        for number in range(200):
            one.study.set_user_attr("mine", number)
        done.result()
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()[whole:]]
    assert [line["user_attr"]["mine"] for line in lines if "mine" in line.get("user_attr", {})] == list(range(200))
    assert sum(line == note[0] for line in lines) == 200


def test_no_password_is_shown(postgresql: str, tmp_path: Path) -> None:
    storage = open_storage(postgresql.replace("subtext@", "subtext:secret@"), tmp_path, "test")
    assert "secret" not in storage.shown
    assert "***" in storage.shown
