"""No word, speaker or id of any input reaches the error stream or a log file, whatever is wrong with the input."""

import copy
import http.client
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from builders.commands import Done, command_here
from builders.marked_inputs import (
    NUMBER,
    write_corpora,
    write_ratings,
    write_replies,
    write_sessions,
    write_tables,
    write_turns,
)
from builders.spoilt import CANARY, MARK, spoilt
from subtext.annotation import codebook_file
from subtext.core import composition
from subtext.errors import RunError
from subtext.vlm.endpoint import Endpoint, EndpointSpec

Command = tuple[str, ...]
some_or_all = pytest.mark.parametrize("most", [5, pytest.param(10_000, id="all", marks=pytest.mark.slow)])
"""Ways in which each file is spoilt."""


@pytest.fixture(autouse=True, scope="module")
def composed_once() -> Iterator[None]:
    """Composing a configuration, and reading our codebook, takes ten times what reading a small table does."""
    known: dict[str, Any] = {}

    class Remembered(composition.Composition):
        def __init__(self, *given: Any) -> None:
            self.given = given

        def settings(self, *more: Any) -> dict[str, Any]:
            key = repr((self.given, more))
            if key not in known:
                known[key] = composition_before(*self.given).settings(*more)
            return copy.deepcopy(known[key])

    composition_before = composition.Composition
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "Composition", Remembered)
        ours, read = codebook_file.read_codebook(None), codebook_file.read_codebook
        patch.setattr(codebook_file, "read_codebook", lambda path=None: ours if path is None else read(path))
        yield


def told(done: Done, folder: Path) -> str:
    """All that may end in a log."""
    return done.err + "".join(path.read_text(errors="replace") for path in folder.rglob("*.log"))


def leaks(folder: Path, files: Mapping[Path, list[Command]], most: int, run: Callable[..., Done] = command_here) -> str:
    """What was repeated, or ended otherwise than foreseen, with the good files and each spoilt one."""
    found: list[str] = []
    refused = 0

    def look(what: str, command: Command) -> Done:
        done = run(*command, folder=folder)
        said = told(done, folder).lower()
        if what.startswith("codebook.yaml"):
            # The answers that it defines are the remedy, and a setting of the user's.
            said = re.sub("use one of .*?, or leave it empty", "", said)
        if MARK in said or NUMBER in said or "unforeseen" in said or "traceback" in said:
            found.append(f"{' '.join(command)} ({what}): {done.err}")
        return done

    for path, commands in files.items():
        for command in commands:
            good = look("good", command)
            if good.code != 0:
                found.append(f"{' '.join(command)} is refused where nothing is spoilt: {good.err}")
        before = path.read_bytes()
        for what, content in spoilt(path, most):
            path.write_bytes(content)
            refused += sum(look(f"{path.name}, {what}", command).code == 2 for command in commands)
        path.write_bytes(before)
    assert refused > len(files), "hardly anything that was spoilt was read"
    return "".join(found)


@some_or_all
def test_of_tables(most: int, tmp_path: Path) -> None:
    table, *others = write_tables(tmp_path)
    for command in (
        ("audit", "csv.csv"),
        ("split", "csv.csv"),
        ("card", "csv.csv"),
        ("export", "csv.csv", "--out", "out.csv"),
        ("behaviour", "csv.csv", "--detector", "none"),
    ):
        done = command_here("data", *command, folder=tmp_path)
        assert MARK not in told(done, tmp_path).lower()
    build = ("data", "build")
    files = {path: [(*build, path.name)] for path in (table, *others)}
    files[table].append((*build, table.name, "corpus.on_error=skip"))
    assert leaks(tmp_path, files, most) == ""


@some_or_all
def test_of_ratings(most: int, tmp_path: Path) -> None:
    codebook, turns, one, two, export = write_ratings(tmp_path)
    given = ("--codebook", codebook.name)
    rated = ("data", "agreement", one.name, two.name, *given, "--bootstrap", "100")
    aggregated = ("data", "aggregate", one.name, two.name, *given, "--on-error", "skip", "--out", "labels.csv")
    files = {
        codebook: [rated],
        turns: [("data", "codebook", codebook.name, "--elan", turns.name, "--rater", "r", "--out", "elan")],
        one: [rated, aggregated],
        export: [("data", "agreement", export.name, two.name, *given, "--bootstrap", "100")],
    }

    def run(*command: str, folder: Path) -> Done:
        shutil.rmtree(folder / "elan", ignore_errors=True)
        return command_here(*command, folder=folder)

    assert leaks(tmp_path, files, most, run) == ""


