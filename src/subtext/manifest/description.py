"""What a person must know of a corpus before using it: licence, citation, meaning of the labels, cautions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

import pandas as pd

_YES_NO: Final = ("verified", "may_leave_machine")
Nature = Literal["natural", "acted", "constructed", "your own", "several"]


@dataclass(frozen=True)
class Description:
    """The part of a dataset card that no table can tell.

    Attributes:
        title: the corpus's name as its authors write it, with what it holds.
        nature: where the behaviour comes from: people among themselves, actors, or parts put together; "several" of a
            joined table.
        licence: of the data, as its distributor states it.
        citation: the paper, in one line, with an identifier.
        source: where its official files are to be had.
        labels: which label columns the manifest fills, and from which of the corpus's own fields.
        layout: where the official layout that the module expects was read.
        verified: whether that layout could be read at its source; where not, the card says `unverified`.
        cautions: known traps, a sentence each.
        question: what `incongruent` asks in this corpus, as headings say it.
        may_leave_machine: whether licence and consent allow sending recordings and words to another machine. Not where
            nothing says so, as in a description that was written before this was asked.
    """

    title: str
    nature: Nature
    licence: str
    citation: str
    source: str
    labels: str
    layout: str
    verified: bool = True
    cautions: tuple[str, ...] = ()
    question: str = "words against face"
    may_leave_machine: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the file beside a manifest; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: object) -> "Description":
        """What `as_json` gave.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"a {type(content).__name__}, not an object")
        found = {part.name: content[part.name] for part in fields(cls) if part.name in content}
        cautions = found.get("cautions", [])
        if not isinstance(cautions, (list, tuple)):
            raise ValueError("its cautions are no list")
        for name in _YES_NO:
            if not isinstance(found.get(name, True), bool):
                raise ValueError(f"{name} is neither true nor false")
        found["cautions"] = tuple(cautions)
        texts = [value for name, value in found.items() if name not in (*_YES_NO, "cautions")]
        if not all(isinstance(text, str) for text in (*texts, *cautions)) or found.get("nature") not in get_args(
            Nature
        ):
            raise ValueError("a part of it is no text, or it says no nature")
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError("a part of it is missing") from error


def joined(parts: Mapping[str, Description]) -> Description:
    """What is to be known of a table that holds several corpora, by the corpora's names."""

    def each(field_name: str) -> str:
        return "; ".join(f"{name}: {getattr(about, field_name)}" for name, about in parts.items())

    natures = {about.nature for about in parts.values()}
    questions = {about.question for about in parts.values()}
    return Description(
        title=f"{', '.join(parts)}, joined",
        nature=natures.pop() if len(natures) == 1 else "several",
        licence=each("licence"),
        citation=each("citation"),
        source=each("source"),
        labels=each("labels"),
        layout=each("layout"),
        verified=all(about.verified for about in parts.values()),
        question=questions.pop() if len(questions) == 1 else "the label of each corpus",
        may_leave_machine=all(about.may_leave_machine for about in parts.values()),
        cautions=(
            "A column of labels may mean another thing in each corpus: read what is said of the labels.",
            *(f"{name}: {caution}" for name, about in parts.items() for caution in about.cautions),
        ),
    )


@dataclass(frozen=True)
class CardSection:
    """A part of a dataset card that one corpus has and others have not, such as a noise ceiling.

    Attributes:
        title: its heading.
        text: Markdown, may be empty.
        table: figures under the text.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = field(default=None, compare=False)
