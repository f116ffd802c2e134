"""What the classifier answers: one head per label, any subset of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal, cast, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from subtext.core.schema import OneOf
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.labels import (
    EMOTION_COLUMN,
    EMOTIONS,
    INCONGRUENCE_TYPES,
    POLARITIES,
    POLARITY_COLUMN,
    POLARITY_NAMES,
    emotion_names,
)
from subtext.manifest.checks import row_number
from subtext.model.readers import Baseline, Reader, ReaderSpec

Kind = Literal["binary", "choice", "number"]


@dataclass(frozen=True)
class HeadSpec:
    """One question that can be asked of a clip.

    Attributes:
        name: the head's name in configs and tables.
        column: the manifest column that carries its label.
        kind: yes or no, one of several, or a number.
        classes: label values in the order of the logits.
        names: what the classes are called in columns and messages.
        modality: the modality whose own tokens it reads; None for the fused embedding.
        normalise: brings the column's values into the form of the classes; None where they are in it.
    """

    name: str
    column: str
    kind: Kind
    classes: tuple[object, ...] = ()
    names: tuple[str, ...] = ()
    modality: str | None = None
    normalise: Callable[[pd.Series], pd.Series] | None = None

    @property
    def key(self) -> str:
        """The head's name in a ModuleDict, where `type` itself would hide a method of modules."""
        return f"{self.name}_head"

    @property
    def size(self) -> int:
        """How many outputs the head has."""
        return len(self.classes) if self.kind == "choice" else 1

    def targets(self, table: pd.DataFrame) -> Tensor:
        """The labels of a table's rows, float `[rows]`: 0 or 1, the class's number, or the value; NaN where unlabelled.

        Raises:
            ConfigError: a label is none of the head's classes.
        """
        if self.column not in table:
            return torch.full((len(table),), torch.nan)
        column = table[self.column]
        if self.normalise is not None:
            column = self.normalise(column)
        if self.kind == "choice":
            numbers = column.map({value: number for number, value in enumerate(self.classes)})
            unknown = column.notna() & numbers.isna()
            if unknown.any():
                row = row_number(column.index, int(unknown.to_numpy(dtype=bool).argmax()))
                raise ConfigError(
                    f"row {row}, column '{self.column}': no class that the head '{self.name}' knows; use one of "
                    f"{', '.join(str(value) for value in self.classes)}"
                )
            column = numbers
        values = column.astype("Float64").to_numpy(dtype=np.float32, na_value=np.nan)
        return torch.from_numpy(values.copy())


HEADS: Final[Mapping[str, HeadSpec]] = {
    spec.name: spec
    for spec in (
        HeadSpec("incongruent", "incongruent", "binary", (False, True), ("congruent", "incongruent")),
        HeadSpec("vocal_incongruent", "vocal_incongruent", "binary", (False, True), ("congruent", "incongruent")),
        HeadSpec("type", "incongruence_type", "choice", INCONGRUENCE_TYPES, INCONGRUENCE_TYPES),
        *(
            HeadSpec(column, column, "choice", POLARITIES, POLARITY_NAMES, modality)
            for modality, column in POLARITY_COLUMN.items()
        ),
        *(
            HeadSpec(column, column, "choice", EMOTIONS, EMOTIONS, modality, emotion_names)
            for modality, column in EMOTION_COLUMN.items()
        ),
        HeadSpec("engagement", "engagement", "number"),
    )
}
"""Every head, by name."""


def head_specs(names: Sequence[str]) -> list[HeadSpec]:
    """The heads of those names, in the order of `HEADS`.

    Raises:
        ConfigError: a name is unknown or stands twice, or there is none.
    """
    for name in names:
        if name not in HEADS:
            raise ConfigError(f"task.heads: no head '{name}'; choose among {', '.join(HEADS)}")
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"task.heads needs at least one head and each only once, got {list(names)}")
    return [spec for spec in HEADS.values() if spec.name in names]


HeadName = Annotated[str, OneOf(HEADS)]


