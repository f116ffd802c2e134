"""Rater files in their forms, and what is said of those that cannot be used."""

import pandas as pd
import pytest

from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.rater_files import read_rater_files
from subtext.annotation.ratings import coverage
from subtext.errors import AnnotationError


def write(tmp_path, text, name="ratings.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def cells(ratings):
    table = ratings.table[["session", "turn", "rater", "label", "value"]].astype(object)
    return [tuple(row) for row in table.where(table.notna(), None).to_numpy()]


LONG = "session,turn,rater,label,value\n"


def test_long_and_wide_forms_say_the_same(tmp_path):
    long = (
        LONG
        + "s1,1,ann,incongruent,yes\ns1,1,ann,visual_emotion,Fear\ns1,2,ann,incongruent,0\ns1,2,ann,visual_emotion,\n"
    )
    wide = "session,turn,rater,Incongruent,Visual emotion,comment\ns1,1,ann,1,fear,=1+1\ns1,2,ann,false,,\n"
    read = [read_rater_files([write(tmp_path, text)], read_codebook()) for text in (long, wide)]
    assert cells(read[0]) == [
        ("s1", "1", "ann", "incongruent", "1"),
        ("s1", "1", "ann", "visual_emotion", "fear"),
        ("s1", "2", "ann", "incongruent", "0"),
        ("s1", "2", "ann", "visual_emotion", None),
    ]
    assert cells(read[0]) == cells(read[1])


def test_a_file_without_raters_is_one_raters_and_parquet_numbers_are_names(tmp_path):
    path = tmp_path / "cara.parquet"
    pd.DataFrame({"turn": [1.0, 2.0], "engagement": [3.0, None]}).to_parquet(path)
    assert cells(read_rater_files([path], read_codebook(), session="s9")) == [
        ("s9", "1", "cara", "engagement", "3"),
        ("s9", "2", "cara", "engagement", None),
    ]


def test_raters_who_know_only_times_and_sessions_named_otherwise(tmp_path):
    path = write(tmp_path, "tape,start,end,rater,label,value\na,0:06,7.5,ann,incongruent,1\n")
    table = read_rater_files([path], read_codebook(), columns={"session": "tape"}).table
    assert table.loc[0, ["session", "turn", "start", "end"]].to_list() == ["a", "6.000", 6.0, 7.5]


def test_a_judgement_of_the_session_is_one_though_every_row_repeats_it(tmp_path):
    path = write(tmp_path, "session,turn,rater,incongruent,engagement_client\ns1,1,a,1,\ns1,2,a,0,3\ns1,3,a,0,3\n")
    rows = cells(read_rater_files([path], read_codebook()))
    assert [row for row in rows if row[3] == "engagement_client"] == [("s1", None, "a", "engagement_client", "3")]


def test_skipped_and_unratable_items_are_counted(tmp_path):
    text = LONG + "s,1,a,incongruent,1\ns,1,b,incongruent,\ns,2,a,incongruent,cannot tell\ns,2,b,incongruent,0\n"
    text += "other,1,a,incongruent,1\n"
    counts = coverage(read_rater_files([write(tmp_path, text)], read_codebook()).table, read_codebook())
    assert counts.to_dict("records") == [
        {"rater": "a", "label": "incongruent", "units": 3, "rated": 2, "unratable": 1, "skipped": 0},
        {"rater": "b", "label": "incongruent", "units": 2, "rated": 1, "unratable": 0, "skipped": 1},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LONG + "s,1,a,incongruant,1\n",
            "row 1, column 'label': unknown label; did you mean 'incongruent'",
        ),
        (
            LONG + "s,1,a,incongruent,1\ns,2,a,incongruent,maybe\n",
            "row 2, column 'value': .* unknown value; use",
        ),
        (LONG + "s,1,,incongruent,1\n", "row 1, column 'rater': empty; say who rated"),
        (LONG + "s,,a,incongruent,1\n", "row 1, column 'turn': empty, and so is start"),
        (
            LONG + "s,1,a,incongruent,1\ns,1,a,incongruent,1\n",
            "row 1, column 'value': this rater judges .* more than once",
        ),
        (LONG + ",1,a,engagement_client,1\n", "row 1, column 'session': empty"),
        ("session,turn,rater,engagement_client\ns,1,a,3\ns,2,a,4\n", "more than once"),
        ("session,start,rater,label,value\ns,0:0x,a,incongruent,1\n", "row 1, column 'start': no time"),
        ("session,rater,label,value\ns,a,incongruent,1\n", "no column 'turn' or 'start'"),
        (
            "session,turn,rater,verbl_emotion\ns,1,a,fear\n",
            "header cell 4: unknown label; did you mean 'verbal_emotion'",
        ),
        ("session,turn,rater,label\ns,1,a,incongruent\n", "no column 'value'"),
        ("session,turn,rater,mood\ns,1,a,incongruent\n", "none of its 4 columns holds a label"),
    ],
)
def test_faults_are_named_with_row_column_value_and_remedy(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=message):
        read_rater_files([write(tmp_path, text)], read_codebook())


def test_rows_without_the_right_cells_are_skipped_and_others_keep_their_numbers(tmp_path):
    path = write(tmp_path, LONG + "s,1,a,incongruent,1\ns,2,a\ns,3,a,incongruent,maybe\n")
    found = read_rater_files([path], read_codebook(), on_error="skip")
    assert cells(found) == [("s", "1", "a", "incongruent", "1")]
    assert found.rejects[["row", "column", "value"]].to_numpy().tolist() == [[2, "", ""], [3, "value", "maybe"]]
    lines = ['{"session": "s", "turn": 1, "rater": "a", "incongruent": true}', "{bad", '{"turn": 3, "start": "x"}']
    path = write(tmp_path, "\n".join(lines), "a.jsonl")
    found = read_rater_files([path], read_codebook(), on_error="skip")
    assert cells(found) == [("s", "1", "a", "incongruent", "1")]
    assert found.rejects["row"].tolist() == [2, 3]


def test_the_first_problem_in_the_file_is_told_with_its_place(tmp_path):
    text = "session,start,end,rater,incongruent\ns,6,5,a,1\ns,x,5,a,1\ns,-1,5,a,1\n"
    path = write(tmp_path, text)
    with pytest.raises(AnnotationError, match=r"row 1, column 'end': 5 s is before the start, 6 s; exchange"):
        read_rater_files([path], read_codebook())
    with_one = write(tmp_path, text + "s,1,5,a,1\n", "b.csv")
    rejects = read_rater_files([with_one], read_codebook(), on_error="skip").rejects
    assert rejects[["row", "column", "value"]].to_numpy().tolist() == [
        [1, "end", "5.0"],
        [2, "start", "x"],
        [3, "start", "-1.0"],
    ]


def test_skipping_leaves_out_and_lists_what_cannot_be_used(tmp_path):
    text = (
        LONG
        + "s,1,a,incongruent,1\ns,2,a,incongruent,maybe\ns,3,,incongruent,1\ns,4,a,incongruent,0\ns,4,a,incongruent,1\n"
    )
    path = write(tmp_path, text)
    found = read_rater_files([path], read_codebook(), on_error="skip")
    assert cells(found) == [("s", "1", "a", "incongruent", "1")]
    assert found.rejects[["file", "row", "column", "value"]].to_numpy().tolist() == [
        [str(path), 2, "value", "maybe"],
        [str(path), 3, "rater", ""],
        [str(path), 4, "value", "0"],
        [str(path), 5, "value", "1"],
    ]
