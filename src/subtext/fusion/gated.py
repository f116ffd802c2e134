"""Gated multimodal unit (GMU): gates that look at all modalities weigh what each one says, dimension by dimension.

Arevalo, Solorio, Montes-y-Gomez & Gonzalez 2017, "Gated multimodal units for information fusion" (arXiv 1702.01992).
Departures: the unit reads the normalised mean of each modality's tokens; the gates see a learned stand-in for an absent
modality, whose own term is dropped; and a small network with dropout stands between the unit and the heads in place of
the paper's maxout classifier.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.tokens import Tokens
from subtext.fusion.base import Fused, Fusion
from subtext.fusion.vectors import ModalityVectors, perceptron


class GatedUnit(nn.Module):
    """The unit's equations.

        h_i = tanh(W_i x_i)
        z_i = sigmoid(V_i [x_1; ...; x_k])
        h   = sum over i of z_i * h_i

    For two modalities the paper ties the gates: z_2 = 1 - z_1. No biases, as in the paper.

    Args:
        count: how many modalities.
        dim: width of the inputs and of the result.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.transforms = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(count)])
        self.gates = nn.Linear(count * dim, (1 if count == 2 else count) * dim, bias=False)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What each modality says, and how far its gates are open; `[batch, n_modalities, dim]` each."""
        said = torch.stack([transform(vectors[:, i]) for i, transform in enumerate(self.transforms)], dim=1).tanh()
        gates = self.gates(vectors.flatten(1)).sigmoid().unflatten(1, (-1, vectors.shape[2]))
        return said, gates if gates.shape[1] == said.shape[1] else torch.cat([gates, 1 - gates], dim=1)


class GatedFusion(Fusion):
    """Masked means -> gated unit -> small network.

    Args:
        modalities: names, in order.
        dim: width of the tokens and of the embedding.
        hidden: width of the network behind the unit.
        dropout: share of its units dropped in training.
    """

    @checked
    def __init__(self, *, modalities: Sequence[str], dim: int, hidden: Width = 128, dropout: Dropout = 0.1) -> None:
        super().__init__(modalities=modalities, dim=dim)
        count = len(self.modalities)
        # Where the only modality is absent there is no other whose gate would look at the stand-in.
        self.vectors = ModalityVectors(self.modalities, dim, stand_ins=count > 1)
        self.unit = GatedUnit(count, dim)
        self.output = perceptron(dim, hidden, dim, dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """See `Fusion.forward`; `evidence` is how far each modality's gates are open on average, relative to all."""
        vectors, present = self.vectors(self.complete(tokens))
        said, gates = self.unit(vectors)
        gates = gates * present.unsqueeze(-1)
        opened = gates.mean(dim=2)
        evidence = opened / opened.sum(dim=1, keepdim=True).clamp(min=torch.finfo(opened.dtype).tiny)
        return Fused(self.output((gates * said).sum(dim=1)), evidence)
