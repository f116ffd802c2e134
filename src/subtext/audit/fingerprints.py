"""Fingerprints that find copies: the same for a recording and for its re-encoded, louder or brighter copy.

The sound's is the course of its energy in a few bands, as in Haitsma & Kalker (ISMIR 2002), over the whole segment at a
low resolution and kept as numbers instead of bits. The picture's is a small grey copy without its mean, the first step
of every perceptual hash (Zauner 2010), kept likewise. Two are compared by their cosine: a few bits lost to a codec cost
little, while other words or another pose cost much.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from subtext.media.audio import Waveform
from subtext.media.video import Image

Fingerprint = npt.NDArray[np.float32]
"""Of length one."""

SOUND_DIM: Final = 8 * 48
PICTURE_DIM: Final = 32 * 32
_BANDS: Final = (100, 250, 400, 630, 920, 1270, 1720, 2320, 3150)
"""Edges in Hz, two critical bands each (Zwicker 1961): below what telephony and low bit rates cut off."""
_STEPS: Final = 48
_RANGE: Final = 40.0
"""dB below the loudest moment that count: deeper down is noise, of the room or of the codec."""
_LEAST: Final = 0.3
"""Seconds below which a sound is no mark of anything."""
_FLAT: Final = 2.0
"""Grey levels of standard deviation below which a picture shows nothing."""


def sound_fingerprint(samples: Waveform, sample_rate: int = 16_000) -> Fingerprint | None:
    """`[SOUND_DIM]`: log energy of 8 bands over 48 equal steps; None for silence or a sound under 0.3 s.

    Gain adds the same to all values, and their mean is taken off. A codec's delay of a few hundredths of a second is
    small beside a step of a whole utterance.

    Args:
        samples: mono.
        sample_rate: Hz.
    """
    if len(samples) < _LEAST * sample_rate:
        return None
    size = 512
    hop = max(1, min(size // 2, (len(samples) - size) // (2 * _STEPS) or 1))
    starts = np.arange(0, len(samples) - size + 1, hop)
    if len(starts) < _STEPS:
        return None
    window = np.hanning(size).astype(np.float32)
    power = np.empty((len(starts), size // 2 + 1), dtype=np.float32)
    for begin in range(0, len(starts), 4096):
        frames = samples[starts[begin : begin + 4096, None] + np.arange(size)]
        power[begin : begin + 4096] = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    edges = np.searchsorted(frequency, _BANDS)
    bands = np.add.reduceat(power, edges, axis=1)[:, : len(_BANDS) - 1]
    places = np.minimum(np.arange(len(starts)) * _STEPS // len(starts), _STEPS - 1)
    energy = np.zeros((_STEPS, len(_BANDS) - 1))
    np.add.at(energy, places, bands)
    energy /= np.bincount(places, minlength=_STEPS)[:, None]
    top = float(energy.max())
    if top <= 1e-10:
        return None
    level = np.maximum(10 * np.log10(np.maximum(energy, 1e-20) / top), -_RANGE)
    return _unit(level.ravel())


def picture_fingerprint(image: Image) -> Fingerprint | None:
    """`[PICTURE_DIM]`: a 32 x 32 grey copy without its mean; None for a picture that shows nothing.

    Args:
        image: uint8 RGB `[height, width, 3]`.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    return None if small.std() < _FLAT else _unit(small.ravel())


def _unit(values: npt.NDArray[np.float64]) -> Fingerprint | None:
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return None if length < 1e-6 else (centred / length).astype(np.float32)
