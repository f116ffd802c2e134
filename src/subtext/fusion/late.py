"""Late fusion: each modality decides on its own, and the decisions are combined.

The baseline of every comparison (see Baltrusaitis, Ahuja & Morency 2019, arXiv 1705.09406, section 5.1.1); stacking is
Wolpert 1992, "Stacked generalization". Departures: everything is trained together, on one loss, where late fusion is
usually put together from models that were trained apart; and stacking therefore learns from decisions on the training
clips themselves, where Wolpert's second level learns from held-out ones.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors, perceptron, shares


class LateFusion(Fusion):
    """A network of its own for each modality, over the mean of its tokens.

    With `combine` at `mean` or `weights` the heads answer from each present modality's vector and the answers (logits,
    numbers) are averaged, so that no interaction between modalities can be expressed: that is the point of it. With
    `stacking` each modality gives a distribution over a few latent outcomes, its decision, and a second network reads
    all decisions side by side; an absent modality's is learned.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        combine: `mean`, `weights` (one learned weight a modality, softmax over those that are present), or `stacking`.
        hidden: width of the hidden layers.
        outcomes: latent outcomes among which a modality decides, for stacking.
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
        combine: Literal["mean", "weights", "stacking"] = "weights",
        hidden: Width = 128,
        outcomes: Annotated[int, Interval(ge=2, le=65536)] = 3,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        self.combine = combine
        count = len(self.modalities)
        self.vectors = ModalityVectors(self.modalities, dim, stand_ins=False)
        decided = outcomes if combine == "stacking" else dim
        self.deciders = nn.ModuleList([perceptron(dim, hidden, decided, dropout) for _ in self.modalities])
        # One modality has all the weight whatever is learned.
        self.weights = nn.Parameter(torch.zeros(count)) if combine == "weights" and count > 1 else None
        self.undecided = nn.Parameter(torch.zeros(count, outcomes)) if combine == "stacking" else None
        self.second = perceptron(count * outcomes, hidden, dim, dropout) if combine == "stacking" else None

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` holds the weights of the average, and is None for stacking."""
        vectors, present = self.vectors(self.complete(tokens))
        decisions = torch.stack([decide(vectors[:, place]) for place, decide in enumerate(self.deciders)], dim=1)
        if self.undecided is not None and self.second is not None:
            known = torch.where(present.unsqueeze(-1), decisions, self.undecided.to(decisions.dtype))
            return Fused(self.second(known.softmax(dim=-1).flatten(1)), None)
        weights = shares(present, decisions.dtype)
        if self.weights is not None:
            weights = weights * self.weights.to(decisions.dtype).exp()
            weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return Fused.of_opinions(decisions, weights)
