"""Small modules that mix tokens over time; padding takes no part in them."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError

TemporalKind = Literal["none", "conv", "attention"]


class TemporalConvolution(nn.Module):
    """Pre-norm residual block: depthwise convolution over time, then a pointwise one (ConvNeXt's order)."""

    def __init__(self, dim: int, kernel: int = 5, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.pointwise = nn.Linear(dim, dim)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        """`[batch, time, dim]` -> the same shape."""
        # Zeros at padded positions are what the convolution sees beyond the end of a sequence that is alone.
        normed = self.norm(tokens.values) * tokens.mask.unsqueeze(-1)
        mixed = self.depthwise(normed.transpose(1, 2)).transpose(1, 2)
        values = tokens.values + self.dropout(self.pointwise(self.activation(mixed)))
        return Tokens(values * tokens.mask.unsqueeze(-1), tokens.mask)


class TemporalAttention(nn.Module):
    """Pre-norm transformer layers with sinusoidal positions."""

    def __init__(self, dim: int, layers: int = 1, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"attention needs a width divisible by its {heads} heads, got {dim}")
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tokens) -> Tokens:
        """`[batch, time, dim]` -> the same shape."""
        # A row without a real position would make attention divide zero by zero, so such rows stay out of it.
        present = tokens.present
        values = torch.zeros_like(tokens.values)
        if bool(present.any()):
            mask = tokens.mask[present]
            rows = tokens.values[present]
            rows = self.layers(rows + sinusoids(rows.shape[1], rows.shape[2]).to(rows), src_key_padding_mask=~mask)
            values[present] = rows.to(values.dtype) * mask.unsqueeze(-1)
        return Tokens(values, tokens.mask)


def sinusoids(time: int, dim: int) -> Tensor:
    """Sinusoidal positions `[time, dim]` (Vaswani et al. 2017, section 3.5)."""
    half = (dim + 1) // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10000.0) / half))
    angles = torch.arange(time)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]


def temporal_module(kind: TemporalKind, dim: int, dropout: float) -> nn.Module:
    """The module of that name."""
    if kind == "none":
        return nn.Identity()
    if kind == "conv":
        return TemporalConvolution(dim, dropout=dropout)
    return TemporalAttention(dim, dropout=dropout)
