"""A corpus of a hundred rows of precomputed streams, and settings that train on it within seconds."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subtext.corpora.cells import draw_cells

DIRECTIONS = {"text": 8, "prosody": 6}


def write_corpus(folder: Path, *, seed: int = 0, sizes: tuple[int, int, int] = (80, 40, 40)) -> Path:
    """Rows whose words and voice carry their polarity plainly, as .npz streams and a CSV manifest; gives the CSV.

    Some rows lack a stream. `incongruent` is about words and voice here, there being no face.
    """
    rng = np.random.default_rng(seed)
    (folder / "streams").mkdir(parents=True)
    rows = []
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        for number, (said, shown) in enumerate(draw_cells(size, rng)):
            name = f"{split}-{number:03d}"
            polarity = {"text": said, "prosody": shown}
            steps = {"text": 1, "prosody": int(rng.integers(12, 30))}
            arrays = {}
            for modality, dim in DIRECTIONS.items():
                values = 0.5 * rng.normal(size=(steps[modality], dim))
                values[:, polarity[modality] + 1] += 3
                arrays[modality] = values.astype(np.float32)
            if number % 13 == 5:
                del arrays["prosody"]
            if number % 13 == 9:
                del arrays["text"]
            np.savez(folder / "streams" / f"{name}.npz", **arrays)
            rows.append(
                {
                    "id": name,
                    "speaker": f"{split}-{number % 10}",
                    "features": f"streams/{name}.npz",
                    "verbal_polarity": said,
                    "visual_polarity": shown,
                    "vocal_polarity": shown,
                    "split": split,
                }
            )
    path = folder / "tiny.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def settings(folder: Path, manifest: Path, **task: Any) -> dict[str, Any]:
    """A resolved configuration: words and voice, a narrow crossmodal fusion, three epochs."""
    return {
        "seed": 0,
        "name": "tiny",
        "encoders": None,
        "overwrite": False,
        "workers": 0,
        "debug": False,
        "controls": False,
        "corpus": {"_target_": "subtext.corpora.files.ManifestCorpus", "path": str(manifest), "name": "tiny"},
        "encoder": {
            "visual": None,
            "text": {
                "_target_": "subtext.encoders.text.TextEncoder",
                "embed_dim": DIRECTIONS["text"],
                "dim": 16,
                "dropout": 0.1,
                "extractor": {"_target_": "subtext.features.text.TextExtractor", "model": "all-MiniLM-L6-v2"},
            },
            "prosody": {
                "_target_": "subtext.encoders.prosody.ProsodyEncoder",
                "input_dim": DIRECTIONS["prosody"],
                "channels": 8,
                "layers": 1,
                "trainable": True,
                "augment": {"_target_": "subtext.encoders.augmentation.FrameAugmentation"},
                "dim": 16,
                "dropout": 0.1,
                "extractor": {"_target_": "subtext.features.prosody.ProsodyExtractor"},
            },
        },
        "fusion": {
            "_target_": "subtext.fusion.crossmodal.CrossModalFusion",
            "layers": 1,
            "heads": 2,
            "expansion": 1,
            "queries": 2,
            "max_positions": 16,
            "dropout": 0.1,
        },
        "task": {
            "_target_": "subtext.model.task.IncongruenceTask",
            "heads": ["incongruent", "verbal_polarity", "vocal_polarity"],
            "head_dropout": 0.1,
            "rows": "clips",
            "batch_size": 16,
            "max_steps": {"visual": 8, "text": 8, "prosody": 20},
            "swap": 0.5,
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.003},
            "scheduler": {"_target_": "subtext.model.task.warmup_cosine", "_partial_": True, "warmup": 0.1},
            "modality_dropout": 0.1,
        }
        | task,
        "trainer": {
            "_target_": "pytorch_lightning.Trainer",
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 3,
            "precision": "32-true",
            "gradient_clip_val": 1.0,
            "deterministic": True,
            "log_every_n_steps": 1,
        },
        "callbacks": {},
        "logger": {},
        "paths": {"features": str(folder / "features")},
    }


def changed(base: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with `part__key=value` set."""
    out = copy.deepcopy(base)
    for name, value in values.items():
        node = out
        *path, last = name.split("__")
        for part in path:
            node = node[part]
        node[last] = value
    return out
