"""Divide a corpus's rows among processes or machines, so that each recording is decoded on one of them only."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from subtext.errors import ConfigError
from subtext.manifest import PATH_COLUMNS, Manifest
from subtext.manifest.splits import shared_blocks


@dataclass(frozen=True)
class Shard:
    """One part of a division.

    Attributes:
        number: from 1 on.
        of: how many parts there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`2/8`.

        Raises:
            ConfigError: it is something else.
        """
        written = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if written is None or not 1 <= int(written[1]) <= int(written[2]):
            raise ConfigError(f"shard={text}: write which part of how many, from 1/8 to 8/8")
        return cls(int(written[1]), int(written[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def rows(self, manifest: Manifest) -> pd.Series:
        """Which rows of the corpus belong to this part, by the table's index.

        The larger recordings are dealt out first, each to the part with the fewest rows so far; the order of the rows
        changes nothing.
        """
        recording_of = recordings(manifest)
        sizes = manifest.table["id"].astype("string").groupby(recording_of).agg(["size", "min"])
        held = np.zeros(self.of, dtype=np.int64)
        part_of: dict[int, int] = {}
        for recording, size in sizes.sort_values(["size", "min"], ascending=[False, True])["size"].items():
            part_of[int(str(recording))] = part = int(held.argmin())
            held[part] += size
        return recording_of.map(part_of) == self.number - 1


def recordings(manifest: Manifest) -> pd.Series:
    """Number of the recording of each row: rows that share a file, directly or through others, have the same."""
    by = [column for column in PATH_COLUMNS if manifest.table[column].notna().any()]
    return pd.Series(shared_blocks(manifest.table, by), index=manifest.table.index)
