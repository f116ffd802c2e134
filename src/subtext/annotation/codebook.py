"""The annotation scheme as data: a YAML codebook that rater files, agreement, templates and dataset cards all read."""

import difflib
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from subtext.errors import AnnotationError
from subtext.labels import EMOTION_POLARITY, INCONGRUENCE_TYPES
from subtext.manifest import BINARY_COLUMNS, LABEL_COLUMNS, POLARITY_COLUMNS, TEXT_COLUMNS, TIME_COLUMNS

Scale = Literal["nominal", "ordinal", "interval", "binary"]
Unit = Literal["turn", "session"]

SCALES: Final = ("nominal", "ordinal", "interval", "binary")
UNITS: Final = ("turn", "session")
EMOTION_COLUMNS: Final = ("verbal_emotion", "visual_emotion", "vocal_emotion")
ITEM_COLUMNS: Final = ("session", "turn", "start", "end", "rater", "label", "value")
"""Columns of a table of ratings; no label may be called like one of them."""

_BINARY_SPELLINGS: Final = {"true": "1", "yes": "1", "false": "0", "no": "0"}
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


@dataclass(frozen=True)
class Label:
    """One thing that raters judge.

    Attributes:
        name: as in rater files.
        scale: nominal, ordinal (values from low to high), interval (numbers) or binary (0 and 1).
        definition: what is judged, in a sentence.
        values: value -> its definition, in the codebook's order; empty for an interval scale.
        unit: what one rating is about, a turn or a whole session.
        rated: who is judged (client, counsellor ...).
        column: the manifest column that the aggregated label fills.
        required: whether each rater is to judge it for every unit.
        unratable: answer that says why no value can be given -> its definition. Kept in ratings, counted, and treated
            as missing by agreement and aggregation.
        rules: decision rules.
        source: where the scale comes from.
        minimum: of an interval scale.
        maximum: of an interval scale.
    """

    name: str
    scale: Scale
    definition: str
    values: Mapping[str, str] = field(default_factory=dict)
    unit: Unit = "turn"
    rated: str = "client"
    column: str = ""
    required: bool = True
    unratable: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    source: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """Everything a rater may choose: the values, then the reasons why there is none."""
        return (*self.values, *self.unratable)

    def canonical(self, written: object) -> str:
        """An answer as the codebook spells it.

        Case, spaces for underscores, `3.0` for `3` and, on a binary scale, true/false/yes/no are accepted.

        Raises:
            ValueError: it is no answer to this label; the message says which there are.
        """
        text = str(written).strip()
        folded = _folded(text)
        for answer in self.answers:
            if folded == _folded(answer):
                return answer
        number = _number(text)
        if self.scale == "interval":
            return self._within(text, number)
        if self.scale == "binary" and folded in _BINARY_SPELLINGS:
            return _BINARY_SPELLINGS[folded]
        if number is not None:
            for answer in self.values:
                if _number(answer) == number:
                    return answer
        raise ValueError(f"unknown value {_quoted(text)}; {self._hint(folded)}")

    def number(self, value: str) -> float:
        """A canonical value as a number: its own on numeric scales, its rank from 0 on an ordinal scale of words.

        Raises:
            ValueError: the scale is nominal with words, or the value is none of this label's.
        """
        own = _number(value)
        if self.scale == "interval" and own is not None:
            return own
        if value in self.values:
            if self.is_numeric and own is not None:
                return own
            if self.scale == "ordinal":
                return float(list(self.values).index(value))
        raise ValueError(f"{_quoted(value)} of label '{self.name}' ({self.scale}) has no number")

    @property
    def is_numeric(self) -> bool:
        """Whether every value is written as a number."""
        return self.scale == "interval" or all(_number(value) is not None for value in self.values)

    def _within(self, text: str, number: float | None) -> str:
        low, high = self.minimum, self.maximum
        if number is None or (low is not None and number < low) or (high is not None and number > high):
            unratable = f", or {', '.join(self.unratable)}" if self.unratable else ""
            raise ValueError(f"{_quoted(text)} is not a number {_range(low, high)}{unratable}; correct it")
        return f"{number:g}" if float(f"{number:g}") == number else repr(number)

    def _hint(self, folded: str) -> str:
        near = difflib.get_close_matches(folded, [_folded(answer) for answer in self.answers], n=1)
        meant = next((answer for answer in self.answers if near and _folded(answer) == near[0]), None)
        choices = f"use one of {', '.join(self.answers)}, or leave it empty"
        return f"did you mean '{meant}'? {choices[0].upper()}{choices[1:]}" if meant else choices


