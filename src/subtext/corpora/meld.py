"""MELD: utterances of dialogues with sentiment and emotion (Poria et al. 2019, GPL-3.0 repository)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.core.schema import Natural, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import check_unique, lines_before, numbers, official_table, present, recode, times
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import Description

_FILES: Final = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
_FILMS: Final = {"train": "train_splits", "val": "dev_splits_complete", "test": "output_repeated_splits_test"}
_COLUMNS: Final = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_REMEDY: Final = (
    f"Expected {', '.join(_FILES.values())}. Download them from data/MELD of github.com/declare-lab/MELD, or set "
    "paths.data"
)
_SENTIMENT: Final = {"negative": -1, "neutral": 0, "positive": 1}
_EMOTIONS: Final = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")


class Meld(Corpus):
    """Utterances of the series *Friends* in MELD's official splits, which are disjoint in dialogue.

    Sentiment becomes `verbal_polarity`. Films are optional; a row without one has its words only.

    Args:
        data: holds the three tables and, where present, the folders of films of MELD.Raw (`train_splits`,
            `dev_splits_complete`, `output_repeated_splits_test`), directly or under `train`, `dev` and `test`.
        context_turns: how many utterances before, in the same dialogue, become `context`, a line each; no names in it.
        groups: columns of reused units, by which intervals resample.
        disjoint: columns whose values training refuses to find in two splits; the official splits share speakers.
    """

    description = Description(
        may_leave_machine=True,
        title="MELD: Multimodal EmotionLines Dataset, utterances of the series Friends",
        nature="acted",
        licence="GPL-3.0 for the repository; the films are scenes of a television series",
        citation="Poria, Hazarika, Majumder, Naik, Cambria & Mihalcea 2019, ACL, arXiv 1810.02508",
        source="github.com/declare-lab/MELD; films: MELD.Raw.tar.gz, linked there",
        labels="verbal_polarity is the official Sentiment; the official Emotion is carried as `emotion`, not as a "
        "verbal, visual or vocal one, because the raters judged all of it together",
        layout="tables: data/MELD of the repository, and the data itself; film names: its utils/read_meld.py "
        "(train_splits/dia0_utt0.mp4); the names of the folders dev_splits_complete and output_repeated_splits_test: "
        "programs of others that read MELD.Raw",
        cautions=(
            "Sentiment was labelled with the film in view, so it is not what the words alone say (sarcasm): text alone "
            "reaches about 0.64 accuracy.",
            "The official splits share no dialogue, but of the test rows 96 % have a speaker and 99.96 % an episode "
            "that training rows have too.",
            "Speaker names are roles: 'All' or 'Waiter' is not one person.",
            "StartTime and EndTime are times in the episode, not in the clip; some are wrong (one test utterance would "
            "last five minutes). They are carried as episode_start and episode_end.",
            "The labels are of the utterance, whoever is in the picture.",
            "215 of MUStARD's 356 utterances of Friends are here word for word: do not train here and test there.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        context_turns: Natural = 1,
        groups: Sequence[str] = ("dialogue",),
        disjoint: Sequence[str] = ("dialogue",),
    ) -> None:
        self.data = Path(data)
        self.context_turns = context_turns
        self.groups = tuple(groups)
        self.disjoint = tuple(disjoint)

    def build(self) -> Manifest:
        """Read the three tables and look for the films.

        Raises:
            DatasetNotFound: a table is missing or lacks columns.
            ManifestError: a cell cannot be used; naming file, row, column and value.
        """
        parts = []
        for split, name in _FILES.items():
            path = self.data / name
            # Text as it stands: "NA" and "null" are words that people say.
            part = official_table(path, _COLUMNS, _REMEDY).fillna(dict.fromkeys(_COLUMNS, ""))
            check_unique(part, ["Dialogue_ID", "Utterance_ID"], path)
            dialogue = f"{split}-" + part["Dialogue_ID"]
            film = "dia" + part["Dialogue_ID"] + "_utt" + part["Utterance_ID"] + ".mp4"
            official = {"train": "train", "val": "dev", "test": "test"}[split]
            films = present(self.data, _FILMS[split] + "/" + film, f"{official}/{_FILMS[split]}/" + film)
            numbered = part.assign(turn=numbers(part, "Utterance_ID", 0, float("inf"), path)).sort_values("turn")
            context = lines_before(numbered["Utterance"], numbered["Dialogue_ID"], self.context_turns)
            parts.append(
                pd.DataFrame(
                    {
                        "id": dialogue + "-" + part["Utterance_ID"],
                        "session": dialogue,
                        "dialogue": dialogue,
                        "speaker": part["Speaker"],
                        "video": films,
                        "transcript": part["Utterance"],
                        "context": context.reindex(part.index),
                        "verbal_polarity": recode(part, "Sentiment", _SENTIMENT, path),
                        "emotion": recode(part, "Emotion", dict(zip(_EMOTIONS, _EMOTIONS, strict=True)), path),
                        "show": "Friends",
                        "season": _whole(part, "Season", path),
                        "episode": _whole(part, "Episode", path),
                        "episode_start": times(part, "StartTime", path),
                        "episode_end": times(part, "EndTime", path),
                        "split": split,
                    }
                )
            )
        table = pd.concat(parts, ignore_index=True)
        return build_manifest(table, root=self.data, name="meld", groups=self.groups)


def _whole(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="Int64")
    return numbers(table, column, 0, 1000, path, whole=True)
