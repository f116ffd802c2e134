"""A user's own table: every format, encoding and spelling, read verbatim or refused in one line."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from builders.commands import command_here
from subtext.corpora.files import ManifestCorpus
from subtext.errors import ConfigError, ManifestError
from subtext.manifest import Manifest, build_manifest, write_manifest
from subtext.manifest.read import read_table

REPOSITORY = Path(__file__).resolve().parents[2]
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


def corpus(folder: Path, content: str | bytes, ending: str = "csv", **options: Any) -> Manifest:
    path = folder / f"mine.{ending}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return ManifestCorpus(path=path, **options).build()


def refusal(folder: Path, content: str | bytes, ending: str = "csv", **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        corpus(folder, content, ending, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_csv_is_read_verbatim(tmp_path: Path) -> None:
    content = 'id,transcript,speaker,age\n007,NA,null,34\n1e5,"two\nlines, and ""quotes""",nan,\nx,,"",\n'
    table = corpus(tmp_path, content).table
    assert table["id"].tolist() == ["007", "1e5", "x"]
    assert table["transcript"].tolist() == ["NA", 'two\nlines, and "quotes"', pd.NA]
    assert table["speaker"].tolist() == ["null", "nan", pd.NA]
    assert table["age"].tolist()[0] == "34"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), ending=st.sampled_from(["\n", "\r\n"]))
def test_csv_that_python_writes_comes_back(tmp_path: Path, rows: list[tuple[str, str]], ending: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=ending)
    writer.writerow(["id", "transcript", "note"])
    writer.writerows([f"r{number}", *row] for number, row in enumerate(rows))
    path = tmp_path / "mine.csv"
    path.write_bytes(text.getvalue().encode())
    table = read_table(path)
    expected = [(transcript or None, note or None) for transcript, note in rows]
    got = [
        tuple(None if pd.isna(cell) else cell for cell in row)
        for row in table[["transcript", "note"]].itertuples(index=False, name=None)
    ]
    assert got == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), escaped=st.booleans())
def test_json_lines_come_back(tmp_path: Path, rows: list[tuple[str, str]], escaped: bool) -> None:
    lines = [
        json.dumps({"id": f"r{i}", "transcript": a, "note": b}, ensure_ascii=escaped) for i, (a, b) in enumerate(rows)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="")
    table = read_table(tmp_path / "mine.jsonl")
    assert list(table[["transcript", "note"]].itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_encodings_are_told_apart(tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    assert corpus(tmp_path, "id,transcript\r\n1,naïve שלום 😀\r\n".encode(encoding)).table["transcript"].tolist() == [
        "naïve שלום 😀"
    ]
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "words", "encoding"),
    [(b"caf\xe9 \x93yes\x94", "café “yes”", "cp1252"), (b"caf\xe9 \x81", "café \x81", "latin-1")],
)
def test_other_encodings_are_read_and_reported(
    tmp_path: Path, content: bytes, words: str, encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        table = corpus(tmp_path, b"id,transcript\n1," + content + b"\n").table
    assert table["transcript"].tolist() == [words]
    assert [f"read as {encoding}" in record.getMessage() for record in caplog.records] == [True]


def test_halves_of_characters_are_replaced_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = '{"id": "a", "transcript": "\\ud800 and \\ud83d\\ude00"}\n'
    with caplog.at_level(logging.WARNING):
        assert corpus(tmp_path, line, "jsonl").table["transcript"].tolist() == ["\ufffd and 😀"]
    assert "1 cells" in caplog.text


def test_json_keeps_types_and_missing_keys_are_missing(tmp_path: Path) -> None:
    lines = (
        '{"id": 7, "transcript": "a\u2028b", "start": 1.5}\n\n{"id": "007", "transcript": null, "incongruent": true}\n'
    )
    table = corpus(tmp_path, lines, "jsonl").table
    assert table["id"].tolist() == ["7", "007"]
    assert table["transcript"].tolist() == ["a\u2028b", pd.NA]
    assert table["start"].tolist()[0] == 1.5
    assert table["incongruent"].tolist() == [pd.NA, True]


def test_parquet_from_a_notebook(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [7, 8], "transcript": ["NA", None], "start": [0.5, None], "age": [31, 32]})
    frame.set_index("id").to_parquet(tmp_path / "mine.parquet")
    table = ManifestCorpus(path=tmp_path / "mine.parquet").build().table
    assert table["id"].tolist() == ["7", "8"]
    assert table["transcript"].tolist() == ["NA", pd.NA]
    assert table["age"].tolist() == [31, 32]


