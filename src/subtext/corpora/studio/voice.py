"""Source-filter speech: a glottal pulse train through formant resonators, syllable by syllable.

The scheme is that of formant synthesis (Klatt 1980, doi 10.1121/1.383940), cut down to what carries prosody: pitch
contour, energy, rate, jitter, shimmer, breath and spectral tilt follow a polarity; the vowels are random and mean
nothing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from subtext.corpora.studio.speakers import Voice

Waveform = npt.NDArray[np.float32]

VOWELS: Final = (
    (730, 1090, 2440, 3400),
    (530, 1840, 2480, 3500),
    (270, 2290, 3010, 3600),
    (570, 840, 2410, 3300),
    (300, 870, 2240, 3300),
    (490, 1350, 1690, 3300),
    (640, 1190, 2390, 3400),
    (660, 1720, 2410, 3500),
)
"""Formants of American English vowels in Hz, men (Peterson and Barney 1952), and a usual fourth one."""

BANDWIDTHS: Final = (80.0, 100.0, 140.0, 220.0)


@dataclass(frozen=True)
class Delivery:
    """How one clip is spoken, after speaker, polarity, intensity and chance.

    Attributes:
        f0: mean pitch, Hz.
        spread: spread of the pitch over the phrase, semitones.
        slope: rise of the pitch from first to last syllable, semitones.
        rate: syllables per second.
        jitter: irregularity of the glottal periods, share of the period.
        shimmer: irregularity of the pulses' strength, share of it.
        breath: share of noise in the source.
        tilt: corner frequency of the source, Hz.
        level: loudness, root mean square.
    """

    f0: float
    spread: float
    slope: float
    rate: float
    jitter: float
    shimmer: float
    breath: float
    tilt: float
    level: float


def draw_delivery(voice: Voice, polarity: int, intensity: float, rng: np.random.Generator) -> Delivery:
    """How this speaker sounds with a polarity at an intensity in 0-1; ordinary variation is drawn anew."""
    glad = intensity if polarity > 0 else 0.0
    low = intensity if polarity < 0 else 0.0
    semitones = 3.5 * glad - 2.5 * low + rng.normal(0, 0.5)
    return Delivery(
        f0=voice.f0 * 2 ** (semitones / 12),
        spread=voice.spread * float(np.exp(0.80 * glad - 1.15 * low + rng.normal(0, 0.12))),
        slope=2.0 * glad - 3.5 * low - 0.8 + rng.normal(0, 0.7),
        rate=voice.rate * float(np.exp(0.25 * glad - 0.34 * low + rng.normal(0, 0.04))),
        jitter=voice.jitter * float(np.exp(0.1 * glad + 1.35 * low + rng.normal(0, 0.15))),
        shimmer=0.05 + 0.02 * glad + 0.24 * low + abs(rng.normal(0, 0.02)),
        breath=float(np.clip(voice.breath * np.exp(-0.4 * glad + 1.1 * low + rng.normal(0, 0.15)), 0, 0.4)),
        tilt=voice.tilt * float(np.exp(0.65 * glad - 0.70 * low + rng.normal(0, 0.08))),
        level=voice.level * 10 ** ((4.0 * glad - 4.5 * low) / 20),
    )


def speak(
    delivery: Delivery, tract: float, duration: float, sample_rate: int, rng: np.random.Generator
) -> tuple[Waveform, Waveform]:
    """One phrase of random syllables.

    Args:
        delivery: pitch, energy, rate and voice quality.
        tract: relative length of the vocal tract.
        duration: seconds.
        sample_rate: Hz.
        rng: chooses vowels, accents and noise.

    Returns:
        The waveform, float32 `[samples]`, and the opening of the mouth in 0-1 at each sample.
    """
    total = round(duration * sample_rate)
    starts, lengths = _syllables(delivery.rate, duration, rng)
    f0 = _pitch(delivery, starts, lengths, total, sample_rate, rng)
    source = _source(f0, delivery, sample_rate, rng)
    out = np.zeros(total)
    mouth = np.zeros(total)
    edge = round(0.025 * sample_rate)
    for start, length in zip(starts, lengths, strict=True):
        first, last = round(start * sample_rate), min(round((start + length) * sample_rate), total)
        if last - first < 3 * edge:
            continue
        formants = np.array(VOWELS[rng.integers(len(VOWELS))]) / tract * rng.uniform(0.96, 1.04)
        strength = 10 ** (rng.normal(0, 1.2) / 20)
        envelope = _envelope(last - first, edge)
        out[first:last] += strength * envelope * _resonate(source[first:last], formants, sample_rate)
        mouth[first:last] = np.maximum(mouth[first:last], envelope * np.clip(formants[0] * tract / 700, 0.35, 1.0))
        _add_consonant(out, first, sample_rate, rng)
    loud = np.sqrt(np.mean(out**2)) or 1.0
    return (out * (delivery.level / loud)).astype(np.float32), mouth.astype(np.float32)


def _syllables(rate: float, duration: float, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    starts: list[float] = []
    lengths: list[float] = []
    now = rng.uniform(0.08, 0.16)
    while True:
        period = rng.uniform(0.8, 1.2) / rate
        if now + period > duration - 0.06:
            return starts, lengths
        starts.append(now)
        lengths.append(period * rng.uniform(0.74, 0.86))
        now += period


def _pitch(
    delivery: Delivery, starts: list[float], lengths: list[float], total: int, rate: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Pitch at each sample: a declining line with an accent on every syllable, in Hz."""
    places = [0.0] + [start + length / 2 for start, length in zip(starts, lengths, strict=True)] + [total / rate]
    accents = rng.normal(0, 1, len(places))
    # Accents alternate, as stressed and unstressed syllables do.
    accents = 0.5 * accents + 0.85 * np.where(np.arange(len(places)) % 2, 1, -1)
    line = delivery.slope * (np.linspace(0, 1, len(places)) - 0.5)
    semitones = np.interp(np.arange(total) / rate, places, line + delivery.spread * accents)
    return delivery.f0 * 2 ** (semitones / 12)


