"""Source-filter voices: pitch, energy, rate and jitter follow the polarity, and can be heard in the sound."""

from dataclasses import replace

import numpy as np
import pytest

from subtext.corpora.studio.speakers import draw_speaker
from subtext.corpora.studio.voice import Delivery, draw_delivery, speak

RATE = 16_000
STEADY = Delivery(f0=150, spread=0, slope=0, rate=4.5, jitter=0, shimmer=0, breath=0.02, tilt=1200, level=0.06)


def said(delivery: Delivery, seconds: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return speak(delivery, 1.0, seconds, RATE, np.random.default_rng(seed))


def pitch(waveform: np.ndarray) -> float:
    """Pitch of the loudest tenth of a second by autocorrelation, Hz."""
    length = RATE // 10
    starts = range(0, len(waveform) - length, length // 2)
    frame = max((waveform[start : start + length] for start in starts), key=lambda part: float(np.sum(part**2)))
    correlation = np.correlate(frame, frame, "full")[length - 1 :]
    lags = np.arange(RATE // 400, RATE // 70)
    return RATE / lags[np.argmax(correlation[lags])]


@pytest.mark.parametrize("number", range(6))
def test_deliveries_follow_the_polarity(number: int) -> None:
    voice = draw_speaker(0, number).voice
    low, even, glad = (
        [draw_delivery(voice, polarity, 1.0, np.random.default_rng(seed)) for seed in range(40)]
        for polarity in (-1, 0, 1)
    )

    def mean(deliveries: list[Delivery], name: str) -> float:
        return float(np.mean([getattr(delivery, name) for delivery in deliveries]))

    for name in ("f0", "spread", "slope", "rate", "level", "tilt"):
        assert mean(low, name) < mean(even, name) < mean(glad, name), name
    for name in ("jitter", "shimmer", "breath"):
        assert mean(low, name) > 1.3 * mean(even, name), name


def test_no_intensity_is_no_polarity() -> None:
    voice = draw_speaker(0, 0).voice
    first, second = (draw_delivery(voice, polarity, 0.0, np.random.default_rng(0)) for polarity in (-1, 1))
    assert first == second


@pytest.mark.parametrize("f0", [95.0, 150.0, 230.0])
def test_pitch_can_be_heard(f0: float) -> None:
    waveform, _ = said(replace(STEADY, f0=f0))
    assert pitch(waveform) == pytest.approx(f0, rel=0.03)


def test_loudness_and_length_are_as_asked() -> None:
    for level in (0.02, 0.1):
        waveform, mouth = said(replace(STEADY, level=level), seconds=1.7)
        assert waveform.dtype == np.float32
        assert len(waveform) == len(mouth) == round(1.7 * RATE)
        assert np.sqrt(np.mean(waveform**2)) == pytest.approx(level, rel=1e-3)
        assert 0 <= mouth.min() <= mouth.max() <= 1


def test_more_syllables_in_faster_speech() -> None:
    def openings(rate: float) -> int:
        _, mouth = said(replace(STEADY, rate=rate), seconds=4.0)
        return int(np.sum(np.diff((mouth > 0.1).astype(int)) == 1))

    assert openings(6.0) > openings(4.5) > openings(3.0) > 5


def test_jitter_blurs_the_periods() -> None:
    def periodicity(jitter: float) -> float:
        waveform, _ = said(replace(STEADY, jitter=jitter, breath=0.0))
        lag = round(RATE / STEADY.f0)
        return float(np.corrcoef(waveform[:-lag], waveform[lag:])[0, 1])

    assert periodicity(0.0) > periodicity(0.03) + 0.05


def test_the_mouth_is_shut_in_the_pauses() -> None:
    waveform, mouth = said(STEADY)
    shut = mouth == 0
    assert 0.05 < shut.mean() < 0.7
    assert np.mean(waveform[shut] ** 2) < 0.2 * np.mean(waveform[~shut] ** 2)


def test_chance_comes_from_the_generator_alone() -> None:
    first, second, other = said(STEADY, seed=3)[0], said(STEADY, seed=3)[0], said(STEADY, seed=4)[0]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
