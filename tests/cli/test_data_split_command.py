"""`subtext-data card`, `split` and `join` as a user types them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from subtext.cli.data import COMMANDS, main
from subtext.manifest import read_written_manifest


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(60)],
            "speaker": [f"s{i % 12}" for i in range(60)],
            "transcript": "words",
            "incongruent": [i % 2 for i in range(60)],
        }
    )
    rows.to_csv("mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([command.NAME, "--help"])
        assert end.value.code == 0
        assert (command.__doc__ or "").splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_a_table_is_split_by_speaker_and_can_be_read_back(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "mine.csv", "--shares", "0.5", "0.25", "0.25"]) == 0
    assert "incongruent=True" in capsys.readouterr().out
    manifest = read_written_manifest(Path("work/data/mine/manifest.parquet"))
    assert manifest.table.groupby("speaker")["split"].nunique().max() == 1
    assert manifest.table["split"].value_counts()["train"] == 30
    assert main(["split", "work/data/mine/manifest.parquet", "--official"]) == 0
    again = read_written_manifest(Path("work/data/mine/manifest.parquet"))
    assert again.table["split"].equals(manifest.table["split"])


def test_settings_may_stand_behind_options(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "mine.csv", "--out", "a.parquet", "corpus.name=other"]) == 0
    assert read_written_manifest(Path("a.parquet")).name == "other"
    with pytest.raises(SystemExit) as end:
        main(["split", "mine.csv", "--out", "a.parquet", "corpus.name=other", "--nonsense"])
    assert end.value.code == 2
    assert "unrecognized arguments: corpus.name=other --nonsense" in capsys.readouterr().err


def test_folds_and_leaving_out(table: Path) -> None:
    assert main(["split", "mine.csv", "--folds", "4", "--out", "folds.parquet"]) == 0
    assert read_written_manifest(Path("folds.parquet")).table["fold"].nunique() == 4
    assert main(["split", "mine.csv", "--leave-one-out", "speaker", "--out", "loso.parquet"]) == 0
    assert read_written_manifest(Path("loso.parquet")).table["fold"].nunique() == 12


def test_what_cannot_be_split_is_one_line_and_code_2(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["split", "mine.csv", "--official"], "came without a division"),
        (["split", "mine.csv", "--by", "shoe"], "no column 'shoe'"),
        (["split", "mine.csv", "--folds", "99"], "cannot fill 99 parts"),
        (["split", "mine.csv", "--shares", "0.9", "0.9", "0.9"], "sum to 2.7"),
        (["split", "none.csv"], "none.csv"),
        (["split", "collagge"], "did you mean 'collage'?"),
        (["card", "mine.csv", "corpus.rot=3"], "corpus.rot"),
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert said in printed.err, arguments
        assert len(printed.err.strip().splitlines()) == 1


def test_corpora_are_joined_and_one_is_left_out(table: Path) -> None:
    assert main(["join", "mine.csv", "mine.csv", "--out", "both.parquet"]) == 2  # of one name
    Path("other.csv").write_bytes(table.read_bytes())
    assert main(["join", "mine.csv", "other.csv", "--out", "both.parquet"]) == 0
    assert main(["split", "both.parquet", "--leave-one-out", "corpus", "--out", "left.parquet"]) == 0
    folds = read_written_manifest(Path("left.parquet")).table.groupby("fold")["corpus"].unique()
    assert [list(names) for names in folds] == [["mine"], ["other"]]


def test_a_card_of_a_table(table: Path) -> None:
    assert main(["card", "mine.csv"]) == 0
    tables = json.loads(Path("work/data/mine/card.json").read_text())["tables"]
    assert tables["Splits"][0]["segments"] == 60


def test_rows_without_a_speaker_are_told(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.read_csv(table)
    rows.loc[:2, "speaker"] = None
    rows.to_csv(table, index=False)
    assert main(["split", "mine.csv"]) == 0
    assert "mine: 3 of 60 rows have no speaker" in caplog.text
    caplog.clear()
    assert main(["split", "mine.csv", "--by="]) == 0
    assert "have no speaker" not in caplog.text
