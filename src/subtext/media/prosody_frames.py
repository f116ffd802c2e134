"""Frame-level prosody: how something is said, every 10 or 20 ms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torchaudio
from torch import Tensor

from subtext.errors import ConfigError

Frames = npt.NDArray[np.float32]
"""Prosody `[frames, features]`."""

N_MFCC: Final = 13
PROSODY_NAMES: Final = (
    "log_f0",
    "voicing",
    "harmonicity",
    "delta_log_f0",
    "jitter",
    "shimmer",
    "energy",
    "delta_energy",
    "spectral_tilt",
    "hammarberg",
    "slope_0_500",
    "slope_500_1500",
    "spectral_flux",
    "speech_rate",
    *(f"mfcc_{number}" for number in range(N_MFCC)),
)
"""The columns of `prosody_frames`, in order."""

F0_LOWEST: Final = 60.0
F0_HIGHEST: Final = 500.0
PITCH_WINDOW: Final = 0.05
"""Seconds: three periods of the lowest voice."""
SPECTRUM_WINDOW: Final = 0.025
FLOOR_DB: Final = -100.0
VOICING_THRESHOLD: Final = 0.45
SILENCE_DB: Final = 35.0
"""Frames this far below the loudest are unvoiced."""
OCTAVE_COST: Final = 0.02
JUMP_COST: Final = 0.35
VOICED_COST: Final = 0.14
CANDIDATES: Final = 6
BLOCK: Final = 2000
"""Frames analysed at once."""


def prosody_frames(waveform: npt.NDArray[np.float32], sample_rate: int = 16_000, *, hop: float = 0.01) -> Frames:
    """Frame-level prosody of an utterance with torch and torchaudio.

    Args:
        waveform: float `[samples]`, full scale = 1.
        sample_rate: Hz.
        hop: seconds between frames.

    Returns:
        float32 `[frames, len(PROSODY_NAMES)]`, columns as in `PROSODY_NAMES`; frame `i` is centred at
        `(i + 0.5) * hop`; at least one frame. Silence has voicing 0 throughout, and a log-F0 of 0.
    """
    wave = torch.from_numpy(np.array(waveform, dtype=np.float32))
    wave = wave.sub_(wave.mean()) if len(wave) else wave.new_zeros(1)
    step = round(hop * sample_rate)
    frames = max(1, len(wave) // step)
    with torch.inference_mode():
        # Block by block, because the windows of a long utterance take a hundred times its own memory.
        blocks = [
            _block(wave, sample_rate, step, first, min(BLOCK, frames - first)) for first in range(0, frames, BLOCK)
        ]
        spectral, log_mel, energy, frequency, strength = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        f0, voiced, correlation = _choose_pitch(frequency, strength, energy)
        log_f0 = _fill(torch.log(f0.clamp(min=1.0)), voiced)
        correlation = correlation.clamp(0.01, 0.999)
        columns = [
            log_f0,
            voiced.float(),
            10 * torch.log10(correlation / (1 - correlation)),
            _delta(log_f0),
            _variation(1 / f0.clamp(min=1.0), voiced, 0.25),
            _variation(10 ** (energy / 20), voiced, 1.0),
            energy,
            _delta(energy),
            *spectral.unbind(dim=1),
            _flux(log_mel),
            speech_rate(energy, voiced, hop),
            *(log_mel @ _dct(log_mel.shape[1])).unbind(dim=1),
        ]
        return torch.stack(columns, dim=1).numpy()


def _block(wave: Tensor, sample_rate: int, step: int, first: int, count: int) -> tuple[Tensor, ...]:
    """What each window tells: spectral shape, log mel, energy, and pitch candidates with their strength."""
    length = round(SPECTRUM_WINDOW * sample_rate)
    windows = _windows(wave, length, step, first, count)
    energy = 10 * torch.log10(windows.square().mean(dim=1).clamp(min=10 ** (FLOOR_DB / 10)))
    size = 2 ** int(np.ceil(np.log2(length)))
    power = torch.fft.rfft(windows * torch.hann_window(length, periodic=False), n=size).abs().square() / length
    log_mel = 10 * torch.log10((power @ _mel_bank(power.shape[1], sample_rate)).clamp(min=1e-10))
    spectrum = 10 * torch.log10(power.clamp(min=1e-12))
    spectral = [
        _band_db(power, sample_rate, 50, 1000) - _band_db(power, sample_rate, 1000, 5000),
        _peak(spectrum, sample_rate, 0, 2000) - _peak(spectrum, sample_rate, 2000, 5000),
        _slope(spectrum, sample_rate, 0, 500),
        _slope(spectrum, sample_rate, 500, 1500),
    ]
    return torch.stack(spectral, dim=1), log_mel, energy, *_pitch_candidates(wave, sample_rate, step, first, count)


def _windows(wave: Tensor, length: int, step: int, first: int, count: int) -> Tensor:
    """`[count, length]` from frame `first` on, frame i centred at (i + 0.5) * step; past the ends there is silence."""
    begin = first * step + step // 2 - length // 2
    end = begin + (count - 1) * step + length
    part = wave[max(begin, 0) : max(end, 0)]
    padded = torch.nn.functional.pad(part, (max(-begin, 0), end - max(begin, 0) - len(part)))
    return padded.unfold(0, length, step)


def _pitch_candidates(wave: Tensor, sample_rate: int, step: int, first: int, count: int) -> tuple[Tensor, Tensor]:
    """The strongest peaks of the normalised autocorrelation, Hz and correlation, each `[count, CANDIDATES]`.

    After Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound": the autocorrelation of a Hann-windowed frame divided by that of the window.
    """
    length = round(PITCH_WINDOW * sample_rate)
    window = torch.hann_window(length, periodic=False)
    windows = _windows(wave, length, step, first, count)
    windows = (windows - windows.mean(dim=1, keepdim=True)) * window
    shortest, longest = int(sample_rate / F0_HIGHEST), int(np.ceil(sample_rate / F0_LOWEST))
    size = 2 ** int(np.ceil(np.log2(length + longest + 2)))
    correlation = torch.fft.irfft(torch.fft.rfft(windows, n=size).abs().square(), n=size)
    own = torch.fft.irfft(torch.fft.rfft(window, n=size).abs().square(), n=size)
    own = own[shortest - 1 : longest + 2] / own[0]
    normal = correlation[:, shortest - 1 : longest + 2] / correlation[:, :1].clamp(min=1e-9) / own
    inner = normal[:, 1:-1]
    is_peak = (inner > normal[:, :-2]) & (inner >= normal[:, 2:]) & (inner > 0)
    height, place = torch.where(is_peak, inner, -1.0).topk(CANDIDATES, dim=1)
    before, after = normal.gather(1, place), normal.gather(1, place + 2)
    # The parabola through a peak and its neighbours.
    bend = (before - 2 * height + after).clamp(max=-1e-6)
    shift = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
    return sample_rate / (shortest + place + shift), (height - 0.25 * (before - after) * shift).clamp(-1, 1)


def _choose_pitch(frequency: Tensor, strength: Tensor, energy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """F0 in Hz (0 where unvoiced), whether voiced, and the correlation at the chosen or strongest candidate."""
    loud = energy > max(float(energy.max()) - SILENCE_DB, FLOOR_DB + 20)
    chosen = _cheapest_path(frequency.numpy(), strength.numpy(), loud.numpy())
    voiced = torch.from_numpy(chosen >= 0)
    best = torch.from_numpy(np.maximum(chosen, 0))[:, None]
    f0 = torch.where(voiced, frequency.gather(1, best)[:, 0], 0.0)
    return f0, voiced, torch.where(voiced, strength.gather(1, best)[:, 0], strength[:, 0]).clamp(0, 1)


def _variation(values: Tensor, voiced: Tensor, limit: float) -> Tensor:
    """Relative change from the frame before, where both are voiced: like jitter (periods) and shimmer (amplitudes)."""
    out = torch.zeros_like(values)
    change = (values[1:] - values[:-1]).abs() / ((values[1:] + values[:-1]) / 2).clamp(min=1e-9)
    out[1:] = torch.where(voiced[1:] & voiced[:-1], change, 0.0).clamp(max=limit)
    return out


def _cheapest_path(frequency: np.ndarray, strength: np.ndarray, loud: np.ndarray) -> npt.NDArray[np.int64]:
    """Viterbi over the candidates of each frame and "unvoiced"; -1 = unvoiced."""
    frames, count = frequency.shape
    octave = np.log2(frequency)
    # Cost of being in a state: weak correlation; high frequencies are slightly preferred, against octave errors.
    state = np.full((frames, count + 1), VOICING_THRESHOLD)
    state[:, :count] = np.where(strength > 0, strength - OCTAVE_COST * np.log2(F0_HIGHEST / frequency), -9.0)
    state[~loud, :count] = -9.0
    total = -state[0]
    back = np.zeros((frames, count + 1), dtype=np.int64)
    for frame in range(1, frames):
        move = np.full((count + 1, count + 1), VOICED_COST)
        move[:count, :count] = JUMP_COST * np.abs(octave[frame - 1][:, None] - octave[frame][None, :])
        move[count, count] = 0.0
        cost = total[:, None] + move
        back[frame] = cost.argmin(axis=0)
        total = cost[back[frame], np.arange(count + 1)] - state[frame]
    path = np.empty(frames, dtype=np.int64)
    path[-1] = int(total.argmin())
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    return np.where(path == count, -1, path)


def speech_rate(energy: Tensor, voiced: Tensor, hop: float) -> Tensor:
    """Syllable-like peaks of the smoothed energy per second, in a window of 1 s, `[frames]`.

    After de Jong & Wempe 2009: a peak counts where it is voiced and at least 2 dB above the dip before it.
    """
    width = max(1, round(0.05 / hop)) | 1
    smooth = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(energy[None, None], (width // 2, width // 2), mode="replicate"), width, 1
    )[0, 0]
    values, is_voiced = smooth.numpy(), voiced.numpy()
    peaks = np.zeros(len(values), dtype=np.float32)
    dip = values[0]
    for frame in range(1, len(values) - 1):
        dip = min(dip, values[frame])
        rising = values[frame] > values[frame - 1] and values[frame] >= values[frame + 1]
        if rising and is_voiced[frame] and values[frame] - dip >= 2.0:
            peaks[frame] = 1.0
            dip = values[frame]
    window = max(1, round(1.0 / hop))
    return torch.from_numpy(np.convolve(peaks, np.ones(window), mode="full")[window // 2 :][: len(peaks)]).float()


def _fill(values: Tensor, known: Tensor) -> Tensor:
    """Straight lines through what is unvoiced, so that the melody stays continuous; 0 where nothing is voiced."""
    places = torch.nonzero(known).flatten().numpy()
    if not len(places):
        return torch.zeros_like(values)
    filled = np.interp(np.arange(len(values)), places, values.numpy()[places])
    return torch.from_numpy(filled.astype(np.float32))


def _delta(values: Tensor) -> Tensor:
    return torchaudio.functional.compute_deltas(values[None], win_length=5)[0]


def _bins(size: int, sample_rate: int, low: float, high: float) -> tuple[int, int]:
    width = sample_rate / 2 / (size - 1)
    first = int(np.ceil(low / width))
    return first, max(first + 2, min(size, int(high / width) + 1))


def _band_db(power: Tensor, sample_rate: int, low: float, high: float) -> Tensor:
    first, last = _bins(power.shape[1], sample_rate, low, high)
    return 10 * torch.log10(power[:, first:last].sum(dim=1).clamp(min=1e-10))


def _peak(spectrum: Tensor, sample_rate: int, low: float, high: float) -> Tensor:
    first, last = _bins(spectrum.shape[1], sample_rate, low, high)
    return spectrum[:, first:last].amax(dim=1)


def _slope(spectrum: Tensor, sample_rate: int, low: float, high: float) -> Tensor:
    """Straight line through a band of the spectrum, dB per kHz."""
    first, last = _bins(spectrum.shape[1], sample_rate, low, high)
    place = torch.arange(first, last, dtype=torch.float32) * (sample_rate / 2000 / (spectrum.shape[1] - 1))
    place = place - place.mean()
    return spectrum[:, first:last] @ place / place.square().sum()


def _flux(log_mel: Tensor) -> Tensor:
    flux = torch.zeros(len(log_mel))
    flux[1:] = (log_mel[1:] - log_mel[:-1]).square().mean(dim=1).sqrt()
    return flux


@lru_cache(maxsize=8)
def _mel_bank(bins: int, sample_rate: int) -> Tensor:
    return torchaudio.functional.melscale_fbanks(bins, 20.0, min(8000.0, sample_rate / 2), 40, sample_rate)


@lru_cache(maxsize=8)
def _dct(mels: int) -> Tensor:
    return torchaudio.functional.create_dct(N_MFCC, mels, "ortho") / 10


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each feature, `[features]`."""

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]


