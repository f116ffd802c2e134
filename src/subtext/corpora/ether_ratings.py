"""Rater files of sessions in our layout: matched with the turns that they are about, and labels made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd

from subtext.errors import AnnotationError, ManifestError, TranscriptError, unforeseen_as
from subtext.sessions.session import Session

if TYPE_CHECKING:
    from subtext.annotation.codebook import Codebook

RATINGS: Final = "ratings"
START_TOLERANCE: Final = 0.5
"""Seconds by which a rater's time of a turn may differ from the turn's."""

Reject = tuple[int, str, str, str, str, str]
"""Row, file, column, value, reason and remedy."""


@dataclass(frozen=True)
class SessionRatings:
    """What raters said of the sessions' turns.

    Attributes:
        table: as `subtext.annotation.ratings.Ratings.table`, turns called as the sessions call them.
        rejects: what could not be used, in the manifest's columns of rejects.
    """

    table: pd.DataFrame
    rejects: list[Reject]


def read_session_ratings(
    data: Path, sessions: Sequence[Session], codebook: "Codebook", *, skip: bool
) -> SessionRatings:
    """Read each session's folder `ratings`, and the one beside the sessions.

    Args:
        data: holds a folder a session.
        sessions: those that can be used.
        codebook: the annotation scheme.
        skip: leave out what cannot be used and list it, instead of stopping.

    Raises:
        AnnotationError: a rater file or a rating in it cannot be used.
        ManifestError: a table cannot be read.
        TranscriptError: an ELAN file or an export cannot be read.
    """
    from subtext.annotation.rater_files import RATING_SUFFIXES, read_rater_files
    from subtext.annotation.ratings import PLACE_COLUMNS, RATING_COLUMNS

    by_name = {session.name: session for session in sessions}
    on_error: Literal["skip", "raise"] = "skip" if skip else "raise"
    tables = []
    rejects: list[Reject] = []
    places: list[tuple[Path, str | None]] = [(session.folder / RATINGS, session.name) for session in sessions]
    for folder, name in [*places, (data / RATINGS, None)]:
        files = sorted(p for p in folder.glob("*") if p.suffix.lower() in RATING_SUFFIXES and p.is_file())
        if not files:
            continue
        try:
            with unforeseen_as(AnnotationError, folder):
                read = read_rater_files(files, codebook, session=name, on_error=on_error)
        except (AnnotationError, ManifestError, TranscriptError) as error:
            if not skip:
                raise
            rejects.append((0, folder.relative_to(data).as_posix(), "", "", *_halves(str(error))))
            continue
        tables.append(read.table)
        rejects += [
            (row, _below(file, data), column, value, *_halves(problem))
            for file, row, column, value, problem in read.rejects.itertuples(index=False)
        ]
    columns = [*RATING_COLUMNS, *PLACE_COLUMNS]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    bad = _match(found, by_name)
    if bad and not skip:
        row, (column, _, why) = next(iter(bad.items()))
        place = found.loc[row]
        rows = len(found.loc[list(bad)].drop_duplicates(["file", "row"]))
        more = f" ({rows} such rows)" if rows > 1 else ""
        raise AnnotationError(f"{place['file']}: row {place['row']}, column '{column}': {why}{more}")
    rejects += [
        (int(str(found.at[row, "row"])), _below(found.at[row, "file"], data), column, value, *_halves(why))
        for row, (column, value, why) in bad.items()
    ]
    return SessionRatings(found.drop(index=list(bad)).reset_index(drop=True), list(dict.fromkeys(rejects)))


def labels_of(
    table: pd.DataFrame, ratings: pd.DataFrame, codebook: "Codebook", aggregation: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of turns with the labels that its raters' judgements give.

    Args:
        table: columns `session` and `turn`.
        ratings: as `SessionRatings.table`.
        codebook: the annotation scheme.
        aggregation: "majority", "soft" or "dawid_skene".

    Returns:
        The table with a column a label, what belongs to it, and `raters`; and how often votes decided.
    """
    from subtext.annotation.aggregation import aggregate, recorded

    labels = aggregate(ratings, codebook, "dawid_skene" if aggregation == "dawid_skene" else "majority")
    counts = pd.DataFrame.from_dict(recorded(labels, codebook)["labels"], orient="index").reset_index(names="label")
    turns = pd.MultiIndex.from_arrays([table["session"], table["turn"]])
    by_turn = labels.dropna(subset=["turn"]).set_index(["session", "turn"])
    by_session = labels.drop_duplicates("session").set_index("session")
    found: dict[str, Any] = {}
    for label in codebook.labels.values():
        for column in (c for c in map(str, labels) if c == label.column or c.startswith(f"{label.column}_")):
            if "_share_" in column and aggregation != "soft":
                continue
            if label.unit == "session":
                found[column] = by_session[column].reindex(table["session"]).array
            elif column not in found:
                found[column] = by_turn[column].reindex(turns).array
    several = ratings[ratings["value"].notna() & ratings["turn"].notna()]
    raters = several.groupby(["session", "turn"])["rater"].nunique()
    found["raters"] = raters.reindex(turns).fillna(0).astype(int).array
    return table.assign(**found), counts


