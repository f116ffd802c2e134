"""The pictures of a row as a model sees them: whole frames, the face, or both, at times that are a setting."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from subtext.core.schema import Count, Share, checked
from subtext.errors import ConfigError, MediaError, unforeseen_as
from subtext.features.extractor import NoSource, Source
from subtext.features.faces import FaceExtractor
from subtext.manifest import Manifest
from subtext.media.container import Recording
from subtext.media.named import named_by, pathless
from subtext.media.segment import Segment, Span, resolve
from subtext.media.video import Image, read_image, sample_frames
from subtext.vlm.inputs import Frames

log = logging.getLogger(__name__)

View = Literal["whole", "face", "both"]
MOMENT: Final = 1e-3
"""Seconds around a wanted time."""


class FrameReader:
    """Reads the frames of rows.

    Args:
        count: frames a row, at the middles of equal steps of its segment.
        times: shares of the segment (0 to 1, rising) at which frames are taken instead.
        view: `whole` pictures, the `face` of the row's person, or `both` side by side in each picture.
        max_side: longer side of a whole picture at most, px.
        face: cuts out the face.

    Raises:
        ConfigError: a setting is out of range.
    """

    @checked
    def __init__(
        self,
        *,
        count: Count = 8,
        times: Sequence[Share] | None = None,
        view: View = "whole",
        max_side: Count = 512,
        face: FaceExtractor,
    ) -> None:
        shares = list(times) if times is not None else [(step + 0.5) / count for step in range(count)]
        if not shares or shares != sorted(shares) or not 0 <= shares[0] <= shares[-1] <= 1:
            raise ConfigError(f"frames.times={shares}: write shares of the segment from 0 to 1, in rising order")
        self.shares, self.view, self.max_side, self.face = shares, view, max_side, face

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """What each row's pictures are read from; see `FaceExtractor.sources`."""
        return self.face.sources(manifest)

    def read(self, sources: Mapping[str, Source | NoSource]) -> dict[str, Frames | str]:
        """The frames of rows, or why there are none.

        Args:
            sources: by the row's id.
        """
        found: dict[str, Frames | str] = {
            name: source.reason for name, source in sources.items() if isinstance(source, NoSource)
        }
        by_file: dict[object, dict[str, Source]] = {}
        for name, source in sources.items():
            if isinstance(source, Source):
                by_file.setdefault((source.path, source.is_picture), {})[name] = source
        for rows in by_file.values():
            first = next(iter(rows.values()))
            path = first.path
            if path is None:
                raise ValueError("frames are read from files")
            with named_by({path: first.place} if first.place else {}):
                try:
                    with unforeseen_as(MediaError, path):
                        read = self._of_file(path, rows)
                except MediaError as error:
                    read = dict.fromkeys(rows, str(error))
            found |= {name: pathless(got, path) if isinstance(got, str) else got for name, got in read.items()}
        return found

    def _of_file(self, path: Path, rows: Mapping[str, Source]) -> dict[str, Frames | str]:
        names, sources = list(rows), list(rows.values())
        if sources[0].is_picture:
            # Twice, since a video is two pictures at least.
            still = read_image(path, self.max_side)
            wholes: list[list[Image] | str] = [[still, still] for _ in sources]
            spans: list[Span | MediaError] = [Span(0.0, 1.0)] * len(sources)
            moments: list[tuple[float, ...]] = [(0.0, 1.0)] * len(sources)
        else:
            with Recording(path) as recording:
                recording.require("video")
                duration = recording.duration
            if duration is None:
                raise MediaError(f"{path}: nothing can be decoded; it may be damaged or of an unsupported codec")
            spans = resolve([source.segment for source in sources], duration, path)
            moments = [
                () if isinstance(span, MediaError) else tuple(span.duration * share for share in self.shares)
                for span in spans
            ]
            wholes = self._wholes(sources, spans, moments) if self.view != "face" else [[] for _ in sources]
        faces = dict(self._faces(sources, moments)) if self.view != "whole" else {}
        found: dict[str, Frames | str] = {}
        for place, (name, span, whole) in enumerate(zip(names, spans, wholes, strict=True)):
            if isinstance(span, MediaError):
                found[name] = str(span)
            elif isinstance(whole, str):
                found[name] = whole
            else:
                face = faces.get(place, "")
                if self.view == "both" and isinstance(face, str):
                    where = sources[place].place or str(path)
                    log.warning("%s: %s: the face's place beside the picture is black", where, pathless(face, path))
                found[name] = self._joined(whole, moments[place], face, span.duration)
        return found

    def _joined(
        self,
        whole: Sequence[Image],
        times: Sequence[float],
        face: tuple[list[Image], list[float]] | str,
        duration: float,
    ) -> Frames | str:
        if self.view == "whole":
            return Frames(np.stack(whole), tuple(times), duration)
        if self.view == "face":
            return face if isinstance(face, str) else Frames(np.stack(face[0]), tuple(face[1]), duration)
        height = whole[0].shape[0]
        if isinstance(face, str):
            crops = [np.zeros((height, height, 3), np.uint8) for _ in whole]
        else:
            how = cv2.INTER_AREA if height < len(face[0][0]) else cv2.INTER_LINEAR
            crops = [cv2.resize(crop, (height, height), interpolation=how) for crop in face[0]]
        sides = [np.concatenate([picture, crop], axis=1) for picture, crop in zip(whole, crops, strict=True)]
        return Frames(np.stack(sides), tuple(times), duration)

    def _wholes(
        self, sources: Sequence[Source], spans: Sequence[Span | MediaError], moments: Sequence[Sequence[float]]
    ) -> list[list[Image] | str]:
        """Whole pictures of each row, or why one of them is missing."""
        path = sources[0].path
        wanted: list[int] = []
        segments: list[Segment] = []
        for row, (span, times) in enumerate(zip(spans, moments, strict=True)):
            if isinstance(span, Span):
                for time in times:
                    # The middle of a moment is where its one picture is taken.
                    middle = min(max(span.start + time, MOMENT / 2), span.end - MOMENT)
                    segments.append(Segment(middle - MOMENT / 2, middle + MOMENT / 2))
                    wanted.append(row)
        pictures: dict[int, Image | str] = {}
        if segments and path is not None:
            for number, frame in sample_frames(path, segments, max_side=self.max_side, threads=self.face.threads):
                pictures[number] = str(frame) if isinstance(frame, MediaError) else frame.image
        found: list[list[Image] | str] = [[] for _ in sources]
        for number, row in enumerate(wanted):
            picture, so_far = pictures.get(number, f"{path}: no picture at {segments[number].start:.2f} s"), found[row]
            if isinstance(picture, str):
                found[row] = picture
            elif not isinstance(so_far, str):
                so_far.append(picture)
        return found

    def _faces(
        self, sources: Sequence[Source], moments: Sequence[Sequence[float]]
    ) -> Iterator[tuple[int, tuple[list[Image], list[float]] | str]]:
        """For each row the crops nearest to the wanted times and when they are, or why there are none."""
        for row, stream in self.face.extract(sources):
            if isinstance(stream, MediaError):
                yield row, str(stream)
            elif not len(stream):
                yield row, stream.reason
            else:
                nearest = [int(np.abs(stream.times - time).argmin()) for time in moments[row]]
                yield row, ([stream.values[n] for n in nearest], [float(stream.times[n]) for n in nearest])