def test_written_manifest_is_read_with_its_description(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (root / "a.wav").symlink_to("/dev/null")
    frame = pd.DataFrame({"id": ["a"], "audio": ["a.wav"], "dialogue": ["d"]})
    manifest = build_manifest(frame, root=root, name="mine", groups=("dialogue",), allow_links=True)
    path = write_manifest(manifest, tmp_path / "manifest.parquet")
    # Leave to follow links is the reader's to give, not the file's.
    with pytest.raises(ManifestError, match="allow_links"):
        ManifestCorpus(path=path).build()
    again = ManifestCorpus(path=path, allow_links=True).build()
    assert (again.root.resolve(), again.groups) == (root.resolve(), ("dialogue",))
    pd.testing.assert_frame_equal(again.table, manifest.table)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ManifestError, match="repair or remove"):
        ManifestCorpus(path=path, allow_links=True).build()


def test_columns_are_renamed(tmp_path: Path) -> None:
    content = "Clip,Utterance,Who\n1,hello,A\n"
    columns = {"id": "Clip", "transcript": "Utterance", "speaker": "Who", "session": "Who", "role": None}
    table = corpus(tmp_path, content, columns=columns).table
    assert table[["id", "transcript", "speaker", "session"]].iloc[0].tolist() == ["1", "hello", "A", "A"]
    assert "Who" not in table
    message = refusal(tmp_path, content, columns={"id": "Clip", "transcript": "Uterance"})
    assert "'Uterance'" in message
    assert "did you mean that of header cell 2?" in message
    assert "Utterance" not in message
    hidden = refusal(tmp_path, "id,transcript,Utterance\n1,a,b\n", columns={"transcript": "Utterance"})
    assert "already" in hidden
    swapped = corpus(tmp_path, "transcript,id\n1,a\n", columns={"transcript": "id", "id": "transcript"}).table
    assert swapped[["id", "transcript"]].iloc[0].tolist() == ["1", "a"]


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        ("id;transcript\n1;a, b\n", "csv"),
        ("id\ttranscript\n1\ta, b\n", "tsv"),
        (' id , transcript ,,\n1,"a, b",,\n', "csv"),
        ('\n\nid,transcript\n\n1,"a, b"', "csv"),
        ('id,transcript\r1,"a, b"\r', "csv"),
    ],
)
def test_dialects_of_spreadsheets(tmp_path: Path, content: str, ending: str) -> None:
    table = corpus(tmp_path, content, ending).table
    assert table[["id", "transcript"]].to_numpy().tolist() == [["1", "a, b"]]


def test_long_cells_are_whole(tmp_path: Path) -> None:
    words = "word " * 600_000
    assert corpus(tmp_path, f'id,transcript\n1,"{words}"\n2,b\n').table["transcript"].tolist() == [words, "b"]


