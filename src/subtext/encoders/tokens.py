"""`Tokens`: what every encoder gives and every fusion takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Tokens:
    """A padded batch of sequences that knows which of its positions are real.

    An absent modality is a row of False in the mask, never zeros that look like data.

    Attributes:
        values: `[batch, time, ...]`; `[batch, time, dim]` once encoded, face crops before that
            `[batch, time, height, width, channels]`.
        mask: bool `[batch, time]`, True = real.

    Example:
        >>> import torch
        >>> tokens = subtext.Tokens.pad([torch.ones(3, 4), None])
        >>> tokens.values.shape, tokens.present.tolist()
        (torch.Size([2, 3, 4]), [True, False])
    """

    values: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.values.shape[:2] != self.mask.shape:
            raise ValueError(
                f"mask must be bool and match the values' first two axes: values {tuple(self.values.shape)}, "
                f"mask {tuple(self.mask.shape)} of {self.mask.dtype}"
            )

    @property
    def present(self) -> Tensor:
        """Whether the row has any real position, bool `[batch]`."""
        return self.mask.any(dim=1)

    @property
    def real(self) -> Tensor:
        """The values at real positions, row after row: `[positions, ...]`."""
        return self.values[self.mask]

    def with_real(self, values: Tensor) -> "Tokens":
        """The same mask with other values, `[positions, ...]` in the order of `real`; zero everywhere else."""
        filled = values.new_zeros((*self.mask.shape, *values.shape[1:]))
        filled[self.mask] = values
        return Tokens(filled, self.mask)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Tokens":
        """The same tokens on another device."""
        return Tokens(
            self.values.to(device, non_blocking=non_blocking), self.mask.to(device, non_blocking=non_blocking)
        )

    def drop(self, rows: Tensor) -> "Tokens":
        """The same tokens with the rows where `rows` (bool `[batch]`) is True made absent."""
        return Tokens(self.values, self.mask & ~rows[:, None])

    def mean(self) -> Tensor:
        """Mean over real positions, `[batch, dim]`; zero for an absent row."""
        weights = self.mask.to(self.values.dtype).unsqueeze(-1)
        return (self.values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    @classmethod
    def pad(cls, sequences: Sequence[Tensor | None]) -> "Tokens":
        """Stack sequences `[time_i, ...]` into one batch; None is an absent row.

        Raises:
            ValueError: every sequence is None, so the shape of a position is unknown.
        """
        known = [s for s in sequences if s is not None]
        if not known:
            raise ValueError("cannot pad a batch in which every sequence is absent")
        time = max(1, max(len(s) for s in known))
        values = known[0].new_zeros((len(sequences), time, *known[0].shape[1:]))
        mask = torch.zeros((len(sequences), time), dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            if sequence is not None and len(sequence):
                values[row, : len(sequence)] = sequence
                mask[row, : len(sequence)] = True
        return cls(values, mask)

    def padded_to(self, time: int) -> "Tokens":
        """The same tokens padded further at the end (used to test that padding changes nothing)."""
        extra = time - self.mask.shape[1]
        if extra < 0:
            raise ValueError(f"cannot pad {self.mask.shape[1]} positions to {time}")
        shape = [0, 0] * (self.values.dim() - 2) + [0, extra]
        return Tokens(functional.pad(self.values, shape), functional.pad(self.mask, (0, extra)))
