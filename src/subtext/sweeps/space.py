"""What a sweep searches: entries that set keys of the configuration, each perhaps only where others allow it."""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from subtext.errors import ConfigError

Value = str | int | float | bool | None
Point = Mapping[str, Value]
"""The values of the entries that are searched in one trial, by the entries' names."""

MOST_POINTS: Final = 100_000
"""A space with more points than this is not counted out: it is never exhausted, and no grid goes over it."""

_RANGE: Final = {"low", "high", "log", "step", "type"}
_FIELDS: Final = _RANGE | {"choices", "when", "keys"}


@dataclass(frozen=True)
class Entry:
    """One setting that is searched.

    Attributes:
        name: what it is called in the study.
        keys: the keys of the configuration that it sets, all to the same value.
        distribution: its values.
        when: names of other entries or keys of the configuration, each with the values at which this one is searched.
    """

    name: str
    keys: tuple[str, ...]
    distribution: BaseDistribution
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def values(self) -> list[Value] | None:
        """All values; None where there are endlessly many."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return list(choices)
            case IntDistribution(low=low, high=high, step=step, log=log):
                return list(range(low, high + 1, 1 if log else step))
            case FloatDistribution(low=low, high=high, step=step):
                if low == high:
                    return [low]
                return None if step is None else [low + i * step for i in range(round((high - low) / step) + 1)]
        return None

    def bounds(self) -> list[Value]:
        """All choices, or the lowest and the highest value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return list(self.distribution.choices)
        return [self.distribution.low, self.distribution.high]  # type: ignore[attr-defined]


