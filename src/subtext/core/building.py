"""Build objects from `_target_` nodes: what Hydra's `instantiate` does, without Hydra, and with errors as they are."""

import importlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final

from subtext.errors import ConfigError, SubtextError

MOVED: Final[Mapping[str, str]] = {
    "subtext.task.IncongruenceTask": "subtext.model.task.IncongruenceTask",
    "subtext.task.warmup_cosine": "subtext.model.task.warmup_cosine",
    "subtext.sweeps.grid.GridSampler": "subtext.sweeps.samplers.GridSampler",
    "subtext.sweeps.pruners.PatientPruner": "subtext.sweeps.samplers.PatientPruner",
    "subtext.fusion.posterior.PosteriorFusion": "subtext.model.posterior.PosteriorCells",
}
"""Where the classes are that configurations and models of earlier versions name elsewhere."""


def build(node: Mapping[str, Any], kind: type | tuple[type, ...] | None = None, **more: Any) -> Any:
    """Call a node's `_target_` with its other entries, nodes inside it first.

    It calls whatever the node names: one from a folder goes through `subtext.core.targets.check_targets` before.

    Args:
        node: plain values; `_partial_: true` gives a function that waits for the rest of its arguments.
        kind: what the result must be an instance of, or one of several.
        more: further arguments.

    Raises:
        ConfigError: the target does not exist, does not take these arguments, or gives something else than `kind`.
    """
    name = str(node.get("_target_", ""))
    target = locate(name)
    arguments = {k: _value(v) for k, v in node.items() if k not in ("_target_", "_partial_")} | more
    waits = bool(node.get("_partial_", False))
    try:
        signature = inspect.signature(target)
        (signature.bind_partial if waits else signature.bind)(**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}; correct the settings of this class") from error
    except ValueError:  # some compiled callables have no signature
        pass
    _check_kinds(name, target, node)
    try:
        result = partial(target, **arguments) if waits else target(**arguments)
    except SubtextError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}; correct the settings of this class") from error
    if kind is not None and not isinstance(result, kind):
        wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise ConfigError(f"{name} is no {wanted}; name a class that is")
    return result


def locate(name: str) -> Any:
    """The class or function of a dotted name.

    Raises:
        ConfigError: there is none.
    """
    module, _, attribute = MOVED.get(name, name).rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"cannot find _target_ '{name}': {error}; correct it, or if it is your own file put its folder on "
            "PYTHONPATH"
        ) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot find _target_ '{name}': {error}") from error


def _check_kinds(name: str, target: Any, node: Mapping[str, Any]) -> None:
    """Refuse a word for a number, a number for yes or no, a text for a list: Python would take them, and fail later."""
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (AttributeError, NameError, TypeError):  # of a compiled callable, or named for type checkers only
        return
    for setting, value in node.items():
        if setting in hints and not _fits(value, hints[setting]):
            shown = "null" if value is None else value
            raise ConfigError(f"{name}: {setting} is {shown!r}; write {_wanted(hints[setting])}")


def _fits(value: Any, hint: Any) -> bool:
    """False only where a plain value is surely of another kind than a plain annotation says."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is NoneType:
        return value is None
    if origin in (Sequence, list, tuple):
        return isinstance(value, Sequence) and not isinstance(value, str)
    return True


def _wanted(hint: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
    if typing.get_origin(hint) in (typing.Union, UnionType):
        return " or ".join(_wanted(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) in (Sequence, list, tuple):
        return "a list, such as [a,b]"
    return kinds.get(hint, "another value")


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value)
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(inner) for inner in value]
    return value
