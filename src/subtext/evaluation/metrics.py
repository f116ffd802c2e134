"""Figures of merit on labels, scores and decisions, in forms that resampling can reuse.

Two forms cover every metric here:

- `Linearised`: a ranking metric (AUROC, average precision) with the influence of each clip on it, from which clustered
  variances follow without resampling;
- `CountStatistic`: a metric that is a function of sums over clips (a confusion matrix, squared errors, moments), so
  that resampling clusters only adds rows of sums.

The values equal scikit-learn's (tested), whose functions cannot weight a thousand resamples at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ECE_BINS: Final = 10
"""Equal-width bins of probability for the expected calibration error."""


class UndefinedMetricError(ValueError):
    """A metric has no value on these clips; the message is the reason that reports print."""


@dataclass(frozen=True)
class Linearised:
    """A ranking metric and how much each clip moves it.

    Attributes:
        value: the metric.
        influence: `[n]`, first-order change of the metric per unit of the clip's weight; sums to zero within each class
            for AUROC and over all clips for average precision.
        positive: `[n]`, the clips' labels.
    """

    value: float
    influence: Floats
    positive: Bools

    def __sub__(self, other: "Linearised") -> "Linearised":
        """The difference of two systems on the same clips."""
        if not np.array_equal(self.positive, other.positive):
            raise ValueError("a paired difference needs the same clips with the same labels")
        return Linearised(self.value - other.value, self.influence - other.influence, self.positive)


@dataclass(frozen=True)
class CountStatistic:
    """A metric that depends on the clips only through sums.

    Attributes:
        terms: `[n, d]`, what each clip adds to the sums.
        figure: sums `[..., d]` -> metric `[...]`, NaN where it is undefined.
        low: smallest value the metric can take.
        high: largest value the metric can take.
        nonnegative_bias: whether noise alone pushes the metric upwards from zero (a calibration error).
    """

    terms: Floats
    figure: Callable[[Floats], Floats]
    low: float = 0.0
    high: float = 1.0
    nonnegative_bias: bool = False

    @property
    def value(self) -> float:
        """The metric on all clips."""
        return float(self.figure(self.terms.sum(axis=0)))

    def __sub__(self, other: "CountStatistic") -> "CountStatistic":
        """The difference of two systems on the same clips."""
        if len(self.terms) != len(other.terms):
            raise ValueError("a paired difference needs the same clips")
        width = self.terms.shape[1]
        span = max(self.high, other.high) - min(self.low, other.low)
        return CountStatistic(
            np.hstack([self.terms, other.terms]),
            lambda sums: self.figure(sums[..., :width]) - other.figure(sums[..., width:]),
            -span,
            span,
        )


def check_two_classes(labels: Bools) -> None:
    """Raise the reason why a binary metric is undefined, if it is.

    Raises:
        UndefinedMetricError: there are no clips, or all have one label.
    """
    if len(labels) == 0:
        raise UndefinedMetricError("no labelled clips with a probability")
    if labels.all() or not labels.any():
        raise UndefinedMetricError(f"all {len(labels)} labelled clips are {'positive' if labels.all() else 'negative'}")


def auroc(labels: Bools, scores: Floats) -> Linearised:
    """Area under the ROC curve with DeLong's placement values as influence.

    A positive clip's placement is the share of negatives it ranks above (ties count half), a negative's the share of
    positives ranked above it (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44).

    Raises:
        UndefinedMetricError: one class only.
    """
    labels = np.asarray(labels, dtype=bool)
    scores = np.asarray(scores, dtype=np.float64)
    check_two_classes(labels)
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])
    placement = np.empty(len(scores))
    placement[labels] = _share_below(negatives, scores[labels])
    placement[~labels] = 1.0 - _share_below(positives, scores[~labels])
    value = float(placement[labels].mean())
    size = np.where(labels, len(positives), len(negatives))
    return Linearised(value, (placement - value) / size, labels)


def average_precision(labels: Bools, scores: Floats) -> Linearised:
    """Area under the precision-recall curve as average precision (steps, no interpolation), with its influence.

    AP = sum over distinct scores of the recall gained there times the precision at that threshold. Its derivative with
    respect to a clip's weight has a part from every threshold at or below the clip's score.

    Raises:
        UndefinedMetricError: one class only.
    """
    labels = np.asarray(labels, dtype=bool)
    scores = np.asarray(scores, dtype=np.float64)
    check_two_classes(labels)
    _, group = np.unique(-scores, return_inverse=True)
    hits = np.bincount(group, weights=labels)
    misses = np.bincount(group, weights=~labels)
    above_hits, above = np.cumsum(hits), np.cumsum(hits + misses)
    total = float(labels.sum())
    precision = above_hits / above
    value = float((hits * precision).sum() / total)
    # A hit ranked at or above g moves the precision there by (1 - precision) / above, a miss by -precision / above.
    from_hit = np.cumsum((hits * (1 - precision) / above)[::-1])[::-1] / total
    from_miss = -np.cumsum((hits * precision / above)[::-1])[::-1] / total
    influence = np.where(labels, from_hit[group] + (precision[group] - value) / total, from_miss[group])
    return Linearised(value, influence, labels)


def decision_metrics(labels: Bools, decided: Bools) -> dict[str, CountStatistic]:
    """Macro-F1, balanced accuracy, MCC and accuracy of yes-no decisions.

    Raises:
        UndefinedMetricError: one class only.
    """
    labels, decided = np.asarray(labels, dtype=bool), np.asarray(decided, dtype=bool)
    check_two_classes(labels)
    terms = np.stack([~labels & ~decided, ~labels & decided, labels & ~decided, labels & decided], axis=1).astype(
        np.float64
    )
    return {
        "macro_f1": CountStatistic(terms, _binary_macro_f1),
        "balanced_accuracy": CountStatistic(terms, _balanced_accuracy),
        "mcc": CountStatistic(terms, _mcc, low=-1.0),
        "accuracy": CountStatistic(terms, lambda c: (c[..., 0] + c[..., 3]) / c.sum(axis=-1)),
    }


def probability_metrics(labels: Bools, probabilities: Floats) -> dict[str, CountStatistic]:
    """Brier score and expected calibration error (`ECE_BINS` equal-width bins, weighted by their clips).

    Raises:
        UndefinedMetricError: no clips.
    """
    labels = np.asarray(labels, dtype=bool)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if len(labels) == 0:
        raise UndefinedMetricError("no labelled clips with a probability")
    errors = labels - probabilities
    ones = np.ones(len(labels))
    bins = probability_bin(probabilities)
    residuals = np.zeros((len(labels), ECE_BINS))
    residuals[np.arange(len(labels)), bins] = errors
    return {
        "brier": CountStatistic(np.stack([errors**2, ones], axis=1), _ratio),
        "ece": CountStatistic(np.column_stack([residuals, ones]), _binned_error, nonnegative_bias=True),
    }


def log_loss(labels: Bools, probabilities: Floats) -> CountStatistic:
    """Mean negative log-likelihood of the labels, in nats.

    Raises:
        UndefinedMetricError: no clips.
    """
    labels = np.asarray(labels, dtype=bool)
    if len(labels) == 0:
        raise UndefinedMetricError("no labelled clips with a probability")
    given = np.where(labels, probabilities, 1 - np.asarray(probabilities, dtype=np.float64))
    # A certain and wrong answer costs much, not infinitely much, as in scikit-learn.
    cost = -np.log(np.clip(given, np.finfo(np.float64).eps, 1.0))
    return CountStatistic(np.stack([cost, np.ones(len(labels))], axis=1), _ratio, high=np.inf)


def calibration_floor(probabilities: Floats) -> float:
    """Expected calibration error that perfectly calibrated predictions would still show on so many clips.

    The residuals of a bin sum to a nearly normal variable with variance sum of p (1 - p), whose mean size is
    sqrt(2 / pi) times its standard deviation.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    variance = np.bincount(probability_bin(p), weights=p * (1 - p), minlength=ECE_BINS)
    return float(np.sqrt(2 / np.pi * variance).sum() / len(p)) if len(p) else float("nan")


