"""Tables and arrays of the feature cache that are wrong: refused by an error of ours that names the place."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subtext.corpora.files import ManifestCorpus
from subtext.errors import CacheError, ManifestError, RunError
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extractor import NoSource, Source
from subtext.features.index import INDEX_COLUMNS, FeatureIndex
from subtext.features.precomputed import PrecomputedFeatures
from subtext.features.stream import Stream
from subtext.features.workers import Job, do_job
from subtext.manifest import build_manifest
from subtext.runs.folder import RunFolder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The table of an extraction of two rows."""
    row = {"modality": "text", "key": "a" * 64, "status": "ok", "reason": "", "n_steps": 1, "step_shape": "8"}
    absent = {**row, "key": None, "status": "absent", "reason": "no transcript", "n_steps": 0, "step_shape": ""}
    table = pd.DataFrame([{"id": "one", **row}, {"id": "two", **absent}])[list(INDEX_COLUMNS)]
    FeatureIndex(table, {"text": "b" * 64}).save(tmp_path)
    assert FeatureIndex.load(tmp_path).missing() == {"text": 1}
    return tmp_path


@pytest.mark.parametrize("column", INDEX_COLUMNS)
@pytest.mark.parametrize("value", [..., ["a"], b"\xff", True])
def test_an_index_with_another_column_is_refused(index: Path, column: str, value: Any) -> None:
    table = pd.read_parquet(index / "extraction.parquet").drop(columns=column)
    if value is not ...:
        table[column] = pd.Series([value] * len(table), dtype=object)
    table.to_parquet(index / "extraction.parquet")
    with pytest.raises(CacheError, match=rf"'{column}'.*run subtext-extract"):
        FeatureIndex.load(index)


@pytest.mark.parametrize("status", ["well", "", "OK"])
def test_a_status_that_is_none_is_refused(index: Path, status: str) -> None:
    table = pd.read_parquet(index / "extraction.parquet")
    table["status"] = status
    table.to_parquet(index / "extraction.parquet")
    with pytest.raises(CacheError, match="'status'"):
        FeatureIndex.load(index)


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{}", '{"fingerprints": 3}', '{"fingerprints": ["a"]}', '{"fingerprints": {"text": 3}}']
)
def test_fingerprints_that_are_none_are_refused(index: Path, content: str) -> None:
    (index / "extraction.json").write_text(content)
    with pytest.raises(CacheError, match="cannot be read"):
        FeatureIndex.load(index)


def _npz(folder: Path, header: str, method: int = 0, version: int = 20) -> Path:
    """A .npz file whose array says of itself what its header says."""
    text = header.encode().ljust(117) + b"\n"
    path = folder / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(32))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 6 : at + 8] = struct.pack("<H", version)
    content[at + 10 : at + 12] = struct.pack("<H", method)
    path.write_bytes(content)
    return path


ARRAYS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 8)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000000000000000, 8)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 'many'}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1, 8)}",
    "{'descr': 'nothing', 'fortran_order': False, 'shape': (1, 8)}",
    "[1, 2]",
    "words",
]


@pytest.mark.parametrize("header", ARRAYS)
def test_an_array_that_claims_what_it_is_not_is_refused(tmp_path: Path, header: str) -> None:
    _refused(_npz(tmp_path, header))


@pytest.mark.parametrize(("method", "version"), [(77, 20), (99, 20), (0, 195), (1, 20)])
def test_an_archive_of_an_unknown_kind_is_refused(tmp_path: Path, method: int, version: int) -> None:
    _refused(_npz(tmp_path, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 8)}", method, version))


def _refused(path: Path) -> None:
    rows = pd.DataFrame({"id": ["a"], "features": [path.name]}, dtype=object)
    manifest = build_manifest(rows, root=path.parent, name="m")
    extractor = PrecomputedFeatures("text")
    (source,) = extractor.sources(manifest)
    if isinstance(source, Source):
        ((_, source),) = do_job(Job("text", (("a", source),)), extractor, MemoryCache())
    assert isinstance(source, NoSource)
    assert source.status == "failed"
    assert "the features cannot be read" in source.reason


@pytest.mark.parametrize("nested", [b'{"a": ' * 20_000, b"[" * 100_000])
def test_a_cached_stream_with_a_nested_header_is_refused(tmp_path: Path, nested: bytes) -> None:
    cache, key = FeatureCache(tmp_path), "ab" * 32
    cache.write(key, Stream(np.ones((3, 8), np.float32), np.arange(3.0), {"q": 1.0}, ""))
    cache.path(key).write_bytes(struct.pack("<Q", len(nested)) + nested)
    with pytest.raises(CacheError, match="half-written or altered"):
        cache.read(key)


def _with_bytes_for_text(path: Path, **columns: list[Any]) -> None:
    """A Parquet file whose ids are said to be text and are not."""
    text = pa.array([b"\x92\xff"] * 2, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": text, **{name: pa.array(values) for name, values in columns.items()}}), path)


def test_texts_that_are_none_are_refused_in_every_table(tmp_path: Path) -> None:
    _with_bytes_for_text(tmp_path / "m.parquet", split=["train", "test"])
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read as parquet"):
        ManifestCorpus(path=tmp_path / "m.parquet").build()
    _with_bytes_for_text(tmp_path / "predictions.parquet", split=["val", "test"])
    with pytest.raises(RunError, match=r"cannot read .*predictions\.parquet"):
        RunFolder(tmp_path).predictions()
    _with_bytes_for_text(tmp_path / "extraction.parquet", modality=["text", "text"])
    (tmp_path / "extraction.json").write_text(json.dumps({"fingerprints": {}}))
    with pytest.raises(CacheError, match="cannot be read"):
        FeatureIndex.load(tmp_path)
