"""What every fusion strategy provides."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from subtext.encoders.tokens import Tokens


@dataclass(frozen=True)
class Fused:
    """What the modalities say together.

    Attributes:
        embedding: `[batch, dim]`.
        evidence: `[batch, n_modalities]` in the fusion's order of modalities, or None where the strategy has no such
            weights. Rows sum to one over the modalities that are present; an absent one has exactly zero.
        opinions: `[batch, n_modalities, dim]` where a strategy fuses decisions: the heads answer from each of them, and
            the answers are averaged with `evidence` as weights. None where the heads answer from `embedding`.
        losses: scalars by name, already weighted, that training adds to those of the heads. Empty in eval mode.
        focus: how each modality's evidence is spread over its positions, `[batch, time]` by modality, zero at padding;
            a row's sum is the modality's evidence. In eval mode, where a strategy reads positions by weights that it
            pools them with; else None.
    """

    embedding: Tensor
    evidence: Tensor | None
    opinions: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    focus: Mapping[str, Tensor] | None = None

    @classmethod
    def of_opinions(cls, opinions: Tensor, weights: Tensor) -> "Fused":
        """Decisions to be averaged with `weights` `[batch, n_modalities]`; their weighted mean is the embedding."""
        return cls((weights.unsqueeze(-1) * opinions).sum(dim=1), weights, opinions)


class Fusion(nn.Module, ABC):
    """Tokens of several modalities -> one embedding.

    A strategy is one module with one subclass and one file in `conf/fusion`. It must work for every non-empty subset of
    present modalities in each row, give every parameter a gradient (over batches in which each modality is present in
    some rows and absent in others; its own losses included), and ignore how far a batch is padded. In eval mode no row
    sees another one; in training only the strategy's own losses may compare rows.

    Args:
        modalities: names, in the order of `Fused.evidence`.
        dim: width of the tokens and of the embedding.

    Example:
        >>> import torch
        >>> from subtext.fusion.base import Fused
        >>> class Mean(subtext.Fusion):
        ...     def forward(self, tokens):
        ...         means = [own.mean() for own in self.complete(tokens).values()]
        ...         return Fused(torch.stack(means).mean(dim=0), evidence=None)
        >>> fusion = Mean(modalities=["text", "prosody"], dim=4)
        >>> fusion({"text": subtext.Tokens.pad([torch.ones(3, 4)])}).embedding
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """

    def __init__(self, *, modalities: Sequence[str], dim: int) -> None:
        super().__init__()
        if not modalities or len(set(modalities)) != len(modalities):
            raise ValueError(f"need distinct modalities, got {list(modalities)}")
        self.modalities = tuple(modalities)
        self.dim = dim

    @abstractmethod
    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """Fuse one batch.

        Args:
            tokens: `[batch, time_m, dim]` for each modality; the mapping's order is of no account, a modality that it
                lacks is absent from every row.
        """

    def complete(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """`tokens` in the fusion's own order, with a modality that the batch lacks as one masked position a row.

        Raises:
            ValueError: `tokens` holds none of the fusion's modalities.
        """
        known = [tokens[modality] for modality in self.modalities if modality in tokens]
        if not known:
            raise ValueError(f"the batch has none of the modalities {self.modalities}, only {tuple(tokens)}")
        like, rows = known[0].values, known[0].mask.shape[0]
        absent = Tokens(like.new_zeros(rows, 1, self.dim), torch.zeros(rows, 1, dtype=torch.bool, device=like.device))
        return {modality: tokens.get(modality, absent) for modality in self.modalities}
