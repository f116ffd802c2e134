"""Batch normalisation over the batches of all processes together, on any device."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SyncedBatchNorm(TorchFunctionMode):
    """While it is on, batch normalisation in training takes mean and variance over the rows of all processes.

    Then several processes learn what one would with all their rows. `torch.nn.SyncBatchNorm` does the same on GPUs
    alone, and its conversion replaces timm's layers, which hold an activation as well, by ones without it.

    Example:
        >>> with SyncedBatchNorm():
        ...     trainer.fit(module)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Stand in for `torch.nn.functional.batch_norm`; everything else is as it is."""
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not (training and torch.distributed.is_initialized()):
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    axes = [axis for axis in range(input.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(input.dim())]
    values = input.float()
    count = torch.tensor([values[:, 0].numel()], dtype=torch.float32, device=input.device)
    sums: Tensor = all_reduce(torch.cat([values.sum(axes), count]))
    total = sums[-1]
    mean = sums[:-1] / total
    centred = values - mean.view(shape)
    # In two steps, because a difference of large sums would lose the small variance of a large mean.
    variance: Tensor = all_reduce(centred.square().sum(axes)) / total
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * total / (total - 1)).to(running_var.dtype), momentum)
    out = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(input.dtype)
