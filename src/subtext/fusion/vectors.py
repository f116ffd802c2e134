"""What the strategies that fuse one vector a modality are built of."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from subtext.encoders.tokens import Tokens


class ModalityVectors(nn.Module):
    """One vector a modality: the normalised mean of its tokens.

    Args:
        modalities: names, in order.
        dim: width of the tokens.
        stand_ins: put a learned vector where a modality is absent, instead of leaving a zero for the caller to mask.
    """

    def __init__(self, modalities: Sequence[str], dim: int, *, stand_ins: bool = True) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({modality: nn.LayerNorm(dim) for modality in modalities})
        self.absent = nn.Parameter(torch.randn(len(modalities), dim) * 0.02) if stand_ins else None

    def forward(self, sequences: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        """Pool.

        Args:
            sequences: of every modality, in order (see `Fusion.complete`).

        Returns:
            Vectors `[batch, n_modalities, dim]`, and which modality is present, bool `[batch, n_modalities]`.
        """
        vectors = torch.stack([self.norms[name](sequence.mean()) for name, sequence in sequences.items()], dim=1)
        present = torch.stack([sequence.present for sequence in sequences.values()], dim=1)
        instead = vectors.new_zeros(()) if self.absent is None else self.absent.to(vectors.dtype)
        return torch.where(present.unsqueeze(-1), vectors, instead), present


def perceptron(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear, GELU, dropout, linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def pairs(count: int) -> list[tuple[int, int]]:
    """Every pair of places out of `count`, in order."""
    return list(itertools.combinations(range(count), 2))


def shares(present: Tensor, dtype: torch.dtype) -> Tensor:
    """Equal weights over what is present, `[batch, n_modalities]`; all zero where nothing is."""
    there = present.to(dtype)
    return there / there.sum(dim=1, keepdim=True).clamp(min=1)
