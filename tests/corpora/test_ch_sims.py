"""CH-SIMS: a score for each channel, and what of them counts as incongruent."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.ch_sims import ChSims
from subtext.errors import ConfigError, DatasetNotFound, ManifestError

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
LINES = [
    "video_0001,0001,我不想嫁给李茶,-1.0,-1.0,-0.8,-1.0,Negative,train",
    'video_0001,0002,"好,\n谢谢",0.2,0.8,0.2,-0.6,Positive,train',
    "video_0001,0004,嗯,0.0,0.0,0.0,0.6,Neutral,valid",
    "video_0002,0001,真好,0.6,0.6,-0.2,0.2,Positive,test",
    "video_0002,0002,是吗,0.0,0.2,0.0,,Neutral,test",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "label.csv").write_text("\n".join([HEADER, *LINES]) + "\n", encoding="utf-8-sig")
    (tmp_path / "Raw" / "video_0001").mkdir(parents=True)
    (tmp_path / "Raw" / "video_0001" / "0004.mp4").touch()
    return tmp_path


def rows(corpus: ChSims) -> pd.DataFrame:
    return corpus.build().table.set_index("id")


def known(values: pd.Series) -> list[object]:
    return [None if pd.isna(value) else value for value in values]


def test_scores_become_polarities_by_channel(folder: Path) -> None:
    table = rows(ChSims(data=folder))
    assert table.index.tolist() == [
        "video_0001-0001",
        "video_0001-0002",
        "video_0001-0004",
        "video_0002-0001",
        "video_0002-0002",
    ]
    assert known(table["verbal_polarity"]) == [-1, 1, 0, 1, 1]
    assert known(table["vocal_polarity"]) == [-1, 1, 0, -1, 0]
    assert known(table["visual_polarity"]) == [-1, -1, 1, 1, None]
    assert table["split"].tolist() == ["train", "train", "val", "test", "test"]
    assert table["score"].tolist() == [-1.0, 0.2, 0.0, 0.6, 0.0]
    assert table.loc["video_0001-0002", "transcript"] == "好,\n谢谢"
    assert table["video"].dropna().to_dict() == {"video_0001-0004": "Raw/video_0001/0004.mp4"}
    assert table["source"].tolist() == ["video_0001"] * 3 + ["video_0002"] * 2


def test_the_neutral_band_is_a_setting(folder: Path) -> None:
    table = rows(ChSims(data=folder, neutral_band=0.2))
    assert known(table["verbal_polarity"]) == [-1, 1, 0, 1, 0]
    assert known(table["vocal_polarity"]) == [-1, 0, 0, 0, 0]


def test_sign_follows_the_rule(folder: Path) -> None:
    table = rows(ChSims(data=folder))
    assert known(table["incongruent"]) == [False, True, False, False, None]
    assert known(table["vocal_incongruent"]) == [False, False, False, True, True]
    warm = rows(ChSims(data=folder, count_unvoiced_warmth=True))
    assert known(warm["incongruent"]) == [False, True, True, False, None]


def test_distance_counts_from_the_threshold_on(folder: Path) -> None:
    table = rows(ChSims(data=folder, rule="distance", distance=0.4))
    assert known(table["incongruent"]) == [False, True, True, True, None]
    # 0.6 and -0.2 are 0.8 apart, though not in binary fractions.
    apart = rows(ChSims(data=folder, rule="distance", distance=0.8))
    assert known(apart["vocal_incongruent"]) == [False, False, False, True, False]


def test_settings_that_make_no_sense_are_refused(folder: Path) -> None:
    for setting, message in (
        ({"rule": "angle"}, "rule is 'angle'; write sign or distance"),
        ({"distance": 0}, "distance is 0; write a number above 0 to 2"),
        ({"neutral_band": 1}, "neutral_band is 1; write a number .*below 1"),
    ):
        with pytest.raises(ConfigError, match=f"^ChSims: {message}"):
            ChSims(data=folder, **setting)


def test_numbers_that_a_spreadsheet_shortened_are_understood(folder: Path) -> None:
    path = folder / "label.csv"
    path.write_text(path.read_text(encoding="utf-8-sig").replace(",0004,", ",4,"), encoding="utf-8")
    table = rows(ChSims(data=folder))
    assert table["video"].dropna().to_dict() == {"video_0001-0004": "Raw/video_0001/0004.mp4"}


def test_the_card_counts_what_each_rule_says(folder: Path) -> None:
    corpus = ChSims(data=folder)
    counted = corpus.card_sections(corpus.build())[0].table
    assert counted is not None
    visual, vocal = counted.to_dict("records")
    assert visual["clips"] == 4
    assert visual["polarities differ"] == 0.5
    assert visual["opposite signs"] == 0.25
    assert (vocal["0.4 apart or more"], vocal["0.8 apart or more"]) == (0.4, 0.2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.6,Positive", "1.4,Positive", r"row 2, column 'label_V': the cell.*from -1 to 1"),
        ("Neutral,valid", "Neutral,dev", r"row 3, column 'mode': the cell.*train, valid, test"),
        ("video_0002,0002", "video_0002,0001", r"the same video_id and clip_id in rows 4, 5"),
    ],
)
def test_a_wrong_cell_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "label.csv"
    path.write_text(path.read_text(encoding="utf-8-sig").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        ChSims(data=folder).build()


def test_missing_labels_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"no label.csv.*thuiar/MMSA.*paths.data"):
        ChSims(data=tmp_path).build()
