"""An error that nothing foresaw costs the recording that it is about, says its kind, and nothing of its words."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.commands import command_here
from builders.talking_face import write_talking_face
from subtext.audit.content import read_content
from subtext.behaviour import session as behaviour
from subtext.corpora import ether
from subtext.errors import MediaError, SessionError, unforeseen_as
from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.stream import Stream
from subtext.features.text import TextExtractor
from subtext.manifest import build_manifest
from subtext.media import video
from subtext.prediction import inputs, predictor
from subtext.prediction.inputs import recording_batch
from subtext.sessions.transcripts import Turn

CANARY = "CANARY"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("a", "b", "c"):
        write_talking_face(folder / f"{name}.mp4", 1.5, width=160, height=120)
        (folder / f"{name}.txt").write_text("I am fine.")
    return folder


def trips(patch: pytest.MonkeyPatch, module: Any, name: str, at: Callable[..., bool], error: Exception) -> None:
    """Make a function fail where `at` says so."""
    real = getattr(module, name)

    def tripping(*args: Any, **kwargs: Any) -> Any:
        if at(*args, **kwargs):
            raise error
        return real(*args, **kwargs)

    patch.setattr(module, name, tripping)


def of_b(path: object, *_: object, **__: object) -> bool:
    return Path(str(path)).stem == "b"


def call(number: int) -> Callable[..., bool]:
    """Says yes when it is asked for the time of this number."""
    asked = []

    def is_it(*_: object, **__: object) -> bool:
        asked.append(1)
        return len(asked) == number

    return is_it


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("header", ValueError(CANARY)),
        ("turns", RecursionError(CANARY)),
        ("pictures", MemoryError(CANARY)),
        ("model", RuntimeError(CANARY)),
    ],
)
def test_predicting_on_a_folder_goes_on(
    recordings: Path, untrained_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, error: Exception
) -> None:
    if where == "header":
        trips(monkeypatch, video, "probe", of_b, error)
    elif where == "turns":
        trips(monkeypatch, inputs, "read_turns", of_b, error)
    elif where == "pictures":
        trips(monkeypatch, predictor, "do_job", lambda job, *_: of_b(job.items[0][1].path), error)
    else:
        trips(monkeypatch, predictor, "predict_table", call(2), error)
    done = command_here("predict", str(untrained_run), str(recordings), folder=tmp_path)
    assert done.code == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(line["input"]).name for line in lines] == ["a.mp4", "b.mp4", "c.mp4"]
    assert ["error" in line for line in lines] == [False, True, False]
    assert type(error).__name__ in lines[1]["error"]
    assert CANARY not in done.said


def test_a_row_of_a_manifest_that_trips_the_model_costs_no_other_row(
    recordings: Path, untrained_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = "".join(f"{name},{name}.mp4,fine\n" for name in "abc")
    (tmp_path / "m.csv").write_text(f"id,video,transcript\n{rows}")
    trips(monkeypatch, predictor, "load_clips", lambda table, *_, **__: "b" in set(table["id"]), TypeError(CANARY))
    done = command_here("predict", str(untrained_run), "m.csv", "--root", str(recordings), folder=tmp_path)
    assert done.code == 1
    lines = {line["id"]: line for line in map(json.loads, done.out.splitlines())}
    assert {id_: "error" in line for id_, line in lines.items()} == {"a": False, "b": True, "c": False}
    assert "TypeError" in lines["b"]["error"]
    assert len(done.out.splitlines()) == 3
    assert CANARY not in done.said


def test_what_was_answered_before_the_error_is_kept(
    recordings: Path, untrained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "TURNS_AT_ONCE", 1)
    trips(monkeypatch, predictor, "predict_table", call(3), KeyError(CANARY))
    turns = [Turn(0.3 * n, 0.3 * n + 0.2, "fine") for n in range(4)]
    turns.append(Turn(1.0, 0.9, "x", problem="as it was"))
    lines = list(predictor.Predictor(untrained_run).predict([("b", recordings / "b.mp4")], turns))
    problems = {line["id"]: line.get("error") for line in lines}
    assert len(lines) == len(problems) == 5
    assert problems["b#1"] is problems["b#2"] is None
    assert "KeyError" in str(problems["b#3"])
    assert "KeyError" in str(problems["b#4"])
    assert problems["b#5"] == "as it was"


def test_a_file_that_may_not_be_opened_says_so(monkeypatch: pytest.MonkeyPatch, recordings: Path) -> None:
    trips(monkeypatch, video, "probe", of_b, PermissionError(13, "Permission denied"))
    (refused,) = recording_batch("b", recordings / "b.mp4", [Turn(None, None, "x")]).refused
    assert "cannot be opened (Permission denied); check its rights" in refused.problem


class Tripping(TextExtractor):
    """Embeds every text but one."""

    def fingerprint(self) -> str:
        return "tripping"

    def extract(self, sources: Any) -> Any:
        for number, source in enumerate(sources):
            if source.texts[-1] == CANARY:
                raise ZeroDivisionError(CANARY)
            yield number, Stream(np.ones((1, 1), np.float32), np.zeros(1), {})


def test_a_text_that_trips_the_model_costs_no_other_text() -> None:
    table = pd.DataFrame({"id": list("abcd"), "transcript": ["one", CANARY, "three", "four"]})
    manifest = build_manifest(table, root=Path(), name="own", groups=())
    index = extract(manifest, {"text": Tripping()}, MemoryCache(), progress=False).table
    assert index["status"].tolist() == ["ok", "failed", "ok", "ok"]
    assert "ZeroDivisionError" in index["reason"][1]
    assert CANARY not in index["reason"][1]


def test_the_audit_counts_a_file_that_trips_it(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trips(monkeypatch, video, "probe", of_b, ArithmeticError(CANARY))
    table = pd.DataFrame({"id": list("abc"), "video": ["a.mp4", "b.mp4", "c.mp4"]})
    manifest = build_manifest(table, root=recordings, name="own", groups=())
    content = read_content(manifest, "headers", [])
    assert content.unreadable == 1
    assert content.variables["file_duration"].notna().tolist() == [True, False, True]


@pytest.mark.parametrize(("reader", "told"), [("read_voice", "no sound"), ("read_faces", "no faces")])
def test_behaviour_leaves_out_a_file_that_trips_it(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reader: str, told: str
) -> None:
    trips(monkeypatch, behaviour, reader, lambda *_, **__: True, LookupError(CANARY))
    rows = pd.DataFrame({"id": ["a"], "role": ["client"], "video": ["a.mp4"], "start": [0.0], "end": [1.0]})
    manifest = build_manifest(rows, root=recordings, name="own", groups=())
    detector: Any = None
    with caplog.at_level(logging.WARNING):
        if reader == "read_voice":
            assert behaviour._read_voices(manifest, manifest.table) == {}
        else:
            assert behaviour._read_faces(manifest, manifest.table, "role", detector, None) == {}
    (record,) = caplog.records
    assert f": {told}: " in record.getMessage()
    assert "LookupError" in record.getMessage()
    assert CANARY not in record.getMessage()


def test_building_sessions_refuses_one_that_trips_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S01", "S02"):
        folder = tmp_path / "ether" / name
        folder.mkdir(parents=True)
        write_talking_face(folder / "client.mp4", 1.5, width=160, height=120)
        (folder / "turns.csv").write_text("start,end,role,transcript\n0,1,client,fine\n")
    trips(monkeypatch, ether, "read_session", lambda folder: folder.name == "S02", AttributeError(CANARY))
    with pytest.raises(SessionError, match=r"S02: an error that nothing foresaw \(AttributeError\)"):
        ether.Ether(data=tmp_path / "ether").build()
    manifest = ether.Ether(data=tmp_path / "ether", on_error="skip").build()
    assert manifest.table["session"].tolist() == ["S01"]


def test_ours_pass_and_the_kind_of_others_is_all_that_is_said() -> None:
    with pytest.raises(MediaError, match=r"^ours$"), unforeseen_as(SessionError, "x"):
        raise MediaError("ours")
    with pytest.raises(KeyboardInterrupt), unforeseen_as(SessionError, "x"):
        raise KeyboardInterrupt
    with pytest.raises(SessionError) as refused, unforeseen_as(SessionError, "x.mp4"):
        raise UnicodeError(CANARY)
    assert (
        str(refused.value) == "x.mp4: an error that nothing foresaw (UnicodeError); leave it out, and report the error"
    )
