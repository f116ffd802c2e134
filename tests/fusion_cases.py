"""Every strategy with a file in conf/fusion, in the variants that are tested, and batches to try them on."""

import itertools
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fusion

CONF = Path(__file__).resolve().parents[1] / "conf" / "fusion"
FILES = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "late, mean": ("late", {"combine": "mean"}),
    "late, stacking": ("late", {"combine": "stacking"}),
    "bottleneck, own layer": ("bottleneck", {"own_layers": 1}),
    "latent, two rounds": ("latent", {"layers": 2}),
    "discrepancy, aligned": ("discrepancy", {"alignment": 0.5}),
    "discrepancy, no distance": ("discrepancy", {"distance": 0}),
    "shared_private, one loss": ("shared_private", {"similarity": 0.0, "reconstruction": 0.0}),
}
NAMES = [*FILES, *VARIANTS]
MODALITIES = ("visual", "text", "prosody")
DIM = 16
TIMES = {"visual": 7, "text": 1, "prosody": 12}


def make(name: str, modalities: tuple[str, ...] = MODALITIES) -> Fusion:
    torch.manual_seed(0)
    file, settings = VARIANTS.get(name, (name, {}))
    config = OmegaConf.load(CONF / f"{file}.yaml")
    return instantiate(config, modalities=modalities, dim=DIM, **settings)


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
