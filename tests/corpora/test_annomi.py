"""AnnoMI: annotators' rows of an utterance brought together, ties left open."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.annomi import CODES, AnnoMI
from subtext.errors import DatasetNotFound, ManifestError

HEADER = (
    "mi_quality,transcript_id,video_title,video_url,topic,utterance_id,interlocutor,timestamp,utterance_text,"
    "annotator_id,therapist_input_exists,therapist_input_subtype,reflection_exists,reflection_subtype,"
    "question_exists,question_subtype,main_therapist_behaviour,client_talk_type"
)


def row(transcript: int, turn: int, who: str, text: str, annotator: int, codes: str, time: str = "00:01:05") -> str:
    told = f"high,{transcript},A title,https://example.org/{transcript % 2},smoking,{turn},{who},{time}"
    return f'{told},"{text}",{annotator},{codes}'


ASKED = "False,n/a,False,n/a,True,open,question,n/a"
REFLECTED = "False,n/a,True,complex,False,n/a,reflection,n/a"
SIMPLE = "False,n/a,True,simple,True,open,reflection,n/a"
LINES = [
    row(10, 0, "therapist", "How are you,\nreally?", 3, ASKED, "00:00:02"),
    row(10, 1, "client", "- Fine.", 3, "n/a,n/a,n/a,n/a,n/a,n/a,n/a,change"),
    row(2, 0, "therapist", "You are fine.", 1, REFLECTED),
    row(2, 0, "therapist", "You are fine.", 2, ASKED),
    row(2, 0, "therapist", "You are fine.", 4, SIMPLE),
    row(2, 0, "therapist", "You are fine.", 5, ASKED),
    row(2, 1, "therapist", "Hm.", 1, "False,n/a,False,n/a,False,n/a,other,n/a", "01:02:03"),
    row(2, 2, "client", "Well.", 1, "n/a,n/a,n/a,n/a,n/a,n/a,n/a,sustain"),
    row(2, 2, "client", "Well.", 2, "n/a,n/a,n/a,n/a,n/a,n/a,n/a,neutral"),
    row(2, 2, "client", "Well.", 3, "n/a,n/a,n/a,n/a,n/a,n/a,n/a,sustain"),
    row(2, 3, "client", "I may.", 1, "n/a,n/a,n/a,n/a,n/a,n/a,n/a,change"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "AnnoMI-full.csv").write_text("\n".join([HEADER, *LINES]) + "\n", encoding="utf-8")
    return tmp_path


def test_an_utterance_is_a_row(folder: Path) -> None:
    table = AnnoMI(data=folder).build().table.set_index("id")
    assert table.index.tolist() == ["2-0", "2-1", "2-2", "2-3", "10-0", "10-1"]
    first = table.loc["10-0"]
    assert first[["session", "role", "transcript", "mi_quality", "topic", "source", "timestamp", "votes"]].tolist() == [
        "10",
        "counsellor",
        "How are you,\nreally?",
        "high",
        "smoking",
        "https://example.org/0",
        2.0,
        1,
    ]
    assert table.loc["2-1", "timestamp"] == 3723
    assert table["role"].tolist() == ["counsellor", "counsellor", "client", "client", "counsellor", "client"]
    assert table[["start", "end", "split", "incongruent", "verbal_polarity"]].isna().all(axis=None)


def test_the_majority_decides_and_a_tie_is_missing(folder: Path) -> None:
    table = AnnoMI(data=folder).build().table.set_index("id")
    assert table.loc["2-2", "client_talk_type"] == "sustain"
    tie = table.loc["2-0"]
    assert tie["votes"] == 4
    assert pd.isna(tie["main_therapist_behaviour"])
    assert tie[["main_therapist_behaviour_votes_reflection", "main_therapist_behaviour_votes_question"]].tolist() == [
        2,
        2,
    ]
    assert pd.isna(tie["reflection_exists"])
    assert bool(tie["question_exists"])
    assert tie["question_subtype"] == "open"
    assert tie[["reflection_subtype_votes_simple", "reflection_subtype_votes_complex"]].tolist() == [1, 1]
    assert not tie["therapist_input_exists"]
    assert table.loc["10-0", "main_therapist_behaviour"] == "question"
    assert pd.isna(table.loc["10-1", "main_therapist_behaviour"])
    assert pd.isna(table.loc["10-0", "client_talk_type"])


def test_an_act_that_most_did_not_see_has_no_kind(tmp_path: Path) -> None:
    lines = [
        row(1, 0, "therapist", "So.", annotator, codes) for annotator, codes in enumerate([REFLECTED, ASKED, ASKED])
    ]
    (tmp_path / "AnnoMI-full.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    only = AnnoMI(data=tmp_path).build().table.iloc[0]
    assert not only["reflection_exists"]
    assert pd.isna(only["reflection_subtype"])
    assert only["reflection_subtype_votes_complex"] == 1


def test_context_is_what_the_other_said_last(folder: Path) -> None:
    table = AnnoMI(data=folder).build().table.set_index("id")
    assert table.loc[["2-2", "2-3", "10-1"], "context"].tolist() == ["Hm.", "Hm.", "How are you,\nreally?"]
    assert table.loc[["2-0", "2-1", "10-0"], "context"].isna().all()
    lines = AnnoMI(data=folder, context_turns=2).build().table.set_index("id")
    assert lines.loc["2-2", "context"] == "You are fine.\nHm."


def test_a_time_that_is_none_is_left_out_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "AnnoMI-full.csv"
    path.write_text(path.read_text().replace("01:02:03", "00:09:025"))
    with caplog.at_level(logging.WARNING):
        table = AnnoMI(data=folder).build().table.set_index("id")
    assert pd.isna(table.loc["2-1", "timestamp"])
    assert "row 7; write hh:mm:ss" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ASKED, ASKED.replace("open", "rhetorical"), r"row 1, column 'question_subtype': the cell"),
        (",client,0", ",patient,0", r"row 2, column 'interlocutor': the cell.*client, therapist"),
        ("high,10", "middling,10", r"row 1, column 'mi_quality': the cell"),
        (
            'fine.",2,',
            'fine!",2,',
            r"row 4, column 'utterance_text': not what row 3 says of the same utterance",
        ),
        ('fine.",2,', 'fine.",1,', r"the same transcript_id and utterance_id and annotator_id in rows 3, 4"),
        ("smoking,1,client", "smoking,one,client", r"row 2, column 'utterance_id': the cell"),
    ],
)
def test_a_wrong_cell_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "AnnoMI-full.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ManifestError, match=message) as caught:
        AnnoMI(data=folder).build()
    assert "You are fine" not in str(caught.value)


def test_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"no AnnoMI-full.csv.*uccollab/AnnoMI.*paths.data"):
        AnnoMI(data=tmp_path).build()


def test_the_card_counts_agreement_and_lengths(folder: Path) -> None:
    corpus = AnnoMI(data=folder)
    codes, agreement, sessions = (section.table for section in corpus.card_sections(corpus.build()))
    assert codes is not None
    assert agreement is not None
    assert sessions is not None
    assert set(codes["code"]) <= set(CODES)
    by_code = agreement.set_index("code")
    assert by_code.loc["client_talk_type", ["utterances with several codes", "all alike", "ties"]].tolist() == [1, 0, 0]
    assert by_code.loc["main_therapist_behaviour", "ties"] == 1
    assert sessions[["quality", "sessions"]].to_numpy().tolist() == [["high", 2]]


def test_the_real_dialogues(shared_data: Path) -> None:
    table = AnnoMI(data=shared_data / "annomi").build().table
    assert len(table) == 9699
    assert table["session"].nunique() == 133
    assert table.groupby("session")["mi_quality"].first().value_counts().to_dict() == {"high": 110, "low": 23}
    assert table["votes"].value_counts().to_dict() == {1: 9271, 10: 428}
    assert table["source"].nunique() == 119
    assert table["timestamp"].isna().sum() == 1
    assert table.groupby("role")["client_talk_type"].count()["counsellor"] == 0
    counted = table[[column for column in table if str(column).startswith("client_talk_type_votes_")]].to_numpy().sum()
    assert counted == 6725, "as many as the file has rows of clients"
    client = table[table["role"] == "client"]
    assert client["context"].notna().mean() > 0.97
