"""Labels from votes, and disagreement within and between channels."""

import numpy as np
import pytest

from subtext.corpora.votes import (
    UNDECIDED,
    cross_fitted_rates,
    disagreement_rate,
    half_votes,
    rater_disagreement,
    vote_shares,
    winning_label,
)
from subtext.evaluation.intervals import Units


def test_the_winner_ties_and_weak_winners():
    votes = np.array([[1, 3, 0], [2, 2, 1], [0, 0, 0], [2, 3, 0]])
    assert winning_label(votes).tolist() == [1, UNDECIDED, UNDECIDED, 1]
    # Exactly three fifths are enough for 0.6, whatever 0.6 * 5 is in floating point.
    assert winning_label(votes, 0.6).tolist() == [1, UNDECIDED, UNDECIDED, 1]
    assert winning_label(votes, 0.7).tolist() == [1, UNDECIDED, UNDECIDED, UNDECIDED]


def test_shares_are_null_where_nobody_voted():
    shares = vote_shares(np.array([[1, 3], [0, 0]]))
    assert shares[0].tolist() == [0.25, 0.75]
    assert np.isnan(shares[1]).all()


def test_disagreement_of_single_raters_counts_pairs():
    face, voice = np.array([[2, 1]]), np.array([[1, 3]])
    # Of 3 x 4 pairs across the channels 2 x 1 + 1 x 3 agree; of the 3 pairs of face raters, 1 does.
    assert rater_disagreement(face, voice)[0] == pytest.approx(1 - 5 / 12)
    assert rater_disagreement(face)[0] == pytest.approx(2 / 3)
    assert np.isnan(rater_disagreement(np.array([[1, 0]])))


def test_halves_of_unanimous_channels_differ_between_and_never_within():
    votes = half_votes({"face": np.tile([10, 0], (5, 1)), "voice": np.tile([0, 7], (5, 1))}, divisions=3)
    assert votes.rate("between").value == 1.0
    assert votes.rate("face").value == votes.rate("voice").value == 0.0
    assert votes.excess("between", ["face", "voice"]).value == 1.0
    assert votes.raters.tolist() == [3] * 5


def test_raters_who_do_not_see_the_channel_show_no_excess():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1, 1, 1], size=600)
    face, voice = rng.multinomial(9, chances), rng.multinomial(10, chances)
    votes = half_votes({"face": face, "voice": voice}, divisions=40, agreement=0.5)
    assert votes.rate("between").value > 0.2
    assert abs(votes.excess("between", ["face", "voice"]).value) < 0.02
    pairs = rater_disagreement(face, voice) - (rater_disagreement(face) + rater_disagreement(voice)) / 2
    assert abs(pairs.mean()) < 0.01


def test_a_threshold_leaves_out_halves_that_agree_too_little():
    counts = {"face": np.array([[6, 4]] * 30), "voice": np.array([[5, 5]] * 30)}
    loose, strict = (half_votes(counts, agreement=t, divisions=20) for t in (0.0, 1.0))
    assert loose.comparable("face") == pytest.approx(1)  # Five votes for two labels never tie.
    assert strict.comparable("face") == 0


def test_divisions_repeat_with_their_seed():
    counts = {"face": np.array([[3, 6]] * 99), "voice": np.array([[4, 6]] * 99)}
    rates = [half_votes(counts, divisions=2, seed=seed).rate("between").value for seed in (0, 0, 1)]
    assert rates[0] == rates[1] != rates[2]


def test_a_rate_leaves_unknown_clips_out():
    rate = disagreement_rate(np.array([1.0, 0.0, np.nan]), np.array([True, True, False]))
    assert rate.value == 0.5


def test_rates_come_from_other_units_only():
    # Each unit's own rate would tell the label; the others' says the opposite.
    units = Units({"actor": np.repeat([0, 1], 4)}, 8)
    labels = np.repeat([True, False], 4)
    scores = cross_fitted_rates(np.array(["a"] * 8), labels, units, "actor", folds=2)
    assert scores.tolist() == [0.0] * 4 + [1.0] * 4
