"""Shared and private subspaces (MISA): what the modalities have in common apart from what each has to itself.

Hazarika, Zimmermann & Poria 2020, "MISA: modality-invariant and -specific representations for multimodal sentiment
analysis" (arXiv 2005.03545). A shared encoder sees every modality, a private one its own; central moment discrepancy
(Zellinger et al. 2017, arXiv 1702.08811) draws the shared parts together, an orthogonality loss drives shared and
private parts, and private parts among each other, apart, and a decoder a modality has to give back what went in.
Self-attention over all parts, side by side into a network, is the fusion. Departures: the normalised mean of the tokens
is what goes in, where the paper has recurrent networks and BERT; the attention block is pre-norm; losses run over the
rows in which a modality is present, an absent one is masked from attention, and learned vectors stand in for it in the
network's input. As in the published code the orthogonality loss centres each part over the batch, scales its rows to
unit length, and is a mean over the matrix, where the paper writes the squared Frobenius norm. What the decoders must
give back is held fixed: learned along, it shrinks until there is nothing left to give back.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, NotNegative, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.attention import AttentionBlock, check_attention
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors, pairs, perceptron

MOMENTS = 5


def moment_discrepancy(first: Tensor, second: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Central moment discrepancy up to the fifth moment, of values in (0, 1).

        |E[a] - E[b]| + sum over k = 2..5 of |C_k(a) - C_k(b)|

    Args:
        first: `[batch, width]`.
        second: `[batch, width]`.
        rows: those of each that count, bool `[batch]`.

    Returns:
        Scalar; zero, with a gradient of zero, where either has no row that counts.
    """
    means = [_mean(values, there) for values, there in zip((first, second), rows, strict=True)]
    total = _norm(means[0] - means[1])
    for order in range(2, MOMENTS + 1):
        moments = [
            _mean((values - mean) ** order, there)
            for values, mean, there in zip((first, second), means, rows, strict=True)
        ]
        total = total + _norm(moments[0] - moments[1])
    return total * (rows[0].any() & rows[1].any())


def overlap(first: Tensor, second: Tensor, rows: Tensor) -> Tensor:
    """How far two parts are from orthogonal: the mean square of their cross-correlations over the rows that count.

    Args:
        first: `[batch, width]`.
        second: `[batch, width]`.
        rows: bool `[batch]`.

    Returns:
        Scalar.
    """
    scaled = []
    for values in (first, second):
        centred = (values - _mean(values, rows)).masked_fill(~rows.unsqueeze(1), 0)
        length = centred.detach().norm(dim=1, keepdim=True)
        scaled.append(centred / (length + 1e-6))
    return (scaled[0].T @ scaled[1]).square().mean()


def _mean(values: Tensor, rows: Tensor) -> Tensor:
    return (values * rows.unsqueeze(1)).sum(dim=0) / rows.sum().clamp(min=1)


def _norm(values: Tensor) -> Tensor:
    """Euclidean length, with a gradient at zero."""
    return (values.square().sum() + 1e-12).sqrt()


class SharedPrivateFusion(Fusion):
    """Shared and private parts of each modality -> self-attention -> network.

    Args:
        modalities: names, in order.
        dim: width of the tokens, of the parts and of the embedding.
        heads: attention heads; must divide `dim`.
        expansion: width of the attention block's feed-forward layer, as a multiple of `dim`.
        hidden: width of the network's hidden layer.
        similarity: weight of the moment discrepancy between shared parts, averaged over the pairs of modalities.
        difference: weight of the orthogonality loss, summed over its pairs of parts.
        reconstruction: weight of the decoders' mean squared error, averaged over modalities. It works against parts
            that say nothing, by which the other two losses can be met; at learning rates about 0.01 that
            can happen all the same.
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
        heads: Width = 4,
        expansion: Width = 2,
        hidden: Width = 128,
        similarity: NotNegative = 1.0,
        difference: NotNegative = 0.3,
        reconstruction: NotNegative = 1.0,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        check_attention(dim, heads)
        count = len(self.modalities)
        self.loss_weights = {"similarity": similarity, "difference": difference, "reconstruction": reconstruction}
        self.vectors = ModalityVectors(self.modalities, dim, stand_ins=False)
        self.shared = nn.Sequential(nn.Linear(dim, dim), nn.Sigmoid())
        self.private = nn.ModuleList([nn.Sequential(nn.Linear(dim, dim), nn.Sigmoid()) for _ in self.modalities])
        # Without its loss a decoder would have nothing to learn from.
        self.decoders = nn.ModuleList([nn.Linear(dim, dim) for _ in self.modalities] if reconstruction else [])
        self.block = AttentionBlock(dim, heads, expansion, dropout)
        self.absent = nn.Parameter(torch.randn(2 * count, dim) * 0.02)
        self.output = perceptron(2 * count * dim, hidden, dim, dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is None, `losses` has `similarity`, `difference`, `reconstruction`."""
        vectors, present = self.vectors(self.complete(tokens))
        shared = self.shared(vectors)
        private = torch.stack([encode(vectors[:, place]) for place, encode in enumerate(self.private)], dim=1)
        there = torch.cat([present, present], dim=1)
        alone = torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
        bias = torch.zeros_like(there, dtype=vectors.dtype).masked_fill(~there, -torch.inf).unsqueeze(1)
        # An absent part sees itself, so that its softmax is defined.
        attended = self.block(torch.cat([private, shared], dim=1), bias.masked_fill(alone, 0).unsqueeze(1))
        known = torch.where(there.unsqueeze(2), attended, self.absent.to(attended.dtype))
        losses = self._losses(vectors.float(), shared.float(), private.float(), present) if self.training else {}
        return Fused(self.output(known.flatten(1)), None, losses=losses)

    def _losses(self, vectors: Tensor, shared: Tensor, private: Tensor, present: Tensor) -> dict[str, Tensor]:
        places = range(len(self.modalities))
        found: dict[str, list[Tensor]] = {name: [] for name in self.loss_weights}
        for i, j in pairs(len(places)):
            found["similarity"].append(moment_discrepancy(shared[:, i], shared[:, j], (present[:, i], present[:, j])))
            found["difference"].append(overlap(private[:, i], private[:, j], present[:, i] & present[:, j]))
        for i in places:
            found["difference"].append(overlap(private[:, i], shared[:, i], present[:, i]))
        for i, decode in enumerate(self.decoders):
            given = decode(private[:, i] + shared[:, i]).float()
            error = functional.mse_loss(given, vectors[:, i].detach(), reduction="none").mean(dim=1)
            found["reconstruction"].append(_mean(error.unsqueeze(1), present[:, i]).squeeze(0))
        losses = {name: torch.stack(values) for name, values in found.items() if values and self.loss_weights[name]}
        return {
            name: self.loss_weights[name] * (values.sum() if name == "difference" else values.mean())
            for name, values in losses.items()
        }
