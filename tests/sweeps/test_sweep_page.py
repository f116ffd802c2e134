import re
from pathlib import Path

import pandas as pd
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from builders.sweep_studies import new_study, swept, trial
from subtext.sweeps.page import epochs_of, report_sweep, trials_table, write_sweep_page, write_trials

TWO = {"selection": "maximize", "flops_per_clip": "minimize"}


def small_sweep() -> Study:
    study = new_study()
    study.add_trial(trial("late", 0.70, epochs=10, epochs_planned=10, seed_scores={"0": 0.6, "1": 0.8}))
    study.add_trial(trial("late", 0.60, epochs=6, epochs_planned=10))
    study.add_trial(trial("crossmodal", 0.80, epochs=8, epochs_planned=10, clips_per_second=300.0))
    study.add_trial(trial("late", state=TrialState.PRUNED, reported=[0.99], epochs=2, epochs_planned=10))
    reason = "OutOfMemoryError: 2 | 3 GiB\nmore"
    study.add_trial(trial("crossmodal", state=TrialState.FAIL, epochs=1, epochs_planned=10, reason=reason))
    study.add_trial(trial("gated", state=TrialState.WAITING))
    study.add_trial(trial("late", 0.95, same_as=0))
    study.add_trial(trial("late", state=TrialState.FAIL, requeued=True, reason="its process died"))
    return study


def page_of(study: Study, folder: Path) -> str:
    return write_sweep_page(folder / "sweep.md", study, title="a sweep").read_text(encoding="utf-8")


def test_page_counts_each_point_once_and_names_the_best(tmp_path: Path) -> None:
    page = page_of(small_sweep(), tmp_path)
    for row in ("completed | 3", "pruned | 1", "failed | 1", "waiting | 1", "all | 6"):
        assert f"| {row} |" in page
    assert "1 point that the sampler drew again" in page
    assert "1 trial whose process ended" in page
    assert "Trial 2: score (validation) 0.800." in page
    assert "subtext-train fusion=crossmodal encoder.dim=" in page
    assert "validation split" in page


def test_page_gives_strategies_in_order_with_best_median_and_counts(tmp_path: Path) -> None:
    page = page_of(small_sweep(), tmp_path)
    rows = re.findall(r"^\| (?:crossmodal|late|gated) \|.*$", page.split("## Strategies")[1], re.MULTILINE)
    assert rows[:3] == [
        "| crossmodal | 0.800 | 0.800 | 2 | 1 | 0 | 1 | 9 |",
        "| late | 0.700 | 0.650 | 3 | 2 | 1 | 0 | 18 |",
        "| gated | - | - | 1 | 0 | 0 | 0 | - |",
    ]


def test_saved_epochs_part_pruning_from_early_stopping_and_leave_failures_out(tmp_path: Path) -> None:
    found = epochs_of(small_sweep().trials[:6])
    assert found is not None
    assert (found.trials, found.planned, found.run, found.pruned) == (4, 40, 26, 8)
    assert found.saved == pytest.approx(0.35)
    assert found.saved_by_pruning == pytest.approx(0.2)
    assert "35.0% saved. Pruning saved 20.0%, early stopping 15.0%" in page_of(small_sweep(), tmp_path)


def test_failures_give_their_reasons_in_one_cell(tmp_path: Path) -> None:
    page = page_of(small_sweep(), tmp_path)
    assert "| 4 | crossmodal | OutOfMemoryError: 2 \\| 3 GiB more |" in page
    assert "its process died" not in page


def test_overrides_are_quoted_for_the_shell(tmp_path: Path) -> None:
    study = new_study()
    study.add_trial(trial("late", 0.7, overrides=["fusion=late", "task.heads=[a, b]"]))
    assert "    subtext-train fusion=late 'task.heads=[a, b]'" in page_of(study, tmp_path)


def test_several_objectives_get_the_table_of_their_front(tmp_path: Path) -> None:
    study = new_study(TWO)
    for values in ((0.8, 9e6), (0.7, 5e6), (0.6, 6e6)):
        study.add_trial(trial("late", values))
    page = page_of(study, tmp_path)
    front = page.split("## Pareto front")[1].split("##")[0]
    assert "| 0 | late | 0.800 | 9,000,000 |" in front
    assert "| 1 | late | 0.700 | 5,000,000 |" in front
    assert "| 2 |" not in front
    assert "Trial 0: score (validation) 0.800, FLOPs a clip 9,000,000." in page


def test_of_equal_first_objectives_the_best_is_the_one_on_the_front(tmp_path: Path) -> None:
    study = new_study(TWO)
    study.add_trial(trial("late", (0.8, 9e6)))
    study.add_trial(trial("late", (0.8, 5e6)))
    assert "Trial 1:" in page_of(study, tmp_path)


@pytest.mark.parametrize("objectives", [None, TWO], ids=["one", "two"])
def test_an_empty_or_failed_sweep_says_what_is_missing(objectives: dict[str, str] | None, tmp_path: Path) -> None:
    study = new_study(objectives)
    report_sweep(tmp_path, study)
    page = (tmp_path / "sweep.md").read_text()
    assert "Missing: no trial was begun." in page
    assert "Missing: no trial completed." in page
    assert "No figure of history: it takes a trial that completed." in page
    assert ("No figure of pareto" in page) == (objectives is not None)
    assert list(pd.read_csv(tmp_path / "trials.csv")) == ["number", "counted", "state"]
    study.add_trial(trial("late", state=TrialState.FAIL, reason="no memory"))
    report_sweep(tmp_path, study)
    page = (tmp_path / "sweep.md").read_text()
    assert "Missing: no trial completed." in page
    assert "| 0 | late | no memory |" in page


def test_table_holds_every_trial_and_does_not_say_where_it_ran(tmp_path: Path) -> None:
    study = small_sweep()
    study.add_trial(trial("late", 0.5, worker={"host": "somewhere", "pid": 7}))
    table = pd.read_csv(write_trials(tmp_path / "trials.csv", study))
    assert table["number"].tolist() == list(range(9))
    assert table["counted"].tolist() == [True] * 6 + [False, False, True]
    assert table.loc[2, "value_selection"] == 0.8
    assert table.loc[2, "params_fusion"] == "crossmodal"
    assert table.loc[0, "user_attrs_seed_scores"] == '{"0": 0.6, "1": 0.8}'
    assert "somewhere" not in (tmp_path / "trials.csv").read_text()
    assert list(trials_table(study))[:4] == ["number", "counted", "state", "value_selection"]


def test_whole_report_links_the_figures_it_wrote_and_leaves_nothing_else(tmp_path: Path) -> None:
    report_sweep(tmp_path, swept(14, objectives=TWO))
    page = (tmp_path / "sweep.md").read_text()
    linked = re.findall(r"\]\((figures/\w+\.png)\)", page)
    assert sorted(linked) == sorted(f"figures/{path.name}" for path in (tmp_path / "figures").iterdir())
    assert "figures/pareto.png" in linked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "sweep.md", "trials.csv"]
    width = None
    for line in page.splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else None
        assert None in (cells, width) or cells == width
        width = cells


def test_a_report_that_cannot_be_written_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweep.md"
    write_sweep_page(path, small_sweep(), title="before")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_sweep_page(path, small_sweep(), title="after")
    assert path.read_text().startswith("# before")
    assert list(tmp_path.iterdir()) == [path]
