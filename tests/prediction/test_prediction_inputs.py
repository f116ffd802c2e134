"""What to predict on: files, folders and manifests become segments; what cannot be used is kept with its reason."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from subtext.corpora.studio.write import write_mp4
from subtext.errors import ConfigError, TranscriptError
from subtext.manifest import build_manifest
from subtext.prediction.inputs import LONG_TURN, Words, files_read, find_inputs, manifest_batches, recording_batch
from subtext.sessions.transcripts import Turn


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of grey picture and a tone, under a name that a Hydra command line could not take."""
    path = tmp_path_factory.mktemp("clip") / "it's (a), b=c {x}.mp4"
    tone = np.sin(np.arange(32_000) * 0.05).astype(np.float32) * 0.3
    return write_mp4(path, [np.full((48, 64, 3), 128, np.uint8)] * 20, fps=10, waveform=tone)


def beside(clip: Path, folder: Path, **texts: str) -> Path:
    copy = folder / clip.name
    copy.write_bytes(clip.read_bytes())
    for suffix, text in texts.items():
        copy.with_suffix(f".{suffix}").write_text(text, encoding="utf-8")
    return copy


def test_turns_beside_a_recording_become_rows_in_order_of_time(clip: Path, tmp_path: Path) -> None:
    path = beside(
        clip, tmp_path, vtt="WEBVTT\n\n00:01.000 --> 00:02.000\n<v Bob>late\n\n00:00.000 --> 00:01.500\nearly\n"
    )
    batch = recording_batch("in/x.mp4", path, None)
    assert batch.manifest is not None
    table = batch.manifest.table
    assert table["id"].tolist() == ["in/x.mp4#2", "in/x.mp4#1"]
    assert table["transcript"].tolist() == ["early", "late"]
    assert table["start"].tolist() == [0.0, 1.0]
    assert table["speaker"].isna().tolist() == [True, False]
    assert batch.manifest.path(table["video"][0]) == path.resolve()
    assert batch.refused == []
    assert batch.warnings == []


def test_turns_that_cannot_be_used_are_refused_one_by_one(clip: Path) -> None:
    turns = [
        Turn(0.0, 1.0, "fine"),
        Turn(1.0, 1.0, "zero", problem="holds nothing"),
        Turn(2.5, 3.0, "past the end", speaker="Ann"),
        Turn(1.5, 9.0, "runs over"),
    ]
    batch = recording_batch("x", clip, turns)
    assert batch.manifest is not None
    assert batch.manifest.table["id"].tolist() == ["x#1", "x#4"]
    assert [(r.id, r.start, r.speaker) for r in batch.refused] == [("x#2", 1.0, None), ("x#3", 2.5, "Ann")]
    assert batch.refused[0].problem == "holds nothing"
    assert "starts at 2.5 s" in batch.refused[1].problem
    assert "ends at 2.0" in batch.refused[1].problem


def test_without_words_the_whole_recording_is_one_turn(clip: Path) -> None:
    batch = recording_batch("x", clip, None)
    assert batch.manifest is not None
    row = batch.manifest.table.iloc[0]
    assert row["id"] == "x"
    assert pd.isna(row["transcript"])
    assert pd.isna(row["start"])
    assert pd.isna(row["end"])


def test_one_long_turn_is_warned_about(tmp_path: Path) -> None:
    long = write_mp4(tmp_path / "long.mp4", None, waveform=np.zeros(int(16_000 * (LONG_TURN + 2)), np.float32))
    batch = recording_batch("long.mp4", long, [Turn(None, None, "words")])
    assert "32 s" in batch.warnings[0]
    assert batch.manifest is not None
    assert batch.manifest.table["audio"].tolist() == ["long.mp4"]
    assert batch.manifest.table["video"].isna().all()
    assert recording_batch("long.mp4", long, [Turn(0.0, 2.0, "words")]).warnings == []


