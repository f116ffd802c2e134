"""Where streams are kept: one safetensors file a segment and modality, or memory."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from subtext.core.writing import replacing
from subtext.errors import CacheError
from subtext.features.content import DigestMemory
from subtext.features.stream import Stream, StreamInfo
from subtext.media.segment import Segment

_LENGTH_BYTES: Final = 8
"""A safetensors file begins with the length of its header as a little-endian 64-bit number."""
_MAX_HEADER: Final = 1 << 20
_INTACT: Final = "intact"


def stream_key(content: str, segment: Segment, fingerprint: str, *, is_picture: bool = False, side: str = "") -> str:
    """The name of a stream: what it was made of, and how.

    Args:
        content: digest of the source (a file's or a text's bytes).
        segment: the part of it; a missing start counts as 0.
        fingerprint: digest of every setting and weight that shapes the stream.
        is_picture: the file is read as one picture; the same file may be a recording for another row.
        side: half of the picture that the person is in, "" = not said.
    """
    part = "picture" if is_picture else [float(segment.start or 0), segment.end and float(segment.end)]
    # Without a side the key is what it was before there were any.
    written = json.dumps([content, part, fingerprint, *([side] if side else [])])
    return hashlib.sha256(written.encode()).hexdigest()[:40]


class Cache(ABC):
    """Streams by key. Identical content under identical settings has one key, wherever it stands."""

    @abstractmethod
    def contents(self, paths: Iterable[Path]) -> dict[Path, str | OSError]:
        """For each file a digest that identifies its content, or the error that keeps it from being read."""

    @abstractmethod
    def check(self, keys: Iterable[str]) -> dict[str, StreamInfo]:
        """Describe those streams that are there and intact; the others are left out and have to be extracted."""

    @abstractmethod
    def read(self, key: str) -> Stream:
        """Read a stream.

        Raises:
            CacheError: it is not there, or not intact.
        """

    @abstractmethod
    def write(self, key: str, stream: Stream) -> None:
        """Keep a stream.

        Raises:
            CacheError: the folder cannot be written.
        """

    @abstractmethod
    def settle(self, keys: Iterable[str]) -> None:
        """Take it that these streams, just written, are intact, so that `check` need not read them."""


class MemoryCache(Cache):
    """Streams in memory, for prediction in one process. Files are told apart by path, size and time, not hashed."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def contents(self, paths: Iterable[Path]) -> dict[Path, str | OSError]:
        """A digest of path, size and modification time, or the error that keeps the file from being read."""
        return {path: _identity(path) for path in paths}

    def check(self, keys: Iterable[str]) -> dict[str, StreamInfo]:
        """Describe those streams that are there."""
        return {key: StreamInfo.of(self._streams[key]) for key in keys if key in self._streams}

    def read(self, key: str) -> Stream:
        """Give the stream itself, not a copy."""
        if key not in self._streams:
            raise CacheError(f"no stream {key} in memory; extract it first")
        return self._streams[key]

    def write(self, key: str, stream: Stream) -> None:
        """Keep the stream itself, not a copy."""
        self._streams[key] = stream

    def settle(self, keys: Iterable[str]) -> None:
        """Nothing to do: memory stays intact."""

    def clear(self) -> None:
        """Forget every stream."""
        self._streams.clear()


