"""What every extractor provides, and how it says what a row's stream is made of."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from subtext.errors import MediaError
from subtext.features.cache import Cache
from subtext.features.stream import Stream
from subtext.manifest import Manifest
from subtext.media.segment import Segment

Status = Literal["ok", "absent", "failed"]
WHOLE: Final = Segment()


@dataclass(frozen=True)
class Source:
    """What a stream is made of: a part of a file, or texts.

    Attributes:
        path: the file, None for texts.
        segment: the part of the file.
        texts: the texts, the one that the row is about last.
    """

    path: Path | None = None
    segment: Segment = WHOLE
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSource:
    """A row that has nothing to extract from.

    Attributes:
        status: "absent" where the row has no such modality, "failed" where something is wrong with it.
        reason: what is missing or wrong, for the table of results.
    """

    status: Status
    reason: str


class Extractor(ABC):
    """Turns sources of one modality into streams. Its settings can be pickled, so that worker processes can use it.

    Attributes:
        modality: "visual", "text" or "prosody".
        in_workers: whether it decodes files, each in a worker process, or works in batches in the main process.
    """

    modality: str
    in_workers: bool = True

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 over every setting and weight that shapes the streams a model sees, and over the code's version.

        Raises:
            WeightsError: weights that it needs are missing or altered.
        """

    def stream_fingerprint(self) -> str:
        """The part of `fingerprint` that shapes a stream before `finish`; the streams' keys are made from it."""
        return self.fingerprint()

    @abstractmethod
    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """For each row of the manifest what its stream is made of, or why there is nothing."""

    @abstractmethod
    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        """Make streams.

        Args:
            sources: all of one file where `in_workers`, else any.

        Yields:
            The number of the source, in any order, and its stream or what is wrong with it.

        Raises:
            MediaError: none of the sources can be used.
            WeightsError: weights that it needs are missing or altered.
        """

    def finish(self, keys: Sequence[str | None], manifest: Manifest, cache: Cache) -> list[str | None]:
        """Derive what a model sees from the extracted streams, such as normalised ones.

        Args:
            keys: the stream of each row, None where it has none.
            manifest: the rows.
            cache: where streams are read and derived ones are written.

        Returns:
            The key of each row's final stream; by default the extracted ones.
        """
        return list(keys)


def settings_digest(settings: Mapping[str, object]) -> str:
    """sha256 over named settings (plain values), in hex."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()
