"""What an audit gives: alarms, notes, and the tables behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

Kind = Literal["overlap", "nuisance", "labels"]


@dataclass(frozen=True)
class Finding:
    """One thing that the audit has to say.

    Attributes:
        kind: which part of the audit found it.
        subject: what it is about, such as "speaker", "audio copy" or "duration".
        alarm: whether it lets a result look better than it is (`strict` stops on it); else it is a note.
        text: what was found, with its figures; holds no transcript, no name and no value of a cell.
        remedy: what to do about it, empty for a mere note.
        label: the label that it concerns, empty where it concerns all.
        figures: the figures of the text as plain types.
        examples: ids of rows, a few.
    """

    kind: Kind
    subject: str
    alarm: bool
    text: str
    remedy: str = ""
    label: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain types, without empty fields."""
        fields = {
            "kind": self.kind,
            "subject": self.subject,
            "alarm": self.alarm,
            "label": self.label,
            "text": self.text,
            "remedy": self.remedy,
            "figures": dict(self.figures),
            "examples": list(self.examples),
        }
        return {key: value for key, value in fields.items() if value not in ("", {}, [])}


@dataclass(frozen=True)
class Audit:
    """The findings about a corpus.

    Attributes:
        name: the corpus's.
        rows: of its manifest.
        media: how much of the media was read: "none", "headers", "content" or "streams" (what extraction had kept).
        divisions: columns that divide the rows, with the number of rows of each side.
        labels: the labels audited, with the number of positive and of all labelled rows.
        findings: alarms first.
        overlap: one row a division and a unit or kind of content: how much of it stands on several sides.
        predictability: one row a label and a nuisance variable: cross-validated AUROC, interval and p values.
        speakers: one row a label and a (numbered) speaker: negative and positive rows.
        skipped: what could not be audited, and why.
    """

    name: str
    rows: int
    media: str
    divisions: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, tuple[int, int]]
    findings: tuple[Finding, ...]
    overlap: pd.DataFrame
    predictability: pd.DataFrame
    speakers: pd.DataFrame
    skipped: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """What makes a result look better than it is."""
        return tuple(finding for finding in self.findings if finding.alarm)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is good to know."""
        return tuple(finding for finding in self.findings if not finding.alarm)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "corpus": self.name,
            "rows": self.rows,
            "media": self.media,
            "divisions": {name: dict(sides) for name, sides in self.divisions.items()},
            "labels": {name: {"positive": yes, "labelled": known} for name, (yes, known) in self.labels.items()},
            "alarms": [finding.as_dict() for finding in self.alarms],
            "notes": [finding.as_dict() for finding in self.notes],
            "overlap": _records(self.overlap),
            "predictability": _records(self.predictability),
            "speakers": _records(self.speakers),
            "skipped": list(self.skipped),
        }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
