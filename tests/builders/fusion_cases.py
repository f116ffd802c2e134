"""Every strategy of conf/fusion and of plug-ins, in the variants that are tested, and batches to try them on."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import Tensor

from builders.configured import configured
from subtext.corpora.cells import draw_cells
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion
from subtext.labels import POLARITIES, derive_labels
from subtext.model.classifier import build_fusion
from subtext.model.heads import HEADS
from subtext.model.posterior import PosteriorCells

FILES = {name: path for name, path in sorted(configured("fusion").items()) if name != "none"}
PROMISED = {
    *("concat", "late", "gated", "tensor", "lowrank", "crossmodal", "bottleneck", "latent", "discrepancy"),
    *("shared_private", "posterior"),
}
"""Those of which is known what they show besides; others may show it or not."""
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "late, mean": ("late", {"combine": "mean"}),
    "late, stacking": ("late", {"combine": "stacking"}),
    "bottleneck, own layer": ("bottleneck", {"own_layers": 1}),
    "latent, two rounds": ("latent", {"layers": 2}),
    "discrepancy, aligned": ("discrepancy", {"alignment": 0.5}),
    "discrepancy, no distance": ("discrepancy", {"distance": 0}),
    "shared_private, one loss": ("shared_private", {"similarity": 0.0, "reconstruction": 0.0}),
    "posterior, smoothed": ("posterior", {"smoothing": 20.0}),
}
NAMES = [*FILES, *VARIANTS]


def _config(name: str) -> Any:
    file, settings = VARIANTS.get(name, (name, {}))
    return OmegaConf.merge(OmegaConf.load(FILES[file]), settings)


UNKNOWN = [name for name in FILES if name not in PROMISED]
LEARNING = [name for name in NAMES if issubclass(get_class(_config(name)._target_), Fusion)]
"""Those with parameters; the others only count."""
MODALITIES = ("visual", "text", "prosody")
DIM = 16
TIMES = {"visual": 7, "text": 1, "prosody": 12}


def make(name: str, modalities: tuple[str, ...] = MODALITIES) -> Fusion:
    """A strategy that reads tokens of width `DIM`; `posterior` behind readouts that stand in for the polarity heads."""
    fusion = strategy(name, modalities)
    return BehindReadouts(fusion) if isinstance(fusion, PosteriorCells) else fusion


def strategy(name: str, modalities: tuple[str, ...] = MODALITIES) -> Any:
    """A strategy as it is configured; `posterior` with the cells of two hundred clips."""
    torch.manual_seed(0)
    fusion, _ = build_fusion(OmegaConf.to_container(_config(name)), modalities, DIM)
    if isinstance(fusion, PosteriorCells):
        fusion.fit(targets())
    return fusion


class BehindReadouts(Fusion):
    """Fixed readouts of each modality's mean token, and what the fusion makes of these logits."""

    def __init__(self, fusion: PosteriorCells) -> None:
        super().__init__(modalities=fusion.modalities, dim=DIM)
        self.cells = fusion
        self.register_buffer("readouts", torch.randn(len(self.modalities), DIM, len(POLARITIES)))

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        given = self.complete(tokens)
        logits = {m: given[m].mean() @ self.readouts[place] for place, m in enumerate(self.modalities)}
        return Fused(self.cells.weigh(logits, {m: sequence.present for m, sequence in given.items()}), None)


def targets(rows: int = 200, seed: int = 7) -> dict[str, Tensor]:
    """Labels by head of clips in all cells, of which only `engagement` is noise."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(draw_cells(rows, rng), columns=["verbal_polarity", "visual_polarity"])
    table["vocal_polarity"] = rng.integers(-1, 2, rows)
    table["engagement"] = rng.normal(size=rows)
    return {name: spec.targets(derive_labels(table)) for name, spec in HEADS.items()}


def batch(rows: int = 8, seed: int = 1, subsets: bool = True) -> dict[str, Tokens]:
    """Ragged random tokens; with `subsets`, row k lacks the modalities that its number says."""
    generator = torch.Generator().manual_seed(seed)
    choices = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
    tokens = {}
    for modality, time in TIMES.items():
        lengths = torch.randint(1, time + 1, (rows,), generator=generator)
        mask = torch.arange(time) < lengths[:, None]
        if subsets:
            mask &= torch.tensor([modality in choices[row % len(choices)] for row in range(rows)])[:, None]
        values = torch.randn(rows, time, DIM, generator=generator)
        tokens[modality] = Tokens(values, mask)
    return tokens
