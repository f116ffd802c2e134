"""What settings may be, derived from the signatures of what is built from them, and checked before anything is done.

A signature says the kind of an argument (`int`, `Literal["mean", "weights"]`) and its range (`Annotated[int, Ge(1)]`,
with the markers of the package annotated-types). Errors, the commands' `--settings` and the documentation's page of
settings read it from there. A signature that says nothing allows everything, so a class of one's own needs none.
"""

import difflib
import functools
import inspect
import math
import textwrap
import typing
from collections import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen

from subtext.core.located import locate
from subtext.errors import ConfigError

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Target = typing.TypeVar("Target", bound=Callable[..., Any])

Width = Annotated[int, Interval(ge=1, le=2**16)]
Layers = Annotated[int, Interval(ge=1, le=256)]
"""Of a model: a number beyond these is a slip, or meant to fill the memory."""
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
"""What NumPy takes for one."""
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Dropout = Annotated[float, Interval(ge=0, lt=1)]
"""A probability of leaving out; at 1 nothing would be left."""


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks a text that is one of some names, where they are known to the program and not to a type checker."""

    names: Collection[str]


@dataclass(frozen=True, eq=False)
class Part:
    """Marks a setting that names what is built by `_target_`.

    Attributes:
        given: arguments that the program adds.
        besides: settings that stand with the arguments but are read by the program, with what they may be; one that
            may be null may be left out.
    """

    given: Collection[str] = ()
    besides: Mapping[str, Any] = field(default_factory=dict)


FOREIGN: Final[Mapping[str, Mapping[str, Any]]] = {
    "pytorch_lightning.Trainer": {
        "max_epochs": Count,
        "min_epochs": Natural | None,
        "gradient_clip_val": NotNegative | None,
        "devices": Annotated[int, Interval(ge=1, le=1024)] | Literal[-1, "auto"] | Sequence[int] | str,
        # Streams stay in single precision; a trainer that keeps weights in another one cannot take them.
        "precision": Literal["32-true", "bf16-mixed", "16-mixed", "32", 32],
        "num_nodes": Count,
        "accumulate_grad_batches": Count,
        "check_val_every_n_epoch": Count | None,
        "log_every_n_steps": Natural | None,
    },
    "pytorch_lightning.callbacks.EarlyStopping": {
        "patience": Natural,
        "mode": Literal["min", "max"],
        "min_delta": float,
    },
    "torch.optim.AdamW": {
        "lr": NotNegative,
        "weight_decay": NotNegative,
        "eps": NotNegative,
        "betas": Sequence[Dropout],
    },
}
"""What the signatures of others leave open, by the name that configurations give them."""


class Form:
    """The settings of a command: a dataclass whose fields say what they may be."""

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """Refuse settings that cannot be used, before anything is read or written.

        Args:
            settings: resolved, plain values.

        Raises:
            ConfigError: naming the setting and what it may be.
        """
        check(settings, cls)


_KEYS: Final = frozenset({"_target_", "_partial_"})


def check(settings: Mapping[str, Any], form: type) -> None:
    """Refuse settings of which one is not what its place takes.

    Args:
        settings: resolved, plain values.
        form: a class whose constructor's arguments are the settings of the top; those marked as `Part` are checked by
            the signature of their own `_target_`, and so on.

    Raises:
        ConfigError: naming the first such setting and what it may be.

    Example:
        >>> @dataclass
        ... class Form:
        ...     seed: Seed = 0
        >>> check({"seed": -1}, Form)
        Traceback (most recent call last):
        ...
        subtext.errors.ConfigError: seed is -1; write a whole number from 0 to 4294967295
    """
    for problem in _of_arguments(settings, _hints(form), form, ""):
        raise ConfigError(_on_one_line(problem))


def check_value(settings: Mapping[str, Any], form: type, key: str, value: Any) -> None:
    """Refuse a value that one setting of a configuration would not take.

    Args:
        settings: resolved, plain values.
        form: see `check`.
        key: the setting, with its place, as `task.batch_size`.
        value: what it is to become.

    Raises:
        ConfigError: saying what it may be.
    """
    *path, last = key.split(".")
    node, hints = settings, _hints(form)
    for part in path:
        inner, per_key = _inside(node[part], hints.get(part, Any))
        node = node[part]
        hints = dict.fromkeys(node, per_key) if inner is None else dict(inner)
    for problem in _problems(value, hints.get(last, Any), key):
        raise ConfigError(_on_one_line(problem))


def check_arguments(name: str, target: Any, node: Mapping[str, Any]) -> None:
    """Refuse arguments of one node whose kind or range its target does not take.

    Args:
        name: of the target, for messages.
        target: a class or function.
        node: the arguments; what is built from nodes inside it is checked there.

    Raises:
        ConfigError: naming the argument.
    """
    hints = _hints(target, name)
    for setting, value in node.items():
        if setting in hints and _is_plain(value):
            for problem in _problems(value, hints[setting], setting):
                raise ConfigError(_on_one_line(f"{name}: {problem}"))


def checked(target: Target) -> Target:
    """Let a class, or a constructor, refuse arguments that its annotations do not allow, whoever calls it.

    Raises:
        ConfigError: when it is called, naming the argument.

    Example:
        >>> @checked
        ... @dataclass
        ... class Noise:
        ...     share: Share
        >>> Noise(share=2)
        Traceback (most recent call last):
        ...
        subtext.errors.ConfigError: Noise: share is 2; write a number from 0 to 1
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(function)
    hints = functools.cache(lambda: _hints(function))

    @functools.wraps(function)
    def refusing(self: Any, *arguments: Any, **named: Any) -> None:
        bound = signature.bind(self, *arguments, **named)
        check_arguments(type(self).__name__, function, bound.arguments)
        for setting, value in bound.arguments.items():
            if type(value) in (int, float) and hints().get(setting) in (str, str | None):
                # A name of digits only; configurations are read as YAML, which takes it for a number.
                bound.arguments[setting] = str(value)
        function(*bound.args, **bound.kwargs)

    if not inspect.isclass(target):
        return typing.cast(Target, refusing)
    target.__init__ = refusing  # type: ignore[method-assign]
    return target


