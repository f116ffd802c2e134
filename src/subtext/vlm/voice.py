"""Measured prosody in words, for models that hear nothing: low, usual or high by what training rows sound like."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError
from subtext.features.cache import FeatureCache
from subtext.features.extract import extract
from subtext.features.prosody import ProsodyExtractor
from subtext.manifest import Manifest
from subtext.media.prosody_frames import PROSODY_NAMES

LEAST_OWN: Final = 10
"""Training rows of a speaker from which their own thresholds are taken, else those of all training rows."""
WORDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "pitch": ("low", "usual", "high"),
    "melody": ("flat", "usual", "lively"),
    "loudness": ("soft", "usual", "loud"),
    "pace": ("slow", "usual", "fast"),
    "pauses": ("few", "usual", "many"),
}
"""Figure -> what its lower, middle and upper third among training rows is called."""


def measure_voice(manifest: Manifest, extractor: ProsodyExtractor, cache: FeatureCache, workers: int) -> pd.DataFrame:
    """The figures of `WORDS` for each row, from the same frames that the light model reads.

    Args:
        manifest: the rows.
        extractor: with `method: torchaudio` and no normalisation.
        cache: where frames are kept.
        workers: processes that decode.

    Raises:
        ConfigError: the extractor gives other frames.
    """
    if extractor.method != "torchaudio" or extractor.normalise != "none":
        raise ConfigError("voice: words are made of prosody.method=torchaudio with prosody.normalise=none")
    # Of the recordings themselves: frames that somebody else computed have columns of unknown meaning.
    manifest = manifest.with_table(manifest.table.assign(features=pd.array([pd.NA] * len(manifest), dtype="string")))
    index = extract(manifest, {"prosody": extractor}, cache, workers=workers)
    rows = {}
    for name in manifest.table["id"]:
        key = index.key(name, "prosody")
        if key is not None:
            rows[name] = _figures(np.asarray(cache.read(key).values, np.float64))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(WORDS)).reindex(manifest.table["id"])


def voice_words(figures: pd.DataFrame, manifest: Manifest) -> dict[str, str]:
    """What is told of each voice, such as `pitch high, melody flat, loudness usual, pace slow, pauses many`.

    Thresholds are the tertiles of training rows: the speaker's own where there are `LEAST_OWN` of them, else
    everybody's. Test and validation rows shape none.

    Raises:
        ConfigError: no training row has a voice.
    """
    table = manifest.table.set_index("id")
    train = figures.loc[(table["split"] == "train").to_numpy(dtype=bool)].dropna()
    if train.empty:
        raise ConfigError(f"{manifest.name}: voice=true needs training rows with sound, whose voices set what is usual")
    general = train.quantile([1 / 3, 2 / 3])
    speakers = table["speaker"].reindex(train.index)
    own = {
        speaker: rows.quantile([1 / 3, 2 / 3]) for speaker, rows in train.groupby(speakers) if len(rows) >= LEAST_OWN
    }
    speaker_of = dict(zip(table.index, table["speaker"], strict=True))
    told = {}
    for name, row in figures.dropna().iterrows():
        limits = own.get(speaker_of[name], general)
        places = {figure: int((row[figure] > limits[figure]).sum()) for figure in WORDS}
        told[str(name)] = ", ".join(f"{figure} {WORDS[figure][place]}" for figure, place in places.items())
    return told


def _figures(frames: np.ndarray) -> list[float]:
    """Pitch (log Hz), its spread, loudness (dB), syllables' rate, share of silence; missing without a voiced frame."""
    column = {name: frames[:, place] for place, name in enumerate(PROSODY_NAMES)}
    voiced = column["voicing"] > 0.5
    if not voiced.any():
        return [np.nan] * len(WORDS)
    pitch = column["log_f0"][voiced]
    loud, pace = column["energy"][voiced].mean(), column["speech_rate"].mean()
    return [float(pitch.mean()), float(pitch.std()), float(loud), float(pace), float(1 - voiced.mean())]
