"""Noise: the ratio that was asked for, measured apart, in sound and in figures; the colour; nothing in silence."""

import math
import pickle

import numpy as np
import pytest
from scipy.signal import welch

from subtext.features.prosody import ProsodyExtractor
from subtext.features.spoiled_figures import noisy, spread
from subtext.features.spoiled_sound import DegradedVoice, add_noise, speech_power
from subtext.features.stream import Stream
from subtext.media.audio import Sound

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """1 s of a tone, 1 s of near silence, 1 s of a softer tone, on a constant offset."""
    time = np.arange(RATE) / RATE
    loud, soft = 0.2 * np.sin(2 * np.pi * 200 * time), 0.1 * np.sin(2 * np.pi * 300 * time)
    hush = 1e-4 * np.random.default_rng(0).standard_normal(RATE)
    return (np.concatenate([loud, hush, soft]) + 0.05).astype(np.float32)


def test_pauses_do_not_count_as_speech(speech: np.ndarray) -> None:
    assert speech_power(speech) == pytest.approx((0.2**2 / 2 + 0.1**2 / 2) / 2, rel=0.01)


@pytest.mark.parametrize("pink", [False, True])
@pytest.mark.parametrize("snr", [20.0, 5.0, 0.0, -5.0])
def test_the_ratio_is_met(speech: np.ndarray, snr: float, pink: bool) -> None:
    before = speech.copy()
    noise = add_noise(speech, snr, pink=pink, seed=0).astype(np.float64) - speech
    power = (0.2**2 / 2 + 0.1**2 / 2) / 2
    assert 10 * np.log10(power / np.mean(noise**2)) == pytest.approx(snr, abs=0.05)
    # It lies over pauses too, as loud as elsewhere.
    assert np.mean(noise[RATE : 2 * RATE] ** 2) == pytest.approx(np.mean(noise**2), rel=0.25)
    assert (speech == before).all()


def test_pink_noise_has_equal_power_an_octave_and_white_noise_a_hertz(speech: np.ndarray) -> None:
    def octaves(pink: bool) -> np.ndarray:
        noise = add_noise(np.tile(speech, 4), 0.0, pink=pink, seed=0) - np.tile(speech, 4)
        frequency, density = welch(noise, RATE, nperseg=4096)
        edges = [250, 500, 1000, 2000, 4000]
        return np.array([density[(frequency >= a) & (frequency < 2 * a)].sum() for a in edges])

    np.testing.assert_allclose(octaves(True) / octaves(True)[0], 1, rtol=0.2)
    np.testing.assert_allclose(octaves(False) / octaves(False)[0], [1, 2, 4, 8, 16], rtol=0.2)


def test_the_same_sound_gets_the_same_noise_only_louder(speech: np.ndarray) -> None:
    soft, loud = (add_noise(speech, snr, pink=False, seed=4).astype(np.float64) - speech for snr in (20.0, 0.0))
    np.testing.assert_allclose(loud, 10 * soft, atol=1e-5)
    again, other = (add_noise(speech, 0.0, pink=False, seed=seed) - speech for seed in (4, 5))
    np.testing.assert_allclose(again, loud, atol=1e-6)
    assert not np.allclose(other, loud, atol=1e-2)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), np.full(7, 0.1, np.float32), np.ones(1, np.float32)])
def test_silence_stays_silence(samples: np.ndarray) -> None:
    for pink in (False, True):
        np.testing.assert_allclose(add_noise(samples, 0.0, pink=pink, seed=0), samples, atol=1e-6)


def test_no_noise_is_the_very_sound(speech: np.ndarray) -> None:
    assert add_noise(speech, math.inf, pink=True, seed=0) is speech


def test_a_noisy_extractor_makes_the_frames_of_the_noisy_sound(speech: np.ndarray) -> None:
    clean = ProsodyExtractor(hop=0.04, normalise="utterance")
    noisy_one: DegradedVoice = pickle.loads(pickle.dumps(DegradedVoice(clean, 5.0, pink=True, seed=1)))
    ours = noisy_one._stream(Sound(speech, 0.0, 1.0))
    theirs = clean._stream(Sound(add_noise(speech, 5.0, pink=True, seed=1), 0.0, 1.0))
    np.testing.assert_array_equal(ours.values, theirs.values)
    prints = {
        extractor.fingerprint()
        for extractor in (
            clean,
            noisy_one,
            DegradedVoice(clean, 6.0, pink=True, seed=1),
            DegradedVoice(clean, 5.0, pink=False, seed=1),
            DegradedVoice(clean, 5.0, pink=True, seed=2),
        )
    }
    assert len(prints) == 5


def test_noise_on_figures_goes_by_their_spread() -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(4000, 3)) * [1, 100, 0] + [0, 5, 7]).astype(np.float32)
    stream = Stream(values, np.arange(4000.0), {"n": 1.0})
    deviation = spread([stream])
    np.testing.assert_allclose(deviation, [1, 100, 0], rtol=0.05)
    spoiled = noisy(stream, 10.0, deviation, seed=0)
    np.testing.assert_allclose((spoiled.values - values).std(axis=0), [0.316, 31.6, 0], rtol=0.05)
    assert noisy(stream, math.inf, deviation, seed=0) is stream
    np.testing.assert_array_equal(noisy(stream, 10.0, deviation, 0).values, spoiled.values)
    assert (noisy(stream, 10.0, deviation, 1).values[:, 0] != spoiled.values[:, 0]).any()
