"""Every point of a finite space, one after the other."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.samplers import RandomSampler


class GridSampler(RandomSampler):
    """Goes over all points of a space, conditions heeded, each once; the study ends when none is left.

    Optuna's own grid knows no conditions, and its brute-force sampler takes the point of a process that died for done.
    The study asks for the next point as a whole, since only it knows which points are taken.

    Args:
        shuffle: take the points in an order at random, so that a grid that is broken off has been everywhere; false:
            in the order of the space.
        seed: of that order.
    """

    def __init__(self, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._shuffle = shuffle
        self._seed = seed

    def first(self, left: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The point to take next of those that are left."""
        return random.Random(self._seed).choice(left) if self._shuffle else left[0]
