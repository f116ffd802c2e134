"""MUStARD++: targets with their context, two nearly equal labels, official slips and spellings."""

import re
from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.meld import Meld
from subtext.corpora.mustard import Mustard
from subtext.corpora.mustard_plus_plus import Label, MustardPlusPlus
from subtext.errors import ConfigError, DatasetNotFound, ManifestError
from subtext.manifest import check_splits

HEADER = (
    "SCENE,KEY,SENTENCE,END_TIME,SPEAKER,SHOW,Sarcasm,Sarcasm_Type,Implicit_Emotion,Explicit_Emotion,Valence,Arousal"
)


def scenes() -> list[str]:
    """A series to test on, one to train on with speakers enough to spare; every second target is sarcastic."""
    lines = []
    for number in range(60):
        show, speaker = ("FRIENDS", "ANNA") if number < 20 else ("BBT", f"BEN{number % 6}")
        scene = f"1_{number}"
        lines.append(f'{scene},{scene}_c_00,"Hm, é?\nReally?",0:2,PERSON,{show},,,,,,')
        lines.append(f"{scene},{scene}_c_01,No.,0:02.300000,{speaker},{show},,,,,,")
        coded = "1,PRO,Ridicule,Happiness,3,8" if number % 2 else "0,NONE,Neutral,Neutral,5,5"
        lines.append(f"{scene},{scene}_u,- Fine.,0:06,{speaker},{show},{coded}")
    return lines


