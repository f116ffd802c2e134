"""MELD as a corpus: official splits, sentiment as the words' polarity, films where they are."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.meld import Meld
from subtext.errors import ConfigError, DatasetNotFound, ManifestError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
ROWS = [
    '1,"Oh, it’s ""great""\nreally",Anna,joy,positive,0,0,8,21,"00:16:16,059","00:16:21,731"',
    '2,NA,Ben,neutral,neutral,0,1,8,21,"0:16:21,940","0:16:23,442"',
    '3,- No!,Anna,Anger,Negative,0,2,8,21,"00:16:23,442","00:16:26,389"',
    '4,Hello.,Cleo,surprise,negative,1,0,3,2,"00:00:01,5","00:00:02,0"',
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}_sent_emo.csv").write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return tmp_path


def test_utterances_carry_what_is_theirs(folder: Path) -> None:
    table = Meld(data=folder).build().table.set_index("id")
    assert len(table) == 12
    first, second, third = (table.loc[f"val-0-{number}"] for number in range(3))
    assert first[["transcript", "speaker", "split", "dialogue", "show"]].tolist() == [
        'Oh, it’s "great"\nreally',
        "Anna",
        "val",
        "val-0",
        "Friends",
    ]
    assert table.loc[["val-0-0", "val-0-1", "val-0-2", "val-1-0"], "verbal_polarity"].tolist() == [1, 0, -1, -1]
    assert third["emotion"] == "anger"
    assert second["transcript"] == "NA"
    assert first[["season", "episode", "episode_start", "episode_end"]].tolist() == [8, 21, 976.059, 981.731]
    assert second["episode_start"] == pytest.approx(981.94)
    # Times are of the episode; of the clip itself nothing is known.
    assert table[["start", "end", "verbal_emotion", "incongruent", "visual_polarity"]].isna().all(axis=None)


def test_context_is_the_same_dialogues_and_names_nobody(folder: Path) -> None:
    table = Meld(data=folder).build().table.set_index("id")
    assert table.loc[["test-0-1", "test-0-2"], "context"].tolist() == ['Oh, it’s "great"\nreally', "NA"]
    assert table.loc[["test-0-0", "test-1-0"], "context"].isna().all()
    two = Meld(data=folder, context_turns=2).build().table.set_index("id")
    assert two.loc["test-0-2", "context"] == 'Oh, it’s "great"\nreally\nNA'
    assert not table["context"].str.contains("Anna|Ben").any()
    assert Meld(data=folder, context_turns=0).build().table["context"].isna().all()
    with pytest.raises(ConfigError, match="context_turns"):
        Meld(data=folder, context_turns=-1)


def test_films_are_found_in_the_official_folders(folder: Path) -> None:
    for place in ("train_splits", "dev_splits_complete", "test/output_repeated_splits_test"):
        (folder / place).mkdir(parents=True)
        (folder / place / "dia0_utt1.mp4").touch()
    table = Meld(data=folder).build().table.set_index("id")
    assert table["video"].dropna().to_dict() == {
        "train-0-1": "train_splits/dia0_utt1.mp4",
        "val-0-1": "dev_splits_complete/dia0_utt1.mp4",
        "test-0-1": "test/output_repeated_splits_test/dia0_utt1.mp4",
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("positive", "glad", r"dev_sent_emo.csv: row 1, column 'Sentiment': the cell.*negative, neutral, positive"),
        (",joy,", ",bored,", r"row 1, column 'Emotion': the cell"),
        (
            '"0:16:21,940"',
            "soon",
            r"row 2, column 'StartTime': the cell.*write a time such as hh:mm:ss or leave it empty",
        ),
        ("neutral,0,1,", "neutral,0,0,", r"the same Dialogue_ID and Utterance_ID in rows 1, 2"),
        ("neutral,0,1,", "neutral,0,one,", r"row 2, column 'Utterance_ID': the cell"),
        (",8,21,", ",8.5,21,", r"row 1, column 'Season': the cell.*write a whole number from 0 to 1000"),
    ],
)
def test_a_wrong_cell_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "dev_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        Meld(data=folder).build()


def test_missing_tables_say_where_to_get_them(folder: Path) -> None:
    (folder / "test_sent_emo.csv").unlink()
    with pytest.raises(DatasetNotFound, match=r"no test_sent_emo.csv.*declare-lab/MELD.*paths.data"):
        Meld(data=folder).build()
    (folder / "test_sent_emo.csv").write_text("Utterance,Speaker\nHello,Ben\n")
    with pytest.raises(DatasetNotFound, match="lacks the columns Emotion, Sentiment"):
        Meld(data=folder).build()


def test_the_real_utterances(shared_data: Path) -> None:
    table = Meld(data=shared_data / "meld").build().table
    assert table["split"].value_counts().to_dict() == {"train": 9989, "test": 2610, "val": 1109}
    # As the authors count them.
    test = table[table["split"] == "test"]
    assert test["emotion"].value_counts().to_dict() == {
        "neutral": 1256,
        "joy": 402,
        "anger": 345,
        "surprise": 281,
        "sadness": 208,
        "disgust": 68,
        "fear": 50,
    }
    assert table.groupby("split")["dialogue"].nunique().to_dict() == {"train": 1038, "val": 114, "test": 280}
    assert table["verbal_polarity"].notna().all()
    assert table.groupby("dialogue")["split"].nunique().max() == 1
    # What the card says of the leak.
    training = table[table["split"] == "train"]
    assert test["speaker"].isin(training["speaker"]).mean() == pytest.approx(0.96, abs=0.005)
    episode = pd.Series(list(zip(table["season"], table["episode"], strict=True)), index=table.index)
    assert episode[test.index].isin(set(episode[training.index])).mean() == pytest.approx(0.9996, abs=0.0001)
