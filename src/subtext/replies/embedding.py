"""One vector a text, from the project's text encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.features.extractor import Source
from subtext.features.stream import Stream
from subtext.features.text import TextExtractor

Floats = npt.NDArray[np.float64]


class Embedder:
    """Unit-length means of a text's chunks; a text without words is all 0. What was embedded is kept.

    Args:
        extractor: the sentence model; default: the project's, MiniLM.
    """

    def __init__(self, extractor: TextExtractor | None = None) -> None:
        self.extractor = extractor or TextExtractor()
        self._known: dict[str, Floats] = {}
        self._dim = 0

    def __call__(self, texts: Sequence[Any]) -> Floats:
        """`[n, dim]`; what is null or empty is all 0.

        Raises:
            WeightsError: the sentence model is not there.
        """
        said = ["" if not isinstance(text, str) or pd.isna(text) else text for text in texts]
        new = sorted({text for text in said if text.strip()} - self._known.keys())
        # One text at least, which tells how wide the vectors are.
        new = new or ([] if self._dim else ["a"])
        for number, stream in self.extractor.extract([Source(texts=(text,)) for text in new]):
            if isinstance(stream, Stream):  # the other kind is of recordings
                self._dim = stream.values.shape[1]
                total = stream.values.sum(axis=0, dtype=np.float64)
                self._known[new[number]] = total / max(float(np.linalg.norm(total)), 1e-12)
        empty = np.zeros(self._dim)
        return np.stack([self._known.get(text, empty) for text in said]) if said else np.zeros((0, self._dim))


def cosines(ours: Floats, theirs: Floats) -> Floats:
    """Row by row; NaN where one of the two is all 0."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lengths > 0, (ours * theirs).sum(axis=1) / lengths, np.nan)
