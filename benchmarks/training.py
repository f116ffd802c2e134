"""Clips per second of training on cached features: three modalities of 50 steps of width 128, batches of 64.

    python benchmarks/training.py [--fusion crossmodal] [--threads 2] [--accelerator cpu] [--precision 32-true]

Everything of a training step is counted: gathering the batch, projection, fusion, every head, losses, backward pass,
optimizer. The configuration is the one of conf/fusion and conf/task.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import yaml

from subtext.core.building import build
from subtext.corpora.cells import draw_cells
from subtext.encoders.text import TextEncoder
from subtext.labels import derive_labels
from subtext.model.batches import ClipData, StreamTable, SwappedClips, loader
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import Heads
from subtext.model.task import IncongruenceTask

STEPS, WIDTH, BATCH = 50, 128, 64
CONF = Path(__file__).resolve().parents[1] / "conf"


class Face(TextEncoder):
    """A projection, as of any modality whose backbone's output is cached."""

    modality = "visual"


class Voice(TextEncoder):
    """See `Face`."""

    modality = "prosody"


def clips(rows: int) -> ClipData:
    """Random streams with labels."""
    rng = np.random.default_rng(0)
    cells = np.array(draw_cells(rows, rng))
    table = pd.DataFrame({"verbal_polarity": cells[:, 0], "visual_polarity": cells[:, 1]}).astype("Int64")
    table = derive_labels(table.assign(vocal_polarity=table["visual_polarity"], split="train"))
    streams = {
        m: StreamTable(list(torch.from_numpy(rng.normal(size=(rows, STEPS, WIDTH)).astype(np.float32))))
        for m in ("visual", "text", "prosody")
    }
    return ClipData(table, streams, {m: torch.arange(rows) for m in streams}, frozenset(streams))


class Clock(pl.Callback):
    """Wall and processor time of the epochs after the first."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.began = time.perf_counter(), time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.wall = time.perf_counter() - self.began[0]
        self.processor = time.process_time() - self.began[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusion", default="crossmodal")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1280)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    fusion = yaml.safe_load((CONF / "fusion" / f"{options.fusion}.yaml").read_text())
    if options.layers is not None:
        fusion["layers"] = options.layers
    task = yaml.safe_load((CONF / "task" / "incongruence.yaml").read_text())
    encoders = {e.modality: e(embed_dim=WIDTH, dim=WIDTH) for e in (Face, TextEncoder, Voice)}
    classifier = IncongruenceClassifier(
        encoders=encoders,
        fusion=build(fusion, modalities=list(encoders), dim=WIDTH),
        heads=Heads(names=task["heads"], dim=WIDTH, dropout=task["head_dropout"]),
    )
    data = clips(options.rows)
    own = ("heads", "head_dropout", "rows", "batch_size", "max_steps", "swap")
    module = build(
        {k: v for k, v in task.items() if k not in own},
        classifier=classifier,
        targets=data.targets,
        embedded=data.embedded,
    )
    assert isinstance(module, IncongruenceTask)
    clock = Clock()
    trainer = pl.Trainer(
        max_epochs=options.epochs + 1,
        accelerator=options.accelerator,
        devices=1,
        precision=options.precision,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(module, loader(SwappedClips(data, 0.5, 0), BATCH, shuffle=True))
    seen = options.epochs * (options.rows // BATCH) * BATCH
    print(
        f"{options.fusion}, {fusion.get('layers', 0)} layers, width {WIDTH}, "
        f"{classifier.counts()['trainable'] / 1e6:.2f} M parameters, {options.threads} threads, {options.accelerator} "
        f"{options.precision}: {seen / clock.wall:.0f} clips/s; {seen / clock.processor:.0f} clips a processor second"
    )


if __name__ == "__main__":
    main()
