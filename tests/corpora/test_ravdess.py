"""RAVDESS as a corpus: takes with sound, with films, and what each then carries."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.ravdess import Ravdess
from subtext.errors import ConfigError, DatasetNotFound


def put(folder: Path, *names: str) -> None:
    for name in names:
        place = folder / f"Actor_{name[18:20]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


@pytest.fixture
def takes(tmp_path: Path) -> pd.DataFrame:
    """One take with everything, one without film, one with a silent film and sound, one with a silent film only."""
    put(tmp_path, "01-01-05-02-01-01-01.mp4", "02-01-05-02-01-01-01.mp4", "03-01-05-02-01-01-01.wav")
    put(tmp_path, "03-01-03-01-02-02-02.flac", "03-01-03-01-02-02-02.wav")
    put(tmp_path, "02-01-04-01-01-01-03.mp4", "03-01-04-01-01-01-03.wav")
    put(tmp_path, "02-01-08-01-01-01-04.mp4")
    # Singing, and what is no take at all.
    put(tmp_path, "03-02-05-02-01-01-01.wav", "03-01-05-02-01-01-01.mp4", "01-01-06-01-01-01-01.wav")
    put(tmp_path, "03-01-09-01-01-01-01.wav")
    return Ravdess(data=tmp_path).build().table.set_index("id")


def test_a_take_has_its_film_else_its_sound(takes: pd.DataFrame) -> None:
    streams = takes[["video", "audio"]].fillna("-").agg(list, axis=1).to_dict()
    assert streams == {
        "05-02-01-01-01": ["Actor_01/01-01-05-02-01-01-01.mp4", "-"],
        "03-01-02-02-02": ["-", "Actor_02/03-01-03-01-02-02-02.flac"],
        "04-01-01-01-03": ["Actor_03/02-01-04-01-01-01-03.mp4", "Actor_03/03-01-04-01-01-01-03.wav"],
        "08-01-01-01-04": ["Actor_04/02-01-08-01-01-01-04.mp4", "-"],
    }


def test_emotion_is_of_the_channels_that_are_there(takes: pd.DataFrame) -> None:
    shown = takes[["visual_emotion", "vocal_emotion"]].fillna("-").agg(list, axis=1).to_dict()
    assert shown == {
        "05-02-01-01-01": ["angry", "angry"],
        "03-01-02-02-02": ["-", "happy"],
        "04-01-01-01-03": ["sad", "sad"],
        "08-01-01-01-04": ["surprised", "-"],
    }
    assert takes.loc["05-02-01-01-01", "visual_polarity"] == takes.loc["05-02-01-01-01", "vocal_polarity"] == -1
    assert pd.isna(takes.loc["08-01-01-01-04", "visual_polarity"])
    row = takes.loc["03-01-02-02-02"]
    assert row[["transcript", "intensity", "statement", "repetition", "gender", "speaker"]].tolist() == [
        "Dogs are sitting by the door",
        "normal",
        2,
        2,
        "woman",
        "actor-02",
    ]


def test_words_are_neutral_only_on_request(takes: pd.DataFrame, tmp_path: Path) -> None:
    assert takes["verbal_polarity"].isna().all()
    assert takes["vocal_incongruent"].isna().all()
    table = Ravdess(data=tmp_path, neutral_words=True).build().table.set_index("id")
    assert (table["verbal_polarity"] == 0).all()
    assert table.loc["05-02-01-01-01", "incongruence_type"] == "leakage"
    assert bool(table.loc["05-02-01-01-01", "vocal_incongruent"])


def test_an_empty_folder_says_where_to_get_it(tmp_path: Path) -> None:
    put(tmp_path, "03-02-05-02-01-01-01.wav")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DatasetNotFound, match=r"expected Actor_01/03-01.*zenodo.org/records/1188976.*paths.data"):
            Ravdess(data=folder).build()


def test_a_text_is_no_answer_to_neutral_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Ravdess: neutral_words is 'no'; write true or false"):
        Ravdess(data=tmp_path, neutral_words="no")  # type: ignore[arg-type]


def test_the_real_recordings(shared_data: Path) -> None:
    manifest = Ravdess(data=shared_data / "ravdess").build()
    table = manifest.table
    assert len(table) == 1440
    assert table["speaker"].nunique() == 24
    assert table["audio"].map(lambda path: manifest.path(path).is_file()).all()
    assert table["vocal_emotion"].value_counts().to_dict() == {"neutral": 96} | dict.fromkeys(
        ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), 192
    )
    assert table.groupby("speaker")["split"].nunique().max() == table.groupby("speaker")["fold"].nunique().max() == 1
    assert table.groupby("split")["speaker"].nunique().to_dict() == {"train": 16, "val": 4, "test": 4}
    assert table.groupby("fold")["speaker"].nunique().tolist() == [3] * 8
    women = table[table["gender"] == "woman"].groupby("split")["speaker"].nunique()
    assert women.to_dict() == {"train": 8, "val": 2, "test": 2}
