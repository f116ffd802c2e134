"""Several raters' judgements -> one label a turn, with how it came about and how the raters voted.

- **majority**: the value that more raters gave than any other; a tie is no label.
- **median** (ordinal and interval scales): the middle judgement; where the two middle values of an ordinal scale differ
  and their mean is no value of it, there is no label.
- **dawid_skene**: the most probable value under Dawid & Skene 1979 (Applied Statistics 28(1), 20-28), which estimates
  each rater's confusions along with the labels; crowd-kit's implementation. Its probabilities are the model's, and far
  too sure of themselves where few raters gave few judgements.

Each leaves the shares of the votes (soft labels) beside the label, and the method's name.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from subtext.annotation.codebook import Codebook, Label
from subtext.annotation.ratings import rated
from subtext.errors import AnnotationError

Method = Literal["majority", "median", "dawid_skene"]
METHODS: Final = ("majority", "median", "dawid_skene")

log = logging.getLogger(__name__)


def aggregate(
    table: pd.DataFrame, codebook: Codebook, method: Method = "majority", per_label: Mapping[str, Method] | None = None
) -> pd.DataFrame:
    """One row a turn, in the manifest's columns.

    Args:
        table: ratings as `read_rater_files` gives them.
        codebook: the scheme.
        method: for every label that it fits. Ordinal and interval labels take the median unless `per_label` says
            otherwise, for `majority` throws away that 3 lies between 2 and 4; `median` on a nominal label is an error.
        per_label: label -> method, where it differs.

    Returns:
        `session`, `turn`, `start`, `end`, and for each label that anyone rated, with C its column: C (the label;
        missing where the votes decide nothing), `C_method`, `C_raters` (how many gave a value), `C_agreement` (share
        of those who gave the label, missing without one), and `C_share_VALUE` for each value of a scale that lists its
        values. With Dawid-Skene also `C_probability` of the label. A label of the session stands in all its turns, or
        in a row without a turn where none of them was rated.

    Raises:
        AnnotationError: a method is unknown or does not fit a label's scale.
    """
    methods = _methods(codebook, method, per_label or {})
    keyed = table.assign(session=table["session"].fillna(""))
    turns = keyed[keyed["turn"].notna()]
    rows = turns.groupby(["session", "turn"], sort=False)[["start", "end"]].min().reset_index()
    # Sessions that were judged as a whole only.
    whole = keyed.loc[~keyed["session"].isin(rows["session"]), ["session"]].drop_duplicates()
    if len(whole):
        whole = whole.assign(turn=None, start=np.nan, end=np.nan)
        rows = pd.concat([rows, whole], ignore_index=True) if len(rows) else whole
    for label in codebook.labels.values():
        own = rated(keyed, label)
        if len(own):
            keys = ["session"] if label.unit == "session" else ["session", "turn"]
            rows = rows.merge(_columns(own, keys, label, methods[label.name]), on=keys, how="left")
            # Of a turn that nobody rated it is known too that the votes are none.
            rows[f"{label.column}_raters"] = rows[f"{label.column}_raters"].fillna(0).astype("Int64")
    rows["session"] = rows["session"].where(rows["session"] != "", None).astype("string")
    return rows.assign(turn=rows["turn"].astype("string"))


def recorded(table: pd.DataFrame, codebook: Codebook) -> dict[str, Any]:
    """What to keep beside an aggregated table: the codebook, and the method, ties and counts of each label."""
    labels = {}
    for label in codebook.labels.values():
        column = label.column
        if f"{column}_raters" not in table:
            continue
        some = table[f"{column}_raters"] > 0
        labels[label.name] = {
            "column": column,
            "unit": label.unit,
            "method": str(table[f"{column}_method"].dropna().iloc[0]),
            "rows_with_ratings": int(some.sum()),
            "rows_with_label": int(table[column].notna().sum()),
            "rows_undecided": int((some & table[column].isna()).sum()),
            "rows_with_one_rater": int((table[f"{column}_raters"] == 1).sum()),
        }
    return {"codebook": codebook.name, "codebook_version": codebook.version, "labels": labels}


def _methods(codebook: Codebook, method: str, per_label: Mapping[str, str]) -> dict[str, str]:
    named = {codebook.label(name).name: chosen for name, chosen in per_label.items()}
    methods = {}
    for label in codebook.labels.values():
        ordered = label.scale in ("ordinal", "interval")
        chosen = named.get(label.name) or ("median" if ordered and method == "majority" else method)
        if chosen not in METHODS:
            raise AnnotationError(f"unknown way of aggregating '{chosen}'; use one of {', '.join(METHODS)}")
        wrong = (chosen == "median" and not ordered) or (chosen != "median" and label.scale == "interval")
        if wrong and label.name in named:
            raise AnnotationError(
                f"'{chosen}' does not fit '{label.name}', whose scale is {label.scale}; choose another"
            )
        methods[label.name] = ("median" if label.scale == "interval" else "majority") if wrong else chosen
    return methods


def _columns(own: pd.DataFrame, keys: list[str], label: Label, method: str) -> pd.DataFrame:
    column = label.column
    groups = own.groupby(keys, sort=False)
    found = pd.DataFrame({f"{column}_raters": groups.size()})
    if method == "median":
        chosen = pd.Series([_median(list(values), label) for _, values in groups["value"]], found.index, dtype=object)
    elif method == "dawid_skene":
        chosen, found[f"{column}_probability"] = _dawid_skene(own, keys, label)
    else:
        chosen = pd.Series([_majority(list(values)) for _, values in groups["value"]], found.index, dtype=object)
    given = own.set_index(keys)["value"]
    same = given == chosen.reindex(given.index)
    share = same.groupby(level=keys, sort=False).mean()
    found[f"{column}_agreement"] = share.where(chosen.notna().reindex(share.index))
    for value in label.values:
        found[f"{column}_share_{value}"] = (given == value).groupby(level=keys, sort=False).mean()
    found.insert(0, column, _typed(chosen.reindex(found.index), label))
    found.insert(1, f"{column}_method", method)
    return found.reset_index()


def _typed(chosen: pd.Series, label: Label) -> pd.Series:
    if label.scale == "binary":
        return chosen.map({"0": False, "1": True}).astype("boolean")
    if label.is_numeric:
        return pd.to_numeric(chosen, errors="coerce").astype("Float64")
    return chosen.astype("string")


def _majority(values: list[str]) -> str | None:
    counts = pd.Series(values).value_counts()
    return str(counts.index[0]) if len(counts) == 1 or counts.iloc[0] > counts.iloc[1] else None


def _median(values: list[str], label: Label) -> str | None:
    numbers = np.sort([label.number(value) for value in values])
    middle = float((numbers[(len(numbers) - 1) // 2] + numbers[len(numbers) // 2]) / 2)
    if label.scale == "interval":
        return f"{middle:.12g}"
    return next((value for value in label.values if label.number(value) == middle), None)


def _dawid_skene(own: pd.DataFrame, keys: list[str], label: Label) -> tuple[pd.Series, pd.Series]:
    from crowdkit.aggregation import DawidSkene

    if own["rater"].nunique() < 3:
        log.warning(
            "%s: Dawid-Skene with %d raters can hardly tell whose errors are whose; prefer majority, or add raters",
            label.name,
            own["rater"].nunique(),
        )
    units = pd.MultiIndex.from_frame(own[keys]) if len(keys) > 1 else pd.Index(own[keys[0]])
    task, known = pd.factorize(units)
    votes = pd.DataFrame({"task": task, "worker": own["rater"].to_numpy(), "label": own["value"].to_numpy()})
    # A fixed order, for sums that come out the same in whatever order the files were read.
    votes = votes.sort_values(["task", "worker"], kind="stable").astype({"worker": object, "label": object})
    probabilities = DawidSkene(n_iter=200).fit_predict_proba(votes).sort_index()
    index = pd.Index(known, name=keys[0]) if len(keys) == 1 else pd.MultiIndex.from_tuples(list(known), names=keys)
    values = probabilities.to_numpy()
    best = values.max(axis=1)
    tied = np.isclose(values, best[:, None], rtol=0, atol=1e-9).sum(axis=1) > 1
    chosen = pd.Series(probabilities.columns.to_numpy()[values.argmax(axis=1)], index=index, dtype=object)
    return chosen.mask(tied, None), pd.Series(best, index=index)
