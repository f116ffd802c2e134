"""What raters of one channel say against raters of another: labels from votes, and how far votes alone would differ.

Two channels are *perceived* as different when their raters' winning labels differ. Raters of one channel differ among
themselves too, so a rate of disagreement between channels means something only beside the rate within a channel, found
with as many raters on each side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from subtext.evaluation.intervals import Units
from subtext.evaluation.metrics import CountStatistic

Counts = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]

UNDECIDED: Final = -1
"""Label where the votes tie or agree too little."""


@dataclass(frozen=True)
class HalfVotes:
    """Comparisons of halves of the votes, averaged over random divisions: per clip, how often they differ.

    Attributes:
        terms: comparison -> `[clips, 2]`: mean number of divisions in which the two halves' labels differ, and in which
            both halves have a label. Their sums' ratio is the rate of disagreement.
        raters: `[clips]`, votes in every half of a clip.
    """

    terms: Mapping[str, npt.NDArray[np.float64]]
    raters: Counts

    def rate(self, comparison: str) -> CountStatistic:
        """The rate of disagreement of one comparison."""
        return CountStatistic(self.terms[comparison], _rate)

    def comparable(self, comparison: str) -> float:
        """Share of the divisions in which both halves have a label."""
        return float(self.terms[comparison][:, 1].mean())

    def excess(self, between: str, within: Sequence[str]) -> CountStatistic:
        """Disagreement between channels less the mean of that within them."""
        terms = np.hstack([self.terms[between], *(self.terms[name] for name in within)])

        def figure(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            rates = [_rate(sums[..., first : first + 2]) for first in range(0, sums.shape[-1], 2)]
            return np.asarray(rates[0] - np.mean(rates[1:], axis=0))

        return CountStatistic(terms, figure, low=-1.0)


def winning_label(counts: Counts, agreement: float = 0.0) -> Labels:
    """The label with most votes, `UNDECIDED` where two share the lead or the winner has less than `agreement` of them.

    Args:
        counts: votes, `[..., labels]`.
        agreement: smallest share of the winning label, 0 to 1.

    Returns:
        `[...]`, positions on the last axis.
    """
    most, total = counts.max(axis=-1), counts.sum(axis=-1)
    tied = (counts == most[..., None]).sum(axis=-1) > 1
    # The margin keeps 0.6 of 5 votes from failing by a rounding error.
    weak = most < agreement * total - 1e-9
    return np.where(tied | weak | (total == 0), UNDECIDED, counts.argmax(axis=-1))


def vote_shares(counts: Counts) -> npt.NDArray[np.float64]:
    """Share of the votes for each label, `[..., labels]`; NaN where nobody voted."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def rater_disagreement(first: Counts, second: Counts | None = None) -> npt.NDArray[np.float64]:
    """Probability that one rater of each channel, or two different raters of one, name different labels, `[clips]`.

    Between channels 1 - sum_k p(k) q(k); within one the same over pairs of different raters, (1 - sum_k p(k)^2) n / (n
    - 1). Both are unbiased for any number of raters.

    Args:
        first: votes, `[clips, labels]`.
        second: votes of the other channel; None for pairs within the first.
    """
    shares = vote_shares(first)
    if second is not None:
        return np.asarray(1 - (shares * vote_shares(second)).sum(axis=-1))
    total = first.sum(axis=-1).astype(np.float64)
    correction = np.divide(total, total - 1, out=np.full(total.shape, np.nan), where=total > 1)
    return np.asarray((1 - (shares**2).sum(axis=-1)) * correction)


def disagreement_rate(differ: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> CountStatistic:
    """Mean of `differ` (yes or no, or a probability) over the clips where it is known; may be a difference of rates."""
    terms = np.stack([np.where(known, differ, 0.0), known], axis=1).astype(np.float64)
    return CountStatistic(terms, _rate, low=-1.0)


def half_votes(
    channels: Mapping[str, Counts], *, agreement: float = 0.0, divisions: int = 100, seed: int = 0
) -> HalfVotes:
    """Divide each channel's raters at random into halves of equal size and compare the halves' labels.

    Every half of a clip has the same number of raters, half of the smaller channel's, so that a comparison within a
    channel and one between channels differ in nothing but the channel. The threshold holds for the halves, not for all
    votes: two halves of votes chosen for agreeing would agree by construction.

    Args:
        channels: name -> votes, `[clips, labels]`; two channels.
        agreement: smallest share of the winning label in each half.
        divisions: random divisions to average over.
        seed: of the divisions.

    Returns:
        Comparisons named as the channels (within each), and `between`.
    """
    (one, first), (other, second) = channels.items()
    rng = np.random.default_rng(seed)
    size = np.minimum(first.sum(axis=1), second.sum(axis=1)) // 2
    names = {one: [(0, 1)], other: [(2, 3)], "between": [(0, 2), (0, 3), (1, 2), (1, 3)]}
    sums = {name: np.zeros((len(first), 2)) for name in names}
    ballots = [_ballots(first), _ballots(second)]
    for _ in range(divisions):
        halves = [half for votes in ballots for half in _divide(votes, size, first.shape[1], rng)]
        labels = [winning_label(half, agreement) for half in halves]
        for name, pairs in names.items():
            for left, right in pairs:
                known = (labels[left] != UNDECIDED) & (labels[right] != UNDECIDED)
                differ = known & (labels[left] != labels[right])
                sums[name] += np.stack([differ, known], axis=1) / (len(pairs) * divisions)
    return HalfVotes(sums, size.astype(np.int64))


def cross_fitted_rates(
    categories: npt.NDArray[Any], labels: npt.NDArray[np.bool_], units: Units, unit: str, folds: int = 10
) -> npt.NDArray[np.float64]:
    """How often the label is true in a clip's category, learned from other units' clips, `[clips]`.

    Args:
        categories: what is known of each clip, `[clips]`.
        labels: `[clips]`.
        units: the clips' clusters.
        unit: whose clusters are held out together.
        folds: parts that the clusters are dealt into.
    """
    fold = units.codes[unit] % folds
    scores = np.empty(len(labels))
    for held_out in range(folds):
        train, test = fold != held_out, fold == held_out
        rates = {value: labels[train & (categories == value)].mean() for value in np.unique(categories[train])}
        scores[test] = [rates.get(value, labels[train].mean()) for value in categories[test]]
    return scores


def _ballots(counts: Counts) -> Labels:
    """One column a rater: the label that he or she named, `UNDECIDED` in the columns that a clip does not fill."""
    ballots = np.full((len(counts), int(counts.sum(axis=1).max())), UNDECIDED, dtype=np.int64)
    for row, votes in enumerate(counts):
        ballots[row, : votes.sum()] = np.repeat(np.arange(len(votes)), votes)
    return ballots


def _divide(ballots: Labels, size: Counts, labels: int, rng: np.random.Generator) -> list[Counts]:
    """Counts of two disjoint random sets of `size` raters each, `[clips, labels]`."""
    keys = np.where(ballots == UNDECIDED, 2.0, rng.random(ballots.shape))
    shuffled = np.take_along_axis(ballots, keys.argsort(axis=1), axis=1)
    place = np.arange(ballots.shape[1])
    halves = []
    for first in (np.zeros_like(size), size):
        chosen = (place >= first[:, None]) & (place < (first + size)[:, None])
        halves.append(np.stack([((shuffled == k) & chosen).sum(axis=1) for k in range(labels)], axis=1))
    return halves


def _rate(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    bottom = sums[..., 1]
    return np.divide(sums[..., 0], bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
