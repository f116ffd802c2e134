"""Face photographs with the emotion that people named, mostly from Labeled Faces in the Wild."""

import os
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import DatasetNotFound

_COLUMNS: Final = ("image", "emotion", "identity", "source")


def read_photographs(folder: Path) -> pd.DataFrame:
    """The labelled face photographs.

    Args:
        folder: holds `labels.csv` (image, emotion, identity, source) and the pictures it names under `images/`.

    Returns:
        One row a photograph in the file's order: `file` (relative to `folder`), `emotion`, `identity`, `source`
        ("lfw", "film_still").

    Raises:
        DatasetNotFound: the table or pictures are missing.
    """
    path = folder / "labels.csv"
    if not path.is_file():
        raise DatasetNotFound(
            f"no face photographs under {folder}; expected labels.csv and images/*.jpg. "
            "Put them there, or set paths.data"
        )
    # Text as it stands: a person may be called Null.
    labels = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    lacking = [column for column in _COLUMNS if column not in labels]
    if lacking:
        raise DatasetNotFound(f"{path} lacks the columns {', '.join(lacking)}; it needs {', '.join(_COLUMNS)}")
    images = folder / "images"
    present = set(os.listdir(images)) if images.is_dir() else set()
    missing = labels.loc[~labels["image"].isin(present), "image"]
    if len(missing):
        raise DatasetNotFound(
            f"{len(missing)} of {len(labels)} pictures that {path} names are not under {images}, "
            f"the first is '{missing.iloc[0]}'; copy them there or take their rows out"
        )
    out = labels[["emotion", "identity", "source"]].copy()
    out.insert(0, "file", "images/" + labels["image"])
    return out
