"""Every behavioural measure with its formula, unit, range and source: what the tables' columns mean.

They stand in `measures.csv`.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any, Final, Literal

from subtext.core.templates import table_of

Level = Literal["session", "person", "turn"]


@dataclass(frozen=True)
class Measure:
    """One column of the tables of `subtext.behaviour.session`.

    Attributes:
        name: the column.
        level: one value a session, a person of a session, or a turn.
        unit: s, dB ...; "1" for a share or a correlation.
        range: from least to largest possible value.
        formula: in words.
        source: paper of the measure or of the idea; "own definition" where there is none.
        caution: what it does not mean.
    """

    name: str
    level: Level
    unit: str
    range: str
    formula: str
    source: str
    caution: str


def _read() -> Iterator[Measure]:
    text = (resources.files("subtext.behaviour") / "measures.csv").read_text(encoding="utf-8")
    rows: Iterable[dict[str, Any]] = csv.DictReader(text.splitlines())
    return (Measure(**row) for row in rows)


MEASURES: Final = tuple(_read())
"""In the order of the tables' columns."""


def names(level: Level) -> list[str]:
    """The measures of a level, in order."""
    return [measure.name for measure in MEASURES if measure.level == level]


def measures_markdown() -> str:
    """All measures as a Markdown table."""
    columns = [field.name for field in fields(Measure)]
    return table_of(columns, [[str(getattr(measure, column)) for column in columns] for measure in MEASURES])
