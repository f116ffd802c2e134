"""AnnoMI: counselling dialogues with expert codes of motivational interviewing (Wu et al. 2022, 2023)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from subtext.core.schema import Natural, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import check_unique, lines_before, numbers, official_table, recode
from subtext.errors import ManifestError
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description
from subtext.sessions.transcripts import each_seconds

FILE: Final = "AnnoMI-full.csv"
CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "main_therapist_behaviour": ("reflection", "question", "therapist_input", "other"),
    "client_talk_type": ("change", "neutral", "sustain"),
    "reflection_exists": ("true", "false"),
    "reflection_subtype": ("simple", "complex"),
    "question_exists": ("true", "false"),
    "question_subtype": ("open", "closed"),
    "therapist_input_exists": ("true", "false"),
    "therapist_input_subtype": ("information", "advice", "negotiation", "options"),
}
"""What annotators coded, and the codes; `n/a` where it does not apply."""

_UTTERANCE: Final = (
    "mi_quality",
    "transcript_id",
    "video_url",
    "topic",
    "utterance_id",
    "interlocutor",
    "timestamp",
    "utterance_text",
)
_KEY: Final = ["transcript_id", "utterance_id"]
_REMEDY: Final = f"Download {FILE} from github.com/uccollab/AnnoMI, or set paths.data"

_log = logging.getLogger(__name__)


class AnnoMI(Corpus):
    """Utterances of AnnoMI, each once; where several annotators coded it, the majority's code and the counts.

    Words only: the films are on video platforms and not part of the corpus. A tie is missing; so is the subtype of an
    act that the majority did not see. Counts of votes are in `votes` (annotators) and `COLUMN_votes_CODE`.

    Args:
        data: holds `AnnoMI-full.csv`.
        context_turns: how many utterances before become `context`, a line each; null gives each utterance the nearest
            one before it of the other person, so that a client's turn has the counsellor's.
        groups: columns of reused units, by which intervals resample.
    """

    description = Description(
        may_leave_machine=True,
        title="AnnoMI: expert-annotated demonstrations of motivational interviewing",
        nature="acted",
        licence="the repository states none (research); the films belong to their uploaders",
        citation="Wu, Balloccu, Kumar, Helaoui, Reiter, Reforgiato Recupero & Riboni 2022, ICASSP, "
        "doi.org/10.1109/ICASSP43922.2022.9746035; extended: Future Internet 2023, 15(3), 110",
        source="github.com/uccollab/AnnoMI",
        labels="main_therapist_behaviour, client_talk_type and their subtypes by majority, ties missing; mi_quality of "
        "the session. No emotion, no polarity, no incongruence",
        layout="the repository's README and the file itself",
        cautions=(
            "Demonstrations: 'low' sessions are mostly staged counter-examples, and the number of utterances alone "
            "tells quality with AUROC 0.74. Group by `source` (the film) and control for length.",
            "9,271 of the 9,699 utterances were coded by one annotator, 428 by ten: `votes` says how many.",
            "client_talk_type is talk for or against change, not what the client feels.",
            "timestamp is in whole seconds of the film, not everywhere in order; so it is no segment's start.",
            "One client or counsellor may appear in several films; the corpus does not say who speaks.",
        ),
    )

    @checked
    def __init__(
        self, *, data: str | Path, context_turns: Natural | None = None, groups: Sequence[str] = ("source",)
    ) -> None:
        self.data = Path(data)
        self.context_turns = context_turns
        self.groups = tuple(groups)

    def build(self) -> Manifest:
        """Read the file and bring the annotators' rows of an utterance together.

        Raises:
            DatasetNotFound: the file is missing or lacks columns.
            ManifestError: a cell cannot be used, or rows of one utterance contradict each other.
        """
        path = self.data / FILE
        rows = official_table(path, [*_UTTERANCE, "annotator_id", *CODES], _REMEDY)
        check_unique(rows, [*_KEY, "annotator_id"], path)
        rows["utterance_id"] = numbers(rows, "utterance_id", 0, float("inf"), path).astype("Int64")
        utterances = rows.drop_duplicates(_KEY)[list(_UTTERANCE)]
        _check_agreement(rows, path)
        role = recode(utterances, "interlocutor", {"client": "client", "therapist": "counsellor"}, path)
        quality = recode(utterances, "mi_quality", {"high": "high", "low": "low"}, path)
        table = pd.DataFrame(
            {
                "id": utterances["transcript_id"] + "-" + utterances["utterance_id"].astype("string"),
                "session": utterances["transcript_id"],
                "speaker": utterances["transcript_id"] + "-" + role,
                "role": role,
                "transcript": utterances["utterance_text"],
                "mi_quality": quality,
                "topic": utterances["topic"],
                "source": utterances["video_url"],
                "turn": utterances["utterance_id"],
                "timestamp": _timestamps(utterances, path),
            }
        )
        table.index = pd.MultiIndex.from_frame(utterances[_KEY])
        table["votes"] = rows.groupby(_KEY, sort=False).size()
        for column in CODES:
            table = table.join(_majority(rows, column, path))
        for act in ("reflection", "question", "therapist_input"):
            # Its kind is a question only where the majority saw one at all.
            there = table[f"{act}_exists"].fillna(False).astype(bool)
            table[f"{act}_subtype"] = table[f"{act}_subtype"].where(there)
        table = table.sort_values(["session", "turn"], key=_natural, kind="stable").reset_index(drop=True)
        table["context"] = self._context(table)
        return build_manifest(table, root=self.data, name="annomi", groups=self.groups)

    def _context(self, table: pd.DataFrame) -> pd.Series:
        if self.context_turns is not None:
            return lines_before(table["transcript"], table["session"], self.context_turns)
        other = {}
        for role in ("client", "counsellor"):
            said = table["transcript"].where(table["role"] == role)
            other[role] = said.groupby(table["session"]).ffill()
        # What the other one said last is on no row of one's own role, so no row sees itself.
        return other["counsellor"].where(table["role"] == "client", other["client"])

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """Codes, disagreement between annotators, and sessions."""
        table = manifest.table
        several = table[table["votes"] > 1]
        rows = []
        for column, codes in CODES.items():
            counts = several[[f"{column}_votes_{code}" for code in codes]]
            coded = counts[counts.sum(axis=1) > 1]
            rows.append(
                {
                    "code": column,
                    "utterances with several codes": len(coded),
                    "all alike": round(float((coded.max(axis=1) == coded.sum(axis=1)).mean()), 3)
                    if len(coded)
                    else None,
                    "ties": int(((coded.eq(coded.max(axis=1), axis=0)).sum(axis=1) > 1).sum()),
                }
            )
        sessions = table.groupby("session").agg(quality=("mi_quality", "first"), turns=("id", "size"))
        lengths = sessions.groupby("quality")["turns"].agg(["size", "median", "min", "max"]).reset_index()
        lengths.columns = pd.Index(["quality", "sessions", "median utterances", "least", "most"])
        majority = [
            {"code": column, "value": str(value).lower(), "utterances": int(n), "share": round(n / len(table), 3)}
            for column in CODES
            for value, n in table[column].value_counts().items()
        ]
        return [
            CardSection("Codes by majority", "Ties and what does not apply are left out.", pd.DataFrame(majority)),
            CardSection(
                "Agreement of the annotators", "Utterances that more than one annotator coded.", pd.DataFrame(rows)
            ),
            CardSection("Sessions", "Length tells quality to a degree: control for it.", lengths),
        ]


def _majority(rows: pd.DataFrame, column: str, path: Path) -> pd.DataFrame:
    """The code that most annotators gave an utterance, missing on a tie; and how many gave each."""
    codes = CODES[column]
    given = recode(rows, column, {code: code for code in codes} | {"n/a": None}, path, empty=True)
    counts = pd.DataFrame({f"{column}_votes_{code}": (given == code).fillna(False).astype(int) for code in codes})
    counts = counts.groupby([rows[key] for key in _KEY], sort=False).sum()
    most = counts.max(axis=1)
    decided = (counts.eq(most, axis=0).sum(axis=1) == 1) & (most > 0)
    values = np.array([code == "true" for code in codes] if codes == ("true", "false") else codes, dtype=object)
    majority = pd.Series(values[counts.to_numpy().argmax(axis=1)], index=counts.index).where(decided)
    return counts.assign(**{column: majority.astype("boolean" if codes == ("true", "false") else "string")})


def _check_agreement(rows: pd.DataFrame, path: Path) -> None:
    """Refuse an utterance whose rows differ in what is not an annotator's code."""
    for column in _UTTERANCE:
        first = rows.groupby(_KEY, sort=False)[column].transform("first")
        differs = (first != rows[column]) & ~(first.isna() & rows[column].isna())
        if differs.any():
            row = int(differs.to_numpy().argmax())
            same = ((rows[_KEY] == rows[_KEY].iloc[row]).all(axis=1) & rows[column].notna()).to_numpy()
            # Without the words themselves: a message may end in a log.
            raise ManifestError(
                f"{path}: row {row + 1}, column '{column}': not what row {int(same.argmax()) + 1} says of the same "
                "utterance; correct it, or download the file again"
            )


def _timestamps(utterances: pd.DataFrame, path: Path) -> pd.Series:
    """hh:mm:ss in s. What cannot be read is missing and reported: the official file has one such cell, 00:09:025."""
    cells = utterances["timestamp"]
    values, unread = each_seconds(cells.astype(object).where(cells.notna(), None))
    if unread:
        _log.warning(
            "%s: %d timestamps are no times and left out, the first in row %d; write hh:mm:ss",
            path,
            len(unread),
            utterances.index[unread[0]] + 1,
        )
    return pd.Series(values, index=utterances.index, dtype="float64")


def _natural(values: pd.Series) -> pd.Series:
    """Transcript "2" before "10"."""
    as_numbers = pd.to_numeric(values, errors="coerce")
    return values if as_numbers.isna().any() else as_numbers
