"""Measures of a table of replies: one figure a reply, and why a reply has none."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from subtext.errors import ManifestError
from subtext.manifest.read import read_table
from subtext.replies.embedding import Embedder, cosines
from subtext.replies.measures import MEASURES, NAN, PEERS, Codes, Exchange
from subtext.replies.texts import ENGLISH, LONGEST, language, words_of

SCORED: Final = "scored"
EMPTY: Final = "empty"
LONG: Final = "too long"
KEPT: Final = ("id", "session", "system", "seed", "mi_quality", "source")
"""Columns that go with the figures; others may hold words."""


def status_of(reply: object) -> str:
    """`scored`, or why a reply is not: `empty` (or null), `too long`, or `language: CODE`."""
    if not isinstance(reply, str) or not words_of(reply[: LONGEST + 1]):
        return EMPTY
    if len(reply) > LONGEST:
        return LONG
    code = language(reply)
    return SCORED if code == ENGLISH else f"language: {code}"


def status_lines(table: pd.DataFrame) -> list[str]:
    """A line for each kind of reply that is not scored, with the first of them."""
    lines = []
    for status, rows in table[table["status"] != SCORED].groupby("status", sort=True):
        lines.append(
            f"{len(rows)} of {len(table)} replies are not scored ({status}), the first of {rows['system'].iat[0]}: "
            f"'{rows['id'].iat[0]}'"
        )
    return lines


def measure_replies(
    table: pd.DataFrame,
    *,
    code: Callable[[Sequence[str], Sequence[str | None]], pd.DataFrame] | None = None,
    embed: Embedder | None = None,
    pool: Sequence[str] = ("system", "seed"),
    seed: int = 0,
) -> pd.DataFrame:
    """Every measure of every reply.

    Args:
        table: `id`, `session`, `client`, `reply`; optionally `next`, `next_talk`, and codes `behaviour`, `question`,
            `reflection` by people.
        code: codes replies, such as `BehaviourCoder.code`; default: the table's codes, else none.
        embed: for similarity to the client's words; without it there is none.
        pool: columns; replies that are alike in them are one set for self-BLEU and distinct-2.
        seed: draws the `PEERS` replies.

    Returns:
        The rows of the table in its order: `status` (see `status_of`) and a column a measure, NaN where it does not
        apply or the reply is not scored; the codes as `code_behaviour` and so on; of other columns those in `KEPT`. Of
        a client's turn the first `LONGEST` characters count.
    """
    status = [status_of(reply) for reply in table["reply"]]
    scored = [row for row, one in enumerate(status) if one == SCORED]
    replies = [str(table["reply"].iat[row]) for row in scored]
    clients = [_text(table["client"].iat[row])[:LONGEST] or None for row in scored]
    codes = _codes(table.iloc[scored], replies, clients, code)
    similar = cosines(embed(replies), embed(clients)) if embed is not None and scored else [NAN] * len(scored)
    peers = _peers(table.iloc[scored], replies, pool, seed)
    figures = {measure.name: np.full(len(table), np.nan) for measure in MEASURES}
    for place, row in enumerate(scored):
        exchange = Exchange(
            reply=replies[place],
            client=clients[place],
            next=_text(table["next"].iat[row])[:LONGEST] or None if "next" in table else None,
            codes=codes[place],
            next_talk=_text(table["next_talk"].iat[row]) or None if "next_talk" in table else None,
            peers=peers[place],
            similarity=float(similar[place]),
        )
        for measure in MEASURES:
            figures[measure.name][row] = measure.compute(exchange)
    for kind in ("behaviour", "question", "reflection"):
        column = pd.Series(None, index=range(len(table)), dtype=object)
        column.iloc[scored] = [getattr(one, kind) for one in codes]
        figures[f"code_{kind}"] = column.to_numpy()
    kept = table[[column for column in KEPT if column in table]]
    return kept.reset_index(drop=True).assign(status=status, **figures)


def _codes(
    table: pd.DataFrame,
    replies: Sequence[str],
    clients: Sequence[str | None],
    code: Callable[[Sequence[str], Sequence[str | None]], pd.DataFrame] | None,
) -> list[Codes]:
    given = table if code is None else code(replies, clients)
    if "behaviour" not in given:
        return [Codes()] * len(replies)
    kinds = [[_text(cell) or None for cell in given[kind]] for kind in ("behaviour", "question", "reflection")]
    return [Codes(*kind) for kind in zip(*kinds, strict=True)]


def _peers(table: pd.DataFrame, replies: Sequence[str], pool: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """`PEERS` other replies of the same set, drawn by chance; none where there are fewer."""
    rng = np.random.default_rng(seed)
    columns = [column for column in pool if column in table]
    sets = table.groupby(columns, sort=False).indices.values() if columns else [np.arange(len(table))]
    out: list[tuple[str, ...]] = [()] * len(table)
    for rows in sets:
        for row in rows if len(rows) > PEERS else ():
            drawn = rng.choice(rows[rows != row], PEERS, replace=False)
            out[row] = tuple(replies[other] for other in drawn)
    return out


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def read_measured(paths: Sequence[Path]) -> pd.DataFrame:
    """Tables that `measure` wrote, as one.

    Raises:
        ManifestError: a file is no such table, or two hold the same reply.
    """
    tables = []
    for path in paths:
        table = read_table(path)
        wanted = [
            "id",
            "session",
            "system",
            "seed",
            "status",
            "code_behaviour",
            *(measure.name for measure in MEASURES),
        ]
        missing = [column for column in wanted if column not in table]
        if missing:
            raise ManifestError(f"{path}: no column '{missing[0]}'; name a table that subtext-replies measure wrote")
        names = [measure.name for measure in MEASURES]
        figures = table[names].apply(pd.to_numeric, errors="coerce").astype(np.float64)
        table[names] = figures.where(np.isfinite(figures))
        tables.append(table)
    out = pd.concat(tables, ignore_index=True)
    twice = out.duplicated(["id", "system", "seed"])
    if twice.any():
        places = [(path, row) for path, table in zip(paths, tables, strict=True) for row in range(1, len(table) + 1)]
        path, row = places[int(twice.to_numpy().argmax())]
        raise ManifestError(f"{path}: row {row}: its system has another reply to this turn; name each table once")
    return out
