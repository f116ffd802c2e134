"""Face detectors: YuNet, whose weights are a file, and OpenCV's bundled Haar cascade."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from subtext.errors import ConfigError, WeightsError
from subtext.media.video import Image

YUNET_FILE: Final = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256: Final = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_REPOSITORY: Final = "opencv/face_detection_yunet"
YUNET_REVISION: Final = "main"
"""The checksum above pins the content whatever the revision serves."""
_YUNET_LEAST: Final = 64
"""Least side of a picture, px: at 32 the coarsest map has one row, and OpenCV reads memory that it has not written."""

DetectorName = Literal["yunet", "haar"]
DETECTORS: Final[Sequence[DetectorName]] = get_args(DetectorName)


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: x, y, width, height in px of the picture given.
        score: confidence; comparable within one detector only.
        landmarks: `[5, 2]` px: right eye, left eye, nose tip, right and left corner of the mouth; None from `haar`.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: npt.NDArray[np.float32] | None = None


class FaceDetector(ABC):
    """Finds the faces of a picture. Loads what it needs on first use, so that it can be sent to another process."""

    name: str

    @abstractmethod
    def detect(self, image: Image) -> list[Face]:
        """The faces of a uint8 RGB picture `[height, width, 3]`, largest first.

        Raises:
            WeightsError: the detector's weights are missing or altered.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Every setting and weight that shapes what is found, as text."""

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the OpenCV object, which cannot leave its process."""
        return {**self.__dict__, "_model": None}


class YuNetDetector(FaceDetector):
    """OpenCV's FaceDetectorYN (Wu, Peng, Yu 2023, "YuNet: a tiny millisecond-level face detector").

    Args:
        weights: the file `face_detection_yunet_2023mar.onnx` or the folder that holds it.
        score: least confidence.
        side: pictures are shrunk to this longer side (px) before detection; a face should then be at least 10 px wide.
        allow_download: fetch the file from the hub where `weights` has none.
    """

    name = "yunet"

    def __init__(
        self, weights: Path | None = None, *, score: float = 0.7, side: int = 320, allow_download: bool = False
    ) -> None:
        self.weights = None if weights is None else Path(weights)
        self.score, self.side, self.allow_download = score, side, allow_download
        self._model: Any = None

    def fingerprint(self) -> str:
        return (
            f"yunet sha256={YUNET_SHA256} score={self.score:g} side={self.side} least={_YUNET_LEAST} "
            f"opencv={cv2.__version__}"
        )

    def detect(self, image: Image) -> list[Face]:
        if self._model is None:
            self._model = self._load()
        small, scale = shrink(image, self.side)
        below, beside = (max(0, _YUNET_LEAST - side) for side in small.shape[:2])
        small = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._model.setInputSize((small.shape[1], small.shape[0]))
        _, found = self._model.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = [
            Face(
                box=tuple(float(v) / scale for v in row[:4]),  # type: ignore[arg-type]
                score=float(row[14]),
                landmarks=row[4:14].reshape(5, 2) / np.float32(scale),
            )
            for row in (found if found is not None else ())
            if row[2] > 1 and row[3] > 1
        ]
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])

    def _load(self) -> Any:
        content = np.frombuffer(read_weights(self.weights, allow_download=self.allow_download), dtype=np.uint8)
        return cv2.FaceDetectorYN.create(
            "onnx", content, np.empty(0, np.uint8), (self.side, self.side), self.score, 0.3, 50
        )


class HaarDetector(FaceDetector):
    """OpenCV's bundled frontal-face cascade (Viola & Jones 2001); needs no file.

    Args:
        side: pictures are shrunk to this longer side (px) before detection: the cost grows with its square.
        smallest: least width of a face as a share of the shrunk picture's shorter side.
        neighbours: overlapping windows that must agree; higher means fewer false faces.
    """

    name = "haar"

    def __init__(self, *, side: int = 320, smallest: float = 0.12, neighbours: int = 5) -> None:
        self.side, self.smallest, self.neighbours = side, smallest, neighbours
        self._model: Any = None

    def fingerprint(self) -> str:
        return f"haar side={self.side} smallest={self.smallest:g} neighbours={self.neighbours} opencv={cv2.__version__}"

    def detect(self, image: Image) -> list[Face]:
        if self._model is None:
            self._model = self._load()
        small, scale = shrink(image, self.side)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        least = max(20, round(self.smallest * min(grey.shape)))
        boxes, _, weights = self._model.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=self.neighbours, minSize=(least, least), outputRejectLevels=True
        )
        faces = [
            Face(box=tuple(float(v) / scale for v in box), score=float(weight))  # type: ignore[arg-type]
            for box, weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])

    def _load(self) -> Any:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
        file = Path(folder or "") / "haarcascade_frontalface_default.xml"
        if folder is None or not hasattr(cv2, "CascadeClassifier") or not file.is_file():
            raise WeightsError(
                f"OpenCV {cv2.__version__} carries no Haar cascade; install 'opencv-python-headless<5', or use "
                f"{_how('yunet')}"
            )
        return cv2.CascadeClassifier(str(file))


def make_detector(name: str, models: Path | None = None, *, allow_download: bool = False) -> FaceDetector:
    """A detector by name with its default settings.

    Args:
        name: `yunet` or `haar`.
        models: folder that holds `face_detection_yunet_2023mar.onnx`.
        allow_download: fetch weights from the hub where the folder has none.

    Raises:
        ConfigError: unknown name.
    """
    if name == "yunet":
        return YuNetDetector(models, allow_download=allow_download)
    if name == "haar":
        return HaarDetector()
    raise ConfigError(f"there is no face detector '{name}'; use {' or '.join(DETECTORS)}: {_how('NAME')}")


def read_weights(source: Path | None, *, allow_download: bool = False) -> bytes:
    """YuNet's weights from a file, a folder or the hub, checked against their sha256.

    Raises:
        WeightsError: not found, or altered.
    """
    file = source
    if source is not None and not source.is_file() and source.suffix != Path(YUNET_FILE).suffix:
        file = source / YUNET_FILE
    if file is None or not file.is_file():
        if not allow_download:
            raise WeightsError(
                f"no weights of the face detector YuNet at {file or YUNET_FILE}; get that file of the hub's "
                f"{YUNET_REPOSITORY} (encoder.visual.extractor.allow_download=true does) and name its folder by "
                f"paths.models or --models, or do without: {_how('haar')}"
            )
        file = _download()
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        raise WeightsError(
            f"{file}: not the expected {YUNET_FILE} (its sha256 differs: altered, cut off or another version); fetch "
            f"it again from {YUNET_REPOSITORY}"
        )
    return content


def _download() -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(YUNET_REPOSITORY, YUNET_FILE, revision=YUNET_REVISION))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(
            f"YuNet's weights could not be fetched from {YUNET_REPOSITORY} ({type(error).__name__}); put "
            f"{YUNET_FILE} into the folder paths.models, or do without: {_how('haar')}"
        ) from error


def _how(name: str) -> str:
    """How each command is told which detector to use."""
    return (
        f"encoder.visual.extractor.detector={name} (subtext-vlm: frames.face.detector={name}; subtext-data: --detector "
        f"{name})"
    )


def shrink(image: Image, side: int) -> tuple[Image, float]:
    """The picture with its longer side at most `side` px, and the scale that was applied."""
    scale = min(1.0, side / max(image.shape[:2]))
    if scale == 1.0:
        return image, scale
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale
