"""The voice's stream: where it is read, when it is absent, how it is normalised."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from subtext.errors import ConfigError
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.features.index import FeatureIndex
from subtext.features.prosody import ProsodyExtractor
from subtext.manifest import Manifest, build_manifest
from subtext.media.audio import Sound
from subtext.media.prosody_frames import PROSODY_NAMES

RATE = 16_000


def tone(path: Path, pitch: float, seconds: float = 1.0, level: float = 0.3) -> str:
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * pitch * (time + 0.002 * np.sin(2 * np.pi * 5 * time))  # vibrato of about 6 %
    wave = sum(np.sin(phase * k) / k for k in range(1, 6)) + np.random.default_rng(0).normal(0, 0.02, len(time))
    soundfile.write(path, level * wave / 2, RATE)
    return path.name


def manifest(root: Path, rows: list[dict[str, object]]) -> Manifest:
    return build_manifest(pd.DataFrame(rows), root=root, name="voices", groups=())


@pytest.fixture
def voices(tmp_path: Path) -> Manifest:
    """Two speakers with two turns each in train, one of them with one in test, and a turn of nobody's."""
    spoken = [("a", "ann", "train", 200), ("b", "ann", "train", 240), ("c", "bob", "train", 100)]
    spoken += [("d", "bob", "train", 130), ("e", "ann", "test", 300), ("f", None, "train", 180)]
    rows = [
        {"id": row, "speaker": speaker, "split": split, "audio": tone(tmp_path / f"{row}.wav", pitch)}
        for row, speaker, split, pitch in spoken
    ]
    return manifest(tmp_path, rows)


def stacked(index: FeatureIndex, cache: MemoryCache | FeatureCache, rows: str) -> np.ndarray:
    return np.concatenate([cache.read(index.key(row, "prosody") or "").values for row in rows])


def test_frames_have_the_names_columns_and_times_of_their_middles(voices: Manifest) -> None:
    cache = MemoryCache()
    index = extract(voices, {"prosody": ProsodyExtractor(hop=0.02)}, cache)
    stream = cache.read(index.key("a", "prosody") or "")
    assert stream.values.shape == (50, len(PROSODY_NAMES))
    assert stream.values.dtype == np.float32
    np.testing.assert_allclose(stream.times[:3], [0.01, 0.03, 0.05])
    pitch = np.exp(np.median(stream.values[:, PROSODY_NAMES.index("log_f0")]))
    assert pitch == pytest.approx(200, rel=0.03)
    assert stream.quality["voiced_share"] > 0.9


def test_none_leaves_the_pitch_as_it_is(voices: Manifest) -> None:
    cache = MemoryCache()
    index = extract(voices, {"prosody": ProsodyExtractor()}, cache)
    column = PROSODY_NAMES.index("log_f0")
    low, high = (np.median(stacked(index, cache, row)[:, column]) for row in "ca")
    assert high - low == pytest.approx(np.log(2), abs=0.05)


@pytest.mark.parametrize(
    ("normalise", "units"), [("utterance", ["a", "b", "c", "d", "e", "f"]), ("speaker", ["ab", "cd", "e", "f"])]
)
def test_each_unit_is_standardised_by_itself(voices: Manifest, normalise: str, units: list[str]) -> None:
    cache = MemoryCache()
    index = extract(voices, {"prosody": ProsodyExtractor(normalise=normalise)}, cache)  # type: ignore[arg-type]
    for unit in units:
        frames = stacked(index, cache, unit).astype(np.float64)
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-3)
        assert (np.isclose(frames.std(axis=0), 1, atol=1e-3) | (frames.std(axis=0) < 1e-3)).all()
        assert np.isclose(frames.std(axis=0), 1, atol=1e-3).sum() > 10


def test_speaker_normalisation_keeps_the_difference_between_turns(voices: Manifest) -> None:
    cache = MemoryCache()
    index = extract(voices, {"prosody": ProsodyExtractor(normalise="speaker")}, cache)
    column = PROSODY_NAMES.index("log_f0")
    assert np.median(stacked(index, cache, "b")[:, column]) > np.median(stacked(index, cache, "a")[:, column]) + 0.5


def test_other_splits_do_not_shape_a_speakers_statistics(voices: Manifest, tmp_path: Path) -> None:
    extractor = ProsodyExtractor(normalise="speaker")
    everything = extract(voices, {"prosody": extractor}, MemoryCache())
    training = voices.with_table(voices.table[voices.table["split"] == "train"].reset_index(drop=True))
    alone = extract(training, {"prosody": extractor}, MemoryCache())
    for row in "abcdf":
        # keys of MemoryCache tell files apart by path and time, which are the same here
        assert everything.key(row, "prosody") == alone.key(row, "prosody")


