"""Tables, recordings and tool exports that are wrong or odd: refused in one line, or read and said so."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile

from builders.commands import Done, command_here
from builders.talking_face import write_talking_face

CANARY = "CANARY"
GOOD = "id,transcript,start,end,split\n"


def build(tmp_path: Path, name: str, content: str | bytes) -> Done:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return command_here("data", "build", name, "--out", "m.parquet", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.csv", f"{GOOD}a,{CANARY},0,1,train,{CANARY}\n", ["a.csv", "row 1", "6 cells where 5"]),
        ("a.csv", f"{GOOD},,,,\n,,,,\na,{CANARY}\n", ["row 3", "2 cells where 5"]),
        ("a.csv", f'{GOOD}a,x,0,1,train\nb,"{CANARY},0,1,train\n', ["line 3", "is not closed"]),
        ("a.csv", f"id,{CANARY},transcript,{CANARY}\na,b,c,d\n", ["header cells 2 and 4", "same name"]),
        ("a.csv", "sep=;\n", ["no line of column names"]),
        ("a.csv", f'id,transcript,"{CANARY * 25_000}"\na,b,c\n', ["no line of column names"]),
        ("a.csv", f"{GOOD},,,,\n,,,,\n", ["no rows"]),
        ("a.csv", "", ["empty"]),
        ("a.csv", f"\x00\x01{CANARY}\x00", ["not text"]),
        ("a.csv", f"sep=;\nid;transcript\na;b\nc;{CANARY};d\n", ["row 2", "3 cells where 2"]),
        ("a.tsv", f"id\ttranscript\na\tb\tc{CANARY}\n", ["row 1", "3 cells where 2"]),
        ("a.jsonl", f'{{"id": "a", "transcript": "b"}}\n{{"id": "{CANARY}\n', ["line 2", "not JSON"]),
        ("a.jsonl", f'["{CANARY}"]\n', ["line 1", "write one object a line"]),
        ("a.parquet", f"PAR1{CANARY}", ["cannot be read as parquet"]),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, content: str, named: list[str]) -> None:
    done = build(tmp_path, name, content)
    done.refused(*named)
    assert CANARY not in done.said


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffid,transcript,start,end,\r\n007,I am fine,0:01.5,0:04,\r\n,,,,\r\n,,,,\r\n",
        "sep=;\r\nid;transcript;start;end\r\n007;I am fine;1,5;4\r\n;;;\r\n",
        "id;transcript;start;end\n007;I am fine;1,5;4,0\n",
        "id\ttranscript\tstart\tend\n007\tI am fine\t1,5\t4\n",
        "\n\nid,transcript,start,end\n\n007,I am fine,1.5,4\n",
    ],
)
def test_a_spreadsheets_table_is_built(tmp_path: Path, content: str) -> None:
    done = build(tmp_path, "a.csv", content)
    assert done.code == 0, done.said
    table = pd.read_parquet(tmp_path / "m.parquet")
    assert table[["id", "transcript", "start", "end"]].to_numpy().tolist() == [["007", "I am fine", 1.5, 4.0]]


REGION = {"id": "r", "from_name": "label", "to_name": "text", "type": "labels"}


def export(*results: object, **task: object) -> str:
    data = {"session": "S01", "turn": "1"}
    return json.dumps([{"data": data, "annotations": [{"completed_by": 1, "result": list(results)}]} | task])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (export({**REGION, "value": {"start": 8, "end": 18, "text": CANARY, "labels": [CANARY]}}), ["region of text"]),
        (export({**REGION, "value": {"start": "0", "end": "1", "startOffset": 0, "text": CANARY}}), ["region of text"]),
        (export({**REGION, "value": {"start": CANARY, "end": 2}}), ["result 1", "no readable times"]),
        (export({**REGION, "value": {"start": 1}}), ["result 1", "no readable times"]),
        (export({**REGION, "value": {"start": 1, "end": 10**400}}), ["result 1", "no readable times"]),
        (export({**REGION, "value": {"ranges": [{"start": 1, "end": 2}]}}), ["frame_rate"]),
        (export(CANARY), ["no turn in it"]),
        (export(annotations=7), ["no turn in it"]),
        (f'[{{"annotations": [{{"result": "{CANARY}', ["not readable as JSON at line 1"]),
    ],
)
def test_label_studio_turns_that_cannot_be_read(
    tmp_path: Path, untrained_run: Path, content: str, named: list[str]
) -> None:
    (tmp_path / "turns.json").write_text(content)
    (tmp_path / "a.wav").write_bytes(b"")
    done = command_here("predict", str(untrained_run), "a.wav", "--turns", "turns.json", folder=tmp_path)
    done.refused("turns.json", *named)
    assert CANARY not in done.said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (json.dumps([{"id": 1, "incongruent": CANARY}]), ["no list of tasks with 'data'", "not as JSON-MIN"]),
        (export({"from_name": "notes", "type": "textarea", "value": {"text": [CANARY]}}), ["no rating is left"]),
        (json.dumps({"data": CANARY}), ["no list of tasks"]),
        (f'[{{"data": {{"session": "{CANARY}"', ["not readable as JSON at line 1"]),
    ],
)
def test_label_studio_ratings_that_cannot_be_read(tmp_path: Path, content: str, named: list[str]) -> None:
    (tmp_path / "ratings.json").write_text(content)
    done = command_here("data", "agreement", "ratings.json", folder=tmp_path)
    assert done.code == 2
    *notices, refusal = done.err.splitlines()
    assert all(name in refusal for name in named), refusal
    assert all("were left out" in notice for notice in notices)
    assert (CANARY in done.said, done.out, done.written) == (False, "", [])


def test_a_template_without_a_recording_to_show(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("role,start,end,transcript\nclient,0,1,CANARY\n")
    done = command_here("data", "codebook", "--label-studio", "t.csv", "--out", "pages", folder=tmp_path)
    done.refused("page 'face'", "column 'video'", "--media")
    assert CANARY not in done.said


def turns(tmp_path: Path, untrained_run: Path, name: str, content: str) -> Done:
    (tmp_path / name).write_text(content)
    return command_here("predict", str(untrained_run), "a.wav", "--turns", name, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("t.csv", "sep=;\nstart;end;transcript\n1,5;2;a\n3;4\n", ["line 4", "fewer cells"]),
        ("t.csv", "start,end,transcript\n1,2,a\n3,4,b,c\n", ["line 3", "more cells"]),
        ("t.csv", "start,end,transcript\n,,\n,,\n", ["no turn in it"]),
        ("t.csv", "", ["no turn in it"]),
        ("t.csv", 'start;end;transcript\n1;2;"a\n', ["line 2", "quotes"]),
        ("t.tsv", "start\tend\ttranscript\n1\t2\n", ["line 2", "fewer cells"]),
        ("t.json", "[{}, {}]", ["no turn in it"]),
    ],
)
def test_a_turn_table_that_cannot_be_read(
    tmp_path: Path, untrained_run: Path, name: str, content: str, named: list[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    turns(tmp_path, untrained_run, name, content).refused(name, *named)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of which each is odd in its own way."""
    folder = tmp_path_factory.mktemp("odd")
    talking = write_talking_face(folder / "whole.mp4", 3.0)
    whole = talking.read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("1\n00:00:01,000 --> 00:00:02,000\nCANARY\n")
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "zeros.wav").write_bytes(bytes(5000))
    with av.open(str(talking)) as original, av.open(str(folder / "late.mkv"), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in original.streams}
        for packet in original.demux():
            if packet.dts is not None:
                by = round(12 / packet.time_base)
                packet.pts, packet.dts = packet.pts + by, packet.dts + by
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    rng = np.random.default_rng(0)
    voice = 0.2 * rng.standard_normal(32_000).astype(np.float32)
    soundfile.write(folder / "wired.wav", np.stack([voice, -voice], axis=1), 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with av.open(str(folder / "tracks.mka"), "w", format="matroska") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for track, values in zip(tracks, (voice, 0 * voice), strict=True):
            frame = av.AudioFrame.from_ndarray((values[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(track.encode(frame))
            container.mux(track.encode())
    shutil.move(folder / "tracks.mka", folder / "tracks.mkv")
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text("I am fine.")
    return folder


def test_each_recording_of_a_folder_has_its_line_and_its_reason(
    folder: Path, untrained_run: Path, tmp_path: Path
) -> None:
    done = command_here("predict", str(untrained_run), str(folder), folder=tmp_path)
    assert done.code == 1
    lines = {Path(line["input"]).name: line for line in map(json.loads, done.out.splitlines())}
    assert len(lines) == 10
    problems = {name: line["error"] for name, line in lines.items() if "error" in line}
    for name, words in {
        "empty.mp4": "is empty (0 bytes)",
        "text.mp4": "not a recording",
        "cut.mp4": "cannot be opened as a recording",
        "zeros.wav": "cannot be opened as a recording",
        "gone.mp4": "no such file",
    }.items():
        assert words in problems.pop(name), name
    assert problems == {}
    missing = {name: sorted(line["missing"]) for name, line in lines.items() if "missing" in line}
    assert missing["whole.mp4"] == missing["late.mkv"] == []
    assert missing["wired.wav"] == missing["tracks.mkv"] == ["visual"]
    assert "not finite" in lines["nan.wav"]["missing"]["prosody"]
    assert done.err.count("wired.wav: its channels cancel each other out") == 1
    assert done.err.count("tracks.mkv: has 2 audio tracks, of which track 1 is read") == 1
    assert CANARY not in done.said
