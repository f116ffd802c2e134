"""The Hydra commands as a person meets them: help, hints for slips, errors in one line, exit codes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from builders.commands import command_here

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {p.parent.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*.yaml")} - {"."}


@pytest.mark.parametrize("name", ["train", "extract", "sweep"])
def test_help_lists_every_choice_of_every_group(name: str, tmp_path: Path) -> None:
    done = command_here(name, "--help", folder=tmp_path)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    of_others = {"hydra", "vlm"} if name == "sweep" else {"hydra", "vlm", "sweep", "sampler", "pruner"}
    choices: dict[str, list[str]] = {}
    for config in sorted((ROOT / "conf").rglob("*.yaml")):
        group = config.parent.relative_to(ROOT / "conf").as_posix()
        if group != "." and group.partition("/")[0] not in of_others:
            choices.setdefault(group, []).append(config.stem)
    listed = done.out.partition("(GROUP=CHOICE):\n\n")[2].partition("\n\n")[0].replace("\n  ", " ")
    shown = dict(line.split(": ") for line in listed.splitlines())
    assert {group: sorted(names.split(", ")) for group, names in shown.items()} == choices


@pytest.mark.parametrize("name", ["train", "extract", "predict", "evaluate", "sweep"])
def test_help_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    probe = (
        "import runpy, sys\n"
        f"sys.argv = ['{name}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('subtext.cli.{name}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'cv2', 'av', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # A generous bound: what is imported decides, and that is checked above without a clock.
    assert time.monotonic() - began < 30


def test_import_of_the_package_is_light() -> None:
    probe = "import sys, subtext; assert not {'torch', 'hydra', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True, timeout=60)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("sed=1", "seed"),
        ("encoder.visual.trainble=true", "encoder.visual.trainable"),
        ("fusion=crossmodl", "fusion=crossmodal"),
        ("fusoin=concat", "fusion"),
        ("task.lr=1", "task.optimizer.lr"),
    ],
)
def test_misspelt_key_names_the_nearest(slip: str, meant: str, tmp_path: Path) -> None:
    done = command_here("train", slip, folder=tmp_path)
    assert done.code != 0
    assert f"did you mean '{meant}'?" in done.err
    assert "Traceback" not in done.err


def test_every_choice_of_a_grid_is_looked_at(tmp_path: Path) -> None:
    done = command_here("train", "-m", "fusion=concat,crosmodal", folder=tmp_path)
    assert done.code != 0
    assert "did you mean 'fusion=crossmodal'?" in done.err


def test_a_choice_from_the_users_folder_is_known(tmp_path: Path) -> None:
    (tmp_path / "mine" / "fusion").mkdir(parents=True)
    (tmp_path / "mine" / "fusion" / "own.yaml").write_text("_target_: subtext.fusion.concat.ConcatFusion\n")
    done = command_here("train", "--config-dir", "mine", "fusion=own", "sed=1", folder=tmp_path)
    assert "did you mean 'seed'?" in done.err
    assert "fusion=own" not in done.err


def test_a_grid_without_a_name_runs_its_jobs(tmp_path: Path) -> None:
    done = command_here("train", "-m", "corpus=manifest", "corpus.path=missing.csv", "seed=0,1", folder=tmp_path)
    assert done.code == 2, done.err
    assert done.err.strip().splitlines()[-1].startswith("ManifestError: no manifest missing.csv")


def test_a_group_can_be_left_out(tmp_path: Path) -> None:
    done = command_here("train", "~encoder/visual", "--cfg", "job", folder=tmp_path)
    assert done.code == 0, done.err
    assert "VisualEncoder" not in done.out
    assert "TextEncoder" in done.out


def test_resume_refuses_other_settings(tmp_path: Path) -> None:
    (tmp_path / "somewhere").mkdir()
    (tmp_path / "somewhere" / "config.yaml").write_text("seed: 0\n")
    done = command_here("train", "resume=somewhere", "trainer.max_epochs=50", folder=tmp_path)
    assert done.code == 2
    assert done.err.strip().endswith("leave out trainer.max_epochs=50")


def test_error_for_a_person_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    done = command_here("extract", "corpus=manifest", "corpus.path=missing.csv", folder=tmp_path)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "missing.csv" in done.err.strip().splitlines()[-1]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "subtext.cli.extract", "corpus=manifest", "corpus.path=missing.csv", "debug=true"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("grid", [[], ["-m"]])
def test_a_run_folder_that_cannot_be_made_is_one_line(grid: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    done = command_here("train", *grid, "paths.runs=runs", folder=tmp_path)
    assert done.code == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("RunError: cannot write to the run folder runs/")
    assert "set paths.runs" in line


@pytest.mark.parametrize("setting", ["paths.features=file", "paths.work=file"])
def test_a_place_that_extraction_cannot_write_to_is_one_line(setting: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "m.csv").write_text("id,transcript\na,fine\n")
    done = command_here("extract", "corpus=manifest", "corpus.path=m.csv", setting, folder=tmp_path)
    assert done.code == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("CacheError: cannot write to the feature cache file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m.csv"]
