"""What leaves the group: no formulas for spreadsheets, and text that comes back as it was."""

import csv
import logging
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from builders import tiny_runs
from subtext.cli.evaluate import main as evaluate
from subtext.cli.extract import extract_corpus
from subtext.cli.predict import main as predict
from subtext.core.tables import escape, unescape, unescaped, write_csv
from subtext.features.index import INDEX_COLUMNS, FeatureIndex

pytestmark = pytest.mark.usefixtures("undrawn")

# What begins formulas, apostrophes and digits, often in front.
TRICKY = st.text(st.sampled_from("'=+-@\t\r\n1.eE a\uff1d\u0661"), max_size=8)


@given(st.one_of(TRICKY, st.text()))
def test_unescaping_gives_the_text_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(TRICKY, TRICKY)
def test_escaping_keeps_texts_apart(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


def test_whole_numbers_beside_nulls_stay_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": pd.Series([2**60 + 1, None, "=1", True], dtype=object), "b": [None, 7, None, None]})
    table["b"] = pd.Series([None, 2**60 + 1, None, None], dtype=object)
    write_csv(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split() == ["a,b", f"{2**60 + 1},", f",{2**60 + 1}", "'=1,", "True,"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("- No.", "'- No."),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("-1", "-1"),
        ("+4.5e-3", "+4.5e-3"),
        ("-1+1", "'-1+1"),
        ("-1\n", "'-1\n"),
        ("-", "'-"),
        ("'=1", "''=1"),
        ("'-1", "'-1"),
        ("'tis", "'tis"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_formulas_get_an_apostrophe(text: str, cell: str) -> None:
    assert escape(text) == cell


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.one_of(TRICKY.filter(bool), st.none()), min_size=1, max_size=5))
def test_written_cells_hold_no_formula_and_come_back(tmp_path: Path, cells: list[str | None]) -> None:
    table = pd.DataFrame({"id": range(len(cells)), "=note": pd.Series(cells, dtype=object)})
    path = write_csv(table, tmp_path / "deep" / "table.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "'=note"]
    for row in rows:
        for cell in row:
            assert cell[:1] not in tuple("=@\t\r\n\uff1d") or cell == ""
            if cell[:1] in ("+", "-"):
                float(cell)
    again = unescaped(pd.DataFrame(rows[1:], columns=rows[0]))
    assert list(again.columns) == ["id", "=note"]
    assert again["=note"].tolist() == [cell or "" for cell in cells]


def test_numbers_and_missing_cells_are_written_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "polarity": pd.array([-1, None], dtype="Int64"),
            "sure": pd.array([True, None], dtype="boolean"),
            "start": [-0.5, float("nan")],
            "words": pd.array(["-1 is cold", None], dtype="string"),
            "kind": pd.Categorical(["@x", None]),
            "mixed": [-2, "=2"],
        }
    )
    before = table.copy(deep=True)
    text = write_csv(table, tmp_path / "t.csv").read_text(encoding="utf-8")  # line ends become \n
    assert text == "polarity,sure,start,words,kind,mixed\n-1,True,-0.5,'-1 is cold,'@x,-2\n,,,,,'=2\n"
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("command", ["extract", "train"])
def test_neither_words_nor_speakers_reach_logs(
    tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_runs.write_corpus(tmp_path / "corpus")
    table = pd.read_csv(path)
    table["speaker"] = "Canaryperson " + table["speaker"]
    table["session"] = "Canarysession"
    table["transcript"] = "Canarywords were said"
    table["context"] = "Canarywords before"
    # A missing file, a missing stream and a row that is left out have something to say, too.
    table.loc[3, "features"] = "streams/none.npz"
    table.loc[4, "split"] = "tset"
    table.to_csv(path, index=False)
    settings = tiny_runs.settings(tmp_path, path)
    settings["corpus"]["on_error"] = "skip"
    caplog.set_level(logging.INFO)
    if command == "extract":
        extract_corpus(OmegaConf.create(settings))
        folder = Path(settings["paths"]["features"]) / "tiny"
        assert FeatureIndex.load(folder).n_failed
        rejects = folder / "rejects.csv"
    else:
        from subtext.runs.train import train

        train(settings, tmp_path / "run")
        rejects = tmp_path / "run" / "rejects.csv"
        assert evaluate([str(tmp_path / "run")]) == 0
        page = tmp_path / "run" / "report.md"
        assert "Canary" not in page.read_text(encoding="utf-8")
        assert "Canary" not in (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 2
    output, error = capfd.readouterr()
    said = output + error + caplog.text
    assert "1 of 160 rows are left out" in caplog.text
    for word in ("Canarywords", "Canaryperson", "Canarysession"):
        assert word not in said
        assert word not in rejects.read_text(encoding="utf-8")


def test_predictions_name_people_in_the_answer_only(
    untrained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of subtext-predict repeat words and speakers: they are what was asked for. Logs must not."""
    table = pd.DataFrame(
        {
            "id": ["a", "b"],
            "speaker": "Canaryperson",
            "session": "Canarysession",
            "transcript": ["Canarywords were said", "Canarywords again"],
            "audio": [None, "none.wav"],
        }
    )
    table.to_csv(tmp_path / "turns.csv", index=False)
    caplog.set_level(logging.INFO)
    predict([str(untrained_run), str(tmp_path / "turns.csv"), "--json"])
    output, error = capfd.readouterr()
    assert "Canarywords were said" in output
    assert "Canaryperson" in output
    assert "Canary" not in error + caplog.text


def test_every_csv_file_is_written_by_the_writer_that_escapes() -> None:
    sources = Path(__file__).resolve().parents[2] / "src"
    raw = {
        f"{path.name}: {line.strip()}"
        for path in sources.rglob("*.py")
        for line in path.read_text().splitlines()
        if "to_csv(" in line and "def " not in line
    }
    # The writer itself, and bytes that only feed a hash.
    assert all("to_csv(made," in line or "to_csv(index=False).encode()" in line for line in raw), raw


def test_the_table_of_extraction_holds_no_live_formula(tmp_path: Path) -> None:
    name = '=HYPERLINK("http://somebody","x")'
    others = {"status": "failed", "n_steps": 0, "step_shape": "[]", "quality": "{}"}
    table = pd.DataFrame([{**dict.fromkeys(INDEX_COLUMNS), **others, "id": name, "modality": "text", "reason": "-1+2"}])
    index = FeatureIndex(table, {"text": "a"})
    index.save(tmp_path)
    with (tmp_path / "extraction.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["reason"]) == (f"'{name}", "'-1+2")
    assert FeatureIndex.load(tmp_path).table["id"].tolist() == [name]
