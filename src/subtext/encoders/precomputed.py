"""Figures that other tools measured (summaries, OpenFace frames ...) -> `Tokens`, one a family of figures."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, OneOf, Width, checked
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.labels import MODALITIES


class FeatureEncoder(Encoder):
    """Each step's figures, standardised with the training rows' mean and deviation, in families of a token each.

    A summary of a clip is one step, of which a fusion that attends could make little; cut into families (expressions,
    action units; pitch, spectrum ...) it is a sequence that heads of attention can choose from. Every family has a
    linear map of its own.

    Args:
        modality: `visual`, `text` or `prosody`; the extractor must read the same.
        input_dim: figures a step.
        families: how many figures each family has, in the order in which a step holds them; None for one family.
        channels: width of what a family becomes before the projection.
        hidden_dropout: share of the standardised figures hidden in training.
        trainable: whether the statistics and the maps of the families learn; without an encoder stage they must.
        dim: width of the tokens.
        dropout: on the tokens.

    Raises:
        ConfigError: there is no such modality, or the families do not add up.
    """

    width_setting = "input_dim"
    backbone: "FeatureBackbone"

    @checked
    def __init__(
        self,
        *,
        modality: Annotated[str, OneOf(MODALITIES)],
        input_dim: Width,
        families: Sequence[Width] | None = None,
        channels: Width = 32,
        hidden_dropout: Dropout = 0.2,
        trainable: bool = True,
        dim: Width = 128,
        dropout: Dropout = 0.1,
    ) -> None:
        sizes = tuple(families or (input_dim,))
        if sum(sizes) != input_dim:
            raise ConfigError(
                f"encoder.{modality}.families are {list(sizes)}, of {sum(sizes)} figures in all; make them add up to "
                f"encoder.{modality}.input_dim={input_dim}, or set encoder.{modality}.families=null for one"
            )
        super().__init__(
            backbone=FeatureBackbone(sizes, channels, hidden_dropout),
            embed_dim=channels,
            dim=dim,
            dropout=dropout,
            trainable=trainable,
            random_weights=True,
        )
        self.modality = modality
        self.input_dim = input_dim
        self._settings = {"input_dim": input_dim, "families": list(sizes), "channels": channels}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that shape a token's embedding."""
        return self._settings

    def _encode(self, stream: Tokens) -> Tokens:
        """Steps `[batch, time, input_dim]` -> `[batch, time * families, channels]`, a step's families together."""
        families = self.backbone.families
        encoded = self.backbone(stream.real.to(self.projection.linear.weight.dtype))
        steps = stream.with_real(encoded)
        return Tokens(steps.values.flatten(1, 2), stream.mask.repeat_interleave(families, dim=1))


class FeatureBackbone(nn.Module):
    """What `FeatureEncoder` computes before its projection.

    Args:
        sizes: figures of each family.
        channels: width that each becomes.
        dropout: share of figures hidden in training.
    """

    def __init__(self, sizes: Sequence[int], channels: int, dropout: float) -> None:
        super().__init__()
        self.families = len(sizes)
        self.sizes = list(sizes)
        self.channels = channels
        # Standardises with the training data's own mean and deviation, which are kept with the weights.
        self.standardise = nn.BatchNorm1d(sum(sizes), affine=False)
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.ModuleList([nn.Linear(size, channels) for size in sizes])

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[n, input_dim]` -> `[n, families, channels]`."""
        if not len(steps):
            return steps.new_zeros((0, self.families, self.channels))
        if self.training and len(steps) < 2:
            # One step has no deviation to standardise with.
            known = functional.batch_norm(steps, self.standardise.running_mean, self.standardise.running_var)
        else:
            known = self.standardise(steps)
        # Figures such as perturbations of the voice now and then leave their usual range by ten deviations and more.
        parts = self.dropout(known.clamp(-5, 5)).split(self.sizes, dim=1)
        return torch.stack([functional.gelu(map_(part)) for map_, part in zip(self.maps, parts, strict=True)], dim=1)
