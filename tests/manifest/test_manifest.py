"""The manifest's checks: what is refused, in one line that helps, and what must pass unchanged."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subtext.errors import ManifestError
from subtext.manifest import Manifest, build_manifest, check_splits, read_written_manifest, write_manifest
from subtext.manifest.checks import REJECT_COLUMNS
from subtext.manifest.table import write_rejects

# Any text but lone surrogates, which no file format holds, and NUL, which ends C strings.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def build(root: Path, groups: tuple[str, ...] = ("speaker",), allow_links: bool = False, **columns: Any) -> Manifest:
    rows = max((len(value) for value in columns.values()), default=1)
    table = pd.DataFrame({"id": [f"r{i}" for i in range(rows)], "transcript": ["words"] * rows} | columns)
    return build_manifest(table, root=root, name="mine", groups=groups, allow_links=allow_links)


def refusal(root: Path, **columns: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        build(root, **columns)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_smallest_manifest_gets_every_column(tmp_path: Path) -> None:
    table = build(tmp_path).table
    for column in ("session", "speaker", "video", "image", "audio", "features", "start", "end", "split", "engagement"):
        assert table[column].isna().all()
    assert table["corpus"].tolist() == ["mine"]
    assert table["incongruent"].dtype == "boolean"
    assert table["verbal_polarity"].dtype == "Int64"


def test_polarities_come_from_emotions_and_labels_from_polarities(tmp_path: Path) -> None:
    table = build(
        tmp_path,
        verbal_emotion=["Sadness", "joy", "surprise", None],
        visual_emotion=["happy", "neutral", "anger", "fear"],
        verbal_polarity=[None, -1, None, None],
        vocal_polarity=[1, 1, 1, None],
    ).table
    # A polarity that is given stands above the emotion; surprise has none.
    assert table["verbal_polarity"].tolist() == [-1, -1, pd.NA, pd.NA]
    assert table["visual_polarity"].tolist() == [1, 0, -1, -1]
    assert table["incongruent"].tolist() == [True, True, pd.NA, pd.NA]
    assert table["vocal_incongruent"].tolist() == [True, True, pd.NA, pd.NA]
    assert table["incongruence_type"].tolist() == ["masking", "minimizing", pd.NA, pd.NA]
    assert table["contradiction"].tolist() == [True, False, pd.NA, pd.NA]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=6, unique=True), TEXT, TEXT)
def test_text_passes_verbatim(tmp_path: Path, ids: list[str], transcript: str, speaker: str) -> None:
    table = pd.DataFrame({"id": ids, "transcript": transcript, "speaker": speaker, "audio": "a.wav"}, dtype=object)
    out = build_manifest(table, root=tmp_path, name="mine").table
    assert out["id"].tolist() == ids
    for column, value in (("transcript", transcript), ("speaker", speaker)):
        assert out[column].tolist() == [value if value else pd.NA] * len(ids)


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "007", "1e5", "True", " ", "\U0001f600", "שלום"])
def test_words_that_look_like_something_else_stay_text(tmp_path: Path, word: str) -> None:
    table = build(tmp_path, id=[word], transcript=[word], speaker=[word]).table
    assert table[["id", "transcript", "speaker"]].iloc[0].tolist() == [word] * 3


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    # With an empty cell beside it pandas reads 7 as 7.0.
    table = build(tmp_path, id=[7, 8, 9], speaker=[7.0, None, 8.0], session=pd.Categorical(["a", None, "b"])).table
    assert table["id"].tolist() == ["7", "8", "9"]
    assert table["speaker"].tolist() == ["7", pd.NA, "8"]
    assert table["session"].tolist() == ["a", pd.NA, "b"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a", "b", "a", "b"]}, ["rows 1, 3", "4 rows share ids"]),
        ({"id": ["a", None]}, ["row 2", "no id"]),
        ({"id": ["a", ""]}, ["row 2", "no id"]),
        ({"split": ["train", "dev"]}, ["row 2", "'split'", "train, val, test"]),
        ({"incongruence_type": ["maskin"]}, ["'incongruence_type'", "masking"]),
        ({"verbal_emotion": ["joy", "excited"]}, ["row 2", "'verbal_emotion'", "happiness"]),
        ({"visual_polarity": [0, 2]}, ["row 2", "'visual_polarity'", "-1, 0, 1"]),
        ({"visual_polarity": [0.5]}, ["'visual_polarity'", "-1, 0, 1"]),
        ({"vocal_polarity": ["positive"]}, ["'vocal_polarity'", "-1, 0, 1"]),
        ({"incongruent": ["maybe"]}, ["'incongruent'", "true"]),
        ({"incongruent": [0.5]}, ["'incongruent'", "true"]),
        ({"start": ["one"]}, ["'start'", "number"]),
        ({"start": [float("inf")]}, ["'start'", "number"]),
        ({"end": ["nan"]}, ["'end'", "number"]),
        ({"start": [-1]}, ["'start'", "negative"]),
        ({"start": [5], "end": [4]}, ["'end'", "ends before it starts"]),
        ({"end": [-4]}, ["'end'", "ends before it starts"]),
        ({"start": pd.to_datetime(["2024-01-01"])}, ["'start'", "number"]),
        ({"fold": [0, -1]}, ["row 2", "'fold'", "0, 1, 2"]),
        ({"fold": ["0.5"]}, ["'fold'", "0, 1, 2"]),
        ({"fold": ["first"]}, ["'fold'", "0, 1, 2"]),
        ({"fold": ["inf"]}, ["'fold'", "0, 1, 2"]),
        ({"engagement": ["high"]}, ["'engagement'", "number"]),
        ({"transcript": [["a", "b"]]}, ["row 1", "'transcript'", "list"]),
        ({"transcript": [b"a"]}, ["'transcript'", "bytes"]),
        ({"transcript": pd.Series(["\ud800"], dtype=object)}, ["'transcript'", "UTF-8"]),
        ({"transcript": [None]}, ["no row has a stream"]),
        ({"transcript": ["", ""]}, ["no row has a stream"]),
        ({"id": ["line\nbreak"], "start": [-1]}, ["row 1", "negative"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_bad_cells_are_refused_with_their_place(tmp_path: Path, columns: dict[str, Any], words: list[str]) -> None:
    message = refusal(tmp_path, **columns)
    for word in words:
        assert word in message, message


def test_refused_tables_name_what_is_missing(tmp_path: Path) -> None:
    for table, word in (
        (pd.DataFrame({"id": []}), "no rows"),
        (pd.DataFrame({"transcript": ["a"]}), "column 'id'"),
        (pd.DataFrame([["a", "b", "c"]], columns=["id", "transcript", "transcript"]), "header cells 2, 3 "),
    ):
        with pytest.raises(ManifestError, match=word):
            build_manifest(table, root=tmp_path, name="mine")
    with pytest.raises(ManifestError, match="group column 'dialog'"):
        build(tmp_path, groups=("dialog",))


@pytest.mark.parametrize("spelling", [["1", "0", ""], [True, False, None], ["TRUE", "false ", None], [1.0, 0.0, None]])
def test_binary_labels_in_every_spelling(tmp_path: Path, spelling: list[object]) -> None:
    assert build(tmp_path, incongruent=spelling).table["incongruent"].tolist() == [True, False, pd.NA]


def test_numbers_as_text_are_read_and_empty_ones_missing(tmp_path: Path) -> None:
    table = build(tmp_path, start=[" 1.5 ", "", None], end=["2", " ", "3e0"]).table
    assert table["start"].tolist()[0] == 1.5
    assert table["start"].isna().tolist() == [False, True, True]
    assert table["end"].isna().tolist() == [False, True, False]


def test_folds_are_whole_numbers_where_the_source_has_them(tmp_path: Path) -> None:
    folds = build(tmp_path, fold=["2", "", None, "0.0"]).table["fold"]
    assert folds.dtype == "Int64"
    assert folds.tolist() == [2, pd.NA, pd.NA, 0]
    assert build(tmp_path, fold=[1, 0]).table["fold"].dtype == "Int64"
    assert "fold" not in build(tmp_path).table


def test_type_names_may_be_written_as_words(tmp_path: Path) -> None:
    assert build(tmp_path, incongruence_type=["Flat positivity"]).table["incongruence_type"].tolist() == [
        "flat_positivity"
    ]


def test_unknown_columns_are_carried_through(tmp_path: Path) -> None:
    table = build(tmp_path, age=[31, 40], note=["x", None], soft=[[0.1, 0.9], [0.5, 0.5]], mixed=[1, "a"])
    out = read_written_manifest(write_manifest(table, tmp_path / "m.parquet")).table
    assert out["age"].tolist() == [31, 40]
    assert out["note"].isna().tolist() == [False, True]
    assert np.asarray(out["soft"].tolist()).tolist() == [[0.1, 0.9], [0.5, 0.5]]
    assert out["mixed"].tolist() == ["1", "a"]


def test_callers_table_stays_as_it_was(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [1], "transcript": ["a"], "incongruent": ["1"]}, index=[9])
    before = table.copy(deep=True)
    build_manifest(table, root=tmp_path, name="mine")
    pd.testing.assert_frame_equal(table, before)


def test_times_may_be_clock_times(tmp_path: Path) -> None:
    table = build(tmp_path, start=["0:06", "00:16:16,059", "7.5", ""], end=["1:02:03", " 16:17.5 ", "1e1", None]).table
    assert table["start"].tolist()[:3] == [6.0, 976.059, 7.5]
    assert table["end"].tolist()[:3] == [3723.0, 977.5, 10.0]
    assert table[["start", "end"]].iloc[3].isna().all()
    for cell in ("0:06:", "6s", "-0:06", "1:2:3:4", "1,5"):
        assert "seconds or hh:mm:ss.fff" in refusal(tmp_path, start=[cell])


def test_misspelt_labels_are_guessed(tmp_path: Path) -> None:
    assert "did you mean 'happiness'?" in refusal(tmp_path, verbal_emotion=["Happyness"])
    assert "did you mean 'masking'?" in refusal(tmp_path, incongruence_type=["maskin"])
    assert "did you mean 'train'?" in refusal(tmp_path, split=["Train"])
    assert "did you mean" not in refusal(tmp_path, split=["xyz"])


# Rows that cannot be used


BAD: dict[str, Any] = {
    "id": ["a", None, "c", "d", "c", "f", "g"],
    "split": ["train", "train", "dev", "", "train", "train", "train"],
    "start": ["0", "0", "-1", "0", "0", "0", "0"],
    "end": ["1", "2", "2", "0:01", "3", "-5", "2"],
    "verbal_polarity": [1, 1, 1, 1, 1, 1, 3],
    "incongruent": ["1", "0", "1", "1", "1", "1", "may"],
    "video": [None, None, None, None, None, None, "../x.mp4"],
    "fold": [0, 0, -3, None, 0, 0, 0],
}


def skipping(root: Path, **options: Any) -> Manifest:
    table = pd.DataFrame(BAD).assign(transcript="words")
    return build_manifest(table, root=root, name="mine", on_error="skip", **options)


def test_skipped_rows_are_left_out_and_each_bad_cell_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = skipping(tmp_path)
    assert manifest.table["id"].tolist() == ["a", "d"]
    assert manifest.table.index.tolist() == [0, 1]
    assert manifest.table["end"].tolist() == [1.0, 1.0]
    assert list(manifest.rejects.columns) == list(REJECT_COLUMNS)
    listed = manifest.rejects[["row", "id", "column", "value"]].fillna("-")
    assert set(listed.itertuples(index=False, name=None)) == {
        (2, "-", "id", "-"),
        (3, "c", "split", "dev"),
        (3, "c", "start", "-1"),
        (3, "c", "fold", "-3.0"),
        (5, "c", "id", "c"),
        (6, "f", "end", "-5"),
        (7, "g", "verbal_polarity", "3"),
        (7, "g", "incongruent", "may"),
        (7, "g", "video", "../x.mp4"),
    }
    assert manifest.rejects["row"].is_monotonic_increasing
    assert manifest.rejects[["reason", "remedy"]].notna().all(axis=None)
    assert "5 of 7 rows are left out, the first: row 2" in caplog.text


def test_good_tables_have_no_rejects(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a"], "transcript": ["x"], "verbal_polarity": ["1"]})
    skipped = build_manifest(table, root=tmp_path, name="mine", on_error="skip")
    pd.testing.assert_frame_equal(skipped.table, build_manifest(table, root=tmp_path, name="mine").table)
    assert skipped.rejects.empty
    (tmp_path / "r.csv").write_text("of an earlier call")
    assert write_rejects(skipped, tmp_path / "r.csv") is None
    assert not (tmp_path / "r.csv").exists()


def test_rows_keep_the_numbers_of_their_source(tmp_path: Path) -> None:
    earlier = pd.DataFrame([[1, pd.NA, pd.NA, pd.NA, "torn", "mend it"]], columns=list(REJECT_COLUMNS))
    manifest = skipping(tmp_path, row_numbers=range(2, 9), rejects=earlier)
    assert manifest.rejects["row"].drop_duplicates().tolist() == [1, 3, 4, 6, 7, 8]
    with pytest.raises(ManifestError, match="row 9 has no id"):
        build_manifest(pd.DataFrame({"id": [None], "audio": ["a"]}), root=tmp_path, name="mine", row_numbers=[9])


def test_a_table_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "transcript": "x", "split": "dev"})
    with pytest.raises(ManifestError, match=r"none of the 2 rows can be used; the first: row 1, column 'split'"):
        build_manifest(table, root=tmp_path, name="mine", on_error="skip")
    with pytest.raises(ManifestError, match="on_error is 'ignore'; use stop or skip"):
        build_manifest(table, root=tmp_path, name="mine", on_error="ignore")  # type: ignore[arg-type]


def test_rejects_are_written_without_formulas(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "=1+1"], "transcript": "x", "split": ["", "=cmd|x"]})
    manifest = build_manifest(table, root=tmp_path, name="mine", on_error="skip")
    path = write_rejects(manifest, tmp_path / "r.csv")
    assert path is not None
    assert ",'=1+1,split,'=cmd|x," in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("column", ["transcript", "context", "speaker", "session"])
def test_what_was_said_and_by_whom_is_in_no_message(
    tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "audio": "x.wav", column: [["CANARY"], "CANARY too"]})
    with pytest.raises(ManifestError) as caught:
        build_manifest(table, root=tmp_path, name="mine")
    assert f"row 1, column '{column}'" in str(caught.value)
    rejects = build_manifest(table, root=tmp_path, name="mine", on_error="skip").rejects
    assert rejects[["row", "column"]].to_numpy().tolist() == [[1, column]]
    assert "CANARY" not in str(caught.value) + caplog.text + rejects.to_csv()


# Paths


@pytest.mark.parametrize("n_files", [1, 30])
def test_missing_media_are_found_where_asked_for(tmp_path: Path, n_files: int) -> None:
    (tmp_path / "day").mkdir()
    for number in range(n_files):
        (tmp_path / "day" / f"{number}.wav").touch()
    (tmp_path / "day" / "folder.wav").mkdir()
    (tmp_path / "day" / "dangling.wav").symlink_to(tmp_path / "day" / "none")
    (tmp_path / "day" / "linked.wav").symlink_to(tmp_path / "day" / "0.wav")
    bad = ["day/folder.wav", "day/dangling.wav", "day/none.wav", "none/0.wav", "day/0.wav/x", "y" * 5000]
    good = [f"day/{number}.wav" for number in range(n_files)] + ["day/linked.wav", "./day/0.wav"]
    table = pd.DataFrame({"audio": good + bad})
    table["id"] = table["audio"]
    manifest = build_manifest(table, root=tmp_path, name="mine", on_error="skip", check_media=True)
    assert manifest.table["id"].tolist() == good
    assert manifest.rejects["row"].tolist() == list(range(len(good) + 1, len(table) + 1))
    with pytest.raises(
        ManifestError, match=rf"row {len(good) + 1}, column 'audio': there is no such file.*check_media=false"
    ):
        build_manifest(table, root=tmp_path, name="mine", check_media=True)
    assert len(build_manifest(table, root=tmp_path, name="mine")) == len(table)


def test_links_among_many_files_are_seen(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "out.wav").touch()
    names = [f"{number}.wav" for number in range(20)]
    for name in names[1:]:
        (root / name).touch()
    (root / "0.wav").symlink_to(tmp_path / "out.wav")
    message = refusal(root, audio=names)
    assert "row 1, column 'audio'" in message
    assert "through a link" in message
    assert len(build(root, allow_links=True, audio=names)) == 20


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x.mp4", "a/../../x.mp4", "a/..", "..", "..\\x.mp4", "C:\\x.mp4", "\\\\host\\x.mp4", "a\0b"],
)
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str) -> None:
    assert "leaves the manifest's root" in refusal(tmp_path, video=[path])
    manifest = build(tmp_path, allow_links=True)
    with pytest.raises(ManifestError, match="leaves the manifest's root"):
        manifest.path(path)


@pytest.mark.skipif(os.sep == "\\", reason="a backslash separates folders here")
def test_a_backslash_in_the_name_of_a_file_that_is_there_is_a_character(tmp_path: Path) -> None:
    for name in ("\\a.mp4", "..\\b.mp4", "C:\\c.mp4"):
        (tmp_path / name).touch()
        assert build(tmp_path, video=[name]).path(name) == tmp_path.resolve() / name


@pytest.mark.parametrize("path", ["a.mp4", "a/b c/ü,'(1)=.mp4", "..a/b..c/...mp4", "./a.mp4", "~x.mp4", "a" * 5000])
def test_ordinary_paths_pass(tmp_path: Path, path: str) -> None:
    manifest = build(tmp_path, video=[path])
    assert manifest.path(manifest.table["video"].iloc[0]) == tmp_path.resolve() / path


def test_links_out_of_the_root_need_leave(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.wav").write_bytes(b"x")
    (root / "real" / "x.wav").write_bytes(b"x")
    (root / "file.wav").symlink_to(outside / "x.wav")
    (root / "folder").symlink_to(outside)
    (root / "within.wav").symlink_to(root / "real" / "x.wav")
    (root / "loop").symlink_to(root / "loop")
    for path in ("file.wav", "folder/x.wav", "folder/missing.wav"):
        assert "through a link" in refusal(root, audio=[path])
        manifest = build(root, allow_links=True, audio=[path])
        assert manifest.path(path) == root.resolve() / path
        with pytest.raises(ManifestError, match="allow_links"):
            Manifest(manifest.table, root, "mine").path(path)
    build(root, audio=["within.wav", "real/x.wav", "loop", "missing/x.wav"])


def test_root_may_itself_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    manifest = build(tmp_path / "link", audio=["a.wav"])
    assert manifest.path("a.wav") == (tmp_path / "real" / "a.wav").resolve()


# Splits


def test_unit_in_two_splits_is_refused(tmp_path: Path) -> None:
    manifest = build(tmp_path, speaker=["A", "B", "A", None, None], split=["train", "val", "test", "train", "test"])
    with pytest.raises(
        ManifestError, match=r"one speaker is in the splits train, test, in rows 1, 3 \(1 such values\)"
    ):
        check_splits(manifest)
    check_splits(manifest, [])
    check_splits(manifest.with_table(manifest.table.assign(split=pd.NA)))
    with pytest.raises(ManifestError, match="'speakr'"):
        check_splits(manifest, ["speakr"])


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["train", "val", "test"])), min_size=1, max_size=8))
def test_split_check_agrees_with_the_definition(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["speaker", "split"]).assign(id="r")
    leak = any(len({split for speaker, split in rows if speaker == value}) > 1 for value in "ABC")
    manifest = Manifest(table, Path(), "mine")
    if leak:
        with pytest.raises(ManifestError):
            check_splits(manifest)
    else:
        check_splits(manifest)


# Files


def test_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    manifest = build(
        root,
        groups=("speaker", "dialogue"),
        speaker=["NA", None],
        dialogue=[1, 2],
        verbal_polarity=[1, None],
        visual_polarity=[-1, None],
    )
    inside = read_written_manifest(write_manifest(manifest, root / "manifest.parquet"))
    elsewhere = read_written_manifest(write_manifest(manifest, tmp_path / "run" / "manifest.parquet"), root)
    for again in (inside, elsewhere):
        pd.testing.assert_frame_equal(again.table, manifest.table)
        assert again.root == root.resolve()
        assert (again.name, again.groups, again.allow_links) == ("mine", ("speaker", "dialogue"), False)
    assert sorted(os.listdir(root)) == ["manifest.json", "manifest.parquet"], "leftovers"
    # A corpus that was moved as a whole is found again.
    root.rename(tmp_path / "moved")
    assert read_written_manifest(tmp_path / "moved" / "manifest.parquet").root == (tmp_path / "moved").resolve()


def test_missing_or_damaged_manifests_are_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    with pytest.raises(ManifestError, match="is missing"):
        read_written_manifest(path)
    write_manifest(build(tmp_path), path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PAR1 not really PAR1"):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match="build the corpus again"):
            read_written_manifest(path)
    path.write_bytes(whole)
    for text in ("", "[]", "{}", "{"):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(ManifestError, match="build the corpus again"):
            read_written_manifest(path)


@pytest.mark.slow
def test_a_million_rows_are_checked(tmp_path: Path) -> None:
    rows = 1_000_000
    rng = np.random.default_rng(0)
    speaker = rng.integers(0, 5000, rows)
    number = pd.Series(np.arange(rows).astype(str))
    table = pd.DataFrame(
        {
            "id": "r" + number,
            "speaker": pd.Series(speaker).astype(str),
            "video": "day" + (number.str[-3:]) + "/" + number + ".mp4",
            "start": rng.random(rows),
            "end": 2 + rng.random(rows),
            "transcript": "some words",
            "verbal_emotion": rng.choice(["joy", "sad", "neutral", "surprise"], rows),
            "visual_polarity": rng.choice(["-1", "0", "1", ""], rows),
            "split": np.where(speaker < 3000, "train", "test"),
        }
    )
    manifest = build_manifest(table, root=tmp_path, name="mine")
    check_splits(manifest)
    assert len(manifest) == rows
    assert manifest.table["verbal_polarity"].isna().mean() == pytest.approx(0.25, abs=0.01)
