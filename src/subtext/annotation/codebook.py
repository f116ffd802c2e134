"""The annotation scheme as data, which rater files, agreement, templates and dataset cards all read.

`subtext.annotation.codebook_file` reads one from YAML.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from subtext.core.templates import render
from subtext.errors import AnnotationError

Scale = Literal["nominal", "ordinal", "interval", "binary"]
Unit = Literal["turn", "session"]

SCALES: Final = ("nominal", "ordinal", "interval", "binary")
UNITS: Final = ("turn", "session")
ITEM_COLUMNS: Final = ("session", "turn", "start", "end", "rater", "label", "value")
"""Columns of a table of ratings; no label may be called like one of them."""

_BINARY_SPELLINGS: Final = {"true": "1", "yes": "1", "false": "0", "no": "0"}


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
            ValueError: it is no answer to this label; the message says which there are, and not what is written.
        """
        text = str(written).strip()
        folded = spelling_key(text)
        for answer in self.answers:
            if folded == spelling_key(answer):
                return answer
        number = as_number(text)
        if self.scale == "interval":
            return self._within(number)
        if self.scale == "binary" and folded in _BINARY_SPELLINGS:
            return _BINARY_SPELLINGS[folded]
        if number is not None:
            for answer in self.values:
                if as_number(answer) == number:
                    return answer
        raise ValueError(f"unknown value; {self._hint(folded)}")

    def number(self, value: str) -> float:
        """A canonical value as a number: its own on numeric scales, its rank from 0 on an ordinal scale of words.

        Raises:
            ValueError: the scale is nominal with words, or the value is none of this label's.
        """
        own = as_number(value)
        if self.scale == "interval" and own is not None:
            return own
        if value in self.values:
            if self.is_numeric and own is not None:
                return own
            if self.scale == "ordinal":
                return float(list(self.values).index(value))
        raise ValueError(f"a value of label '{self.name}' ({self.scale}) has no number")

    @property
    def is_numeric(self) -> bool:
        """Whether every value is written as a number."""
        return self.scale == "interval" or all(as_number(value) is not None for value in self.values)

    def _within(self, number: float | None) -> str:
        low, high = self.minimum, self.maximum
        if number is None or (low is not None and number < low) or (high is not None and number > high):
            unratable = f", or {', '.join(self.unratable)}" if self.unratable else ""
            raise ValueError(f"not a number {range_text(low, high)}{unratable}; correct it")
        return f"{number:g}" if float(f"{number:g}") == number else repr(number)

    def _hint(self, folded: str) -> str:
        near = difflib.get_close_matches(folded, [spelling_key(answer) for answer in self.answers], n=1)
        meant = next((answer for answer in self.answers if near and spelling_key(answer) == near[0]), None)
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
        folded = spelling_key(name)
        for label in self.labels.values():
            if spelling_key(label.name) == folded:
                return label
        near = difflib.get_close_matches(folded, [spelling_key(known) for known in self.labels], n=1)
        meant = next((known for known in self.labels if near and spelling_key(known) == near[0]), None)
        hint = f"did you mean '{meant}'? The" if meant else "the"
        raise AnnotationError(f"unknown label; {hint} codebook has {', '.join(self.labels)}")

    def markdown(self, level: int = 1) -> str:
        """The scheme for people: a heading of the given level, then one section a label."""
        values = {name: getattr(self, name) for name in ("name", "title", "version", "about")}
        labels = self.labels.values()
        return render("annotation/codebook.md.j2", level=level, labels=labels, range_text=range_text, **values)


def range_text(low: float | None, high: float | None) -> str:
    """The numbers that an interval scale takes, in words."""
    if low is None and high is None:
        return "of any size"
    if high is None:
        return f"from {low:g} up"
    return f"up to {high:g}" if low is None else f"from {low:g} to {high:g}"


def as_number(text: str) -> float | None:
    """The finite number that is written, None where none is."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def spelling_key(text: str) -> str:
    """What spellings of the same name or answer have in common: neither case nor spaces, hyphens, underscores."""
    text = text.strip()
    return text if re.fullmatch(r"-?[\d.]+", text) else re.sub(r"[\s_-]+", "_", text.casefold())
