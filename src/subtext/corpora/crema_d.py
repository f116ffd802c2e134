"""CREMA-D: 91 actors speak 12 sentences with six emotions; crowds judged voice, face and both apart (Cao et al. 2014).

Its votes per channel make it the one open corpus in which *perceived* disagreement between face and voice can be read
off human judgements. It is not words against face: the sentences are fixed and say nothing of the emotion.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd

from subtext.core.schema import Share, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import numbers, official_table, present, refuse_cells
from subtext.corpora.votes import (
    UNDECIDED,
    Counts,
    cross_fitted_rates,
    disagreement_rate,
    half_votes,
    rater_disagreement,
    vote_shares,
    winning_label,
)
from subtext.errors import ManifestError
from subtext.evaluation.intervals import Interval, Units, count_interval, ranking_interval
from subtext.evaluation.metrics import CountStatistic, UndefinedMetricError, auroc
from subtext.labels import EMOTION_POLARITY, POLARITIES, POLARITY_NAMES
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description

VOTES: Final = "processedResults/tabulatedVotes.csv"
Level = Literal["polarity", "emotion"]
LEVELS: Final[Sequence[Level]] = get_args(Level)
EMOTIONS: Final[Mapping[str, str]] = {
    name[0].upper(): name for name in ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
}
"""Letter of a vote -> emotion."""
SENTENCES: Final[Mapping[str, str]] = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
"""Code in a file's name -> what the actor says."""
_INTENDED: Final = {name[:3].upper(): name for name in EMOTIONS.values()}
_INTENSITY: Final = {"XX": "unspecified", "LO": "low", "MD": "medium", "HI": "high"}
_CHANNELS: Final = {1: "vocal", 2: "visual", 3: "both"}
_FILES: Final = {
    "video": ("VideoFlash/{}.flv", "VideoFlash/{}.mp4"),
    "audio": ("AudioWAV/{}.wav", "AudioMP3/{}.mp3"),
}
_NAME: Final = r"^(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2})$"


