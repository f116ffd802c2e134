"""Temperature, threshold and abstention level, each chosen on validation clips only."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TEMPERATURE_RANGE: Final = (0.05, 20.0)


@dataclass(frozen=True)
class AbstentionLevel:
    """The confidence below which a prediction is withheld.

    Attributes:
        level: smallest confidence that is still reported. 0, so that nothing is withheld, where all answers together
            reach the target, and also where no level does (`reason` tells the two apart).
        target: accuracy asked for among what is reported.
        accuracy: accuracy reached on the validation clips at or above the level.
        coverage: share of validation clips at or above the level.
        reason: why there is no level, None where there is one.
    """

    level: float
    target: float
    accuracy: float | None
    coverage: float | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain types."""
        return asdict(self)


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Temperature that minimises the negative log-likelihood of `labels` under `logits / temperature`.

    Source: Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599).

    Args:
        logits: `[n]` for a binary head (sigmoid), `[n, classes]` for a choice (softmax); raw, from validation clips.
        labels: `[n]`, 0 or 1, or the class's index.

    Returns:
        The temperature, within `TEMPERATURE_RANGE`; 1.0 with a warning where it cannot be fitted (fewer than two
        classes among the finite rows).
    """
    from scipy.optimize import minimize_scalar

    scores = np.asarray(logits, dtype=np.float64)
    targets = np.asarray(labels).astype(np.int64)
    finite = np.isfinite(scores) if scores.ndim == 1 else np.isfinite(scores).all(axis=1)
    scores, targets = scores[finite], targets[finite]
    if len(np.unique(targets)) < 2:
        warnings.warn(
            f"temperature left at 1: the {len(targets)} validation clips hold fewer than two classes", stacklevel=2
        )
        return 1.0
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(targets)), targets]))

    low, high = np.log(TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def fit_bias_corrected(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, Floats]:
    """Temperature and one bias a class that minimise the negative log-likelihood of `labels`.

    Unlike a temperature alone this also undoes a training prior that differs from the corpus, as balanced class weights
    leave it. Source: bias-corrected temperature scaling, Alexandari, Kundaje & Shrikumar 2020 (arXiv 1901.06852).

    Args:
        logits: `[n, classes]` logits or log-probabilities, from validation clips.
        labels: `[n]`, the class's index.

    Returns:
        Temperature and biases `[classes]`: `softmax(logits / temperature + biases)` is calibrated. A class without a
        validation clip keeps a bias of 0; with fewer than two classes nothing is changed, with a warning.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    scores = np.asarray(logits, dtype=np.float64)
    targets = np.asarray(labels).astype(np.int64)
    finite = np.isfinite(scores).all(axis=1)
    scores, targets = scores[finite], targets[finite]
    occurring = np.unique(targets)
    biases = np.zeros(scores.shape[1])
    if len(occurring) < 2:
        warnings.warn(f"no calibration: the {len(targets)} validation clips hold fewer than two classes", stacklevel=2)
        return 1.0, biases

    def expand(parameters: Floats) -> Floats:
        full = np.zeros(scores.shape[1])
        full[occurring[1:]] = parameters
        return full

    def loss(parameters: Floats) -> float:
        scaled = scores / np.exp(parameters[0]) + expand(parameters[1:])
        # A weak pull towards no bias keeps a separable validation split finite.
        fit = np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(targets)), targets])
        return float(fit + 1e-4 * np.sum(parameters[1:] ** 2))

    limits = [tuple(np.log(TEMPERATURE_RANGE)), *[(-10.0, 10.0)] * (len(occurring) - 1)]
    found = minimize(loss, np.zeros(len(occurring)), method="L-BFGS-B", bounds=limits).x
    return float(np.exp(found[0])), expand(found[1:])


def calibrate(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities from raw logits: sigmoid for `[n]`, softmax over the last axis for `[n, classes]`."""
    from scipy.special import expit, softmax

    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return expit(scaled) if scaled.ndim == 1 else softmax(scaled, axis=-1)


def choose_threshold(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Threshold that maximises balanced accuracy on validation clips; a clip at or above it is called positive.

    Candidates lie half-way between neighbouring probabilities; among equally good ones the nearest to 0.5 is taken.

    Returns:
        The threshold; 0.5 with a warning where there are fewer than two classes.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    positive = np.asarray(labels).astype(bool)
    finite = np.isfinite(scores)
    scores, positive = scores[finite], positive[finite]
    if not positive.any() or positive.all():
        warnings.warn(
            f"threshold left at 0.5: the {len(scores)} validation clips hold fewer than two classes", stacklevel=2
        )
        return 0.5
    levels = np.unique(scores)
    candidates = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2, [(levels[-1] + 1) / 2]])
    called = len(scores) - np.searchsorted(np.sort(scores), candidates, side="left")
    hits = positive.sum() - np.searchsorted(np.sort(scores[positive]), candidates, side="left")
    sensitivity = hits / positive.sum()
    specificity = 1 - (called - hits) / (~positive).sum()
    balanced = (sensitivity + specificity) / 2
    best = np.flatnonzero(np.isclose(balanced, balanced.max(), rtol=0, atol=1e-12))
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def confidence(probabilities: npt.ArrayLike, threshold: float = 0.5) -> Floats:
    """Calibrated probability of the answer given: p where p reaches the threshold, else 1 - p."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.where(p >= threshold, p, 1 - p)


def abstention_level(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    threshold: float = 0.5,
    target: float = 0.75,
    min_clips: int = 20,
) -> AbstentionLevel:
    """Smallest confidence such that the answers at or above it reach an accuracy of `target` on validation clips.

    Args:
        probabilities: `[n]` calibrated probabilities of validation clips.
        labels: `[n]`, 0 or 1.
        threshold: what is called positive.
        target: accuracy among the answers given.
        min_clips: a level must keep at least so many clips, lest a handful decide.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    positive = np.asarray(labels).astype(bool)
    finite = np.isfinite(p)
    p, positive = p[finite], positive[finite]
    if len(p) < min_clips:
        return AbstentionLevel(0.0, target, None, None, f"{len(p)} validation clips; at least {min_clips} are needed")
    certain = confidence(p, threshold)
    right = (p >= threshold) == positive
    order = np.argsort(-certain, kind="stable")
    kept = np.arange(1, len(p) + 1)
    accuracy = np.cumsum(right[order]) / kept
    ordered = certain[order]
    # A level keeps all clips of equal confidence, so it can only stand after the last of them.
    last = np.append(ordered[1:] < ordered[:-1], True)
    good = np.flatnonzero(last & (kept >= min_clips) & (accuracy >= target))
    if not len(good):
        best = accuracy[last & (kept >= min_clips)].max()
        return AbstentionLevel(
            0.0,
            target,
            None,
            None,
            f"accuracy on validation stays below {target:g} at every confidence (best {best:.3f})",
        )
    cut = good[-1]
    if cut == len(p) - 1:
        return AbstentionLevel(0.0, target, float(accuracy[cut]), 1.0)
    return AbstentionLevel(float(ordered[cut]), target, float(accuracy[cut]), float(kept[cut] / len(p)))
