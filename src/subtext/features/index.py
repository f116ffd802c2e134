"""Which stream belongs to which row, and what became of every extraction."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.core.tables import read_parquet, write_csv
from subtext.core.writing import replacing, write_json
from subtext.errors import CacheError
from subtext.labels import MODALITIES

INDEX_COLUMNS: Final = ("id", "modality", "key", "status", "reason", "n_steps", "step_shape")
"""The columns that every index has; figures about quality, such as `face_share`, follow."""
_TABLE: Final = "extraction.parquet"
_FOR_PEOPLE: Final = "extraction.csv"
_DESCRIBED: Final = "extraction.json"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


class FeatureIndex:
    """One row per manifest row and modality.

    Args:
        table: columns `id`, `modality`, `key` (of the cache; null unless ok), `status` ("ok", "absent", "failed"),
            `reason` (empty if ok), `n_steps`, `step_shape` ("112x112x3", empty unless ok) and one float column a
            quality figure (NaN where it does not apply).
        fingerprints: for each modality the digest of everything that shaped its streams.
    """

    def __init__(self, table: pd.DataFrame, fingerprints: Mapping[str, str]) -> None:
        self.table = table
        self.fingerprints = dict(fingerprints)
        has_key = table["key"].notna()
        self._keys: dict[tuple[str, str], str] = {
            (row_id, modality): key
            for row_id, modality, key in table.loc[has_key, ["id", "modality", "key"]].itertuples(index=False)
        }

    def key(self, row_id: str, modality: str) -> str | None:
        """The cache key of a row's stream, None where it has none."""
        return self._keys.get((row_id, modality))

    @property
    def modalities(self) -> list[str]:
        """The modalities extracted, in the project's order."""
        present = set(self.table["modality"])
        return [m for m in MODALITIES if m in present]

    @property
    def n_failed(self) -> int:
        """How many extractions went wrong; what a row simply does not have is not counted."""
        return int((self.table["status"] == "failed").sum())

    def missing(self) -> dict[str, int]:
        """For each modality how many rows lack it, absent and failed together."""
        return {m: int((self.table.loc[self.table["modality"] == m, "status"] != "ok").sum()) for m in self.modalities}

    def summary(self) -> pd.DataFrame:
        """One row per modality, status and reason: how many rows it concerns (`rows`), one of their ids (`example`)."""
        general = self.table.assign(reason=self.table["reason"].map(_general))
        counts = general.groupby(["modality", "status", "reason"], sort=False, dropna=False)["id"].agg(
            ["size", "first"]
        )
        counts = counts.reset_index().rename(columns={"size": "rows", "first": "example"})
        order = {name: number for number, name in enumerate((*MODALITIES, "ok", "absent", "failed"))}
        return counts.sort_values(
            ["modality", "status", "rows"],
            key=lambda c: c.map(order) if c.name != "rows" else -c,
            ignore_index=True,
        )

    def quality(self, modality: str) -> pd.DataFrame:
        """The figures about one modality's streams, one row per id (the index), without those that it does not have."""
        rows = self.table[self.table["modality"] == modality].set_index("id")
        return rows.drop(columns=[c for c in INDEX_COLUMNS if c != "id"]).dropna(axis="columns", how="all")

    def save(self, folder: Path) -> Path:
        """Write `extraction.parquet` (which `load` reads), `extraction.csv` for people, and the fingerprints as JSON.

        What is there from an earlier extraction is replaced only when all is written.

        Raises:
            CacheError: the folder cannot be written.
        """
        table, for_people, described = (folder / name for name in (_TABLE, _FOR_PEOPLE, _DESCRIBED))
        try:
            with replacing(described) as third, replacing(for_people) as second, replacing(table) as first:
                self.table.to_parquet(first, index=False)
                write_csv(self.table, second)
                write_json(third, {"fingerprints": self.fingerprints})
        except OSError as error:
            raise CacheError(
                f"cannot write the table of results to {folder}: {error.strerror or error}; "
                "free some space or set paths.features to a folder that can be written"
            ) from error
        return table

    @classmethod
    def load(cls, folder: Path) -> "FeatureIndex":
        """Read what `save` wrote.

        Raises:
            CacheError: it is not there, or damaged.
        """
        try:
            described = json.loads((folder / _DESCRIBED).read_text("utf-8"))
            table = read_parquet(folder / _TABLE)
            _check(table, described["fingerprints"])
            return cls(table, described["fingerprints"])
        except FileNotFoundError:
            raise CacheError(
                f"no table of extraction results in {folder}; run subtext-extract for this corpus"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise CacheError(
                f"the table of extraction results in {folder} cannot be read ({type(error).__name__}: {reason}); "
                "run subtext-extract for this corpus again"
            ) from error


def _check(table: pd.DataFrame, fingerprints: object) -> None:
    """Whether a table has what `FeatureIndex` says of it.

    Raises:
        ValueError: naming the column that has not.
    """
    if not isinstance(fingerprints, dict) or not all(isinstance(text, str) for text in fingerprints.values()):
        raise ValueError("its fingerprints are no texts by modality")
    for column in INDEX_COLUMNS:
        if column not in table:
            raise ValueError(f"it lacks the column '{column}'")
        cells = table[column]
        if column == "n_steps":
            fits = pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)
        else:
            fits = all(isinstance(cell, str) for cell in (cells.dropna() if column == "key" else cells))
        if not fits:
            raise ValueError(f"the column '{column}' holds another kind of value")
    strange = set(table["status"]) - {"ok", "absent", "failed"}
    if strange:
        raise ValueError("the column 'status' is neither ok, absent nor failed in some row")


def summarise(index: FeatureIndex, name: str) -> str:
    """Counts per modality, and each reason for a missing stream with how many rows it concerns.

    Args:
        index: the results.
        name: the corpus's name.
    """
    lines = [f"{name}: {index.table['id'].nunique()} rows"]
    counts = index.summary()
    for modality in index.modalities:
        of_it = counts[counts["modality"] == modality]
        total = of_it.groupby("status")["rows"].sum()
        shown = ", ".join(f"{total.get(status, 0)} {status}" for status in ("ok", "absent", "failed"))
        lines.append(f"  {modality}: {shown}")
        for row in of_it[of_it["status"] != "ok"].itertuples():
            lines.append(f"    {row.rows} {row.status}: {row.reason} (first: {row.example})")
    return "\n".join(lines)


def _general(reason: str) -> str:
    # Reasons that differ in their figures only (times, counts) are one reason.
    return _NUMBER.sub("N", reason)