def write(folder: Path, lines: list[str], encoding: str = "utf-8", end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mustard++_text.csv").write_bytes((end.join([HEADER, *lines]) + end).encode(encoding))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, scenes())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_targets_carry_their_context(tmp_path: Path, encoding: str, end: str) -> None:
    table = MustardPlusPlus(data=write(tmp_path, scenes(), encoding, end)).build().table.set_index("id")
    assert len(table) == 60
    row = table.loc["1_21_u"]
    assert row["context"].replace("\r\n", "\n") == "Hm, é?\nReally?\nNo."
    assert row[["transcript", "context_speakers", "speaker", "session", "show", "sarcasm_type"]].tolist() == [
        "- Fine.",
        "PERSON (BBT)\nBEN3",
        "BEN3",
        "1_21",
        "BBT",
        "propositional",
    ]
    assert row[["implicit_emotion", "explicit_emotion", "valence", "arousal", "clip_end"]].tolist() == [
        "ridicule",
        "happiness",
        3,
        8,
        6,
    ]
    assert table[["verbal_polarity", "visual_polarity", "start", "end"]].isna().all(axis=None)
    assert pd.isna(table.loc["1_20_u", "sarcasm_type"])


def test_either_label_can_be_chosen(tmp_path: Path) -> None:
    lines = scenes()
    # Sarcastic with one emotion, not sarcastic with two, and one whose explicit emotion nobody gave.
    lines[3 * 21 + 2] = lines[3 * 21 + 2].replace("Ridicule", "Happiness")
    lines[3 * 22 + 2] = lines[3 * 22 + 2].replace("Neutral,Neutral", "Sadness,Neutral")
    lines[3 * 23 + 2] = lines[3 * 23 + 2].replace("Happiness", "")
    folder = write(tmp_path, lines)
    ids = ["1_21_u", "1_22_u", "1_23_u", "1_24_u", "1_25_u"]
    expected: dict[Label, list[object]] = {
        "implicit_explicit": [False, True, None, False, True],
        "sarcasm": [True, False, True, False, True],
    }
    for label, values in expected.items():
        table = MustardPlusPlus(data=folder, label=label).build().table.set_index("id")
        assert [None if pd.isna(v) else bool(v) for v in table.loc[ids, "incongruent"]] == values
    with pytest.raises(ConfigError, match=r"^MustardPlusPlus: label is 'irony'; write implicit_explicit or sarcasm"):
        MustardPlusPlus(data=folder, label="irony")  # type: ignore[arg-type]


def test_splits_share_no_speaker_and_test_is_friends(folder: Path) -> None:
    manifest = MustardPlusPlus(data=folder).build()
    table = manifest.table
    check_splits(manifest, ["speaker"])
    assert set(table.loc[table["split"] == "test", "show"]) == {"FRIENDS"}
    assert set(table["split"]) == {"train", "val", "test"}


def test_a_target_with_a_foreign_key_gets_its_scenes(tmp_path: Path) -> None:
    lines = scenes()
    lines[3 * 30 + 2] = lines[3 * 30 + 2].replace("1_30_u", "Disgust")
    corpus = MustardPlusPlus(data=write(tmp_path, lines))
    manifest = corpus.build()
    assert manifest.table.loc[manifest.table["key_repaired"], "id"].tolist() == ["1_30_u"]
    repaired = next(section for section in corpus.card_sections(manifest) if section.title == "Repaired")
    assert repaired.text.startswith("1 target row")


def test_films_are_found(folder: Path) -> None:
    for name in ("final_utterance_videos/1_21_u.mp4", "final_context_videos/1_21_c.mp4"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    table = MustardPlusPlus(data=folder).build().table
    assert table[["id", "video", "context_video"]].dropna().to_numpy().tolist() == [
        ["1_21_u", "final_utterance_videos/1_21_u.mp4", "final_context_videos/1_21_c.mp4"]
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,PRO,Ridicule", "2,PRO,Ridicule", r"row 6, column 'Sarcasm': the cell"),
        ("1,PRO,Ridicule", "1,PRO,Glee", r"row 6, column 'Implicit_Emotion': the cell.*excitement"),
        ("Happiness,3,8", "Happiness,3,10", r"row 6, column 'Arousal': the cell.*from 1 to 9"),
        (",0:06,", ",now,", r"row 3, column 'END_TIME': the cell.*write a time such as hh:mm:ss or leave it empty"),
        ("1_1_c_00", "1_0_c_00", r"the same KEY in rows 1, 4"),
    ],
)
def test_a_wrong_cell_is_named(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "mustard++_text.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        MustardPlusPlus(data=folder).build()


def test_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"no mustard\+\+_text.csv.*cfiltnlp/MUStARD_Plus_Plus.*paths.data"):
        MustardPlusPlus(data=tmp_path).build()


def test_the_real_utterances(shared_data: Path) -> None:
    corpus = MustardPlusPlus(data=shared_data / "mustard_plus_plus")
    manifest = corpus.build()
    table = manifest.table
    assert len(table) == 1202
    assert int(table["sarcasm"].sum()) == 601
    assert table["id"].str.endswith("_u").all()
    assert table.loc[table["key_repaired"], "id"].tolist() == ["1_S11E03_067_u"]
    assert table[["context", "valence", "arousal", "clip_end"]].notna().all(axis=None)
    assert (table["split"] == "test").sum() == (table["show"] == "FRIENDS").sum() == 354
    check_splits(manifest, ["speaker"])
    near = corpus.card_sections(manifest)[0].table
    assert near is not None
    assert near["implicit differs from explicit"].tolist() == [595, 32]
    assert near["n"].tolist() == [601, 601]


def test_what_the_cards_say_of_shared_utterances(shared_data: Path) -> None:
    older = Mustard(data=shared_data / "mustard").build().table.set_index("id")
    newer = MustardPlusPlus(data=shared_data / "mustard_plus_plus").build().table.set_index("session")
    both = older.index.intersection(newer.index)
    assert len(both) == 688
    assert (older.loc[both, "incongruent"] == newer.loc[both, "sarcasm"]).all()
    friends = older.loc[older["show"] == "FRIENDS", "transcript"]
    said = {plain(text) for text in Meld(data=shared_data / "meld").build().table["transcript"]}
    assert friends.map(plain).isin(said).sum() == 215


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()
