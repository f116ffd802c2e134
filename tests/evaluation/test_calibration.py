import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import balanced_accuracy_score

from subtext.evaluation.calibration import (
    abstention_level,
    calibrate,
    choose_threshold,
    confidence,
    fit_bias_corrected,
    fit_temperature,
)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < expit(honest)
    assert fit_temperature(3 * honest, labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature(honest / 2, labels) == pytest.approx(0.5, rel=0.05)


def test_temperature_of_a_choice_among_classes() -> None:
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (20_000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(honest, axis=1)])
    assert fit_temperature(2.5 * honest, labels) == pytest.approx(2.5, rel=0.05)
    assert np.allclose(calibrate(2.5 * honest, 2.5), softmax(honest, axis=1))


def test_temperature_ignores_clips_without_a_logit() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, 500)
    labels = rng.random(500) < expit(logits / 2)
    expected = fit_temperature(logits, labels)
    with_gaps = np.append(logits, [np.nan, np.inf])
    assert fit_temperature(with_gaps, np.append(labels, [True, False])) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[], [1, 1, 1]])
def test_one_class_leaves_the_temperature_alone_and_warns(labels: list[int]) -> None:
    with pytest.warns(UserWarning, match="fewer than two classes"):
        assert fit_temperature(np.zeros(len(labels)), labels) == 1.0
    with pytest.warns(UserWarning, match="fewer than two classes"):
        assert choose_threshold(np.full(len(labels), 0.3), labels) == 0.5


def test_bias_correction_brings_back_the_corpus_prior() -> None:
    rng = np.random.default_rng(3)
    prior = np.array([0.6, 0.3, 0.1])
    labels = rng.choice(3, 20_000, p=prior)
    balanced = rng.normal(0, 1, (20_000, 3))
    balanced[np.arange(20_000), labels] += 1.5
    # The likelihood ratio of that noise; without the prior, as balanced class weights leave it.
    logits = log_softmax(1.5 * balanced, axis=1)
    temperature, biases = fit_bias_corrected(1.7 * logits, labels)
    assert temperature == pytest.approx(1.7, rel=0.05)
    assert biases - biases[0] == pytest.approx(np.log(prior / prior[0]), abs=0.1)


def test_bias_correction_leaves_a_class_without_clips_alone() -> None:
    rng = np.random.default_rng(4)
    _, biases = fit_bias_corrected(rng.normal(size=(50, 3)), rng.integers(0, 2, 50))
    assert biases[2] == 0


@given(seed=st.integers(0, 1000), levels=st.sampled_from([3, 10, 1000]))
@settings(max_examples=40, deadline=None)
def test_threshold_is_as_good_as_the_best_by_trial(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(60) < 0.4
    labels[:2] = True, False
    p = np.round(expit(labels + rng.normal(size=60)) * levels) / levels
    threshold = choose_threshold(p, labels)
    called = p[:, None] >= np.linspace(0, 1.001, 1500)
    trials = (called[labels].mean(axis=0) + (~called[~labels]).mean(axis=0)) / 2
    assert balanced_accuracy_score(labels, p >= threshold) >= trials.max() - 1e-12


def test_among_equal_thresholds_the_nearest_to_one_half_is_taken() -> None:
    assert choose_threshold([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert choose_threshold([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1]) == pytest.approx(0.75)


def test_confidence_is_the_probability_of_the_answer() -> None:
    assert confidence([0.2, 0.7, 0.4], 0.4).tolist() == pytest.approx([0.8, 0.7, 0.4])


def test_abstention_level_reaches_its_target_with_the_most_answers() -> None:
    rng = np.random.default_rng(5)
    p = rng.random(1000)
    labels = rng.random(1000) < p
    found = abstention_level(p, labels, target=0.85)
    assert found.reason is None
    kept = confidence(p) >= found.level
    right = (p >= 0.5) == labels
    assert right[kept].mean() == pytest.approx(found.accuracy)
    assert kept.mean() == pytest.approx(found.coverage)
    assert found.accuracy >= 0.85
    for lower in np.unique(confidence(p)):
        if lower < found.level:
            assert right[confidence(p) >= lower].mean() < 0.85


def test_abstention_level_is_zero_where_all_answers_reach_the_target() -> None:
    found = abstention_level(np.repeat([0.1, 0.9], 30), np.repeat([0, 1], 30), target=0.9)
    assert (found.level, found.coverage, found.accuracy, found.reason) == (0.0, 1.0, 1.0, None)


def test_an_unreachable_target_and_too_few_clips_say_so() -> None:
    rng = np.random.default_rng(6)
    hopeless = abstention_level(rng.random(400), rng.random(400) < 0.5, target=0.95)
    assert hopeless.level == 0
    assert "stays below 0.95" in str(hopeless.reason)
    few = abstention_level([0.9] * 5, [1] * 5)
    assert "5 validation clips" in str(few.reason)
    assert few.as_dict()["coverage"] is None
