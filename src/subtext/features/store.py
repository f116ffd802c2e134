"""Reading streams for training and prediction."""

from collections import OrderedDict
from typing import Final

from subtext.features.cache import Cache
from subtext.features.index import FeatureIndex
from subtext.features.stream import Stream

DEFAULT_MAX_BYTES: Final = 512 << 20


class StreamStore:
    """Streams by (row, modality), the recently read ones kept in memory.

    Args:
        index: which stream belongs to which row.
        cache: where they are.
        max_bytes: how much to keep in memory; each process that holds a store keeps its own.
    """

    def __init__(self, index: FeatureIndex, cache: Cache, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.index = index
        self._cache = cache
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Stream] = OrderedDict()
        self._bytes = 0

    def get(self, row_id: str, modality: str) -> Stream | None:
        """The stream of a row, None where it has none. Rows of identical content share one object: don't write to it.

        Raises:
            CacheError: the stream is gone or altered.
        """
        key = self.index.key(row_id, modality)
        return None if key is None else self.read(key)

    def read(self, key: str) -> Stream:
        """The stream of a key.

        Raises:
            CacheError: the stream is gone or altered.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        stream = self._cache.read(key)
        if stream.nbytes <= self._max_bytes:
            self._kept[key] = stream
            self._bytes += stream.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return stream

    @property
    def nbytes(self) -> int:
        """Bytes kept in memory now."""
        return self._bytes
