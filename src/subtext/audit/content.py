"""What files tell before anybody looks or listens: headers, loudness, light, and fingerprints that find copies.

Nothing here is read unless it is asked for: "headers" opens every file, "content" decodes every segment's sound and one
picture of it.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.audit.division import Bools, Division
from subtext.errors import MediaError, unforeseen_as
from subtext.manifest import Manifest

log = logging.getLogger(__name__)

Depth = Literal["none", "headers", "content"]
DEPTHS: Final = ("none", "headers", "content")
STREAMS: Final = ("video", "audio", "image")
_SAMPLE_RATE: Final = 16_000
_PICTURE_SIDE: Final = 640


@dataclass
class Content:
    """What was read of a corpus's media.

    Attributes:
        variables: one numeric column a figure, in the manifest's order; NaN where it does not apply.
        digests: kind -> `[n]` digest of the content, null where there is none.
        prints: "audio", "picture" -> fingerprints `[n, dim]` and which rows have one.
        unreadable: how many files could not be read.
    """

    variables: pd.DataFrame
    digests: dict[str, pd.Series] = field(default_factory=dict)
    prints: dict[str, tuple[npt.NDArray[np.float32], Bools]] = field(default_factory=dict)
    unreadable: int = 0


def read_content(manifest: Manifest, depth: Depth, divided: Sequence[Division]) -> Content:
    """Read as much of the media as `depth` says.

    Digests are taken only of files of the same size that stand on different sides: others cannot be copies.

    Args:
        manifest: the corpus.
        depth: "headers" for duration, resolution and bit rate; "content" also for loudness, brightness, colour, the
            face's size, and fingerprints.
        divided: the corpus's divisions.
    """
    table = manifest.table
    content = Content(pd.DataFrame(index=range(len(table))))
    if depth == "none":
        return content
    for stream in STREAMS:
        if stream in table and table[stream].notna().any():
            _read_stream(manifest, stream, depth, divided, content)
    return content


def _read_stream(manifest: Manifest, stream: str, depth: Depth, divided: Sequence[Division], content: Content) -> None:
    table = manifest.table
    paths = {name: manifest.path(name) for name in table[stream].dropna().unique()}
    sizes = {name: size for name, path in paths.items() if (size := _size(path)) is not None}
    content.unreadable += len(paths) - len(sizes)
    digests = _digests(table, stream, paths, sizes, divided)
    content.digests[stream] = table[stream].map(digests)
    figures: dict[int, dict[str, float]] = {}
    prints: dict[str, dict[int, npt.NDArray[np.float32]]] = {"audio": {}, "picture": {}}
    by_file = table.groupby(stream, sort=False).indices
    for name in _progress(list(sizes), f"Reading {stream} files"):
        rows = [int(row) for row in by_file[name]]
        try:
            with unforeseen_as(MediaError, paths[name]):
                header = _header(paths[name], stream, sizes[name])
                for row in rows:
                    figures[row] = dict(header)
                if depth == "content":
                    _decode(paths[name], stream, table, rows, figures, prints)
        except MediaError as error:
            log.debug("audit: %s", error)
            content.unreadable += 1
    found = pd.DataFrame.from_dict(figures, orient="index").reindex(content.variables.index)
    for column in found:
        name = str(column) if column not in content.variables else f"{stream}_{column}"
        content.variables[name] = found[column].astype("float64")
    for kind, vectors in prints.items():
        if vectors and kind not in content.prints:
            content.prints[kind] = _stacked(vectors, len(table))


def _header(path: Path, stream: str, size: int) -> dict[str, float]:
    if stream == "image":
        from PIL import Image as PillowImage

        try:
            with PillowImage.open(path) as picture:
                width, height = picture.size
        except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
            raise MediaError(f"{path}: cannot be read as a picture ({error})") from error
        return {"resolution": float(width * height), "bits_per_pixel": 8 * size / (width * height)}
    from subtext.media.video import probe

    info = probe(path)
    header: dict[str, float] = {}
    if info.duration:
        header["file_duration"] = info.duration
        header["bitrate"] = 8 * size / info.duration
    if info.width and info.height:
        header["resolution"] = float(info.width * info.height)
    if info.fps:
        header["frame_rate"] = info.fps
    if info.sample_rate:
        header["sample_rate"] = float(info.sample_rate)
    header["has_sound"] = float(info.has_audio)
    return header


def _decode(
    path: Path,
    stream: str,
    table: pd.DataFrame,
    rows: Sequence[int],
    figures: Mapping[int, dict[str, float]],
    prints: Mapping[str, dict[int, npt.NDArray[np.float32]]],
) -> None:
    from subtext.audit.fingerprints import picture_fingerprint, sound_fingerprint
    from subtext.media.audio import read_segments, rms_db
    from subtext.media.segment import Segment, StreamMissing
    from subtext.media.video import Frame, read_image, sample_frames

    segments = [Segment(_time(table["start"].iloc[row]), _time(table["end"].iloc[row])) for row in rows]
    if stream == "image":
        image = read_image(path, _PICTURE_SIDE)
        for row in rows:
            figures[row].update(_light(image))
            if (mark := picture_fingerprint(image)) is not None:
                prints["picture"][row] = mark
        return
    if stream == "video":
        # One picture a segment: that of its middle.
        for place, frame in sample_frames(path, segments, 1e-3, max_side=_PICTURE_SIDE, max_frames=1, threads=1):
            if isinstance(frame, Frame):
                figures[rows[place]].update(_light(frame.image))
                if (mark := picture_fingerprint(frame.image)) is not None:
                    prints["picture"][rows[place]] = mark
    try:
        for place, sound in read_segments(path, segments, _SAMPLE_RATE):
            if isinstance(sound, MediaError):
                continue
            samples = sound.samples - sound.samples.mean()
            figures[rows[place]].update(loudness=rms_db(samples), sound_duration=len(samples) / _SAMPLE_RATE)
            if (mark := sound_fingerprint(samples, _SAMPLE_RATE)) is not None:
                prints["audio"][rows[place]] = mark
    except StreamMissing:
        return


def _light(image: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Brightness and its spread (grey levels), colour, and the height of the largest face as a share of the picture."""
    import cv2

    pixels = image.reshape(-1, 3).astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    figures = {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "warmth": float((pixels[:, 0] - pixels[:, 2]).mean()),
        "saturation": float((pixels.max(axis=1) - pixels.min(axis=1)).mean()),
    }
    faces = _detector().detect(image)
    if faces:
        figures["face_height"] = faces[0].box[3] / image.shape[0]
    return figures


