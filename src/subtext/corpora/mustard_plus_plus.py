"""MUStARD++: sarcasm with implicit and explicit emotions (Ray, Mishra, Nunna & Bhattacharyya 2022)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from subtext.core.schema import Seed, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.mustard import TEST_SHOW, named_speakers, with_validation
from subtext.corpora.official import check_unique, numbers, official_table, present, recode, times
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description

Label = Literal["implicit_explicit", "sarcasm"]
FILE: Final = "mustard++_text.csv"
EMOTIONS: Final = (
    "neutral",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
    "excitement",
    "frustration",
    "ridicule",
)
SARCASM_TYPES: Final = {
    "none": None,
    "pro": "propositional",
    "emb": "embedded",
    "ill": "illocutionary",
    "lik": "like_prefixed",
}

_COLUMNS: Final = (
    "SCENE",
    "KEY",
    "SENTENCE",
    "END_TIME",
    "SPEAKER",
    "SHOW",
    "Sarcasm",
    "Sarcasm_Type",
    "Implicit_Emotion",
    "Explicit_Emotion",
    "Valence",
    "Arousal",
)
_REMEDY: Final = f"Download {FILE} from github.com/cfiltnlp/MUStARD_Plus_Plus, or set paths.data"


class MustardPlusPlus(Corpus):
    """Target utterances of MUStARD++ (rows with a Sarcasm value), the other rows of their scene as context.

    Args:
        data: holds `mustard++_text.csv` (UTF-8 or Latin-1) and, where present, the films
            `final_utterance_videos/KEY.mp4` and `final_context_videos/SCENE_c.mp4`.
        label: what `incongruent` is. `implicit_explicit`: the implicit emotion is not the explicit one. `sarcasm`: the
            Sarcasm column. They are nearly the same; the card counts it.
        seed: decides which speakers of training validate; Friends is the test split.
        groups: columns of reused units, by which intervals resample.
        disjoint: columns whose values training refuses to find in two splits.
    """

    description = Description(
        may_leave_machine=True,
        title="MUStARD++: multimodal sarcasm with implicit and explicit emotion",
        nature="acted",
        question="sarcasm, or implicit against explicit emotion",
        licence="the repository states none (research); the films are scenes of television series",
        citation="Ray, Mishra, Nunna & Bhattacharyya 2022, LREC, arXiv 2206.02119",
        source="github.com/cfiltnlp/MUStARD_Plus_Plus",
        labels="incongruent: implicit emotion differs from explicit emotion, or sarcasm (corpus.label). Neither "
        "emotion is of one channel, so no polarity is filled. Both, sarcasm, its type, valence and arousal "
        "(1-9) are carried",
        layout="the repository's README and the file itself; the films' folders and names: programs of others that "
        "read the archive",
        cautions=(
            "implicit != explicit is nearly the sarcasm label itself: it is not a second kind of evidence.",
            "An emotion label is of the utterance as a whole; which channel shows the explicit one is not said.",
            "Speakers and series tell sarcasm, as in MUStARD; the split by series is this project's, not the authors'.",
            "It holds 688 of MUStARD's 690 utterances (SCENE is its id): never train on one and test on the other.",
            "PERSON and OTHER are whoever has no name; here they are kept apart by series, yet are several people.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        label: Label = "implicit_explicit",
        seed: Seed = 0,
        groups: Sequence[str] = ("speaker",),
        disjoint: Sequence[str] = ("speaker",),
    ) -> None:
        self.data = Path(data)
        self.label = label
        self.seed = seed
        self.groups = tuple(groups)
        self.disjoint = tuple(disjoint)

    def build(self) -> Manifest:
        """Read the table and put each target's context beside it.

        Raises:
            DatasetNotFound: the table is missing or lacks columns.
            ManifestError: a cell cannot be used; naming row and column.
        """
        path = self.data / FILE
        rows = official_table(path, _COLUMNS, _REMEDY)
        rows["KEY"], repaired = _repair_keys(rows)
        check_unique(rows, ["KEY"], path)
        sarcasm = recode(rows, "Sarcasm", {"0": False, "1": True, "0.0": False, "1.0": True}, path, empty=True)
        is_target = sarcasm.notna()
        emotion = dict(zip(EMOTIONS, EMOTIONS, strict=True))
        rows = rows.assign(
            sarcasm=sarcasm.astype("boolean"),
            implicit=recode(rows, "Implicit_Emotion", emotion, path, empty=True),
            explicit=recode(rows, "Explicit_Emotion", emotion, path, empty=True),
            kind=recode(rows, "Sarcasm_Type", SARCASM_TYPES, path, empty=True),
            valence=numbers(rows, "Valence", 1, 9, path),
            arousal=numbers(rows, "Arousal", 1, 9, path),
            clip_end=times(rows, "END_TIME", path),
            name=named_speakers(rows["SPEAKER"].fillna("OTHER"), rows["SHOW"].fillna("")),
            repaired=repaired,
        )
        targets = rows[is_target]
        check_unique(targets, ["SCENE"], path)
        before = rows[~is_target].groupby("SCENE", sort=False)
        context = before["SENTENCE"].agg(lambda texts: "\n".join(texts.dropna()))
        context_speakers = before["name"].agg("\n".join)
        label = targets["sarcasm"]
        if self.label == "implicit_explicit":
            differ = (targets["implicit"] != targets["explicit"]).astype("boolean")
            label = differ.mask(targets["implicit"].isna() | targets["explicit"].isna())
        table = pd.DataFrame(
            {
                "id": targets["KEY"],
                "session": targets["SCENE"],
                "speaker": targets["name"],
                "video": present(self.data, "final_utterance_videos/" + targets["KEY"] + ".mp4"),
                "transcript": targets["SENTENCE"],
                "context": targets["SCENE"].map(context),
                "incongruent": label,
                "show": targets["SHOW"],
                "context_speakers": targets["SCENE"].map(context_speakers),
                "context_video": present(self.data, "final_context_videos/" + targets["SCENE"] + "_c.mp4"),
                "sarcasm": targets["sarcasm"],
                "sarcasm_type": targets["kind"],
                "implicit_emotion": targets["implicit"],
                "explicit_emotion": targets["explicit"],
                "valence": targets["valence"],
                "arousal": targets["arousal"],
                "clip_end": targets["clip_end"],
                "key_repaired": targets["repaired"],
                "split": (targets["SHOW"] == TEST_SHOW).map({True: "test", False: "train"}),
            }
        )
        manifest = build_manifest(table, root=self.data, name="mustard_plus_plus", groups=self.groups)
        return with_validation(manifest, ["speaker"], self.seed)

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """How far the two definitions of the label are one, and what was repaired."""
        table = manifest.table
        known = table[["implicit_emotion", "explicit_emotion", "sarcasm"]].notna().all(axis=1)
        table = table[known]
        differs = table["implicit_emotion"] != table["explicit_emotion"]
        rows = []
        for name, chosen in (("sarcastic", table["sarcasm"]), ("not sarcastic", ~table["sarcasm"])):
            n, k = int(chosen.sum()), int((differs & chosen).sum())
            rows.append(
                {"utterances": name, "n": n, "implicit differs from explicit": k, "share": round(k / max(1, n), 3)}
            )
        same = float((differs == table["sarcasm"]).mean())
        repaired = int(manifest.table["key_repaired"].sum())
        return [
            CardSection(
                "Implicit against explicit emotion is nearly sarcasm",
                f"The two definitions of `incongruent` give the same label to {same:.1%} of the utterances. What "
                "predicts one predicts the other; they are no independent evidence.",
                pd.DataFrame(rows),
            ),
            CardSection(
                "Repaired",
                f"{repaired} target row(s) have a KEY that is not of their scene (a slip in the official file); it was "
                "made SCENE_u, as all others are. Column `key_repaired`.",
            ),
        ]


def _repair_keys(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """KEY, with SCENE_u where a target row has something that does not begin with its scene; and which those are."""
    key = rows["KEY"].astype("string")
    target = rows["Sarcasm"].astype("string").str.strip().fillna("") != ""
    belongs = np.array([isinstance(k, str) and k.startswith(str(s)) for k, s in zip(key, rows["SCENE"], strict=True)])
    wrong = target & ~belongs
    return key.mask(wrong, rows["SCENE"].astype("string") + "_u"), wrong
