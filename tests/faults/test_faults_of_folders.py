"""Files of run and model folders that are wrong: refused in one line that names the place, and nothing written."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.commands import Done, command_here
from builders.compared_runs import write_run
from builders.spoilt_places import placed, spoil
from subtext.core.weights_file import LONGEST_HEADER
from subtext.errors import ConfigError, RunError, SubtextError
from subtext.prediction.predictor import Predictor
from subtext.runs.cost import peak_memory
from subtext.runs.folder import RunFolder
from subtext.runs.systems import read_systems

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of tables, as evaluate and compare read it."""
    return write_run(tmp_path_factory.mktemp("scored") / "run", test=40)


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "run"))


@pytest.fixture
def model(untrained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained_run, tmp_path / "model", copy_function=_linked))


def _linked(source: str, target: str) -> None:
    """A file that a test may replace, but the weights, which are large, only by another file."""
    if source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def predict(model: Path) -> Done:
    """Predict with a model; there is a recording's worth of nothing to predict, which is not reached."""
    (model.parent / "clip.wav").write_bytes(b"")
    return command_here("predict", str(model), "clip.wav", folder=model.parent)


# -- model.json -------------------------------------------------------------------------------------------------------

SIZES = [
    ("encoders.text.embed_dim", -1),
    ("encoders.text.embed_dim", 0),
    ("encoders.text.embed_dim", 10**9),
    ("encoders.text.embed_dim", 10**30),
    ("encoders.text.dim", 10**9),
    ("encoders.prosody.channels", 10**20),
    ("encoders.prosody.layers", 10**6),
    ("encoders.visual.size", 10**6),
    ("fusion.layers", 10**6),
    ("fusion.max_positions", 10**9),
    ("fusion.expansion", 10**9),
]


@pytest.mark.parametrize(("place", "value"), SIZES)
def test_a_model_of_another_size_than_its_weights_takes_no_memory(model: Path, place: str, value: int) -> None:
    spoil(model / "model.json", place, value)
    before = _held()
    predict(model).refused("model.json")
    assert _held() - before < 500


def _held() -> float:
    """Memory that this process holds at most, in MiB."""
    return peak_memory() or 0.0


PARTS = [
    *(
        (name, ...)
        for name in ("encoders", "fusion", "heads", "extractors", "max_steps", "fingerprints", "calibration")
    ),
    ("format", ...),
    ("max_steps.text", ...),
    ("fingerprints.prosody", ...),
    ("fingerprints.prosody.extractor", ...),
    ("calibration.incongruent.threshold", ...),
    ("calibration.incongruent.abstention", ...),
    ("calibration.vocal_incongruent.abstention.level", ...),
    ("encoders.text._target_", ...),
    ("heads.names", ...),
]


@pytest.mark.parametrize(("place", "value"), PARTS)
def test_a_description_without_a_part_is_refused(model: Path, place: str, value: Any) -> None:
    spoil(model / "model.json", place, value)
    predict(model).refused("model.json")


KINDS = [
    ("calibration.incongruent.threshold", 7),
    ("calibration.incongruent.threshold", -0.1),
    ("calibration.incongruent.threshold", float("nan")),
    ("calibration.incongruent.threshold", "0.5"),
    ("calibration.incongruent.threshold", None),
    ("calibration.incongruent.abstention.level", 10**400),
    ("calibration.incongruent.abstention", [0.5]),
    ("calibration.incongruent.temperature", 0),
    ("calibration.incongruent.temperature", float("inf")),
    ("calibration.incongruent.temperature", True),
    ("calibration", []),
    ("max_steps", 64),
    ("max_steps.text", 0),
    ("max_steps.text", 1.5),
    ("max_steps.text", "64"),
    ("max_steps.text", 10**30),
    ("fingerprints.text.extractor", 12),
    ("encoders", []),
    ("encoders", {}),
    ("encoders.text", "text"),
    ("encoders.text.embed_dim", "wide"),
    ("encoders.text.embed_dim", {"a": 1}),
    ("encoders.visual.name", "no_such_backbone"),
    ("encoders.visual.temporal", 3),
    ("fusion", 1),
    ("fusion.heads", 0),
    ("fusion.heads", 7),
    ("heads", None),
    ("heads.names", "incongruent"),
    ("heads.names", []),
    ("heads.names", [["incongruent"]]),
    ("heads.names", ["nothing"]),
    ("heads.dropout", 2),
    ("heads.dropout", "much"),
    ("heads.reader", {"hidden": 10**9}),
    ("heads.reader", {"steps": "many"}),
    ("heads.reader", {"nothing": 1}),
    ("heads.reader", "all"),
    ("heads.read", {"text": 0}),
    ("heads.read", ["text"]),
    ("heads.baseline", {"text": "yesterday"}),
    ("heads.baseline", 3),
    ("heads", {"names": ["incongruent", "verbal_polarity"], "reader": {}, "read": {"text": 10**9}}),
    ("gates", {"incongruent": 7}),
    ("gates", [1]),
    ("extractors", {}),
    ("extractors.text", ["a"]),
    ("extractors.visual.rate", -1),
    ("extractors.visual.size", "large"),
    ("extractors.prosody.hop", "short"),
    ("extractors.prosody.method", 3),
    ("modalities", 3),
    ("format", "1"),
    ("format", [1]),
]


