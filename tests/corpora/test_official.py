"""What every reader of official files shares: encodings, messages that lead to the cell, films found or not."""

import re
from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.official import (
    check_unique,
    lines_before,
    numbers,
    official_table,
    official_text,
    present,
    recode,
)
from subtext.errors import DatasetNotFound, ManifestError

REMEDY = "Download it again."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_words_survive_encodings_line_ends_and_breaks_in_quotes(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(["id,words", '1,"Café, ""two"" lines', 'here"', "2,NA", "3,"]).encode(encoding))
    table = official_table(path, ["id", "words"], REMEDY)
    assert table["words"].iloc[0].replace("\r\n", "\n") == 'Café, "two" lines\nhere'
    assert table["words"].iloc[1] == "NA", "a word that people say"
    assert pd.isna(table["words"].iloc[2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no t.csv under"),
        ("id,text\n1,a\n", "lacks the columns words; it needs id, words"),
        ("id,words\n", "no rows"),
    ],
)
def test_what_is_not_there_is_missed_with_the_remedy(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DatasetNotFound, match=re.escape(message)) as caught:
        official_table(tmp_path / "t.csv", ["id", "words"], REMEDY)
    assert str(caught.value).endswith(REMEDY)


def test_codes_are_known_whatever_their_case(tmp_path: Path) -> None:
    table = pd.DataFrame({"mode": ["Train", " valid ", "TEST"]})
    assert recode(table, "mode", {"train": 1, "valid": 2, "test": 3}, tmp_path).tolist() == [1, 2, 3]


def test_unknown_codes_name_row_column_and_choices(tmp_path: Path) -> None:
    table = pd.DataFrame({"mode": ["train", None, "dev", "dev"]})
    with pytest.raises(ManifestError, match=r"row 3, column 'mode': the cell.*2 such rows.*use one of train, valid"):
        recode(table, "mode", {"train": 1, "valid": 2}, tmp_path, empty=True)
    with pytest.raises(ManifestError, match="row 2, column 'mode': an empty cell"):
        recode(table, "mode", {"train": 1, "dev": 2}, tmp_path)


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": ["0.4", "", None, "-1"]}, dtype="string")
    assert numbers(table, "label", -1, 1, tmp_path).tolist()[::3] == [0.4, -1.0]
    for value in ("1.2", "high", "nan", "inf"):
        wrong = table.assign(label=["0.4", "", value, "-1"])
        with pytest.raises(ManifestError, match=r"row 3, column 'label': the cell.*from -1 to 1"):
            numbers(wrong, "label", -1, 1, tmp_path)


def test_repeated_keys_are_named(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": ["x", "y", "x"], "b": ["1", "1", "1"]})
    check_unique(table.iloc[:2], ["a", "b"], tmp_path)
    with pytest.raises(ManifestError, match="the same a and b in rows 1, 3"):
        check_unique(table, ["a", "b"], tmp_path)
    with pytest.raises(ManifestError, match="the same a in rows 1, 2"):
        check_unique(pd.DataFrame({"a": [None, None]}, dtype="str"), ["a"], tmp_path)


def test_text_in_another_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("one\r\ncafé\r\n".encode("utf-8-sig"))
    assert official_text(path, REMEDY) == "one\ncafé\n"
    path.write_bytes("one\ncafé\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"line 2 is not UTF-8 \(byte 0xe9\)"):
        official_text(path, REMEDY)


def test_only_films_that_exist_are_named(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "b.mp4").touch()
    paths = pd.Series(["films/a.mp4", "films/b.mp4", None, "elsewhere/b.mp4"], index=[4, 5, 6, 7])
    found = present(tmp_path, paths)
    assert found.dropna().to_dict() == {5: "films/b.mp4"}
    assert found.index.tolist() == [4, 5, 6, 7]
    assert present(tmp_path, paths.iloc[:1]).isna().all()


def test_context_is_what_was_said_before_in_the_same_dialogue() -> None:
    texts, dialogue = pd.Series(["a", "b", "x", "c", "y"]), pd.Series([1, 1, 2, 1, 2])
    assert lines_before(texts, dialogue, 1).fillna("-").tolist() == ["-", "a", "-", "b", "x"]
    assert lines_before(texts, dialogue, 2).fillna("-").tolist() == ["-", "a", "-", "a\nb", "x"]
    assert lines_before(texts, dialogue, 0).isna().all()