class FeatureCache(Cache):
    """Streams in a folder, `streams/ab/abcdef….safetensors`, safe for several processes at once.

    A file appears whole or not at all (written under another name, flushed, renamed), carries a checksum of its arrays
    and figures, and counts as missing where it does not agree with it.

    Args:
        folder: made when the first stream is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._memory = DigestMemory(self.folder / "digests.sqlite")

    def path(self, key: str) -> Path:
        """The file of a stream.

        Raises:
            CacheError: it is no key of ours; what a table says may be a path to anywhere.
        """
        if not key.isalnum():
            raise CacheError(f"no stream has the key {key[:100]!r}; run subtext-extract for this corpus again")
        return self.folder / "streams" / key[:2] / f"{key}.safetensors"

    def contents(self, paths: Iterable[Path]) -> dict[Path, str | OSError]:
        """sha256 of each file, remembered by path, size and modification time, or why it cannot be read."""
        return self._memory.digests(paths)

    def check(self, keys: Iterable[str]) -> dict[str, StreamInfo]:
        """Describe the intact streams among `keys`.

        A file that has not changed since it was verified is judged by its header, any other is read and verified.
        """
        wanted = {key: self.path(key) for key in dict.fromkeys(keys)}
        verified = self._memory.recall(wanted.values())
        found: dict[str, StreamInfo] = {}
        fresh: dict[Path, str] = {}
        for key, path in wanted.items():
            try:
                found[key] = _read_info(path) if path in verified else StreamInfo.of(self._verified(key))
            except (CacheError, OSError, *_UNREADABLE):
                continue
            if path not in verified:
                fresh[path] = _INTACT
        self._memory.store(fresh)
        return found

    def read(self, key: str) -> Stream:
        """Read and verify a stream; its arrays may be written to."""
        try:
            return self._verified(key)
        except FileNotFoundError:
            raise CacheError(
                f"no stream {key} in the feature cache {self.folder}; run subtext-extract for this corpus again"
            ) from None
        except CacheError:
            # Its date may still be that of the intact file, by which `check` takes it for whole: extracting the corpus
            # again would change nothing.
            with suppress(OSError):
                self.path(key).unlink(missing_ok=True)
            raise
        except OSError as error:
            raise CacheError(f"cannot read {self.path(key)}: {error.strerror}; check the folder's rights") from error

    def write(self, key: str, stream: Stream) -> None:
        """Write a stream so that it appears whole or not at all."""
        arrays = {"values": np.ascontiguousarray(stream.values), "times": np.ascontiguousarray(stream.times)}
        figures = json.dumps({name: float(value) for name, value in stream.quality.items()})
        described = {"key": key, "quality": figures, "reason": stream.reason}
        described["checksum"] = _checksum(arrays, described)
        path = self.path(key)
        try:
            with replacing(path, self.folder / "unfinished") as place:
                place.write_bytes(save(arrays, described))
        except OSError as error:
            raise self._unwritable(error) from error

    def settle(self, keys: Iterable[str]) -> None:
        """Remember that these streams, just written, are intact, so that `check` need not read them."""
        self._memory.store({self.path(key): _INTACT for key in keys})

    def _verified(self, key: str) -> Stream:
        path = self.path(key)
        data = path.read_bytes()
        try:
            described = _header(data)["__metadata__"]
            arrays = load(data)
            claimed = described.pop("checksum")
            if described["key"] == key and _checksum(arrays, described) == claimed:
                quality = json.loads(described["quality"])
                # Arrays over the file's bytes are read-only, and torch wants to write.
                return Stream(arrays["values"].copy(), arrays["times"].copy(), quality, described["reason"])
        except _UNREADABLE:
            pass
        raise CacheError(f"{path} is half-written or altered; run subtext-extract for this corpus again")

    def _unwritable(self, error: OSError) -> CacheError:
        return CacheError(
            f"cannot write to the feature cache {self.folder}: {error.strerror}; "
            "free some space or set paths.features to a folder that can be written"
        )


_UNREADABLE: Final = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What a file that is not what we wrote can raise while it is taken apart."""


def _checksum(arrays: Mapping[str, np.ndarray], described: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(described), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _header(data: bytes) -> dict[str, dict]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if length > _MAX_HEADER:
        raise ValueError("no safetensors header")
    return json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])


def _read_info(path: Path) -> StreamInfo:
    with path.open("rb") as file:
        length = file.read(_LENGTH_BYTES)
        header = _header(length + file.read(min(int.from_bytes(length, "little"), _MAX_HEADER)))
    described, shape = header["__metadata__"], header["values"]["shape"]
    return StreamInfo(shape[0], tuple(shape[1:]), json.loads(described["quality"]), described["reason"])


def _identity(path: Path) -> str | OSError:
    try:
        status = path.stat()
    except OSError as error:
        return error
    state = f" {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(os.fsencode(path.absolute()) + state.encode()).hexdigest()