@dataclass(frozen=True)
class Codebook:
    """A checked annotation scheme.

    Attributes:
        name: short name.
        title: for headings.
        labels: label name -> label, in the codebook's order.
        version: the scheme's own version.
        about: what it is for, how to rate, where it comes from.
        path: the file that it was read from.
    """

    name: str
    title: str
    labels: Mapping[str, Label]
    version: str = "1"
    about: str = ""
    path: Path | None = None

    def of_unit(self, unit: Unit) -> tuple[Label, ...]:
        """The labels that are judged per turn, or per session."""
        return tuple(label for label in self.labels.values() if label.unit == unit)

    def label(self, name: str) -> Label:
        """The label of this name; case, and spaces for underscores, don't matter.

        Raises:
            AnnotationError: there is none.
        """
        folded = _folded(name)
        for label in self.labels.values():
            if _folded(label.name) == folded:
                return label
        near = difflib.get_close_matches(folded, [_folded(known) for known in self.labels], n=1)
        meant = next((known for known in self.labels if near and _folded(known) == near[0]), None)
        hint = f"did you mean '{meant}'? The" if meant else "the"
        raise AnnotationError(
            f"unknown label {_quoted(name)}; {hint} codebook '{self.name}' has {', '.join(self.labels)}"
        )

    def markdown(self, level: int = 1) -> str:
        """The scheme for people: a heading of the given level, then one section a label."""
        lines = [f"{'#' * level} {self.title}", "", f"Codebook `{self.name}`, version {self.version}.", ""]
        if self.about:
            lines += [self.about.strip(), ""]
        lines += [
            "| label | scale | values | unit | rated | required | column |",
            "|---|---|---|---|---|---|---|",
        ]
        for label in self.labels.values():
            values = ", ".join(label.values) or _range(label.minimum, label.maximum)
            cells = (f"`{label.name}`", label.scale, values, label.unit, label.rated)
            required = "yes" if label.required else "no"
            lines.append("| " + " | ".join(_cell(cell) for cell in (*cells, required, f"`{label.column}`")) + " |")
        for label in self.labels.values():
            lines += ["", f"{'#' * (level + 1)} `{label.name}`", "", label.definition, ""]
            if label.values or label.unratable:
                lines += ["| value | meaning |", "|---|---|"]
                lines += [f"| {_cell(value)} | {_cell(meaning)} |" for value, meaning in label.values.items()]
                lines += [
                    f"| {_cell(value)} (no value) | {_cell(meaning)} |" for value, meaning in label.unratable.items()
                ]
                lines.append("")
            lines += [f"- {rule}" for rule in label.rules]
            if label.source:
                lines += ["", f"Source: {label.source}"]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def default_codebook_path() -> Path:
    """The packaged codebook in the style of E-THER."""
    return Path(str(files("subtext.annotation") / "ether.yaml"))


def read_codebook(path: str | Path | None = None) -> Codebook:
    """Read and check a codebook; the packaged one in the style of E-THER where no file is named.

    Raises:
        AnnotationError: naming the file, the key and the remedy.
    """
    path = default_codebook_path() if path is None else Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"{path}: cannot read the codebook ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: the codebook is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        raw = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())[:200]
        raise AnnotationError(f"{path}{where}: not readable as YAML ({reason}); correct it") from error
    except RecursionError as error:
        raise AnnotationError(f"{path}: nested too deeply; a codebook has labels with plain keys") from error
    return _codebook(raw, path)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' stands twice; rename or remove one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _codebook(raw: object, path: Path) -> Codebook:
    top = _mapping(raw, path, "the codebook")
    _check_keys(top, _TOP_KEYS, path, "")
    labels = _mapping(top.get("labels"), path, "labels")
    if not labels:
        raise AnnotationError(f"{path}, key 'labels': no labels; describe at least one thing that raters judge")
    read: dict[str, Label] = {}
    for name, entry in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in ITEM_COLUMNS:
            raise AnnotationError(
                f"{path}, key 'labels': {_quoted(name)} cannot name a label; use letters, digits and underscores, "
                f"beginning with a letter, and none of {', '.join(ITEM_COLUMNS)}"
            )
        if any(_folded(name) == _folded(other) for other in read):
            raise AnnotationError(f"{path}, key 'labels.{name}': differs from another label only in case; rename it")
        read[name] = _label(name, _mapping(entry, path, f"labels.{name}"), path)
    filled: dict[str, str] = {}
    for label in read.values():
        if label.column in filled:
            raise AnnotationError(
                f"{path}, key 'labels.{label.name}.column': '{label.column}' is already filled by the label "
                f"'{filled[label.column]}'; give each label a column of its own"
            )
        filled[label.column] = label.name
    name = _words(top, "name", path, "") or path.stem
    return Codebook(
        name=name,
        title=_words(top, "title", path, "") or name,
        labels=read,
        version=_words(top, "version", path, "") or "1",
        about=_words(top, "about", path, "") or "",
        path=path,
    )


