"""Streams that other tools extracted (OpenFace, MMSA ...), named by the manifest's column `features`."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from subtext.core.schema import OneOf, checked
from subtext.core.weights_file import opened
from subtext.errors import MediaError, WeightsError
from subtext.features.extractor import Extractor, NoSource, Source, file_sources, settings_digest
from subtext.features.stream import Stream
from subtext.labels import MODALITIES
from subtext.manifest import Manifest
from subtext.media.named import pathless
from subtext.media.segment import Segment

VERSION: Final = 1
_SUFFIXES: Final = (".npz", ".safetensors")
_REAL: Final = "iuf"
"""Kinds of numbers that can be steps; complex ones would lose a part of theirs."""
_EMPTY: Final = "the features file's array has no step"


class PrecomputedFeatures(Extractor):
    """float32 `[time, dim]` of one modality from `.npz` (never a pickle) or `.safetensors` files.

    A file holds arrays named `visual`, `text`, `prosody` (any of them) and may hold `visual_times` and so on, `[time]`
    in s. Without times the array is the row's stream. With times, which count from the start of the recording, a row
    with `start` or `end` takes only the steps in between.

    Args:
        modality: which array to read.
    """

    @checked
    def __init__(self, modality: Annotated[str, OneOf(MODALITIES)]) -> None:
        self.modality = modality
        self._names: dict[Path, set[str] | MediaError] = {}

    def fingerprint(self) -> str:
        """sha256 over modality and version of the code."""
        return settings_digest({"extractor": "precomputed", "version": VERSION, "modality": self.modality})

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """The row's file in the column `features` if it holds this modality.

        A file that cannot be opened fails in every modality, because which ones it was to replace is not known.
        """
        found = file_sources(manifest, ("features",), "the row names no features file")
        return [self._source(source) for source in found]

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        """Read the array of one file once, and give each row its part."""
        path = sources[0].path
        if path is None:
            raise ValueError("precomputed features are read from files")
        values, times = self._read(path)
        for number, source in enumerate(sources):
            yield number, _cut(values, times, source.segment)

    def _source(self, source: Source | NoSource) -> Source | NoSource:
        if isinstance(source, NoSource) or source.path is None:
            return source
        if source.path not in self._names:
            self._names[source.path] = _names(source.path)
        names = self._names[source.path]
        if isinstance(names, MediaError):
            return NoSource("failed", pathless(names, source.path))
        return source if self.modality in names else NoSource("absent", "the features file has no such array")

    def _read(self, path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64] | None]:
        arrays = _arrays(path, (self.modality, f"{self.modality}_times"))
        values, times = arrays[self.modality], arrays.get(f"{self.modality}_times")
        what = f"{path}: array '{self.modality}'"
        if values.dtype.kind not in _REAL or values.ndim != 2 or not values.shape[1]:
            raise MediaError(f"{what} is {values.dtype} of shape {values.shape}; save real numbers as [time, dim]")
        steps = values.astype(np.float32)
        if wrong := np.count_nonzero(~np.isfinite(steps)):
            raise MediaError(f"{what} holds {wrong} values that are not finite; replace them")
        if times is None:
            return steps, None
        if times.dtype.kind not in _REAL or times.shape != values.shape[:1] or not np.isfinite(times).all():
            raise MediaError(f"{path}: array '{self.modality}_times' must hold {len(values)} finite times in s")
        return steps, times.astype(np.float64)


def _cut(
    values: npt.NDArray[np.float32], times: npt.NDArray[np.float64] | None, segment: Segment
) -> Stream | MediaError:
    if times is None or not len(times) or (segment.start is None and segment.end is None):
        places = np.arange(len(values), dtype=np.float64) if times is None else times
        return Stream(values, places, {}, "" if len(values) else _EMPTY)
    start = segment.start or 0.0
    chosen = (times >= start) & (times < (np.inf if segment.end is None else segment.end))
    if not chosen.any():
        return MediaError(
            f"no step lies in the segment {start:g}-{segment.end or np.inf:g} s, the file's times are "
            f"{times.min():g}-{times.max():g} s from the start of the recording; correct either"
        )
    return Stream(values[chosen], times[chosen] - start)


def _names(path: Path) -> set[str] | MediaError:
    """The arrays in a file, or why it cannot be opened."""
    try:
        return set(_arrays(path, ()))
    except MediaError as error:
        return error


_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    WeightsError,
    zlib.error,
)
"""What a file that somebody damaged makes numpy, zipfile or safetensors raise."""


def _arrays(path: Path, wanted: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    """All arrays' names, and the values of the wanted ones (the others are empty).

    Raises:
        MediaError: the file is missing, damaged, of another kind, or holds Python objects.
    """
    if path.suffix not in _SUFFIXES:
        raise MediaError(f"{path}: features are read from {' and '.join(_SUFFIXES)}; save them as one of these")
    if path.exists() and not path.is_file():
        raise MediaError(f"{path}: is not a file; name one that holds features")  # a pipe would be waited for
    nothing = np.zeros(0)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] if name in wanted else nothing for name in file.files}
        with opened(path, "numpy") as file:
            return {name: file.get_tensor(name) if name in wanted else nothing for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; correct the manifest") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise MediaError(f"{path}: the features cannot be read ({reason}); save the file again") from error
