"""`subtext-data build` and `export` on a user's own table: what is printed, what is written, and what never is."""

import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from subtext.cli.data import main
from subtext.corpora.files import ManifestCorpus
from subtext.manifest.read import read_table

WORDS = "Canarywords"
PERSON = "Canaryperson"
NAMES = {"build": "m.parquet", "card": "c.md", "export": "e.csv", "split": "s.parquet", "audit": "audit"}
SAID = ["- No.", "=1+1", "'tis", "+ \u00e9\u05e9", 'a "quoted"\r\nline', "-1"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Six rows of two people, whose words begin as formulas do."""
    rate = 16000
    (tmp_path / "a").mkdir()
    for number in range(6):
        tone = 0.1 * np.sin(np.arange(rate) * (0.05 + 0.01 * number))
        soundfile.write(tmp_path / "a" / f"{PERSON}{number}.wav", tone, rate)
    table = pd.DataFrame(
        {
            "id": [f"{PERSON}-{number}" for number in range(6)],
            "speaker": [PERSON + "ABC"[number // 2] for number in range(6)],
            "session": "Canarysession",
            "audio": [f"a/{PERSON}{number}.wav" for number in range(6)],
            "transcript": [f"{said} {WORDS}" for said in SAID],
            "context": f"what {WORDS}?",
            "verbal_polarity": [1, 0, -1, 1, 0, -1],
            "visual_polarity": [1, 0, -1, -1, 0, 1],
            "split": ["train", "train", "val", "val", "test", "test"],
            "notes": f"{PERSON} says {WORDS}",
            "age": 31,
        }
    )
    table.to_csv(tmp_path / "mine.csv", index=False, lineterminator="\r\n")
    return tmp_path / "mine.csv"


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return (code, *capfd.readouterr())


def test_bad_rows_end_the_command_or_are_listed(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = mine.read_bytes().replace(f"a/{PERSON}3.wav".encode(), b"a/none.wav").replace(b",test,", b",tset,", 1)
    mine.write_bytes(text)
    out = mine.parent / "out" / "m.parquet"
    code, _, error = run(capfd, "build", mine, "--out", out)
    assert code == 2
    assert error.splitlines() == [
        "ManifestError: mine: row 5, column 'split': unknown value (1 such rows); "
        "did you mean 'test'? use one of train, val, test or leave it empty"
    ]
    assert not out.exists()
    code, output, _ = run(capfd, "build", mine, "corpus.on_error=skip", "--out", out)
    assert code == 0
    assert "4 segments" in output
    assert "Left out: 2 rows" in output
    rejects = read_table(out.with_suffix(".rejects.csv"))
    assert rejects[["row", "column", "value"]].to_numpy().tolist() == [
        ["4", "audio", "a/none.wav"],
        ["5", "split", "tset"],
    ]
    code, output, _ = run(capfd, "build", mine, "corpus.on_error=skip", "corpus.check_media=false", "--out", out)
    assert "5 segments" in output


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_an_export_is_read_again_word_for_word(mine: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    out = mine.parent / "elsewhere" / f"mine.{kind}"
    code, _, error = run(capfd, "export", mine, "--out", out)
    assert (code, error) == (0, "")
    again = ManifestCorpus(path=out, root=mine.parent, check_media=True).build()
    pd.testing.assert_frame_equal(again.table, ManifestCorpus(path=mine).build().table, check_dtype=False)
    if kind == "csv":
        text = out.read_text(encoding="utf-8")
        assert f",'- No. {WORDS}," in text
        assert f",'=1+1 {WORDS}," in text
        out.with_suffix(".json").write_text('{"mine": 1}')
        code, _, error = run(capfd, "export", mine, "--out", out)
        assert code == 2
        assert "would be overwritten" in error


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_pseudonymous_export_tells_units_apart_and_names_nobody(
    mine: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out, key = mine.parent / "out" / f"shared.{kind}", mine.parent / "keys" / "key"
    arguments = ("export", mine, "--out", out, "--privacy", "pseudonym", "--key-file", key, "--keep", "age")
    code, output, error = run(capfd, *arguments)
    assert (code, error) == (0, "")
    assert "Left out: transcript, context, notes" in output
    assert "no anonymisation" in output
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for file in out.parent.iterdir():
        assert b"Canary" not in file.read_bytes()
        assert key.read_bytes().strip() not in file.read_bytes()
    table, plain = read_table(out), ManifestCorpus(path=mine).build().table
    assert table["id"].is_unique
    assert table["speaker"].nunique() == 3
    assert table["speaker"].tolist()[::2] == table["speaker"].tolist()[1::2]
    assert table["audio"].str.fullmatch(r"[0-9a-f]{20}\.wav").all()
    assert table["split"].tolist() == plain["split"].tolist()
    assert table["age"].astype(int).tolist() == [31] * 6
    assert table["verbal_polarity"].astype(int).tolist() == plain["verbal_polarity"].tolist()
    run(capfd, *arguments)
    pd.testing.assert_frame_equal(read_table(out), table)
    key.write_text("another key that is long enough")
    run(capfd, *arguments)
    assert not set(read_table(out)["speaker"]) & set(table["speaker"])
    key.write_text("short")
    code, _, error = run(capfd, *arguments)
    assert code == 2
    assert "at least 16" in error


def test_privacy_needs_a_key(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--privacy", "pseudonym"], ["--key-file", "key"]):
        code, _, error = run(capfd, "export", mine, "--out", "x.csv", *arguments)
        assert code == 2
        assert "belong together" in error
    code, _, error = run(capfd, "export", mine, "--out", mine.parent / "x.xlsx")
    assert code == 2
    assert ".csv, .parquet or .jsonl" in error


@pytest.mark.parametrize("command", ["build", "card", "export", "split", "audit"])
def test_no_words_and_no_speakers_are_printed(
    mine: Path, command: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    # Of the leaking split too, and of a row that cannot be read.
    leaking = mine.read_bytes().replace(f"{PERSON}C".encode(), f"{PERSON}A".encode())
    torn = mine.read_bytes() + f"{PERSON}-9,{PERSON},{WORDS}\r\n".encode()
    for content, code in ((mine.read_bytes(), 0), (leaking, 2), (torn, 2)):
        for on_error in ("stop", "skip"):
            mine.write_bytes(content.replace(f"{PERSON}-".encode(), b"r"))
            out = ["--out", mine.parent / NAMES[command], *(["--folds", 2] if command == "split" else [])]
            got, output, error = run(capfd, command, mine, f"corpus.on_error={on_error}", *out)
            describes = content == leaking and command in ("card", "split", "audit")
            assert got == (0 if describes or (content == torn and on_error == "skip") else code)
            for word in (WORDS, PERSON + "A", PERSON + "B", "Canarysession"):
                assert word not in output + error + caplog.text


def test_leaking_splits_are_described_and_replaced_but_not_built(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine.write_bytes(mine.read_bytes().replace(f"{PERSON}C".encode(), f"{PERSON}A".encode()))
    assert run(capfd, "build", mine, "--out", mine.parent / "m.parquet")[0] == 2
    code, output, _ = run(capfd, "audit", mine, "--out", mine.parent / "audit")
    assert code == 0
    assert "ALARM" in output
    assert run(capfd, "split", mine, "--official", "--out", mine.parent / "m.parquet")[0] == 2
    assert run(capfd, "split", mine, "--shares", ".5", ".25", ".25", "--out", mine.parent / "m.parquet")[0] == 2
    assert run(capfd, "split", mine, "--folds", 2, "--out", mine.parent / "m.parquet")[0] == 0
    assert run(capfd, "build", mine.parent / "m.parquet", "--out", mine.parent / "again.parquet")[0] == 0


def test_rater_files_tell_no_words_and_no_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"session": f"s{turn // 4}", "turn": turn, "rater": rater, "visual_emotion": emotion}
        | {"transcript": WORDS, "speaker": PERSON, "notes": WORDS}
        for turn in range(12)
        for rater, emotion in (("r1", "fear"), ("r2", ["fear", "sadness"][turn % 2]))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "ratings.csv", index=False)
    for command in ("agreement", "aggregate"):
        out = tmp_path / ("report" if command == "agreement" else "labels.csv")
        code, output, error = run(capfd, command, tmp_path / "ratings.csv", "--out", out)
        assert code == 0, error
        for word in (WORDS, PERSON):
            assert word not in output + error
