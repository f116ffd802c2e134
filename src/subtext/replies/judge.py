"""A language model as a judge of the form's pairs: a rater that is reported apart, and never the only evidence.

Each question is asked twice, with the replies in either order. An answer that is not one of the three is no answer and
counted; one that changes with the order says that there is no difference, and is counted too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from subtext.annotation.codebook import Codebook
from subtext.errors import AnnotationError
from subtext.replies.generate import Generator
from subtext.replies.prompts import Prompt
from subtext.replies.rating_form import SESSION, Pair

_ANSWER: Final = re.compile(r"\s*(A|B|none)\s*\.?\s*", re.IGNORECASE)
_TURNED: Final = {"A": "B", "B": "A", "none": "none"}
_BATCH: Final = 8


@dataclass(frozen=True)
class Judged:
    """What a judge said.

    Attributes:
        ratings: `session`, `turn` (item), `rater`, `label`, `value`, as raters' files have them.
        asked: questions.
        unread: of them, without a readable answer in one order or both.
        turned: of them, answered otherwise when the order was turned round.
    """

    ratings: pd.DataFrame
    asked: int
    unread: int
    turned: int


def judge_pairs(pairs: Sequence[Pair], codebook: Codebook, judge: Generator, name: str) -> Judged:
    """Ask a generator about every pair.

    Args:
        pairs: the items, with their words.
        codebook: the questions.
        judge: answers prompts; a local model, or anything else that is called in the same way.
        name: of the judge among raters.
    """
    prompts = [prompt for pair in pairs for prompt in _asked(pair, codebook)]
    answers: list[str | None] = []
    for begin in range(0, len(prompts), _BATCH):
        answers += [_read(answer) for answer in judge(prompts[begin : begin + _BATCH])]
    rows, unread, turned = [], 0, 0
    questions = [(pair, label) for pair in pairs for label in codebook.labels]
    for (pair, label), (straight, swapped) in zip(
        questions, zip(answers[::2], answers[1::2], strict=True), strict=True
    ):
        if straight is None or swapped is None:
            unread += 1
            continue
        same = straight == _TURNED[swapped]
        turned += not same
        value = straight if same else "none"
        rows.append({"session": SESSION, "turn": pair.item, "rater": name, "label": label, "value": value})
    columns = ["session", "turn", "rater", "label", "value"]
    return Judged(pd.DataFrame(rows, columns=columns), len(questions), unread, turned)


def pairs_of(key: pd.DataFrame, table: pd.DataFrame) -> list[Pair]:
    """The items of a form with their words.

    Args:
        key: as `read_key` gives it.
        table: the replies that the form was made from.

    Raises:
        AnnotationError: a reply is not there.
    """
    said = {(row["id"], row["system"], row["seed"]): row for row in table.to_dict("records")}
    pairs = []
    for number, item in enumerate(key.to_dict("records"), start=1):
        places = [(item["id"], item[f"system_{side}"], item[f"seed_{side}"]) for side in "ab"]
        missing = [place for place in places if place not in said]
        if missing:
            raise AnnotationError(
                f"item {number} of the key: one of its replies is in no table; name the tables that the form was made "
                "from"
            )
        first, second = (said[place] for place in places)
        words = {"client": str(first["client"] or ""), "a": str(first["reply"]), "b": str(second["reply"])}
        pairs.append(Pair(**{str(name): value for name, value in item.items()}, **words))
    return pairs


def _asked(pair: Pair, codebook: Codebook) -> Iterator[Prompt]:
    for name, label in codebook.labels.items():
        for turn, (a, b) in enumerate(((pair.a, pair.b), (pair.b, pair.a))):
            text = (
                f"A client in counselling says: {pair.client}\n\nReply A: {a}\n\nReply B: {b}\n\n{label.definition} "
                "Answer with one word: A, B, or none."
            )
            yield Prompt(f"{pair.item}-{name}-{turn}", ({"role": "user", "content": text},), {})


def _read(answer: str | None) -> str | None:
    found = None if answer is None else _ANSWER.fullmatch(answer)
    if found is None:
        return None
    return "none" if found[1].lower() == "none" else found[1].upper()
