"""Face crops of a recording's segments, or of a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import cv2
from annotated_types import Interval

from subtext.core.schema import Count, NotNegative, Positive, checked
from subtext.errors import ManifestError, MediaError
from subtext.features.extractor import Extractor, NoSource, Source, file_sources, settings_digest
from subtext.features.stream import Stream
from subtext.manifest import Manifest
from subtext.media.crops import Alteration, FaceCrops, face_crops, image_crop
from subtext.media.face_detectors import DetectorName, make_detector

VERSION: Final = 3
"""Raised whenever the code makes other crops of the same picture."""


class FaceExtractor(Extractor):
    """uint8 RGB crops `[time, size, size, 3]` of the person in a segment; a picture (column `image`) is one step.

    Args:
        detector: "yunet" or "haar".
        models: folder with YuNet's weights.
        rate: pictures per second.
        size: side of the crops in px.
        margin: added on each side, as a share of the face's longer side.
        grey: luminance in all three channels.
        detect_rate: detections per second; between them faces are tracked.
        max_frames: at most this many pictures a segment; a longer one is sampled at a lower rate, which is reported.
        allow_download: fetch YuNet's weights from the hub where `models` has none.

    Raises:
        ConfigError: a setting is out of range.
    """

    modality = "visual"

    @checked
    def __init__(
        self,
        *,
        detector: DetectorName = "yunet",
        models: Path | str | None = None,
        rate: Positive = 5.0,
        size: Annotated[int, Interval(ge=1, le=4096)] = 112,
        margin: NotNegative = 0.2,
        grey: bool = False,
        detect_rate: Positive = 1.0,
        max_frames: Count = 300,
        allow_download: bool = False,
    ) -> None:
        self.detector = make_detector(detector, None if models is None else Path(models), allow_download=allow_download)
        self.rate, self.size, self.margin, self.grey = rate, size, margin, grey
        self.detect_rate, self.max_frames = detect_rate, max_frames

    def fingerprint(self) -> str:
        """sha256 over the detector with its weights and every setting."""
        return settings_digest(
            {
                "extractor": "faces",
                "version": VERSION,
                "detector": self.detector.fingerprint(),
                "rate": float(self.rate),
                "size": self.size,
                "margin": float(self.margin),
                "grey": self.grey,
                "detect_rate": float(self.detect_rate),
                "max_frames": self.max_frames,
            }
        )

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """A row's segment of `video`, else its `image`.

        Where two people are in one picture, the optional column `face_side` says which half the row's person is in.

        Raises:
            ManifestError: a side is neither left nor right.
        """
        sources = file_sources(manifest, ("video", "image"), "the row names no video or image")
        if "face_side" not in manifest.table:
            return sources
        sides = manifest.table["face_side"].astype("string").fillna("").tolist()
        for row, side in enumerate(sides):
            if side not in ("", "left", "right"):
                raise ManifestError(
                    f"{manifest.place(row, 'face_side')}: no side; write left or right, as the picture shows it, or "
                    "leave it empty"
                )
        return [
            replace(source, side=side) if isinstance(source, Source) and not source.is_picture else source
            for source, side in zip(sources, sides, strict=True)
        ]

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        """Crops of all segments of one file in one pass; a row without a face is a stream without steps."""
        path = sources[0].path
        if path is None:
            raise ValueError("faces are extracted from files")
        if self.threads:
            cv2.setNumThreads(self.threads)
        try:
            if sources[0].is_picture:
                crops = image_crop(
                    path,
                    detector=self.detector,
                    size=self.size,
                    margin=self.margin,
                    grey=self.grey,
                    alter=self.alteration(is_picture=True),
                )
                yield from ((number, _stream(crops)) for number in range(len(sources)))
                return
            for number, result in face_crops(
                path,
                [source.segment for source in sources],
                detector=self.detector,
                rate=self.rate,
                size=self.size,
                margin=self.margin,
                grey=self.grey,
                detect_rate=self.detect_rate,
                max_frames=self.max_frames,
                threads=self.threads,
                sides=[source.side for source in sources],
                alter=self.alteration,
            ):
                yield number, result if isinstance(result, MediaError) else _stream(result, sources[number].side)
        except cv2.error as error:
            raise MediaError(f"{path}: OpenCV cannot use its pictures ({' '.join(str(error).split())})") from error

    def alteration(self, is_picture: bool = False) -> Alteration | None:
        """What is done to the pictures of a segment before faces are looked for; nothing, but where that is studied."""
        return None


def _stream(crops: FaceCrops, side: str = "") -> Stream:
    quality = {"face_share": crops.face_share, "n_people": float(crops.n_people), "n_pictures": float(crops.n_frames)}
    if crops.rate:
        quality["picture_rate"] = crops.rate
    if len(crops.crops):
        quality["face_height"] = float(crops.boxes[:, 3].mean())
    pictures = "1 picture" if crops.n_frames == 1 else f"{crops.n_frames} pictures"
    where = f"the {side} half of " if side else ""
    return Stream(crops.crops, crops.times, quality, "" if len(crops.crops) else f"no face found in {where}{pictures}")
