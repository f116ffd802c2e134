"""Spoiled transcripts: words exchanged, lost and put in between, as a speech recogniser would."""

import hashlib
import string
from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

SUBSTITUTIONS: Final = 0.6
"""Share of the errors that exchange a word; the others lose or insert one, in equal parts over transcripts."""
_TRIES: Final = 50


class WordPool:
    """Words that stand in for what was said, drawn as often as they occur.

    Args:
        texts: where the words come from.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for token in text.split() if (word := plain(token)))
        self.words = sorted(counts)
        # Accumulated, so that a draw is one search and not a pass over the vocabulary.
        self._ends = np.cumsum([counts[word] for word in self.words], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.words)

    def draw(self, rng: np.random.Generator, besides: set[str]) -> str | None:
        """A word that is none of `besides`; None where there is none."""
        for _ in range(_TRIES):
            word = self.words[int(np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right"))]
            if word not in besides:
                return word
        others = [word for word in self.words if word not in besides]
        return others[int(rng.integers(len(others)))] if others else None


def plain(token: str) -> str:
    """A word without the punctuation around it, in small letters."""
    return token.strip(string.punctuation + "“”‘’«»…–—¿¡").casefold()


def with_word_errors(text: str, rate: float, pool: WordPool, seed: int) -> str:
    """The text as a recogniser of that word error rate might have written it.

    Words are what stands between spaces. Of `n` words `n * rate` go wrong, rounded up or down at random such that the
    rate is met over many texts. New words are none that the text has, and a text either loses or gains words, never
    both: so no error undoes another, and the edit distance equals the number of errors. The errors of a lower rate are
    among those of a higher one. The last word left is never lost: an empty transcript would be an absent modality.

    Args:
        text: what was said.
        rate: errors by words, 0 to 1.
        pool: where new words come from.
        seed: with the text, decides the errors.
    """
    tokens = text.split()
    digest = hashlib.sha256(f"{seed} ".encode() + text.encode("utf-8", "surrogatepass")).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    errors = int(len(tokens) * rate + rng.random())
    if rate <= 0 or not errors:
        return text
    own = {plain(token) for token in tokens}
    loses = bool(rng.random() < 0.5)
    out: list[str] = list(tokens)
    for number, place in enumerate(rng.permutation(len(tokens))):
        substitutes, new = rng.random() < SUBSTITUTIONS, pool.draw(rng, own)
        if number >= min(errors, len(tokens)):
            break
        if loses and not substitutes and number:
            out[place] = ""
        elif new is not None:  # else the pool has no word that the text has not
            out[place] = new if substitutes or loses else f"{tokens[place]} {new}"
    return " ".join(token for token in out if token)
