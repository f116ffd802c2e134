"""Anchored fusion: readers and cells, fitted before a fusion is trained on top of them, and gates chosen after it.

An anchored model answers

    logit = what the posterior cells say  +  gate x what the fusion says

with a fusion that begins by saying nothing. So it can add what the readings do not hold, such as a dependence between
face and voice beyond their labels, and where it adds nothing the gate is 0 and the answer is that of the cells. The
gate is chosen on validation clips, on which it must gain more than one standard error (Breiman, Friedman, Olshen &
Stone 1984, section 3.4.3, choose the size of a tree by that rule).
"""

import logging
from collections.abc import Sequence
from typing import Final

import pandas as pd
import torch
from torch import Tensor

from subtext.errors import ManifestError
from subtext.evaluation.calibration import fit_temperature
from subtext.model.baseline import figures_of, person_means
from subtext.model.batches import ClipData
from subtext.model.classifier import ANCHORED, IncongruenceClassifier
from subtext.model.heads import HEADS, HeadSpec
from subtext.model.losses import HeadLoss, visible_targets
from subtext.model.predict import raw_answers
from subtext.model.readers import clusters, fit_and_read

log = logging.getLogger(__name__)

GATES: Final = (0.0, 0.1, 0.25, 0.5, 1.0)


def fit_readers(classifier: IncongruenceClassifier, training: ClipData, seed: int) -> None:
    """Take from the training streams what is fitted to all of them at once: standardisation, and readers.

    Where posterior cells answer they are calibrated by what readers of other speakers say. Where a fusion learns beside
    an anchor, that becomes `training.readings`.

    Args:
        classifier: gets them.
        training: the training rows.
        seed: of the readers.
    """
    for modality in classifier.modalities:
        encoder = classifier.encoder(modality)
        if modality in training.streams and modality not in training.embedded and encoder.trainable:
            encoder.fit_statistics(training.distinct(modality))
    means = person_means(classifier, training)
    for name, reader in classifier.heads.readers.items():
        spec = HEADS[name]
        if spec.modality is None:
            data = training
        elif spec.modality in training.streams:
            data = training.as_single_streams([spec])
        else:
            continue
        known = ~data.targets[name].isnan()
        data = data.select(torch.nonzero(known).squeeze(1))
        figures, targets = figures_of(classifier, data, name), data.targets[name]
        own = means.get(name)
        if own is not None:
            own = own[known] if spec.modality is None else _of_streams(training, spec.modality, own, data)
            _check_known(own, classifier.heads.reads(name))
        read = fit_and_read(reader, figures, targets.long(), _speakers(data), seed=seed, means=own)
        if spec.modality is None:
            training.readings[name] = torch.zeros(len(training), reader.classes).masked_scatter(known[:, None], read)
            continue
        if classifier.posterior is not None and classifier.posterior.reads[spec.modality] == spec:
            # Of more clips and speakers than a validation split has.
            classifier.posterior.calibrate({spec.modality: read}, {spec.modality: targets})
        if not classifier.is_anchored:
            continue
        # A stream without the label is new to the reader itself.
        every = training.select(torch.nonzero(training.numbers[spec.modality] >= 0).squeeze(1))
        by_stream = torch.zeros(len(training.streams[spec.modality]), reader.classes)
        by_stream[every.numbers[spec.modality]] = reader(figures_of(classifier, every, name))
        by_stream[data.numbers[spec.modality]] = read
        training.readings[name] = by_stream


def _of_streams(training: ClipData, modality: str, means: Tensor, streams: ClipData) -> Tensor:
    """The means of those whom streams are of, of whose persons the training rows know the means."""
    found = means.new_full((len(training.streams[modality]), means.shape[1]), torch.nan)
    found[training.numbers[modality]] = means
    return found[streams.numbers[modality]]


