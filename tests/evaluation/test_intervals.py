from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import t as student

from builders.benchmark_scripts import benchmark
from subtext.corpora.cells import draw_cells
from subtext.evaluation.intervals import (
    FEW_CLUSTERS,
    Interval,
    Units,
    cluster_weights,
    clustered_variance,
    count_interval,
    effective_clusters,
    mean_of,
    pigeonhole_draws,
    ranking_interval,
)
from subtext.evaluation.metrics import (
    CountStatistic,
    UndefinedMetricError,
    auroc,
    average_precision,
    decision_metrics,
    log_loss,
    probability_metrics,
)


def scored(seed: int, n: int = 80, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.45
    labels[:4] = True, False, True, False
    return labels, np.round(effect * labels + rng.normal(size=n), 1)


def textbook_delong(labels: np.ndarray, *systems: np.ndarray) -> np.ndarray:
    """Covariance of AUROCs by DeLong et al. 1988, equations 4 to 8, pair by pair."""
    placements = []
    for scores in systems:
        above = scores[labels][:, None] - scores[~labels][None, :]
        kernel = (above > 0) + 0.5 * (above == 0)
        placements.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    v10, v01 = (np.stack(parts) for parts in zip(*placements, strict=True))
    return np.cov(v10, ddof=1) / labels.sum() + np.cov(v01, ddof=1) / (~labels).sum()


def obuchowski(labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray) -> float:
    """Obuchowski 1997, the clustered variance written out."""
    above = scores[labels][:, None] - scores[~labels][None, :]
    kernel = (above > 0) + 0.5 * (above == 0)
    area, v10, v01 = kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)
    m, n = labels.sum(), (~labels).sum()
    names = np.unique(clusters)
    ten = np.array([(v10[clusters[labels] == k] - area).sum() for k in names])
    one = np.array([(v01[clusters[~labels] == k] - area).sum() for k in names])
    i10, i01, i = len(np.unique(clusters[labels])), len(np.unique(clusters[~labels])), len(names)
    s10 = i10 / ((i10 - 1) * m) * (ten**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (one**2).sum()
    s11 = i / (i - 1) * (ten * one).sum()
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def table(**units: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(units)


def test_variance_without_units_is_delongs() -> None:
    labels, scores = scored(0)
    other = np.round(scores + np.random.default_rng(1).normal(size=len(scores)), 1)
    none = Units({}, len(labels))
    covariance = textbook_delong(labels, scores, other)
    one, two = auroc(labels, scores), auroc(labels, other)
    assert clustered_variance(one, none, []) == pytest.approx(covariance[0, 0], rel=1e-10)
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert clustered_variance(one - two, none, []) == pytest.approx(expected, rel=1e-10)


def test_variance_by_one_unit_is_obuchowskis() -> None:
    labels, scores = scored(2, n=150)
    clusters = np.random.default_rng(3).integers(0, 25, 150)
    units = Units.of(table(speaker=clusters), ["speaker"])
    found = clustered_variance(auroc(labels, scores), units, ["speaker"])
    assert found == pytest.approx(obuchowski(labels, scores, clusters), rel=1e-10)


def test_variance_by_crossed_units_is_the_sum_less_the_intersections() -> None:
    rng = np.random.default_rng(4)
    labels, scores = scored(5, n=300)
    frame = table(face=rng.integers(0, 30, 300), words=rng.integers(0, 40, 300), voice=rng.integers(0, 25, 300))
    units = Units.of(frame, list(frame))
    estimate = auroc(labels, scores)

    def one_way(*columns: str) -> float:
        return obuchowski(labels, scores, frame.groupby(list(columns)).ngroup().to_numpy())

    two = one_way("face") + one_way("words") - one_way("face", "words")
    assert clustered_variance(estimate, units, ["face", "words"]) == pytest.approx(
        max(two, one_way("face"), one_way("words")), rel=1e-9
    )
    three = sum(one_way(c) for c in frame) + one_way(*frame)
    three -= one_way("face", "words") + one_way("face", "voice") + one_way("words", "voice")
    largest = max(one_way(c) for c in frame)
    assert clustered_variance(estimate, units, list(frame)) == pytest.approx(max(three, largest), rel=1e-9)


def test_crossed_variance_never_falls_below_its_largest_part() -> None:
    rng = np.random.default_rng(0)
    below = 0
    for seed in range(40):
        labels, scores = scored(seed, n=120, effect=0)
        units = Units.of(table(a=rng.integers(0, 24, 120), b=rng.integers(0, 24, 120)), ["a", "b"])
        estimate = auroc(labels, scores)
        parts = [clustered_variance(estimate, units, [unit]) for unit in ("a", "b")]
        both = Units.of(table(c=units.codes["a"] * 24 + units.codes["b"]), ["c"])
        below += sum(parts) - clustered_variance(estimate, both, ["c"]) < max(parts)
        assert clustered_variance(estimate, units, ["a", "b"]) >= max(parts) - 1e-15
    assert below > 0, "the case must occur, or this test shows nothing"


def test_copying_every_clip_within_its_cluster_adds_no_certainty() -> None:
    labels, scores = scored(6, n=200)
    clusters = np.arange(200) % 40
    single = ranking_interval(auroc(labels, scores), Units.of(table(speaker=clusters), ["speaker"]))
    four = np.tile(np.arange(200), 4)
    copied = ranking_interval(auroc(labels[four], scores[four]), Units.of(table(speaker=clusters[four]), ["speaker"]))
    assert copied.width == pytest.approx(single.width, rel=1e-9)
    naive = ranking_interval(auroc(labels[four], scores[four]), Units({}, 800))
    assert naive.width < 0.6 * single.width


def test_order_of_clips_and_names_of_clusters_change_nothing() -> None:
    rng = np.random.default_rng(7)
    labels, scores = scored(8, n=200)
    frame = table(identity=rng.integers(0, 50, 200), dialogue=rng.integers(0, 60, 200))
    order = rng.permutation(200)
    renamed = frame.iloc[order].astype(str).add("x")
    one = ranking_interval(auroc(labels, scores), Units.of(frame, list(frame)))
    other = ranking_interval(auroc(labels[order], scores[order]), Units.of(renamed, list(frame)))
    assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-9)


def test_an_unknown_unit_is_a_cluster_of_its_own_and_an_empty_one_is_left_out() -> None:
    frame = table(speaker=["a", "a", None, None, "b"], show=[None] * 5)
    units = Units.of(frame, ["speaker", "show", "absent"])
    assert list(units.codes) == ["speaker"]
    assert units.counts() == {"speaker": 4}
    assert units.codes["speaker"][0] == units.codes["speaker"][1]
    assert len(set(units.codes["speaker"][[2, 3, 4]])) == 3
    assert units.take(np.array([True, True, False, False, True])).counts() == {"speaker": 2}


def test_few_clusters_give_a_t_interval_with_the_count_beside() -> None:
    labels, scores = scored(9, n=400)
    actors = np.arange(400) % 6
    units = Units.of(table(actor=actors), ["actor"])
    statistic = decision_metrics(labels, scores > 0.5)["balanced_accuracy"]
    without = [
        decision_metrics(labels[actors != k], scores[actors != k] > 0.5)["balanced_accuracy"].value for k in range(6)
    ]
    found = count_interval(statistic, units, n_bootstrap=50, seed=0)
    # The delta method carries the jackknife's standard error to the logit scale.
    half = student.ppf(0.975, effective_clusters(actors) - 1) * np.sqrt(5 * np.var(without))
    half /= statistic.value * (1 - statistic.value)
    assert logit(found.low) == pytest.approx(logit(statistic.value) - half)
    assert logit(found.high) == pytest.approx(logit(statistic.value) + half)
    assert found.clusters == {"actor": 6}
    assert found.method == "clustered jackknife"

    areas = [auroc(labels[actors == k], scores[actors == k]).value for k in range(6)]
    half = student.ppf(0.975, 5) * np.std(areas, ddof=1) / np.sqrt(6)
    area = ranking_interval(auroc(labels, scores), units, lambda rows: auroc(labels[rows], scores[rows]).value)
    assert area.width >= 2 * half - 1e-3


def test_one_large_cluster_leaves_too_little_for_an_interval_of_counts() -> None:
    """Eight speakers of whom one has 70 % of the clips: counted as eight they cover 85 %."""
    sizes = [280, *[17] * 6, 18]
    labels, scores = scored(20, n=400)
    units = Units.of(table(speaker=np.repeat(np.arange(8), sizes)), ["speaker"])
    for statistic in decision_metrics(labels, scores > 0.5).values():
        found = count_interval(statistic, units, n_bootstrap=50, seed=0)
        assert found.value == statistic.value
        assert (found.low, found.high) == (None, None)
        assert found.reason == "8 clusters of 'speaker' tell as much as 2.0 of even size; 4 are needed"
    even = Units.of(table(speaker=np.arange(400) % 8), ["speaker"])
    assert count_interval(statistic, even, n_bootstrap=50, seed=0).low is not None


def test_a_unit_that_is_too_uneven_is_not_made_up_for_by_another() -> None:
    labels, scores = scored(21, n=400)
    frame = table(clip=np.arange(400) % 100, speaker=np.repeat(np.arange(3), [200, 100, 100]), show=["one"] * 400)
    statistic = decision_metrics(labels, scores > 0.5)["mcc"]
    found = count_interval(statistic, Units.of(frame, list(frame)), n_bootstrap=50, seed=0)
    assert found.low is None
    assert "'speaker'" in str(found.reason)
    # One cluster alone does not vary, and is only said.
    rest = count_interval(statistic, Units.of(frame, ["clip", "show"]), n_bootstrap=50, seed=0)
    assert rest.low is not None
    assert rest.reason == "1 cluster of 'show'; 2 are needed"
    assert rest.clusters == {"clip": 100, "show": 1}


@pytest.mark.parametrize("uneven", [False, True])
def test_the_intervals_quantile_goes_by_the_effective_number_of_clusters(uneven: bool) -> None:
    sizes = [150, *[25] * 10] if uneven else [40] * 10
    labels, scores = scored(22, n=400)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    expected = np.sum(sizes) ** 2 / np.sum(np.square(sizes)) - 1
    assert expected == pytest.approx(4.56 if uneven else 9, abs=0.01)
    units = Units.of(table(speaker=codes), ["speaker"])
    counted = count_interval(decision_metrics(labels, scores > 0.5)["mcc"], units, n_bootstrap=50, seed=0)
    ranked = ranking_interval(auroc(labels, scores), units)
    assert counted.degrees == pytest.approx(expected)
    assert ranked.degrees == pytest.approx(expected)
    error = np.sqrt(clustered_variance(auroc(labels, scores), units, ["speaker"]))
    assert ranked.width == pytest.approx(2 * student.ppf(0.975, expected) * error)


def test_ends_stay_inside_a_figures_range_and_a_rare_answers_reach_further_up() -> None:
    rare = np.arange(200) % 40 == 0
    terms = np.stack([rare, np.ones(200)], axis=1).astype(float)
    share = CountStatistic(terms, lambda sums: sums[..., 0] / sums[..., 1])
    found = count_interval(share, Units.of(table(speaker=np.arange(200) % 16), ["speaker"]), n_bootstrap=1, seed=0)
    assert 0 < found.low < found.value == 0.025 < found.high < 1
    assert found.high - found.value > 2 * (found.value - found.low)
    cost = count_interval(log_loss(rare, np.full(200, 0.03)), Units({}, 200), n_bootstrap=1, seed=0)
    assert 0 < cost.low < cost.value < cost.high


def test_a_metric_that_one_cluster_decides_has_no_interval() -> None:
    labels, scores = scored(23, n=200)
    speakers = np.arange(200) % 10
    labels &= speakers == 0
    units = Units.of(table(speaker=speakers), ["speaker"])
    found = count_interval(decision_metrics(labels, scores > 0.5)["macro_f1"], units, n_bootstrap=50, seed=0)
    assert found.low is None
    assert str(found.reason).startswith("undefined without one speaker")


def test_clips_that_carry_none_of_a_figure_count_for_no_cluster() -> None:
    terms = np.zeros((300, 2))
    terms[:100] = np.stack([np.arange(100) % 3 == 0, np.ones(100)], axis=1)
    share = CountStatistic(terms, lambda sums: sums[..., 0] / sums[..., 1])
    found = count_interval(share, Units({"session": np.arange(300) // 20}, 300), n_bootstrap=1, seed=0)
    assert found.clusters == {"session": 5}
    assert found.degrees == pytest.approx(4)


@pytest.mark.parametrize("sizes", ["23 uneven", "12, one has 40 %", "5 even"])
def test_intervals_of_counts_cover_with_uneven_clusters(sizes: str) -> None:
    """A small `benchmarks/interval_coverage.py`: counted clusters covered 85 to 91 % of them."""
    simulation = benchmark("interval_coverage")
    found = simulation.coverage(simulation.SIZES[sizes], 150, np.random.default_rng(3), ("accuracy", "macro_f1", "mcc"))
    for row in found:
        assert 0.9 <= row.covered <= 1.0, row
        assert row.width < 1.4 * row.oracle, row


def test_the_widest_of_several_intervals_is_given_and_named() -> None:
    rng = np.random.default_rng(10)
    labels, scores = scored(11, n=600)
    actors = rng.integers(0, 4, 600)
    scores = scores * np.array([2.0, 0.2, -1.0, 1.0])[actors]
    frame = table(identity=rng.integers(0, 200, 600), actor=actors)
    found = ranking_interval(
        auroc(labels, scores), Units.of(frame, list(frame)), lambda rows: auroc(labels[rows], scores[rows]).value
    )
    without = ranking_interval(auroc(labels, scores), Units.of(frame, ["identity"]))
    assert "actor" in found.units
    assert found.clusters == {"identity": frame["identity"].nunique(), "actor": 4}
    assert found.width > 2 * without.width


def test_one_cluster_has_no_interval_and_says_so() -> None:
    labels, scores = scored(12)
    units = Units.of(table(show=["friends"] * len(labels)), ["show"])
    found = ranking_interval(auroc(labels, scores), units, lambda rows: auroc(labels[rows], scores[rows]).value)
    assert found.value == pytest.approx(auroc(labels, scores).value)
    assert found.low is None
    assert "show" in str(found.reason)


def test_clusters_of_one_class_are_left_out_of_the_per_cluster_figures() -> None:
    labels, scores = scored(13, n=90)
    clusters = np.arange(90) % 9
    labels[clusters == 0] = True
    units = Units.of(table(speaker=clusters), ["speaker"])

    def within(rows: np.ndarray) -> float:
        return auroc(labels[rows], scores[rows]).value

    with pytest.raises(UndefinedMetricError):
        within(clusters == 0)
    assert ranking_interval(auroc(labels, scores), units, within).low is not None


def test_bootstrap_repeats_with_its_seed_and_differs_without() -> None:
    labels, scores = scored(14, n=300)
    units = Units.of(table(speaker=np.arange(300) % 30), ["speaker"])
    p = 1 / (1 + np.exp(-scores))
    statistic = probability_metrics(labels, p)["ece"]
    one, same, other = (count_interval(statistic, units, n_bootstrap=300, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    assert one.low is not None
    assert one.high is not None
    assert one.low <= statistic.value < one.high


def test_interval_of_the_calibration_error_is_rid_of_the_resamplings_own_bias() -> None:
    rng = np.random.default_rng(15)
    p = rng.random(400)
    labels = rng.random(400) < p
    statistic = probability_metrics(labels, p)["ece"]
    found = count_interval(statistic, Units({}, 400), n_bootstrap=400, seed=0)
    draws = statistic.figure(cluster_weights(400, 400, 0) @ statistic.terms)
    assert np.mean(draws) > statistic.value, "resampling must add error, or this test shows nothing"
    assert found.low < np.quantile(draws, 0.025)
    assert found.low <= found.value <= found.high


def test_pigeonhole_is_wider_where_units_are_seldom_reused() -> None:
    rng = np.random.default_rng(16)
    labels, scores = scored(17, n=600)
    frame = table(identity=rng.integers(0, 300, 600), dialogue=rng.integers(0, 300, 600))
    units = Units.of(frame, list(frame))
    statistic = decision_metrics(labels, scores > 0.5)["macro_f1"]
    found = count_interval(statistic, units, n_bootstrap=10, seed=0)
    low, high = np.quantile(pigeonhole_draws(statistic, units, n_bootstrap=400, seed=0), [0.025, 0.975])
    assert 1.3 * found.width < high - low


def test_mean_of_systems_is_surer_than_one_of_them() -> None:
    labels, scores = scored(18, n=300)
    rng = np.random.default_rng(19)
    systems = [auroc(labels, scores + rng.normal(size=300)) for _ in range(5)]
    mean = mean_of(systems)
    assert mean.value == pytest.approx(np.mean([s.value for s in systems]))
    units = Units({}, 300)
    assert ranking_interval(mean, units).width < min(ranking_interval(s, units).width for s in systems)
    assert ranking_interval(mean_of(systems[:1]), units) == ranking_interval(systems[0], units)


def test_interval_as_plain_types_omits_what_says_nothing() -> None:
    assert Interval(None, reason="why").as_dict() == {"value": None, "low": None, "high": None, "reason": "why"}


Pairs = tuple[np.ndarray, np.ndarray, pd.DataFrame]


def crossed_pairs(
    rng: np.random.Generator, n: int, faces: int, words: int, face_skill: float, word_skill: float
) -> Pairs:
    """Faces crossed with words, each with a perceived polarity of its own that every pair it is in inherits.

    With `face_skill` 0 the true AUROC is one half, but a face that is perceived wrongly is wrong in all its pairs.
    """
    cells = np.array(draw_cells(n, rng))
    said, shown = cells.T
    face = (shown + 1) * (faces // 3) + rng.integers(0, faces // 3, n)
    word = (said + 1) * (words // 3) + rng.integers(0, words // 3, n)

    def perceive(count: int, skill: float) -> np.ndarray:
        logits = rng.normal(size=(count, 3))
        logits[np.arange(count), np.repeat(np.arange(3), count // 3)] += skill
        shares = np.exp(2 * logits)
        return shares / shares.sum(axis=1, keepdims=True)

    agree = (perceive(faces, face_skill)[face] * perceive(words, word_skill)[word]).sum(axis=1)
    return said != shown, 1 - agree + 0.05 * rng.normal(size=n), table(identity=face, dialogue=word)


def rejections(draw: Callable[[np.random.Generator], Pairs], repeats: int, seed: int) -> tuple[float, float]:
    """Share of draws whose interval excludes one half: by clip, and by both units."""
    rng = np.random.default_rng(seed)
    plain = clustered = 0
    for _ in range(repeats):
        labels, scores, frame = draw(rng)
        estimate = auroc(labels, scores)
        for name, units in (("plain", Units({}, len(frame))), ("clustered", Units.of(frame, list(frame)))):
            interval = ranking_interval(estimate, units)
            outside = not interval.low <= 0.5 <= interval.high
            plain += outside and name == "plain"
            clustered += outside and name == "clustered"
    return plain / repeats, clustered / repeats


def test_true_null_on_crossed_pairs_is_rejected_about_as_often_as_stated() -> None:
    plain, clustered = rejections(lambda rng: crossed_pairs(rng, 400, 90, 120, 0.0, 3.0), 300, 0)
    assert plain > 0.12, "by clip the null must be rejected too often, or this test shows nothing"
    assert clustered < 0.085


@pytest.mark.slow
@pytest.mark.parametrize(("faces", "words", "face_skill"), [(300, 300, 0.0), (90, 90, 0.0), (60, 240, 0.0)])
def test_true_null_is_rejected_at_the_stated_rate(faces: int, words: int, face_skill: float) -> None:
    _, clustered = rejections(lambda rng: crossed_pairs(rng, 1000, faces, words, face_skill, 3.0), 800, 1)
    assert 0.025 < clustered < 0.075


def coverage(make: Callable[[np.random.Generator], tuple[float, Interval]], repeats: int, seed: int) -> float:
    """Share of draws whose interval holds the mean of the figure over all draws."""
    rng = np.random.default_rng(seed)
    values, intervals = zip(*(make(rng) for _ in range(repeats)), strict=True)
    truth = np.mean(values)
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def test_crossed_intervals_cover_the_figures_mean() -> None:
    def ranking(rng: np.random.Generator) -> tuple[float, Interval]:
        labels, scores, frame = crossed_pairs(rng, 400, 150, 150, 1.5, 1.5)
        estimate = average_precision(labels, scores)
        return estimate.value, ranking_interval(estimate, Units.of(frame, list(frame)))

    def counted(rng: np.random.Generator) -> tuple[float, Interval]:
        labels, scores, frame = crossed_pairs(rng, 400, 150, 150, 1.5, 1.5)
        statistic = decision_metrics(labels, scores > 0.5)["macro_f1"]
        return statistic.value, count_interval(statistic, Units.of(frame, list(frame)), n_bootstrap=1, seed=0)

    assert coverage(ranking, 250, 2) > 0.91
    assert coverage(counted, 250, 3) > 0.90


def speakers(rng: np.random.Generator, count: int) -> Pairs:
    """Clips of speakers whose voices suit the system to different degrees."""
    speaker = np.repeat(np.arange(count), 20)
    labels = rng.random(len(speaker)) < 0.5
    labels[:2] = True, False
    skill = rng.normal(1.0, 0.7, count)[speaker]
    return labels, skill * (labels - 0.5) + rng.normal(size=len(speaker)), table(speaker=speaker)


@pytest.mark.parametrize(("count", "least"), [(6, 0.90), (24, 0.90)])
def test_one_way_intervals_cover_the_figures_mean_with_few_and_many_clusters(count: int, least: float) -> None:
    def counted(rng: np.random.Generator) -> tuple[float, Interval]:
        labels, scores, frame = speakers(rng, count)
        statistic = decision_metrics(labels, scores > 0)["macro_f1"]
        return statistic.value, count_interval(statistic, Units.of(frame, ["speaker"]), n_bootstrap=200, seed=0)

    def ranking(rng: np.random.Generator) -> tuple[float, Interval]:
        labels, scores, frame = speakers(rng, count)
        units = Units.of(frame, ["speaker"])
        estimate = auroc(labels, scores)
        return estimate.value, ranking_interval(estimate, units, lambda rows: auroc(labels[rows], scores[rows]).value)

    assert (count < FEW_CLUSTERS) == (count == 6)
    assert coverage(counted, 250, 4) > least
    assert coverage(ranking, 250, 5) > least
