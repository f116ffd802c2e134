"""`subtext-data` mistyped: one line that says what to write, code 2, and nothing of the user's overwritten."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.cli.data import main
from subtext.manifest import read_written_manifest

ROWS = "id,speaker,transcript\r\na,x,words\r\nb,y,words\r\nc,z,words\r\n"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_bytes(ROWS.encode())
    return Path("mine.csv")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["annomi", "corpus.context_turns=x"],
            "corpus.context_turns is 'x'; write a whole number of at least 0 or null",
        ),
        (["annomi", "corpus.context_turns=-3"], "corpus.context_turns is -3; write a whole number"),
        (["meld", "corpus.context_turns=1.5"], "context_turns is 1.5; write a whole number"),
        (["mustard", "corpus.seed=abc"], "seed is 'abc'; write a whole number"),
        (["mustard", "corpus.seed=true"], "corpus.seed is true; write a whole number"),
        (["ch_sims", "corpus.distance=far"], "distance is 'far'; write a number"),
        (["ravdess", "corpus.neutral_words=maybe"], "neutral_words is 'maybe'; write true or false"),
        (["annomi", "corpus.groups=speaker"], "groups is 'speaker'; write a list such as [a,b]"),
        (["ravdess", "corpus=meld"], "'ravdess' names the corpus already; leave out corpus=..."),
        (["turns.xlsx"], "save the sheet as CSV"),
        (["mustrad"], "did you mean 'mustard'?"),
    ],
)
def test_settings_of_another_kind_are_refused_before_anything_is_read(
    mine: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, "build", *arguments)


def test_a_number_may_name_a_corpus(mine: Path) -> None:
    assert main(["build", "mine.csv", "corpus.name=7", "--out", "m.parquet"]) == 0
    assert read_written_manifest(Path("m.parquet")).name == "7"


def test_a_negative_seed_divides_nothing(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the seed is -1; use 0 or more" in refusal(capsys, "split", mine, "--folds", 2, "--seed", -1)


@pytest.mark.parametrize("command", [["build", "mine.csv"], ["split", "mine.csv"], ["join", "mine.csv"]])
def test_manifests_take_the_place_of_manifests_only(
    mine: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "ends in .parquet" in refusal(capsys, *command, "--out", "mine.csv")
    pd.read_csv(mine).to_parquet("table.parquet")
    before = Path("table.parquet").read_bytes()
    assert "table.parquet is no manifest that subtext-data wrote" in refusal(capsys, *command, "--out", "table.parquet")
    Path("notes.json").write_text("{}")
    assert "notes.json is no manifest" in refusal(capsys, *command, "--out", "notes.parquet")
    assert (mine.read_bytes(), Path("table.parquet").read_bytes()) == (ROWS.encode(), before)
    assert Path("notes.json").read_text() == "{}"
    for _ in range(2):  # and of themselves
        assert main([*command, "--out", "new/m.parquet"]) == 0


def test_cards_overwrite_no_table_and_no_description(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "mine.csv", "--out", "m.parquet"]) == 0
    capsys.readouterr()
    before = Path("m.json").read_bytes()
    assert "ends in .md" in refusal(capsys, "card", mine, "--out", "mine.csv")
    assert "m.json would be overwritten" in refusal(capsys, "card", "m.parquet", "--out", "m.md")
    assert (mine.read_bytes(), Path("m.json").read_bytes()) == (ROWS.encode(), before)
    for _ in range(2):
        assert main(["card", "m.parquet", "--out", "card.md"]) == 0


def test_a_torn_row_is_told_by_the_number_that_rejects_give_it(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_bytes(ROWS.encode() + b"d,x,CANARY,extra\r\n")
    said = refusal(capsys, "build", mine)
    assert "mine.csv: row 4: 4 cells where 3 are expected; each row needs" in said
    assert "CANARY" not in said
    assert main(["build", "mine.csv", "corpus.on_error=skip", "--out", "m.parquet"]) == 0
    assert pd.read_csv("m.rejects.csv")["row"].tolist() == [4]


def test_columns_that_nearly_have_our_names_are_refused(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text("id,Speaker,transcript,start,Start\na,x,words,0,1\n")
    assert main(["build", "mine.csv"]) == 2
    assert "did you mean speaker? (header cell 2)" in capsys.readouterr().err
    # Named by the user, it is that column; "Start" stands beside a start.
    assert main(["build", "mine.csv", "corpus.columns.speaker=Speaker"]) == 0


OWN = """
import pandas as pd
from subtext.corpora.corpus import Corpus
from subtext.manifest.description import Description
from subtext.manifest import build_manifest


class Own(Corpus):
    description = Description("Own", "natural", "none", "none", "here", "none", "none")

    def __init__(self, *, data):
        self.data = data

    def build(self):
        return build_manifest(pd.DataFrame({"id": ["a"], "transcript": ["x"]}), root=self.data, name="own")
"""


def test_a_corpus_of_ones_own_is_one_file_and_one_config(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_corpus_of_this_test.py").write_text(OWN)
    (tmp_path / "corpus").mkdir()
    config = tmp_path / "corpus" / "own.yaml"
    config.write_text("_target_: own_corpus_of_this_test.Own\ndata: .\n")
    assert "put its folder on PYTHONPATH" in refusal(capsys, "build", "own", "--config-dir", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["build", "own", "--config-dir", str(tmp_path)]) == 0
    assert read_written_manifest(Path("work/data/own/manifest.parquet")).name == "own"
    assert "--config-dir nowhere is no folder" in refusal(capsys, "build", "own", "--config-dir", "nowhere")
    config.write_text("_target_: [\n")
    assert "own.yaml" in refusal(capsys, "build", "own", "--config-dir", tmp_path)
