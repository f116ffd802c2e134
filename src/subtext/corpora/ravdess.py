"""RAVDESS: acted emotional speech of 24 actors (Livingstone & Russo 2018, CC BY-NC-SA 4.0)."""

from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import DatasetNotFound

EMOTIONS: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES: Final = ("normal", "strong")


def read_voices(folder: Path) -> pd.DataFrame:
    """The speech recordings (audio only) of RAVDESS, described by their names.

    A name reads modality-channel-emotion-intensity-statement-repetition-actor; odd actors are men, even ones women.

    Args:
        folder: holds `Actor_01/03-01-*.wav` ... `Actor_24`; FLAC is read as well.

    Returns:
        One row a recording, sorted by file: `file` (relative to `folder`), `actor` ("01" ... "24"), `gender`
        ("man", "woman"), `emotion`, `intensity`, `statement` (1, 2), `repetition` (1, 2).

    Raises:
        DatasetNotFound: there are no such files.
    """
    names = pd.Series(
        sorted(
            path.relative_to(folder).as_posix()
            for suffix in ("wav", "flac")
            for path in folder.glob(f"Actor_[0-9][0-9]/*.{suffix}")
        ),
        dtype="str",
    )
    # Speech only, sound only: 03-02 is singing, 01 and 02 are the films of the same takes.
    pattern = r"^Actor_\d\d/03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)\.(?:wav|flac)$"
    fields = names.str.extract(pattern)
    known = fields.notna().all(axis=1)
    names, fields = names[known].reset_index(drop=True), fields[known].reset_index(drop=True)
    if names.empty:
        raise DatasetNotFound(
            f"no RAVDESS recordings under {folder}; expected Actor_01/03-01-*.wav. "
            "Download Audio_Speech_Actors_01-24.zip from zenodo.org/records/1188976, or set paths.data"
        )
    # The same take as WAV and as FLAC is one recording.
    first = ~fields.duplicated()
    names, fields = names[first].reset_index(drop=True), fields[first].reset_index(drop=True)
    return pd.DataFrame(
        {
            "file": names,
            "actor": fields[4],
            "gender": fields[4].astype(int).map(lambda actor: "man" if actor % 2 else "woman"),
            "emotion": fields[0].astype(int).map(lambda code: EMOTIONS[code - 1]),
            "intensity": fields[1].astype(int).map(lambda code: INTENSITIES[code - 1]),
            "statement": fields[2].astype(int),
            "repetition": fields[3].astype(int),
        }
    )