def test_normalisations_share_the_raw_frames(voices: Manifest, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    decoded = []

    class Counting(ProsodyExtractor):
        def fingerprint(self) -> str:
            return super().fingerprint()

        def extract(self, sources):  # type: ignore[no-untyped-def]
            decoded.append(sources)
            yield from super().extract(sources)

    raw = extract(voices, {"prosody": Counting()}, cache)
    assert len(decoded) == 6
    normalised = extract(voices, {"prosody": Counting(normalise="speaker")}, cache)
    assert len(decoded) == 6
    assert raw.key("a", "prosody") != normalised.key("a", "prosody")
    assert raw.fingerprints != normalised.fingerprints
    again = extract(voices, {"prosody": Counting(normalise="speaker")}, cache)
    assert again.key("a", "prosody") == normalised.key("a", "prosody")
    assert not normalised.table["key"].isna().any()


@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_silence_is_absent_and_not_zeros(tmp_path: Path, offset: float) -> None:
    # A microphone's constant offset has power, but nobody hears it.
    soundfile.write(tmp_path / "silent.wav", np.full(RATE, offset), RATE)
    index = extract(
        manifest(tmp_path, [{"id": "a", "audio": "silent.wav"}]), {"prosody": ProsodyExtractor()}, MemoryCache()
    )
    row = index.table.iloc[0]
    assert (row["status"], row["reason"]) == ("absent", "the sound is silent")
    assert pd.isna(row["key"])
    assert row["loudness"] < -100


def test_frames_of_sound_that_begins_late_keep_their_times_and_tell_the_share() -> None:
    wave = 0.2 * np.sin(2 * np.pi * 150 * np.arange(RATE) / RATE).astype(np.float32)
    stream = ProsodyExtractor(hop=0.02)._stream(Sound(wave, start=1.5, share=0.4))
    np.testing.assert_allclose(stream.times[[0, -1]], [1.51, 2.49])
    assert (stream.quality["sound_share"], stream.quality["voice_duration"]) == (0.4, 1.0)


@pytest.mark.parametrize("rate", [8_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int) -> None:
    wave = 0.2 * np.sin(2 * np.pi * 150 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.tile(wave[:, None], channels), rate)
    index = extract(
        manifest(tmp_path, [{"id": "a", "audio": "a.wav"}]), {"prosody": ProsodyExtractor(hop=0.02)}, MemoryCache()
    )
    assert (index.table["status"].iloc[0], index.table["n_steps"].iloc[0]) == ("ok", pytest.approx(50, abs=1))


def test_samples_that_are_no_numbers_fail(tmp_path: Path) -> None:
    wave = np.zeros(RATE, np.float32)
    wave[100:200] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    index = extract(manifest(tmp_path, [{"id": "a", "audio": "a.wav"}]), {"prosody": ProsodyExtractor()}, MemoryCache())
    assert index.table["status"].iloc[0] == "failed"
    assert "not finite" in index.table["reason"].iloc[0]


@pytest.mark.parametrize(
    "settings", [{"method": "magic"}, {"normalise": "session"}, {"hop": 0.0}, {"hop": 20}], ids=lambda s: next(iter(s))
)
def test_settings_that_cannot_be_used(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="ProsodyExtractor"):
        ProsodyExtractor(**settings)  # type: ignore[arg-type]


def test_a_missing_column_of_speakers_is_named(voices: Manifest) -> None:
    with pytest.raises(ConfigError, match="no column 'actor'"):
        extract(voices, {"prosody": ProsodyExtractor(normalise="speaker", speaker_column="actor")}, MemoryCache())


@pytest.mark.parametrize(
    ("method", "package", "extra"), [("egemaps", "opensmile", "opensmile"), ("praat", "praat-parselmouth", "praat")]
)
def test_a_missing_extra_is_named_before_anything_is_decoded(
    voices: Manifest, monkeypatch: pytest.MonkeyPatch, method: str, package: str, extra: str
) -> None:
    from importlib import metadata

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ConfigError, match=rf"needs {package}; run: pip install 'subtext\[{extra}\]'"):
        extract(voices, {"prosody": ProsodyExtractor(method=method)}, MemoryCache())  # type: ignore[arg-type]
