"""Rater files -> one long table of ratings, checked against the codebook.

Two forms are read, as CSV, TSV, Parquet or JSON Lines. **Long**: one row a judgement, columns `turn` (or `start`, for
raters who know only times), `rater`, `label`, `value`. **Wide**: one row a turn and rater, one column a label. In both
`session` says which recording; where a file has no such column the caller names it. A file without a `rater` column is
one rater's, called like the file.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.annotation.codebook import Codebook, Label
from subtext.core.headers import did_you_mean, misspelt
from subtext.errors import AnnotationError
from subtext.manifest.read import read_numbered_table
from subtext.sessions.transcripts import each_seconds, meant

RATING_COLUMNS: Final = ("session", "turn", "start", "end", "rater", "label", "value")
PLACE_COLUMNS: Final = ("file", "row", "column")
"""Where a judgement stands, for messages."""
REJECT_COLUMNS: Final = ("file", "row", "column", "value", "problem")
Problem = tuple[str, int, str, str, str]
"""What cannot be used: as `REJECT_COLUMNS`, the problem with its remedy."""
_ITEM_COLUMNS: Final = ("session", "turn", "start", "end", "rater")
_CARRIED_IN_SILENCE: Final = frozenset(
    {"id", "transcript", "text", "context", "speaker", "role", "comment", "comments", "note", "notes", "video", "audio"}
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ratings:
    """What raters said.

    Attributes:
        table: one row a judgement, columns `session`, `turn` (null for a label that is judged per session), `start`,
            `end` (s, null where the file has none), `rater`, `label`, `value`. A value is written as in the codebook;
            it is null where the rater left the cell empty. `file`, `row` (from 1, without the header) and `column` say
            where it stands.
        rejects: what `on_error="skip"` left out: `file`, `row` (from 1, without the header), `column`, `value`,
            `problem`.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame

    @property
    def raters(self) -> list[str]:
        """Everyone who rated anything, in alphabetical order."""
        return sorted(self.table["rater"].unique())


