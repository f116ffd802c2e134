"""Faces: a timm network on each crop, then a small temporal module -> `Tokens`."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import huggingface_hub
import timm
import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Count, Dropout, Width, checked
from subtext.encoders.augmentation import FaceAugmentation
from subtext.encoders.encoder import Encoder, read_safetensors
from subtext.encoders.temporal import TemporalKind, temporal_module
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, WeightsError

_CHUNK = 64
_LUMINANCE = (0.299, 0.587, 0.114)


class VisualEncoder(Encoder):
    """Any timm network per face crop, and a temporal module over the projected crops.

    The temporal module belongs to the projection, not to the backbone: what is cached is one embedding a crop, and the
    module learns even on top of frozen weights.

    Args:
        name: a timm model.
        pretrained: take timm's published weights, from the hub or its local cache.
        revision: revision of the hub repository that `pretrained` reads.
        weights: a safetensors file with weights for this model, instead of `pretrained`.
        trainable: whether the timm network learns.
        size: side of the square that the network sees, px; crops of another size are resized.
        grey: reduce the crops to luminance and give the network one channel.
        standardise: `crop` brings each crop to zero mean and unit variance, which takes out lighting and suits training
            from scratch; `fixed` uses the mean and deviation that timm names for the model, as published weights need.
        augment: applied to crops while the network trains; None for no augmentation.
        train_frames: while the network trains, use at most this many crops of a clip, chosen anew each time; None for
            all of them.
        drop_path: stochastic depth inside the network while it trains, where the model offers it.
        temporal: `none`, `conv` or `attention`.
        dim: width of the tokens.
        dropout: on the tokens.

    Raises:
        ConfigError: timm has no such model, or settings contradict each other.
        WeightsError: the weights cannot be had, are of another model, or in an unsafe format.
    """

    modality = "visual"
    backbone: nn.Module
    temporal: nn.Module
    _mean: Tensor
    _std: Tensor

    @checked
    def __init__(
        self,
        *,
        name: str = "mobilenetv4_conv_small",
        pretrained: bool = False,
        revision: str | None = None,
        weights: str | Path | None = None,
        trainable: bool = False,
        size: Annotated[int, Interval(ge=1, le=4096)] = 112,
        grey: bool = False,
        standardise: Literal["crop", "fixed"] = "crop",
        augment: FaceAugmentation | None = None,
        train_frames: Count | None = None,
        drop_path: Dropout = 0.0,
        temporal: TemporalKind = "conv",
        dim: Width = 128,
        dropout: Dropout = 0.1,
    ) -> None:
        backbone = _timm_model(name, pretrained, revision, weights, size, 1 if grey else 3, drop_path)
        super().__init__(
            backbone=backbone,
            embed_dim=_width(backbone, 1 if grey else 3, size),
            dim=dim,
            dropout=dropout,
            trainable=trainable,
            random_weights=not pretrained and weights is None,
        )
        self.name = name
        self.size = size
        self.grey = grey
        self.standardise = standardise
        self.augment = augment
        self.train_frames = train_frames
        self.temporal = temporal_module(temporal, dim, dropout)
        cfg: Mapping[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
        mean, std = torch.tensor(cfg["mean"]), torch.tensor(cfg["std"])
        if grey:
            mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
        self.register_buffer("_mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_std", std.view(1, -1, 1, 1), persistent=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that shape a crop's embedding."""
        return {"name": self.name, "size": self.size, "grey": self.grey, "standardise": self.standardise}

    def check_stream(self, step_shape: Sequence[int]) -> None:
        """Whether a step is a picture, `[height, width, 1 or 3]`.

        Raises:
            ConfigError: it is not.
        """
        if len(step_shape) == 3 and step_shape[-1] in (1, 3):
            return
        found = "x".join(str(side) for side in step_shape)
        raise ConfigError(
            f"a step of the visual streams is {found} figures (column features) and no picture of a face; read them "
            f"with encoder/visual=features encoder.visual.input_dim={step_shape[-1]} encoder.visual.families=null"
        )

    def _encode(self, stream: Tokens) -> Tokens:
        """Crops `[batch, time, height, width, 1 or 3]` in 0..255 -> `[batch, time, embed_dim]`."""
        learning = self.training and self.trainable
        if learning and self.train_frames is not None:
            stream = _some_positions(stream, self.train_frames)
        crops = stream.real
        if not len(crops):
            return Tokens(self._mean.new_zeros((*stream.mask.shape, self.embed_dim)), stream.mask)
        if learning:
            # Batch normalisation wants the whole batch at once.
            pixels = self._pixels(crops)
            if self.augment is not None:
                pixels = self.augment(pixels)
            return stream.with_real(self.backbone(self._normalise(pixels)))
        chunks = crops.split(_CHUNK)
        return stream.with_real(torch.cat([self.backbone(self._normalise(self._pixels(chunk))) for chunk in chunks]))

    def project(self, embedded: Tokens) -> Tokens:
        """Project each crop's embedding, then mix over time: `[batch, time, dim]`."""
        mixed: Tokens = self.temporal(super().project(embedded))
        return mixed

    def _pixels(self, crops: Tensor) -> Tensor:
        """Crops `[n, height, width, channels]` in 0..255 -> `[n, channels, size, size]` in 0..1."""
        pixels = crops.to(self._mean.dtype).permute(0, 3, 1, 2) / 255
        if self.grey and pixels.shape[1] == 3:
            pixels = (pixels * pixels.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        elif not self.grey and pixels.shape[1] == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = functional.interpolate(
                pixels, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        return pixels

    def _normalise(self, pixels: Tensor) -> Tensor:
        if self.standardise == "fixed":
            pixels = (pixels - self._mean) / self._std
        else:
            mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
            # A crop of one shade has no contrast to stretch; the floor is about two grey levels.
            pixels = (pixels - mean) / pixels.std(dim=(1, 2, 3), keepdim=True).clamp(min=0.01)
        return pixels.contiguous(memory_format=torch.channels_last)


def _some_positions(stream: Tokens, count: int) -> Tokens:
    """At most `count` real positions of each row, chosen at random, in their order."""
    if stream.mask.shape[1] <= count:
        return stream
    order = torch.rand(stream.mask.shape, device=stream.mask.device).masked_fill(~stream.mask, 2.0)
    chosen = order.argsort(dim=1)[:, :count].sort(dim=1).values
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    return Tokens(stream.values[rows, chosen], stream.mask[rows, chosen])


def _timm_model(
    name: str,
    pretrained: bool,
    revision: str | None,
    weights: str | Path | None,
    size: int,
    channels: int,
    drop_path: float,
) -> nn.Module:
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ConfigError(
            f"timm has no model {name!r}; " + (f"near it: {', '.join(near)}" if near else "see timm.list_models()")
        )
    if pretrained and weights is not None:
        raise ConfigError("a visual encoder takes its weights either from timm (pretrained) or from a file (weights)")
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    if drop_path:
        options["drop_path_rate"] = drop_path
    cfg = timm.get_pretrained_cfg(name)
    if cfg is not None and cfg.fixed_input_size:
        options["img_size"] = size
    if pretrained:
        weights = _published_weights(name, cfg.hf_hub_id if cfg is not None else None, revision)
    if weights is None:
        return timm.create_model(name, **options)
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"no weights file {path}; set encoder.visual.weights to a safetensors file or to null")
    read_safetensors(path)
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} does not fit the timm model {name}: {_first_line(error)}") from error


def _published_weights(name: str, repository: str | None, revision: str | None) -> str:
    """The safetensors file that timm publishes for a model, from the hub or its local cache."""
    if repository is None:
        raise ConfigError(
            f"timm publishes no weights for {name}; set encoder.visual.pretrained=false or choose another"
        )
    try:
        return huggingface_hub.hf_hub_download(repository, "model.safetensors", revision=revision)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot get timm's weights for {name} ({_first_line(error)}); fetch model.safetensors of {repository} "
            "where there is a network and name it as encoder.visual.weights, or set encoder.visual.pretrained=false"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _width(backbone: nn.Module, channels: int, size: int) -> int:
    """Width of the network's pooled output; timm names it differently from family to family, so it is measured."""
    backbone.eval()
    with torch.no_grad():
        return int(backbone(torch.zeros(1, channels, size, size)).shape[-1])
