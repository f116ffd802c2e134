"""Cross-modal attention: each modality looks at each other one.

After the cross-modal transformer of Tsai et al. 2019 (MulT, arXiv 1906.00295), with what it lacks: padding masks, absent
modalities, and weights that say which modality the result rests on. The projections are shared between the pairs of
modalities, which learned modality embeddings tell apart, so that small corpora suffice.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion


class CrossModalBlock(nn.Module):
    """One pre-norm block: every sequence attends to each other sequence, then a feed-forward layer.

    Each pair has a softmax of its own, so that a long sequence does not drown a short one; a target takes the mean over
    the sources that are present in the row.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        expansion: width of the feed-forward layer, as a multiple of `dim`.
        dropout: share of units dropped in training.
    """

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, expansion * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * dim, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """One step of exchange.

        Args:
            values: all sequences one after the other, `[batch, sum of times, dim]`.
            masks: bool `[batch, time]` of each sequence, in the same order.

        Returns:
            As `values`.
        """
        values = values + self.dropout(self._exchange(self.attention_norm(values), masks))
        return values + self.dropout(self.feed_forward(values))

    def _exchange(self, normed: Tensor, masks: Sequence[Tensor]) -> Tensor:
        batch, total, dim = normed.shape
        projected = self.query_key_value(normed).view(batch, total, 3, self.heads, dim // self.heads)
        times = [mask.shape[1] for mask in masks]
        queries, keys, values = (part.transpose(1, 2).split(times, dim=2) for part in projected.unbind(dim=2))
        present = [mask.any(dim=1) for mask in masks]
        # A row whose source is absent may look anywhere, so that its softmax is defined; the result is then dropped.
        visible = [(mask | ~here[:, None])[:, None, None, :] for mask, here in zip(masks, present, strict=True)]
        gathered = []
        for target in range(len(masks)):
            # A model of one modality, such as a control, has nobody else to look at than itself.
            sources = [source for source in range(len(masks)) if source != target] or [target]
            weights = torch.stack([present[source] for source in sources]).to(normed.dtype)
            weights = weights / weights.sum(dim=0).clamp(min=1)
            gathered.append(
                sum(
                    functional.scaled_dot_product_attention(
                        queries[target], keys[source], values[source], attn_mask=visible[source]
                    )
                    * weight[:, None, None, None]
                    for source, weight in zip(sources, weights, strict=True)
                )
            )
        return self.output(torch.cat(gathered, dim=2).transpose(1, 2).reshape(batch, total, dim))


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
    """

    def __init__(
        self,
        *,
        modalities: Sequence[str],
        dim: int,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 2,
        queries: int = 4,
        max_positions: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")
        self.modality_embedding = nn.Parameter(torch.randn(len(self.modalities), dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(max_positions, dim) * 0.02)
        self.blocks = nn.ModuleList([CrossModalBlock(dim, heads, expansion, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would shift every score alike
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
        times = [mask.shape[1] for mask in masks]
        values = torch.cat(
            [
                sequence.values + self.modality_embedding[index] + self._positions(sequence.mask.shape[1])
                for index, sequence in enumerate(sequences)
            ],
            dim=1,
        )
        for block in self.blocks:
            values = block(values, masks)
        values = self.norm(values)
        scores = self.key(values) @ self.queries.T * self.dim**-0.5
        contents = self.value(values)
        read = torch.stack(
            [
                _masked_softmax(score, mask[:, :, None], dim=1).transpose(1, 2) @ content
                for score, content, mask in zip(
                    scores.split(times, dim=1), contents.split(times, dim=1), masks, strict=True
                )
            ],
            dim=2,
        )  # [batch, queries, modalities, dim]
        present = torch.stack([mask.any(dim=1) for mask in masks], dim=1)
        rating = read.new_zeros(read.shape[:3]) if self.evidence is None else self.evidence(torch.tanh(read)).squeeze(-1)
        weights = _masked_softmax(rating, present[:, None, :], dim=2)
        summary = (weights.unsqueeze(-1) * read).sum(dim=2)
        return Fused(self.output(summary.flatten(1)), weights.mean(dim=1))

    def _positions(self, time: int) -> Tensor:
        index = torch.arange(time, device=self.position_embedding.device)
        return self.position_embedding[index.clamp(max=len(self.position_embedding) - 1)]


def _masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the positions where `mask` is True; all zero, not NaN, where there is none."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=dim) * mask
