"""What is said of clips unlike those of the training; how far away they are `subtext.model.novelty` measures."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from subtext.labels import MODALITIES

KEPT_SHARE: Final = 0.99
"""Of the validation clips, that lie within the level."""
FEWEST_CLIPS: Final = 100
"""Validation clips below which no level is chosen: it would be the distance of the farthest one."""


def unlike(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many clips are unlike those of the training, by modality that is checked.

    Args:
        table: of predictions.
    """
    distances = {m: table[f"novelty_{m}"].dropna() for m in MODALITIES if f"novelty_{m}" in table}
    return {m: {"clips": len(values), "unlike": int((values > 1).sum())} for m, values in distances.items()}


def unchecked(described: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str | None:
    """Of which modalities nothing tells whether clips are unlike those of the training; None where all are checked.

    Args:
        described: by modality, `clips` of the validation split and the `level` that was chosen on them, or null.
        names: what people call the modalities.
    """
    few = [(names[m], entry["clips"]) for m, entry in described.items() if m in names and entry["level"] is None]
    if not few:
        return None
    told = ", ".join(f"{name} ({clips})" for name, clips in few)
    return f"novelty is not checked for want of {FEWEST_CLIPS} different validation clips: {told}"
