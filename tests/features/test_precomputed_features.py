"""Streams of other tools, from files that the manifest names."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.index import FeatureIndex
from subtext.features.prosody import ProsodyExtractor
from subtext.features.text import TextExtractor
from subtext.manifest import build_manifest


def run(root: Path, rows: list[dict[str, object]], cache: MemoryCache | None = None) -> FeatureIndex:
    manifest = build_manifest(pd.DataFrame(rows), root=root, name="own", groups=())
    return extract(manifest, {"prosody": ProsodyExtractor()}, cache or MemoryCache())


def result(index: FeatureIndex, row: int = 0) -> tuple[str, str]:
    return index.table["status"].iloc[row], index.table["reason"].iloc[row]


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_an_array_becomes_the_rows_stream(tmp_path: Path, kind: str, dtype: type) -> None:
    values = (np.arange(12).reshape(4, 3)).astype(dtype)
    path = tmp_path / f"a.{kind}"
    np.savez(path, prosody=values) if kind == "npz" else save_file({"prosody": values}, path)
    cache = MemoryCache()
    index = run(tmp_path, [{"id": "a", "features": path.name, "audio": "not_even_there.wav"}], cache)
    assert result(index) == ("ok", "")
    assert index.table["step_shape"].iloc[0] == "3"
    stream = cache.read(index.key("a", "prosody") or "")
    assert stream.values.dtype == np.float32
    np.testing.assert_array_equal(stream.values, values)
    assert index.fingerprints["prosody"] != ProsodyExtractor().fingerprint()


def test_times_cut_the_recording_into_segments(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", prosody=np.arange(10.0)[:, None], prosody_times=np.arange(10.0) + 0.5)
    rows: list[dict[str, object]] = [
        {"id": "early", "features": "a.npz", "end": 2},
        {"id": "middle", "features": "a.npz", "start": 4, "end": 6.5},
        {"id": "late", "features": "a.npz", "start": 20, "end": 30},
        {"id": "whole", "features": "a.npz"},
    ]
    cache = MemoryCache()
    index = run(tmp_path, rows, cache)
    taken = {row: cache.read(index.key(row, "prosody") or "") for row in ("early", "middle", "whole")}
    assert taken["early"].values[:, 0].tolist() == [0, 1]
    assert taken["middle"].values[:, 0].tolist() == [4, 5]
    assert taken["middle"].times.tolist() == [0.5, 1.5]
    assert len(taken["whole"]) == 10
    assert index.table["status"].tolist() == ["ok", "ok", "failed", "ok"]
    assert "0.5-9.5 s from the start of the recording" in index.table["reason"].iloc[2]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"prosody": np.full((3, 2), np.nan)}, "6 values that are not finite"),
        ({"prosody": np.array([[1.0, np.inf]])}, "1 values that are not finite"),
        ({"prosody": np.zeros(5)}, "of shape (5,); save real numbers as [time, dim]"),
        ({"prosody": np.ones((3, 2), complex)}, "is complex128 of shape (3, 2); save real numbers"),
        ({"prosody": np.zeros((3, 2)), "prosody_times": np.ones(3, complex)}, "must hold 3 finite times"),
        ({"prosody": np.zeros((2, 3, 4))}, "of shape (2, 3, 4)"),
        ({"prosody": np.array([["a"]])}, "save real numbers as [time, dim]"),
        ({"prosody": np.array([[{}]], dtype=object)}, "allow_pickle"),
        ({"prosody": np.zeros((3, 2)), "prosody_times": np.zeros(2)}, "must hold 3 finite times"),
    ],
)
def test_an_array_that_cannot_be_used_says_why(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    status, said = result(run(tmp_path, [{"id": "a", "features": "a.npz"}]))
    assert status == "failed"
    assert reason in said
    assert str(tmp_path) not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.npz", b"", "cannot be read"),
        ("a.npz", b"PK\x03\x04 cut off", "cannot be read"),
        ("a.npz", b"\x80\x04K\x01.", "cannot be read"),
        ("a.safetensors", b"\x10\x00", "cannot be read"),
        ("a.pkl", b"\x80\x04K\x01.", "features are read from .npz and .safetensors"),
        ("gone.npz", None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, data: bytes | None, reason: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    status, said = result(run(tmp_path, [{"id": "a", "features": name}]))
    assert status == "failed"
    assert reason in said


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    assert result(run(tmp_path, [{"id": "a", "features": "a.npz"}])) == (
        "failed",
        "is not a file; name one that holds features",
    )


def test_an_array_without_steps_is_an_absent_stream(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", prosody=np.zeros((0, 3)))
    assert result(run(tmp_path, [{"id": "a", "features": "a.npz"}])) == (
        "absent",
        "the features file's array has no step",
    )


def test_rows_of_another_width_fail(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for number, width in enumerate([5, 5, 4, 5]):
        np.savez(tmp_path / f"{number}.npz", prosody=np.ones((2, width)))
        rows.append({"id": str(number), "features": f"{number}.npz"})
    index = run(tmp_path, rows)
    assert index.table["status"].tolist() == ["ok", "ok", "failed", "ok"]
    assert index.table["reason"].iloc[2] == "its steps have the size 4, most rows' 5; save them alike"
    assert index.key("2", "prosody") is None


def test_a_file_replaces_only_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", prosody=np.ones((2, 3)))
    rows = [{"id": "a", "features": "a.npz", "transcript": "I am fine."}, {"id": "b", "transcript": "So am I."}]
    manifest = build_manifest(pd.DataFrame(rows), root=tmp_path, name="own", groups=())
    index = extract(manifest, {"prosody": ProsodyExtractor(), "text": TextExtractor()}, MemoryCache())
    status = index.table.set_index(["id", "modality"])["status"]
    assert status["a", "prosody"] == status["a", "text"] == status["b", "text"] == "ok"
    assert status["b", "prosody"] == "absent"
    assert index.missing() == {"text": 0, "prosody": 1}
