"""Early concatenation: the mean of each modality's tokens, side by side.

Early fusion as Baltrusaitis, Ahuja & Morency 2019 (arXiv 1705.09406, section 5.1.1) describe it, the plainest baseline.
Departures: what stands side by side is what encoders made, not raw features, and learned embeddings stand in for absent
modalities.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion


class ConcatFusion(Fusion):
    """Masked means side by side -> MLP; a modality that is absent is stood for by a learned embedding of its own.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        hidden: width of the MLP's hidden layer.
        dropout: share of hidden units dropped in training.
    """

    @checked
    def __init__(self, *, modalities: Sequence[str], dim: int, hidden: Width = 256, dropout: Dropout = 0.1) -> None:
        super().__init__(modalities=modalities, dim=dim)
        self.absent = nn.ParameterDict({m: nn.Parameter(torch.randn(dim) * 0.02) for m in self.modalities})
        self.norms = nn.ModuleDict({m: nn.LayerNorm(dim) for m in self.modalities})
        self.mlp = nn.Sequential(
            nn.Linear(len(self.modalities) * dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is None."""
        parts = [
            torch.where(sequence.present[:, None], self.norms[modality](sequence.mean()), self.absent[modality])
            for modality, sequence in self.complete(tokens).items()
        ]
        return Fused(self.mlp(torch.cat(parts, dim=1)), None)