class CremaD(Corpus):
    """All rated clips of CREMA-D; a clip whose media are not there is a row of words and labels alone.

    `visual_*` and `vocal_*` labels are what the face's and the voice's raters named most often. `incongruent` is
    whether the two differ; with the words, which are the same whatever is acted, it has nothing to do, so
    `verbal_polarity`, `vocal_incongruent` and `incongruence_type` stay null. `contradiction` marks opposite polarities
    of face and voice.

    Args:
        folder: the official repository: `processedResults/tabulatedVotes.csv`, and as far as they are there
            `VideoDemographics.csv`, `VideoFlash/*.flv` (or the same clips as `.mp4`), `AudioWAV/*.wav`,
            `AudioMP3/*.mp3`.
        level: `polarity` adds up the votes for anger, disgust, fear and sadness before the winner is found; `emotion`
            compares the six emotions.
        agreement: smallest share of the winning label in a channel, 0 to 1; below it, as on a tie, the channel has no
            label, and the clip no `incongruent`.
        labels: `soft` adds each channel's vote shares, and `soft_disagreement`, the probability that a rater of the
            face and a rater of the voice name different labels.
        groups: columns of reused units, by which intervals resample.
    """

    description = Description(
        may_leave_machine=True,
        title="CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset",
        nature="acted",
        question="face against voice",
        licence="Open Database License 1.0; individual contents under the Database Contents License 1.0",
        citation="Cao, Cooper, Keutmann, Gur, Nenkova & Verma 2014, IEEE Transactions on Affective Computing 5(4), "
        "377-390, doi:10.1109/TAFFC.2014.2336244",
        source="https://github.com/CheyneyComputerScience/CREMA-D",
        labels="visual and vocal emotion and polarity: what most raters of that channel named (tabulatedVotes.csv, "
        "columns A D F H N S; row numbers 1xxxxx voice, 2xxxxx face). incongruent: the voice's label differs from "
        "the face's, that is perceived disagreement between face and voice, not words against face",
        layout="the official repository's README and list of files; the sentences behind the three-letter codes as "
        "several public readers of the corpus give them alike",
        cautions=(
            "Actors meant one emotion in both channels: the label is perceived disagreement, not incongruence, and the "
            "raters of one channel differ among themselves; read every rate beside the noise ceiling below.",
            "Most disagreement is a neutral-sounding voice beside a face that is not neutral; opposites are few.",
            "The sentences are fixed and carry no emotion, so words cannot help and verbal_polarity is null.",
            "Official file names, and so the ids, say which emotion was acted.",
            "There is no official split; use subtext-data split, or cv=5, by speaker.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        folder: str | Path,
        level: Level = "polarity",
        agreement: Share = 0.0,
        labels: Literal["hard", "soft"] = "hard",
        groups: Sequence[str] = ("speaker",),
    ) -> None:
        self.folder = Path(folder)
        self.level = level
        self.agreement = agreement
        self.labels = labels
        self.groups = tuple(groups)

    def build(self) -> Manifest:
        """Read names and votes; media are looked for by name and not opened.

        Raises:
            DatasetNotFound: the table of votes is not there.
            ManifestError: it cannot be used.
        """
        votes = self.votes()
        clips = pd.Series(votes["visual"].index, dtype="str")
        table = _described(clips)
        for stream, places in _FILES.items():
            table[stream] = present(self.folder, *(clips.map(place.format) for place in places))
        table = table.merge(_demographics(self.folder), on="speaker", how="left")
        for channel in ("visual", "vocal"):
            table[f"{channel}_raters"] = votes[channel].sum(axis=1).to_numpy()
            named = self._labels(channel, votes[channel].to_numpy())
            table = pd.concat([table, named], axis=1)
        table["incongruent"] = _differ(table, f"visual_{self.level}", f"vocal_{self.level}")
        opposite = table["visual_polarity"] * table["vocal_polarity"] < 0
        table["contradiction"] = opposite.mask(table["incongruent"].isna())
        if self.labels == "soft":
            counts = self.channel_counts()
            table["soft_disagreement"] = rater_disagreement(counts["visual"], counts["vocal"])
        return build_manifest(table, root=self.folder, name="crema_d", groups=self.groups)

    def votes(self) -> dict[str, pd.DataFrame]:
        """Votes by channel (`vocal`, `visual`, `both`): one row a clip in the order of names, one column an emotion.

        Raises:
            DatasetNotFound: the table of votes is not there.
            ManifestError: it cannot be used.
        """
        remedy = f"Download {VOTES} of the repository {self.description.source}, or set paths.data"
        return _read_votes(self.folder / VOTES, remedy)

    def channel_counts(self, level: str | None = None) -> dict[str, Counts]:
        """Votes of face (`visual`) and voice (`vocal`) by label of a level, `[clips, labels]` each.

        Args:
            level: `polarity` (labels -1, 0, 1) or `emotion` (labels in the order of `EMOTIONS`); None for the corpus's.
        """
        votes = self.votes()
        return {c: _counts(votes[c].to_numpy(), level or self.level) for c in ("visual", "vocal")}

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """Noise ceiling, excess over it, and what the votes alone tell."""
        return (
            CardSection(
                "Perceived disagreement and its noise ceiling",
                "How often labels of face and voice differ, beside how often labels of the *same* channel differ when "
                "they come from other raters. Halves: raters divided at random into halves of equal size (100 "
                "divisions, the same number of raters in every half of a clip), the agreement threshold applied to "
                "each half, ties left out. Pairs: one rater against one other rater, no threshold. The excess is "
                "between channels less the mean of both within. 95 % intervals over actors (cluster bootstrap).",
                disagreement_table(self, agreement=self.agreement),
            ),
            CardSection(
                "What the votes alone tell",
                "AUROC of `incongruent` from one fact about the votes, rates by category learned from other actors' "
                "clips, 95 % intervals clustered by actor. A model that sees one channel well can reach the figure of "
                "that channel's vote without comparing anything.",
                vote_controls(manifest, self.level),
            ),
        )

    def _labels(self, channel: str, votes: Counts) -> pd.DataFrame:
        emotion = winning_label(votes, self.agreement if self.level == "emotion" else 0.0)
        words = pd.Series(list(EMOTIONS.values()), dtype="str").reindex(emotion).reset_index(drop=True)
        polarity = words.map(EMOTION_POLARITY).astype("Int64")
        counts = _counts(votes, self.level)
        if self.level == "polarity":
            won = winning_label(counts, self.agreement)
            polarity = pd.Series(won - 1, dtype="Int64").mask(won == UNDECIDED)
            # An emotion of another polarity than most raters saw would contradict the label beside it.
            words = words.mask((words.map(EMOTION_POLARITY).astype("Int64") != polarity).fillna(True).astype(bool))
        out = pd.DataFrame({f"{channel}_emotion": words, f"{channel}_polarity": polarity})
        out[f"{channel}_agreement"] = vote_shares(counts).max(axis=1)
        if self.labels == "soft":
            names = list(EMOTIONS.values()) if self.level == "emotion" else POLARITY_NAMES
            shares = pd.DataFrame(vote_shares(counts), columns=[f"{channel}_share_{name}" for name in names])
            out = pd.concat([out, shares], axis=1)
        return out


def disagreement_table(
    corpus: CremaD, *, agreement: float, divisions: int = 100, seed: int = 0, levels: Sequence[str] = LEVELS
) -> pd.DataFrame:
    """Rates of disagreement between and within channels, one row a level and comparison, with intervals over actors.

    Returns:
        Columns `level`, `votes` (`all`, `halves`, `pairs of raters`), `compared`, `rate`, `low`, `high`, `share`
        (of the clips, or of the divisions, that could be compared).
    """
    clips = corpus.votes()["visual"].index
    units = Units.of(pd.DataFrame({"actor": clips.str[:4]}), ["actor"])
    rows: list[dict[str, Any]] = []

    def interval(rate: CountStatistic) -> Interval:
        return count_interval(rate, units, n_bootstrap=1000, seed=seed)

    for level in levels:
        counts = corpus.channel_counts(level)

        def add(votes: str, compared: str, found: Interval, share: float, level: str = level) -> None:
            figures = {"rate": found.value, "low": found.low, "high": found.high, "share": share}
            rows.append({"level": level, "votes": votes, "compared": compared, **figures})

        won = {channel: winning_label(votes, agreement) for channel, votes in counts.items()}
        known = (won["visual"] != UNDECIDED) & (won["vocal"] != UNDECIDED)
        differ = known & (won["visual"] != won["vocal"])
        add("all", "face and voice", interval(disagreement_rate(differ, known)), float(known.mean()))
        halves = half_votes(counts, agreement=agreement, divisions=divisions, seed=seed)
        for name, compared in (("between", "face and voice"), ("visual", "face"), ("vocal", "voice")):
            add("halves", compared, interval(halves.rate(name)), halves.comparable(name))
        excess = halves.excess("between", ["visual", "vocal"])
        add("halves", "excess", interval(excess), halves.comparable("between"))
        pairs = {
            "face and voice": rater_disagreement(counts["visual"], counts["vocal"]),
            "face": rater_disagreement(counts["visual"]),
            "voice": rater_disagreement(counts["vocal"]),
        }
        pairs["excess"] = pairs["face and voice"] - (pairs["face"] + pairs["voice"]) / 2
        for compared, figures in pairs.items():
            known = np.isfinite(figures)
            add("pairs of raters", compared, interval(disagreement_rate(figures, known)), float(known.mean()))
    return pd.DataFrame(rows)


def vote_controls(manifest: Manifest, level: str) -> pd.DataFrame:
    """AUROC of `incongruent` from single facts about the votes, clustered by actor.

    Args:
        manifest: of `CremaD`.
        level: whose labels `incongruent` compares.
    """
    table = manifest.table[manifest.table["incongruent"].notna()].reset_index(drop=True)
    labels = table["incongruent"].to_numpy(dtype=bool)
    units = Units.of(table, ["speaker"])
    known = {
        "the voice's label": table[f"vocal_{level}"],
        "the face's label": table[f"visual_{level}"],
        "the acted emotion": table["intended_emotion"],
        "the sentence": table["sentence"],
    }
    scores = {
        name: cross_fitted_rates(values.astype("str").to_numpy(dtype=object), labels, units, "speaker")
        for name, values in known.items()
    }
    weakest = table[["visual_agreement", "vocal_agreement"]].min(axis=1).to_numpy()
    scores["agreement in the voice (low)"] = -table["vocal_agreement"].to_numpy()
    scores["agreement in the face (low)"] = -table["visual_agreement"].to_numpy()
    scores["agreement in the weaker channel (low)"] = -weakest
    rows = []
    for name, score in scores.items():
        try:
            found = ranking_interval(auroc(labels, score), units)
        except UndefinedMetricError as error:
            found = Interval(None, reason=str(error))
        rows.append({"known": name, "auroc": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def _counts(votes: Counts, level: str) -> Counts:
    """Votes by emotion -> votes by label of the level."""
    if level == "emotion":
        return votes
    polarity = np.array([EMOTION_POLARITY[emotion] for emotion in EMOTIONS.values()])
    return np.stack([votes[:, polarity == value].sum(axis=1) for value in POLARITIES], axis=1)


def _read_votes(path: Path, remedy: str) -> dict[str, pd.DataFrame]:
    table = official_table(path, ["", *EMOTIONS, "fileName"], remedy)
    refuse_cells(table, "fileName", ~table["fileName"].str.match(_NAME).fillna(False), path, "fetch the file again")
    figures = pd.DataFrame(
        {column: numbers(table, column, 0, np.inf, path, whole=True, empty=False) for column in ("", *EMOTIONS)}
    )
    # The leading digit of a row's number says which raters: 1 voice, 2 face, 3 both.
    channel = (figures[""] // 100_000).map(_CHANNELS)
    counts = figures[list(EMOTIONS)].astype("int64").set_axis(list(EMOTIONS.values()), axis=1)
    out = {
        name: counts[channel == name].set_index(table.loc[channel == name, "fileName"]) for name in _CHANNELS.values()
    }
    for name, votes in out.items():
        if votes.index.duplicated().any() or set(votes.index) != set(out["visual"].index):
            raise ManifestError(
                f"{path}: clips do not have one row each for voice, face and both ('{name}' differs); "
                "fetch the official file again"
            )
    return {name: votes.sort_index() for name, votes in out.items()}


def _described(clips: pd.Series) -> pd.DataFrame:
    fields = clips.str.extract(_NAME)
    return pd.DataFrame(
        {
            "id": clips,
            "speaker": fields[0],
            "sentence": fields[1],
            "transcript": fields[1].map(SENTENCES),
            "intended_emotion": fields[2].map(_INTENDED),
            "intended_intensity": fields[3].map(_INTENSITY),
        }
    )


def _demographics(folder: Path) -> pd.DataFrame:
    path = folder / "VideoDemographics.csv"
    columns = {"ActorID": "speaker", "Age": "age", "Sex": "sex", "Race": "race", "Ethnicity": "ethnicity"}
    if not path.is_file():
        return pd.DataFrame({"speaker": pd.Series(dtype="str")})
    table = official_table(path, list(columns), "Fetch the official file again")
    return table[list(columns)].rename(columns=columns).drop_duplicates("speaker")


def _differ(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    both = table[first].notna() & table[second].notna()
    return (table[first] != table[second]).astype("boolean").where(both)
