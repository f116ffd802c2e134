"""Voice: prosody frames -> a small convolutional or transformer network -> `Tokens` of pooled statistics."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, Width, checked
from subtext.encoders.augmentation import FrameAugmentation
from subtext.encoders.encoder import Encoder
from subtext.encoders.standardise import Standardised, from_running_statistics
from subtext.encoders.temporal import TemporalAttention
from subtext.encoders.tokens import Tokens


class ProsodyEncoder(Encoder):
    """Frame features -> layers over time -> windows, each with the statistics of itself and of its whole utterance.

    An utterance's emotion shows in how its features are distributed, which is why functionals with a linear model are a
    strong baseline (eGeMAPS, Eyben et al. 2016). Each token therefore carries mean and deviation of the learned
    features in its window, and attention-weighted means and deviations of the whole utterance, of the learned features
    and of the input itself (attentive statistics pooling, Okabe et al. 2018, arXiv 1803.10963). The weights let it
    leave out silence, or look at voiced frames alone, without being told which feature says so.

    Args:
        input_dim: number of features a frame.
        channels: width of the layers.
        layers: number of residual blocks (`conv`) or transformer layers (`transformer`).
        kind: `conv` or `transformer`.
        stride: frames that one step of the layers covers.
        window: steps that one token covers. At a hop of 20 ms, stride 4 and window 3 a token covers 0.24 s.
        heads: how many sets of weights the statistics of the input have.
        summary: let each token also carry plain means and deviations of the standardised input over the utterance,
            which readers with a linear path read (`model.readers`).
        relative: give the network each feature also relative to its mean and deviation in the utterance, which takes
            out speaker and microphone.
        trainable: whether everything before the projection learns.
        augment: applied to standardised frames while the network trains; None for no augmentation.
        hidden_dropout: inside the network.
        dim: width of the tokens.
        dropout: on the tokens.

    Raises:
        ConfigError: there is no such kind, or a count is not positive.
    """

    modality = "prosody"
    width_setting = "input_dim"
    backbone: "ProsodyBackbone"

    @checked
    def __init__(
        self,
        *,
        input_dim: Width,
        channels: Width = 64,
        layers: Annotated[int, Interval(ge=0, le=256)] = 2,
        kind: Literal["conv", "transformer"] = "conv",
        stride: Width = 4,
        window: Width = 3,
        heads: Width = 4,
        relative: bool = True,
        summary: bool = False,
        trainable: bool = False,
        augment: FrameAugmentation | None = None,
        hidden_dropout: Dropout = 0.2,
        dim: Width = 128,
        dropout: Dropout = 0.1,
    ) -> None:
        backbone = ProsodyBackbone(
            input_dim, channels, layers, kind, stride, window, heads, relative, hidden_dropout, summary
        )
        super().__init__(
            backbone=backbone,
            embed_dim=backbone.width,
            dim=dim,
            dropout=dropout,
            trainable=trainable,
            random_weights=True,
        )
        self.augment = augment
        self.input_dim = input_dim
        self._settings = {
            "input_dim": input_dim,
            "channels": channels,
            "layers": layers,
            "kind": kind,
            "stride": stride,
            "window": window,
            "heads": heads,
            "relative": relative,
            **({"summary": True} if summary else {}),
        }
        self.register_load_state_dict_pre_hook(_as_it_was_kept)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that shape a token's embedding."""
        return self._settings

    def fit_statistics(self, streams: Iterable[Tensor]) -> None:
        """See `Encoder.fit_statistics`."""
        self.backbone.standardise.fit(torch.cat(list(streams)))

    def _encode(self, stream: Tokens) -> Tokens:
        """Frames `[batch, time, input_dim]` -> `[batch, ceil(time / (stride * window)), embed_dim]`."""
        # Most rows of a batch may lack a voice, and a convolution would work through their padding.
        present = stream.present
        covered = self.backbone.stride * self.backbone.window
        values = stream.values.new_zeros(
            (len(present), -(-stream.mask.shape[1] // covered), self.embed_dim),
            dtype=self.projection.linear.weight.dtype,
        )
        mask = _coarse(stream.mask, covered)
        if bool(present.any()):
            rows = Tokens(stream.values[present], stream.mask[present])
            embedded = self.backbone(rows, self.augment if self.training and self.trainable else None)
            values = values.to(embedded.values.dtype).index_put((present,), embedded.values)
        return Tokens(values, mask)


class ProsodyBackbone(nn.Module):
    """What `ProsodyEncoder` computes before its projection, for rows of which none is absent; see there."""

    def __init__(
        self,
        input_dim: int,
        channels: int,
        layers: int,
        kind: str,
        stride: int,
        window: int,
        heads: int,
        relative: bool,
        dropout: float,
        summary: bool,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.window = window
        self.relative = relative
        self.standardise = Standardised(input_dim, math.inf)
        width = input_dim * (2 if relative else 1)
        self.stem = nn.Conv1d(width, channels, 2 * stride + 1, stride=stride, padding=stride)
        self.stem_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            [_ConvolutionBlock(channels, dropout) for _ in range(layers)]
            if kind == "conv"
            else [TemporalAttention(channels, layers, dropout=dropout)]
        )
        # No bias: softmax over time does not see it.
        self.step_attention = nn.Linear(channels, 1, bias=False)
        self.frame_attention = nn.Linear(width, heads, bias=False)
        self.functionals = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(2 * heads * width, channels), nn.LayerNorm(channels), nn.GELU()
        )
        self.summary = summary
        self.width = 5 * channels + (2 * input_dim if summary else 0)

    def forward(self, stream: Tokens, augment: FrameAugmentation | None = None) -> Tokens:
        """Frames `[batch, time, input_dim]` -> `[batch, time', width]`."""
        frames = self._standardised(stream)
        plain = [_moments(frames.values, _uniform(frames.mask))] if self.summary else []
        if augment is not None:
            frames = augment(frames)
        if self.relative:
            frames = Tokens(torch.cat([frames.values, _relative(frames)], dim=-1), frames.mask)
        steps = self._stem(frames)
        for layer in self.layers:
            steps = layer(steps)
        local, mask = _windows(steps, self.window)
        whole = torch.cat(
            [
                _attended(steps, self.step_attention(steps.values)),
                self.functionals(_attended(frames, self.frame_attention(frames.values))),
                *plain,
            ],
            dim=-1,
        )
        values = torch.cat([local, whole[:, None].expand(-1, local.shape[1], -1)], dim=-1)
        return Tokens(values * mask.unsqueeze(-1), mask)

    def _standardised(self, stream: Tokens) -> Tokens:
        return stream.with_real(self.standardise(stream.real.to(self.stem.weight.dtype)))

    def _stem(self, frames: Tokens) -> Tokens:
        values = self.stem(frames.values.transpose(1, 2)).transpose(1, 2)
        mask = _coarse(frames.mask, self.stride)
        values = self.dropout(functional.gelu(self.stem_norm(values[:, : mask.shape[1]])))
        return Tokens(values * mask.unsqueeze(-1), mask)


def _as_it_was_kept(module: nn.Module, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Earlier versions standardised by running statistics."""
    standardise = f"{prefix}backbone.standardise."
    from_running_statistics(weights, standardise, standardise)


class _ConvolutionBlock(nn.Module):
    """Pre-norm residual convolution over time; normalised a position at a time, so padding cannot leak in."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.convolution = nn.Conv1d(channels, channels, 5, padding=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tokens) -> Tokens:
        normed = self.norm(steps.values) * steps.mask.unsqueeze(-1)
        mixed = functional.gelu(self.convolution(normed.transpose(1, 2)).transpose(1, 2))
        values = steps.values + self.dropout(mixed)
        return Tokens(values * steps.mask.unsqueeze(-1), steps.mask)


def _uniform(mask: Tensor) -> Tensor:
    """Equal weights over real positions, `[batch, time, 1]`; zero where there is none."""
    weights = mask.float()
    return (weights / weights.sum(dim=1, keepdim=True).clamp(min=1)).unsqueeze(-1)


def _moments(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means and deviations over time, one pair a head.

    Args:
        values: `[batch, time, n]`, roughly standardised.
        weights: `[batch, time, heads]`, summing to one over time.

    Returns:
        `[batch, heads * 2 * n]`.
    """
    weights = weights.transpose(1, 2).to(values.dtype)
    mean = weights @ values
    variance = (weights @ values.square() - mean.square()).clamp(min=0)
    # The floor keeps the root's gradient finite where nothing varies.
    return torch.cat([mean, (variance + 1e-4).sqrt()], dim=-1).flatten(1)


def _attended(tokens: Tokens, scores: Tensor) -> Tensor:
    """Attention-weighted `_moments`: scores `[batch, time, heads]` -> `[batch, heads * 2 * n]`."""
    return _moments(tokens.values, scores.masked_fill(~tokens.mask.unsqueeze(-1), -torch.inf).softmax(dim=1))


def _relative(frames: Tokens) -> Tensor:
    """Each feature relative to its mean and deviation in the utterance, `[batch, time, n]`."""
    mean, deviation = _moments(frames.values, _uniform(frames.mask)).chunk(2, dim=-1)
    relative = (frames.values - mean[:, None]) / deviation[:, None].clamp(min=0.1)
    return relative * frames.mask.unsqueeze(-1)


def _coarse(mask: Tensor, factor: int) -> Tensor:
    """Whether any of `factor` neighbouring positions is real, `[batch, ceil(time / factor)]`."""
    return functional.pad(mask, (0, -mask.shape[1] % factor)).unflatten(1, (-1, factor)).any(dim=2)


def _windows(steps: Tokens, window: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each window `[batch, windows, 2 channels]`, and its mask `[batch, windows]`."""
    batch, time, channels = steps.values.shape
    extra = -time % window
    values = functional.pad(steps.values, (0, 0, 0, extra)).reshape(-1, window, channels)
    mask = functional.pad(steps.mask, (0, extra)).reshape(-1, window)
    moments = _moments(values, _uniform(mask)).reshape(batch, -1, 2 * channels)
    return moments, _coarse(steps.mask, window)
