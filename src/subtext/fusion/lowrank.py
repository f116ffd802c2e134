"""Low-rank tensor fusion (LMF): tensor fusion whose weights are a sum of rank-one terms, so the product is never made.

Liu, Shen, Lakshminarasimhan, Liang, Zadeh & Morency 2018, "Efficient low-rank multimodal fusion with modality-specific
factors" (arXiv 1806.00064). Departures: each modality is the normalised mean of its tokens; an absent one is a learned
stand-in; the terms are summed with equal weight, as in the paper, where its published code learns a weight a term; and
the factors start with ones for the appended one, so that a product of several small numbers does not start near zero.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors


def low_rank_product(vectors: Tensor, factors: Tensor) -> Tensor:
    """The paper's fusion, without its bias.

        h = sum over terms r of the elementwise product over modalities m of w_m^(r) [z_m; 1]

    Args:
        vectors: `[batch, n_modalities, width]`.
        factors: `[n_modalities, rank, width + 1, dim]`.

    Returns:
        `[batch, dim]`.
    """
    projected = torch.einsum("bmw,mrwd->bmrd", vectors, factors[:, :, :-1]) + factors[:, :, -1]
    return projected.prod(dim=1).sum(dim=1)


class LowRankFusion(Fusion):
    """Masked means -> low-rank product.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        rank: how many terms.
        dropout: share of the modalities' vectors dropped in training.
    """

    @checked
    def __init__(self, *, modalities: Sequence[str], dim: int, rank: Width = 4, dropout: Dropout = 0.1) -> None:
        super().__init__(modalities=modalities, dim=dim)
        self.vectors = ModalityVectors(self.modalities, dim)
        self.dropout = nn.Dropout(dropout)
        factors = torch.randn(len(self.modalities), rank, dim + 1, dim) * dim**-0.5
        factors[:, :, -1] = 1
        self.factors = nn.Parameter(factors)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is None."""
        vectors, _ = self.vectors(self.complete(tokens))
        return Fused(low_rank_product(self.dropout(vectors), self.factors) + self.bias, None)
