"""Your own client-counsellor sessions in the layout of `ether_layout.md` beside this module.

One folder a session: recordings, one file of turns, a folder `ratings` with rater files, and where the folder cannot
say it by itself a `session.yaml` (see `subtext.sessions.session`):

    ether/
      S01/
        client.mp4  counsellor.mp4      or one recording of both
        turns.csv                       or .tsv .json .jsonl .srt .vtt .eaf .rttm (+ words.ctm ...)
        session.yaml                    optional
        ratings/r1.csv  ratings/r2.eaf  one file a rater, or several raters in one
      ratings/all.csv                   optional: ratings of all sessions, with a column `session`

A row of the manifest is a client's turn; the counsellor's last turn before it is its `context`.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from subtext.core.schema import Natural, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.ether_ratings import RATINGS, labels_of, read_session_ratings
from subtext.errors import (
    ConfigError,
    DatasetNotFound,
    ManifestError,
    MediaError,
    SessionError,
    SubtextError,
    TranscriptError,
    unforeseen_as,
)
from subtext.labels import IncongruenceRule
from subtext.manifest import Manifest, build_manifest, check_splits
from subtext.manifest.checks import REJECT_COLUMNS
from subtext.manifest.description import CardSection, Description
from subtext.sessions.session import ROLES, Problem, Session, SessionTurn, longest_free, read_session
from subtext.sessions.settings import checked_faces

Overlaps = Literal["keep", "drop", "trim"]

log = logging.getLogger(__name__)


class Ether(Corpus):
    """Client-counsellor sessions with raters' labels, in our E-THER-style layout.

    Args:
        data: holds a folder a session.
        codebook: the annotation scheme; by default the packaged one.
        aggregation: "majority" (ties are missing; the median on ordinal scales), "soft" (the same, and each
            value's share of raters) or "dawid_skene"; see `subtext.annotation.aggregation`.
        who: role whose turns become rows, "all" for everybody's (for behavioural measures).
        min_words: turns with fewer words are left out and counted; 0 keeps turns without words.
        overlaps: what becomes of turns in which the other person speaks too: "keep"; "drop" leaves them out; "trim"
            keeps the longest part in which nobody else speaks. Words are not cut. How much overlapped is a column in
            any case.
        faces: role -> "left" or "right", half of the picture, where both are in view; `session.yaml` goes before it.
        splits: a table (.csv ...) with columns session and split; goes before `split` in `session.yaml`.
        groups: columns of reused units, by which intervals resample.
        disjoint: columns whose values must not stand in two splits.
        count_unvoiced_warmth: count a smile under neutral words as incongruent, where raters did not say.
        on_error: "stop" at the first turn, rating or session that cannot be used, or "skip" and list it in
            `Manifest.rejects`.

    Raises:
        ConfigError: a setting is none of these.
    """

    description = Description(
        title="Your own client-counsellor sessions in an E-THER-style layout",
        nature="your own",
        licence="yours: say it on the card before you share anything, and what the people in it agreed to",
        citation=(
            "yours; the annotation follows E-THER (Tahir, Johnson, Abu-Khalaf & Shah 2025, "
            "arXiv:2509.02100) in style only"
        ),
        source="your own recordings and rater files",
        labels=(
            "verbal_emotion, visual_emotion, vocal_emotion, incongruent, incongruence_type and engagement as the "
            "codebook maps them, from rater files; polarities from emotions; incongruent and its type from polarities "
            "where raters gave none (column incongruent_source says which)"
        ),
        layout="our own, src/subtext/corpora/ether_layout.md",
        cautions=(
            "Without pseudonyms in session.yaml (speakers) each session counts as other people, so a person who comes "
            "twice may stand on both sides of a split.",
            "Words of overlapped turns are not cut, also where their times are trimmed.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        codebook: str | Path | None = None,
        aggregation: Literal["majority", "dawid_skene", "soft"] = "majority",
        who: str = "client",
        min_words: Natural = 1,
        overlaps: Overlaps = "keep",
        faces: Mapping[str, str | None] | None = None,
        splits: str | Path | None = None,
        groups: Sequence[str] = ("session", "speaker"),
        disjoint: Sequence[str] = ("session", "speaker"),
        count_unvoiced_warmth: bool = False,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> None:
        self.data, self.codebook, self.aggregation = Path(data), codebook, aggregation
        self.who, self.min_words, self.overlaps = who, min_words, overlaps
        self.faces = checked_faces(faces or {}, "corpus.faces")
        self.splits = None if splits is None else Path(splits)
        self.groups, self.disjoint = tuple(groups), tuple(disjoint)
        self.rule = IncongruenceRule(count_unvoiced_warmth)
        self.skip = on_error == "skip"
        self._rejects: list[tuple[object, ...]] = []
        self._left_out: Counter[str] = Counter()
        self._sessions: list[dict[str, object]] = []
        self._counts = pd.DataFrame()

    def build(self) -> Manifest:
        """Read every session and its ratings.

        Raises:
            DatasetNotFound: there is no session.
            SessionError: a session or a turn of it cannot be used.
            TranscriptError: a file of turns cannot be read.
            AnnotationError: a rater file cannot be used.
            ManifestError: nothing is left, or a split shares people.
        """
        self._rejects, self._left_out, self._sessions = [], Counter(), []
        sessions = self._read_sessions()
        rows = [row for session in sessions for row in self._rows(session)]
        if not rows:
            raise ManifestError(
                f"ether: no turn of {self._whom()} is left in {self.data} ({self._reasons()}); see corpus.who, "
                "corpus.min_words, corpus.overlaps"
            )
        table = self._with_labels(pd.DataFrame(rows), sessions)
        table["split"] = self._split_of(sessions, table["session"])
        for column, empty in (("audio_offset", 0.0), ("face_side", None), ("events", None)):
            if table[column].isna().all() or (empty is not None and (table[column].fillna(empty) == empty).all()):
                table = table.drop(columns=column)
        from_raters = table["incongruent"].notna() if "incongruent" in table else pd.Series(False, index=table.index)
        manifest = build_manifest(
            table,
            root=self.data,
            name="ether",
            groups=self.groups,
            rule=self.rule,
            on_error="skip" if self.skip else "stop",
            rejects=pd.DataFrame(self._rejects, columns=list(REJECT_COLUMNS)),
        )
        made = manifest.table
        rated = set(table.loc[from_raters, "id"])
        source = made["id"].isin(rated).map({True: "raters", False: "polarities"})
        made["incongruent_source"] = source.where(made["incongruent"].notna()).astype("string")
        check_splits(manifest, self.disjoint)
        if self._left_out:
            log.info("ether: turns of %s left out: %s", self._whom(), self._reasons())
        return manifest

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """How turns and labels came about."""
        from subtext.annotation.codebook_file import read_codebook

        if not self._sessions:
            return ()
        how = f"Aggregation of raters: `{self.aggregation}`. Turns of {self._whom()}; overlaps: `{self.overlaps}`."
        sources = manifest.table["incongruent_source"].value_counts()
        said = ", ".join(f"{count:,} from {source}" for source, count in sources.items()) or "none"
        text = f"{how} Left out: {self._reasons()}. Label incongruent: {said}."
        codebook = read_codebook(self.codebook)
        scheme = pd.DataFrame(
            [(e.name, e.scale, e.unit, ", ".join(e.answers), e.definition) for e in codebook.labels.values()],
            columns=["label", "scale", "judged per", "answers", "definition"],
        )
        return (
            CardSection("Sessions", text, pd.DataFrame(self._sessions)),
            CardSection("Raters", "How labels were made of judgements; a tie gives no label.", self._counts),
            CardSection("Codebook", f"{codebook.title} (`{codebook.name}`, version {codebook.version}).", scheme),
        )

    def _whom(self) -> str:
        return "everybody" if self.who == "all" else f"the {self.who}"

    def _reasons(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in self._left_out.items()) or "none"

    def _read_sessions(self) -> list[Session]:
        folders = []
        if self.data.is_dir():
            folders = sorted(
                path for path in self.data.iterdir() if path.is_dir() and path.name != RATINGS and path.name[0] != "."
            )
        if not folders:
            raise DatasetNotFound(
                f"no session under {self.data}; expected a folder each, such as S01 with turns.csv, client.mp4 and "
                "ratings/r1.csv. Set paths.data to the folder above ether, or corpus.data to the folder of sessions"
            )
        sessions: list[Session] = []
        for folder in folders:
            try:
                with unforeseen_as(SessionError, folder):
                    session = read_session(folder)
                if any(session.name == other.name for other in sessions):
                    raise SessionError(f"{folder}: another folder's session has its name; rename one of them")
            except (SessionError, TranscriptError) as error:
                self._refuse_session(folder, error)
            else:
                self._refuse(session.problems)
                sessions.append(session)
        nameless = sum(not turn.speaker for s in sessions for turn in s.turns if self._wanted(turn))
        if nameless:
            log.warning(
                "ether: %d turns name no person: each session counts as other people; give pseudonyms in session.yaml "
                "(speakers)",
                nameless,
            )
        return sessions

    def _wanted(self, turn: SessionTurn) -> bool:
        return self.who in ("all", turn.role)

    def _rows(self, session: Session) -> list[dict[str, object]]:
        known = {*ROLES, *session.recordings, *(turn.role for turn in session.turns), "all"}
        if self.who not in known:
            raise ConfigError(f"corpus.who is '{self.who}', which no session has; use client, counsellor or all")
        if not session.turns:
            return []
        durations = self._durations(session)
        rows: list[dict[str, object]] = []
        problems: list[Problem] = []
        spoken: dict[str, SessionTurn] = {}  # the last turn of each role so far
        for turn in session.turns:
            before = [other for role, other in spoken.items() if role != turn.role]
            context = max(before, key=lambda other: other.start, default=None)
            if turn.transcript:
                spoken[turn.role] = turn
            if not self._wanted(turn):
                continue
            if len((turn.transcript or "").split()) < self.min_words:
                self._left_out["with too few words" if turn.transcript else "without words"] += 1
                continue
            times: tuple[float, float] | None = (turn.start, turn.end)
            if turn.overlap and self.overlaps != "keep":
                times = longest_free((turn.start, turn.end), turn.overlap) if self.overlaps == "trim" else None
            if times is None:
                self._left_out["overlapped"] += 1
                continue
            row = self._row(session, turn, context, times, durations)
            if isinstance(row, Problem):
                problems.append(row)
            else:
                rows.append(row)
        self._refuse(problems)
        mine = [turn for turn in session.turns if self._wanted(turn)]
        shared = any(session.is_shared(turn.role) for turn in mine)
        if shared and not {**self.faces, **session.faces}:
            log.warning(
                "%s: one picture may show both people, and no `faces` says who sits where: the face seen "
                "longest is taken",
                session.folder,
            )
        self._sessions.append(
            {
                "session": session.name,
                "turns": len(session.turns),
                "rows": len(rows),
                "unusable": len(session.problems) + len(problems),
                "without words": sum(not turn.transcript for turn in mine),
                "overlapped": sum(bool(turn.overlap) for turn in mine),
                "overlapped (s)": round(sum(turn.overlap_s for turn in mine), 2),
            }
        )
        return rows

    def _row(
        self,
        session: Session,
        turn: SessionTurn,
        context: SessionTurn | None,
        times: tuple[float, float],
        durations: Mapping[str, float | None],
    ) -> dict[str, object] | Problem:
        from subtext.media.segment import Segment, resolve

        files = session.files(turn.role)
        for file in (files.video, files.audio):
            if file is None:
                continue
            offset = session.offsets.get(file, 0.0)
            (span,) = resolve([Segment(times[0] + offset, times[1] + offset)], durations[file], session.folder / file)
            if isinstance(span, MediaError):
                reason, _, remedy = str(span).partition(": ")[2].rpartition("; ")
                by = f" (with the offset {offset:g} s of {file})" if offset else f" (in {file})"
                return Problem(
                    session.name,
                    session.turns_file,
                    turn.row,
                    turn.id,
                    "start, end",
                    f"{turn.start:g}, {turn.end:g}",
                    reason + by,
                    remedy,
                )
        clock = session.offsets.get(files.video or files.audio or "", 0.0)
        heard = session.offsets.get(files.audio or "", 0.0) - clock if files.audio and files.video else 0.0
        below = session.folder.relative_to(self.data).as_posix()
        length = turn.end - turn.start
        return {
            "id": f"{session.name}-{turn.id}",
            "session": session.name,
            "speaker": turn.speaker or f"{session.name}-{turn.role}",
            "role": turn.role,
            "start": round(times[0] + clock, 6),
            "end": round(times[1] + clock, 6),
            "video": None if files.video is None else f"{below}/{files.video}",
            "audio": None if files.audio is None else f"{below}/{files.audio}",
            "audio_offset": round(heard, 6),
            "face_side": {**self.faces, **session.faces}.get(turn.role) if session.is_shared(turn.role) else None,
            "transcript": turn.transcript,
            "context": None if context is None else context.transcript,
            "turn": turn.id,
            "turn_start": turn.start,
            "turn_end": turn.end,
            "overlap_s": round(turn.overlap_s, 6),
            "overlap_share": round(turn.overlap_s / length, 6),
            "overlapped_by": ", ".join(turn.overlapped_by) or None,
            "events": " ".join(turn.events) or None,
        }

    def _durations(self, session: Session) -> dict[str, float | None]:
        """How long each recording is, from its header."""
        from subtext.media.container import Recording

        durations = {}
        roles = {turn.role for turn in session.turns if self._wanted(turn)}
        for file in {f for role in roles for f in (session.files(role).video, session.files(role).audio) if f}:
            try:
                path = session.folder / file
                with unforeseen_as(MediaError, path), Recording(path) as recording:
                    durations[file] = recording.duration
            except MediaError as error:
                raise SessionError(str(error)) from error
        return durations

    def _with_labels(self, table: pd.DataFrame, sessions: Sequence[Session]) -> pd.DataFrame:
        from subtext.annotation.codebook_file import read_codebook

        codebook = read_codebook(self.codebook)
        ratings = read_session_ratings(self.data, sessions, codebook, skip=self.skip)
        self._rejects += ratings.rejects
        table["aggregation"] = self.aggregation
        if ratings.table.empty:
            log.warning("ether: no ratings found under %s; rows have no labels", self.data)
            return table
        table, self._counts = labels_of(table, ratings.table, codebook, self.aggregation)
        return table

    def _split_of(self, sessions: Sequence[Session], names: pd.Series) -> pd.Series:
        split = {session.name: session.split for session in sessions}
        if self.splits is not None:
            from subtext.manifest.read import read_table

            table = read_table(self.splits)
            missing = [column for column in ("session", "split") if column not in table]
            if missing:
                raise ManifestError(
                    f"{self.splits}: no column '{missing[0]}' among its {len(table.columns)}; name session and split"
                )
            given = table.dropna(subset=["session"]).drop_duplicates(["session", "split"])
            for column, bad in (
                ("session", given.index[given["session"].duplicated()]),
                ("split", given.index[~given["split"].isin(["train", "val", "test"])]),
            ):
                if len(bad):
                    why = (
                        "the session has another split already; keep one"
                        if column == "session"
                        else "no split; use train, val or test"
                    )
                    raise ManifestError(f"{self.splits}: row {bad[0] + 1}, column '{column}': {why}")
            split |= dict(zip(given["session"], given["split"], strict=True))
        return names.map(split)

    def _refuse(self, problems: Sequence[Problem]) -> None:
        if problems and not self.skip:
            more = f" ({len(problems)} such problems in this session)" if len(problems) > 1 else ""
            raise SessionError(f"{problems[0]}{more}, or leave such turns out with corpus.on_error=skip")
        for p in problems:
            self._rejects.append((p.row, f"{p.session}-{p.turn}", p.column, p.value, p.reason, p.remedy))

    def _refuse_session(self, folder: Path, error: SubtextError) -> None:
        if not self.skip:
            raise error
        reason, _, remedy = str(error).rpartition("; ")
        self._rejects.append((0, folder.relative_to(self.data).as_posix(), "session", "", reason or str(error), remedy))
        log.warning("%s: left out, see the list of rejects", folder)
