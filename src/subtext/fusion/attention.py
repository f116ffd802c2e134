"""What the strategies that attend to tokens are built of."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.vectors import perceptron


class AttentionBlock(nn.Module):
    """One pre-norm block: self-attention among the positions that may see each other, then a feed-forward layer.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        expansion: width of the feed-forward layer, as a multiple of `dim`.
        dropout: share of feed-forward units dropped in training.
    """

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(nn.LayerNorm(dim), *perceptron(dim, expansion * dim, dim, dropout))

    def forward(self, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """One step of exchange.

        Args:
            values: all sequences one after the other, `[batch, total, dim]`.
            bias: added to the attention scores, `[batch, 1, total or 1, total]`; minus infinity where not to look.
                Every position must see at least one. None lets all see all.

        Returns:
            As `values`.
        """
        batch, total, dim = values.shape
        projected = self.query_key_value(self.attention_norm(values)).view(
            batch, total, 3, self.heads, dim // self.heads
        )
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        bias = None if bias is None else bias.to(query.dtype)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        values = values + self.output(attended.transpose(1, 2).reshape(batch, total, dim))
        return values + self.feed_forward(values)


def check_attention(dim: int, heads: int) -> None:
    """Refuse heads that do not divide the width.

    Raises:
        ConfigError: a setting cannot be used.
    """
    if dim % heads:
        raise ConfigError(f"fusion.heads={heads} must divide the width of the encoders' tokens, {dim}; change either")


def positions(embedding: Tensor, time: int) -> Tensor:
    """Rows 0 to `time - 1` of `embedding`, its last row standing for all later positions: `[time, dim]`."""
    return embedding[torch.arange(time, device=embedding.device).clamp(max=len(embedding) - 1)]


def one_sequence(sequences: Sequence[Tokens], modality: Tensor, position: Tensor, nobody: Tensor) -> Tensor:
    """All modalities' tokens one after the other, told apart by learned embeddings, and one that is nobody's.

    Args:
        sequences: of every modality, in order.
        modality: embedding of each modality, `[n_modalities, dim]`.
        position: embedding of each position, `[positions, dim]`; see `positions`.
        nobody: the last token, which is always there to be looked at, `[dim]`.

    Returns:
        `[batch, total + 1, dim]`.
    """
    parts = [
        sequence.values + modality[place] + positions(position, sequence.mask.shape[1])
        for place, sequence in enumerate(sequences)
    ]
    return torch.cat([*parts, nobody.to(parts[0].dtype).expand(parts[0].shape[0], 1, -1)], dim=1)


def even_bias(masks: Sequence[Tensor]) -> Tensor:
    """Added to attention scores of `one_sequence`, `[batch, total + 1]`: hides padding, and makes sequences even.

    The logarithm of its length is taken off each sequence's scores, so that a long one does not drown a short one.

    Args:
        masks: of every modality, bool `[batch, time]`, True = real.
    """
    lengths = [mask.sum(dim=1, keepdim=True).clamp(min=1).float() for mask in masks]
    seen = [torch.where(mask, -length.log(), -torch.inf) for mask, length in zip(masks, lengths, strict=True)]
    return torch.cat([*seen, torch.zeros_like(lengths[0])], dim=1)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the positions where `mask` is True; all zero, not NaN, where there is none."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=dim) * mask
