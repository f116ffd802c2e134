import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from subtext.evaluation.metrics import (
    ECE_BINS,
    UndefinedMetricError,
    auroc,
    average_precision,
    calibration_floor,
    confusion_matrix,
    decision_metrics,
    multiclass_metrics,
    probability_metrics,
    regression_metrics,
)


def clips(seed: int, n: int = 120, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = True, False
    scores = 1 / (1 + np.exp(-(labels + rng.normal(size=n))))
    return labels, np.round(scores * levels) / levels if levels else scores


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 3, 12]))
@settings(max_examples=40, deadline=None)
def test_ranking_metrics_equal_scikit_learn_with_and_without_ties(seed: int, levels: int | None) -> None:
    labels, scores = clips(seed, levels=levels)
    assert auroc(labels, scores).value == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores).value == pytest.approx(
        reference.average_precision_score(labels, scores), abs=1e-12
    )


@pytest.mark.parametrize(
    ("metric", "weighted"),
    [(auroc, reference.roc_auc_score), (average_precision, reference.average_precision_score)],
)
@pytest.mark.parametrize("levels", [None, 8])
def test_influence_is_the_derivative_by_the_clips_weight(metric, weighted, levels) -> None:
    labels, scores = clips(3, n=60, levels=levels)
    influence = metric(labels, scores).influence
    step = 1e-5
    for clip in range(len(labels)):
        up, down = np.ones(len(labels)), np.ones(len(labels))
        up[clip] += step
        down[clip] -= step
        slope = (weighted(labels, scores, sample_weight=up) - weighted(labels, scores, sample_weight=down)) / (2 * step)
        assert influence[clip] == pytest.approx(slope, abs=1e-7)


def test_decision_metrics_equal_scikit_learn_also_under_weights() -> None:
    labels, scores = clips(1)
    decided = scores >= 0.6
    weights = np.random.default_rng(0).integers(0, 4, len(labels)).astype(float)
    found = decision_metrics(labels, decided)
    expected = {
        "macro_f1": lambda w: reference.f1_score(labels, decided, average="macro", sample_weight=w),
        "balanced_accuracy": lambda w: reference.balanced_accuracy_score(labels, decided, sample_weight=w),
        "mcc": lambda w: reference.matthews_corrcoef(labels, decided, sample_weight=w),
        "accuracy": lambda w: reference.accuracy_score(labels, decided, sample_weight=w),
    }
    assert found.keys() == expected.keys()
    for name, statistic in found.items():
        assert statistic.value == pytest.approx(expected[name](None))
        assert float(statistic.figure(weights @ statistic.terms)) == pytest.approx(expected[name](weights))


def test_one_sided_decisions_have_no_correlation_and_half_the_balanced_accuracy() -> None:
    labels, _ = clips(2)
    found = decision_metrics(labels, np.ones(len(labels), dtype=bool))
    assert found["mcc"].value == 0
    assert found["balanced_accuracy"].value == 0.5


def test_brier_and_calibration_error() -> None:
    labels, p = clips(5, n=400)
    found = probability_metrics(labels, p)
    assert found["brier"].value == pytest.approx(reference.brier_score_loss(labels, p))
    error = 0.0
    for low in range(ECE_BINS):
        inside = (p >= low / ECE_BINS) & (p < (low + 1) / ECE_BINS)
        if inside.any():
            error += inside.mean() * abs(labels[inside].mean() - p[inside].mean())
    assert found["ece"].value == pytest.approx(error)


def test_calibration_floor_is_what_perfect_calibration_shows() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(300)
    shown = [probability_metrics(rng.random(300) < p, p)["ece"].value for _ in range(300)]
    assert calibration_floor(p) == pytest.approx(np.mean(shown), rel=0.05)


def test_a_certain_right_answer_has_no_calibration_error() -> None:
    labels, _ = clips(6)
    found = probability_metrics(labels, labels.astype(float))
    assert found["ece"].value == 0
    assert found["brier"].value == 0


def test_multiclass_metrics_average_over_the_classes_that_occur() -> None:
    rng = np.random.default_rng(7)
    labels = rng.choice([0, 1, 3], 200)
    predicted = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 5, 200))
    found = multiclass_metrics(labels, predicted, 5)
    expected = reference.f1_score(labels, predicted, labels=[0, 1, 3], average="macro")
    assert found["macro_f1"].value == pytest.approx(expected)
    assert found["accuracy"].value == pytest.approx((labels == predicted).mean())
    assert (
        confusion_matrix(labels, predicted, 5) == reference.confusion_matrix(labels, predicted, labels=range(5))
    ).all()


def test_regression_metrics_equal_the_plain_formulas() -> None:
    rng = np.random.default_rng(8)
    labels = rng.normal(1000, 1, 80)
    predicted = labels + rng.normal(size=80)
    found = regression_metrics(labels, predicted)
    assert found["mae"].value == pytest.approx(np.abs(labels - predicted).mean())
    assert found["pearson"].value == pytest.approx(np.corrcoef(labels, predicted)[0, 1])


@pytest.mark.parametrize(
    ("labels", "words"), [([], "no labelled clips"), ([True] * 3, "all 3 .* positive"), ([False], "all 1 .* negative")]
)
def test_one_class_is_undefined_and_says_why(labels: list[bool], words: str) -> None:
    for metric in (auroc, average_precision, decision_metrics):
        with pytest.raises(UndefinedMetricError, match=words):
            metric(np.array(labels, dtype=bool), np.full(len(labels), 0.5))


def test_differences_need_the_same_clips() -> None:
    labels, scores = clips(9)
    with pytest.raises(ValueError, match="same clips"):
        auroc(labels, scores) - auroc(~labels, scores)
    one, other = decision_metrics(labels, scores > 0.5)["mcc"], decision_metrics(labels, scores > 0.7)["mcc"]
    assert (one - other).value == pytest.approx(one.value - other.value)
