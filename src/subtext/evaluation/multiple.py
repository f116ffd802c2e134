"""What may be concluded from several comparisons: correction for their number, and a verdict in words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from subtext.evaluation.paired import ALPHA, PairedDifference, detectable, equivalence_p

MARGIN: Final = 0.02
"""Difference in AUROC up to which two systems are called a tie, unless another is declared."""

Verdict = Literal["better", "worse", "tie", "undecided", "not_distinguished", "untested"]

VERDICTS: Final[Mapping[Verdict, str]] = {
    "better": "significantly better",
    "worse": "significantly worse",
    "tie": "shown to be smaller than the declared margin, by two one-sided tests (their p is not corrected)",
    "undecided": "significant by itself, but no longer after the correction for several tests",
    "not_distinguished": "no significant difference, and none shown to be absent: both may be equal or not",
    "untested": "no test: too few clips or clusters, or nothing to compare",
}
"""Verdict, as JSON and CSV hold it -> what it means."""
VERDICT_WORDS: Final[Mapping[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "tie": "tie",
    "undecided": "undecided",
    "not_distinguished": "not distinguished",
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


def corrected(differences: Mapping[str, PairedDifference], alpha: float = ALPHA) -> dict[str, PairedDifference]:
    """The differences of one family, with minimal detectable differences at the level of Holm's first step.

    That is alpha over the number of tests: what the smallest p must come down to for any difference to be called real.

    Args:
        differences: by comparison.
        alpha: family-wise level.

    Returns:
        By comparison, in the same order; those without a test as they were.
    """
    tests = sum(difference.p is not None for difference in differences.values())
    return {
        name: difference
        if difference.minimal_detectable is None or difference.degrees is None
        else replace(
            difference,
            minimal_detectable=detectable(difference.standard_error, difference.degrees, alpha / tests),
        )
        for name, difference in differences.items()
    }


def verdict(
    difference: PairedDifference,
    p: float | None = None,
    *,
    alpha: float = ALPHA,
    margin: float | None = MARGIN,
    higher_is_better: bool = True,
) -> Verdict:
    """Whether ours is better than theirs, worse, or whether they tie; `VERDICTS` says what each means.

    A tie is something to be shown: that no difference was found is none. It takes two one-sided tests, of a difference
    below the margin and of one above its negative (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15), which is to say
    that the 90 % interval lies inside the margin where alpha is 5 %.

    Args:
        difference: ours less theirs.
        p: the adjusted p, if there were several comparisons; default: the difference's own.
        alpha: level.
        margin: size of a difference that is as good as none, in the figure's units; None where none was declared.
        higher_is_better: whether a higher figure is the better one; false for errors.

    Example:
        >>> found = PairedDifference(0.001, -0.005, 0.007, p=0.7, sampling_sd=0.003, degrees=40.0)
        >>> verdict(found), verdict(found, margin=0.004)
        ('tie', 'not_distinguished')
    """
    p = difference.p if p is None else p
    if difference.value is None or difference.p is None or p is None:
        return "untested"
    if p <= alpha:
        return "better" if (difference.value > 0) == higher_is_better else "worse"
    # Without correction it is significant, so that its interval leaves out 0: that is no tie, however small it is.
    if difference.p <= alpha:
        return "undecided"
    equal = margin is not None and equivalence_p(difference, margin) <= alpha
    return "tie" if equal else "not_distinguished"
