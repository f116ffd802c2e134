"""Tables of replies: from a corpus's dialogues, and from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError, ManifestError
from subtext.manifest import Manifest
from subtext.manifest.read import read_table
from subtext.replies.texts import words_of

COLUMNS: Final = ("id", "session", "client", "reply")
"""What a table of replies has at least: the client's turn's id, the dialogue, what was said, what is replied."""
HUMAN: Final = "counsellor"
"""The name of the people of a corpus among systems."""


def counsellor_turns(manifest: Manifest) -> pd.DataFrame:
    """Every turn of a counsellor, with what the client said before and after.

    Returns:
        The manifest's rows of counsellors with words, and `reply`, `client` (the client's nearest turn before, null),
        `previous` (the utterance before, whoever said it), `next` (the client's nearest turn after, null) and
        `next_talk` (its code, where the corpus has one).

    Raises:
        ManifestError: no row has the role counsellor.
    """
    table = manifest.table
    said = table[(table["role"] == "counsellor") & table["transcript"].notna()]
    if not len(said):
        raise ManifestError(f"{manifest.name}: no row with words has the role 'counsellor'; fill the column 'role'")
    client = table["transcript"].where(table["role"] == "client")
    before = client.groupby(table["session"]).ffill()
    after = client.groupby(table["session"]).bfill()
    previous = table["transcript"].groupby(table["session"]).shift(1)
    at = said.index
    out = said.assign(reply=said["transcript"], client=before[at], previous=previous[at], next=after[at])
    if "client_talk_type" in table:
        talk = table["client_talk_type"].where(table["role"] == "client").groupby(table["session"]).bfill()
        out["next_talk"] = talk[at]
    return _objects(out).reset_index(drop=True)


def client_turns(manifest: Manifest, turns_before: int = 0) -> pd.DataFrame:
    """Every turn of a client with words: what is replied to.

    Args:
        manifest: the corpus.
        turns_before: how many turns before it become `before`.

    Returns:
        The manifest's rows of clients (all rows, where nobody has a role), with `client`, `before` (a list of role and
        words, the earliest first) and, where a counsellor's turn follows, `reply`; and then `next`, the client's turn
        after that.
    """
    table = manifest.table
    known = table["role"].notna().any()
    rows = []
    for _, dialogue in table.groupby(table["session"].fillna(table["id"]), sort=False):
        roles = [("client" if not known or pd.isna(role) else str(role)) for role in dialogue["role"]]
        said = [None if pd.isna(text) else str(text) for text in dialogue["transcript"]]
        for place, (role, words) in enumerate(zip(roles, said, strict=True)):
            if role != "client" or words is None:
                continue
            follows = known and place + 1 < len(said) and roles[place + 1] == "counsellor"
            onward = place + 2 < len(said) and follows and roles[place + 2] == "client"
            first = max(0, place - turns_before)
            rows.append(
                {
                    "row": dialogue.index[place],
                    "client": words,
                    "before": [(r, w) for r, w in zip(roles[first:place], said[first:place], strict=True) if w],
                    "reply": said[place + 1] if follows else None,
                    "next": said[place + 2] if onward else None,
                }
            )
    if not rows:
        raise ManifestError(f"{manifest.name}: no row of a client has words; fill the columns 'role' and 'transcript'")
    found = pd.DataFrame(rows).set_index("row")
    kept = table.loc[found.index].drop(columns=[column for column in found if column in table])
    return _objects(kept.join(found)).reset_index(drop=True)


def read_replies(paths: Sequence[Path]) -> pd.DataFrame:
    """Replies from CSV, TSV, Parquet or JSON Lines.

    Columns `id`, `session`, `client`, `reply` (null: empty), and optionally `system` (default: the file's name), `seed`
    (default 0), `next`. Others are carried through.

    Raises:
        ManifestError: a column is missing, a reply is no text, an id is missing, or one has two replies of one system.
    """
    tables = []
    for path in paths:
        table = read_table(path)
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise ManifestError(f"{path}: no column '{missing[0]}'; a table of replies has {', '.join(COLUMNS)}")
        table = table.assign(
            system=table["system"].fillna(path.stem) if "system" in table else path.stem,
            seed=table["seed"].fillna(0).astype(str) if "seed" in table else "0",
        )
        for column in ("id", "session", "client", "reply", "system"):
            cells = table[column].astype(object).where(table[column].notna(), None)
            bad = [row for row, cell in enumerate(cells, 1) if cell is not None and not isinstance(cell, str)]
            if column in ("id", "session"):
                table[column] = [None if cell is None else str(cell) for cell in cells]
            elif bad:
                raise ManifestError(f"{path}: row {bad[0]}, column '{column}': no text; write it in quotes")
            empty = [row for row, cell in enumerate(cells, 1) if cell is None and column in ("id", "session")]
            if empty:
                raise ManifestError(f"{path}: row {empty[0]} has no {column}; every reply needs one")
        twice = table.duplicated(["id", "system", "seed"])
        if twice.any():
            row = int(twice.to_numpy().argmax())
            raise ManifestError(
                f"{path}: row {row + 1}: its system has replied to this turn already, with the same seed; keep one "
                "reply, or number the trainings in a column 'seed'"
            )
        tables.append(table)
    out = pd.concat(tables, ignore_index=True)
    twice = out.duplicated(["id", "system", "seed"])
    if twice.any():
        raise ManifestError("two files have replies of one system with the same seed and ids; give each its own system")
    return _objects(out)


def _objects(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns as Python's str or None, whatever they were stored as."""
    out = table.copy()
    for column in ("id", "session", "client", "reply", "previous", "next", "next_talk", "system"):
        if column in out:
            cells = out[column].astype(object)
            out[column] = cells.where(cells.notna(), None)
    return out


def of_splits(manifest: Manifest, names: str | None) -> Manifest:
    """The rows of some splits.

    Args:
        manifest: the corpus.
        names: with commas between; None takes all rows.

    Raises:
        ConfigError: a split has no row.
    """
    if names is None:
        return manifest
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if not (manifest.table["split"] == name).any():
            known = (
                ", ".join(sorted(manifest.table["split"].dropna().unique())) or "none; make them by subtext-data split"
            )
            raise ConfigError(f"{manifest.name} has no split '{name}'; it has {known}")
    return manifest.with_table(manifest.table[manifest.table["split"].isin(wanted)].reset_index(drop=True))


def drawn(turns: pd.DataFrame, most: int | None, shortest: int = 1) -> pd.DataFrame:
    """Turns of a client with so many words, at most so many of them, the same in every run, in their order.

    Raises:
        ManifestError: there is none.
    """
    long_enough = turns[[len(words_of(words)) >= shortest for words in turns["client"]]]
    if not len(long_enough):
        raise ManifestError(f"no turn of a client has {shortest} words; lower --shortest")
    rows = np.sort(np.random.default_rng(0).permutation(len(long_enough))[:most])
    return long_enough.iloc[rows].reset_index(drop=True)