def frame_statistics(utterances: Sequence[Frames]) -> Statistics:
    """Mean and standard deviation over all frames of a speaker's utterances (or of one utterance).

    Raises:
        ValueError: there is no frame.
    """
    count = sum(len(frames) for frames in utterances)
    if count == 0:
        raise ValueError("statistics need at least one frame")
    mean = sum(frames.sum(axis=0, dtype=np.float64) for frames in utterances) / count
    variance = sum(np.square(frames - mean).sum(axis=0, dtype=np.float64) for frames in utterances) / count
    return Statistics(np.asarray(mean, np.float32), np.sqrt(variance).astype(np.float32))


def normalise(frames: Frames, statistics: Statistics) -> Frames:
    """Subtract the mean and divide by the standard deviation; a feature that does not vary is only centred."""
    std = np.where(statistics.std > 1e-6, statistics.std, 1.0)
    return ((frames - statistics.mean) / std).astype(np.float32)


def egemaps_frames(waveform: npt.NDArray[np.float32], sample_rate: int = 16_000) -> tuple[Frames, tuple[str, ...]]:
    """The 25 low-level descriptors of eGeMAPSv02 every 10 ms (Eyben et al. 2016), and their names.

    openSMILE is licensed by audEERING for research and other non-commercial use only.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        smile = _smile()
    except ImportError as error:
        raise ConfigError(
            "prosody method 'egemaps' needs openSMILE (research licence, non-commercial); "
            "run: pip install 'subtext[opensmile]'"
        ) from error
    # Silence after a very short sound, which openSMILE would otherwise answer with missing values.
    signal = np.pad(np.asarray(waveform, np.float32), (0, max(0, round(0.1 * sample_rate) - len(waveform))))
    table = smile.process_signal(signal, sample_rate)
    return table.to_numpy(dtype=np.float32), tuple(str(name) for name in table.columns)


@lru_cache(maxsize=1)
def _smile() -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.LowLevelDescriptors
    )


PRAAT_NAMES: Final = ("log_f0", "voicing", "intensity", "harmonicity")


def praat_frames(waveform: npt.NDArray[np.float32], sample_rate: int = 16_000, *, hop: float = 0.01) -> Frames:
    """Pitch, intensity and harmonicity by Praat (parselmouth), `[frames, len(PRAAT_NAMES)]`.

    praat-parselmouth is licensed under GPL-3.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        import parselmouth
    except ImportError as error:
        raise ConfigError(
            "prosody method 'praat' needs parselmouth (GPL-3); run: pip install 'subtext[praat]'"
        ) from error
    count = max(1, round(len(waveform) / sample_rate / hop))
    least = round(0.15 * sample_rate)  # the shortest sound that its analyses accept
    padded = np.pad(np.asarray(waveform, np.float64), (0, max(0, least - len(waveform))))
    sound = parselmouth.Sound(padded, sampling_frequency=sample_rate)
    times = (np.arange(count) + 0.5) * hop
    pitch_track = sound.to_pitch_ac(time_step=hop, pitch_floor=F0_LOWEST, pitch_ceiling=F0_HIGHEST)
    f0 = np.array([pitch_track.get_value_at_time(t) for t in times])
    voiced = np.isfinite(f0) & (f0 > 0)
    log_f0 = _fill(
        torch.from_numpy(np.log(np.where(voiced, f0, 1.0)).astype(np.float32)), torch.from_numpy(voiced)
    ).numpy()
    intensity = sound.to_intensity(minimum_pitch=F0_LOWEST, time_step=hop)
    loudness = np.array([intensity.get_value(t) for t in times])
    harmonicity = sound.to_harmonicity_ac(time_step=hop, minimum_pitch=F0_LOWEST)
    ratio = np.array([harmonicity.get_value(t) for t in times])
    columns = [log_f0, voiced, np.nan_to_num(loudness), np.clip(np.nan_to_num(ratio, nan=-20.0), -20, 40)]
    return np.stack(columns, axis=1).astype(np.float32)
