"""Divide a corpus so that no speaker, session or other unit stands on two sides; the result is a column."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.errors import ConfigError, ManifestError
from subtext.manifest.table import LABEL_COLUMNS, PATH_COLUMNS, SPLITS, Manifest, columns_told

SHARES: Final[Mapping[str, float]] = {"train": 0.7, "val": 0.15, "test": 0.15}

_MOST_VALUES: Final = 10

Ints = npt.NDArray[np.int64]


def split_by_shares(
    manifest: Manifest, by: Sequence[str], label: str | None = None, shares: Mapping[str, float] = SHARES, seed: int = 0
) -> Manifest:
    """Fill the column `split` so that the units of `by` stay together and the label's shares are alike.

    Units that share a row belong together too: with `by=[speaker, session]` whole sessions move with their speakers.

    Args:
        manifest: the corpus; a split that it has is replaced, its `fold` column removed.
        by: columns of units; empty divides row by row. A row whose unit is unknown stands for itself.
        label: column whose values are to be as frequent in every part; rows without it are a class of their own.
            Numbers with more than ten different values are taken by fifths.
        shares: part -> share of the rows, above 0, summing to 1.
        seed: another seed, another division.

    Raises:
        ConfigError: a column does not exist, or the shares cannot be used.
        ManifestError: there are too few units for so many parts.
    """
    if set(shares) - set(SPLITS) or not shares or any(not share > 0 for share in shares.values()):
        raise ConfigError(f"shares name {', '.join(SPLITS)}, each above 0; got {dict(shares)}")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"shares sum to {sum(shares.values()):g}; make them sum to 1")
    parts = _allocate(manifest, by, label, list(shares.values()), seed)
    table = manifest.table.drop(columns=["fold"], errors="ignore")
    table = table.assign(split=pd.array(np.array(list(shares), dtype=object)[parts], dtype="string"))
    return manifest.with_table(table)


def split_into_folds(
    manifest: Manifest, k: int, by: Sequence[str], label: str | None = None, seed: int = 0
) -> Manifest:
    """Fill the column `fold` with 0 ... k-1, as `split_by_shares` does, and empty `split`.

    Raises:
        ConfigError: a column does not exist, or `k` is below 2.
        ManifestError: there are fewer units than folds.
    """
    if k < 2:
        raise ConfigError(f"{k} folds cannot be made; ask for at least 2")
    return _with_folds(manifest, _allocate(manifest, by, label, [1 / k] * k, seed))


def leave_one_out(manifest: Manifest, unit: str) -> Manifest:
    """A fold for every value of a column (`speaker`, `session`, `corpus` ...), in the values' order.

    Raises:
        ConfigError: the column does not exist.
        ManifestError: it has fewer than two values, or a row without one.
    """
    _check_columns(manifest, [unit])
    values = manifest.table[unit]
    if values.isna().any():
        raise ManifestError(
            f"{manifest.name}: {int(values.isna().sum())} rows have no {unit}; fill the column, or drop those rows"
        )
    codes, found = pd.factorize(values, sort=True)
    if len(found) < 2:
        raise ManifestError(f"{manifest.name}: every row has the same {unit}, so none can be left out")
    return _with_folds(manifest, codes.astype(np.int64))


def fold_as_test(manifest: Manifest, fold: int, folds: int) -> Manifest:
    """One round of a cross-validation: the column `split` filled from the column `fold`.

    The fold itself is the test split; the next one (cyclically; with more than 15 folds the next `folds // 8`, since
    one speaker left out may show one class only) is the validation split; the others train.

    Raises:
        ConfigError: there is no such fold, or there are fewer than 3.
        ManifestError: the corpus has no folds, or another number of them.
    """
    if folds < 3:
        raise ConfigError(f"cv={folds} leaves no fold to train on beside validation and test; use at least 3")
    if not 0 <= fold < folds:
        raise ConfigError(f"there is no fold {fold}; folds are numbered 0 to {folds - 1}")
    if "fold" not in manifest.table or manifest.table["fold"].isna().all():
        raise ManifestError(f"{manifest.name}: the column 'fold' is empty; fill it, or run subtext-data split")
    column = manifest.table["fold"].astype("Int64")
    known = sorted(int(value) for value in column.dropna().unique())
    if known != list(range(folds)):
        raise ManifestError(
            f"{manifest.name} has the folds {', '.join(map(str, known))}; set cv={len(known)}"
            + ("" if known == list(range(len(known))) else ", and number them from 0 without gaps")
        )
    validation = [(fold + step) % folds for step in range(1, 1 + (folds // 8 if folds > 15 else 1))]
    split = pd.Series(pd.NA, index=column.index, dtype="string")
    split[column.notna()] = "train"
    split[column.isin(validation)] = "val"
    split[column == fold] = "test"
    return manifest.with_table(manifest.table.assign(split=split))


def with_folds(manifest: Manifest, folds: int, disjoint: Sequence[str] = ()) -> Manifest:
    """The corpus with folds: its own where it has some, else made so that speakers, where known, stay together.

    Args:
        manifest: the corpus.
        folds: how many.
        disjoint: further columns whose values must stay together.

    Raises:
        ManifestError: there are fewer speakers, or blocks of rows that must stay together, than folds.
    """
    if "fold" in manifest.table and manifest.table["fold"].notna().any():
        return manifest
    units = dict.fromkeys(["speaker", *disjoint])
    by = [unit for unit in units if unit in manifest.table and manifest.table[unit].notna().any()]
    label = next((column for column in LABEL_COLUMNS if manifest.table[column].notna().any()), None)
    return split_into_folds(manifest, folds, by, label)


def describe_parts(table: pd.DataFrame, column: str, by: Sequence[str], label: str | None) -> pd.DataFrame:
    """What each split or fold holds.

    Returns:
        One row a part: `rows`, the number of distinct values of each unit, and the share of each label value.
    """
    rows = []
    for part, chosen in table.groupby(column, sort=column == "fold"):
        row: dict[str, object] = {column: part, "rows": len(chosen)}
        row |= {f"distinct {unit}": int(chosen[unit].nunique()) for unit in by}
        if label is not None:
            shares = chosen[label].astype("string").fillna("none").value_counts(normalize=True).sort_index()
            row |= {f"{label}={value}": round(float(share), 3) for value, share in shares.items()}
        rows.append(row)
    described = pd.DataFrame(rows)
    return described.fillna({name: 0.0 for name in described if "=" in str(name)})


def join(manifests: Sequence[Manifest], name: str) -> Manifest:
    """Several corpora as one, to train on all or leave one out.

    Ids and the values of group columns get the corpus's name in front, so that speaker 1 of one is not speaker 1 of
    another; paths become relative to the nearest folder that holds all roots. Splits and folds are kept.

    Raises:
        ConfigError: two corpora have the same name.
    """
    names = [manifest.name for manifest in manifests]
    if len(set(names)) < len(names):
        raise ConfigError(f"corpora {', '.join(names)} share a name; give each its own, such as corpus.name=NAME")
    root = Path(os.path.commonpath([manifest.root.resolve() for manifest in manifests]))
    groups = tuple(dict.fromkeys(group for manifest in manifests for group in manifest.groups))
    tables = []
    for manifest in manifests:
        table = manifest.table.copy()
        beyond = manifest.root.resolve().relative_to(root).as_posix()
        for column in PATH_COLUMNS:
            if beyond != ".":
                table[column] = f"{beyond}/" + table[column]
        for column in dict.fromkeys(["id", "session", "speaker", *groups]):
            if column in table:
                table[column] = f"{manifest.name}:" + table[column].astype("string")
        tables.append(table.assign(corpus=manifest.name))
    joined = pd.concat(tables, ignore_index=True)
    return replace(
        manifests[0],
        table=joined,
        root=root,
        name=name,
        groups=groups,
        allow_links=any(manifest.allow_links for manifest in manifests),
    )


def _with_folds(manifest: Manifest, folds: Ints) -> Manifest:
    empty = pd.array([pd.NA] * len(folds), dtype="string")
    return manifest.with_table(manifest.table.assign(split=empty, fold=pd.array(folds, dtype="Int64")))


def _allocate(manifest: Manifest, by: Sequence[str], label: str | None, shares: Sequence[float], seed: int) -> Ints:
    """The part of each row.

    Blocks of rows that must stay together are dealt out, the larger ones first, each to the part whose counts it brings
    nearest to its share (as scikit-learn's StratifiedGroupKFold does for equal shares).
    """
    _check_columns(manifest, [*by, *([] if label is None else [label])])
    if seed < 0:
        raise ConfigError(f"the seed is {seed}; use 0 or more")
    by_id = np.argsort(manifest.table["id"].to_numpy(dtype=object), kind="stable")
    table = manifest.table.iloc[by_id].reset_index(drop=True)  # the order of the rows changes nothing
    blocks = shared_blocks(table, by)
    n_blocks = int(blocks.max()) + 1
    if n_blocks < len(shares):
        what = " and ".join(by) or "row"
        raise ManifestError(
            f"{manifest.name}: {n_blocks} blocks of rows that share a {what} cannot fill {len(shares)} parts; ask for "
            "fewer parts, or keep fewer columns together"
        )
    classes = np.zeros(len(table), dtype=np.int64)
    if label is not None:
        classes = pd.factorize(_classes(table[label]), use_na_sentinel=False)[0].astype(np.int64)
    counts = np.zeros((n_blocks, int(classes.max()) + 2))
    np.add.at(counts, (blocks, classes), 1)
    counts[:, -1] = counts[:, :-1].sum(axis=1)  # the size of a part counts as much as each class
    totals = counts.sum(axis=0)
    wanted = np.outer(shares, totals)
    # Large blocks first, yet not in one order only: else blocks of different sizes would make the seed mean nothing.
    order = np.argsort(-counts[:, -1] * np.random.default_rng(seed).uniform(0.5, 1.5, n_blocks), kind="stable")
    held = np.zeros_like(wanted)
    parts = np.zeros(n_blocks, dtype=np.int64)
    empty = set(range(len(shares)))
    for place, block in enumerate(order):
        cost = (((held + counts[block] - wanted) ** 2 - (held - wanted) ** 2) / totals**2).sum(axis=1)
        if n_blocks - place <= len(empty):  # the last blocks must not leave a part without any
            cost[[part for part in range(len(shares)) if part not in empty]] = np.inf
        parts[block] = part = int(np.argmin(cost))
        held[part] += counts[block]
        empty.discard(part)
    of_rows = np.empty(len(table), dtype=np.int64)
    of_rows[by_id] = parts[blocks]
    return of_rows


def _classes(values: pd.Series) -> pd.Series:
    """What counts as one value of a label: of a score that hardly ever repeats, each fifth of the rows."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and values.nunique() > _MOST_VALUES:
        values = pd.qcut(values.astype("float64"), 5, labels=False, duplicates="drop")
    return values.astype("string")


def shared_blocks(table: pd.DataFrame, by: Sequence[str]) -> Ints:
    """Number of the block of each row: rows that share any unit, directly or through others, have the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(len(table))
    edges, n = [], len(table)
    for column in by:
        codes, found = pd.factorize(table[column])
        known = codes >= 0
        edges.append((rows[known], codes[known] + n))
        n += len(found)
    if not edges:
        return rows.astype(np.int64)
    ends = [np.concatenate(side) for side in zip(*edges, strict=True)]
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), (ends[0], ends[1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1][: len(table)]
    return pd.factorize(labels)[0].astype(np.int64)


def _check_columns(manifest: Manifest, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in manifest.table:
            raise ConfigError(f"{manifest.name} has no column '{column}'; it has {columns_told(manifest.table)}")
