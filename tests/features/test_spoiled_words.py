"""Word errors: the rate that was asked for by an independent count, from other words, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subtext.features.spoiled_words import WordPool, with_word_errors

POOL = WordPool(["a quick brown fox jumps over the lazy dog", "The fox, again!", "of dogs and foxes"])
TEXTS = [f"w{n} fox w{n} says {'very ' * (n % 5)}much more over w{n + 2} quick dog" for n in range(200)]


def edit_distance(ours: list[str], theirs: list[str]) -> int:
    """Levenshtein distance of two lists of words, row by row (Wagner & Fischer 1974)."""
    before = list(range(len(theirs) + 1))
    for number, word in enumerate(ours, 1):
        row = [number]
        for place, other in enumerate(theirs, 1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (word != other)))
        before = row
    return before[-1]


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_the_rate_is_met(rate: float) -> None:
    errors = [edit_distance(text.split(), with_word_errors(text, rate, POOL, 0).split()) for text in TEXTS]
    words = [len(text.split()) for text in TEXTS]
    for found, size in zip(errors, words, strict=True):
        assert np.floor(rate * size) <= found <= np.ceil(rate * size)
    assert sum(errors) / sum(words) == pytest.approx(rate, abs=0.02)


def test_words_are_exchanged_lost_and_inserted() -> None:
    spoiled = [with_word_errors(text, 0.5, POOL, 0).split() for text in TEXTS]
    longer = [len(now) - len(text.split()) for text, now in zip(TEXTS, spoiled, strict=True)]
    assert min(longer) < 0 < max(longer)
    new = [word for text, now in zip(TEXTS, spoiled, strict=True) for word in now if word not in text.split()]
    assert set(new) <= set(POOL.words)
    # As often as in the texts that they come from: "fox" three times as often as "lazy" there ("Fox," is the same).
    assert new.count("the") > 1.3 * new.count("lazy")
    exchanged = 1 - sum(map(abs, longer)) / sum(
        edit_distance(text.split(), now) for text, now in zip(TEXTS, spoiled, strict=True)
    )
    assert exchanged == pytest.approx(0.6, abs=0.07)


def test_a_higher_rate_keeps_the_errors_of_a_lower_one() -> None:
    for text in TEXTS[:50]:
        low, high = (with_word_errors(text, rate, POOL, 0).split() for rate in (0.2, 0.6))
        new = [word for word in low if word in POOL.words and word not in text.split()]
        assert [word for word in new if word not in high] == []


def test_the_seed_and_the_text_decide() -> None:
    once = [with_word_errors(text, 0.4, POOL, 0) for text in TEXTS]
    assert once == [with_word_errors(text, 0.4, POOL, 0) for text in reversed(TEXTS)][::-1]
    assert once != [with_word_errors(text, 0.4, POOL, 1) for text in TEXTS]


@given(st.text(max_size=40), st.floats(0, 1))
def test_any_text_stays_a_text(text: str, rate: float) -> None:
    spoiled = with_word_errors(text, rate, POOL, 3)
    assert bool(spoiled.split()) == bool(text.split())
    assert edit_distance(text.split(), spoiled.split()) <= np.ceil(rate * len(text.split()))
    assert with_word_errors(text, 0.0, POOL, 3) == text


def test_a_pool_without_other_words_loses_words_at_most() -> None:
    pool = WordPool(["yes no"])
    for seed in range(20):
        assert set(with_word_errors("no yes no", 1.0, pool, seed).split()) <= {"yes", "no"}
