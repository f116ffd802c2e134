"""Cross-modal attention: each modality looks at each other one.

After Tsai, Bai, Liang, Kolter, Morency & Salakhutdinov 2019, "Multimodal transformer for unaligned multimodal language
sequences" (MulT, arXiv 1906.00295). Departures: one block serves all pairs of modalities, which learned embeddings tell
apart, where the paper has a transformer for each pair, so that small corpora suffice; a position looks at all other
modalities in one softmax, and updates are exchanged between layers, where the paper's pairs look at the unchanged
sequence; learned positions; learned queries pool the result, and weigh the modalities, where the paper runs a second
transformer and takes its last position. It has what the paper's lacks: padding masks, absent modalities, sequences made
even in length, and weights that say which modality, and which positions, the result rests on.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, Layers, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.attention import AttentionBlock, check_attention, even_bias, masked_softmax, one_sequence
from subtext.fusion.base import Fused, Fusion


class CrossModalFusion(Fusion):
    """Blocks of cross-modal exchange, then pooling by learned queries.

    Each query first reads every modality on its own, then weighs what it read across the modalities that are present:
    those weights, averaged over the queries, are the evidence.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        layers: blocks of exchange.
        heads: attention heads; must divide `dim`.
        expansion: width of the feed-forward layers, as a multiple of `dim`.
        queries: learned pooling queries.
        max_positions: positions with an embedding of their own; later ones share the last.
        dropout: share of units dropped in training.

    Raises:
        ConfigError: the heads don't divide the width, or a count is not positive.
    """

    @checked
    def __init__(
        self,
        *,
        modalities: Sequence[str],
        dim: int,
        layers: Layers = 1,
        heads: Width = 4,
        expansion: Width = 2,
        queries: Width = 4,
        max_positions: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        check_attention(dim, heads)
        self.modality_embedding = nn.Parameter(torch.randn(len(self.modalities), dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(max_positions, dim) * 0.02)
        self.blocks = nn.ModuleList([AttentionBlock(dim, heads, expansion, dropout) for _ in range(layers)])
        self.nobody = nn.Parameter(torch.randn(dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.value = nn.Linear(dim, dim)
        self.evidence = nn.Linear(dim, 1, bias=False) if len(self.modalities) > 1 else None
        self.output = nn.Sequential(
            nn.Linear(queries * dim, expansion * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * dim, dim),
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`."""
        sequences = list(self.complete(tokens).values())
        masks = [sequence.mask for sequence in sequences]
        values = one_sequence(sequences, self.modality_embedding, self.position_embedding, self.nobody)
        bias = _exchange_bias(masks)
        for block in self.blocks:
            values = block(values, bias)
        values = self.norm(values)
        scores = values @ self.queries.T.to(values.dtype)
        times = [mask.shape[1] for mask in masks]
        pools = [
            masked_softmax(score, mask[:, :, None], dim=1)
            for score, mask in zip(scores[:, :-1].split(times, dim=1), masks, strict=True)
        ]
        contents = values[:, :-1].split(times, dim=1)
        read = torch.stack(
            [pool.transpose(1, 2) @ content for pool, content in zip(pools, contents, strict=True)], dim=2
        )
        read = self.value(read)  # [batch, queries, modalities, dim]; linear, so it may as well follow the averaging
        present = torch.stack([mask.any(dim=1) for mask in masks], dim=1)
        rating = (
            read.new_zeros(read.shape[:3]) if self.evidence is None else self.evidence(torch.tanh(read)).squeeze(-1)
        )
        weights = masked_softmax(rating, present[:, None, :], dim=2)
        summary = (weights.unsqueeze(-1) * read).sum(dim=2)
        focus = None
        if not self.training:
            # A query's weights over a modality's positions sum to one, and are worth that modality's weight to it.
            focus = {
                modality: (pool * weights[:, :, place].unsqueeze(1)).mean(dim=2)
                for place, (modality, pool) in enumerate(zip(self.modalities, pools, strict=True))
            }
        return Fused(self.output(summary.flatten(1)), weights.mean(dim=1), focus=focus)


def _exchange_bias(masks: Sequence[Tensor]) -> Tensor:
    """Which position may look where, `[batch, 1, total + 1, total + 1]`, the last position being nobody's.

    A position sees the real positions of each other sequence, never those of its own, and nobody's, so that its softmax
    is defined where everyone else is absent. A model of one modality, such as a control, sees its own sequence instead.
    """
    owner = torch.cat([mask.new_full((mask.shape[1],), index, dtype=torch.long) for index, mask in enumerate(masks)])
    owner = functional.pad(owner, (0, 1), value=len(masks))
    own = (owner[:, None] == owner[None, :]) & (owner < len(masks))
    return even_bias(masks)[:, None, :].masked_fill(own & (len(masks) > 1), -torch.inf).unsqueeze(1)
