"""`import subtext`: light, complete, typed, and with examples that run."""

import ast
import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

import subtext
from builders.commands import command_here
from builders.scored_runs import write_talking_corpus
from builders.tiny_runs import write_corpus
from subtext.errors import ConfigError, RunError
from subtext.runs.folder import RunFolder

NAMES = ["Corpus", "Encoder", "Fusion", "Predictor", "Tokens", "compare", "evaluate", "extract", "load_run"]
NAMES += ["read_manifest", "train"]
PACKAGE = Path(subtext.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


def test_the_names_are_there_and_type_checkers_know_them_where_they_are() -> None:
    assert set(NAMES) <= set(dir(subtext))
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    told = {node.names[0].asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom)}
    assert told == subtext._PLACES  # type: ignore[attr-defined]
    assert sorted(told, key=str) == NAMES
    for name in NAMES:
        assert getattr(subtext, name) is getattr(importlib.import_module(str(told[name])), name)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = subtext.trian  # type: ignore[attr-defined]


def test_nothing_is_imported_before_it_is_used() -> None:
    probe = "import sys, subtext; print(*[name for name in sys.modules if name.startswith('subtext.')])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import subtext"], check=True, timeout=60)
    whole = time.monotonic() - began
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)
    # Against an empty program, because the machine may be busy.
    assert whole < 0.3 + 2 * (time.monotonic() - began)