def _check_known(means: Tensor, modalities: Sequence[str]) -> None:
    """Refuse to fit readers to baselines that nobody has."""
    if bool(means.isnan().all()):
        raise ManifestError(
            f"encoder.{modalities[0]}.baseline: no person of the training split has turns enough; see that the columns "
            "session and speaker (for enrol: enrolment) are filled, set task.reader.least_turns lower, or "
            f"encoder.{modalities[0]}.baseline=none"
        )


def calibrate_posteriors(classifier: IncongruenceClassifier, validation: ClipData) -> None:
    """Where posterior cells read heads that learned step by step, calibrate those on the validation split.

    `fit_readers` calibrates readers.
    """
    if classifier.posterior is None:
        return
    answers, present = raw_answers(classifier, validation), validation.present
    known = answers.keys() - classifier.heads.readers.keys()
    read = {m: spec for m, spec in classifier.posterior.reads.items() if spec.name in known}
    classifier.posterior.calibrate(
        {modality: answers[spec.name] for modality, spec in read.items()},
        {modality: visible_targets(spec, validation.targets, present) for modality, spec in read.items()},
    )


def choose_gates(classifier: IncongruenceClassifier, validation: ClipData) -> None:
    """How far the fusion's own answer counts beside its anchor, by head; nothing to do without an anchor.

    Of `GATES` that whose mean gain in loss over the anchor alone is largest, where it exceeds one standard error over
    the validation split's speakers; else 0.

    Args:
        classifier: gets them.
        validation: clips that neither the readers nor the fusion were fitted to.
    """
    if not classifier.is_anchored:
        return
    classifier.gates.fill_(1.0)
    answers = raw_answers(classifier, validation)
    speakers = pd.Series(_speakers(validation))
    for place, name in enumerate(classifier.anchored):
        spec, targets = HEADS[name], validation.targets[name]
        known = ~targets.isnan()
        labels, anchor = targets[known], answers[f"{ANCHORED}{name}"][known]
        own = answers[name][known] - anchor
        scale = classifier.heads.scale(name).cpu() if spec.kind == "number" else None
        losses = [
            HeadLoss(spec).of_each(_calibrated(spec, anchor + gate * own, labels), labels, scale) for gate in GATES
        ]
        classifier.gates[place] = choose_gate(torch.stack(losses), speakers[known.numpy()].tolist())
        log.info("%s: gate %g of the fusion's own answer beside its anchor", name, classifier.gates[place])


def _calibrated(spec: HeadSpec, answers: Tensor, targets: Tensor) -> Tensor:
    """Answers as they will be given, so that a gate has no gain by sureness alone."""
    if spec.kind == "number" or not len(targets):
        return answers
    return answers / fit_temperature(answers.numpy(), targets.long().numpy())


def choose_gate(losses: Tensor, speakers: Sequence[object]) -> float:
    """One of `GATES`.

    Args:
        losses: of each clip under each gate, `[gates, clips]`.
        speakers: whose clips they are; None for a clip that stands alone.

    Example:
        >>> choose_gate(torch.tensor([[1.0] * 6, [0.9] * 6, [0.8] * 6, [0.7] * 6, [1.5] * 6]), list("aabbcc"))
        0.5
    """
    from scipy.stats import norm, t

    if not len(speakers):
        return 0.0
    codes = torch.from_numpy(clusters(speakers))
    gains = [torch.bincount(codes, gain) / torch.bincount(codes) for gain in (losses[0] - losses).double()]
    figures = torch.stack(gains)
    if figures.shape[1] < 2:
        return 0.0
    # As sure as one standard error is where there are many speakers.
    error = figures.std(dim=1) / figures.shape[1] ** 0.5 * float(t.ppf(norm.cdf(1), figures.shape[1] - 1))
    mean = figures.mean(dim=1)
    best = int(mean.argmax())
    return GATES[best] if mean[best] > error[best] else 0.0


def _speakers(data: ClipData) -> list[object]:
    """Whose clips they are, None where it is not known."""
    if "speaker" not in data.table:
        return [None] * len(data)
    return [None if pd.isna(name) else name for name in data.table["speaker"]]
