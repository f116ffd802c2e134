"""What a run's JSON and YAML files hold, looked at when they are read: they may be somebody else's, or half edited."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from subtext.core.targets import renamed
from subtext.errors import RunError


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        words: for a person.
        fits: whether a value is of the kind.
    """

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_whole(value) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


TEXT: Final = Kind("a text", lambda value: isinstance(value, str))
TEXT_OR_NULL: Final = Kind("a text or null", lambda value: value is None or isinstance(value, str))
TEXTS: Final = Kind("a list of texts", _is_texts)
MAPPING: Final = Kind("a mapping", lambda value: isinstance(value, Mapping))
MAPPING_OR_NULL: Final = Kind("a mapping or null", lambda value: value is None or isinstance(value, Mapping))
MAPPINGS: Final = Kind(
    "a list of mappings", lambda value: isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
)
NUMBER: Final = Kind("a number", _is_number)
POSITIVE: Final = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
POSITIVE_OR_NULL: Final = Kind("a number above 0, or null", lambda value: value is None or POSITIVE.fits(value))
SHARE: Final = Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
COUNT: Final = Kind("a whole number from 0", lambda value: _is_whole(value) and 0 <= value < 2**63)
COUNT_OR_NULL: Final = Kind("a whole number from 0, or null", lambda value: value is None or COUNT.fits(value))
AT_LEAST_1: Final = Kind("a whole number from 1", lambda value: COUNT.fits(value) and value > 0)

MODEL: Final[Mapping[str, Kind]] = {
    "corpus": TEXT,
    "modalities": TEXTS,
    "encoders": MAPPING,
    "encoders.*": MAPPING,
    "fusion": MAPPING_OR_NULL,
    "heads": MAPPING,
    "heads.names": TEXTS,
    "heads.dropout": SHARE,
    "heads.reader": MAPPING,
    "heads.read": MAPPING,
    "heads.read.*": AT_LEAST_1,
    "heads.baseline": MAPPING,
    "heads.baseline.*": TEXT,
    "extractors": MAPPING,
    "extractors.*": MAPPING,
    "max_steps": MAPPING,
    "max_steps.*": AT_LEAST_1,
    "fingerprints": MAPPING,
    "fingerprints.*": MAPPING,
    "fingerprints.*.*": TEXT,
    "calibration": MAPPING,
    "calibration.*": MAPPING,
    "calibration.*.temperature": POSITIVE,
    "calibration.*.threshold": SHARE,
    "calibration.*.abstention": MAPPING,
    "calibration.*.abstention.level": SHARE,
    "novelty": MAPPING,
    "novelty.*": MAPPING,
    "novelty.*.clips": COUNT,
    "novelty.*.level": POSITIVE_OR_NULL,
    "gates": MAPPING,
    "gates.*": SHARE,
    "parameters": MAPPING,
    "parameters.*": COUNT,
    "flops_per_clip": COUNT,
    "best": MAPPING,
    "best.epoch": COUNT,
    "best.score": NUMBER,
}
"""`model.json`."""

RUN: Final[Mapping[str, Kind]] = {
    "command": TEXTS,
    "seed": COUNT,
    "commit": TEXT_OR_NULL,
    "versions": MAPPING,
    "versions.*": TEXT,
    "groups": TEXTS,
    "labels": TEXT_OR_NULL,
    "question": TEXT_OR_NULL,
    "nature": TEXT_OR_NULL,
    "missing": MAPPING,
    "missing.*": COUNT,
    "rows": COUNT,
    "metadata": TEXTS,
    "inputs": MAPPING,
    "inputs.*": TEXT,
    "seconds": MAPPING,
    "seconds.*": NUMBER,
    "vlm": MAPPING,
    "vlm.cost": MAPPING,
    "vlm.heads": MAPPING,
    "vlm.heads.*": MAPPING,
    "tuning": MAPPING,
    "shards": MAPPINGS,
}
"""`run.json`."""

SETTINGS: Final[Mapping[str, Kind]] = {
    "seed": COUNT,
    "corpus": MAPPING,
    "encoder": MAPPING,
    "encoder.*": MAPPING_OR_NULL,
    "fusion": MAPPING_OR_NULL,
    "task": MAPPING,
    "trainer": MAPPING,
    "callbacks": MAPPING_OR_NULL,
    "logger": MAPPING_OR_NULL,
    "paths": MAPPING,
    "paths.*": TEXT_OR_NULL,
    "workers": COUNT,
    "cv": COUNT_OR_NULL,
    "fold": COUNT_OR_NULL,
    "prompts": MAPPING,
    "vlm": MAPPING,
}
"""`config.yaml`, of which the classes that are built from it look at the rest."""

AUDIT: Final[Mapping[str, Kind]] = {"alarms": MAPPINGS, "notes": MAPPINGS}
"""`audit/audit.json`."""


class Record(dict[str, Any]):
    """What a file says: to ask for an entry that it lacks is an error for a person.

    Args:
        content: of the file.
        source: the file.
        remedy: what to do where it cannot be used.
        place: where in the file the content stands.
    """

    def __init__(self, content: Mapping[str, Any], source: Path, remedy: str, place: tuple[str, ...] = ()) -> None:
        super().__init__(
            {
                key: Record(value, source, remedy, (*place, str(key))) if isinstance(value, Mapping) else value
                for key, value in content.items()
            }
        )
        self._source, self._remedy, self._place = source, remedy, place

    def __missing__(self, key: str) -> Any:
        raise RunError(f"{self._source} is incomplete, it lacks {_shown((*self._place, str(key)))}; {self._remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, (dict(self), self._source, self._remedy, self._place)


def record(content: Any, source: Path, kinds: Mapping[str, Kind], remedy: str) -> Record:
    """What a file says, once its entries are of the kinds that they are written in.

    Args:
        content: as read from JSON or YAML.
        source: the file.
        kinds: by place, `*` for any name.
        remedy: what to do about a file that cannot be used.

    Raises:
        RunError: naming the first place that holds another kind of value.

    Example:
        >>> from pathlib import Path
        >>> record({"rows": 12}, Path("run.json"), RUN, "train again")["rows"]
        12
    """
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise RunError(f"{source} does not hold named entries; {remedy}")
    for pattern, kind in kinds.items():
        for place, value in _found(content, pattern.split(".")):
            if not kind.fits(value):
                raise RunError(f"{source}: {_shown(place)} is not {kind.words}; {remedy}")
    return Record(content, source, remedy)


def read_record(path: Path, kinds: Mapping[str, Kind], remedy: str) -> Record:
    """What a JSON file says; see `record`.

    Raises:
        RunError: it cannot be read, or holds another kind of value.
    """
    try:
        content = renamed(json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {' '.join(str(error).split())}; {remedy}") from error
    return record(content, path, kinds, remedy)


def _shown(place: tuple[str, ...]) -> str:
    """A place on one line, whatever names somebody gave."""
    return repr(".".join(place)[:100])


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that JSON knows")


def _found(content: Any, parts: list[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not parts:
        yield (), content
    elif isinstance(content, Mapping):
        first, *rest = parts
        for key in content if first == "*" else [first] if first in content else []:
            for place, value in _found(content[key], rest):
                yield (str(key), *place), value
