"""Runs grouped into systems, and what these are called."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from builders.compared_runs import write_run, write_system
from subtext.errors import RunError
from subtext.evaluation.systems import check_seeds, shared_clips
from subtext.runs.systems import _differing, read_systems, run_folders, system_names


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("systems")
    write_system(root / "late", "late", 1.5, noise=1)
    write_system(root / "gated", "gated", 1.5, noise=2)
    return root


def named(*systems: dict) -> list[str]:
    return system_names(list(systems), [[Path(f"/runs/{place}/seed-0")] for place in range(len(systems))])


def test_runs_that_differ_in_their_seed_form_a_system_named_by_its_strategy(runs: Path) -> None:
    found = read_systems([str(runs / "late"), str(runs / "gated" / "seed-1"), str(runs / "gated" / "seed-0")])
    assert [system.name for system in found] == ["fusion=late", "fusion=gated"]
    assert [[run.seed for run in system.runs] for system in found] == [[0, 1], [0, 1]]
    assert found[0].settings == {"fusion._target_": "subtext.fusion.late.Fusion"}
    assert found[0].strategy == "late"


def test_an_encoder_that_is_off_in_one_system_is_one_difference(tmp_path: Path) -> None:
    voice = {
        "_target_": "subtext.encoders.prosody.ProsodyEncoder",
        "dim": 64,
        "extractor": {"_target_": "a.B", "hop": 1},
    }
    for name, prosody in (("all", voice), ("without", None), ("wide", voice | {"dim": 128})):
        run = write_run(tmp_path / name, noise=len(name))
        settings = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(settings | {"encoder": {"prosody": prosody}}))
    full, without, wide = read_systems([f"{name}={tmp_path / name}" for name in ("all", "without", "wide")])
    target = {"encoder.prosody._target_": "subtext.encoders.prosody.ProsodyEncoder"}
    assert full.settings == target | {"encoder.prosody.dim": 64}
    assert wide.settings == target | {"encoder.prosody.dim": 128}
    assert without.settings == {"encoder.prosody": None}


def test_order_of_arguments_changes_no_name(runs: Path) -> None:
    arguments = [str(path) for path in sorted(runs.glob("*/seed-*"))]
    forward, backward = read_systems(arguments), read_systems(arguments[::-1])
    assert {s.name: [r.label for r in s.runs] for s in forward} == {s.name: [r.label for r in s.runs] for s in backward}


def test_names_use_classes_first_and_other_settings_only_where_needed() -> None:
    late = {"fusion._target_": "subtext.fusion.late.LateFusion", "task.lr": 0.1}
    deep = {"fusion._target_": "subtext.fusion.gated.Gated", "fusion.layers": 2, "task.lr": 0.1}
    flat = {"fusion._target_": "subtext.fusion.gated.Gated", "fusion.layers": 1, "task.lr": 0.2}
    assert named(late, deep, flat) == ["fusion=late", "fusion=gated fusion.layers=2", "fusion=gated fusion.layers=1"]
    assert named(late, deep) == ["fusion=late", "fusion=gated"]
    none = {"fusion": None, "task.lr": 0.1}
    assert named(late, none) == ["fusion=late", "fusion=none"]
    face = {"encoder.visual._target_": "subtext.encoders.visual.VisualEncoder"}
    assert named(face, {"encoder.visual": None}) == ["encoder/visual=on", "encoder/visual=none"]


def test_folders_without_settings_go_by_their_own_name(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        run = write_run(tmp_path / name, noise=len(name))
        (run / "config.yaml").unlink()
    assert [s.name for s in read_systems([str(tmp_path / "ours"), str(tmp_path / "theirs")])] == ["ours", "theirs"]


def test_a_name_may_be_given_and_a_path_may_hold_an_equals_sign(runs: Path, tmp_path: Path) -> None:
    odd = write_run(tmp_path / "fusion=x", strategy="tensor")
    found = read_systems([f"mine={runs / 'late'}", str(odd), f"other={runs / 'gated' / 'seed-0'}"])
    assert [s.name for s in found] == ["mine", "fusion=x", "other"]
    with pytest.raises(RunError, match="both called 'mine' but differ in fusion"):
        read_systems([f"mine={runs / 'late'}", f"mine={runs / 'gated'}"])


def test_sweeps_stand_for_their_winner(runs: Path, tmp_path: Path) -> None:
    write_system(tmp_path / "sweep" / "winner", "late", 1.5)
    assert [path.name for path in run_folders(tmp_path / "sweep")] == ["seed-0", "seed-1"]


def test_unfinished_missing_and_repeated_runs_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        read_systems([str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="give a run folder"):
        read_systems([str(tmp_path / "empty")])
    begun = tmp_path / "some" / "seed-0"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(RunError, match="resume="):
        read_systems([str(tmp_path / "some")])
    with pytest.raises(RunError, match="given twice"):
        read_systems([str(runs / "late"), str(runs / "late" / "seed-0")])
    again = write_run(tmp_path / "again", strategy="late", seed=1, noise=5)
    with pytest.raises(RunError, match="same seed 1"):
        check_seeds(read_systems([str(runs / "late"), str(again)]))


def test_runs_that_only_name_or_controls_differ_in_are_one_system(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = write_run(tmp_path / f"r{seed}", seed=seed)
        settings = yaml.safe_load((run / "config.yaml").read_text()) | {"controls": bool(seed)}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert len(read_systems([str(tmp_path / "r0"), str(tmp_path / "r1")])) == 1


@pytest.mark.parametrize(("change", "words"), [("clip", "tested on different clips"), ("label", "differ in 'incong")])
def test_other_clips_are_refused_with_the_row_of_one(runs: Path, tmp_path: Path, change: str, words: str) -> None:
    other = write_run(tmp_path / "other", strategy="concat")
    table = pd.read_parquet(other / "predictions.parquet")
    last, row, name = table.index[-1], len(table), table["id"].iloc[-1]
    if change == "clip":
        table = table.drop(index=last)
    else:
        table.loc[last, "incongruent"] = not table.loc[last, "incongruent"]
    table.to_parquet(other / "predictions.parquet")
    with pytest.raises(RunError, match=words) as error:
        shared_clips(read_systems([str(runs / "late"), str(other)]), ["identity"])
    assert f"row {row}" in str(error.value) or f"rows {row} and {row}" in str(error.value)
    assert name not in str(error.value)


def test_a_stream_is_there_if_any_run_has_it(runs: Path, tmp_path: Path) -> None:
    blind = write_run(tmp_path / "blind", strategy="concat")
    table = pd.read_parquet(blind / "predictions.parquet")
    table.assign(present_visual=False).to_parquet(blind / "predictions.parquet")
    found = shared_clips(read_systems([str(blind), str(runs / "late")]), ["identity"])
    assert found["present_visual"].sum() == table.loc[table["split"] == "test", "present_visual"].sum() > 0


def test_a_light_model_and_a_vision_language_model_differ_in_their_kind_and_not_in_every_setting() -> None:
    light = {"fusion._target_": "subtext.fusion.late.Fusion", "task.lr": 0.1, "corpus.size": "tiny"}
    asked = {"vlm.name": "smolvlm", "vlm.batch_size": 8, "prompts": "v1 (0a)", "corpus.size": "tiny"}
    assert _differing([light, asked]) == ["vlm.name"]
    other = asked | {"prompts": "v2 (1b)", "corpus.size": "demo"}
    assert _differing([light, asked, other]) == ["corpus.size", "prompts", "vlm.name"]
    # What one of two light models lacks is a difference, as ever.
    assert "cv" in _differing([light, light | {"cv": 5}])
