"""What the light model costs with all that a vision-language model does inside itself: finding faces, reading words."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np

from subtext.encoders.tokens import Tokens
from subtext.errors import RunError
from subtext.features.faces import FaceExtractor
from subtext.features.index import FeatureIndex
from subtext.features.text import TextExtractor
from subtext.model.batches import typical_clip
from subtext.runs.folder import RunFolder
from subtext.vlm.cost import count_flops

SIDE: Final = 320
"""YuNet's pictures, px: as if each were square, which is more than it gets."""
SPECIAL_TOKENS: Final = 2


def light_cost(
    run: Path, models: Path | None = None, seconds: float | None = None, trust: Collection[str] = ()
) -> dict[str, Any]:
    """Parameters and operations a clip of the light model of a run.

    Not counted: tracking faces between detections, measuring prosody, resizing; none of them is learned.

    Args:
        run: folder of a training run.
        models: folder with the face detector's weights.
        seconds: length of the clip; None takes the median of the run's corpus. Words grow with the length as they do
            there, and what the run cuts off (`max_steps`) is cut off here too.
        trust: see `subtext.runs.folder.RunFolder`.

    Returns:
        Part -> `parameters` and `flops`: `classifier` (encoders, fusion, heads), `face_detector`, `text_encoder`,
        `total`.

    Raises:
        RunError: the folder holds no finished run, or the run reads a part otherwise than could be counted.
        WeightsError: the detector's or the text model's files are missing.
    """
    folder = RunFolder(run, trust)
    described, classifier, index = folder.model(), folder.classifier(), FeatureIndex.load(run)
    extractors = folder.extractors(models)
    visual, text = extractors.get("visual"), extractors.get("text")
    if not isinstance(visual, FaceExtractor) or not isinstance(text, TextExtractor):
        raise RunError(f"{run}: only a model of recorded faces and words is counted; give such a run")
    rows = index.table[(index.table["modality"] == "visual") & (index.table["status"] == "ok")]
    usual = float(rows["n_steps"].median()) / visual.rate
    seconds = seconds or usual
    clip = {
        modality: _lengthened(tokens, seconds / usual, modality, described["max_steps"][modality])
        for modality, tokens in typical_clip(index, classifier.modalities, described["max_steps"]).items()
    }
    words = round(float(index.quality("text")["n_tokens"].median()) * seconds / usual)
    parts = {
        "classifier": (sum(classifier.counts().values()), classifier.flops(clip)),
        # One at the beginning and one on the last picture, whatever the rate.
        "face_detector": _yunet(visual, math.floor(seconds * visual.detect_rate) + 2),
        "text_encoder": _sentence_model(text, words + SPECIAL_TOKENS),
    }
    total = tuple(sum(values) for values in zip(*parts.values(), strict=True))
    return {n: dict(zip(("parameters", "flops"), v, strict=True)) for n, v in ({**parts, "total": total}).items()}


def _lengthened(tokens: Tokens, by: float, modality: str, most: int) -> Tokens:
    import torch

    # Words are one embedding however many they are, until they are more than the model reads at once.
    steps = 1 if modality == "text" else min(most, max(1, round(tokens.mask.shape[1] * by)))
    shape = tokens.values.shape[2:]
    return Tokens(torch.zeros(1, steps, *shape), torch.ones(1, steps, dtype=torch.bool))


def _yunet(visual: FaceExtractor, detections: int) -> tuple[int, int]:
    import cv2

    from subtext.media.face_detectors import YuNetDetector, read_weights

    detector = visual.detector
    if not isinstance(detector, YuNetDetector):
        raise RunError(f"the run finds faces by '{detector.name}', whose operations are not counted; use yunet")
    net = cv2.dnn.readNetFromONNX(np.frombuffer(read_weights(detector.weights), np.uint8))
    numbers, _, outputs = net.getLayersShapes([1, 3, SIDE, SIDE])
    parameters = flops = 0
    for number, shapes in zip(np.ravel(numbers), outputs, strict=True):
        layer = net.getLayer(int(number))
        parameters += sum(blob.size for blob in layer.blobs)
        if layer.type == "Convolution":
            # Not OpenCV's getFLOPS, which takes convolutions of groups for full ones: 8.5 times as much here.
            height, width = shapes[0][2:]
            flops += 2 * layer.blobs[0].size * int(height) * int(width)
    return parameters, detections * flops


def _sentence_model(text: TextExtractor, tokens: int) -> tuple[int, int]:
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(str(text.folder), trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        model = AutoModel.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    ids = torch.ones(1, tokens, dtype=torch.long)
    flops = count_flops(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return sum(weight.numel() for weight in model.parameters()), flops
