"""The sides that a corpus's rows are divided into, and what stands on several of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.manifest import SPLITS

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """Rows on sides, as `split` or `fold` says.

    Attributes:
        column: "split" or "fold".
        names: of the sides: of a split in the order train, val, test.
        side: `[n]`, position in `names`, -1 for a row that is on none.
    """

    column: str
    names: tuple[str, ...]
    side: Ints

    @property
    def held_out(self) -> Bools:
        """`[n]`: rows that a model is judged on: of folds all, of a split those outside `train`."""
        return self.side >= (1 if self.column == "split" else 0)

    def parts(self) -> list[tuple[Bools, Bools]]:
        """Training and judged rows of each run over the division: one for a split, one a fold for folds."""
        if self.column == "split":
            return [(self.side == 0, self.held_out)]
        return [((self.side >= 0) & (self.side != k), self.side == k) for k in range(len(self.names))]

    def seen_before(self, codes: Ints) -> Bools:
        """`[n]`: judged rows whose unit stands on another side too.

        Of a split only earlier sides count: a unit of `test` that stands in `train` or `val`.

        Args:
            codes: `[n]`, which unit each row belongs to; -1 for none.
        """
        known = (codes >= 0) & (self.side >= 0)
        there = np.zeros((int(codes.max(initial=-1)) + 1, len(self.names)), dtype=bool)
        there[codes[known], self.side[known]] = True
        seen = np.zeros(len(codes), dtype=bool)
        rows = np.flatnonzero(known & self.held_out)
        if self.column == "split":
            earlier = np.cumsum(there, axis=1) - there
            seen[rows] = earlier[codes[rows], self.side[rows]] > 0
        else:
            seen[rows] = there[codes[rows]].sum(axis=1) > 1
        return seen

    def across(self, first: Ints, second: Ints) -> Bools:
        """Whether two rows of each pair stand on different sides."""
        one, other = self.side[first], self.side[second]
        return np.asarray((one >= 0) & (other >= 0) & (one != other))

    def counts(self) -> dict[str, int]:
        """Rows of each side."""
        return {name: int((self.side == number).sum()) for number, name in enumerate(self.names)}


def divisions(table: pd.DataFrame) -> list[Division]:
    """The divisions that a manifest's columns `split` and `fold` describe; a column with one side only is none."""
    found = []
    if "split" in table:
        side = (
            table["split"]
            .map({name: number for number, name in enumerate(SPLITS)})
            .fillna(-1)
            .to_numpy()
            .astype(np.int64)
        )
        if (side == 0).any() and (side > 0).any():
            found.append(Division("split", SPLITS, side))
    if "fold" in table and table["fold"].notna().any():
        side, names = pd.factorize(table["fold"], sort=True)
        if len(names) > 1:
            found.append(Division("fold", tuple(str(name) for name in names), side.astype(np.int64)))
    return found


def unit_codes(values: pd.Series) -> Ints:
    """`[n]`: 0, 1, ... for each distinct value, -1 where it is missing."""
    return pd.factorize(values)[0].astype(np.int64)


def determines(finer: Ints, coarser: Ints) -> bool:
    """Whether each unit of `finer` lies within one unit of `coarser` (rows that lack either are left out)."""
    known = (finer >= 0) & (coarser >= 0)
    pairs = np.unique(np.stack([finer[known], coarser[known]]), axis=1).shape[1]
    return bool(known.any()) and pairs == len(np.unique(finer[known]))
