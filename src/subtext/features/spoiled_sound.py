"""Spoiled sound: noise added at a signal-to-noise ratio."""

import hashlib
import math
from dataclasses import replace
from typing import Final

import numpy as np

from subtext.features.extractor import settings_digest
from subtext.features.prosody import SAMPLE_RATE, ProsodyExtractor
from subtext.features.stream import Stream
from subtext.media.audio import Sound, Waveform

VERSION: Final = 1
FRAME: Final = 0.02
"""Seconds of sound whose power is judged together."""
MARGIN: Final = 30.0
"""dB below the loud frames (their 95th percentile) under which a frame is a pause."""
_LOWEST: Final = 20.0
"""Hz below which pink noise has no more power: it would be heard by nobody, and is most of it otherwise."""


def speech_power(samples: Waveform, sample_rate: int = SAMPLE_RATE) -> float:
    """Mean power of the parts in which somebody speaks, so that pauses do not make the noise softer.

    In the spirit of ITU-T P.56's active speech level, with a threshold on frames in place of its envelope.

    Args:
        samples: mono; a constant offset does not count.
        sample_rate: Hz.
    """
    centred = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    size = max(1, round(FRAME * sample_rate))
    whole = len(centred) // size * size
    if not whole:
        return float(np.mean(centred**2))
    powers = np.mean(centred[:whole].reshape(-1, size) ** 2, axis=1)
    return float(powers[powers >= np.quantile(powers, 0.95) * 10 ** (-MARGIN / 10)].mean())


def add_noise(samples: Waveform, snr: float, *, pink: bool, seed: int, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """The sound with noise whose power lies `snr` dB below that of the speech.

    The same sound gets the same noise at every ratio, only louder. Nothing is clipped.

    Args:
        samples: mono, full scale = 1.
        snr: dB; infinite for no noise.
        pink: equal power an octave instead of equal power a Hz.
        seed: with the sound, decides the noise.
        sample_rate: Hz.
    """
    if snr == math.inf:
        return samples
    digest = hashlib.sha256(f"{seed} ".encode() + np.ascontiguousarray(samples).tobytes()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(len(samples))
    if pink:
        frequency = np.fft.rfftfreq(len(noise), 1 / sample_rate)
        falling = np.where(frequency < _LOWEST, 0.0, 1 / np.sqrt(np.maximum(frequency, _LOWEST)))
        noise = np.fft.irfft(np.fft.rfft(noise) * falling, len(noise))
    power = float(np.mean(noise**2))
    if power == 0:  # too short for any frequency of pink noise
        return samples
    wanted = speech_power(samples, sample_rate) * 10 ** (-snr / 10)
    return (samples + noise * math.sqrt(wanted / power)).astype(np.float32)


class DegradedVoice(ProsodyExtractor):
    """A run's prosody extractor on noisy sound.

    Args:
        clean: the run's extractor.
        snr: dB.
        pink: see `add_noise`.
        seed: see `add_noise`.
    """

    def __init__(self, clean: ProsodyExtractor, snr: float, *, pink: bool, seed: int) -> None:
        vars(self).update(vars(clean))
        self.snr, self.pink, self.seed = snr, pink, seed

    def stream_fingerprint(self) -> str:
        """sha256 over what shapes the clean frames, and the noise."""
        settings = {"noise": "pink" if self.pink else "white", "snr": self.snr, "seed": self.seed, "version": VERSION}
        return settings_digest({"clean": super().stream_fingerprint(), **settings})

    def _stream(self, sound: Sound) -> Stream:
        return super()._stream(
            replace(sound, samples=add_noise(sound.samples, self.snr, pink=self.pink, seed=self.seed))
        )
