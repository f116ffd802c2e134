"""Figures about each clip that can be told without looking or listening, for the metadata control and the audit."""

from pathlib import Path

import pandas as pd

from subtext.evaluation.controls import CONTENT
from subtext.features.index import FeatureIndex
from subtext.manifest import Manifest


def describe_clips(manifest: Manifest, index: FeatureIndex) -> tuple[pd.DataFrame, list[str]]:
    """The manifest's rows with figures about their files and streams.

    Returns:
        The table, and the columns among them that serve as metadata: what can be told without looking or listening.
    """
    table = manifest.table.copy()
    metadata: list[str] = []
    for modality in index.modalities:
        quality = index.quality(modality)
        for column in quality:
            name = str(column) if column not in table else f"{modality}_{column}"
            table[name] = table["id"].map(quality[column]).astype("float64")
            if column not in CONTENT:
                metadata.append(name)
    for stream in ("video", "image", "audio"):
        name = f"{stream}_bytes"
        if stream in table and name not in table and table[stream].notna().any():
            sizes = {path: _size(manifest.path(path)) for path in table[stream].dropna().unique()}
            table[name] = table[stream].map(sizes).astype("float64")
            metadata.append(name)
    if "duration" not in table:
        table["duration"] = (table["end"] - table["start"].fillna(0)).astype("float64")
        if "voice_duration" in table:
            table["duration"] = table["duration"].fillna(table["voice_duration"])
        metadata.append("duration")
    return table, metadata


def _size(path: Path) -> float:
    try:
        return float(path.stat().st_size)
    except OSError:
        return float("nan")