class Space:
    """The entries of a sweep, in an order in which those that a condition names come first.

    Args:
        entries: in any order.
        constants: values of entries that are not searched, by name and by key, for conditions.
    """

    def __init__(self, entries: Sequence[Entry], constants: Mapping[str, Value] | None = None) -> None:
        self._constants = dict(constants or {})
        self.entries = tuple(self._possible(_ordered(entries)))
        self._setters: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for key in entry.keys:
                self._setters.setdefault(key, []).append(entry)

    @classmethod
    def parse(
        cls,
        declared: Mapping[str, Any],
        *,
        where: str,
        fixed: Collection[str] = (),
        value_of: Callable[[str], Value] = lambda key: None,
    ) -> "Space":
        """Read the `space` of a sweep's configuration.

        Args:
            declared: entry name -> {choices} or {low, high, log, step, type}, with when and keys.
            where: the file, for messages.
            fixed: keys that are not to be searched: an entry that sets one of them is a constant.
            value_of: gives the value of a key of the configuration, for constants, and for conditions on what is not
                searched.

        Raises:
            ConfigError: an entry cannot be understood, or nothing is left to search.
        """
        if not isinstance(declared, Mapping) or not declared:
            raise ConfigError(f"{where} declares no space; name what to search, as conf/sweep/fusion.yaml does")
        parsed = [_parse(str(name), node, where) for name, node in declared.items()]
        searched = [entry for entry in parsed if not set(entry.keys) & set(fixed)]
        constants = {e.name: value_of(e.keys[0]) for e in parsed if e not in searched}
        names = {entry.name for entry in searched} | {key for entry in searched for key in entry.keys}
        for entry in parsed:
            for key in entry.when:
                if key not in names and key not in constants:
                    constants[key] = value_of(key)
        _check_conditions(parsed, where)
        space = cls(searched, constants)
        if not space.entries:
            raise ConfigError(f"nothing is left to search of the space of {where}; fix fewer of its settings")
        return space

    def _possible(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Without the entries whose condition can never hold, and those that hang on them."""
        kept: list[Entry] = []
        for entry in entries:
            if all(self._can_be(key, wanted, entries, kept) for key, wanted in entry.when.items()):
                kept.append(entry)
                yield entry

    def _can_be(self, key: str, wanted: Sequence[Value], entries: Sequence[Entry], kept: Sequence[Entry]) -> bool:
        if any(entry.name == key for entry in entries):
            there = [entry for entry in kept if entry.name == key]
        else:
            there = [entry for entry in kept if key in entry.keys]
            if not there:
                return _among(self._constants.get(key), wanted)
        return any(_has(entry, value) for entry in there for value in wanted)

    def is_active(self, entry: Entry, point: Point, undecided: Collection[str] = ()) -> bool:
        """Whether an entry is searched, given the values of those before it.

        Args:
            entry: of the space.
            point: values so far.
            undecided: names of entries that may have any value yet, or none: conditions on them count as met.
        """
        return all(self._holds(key, wanted, point, undecided) for key, wanted in entry.when.items())

    def _holds(self, key: str, wanted: Sequence[Value], point: Point, undecided: Collection[str]) -> bool:
        names = [key, *(entry.name for entry in self._setters.get(key, ()))]
        for name in names:
            if name in point:
                return _among(point[name], wanted)
        if any(name in undecided for name in names):
            return True
        return key in self._constants and _among(self._constants[key], wanted)

    def walk(self, suggest: Callable[[Entry], Value]) -> dict[str, Value]:
        """A point, each active entry's value asked for in turn."""
        point: dict[str, Value] = {}
        for entry in self.entries:
            if self.is_active(entry, point):
                point[entry.name] = suggest(entry)
        return point

    def settings(self, point: Point) -> dict[str, Value]:
        """The keys of the configuration that a point sets."""
        return {key: _tidy(point[e.name], e) for e in self.entries if e.name in point for key in e.keys}

    def points(self) -> list[dict[str, Value]] | None:
        """Every point; None where there are endlessly many, or more than can be counted out."""
        points: list[dict[str, Value]] = [{}]
        for entry in self.entries:
            active = [self.is_active(entry, point) for point in points]
            values = entry.values() if any(active) else []
            if values is None or len(points) + sum(active) * (len(values) - 1) > MOST_POINTS:
                return None
            points = [
                {**point, **more}
                for point, searched in zip(points, active, strict=True)
                for more in ([{entry.name: value} for value in values] if searched else [{}])
            ]
        return points

    def endless(self) -> list[str]:
        """Names of the entries that have endlessly many values."""
        return [entry.name for entry in self.entries if entry.values() is None]

    def combinations(self, names: Collection[str]) -> Iterator[dict[str, Value]]:
        """Every combination of some entries' values that conditions allow, whatever the other entries' values are."""
        undecided = {entry.name for entry in self.entries} - set(names)

        def grow(point: dict[str, Value], rest: Sequence[Entry]) -> Iterator[dict[str, Value]]:
            if not rest:
                yield point
            elif self.is_active(rest[0], point, undecided):
                for value in rest[0].values() or ():
                    yield from grow({**point, rest[0].name: value}, rest[1:])
            else:
                yield from grow(point, rest[1:])

        yield from grow({}, [entry for entry in self.entries if entry.name in names])

    def as_dict(self) -> dict[str, Any]:
        """The space as plain values, to compare it with another one."""
        plain = {}
        for entry in self.entries:
            about = {key: value for key, value in vars(entry.distribution).items() if not key.startswith("_")}
            if isinstance(entry.distribution, CategoricalDistribution):
                about = {"choices": list(entry.distribution.choices)}
            plain[entry.name] = {
                "kind": type(entry.distribution).__name__.removesuffix("Distribution").lower(),
                **about,
                "keys": list(entry.keys),
                "when": {key: list(values) for key, values in entry.when.items()},
            }
        return plain


def _tidy(value: Value, entry: Entry) -> Value:
    """A value without the dust that counting in steps leaves: 0.3, not 0.30000000000000004."""
    if isinstance(entry.distribution, FloatDistribution) and entry.distribution.step is not None:
        return float(f"{value:.12g}")
    return value


def point_key(point: Point) -> tuple[tuple[str, str], ...]:
    """What is equal for the same points only; a float that went through a database is what it was."""
    return tuple(sorted((name, _written(value)) for name, value in point.items()))


def _written(value: Value) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.12g}"
    return repr(value)


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def suggest(trial: Trial, entry: Entry) -> Value:
    """An entry's value in a trial, drawn by the study's sampler unless the trial has it already."""
    match entry.distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(entry.name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(entry.name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(entry.name, low, high, step=step, log=log)
    raise TypeError(type(entry.distribution))


def _among(value: Value, wanted: Sequence[Value]) -> bool:
    return any(_same(value, one) for one in wanted)


def _has(entry: Entry, value: Value) -> bool:
    distribution = entry.distribution
    if isinstance(distribution, CategoricalDistribution):
        return _among(value, distribution.choices)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return distribution._contains(distribution.to_internal_repr(value))


def _parse(name: str, node: Any, where: str) -> Entry:
    here = f"{where}: space.{name}"
    if not isinstance(node, Mapping):
        raise ConfigError(f"{here} is {node!r}; write {{choices: [...]}} or {{low: ..., high: ...}}")
    unknown = set(node) - _FIELDS
    if unknown:
        raise ConfigError(f"{here} has {_listed(unknown)}; it may have {_listed(_FIELDS)}")
    if ("choices" in node) == bool(_RANGE & set(node)):
        raise ConfigError(f"{here} needs either choices, or low and high")
    keys = node.get("keys", [name])
    if isinstance(keys, str) or not isinstance(keys, Sequence) or not keys:
        raise ConfigError(f"{here}.keys is {keys!r}; write a list of keys of the configuration")
    when = node.get("when") or {}
    if not isinstance(when, Mapping):
        raise ConfigError(f"{here}.when is {when!r}; write {{KEY: VALUE}} or {{KEY: [VALUE, ...]}}")
    conditions = {str(key): tuple(value) if isinstance(value, list) else (value,) for key, value in when.items()}
    distribution = _choices(node["choices"], here) if "choices" in node else _range(node, here)
    return Entry(name, tuple(str(key) for key in keys), distribution, conditions)


def _choices(choices: Any, here: str) -> CategoricalDistribution:
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{here}.choices is {choices!r}; write a list of values")
    for value in choices:
        if value is not None and not isinstance(value, (str, int, float, bool)):
            raise ConfigError(f"{here}.choices holds {value!r}; a choice is a word, a number, true, false or null")
    for one, other in itertools.combinations(choices, 2):
        if _same(one, other):
            raise ConfigError(f"{here}.choices holds {one!r} twice")
    return CategoricalDistribution(choices)


def _range(node: Mapping[str, Any], here: str) -> BaseDistribution:
    low, high = (_number(node.get(name), f"{here}.{name}") for name in ("low", "high"))
    step = None if node.get("step") is None else _number(node["step"], f"{here}.step")
    log = node.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{here}.log is {log!r}; write true or false")
    whole = all(isinstance(value, int) for value in (low, high, step) if value is not None)
    kind = node.get("type", "int" if whole else "float")
    if kind not in ("int", "float"):
        raise ConfigError(f"{here}.type is {kind!r}; write int or float")
    if kind == "int" and not whole:
        raise ConfigError(f"{here} has type int; give low, high and step as whole numbers")
    if low > high:
        raise ConfigError(f"{here}: low {low} is above high {high}")
    if log and low <= 0:
        raise ConfigError(f"{here}: low is {low}; a range on a log scale begins above 0")
    if step is not None and step <= 0:
        raise ConfigError(f"{here}: step is {step}; write a number above 0")
    if log and step is not None:
        raise ConfigError(f"{here} has both log and step; leave one out")
    if step is not None and not math.isclose(remainder := (high - low) / step, round(remainder), abs_tol=1e-9):
        raise ConfigError(f"{here}: from {low} to {high} is no whole number of steps of {step}")
    if kind == "int":
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=None if step is None else float(step))


def _number(value: Any, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{what} is {'missing' if value is None else repr(value)}; write a number")
    return value


def _check_conditions(entries: Sequence[Entry], where: str) -> None:
    """Refuse a condition on a value that the entry it names never has: a slip that would drop an entry in silence.

    Two entries that set the same key must never be searched in the same trial either.
    """
    for one, other in itertools.combinations(entries, 2):
        if (shared := set(one.keys) & set(other.keys)) and not _exclude_each_other(one, other):
            raise ConfigError(
                f"{where}: space.{one.name} and space.{other.name} both set {_listed(shared)}; give both a when that "
                "keeps them apart"
            )
    for entry in entries:
        for key, wanted in entry.when.items():
            if key == entry.name:
                raise ConfigError(f"{where}: space.{entry.name} has itself in its condition; name another entry")
            named = [e for e in entries if e.name == key] or [e for e in entries if key in e.keys]
            for value in wanted:
                if named and not any(_has(other, value) for other in named):
                    raise ConfigError(
                        f"{where}: space.{entry.name} is searched when {key} is {value!r}, which {key} never is; "
                        "correct the value, or add it to the choices"
                    )


def _exclude_each_other(one: Entry, other: Entry) -> bool:
    return any(
        not any(_among(value, other.when[key]) for value in wanted)
        for key, wanted in one.when.items()
        if key in other.when
    )


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    """Entries after all those that their conditions name, otherwise as declared."""
    done: list[Entry] = []
    left = list(entries)
    while left:
        waiting = {entry.name for entry in left} | {key for entry in left for key in entry.keys}
        ready = [e for e in left if not (set(e.when) & (waiting - {e.name, *e.keys}))]
        if not ready:
            names = _listed(entry.name for entry in left)
            raise ConfigError(f"the conditions of {names} in the space go round in a circle; take one of them out")
        done += ready
        left = [entry for entry in left if entry not in ready]
    return done


def _listed(names: Any) -> str:
    return ", ".join(sorted(str(name) for name in names))
