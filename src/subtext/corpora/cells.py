"""The table of polarity pairs that constructed corpora draw from, and exact quotas from it.

Uniform polarities would let the words alone tell the label (AUROC 0.65); this table makes the probability of
incongruence one half given either polarity alone.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

CELL_SHARES: Final[Mapping[tuple[int, int], float]] = {
    (-1, -1): 0.225,
    (-1, 0): 0.075,
    (-1, 1): 0.150,
    (0, -1): 0.125,
    (0, 0): 0.125,
    (1, -1): 0.100,
    (1, 0): 0.050,
    (1, 1): 0.150,
}
"""Share of examples by (words' polarity, face's polarity)."""


def quotas(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `total` and follow `shares` (largest remainder).

    Raises:
        ValueError: `total` is negative or the shares do not sum to one.
    """
    if total < 0 or not np.isclose(sum(shares), 1.0):
        raise ValueError(f"need a total of at least 0 and shares that sum to 1, got {total} and {sum(shares)}")
    exact = np.asarray(shares) * total
    whole = np.floor(exact + 1e-9).astype(int)
    short = total - int(whole.sum())
    # Ties go to the earlier share, so that the result does not depend on the sort.
    for index in np.argsort(-(exact - whole), kind="stable")[:short]:
        whole[index] += 1
    return [int(n) for n in whole]


def draw_cells(total: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """`total` (words, face) pairs in random order whose counts follow `CELL_SHARES` as exactly as whole numbers allow.

    A multiple of 40 gives the shares, and with them P(incongruent | either polarity) = 0.5, exactly.
    """
    counts = quotas(total, list(CELL_SHARES.values()))
    cells = [cell for cell, count in zip(CELL_SHARES, counts, strict=True) for _ in range(count)]
    return [cells[index] for index in rng.permutation(total)]
