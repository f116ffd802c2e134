"""Build objects from `_target_` nodes: what Hydra's `instantiate` does, without Hydra, and with errors as they are."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from subtext.core.located import locate
from subtext.core.schema import check_arguments
from subtext.errors import ConfigError, SubtextError


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
    check_arguments(name, target, node)
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


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value)
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(inner) for inner in value]
    return value
