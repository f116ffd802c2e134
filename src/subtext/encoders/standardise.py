"""Figures in units of their spread over the training rows, which is kept with the weights."""

import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """Figures in units of the training rows' deviations from their mean.

    Args:
        width: how many figures.
        limit: deviations beyond which a figure is cut off.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, values: Tensor) -> None:
        """Take mean and deviation of every figure from `[n, width]`, where it is not NaN.

        One that never varies has a deviation of 1.
        """
        exact = values.double()
        mean = exact.nanmean(dim=0).nan_to_num(0.0)
        deviation = (exact - mean).square().nanmean(dim=0).sqrt().nan_to_num(0.0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-9 * mean.abs(), deviation, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """`[..., width]` -> the same shape."""
        return ((values - self.mean) / self.deviation).clamp(-self.limit, self.limit)


def from_running_statistics(weights: dict[str, Tensor], before: str, now: str) -> bool:
    """Turn what earlier versions kept, statistics of a batch normalisation, into what is kept now, in place.

    Args:
        weights: by name.
        before: what its names begin with.
        now: what those of a `Standardised` begin with.

    Returns:
        Whether there were any.
    """
    if f"{before}running_var" not in weights:
        return False
    weights.pop(f"{before}num_batches_tracked", None)
    weights[f"{now}mean"] = weights.pop(f"{before}running_mean")
    weights[f"{now}deviation"] = (weights.pop(f"{before}running_var") + 1e-5).sqrt()
    return True
