"""RAVDESS: acted emotional speech of 24 actors (Livingstone & Russo 2018, CC BY-NC-SA 4.0)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.core.schema import checked
from subtext.corpora.corpus import Corpus
from subtext.errors import DatasetNotFound
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import Description

EMOTIONS: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES: Final = ("normal", "strong")
STATEMENTS: Final = ("Kids are talking by the door", "Dogs are sitting by the door")

_FOLDS: Final = 8
_REMEDY: Final = (
    "Download Audio_Speech_Actors_01-24.zip, and Video_Speech_Actor_NN.zip for the films, from "
    "zenodo.org/records/1188976, or set paths.data"
)


class Ravdess(Corpus):
    """Takes of RAVDESS speech: one row a take, whichever of its recordings are there.

    A take with an audio-visual film (01-01) has it as `video`, and its sound is the film's. One with only the silent
    film (02-01) and the sound (03-01) has both. `visual_emotion` is filled where there is a picture, `vocal_emotion`
    where there is sound: they are the emotion that the actor was asked for.

    Split and folds are ours, disjoint in actor: 1-16 train, 17-20 val, 21-24 test, each half women and half men; eight
    folds of three actors.

    Args:
        data: holds `Actor_01` ... `Actor_24`.
        neutral_words: set `verbal_polarity` to 0, as the authors state of the two sentences. Left out by default: with
            it a take counts as congruent or not by its acted emotion alone, so a model learns emotion, not
            incongruence.
        groups: columns of reused units, by which intervals resample.
    """

    description = Description(
        may_leave_machine=True,
        title="RAVDESS: the Ryerson Audio-Visual Database of Emotional Speech and Song, speech",
        nature="acted",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5): e0196391, doi.org/10.1371/journal.pone.0196391",
        source="zenodo.org/records/1188976",
        labels="vocal_emotion where there is sound and visual_emotion where there is a picture: the intended emotion, "
        "read from the file name; polarity from it (surprise has none). verbal_polarity is empty unless "
        "corpus.neutral_words=true",
        layout="the naming convention on zenodo.org/records/1188976: "
        "modality-channel-emotion-intensity-statement-repetition-actor",
        cautions=(
            "Two fixed sentences, which the authors call neutral: the words carry no emotion, and with "
            "corpus.neutral_words=true every negative take is 'leakage' by the rule.",
            "Emotions are acted on request: the label is what the actor meant, not what is seen or heard.",
            "Face and voice of a take show the same intended emotion, so nothing here is incongruent by design.",
            "Split and folds are this project's, not the authors'.",
            "The folder may hold copies at 16 kHz; the official recordings have 48 kHz.",
        ),
    )

    @checked
    def __init__(self, *, data: str | Path, neutral_words: bool = False, groups: Sequence[str] = ("speaker",)) -> None:
        self.data = Path(data)
        self.neutral_words = neutral_words
        self.groups = tuple(groups)

    def build(self) -> Manifest:
        """List the takes and read their names.

        Raises:
            DatasetNotFound: there are no speech recordings.
        """
        files = _read_names(self.data, "0[123]", ("wav", "flac", "mp4"))
        # A film is an .mp4, sound alone is not; sorted, so that of a take's WAV and FLAC the same is kept every time.
        film = files["file"].str.endswith(".mp4")
        files = files[film == files["modality"].isin(["01", "02"])]
        if files.empty:
            raise DatasetNotFound(
                f"no RAVDESS recordings under {self.data}; expected Actor_01/03-01-*.wav or 01-01-*.mp4. {_REMEDY}"
            )
        take = ["emotion", "intensity", "statement", "repetition", "actor"]
        first = files.drop_duplicates([*take, "modality"])
        by_modality = first.pivot(index=take, columns="modality", values="file")
        by_modality = by_modality.reindex(columns=["01", "02", "03"]).reset_index().sort_values(["actor", *take[:-1]])
        both, silent, sound = (by_modality[modality].astype("string") for modality in ("01", "02", "03"))
        said = _decoded(by_modality)
        video = both.fillna(silent)
        rank = by_modality["actor"].astype(int).rank(method="dense").astype(int) - 1
        n = int(rank.max()) + 1
        table = pd.DataFrame(
            {
                "id": by_modality[take].agg("-".join, axis=1),
                "speaker": "actor-" + by_modality["actor"],
                "video": video,
                "audio": sound.mask(both.notna()),
                "transcript": said["statement"].map(lambda code: STATEMENTS[code - 1]),
                "visual_emotion": said["emotion"].where(video.notna()),
                "vocal_emotion": said["emotion"].where(both.notna() | sound.notna()),
                "verbal_polarity": 0 if self.neutral_words else None,
                **{name: said[name] for name in ("intensity", "statement", "repetition", "gender")},
                "split": rank.map(
                    lambda place: "train" if place < n * 2 / 3 else "val" if place < n * 5 / 6 else "test"
                ),
                "fold": rank * min(_FOLDS, n) // n,
            }
        )
        return build_manifest(table, root=self.data, name="ravdess", groups=self.groups)


def read_voices(folder: Path) -> pd.DataFrame:
    """The speech recordings (audio only) of RAVDESS, described by their names.

    A name reads modality-channel-emotion-intensity-statement-repetition-actor; odd actors are men, even ones women.

    Args:
        folder: holds `Actor_01/03-01-*.wav` ... `Actor_24`; FLAC is read as well.

    Returns:
        One row a recording, sorted by file: `file` (relative to `folder`), `actor` ("01" ... "24"), `gender`
        ("man", "woman"), `emotion`, `intensity`, `statement` (1, 2), `repetition` (1, 2).

    Raises:
        DatasetNotFound: there are no such files.
    """
    files = _read_names(folder, "03", ("wav", "flac"))
    if files.empty:
        raise DatasetNotFound(
            f"no RAVDESS recordings under {folder}; expected Actor_01/03-01-*.wav. "
            "Download Audio_Speech_Actors_01-24.zip from zenodo.org/records/1188976, or set paths.data"
        )
    # The same take as WAV and as FLAC is one recording.
    first = ~files.drop(columns="file").duplicated()
    files = files[first].reset_index(drop=True)
    return pd.concat([files[["file", "actor"]], _decoded(files)], axis=1)


def _decoded(files: pd.DataFrame) -> pd.DataFrame:
    """What the fields of names mean."""
    codes = files[["actor", "emotion", "intensity", "statement", "repetition"]].astype(int)
    return pd.DataFrame(
        {
            "gender": codes["actor"].map(lambda number: "man" if number % 2 else "woman"),
            "emotion": codes["emotion"].map(lambda code: EMOTIONS[code - 1]),
            "intensity": codes["intensity"].map(lambda code: INTENSITIES[code - 1]),
            "statement": codes["statement"],
            "repetition": codes["repetition"],
        }
    )


def _read_names(folder: Path, modality: str, suffixes: Sequence[str]) -> pd.DataFrame:
    """Speech files sorted by name, with the fields of their names as text; 02 as the channel is singing."""
    names = pd.Series(
        sorted(
            path.relative_to(folder).as_posix()
            for suffix in suffixes
            for path in folder.glob(f"Actor_[0-9][0-9]/*.{suffix}")
        ),
        dtype="str",
    )
    pattern = (
        rf"^Actor_\d\d/(?P<modality>{modality})-01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])"
        rf"-(?P<repetition>0[12])-(?P<actor>\d\d)\.(?:{'|'.join(suffixes)})$"
    )
    files = names.str.extract(pattern)
    files.insert(0, "file", names)
    return files[files.notna().all(axis=1)].reset_index(drop=True)
