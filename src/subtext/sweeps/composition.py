"""What a sweep asks of the configurations of its trials; `subtext.core.composition` composes them."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from subtext.core.composition import Composition
from subtext.core.schema import check_value
from subtext.errors import ConfigError
from subtext.runs.settings import TrainingSettings
from subtext.sweeps.space import Space

_MOST_COMBINATIONS = 200
NOT_COMPARED = ("paths", "debug", "overwrite", "workers", "logger", "name", "resume", "trust")
"""Settings that say where and how a run is done, not what is found: two sessions of a sweep may differ in them."""


def check_space(composition: Composition, space: Space, groups: Collection[str], where: str) -> None:
    """Compose every combination of groups that the space allows, and set in each what it may set.

    Raises:
        ConfigError: a choice does not exist, a key is not in the configuration of a choice, or would not take a value.
    """
    names = {entry.name for entry in space.entries if set(entry.keys) & set(groups)}
    others = [entry for entry in space.entries if entry.name not in names]
    undecided = {entry.name for entry in others}
    seen: set[str] = set()
    for number, point in enumerate(space.combinations(names)):
        fresh = {f"{name}={value}" for name, value in point.items()} - seen
        if number >= _MOST_COMBINATIONS and not fresh:
            continue  # each choice has been looked at, only not with every other one
        seen |= fresh
        chosen = {key: value for key, value in space.settings(point).items() if key in groups}
        try:
            config = composition.config(chosen)
            settings = composition.settings(chosen, groups)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        for entry in others:
            for key in entry.keys if space.is_active(entry, point, undecided) else ():
                if not _exists(config, key):
                    choice = " ".join(f"{group}={value}" for group, value in chosen.items())
                    group = key.rpartition(".")[0].replace(".", "/")
                    file = f" ({group}/{chosen[group]}.yaml)" if group in chosen else ""
                    raise ConfigError(
                        f"{where}: space.{entry.name} sets {key}, which is not in the configuration"
                        f"{f' with {choice}{file}' if choice else ''}; correct the key, or say by `when` with "
                        "which choices it is searched"
                    )
                for value in entry.bounds():
                    try:
                        check_value(settings, TrainingSettings, key, value)
                    except ConfigError as error:
                        raise ConfigError(f"{where}: space.{entry.name}: {error}") from error


def unresolved(whole: DictConfig) -> dict[str, Any]:
    """What two sessions of a sweep must agree on, with references as they are written."""
    plain = OmegaConf.to_container(whole, resolve=False)
    return {k: v for k, v in plain.items() if k not in (*NOT_COMPARED, "hydra")} if isinstance(plain, dict) else {}


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Tells whether two trials ran with the same settings, wherever they ran."""
    kept = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _exists(config: DictConfig, key: str) -> bool:
    *path, last = key.split(".")
    node: Any = config
    for part in path:
        if not isinstance(node, DictConfig) or part not in node or OmegaConf.is_missing(node, part):
            return False
        node = node[part]
    return isinstance(node, DictConfig) and last in node
