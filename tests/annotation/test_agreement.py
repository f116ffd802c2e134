"""Coefficients on published examples, and what a report says about constructed raters."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from subtext.annotation.agreement import agreement
from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.coefficients import (
    alpha_statistic,
    fleiss_statistic,
    icc_f_interval,
    icc_statistics,
    mean_kappa_statistic,
    session_interval,
)
from subtext.annotation.disagreements import disagreements
from subtext.evaluation.intervals import Units
from subtext.report.agreement_page import agreement_markdown

NONE = np.nan
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: 4 observers, 12 units.
EXAMPLE_C = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
).T
# Shrout & Fleiss 1979, Table 2: 6 targets, 4 judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
# Fleiss 1971: 30 patients, 6 diagnoses each out of 5 categories (as statsmodels' tests give it).
FLEISS = """444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444 224445
333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"""


def krippendorff_alpha(values, scale):
    return alpha_statistic(values, scale).value


@pytest.mark.parametrize(("scale", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_reproduces_krippendorffs_example_c(scale, published):
    assert krippendorff_alpha(EXAMPLE_C, scale) == pytest.approx(published, abs=5e-4)


def test_alpha_by_hand_on_two_raters():
    # Units (0,0) (0,1) (1,1): coincidences 00: 2, 01 and 10: 1 each, 11: 2; n = 6 with 3 zeros and 3 ones.
    # alpha = 1 - (6 - 1) * 2 / (36 - 9 - 9) = 4 / 9.
    assert krippendorff_alpha(np.array([[0, 0], [0, 1], [1, 1]]), "nominal") == pytest.approx(4 / 9)


def test_alpha_does_not_depend_on_units_that_one_rater_judged():
    more = np.vstack([EXAMPLE_C, [[5, NONE, NONE, NONE]] * 4])
    for scale in ("nominal", "ordinal", "interval"):
        assert krippendorff_alpha(more, scale) == pytest.approx(krippendorff_alpha(EXAMPLE_C, scale))


def test_alpha_of_one_value_throughout_is_undefined():
    for scale in ("nominal", "ordinal", "interval"):
        assert np.isnan(krippendorff_alpha(np.ones((5, 2)), scale))


def test_alpha_of_nothing_is_undefined():
    for scale in ("nominal", "ordinal", "interval"):
        assert np.isnan(krippendorff_alpha(np.full((3, 2), NONE), scale))


def test_coefficients_do_not_depend_on_the_unit_of_measurement():
    values = np.random.default_rng(0).normal(size=(10, 3))
    for factor, shift in ((1e-7, 0.0), (1e7, 1e9)):
        other = values * factor + shift
        assert krippendorff_alpha(other, "interval") == pytest.approx(krippendorff_alpha(values, "interval"))
        for one, same in zip(icc_statistics(other), icc_statistics(values), strict=True):
            assert one.value == pytest.approx(same.value)


def test_icc_reproduces_shrout_and_fleiss():
    single, mean = icc_statistics(SHROUT_FLEISS)
    assert single.value == pytest.approx(0.29, abs=5e-3)
    assert mean.value == pytest.approx(0.62, abs=5e-3)


def test_f_interval_of_the_icc_reproduces_what_r_psych_gives_for_shrout_and_fleiss():
    single, mean = icc_f_interval(SHROUT_FLEISS)
    assert single == pytest.approx((0.019, 0.761), abs=5e-4)
    assert mean == pytest.approx((0.071, 0.927), abs=5e-4)


def test_f_interval_where_nothing_is_left_to_chance():
    # Every judge is one point above the last: no error, so only the two means of judges are uncertain.
    single, mean = icc_f_interval(np.array([[1.0, 2.0], [3.0, 4.0], [2.0, 3.0]]))
    assert -1 <= single[0] < 2 / 3 < single[1] <= 1
    assert mean[0] < 0.8 < mean[1]
    assert np.isnan(icc_f_interval(np.array([[1.0, 1.0], [3.0, 3.0]]))).all()


def test_an_icc_whose_variance_estimates_are_negative_is_undefined():
    # Raters contradict each other: the units' mean square is far below the error's.
    values = np.array([[1.0, 4.0, 3.0], [4.0, 1.0, 2.0], [2.0, 2.0, 3.0], [3.0, 1.0, 3.0]])
    single, mean = icc_statistics(values)
    assert single.value < -0.5
    assert np.isnan(mean.value)
    (low, high), of_mean = icc_f_interval(values)
    assert low < single.value < high
    assert np.isnan(of_mean[0])
    rows = [
        (f"s{session}", None, rater, "engagement_client", str(int(value)))
        for session, row in enumerate(values)
        for rater, value in zip(("ann", "bob", "cara"), row, strict=True)
    ]
    found = agreement(ratings(rows), read_codebook(), n_bootstrap=200).labels["engagement_client"].coefficients
    assert found["icc_2_k"].value is None
    assert "raters differ from each other more" in found["icc_2_k"].reason


def sessions_of_their_own_kind(rng, count):
    """Three raters of 0 to 4, with sessions that differ in how engaged people are, and so in what chance would give."""
    values, codes = [], []
    for session in range(count):
        level, turns = rng.beta(0.6, 5), rng.integers(8, 25)
        true = level * 6 + rng.normal(size=(turns, 1)) * 0.5
        values.append(np.clip(np.round(true + rng.normal(size=(turns, 3)) * 0.6), 0, 4))
        codes += [session] * turns
    return np.vstack(values), np.array(codes)


@pytest.mark.parametrize(("sessions", "least"), [(10, 0.78), (25, 0.85)])
def test_intervals_hold_the_true_alpha_about_as_often_as_they_say(sessions, least):
    rng = np.random.default_rng(sessions)
    truth = krippendorff_alpha(sessions_of_their_own_kind(np.random.default_rng(9), 3000)[0], "ordinal")
    held = []
    for _ in range(150):
        values, codes = sessions_of_their_own_kind(rng, sessions)
        statistic = alpha_statistic(values, "ordinal")
        found = session_interval(statistic, Units({"session": codes}, len(codes)), n_bootstrap=300, seed=0)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) > least


def test_there_is_no_interval_where_nothing_tells_how_wide_it_is():
    def of(values, codes):
        statistic = alpha_statistic(np.array(values, dtype=float), "nominal")
        units = Units({"session": np.array(codes)}, len(codes))
        return session_interval(statistic, units, n_bootstrap=200, seed=0)

    same = [[turn % 2] * 2 for turn in range(60)]
    assert "raters never differ" in of(same, np.repeat(np.arange(3), 20)).reason
    assert "raters never differ" in of(same, np.repeat(np.arange(30), 2)).reason
    assert "one session only" in of([[0, 1], [1, 1], [0, 0]], [0, 0, 0]).reason
    lonely = [[1, 1], [0, 0], [0, 0], [0, 0]]
    assert "undefined without one session" in of(lonely, [0, 0, 1, 1]).reason


def test_fleiss_kappa_reproduces_fleiss_1971():
    values = np.array([[float(digit) for digit in word] for word in FLEISS.split()])
    assert fleiss_statistic(values).value == pytest.approx(0.430, abs=5e-4)


def test_resampled_fleiss_kappa_is_that_of_the_resampled_units():
    values = np.array([[float(digit) for digit in word] for word in FLEISS.split()])
    statistic = fleiss_statistic(values)
    drawn = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30))
    table = np.stack([(values == level).sum(axis=1) for level in range(1, 6)], axis=1)
    assert float(statistic.figure(drawn @ statistic.terms)) == pytest.approx(
        fleiss_kappa(np.repeat(table, drawn, axis=0))
    )


def test_cohens_kappa_reproduces_the_textbook_example():
    # 50 proposals, both yes 20, both no 15, 5 and 10 apart: kappa 0.4 (en.wikipedia.org/wiki/Cohen's_kappa).
    values = np.array([[1, 1]] * 20 + [[1, 0]] * 5 + [[0, 1]] * 10 + [[0, 0]] * 15, dtype=float)
    assert mean_kappa_statistic(values, weighted=False).value == pytest.approx(0.4)


def test_weighted_kappa_with_gaps_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    values = np.clip(rng.integers(0, 5, (60, 1)) + rng.integers(-1, 2, (60, 3)), 0, 4).astype(float)
    values[rng.random(values.shape) < 0.2] = NONE
    kappas = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = values[np.isfinite(values[:, i]) & np.isfinite(values[:, j])]
        kappas.append(cohen_kappa_score(both[:, i].astype(int), both[:, j].astype(int), weights="quadratic"))
    assert mean_kappa_statistic(values, weighted=True).value == pytest.approx(np.mean(kappas))


def ratings(rows):
    columns = ["session", "turn", "rater", "label", "value"]
    return pd.DataFrame(rows, columns=columns, dtype=object).assign(start=NONE, end=NONE)


def three_raters(sessions=4, turns=12):
    """`ann` and `bob` always agree; `cara` tosses a coin, and skips the last session."""
    rng = np.random.default_rng(0)
    rows = []
    for session in range(sessions):
        for turn in range(turns):
            truth = str(turn % 2)
            rows += [(f"s{session}", str(turn), rater, "incongruent", truth) for rater in ("ann", "bob")]
            if session < sessions - 1:
                rows.append((f"s{session}", str(turn), "cara", "incongruent", str(rng.integers(0, 2))))
    return ratings(rows)


def test_the_rater_who_guesses_stands_out():
    found = agreement(three_raters(), read_codebook(), n_bootstrap=200).labels["incongruent"]
    by_rater = {row["rater"]: row for row in found.per_rater}
    assert by_rater["cara"]["alpha_without"].value == pytest.approx(1.0)
    assert by_rater["ann"]["alpha_without"].value < 0.5
    assert by_rater["cara"]["mean_kappa"] < by_rater["ann"]["mean_kappa"]
    assert (found.units, found.shared, found.complete, found.sessions) == (48, 48, 36, 4)
    kappas = {(pair["rater"], pair["other"]): pair["kappa"] for pair in found.pairs}
    assert kappas["ann", "bob"] == pytest.approx(1.0)


def test_few_sessions_are_said_and_many_are_resampled():
    few = agreement(three_raters(4), read_codebook(), n_bootstrap=200).labels["incongruent"].coefficients["alpha"]
    many = agreement(three_raters(25), read_codebook(), n_bootstrap=200).labels["incongruent"].coefficients["alpha"]
    assert few.method == "jackknife over sessions, t"
    assert many.method == "bootstrap over sessions, expanded percentile"
    assert many.low < many.value < many.high
    assert "†" in agreement_markdown(agreement(three_raters(4), read_codebook(), n_bootstrap=200), pd.DataFrame())


def test_scores_of_few_sessions_get_no_interval_but_the_iccs_f():
    rows = [
        (f"s{session}", None, rater, "engagement_client", str(min(session + extra, 4)))
        for session in range(4)
        for rater, extra in (("ann", 0), ("bob", 0), ("cara", 1))
    ]
    found = agreement(ratings(rows), read_codebook(), n_bootstrap=200).labels["engagement_client"].coefficients
    assert found["alpha"].low is None
    assert "4 sessions, each judged once" in found["alpha"].reason
    assert found["icc_2_1"].method.startswith("F distribution")
    assert found["icc_2_1"].low < found["icc_2_1"].value < found["icc_2_1"].high


def test_one_rater_is_said_to_tell_nothing():
    table = three_raters()
    found = agreement(table[table["rater"] == "ann"], read_codebook())
    assert found.labels["incongruent"].coefficients["alpha"].value is None
    assert "one rater" in found.labels["incongruent"].coefficients["alpha"].reason
    assert any("cannot be computed" in note for note in found.notes)
    assert disagreements(table[table["rater"] == "ann"], read_codebook()).empty


def test_unratable_answers_and_skipped_items_count_as_missing():
    rows = [("s", str(turn), rater, "incongruent", str(turn % 2)) for turn in range(6) for rater in ("ann", "bob")]
    whole = agreement(ratings(rows), read_codebook(), n_bootstrap=200).labels["incongruent"]
    extra = [("s", "7", "ann", "incongruent", "cannot_tell"), ("s", "7", "bob", "incongruent", "1")]
    extra += [("s", "8", "ann", "incongruent", None), ("s", "8", "bob", "incongruent", "0")]
    found = agreement(ratings(rows + extra), read_codebook(), n_bootstrap=200).labels["incongruent"]
    assert found.coefficients["alpha"].value == whole.coefficients["alpha"].value
    ann = next(row for row in found.per_rater if row["rater"] == "ann")
    assert (ann["rated"], ann["unratable"], ann["skipped"]) == (6, 1, 1)


def test_disagreements_come_worst_first_with_every_raters_value():
    rows = [
        ("s", "1", "ann", "engagement", "1"),
        ("s", "1", "bob", "engagement", "2"),
        ("s", "2", "ann", "engagement", "0"),
        ("s", "2", "bob", "engagement", "4"),
        ("s", "3", "ann", "engagement", "2"),
        ("s", "3", "bob", "engagement", "2"),
        ("s", "10", "ann", "incongruent", "1"),
        ("s", "10", "bob", "incongruent", "0"),
        ("s", "10", "cara", "incongruent", "cannot_tell"),
        ("s", "9", "ann", "verbal_emotion", "fear"),
        ("s", "9", "bob", "verbal_emotion", "anger"),
        ("s", "9", "cara", "verbal_emotion", "anger"),
    ]
    found = disagreements(ratings(rows), read_codebook())
    assert list(found["turn"]) == ["2", "10", "9", "1"]
    assert list(found["score"]) == pytest.approx([1.0, 1.0, 2 / 3, 0.25])
    assert found.loc[1, "rater cara"] == "cannot_tell"
    assert list(found["raters"]) == [2, 2, 3, 2]
