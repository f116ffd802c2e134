"""The contract on imports holds, and is one that can be broken."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "subtext"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract, as `make check` holds it, on the package in a folder."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_room_imports_from_below_and_an_upward_import_is_told(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout
    labels = tmp_path / "src" / "subtext" / "labels.py"
    labels.write_text(labels.read_text() + "\n\ndef planted() -> None:\n    import subtext.runs.train\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "subtext.labels -> subtext.runs.train" in done.stdout


def test_the_contract_has_no_exception() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert settings["exclude_type_checking_imports"] is False
    floors, circles = settings["contracts"]
    assert (floors["type"], floors["exhaustive"]) == ("layers", True)
    assert (circles["type"], circles["ancestors"]) == ("acyclic_siblings", ["subtext", "subtext.**"])
    allowed = {"id", "name", "type", "containers", "layers", "exhaustive", "ancestors"}
    assert floors.keys() | circles.keys() == allowed
    assert sorted(path.stem for path in SOURCE.glob("*.py")) == ["__init__", "errors", "labels"]


def test_modules_are_imported_by_name_in_core_and_the_front_door_only() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
            )
            if names & {"import_module", "__import__", "run_module"}:
                found.add(path.relative_to(SOURCE).as_posix())
    assert {place for place in found if not place.startswith("core/")} <= {"__init__.py"}


def test_the_tests_stand_as_the_rooms_do() -> None:
    tests = REPOSITORY / "tests"
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    folders = {path.name for path in tests.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - {"project", "builders", "faults"} <= rooms
    assert {path.name for path in tests.glob("*.py")} == {"conftest.py", "test_labels.py"}
