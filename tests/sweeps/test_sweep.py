"""What a sweep does when its trials are over: who refits, and whose runs a folder holds."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from subtext.core.composition import Composition, conf_folder
from subtext.errors import RunError
from subtext.sweeps.space import Space
from subtext.sweeps.storage import open_storage
from subtext.sweeps.study import Search, Sweep
from subtext.sweeps.sweep import check_refit_stages, report
from subtext.sweeps.winner import WINNER, alone, note_winner
from subtext.sweeps.workers import Plan

pytestmark = pytest.mark.usefixtures("undrawn")

BEST: dict[str, Any] = {"trial": 3, "params": {"lr": 0.0021}, "values": [0.7]}


def refitted(folder: Path) -> Path:
    run = folder / WINNER / "seed-1"
    run.mkdir(parents=True)
    return run


def test_the_runs_of_the_same_winner_stay(tmp_path: Path) -> None:
    note_winner(tmp_path / WINNER, "trial.json", BEST)
    run = refitted(tmp_path)
    note_winner(tmp_path / WINNER, "trial.json", BEST)
    assert run.is_dir()


@pytest.mark.parametrize("change", [{"trial": 4}, {"params": {"lr": 0.0022}}, {"values": [0.71]}])
def test_the_runs_of_another_winner_are_not_taken_for_this_ones(change: dict[str, Any], tmp_path: Path) -> None:
    """Also where a study was begun anew in the same folder, and its winner happens to have the same number."""
    for number in (1, 2):
        note_winner(tmp_path / WINNER, "trial.json", BEST)
        refitted(tmp_path)
        note_winner(tmp_path / WINNER, "trial.json", BEST | change)
        assert not (tmp_path / WINNER / "seed-1").exists()
        former = tmp_path / f"{WINNER}-former-{2 * number - 1}"
        assert (former / "seed-1").is_dir()
        assert json.loads((former / "trial.json").read_text()) == BEST


def test_one_session_refits_and_frees_the_place_also_after_an_error(tmp_path: Path) -> None:
    def session() -> Sweep:
        search = Search(
            name="test",
            space=Space.parse({"a": {"choices": [1, 2]}}, where="mine.yaml"),
            objectives={"selection": "maximize"},
            sampler={"_target_": "optuna.samplers.RandomSampler"},
            pruner={"_target_": "optuna.pruners.NopPruner"},
            trials=1,
            max_failures=None,
            study_seed=0,
            definition={},
        )
        return Sweep(search, open_storage(str(tmp_path / "study.journal"), tmp_path, "test"))

    def fail() -> None:
        with alone(session()) as first, alone(session()) as second:
            assert (first, second) == (True, False)
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        fail()
    with alone(session()) as again:
        assert again


def test_the_stages_that_only_the_refit_needs_are_looked_for_before_the_first_trial(tmp_path: Path) -> None:
    def plan(encoders: str) -> Plan:
        overrides = ("experiment=studio", "fusion=concat", f"paths.runs={tmp_path}", f"encoders={encoders}")
        return cast(Plan, SimpleNamespace(seeds=(0, 1), compose=lambda: Composition(conf_folder(), overrides)))

    for stage in ("0", "1", "2"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "model.json").write_text("{}")

    with pytest.raises(RunError, match="refitted with seed 3: no finished encoder stage"):
        check_refit_stages(plan(f"{tmp_path}/${{seed}}"), 2)
    check_refit_stages(plan(f"{tmp_path}/${{seed}}"), 1)
    check_refit_stages(plan(f"{tmp_path}/0"), 5)
    check_refit_stages(plan(f"{tmp_path}/nowhere"), 0)


def test_a_figure_that_cannot_be_drawn_costs_no_refit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(folder: Path, study: object) -> None:
        raise ValueError("no such colour")

    monkeypatch.setattr("subtext.sweeps.page.report_sweep", broken)

    report(cast(Plan, SimpleNamespace(folder=tmp_path)), cast(Sweep, SimpleNamespace(study=None)))

    # The error's own words may hold what was said.
    assert caplog.messages == ["the sweep's page could not be written: ValueError"]