@pytest.mark.parametrize(("place", "value"), KINDS)
def test_a_description_of_other_kinds_is_refused(model: Path, place: str, value: Any) -> None:
    spoil(model / "model.json", place, value)
    predict(model).refused("model.json")


CONTENTS = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"null",
    b"\xff\xfe\x00",
    b'{"format": 1' + b"0" * 10_000 + b"}",
    b'{"a": ' * 100_000,
]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["model.json", "run.json"])
def test_json_that_cannot_be_read_is_refused(model: Path, run: Path, name: str, content: bytes) -> None:
    folder = model if name == "model.json" else run
    (folder / name).write_bytes(content)
    done = predict(model) if name == "model.json" else evaluate(run)
    done.refused(name)


# -- weights ----------------------------------------------------------------------------------------------------------


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


WEIGHTS = [
    b"",
    b"PK\x03\x04 a pickle in an archive",
    safetensors(b"{}", length=2**63),
    safetensors(b"{}", length=100),
    safetensors(b"[1]"),
    safetensors(b"\xff\xfe"),
    safetensors(b'{"a": ' * 3000),
    safetensors(b'{"a": {"dtype": "F32", "shape": [1000000000000, 1000000000000], "data_offsets": [0, 4]}}', b"0000"),
    safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"0000"),
    safetensors(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"0000"),
]


@pytest.mark.parametrize("content", WEIGHTS)
def test_weights_that_are_none_are_refused(model: Path, content: bytes) -> None:
    weigh(model, content)
    predict(model).refused("model.safetensors")


def weigh(model: Path, content: bytes) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").write_bytes(content)


def test_a_header_of_90_megabytes_is_refused_by_its_length(model: Path) -> None:
    name = b"x" * 90_000_000
    weigh(model, safetensors(b'{"' + name + b'": 1}'))
    done = predict(model)
    done.refused("model.safetensors", "header", str(LONGEST_HEADER))
    assert len(done.err) < 1000


def test_what_a_library_says_is_cut_to_a_sane_length(model: Path) -> None:
    # Just below the length at which a header is refused unread; the library quotes what it does not know.
    kind = b"x" * (LONGEST_HEADER - 1000)
    header = b'{"a": {"dtype": "' + kind + b'", "shape": [1], "data_offsets": [0, 4]}}'
    weigh(model, safetensors(header, b"0000"))
    done = predict(model)
    done.refused("model.safetensors", "convert it with safetensors.torch.save_file")
    assert len(done.err) < 3000


# -- tables of predictions --------------------------------------------------------------------------------------------


def evaluate(run: Path) -> Done:
    return command_here("evaluate", str(run), "--bootstrap", "20", folder=run.parent)


def compare(run: Path) -> Done:
    return command_here("compare", str(run), "--no-cost", "--bootstrap", "20", folder=run.parent)


COMMANDS: list[Callable[[Path], Done]] = [evaluate, compare]
BOTH = pytest.mark.parametrize("command", COMMANDS)


def write(run: Path, table: pd.DataFrame, name: str = "predictions") -> None:
    table.to_parquet(run / f"{name}.parquet")


CELLS = [
    ("prob_incongruent", 1.5),
    ("prob_incongruent", -0.1),
    ("prob_incongruent", float("inf")),
    ("prob_vocal_incongruent", 1.0001),
    ("prob_type_congruent", 2.0),
    ("prob_verbal_polarity_positive", -3.0),
    ("logit_incongruent", float("-inf")),
    ("evidence_text", float("inf")),
    ("incongruent", 2),
    ("incongruent", -1),
    ("incongruent", 0.5),
    ("vocal_incongruent", 2),
    ("present_text", 3),
    ("fold", 0.5),
    ("fold", -1),
    ("seed", 1.5),
    ("verbal_polarity", 5),
    ("incongruence_type", "something else"),
]


