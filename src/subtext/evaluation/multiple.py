"""What may be concluded from several comparisons: correction for their number, and a verdict in words."""

from collections.abc import Mapping
from typing import Final, Literal

from subtext.evaluation.paired import ALPHA, PairedDifference

Verdict = Literal["better", "worse", "tie", "undecided", "untested"]

VERDICTS: Final[Mapping[Verdict, str]] = {
    "better": "significantly better",
    "worse": "significantly worse",
    "tie": "no significant difference, and smaller than this comparison would reliably find",
    "undecided": "significant by itself, but no longer after the correction for several tests",
    "untested": "no test: too few clips or clusters, or nothing to compare",
}
"""Verdict, as JSON and CSV hold it -> what it means."""
VERDICT_WORDS: Final[Mapping[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "tie": "no difference shown",
    "undecided": "undecided",
    "untested": "too few to tell",
}
"""The same as pages, figures and terminals say it."""


def holm(p: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction (Holm 1979, Scand. J. Statist. 6): adjusted p, to be compared with the level.

    Args:
        p: by comparison; None where there is no test, which then does not count.

    Returns:
        By comparison, in the same order; None where there is no test.
    """
    # Not by statsmodels, whose multipletests collects garbage in every call: a tenth of a second and more.
    adjusted = dict(p)
    ranked = sorted((value, name) for name, value in p.items() if value is not None)
    largest = 0.0
    for rank, (value, name) in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - rank) * value))
        adjusted[name] = largest
    return adjusted


def verdict(
    difference: PairedDifference,
    p: float | None = None,
    *,
    alpha: float = ALPHA,
    higher_is_better: bool = True,
) -> Verdict:
    """Whether ours is better than theirs, worse, or whether they tie; `VERDICTS` says what each means.

    Args:
        difference: ours less theirs.
        p: the adjusted p, if there were several comparisons; default: the difference's own.
        alpha: level.
        higher_is_better: whether a higher figure is the better one; false for errors.
    """
    p = difference.p if p is None else p
    if difference.value is None or difference.p is None or p is None:
        return "untested"
    if p <= alpha:
        return "better" if (difference.value > 0) == higher_is_better else "worse"
    # Without correction it is significant, so that its interval leaves out 0: that is no tie. What is not significant
    # by itself is always smaller than the minimal detectable difference, which lies beyond the test's critical value.
    return "undecided" if difference.p <= alpha else "tie"