def _label(name: str, entry: Mapping[str, Any], path: Path) -> Label:
    at = f"labels.{name}"
    _check_keys(entry, _LABEL_KEYS, path, at)
    scale: Scale = _choice(entry.get("scale"), SCALES, path, f"{at}.scale")
    unit: Unit = _choice(entry.get("unit", "turn"), UNITS, path, f"{at}.unit")
    definition = _words(entry, "definition", path, at)
    if not definition:
        raise AnnotationError(f"{path}, key '{at}.definition': missing; say in a sentence what is judged")
    required = entry.get("required", True)
    if not isinstance(required, bool):
        raise AnnotationError(f"{path}, key '{at}.required': {_quoted(required)} is neither true nor false")
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
                f'{path}, key \'{at}.values\': a binary scale has the values "0" and "1", not {", ".join(values)}'
            )
    elif len(values) < 2:
        raise AnnotationError(f"{path}, key '{at}.values': a {scale} scale needs at least two values")
    both = [value for value in unratable if _folded(value) in {_folded(other) for other in values}]
    if both:
        raise AnnotationError(f"{path}, key '{at}.unratable': '{both[0]}' is also among the values; rename one")
    if scale == "ordinal" and all(_number(value) is not None for value in values):
        numbers = [float(value) for value in values]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise AnnotationError(
                f"{path}, key '{at}.values': the values of an ordinal scale go from low to high, "
                f"not {', '.join(values)}; reorder them"
            )


def _check_column(label: Label, path: Path, at: str) -> None:
    """What the manifest can hold in the column that a label fills."""
    column, values = label.column, set(label.values)
    wanted = None
    if not _NAME.fullmatch(column) or column in _RESERVED:
        free = ", ".join((*EMOTION_COLUMNS, *LABEL_COLUMNS))
        raise AnnotationError(
            f"{path}, key '{at}': a label cannot fill '{column}'; name one of {free}, or a new column of your own"
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
            f"change the values of '{label.name}' or fill a column of your own"
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
    for value, meaning in pairs:
        if isinstance(value, bool):
            raise AnnotationError(
                f"{path}, key '{at}.{key}': YAML takes yes, no, on, off, true and false for switches; quote values"
            )
        text = str(value)
        if not text.strip() or text != text.strip() or not text.isprintable():
            raise AnnotationError(
                f"{path}, key '{at}.{key}': {_quoted(text)} cannot be a value; use printable text without outer spaces"
            )
        if _folded(text) in {_folded(other) for other in found}:
            raise AnnotationError(f"{path}, key '{at}.{key}': '{text}' stands twice; rename or remove one")
        if meaning is not None and not isinstance(meaning, (str, int, float)):
            raise AnnotationError(f"{path}, key '{at}.{key}.{text}': expected its meaning as a sentence")
        found[text] = "" if meaning is None else str(meaning).strip()
    return found


def _mapping(raw: object, path: Path, key: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise AnnotationError(f"{path}, key '{key}': expected keys with values below it, found {found}")
    return raw


def _check_keys(entry: Mapping[str, Any], known: Sequence[str], path: Path, at: str) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            dotted = f"{at}.{key}" if at else str(key)
            raise AnnotationError(f"{path}, key '{dotted}': unknown; {hint}There are {', '.join(known)}")


def _choice(value: object, choices: Sequence[str], path: Path, at: str) -> Any:
    if value not in choices:
        what = "missing" if value is None else f"unknown value {_quoted(value)}"
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
        raise AnnotationError(f"{path}, key '{at}.{key}': {_quoted(value)} is not a number")
    return float(value)


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "of any size"
    if high is None:
        return f"from {low:g} up"
    return f"up to {high:g}" if low is None else f"from {low:g} to {high:g}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _folded(text: str) -> str:
    return (
        re.sub(r"[\s_-]+", "_", text.strip().casefold()) if not re.fullmatch(r"\s*-?[\d.]+\s*", text) else text.strip()
    )


def _quoted(value: object) -> str:
    text = repr(str(value))
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
