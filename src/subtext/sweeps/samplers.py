"""Samplers and pruners of a sweep: those of a configuration, and two that Optuna lacks."""

import hashlib
import inspect
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from subtext.core.building import build
from subtext.core.located import locate
from subtext.errors import ConfigError


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


class PatientPruner(BasePruner):
    """Asks another pruner only where a trial has stood still for some epochs.

    Optuna's own waits for values below those before. A trial reports the best epoch so far, which never falls, so it
    would wait for ever. A further seed begins at another mean, and so is given its epochs anew.

    Args:
        wrapped_pruner: the one that is asked.
        patience: epochs without a better one.
    """

    def __init__(self, wrapped_pruner: BasePruner, patience: int) -> None:
        self._wrapped = wrapped_pruner
        self._patience = patience

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is not worth while."""
        reported = trial.intermediate_values
        last = [reported[step] for step in sorted(reported)[-self._patience - 1 :]]
        if len(last) <= self._patience or len(set(last)) > 1:
            return False
        return self._wrapped.prune(study, trial)


def build_sampler(node: Mapping[str, Any], seed: int | None = None) -> BaseSampler:
    """The sampler of a configuration.

    Args:
        node: of the configuration.
        seed: for a sampler that takes one, unless the configuration gives it another.

    Raises:
        ConfigError: it is none, or lacks a package.
    """
    takes = "seed" in inspect.signature(locate(str(node["_target_"]))).parameters
    if seed is not None and takes and "seed" not in node:
        node = {**node, "seed": seed}
    return _built(node, BaseSampler)


def build_pruner(node: Mapping[str, Any]) -> BasePruner:
    """The pruner of a configuration.

    Raises:
        ConfigError: it is none, or lacks a package.
    """
    return _built(node, BasePruner)


def seed_at(seed: int, number: int) -> int:
    """A seed for what is drawn at one number of trials: sessions and workers that begin anew never draw alike."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big")


def _built(node: Mapping[str, Any], kind: type) -> Any:
    try:
        return build(node, kind)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{node['_target_']} needs the Python package {error.name}; install it") from error