def check_ratings(
    long: pd.DataFrame,
    codebook: Codebook,
    *,
    problems: Sequence[Problem] = (),
    on_error: Literal["raise", "skip"] = "raise",
) -> Ratings:
    """Check judgements that a reader brought into long form, from a table or from an annotation tool's file.

    Args:
        long: columns `session`, `turn`, `start`, `end`, `rater`, `label`, `value` as text or null; `file`, `row` and
            `column` say where each stands.
        codebook: which labels and values there are.
        problems: what the reader could not use.
        on_error: `skip` leaves out what cannot be used and lists it in `rejects`.

    Raises:
        AnnotationError: the first thing that cannot be used, or nothing is left.
    """
    long = long.reset_index(drop=True)
    bad: dict[int, tuple[str, str, str]] = {}  # row of `long` -> column, value, problem

    def refuse(
        rows: Iterable[int], column: str | None, cell: str | None, problem: str | Mapping[Hashable, str]
    ) -> None:
        for row in rows:
            value: Any = long[cell].iat[row] if cell else None
            text = "" if pd.isna(value) else str(value)
            where = column or str(long["column"].iat[row])
            bad.setdefault(row, (where, text, problem if isinstance(problem, str) else problem[value]))

    names, unknown = _labels(long["label"], codebook)
    refuse(long.index[long["label"].isna()], "label", "label", f"empty; write one of {', '.join(codebook.labels)}")
    refuse(long.index[long["label"].isin(list(unknown))], "label", "label", unknown)
    long["label"] = long["label"].map(names)
    refuse(long.index[long["rater"].isna()], "rater", None, "empty; say who rated")
    units = long["label"].map(units_of(codebook))
    per_turn = units == "turn"
    long["turn"] = long["turn"].where(per_turn)
    refuse(
        long.index[per_turn & long["turn"].isna() & long["start"].isna()],
        "turn",
        None,
        "empty, and so is start; say which turn is rated",
    )
    refuse(
        long.index[(units == "session") & long["session"].isna()],
        "session",
        None,
        "empty; the label is judged per session, so say which one",
    )
    refuse(long.index[long["start"] < 0], "start", "start", "is before the recording begins; correct it")
    backwards = long.index[long["end"] < long["start"]]
    for row, start, end in zip(
        backwards, *(long.loc[backwards, c].astype(float) for c in ("start", "end")), strict=True
    ):
        refuse([row], "end", "end", f"{end:g} s is before the start, {start:g} s; exchange or correct them")
    # Raters who know only times: the turn is called by its beginning until a table of turns gives its name.
    timed = per_turn & long["turn"].isna() & long["start"].notna()
    long.loc[timed, "turn"] = long.loc[timed, "start"].map(lambda start: f"{start:.3f}")
    for label in codebook.labels.values():
        rows = long.index[(long["label"] == label.name) & long["value"].notna()]
        spelled, wrong = _values(long.loc[rows, "value"], label)
        refuse(rows[long.loc[rows, "value"].isin(list(wrong))], None, "value", wrong)
        known = rows[long.loc[rows, "value"].isin(list(spelled))]
        long.loc[known, "value"] = long.loc[known, "value"].map(spelled)
    _refuse_repeated(long, per_turn, bad, refuse)
    listed = [
        *problems,
        *((str(long["file"].iat[row]), int(str(long["row"].iat[row])), *bad[row]) for row in sorted(bad)),
    ]
    listed.sort(key=lambda place: place[:2])
    if listed and on_error == "raise":
        file, row, column, _, problem = listed[0]
        # A wide file's columns and a tool's tiers are called as their authors like: we name the label.
        ours = column if column in RATING_COLUMNS or not column else _label_at(long, file, row, column)
        more = f" ({len(listed)} such problems in all)" if len(listed) > 1 else ""
        where = f"row {row}, column '{ours}'" if ours else f"row {row}"
        raise AnnotationError(f"{file}: {where}: {problem}{more}")
    keep = long.drop(index=list(bad))
    # A label of the session stands in every turn's row of a wide file.
    session_rows = units.reindex(keep.index) == "session"
    keep = keep.assign(_empty=keep["value"].isna()).sort_values("_empty", kind="stable")
    keep = keep[~(session_rows.reindex(keep.index) & keep.duplicated(["session", "rater", "label"]))]
    table = keep.sort_index()[[*RATING_COLUMNS, *PLACE_COLUMNS]].reset_index(drop=True)
    if table.empty:
        raise AnnotationError(
            "no rating is left to use; "
            + (f"the first problem: {listed[0][4]}" if listed else "fill in the files, then export them again")
        )
    rejects = pd.DataFrame(listed, columns=list(REJECT_COLUMNS))
    if len(rejects):
        log.warning("%d ratings cannot be used and were left out", len(rejects))
    return Ratings(table, rejects)


def _label_at(long: pd.DataFrame, file: str, row: int, column: str) -> str:
    """The label that a column or a tier is about."""
    place = (long["file"].astype(str) == file) & (long["row"] == row) & (long["column"] == column)
    names = long.loc[place, "label"].dropna()
    return str(names.iloc[0]) if len(names) else "label"


def units_of(codebook: Codebook) -> dict[str, str]:
    """Label name -> `turn` or `session`."""
    return {name: label.unit for name, label in codebook.labels.items()}


def rated(table: pd.DataFrame, label: Label) -> pd.DataFrame:
    """The judgements of one label that have a value: neither empty nor one of the codebook's `unratable` answers."""
    rows = table[(table["label"] == label.name) & table["value"].notna()]
    return rows[~rows["value"].isin(list(label.unratable))]


def rating_matrix(table: pd.DataFrame, label: Label) -> tuple[npt.NDArray[np.float64], pd.DataFrame, list[str]]:
    """One label's values as a matrix.

    Returns:
        `[units, raters]` (nominal and binary: the value's place in the codebook; else its number; NaN where there is
        none), the units' `session` and `turn`, and the raters.
    """
    own = rated(table, label)
    places = {value: float(place) for place, value in enumerate(label.values)}
    numbers = own["value"].map(places if label.scale in ("nominal", "binary") else label.number)
    keyed = own.assign(session=own["session"].fillna(""), turn=own["turn"].fillna(""), number=numbers)
    wide = keyed.pivot(index=["session", "turn"], columns="rater", values="number").sort_index()
    units = wide.index.to_frame(index=False).astype(object)
    return wide.to_numpy(dtype=np.float64), units.where(units != "", None), [str(rater) for rater in wide.columns]


