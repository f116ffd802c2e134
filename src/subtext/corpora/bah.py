"""BAH: ambivalence and hesitancy in answers before a webcam (González-González et al. 2025)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from subtext.core.schema import checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import official_text, present
from subtext.errors import DatasetNotFound, ManifestError
from subtext.manifest import SPLITS, Manifest, build_manifest
from subtext.manifest.description import Description

Level = Literal["video", "frame"]

_VIDEO_LISTS: Final = ("split", "dataset-splits/video-level/BAH_DB/split-0", "folds/BAH_DB/split-0")
_FRAME_LISTS: Final = ("split-frames", "dataset-splits/frame-level/BAH_DB/split-0")
_FACES: Final = "cropped-aligned-faces"
_VIDEO: Final = r"(?P<video>Videos/(?P<speaker>[^/,]+)/(?P<visit>[^/,]+)/[^/,]+\.mp4)"
_VIDEO_LINE: Final = rf"^{_VIDEO}\s*,\s*(?P<label>[01]?)\s*(?:,(?P<text>.*))?$"
_FRAME_LINE: Final = rf"^(?P<image>{_VIDEO}/frame-(?P<frame>\d+)\.jpg)\s*,\s*(?P<label>[01]?)\s*$"
_REMEDY: Final = "Ask for BAH at github.com/sbelharbi/bah-dataset (form and licence agreement), or set paths.data"


class Bah(Corpus):
    """Answers of BAH in the published splits, which are disjoint in participant.

    Args:
        data: the folder that holds `Videos`, the lists of videos (`split/train.txt` ... or, as in the repository,
            `dataset-splits/video-level/BAH_DB/split-0`), for frames the lists `split-frames` (or
            `dataset-splits/frame-level/BAH_DB/split-0`) and the pictures `cropped-aligned-faces`.
        level: `video`: a row an answer, with the number of its frames and of those with A/H where their lists are
            there. `frame`: a row a frame, its cropped face as `image`.
        groups: columns of reused units, by which intervals resample.
    """

    description = Description(
        title="BAH: Behavioural Ambivalence/Hesitancy, answers before a webcam",
        nature="natural",
        question="ambivalence or hesitancy",
        licence="the authors' end-user licence agreement; on request, for research",
        citation="González-González, Belharbi, Zeeshan, Sharafi, Aslam, Pedersoli, Koerich, Bacon & Granger 2025, "
        "arXiv 2505.19328",
        source="github.com/sbelharbi/bah-dataset",
        labels="ambivalence is the official label (A/H or not) of the answer or the frame; incongruent is the same, a "
        "proxy: the authors define A/H by discord of affect between or within modalities. No polarities",
        layout="lists of videos (path,label,words): dataset-splits and folds of the repository; lists of frames "
        "(path/frame-N.jpg,label), names of the folders split, split-frames and cropped-aligned-faces: descriptions by "
        "others who have the data, not read at the source",
        verified=False,
        cautions=(
            "Discord within one modality counts as A/H too: it is not words against face.",
            "Seven questions, some meant to evoke A/H: the column `question` may tell the label. Control for it.",
            "The words are an automatic transcript.",
            "The first release had 1,118 videos of 224 participants, the later one 1,427 of 300: say which you used.",
            "Frames of one answer are no independent examples: resample participants.",
        ),
    )

    @checked
    def __init__(self, *, data: str | Path, level: Level = "video", groups: Sequence[str] = ("speaker",)) -> None:
        self.data = Path(data)
        self.level = level
        self.groups = tuple(groups)

    def build(self) -> Manifest:
        """Read the lists and look for the files.

        Raises:
            DatasetNotFound: the lists, or for frames the pictures, are missing.
            ManifestError: a line cannot be used; naming file and line, not what is said in it.
        """
        table = self._videos() if self.level == "video" else self._frames()
        table["incongruent"] = table["ambivalence"]
        return build_manifest(table, root=self.data, name="bah", groups=self.groups)

    def _videos(self) -> pd.DataFrame:
        rows = self._read(_VIDEO_LISTS, _VIDEO_LINE, "Videos/ID/Visite_1/NAME.mp4,LABEL,WORDS")
        # The lists have blanks in some names that the files write as underscores.
        video = present(self.data, rows["video"], rows["video"].str.replace(" ", "_"))
        table = _described(rows).assign(
            id=rows["video"],
            video=video,
            transcript=rows["text"].str.strip(),
        )
        if self._folder(_FRAME_LISTS) is not None:
            frames = self._read(_FRAME_LISTS, _FRAME_LINE, "Videos/ID/Visite_1/NAME.mp4/frame-0.jpg,LABEL")
            with_ah = (frames["label"] == "1").groupby(frames["video"].str.replace(" ", "_"))
            name = rows["video"].str.replace(" ", "_")
            table["frames"] = name.map(with_ah.size()).astype("Int64")
            table["frames_with_ambivalence"] = name.map(with_ah.sum()).astype("Int64")
        return table

    def _frames(self) -> pd.DataFrame:
        rows = self._read(_FRAME_LISTS, _FRAME_LINE, "Videos/ID/Visite_1/NAME.mp4/frame-0.jpg,LABEL")
        image = f"{_FACES}/" + rows["image"]
        image = present(self.data, image, image.str.replace(" ", "_"))
        if image.isna().all():
            raise DatasetNotFound(
                f"none of the {len(rows)} pictures of the lists is under {self.data / _FACES}, where each line of "
                f"train.txt, val.txt and test.txt names one. {_REMEDY}"
            )
        return _described(rows).assign(
            id=rows["image"], image=image, answer=rows["video"], frame=rows["frame"].astype(int)
        )

    def _folder(self, places: Sequence[str]) -> Path | None:
        return next((self.data / place for place in places if (self.data / place / "train.txt").is_file()), None)

    def _read(self, places: Sequence[str], pattern: str, wanted: str) -> pd.DataFrame:
        """The fields of every line of the three lists, with `split`."""
        folder = self._folder(places)
        if folder is None:
            raise DatasetNotFound(f"no train.txt under {self.data} in {' or '.join(places)}. {_REMEDY}")
        parts = []
        for split in SPLITS:
            path = folder / f"{split}.txt"
            # Not splitlines(): words may hold U+2028 and its kin.
            lines = pd.Series(official_text(path, _REMEDY).split("\n"), dtype="string")
            lines.index += 1
            lines = lines[lines.str.strip() != ""]
            fields = lines.str.extract(pattern)
            unread = fields.index[fields["video"].isna()]
            if len(unread):
                raise ManifestError(
                    f"{path}: line {unread[0]} is not {wanted} ({len(unread)} such lines); "
                    "correct it, or download the file again"
                )
            parts.append(fields.assign(split=split))
        return pd.concat(parts, ignore_index=True)


def _described(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that an answer's row and a frame's row have in common."""
    return pd.DataFrame(
        {
            "session": rows["speaker"] + "/" + rows["visit"],
            "speaker": rows["speaker"],
            "question": rows["video"].str.extract(r"Question[_ ](\d+)")[0].astype("Int64"),
            "ambivalence": rows["label"].map({"0": False, "1": True}).astype("boolean"),
            "split": rows["split"],
        }
    )
