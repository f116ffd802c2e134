"""MUStARD: sarcasm as a proxy, the five official folds, the speaker-independent split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from subtext.corpora.mustard import Mustard
from subtext.errors import ConfigError, DatasetNotFound, ManifestError
from subtext.manifest import check_splits
from subtext.manifest.splits import fold_as_test

SPEAKERS = {"FRIENDS": ("ANNA", "PERSON"), "BBT": ("BEN", "CLEO", "DEE", "EMIL", "PERSON"), "GOLDENGIRLS": ("FAY",)}


def write(folder: Path) -> Path:
    """Forty utterances a series; in one of them everybody is sarcastic. Five folds, the tail a fold longer."""
    items: dict[str, dict[str, Any]] = {}
    for show, speakers in SPEAKERS.items():
        for number in range(40):
            items[f"{1 + (show == 'FRIENDS')}_{show[:2]}{number}"] = {
                "utterance": f"- Well, {number} “times”.",
                "speaker": speakers[number % len(speakers)],
                "context": ["What?", f"No, {number}."],
                "context_speakers": ["ZOE", "YAN"],
                "show": show,
                "sarcasm": show == "GOLDENGIRLS" or number % 3 == 0,
            }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sarcasm_data.json").write_text(json.dumps(items, indent=1), encoding="utf-8")
    folds = [
        {"train": [row for row in range(120) if row % 5 != fold], "test": list(range(fold, 120, 5))}
        for fold in range(5)
    ]
    (folder / "speaker_dependent_folds.json").write_text(json.dumps(folds))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mustard")


def test_an_item_becomes_a_row(folder: Path) -> None:
    table = Mustard(data=folder).build().table.set_index("id")
    row = table.loc["1_BB3"]
    assert row[["transcript", "speaker", "show", "context", "context_speakers"]].tolist() == [
        "- Well, 3 “times”.",
        "EMIL",
        "BBT",
        "What?\nNo, 3.",
        "ZOE\nYAN",
    ]
    assert bool(row["incongruent"])
    assert not table.loc["1_BB4", "incongruent"]
    assert table[["verbal_polarity", "visual_polarity", "start", "video"]].isna().all(axis=None)


def test_whoever_has_no_name_is_not_one_person_in_two_series(folder: Path) -> None:
    table = Mustard(data=folder).build().table
    assert {"PERSON (FRIENDS)", "PERSON (BBT)"} <= set(table["speaker"])
    assert "PERSON" not in set(table["speaker"])


def test_films_are_found_where_the_archive_has_them(folder: Path) -> None:
    for name in ("utterances_final/2_FR0.mp4", "context_final/2_FR0_c.mp4", "utterances_final/2_FR0_c.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    table = Mustard(data=folder).build().table
    assert table[["id", "video", "context_video"]].dropna().to_numpy().tolist() == [
        ["2_FR0", "utterances_final/2_FR0.mp4", "context_final/2_FR0_c.mp4"]
    ]
    assert table["video"].notna().sum() == 1


def test_friends_is_the_test_split_and_validation_shares_no_speaker(folder: Path) -> None:
    manifest = Mustard(data=folder).build()
    table = manifest.table
    assert set(table.loc[table["split"] == "test", "show"]) == {"FRIENDS"}
    assert not (table.loc[table["split"] != "test", "show"] == "FRIENDS").any()
    check_splits(manifest, ["speaker"])
    validation = table[table["split"] == "val"]
    assert set(validation["show"]) == {"BBT"}, "a series that is all sarcastic must not choose the model"
    assert validation["incongruent"].nunique() == 2
    assert "fold" not in table
    pd.testing.assert_frame_equal(Mustard(data=folder).build().table, table)


def test_official_folds_are_a_column_and_one_of_them_tests(folder: Path) -> None:
    manifest = Mustard(data=folder, folds="official", test_fold=3).build()
    table = manifest.table
    assert table["fold"].tolist() == [row % 5 for row in range(120)]
    assert set(table.loc[table["split"] == "test", "fold"]) == {3}
    assert (table.loc[table["fold"] == 3, "split"] == "test").all()
    assert (table["split"] == "val").sum() == pytest.approx(96 / 5, abs=2)
    round_ = fold_as_test(manifest, 1, 5).table
    assert set(round_.loc[round_["split"] == "test", "fold"]) == {1}
    with pytest.raises(ManifestError, match="in the splits train, val, test"):
        check_splits(manifest, ["speaker"])
    with pytest.raises(ConfigError, match=r"test_fold is 5; use 0 to 4"):
        Mustard(data=folder, folds="official", test_fold=5).build()
    with pytest.raises(ConfigError, match=r"^Mustard: folds is 'five'; write speaker_independent or official"):
        Mustard(data=folder, folds="five")  # type: ignore[arg-type]


def change(folder: Path, name: str, edit: Callable[[Any], object]) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    edit(content)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda items: items["1_BB3"].pop("speaker"), "item 44, 'speaker': NoneType, not text"),
        (lambda items: items["1_BB3"].update(sarcasm="yes"), "item 44, 'sarcasm': str, not true or false"),
        (lambda items: items["1_BB3"].update(context=["a", 2]), "'context': list, not a list of texts"),
        (lambda items: items["1_BB3"].update(context=["a"]), "has 1 utterances of context and 2 context_speakers"),
        (lambda items: items.update({"1_BB3": "x"}), "item 44 is a str, not an object"),
        (lambda items: items.clear(), "expected one object with an entry an utterance"),
    ],
)
def test_a_wrong_item_is_named(folder: Path, edit: Callable[[Any], object], message: str) -> None:
    change(folder, "sarcasm_data.json", edit)
    with pytest.raises(ManifestError, match=message):
        Mustard(data=folder).build()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda folds: folds[2]["test"].append(0), r"fold 2, test, entry 25: it is in another fold too"),
        (lambda folds: folds[2]["test"].append(120), r"fold 2, test, entry 25: .* no place among the 120"),
        (lambda folds: folds[2]["train"].pop(), r"fold 2: train and test together are not each of the 120"),
        (lambda folds: folds.pop(), r"24 of 120 utterances are in no test part"),
        (lambda folds: folds[0].pop("test"), r"expected a list of folds, each with train and test"),
    ],
)
def test_wrong_folds_are_refused(folder: Path, edit: Callable[[Any], object], message: str) -> None:
    change(folder, "speaker_dependent_folds.json", edit)
    with pytest.raises(ManifestError, match=message):
        Mustard(data=folder, folds="official").build()


def test_damaged_and_repeated_json_is_refused(folder: Path) -> None:
    path = folder / "sarcasm_data.json"
    whole = path.read_text()
    path.write_text("\ufeff" + whole.replace("\n", "\r\n"), encoding="utf-8")
    assert len(Mustard(data=folder).build()) == 120
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match=r"not readable as JSON at line \d+, column \d+"):
        Mustard(data=folder).build()
    path.write_text(whole.replace('"1_BB4"', '"1_BB3"'))
    with pytest.raises(ManifestError, match="key 45 of 120 in one object stands there twice"):
        Mustard(data=folder).build()


def test_missing_files_say_where_to_get_them(folder: Path) -> None:
    (folder / "speaker_dependent_folds.json").unlink()
    assert len(Mustard(data=folder).build()) == 120, "the other split does not need them"
    with pytest.raises(DatasetNotFound, match=r"split_indices.p.*folds=speaker_independent"):
        Mustard(data=folder, folds="official").build()
    (folder / "sarcasm_data.json").unlink()
    with pytest.raises(DatasetNotFound, match=r"no sarcasm_data.json.*soujanyaporia/MUStARD.*paths.data"):
        Mustard(data=folder).build()


def test_the_real_utterances_speaker_independent(shared_data: Path) -> None:
    manifest = Mustard(data=shared_data / "mustard").build()
    table = manifest.table
    assert len(table) == 690
    assert int(table["incongruent"].sum()) == 345
    assert (table["split"] == "test").sum() == (table["show"] == "FRIENDS").sum() == 356
    check_splits(manifest, ["speaker"])
    validation = table.loc[table["split"] == "val", "incongruent"]
    assert 30 <= len(validation) <= 100
    assert 0.3 <= validation.mean() <= 0.7
    series = table.groupby("show")["incongruent"].agg(["sum", "size"])
    # What the card says of the series.
    assert series.loc["GOLDENGIRLS"].tolist() == [39, 40]
    assert series.loc["SARCASMOHOLICS"].tolist() == [14, 14]


def test_who_speaks_predicts_the_official_folds(shared_data: Path) -> None:
    table = Mustard(data=shared_data / "mustard", folds="official").build().table
    assert table.groupby("fold").size().tolist() == [138] * 5
    right = 0
    for fold in range(5):
        training, test = table[table["fold"] != fold], table[table["fold"] == fold]
        majority = training.groupby("speaker")["incongruent"].mean() > 0.5
        guessed = test["speaker"].map(majority).astype("boolean").fillna(False)
        right += int((guessed == test["incongruent"]).sum())
    assert right / 690 == pytest.approx(0.69, abs=0.01)
