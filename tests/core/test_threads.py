"""How many threads compute and how they wait: chosen before torch is loaded, and never against the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from subtext.core import threads
from subtext.core.threads import cores, of_threads, ready_threads, share_of, threads_of_children

OF_THREADS = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "SLURM_")
CORES = len(os.sched_getaffinity(0))

# What GNU's library of OpenMP, which torch brings, says itself that it goes by, and what torch says.
INSIDE = """
import json, os, sys
{enter}
import torch
print(json.dumps({{"threads": torch.get_num_threads(), "environment": dict(os.environ)}}))
"""
BY_COMMAND = INSIDE.format(
    enter="from subtext.cli.outcome import finish\nassert 'torch' not in sys.modules\nfinish(lambda: None)"
)
BY_FRONT_DOOR = INSIDE.format(enter="import subtext\nsubtext.Tokens")
BY_MERE_IMPORT = INSIDE.format(enter="import subtext")


def told(program: str, **settings: str) -> tuple[dict[str, str], str]:
    """The environment inside of a process that has loaded torch, and what OpenMP says that it goes by."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_THREADS)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | {"OMP_DISPLAY_ENV": "VERBOSE"} | settings,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    return found["environment"] | {"torch": str(found["threads"])}, done.stderr


@pytest.mark.parametrize("program", [BY_COMMAND, BY_FRONT_DOOR], ids=["command", "front door"])
def test_threads_sleep_while_they_wait(program: str) -> None:
    inside, openmp = told(program)
    assert inside["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in openmp
    assert "GOMP_SPINCOUNT = '0'" in openmp
    assert "OMP_NUM_THREADS" not in inside
    assert int(inside["torch"]) <= CORES


def test_the_environment_wins() -> None:
    inside, openmp = told(BY_COMMAND, OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="1")
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in openmp
    assert (inside["OMP_NUM_THREADS"], inside["torch"]) == ("1", "1")


def test_importing_the_package_changes_nothing() -> None:
    inside, _ = told(BY_MERE_IMPORT)
    assert "OMP_WAIT_POLICY" not in inside


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads, and is put back."""
    for name in [name for name in os.environ if name.startswith(OF_THREADS)]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    monkeypatch.setattr(threads, "_chosen", {})
    monkeypatch.setattr(threads, "_QUOTA", Path("/nowhere"))
    yield monkeypatch
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.mark.parametrize(
    "given",
    [{"KMP_BLOCKTIME": "200"}, {"KMP_LIBRARY": "turnaround"}, {"GOMP_SPINCOUNT": "9"}, {"OMP_WAIT_POLICY": "active"}],
)
def test_whatever_says_how_threads_wait_is_left(clean: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        clean.setenv(name, value)
    before = dict(os.environ)
    ready_threads()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("quota", "expected"), [("50000 100000", 1), ("150000 100000", 2), ("max 100000", 64), ("spoilt", 64), ("", 64)]
)
def test_a_container_s_quota_counts(clean: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int) -> None:
    clean.setattr(threads, "_of_affinity", lambda: 64)
    (tmp_path / "cpu.max").write_text(quota)
    clean.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    assert cores() == expected
    ready_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (str(expected) if expected < 64 else None)


@pytest.mark.parametrize(("said", "expected"), [("4", 4), ("128", 64), ("none", 64), ("0", 1)])
def test_what_slurm_allows_counts(clean: pytest.MonkeyPatch, said: str, expected: int) -> None:
    clean.setattr(threads, "_of_affinity", lambda: 64)
    clean.setenv("SLURM_CPUS_PER_TASK", said)
    assert cores() == expected


def test_workers_share_what_was_chosen_here_and_not_what_the_environment_says(clean: pytest.MonkeyPatch) -> None:
    clean.setattr(threads, "_of_affinity", lambda: 64)
    clean.setenv("SLURM_CPUS_PER_TASK", "8")
    ready_threads()
    assert [share_of(n) for n in (1, 2, 3, 100)] == [8, 4, 2, 1]
    os.environ["OMP_NUM_THREADS"] = "5"
    assert share_of(2) is None


def test_children_compute_with_their_share_and_this_process_as_before(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("MKL_NUM_THREADS", "7")
    before = dict(os.environ)
    with threads_of_children(1):
        assert of_threads(1).items() <= os.environ.items()
    assert dict(os.environ) == before
    with threads_of_children(None):
        assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("train", ["fusion=none"]),
        ("sweep", ["trials=1"]),
        ("extract", ["corpus=studio"]),
        ("vlm", ["score"]),
        ("predict", ["RUN", "INPUT"]),
        ("evaluate", ["RUN"]),
        ("compare", ["RUN", "RUN"]),
        ("robustness", ["RUN"]),
        ("data", ["codebook"]),
        ("replies", ["ratings", "FILE", "--key", "FILE"]),
    ],
)
def test_every_command_chooses_before_all_else(
    monkeypatch: pytest.MonkeyPatch, program: str, arguments: list[str]
) -> None:
    import importlib

    class Chosen(BaseException):
        pass

    def choose() -> None:
        raise Chosen

    monkeypatch.setattr("subtext.cli.outcome.ready_threads", choose)
    monkeypatch.setattr(sys, "argv", [f"subtext-{program}", *arguments])
    with pytest.raises(Chosen):
        importlib.import_module(f"subtext.cli.{program}").main()


def test_those_are_all_commands() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    (marks,) = (m for m in test_every_command_chooses_before_all_else.pytestmark if m.name == "parametrize")
    assert {f"subtext-{program}" for program, _ in marks.args[1]} == set(project["project"]["scripts"])
