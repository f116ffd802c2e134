"""RAVDESS faces and voices exchanged: the face of one take with the voice of another one of the same actor.

Both summaries were measured on films of the same takes, so a pair differs from a natural take in nothing but that its
two halves come from two takes. That is the one constructed corpus here whose face and voice belong to one person.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import pandas as pd

from subtext.core.schema import Seed, checked
from subtext.core.writing import write_bytes
from subtext.corpora.corpus import Corpus
from subtext.corpora.made import finish, made_before, making
from subtext.corpora.official import check_unique, numbers, official_table, recode
from subtext.corpora.ravdess import EMOTIONS
from subtext.errors import ManifestError
from subtext.labels import NEGATIVE, emotion_polarity
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description

SUMMARIES: Final = "combined_summary.csv"
EXPRESSIONS: Final = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
ACTION_UNITS: Final = tuple(
    f"AU{number:02d}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
)
FACE_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "expressions": tuple(f"{name}_{part}" for name in EXPRESSIONS for part in ("mean", "std")),
    "upper face": tuple(f"{au}_{part}" for au in (*ACTION_UNITS[:6], "AU43") for part in ("mean", "std")),
    "lower face": tuple(f"{au}_{part}" for au in ACTION_UNITS[6:-1] for part in ("mean", "std")),
    "mouth": ("mouth_openness_mean", "mouth_openness_std"),
}
"""Columns of the face's summary, family by family, in the order of the stream's values."""
VOICE_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "pitch": ("f0_mean", "f0_stddev", "f0_range", "rel_f0_sd"),
    "formants": tuple(f"f{n}_{part}" for n in (1, 2, 3, 4) for part in ("mean", "stddev", "range")),
    "loudness": ("loudness_mean", "loudness_stddev", "loudness_range", "rel_se0_sd"),
    "voice quality": (
        *(f"hnr_{part}" for part in ("mean", "stddev", "range")),
        *("jitter", "jitter_abs", "jitter_rap", "jitter_ppq5", "jitter_ddp"),
        *("shimmer", "shimmer_db", "shimmer_apq3", "shimmer_apq5", "shimmer_dda", "gne_ratio"),
    ),
    "spectrum": tuple(f"mfcc{n}_mean" for n in range(1, 15)),
    "spectral change": tuple(f"mfcc{n}_var" for n in range(1, 15)),
    "tempo": ("spir", "dur_med", "dur_mad", "silence_ratio"),
}
"""Columns of the voice's summary. `cpp_mean`, `cpp_var` (missing in 268 of 360 takes) and `shimmer_apq11` (in 2) are
left out: filling them would need figures of other takes, and which takes those may be changes from fold to fold."""
FOLDS: Final = 8
PAIR_KINDS: Final = ("congruent", "opposite_polarity", "same_polarity", "calm", "surprise")
Variant = Literal["emotion", "polarity"]
VARIANTS: Final[Sequence[Variant]] = get_args(Variant)
_RECIPE: Final = 1  # Raised whenever the same settings give another corpus, so that old folders are built again.


class RavdessSwap(Corpus):
    """Pairs of a face and a voice of one actor at the other intensity; `incongruent` is *voice against face*.

    Takes of the neutral emotion, which have one intensity only, are left out: 336 of 360 remain. Because the intensity
    differs, no take is ever paired with itself, and pairs of one emotion differ in intensity as much as the others do.

    `variant=emotion`: all 2,352 pairs, incongruent where the two emotions differ. Each face meets one voice of its
    emotion and six others, and so does each voice, so neither alone tells the label.

    `variant=polarity`: 960 pairs, incongruent where the polarities differ (surprise, which has none, is left out). Each
    face and voice of every actor and emotion is incongruent in four pairs of five, so that P(incongruent | face) =
    P(incongruent | voice) = 0.8 for every polarity and emotion. Calm never meets happy: there is one of each for four
    negative emotions, and their pairs would break that balance.

    `verbal_polarity` is null: the sentence is the same everywhere.

    Args:
        data: holds `combined_summary.csv`.
        folder: where the pairs' feature files and the manifest go; made again only if settings or source changed.
        variant: `emotion` or `polarity`.
        seed: deals the actors to folds, numbers pairs and takes, and draws the polarity variant's pairs.
        groups: columns of reused units, by which intervals resample.
        enrolment: a row more for each actor: the neutral take's face and voice, without labels and marked in the column
            `enrolment`, for readers that hold an actor's takes against it.
    """

    description = Description(
        may_leave_machine=True,
        title="RAVDESS swapped: the face of one take with the voice of another of the same actor",
        nature="constructed",
        question="face against voice",
        licence="CC BY-NC-SA 4.0 (derived from RAVDESS)",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5): e0196391, doi.org/10.1371/journal.pone.0196391",
        source="voice and face summaries of RAVDESS's audio-visual films; the films: zenodo.org/records/1188976",
        labels="visual_emotion and vocal_emotion: what the actor was asked for in the take of the face and of the "
        "voice. incongruent: they differ (corpus.variant=polarity: their polarities do). It is voice against face, not "
        "words against face",
        layout="one CSV, a row a take: 69 figures of the voice, mean and deviation of 7 expressions, 20 action units "
        "and mouth opening of the face, file, emotion, intensity, actor, gender",
        cautions=(
            "Constructed from takes in which face and voice agree: it shows whether a model compares, not what "
            "incongruent people look like.",
            "Parts are independent given their emotions and actor, so a product of unimodal posteriors is near "
            "optimal; a fusion that beats it clearly has found a leak.",
            "The face figures come from a tool that is not ours: a model trained on them cannot read a film.",
            "All takes have the same sentence and repetition, and the emotions were acted on request.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        folder: str | Path,
        variant: Variant = "emotion",
        seed: Seed = 0,
        groups: Sequence[str] = ("speaker",),
        enrolment: bool = False,
    ) -> None:
        self.data = Path(data)
        self.folder = Path(folder)
        self.variant = variant
        self.seed = seed
        self.groups = tuple(groups)
        self.enrolment = enrolment

    def build(self) -> Manifest:
        """Pair the takes, write each pair's features, and describe them.

        Raises:
            DatasetNotFound: the summaries are not there.
            ManifestError: they cannot be used.
            ConfigError: `folder` cannot be written.
        """
        takes = read_summaries(self.data)
        neutral = takes["emotion"] == "neutral"
        takes, calm = takes[~neutral].reset_index(drop=True), takes[neutral]
        settings = {
            "recipe": _RECIPE,
            "variant": self.variant,
            "seed": self.seed,
            "source": hashlib.sha256(takes.to_csv(index=False).encode()).hexdigest(),
        }
        if self.enrolment:
            settings["enrolment"] = hashlib.sha256(calm.to_csv(index=False).encode()).hexdigest()
        ready = made_before(self.folder, settings)
        if ready is not None:
            return replace(ready, groups=self.groups)
        table, faces, voices = self._pairs(takes)
        if self.enrolment:
            table, faces, voices, takes = _with_enrolment(table, faces, voices, takes, calm)
        manifest = build_manifest(table, root=self.folder, name="ravdess_swap", groups=self.groups)
        with making(self.folder, "pairs"):
            self._write(manifest, takes, faces, voices)
            finish(manifest, settings)
        return manifest

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """Pairs by kind, and the balance that keeps either half from telling the label."""
        table = manifest.table
        kinds = table["pair_kind"].value_counts().reindex(PAIR_KINDS).dropna().astype(int)
        pairs = kinds.rename_axis("kind").rename("pairs").reset_index()
        by = "emotion" if self.variant == "emotion" else "polarity"
        rates = [
            table.groupby(f"{channel}_{by}")["incongruent"].agg(["size", "mean"]).assign(channel=name)
            for channel, name in (("visual", "face"), ("vocal", "voice"))
        ]
        balance = pd.concat(rates).rename_axis(by).reset_index()[["channel", by, "size", "mean"]]
        return (
            CardSection(
                "What `incongruent` means here",
                "Voice against face: the take that the voice comes from was acted with another emotion (or polarity) "
                "than the take of the face. Kinds of incongruent pairs: opposite polarity (happy and a negative one), "
                "same polarity (two negative ones), calm and another one, surprise and another one that is not calm.",
                pairs,
            ),
            CardSection(
                "Balance",
                "Share of incongruent pairs by what one half alone shows: it must not vary, or one half would tell.",
                balance.rename(columns={"size": "pairs", "mean": "incongruent"}),
            ),
        )

    def _pairs(self, takes: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """The manifest's columns, and each pair's take of the face and of the voice."""
        rng = np.random.default_rng(self.seed)
        folds = deal_actors(takes, rng)
        numbers = np.char.add("take-", np.char.zfill((rng.permutation(len(takes)) + 1).astype(str), 3))
        faces, voices = np.array(
            all_pairs(takes) if self.variant == "emotion" else balanced_polarity_pairs(takes, rng)
        ).T
        # In random order, so that neither number nor place says what is paired.
        order = rng.permutation(len(faces))
        faces, voices = faces[order], voices[order]
        face, voice = takes.iloc[faces].reset_index(drop=True), takes.iloc[voices].reset_index(drop=True)
        shown, voiced = (part["emotion"].map(emotion_polarity).astype("Int64") for part in (face, voice))
        differ = face["emotion"] != voice["emotion"] if self.variant == "emotion" else shown != voiced
        ids = [f"pair-{number:04d}" for number in range(1, len(faces) + 1)]
        table = pd.DataFrame(
            {
                "id": ids,
                "speaker": "actor-" + face["actor"],
                "features": [f"features/{pair}.safetensors" for pair in ids],
                "visual_emotion": face["emotion"],
                "vocal_emotion": voice["emotion"],
                "incongruent": differ.astype("boolean"),
                "contradiction": (shown * voiced < 0).fillna(False),
                "pair_kind": [
                    _kind(one, other) if apart else "congruent"
                    for one, other, apart in zip(face["emotion"], voice["emotion"], differ, strict=True)
                ],
                "face_clip": numbers[faces],
                "voice_clip": numbers[voices],
                "face_intensity": face["intensity"],
                "voice_intensity": voice["intensity"],
                "gender": face["gender"],
                "fold": face["actor"].map(folds),
            }
        )
        return table, faces, voices

    def _write(self, manifest: Manifest, takes: pd.DataFrame, faces: np.ndarray, voices: np.ndarray) -> None:
        from safetensors.numpy import save

        visual, prosody = (
            takes[list(columns)].to_numpy(dtype=np.float32) for columns in (face_columns(), voice_columns())
        )
        (self.folder / "features").mkdir(exist_ok=True)
        for path, face, voice in zip(manifest.table["features"], faces, voices, strict=True):
            arrays = {"visual": visual[face : face + 1].copy(), "prosody": prosody[voice : voice + 1].copy()}
            write_bytes(self.folder / path, save(arrays))


def _with_enrolment(
    table: pd.DataFrame, faces: np.ndarray, voices: np.ndarray, takes: pd.DataFrame, calm: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, pd.DataFrame]:
    """A row more for each actor, of the neutral take's face and voice, without labels and marked as `enrolment`."""
    actors = "actor-" + calm["actor"].reset_index(drop=True)
    ids = [f"enrolment-{number:02d}" for number in range(1, len(calm) + 1)]
    rows = pd.DataFrame(
        {
            "id": ids,
            "speaker": actors,
            "features": [f"features/{row}.safetensors" for row in ids],
            "gender": calm["gender"].to_numpy(),
            "fold": actors.map(table.drop_duplicates("speaker").set_index("speaker")["fold"]),
        }
    )
    both = pd.concat([table.assign(enrolment=False), rows.assign(enrolment=True)], ignore_index=True)
    places = np.arange(len(takes), len(takes) + len(calm))
    return (
        both.astype({"enrolment": "boolean", "contradiction": "boolean"}),
        np.concatenate([faces, places]),
        np.concatenate([voices, places]),
        pd.concat([takes, calm], ignore_index=True),
    )


