"""The cell table: exact quotas, and no single polarity that tells the label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from subtext.corpora.cells import CELL_SHARES, draw_cells, quotas
from subtext.labels import IncongruenceRule


def test_table_is_the_balanced_one() -> None:
    assert sum(CELL_SHARES.values()) == pytest.approx(1)
    rule = IncongruenceRule()
    for axis in (0, 1):
        for polarity in (-1, 0, 1):
            cells = {cell: share for cell, share in CELL_SHARES.items() if cell[axis] == polarity}
            incongruent = sum(share for cell, share in cells.items() if rule.is_incongruent(*cell))
            assert incongruent == pytest.approx(sum(cells.values()) / 2)


@given(st.integers(0, 5000), st.lists(st.integers(1, 100), min_size=1, max_size=9))
def test_quotas_sum_up_and_are_near(total: int, weights: list[int]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = quotas(total, shares)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_quotas_refuse_what_makes_no_sense() -> None:
    for total, shares in ((-1, [1.0]), (3, [0.5, 0.4])):
        with pytest.raises(ValueError, match="need a total"):
            quotas(total, shares)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_multiples_of_forty_are_exact(forties: int, seed: int) -> None:
    total = 40 * forties
    cells = draw_cells(total, np.random.default_rng(seed))
    counts = {cell: cells.count(cell) for cell in CELL_SHARES}
    assert counts == {cell: round(share * total) for cell, share in CELL_SHARES.items()}
    label = [IncongruenceRule().is_incongruent(*cell) for cell in cells]
    for axis in (0, 1):
        # Any score that only one polarity gives: the three values in each order.
        for order in ((-1, 0, 1), (0, -1, 1), (0, 1, -1)):
            score = [order.index(cell[axis]) for cell in cells]
            assert roc_auc_score(label, score) == pytest.approx(0.5)


def test_order_is_random_and_deterministic() -> None:
    first, again, other = (draw_cells(400, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(other)
    assert first != sorted(first)


def test_none_are_drawn_from_none() -> None:
    assert draw_cells(0, np.random.default_rng(0)) == []
