"""BAH: lists of answers and of frames, in the release's and in the repository's folders."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.bah import Bah
from subtext.errors import ConfigError, DatasetNotFound, ManifestError

VIDEOS = {
    "train": [
        "Videos/82725/Visite_1/82725_Question_1_2024-11-19_15-12-23_Video.mp4,0,Well, when I wake up, I get up.",
        "Videos/82567/Visite_1/82567_Question_7_2024-10-02 15-46-17_Video.mp4,1,Yeah. No\u2028really.",
    ],
    "val": ["Videos/82579/Visite_1/82579_Question_2_2024-10-02_Video-DESKTOP-NQ55E0P.mp4,1,I enjoy it."],
    "test": ["Videos/82711/Visite_1/82711_Question_3_2024-11-18_Video.mp4,,"],
}
FIRST = "Videos/82725/Visite_1/82725_Question_1_2024-11-19_15-12-23_Video.mp4"
BLANK = "Videos/82567/Visite_1/82567_Question_7_2024-10-02 15-46-17_Video.mp4"
FRAMES = {
    "train": [f"{FIRST}/frame-0.jpg,0", f"{BLANK}/frame-0.jpg,0", f"{BLANK}/frame-1.jpg,1", f"{BLANK}/frame-2.jpg,1"],
    "val": [f"{VIDEOS['val'][0].split(',')[0]}/frame-0.jpg,1"],
    "test": [f"{VIDEOS['test'][0].split(',')[0]}/frame-0.jpg,0"],
}


def write(folder: Path, lists: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True)
    for split, lines in lists.items():
        (folder / f"{split}.txt").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")


@pytest.fixture(params=["split", "dataset-splits/video-level/BAH_DB/split-0", "folds/BAH_DB/split-0"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write(tmp_path / request.param, VIDEOS)
    # As a file the name has no blank.
    film = tmp_path / BLANK.replace(" ", "_")
    film.parent.mkdir(parents=True)
    film.touch()
    return tmp_path


def test_an_answer_is_a_row(folder: Path) -> None:
    table = Bah(data=folder).build().table.set_index("id")
    assert table["split"].tolist() == ["train", "train", "val", "test"]
    assert table["speaker"].tolist() == ["82725", "82567", "82579", "82711"]
    assert table["question"].tolist() == [1, 7, 2, 3]
    assert [None if pd.isna(v) else bool(v) for v in table["ambivalence"]] == [False, True, True, None]
    assert table["incongruent"].equals(table["ambivalence"])
    assert table.loc[FIRST, "transcript"] == "Well, when I wake up, I get up."
    assert table.loc[BLANK, "transcript"] == "Yeah. No\u2028really."
    assert table["video"].dropna().to_dict() == {BLANK: BLANK.replace(" ", "_")}
    assert table.loc[FIRST, "session"] == "82725/Visite_1"
    assert "frames" not in table


@pytest.mark.parametrize("place", ["split-frames", "dataset-splits/frame-level/BAH_DB/split-0"])
def test_answers_know_how_much_of_them_is_ambivalent(folder: Path, place: str) -> None:
    write(folder / place, FRAMES)
    table = Bah(data=folder).build().table.set_index("id")
    assert table[["frames", "frames_with_ambivalence"]].to_numpy().tolist() == [[1, 0], [3, 2], [1, 1], [1, 0]]


def test_a_frame_is_a_row(tmp_path: Path) -> None:
    write(tmp_path / "split-frames", FRAMES)
    with pytest.raises(DatasetNotFound, match=r"none of the 6 pictures .*cropped-aligned-faces"):
        Bah(data=tmp_path, level="frame").build()
    picture = f"cropped-aligned-faces/{BLANK.replace(' ', '_')}/frame-1.jpg"
    (tmp_path / picture).parent.mkdir(parents=True)
    (tmp_path / picture).touch()
    table = Bah(data=tmp_path, level="frame").build().table.set_index("id")
    assert len(table) == 6
    assert table["image"].dropna().to_dict() == {f"{BLANK}/frame-1.jpg": picture}
    row = table.loc[f"{BLANK}/frame-1.jpg"]
    assert row[["speaker", "answer", "frame", "split", "question"]].tolist() == ["82567", BLANK, 1, "train", 7]
    assert table["ambivalence"].astype(bool).tolist() == [False, False, True, True, True, False]
    assert table["incongruent"].equals(table["ambivalence"])


@pytest.mark.parametrize("line", ["Videos/1/V/x.mp4,2,words", "the end of words", "Videos/1/x.mp4,1,words"])
def test_a_line_of_another_form_is_named_but_not_quoted(folder: Path, line: str) -> None:
    for path in folder.rglob("val.txt"):
        path.write_text(f"{VIDEOS['val'][0]}\n\n{line}\n")
    with pytest.raises(
        ManifestError, match=r"val.txt: line 3 is not Videos/ID/Visite_1/NAME.mp4,LABEL,WORDS"
    ) as caught:
        Bah(data=folder).build()
    assert "words" not in str(caught.value)


def test_missing_lists_and_unknown_levels(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("test.txt"):
        path.unlink()
    with pytest.raises(DatasetNotFound, match=r"no test\.txt"):
        Bah(data=folder).build()
    with pytest.raises(DatasetNotFound, match=r"no train.txt.*split-frames.*sbelharbi/bah-dataset.*paths.data"):
        Bah(data=folder, level="frame").build()
    with pytest.raises(ConfigError, match=r"^Bah: level is 'second'; write video or frame"):
        Bah(data=tmp_path, level="second")  # type: ignore[arg-type]


def test_the_card_says_that_the_layout_was_not_all_read() -> None:
    assert not Bah.description.verified
    assert "not read at the source" in Bah.description.layout