def _match(ratings: pd.DataFrame, sessions: Mapping[str, Session]) -> dict[int, tuple[str, str, str]]:
    """Call turns as the sessions do, in place. Returns what has none: its row -> column, value, reason with remedy."""
    bad: dict[int, tuple[str, str, str]] = {}
    names: dict[int, str | None] = {}
    # NaN is no key: it does not equal itself.
    cells = ratings[["session", "turn", "start"]].itertuples(index=False, name=None)
    keys = [tuple(None if pd.isna(cell) else cell for cell in row) for row in cells]
    matches: dict[tuple[object, ...], str | tuple[str] | None] = {}
    for row, key in enumerate(keys):
        session, turn, start = key
        if session not in sessions:
            value = "" if session is None else str(session)
            bad[row] = ("session", value, "is no session here; write it as its folder is called")
            continue
        if key not in matches:
            matches[key] = None if turn is None else _turn_of(sessions[str(session)], str(turn), start)
        match = matches[key]
        if isinstance(match, tuple):
            bad[row] = ("turn", str(turn), match[0])
        else:
            names[row] = match
    ratings["turn"] = pd.Series(names, index=ratings.index, dtype=object)
    usable = ratings.drop(index=list(bad))
    twice = usable[usable.duplicated(["session", "turn", "rater", "label"], keep=False)]
    for row, column, value in zip(twice.index, twice["column"], twice["value"], strict=True):
        why = "is one of several judgements by this rater of that turn; keep one"
        bad[row] = (column, "" if pd.isna(value) else value, why)
    return dict(sorted(bad.items()))


def _turn_of(session: Session, turn: str, start: object) -> str | tuple[str]:
    """The id of the turn that a rating is about, or why there is none."""
    time = None if start is None else float(str(start))
    by_id = {own.id: own for own in session.turns}
    if turn in by_id:
        if time is not None and abs(by_id[turn].start - time) > START_TOLERANCE:
            return (
                f"starts at {by_id[turn].start:g} s, but the rater's file has {time:g} s; "
                "rate the turns of this file, or number them alike (column turn)",
            )
        return turn
    if time is not None and turn == f"{time:.3f}":
        near = min(session.turns, key=lambda own: abs(own.start - time), default=None)
        if near is not None and abs(near.start - time) <= START_TOLERANCE:
            return near.id
        return (f"is the time of no turn (within {START_TOLERANCE:g} s); correct it",)
    if turn in {problem.turn for problem in session.problems}:
        return ("is a turn that cannot be used; correct it in the file of turns",)
    return (f"is no turn of {session.turns_file.name}; use its column turn, or count turns from 1 in order of time",)


def _below(file: object, data: Path) -> str:
    path = Path(str(file))
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else path.name


def _halves(problem: str) -> tuple[str, str]:
    reason, _, remedy = problem.rpartition("; ")
    return (reason, remedy) if reason else (problem, "")