def _source(
    f0: npt.NDArray[np.float64], delivery: Delivery, rate: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Glottal flow derivative: pulses with jitter and shimmer, low-passed, plus breath."""
    total = len(f0)
    pulses = np.zeros(total + 2)
    place = 0.0
    while place < total - 1:
        whole = int(place)
        strength = max(1 + delivery.shimmer * rng.normal(), 0.1)
        # A pulse between two samples is shared by them, else the pitch would be rounded to whole samples.
        pulses[whole] += strength * (whole + 1 - place)
        pulses[whole + 1] += strength * (place - whole)
        place += rate / f0[whole] * max(1 + delivery.jitter * rng.normal(), 0.5)
    decay = np.exp(-2 * np.pi * delivery.tilt / rate)
    flow = lfilter([1 - decay], [1, -decay], pulses[:total])
    flow = lfilter([1, -0.98], [1, -decay], flow)
    noise = lfilter([1, -0.7], [1], rng.normal(0, 1, total))
    level = np.sqrt(np.mean(flow**2)) or 1.0
    return flow / level + delivery.breath * noise


def _resonate(source: npt.NDArray[np.float64], formants: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
    out = source
    for frequency, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        if frequency >= 0.47 * rate:
            continue
        radius = np.exp(-np.pi * bandwidth / rate)
        c = -2 * radius * np.cos(2 * np.pi * frequency / rate)
        out = lfilter([1 + c + radius**2], [1, c, radius**2], out)
    return out


def _envelope(length: int, edge: int) -> npt.NDArray[np.float64]:
    envelope = np.ones(length)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / edge)
    envelope[:edge] = rise
    envelope[length - 2 * edge :] = 0.5 + 0.5 * np.cos(np.pi * np.arange(2 * edge) / (2 * edge))
    return envelope


def _add_consonant(out: npt.NDArray[np.float64], first: int, rate: int, rng: np.random.Generator) -> None:
    """Now and then a burst of noise before the vowel, as of s, f or t."""
    if rng.random() < 0.45:
        return
    length = round(rng.uniform(0.02, 0.06) * rate)
    start = max(first - length // 2, 0)
    burst = lfilter([1, -rng.uniform(0.5, 0.95)], [1], rng.normal(0, 1, length)) * np.hanning(length)
    stop = min(start + length, len(out))
    out[start:stop] += rng.uniform(0.02, 0.10) * burst[: stop - start]
