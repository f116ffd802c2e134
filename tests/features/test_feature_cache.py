"""Streams on disk: whole or not there, verified, and described without being read."""

import errno
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from subtext.core.writing import UNFINISHED
from subtext.errors import CacheError
from subtext.features.cache import FeatureCache, MemoryCache, stream_key
from subtext.features.stream import Stream, StreamInfo
from subtext.media.segment import Segment

KEY = stream_key("content", Segment(0, 1), "fingerprint")


def crops(seed: int = 0) -> Stream:
    values = np.random.default_rng(seed).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return Stream(values, np.arange(5) / 5, {"face_share": 0.5})


@pytest.mark.parametrize("kind", ["folder", "memory"])
@pytest.mark.parametrize(
    "stream",
    [
        crops(),
        Stream(np.random.default_rng(1).normal(size=(7, 27)).astype(np.float32), np.arange(7.0)),
        Stream(np.zeros((2, 3), np.float16), np.zeros(2), {"n_chunks": 2.0}),
        Stream(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0), {"face_share": 0.0}, "no face found in 4 pictures"),
    ],
    ids=["crops", "prosody", "float16", "absent"],
)
def test_a_stream_comes_back_as_it_went_in(tmp_path: Path, kind: str, stream: Stream) -> None:
    cache = FeatureCache(tmp_path) if kind == "folder" else MemoryCache()
    assert not cache.check([KEY])
    cache.write(KEY, stream)
    back = cache.read(KEY)
    assert back.values.dtype == stream.values.dtype
    np.testing.assert_array_equal(back.values, stream.values)
    np.testing.assert_array_equal(back.times, stream.times)
    assert back.quality == stream.quality
    assert back.reason == stream.reason
    assert cache.check([KEY, "0" * 40]) == {KEY: StreamInfo.of(stream)}


def test_a_stream_without_steps_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Stream(np.zeros((0, 4), np.float32), np.zeros(0))


def test_a_stream_that_was_read_can_be_written_to(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, crops())
    cache.read(KEY).values[:] = 0
    np.testing.assert_array_equal(cache.read(KEY).values, crops().values)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def other_quality(data: bytes) -> bytes:
    assert b"0.5" in data
    return data.replace(b"0.5", b"0.9")


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(
    "damage", [half, flipped, other_quality, lambda _: b"", lambda _: b"\xff" * 4096, lambda d: d[:12]]
)
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: object, settled: bool) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, crops())
    if settled:
        cache.settle([KEY])
    path = cache.path(KEY)
    path.write_bytes(damage(path.read_bytes()))
    os.utime(path, ns=(1, 1))  # a clock that is too coarse must not hide the change here
    assert cache.check([KEY]) == {}
    with pytest.raises(CacheError, match=r"half-written or altered; run subtext-extract"):
        cache.read(KEY)
    cache.write(KEY, crops())
    assert cache.check([KEY])


def test_a_damaged_file_whose_date_is_kept_is_mended_by_extracting_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, crops())
    cache.settle([KEY])
    path = cache.path(KEY)
    before = path.stat()
    path.write_bytes(flipped(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.check([KEY])  # judged by its date
    with pytest.raises(CacheError, match=r"half-written or altered; run subtext-extract"):
        cache.read(KEY)
    assert not cache.check([KEY])


def test_a_file_under_another_key_counts_as_altered(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, crops())
    other = stream_key("other", Segment(0, 1), "fingerprint")
    cache.path(other).parent.mkdir(parents=True, exist_ok=True)
    cache.path(KEY).rename(cache.path(other))
    assert cache.check([other]) == {}


def test_a_verified_stream_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, crops())
    cache.check([KEY])

    def refuse(key: str) -> Stream:
        raise AssertionError("read")

    monkeypatch.setattr(cache, "_verified", refuse)
    assert cache.check([KEY]) == {KEY: StreamInfo.of(crops())}


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match=re.escape(f"{tmp_path}: No space left on device; free some space")) as raised:
        cache.write(KEY, crops())
    assert "\n" not in str(raised.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "cache")
    with pytest.raises(CacheError, match="cannot write to the feature cache"):
        cache.write(KEY, crops())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_cache_serves_what_it_has(tmp_path: Path) -> None:
    FeatureCache(tmp_path).write(KEY, crops())
    for folder in (tmp_path, *(p for p in tmp_path.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    try:
        cache = FeatureCache(tmp_path)
        assert cache.check([KEY])
        assert isinstance(cache.contents([cache.path(KEY)])[cache.path(KEY)], str)
        with pytest.raises(CacheError, match="Permission denied"):
            cache.write(stream_key("b", Segment(), "f"), crops())
    finally:
        for folder in (tmp_path, *(p for p in tmp_path.rglob("*") if p.is_dir())):
            folder.chmod(0o755)


def test_what_a_killed_process_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    old, new = (f"{UNFINISHED}{digit * 8}.safetensors" for digit in "ab")
    for name, age in {old: 2 * 86400, new: 60, "somebody's thesis.doc": 2 * 86400}.items():
        (unfinished / name).write_bytes(b"half")
        os.utime(unfinished / name, (time.time() - age, time.time() - age))
    FeatureCache(tmp_path).write(KEY, crops())
    assert {p.name for p in unfinished.iterdir()} == {new, "somebody's thesis.doc"}


def test_a_key_depends_on_content_segment_and_settings() -> None:
    segments = [Segment(), Segment(1), Segment(1, 2), Segment(1, 2.5), Segment(0, 2)]
    keys = {stream_key(c, s, f) for c in "ab" for s in segments for f in "cd"}
    assert len(keys) == 2 * len(segments) * 2
    assert stream_key("a", Segment(None, 2), "c") == stream_key("a", Segment(0, 2.0), "c")
    assert stream_key("a", Segment(), "c", is_picture=True) not in keys


def test_a_missing_stream_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="run subtext-extract"):
        FeatureCache(tmp_path).read(KEY)
    with pytest.raises(CacheError, match="extract it first"):
        MemoryCache().read(KEY)


def test_memory_tells_files_apart_without_reading_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    cache = MemoryCache()
    monkeypatch.setattr(Path, "open", None)
    before = cache.contents([path])[path]
    os.utime(path, ns=(5, 5))
    assert cache.contents([path])[path] != before
    assert isinstance(cache.contents([tmp_path / "none"])[tmp_path / "none"], FileNotFoundError)