@pytest.mark.parametrize(
    ("content", "ending", "words"),
    [
        (b"", "csv", "empty"),
        (b" \n ", "jsonl", "empty"),
        (b"id,transcript\n", "csv", "no rows"),
        (b"id,transcript\n1,a,b\n", "csv", "row 1: 3 cells where 2 are expected"),
        (b"id,transcript\n1,a\n2\n", "csv", "row 2: 1 cells where 2"),
        (b'id,transcript\n1,a\n2,"b\n3,c\n', "csv", "line 3 is not closed"),
        (b"id,transcript,id\n1,a,b\n", "csv", "header cells 1 and 3 have the same name"),
        (b"\x89PNG\r\n\x00\x00", "csv", "not text"),
        (b"\xff\xfea", "csv", "not text"),
        (b"transcript\na\n", "csv", "no column 'id'"),
        (b"id,age\na,3\n", "csv", "no row has a stream"),
        (b'{"id": 1\n', "jsonl", "line 1: not JSON"),
        (b'{"id": 1}\n[1]\n', "jsonl", "line 2: a list"),
        (b"[" * 100_000, "jsonl", "line 1: not JSON"),
        (b'{"id": 1, "transcript": {"a": 1}}', "jsonl", "is a dict"),
        (b"PAR1", "parquet", "cannot be read as parquet"),
        (b"", "parquet", "cannot be read as parquet"),
        (b"PK", "xlsx", "use a .csv"),
    ],
)
def test_unreadable_tables_are_refused(tmp_path: Path, content: bytes, ending: str, words: str) -> None:
    assert words in refusal(tmp_path, content, ending)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_torn_rows_can_be_skipped(tmp_path: Path, ending: str) -> None:
    rows = {
        "csv": 'id,transcript,split\n\n1,a,\n2,CANARY\n3,"b\nb",dev\n4,c,train\n5\n',
        "jsonl": '{"id": 1, "transcript": "a"}\n\n["CANARY"]\n{"id": 3, "transcript": "b", "split": "dev"}\n'
        '{"id": 4, "transcript": "c"}\n{"id": CANARY\n',
    }
    manifest = corpus(tmp_path, rows[ending], ending, on_error="skip")
    assert manifest.table["id"].tolist() == ["1", "4"]
    assert manifest.rejects[["row", "column"]].fillna("-").to_numpy().tolist() == [[2, "-"], [5, "-"], [3, "split"]]
    assert "CANARY" not in manifest.rejects.to_csv()
    assert "CANARY" not in refusal(tmp_path, rows[ending], ending)


def test_labels_spelled_otherwise_are_translated(tmp_path: Path) -> None:
    content = "id,transcript,verbal_polarity,incongruent,Emo\n1,a,Neg ,yes,frohsinn\n2,b,1,no,joy\n3,c,,,\n"
    values = {
        "verbal_polarity": {"neg": -1, "pos": 1},
        "incongruent": {"yes": True, "no": False},
        "visual_emotion": {"Frohsinn": "joy"},
        "engagement": None,
    }
    table = corpus(tmp_path, content, columns={"visual_emotion": "Emo"}, values=values).table
    assert table["verbal_polarity"].tolist() == [-1, 1, pd.NA]
    assert table["incongruent"].tolist() == [True, False, pd.NA]
    assert table["visual_polarity"].tolist() == [1, 1, pd.NA]
    assert "corpus.values names the column 'role'" in refusal(tmp_path, content, values={"role": {"a": "b"}})
    unknown = refusal(tmp_path, content.replace("Neg ", "meh"), values={"verbal_polarity": {"neg": -1}})
    assert "row 1, column 'verbal_polarity'" in unknown


def test_unknown_ways_with_errors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_error is 'ignore'; use stop or skip"):
        ManifestCorpus(path=tmp_path / "mine.csv", on_error="ignore")  # type: ignore[arg-type]


def test_a_cell_of_ours_loses_its_apostrophe_only_where_ours_says_so(tmp_path: Path) -> None:
    content = "id,transcript\n1,'- No.\n2,'tis\n3,- No.\n"
    assert corpus(tmp_path, content).table["transcript"].tolist() == ["'- No.", "'tis", "- No."]
    for text, words in (('{"root": "elsewhere"}', "'- No."), ('{"escaped": "leading apostrophe"}', "- No.")):
        (tmp_path / "mine.json").write_text(text)
        assert corpus(tmp_path, content).table["transcript"].tolist() == [words, "'tis", "- No."]


def test_missing_files_and_roots_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest .*none\.csv; set corpus\.path"):
        ManifestCorpus(path=tmp_path / "none.csv").build()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ManifestError, match="is a folder"):
        ManifestCorpus(path=tmp_path / "folder.csv").build()
    assert "set corpus.root" in refusal(tmp_path, "id,transcript\n1,a\n", root=tmp_path / "none")


