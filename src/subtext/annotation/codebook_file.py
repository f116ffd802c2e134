"""Codebooks as YAML files: read, and checked against what the manifest can hold."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from subtext.annotation.codebook import (
    ITEM_COLUMNS,
    SCALES,
    UNITS,
    Codebook,
    Label,
    Scale,
    Unit,
    as_number,
    spelling_key,
)
from subtext.core.yaml_file import read_yaml
from subtext.errors import AnnotationError
from subtext.labels import EMOTION_POLARITY, INCONGRUENCE_TYPES
from subtext.manifest import LABEL_COLUMNS, TEXT_COLUMNS
from subtext.manifest.table import BINARY_COLUMNS, POLARITY_COLUMNS, TIME_COLUMNS

EMOTION_COLUMNS: Final = ("verbal_emotion", "visual_emotion", "vocal_emotion")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOP_KEYS: Final = ("name", "title", "version", "about", "labels")
_LABEL_KEYS: Final = (
    "scale",
    "unit",
    "rated",
    "column",
    "required",
    "definition",
    "values",
    "unratable",
    "rules",
    "source",
    "minimum",
    "maximum",
)
_RESERVED: Final = frozenset(
    ({*TEXT_COLUMNS, *TIME_COLUMNS} - {*EMOTION_COLUMNS, "incongruence_type"}) | {"turn", "fold", "rater"}
)


def default_codebook_path() -> Path:
    """The packaged codebook in the style of E-THER."""
    return Path(str(files("subtext.annotation") / "ether.yaml"))


def read_codebook(path: str | Path | None = None) -> Codebook:
    """Read and check a codebook; the packaged one in the style of E-THER where no file is named.

    Raises:
        AnnotationError: naming the file, the key and the remedy.
    """
    path = default_codebook_path() if path is None else Path(path)
    return _codebook(read_yaml(path, AnnotationError), path)


def _codebook(raw: object, path: Path) -> Codebook:
    top = _mapping(raw, path, "the codebook")
    _check_keys(top, _TOP_KEYS, path, "")
    labels = _mapping(top.get("labels"), path, "labels")
    if not labels:
        raise AnnotationError(f"{path}, key 'labels': no labels; describe at least one thing that raters judge")
    read: dict[str, Label] = {}
    for number, (name, entry) in enumerate(labels.items(), 1):
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in ITEM_COLUMNS:
            raise AnnotationError(
                f"{path}, key 'labels': label {number} cannot be called so; use letters, digits and underscores, "
                f"beginning with a letter, and none of {', '.join(ITEM_COLUMNS)}"
            )
        if any(spelling_key(name) == spelling_key(other) for other in read):
            raise AnnotationError(
                f"{path}, key 'labels': label {number} differs from another one only in case; rename it"
            )
        at = f"label {number}"
        read[name] = _label(name, _mapping(entry, path, at), path, at)
    filled: dict[str, int] = {}
    for number, label in enumerate(read.values(), 1):
        if label.column in filled:
            raise AnnotationError(
                f"{path}, key 'label {number}.column': label {filled[label.column]} fills that column already; give "
                "each label a column of its own"
            )
        filled[label.column] = number
    name = _words(top, "name", path, "") or path.stem
    return Codebook(
        name=name,
        title=_words(top, "title", path, "") or name,
        labels=read,
        version=_words(top, "version", path, "") or "1",
        about=_words(top, "about", path, "") or "",
        path=path,
    )


def _label(name: str, entry: Mapping[str, Any], path: Path, at: str) -> Label:
    # Messages number labels and values: they are the study's own words.
    _check_keys(entry, _LABEL_KEYS, path, at)
    scale: Scale = _choice(entry.get("scale"), SCALES, path, f"{at}.scale")
    unit: Unit = _choice(entry.get("unit", "turn"), UNITS, path, f"{at}.unit")
    definition = _words(entry, "definition", path, at)
    if not definition:
        raise AnnotationError(f"{path}, key '{at}.definition': missing; say in a sentence what is judged")
    required = entry.get("required", True)
    if not isinstance(required, bool):
        raise AnnotationError(f"{path}, key '{at}.required': it is neither true nor false")
    values = _answers(entry, "values", path, at)
    if scale == "binary" and not values:
        values = {"0": "no", "1": "yes"}
    unratable = _answers(entry, "unratable", path, at)
    _check_values(scale, values, unratable, path, at)
    rules = entry.get("rules") or []
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise AnnotationError(
            f"{path}, key '{at}.rules': expected a list of sentences; put one that holds ': ' in quotes"
        )
    label = Label(
        name=name,
        scale=scale,
        definition=definition,
        values=values,
        unit=unit,
        rated=_words(entry, "rated", path, at) or "client",
        column=_words(entry, "column", path, at) or name,
        required=required,
        unratable=unratable,
        rules=tuple(rules),
        source=_words(entry, "source", path, at),
        minimum=_bound(entry, "minimum", scale, path, at),
        maximum=_bound(entry, "maximum", scale, path, at),
    )
    if label.minimum is not None and label.maximum is not None and label.minimum >= label.maximum:
        raise AnnotationError(f"{path}, key '{at}.maximum': {label.maximum:g} is not above minimum {label.minimum:g}")
    _check_column(label, path, f"{at}.column")
    return label


def _check_values(scale: Scale, values: Mapping[str, str], unratable: Mapping[str, str], path: Path, at: str) -> None:
    if scale == "interval":
        if values:
            raise AnnotationError(
                f"{path}, key '{at}.values': an interval scale takes numbers; give minimum and maximum instead"
            )
    elif scale == "binary":
        if set(values) != {"0", "1"}:
            raise AnnotationError(
                f'{path}, key \'{at}.values\': a binary scale has the values "0" and "1"; write these'
            )
    elif len(values) < 2:
        raise AnnotationError(f"{path}, key '{at}.values': fewer than two; write all values that raters choose from")
    known = {spelling_key(value) for value in values}
    both = [number for number, value in enumerate(unratable, 1) if spelling_key(value) in known]
    if both:
        raise AnnotationError(f"{path}, key '{at}.unratable': entry {both[0]} is also among the values; rename one")
    if scale == "ordinal" and all(as_number(value) is not None for value in values):
        numbers = [float(value) for value in values]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise AnnotationError(
                f"{path}, key '{at}.values': the values of an ordinal scale go from low to high; reorder them"
            )


def _check_column(label: Label, path: Path, at: str) -> None:
    """What the manifest can hold in the column that a label fills."""
    column, values = label.column, set(label.values)
    wanted = None
    if not _NAME.fullmatch(column) or column in _RESERVED:
        free = ", ".join((*EMOTION_COLUMNS, *LABEL_COLUMNS))
        raise AnnotationError(
            f"{path}, key '{at}': a label cannot fill this column; name one of {free}, or a new column of your own"
        )
    if column in EMOTION_COLUMNS and not values <= set(EMOTION_POLARITY):
        wanted = f"emotions out of {', '.join(EMOTION_POLARITY)}"
    elif column == "incongruence_type" and not values <= set(INCONGRUENCE_TYPES):
        wanted = f"types out of {', '.join(INCONGRUENCE_TYPES)}"
    elif column in BINARY_COLUMNS and label.scale != "binary":
        wanted = "a binary scale"
    elif column in POLARITY_COLUMNS and not (values and values <= {"-1", "0", "1"}):
        wanted = 'the values "-1", "0", "1"'
    elif column == "engagement" and not label.is_numeric:
        wanted = "numbers"
    if wanted:
        raise AnnotationError(
            f"{path}, key '{at}': the manifest's column '{column}' takes {wanted}; "
            "change the label's values or fill a column of your own"
        )


def _answers(entry: Mapping[str, Any], key: str, path: Path, at: str) -> dict[str, str]:
    """Value -> definition, from a mapping or from a plain list of values."""
    raw = entry.get(key)
    if raw is None:
        return {}
    if isinstance(raw, list):
        if not all(isinstance(item, (str, int, float)) for item in raw):
            raise AnnotationError(
                f"{path}, key '{at}.{key}': expected plain values; write  - value  or  value: meaning"
            )
        pairs = [(item, "") for item in raw]
    else:
        pairs = list(_mapping(raw, path, f"{at}.{key}").items())
    found: dict[str, str] = {}
    for number, (value, meaning) in enumerate(pairs, 1):
        if isinstance(value, bool):
            raise AnnotationError(
                f"{path}, key '{at}.{key}': YAML takes yes, no, on, off, true and false for switches; quote values"
            )
        text = str(value)
        if not text.strip() or text != text.strip() or not text.isprintable():
            raise AnnotationError(
                f"{path}, key '{at}.{key}': entry {number} cannot be a value; use printable text without outer spaces"
            )
        if spelling_key(text) in {spelling_key(other) for other in found}:
            raise AnnotationError(f"{path}, key '{at}.{key}': entry {number} stands twice; rename or remove one")
        if meaning is not None and not isinstance(meaning, (str, int, float)):
            raise AnnotationError(f"{path}, key '{at}.{key}', entry {number}: expected its meaning as a sentence")
        found[text] = "" if meaning is None else str(meaning).strip()
    return found


def _mapping(raw: object, path: Path, key: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise AnnotationError(f"{path}, key '{key}': expected keys with values below it, found {found}")
    return raw


def _check_keys(entry: Mapping[str, Any], known: Sequence[str], path: Path, at: str) -> None:
    for number, key in enumerate(entry, 1):
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            where = f"{path}, {at}" if at else path
            raise AnnotationError(f"{where}: key {number} is unknown; {hint}There are {', '.join(known)}")


def _choice(value: object, choices: Sequence[str], path: Path, at: str) -> Any:
    if value not in choices:
        what = "missing" if value is None else "unknown value"
        raise AnnotationError(f"{path}, key '{at}': {what}; use one of {', '.join(choices)}")
    return value


def _words(entry: Mapping[str, Any], key: str, path: Path, at: str) -> str | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        dotted = f"{at}.{key}" if at else key
        raise AnnotationError(f"{path}, key '{dotted}': expected text, found a {type(value).__name__}")
    return str(value).strip()


def _bound(entry: Mapping[str, Any], key: str, scale: Scale, path: Path, at: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if scale != "interval":
        raise AnnotationError(f"{path}, key '{at}.{key}': only an interval scale has it; list the values instead")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AnnotationError(f"{path}, key '{at}.{key}': it is not a number; write one")
    return float(value)
