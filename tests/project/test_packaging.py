"""The lock, the project file and the conda file say the same, and the wheel works away from the repository."""

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK_TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED_EXTRAS = ("offline", "vlm", "replies", "notebooks", "docs", "dev")


def locked() -> list[Requirement]:
    lines = re.findall(r"^([A-Za-z0-9][^\\\n]*?)\s*\\?$", LOCK_TEXT, flags=re.MULTILINE)
    return [Requirement(line) for line in lines]


def wanted() -> list[Requirement]:
    extras = [r for extra in LOCKED_EXTRAS for r in PROJECT["optional-dependencies"][extra]]
    return [Requirement(r) for r in [*PROJECT["dependencies"], *extras]]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_satisfies_every_requirement_on_every_python(python: str) -> None:
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    versions = {
        canonical(r.name): next(iter(r.specifier)).version
        for r in locked()
        if r.marker is None or r.marker.evaluate(environment)
    }
    for requirement in wanted():
        name = canonical(requirement.name)
        assert name in versions, f"{name} is not locked"
        assert requirement.specifier.contains(versions[name]), f"{requirement} against {versions[name]}"


def test_lock_is_exact_hashed_and_names_no_registry() -> None:
    requirements = locked()
    assert len(requirements) > 50
    for requirement in requirements:
        assert [s.operator for s in requirement.specifier] == ["=="], str(requirement)
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK_TEXT, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK_TEXT
    assert "index-url" not in LOCK_TEXT


def test_conda_file_takes_the_same_python_and_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    dependencies = environment["dependencies"]
    assert f"python{PROJECT['requires-python']}" in dependencies
    assert {"pip": ["-r requirements.lock"]} in dependencies
    assert set(d for d in dependencies if isinstance(d, str)) == {f"python{PROJECT['requires-python']}", "pip"}


def test_installed_main_libraries_are_the_locked_ones() -> None:
    from importlib.metadata import version

    pinned = {canonical(r.name): next(iter(r.specifier)).version for r in locked() if r.marker is None}
    for name in ("torch", "pytorch-lightning", "timm", "hydra-core", "sentence-transformers", "av"):
        assert version(name).split("+")[0] == pinned[name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return next(out.glob("*.whl"))


def test_wheel_carries_the_configuration_and_the_templates(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.j2")} <= inside
    assert "subtext/report/templates/run.md.j2" in inside
    for config in (ROOT / "conf").rglob("*.yaml"):
        assert f"subtext/conf/{config.relative_to(ROOT / 'conf').as_posix()}" in inside
    assert {"subtext/py.typed", "subtext/__init__.pyi"} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "notebooks/"))]


def test_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    # The dependencies are this environment's; only Subtext itself comes from the wheel.
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    site = next((home / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    outer = next(p for p in map(Path, sys.path) if p.name == "site-packages")
    (site / "outer.pth").write_text(f"{outer}\n", encoding="utf-8")
    done = subprocess.run(
        [str(home / "bin" / "python"), "-m", "subtext.cli.train", "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["seed"] == 0
    where = subprocess.run(
        [str(home / "bin" / "python"), "-c", "from subtext.core.composition import conf_folder; print(conf_folder())"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert Path(where.stdout.strip()) == site / "subtext" / "conf"
