"""What the studio's speakers say: sentences written for this corpus, by topic and polarity, in `sentences.csv`.

They are what a client might say in a counselling conversation about everyday life. The three polarities of a topic
share its words as far as natural speech allows, so that the topic alone tells nothing.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final


@dataclass(frozen=True)
class Sentence:
    """One thing to say.

    Attributes:
        text: the words.
        topic: what they are about.
        polarity: -1, 0 or 1.
    """

    text: str
    topic: str
    polarity: int


def _read() -> Iterator[Sentence]:
    text = (resources.files("subtext.corpora.studio") / "sentences.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        yield Sentence(row["text"], row["topic"], int(row["polarity"]))


SENTENCES: Final = tuple(_read())
"""Twelve sentences for each topic and polarity."""