def lines(settings: Mapping[str, Any], form: type) -> Iterator[str]:
    """Every setting of a configuration with its value, and under it what it may be, in the configuration's order.

    Example:
        >>> @dataclass
        ... class Form:
        ...     seed: Seed = 0
        >>> print(*lines({"seed": 3}, Form), sep=chr(10))
        seed=3
            a whole number from 0 to 4294967295
    """
    for name, value, allowed in _rows(settings, _hints(form), ""):
        yield f"{_on_one_line(name)}={_shown(value, quoted=False)}"
        if allowed:
            yield from textwrap.wrap(allowed, 76, initial_indent="    ", subsequent_indent="    ")


def wanted(hint: Any) -> str:
    """What an annotation allows, in words.

    Example:
        >>> wanted(Share | None), wanted(Literal["mean", "weights"])
        ('a number from 0 to 1 or null', 'mean or weights')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *marks = parts
        named = next((mark for mark in marks if isinstance(mark, OneOf)), None)
        if named is not None:
            return _listed(named.names)
        if any(isinstance(mark, Part) for mark in marks):
            return "a part with its _target_"
        return wanted(base) + _range(marks, whole=base is int)
    if origin in (typing.Union, UnionType):
        kinds = list(dict.fromkeys(wanted(part) for part in parts))
        return " or ".join(kinds)
    if origin is Literal:
        return _listed(dict.fromkeys(_shown(value, quoted=False) for value in parts))
    if _is_list(hint):
        inner = wanted(parts[0]) if parts and parts[0] not in (str, Any) else ""
        return f"a list such as [a,b], each {inner}" if inner else "a list such as [a,b]"
    if origin in (Mapping, dict) or hint in (dict, Mapping) or hasattr(hint, "__dataclass_fields__"):
        return "KEY: VALUE entries such as {a: 1}"
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        NoneType: "null",
        None: "null",
    }.get(hint, "another value")


def nearest(written: str, known: Collection[str]) -> str | None:
    """The name that was probably meant."""
    found = difflib.get_close_matches(written, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _of_arguments(given: Mapping[str, Any], hints: Mapping[str, Any], target: Any, place: str) -> Iterator[str]:
    for setting, value in given.items():
        name = f"{place}{setting}"
        if setting in hints:
            yield from _problems(value, hints[setting], name)
        elif _is_part(value):
            yield from _of_part(value, Any, Part(), name)
        elif meant := nearest(str(setting), hints):
            yield f"'{name}' is not known; did you mean '{place}{meant}'?"
    for setting, parameter in _parameters(target).items():
        if parameter.default is parameter.empty and setting not in given:
            name, hint = f"{place}{setting}", hints.get(setting, Any)
            part = any(isinstance(mark, Part) for mark in get_args(hint)[1:])
            yield f"{name} is missing; {_choose(name) if part else f'write {wanted(hint)}'}"


def _of_part(node: Any, kind: Any, part: Part, place: str) -> Iterator[str]:
    """What is wrong with a node of which something is built."""
    if not _is_part(node):
        yield f"{place} is {_shown(node)}; {_choose(place)}"
        return
    name = node["_target_"]
    if not isinstance(name, str):
        yield f"{place}._target_ is {_shown(name)}; write the name of a class, such as package.module.Class"
        return
    try:
        target = locate(name)
    except ConfigError as error:
        yield f"{place}: {error}"
        return
    waits = node.get("_partial_", False)
    if not isinstance(waits, bool):
        yield f"{place}._partial_ is {_shown(waits)}; write true or false"
        return
    if not _gives(target, kind):
        yield f"{place}._target_ is {name}, which is no {_name(kind)}; name a class that is"
        return
    parameters, hints = _parameters(target), {**_hints(target, name), **part.besides}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or not parameters
    for setting, value in node.items():
        where = f"{place}.{setting}"
        if setting in _KEYS:
            continue
        if setting not in parameters and setting not in part.besides and not takes_any:
            near = nearest(str(setting), {*parameters, *part.besides} - set(part.given))
            hint = f"did you mean {near}?" if near else "leave it out"
            yield f"{where} is no setting of {name}; {hint}"
        elif setting in hints:
            yield from _problems(value, hints[setting], where)
        elif _is_part(value):
            yield from _of_part(value, Any, Part(), where)
    if waits:
        return
    for setting, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and setting not in node and setting not in part.given:
            yield f"{place}.{setting} is missing, which {name} needs"
    for setting, hint in part.besides.items():
        if setting not in node and any(_problems(None, hint, setting)):
            yield f"{place}.{setting} is missing; write {wanted(hint)}"


def _problems(value: Any, hint: Any, name: str) -> Iterator[str]:
    """What is wrong with a value; nothing where its annotation allows it or says too little."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *marks = parts
        part = next((mark for mark in marks if isinstance(mark, Part)), None)
        if part is not None:
            yield from _of_part(value, base, part, name)
            return
        found = next(_problems(value, base, name), None)
        if found is None and all(_holds(value, mark) for mark in marks):
            return
        # What is wrong inside of a list says more than the list does.
        yield found if found and not found.startswith(f"{name} is ") else _refusal(name, value, hint)
    elif origin in (typing.Union, UnionType):
        # A number may stand for a text, but not where one of a certain range is asked for.
        if isinstance(value, (int, float)) and any(_base(one) in (int, float) for one in parts):
            parts = tuple(one for one in parts if one not in (str, Path))
        tried = [next(_problems(value, one, name), None) for one in parts]
        if None not in tried:
            inner = [found for found in tried if found and not found.startswith(f"{name} is ")]
            yield inner[0] if inner else _refusal(name, value, hint)
    elif origin is Literal:
        if not any(type(value) is type(one) and value == one for one in parts):
            yield _refusal(name, value, hint)
    elif _is_part(value):
        # Also where the annotation is a function's: optimizers are made later.
        yield from _of_part(value, hint, Part(), name)
    elif _is_list(hint):
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield _refusal(name, value, hint)
        else:
            for number, one in enumerate(value if parts else ()):
                yield from _problems(one, parts[0], f"{name}[{number}]")
    elif origin is Mapping or origin is dict:
        if not isinstance(value, Mapping):
            yield _refusal(name, value, hint)
            return
        for key, one in value.items():
            if any(_problems(key, parts[0], name)):
                yield f"{name} has no setting '{key}'; its settings are {wanted(parts[0])}"
            yield from _problems(one, parts[1], f"{name}.{key}")
    elif origin is abc.Callable:
        yield from _of_part(value, hint, Part(), name)
    elif inspect.isclass(hint) and isinstance(value, Mapping) and hasattr(hint, "__dataclass_fields__"):
        yield from _of_arguments(value, _hints(hint), hint, f"{name}.")
    elif not _is_plainly(value, hint):
        yield _refusal(name, value, hint)