def coverage(table: pd.DataFrame, codebook: Codebook) -> pd.DataFrame:
    """How far each rater came: one row a rater and label that anyone rated.

    Returns:
        `rater`, `label`, `units` (what at least one rater gave an answer to, within the sessions that this rater worked
        on), `rated`, `unratable`, `skipped` (the rest).
    """
    keys = table.assign(session=table["session"].fillna(""), turn=table["turn"].fillna(""))
    rows = []
    for rater, own in keys.groupby("rater", sort=True):
        mine = keys[keys["session"].isin(own["session"].unique())]
        for label in codebook.labels.values():
            answered = mine[(mine["label"] == label.name) & mine["value"].notna()]
            units = len(answered.drop_duplicates(["session", "turn"]))
            if not units:
                continue
            of_rater = answered.loc[answered["rater"] == rater, "value"]
            unratable = int(of_rater.isin(list(label.unratable)).sum())
            rows.append((rater, label.name, units, len(of_rater) - unratable, unratable, units - len(of_rater)))
    return pd.DataFrame(rows, columns=["rater", "label", "units", "rated", "unratable", "skipped"])


def table_ratings(
    path: Path, codebook: Codebook, session: str | None, columns: Mapping[str, str], skip: bool
) -> tuple[pd.DataFrame, list[Problem]]:
    """The judgements in a table, for `check_ratings`, and what of it cannot be used.

    Args:
        path: a .csv, .tsv, .parquet or .jsonl file.
        codebook: which labels there are.
        session: the session of rows that name none.
        columns: our column name -> the file's, for those that differ.
        skip: leave out rows that cannot be told apart into cells.

    Raises:
        AnnotationError: the table is none of ratings.
        ManifestError: it cannot be read.
    """
    unread: list[Any] | None = [] if skip else None  # rows that cannot be told apart into cells
    table, rows = read_numbered_table(path, unread)
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    header = list(table.columns)
    for ours, theirs in columns.items():
        if theirs not in table:
            raise AnnotationError(
                f"{path}: no column '{theirs}' to take for '{ours}' among its {len(header)} columns; correct the name"
            )
        table = table.drop(columns=[ours] if ours in table and ours != theirs else []).rename(columns={theirs: ours})
    lower = {column: column.lower() for column in table.columns if column.lower() in (*_ITEM_COLUMNS, "label", "value")}
    repeated = [name for name, times in Counter(lower.values()).items() if times > 1]
    if repeated:
        raise AnnotationError(f"{path}: several columns are named '{repeated[0]}'; rename or remove all but one")
    table = table.rename(columns=lower)
    if near := misspelt(list(table.columns), (*_ITEM_COLUMNS, "label", "value"), codebook.labels):
        raise AnnotationError(f"{path}: {did_you_mean(near)}")
    if table.empty:
        raise AnnotationError(f"{path}: no rows; write one row a judgement, or one row a turn and rater")
    items = pd.DataFrame({c: _cells(table[c]) if c in table else None for c in _ITEM_COLUMNS}, index=table.index)
    if "turn" not in table and "start" not in table and codebook.of_unit("turn") and not _of_sessions(table, codebook):
        raise AnnotationError(
            f"{path}: no column 'turn' or 'start'; {meant(['turn', 'start'], header)}say which turn each row rates"
        )
    if "rater" not in table:
        items["rater"] = path.stem
    items["session"] = items["session"].fillna(session) if session is not None else items["session"]
    items["file"] = str(path)
    problems: list[Problem] = [(str(path), row.row, "", "", f"{row.reason}; {row.remedy}") for row in unread or ()]
    items["row"] = rows
    for column in ("start", "end"):
        written = items[column].astype("string")
        times, unreadable = each_seconds(items[column])
        items[column] = pd.Series(times, index=items.index, dtype="float64")
        problems += [
            (str(path), int(rows[place]), column, value, "no time; write seconds or hh:mm:ss.fff")
            for place, value in zip(unreadable, written.iloc[unreadable], strict=True)
        ]
    if "label" in table and "value" in table:
        long = items.assign(label=_cells(table["label"]), value=_cells(table["value"]), column="value")
    elif "label" in table or "value" in table:
        missing = "value" if "label" in table else "label"
        raise AnnotationError(
            f"{path}: no column '{missing}'; {meant([missing], header)}write label and value, or one column a label"
        )
    else:
        columns = _label_columns(table, path, codebook, header)
        parts = [
            items.assign(label=name, value=_cells(table[column]), column=column) for column, name in columns.items()
        ]
        long = pd.concat(parts).sort_values("row", kind="stable")
    return long[~long["row"].isin([row for _, row, *_ in problems])], problems