def probability_bin(probabilities: Floats) -> Ints:
    """The reliability bin, 0 to `ECE_BINS` - 1, of each probability."""
    return np.clip((np.asarray(probabilities) * ECE_BINS).astype(np.int64), 0, ECE_BINS - 1)


def confusion_matrix(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """`[classes, classes]` counts, label down, prediction across."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def multiclass_metrics(labels: Ints, predicted: Ints, classes: int) -> dict[str, CountStatistic]:
    """Macro-F1 and accuracy of a choice among `classes`.

    Macro-F1 averages over the classes that occur among these labels; predicting another class is an error of the class
    that was missed.

    Raises:
        UndefinedMetricError: no clips, or one class only.
    """
    occurring = np.unique(labels)
    if len(labels) == 0:
        raise UndefinedMetricError("no labelled clips with a prediction")
    if len(occurring) == 1:
        raise UndefinedMetricError(f"all {len(labels)} labelled clips are of one class")
    terms = np.zeros((len(labels), classes * classes))
    terms[np.arange(len(labels)), labels * classes + predicted] = 1.0

    def macro_f1(sums: Floats) -> Floats:
        table = sums.reshape(*sums.shape[:-1], classes, classes)
        right = np.diagonal(table, axis1=-2, axis2=-1)
        both = table.sum(axis=-1) + table.sum(axis=-2)
        f1 = np.divide(2 * right, both, out=np.full(right.shape, np.nan), where=both > 0)[..., occurring]
        # A resample may lack a class altogether: it is left out of that resample's mean.
        known = ~np.isnan(f1)
        return _safe_divide(np.where(known, f1, 0.0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))

    def accuracy(sums: Floats) -> Floats:
        table = sums.reshape(*sums.shape[:-1], classes, classes)
        return _safe_divide(np.trace(table, axis1=-2, axis2=-1), sums.sum(axis=-1))

    return {"macro_f1": CountStatistic(terms, macro_f1), "accuracy": CountStatistic(terms, accuracy)}


def regression_metrics(labels: Floats, predicted: Floats) -> dict[str, CountStatistic]:
    """Mean absolute error and Pearson correlation.

    Raises:
        UndefinedMetricError: fewer than three clips, or a constant.
    """
    labels, predicted = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if len(labels) < 3:
        raise UndefinedMetricError(f"{len(labels)} clips with a label and a prediction; at least 3 are needed")
    if np.ptp(labels) == 0 or np.ptp(predicted) == 0:
        raise UndefinedMetricError("labels or predictions do not vary")
    ones = np.ones(len(labels))
    # Centring first keeps the sums of squares accurate.
    x, y = labels - labels.mean(), predicted - predicted.mean()
    moments = np.stack([ones, x, y, x * x, y * y, x * y], axis=1)
    return {
        "mae": CountStatistic(np.stack([np.abs(labels - predicted), ones], axis=1), _ratio, high=np.inf),
        "pearson": CountStatistic(moments, _pearson, low=-1.0),
    }


def _share_below(ordered: Floats, values: Floats) -> Floats:
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    return (left + right) / (2.0 * len(ordered))


def _safe_divide(top: Floats, bottom: Floats) -> Floats:
    top, bottom = np.broadcast_arrays(np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _ratio(sums: Floats) -> Floats:
    return _safe_divide(sums[..., 0], sums[..., 1])


def _binned_error(sums: Floats) -> Floats:
    return _safe_divide(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1])


def _binary_macro_f1(counts: Floats) -> Floats:
    tn, fp, fn, tp = (counts[..., i] for i in range(4))
    macro = 0.5 * (_safe_divide(2 * tp, 2 * tp + fp + fn) + _safe_divide(2 * tn, 2 * tn + fp + fn))
    # Among clips of one class the other class's F1 is 0 whatever is said: no figure, as for the other metrics.
    return np.where(((tp + fn) > 0) & ((tn + fp) > 0), macro, np.nan)


def _balanced_accuracy(counts: Floats) -> Floats:
    tn, fp, fn, tp = (counts[..., i] for i in range(4))
    return 0.5 * (_safe_divide(tp, tp + fn) + _safe_divide(tn, tn + fp))


def _mcc(counts: Floats) -> Floats:
    tn, fp, fn, tp = (counts[..., i] for i in range(4))
    bottom = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    # Deciding one way throughout carries no information: 0 by convention, as in scikit-learn.
    mcc = np.divide(tp * tn - fp * fn, bottom, out=np.zeros(np.shape(bottom)), where=bottom > 0)
    return np.where(((tp + fn) > 0) & ((tn + fp) > 0), mcc, np.nan)


def _pearson(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = (sums[..., i] for i in range(6))
    variances = (xx * n - x * x) * (yy * n - y * y)
    return _safe_divide(xy * n - x * y, np.sqrt(np.maximum(variances, 0.0)))