class Heads(nn.Module):
    """Small readouts: norm, dropout, one linear layer each.

    Polarity and emotion heads read their own modality alone, so that they say what it shows on its own: by a `Reader`
    of its figures where there is one, else from the mean of its tokens. The others read the fused embedding.

    Args:
        names: which of `HEADS`.
        dim: width of tokens and fused embedding.
        dropout: before the linear layers, in training.
        reader: how readers are built.
        read: width of the figures by modality, of those that readers read.
        baseline: by modality whose readers also read figures less the person's mean, whose mean, see `model.baseline`.
        direct: let readers also answer the choices that are made of the fused embedding, from all figures together:
            what a fusion stands on where no modality has a head of its own.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        dim: int,
        dropout: float = 0.1,
        reader: ReaderSpec | Mapping[str, Any] | None = None,
        read: Mapping[str, int] | None = None,
        baseline: Mapping[str, str] | None = None,
        direct: bool = False,
    ) -> None:
        super().__init__()
        self.specs = tuple(head_specs(names))
        self.dropout = dropout
        self.reader = ReaderSpec(**reader) if isinstance(reader, Mapping) else reader
        self.read = dict(read or {}) if self.reader is not None else {}
        for modality, kind in (baseline or {}).items():
            if kind not in get_args(Baseline):
                raise ConfigError(f"heads.baseline.{modality} is none of {', '.join(get_args(Baseline))}")
        self.baseline = {m: kind for m, kind in (baseline or {}).items() if m in self.read}
        self.anchored: frozenset[str] = frozenset()
        self.readouts = nn.ModuleDict({spec.key: self._readout(spec, dim) for spec in self.specs})
        wanted = [
            spec for spec in self.specs if direct and self.read and spec.modality is None and spec.kind != "number"
        ]
        self.direct = nn.ModuleDict(
            {
                spec.key: Reader(sum(self.read.values()), max(2, spec.size), self._reader, bool(self.baseline))
                for spec in wanted
            }
        )
        # A number is learned in units of its own spread; both figures come from the training labels.
        for spec in self.specs:
            if spec.kind == "number":
                self.register_buffer(f"{spec.name}_mean", torch.zeros(()))
                self.register_buffer(f"{spec.name}_scale", torch.ones(()))

    def _readout(self, spec: HeadSpec, dim: int) -> nn.Module:
        if spec.modality in self.read:
            return Reader(self.read[spec.modality], spec.size, self._reader, spec.modality in self.baseline)
        return nn.Sequential(nn.LayerNorm(dim), nn.Dropout(self.dropout), nn.Linear(dim, spec.size))

    @property
    def _reader(self) -> ReaderSpec:
        return cast(ReaderSpec, self.reader)

    @property
    def settings(self) -> dict[str, Any]:
        """What they are built from, as plain values, but for the width of tokens."""
        given: dict[str, Any] = {"names": list(self.names), "dropout": self.dropout}
        if self.read:
            given |= {"reader": asdict(self._reader), "read": self.read, "direct": bool(self.direct)}
            given |= {"baseline": self.baseline} if self.baseline else {}
        return given

    @property
    def readers(self) -> dict[str, Reader]:
        """The readers by head: of one modality's head, or beside a head of the fused embedding."""
        found: dict[str, Reader] = {}
        for spec in self.specs:
            for part in (self.readouts, self.direct):
                if spec.key in part and isinstance(part[spec.key], Reader):
                    found[spec.name] = cast(Reader, part[spec.key])
        return found

    def reads(self, name: str) -> tuple[str, ...]:
        """The modalities whose figures a head's reader reads."""
        modality = HEADS[name].modality
        return tuple(self.read) if modality is None else (modality,)

    @property
    def names(self) -> tuple[str, ...]:
        """The heads that are on."""
        return tuple(spec.name for spec in self.specs)

    def leave_to_cells(self) -> None:
        """Drop the readouts of the fused embedding, where posterior cells answer in their place."""
        for spec in self.specs:
            if spec.modality is None:
                del self.readouts[spec.key]

    def begin_with_nothing(self, names: Collection[str]) -> None:
        """Let some readouts of the fused embedding answer nothing until they have learned, and numbers about 0."""
        self.anchored = frozenset(names)
        for name in names:
            layer = cast(nn.Linear, cast(nn.Sequential, self.readouts[HEADS[name].key])[-1])
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def need_fusion(self) -> bool:
        """Whether any head reads the fused embedding."""
        return any(spec.modality is None for spec in self.specs)

    def fit_scales(self, targets: Mapping[str, Tensor]) -> None:
        """Take mean and spread of each number from its training labels."""
        for spec in self.specs:
            if spec.kind == "number":
                known = targets[spec.name][~targets[spec.name].isnan()]
                if len(known):
                    spread = float(known.std(correction=0))
                    getattr(self, f"{spec.name}_mean").fill_(float(known.mean()))
                    getattr(self, f"{spec.name}_scale").fill_(spread if spread > 0 else 1.0)

    def scale(self, name: str) -> Tensor:
        """The spread of a number's training labels."""
        scale: Tensor = getattr(self, f"{name}_scale")
        return scale

    def forward(
        self,
        embedding: Tensor | None,
        tokens: Mapping[str, Tokens],
        weights: Tensor | None = None,
        readings: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Answer every question.

        Args:
            embedding: fused, `[batch, dim]`, or with `weights` one opinion a modality, `[batch, n_modalities, dim]`;
                None if no head needs it.
            tokens: of each modality, `[batch, time, dim]`.
            weights: of the opinions, `[batch, n_modalities]`: each is answered from, and the answers are averaged.
            readings: answers of the readers, by head.

        Returns:
            Logits `[batch]` or `[batch, classes]`, numbers `[batch]`, by head. The answer of a head that reads one
            modality means nothing in a row that lacks it, and is left out where the batch lacks it. What was left to
            posterior cells is left out too.
        """
        answers: dict[str, Tensor] = {}
        for spec in self.specs:
            if spec.key not in self.readouts:
                continue
            if isinstance(self.readouts[spec.key], Reader):
                if readings is None or spec.name not in readings:
                    continue
                answer = readings[spec.name]
            elif spec.modality is not None:
                if spec.modality not in tokens:
                    continue
                answer = self.readouts[spec.key](tokens[spec.modality].mean())
            elif embedding is None:
                raise ValueError(f"the head '{spec.name}' needs a fused embedding")
            else:
                answer = self.readouts[spec.key](embedding)
                if weights is not None:
                    answer = (answer * weights.unsqueeze(-1)).sum(dim=1)
            if spec.kind != "choice":
                answer = answer.squeeze(-1)
            if spec.kind == "number":
                answer = answer * getattr(self, f"{spec.name}_scale")
                if spec.name not in self.anchored:
                    answer = answer + getattr(self, f"{spec.name}_mean")
            answers[spec.name] = answer
        return answers
