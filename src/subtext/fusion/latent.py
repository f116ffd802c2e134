"""Latent queries (Perceiver): a fixed set of learned vectors reads all tokens of all modalities, again and again.

Jaegle, Gimeno, Brock, Zisserman, Vinyals & Carreira 2021, "Perceiver: general perception with iterative attention"
(arXiv 2103.03206): cross-attention from the latents to the inputs, then self-attention among the latents, repeated,
then the mean of the latents. Departures: learned embeddings of position and modality in place of Fourier features; the
logarithm of a modality's length is taken off its scores, so that many frames do not drown one sentence; one more key,
nobody's, is always there; a layer's weights are its own where the paper may share them; and the attention is reported.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from subtext.core.schema import Dropout, Layers, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.attention import AttentionBlock, check_attention, even_bias, one_sequence
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import perceptron


class Reading(nn.Module):
    """Pre-norm cross-attention from latents to tokens, then a feed-forward layer.

    Args:
        dim: width of both.
        heads: attention heads.
        expansion: width of the feed-forward layer, as a multiple of `dim`.
        dropout: share of feed-forward units dropped in training.
    """

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.latent_norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(nn.LayerNorm(dim), *perceptron(dim, expansion * dim, dim, dropout))

    def forward(self, latents: Tensor, values: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Read once.

        Args:
            latents: `[batch, latents, dim]`.
            values: `[batch, total, dim]`.
            bias: added to the scores, `[batch, 1, 1, total]`; minus infinity where not to look.

        Returns:
            The latents afterwards, and the attention averaged over heads, `[batch, latents, total]`.
        """
        query = self.query(self.latent_norm(latents)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(self.token_norm(values)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        attention = (scores.float() + bias).softmax(dim=3)
        latents = latents + self.output((attention.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return latents + self.feed_forward(latents), attention.mean(dim=1)


class LatentFusion(Fusion):
    """Learned latents that read the tokens and confer.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        latents: how many.
        layers: rounds of reading and conferring.
        heads: attention heads; must divide `dim`.
        expansion: width of the feed-forward layers, as a multiple of `dim`.
        max_positions: positions with an embedding of their own; later ones share the last.
        dropout: share of feed-forward units dropped in training.

    Raises:
        ConfigError: the heads don't divide the width, or a count is not positive.
    """

    @checked
    def __init__(
        self,
        *,
        modalities: Sequence[str],
        dim: int,
        latents: Width = 8,
        layers: Layers = 1,
        heads: Width = 4,
        expansion: Width = 2,
        max_positions: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        check_attention(dim, heads)
        self.modality_embedding = nn.Parameter(torch.randn(len(self.modalities), dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(max_positions, dim) * 0.02)
        self.nobody = nn.Parameter(torch.randn(dim) * 0.02)
        self.latents = nn.Parameter(torch.randn(latents, dim) * dim**-0.5)
        self.readings = nn.ModuleList([Reading(dim, heads, expansion, dropout) for _ in range(layers)])
        self.blocks = nn.ModuleList([AttentionBlock(dim, heads, expansion, dropout) for _ in range(layers)])

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is each modality's share of the attention, averaged over all latents."""
        sequences = list(self.complete(tokens).values())
        values = one_sequence(sequences, self.modality_embedding, self.position_embedding, self.nobody)
        bias = even_bias([sequence.mask for sequence in sequences])[:, None, None, :]
        latents = self.latents.to(values.dtype).expand(values.shape[0], -1, -1)
        read = []
        for reading, block in zip(self.readings, self.blocks, strict=True):
            latents, attention = reading(latents, values, bias)
            latents = block(latents)
            read.append(attention.mean(dim=1)[:, :-1])
        looks = torch.stack(read).mean(dim=0)
        looks = looks / looks.sum(dim=1, keepdim=True).clamp(min=torch.finfo(looks.dtype).tiny)
        of_modalities = looks.split([sequence.mask.shape[1] for sequence in sequences], dim=1)
        evidence = torch.stack([part.sum(dim=1) for part in of_modalities], dim=1)
        focus = None if self.training else dict(zip(self.modalities, of_modalities, strict=True))
        return Fused(latents.mean(dim=1), evidence, focus=focus)