def test_the_choice_on_the_command_line_makes_the_corpus(tmp_path: Path) -> None:
    config = OmegaConf.load(REPOSITORY / "conf" / "corpus" / "manifest.yaml")
    OmegaConf.set_struct(config, True)
    with pytest.raises(InstantiationException, match=r"set corpus\.path"):
        instantiate(config)
    (tmp_path / "mine.csv").write_text("id,Utterance,couple\n1,a,x\n")
    config.path, config.groups = str(tmp_path / "mine.csv"), ["couple"]
    # Each of our columns is a key, so that no plus sign is needed to name another.
    config.columns.transcript = "Utterance"
    manifest = instantiate(config).build()
    assert manifest.table["transcript"].tolist() == ["a"]
    assert manifest.groups == ("couple",)


def test_a_command_without_a_path_ends_in_one_line(tmp_path: Path) -> None:
    # Hydra wraps what a constructor raises into an error of its own.
    command_here("extract", "corpus=manifest", folder=tmp_path).refused(
        "ConfigError: no manifest is named; set corpus.path to a .csv, .tsv, .parquet or .jsonl file"
    )


def test_splits_are_checked_by_the_columns_asked_for(tmp_path: Path) -> None:
    content = "id,transcript,speaker,couple,split\n1,a,A,x,train\n2,b,B,x,test\n"
    assert corpus(tmp_path, content, groups=["couple"]).groups == ("couple",)
    assert "one couple is in the splits train, test" in refusal(tmp_path, content, disjoint=["speaker", "couple"])
    leaking = content.replace("B,x", "A,y")
    assert "one speaker is in the splits train, test, in rows 1, 2" in refusal(tmp_path, leaking)
    assert len(corpus(tmp_path, leaking, disjoint=[])) == 2


@pytest.mark.parametrize("setting", ["groups", "disjoint"])
def test_text_in_place_of_a_list_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"corpus\.{setting}=\[speaker\]"):
        ManifestCorpus(path=tmp_path / "mine.csv", **{setting: "speaker"})  # type: ignore[arg-type]


def test_paths_are_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    content = "id,video\n1,a.mp4\n"
    assert corpus(tmp_path / "tables", content).path("a.mp4") == (tmp_path / "tables" / "a.mp4").resolve()
    assert corpus(tmp_path / "tables", content, root=tmp_path).path("a.mp4") == (tmp_path / "a.mp4").resolve()
    assert "leaves the manifest's root" in refusal(tmp_path, "id,video\n1,../a.mp4\n")


def test_unvoiced_warmth_is_a_setting(tmp_path: Path) -> None:
    content = "id,transcript,verbal_polarity,visual_polarity\n1,a,0,1\n"
    assert corpus(tmp_path, content).table["incongruent"].tolist() == [False]
    assert corpus(tmp_path, content, count_unvoiced_warmth=True).table["incongruent"].tolist() == [True]


@pytest.mark.parametrize("description", ["{", "[" * 100_000])
def test_a_description_that_cannot_be_read_is_refused(tmp_path: Path, description: str) -> None:
    pd.DataFrame({"id": ["a"], "transcript": ["b"]}).to_parquet(tmp_path / "m.parquet")
    (tmp_path / "m.json").write_text(description)
    with pytest.raises(ManifestError, match=r"m\.json, the description of m\.parquet, cannot be read"):
        ManifestCorpus(path=tmp_path / "m.parquet").build()


def test_a_name_that_no_file_system_takes_is_no_manifest() -> None:
    with pytest.raises(ManifestError, match="no manifest x"):
        read_table(Path("x" * 300 + ".csv"))


def test_turns_that_are_too_short_for_a_word_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "a,0,1,x\nb,late,2,x\nc,1,1.02,canary\nd,,,x\ne,2,2.1,x\nf,3,3.05,canary\n"
    corpus(tmp_path, f"id,start,end,transcript\n{rows}", on_error="skip")
    assert "mine: rows 3, 6 (2 in all) last less than 0.1 s" in caplog.text
    assert "canary" not in caplog.text
