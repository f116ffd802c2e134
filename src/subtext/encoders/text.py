"""Text: sentence or token embeddings, which the extractor has computed, -> `Tokens`."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens


class TextEncoder(Encoder):
    """A projection of text embeddings.

    The sentence-transformers model is the extractor's: its output does not depend on training, so it is computed once.

    Args:
        embed_dim: width of the text embeddings (384 for all-MiniLM-L6-v2).
        dim: width of the tokens.
        dropout: on the tokens.
    """

    modality = "text"
    width_setting = "embed_dim"

    @checked
    def __init__(self, *, embed_dim: Width = 384, dim: Width = 128, dropout: Dropout = 0.1) -> None:
        super().__init__(
            backbone=nn.Identity(),
            embed_dim=embed_dim,
            dim=dim,
            dropout=dropout,
            trainable=False,
            random_weights=False,
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """None: an embedding is given as it came."""
        return {}

    def _encode(self, stream: Tokens) -> Tokens:
        return stream.with_real(stream.real.float())