@pytest.mark.parametrize("content", [b"", b"these are words, not a film\n" * 50])
def test_what_is_no_recording_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    batch = recording_batch("bad.mp4", path, None)
    assert batch.manifest is None
    assert [r.id for r in batch.refused] == ["bad.mp4"]
    assert str(path) in batch.refused[0].problem


def test_unreadable_turns_beside_a_recording_are_refused_not_ignored(clip: Path, tmp_path: Path) -> None:
    path = beside(clip, tmp_path, srt="no cue here")
    batch = recording_batch("x", path, None)
    assert batch.manifest is None
    assert "no turn in it" in batch.refused[0].problem


def test_the_first_of_several_files_beside_is_read_and_the_others_named(clip: Path, tmp_path: Path) -> None:
    path = beside(clip, tmp_path, srt="1\n00:00:00,000 --> 00:00:01,000\nfrom srt\n", txt="from txt")
    batch = recording_batch("x", path, None)
    assert batch.manifest is not None
    assert batch.manifest.table["transcript"].tolist() == ["from srt"]
    assert path.with_suffix(".txt").name in batch.warnings[0]


def test_folders_are_opened_and_hidden_files_left_alone(clip: Path, tmp_path: Path) -> None:
    for name in ("b.mp4", "sub/a.WAV", ".hidden.mp4", ".git/c.mp4", "notes.txt", "b.srt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p for _, p in find_inputs([str(tmp_path)], Words())] == [tmp_path / "b.mp4", tmp_path / "sub" / "a.WAV"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no recording in the folder"):
        find_inputs([str(tmp_path / "empty")], Words())


def test_a_folder_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "closed/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def closed(path: str) -> Any:
        if Path(path).name == "closed":  # the tests may run as root, whom no mode stops
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert [p.name for _, p in find_inputs([str(tmp_path)], Words())] == ["a.mp4"]
    assert "closed cannot be opened (Permission denied); recordings in it are left out" in caplog.text


def test_a_link_that_leads_nowhere_is_found_and_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    ((name, path),) = find_inputs([str(tmp_path)], Words())
    assert "no such file" in recording_batch(name, path, None).refused[0].problem


@pytest.mark.parametrize("name", ["words " * 60, "a\0b"])
def test_words_in_place_of_a_recording_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be opened \(.*\); words are given with --transcript"):
        find_inputs([name], Words())


