"""CH-SIMS: Chinese clips with a sentiment score for words, voice, face and all together (Yu et al. 2020)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import pandas as pd
from annotated_types import Interval

from subtext.core.schema import Dropout, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import check_unique, numbers, official_table, present, recode
from subtext.labels import IncongruenceRule
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import CardSection, Description

Rule = Literal["sign", "distance"]

_COLUMNS: Final = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
_CHANNELS: Final = {"verbal": "label_T", "vocal": "label_A", "visual": "label_V"}
_REMEDY: Final = (
    "Expected label.csv and Raw/VIDEO/CLIP.mp4; ask for CH-SIMS at github.com/thuiar/MMSA, or set paths.data"
)


class ChSims(Corpus):
    """Clips of CH-SIMS in the official splits, each channel labelled without the others.

    Incongruence is not constructed here: the channels of one clip were rated independently and got other scores.

    Args:
        data: holds `label.csv` and, where present, the films `Raw/VIDEO/CLIP.mp4`.
        rule: `sign`: polarities of words and face differ (and of words and voice, for `vocal_incongruent`), by the
            incongruence rule. `distance`: their scores differ by at least `distance`.
        distance: in units of the scores, which go from -1 to 1 in steps of 0.2.
        neutral_band: scores of at most this size are neutral.
        count_unvoiced_warmth: with `sign`, count a smile (or a warm voice) under neutral words.
        groups: columns of reused units, by which intervals resample; the corpus names no speakers.
        disjoint: columns whose values training refuses to find in two splits.
    """

    description = Description(
        title="CH-SIMS: Chinese single- and multimodal sentiment analysis",
        nature="acted",
        question="between unimodal labels",
        licence="none stated where its layout was read; on request, for research",
        citation="Yu, Xu, Meng, Zhu, Ma, Wu, Zou & Yang 2020, ACL: CH-SIMS",
        source="github.com/thuiar/MMSA (links to the data)",
        labels="verbal, vocal and visual polarity: the sign of label_T, label_A, label_V outside the neutral band; "
        "incongruent by corpus.rule; the scores are carried as verbal_score, vocal_score, visual_score and score",
        layout="data/DataPre.py of github.com/thuiar/MMSA and the page 'Dataset and Structure' of the wiki of "
        "github.com/thuiar/MMSA-FET",
        cautions=(
            "Chinese (Mandarin): take a text encoder that knows it.",
            "Clips are of films, series and shows (recalled from the paper, not read again): much of it is acted.",
            "Each channel was rated on its own: a difference can be the raters' disagreement as well as the channels', "
            "and no noise ceiling can be had from label.csv.",
            "No speakers are named; clips of one video_id are kept together for intervals.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        rule: Rule = "sign",
        distance: Annotated[float, Interval(gt=0, le=2)] = 0.8,
        neutral_band: Dropout = 0.1,
        count_unvoiced_warmth: bool = False,
        groups: Sequence[str] = ("source",),
        disjoint: Sequence[str] = (),
    ) -> None:
        self.data = Path(data)
        self.rule = rule
        self.distance = distance
        self.neutral_band = neutral_band
        self.polarity_rule = IncongruenceRule(count_unvoiced_warmth)
        self.groups = tuple(groups)
        self.disjoint = tuple(disjoint)

    def build(self) -> Manifest:
        """Read the labels and look for the films.

        Raises:
            DatasetNotFound: `label.csv` is missing or lacks columns.
            ManifestError: a cell cannot be used; naming row and column.
        """
        path = self.data / "label.csv"
        rows = official_table(path, _COLUMNS, _REMEDY)
        check_unique(rows, ["video_id", "clip_id"], path)
        clip = rows["clip_id"].astype("string").str.strip()
        # A spreadsheet that saved the file has made 1 of 0001.
        whole = clip.str.replace(r"\.0$", "", regex=True).str.zfill(4)
        films = ("Raw/" + rows["video_id"] + "/" + number + ".mp4" for number in (clip, whole))
        table = pd.DataFrame(
            {
                "id": rows["video_id"] + "-" + whole,
                "session": rows["video_id"],
                "source": rows["video_id"],
                "video": present(self.data, *films),
                "transcript": rows["text"],
                "score": numbers(rows, "label", -1, 1, path),
                "annotation": rows["annotation"],
                "split": recode(rows, "mode", {"train": "train", "valid": "val", "test": "test"}, path),
            }
        )
        for channel, column in _CHANNELS.items():
            score = numbers(rows, column, -1, 1, path)
            table[f"{channel}_score"] = score
            sign = (score > self.neutral_band).astype("Int64") - (score < -self.neutral_band).astype("Int64")
            table[f"{channel}_polarity"] = sign.mask(score.isna())
        if self.rule == "distance":
            for column, channel in (("incongruent", "visual"), ("vocal_incongruent", "vocal")):
                apart = (table["verbal_score"] - table[f"{channel}_score"]).abs()
                # The scores are decimal fractions: 0.8 apart must not fail by the last bit.
                table[column] = (apart >= self.distance - 1e-9).astype("boolean").mask(apart.isna())
        return build_manifest(table, root=self.data, name="ch_sims", groups=self.groups, rule=self.polarity_rule)

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """How many clips either rule calls incongruent."""
        table = manifest.table
        rows = []
        for channel in ("visual", "vocal"):
            pair = table[["verbal_polarity", f"{channel}_polarity"]].dropna().astype(int)
            apart = (table["verbal_score"] - table[f"{channel}_score"]).abs().dropna()
            row: dict[str, object] = {
                "words against": channel,
                "clips": len(pair),
                "polarities differ": round(float((pair.iloc[:, 0] != pair.iloc[:, 1]).mean()), 3),
                "opposite signs": round(float((pair.prod(axis=1) < 0).mean()), 3),
            }
            row |= {f"{at} apart or more": round(float((apart >= at - 1e-9).mean()), 3) for at in (0.4, 0.8, 1.2)}
            rows.append(row)
        return [
            CardSection(
                "What either rule calls incongruent",
                f"Shares of the clips, with a neutral band of {self.neutral_band:g}. In use: {self.rule}.",
                pd.DataFrame(rows),
            )
        ]
