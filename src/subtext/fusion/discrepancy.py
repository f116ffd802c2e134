"""Discrepancy features: how far the modalities are from each other in a space that they share.

The features [u, v, |u - v|, u * v] of InferSent (Conneau et al. 2017, arXiv 1705.02364) and SBERT (Reimers & Gurevych
2019, arXiv 1908.10084), for every pair of modalities. Differences mean something only in a shared, normalised space, so
each modality is first projected into one, on its unit sphere. Departures: u and v come from different encoders, each
with a projection of its own; u and v stand once in the input of the network, not once a pair; and where one of a pair
is absent, learned features stand in for the pair's. Optional: a learned distance a pair, and the contrastive loss of
CLIP (Radford et al. 2021, arXiv 2103.00020) between the modalities of a clip, which makes the space a shared one but
knows nothing of labels: it pulls the channels of incongruent clips together too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, NotNegative, Positive, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors, pairs, perceptron


def contrastive_loss(first: Tensor, second: Tensor, both: Tensor, temperature: float) -> Tensor:
    """Symmetric cross-entropy of finding a row's partner among all rows: CLIP's loss, over rows that have both.

    Args:
        first: unit vectors, `[batch, width]`.
        second: their partners, `[batch, width]`.
        both: rows that count, bool `[batch]`.
        temperature: divides the cosines.

    Returns:
        Scalar; zero, with a gradient of zero, where fewer than two rows count.
    """
    scores = first.float() @ second.float().T / temperature
    lowest = torch.finfo(scores.dtype).min
    losses = [
        -found.masked_fill(~both, lowest).log_softmax(dim=1).diagonal().masked_fill(~both, 0)
        for found in (scores, scores.T)
    ]
    return (losses[0] + losses[1]).sum() / 2 / both.sum().clamp(min=1)


class DiscrepancyFusion(Fusion):
    """Masked means -> shared unit sphere -> features of every pair -> network.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        width: of the shared space.
        hidden: width of the network's hidden layer.
        distance: width in which a learned squared distance |L (u - v)|^2 of each pair is measured; 0 for none.
        alignment: weight of the contrastive loss; 0 leaves it out.
        temperature: of the contrastive loss.
        dropout: share of hidden units dropped in training.

    Raises:
        ConfigError: a setting cannot be used.
    """

    @checked
    def __init__(
        self,
        *,
        modalities: Sequence[str],
        dim: int,
        width: Width = 64,
        hidden: Width = 128,
        distance: Annotated[int, Interval(ge=0, le=65536)] = 16,
        alignment: NotNegative = 0.0,
        temperature: Positive = 0.1,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        count = len(self.modalities)
        self.pairs = pairs(count)
        self.alignment, self.temperature = alignment, temperature
        self.scale = math.sqrt(width)
        self.vectors = ModalityVectors(self.modalities, dim, stand_ins=False)
        self.shared = nn.ModuleList([nn.Linear(dim, width) for _ in self.modalities])
        self.absent = nn.Parameter(torch.randn(count, width) * 0.02)
        measured = distance > 0 and bool(self.pairs)
        self.metrics = nn.Parameter(torch.randn(len(self.pairs), width, distance) * width**-0.5) if measured else None
        features = 2 * width + int(measured)
        self.unpaired = nn.Parameter(torch.randn(len(self.pairs), features) * 0.02) if self.pairs else None
        self.output = perceptron(count * width + len(self.pairs) * features, hidden, dim, dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is None, `losses` has `alignment` where it has a weight."""
        vectors, present = self.vectors(self.complete(tokens))
        placed = [functional.normalize(layer(vectors[:, i]), dim=1) for i, layer in enumerate(self.shared)]
        known = torch.where(present.unsqueeze(2), torch.stack(placed, dim=1) * self.scale, self.absent)
        parts = [known.flatten(1)]
        for number, (i, j) in enumerate(self.pairs):
            difference = (placed[i] - placed[j]) * self.scale
            features = [difference.abs(), placed[i] * placed[j] * self.scale**2]
            if self.metrics is not None:
                features.append((difference @ self.metrics[number]).square().mean(dim=1, keepdim=True))
            if self.unpaired is not None:
                both = (present[:, i] & present[:, j]).unsqueeze(1)
                parts.append(torch.where(both, torch.cat(features, dim=1), self.unpaired[number]))
        losses = {}
        if self.training and self.alignment and self.pairs:
            found = [
                contrastive_loss(placed[i], placed[j], present[:, i] & present[:, j], self.temperature)
                for i, j in self.pairs
            ]
            losses["alignment"] = self.alignment * torch.stack(found).mean()
        return Fused(self.output(torch.cat(parts, dim=1)), None, losses=losses)