def _is_plainly(value: Any, hint: Any) -> bool:
    """False only where a plain value is surely of another kind than a plain annotation says."""
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    if hint in (NoneType, None):
        return value is None or value == {}  # what an empty file of a group composes to
    if hint in (str, Path):
        return value is not None and not isinstance(value, (bool, Mapping, list, tuple))
    if hint in (dict, Mapping):
        return isinstance(value, Mapping)
    if inspect.isclass(hint) and hasattr(hint, "__dataclass_fields__"):
        return not isinstance(value, (str, int, float, NoneType))
    return True


def _holds(value: Any, mark: Any) -> bool:
    match mark:
        case Interval():
            return all(_holds(value, one) for one in mark)
        case Ge(ge=least):
            return math.isfinite(value) and bool(value >= least)
        case Gt(gt=least):
            return math.isfinite(value) and bool(value > least)
        case Le(le=most):
            return math.isfinite(value) and bool(value <= most)
        case Lt(lt=most):
            return math.isfinite(value) and bool(value < most)
        case MinLen(min_length=least):
            return len(value) >= least
        case OneOf(names=names):
            return value in names
    return True


def _range(marks: Sequence[Any], *, whole: bool) -> str:
    low = high = ""
    for bound in (one for mark in marks for one in (mark if isinstance(mark, Interval) else [mark])):
        match bound:
            case Ge(ge=least):
                low = f"from {least}"
            case Gt(gt=least):
                low = f"above {least}"
            case Le(le=most):
                high = f"to {most}"
            case Lt(lt=most):
                high = f"to {most - 1}" if whole else f"to just below {most}"  # type: ignore[operator]
            case MinLen(min_length=least):
                low = f"with at least {least}"
    if low.startswith("from") and not high:
        low = low.replace("from", "of at least")
    return "".join(f" {one}" for one in (low, high) if one)


