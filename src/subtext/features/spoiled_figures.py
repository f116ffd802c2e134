"""Spoiled figures, of streams that another tool measured."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from subtext.features.stream import Stream

Floats = npt.NDArray[np.float64]


def spread(streams: Sequence[Stream]) -> Floats:
    """`[dim]`: standard deviation of each figure over all steps."""
    steps = np.concatenate([np.asarray(stream.values, np.float64) for stream in streams])
    return np.asarray(steps.std(axis=0))


def noisy(stream: Stream, snr: float, deviation: Floats, seed: int) -> Stream:
    """A stream with Gaussian noise on its figures.

    Args:
        stream: float `[time, dim]`.
        snr: dB, of figures that were standardised: noise and figure have the same spread at 0 dB.
        deviation: `[dim]`, the figures' spread.
        seed: with the stream, decides the noise; it is the same at every ratio, only larger.
    """
    if snr == math.inf:
        return stream
    values = np.asarray(stream.values, np.float32)
    digest = hashlib.sha256(f"{seed} ".encode() + np.ascontiguousarray(values).tobytes()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(values.shape)
    spoiled = values + noise * deviation * 10 ** (-snr / 20)
    return Stream(spoiled.astype(np.float32), stream.times, stream.quality, stream.reason)