def _detector() -> Any:
    global _haar
    if _haar is None:
        from subtext.media.face_detectors import make_detector

        _haar = make_detector("haar")
    return _haar


_haar: Any = None


def _digests(
    table: pd.DataFrame,
    stream: str,
    paths: Mapping[str, Path],
    sizes: Mapping[str, int],
    divided: Sequence[Division],
) -> dict[str, str]:
    """Path -> digest of what a row reads of it, for files that may be copies of one on another side."""
    from subtext.features.content import file_digest

    wanted: set[str] = set()
    size = table[stream].map(dict(sizes))
    for division in divided:
        codes = pd.factorize(size)[0].astype(np.int64)
        known = (codes >= 0) & (division.side >= 0)
        sides = pd.Series(division.side[known]).groupby(codes[known]).nunique()
        several = set(sides.index[sides > 1])
        wanted |= set(table[stream][[code in several for code in codes]].dropna())
    found = {}
    for name in wanted:
        try:
            found[name] = file_digest(paths[name])
        except OSError as error:
            log.debug("audit: %s", error)
    return found


def _stacked(vectors: Mapping[int, npt.NDArray[np.float32]], n: int) -> tuple[npt.NDArray[np.float32], Bools]:
    there = np.zeros(n, dtype=bool)
    there[list(vectors)] = True
    stacked = np.zeros((n, len(next(iter(vectors.values())))), dtype=np.float32)
    for row, vector in vectors.items():
        stacked[row] = vector
    return stacked, there


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _time(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _progress(items: Sequence[str], what: str) -> Iterable[str]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, console=console, disable=not console.is_terminal)
