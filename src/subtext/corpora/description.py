"""What a person must know of a corpus before using it: licence, citation, meaning of the labels, cautions."""

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

Nature = Literal["natural", "acted", "constructed", "your own"]


@dataclass(frozen=True)
class Description:
    """The part of a dataset card that no table can tell.

    Attributes:
        title: the corpus's name as its authors write it, with what it holds.
        nature: where the behaviour comes from: people among themselves, actors, or parts put together.
        licence: of the data, as its distributor states it.
        citation: the paper, in one line, with an identifier.
        source: where its official files are to be had.
        labels: which label columns the manifest fills, and from which of the corpus's own fields.
        layout: where the official layout that the module expects was read.
        verified: whether that layout could be read at its source; where not, the card says `unverified`.
        cautions: known traps, a sentence each.
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
