"""`Encoder`: one modality's stream -> `Tokens` of the width that the fusion works in."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor, nn

from subtext.core.weights_file import opened
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, RunError, WeightsError

_NOT_SHAPING: Final = ("dim", "dropout", "trainable", "pretrained", "weights")
"""Arguments of encoders that leave what `embed` gives as it is, or stand in the weights themselves."""


class Projection(nn.Module):
    """What is learned on top of a backbone even where the backbone is frozen: `[..., embed_dim]` -> `[..., dim]`."""

    def __init__(self, embed_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.linear = nn.Linear(embed_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Project the last axis."""
        projected: Tensor = self.dropout(self.linear(self.norm(values)))
        return projected


class Encoder(nn.Module, ABC):
    """A backbone that may be frozen, and a projection that never is.

    `embed` is the expensive half: with a frozen backbone it gives the same output for the same stream every time, so
    its output can be cached. `project` is the cheap half. Both work on real positions only: padding never takes part in
    a computation, and absent rows stay absent.

    Args:
        backbone: the modules that `embed` uses; one without parameters where the stream is used as it is.
        embed_dim: width of what `embed` gives.
        dim: width of the tokens that `project` gives.
        dropout: on the projected tokens.
        trainable: whether the backbone learns. If not, it has no gradient and stays in eval mode after `train()`, so
            that batch normalisation and dropout do not shift what was cached.
        random_weights: whether the backbone's weights come from initialisation alone.

    Example:
        >>> import torch
        >>> class Frames(subtext.Encoder):
        ...     modality = "prosody"
        ...     def __init__(self, *, dim: int = 8, dropout: float = 0.1, trainable: bool = True):
        ...         super().__init__(backbone=torch.nn.Linear(6, 16), embed_dim=16, dim=dim, dropout=dropout,
        ...                          trainable=trainable, random_weights=True)
        ...     def _encode(self, stream):
        ...         return stream.with_real(self.backbone(stream.real))
        >>> Frames()(subtext.Tokens.pad([torch.ones(3, 6), torch.ones(2, 6)])).values.shape
        torch.Size([2, 3, 8])
    """

    modality: str
    _given: tuple[tuple[Any, ...], dict[str, Any]]
    width_setting: ClassVar[str | None] = None
    """The setting that says how wide a step of the stream is; None where any width will do."""

    def __new__(cls, *arguments: Any, **settings: Any) -> Self:
        """Remember what the constructor gets, of which `settings` tells."""
        encoder = super().__new__(cls)
        encoder._given = (arguments, settings)
        return encoder

    def __init_subclass__(cls, **more: Any) -> None:
        """Take back what a class inherits of another one's `settings`: it may encode otherwise."""
        super().__init_subclass__(**more)
        if "settings" not in cls.__dict__:
            cls.settings = Encoder.settings  # type: ignore[method-assign]

    def __init__(
        self,
        *,
        backbone: nn.Module,
        embed_dim: int,
        dim: int,
        dropout: float,
        trainable: bool,
        random_weights: bool,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.dim = dim
        self.trainable = trainable
        self.backbone = backbone
        self.projection = Projection(embed_dim, dim, dropout)
        self._random_weights = random_weights
        self.backbone.requires_grad_(trainable)
        self.train()
        if type(self).settings is Encoder.settings:
            _ = self.settings  # refused now, and not after hours of training

    @property
    def has_random_weights(self) -> bool:
        """Whether the backbone still has the weights it was initialised with: useless while it is frozen."""
        return self._random_weights

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that shape what `embed` gives, as plain values; part of the fingerprint.

        Unless a class says itself which they are, its name and the arguments of its constructor, except how wide
        tokens are, how it is trained and where its weights come from.

        Raises:
            ConfigError: an argument is no plain value.
        """
        kind = type(self)
        name = f"{kind.__module__}.{kind.__qualname__}"
        arguments, settings = self._given
        bound = inspect.signature(kind.__init__).bind(self, *arguments, **settings)
        bound.apply_defaults()
        given = {k: v for k, v in list(bound.arguments.items())[1:] if k not in _NOT_SHAPING}
        for argument, value in given.items():
            try:
                given[argument] = json.loads(json.dumps(value))
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"{name}: its argument {argument} is no plain value ({type(value).__name__}), so that cached "
                    "embeddings could be another setting's; give the class a property settings that returns what "
                    "shapes them"
                ) from error
        return {"class": name, "embed_dim": self.embed_dim, **given}

    def check_stream(self, step_shape: Sequence[int]) -> None:
        """Whether streams of such steps can be encoded.

        Raises:
            ConfigError: they are of another width or form.
        """
        if self.width_setting is None:
            return
        width = int(getattr(self, self.width_setting))
        found = "x".join(str(side) for side in step_shape)
        if len(step_shape) != 1:
            raise ConfigError(
                f"a step of the {self.modality} streams is an array of {found}, and the encoder reads {width} values a "
                f"step; choose another encoder/{self.modality}"
            )
        if step_shape[0] != width:
            raise ConfigError(
                f"a step of the {self.modality} streams has {found} values, but "
                f"encoder.{self.modality}.{self.width_setting} is {width}; set it to {found}"
            )

    @abstractmethod
    def _encode(self, stream: Tokens) -> Tokens:
        """The backbone over the real positions of a stream, `[batch, time', embed_dim]`."""

    def embed(self, stream: Tokens) -> Tokens:
        """The backbone's output, `[batch, time', embed_dim]`; without gradient where the backbone is frozen.

        Args:
            stream: what the modality's extractor gives, padded: face crops `[batch, time, height, width, channels]`,
                sentence or token embeddings `[batch, time, width]`, prosody frames `[batch, time, features]`.
        """
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            return self._encode(stream)

    def project(self, embedded: Tokens) -> Tokens:
        """Tokens for the fusion, `[batch, time', dim]`, from what `embed` gave."""
        # Cheap enough to compute at padded positions too, which picking the real ones would not be.
        values = self.projection(embedded.values)
        return Tokens(values * embedded.mask.unsqueeze(-1).to(values.dtype), embedded.mask)

    def forward(self, stream: Tokens) -> Tokens:
        """`project(embed(stream))`."""
        return self.project(self.embed(stream))

    @property
    def is_fixed(self) -> bool:
        """Whether `embed` gives the same before training and after it: no weight of the backbone learns."""
        return not any(weights.requires_grad for weights in self.backbone.parameters())

    def fit_statistics(self, streams: Iterable[Tensor]) -> None:
        """Take what is no matter of gradients, such as means, from the training rows, before anything is trained.

        Asked of encoders that are `trainable` only; one that has nothing of the kind leaves them alone.

        Args:
            streams: all distinct ones of the training rows, `[time, ...]` each.
        """

    def figures(self, embedded: Tokens) -> Tensor:
        """What a clip comes to, for readers that weigh it as it is (see `model.readers`), `[batch, embed_dim]`.

        Args:
            embedded: what `embed` gave. An absent row's figures mean nothing.
        """
        return embedded.mean()

    def train(self, mode: bool = True) -> Self:
        """Training mode, save for a frozen backbone, which stays in eval mode."""
        super().train(mode)
        if not self.trainable:
            self.backbone.eval()
        return self

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that learn inside the backbone; they want a lower learning rate where it starts pretrained."""
        return (p for p in self.backbone.parameters() if p.requires_grad)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that learn outside the backbone."""
        inside = {id(p) for p in self.backbone.parameters()}
        return (p for p in self.parameters() if p.requires_grad and id(p) not in inside)

    def fingerprint(self) -> str:
        """sha256 of the settings and the weights that shape what `embed` gives."""
        digest = hashlib.sha256(json.dumps([self.modality, dict(self.settings)], sort_keys=True).encode())
        for name, tensor in sorted(self.backbone.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def load_backbone(self, run_folder: Path) -> None:
        """Take this modality's backbone weights from another run.

        Raises:
            RunError: the folder holds no `model.safetensors`, or its model has no backbone for this modality.
            WeightsError: the file cannot be read, or its backbone is of another shape.
        """
        path = Path(run_folder) / "model.safetensors"
        prefix = f"encoders.{self.modality}.backbone."
        if not path.is_file():
            raise RunError(f"no model.safetensors in {run_folder}; give the folder of a finished training run")
        weights = {name.removeprefix(prefix): tensor for name, tensor in read_safetensors(path, prefix).items()}
        own = self.backbone.state_dict()
        if own and not weights:
            raise RunError(f"the model in {run_folder} has no {self.modality} encoder; train one or name another run")
        different = sorted(
            {name for name, tensor in own.items() if name not in weights or weights[name].shape != tensor.shape}
            | (weights.keys() - own.keys())
        )
        if different:
            raise WeightsError(
                f"the {self.modality} encoder in {run_folder} is of another kind ({len(different)} tensors differ, "
                f"first {different[0]!r}); use the encoder settings in that run's config.yaml"
            )
        self.backbone.load_state_dict(weights)
        self._random_weights = False


def read_safetensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file whose names start with `prefix`.

    Raises:
        WeightsError: the file is not safetensors.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
