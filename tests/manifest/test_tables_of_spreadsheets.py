"""Tables as spreadsheets write them: semicolons, decimal commas, rows and columns without anything in them."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.rater_files import read_rater_files
from subtext.annotation.turn_table import read_turn_table
from subtext.corpora.files import ManifestCorpus
from subtext.errors import AnnotationError, ManifestError, TranscriptError
from subtext.manifest.read import read_numbered_table, read_table
from subtext.manifest.table import Manifest
from subtext.sessions.transcripts import read_turns
from subtext.sessions.words import read_words

CASES = Path(__file__).parent / "cases"


def manifest(path: Path, **options: object) -> Manifest:
    return ManifestCorpus(path=path, **options).build()  # type: ignore[arg-type]


def written(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "ids", "times", "labels"),
    [
        ("excel_de", ["a", "b"], [[1.5, 4.25], [5, 8]], [True, False]),
        ("excel_us", ["007", "008"], [[1.5, 4], [5, 8]], [True, False]),
        ("sep", ["a"], [[1.5, 4.25]], [True]),
        ("semi_comma_header", ["a"], [[1.5, 4.25]], [True]),
    ],
)
def test_a_spreadsheets_manifest(
    name: str, ids: list[str], times: list[list[float]], labels: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    table = manifest(CASES / f"{name}.csv").table
    assert table["id"].tolist() == ids
    assert table[["start", "end"]].to_numpy().tolist() == times
    assert table["incongruent"].tolist() == labels
    assert table["transcript"].tolist()[0] == "I am fine"
    assert not [r for r in caplog.records if r.levelno > logging.WARNING]


@pytest.mark.parametrize("name", ["turns_blank", "turns_de"])
def test_a_spreadsheets_turns(name: str) -> None:
    (turn,) = read_turns(CASES / f"{name}.csv")
    assert (turn.start, turn.transcript, turn.speaker) == (1.5, "I am fine", "client")
    assert turn.end == (4.0 if name == "turns_blank" else 4.25)
    assert turn.problem is None
    table = read_turn_table(CASES / f"{name}.csv")
    assert table[["start", "transcript"]].to_numpy().tolist() == [[1.5, "I am fine"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,transcript,start\na,x,1\n,,\nb,y,2\n,,\n , ,\n"),
        ("a.csv", "id,transcript,start\na,x,1\n,,\nb,y,2\n,\n,,,,,\n"),
        ("a.csv", '"id","transcript","start"\n"a","x","1"\n"","",""\n"b","y","2"\n'),
        ("a.csv", "id;transcript;start\na;x;1\n;;\nb;y;2\n;;\n"),
        ("a.tsv", "id\ttranscript\tstart\na\tx\t1\n\t\t\nb\ty\t2\n"),
        ("a.csv", "id\ttranscript\tstart\na\tx\t1\n\t\t\nb\ty\t2\n"),
        (
            "a.jsonl",
            '{"id": "a", "transcript": "x", "start": 1}\n{"id": null, "transcript": " "}\n'
            '{"id": "b", "transcript": "y", "start": 2}\n{}\n',
        ),
        ("a.parquet", ""),
    ],
)
def test_rows_without_anything_are_left_out_and_counted(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path / name, content)
    if name == "a.parquet":
        rows = [("a", "x", 1.0), (None, None, None), ("b", "y", 2.0), (None, "", None)]
        pd.DataFrame(rows, columns=["id", "transcript", "start"]).to_parquet(path)
    table, numbers = read_numbered_table(path)
    assert table["id"].tolist() == ["a", "b"]
    assert table.index.tolist() == [0, 1]
    assert numbers.tolist() == [1, 3]
    assert manifest(path).table["id"].tolist() == ["a", "b"]


def test_messages_count_the_rows_that_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "id,transcript,start\na,x,1\n,,\n,,,\nb,y,soon\n")
    with pytest.raises(ManifestError, match=r"row 4, column 'start'"):
        manifest(path)
    rejects = manifest(path, on_error="skip").rejects
    assert rejects["row"].tolist() == [4]
    turns = written(tmp_path / "turns.csv", "start,end,transcript\n1,2,a\n,,\nsoon,4,b\n")
    with pytest.raises(TranscriptError, match="turn 3, start"):
        read_turns(turns)
    with pytest.raises(AnnotationError, match="row 3, column 'start'"):
        read_turn_table(turns)
    ratings = written(tmp_path / "ann.csv", "session,turn,incongruent\ns,1,1\n,,\ns,2,perhaps\n")
    with pytest.raises(AnnotationError, match="row 3, column 'incongruent'"):
        read_rater_files([ratings], read_codebook())


def test_rows_of_a_turn_table_that_is_json_are_left_out_too(tmp_path: Path) -> None:
    rows = '[{"start": 1, "end": 2, "transcript": "a"}, {"start": null, "end": null, "transcript": ""}, {}]'
    assert [turn.start for turn in read_turns(written(tmp_path / "t.json", rows))] == [1.0]


def test_a_table_of_nothing_but_empty_rows_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no rows"):
        manifest(written(tmp_path / "a.csv", "id,transcript\n,\n,\n"))
    with pytest.raises(TranscriptError, match="no turn in it"):
        read_turns(written(tmp_path / "t.csv", "start,end,transcript\n,,\n"))


def test_ratings_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = written(tmp_path / "ann.csv", "sep=;\r\nsession;start;incongruent\r\ns;1,25;1\r\ns;3,5;0\r\n;;\r\n")
    table = read_rater_files([path], read_codebook()).table
    assert table[["start", "value"]].to_numpy().tolist() == [[1.25, "1"], [3.5, "0"]]


def test_words_with_commas_stay_as_they_are(tmp_path: Path) -> None:
    content = "id;transcript;start;note;score\n1,5;2,5;1,5;one, two;1,5\n2,5;3;2;1,5;x\n3,5;a;;;2,25\n"
    table = read_table(written(tmp_path / "a.csv", content))
    assert table["id"].tolist() == ["1,5", "2,5", "3,5"]
    assert table["transcript"].tolist() == ["2,5", "3", "a"]
    assert table["start"].tolist()[:2] == ["1.5", "2"]
    assert table["note"].tolist()[0] == "one, two"
    assert table["score"].tolist() == ["1.5", "x", "2.25"]


def test_a_comma_is_no_decimal_sign_where_it_divides_cells(tmp_path: Path) -> None:
    # In English "1,500" is a thousand and a half.
    with pytest.raises(ManifestError, match=r"row 1, column 'start'"):
        manifest(written(tmp_path / "a.csv", 'id,transcript,start\na,x,"1,500"\n'))


@pytest.mark.parametrize(
    "content",
    [
        "id,transcript\n1,a; b; c; d; e\n",
        '"id","a;b;c;d","transcript"\n1,x,a; b; c; d; e\n',
        "id,a;b,transcript\n1,x,a; b; c; d; e\n",
    ],
)
def test_semicolons_inside_a_table_of_commas_are_text(tmp_path: Path, content: str) -> None:
    assert read_table(written(tmp_path / "a.csv", content))["transcript"].tolist() == ["a; b; c; d; e"]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_line_that_names_what_divides_cells(tmp_path: Path, line: str, end: str, encoding: str) -> None:
    path = written(tmp_path / "a.csv", end.join([line, "id;transcript", "1;a, b", ""]), encoding)
    assert read_table(path)[["id", "transcript"]].to_numpy().tolist() == [["1", "a, b"]]


def test_a_tab_may_be_named_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "sep=\t\nstart\tend\ttranscript\n1,5\t2\thello, you\n")
    assert [(t.start, t.transcript) for t in read_turns(path)] == [(1.5, "hello, you")]


def test_words_with_times_may_be_divided_by_semicolons(tmp_path: Path) -> None:
    words = read_words(written(tmp_path / "words.csv", "sep=;\nword;start;end\nwell, yes;1.5;2\n;;\n"))
    assert [(word.text, word.start, word.end) for word in words] == [("well, yes", 1.5, 2.0)]


def test_lines_are_counted_from_the_top_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "sep=;\nstart;end;transcript\n1;2;a\n3;4\n")
    with pytest.raises(TranscriptError, match="line 4 has fewer cells"):
        read_turns(path)


def test_columns_of_the_same_name_are_told_by_their_place(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="header cells 2 and 4 have the same name") as refused:
        read_table(written(tmp_path / "a.csv", "id,CANARY,transcript,CANARY\n1,a,b,c\n"))
    assert "CANARY" not in str(refused.value)