def face_columns() -> tuple[str, ...]:
    """The 56 figures of a face, in the order of the stream's values."""
    return tuple(column for family in FACE_FAMILIES.values() for column in family)


def voice_columns() -> tuple[str, ...]:
    """The 66 figures of a voice, in the order of the stream's values."""
    return tuple(column for family in VOICE_FAMILIES.values() for column in family)


def read_summaries(folder: Path) -> pd.DataFrame:
    """Voice and face figures of each take.

    Args:
        folder: holds `combined_summary.csv`.

    Returns:
        One row a take, sorted by `file`: `actor` ("01" ... "24"), `gender` ("man", "woman"), `emotion`, `intensity`
        ("normal", "strong"), and the columns of `face_columns` and `voice_columns` as numbers.

    Raises:
        DatasetNotFound: the file is not there, or lacks a column.
        ManifestError: a cell cannot be used, or two rows are of one take.
    """
    path = folder / SUMMARIES
    figures = [*face_columns(), *voice_columns()]
    columns = ["file", "emotion", "intensity", "actor", "gender", *figures]
    table = official_table(path, columns, f"Put {SUMMARIES} there, with a row a take, or set paths.data")
    table["actor"] = table["actor"].str.zfill(2)
    check_unique(table, ["actor", "emotion", "intensity"], path)
    out = pd.DataFrame(
        {
            "file": table["file"],
            "actor": table["actor"],
            "gender": table["gender"].map({"male": "man", "female": "woman"}),
            "emotion": recode(table, "emotion", dict(zip(EMOTIONS, EMOTIONS, strict=True)), path),
            "intensity": recode(table, "intensity", {"1": "normal", "2": "strong"}, path),
            **{figure: numbers(table, figure, -np.inf, np.inf, path, empty=False) for figure in figures},
        }
    )
    return out.sort_values("file", ignore_index=True)


