"""Frame-level prosody of a recording's segments, with or without normalisation."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from annotated_types import Interval

from subtext.core.schema import checked
from subtext.errors import ConfigError, MediaError
from subtext.features.cache import Cache
from subtext.features.extractor import Extractor, NoSource, Source, file_sources, settings_digest
from subtext.features.stream import Stream
from subtext.manifest import Manifest
from subtext.media.audio import Sound, read_segments, rms_db

VERSION: Final = 3
"""Raised whenever the code makes other frames of the same sound."""
SILENCE: Final = -80.0
"""Loudness in dB relative to full scale below which there is no voice to analyse: an absent modality, not zeros."""
SAMPLE_RATE: Final = 16_000
EGEMAPS_HOP: Final = 0.01

Method = Literal["torchaudio", "egemaps", "praat"]
Normalisation = Literal["none", "utterance", "speaker"]
_EXTRA: Final = {"egemaps": ("opensmile", "opensmile"), "praat": ("praat-parselmouth", "praat")}


class ProsodyExtractor(Extractor):
    """float32 frames `[time, n_features]` of the voice in `audio`, else in `video`.

    Raw frames are cached; normalised ones are derived from them. `normalise="utterance"` standardises each feature over
    the row's own frames. `normalise="speaker"` does so over all rows of the same speaker *within the same split*, so
    that no split reads another; it is transductive (a test row is normalised with the speaker's other test rows,
    labels unused), needs several turns a speaker when predicting, and takes a row without a speaker by itself.

    Args:
        method: "torchaudio"; "egemaps" (openSMILE, research licence, non-commercial; always 10 ms); "praat"
            (parselmouth, GPL-3).
        hop: seconds between frames.
        normalise: "none", "utterance" or "speaker".
        speaker_column: the column that tells whose voice it is.

    Raises:
        ConfigError: a setting is out of range.
    """

    modality = "prosody"

    @checked
    def __init__(
        self,
        *,
        method: Method = "torchaudio",
        hop: Annotated[float, Interval(ge=0.001, le=1)] = 0.02,
        normalise: Normalisation = "none",
        speaker_column: str = "speaker",
    ) -> None:
        self.method, self.normalise, self.speaker_column = method, normalise, speaker_column
        self.hop = EGEMAPS_HOP if method == "egemaps" else hop

    def fingerprint(self) -> str:
        """sha256 over method, hop and normalisation."""
        return settings_digest({"frames": self.stream_fingerprint(), "normalise": self.normalise})

    def stream_fingerprint(self) -> str:
        """sha256 over what shapes the raw frames, which every normalisation shares.

        Raises:
            ConfigError: the extra that the method needs is not installed.
        """
        return settings_digest(
            {
                "extractor": "prosody",
                "version": VERSION,
                "method": self.method,
                "library": self._library(),
                "hop": float(self.hop),
                "sample_rate": SAMPLE_RATE,
                "silence": SILENCE,
            }
        )

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """A row's segment of `audio`, else of the sound of `video`."""
        return file_sources(manifest, ("audio", "video"), "the row names no audio or video")

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        """Frames of all segments of one file in one pass; silence is a stream without steps."""
        path = sources[0].path
        if path is None:
            raise ValueError("prosody is extracted from files")
        for number, sound in read_segments(path, [source.segment for source in sources], SAMPLE_RATE):
            yield number, sound if isinstance(sound, MediaError) else self._stream(sound)

    def finish(self, keys: Sequence[str | None], manifest: Manifest, cache: Cache) -> list[str | None]:
        """Normalise, if asked to."""
        if self.normalise == "none":
            return list(keys)
        groups: dict[object, list[int]] = defaultdict(list)
        for row, unit in enumerate(self._units(manifest)):
            if keys[row] is not None:
                groups[unit].append(row)
        final: list[str | None] = [None] * len(keys)
        for rows in groups.values():
            # A stream that stands in several rows of a speaker counts once, and the order of rows does not matter.
            distinct = sorted({key for row in rows if (key := keys[row]) is not None})
            derived = _normalised(distinct, cache)
            for row in rows:
                final[row] = derived[keys[row] or ""]
        return final

    def _units(self, manifest: Manifest) -> list[object]:
        rows = range(len(manifest))
        if self.normalise == "utterance":
            return list(rows)
        if self.speaker_column not in manifest.table:
            raise ConfigError(
                f"{manifest.name}: no column '{self.speaker_column}' to normalise the voice by; name the column that "
                "tells speakers apart in encoder.prosody.extractor.speaker_column, or use "
                "encoder.prosody.extractor.normalise=utterance"
            )
        speakers = manifest.table[self.speaker_column].tolist()
        splits = manifest.table["split"].astype(object).where(manifest.table["split"].notna(), None).tolist()
        return [row if pd.isna(speakers[row]) else (splits[row], speakers[row]) for row in rows]

    def _stream(self, sound: Sound) -> Stream:
        from subtext.media.prosody_frames import PROSODY_NAMES

        waveform = sound.samples
        loudness = rms_db(waveform - waveform.mean())  # a microphone's constant offset is not heard
        quality = {
            "loudness": loudness,
            "voice_duration": len(waveform) / SAMPLE_RATE,
            "sound_share": sound.share,
        }
        if loudness < SILENCE:
            return Stream(np.zeros((0, 1), np.float32), np.zeros(0), quality, "the sound is silent")
        frames = self._frames(waveform)
        if self.method == "torchaudio":
            quality["voiced_share"] = float(frames[:, PROSODY_NAMES.index("voicing")].mean())
        return Stream(frames, sound.start + np.arange(0.5, len(frames)) * self.hop, quality)

    def _frames(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        from subtext.media.prosody_frames import egemaps_frames, praat_frames, prosody_frames

        if self.method == "egemaps":
            return egemaps_frames(waveform, SAMPLE_RATE)[0]
        if self.method == "praat":
            return praat_frames(waveform, SAMPLE_RATE, hop=self.hop)
        return prosody_frames(waveform, SAMPLE_RATE, hop=self.hop)

    def _library(self) -> str:
        if self.method not in _EXTRA:
            return ""
        package, extra = _EXTRA[self.method]
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            raise ConfigError(
                f"prosody method '{self.method}' needs {package}; run: pip install 'subtext[{extra}]'"
            ) from None


def _normalised(keys: Sequence[str], cache: Cache) -> dict[str, str]:
    """The keys of the streams standardised together, which are written where they are missing."""
    from subtext.media.prosody_frames import frame_statistics, normalise

    unit = hashlib.sha256("\n".join(("standardised", *keys)).encode()).hexdigest()
    derived = {key: hashlib.sha256(f"{unit} {key}".encode()).hexdigest()[:40] for key in keys}
    present = cache.check(derived.values())
    if len(present) < len(keys):
        streams = {key: cache.read(key) for key in keys}
        frames = {key: np.asarray(stream.values, np.float32) for key, stream in streams.items()}
        statistics = frame_statistics(list(frames.values()))
        for key in keys:
            if derived[key] not in present:
                cache.write(derived[key], replace(streams[key], values=normalise(frames[key], statistics)))
        cache.settle(derived.values())
    return derived
