"""What the strategies that attend to tokens are built of."""

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def check_attention(dim: int, heads: int, **counts: int) -> None:
    """Refuse heads that do not divide the width, and counts below one.

    Raises:
        ConfigError: a setting cannot be used.
    """
    if heads < 1 or dim % heads:
        raise ConfigError(f"fusion.heads={heads} must divide the encoders' dim={dim}; change either")
    if min(counts.values()) < 1:
        settings = ", ".join(f"fusion.{name}={count}" for name, count in counts.items())
        raise ConfigError(f"{settings} must all be at least 1")


def positions(embedding: Tensor, time: int) -> Tensor:
    """Rows 0 to `time - 1` of `embedding`, its last row standing for all later positions: `[time, dim]`."""
    return embedding[torch.arange(time, device=embedding.device).clamp(max=len(embedding) - 1)]


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the positions where `mask` is True; all zero, not NaN, where there is none."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=dim) * mask