def deal_actors(takes: pd.DataFrame, rng: np.random.Generator) -> dict[str, int]:
    """Actor -> fold: `FOLDS` folds of as many actors as possible each, men and women spread evenly.

    Raises:
        ManifestError: there are fewer actors than folds.
    """
    people = takes.drop_duplicates("actor").sort_values("actor")
    if len(people) < FOLDS:
        raise ManifestError(f"{len(people)} actors are too few for {FOLDS} folds; complete {SUMMARIES}")
    order = [
        actor
        for gender in ("man", "woman")
        for actor in rng.permutation(people.loc[people["gender"] == gender, "actor"].to_numpy(dtype=str))
    ]
    return {str(actor): place % FOLDS for place, actor in enumerate(order)}


def all_pairs(takes: pd.DataFrame) -> list[tuple[int, int]]:
    """Every (face, voice) of one actor at different intensities, as row numbers of `takes`."""
    intensity = takes["intensity"].to_numpy(dtype=str)
    return [
        (int(face), int(voice))
        for _, own in takes.groupby("actor", sort=True)
        for face in own.index
        for voice in own.index
        if intensity[face] != intensity[voice]
    ]


def balanced_polarity_pairs(takes: pd.DataFrame, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs in which every face and every voice emotion of an actor is congruent once and incongruent four times.

    Of an actor's takes with polarity and of both directions of intensity: calm with calm and happy with happy (2 each),
    each negative emotion with calm and with happy, as face and as voice (32), and each negative face with one negative
    voice, a random one-to-one assignment, half of them in either direction (4).

    Raises:
        ManifestError: an actor lacks a take.
    """
    pairs: list[tuple[int, int]] = []
    polarity = takes["emotion"].map(emotion_polarity)
    negative = sorted(set(takes.loc[polarity == NEGATIVE, "emotion"]))
    for number, (_, own) in enumerate(takes.groupby("actor", sort=True), start=1):
        keys = zip(own["emotion"].astype(str), own["intensity"].astype(str), strict=True)
        take = dict(zip(keys, (int(row) for row in own.index), strict=True))
        wanted = {(emotion, level) for emotion in (*negative, "calm", "happy") for level in ("normal", "strong")}
        if missing := sorted(wanted - set(take)):
            raise ManifestError(
                f"in the order of the column 'actor', actor number {number} has no take {missing[0][0]}, "
                f"{missing[0][1]}; complete {SUMMARIES} or drop the actor"
            )
        for level, other in (("normal", "strong"), ("strong", "normal")):
            pairs += [(take[e, level], take[e, other]) for e in ("calm", "happy")]
            for emotion in negative:
                for opposite in ("calm", "happy"):
                    pairs.append((take[emotion, level], take[opposite, other]))
                    pairs.append((take[opposite, level], take[emotion, other]))
        levels = rng.permutation(["normal", "strong"] * (len(negative) // 2))
        for face, voice, level in zip(negative, rng.permutation(negative), levels, strict=True):
            pairs.append((take[face, str(level)], take[str(voice), "strong" if level == "normal" else "normal"]))
    return pairs


def _kind(shown: str, voiced: str) -> str:
    if "calm" in (shown, voiced):
        return "calm"
    if "surprised" in (shown, voiced):
        return "surprise"
    return "same_polarity" if emotion_polarity(shown) == emotion_polarity(voiced) else "opposite_polarity"
