"""Arguments that lead nowhere: refused in one line that bears the argument's name and says what belongs there."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from builders.commands import command_here

DATA, REPLIES = "data", "replies"

READ = [
    ("predict", ["model", "GONE"], "INPUT"),
    ("predict", ["model", "clip.wav", "--turns", "GONE"], "--turns"),
    ("predict", ["model", "clip.wav", "--transcript-file", "GONE"], "--transcript-file"),
    ("predict", ["model", "m.csv", "--root", "GONE"], "--root"),
    ("predict", ["model", "clip.wav", "--models", "GONE"], "--models"),
    ("robustness", ["model", "--models", "GONE"], "--models"),
    (DATA, ["join", "GONE", "--out", "x.parquet"], "TABLE"),
    (DATA, ["join", "m.csv", "GONE", "--out", "x.parquet"], "TABLE"),
    (DATA, ["codebook", "GONE"], "FILE"),
    (DATA, ["codebook", "--elan", "GONE", "--out", "o"], "--elan"),
    (DATA, ["agreement", "GONE"], "RATINGS"),
    (DATA, ["agreement", "m.csv", "--codebook", "GONE"], "--codebook"),
    (DATA, ["aggregate", "GONE", "--out", "x.csv"], "RATINGS"),
    (DATA, ["behaviour", "m.csv", "--models", "GONE"], "--models"),
    (REPLIES, ["measure", "GONE"], "REPLIES"),
    (REPLIES, ["measure", "m.csv", "--coder", "GONE"], "--coder"),
    (REPLIES, ["compare", "GONE", "--reference", "a"], "MEASURED"),
    (REPLIES, ["compare", "m.csv", "--reference", "a", "--validation", "GONE"], "--validation"),
    (REPLIES, ["form", "m.csv", "GONE", "--out", "o"], "REPLIES"),
    (REPLIES, ["judge", "m.csv", "--key", "GONE", "--model", "model", "--out", "o.csv"], "--key"),
    (REPLIES, ["ratings", "GONE", "--key", "m.csv"], "RATINGS"),
    (REPLIES, ["ratings", "m.csv", "--key", "m.csv", "--measured", "GONE"], "--measured"),
    (REPLIES, ["convert", "GONE", "--out", "o"], "FILE"),
    (REPLIES, ["tune", "m.csv", "--model", "GONE", "--out", "o"], "--model"),
    (REPLIES, ["generate", "m.csv", "--human", "--out", "o", "--adapter", "GONE"], "--adapter"),
    (REPLIES, ["generate", "m.csv", "--human", "--out", "o", "--predictions", "GONE"], "--predictions"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "clip.wav").write_bytes(b"")
    (tmp_path / "m.csv").write_text("id,session,split\na,one,test\n")
    return tmp_path


@pytest.mark.parametrize(("program", "arguments", "name"), READ)
def test_what_is_to_be_read_must_be_there(place: Path, program: str, arguments: Sequence[str], name: str) -> None:
    done = command_here(program, *(a.replace("GONE", "none.xyz") for a in arguments), folder=place)
    done.refused(f"{name} none.xyz:", "; name ")


# A folder may be an input of prediction, and what is no folder fails where it is read.
KINDS = [(p, a, n) for p, a, n in READ if n != "INPUT"]


@pytest.mark.parametrize(("program", "arguments", "name"), KINDS)
def test_a_folder_is_no_file_and_a_file_no_folder(
    place: Path, program: str, arguments: Sequence[str], name: str
) -> None:
    folder = name in ("--models", "--root", "--coder", "--adapter", "--model")
    wrong = "m.csv" if folder else "model"
    command_here(program, *(a.replace("GONE", wrong) for a in arguments), folder=place).refused(
        f"{name} {wrong}: it is {'no' if folder else 'a'} folder", "; name "
    )


@pytest.mark.parametrize("program", ["evaluate", "compare", "robustness"])
@pytest.mark.parametrize("run", ["none", "clip.wav", "model"])
def test_a_run_must_be_there(place: Path, program: str, run: str) -> None:
    command_here(program, run, folder=place).refused(run, "; give ")
