"""Configurations of trials: what the command line says, with a trial's values set.

Hydra composes once for every combination of groups; single values are set in a copy, as Hydra itself sets them, which
takes a fraction of the time.
"""

import copy
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from subtext.core.plugins import search_plugins
from subtext.errors import ConfigError
from subtext.sweeps.space import Space, Value

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_MOST_COMBINATIONS = 200
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "inf", "nan"}
NOT_COMPARED = ("paths", "debug", "overwrite", "workers", "logger", "name", "resume", "trust")
"""Settings that say where and how a run is done, not what is found: two sessions of a sweep may differ in them."""


@dataclass(frozen=True)
class _Composed:
    """One combination of groups: as composed, without Hydra's own node, and what ${hydra:...} in it means."""

    whole: DictConfig
    bare: DictConfig
    hydra: Any

    @classmethod
    def of(cls, whole: DictConfig) -> "_Composed":
        current = HydraConfig.instance()
        around = current.cfg
        current.set_config(whole)
        meant, current.cfg = current.cfg, around
        bare = copy.deepcopy(whole)
        with open_dict(bare):
            del bare["hydra"]
        return cls(whole, bare, meant)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let ${hydra:...} mean this configuration's choices."""
        current = HydraConfig.instance()
        around, current.cfg = current.cfg, self.hydra
        try:
            yield
        finally:
            current.cfg = around


class Composition:
    """Composes the configuration of subtext-train for a sweep's trials.

    Args:
        folder: of the configuration.
        overrides: constants of the sweep, then what the command line says about training.
        search_path: further configuration folders (`--config-dir`).
    """

    def __init__(self, folder: Path, overrides: Sequence[str], search_path: Sequence[str] = ()) -> None:
        self.folder = folder
        self.overrides = list(overrides)
        self.search_path = list(search_path)
        self._composed: dict[tuple[tuple[str, Value], ...], _Composed] = {}
        search_plugins()

    def groups(self, keys: Collection[str]) -> set[str]:
        """Those of some keys that are groups of the configuration."""
        with self._hydra():
            loader = GlobalHydra.instance().config_loader()
            return {key for key in keys if loader.get_group_options(key)}

    def config(self, groups: Mapping[str, Value]) -> DictConfig:
        """The configuration with these choices of groups, unresolved, Hydra's own node in it.

        Raises:
            ConfigError: it cannot be composed.
        """
        return self._compose(groups).whole

    def _compose(self, groups: Mapping[str, Value]) -> _Composed:
        key = tuple(sorted(groups.items(), key=str))
        if key not in self._composed:
            path = f"hydra.searchpath=[{','.join(quoted(place) for place in self.search_path)}]"
            overrides = [*self.overrides, *(override(group, choice) for group, choice in groups.items())]
            with self._hydra():
                try:
                    self._composed[key] = _Composed.of(compose("config", [path, *overrides], return_hydra_config=True))
                except (HydraException, OmegaConfBaseException) as error:
                    chosen = " ".join(override(group, choice) for group, choice in groups.items())
                    raise ConfigError(
                        f"the configuration cannot be composed with {chosen or 'these settings'}: {_first_line(error)}"
                    ) from error
        return self._composed[key]

    def settings(self, values: Mapping[str, Value], groups: Collection[str]) -> dict[str, Any]:
        """The resolved configuration with some keys set.

        Args:
            values: of keys, groups among them.
            groups: those keys that are groups.

        Raises:
            ConfigError: a key is not in the configuration, or a value cannot be resolved.
        """
        composed = self._compose({key: value for key, value in values.items() if key in groups})
        config = copy.deepcopy(composed.bare)
        with composed.current():
            try:
                for key, value in values.items():
                    if key not in groups:
                        OmegaConf.update(config, key, value)
                settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            except OmegaConfBaseException as error:
                raise ConfigError(f"the configuration cannot be used: {_first_line(error)}") from error
        return {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}

    def value(self, key: str) -> Value:
        """The value that the configuration has where nothing is searched: a group's choice, or a key's value."""
        composed = self._compose({})
        choices = composed.whole.hydra.runtime.choices
        if key in choices:
            return choices[key]
        with composed.current():
            try:
                return OmegaConf.select(composed.bare, key, throw_on_missing=True)
            except OmegaConfBaseException:
                return None

    def is_off(self, key: str) -> bool:
        """Whether a key belongs to a group that is switched off, as the encoder of a modality that a corpus lacks."""
        config = self.config({})
        parts = key.split(".")
        above = [parts[:length] for length in range(1, len(parts))]
        off = ["/".join(path) for path in above if OmegaConf.select(config, ".".join(path)) is None]
        return bool(self.groups(off))

    def check(self, space: Space, groups: Collection[str], where: str) -> None:
        """Compose every combination of groups that the space allows, and set in each what it may set.

        Raises:
            ConfigError: a choice does not exist, or a key is not in the configuration of a choice.
        """
        names = {entry.name for entry in space.entries if set(entry.keys) & set(groups)}
        seen: set[str] = set()
        for number, point in enumerate(space.combinations(names)):
            fresh = {f"{name}={value}" for name, value in point.items()} - seen
            if number >= _MOST_COMBINATIONS and not fresh:
                continue  # each choice has been looked at, only not with every other one
            seen |= fresh
            chosen = {key: value for key, value in space.settings(point).items() if key in groups}
            try:
                config = self.config(chosen)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from error
            for entry in space.entries:
                if entry.name in names or not space.may_be_active(entry, point, names):
                    continue
                for key in entry.keys:
                    if not _exists(config, key):
                        choice = " ".join(f"{group}={value}" for group, value in chosen.items())
                        group = key.rpartition(".")[0].replace(".", "/")
                        file = f" ({group}/{chosen[group]}.yaml)" if group in chosen else ""
                        raise ConfigError(
                            f"{where}: space.{entry.name} sets {key}, which is not in the configuration"
                            f"{f' with {choice}{file}' if choice else ''}; correct the key, or say by `when` with "
                            "which choices it is searched"
                        )

    def largest(self, key: str) -> Any:
        """The largest value that a key has in what was composed so far; None where nothing has it."""
        values = [OmegaConf.select(composed.bare, key) for composed in self._composed.values()]
        return max((value for value in values if value is not None), default=None)

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        # Inside a Hydra command its own state must be there again afterwards.
        around = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(self.folder.resolve()), version_base="1.3"):
                yield
        finally:
            GlobalHydra.instance().hydra = around


def unresolved(whole: DictConfig) -> dict[str, Any]:
    """What two sessions of a sweep must agree on, with references as they are written."""
    plain = OmegaConf.to_container(whole, resolve=False)
    return {k: v for k, v in plain.items() if k not in (*NOT_COMPARED, "hydra")} if isinstance(plain, dict) else {}


def override(key: str, value: Value) -> str:
    """One argument of the command line that sets a key."""
    return f"{key}={quoted(value)}"


def quoted(value: Any) -> str:
    """A value as Hydra's command line reads it back."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float() | int():
            return repr(value)
        case list() | tuple():
            return f"[{','.join(quoted(part) for part in value)}]"
        case Mapping():
            return f"{{{','.join(f'{quoted(key)}:{quoted(part)}' for key, part in value.items())}}}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return QuotedString(text, Quote.single).with_quotes()


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