@BOTH
@pytest.mark.parametrize(("column", "value"), CELLS)
def test_a_cell_that_cannot_be_is_refused_with_its_row(
    run: Path, command: Callable[[Path], Done], column: str, value: Any
) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    cells = list(table[column])
    cells[11] = value
    kind = None if isinstance(value, str) else "Float64" if isinstance(value, float) and np.isinf(value) else "float64"
    table[column] = pd.Series(
        [float("nan") if kind and (cell is pd.NA or cell is None) else cell for cell in cells], dtype=kind
    )
    write(run, table)
    done = command(run)
    done.refused("predictions.parquet", "row 12", f"'{column}'")
    assert table["id"][11] not in done.said


@BOTH
@pytest.mark.parametrize("column", ["prob_incongruent", "logit_incongruent", "incongruent", "present_text", "seed"])
@pytest.mark.parametrize("value", ["0.5", "words", ["a", "b"], b"0.5", pd.Timestamp("2026-01-01")])
def test_a_column_of_another_type_is_refused(
    run: Path, command: Callable[[Path], Done], column: str, value: Any
) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    table[column] = pd.Series([value] * len(table), dtype=object if not isinstance(value, pd.Timestamp) else None)
    write(run, table)
    command(run).refused("predictions.parquet", "row 1,", f"'{column}'")


@BOTH
@pytest.mark.parametrize("name", ["predictions", "controls"])
@pytest.mark.parametrize("value", [None, ["a"], b"test"])
@pytest.mark.parametrize("column", ["id", "split"])
def test_rows_that_name_no_clip_or_split_are_refused(
    run: Path, command: Callable[[Path], Done], name: str, column: str, value: Any
) -> None:
    table = pd.read_parquet(run / f"{name}.parquet")
    table[column] = pd.Series([value] * len(table), dtype=object)
    write(run, table, name)
    command(run).refused(f"{name}.parquet", "row 1,", f"'{column}'")


@BOTH
@pytest.mark.parametrize(
    ("name", "column"),
    [("predictions", "id"), ("predictions", "split"), *(("controls", column) for column in ("id", "split", "control"))],
)
def test_a_column_that_is_not_there_is_named(
    run: Path, command: Callable[[Path], Done], name: str, column: str
) -> None:
    write(run, pd.read_parquet(run / f"{name}.parquet").drop(columns=column), name)
    command(run).refused(f"{name}.parquet", f"'{column}'")


@BOTH
@pytest.mark.parametrize("name", ["predictions", "controls"])
def test_a_table_without_rows_is_refused(run: Path, command: Callable[[Path], Done], name: str) -> None:
    write(run, pd.read_parquet(run / f"{name}.parquet").head(0), name)
    command(run).refused(f"{name}.parquet", "no rows")


@BOTH
def test_a_clip_that_stands_twice_is_told_by_its_row(run: Path, command: Callable[[Path], Done]) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    tested = table.index[table["split"] == "test"]
    table.loc[tested[3], "id"] = table.loc[tested[1], "id"]
    write(run, table)
    done = command(run)
    done.refused(f"row {tested[3] + 1}", "'id'")
    assert table.loc[tested[1], "id"] not in done.said


@BOTH
@pytest.mark.parametrize("name", ["predictions", "controls"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"id,split\na,test\n", b"\x00" * 5000])
def test_a_table_that_is_none_is_refused(run: Path, command: Callable[[Path], Done], name: str, content: bytes) -> None:
    (run / f"{name}.parquet").write_bytes(content)
    command(run).refused(f"{name}.parquet")


def test_probabilities_that_are_missing_or_a_little_off_are_no_fault(run: Path) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    table.loc[3, "prob_incongruent"] = float("nan")
    table.loc[4, "prob_incongruent"] = 1 + 1e-8
    write(run, table)
    assert evaluate(run).code == 0


# -- run.json, config.yaml and what stands beside ---------------------------------------------------------------------

FACTS = [
    ("seed", "zero"),
    ("seed", [0]),
    ("seed", -1),
    ("seed", 10**30),
    ("seed", 1.5),
    ("groups", "speaker"),
    ("groups", 3),
    ("groups", [1]),
    ("groups", {"speaker": 1}),
    ("command", 5),
    ("command", [1, 2]),
    ("versions", ["torch"]),
    ("versions", {"torch": 2}),
    ("metadata", 7),
    ("question", 1),
    ("labels", ["a"]),
    ("commit", 12),
    ("vlm", "smolvlm"),
]