def test_a_type_checker_sees_through_the_door(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import subtext\n"
        "reveal_type(subtext.train('seed=1').metrics())\n"
        "reveal_type(subtext.read_manifest('my.csv'))\n"
        "subtext.train(seed=1)\n"
    )
    # What others' packages say of their types takes mypy two minutes, and nothing of it is asked for here.
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = skip\n[mypy-subtext.*]\nfollow_imports = silent\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "theirs.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert 'theirs.py:2: note: Revealed type is "dict[str, Any]"' in lines[0].replace("builtins.", "")
    assert 'Revealed type is "subtext.manifest.table.Manifest"' in lines[1]
    assert 'theirs.py:4: error: Unexpected keyword argument "seed" for "train"' in lines[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    write_corpus(folder).rename(folder / "my.csv")
    return folder


def test_the_example_of_every_name_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    """In this order, since later ones read what earlier ones wrote."""
    monkeypatch.chdir(place)
    # Training prints its table, as the command does; the examples do not repeat it.
    monkeypatch.setattr("subtext.report.terminal.print_results", lambda *_: None)
    order = ["read_manifest", "extract", "train", "load_run", "evaluate", "Predictor", "compare"]
    shown = {name: getattr(subtext, name) for name in [*order, *(name for name in NAMES if name not in order)]}
    shown["RunFolder"] = RunFolder
    told: list[str] = []
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name, thing in shown.items():
        (example,) = finder.find(thing, name, globs={"subtext": subtext})
        assert example.examples, name
        assert runner.run(example, out=told.append).failed == 0, "".join(told)


STREAMS = ["corpus=manifest", "corpus.path=my.csv", "~encoder/visual", "workers=0"]
STREAMS += ["encoder.text.embed_dim=8", "encoder.prosody.input_dim=6", "encoder.prosody.trainable=true"]
QUICK = ["trainer.max_epochs=1", "controls=false", "audit=false", "logger=none"]


def test_a_run_goes_where_the_command_would_put_it_and_is_what_it_would_be(
    place: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    monkeypatch.chdir(place)
    (place / "mine" / "fusion").mkdir(parents=True)
    (place / "mine" / "fusion" / "own.yaml").write_text("_target_: subtext.fusion.concat.ConcatFusion\ndropout: 0.0\n")
    run = subtext.train(*STREAMS, *QUICK, "fusion=own", "name=named", "seed=3", config_dirs=["mine"])
    assert run.path.parent == Path("runs/named")
    settings = run.settings()
    assert (settings["seed"], settings["fusion"]["dropout"]) == (3, 0.0)
    given = [*STREAMS, *QUICK, "fusion=own", "name=named", "seed=3", "--config-dir", "mine"]
    done = command_here("train", *given, "--cfg", "job", "--resolve", folder=place)
    assert yaml.safe_load(done.out) == settings
    # What was interrupted goes on, with its own settings only.
    run.file("metrics.json").unlink()
    with pytest.raises(RunError, match=r"finish the run with: subtext-train resume="):
        subtext.load_run(run)
    with pytest.raises(ConfigError, match=r"leave out seed=4"):
        subtext.train(f"resume={run.path}", "seed=4")
    again = subtext.train(f"resume={run.path}")
    assert again.path == run.path
    assert subtext.load_run(again).metrics()["clips"]["test"] == 40
    with pytest.raises(RunError, match="holds a finished run"):
        subtext.train(*STREAMS, *QUICK, folder=run)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("sed=1", r"Could not override 'sed'.*did you mean 'seed'\?"),
        ("fusion=crosmodal", r"did you mean 'fusion=crossmodal'\?"),
        ("fusion=null", "fusion=null: a group needs a choice; write fusion=CHOICE, one of bottleneck, "),
        (
            "task.batch_size={",
            r"task\.batch_size: its value has characters that need quotes; write .task\.batch_size='\{'",
        ),
    ],
)
def test_a_slip_is_told_with_what_was_meant(wrong: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        subtext.train(wrong, folder=tmp_path / "run")
    with pytest.raises(ConfigError, match=said):
        subtext.extract(wrong)
    with pytest.raises(ConfigError, match=r"--config-dir .*nowhere is no folder; name the one that holds GROUP/"):
        subtext.extract(config_dirs=[tmp_path / "nowhere"])
    assert not (tmp_path / "run").exists()


def test_runs_are_evaluated_alone_or_pooled_into_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name it: --out FOLDER, in Python out="):
        subtext.evaluate("a", "b")
    with pytest.raises(ConfigError, match="one is evaluated in its own"):
        subtext.evaluate("a", out=tmp_path)
    with pytest.raises(RunError, match="no run folder"):
        subtext.load_run(tmp_path / "nowhere")


TEN = re.compile(r"^## Ten lines(?: of Python)?\n.*?```python\n(.*?)```", flags=re.DOTALL | re.MULTILINE)


def ten_lines(page: str) -> str:
    """The block of code under that heading of a page."""
    found = TEN.search((ROOT / page).read_text(encoding="utf-8"))
    assert found is not None
    return found.group(1)


def test_the_ten_lines_are_ten_and_the_same_on_both_pages() -> None:
    assert len(ten_lines("README.md").strip().splitlines()) == 10
    assert ten_lines("README.md") == ten_lines("docs/python.md")


@pytest.mark.slow
def test_the_ten_lines_work_as_a_script(tmp_path: Path) -> None:
    """Recordings, a table of their turns and the lines in a file of their own: nothing else, and no guard."""
    table = pd.read_csv(write_talking_corpus(tmp_path)).drop(columns="features")
    table.to_csv(tmp_path / "my.csv", index=False)
    shutil.copy(tmp_path / "test-0.mp4", tmp_path / "session.mp4")
    turns = ["1\n00:00:00,000 --> 00:00:02,000\nI am fine.\n", "2\n00:00:02,500 --> 00:00:04,000\nThat was hard.\n"]
    (tmp_path / "session.srt").write_text("\n".join(turns), encoding="utf-8")
    showing = "from PIL import Image\nImage.Image.show = lambda picture: print('shown', *picture.size)\n"
    (tmp_path / "ten.py").write_text(showing + ten_lines("README.md"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "ten.py"], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.split() == ["train", "30"] for line in lines) == 1, "the script ran once"
    assert "words against face (incongruent), test split: AUROC" in done.stdout
    assert [line.split()[0] for line in lines[-3:]] == ["0.0", "2.5", "shown"]
    assert 0 < float(lines[-3].split()[1]) < 1
    (run,) = (tmp_path / "runs" / "my").iterdir()
    assert subtext.load_run(run).settings()["trainer"]["max_epochs"] == 10
