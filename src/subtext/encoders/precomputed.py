"""Figures that other tools measured (summaries, OpenFace frames ...) -> `Tokens`, one a family of figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, OneOf, Positive, Width, checked
from subtext.encoders.encoder import Encoder, Projection
from subtext.encoders.standardise import Standardised, from_running_statistics
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.labels import MODALITIES


class FeatureEncoder(Encoder):
    """Each step's figures, standardised with the training rows' mean and deviation, in families of a token each.

    A summary of a clip is one step, of which a fusion that attends could make little; cut into families (expressions,
    action units; pitch, spectrum ...) it is a sequence that heads of attention can choose from. Every family has a
    linear map of its own. What `embed` gives is the standardised figures themselves.

    Args:
        modality: `visual`, `text` or `prosody`; the extractor must read the same.
        input_dim: figures a step.
        families: how many figures each family has, in the order in which a step holds them; None for one family.
        channels: width of what a family becomes before the projection.
        limit: deviations beyond which a figure is cut off. Some, such as perturbations of the voice, now and then leave
            their usual range by ten and more.
        hidden_dropout: share of the standardised figures hidden in training.
        trainable: whether mean and deviation are taken from the training rows, or kept from an encoder stage.
        dim: width of the tokens.
        dropout: on the tokens.

    Raises:
        ConfigError: there is no such modality, or the families do not add up.
    """

    width_setting = "input_dim"
    backbone: "Standardised"

    @checked
    def __init__(
        self,
        *,
        modality: Annotated[str, OneOf(MODALITIES)],
        input_dim: Width,
        families: Sequence[Width] | None = None,
        channels: Width = 32,
        limit: Positive = 5.0,
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
            backbone=Standardised(input_dim, limit),
            embed_dim=input_dim,
            dim=dim,
            dropout=dropout,
            trainable=trainable,
            random_weights=True,
        )
        self.modality = modality
        self.input_dim = input_dim
        self.sizes = list(sizes)
        self.hidden = nn.Dropout(hidden_dropout)
        self.maps = nn.ModuleList([nn.Linear(size, channels) for size in sizes])
        self.projection = Projection(channels, dim, dropout)
        self.register_load_state_dict_pre_hook(_as_it_was_kept)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that shape what `embed` gives."""
        return {"input_dim": self.input_dim, "limit": self.backbone.limit}

    def fit_statistics(self, streams: Iterable[Tensor]) -> None:
        """See `Encoder.fit_statistics`."""
        self.backbone.fit(torch.cat(list(streams)))

    def _encode(self, stream: Tokens) -> Tokens:
        return stream.with_real(self.backbone(stream.real.to(self.projection.linear.weight.dtype)))

    def project(self, embedded: Tokens) -> Tokens:
        """Figures `[batch, time, input_dim]` -> `[batch, time * families, dim]`, a step's families together."""
        parts = self.hidden(embedded.values).split(self.sizes, dim=2)
        families = torch.stack(
            [functional.gelu(map_(part)) for map_, part in zip(self.maps, parts, strict=True)], dim=2
        )
        mask = embedded.mask.repeat_interleave(len(self.sizes), dim=1)
        return super().project(Tokens(families.flatten(1, 2), mask))


def _as_it_was_kept(module: nn.Module, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Earlier versions standardised by running statistics, and counted the families' maps to the backbone."""
    before = f"{prefix}backbone."
    if not from_running_statistics(weights, f"{before}standardise.", before):
        return
    for name in [name for name in weights if name.startswith(f"{before}maps.")]:
        weights[f"{prefix}{name.removeprefix(before)}"] = weights.pop(name)
