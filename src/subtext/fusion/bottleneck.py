"""Bottleneck tokens (MBT): modalities exchange what they know through a handful of shared tokens only.

Nagrani, Yang, Arnab, Jansen, Schmid & Sun 2021, "Attention bottlenecks for multimodal fusion" (arXiv 2107.00135). Each
modality has transformer layers and a classification token of its own. In a fusion layer each modality attends to itself
and to the bottleneck tokens, and the bottleneck tokens as each modality updated them are averaged. The heads answer
from each classification token and their answers are averaged. Departures: an absent modality is left out of both
averages; padding is masked; layers are few and trained from scratch.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import torch
from annotated_types import Interval
from torch import nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.attention import AttentionBlock, check_attention, positions
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import shares


class BottleneckFusion(Fusion):
    """Transformers side by side, joined by bottleneck tokens.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        own_layers: layers before fusion, in which each modality sees itself only.
        layers: fusion layers; in the first the bottleneck gathers, from the second on it also gives.
        bottlenecks: bottleneck tokens.
        heads: attention heads; must divide `dim`.
        expansion: width of the feed-forward layers, as a multiple of `dim`.
        max_positions: positions with an embedding of their own; later ones share the last.
        dropout: share of feed-forward units dropped in training.

    Raises:
        ConfigError: the heads don't divide the width, or there are too few of something.
    """

    @checked
    def __init__(
        self,
        *,
        modalities: Sequence[str],
        dim: int,
        own_layers: Annotated[int, Interval(ge=0, le=256)] = 0,
        layers: Annotated[int, Interval(ge=2, le=256)] = 2,
        bottlenecks: Width = 4,
        heads: Width = 4,
        expansion: Width = 2,
        max_positions: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        check_attention(dim, heads)
        self.own_layers = own_layers
        self.position_embedding = nn.Parameter(torch.randn(max_positions, dim) * 0.02)
        self.classification = nn.Parameter(torch.randn(len(self.modalities), dim) * 0.02)
        self.bottlenecks = nn.Parameter(torch.randn(bottlenecks, dim) * 0.02)
        self.blocks = nn.ModuleList(
            [
                nn.ModuleList([AttentionBlock(dim, heads, expansion, dropout) for _ in self.modalities])
                for _ in range(own_layers + layers)
            ]
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` holds the weights of the average, the same for all that are present."""
        sequences = list(self.complete(tokens).values())
        rows = sequences[0].mask.shape[0]
        present = torch.stack([sequence.present for sequence in sequences], dim=1)
        states, unseen = [], []
        for place, sequence in enumerate(sequences):
            values = sequence.values + positions(self.position_embedding, sequence.mask.shape[1])
            classification = self.classification[place].to(values.dtype).expand(rows, 1, -1)
            states.append(torch.cat([classification, values], dim=1))
            always = torch.ones_like(sequence.mask[:, :1])
            unseen.append(~torch.cat([always, sequence.mask], dim=1))
        bottleneck = self.bottlenecks.to(states[0].dtype).expand(rows, -1, -1)
        reachable = torch.zeros(bottleneck.shape[:2], dtype=torch.bool, device=bottleneck.device)
        weights = shares(present, bottleneck.dtype)
        for depth, layer in enumerate(self.blocks):
            blocks = cast(nn.ModuleList, layer)
            if depth < self.own_layers:
                states = [
                    block(state, _bias(hidden, state.dtype))
                    for block, state, hidden in zip(blocks, states, unseen, strict=True)
                ]
                continue
            updated = []
            for place, block in enumerate(blocks):
                length = states[place].shape[1]
                both = torch.cat([states[place], bottleneck], dim=1)
                both = block(both, _bias(torch.cat([unseen[place], reachable], dim=1), both.dtype))
                states[place] = both[:, :length]
                updated.append(both[:, length:])
            bottleneck = (torch.stack(updated, dim=1) * weights[:, :, None, None]).sum(dim=1)
        return Fused.of_opinions(torch.stack([state[:, 0] for state in states], dim=1), weights)


def _bias(unseen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Minus infinity for keys that nobody may look at, `[batch, 1, 1, total]`."""
    return torch.zeros_like(unseen, dtype=dtype).masked_fill(unseen, -torch.inf)[:, None, None, :]
