"""The commands from end to end, and what they say of bad input: one line and exit code 2."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from subtext.cli.replies import COMMANDS, main, parser
from subtext.manifest import Manifest, write_manifest

pytestmark = pytest.mark.usefixtures("few_buckets")


@pytest.fixture(scope="module")
def work(dialogues: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up corpus as a table, half of its films in each split."""
    folder = tmp_path_factory.mktemp("work")
    films = dialogues.table["source"].str.split().str[1].astype(int)
    split = pd.array(["test" if film % 2 else "train" for film in films], dtype="string")
    write_manifest(dialogues.with_table(dialogues.table.assign(split=split)), folder / "corpus.parquet", None)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_from_dialogues_to_a_comparison_and_a_form(
    work: Path,
    language_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    corpus = work / "corpus.parquet"
    test = [corpus, "--split", "test", "--limit", 40]
    assert run("coder", corpus, "--split", "train", "--out", "coder") == 0
    tuned = ["--model", language_model, "--replies", 40, "--longest", 100]
    assert run("tune", corpus, "--split", "train", *tuned, "--out", "adapter", "--before", 0) == 0
    assert run("generate", *test, "--human", "--out", "counsellor.jsonl") == 0
    model = ["--model", language_model, "--max-new-tokens", 12]
    assert run("generate", *test, *model, "--out", "plain.jsonl") == 0
    assert run("generate", *test, *model, "--hint", "placebo", "--out", "placebo.jsonl") == 0
    assert run("generate", *test, *model, "--adapter", "adapter", "--out", "tuned.jsonl") == 0
    before = Path("plain.jsonl").read_bytes()
    capsys.readouterr()
    assert run("generate", *test, *model, "--out", "plain.jsonl") == 0
    assert "0 of 40 replies made" in capsys.readouterr().out
    assert Path("plain.jsonl").read_bytes() == before
    # Human replies are those of held-out films.
    said = [json.loads(line) for line in Path("counsellor.jsonl").read_text().splitlines()]
    assert {int(row["session"]) // 2 % 2 for row in said} == {1}

    replies = ["counsellor.jsonl", "plain.jsonl", "tuned.jsonl"]
    assert run("measure", *replies, "--coder", "coder", "--out", "m.parquet") == 0
    validation = ["validate", corpus, "--folds", 2, "--bootstrap", 100, "--out", "validation"]
    assert run(*validation) == 0
    compare = ["compare", "m.parquet", "--reference", "plain", "--validation", "validation/validation.json"]
    assert run(*compare, "--out", "against") == 0
    assert run("form", *replies, "--out", "form", "--pairs", 12) == 0
    items = json.loads(Path("form_key.json").read_text())["items"]
    lines = ["session,turn,rater,label,value", *(f"replies,{item['item']},ann,overall,A" for item in items)]
    Path("ann.csv").write_text("\n".join(lines) + "\n")
    ratings = ["ratings", "ann.csv", "--key", "form_key.json", "--bootstrap", 100, "--measured", "m.parquet"]
    assert run(*ratings, "--out", "rated") == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if "│" in line) <= 80, "tables; prose is wrapped by the terminal"
    claims = [row for row in json.loads(Path("against/comparison.json").read_text())["claims"]]
    assert [row["system"] for row in claims] == ["counsellor"] * 3 + ["tuned"] * 3
    for name in ("validation/validation.md", "against/comparison.md"):
        assert "|---|" in Path(name).read_text()
    # A tiny random model answers no question in one word.
    capsys.readouterr()
    judged = ["judge", *replies, "--key", "form_key.json", "--model", language_model, "--out", "judge.csv"]
    assert run(*judged) == 2
    assert "gave no readable answer" in capsys.readouterr().err


def test_replies_of_one_s_own_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "mine.csv"
    long = "word " * 20_000
    path.write_text(
        "note,id,session,client,reply\n"
        "she wept,1,s,\"I'm fine, really. It's just work.\",\"I'm fine, really. It's just work.\"\n"
        ",2,s,I am tired.,\n"
        ",3,s,I am tired.,Das klingt wirklich schwer. Wie lange geht das schon so bei Ihnen?\n"
        f",4,s,I am tired.,{long}\n"
        ",5,s,I am tired.,=SUM(A1:A9)\n".replace("5", "=1+1", 1)
    )
    assert run("measure", path, "--out", tmp_path / "m.parquet") == 0
    out = capsys.readouterr().out
    for line in ("(empty), the first of mine: '2'", "(language: de)", "(too long)"):
        assert line in " ".join(out.split())
    measured = pd.read_parquet(tmp_path / "m.parquet").set_index("id")
    assert measured.loc["1", "copying"] == 1
    assert "note" not in measured, "a column of one's own may hold words"
    assert measured["status"].tolist() == ["scored", "empty", "language: de", "too long", "scored"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("id,session,reply\n1,s,Hm.\n", "r.csv", "no column 'client'"),
        ("id,session,client,reply\n1,s,a,b\n1,s,a,c\n", "r.csv", "row 2: its system has replied to this turn already"),
        ("id,session,client,reply\n,s,a,b\n", "r.csv", "row 1 has no id"),
        ('{"id": 1, "session": "s", "client": "a", "reply": 5}\n', "r.jsonl", "row 1, column 'reply': no text"),
        ('{"id": 1, "session": "s", "client": "a", "reply": NaN}\n{"id": 2\n', "r.jsonl", "line 2: not JSON"),
        ("", "r.csv", "is empty"),
        ("x", "r.xlsx", "is no table that can be read"),
        (None, "gone.csv", "name a table of replies"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, name: str, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert run("measure", tmp_path / name, "--out", tmp_path / "m.parquet") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "m.parquet").exists()


def test_null_and_not_a_number_are_empty_replies(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"id": "1", "session": "s", "client": null, "reply": NaN}\n'
        '{"id": "2", "session": "s", "client": "a", "reply": "So."}\n'
    )
    assert run("measure", path, "--out", tmp_path / "m.parquet") == 0
    assert pd.read_parquet(tmp_path / "m.parquet")["status"].tolist() == ["empty", "scored"]


def test_a_model_folder_that_lacks_a_file_is_one_line(
    work: Path, language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(language_model, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    out = tmp_path / "r.jsonl"
    assert run("generate", work / "corpus.parquet", "--model", tmp_path / "model", "--out", out) == 2
    error = capsys.readouterr().err.strip()
    assert "config.json is missing" in error
    assert "\n" not in error
    assert not out.exists()


def test_told_on_words_alone_is_refused(
    work: Path, language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--model", language_model, "--hint", "told", "--out", tmp_path / "r.jsonl"]
    assert run("generate", work / "corpus.parquet", *told) == 2
    assert "a prediction table goes with the hint 'told'" in capsys.readouterr().err


def test_help_of_every_command_is_narrow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            parser().parse_args([command.NAME, "--help"])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 88, command.NAME


def test_the_list_of_measures_is_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["measure", "--list"])
    assert capsys.readouterr().out.startswith("| measure | claim | better |")


def test_help_needs_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom subtext.cli.replies import parser\nparser().format_help()\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'peft'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
