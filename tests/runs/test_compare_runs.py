"""What run folders tell beside their predictions: robustness tables and cost."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from subtext.errors import CacheError, RunError
from subtext.evaluation.systems import System, TrainedRun
from subtext.report import compare_figures, compare_page
from subtext.runs.compare import cost_of, robustness_of

CLIPS = 120
LABELS = np.random.default_rng(0).random(CLIPS) < 0.5


def answers(seed: int, skill: float) -> np.ndarray:
    return 1 / (1 + np.exp(-skill * LABELS - np.random.default_rng(seed).normal(size=CLIPS)))


def rows(seed: int, skill: float, **more: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"c{n}" for n in range(CLIPS)],
            "split": "test",
            "speaker": [f"s{n % 30}" for n in range(CLIPS)],
            "incongruent": pd.array(LABELS, dtype="boolean"),
            "prob_incongruent": answers(seed, skill),
            "present_visual": True,
            **more,
        }
    )


def run(folder: Path, seed: int, blur: tuple[float, ...] | None) -> TrainedRun:
    """A run, with a robustness table of these strengths."""
    folder.mkdir(parents=True)
    own = rows(seed, 2.0)
    if blur is not None:
        spoiled = [rows(seed + 9, 2 - 20 * s, condition="visual:blur", strength=s) for s in blur]
        gone = rows(seed + 5, 0.0, condition="drop:visual", strength=1.0)
        pd.concat([own.assign(condition="clean", strength=0.0), gone, *spoiled]).to_parquet(
            folder / "robustness.parquet"
        )
    return TrainedRun(f"{folder.parent.name}/{folder.name}", seed, own, None, folder)


def test_areas_of_several_systems_count_the_same_strengths(tmp_path: Path) -> None:
    more = System("more", tuple(run(tmp_path / "more" / str(n), n, (0.02, 0.04, 0.08)) for n in range(2)))
    less = System("less", (run(tmp_path / "less" / "0", 5, (0.02, 0.04)), run(tmp_path / "less" / "1", 6, None)))
    none = System("none", (run(tmp_path / "none" / "0", 7, None),))
    found, notes = robustness_of([more, less, none], ["speaker"], ["incongruent", "vocal_incongruent"])
    assert set(found) == {"incongruent"}
    assert set(found["incongruent"]) == {"more", "less"}
    areas = {name: entry["areas"][0] for name, entry in found["incongruent"].items()}
    assert areas["more"]["strengths"] == areas["less"]["strengths"] == "0 0.02 0.04"
    points = {
        p["strength"]: p["auroc"] for p in found["incongruent"]["more"]["points"] if p["condition"] != "drop:visual"
    }
    assert set(points) == {0.0, 0.02, 0.04, 0.08}
    assert areas["more"]["area"] == pytest.approx((points[0.0] + 2 * points[0.02] + points[0.04]) / 4)
    assert areas["more"]["seeds"] == 2
    assert sum("visual:blur was tried at other strengths" in note for note in notes) == 1
    assert any("1 of 2 runs of less" in note for note in notes)
    assert any("0 of 1 runs of none" in note for note in notes)
    alone, notes = robustness_of([more], ["speaker"], ["incongruent"])
    assert alone["incongruent"]["more"]["areas"][0]["strengths"] == "0 0.02 0.04 0.08"
    assert notes == []


def test_conditions_without_a_strength_in_common_have_no_area(tmp_path: Path) -> None:
    one = System("one", (run(tmp_path / "one" / "0", 0, (0.02,)),))
    other = System("other", (run(tmp_path / "other" / "0", 1, (0.04,)),))
    found, notes = robustness_of([one, other], [], ["incongruent"])
    assert all(entry["areas"] == [] and len(entry["points"]) == 3 for entry in found["incongruent"].values())
    assert any("left out" in note for note in notes)


def test_systems_whose_streams_were_only_dropped_stand_beside_others(tmp_path: Path) -> None:
    """They have points and no area: in the figure and on the page as well."""
    systems = [
        System("spoiled_$x$", (run(tmp_path / "spoiled" / "0", 0, (0.02, 0.04)),)),
        System("dropped_$x$", (run(tmp_path / "dropped" / "0", 1, ()),)),
    ]
    found, _ = robustness_of(systems, [], ["incongruent"])
    assert found["incongruent"]["dropped_$x$"]["areas"] == []
    compared = {"robustness": found, "question": "words against face"}
    written = compare_figures.robustness(compared, "incongruent", tmp_path / "all.png")
    assert written is not None
    assert written.stat().st_size > 10_000
    page = compare_page.robustness_section(found["incongruent"])
    rows = [line for line in page.splitlines() if line.startswith(r"| dropped\_$x$")]
    clean = found["incongruent"]["dropped_$x$"]["points"][0]["auroc"]
    assert f"{clean:.3f}" in rows[0]
    assert rows[1] == rf"| dropped\_$x$ | {clean:.3f} | n/a |"


def test_tables_of_other_clips_or_of_another_training_are_refused(tmp_path: Path) -> None:
    own = run(tmp_path / "run" / "0", 0, (0.02,))
    assert own.folder is not None
    again = TrainedRun(own.label, 0, rows(1, 2.0), None, own.folder)
    with pytest.raises(RunError, match="run/0 was made of another training"):
        robustness_of([System("one", (again,))], [], ["incongruent"])
    fewer = TrainedRun(own.label, 0, own.predictions.iloc[1:], None, own.folder)
    with pytest.raises(RunError, match="other clips"):
        robustness_of([System("one", (fewer,))], [], ["incongruent"])
    told = ["missing and degraded streams: subtext-robustness was run on none of these runs"]
    assert robustness_of([System("one", (run(tmp_path / "bare", 0, None),))], [], ["incongruent"]) == ({}, told)


def test_cost_is_that_of_the_first_run_or_its_first_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"parameters": {"trainable": 5, "frozen": 0}, "flops_per_clip": 7}
    monkeypatch.setattr("subtext.runs.folder.RunFolder.model", lambda self: described)
    measured: list[Path] = []

    def measure(folder: Path, trust: Collection[str]) -> dict[str, Any]:
        measured.append(folder)
        if len(measured) > 1:
            raise CacheError(f"no table in {folder}")
        return {"ms_per_clip": {"1": 2.0}}

    monkeypatch.setattr("subtext.runs.cost.measure_cost", measure)
    whole = run(tmp_path / "whole" / "0", 0, None)
    folds = run(tmp_path / "folds" / "0", 0, None)
    first = tmp_path / "folds" / "0" / "folds" / "0"
    first.mkdir(parents=True)
    assert cost_of(System("one", (whole,)), measured=False) == described
    assert measured == []
    assert cost_of(System("one", (whole, folds)), measured=True) == described | {"ms_per_clip": {"1": 2.0}}
    failed = cost_of(System("one", (folds,)), measured=True)
    assert measured == [whole.folder, first]
    assert failed["reason"] == "no table in folds/0"
    assert failed["flops_per_clip"] == 7
    assert cost_of(System("one", (TrainedRun("x", 0, whole.predictions),)), measured=True) == {
        "reason": "no run folder"
    }


def test_a_run_without_a_model_says_so_in_place_of_a_cost(tmp_path: Path) -> None:
    bare = run(tmp_path / "bare", 0, None)
    assert str(tmp_path) not in cost_of(System("one", (bare,)), measured=True)["reason"]
