"""Tensor fusion (TFN): the outer product of all modalities, each with a one appended.

Zadeh, Chen, Poria, Cambria & Morency 2017, "Tensor fusion network for multimodal sentiment analysis" (arXiv
1707.07250). Departures: one linear layer with GELU on the normalised mean of the tokens is each modality's embedding
network, where the paper has an LSTM for text and three layers for the rest; an absent modality enters as a learned
stand-in.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors, perceptron


def outer_product(vectors: Tensor) -> Tensor:
    """All products of one entry of each modality, a one among the entries, so that lower orders are contained.

        [z_1; 1] (x) [z_2; 1] (x) ... (x) [z_k; 1]

    Args:
        vectors: `[batch, n_modalities, width]`.

    Returns:
        `[batch, (width + 1) ** n_modalities]`, the first modality's entries changing slowest.
    """
    extended = torch.cat([vectors, torch.ones_like(vectors[:, :, :1])], dim=2)
    product = extended[:, 0]
    for place in range(1, extended.shape[1]):
        product = (product.unsqueeze(2) * extended[:, place].unsqueeze(1)).flatten(1)
    return product


class TensorFusion(Fusion):
    """Narrow embeddings -> outer product -> network.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        width: of each modality in the product, which has `(width + 1) ** n_modalities` entries.
        hidden: width of the network's hidden layer.
        dropout: share of hidden units dropped in training.

    Raises:
        ConfigError: the product would have more than a million entries.
    """

    @checked
    def __init__(
        self, *, modalities: Sequence[str], dim: int, width: Width = 12, hidden: Width = 128, dropout: Dropout = 0.1
    ) -> None:
        super().__init__(modalities=modalities, dim=dim)
        count = len(self.modalities)
        entries = (width + 1) ** count
        if entries > 10**6:
            raise ConfigError(
                f"fusion.width={width} gives a product of {entries} entries for {count} modalities; "
                "choose at most a million, or fusion=lowrank"
            )
        self.vectors = ModalityVectors(self.modalities, dim)
        self.narrow = nn.ModuleList([nn.Sequential(nn.Linear(dim, width), nn.GELU()) for _ in self.modalities])
        self.output = perceptron(entries, hidden, dim, dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is None."""
        vectors, _ = self.vectors(self.complete(tokens))
        narrow = torch.stack([layer(vectors[:, place]) for place, layer in enumerate(self.narrow)], dim=1)
        return Fused(self.output(outer_product(narrow)), None)
