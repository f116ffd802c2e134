"""The predictions table: one row a clip, with every label, every probability, and what was there to judge by."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from subtext.labels import MODALITIES
from subtext.manifest import LABEL_COLUMNS
from subtext.model.baseline import person_means
from subtext.model.batches import ClipData, loader
from subtext.model.classifier import ANCHORED, IncongruenceClassifier
from subtext.model.heads import HeadSpec
from subtext.model.novelty import Reference

EMOTION_COLUMNS: Final = ("verbal_emotion", "visual_emotion", "vocal_emotion")
IDENTITY: Final = ("id", "session", "speaker", "split", "fold", "seed")
PREDICTION_BATCH: Final = 128
_NOVELTY: Final = "novelty/"
"""What the distances to the training clips are called among the answers, before the modality."""


@torch.inference_mode()
def predict_table(
    classifier: IncongruenceClassifier,
    data: ClipData,
    *,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
    novelty: Mapping[str, Reference] | None = None,
    keep: Sequence[str] = (),
    batch_size: int = PREDICTION_BATCH,
) -> pd.DataFrame:
    """Predict every row of `data`.

    Args:
        classifier: the model, on the device where it shall compute.
        data: rows and their streams.
        calibration: by head, with `temperature`; raw probabilities where it is missing.
        novelty: by modality, where the training clips lie.
        keep: columns of `data.table` to carry over besides ids, split and labels.
        batch_size: rows computed at once.

    Returns:
        A row for each row of `data`, in its order. `logit_*` are raw, `prob_*` calibrated; `anchor_*` the raw logit
        that a fusion stands on; `baseline_*` of how many turns the person's mean is, where readers use one; `novelty_*`
        distances to the training clips as multiples of the level. What cannot be known is NaN: the polarity and the
        novelty of a modality that the row lacks, and everything about a row that lacks all of them.
    """
    classifier.eval()
    turns: dict[str, Tensor] = {}
    answers = _answers(classifier, data, batch_size, turns, novelty)
    wanted = dict.fromkeys([*IDENTITY, *keep, *EMOTION_COLUMNS, *LABEL_COLUMNS])
    table = data.table[[column for column in wanted if column in data.table]].copy()
    for column in ("fold", "seed"):
        if column not in table:
            table[column] = pd.NA
    present = data.present
    anything = torch.stack([present[modality] for modality in classifier.modalities]).any(dim=0)
    columns: dict[str, np.ndarray] = {}
    for spec in classifier.heads.specs:
        if spec.name not in answers:
            continue
        there = anything if spec.modality is None else present[spec.modality]
        temperature = float((calibration or {}).get(spec.name, {}).get("temperature", 1.0))
        columns |= _head_columns(spec, answers[spec.name], there, temperature)
        if spec.kind == "binary" and f"{ANCHORED}{spec.name}" in answers:
            anchor = answers[f"{ANCHORED}{spec.name}"].masked_fill(~there, torch.nan)
            columns[f"anchor_{spec.name}"] = _float(anchor)
    for modality, number in turns.items():
        columns[f"baseline_{modality}"] = number.numpy()
    for modality in MODALITIES:
        columns[f"present_{modality}"] = present[modality].numpy()
    if "evidence" in answers and classifier.fusion is not None:
        for place, modality in enumerate(classifier.fusion.modalities):
            columns[f"evidence_{modality}"] = _float(answers["evidence"][:, place])
    for modality in novelty or {}:
        if f"{_NOVELTY}{modality}" in answers:
            values = answers[f"{_NOVELTY}{modality}"].masked_fill(~present[modality], torch.nan)
            columns[f"novelty_{modality}"] = _float(values)
    return pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)


def raw_answers(
    classifier: IncongruenceClassifier, data: ClipData, batch_size: int = PREDICTION_BATCH
) -> dict[str, Tensor]:
    """Every head's raw answers for every row of `data`, on the CPU."""
    classifier.eval()
    with torch.inference_mode():
        return _answers(classifier, data, batch_size)


def _answers(
    classifier: IncongruenceClassifier,
    data: ClipData,
    batch_size: int,
    turns: dict[str, Tensor] | None = None,
    novelty: Mapping[str, Reference] | None = None,
) -> dict[str, Tensor]:
    device = next(classifier.parameters()).device
    data.means = person_means(classifier, data, turns)
    parts: list[dict[str, Tensor]] = []
    for batch in loader(data, batch_size):
        batch = batch.to(device)
        embedded = classifier.embed(batch.streams, data.embedded)
        answers = classifier(embedded, readings=classifier.read(embedded, batch.means))
        for modality, reference in (novelty or {}).items():
            if modality in embedded:
                answers[f"{_NOVELTY}{modality}"] = reference.novelty(embedded[modality])
        parts.append({name: answer.float().cpu() for name, answer in answers.items()})
    names = parts[0].keys() if parts else ()
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _head_columns(spec: HeadSpec, answers: Tensor, there: Tensor, temperature: float) -> dict[str, np.ndarray]:
    def known(values: Tensor) -> np.ndarray:
        return _float(values.masked_fill(~there, torch.nan))

    if spec.kind == "number":
        return {f"pred_{spec.name}": known(answers)}
    if spec.kind == "binary":
        return {
            f"logit_{spec.name}": known(answers),
            f"prob_{spec.name}": known((answers.double() / temperature).sigmoid()),
        }
    shares = (answers.double() / temperature).softmax(dim=1)
    return {f"prob_{spec.name}_{name}": known(shares[:, place]) for place, name in enumerate(spec.names)}


def _float(values: Tensor) -> np.ndarray:
    return values.double().numpy()