def _label_columns(table: pd.DataFrame, path: Path, codebook: Codebook, header: Sequence[str]) -> dict[str, str]:
    """Column of a wide file -> label; one that is nearly a label is taken for a slip, others are left aside."""
    found: dict[str, str] = {}
    aside = []
    for column in table.columns.drop([c for c in _ITEM_COLUMNS if c in table]):
        place = header.index(column) + 1
        try:
            name = codebook.label(column).name
        except AnnotationError as error:
            if difflib.get_close_matches(column.lower(), [known.lower() for known in codebook.labels], n=1, cutoff=0.8):
                raise AnnotationError(f"{path}, header cell {place}: {error}") from error
            if column.lower() not in _CARRIED_IN_SILENCE:
                aside.append(place)
            continue
        if name in found.values():
            raise AnnotationError(f"{path}: several columns hold the label '{name}'; rename or remove all but one")
        found[column] = name
    if not found:
        raise AnnotationError(
            f"{path}: none of its {len(header)} columns holds a label of the codebook; write label and value, or "
            f"columns out of {', '.join(codebook.labels)}"
        )
    if aside:
        log.info("%s: header cells that are no labels and were left aside: %s", path, ", ".join(map(str, aside)))
    return found


def _of_sessions(table: pd.DataFrame, codebook: Codebook) -> bool:
    """Whether a file without turns holds judgements of whole sessions only."""
    names = {label.name.lower() for label in codebook.of_unit("turn")}
    written = table["label"].dropna().astype(str) if "label" in table else table.columns
    return not any(str(name).strip().lower() in names for name in written)


def _cells(column: pd.Series) -> pd.Series:
    """Cells as text without outer white space; null where nothing is written."""

    def cell(value: Any) -> str | None:
        if value is None or value is pd.NA or (isinstance(value, float) and value != value):
            return None
        if isinstance(value, float) and value.is_integer():
            return str(int(value))  # a whole number that a reader took for a float, because other rows are empty
        return str(value).strip() or None

    return column.map(cell).astype(object).where(lambda cells: cells.notna(), None)


def _labels(column: pd.Series, codebook: Codebook) -> tuple[dict[Hashable, str], dict[Hashable, str]]:
    names: dict[Hashable, str] = {}
    unknown: dict[Hashable, str] = {}
    for written in column.dropna().unique():
        try:
            names[written] = codebook.label(str(written)).name
        except AnnotationError as error:
            unknown[written] = str(error)
    return names, unknown


def _values(column: pd.Series, label: Label) -> tuple[dict[Hashable, str], dict[Hashable, str]]:
    spelled: dict[Hashable, str] = {}
    wrong: dict[Hashable, str] = {}
    for written in column.unique():
        try:
            spelled[written] = label.canonical(written)
        except ValueError as error:
            wrong[written] = f"label '{label.name}': {error}"
    return spelled, wrong


def _refuse_repeated(
    long: pd.DataFrame,
    per_turn: pd.Series,
    bad: Mapping[int, tuple[str, str, str]],
    refuse: Callable[..., None],
) -> None:
    """One rater judges each label of each unit once; which of two judgements is meant nobody here can tell."""
    usable = long.drop(index=list(bad))
    keys = ["session", "turn", "rater", "label"]
    usable = usable.assign(session=usable["session"].fillna(""), turn=usable["turn"].fillna(""))
    # Whole sessions are judged once, though a wide file repeats the judgement in each turn's row.
    of_turns = usable[per_turn.reindex(usable.index)]
    twice = of_turns[of_turns.duplicated(keys, keep=False)]
    of_sessions = usable[~per_turn.reindex(usable.index) & usable["value"].notna()]
    differing = of_sessions.drop_duplicates([*keys, "value"])
    contrary = differing[differing.duplicated(keys, keep=False)].merge(of_sessions.reset_index(), on=keys)
    for rows, unit in ((list(twice.index), "turn"), (sorted(set(contrary["index"])), "session")):
        refuse(rows, None, "value", f"this rater judges the label of that {unit} more than once; keep one judgement")