@some_or_all
def test_of_replies(most: int, tmp_path: Path) -> None:
    one, two, key, answers = write_replies(tmp_path)
    files = {
        one: [("replies", "form", one.name, two.name, "--out", "form")],
        key: [("replies", "ratings", answers.name, "--key", key.name, "--bootstrap", "100")],
        answers: [("replies", "ratings", answers.name, "--key", key.name, "--bootstrap", "100")],
    }

    def run(*command: str, folder: Path) -> Done:
        for path in folder.glob("form*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return command_here(*command, folder=folder)

    assert leaks(tmp_path, files, most, run) == ""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    wavfile.write(path, 16_000, (8000 * np.sin(np.arange(16_000) / 20)).astype(np.int16))
    return path


@some_or_all
def test_of_sessions(most: int, tmp_path: Path, sound: Path) -> None:
    paths = write_sessions(tmp_path / "ether")
    for name in ("S01", "S02"):
        for role in ("client", "counsellor"):
            shutil.copy(sound, tmp_path / "ether" / name / f"{role}.wav")
    data = ("data", "build", "ether", "corpus.data=ether")
    files = {path: [data] for path in paths[:-1]}
    files[paths[0]].append((*data, "corpus.on_error=skip"))
    files[paths[-1]] = [(*data, "corpus.splits=splits.csv")]
    assert leaks(tmp_path, files, most) == ""


@some_or_all
def test_of_corpora(most: int, tmp_path: Path) -> None:
    paths = write_corpora(tmp_path)
    files = {}
    for path in paths:
        name = path.relative_to(tmp_path).parts[0]
        where = "folder" if name == "crema_d" else "data"
        more = ("corpus.folds=official",) if path.name == "speaker_dependent_folds.json" else ()
        files[path] = [("data", "build", name, f"corpus.{where}={name}", *more)]
    assert leaks(tmp_path, files, most) == ""


@some_or_all
def test_of_turns_of_a_recording(
    most: int, tmp_path: Path, sound: Path, untrained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subtext.prediction import predictor

    loaded = predictor.Predictor(untrained_run)
    monkeypatch.setattr(predictor, "Predictor", lambda *_, **__: loaded)
    # What is read is what is looked at; the model need not answer.
    monkeypatch.setattr(loaded, "_lines", lambda batch: iter(()))
    files = {
        path: [("predict", str(untrained_run), sound.name, "--turns", path.name)] for path in write_turns(tmp_path)
    }
    assert leaks(tmp_path, files, most) == ""


def test_of_a_manifest_that_is_predicted_on(tmp_path: Path, sound: Path, untrained_run: Path) -> None:
    sound.rename(tmp_path / f"{MARK}.wav")
    (tmp_path / f"{MARK}2.wav").write_bytes(b"no sound")
    rows = [f"{MARK}-a,{MARK},0,1.8,{MARK}.wav,", f"{MARK}-b,{MARK},0,1,{MARK}2.wav,"]
    (tmp_path / "rows.csv").write_text("\n".join(["id,speaker,start,end,audio,transcript", *rows]) + "\n")
    done = command_here("predict", str(untrained_run), "rows.csv", folder=tmp_path)
    assert done.code == 1
    assert f"{MARK}-b" in done.out, "results hold ids"
    assert "rows: row 1, column 'audio': the segment 0 to 1.8 s is read up to the file's end" in done.err
    assert "rows.csv: row 2 0:00.00-0:01.00: not done: voice: " in done.err
    assert MARK not in done.err


def test_of_what_nothing_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path)

    def stumbles(*_: Any, **__: Any) -> None:
        raise ValueError(f"could not convert string to float: '{CANARY}'")

    monkeypatch.setattr("subtext.corpora.files.build_manifest", stumbles)
    done = command_here("data", "build", "csv.csv", folder=tmp_path)
    assert done.code == 1
    assert re.fullmatch(r"ValueError: unforeseen, in corpora/files.py, line \d+; run it again with .*\n", done.err)
    with pytest.raises(ValueError, match=CANARY):
        command_here("data", "build", "csv.csv", "--debug", folder=tmp_path)


@pytest.mark.parametrize("status", [400, 404, 413, 500])
def test_of_what_a_server_says(status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint(EndpointSpec(url="http://127.0.0.1:9/v1", model="m", timeout=1.0, retries=1))
    monkeypatch.setattr("subtext.vlm.endpoint.time.sleep", lambda _: None)
    answers = [b'{"error": {"message": "context: %s"}}' % CANARY.encode(), CANARY.encode()]
    for answer in answers:
        monkeypatch.setattr(endpoint, "_post", lambda _, answer=answer: (status, {}, answer))
        with caplog.at_level(logging.DEBUG), pytest.raises(RunError, match=str(status)) as caught:
            endpoint.ask("Is it so?", [], 1, listed=False)
        assert MARK not in f"{caught.value}{caplog.text}".lower()


def test_of_a_server_that_speaks_no_http(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint(EndpointSpec(url="http://127.0.0.1:9/v1", model="m", timeout=1.0, retries=1))
    monkeypatch.setattr("subtext.vlm.endpoint.time.sleep", lambda _: None)

    def broken(_: bytes) -> None:
        raise http.client.BadStatusLine(CANARY)

    monkeypatch.setattr(endpoint, "_post", broken)
    with caplog.at_level(logging.DEBUG), pytest.raises(RunError, match="BadStatusLine") as caught:
        endpoint.ask("Is it so?", [], 1, listed=False)
    assert MARK not in f"{caught.value}{caplog.text}".lower()
