"""MELD: utterances of dialogues with sentiment and emotion (Poria et al. 2019, GPL-3.0 repository)."""

from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import DatasetNotFound

_FILES: Final = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
_COLUMNS: Final = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def read_utterances(folder: Path) -> pd.DataFrame:
    """The utterances of MELD in its official splits, which are disjoint in dialogue.

    Args:
        folder: holds `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`.

    Returns:
        One row an utterance in the files' order: `utterance` ("train-12-3"), `dialogue` ("train-12": the numbers
        restart in every file), `split` (train, val, test), `text`, `speaker`, `emotion`, `sentiment`.

    Raises:
        DatasetNotFound: a file is missing or lacks columns.
    """
    parts = []
    for split, name in _FILES.items():
        path = folder / name
        if not path.is_file():
            raise DatasetNotFound(
                f"no {name} under {folder}; expected {', '.join(_FILES.values())}. "
                "Download them from data/MELD of github.com/declare-lab/MELD, or set paths.data"
            )
        # "NA" and "null" are words that people say.
        part = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        lacking = [column for column in _COLUMNS if column not in part]
        if lacking:
            raise DatasetNotFound(f"{path} lacks the columns {', '.join(lacking)}; it needs {', '.join(_COLUMNS)}")
        part["split"] = split
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    dialogue = table["split"] + "-" + table["Dialogue_ID"]
    return pd.DataFrame(
        {
            "utterance": dialogue + "-" + table["Utterance_ID"],
            "dialogue": dialogue,
            "split": table["split"],
            "text": table["Utterance"],
            "speaker": table["Speaker"],
            "emotion": table["Emotion"].str.lower(),
            "sentiment": table["Sentiment"].str.lower(),
        }
    )
