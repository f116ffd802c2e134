"""What every extractor provides, and how it says what a row's stream is made of."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from subtext.errors import ManifestError, MediaError
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
        column: the manifest's column that names the file.
        texts: the texts, the one that the row is about last.
        side: half of the picture that the person is in, "left" or "right"; "" = whoever is seen longest.
        place: what messages call the file, see `Manifest.place`; "" = its path.
    """

    path: Path | None = None
    segment: Segment = WHOLE
    column: str = ""
    texts: tuple[str, ...] = ()
    side: str = ""
    place: str = field(default="", compare=False)

    @property
    def is_picture(self) -> bool:
        """Whether the file is one picture, which has no segments."""
        return self.column == "image"


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
        threads: how many threads may decode; 0 = as many as there are cores. Worker processes set 1.
    """

    modality: str
    in_workers: bool = True
    threads: int = 0

    def __init_subclass__(cls, **more: Any) -> None:
        """Ask every class for a fingerprint of its own: one that it inherits does not tell what it does otherwise."""
        super().__init_subclass__(**more)
        if not {"fingerprint", "stream_fingerprint"} & cls.__dict__.keys():
            cls.fingerprint = Extractor.fingerprint  # type: ignore[method-assign]

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


def file_sources(manifest: Manifest, columns: Sequence[str], nothing: str) -> list[Source | NoSource]:
    """For each row its segment of the file in the first of `columns` that is filled; a picture has no segment.

    Where sound and picture are files with clocks of their own, the manifest's optional column `audio_offset` (s) says
    what is to be added to `start` and `end` to get times in `audio`.

    Args:
        manifest: the rows.
        columns: path columns in order of preference.
        nothing: what to say of a row that fills none of them.

    Raises:
        ManifestError: an `audio_offset` is no number.
    """
    table = manifest.table
    named = table[columns[0]]
    column = pd.Series(columns[0], index=table.index).where(named.notna(), None)
    for other in columns[1:]:
        column = column.where(named.notna() | table[other].isna(), other)
        named = named.fillna(table[other])
    out: list[Source | NoSource] = []
    paths = {name: manifest.path(name) for name in named.dropna().unique()}
    times = zip(table["start"], table["end"], _audio_offsets(manifest), strict=True)
    for row, (name, which, (start, end, offset)) in enumerate(zip(named, column, times, strict=True)):
        if pd.isna(name):
            out.append(NoSource("absent", nothing))
            continue
        source = Source(paths[name], column=which, place=manifest.place(row, which))
        shift = offset if which == "audio" else 0.0
        if shift and pd.isna(start):
            # Without a start the segment begins where the other file does, which need not be where this one does.
            start = 0.0
        segment = Segment(*(None if (time := _seconds(bound)) is None else time + shift for bound in (start, end)))
        out.append(source if source.is_picture else replace(source, segment=segment))
    return out


def _audio_offsets(manifest: Manifest) -> list[float]:
    if "audio_offset" not in manifest.table:
        return [0.0] * len(manifest)
    written = manifest.table["audio_offset"]
    offsets = pd.to_numeric(written, errors="coerce").astype("float64")
    bad = written.index[offsets.isna() & written.notna() & (written.astype("string") != "")]
    if len(bad):
        raise ManifestError(
            f"{manifest.place(list(written.index).index(bad[0]), 'audio_offset')}: not a number; write seconds or "
            "leave it empty"
        )
    return offsets.fillna(0.0).tolist()


def _seconds(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def settings_digest(settings: Mapping[str, object]) -> str:
    """sha256 over named settings (plain values), in hex."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()