@BOTH
@pytest.mark.parametrize(("place", "value"), FACTS)
def test_facts_of_other_kinds_are_refused(run: Path, command: Callable[[Path], Done], place: str, value: Any) -> None:
    spoil(run / "run.json", place, value)
    command(run).refused("run.json", f"'{place}")


SETTINGS = [
    ("seed", "zero"),
    ("corpus", "manifest"),
    ("fusion", "late"),
    ("fusion", 3),
    ("paths", "here"),
    ("vlm", ["a"]),
    ("prompts", "words"),
    ("cv", "five"),
]


@pytest.mark.parametrize(("place", "value"), SETTINGS)
def test_settings_of_other_kinds_are_refused(run: Path, place: str, value: Any) -> None:
    spoil(run / "config.yaml", place, value)
    compare(run).refused("config.yaml", f"'{place}'")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b'a,b\n"', b"a,b\n1,2,3\n1,2,3,4,5\n"])
def test_a_history_that_is_no_table_is_refused(run: Path, content: bytes) -> None:
    (run / "history.csv").write_bytes(content)
    evaluate(run).refused("history.csv")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"alarms": 3}', b'{"alarms": [3]}', b'{"notes": {"a": 1}}', b"\xff", b"[" * 100_000]
)
def test_an_audit_that_cannot_be_read_is_refused(run: Path, content: bytes) -> None:
    (run / "audit").mkdir()
    (run / "audit/audit.json").write_bytes(content)
    compare(run).refused("audit.json", "remove it")


# -- anything ---------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(content: Any, path: str = "") -> Iterator[str]:
    """Every place of plain content."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{path}{key}"
            yield from places(value, f"{path}{key}.")


def only_our_errors(work: Callable[[], Any]) -> None:
    said = ""
    try:
        work()
    except SubtextError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 3000


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_change_of_a_description_is_refused_or_read(untrained_run: Path, data: st.DataObject) -> None:
    content = json.loads((untrained_run / "model.json").read_text())
    place = data.draw(st.sampled_from([p for p in places(content) if "_target_" not in p]))
    folder = untrained_run.parent / "changed"
    if not folder.is_dir():
        shutil.copytree(untrained_run, folder, copy_function=_linked)
    (folder / "model.json").write_text(json.dumps(placed(content, place, data.draw(VALUES))))
    only_our_errors(lambda: Predictor(folder))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("encoders.visual.name", ["\n"]),
        ("encoders.visual.dim", ["\x1b[2J"]),
    ],
)
def test_values_with_line_breaks_stay_on_one_line(untrained_run: Path, place: str, value: Any) -> None:
    folder = untrained_run.parent / "broken"
    if not folder.is_dir():
        shutil.copytree(untrained_run, folder, copy_function=_linked)
    content = json.loads((untrained_run / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(placed(content, place, value)))
    with pytest.raises(SubtextError) as caught:
        Predictor(folder)
    assert str(caught.value).isprintable()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_facts_are_refused_or_read(scored: Path, data: st.DataObject) -> None:
    folder = scored.parent / "changed"
    shutil.copytree(scored, folder, dirs_exist_ok=True)
    name = data.draw(
        st.sampled_from(["seed", "groups", "command", "versions", "commit", "question", "vlm", "metadata"])
    )
    spoil(folder / "run.json", name, data.draw(VALUES))
    only_our_errors(lambda: read_systems([str(folder)]))
    only_our_errors(lambda: RunFolder(folder).run())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), kept=st.floats(0.5, 1))
def test_any_damage_to_a_table_is_refused_or_read(scored: Path, place: float, bits: int, kept: float) -> None:
    whole = bytearray((scored / "predictions.parquet").read_bytes())
    at = int(place * len(whole))
    whole[at] ^= bits
    folder = scored.parent / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "predictions.parquet").write_bytes(whole[: int(kept * len(whole)) if kept < 0.9 else len(whole)])
    only_our_errors(lambda: RunFolder(folder).predictions())


def test_an_error_is_cut_in_its_middle() -> None:
    error = ConfigError("corpus.path is wrong: " + "x" * 90_000_000 + "; set it to a table")
    assert len(str(error)) < 2100
    assert str(error).startswith("corpus.path is wrong")
    assert str(error).endswith("; set it to a table")
    assert str(RunError(str(error))) == str(error)
