"""Clips of measured figures of a face and a voice, generated: emotion shows in each, and persons differ."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from subtext.encoders.precomputed import FeatureEncoder
from subtext.labels import POLARITIES
from subtext.model.batches import ClipData, StreamTable
from subtext.model.classifier import IncongruenceClassifier, build_fusion
from subtext.model.fit import Fitted, Fitter
from subtext.model.heads import Heads
from subtext.model.readers import ReaderSpec

FIGURES = {"visual": 8, "prosody": 6}
POLARITY_HEADS = ("visual_polarity", "vocal_polarity")
CROSSMODAL = {"_target_": "subtext.fusion.crossmodal.CrossModalFusion", "heads": 2, "queries": 2, "max_positions": 8}
CONCAT = {"_target_": "subtext.fusion.concat.ConcatFusion"}
POSTERIOR = {"_target_": "subtext.model.posterior.PosteriorCells"}


def figure_clips(
    seed: int,
    *,
    speakers: int = 24,
    clips: int = 24,
    dependence: float = 0.0,
    person: float = 0.0,
    strength: float = 1.0,
    labelled: bool = True,
) -> ClipData:
    """Rows of all three splits, a sixth of the speakers each in validation and test.

    `incongruent` says whether the polarities of face and voice differ.

    Args:
        seed: of everything.
        speakers: how many.
        clips: of each speaker; every one has a face and a voice of its own.
        dependence: share of clips whose label says instead whether two hidden signs agree, which the last figure of
            face and of voice shows plainly and no polarity tells.
        person: standard deviation of what the figures of a person have in common.
        strength: how far apart polarities are, in standard deviations of the noise.
        labelled: whether polarities are given.
    """
    rng = np.random.default_rng(seed)
    number = speakers * clips
    who = np.repeat(np.arange(speakers), clips)
    split = np.where(who < speakers * 2 // 3, "train", np.where(who < speakers * 5 // 6, "val", "test"))
    rows: dict[str, Any] = {
        "id": [f"clip-{i}" for i in range(number)],
        "speaker": [f"person-{w}" for w in who],
        "session": [f"session-{w}" for w in who],
        "split": split,
    }
    signs, streams, shown = {}, {}, {}
    for (modality, width), head in zip(FIGURES.items(), POLARITY_HEADS, strict=True):
        classes = rng.integers(0, 3, number)
        centres = np.random.default_rng(width).normal(size=(3, width)) * strength
        values = centres[classes] + rng.normal(size=(number, width))
        values += (rng.normal(size=(speakers, width)) * person)[who]
        signs[modality] = rng.choice([-1, 1], number)
        values[:, -1] = signs[modality] * 2 + 0.3 * rng.normal(size=number)
        shown[head] = np.array(POLARITIES)[classes]
        streams[modality] = StreamTable(list(torch.from_numpy(values.astype(np.float32))[:, None]))
    differ = shown["visual_polarity"] != shown["vocal_polarity"]
    hidden = rng.random(number) < dependence
    rows["incongruent"] = np.where(hidden, signs["visual"] == signs["prosody"], differ)
    if labelled:
        rows |= shown
    return ClipData(pd.DataFrame(rows), streams, {m: torch.arange(number) for m in FIGURES})


def settings(seed: int, *, epochs: int = 25, lr: float = 3e-3, swap: float = 0.0) -> dict[str, Any]:
    """What `Fitter` goes by."""
    return {
        "seed": seed,
        "task": {
            "_target_": "subtext.model.task.IncongruenceTask",
            "heads": ["incongruent", *POLARITY_HEADS],
            "head_dropout": 0.1,
            "rows": "clips",
            "batch_size": 64,
            "max_steps": {},
            "swap": swap,
            "reader": None,
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": lr, "weight_decay": 0.05},
            "scheduler": {"_target_": "subtext.model.task.warmup_cosine", "_partial_": True, "warmup": 0.1},
        },
        "trainer": {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1, "max_epochs": epochs},
        "callbacks": {},
        "logger": {},
    }


def model(
    fusion: dict[str, Any] | None,
    data: ClipData,
    *,
    seed: int = 0,
    anchor: str | None = None,
    reader: ReaderSpec | None = None,
    baseline: str | None = None,
) -> IncongruenceClassifier:
    """An untrained model of figures; its heads are those that the rows are labelled for."""
    torch.manual_seed(seed)
    encoders = {m: FeatureEncoder(modality=m, input_dim=width, channels=8, dim=16) for m, width in FIGURES.items()}
    strategy, cells = build_fusion(None if fusion is None else {**fusion, "anchor": anchor}, list(encoders), 16)
    polarities = [head for head in POLARITY_HEADS if not bool(data.targets[head].isnan().all())]
    heads = Heads(
        names=[*(["incongruent"] if fusion is not None else []), *polarities],
        dim=16,
        reader=reader or ReaderSpec(networks=1, steps=60),
        read=FIGURES,
        baseline=dict.fromkeys(FIGURES, baseline) if baseline else None,
        direct=anchor is not None and not polarities,
    )
    return IncongruenceClassifier(encoders=encoders, fusion=strategy, heads=heads, anchor=cells)


def fitted(classifier: IncongruenceClassifier, data: ClipData, given: dict[str, Any]) -> Fitted:
    """Trained on the training split, the epoch and the gates chosen on the validation split."""
    return Fitter(given, None).fit(classifier, data, None)