def test_one_recording_that_cannot_be_opened_is_refused_alone(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    batch = recording_batch("x", clip, None)
    assert batch.manifest is None
    assert "cannot be opened (Permission denied); check its rights" in batch.refused[0].problem


@pytest.mark.skipif(os.sep == "\\", reason="a backslash separates folders here")
def test_a_backslash_in_a_name_is_a_character(clip: Path, tmp_path: Path) -> None:
    for name in ("\\a.mp4", "..\\b.mp4", "C:\\c.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        batch = recording_batch(name, tmp_path / name, [Turn(None, None, "words")])
        assert batch.refused == []
        assert batch.manifest is not None
        assert batch.manifest.path(batch.manifest.table["video"][0]).name == name


def test_a_recording_that_no_manifest_can_hold_is_refused_alone(clip: Path) -> None:
    batch = recording_batch("x", clip, [Turn(0.0, 1.0, "half \ud83d")])  # as a caller of the package may give it
    assert batch.manifest is None
    assert "transcript" in batch.refused[0].problem


def test_inputs_and_words_that_do_not_fit_are_refused_first(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,transcript\na,b\n")
    (tmp_path / "a.srt").write_text("x")
    with pytest.raises(ConfigError, match=r"INPUT gone\.mp4: there is no such file or folder; name a recording"):
        find_inputs([str(clip), "gone.mp4"], Words())
    with pytest.raises(ConfigError, match="is a transcript"):
        find_inputs([str(tmp_path / "a.srt")], Words())
    with pytest.raises(ConfigError, match="brings its own words"):
        find_inputs([str(tmp_path / "m.csv")], Words(transcript="x"))
    with pytest.raises(ConfigError, match="belongs to one recording, but 2"):
        find_inputs([str(clip), str(clip)], Words(turns=tmp_path / "a.srt"))
    with pytest.raises(ConfigError, match="--turns"):
        Words(transcript_file=tmp_path / "a.srt").read()
    with pytest.raises(TranscriptError, match="not valid UTF-8"):
        Words(transcript="caf\udce9").read()


def test_words_are_taken_as_they_are(tmp_path: Path) -> None:
    words = '- I\'m (fine), {a: 1} = "b" 🙃 שלום'
    assert Words(transcript=words).read() == [Turn(None, None, words)]
    assert Words(transcript=" ").read() == [Turn(None, None, None)]
    (tmp_path / "w.txt").write_text(words, encoding="utf-8")
    assert Words(transcript_file=tmp_path / "w.txt").read() == [Turn(None, None, words)]
    assert Words().read() is None


def test_manifest_parts_keep_each_recording_together() -> None:
    table = pd.DataFrame(
        {
            "id": [f"r{n}" for n in range(7)],
            "video": ["a.mp4", "b.mp4", "a.mp4", None, "c.mp4", "b.mp4", "c.mp4"],
            "transcript": "x",
        }
    )
    parts = list(manifest_batches("m.csv", build_manifest(table, root=Path(), name="m", groups=()), size=3))
    ids = [part.manifest.table["id"].tolist() for part in parts if part.manifest is not None]
    assert ids == [["r0", "r2"], ["r1", "r3", "r5"], ["r4", "r6"]]


def test_turns_of_a_session_may_be_diarised_speech(tmp_path: Path) -> None:
    turns = tmp_path / "turns.json"
    turns.write_text('{"segments": [{"start": 0.5, "end": 2, "text": " Fine.", "speaker": "SPEAKER_00"}]}')
    assert Words(turns=turns).read() == [Turn(0.5, 2.0, "Fine.", "SPEAKER_00")]


def test_turns_under_the_recordings_full_name_are_read(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    (tmp_path / "clip.mp4.srt").write_text("1\n00:00:00,100 --> 00:00:01,700\nDont forget a jacket.\n")
    batch = recording_batch("clip.mp4", path, None)
    assert batch.manifest is not None
    assert batch.manifest.table["transcript"].tolist() == ["Dont forget a jacket."]
    assert path.with_name("clip.mp4.srt") in files_read([("clip.mp4", path)], Words(), {})
    (tmp_path / "clip.srt").write_text("1\n00:00:00,100 --> 00:00:01,700\nNo.\n")
    both = recording_batch("clip.mp4", path, None)
    assert both.manifest is not None
    assert both.manifest.table["transcript"].tolist() == ["No."]
    assert "clip.mp4.srt is left unread" in both.warnings[0]


@pytest.mark.parametrize("name", ["clip.en.srt", "clip.json", "clip.rttm", "clip.eaf", "clip.wav.vtt"])
def test_turns_under_a_near_name_are_told(clip: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    for other in (name, "clip2.srt", "clip.png"):
        (tmp_path / other).touch()
    batch = recording_batch("clip.mp4", path, None)
    assert batch.manifest is not None
    (warning,) = batch.warnings
    assert f"clip.txt is there, but {name} is; give it with --turns" in warning


def test_events_are_a_column_where_there_are_any(clip: Path, tmp_path: Path) -> None:
    words = "1\n00:00:00,100 --> 00:00:01,000\n(laughs) [Music]\n\n2\n00:00:01,000 --> 00:00:02,000\nFine.\n"
    path = beside(clip, tmp_path, srt=words)
    batch = recording_batch("x", path, None)
    assert batch.manifest is not None
    assert batch.manifest.table["events"].fillna("").tolist() == ["(laughs) [Music]", ""]
    assert batch.manifest.table["transcript"].fillna("").tolist() == ["", "Fine."]
    assert Words(transcript="(laughs)").read() == [Turn(None, None, None, events=("(laughs)",))]