def _rows(settings: Mapping[str, Any], hints: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any, str]]:
    for setting, value in settings.items():
        if setting in _KEYS:
            continue
        hint, name = hints.get(setting, Any), f"{place}{setting}"
        inner, per_key = _inside(value, hint)
        if inner is not None:
            yield from _rows(value, inner, f"{name}.")
        elif per_key is not None:
            yield from _rows(value, dict.fromkeys(value, per_key), f"{name}.")
        else:
            yield name, value, "" if hint is Any else wanted(hint)


def _inside(value: Any, hint: Any) -> tuple[Mapping[str, Any] | None, Any]:
    """Of a value with settings of its own what these may be: each by its name, or all alike."""
    if not isinstance(value, Mapping) or not value:
        return None, None
    options = get_args(hint) if get_origin(hint) in (typing.Union, UnionType) else (hint,)
    for option in options:
        marks = get_args(option)[1:] if get_origin(option) is Annotated else ()
        besides = next((mark.besides for mark in marks if isinstance(mark, Part)), {})
        if _is_part(value):
            return {**_hints(locate(value["_target_"]), value["_target_"]), **besides}, None
        if get_origin(option) in (Mapping, dict):
            return None, get_args(option)[1]
        if inspect.isclass(option) and hasattr(option, "__dataclass_fields__"):
            return _hints(option), None
    return None, None


def _is_plain(value: Any) -> bool:
    """Whether a value could stand in a configuration, and is not built of a part."""
    if isinstance(value, (Mapping, list, tuple)):
        return not _is_part(value) and all(map(_is_plain, value.values() if isinstance(value, Mapping) else value))
    return value is None or isinstance(value, (str, bool, int, float))


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _base(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_list(hint: Any) -> bool:
    return get_origin(hint) in (Sequence, list, tuple, Collection, Iterable) or hint in (list, tuple, Sequence)


def _gives(target: Any, kind: Any) -> bool:
    """False only where what a target makes is surely of another kind."""
    if get_origin(kind) in (typing.Union, UnionType):
        return any(_gives(target, one) for one in get_args(kind))
    if get_origin(kind) is Annotated:
        return _gives(target, _base(kind))
    if not callable(target):
        return False
    made = target if inspect.isclass(target) else _hints(target).get("return")
    return kind is Any or not inspect.isclass(kind) or not inspect.isclass(made) or issubclass(made, kind)


def _name(kind: Any) -> str:
    parts = get_args(kind) if get_origin(kind) in (typing.Union, UnionType) else (kind,)
    return " or ".join(getattr(one, "__name__", str(one)) for one in parts if one is not NoneType)


def _hints(target: Any, name: str = "") -> dict[str, Any]:
    subject: Callable[..., Any] = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    hints: dict[str, Any] = {}
    for setting, hint in getattr(subject, "__annotations__", {}).items():
        one = SimpleNamespace(__annotations__={setting: hint}, __globals__=getattr(subject, "__globals__", {}))
        with suppress(AttributeError, NameError, TypeError, SyntaxError):  # named for type checkers only
            hints |= typing.get_type_hints(one, one.__globals__, include_extras=True)
    return {**hints, **FOREIGN.get(name, {})}


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # some compiled callables have no signature
        return {}


def _choose(place: str) -> str:
    return f"choose a file of conf/{place.replace('.', '/')}, or write its _target_"


def _refusal(name: str, value: Any, hint: Any) -> str:
    return f"{name} is {_shown(value)}; write {wanted(hint)}"


def _shown(value: Any, quoted: bool = True) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (list, tuple)):
        text = f"[{','.join(_shown(one, quoted=False) for one in value)}]"
    else:
        text = _on_one_line(repr(value) if quoted or not isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _on_one_line(text: str) -> str:
    """A text in which a line break, or what a terminal would take for a command, is written as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _listed(names: Collection[str] | Iterator[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
