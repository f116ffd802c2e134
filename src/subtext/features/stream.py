"""`Stream`: what an extractor makes of one segment in one modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Stream:
    """A sequence of steps of one modality.

    Attributes:
        values: `[time, ...]`: visual uint8 crops `[time, height, width, 3]`, text float32 `[time, dim]` (one step a
            chunk or a token), prosody float32 `[time, n_features]`, precomputed streams float32 `[time, dim]`.
        times: float64 `[time]`, in s from the segment's start; for text the running number of the step.
        quality: figures about the extraction, such as `face_share`.
        reason: why there is no step, empty where there is one.
    """

    values: npt.NDArray[np.generic]
    times: npt.NDArray[np.float64]
    quality: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or self.times.shape != self.values.shape[:1]:
            raise ValueError(
                f"values must be [time, ...] and times [time]: values {self.values.shape}, times {self.times.shape}"
            )
        if not len(self.values) and not self.reason:
            raise ValueError("a stream without steps must say why in `reason`")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class StreamInfo:
    """What is known of a stream without reading its values.

    Attributes:
        n_steps: length in time.
        step_shape: shape of one step, such as `(112, 112, 3)`.
        quality: see `Stream`.
        reason: see `Stream`.
    """

    n_steps: int
    step_shape: tuple[int, ...]
    quality: Mapping[str, float]
    reason: str

    @classmethod
    def of(cls, stream: Stream) -> "StreamInfo":
        """The description of a stream."""
        return cls(len(stream), tuple(stream.values.shape[1:]), dict(stream.quality), stream.reason)
