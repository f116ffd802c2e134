"""Models built from a description that may be somebody else's, no larger than the weights that belong to it."""

import math
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from subtext.errors import WeightsError

_TIMES: Final = 8
"""How often a number or a tensor of the model may be made while it is built: initialised anew, copied by layers."""
_APART_NUMBERS: Final = 2**24
_APART_TENSORS: Final = 2000
"""What may be made besides: a picture to try a backbone on, windows, tables of positions."""


class Bounded(TorchDispatchMode):
    """Refuses to make tensors that a model of these weights has no use for, before memory is taken for them.

    Args:
        weights: the tensors that the model shall hold.
        description: the file that says what is built.

    Raises:
        WeightsError: from what is built inside, once it goes beyond.

    Example:
        >>> import torch
        >>> with Bounded({"weight": torch.zeros(4, 4)}, "model.json"):
        ...     layer = torch.nn.Linear(4, 4, bias=False)
    """

    def __init__(self, weights: Mapping[str, Tensor], description: object) -> None:
        super().__init__()
        self._description = description
        self._numbers = _TIMES * sum(tensor.numel() for tensor in weights.values()) + _APART_NUMBERS
        self._tensors = _TIMES * len(weights) + _APART_TENSORS

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count what is asked for, then do it."""
        first = args[0] if args else None
        # New tensors are asked for by their size; a copied layer by copies of the first one's.
        if isinstance(first, list | tuple) and all(isinstance(side, int) for side in first):
            self._take(math.prod(first))
        elif isinstance(first, Tensor) and func.overloadpacket.__name__ in ("clone", "_to_copy"):
            self._take(first.numel())
        return func(*args, **(kwargs or {}))

    def _take(self, numbers: int) -> None:
        self._numbers -= numbers
        self._tensors -= 1
        if min(self._numbers, self._tensors) < 0:
            raise WeightsError(
                f"{self._description} describes a larger model than the weights beside it are of; they come from "
                "different runs: copy a run folder as a whole"
            )
