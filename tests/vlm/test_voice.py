"""Prosody in words: thresholds of training rows, a speaker's own where there are enough."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from subtext.errors import ConfigError
from subtext.features.cache import FeatureCache
from subtext.features.prosody import ProsodyExtractor
from subtext.manifest import Manifest, build_manifest
from subtext.vlm.voice import WORDS, measure_voice, voice_words


def rows(**speakers: list[str]) -> Manifest:
    """Rows of speakers, given as their splits."""
    table = pd.DataFrame(
        [
            {"id": f"{speaker}-{n}", "speaker": speaker, "split": split, "transcript": "words"}
            for speaker, splits in speakers.items()
            for n, split in enumerate(splits)
        ]
    )
    return build_manifest(table, root=Path(), name="voices")


def figures(manifest: Manifest, pitch: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(0.0, index=pd.Index(manifest.table["id"]), columns=list(WORDS))
    return table.assign(pitch=pitch)


def test_words_go_by_training_rows_alone() -> None:
    manifest = rows(a=["train"] * 9 + ["test"], b=["val", "test"])
    pitch = np.array([*range(9), 100.0, 4.0, -5.0])
    told = voice_words(figures(manifest, pitch), manifest)
    assert told["a-0"].startswith("pitch low, melody flat")
    assert told["a-4"].startswith("pitch usual")
    assert told["a-9"].startswith("pitch high")
    assert told["b-0"].startswith("pitch usual")
    assert told["b-1"].startswith("pitch low")
    pitch[-3:] = 1e6  # what is heard in test and validation rows sets nothing
    again = voice_words(figures(manifest, pitch), manifest)
    assert all(again[name] == told[name] for name in told if name.startswith("a-") and name != "a-9")


def test_a_speaker_s_own_training_rows_set_what_is_usual() -> None:
    manifest = rows(low=["train"] * 12 + ["test"], high=["train"] * 12 + ["test"], new=["test"])
    own = np.linspace(0, 1, 12)
    pitch = np.array([*own, 0.5, *(own + 100), 100.5, 50.0])
    told = voice_words(figures(manifest, pitch), manifest)
    assert told["low-12"].startswith("pitch usual")
    assert told["high-12"].startswith("pitch usual")
    assert told["new-0"].startswith("pitch usual"), "between the two speakers' thirds"


def test_no_training_voice_is_said() -> None:
    manifest = rows(a=["test", "val"])
    with pytest.raises(ConfigError, match="voice=true needs training rows with sound"):
        voice_words(figures(manifest, np.zeros(2)), manifest)


def test_voices_are_measured_from_recordings(tmp_path: Path) -> None:
    write_talking_face(tmp_path / "a.mp4", 3.0, width=64, height=48, fps=5)
    table = pd.DataFrame(
        {"id": ["a", "b", "c"], "video": ["a.mp4", "a.mp4", None], "start": [0.0, 1.5, None], "end": [1.5, 3.0, None]}
    ).assign(speaker="s", split="train", transcript="words")
    manifest = build_manifest(table, root=tmp_path, name="one")
    cache = FeatureCache(tmp_path / "cache")
    measured = measure_voice(manifest, ProsodyExtractor(), cache, 0)
    assert measured.loc[["a", "b"]].notna().all(axis=None)
    assert measured.loc["c"].isna().all()
    assert 60 < np.exp(measured.loc["a", "pitch"]) < 500
    assert 0 <= measured.loc["a", "pauses"] <= 1
    with pytest.raises(ConfigError, match="normalise=none"):
        measure_voice(manifest, ProsodyExtractor(normalise="utterance"), cache, 0)
