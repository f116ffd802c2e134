"""One label a turn from several raters' judgements, and how sure they were."""

from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from subtext.annotation.codebook import Codebook, Label
from subtext.annotation.ratings import rated

Aggregation = Literal["majority", "dawid_skene", "soft"]
AGGREGATIONS: Final = ("majority", "dawid_skene", "soft")


@dataclass(frozen=True)
class Labels:
    """Aggregated labels.

    Attributes:
        table: index (session, turn), where turn is "" for what is judged per session; a column for each of the
            codebook's columns that anybody rated, and with "soft" a column `COLUMN_share_VALUE` for each value of it.
        counts: one row a label: `label`, `raters`, `units`, `of several raters`, `tied`.
    """

    table: pd.DataFrame
    counts: pd.DataFrame


def aggregate(ratings: pd.DataFrame, codebook: Codebook, how: Aggregation) -> Labels:
    """Bring judgements together.

    "majority": the most frequent value, missing where two are equally frequent. "soft": the same, and each value's
    share of the raters beside it. "dawid_skene": the most probable value when raters differ in how often they err
    (Dawid & Skene 1979, Applied Statistics 28(1), 20-28; crowd-kit's implementation); it needs many units a rater to
    tell that. Unratable and empty answers count as no answer.

    Args:
        ratings: as `subtext.annotation.ratings.Ratings.table` has them.
        codebook: the scheme.
        how: which of these.
    """
    columns, counts = {}, []
    for label in codebook.labels.values():
        rows = rated(ratings, label)
        if rows.empty:
            continue
        units = rows.assign(turn=rows["turn"].fillna(""))
        votes = units.groupby(["session", "turn", "value"]).size().unstack(fill_value=0)
        top = votes.max(axis="columns")
        tied = votes.eq(top, axis=0).sum(axis="columns") > 1
        chosen = votes.idxmax(axis="columns").mask(tied)
        if how == "dawid_skene":
            chosen = _dawid_skene(units)
        columns[label.column] = chosen
        if how == "soft":
            shares = votes.div(votes.sum(axis="columns"), axis=0)
            for value in _values(label, votes):
                column = f"{label.column}_share_{value}"
                columns[column] = shares[value] if value in shares else pd.Series(0.0, index=shares.index)
        several = int((votes.sum(axis="columns") > 1).sum())
        counts.append((label.name, units["rater"].nunique(), len(votes), several, int(tied.sum())))
    names = ["label", "raters", "units", "of several raters", "tied"]
    index = pd.MultiIndex.from_tuples([], names=["session", "turn"])
    table = pd.DataFrame(columns) if columns else pd.DataFrame(index=index)
    return Labels(table, pd.DataFrame(counts, columns=names))


def _values(label: Label, votes: pd.DataFrame) -> list[str]:
    return list(label.values) or [str(value) for value in votes.columns]


def _dawid_skene(units: pd.DataFrame) -> pd.Series:
    from crowdkit.aggregation import DawidSkene

    tasks = pd.MultiIndex.from_frame(units[["session", "turn"]])
    numbers, known = pd.factorize(tasks)
    answers = pd.DataFrame({"task": numbers, "worker": units["rater"].array, "label": units["value"].array})
    found = DawidSkene(n_iter=100).fit_predict(answers)
    index = pd.MultiIndex.from_tuples([known[task] for task in found.index], names=["session", "turn"])
    return pd.Series(found.to_numpy(), index=index)
