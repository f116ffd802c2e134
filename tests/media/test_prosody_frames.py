import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from subtext.errors import ConfigError
from subtext.media import prosody_frames as prosody
from subtext.media.prosody_frames import (
    PRAAT_NAMES,
    PROSODY_NAMES,
    egemaps_frames,
    frame_statistics,
    normalise,
    praat_frames,
    prosody_frames,
)

RATE = 16_000
COLUMN = {name: number for number, name in enumerate(PROSODY_NAMES)}


def voice(f0: np.ndarray | float, seconds: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """Glottal pulses at `f0` Hz through two formants."""
    rng = np.random.default_rng(0)
    count = round(seconds * RATE)
    phase = np.cumsum(np.broadcast_to(f0, count) / RATE)
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(float)
    out = pulses
    for centre, width in ((700, 130), (1200, 150)):
        radius = np.exp(-np.pi * width / RATE)
        a1, a2 = 2 * radius * np.cos(2 * np.pi * centre / RATE), -(radius**2)
        filtered = np.zeros(count)
        for n in range(count):
            filtered[n] = out[n] + (a1 * filtered[n - 1] + a2 * filtered[n - 2] if n > 1 else 0)
        out = filtered
    out = 0.3 * out / np.abs(out).max() + noise * rng.standard_normal(count)
    return out.astype(np.float32)


def column(frames: np.ndarray, name: str) -> np.ndarray:
    return frames[:, COLUMN[name]]


@pytest.mark.parametrize("f0", [70, 110, 150, 220, 310, 440])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_pitch_is_right_to_a_hundredth(f0: float, noise: float) -> None:
    frames = prosody_frames(voice(f0, 0.6, noise))
    inner = frames[5:-5]
    assert column(inner, "voicing").mean() > 0.95
    found = np.exp(column(inner, "log_f0")[column(inner, "voicing") > 0])
    assert np.median(found) == pytest.approx(f0, rel=0.01)
    assert np.mean(np.abs(found / f0 - 1) < 0.03) > 0.97  # no octave errors


def test_a_glide_is_followed() -> None:
    f0 = np.linspace(120, 260, RATE)
    frames = prosody_frames(voice(f0))[5:-5]
    expected = f0[((np.arange(len(frames)) + 5.5) * 0.01 * RATE).astype(int)]
    assert np.abs(np.exp(column(frames, "log_f0")) / expected - 1).max() < 0.04
    assert column(frames, "delta_log_f0").mean() > 0.005


def test_noise_and_silence_are_not_voiced() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert column(prosody_frames(noise), "voicing").mean() < 0.1
    silent = prosody_frames(np.zeros(RATE, np.float32))
    assert np.isfinite(silent).all()
    assert (column(silent, "voicing") == 0).all()
    assert (column(silent, "log_f0") == 0).all()
    assert (column(silent, "energy") == -100).all()
    constant = prosody_frames(np.full(RATE, 0.5, np.float32))  # an offset is no sound
    assert (column(constant, "voicing") == 0).all()


def test_pauses_between_voiced_parts_are_bridged_and_marked() -> None:
    wave = np.concatenate([voice(120, 0.5), np.zeros(RATE // 2, np.float32), voice(240, 0.5)])
    frames = prosody_frames(wave)
    assert column(frames, "voicing")[60:90].max() == 0
    bridge = column(frames, "log_f0")[55:95]
    assert (np.diff(bridge) > 0).all()
    assert np.log(115) < bridge[0] < bridge[-1] < np.log(250)


@pytest.mark.parametrize("hop", [0.01, 0.02])
@pytest.mark.parametrize("samples", [0, 1, 100, 160, 400, 1599, 16_000, 16_111])
def test_any_length_gives_frames_at_the_hop(samples: int, hop: float) -> None:
    wave = voice(150, 1.1)[:samples]
    frames = prosody_frames(wave, hop=hop)
    assert frames.shape == (max(1, int(samples / RATE / hop + 1e-9)), len(PROSODY_NAMES))
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()


def test_frames_are_centred_where_they_say() -> None:
    wave = np.zeros(RATE, np.float32)
    wave[round(0.405 * RATE)] = 1.0
    assert column(prosody_frames(wave), "energy")[40] == pytest.approx(column(prosody_frames(wave), "energy").max())
    assert column(prosody_frames(wave), "energy")[[38, 42]].max() < -80


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = voice(np.linspace(100, 200, RATE), noise=0.02)
    whole = prosody_frames(wave)
    monkeypatch.setattr(prosody, "BLOCK", 7)
    np.testing.assert_allclose(prosody_frames(wave), whole, atol=1e-3)


def test_loudness_moves_only_what_is_loudness() -> None:
    wave = voice(180, noise=0.003)
    loud, soft = prosody_frames(wave), prosody_frames(wave / 4)
    np.testing.assert_allclose(column(loud, "energy") - column(soft, "energy"), 20 * np.log10(4), atol=0.01)
    for name in ("log_f0", "spectral_tilt", "mfcc_1", "spectral_flux", "shimmer", "jitter"):
        np.testing.assert_allclose(column(loud, name), column(soft, name), atol=0.05, err_msg=name)


def test_columns_follow_what_they_are_named_after() -> None:
    rng = np.random.default_rng(0)
    steady = prosody_frames(voice(150))[10:-10]
    shaky = prosody_frames(voice(150 * (1 + 0.06 * np.repeat(rng.standard_normal(100), 160))))[10:-10]
    assert column(shaky, "jitter").mean() > 3 * column(steady, "jitter").mean()
    uneven = prosody_frames(voice(150) * np.repeat(rng.uniform(0.3, 1, 100), 160).astype(np.float32))[10:-10]
    assert column(uneven, "shimmer").mean() > 2 * column(steady, "shimmer").mean()
    hoarse = prosody_frames(voice(150, noise=0.1))[10:-10]
    assert column(hoarse, "harmonicity").mean() < column(steady, "harmonicity").mean() - 3
    assert column(hoarse, "spectral_tilt").mean() < column(steady, "spectral_tilt").mean() - 3


@pytest.mark.parametrize("syllables", [2, 4, 6])
def test_speech_rate_counts_syllables(syllables: int) -> None:
    time_ = np.arange(3 * RATE) / RATE
    wave = voice(150, 3) * (0.02 + 0.98 * np.sin(np.pi * syllables * time_) ** 2).astype(np.float32)
    assert np.median(column(prosody_frames(wave), "speech_rate")) == pytest.approx(syllables, abs=1)


def test_four_seconds_take_a_twentieth_of_a_second() -> None:
    wave = voice(150, 4, 0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    prosody_frames(wave)
    # CPU time, the best of a few: other work on the machine does not count.
    taken = []
    for _ in range(5):
        begin = time.process_time()
        prosody_frames(wave)
        taken.append(time.process_time() - begin)
    torch.set_num_threads(threads)
    assert min(taken) < 0.05


def test_normalisation() -> None:
    rng = np.random.default_rng(0)
    utterances = [rng.normal(3, 2, (n, 4)).astype(np.float32) for n in (50, 80)]
    for frames in utterances:
        frames[:, 3] = 7.0
    own = normalise(utterances[0], frame_statistics([utterances[0]]))
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(own[:, :3].std(axis=0), 1, atol=1e-4)
    assert (own[:, 3] == 0).all()
    speaker = frame_statistics(utterances)
    together = np.concatenate([normalise(frames, speaker) for frames in utterances])
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(speaker.std[:3], np.concatenate(utterances)[:, :3].std(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="at least one frame"):
        frame_statistics([])


@pytest.mark.parametrize(
    ("measure", "module", "extra", "licence"),
    [(egemaps_frames, "opensmile", "opensmile", "non-commercial"), (praat_frames, "parselmouth", "praat", "GPL-3")],
)
def test_extras_are_named_with_their_licence(
    measure: object, module: str, extra: str, licence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module not in sys.modules or importlib.util.find_spec(module)
    monkeypatch.setitem(sys.modules, module, None)
    prosody._smile.cache_clear()
    with pytest.raises(ConfigError) as caught:
        measure(np.zeros(1600, np.float32), RATE)  # type: ignore[operator]
    assert f"pip install 'subtext[{extra}]'" in str(caught.value)
    assert licence in str(caught.value)


def test_praat_agrees_on_pitch() -> None:
    pytest.importorskip("parselmouth", reason="the extra 'praat' is not installed")
    wave = voice(np.linspace(120, 260, RATE), noise=0.003)
    theirs, ours = praat_frames(wave), prosody_frames(wave)
    assert theirs.shape == (100, len(PRAAT_NAMES))
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(theirs[5:-5, 0], column(ours, "log_f0")[5:-5], atol=0.03)
    for samples in (1, 300, 1600):
        assert np.isfinite(praat_frames(wave[:samples])).all()


def test_egemaps_gives_named_descriptors() -> None:
    pytest.importorskip("opensmile", reason="the extra 'opensmile' is not installed")
    frames, names = egemaps_frames(voice(150))
    assert frames.shape[1] == len(names) == 25
    assert len(frames) == pytest.approx(100, abs=6)
    assert np.isfinite(frames).all()
    semitones = frames[20:-20, next(n for n, name in enumerate(names) if name.startswith("F0semitone"))]
    assert np.median(semitones) == pytest.approx(12 * np.log2(150 / 27.5), abs=0.3)
    for samples in (1, 300, 1600):
        short, _ = egemaps_frames(voice(150, 0.2)[:samples])
        assert short.shape[1] == 25
        assert len(short) >= 1
        assert np.isfinite(short).all()


@pytest.mark.slow
def test_frames_tell_polarity_as_well_as_egemaps(shared_data: Path) -> None:
    """Plain summaries and a linear classifier on unseen actors; eGeMAPS functionals reach 0.643 on the same folds."""
    polarity = {"01": 1, "02": 1, "03": 2, "04": 0, "05": 0, "06": 0, "07": 0}
    summaries, labels, actors = [], [], []
    for file in sorted((shared_data / "ravdess").glob("Actor_*/*.flac")):
        parts = file.stem.split("-")
        if parts[2] not in polarity or parts[5] == "02":  # one repetition of each sentence is enough here
            continue
        frames = prosody_frames(soundfile.read(file, dtype="float32")[0], hop=0.02)
        quantiles = np.percentile(frames, [10, 50, 90], axis=0)
        summaries.append(np.concatenate([frames.mean(axis=0), frames.std(axis=0), *quantiles]))
        labels.append(polarity[parts[2]])
        actors.append(int(parts[6]))
    x, y, fold = np.array(summaries), np.array(labels), np.array(actors) % 8
    predicted = np.zeros_like(y)
    for held_out in range(8):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500))
        predicted[fold == held_out] = model.fit(x[fold != held_out], y[fold != held_out]).predict(x[fold == held_out])
    assert f1_score(y, predicted, average="macro") > 0.60
