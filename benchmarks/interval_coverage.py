"""How often the 95 % intervals of `subtext.evaluation.intervals` hold the true figure, with clusters of uneven size.

Speakers differ in how often a clip is incongruent, in how well the system reads them and in how high it scores them;
sizes are fixed. The truth is the figure over 40,000 such speakers with ten clips each. Beside the median width stands
an oracle's: twice the distance from the truth within which 95 % of the figures fall, which nobody can know who has one
sample. `by count` is what it was before: the percentile bootstrap, or below 20 clusters the spread of the clusters' own
figures, both taking clusters for as many as there are.

    python benchmarks/interval_coverage.py --samples 2000
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from subtext.evaluation.intervals import (
    FEW_CLUSTERS,
    Interval,
    Units,
    cluster_weights,
    count_interval,
    effective_clusters,
    ranking_interval,
)
from subtext.evaluation.metrics import (
    CountStatistic,
    UndefinedMetricError,
    auroc,
    decision_metrics,
    log_loss,
    probability_metrics,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def _uneven(clusters: int, clips: int, spread: float) -> Ints:
    """Sizes at the quantiles of a lognormal distribution, three clips at least."""
    sizes = np.exp(spread * norm.ppf((np.arange(clusters) + 0.5) / clusters))
    return np.maximum(3, np.round(sizes / sizes.sum() * clips)).astype(np.int64)


SIZES: Final[Mapping[str, Ints]] = {
    "5 even": np.full(5, 60),
    "8 even": np.full(8, 40),
    "30 even": np.full(30, 25),
    "7, three large": np.array([120, 60, 60, 30, 20, 10, 10]),
    "12, one has 40 %": np.array([200, *[27] * 11]),
    "12 uneven": _uneven(12, 400, 1.0),
    "23 uneven": _uneven(23, 700, 1.0),
    "23, one has 30 %": np.array([210, *[22] * 22]),
    "60 uneven": _uneven(60, 1500, 1.0),
    "40 very uneven": _uneven(40, 1500, 1.5),
    "8, one has 70 %": np.array([280, *[17] * 7]),
}
FIGURES: Final = (
    "share",
    "rare share",
    "accuracy",
    "macro_f1",
    "balanced_accuracy",
    "mcc",
    "brier",
    "log_loss",
    "ece",
    "auroc",
)


@dataclass(frozen=True)
class Row:
    """Of one figure.

    Attributes:
        figure: which.
        covered: share of samples whose interval holds the truth, of those with an interval.
        given: share of samples with an interval.
        width: the median's.
        oracle: the width that 95 % of the samples need.
        by_count: share that the interval by the number of clusters covers; NaN for AUROC.
    """

    figure: str
    covered: float
    given: float
    width: float
    oracle: float
    by_count: float


def draw(rng: np.random.Generator, sizes: Ints, rate: float = 0.3) -> tuple[Ints, Bools, Floats]:
    """Speaker, label and probability of every clip."""
    speakers = np.repeat(np.arange(len(sizes)), sizes)
    inclined, skill, high = (rng.normal(scale=scale, size=len(sizes))[speakers] for scale in (0.5, 0.7, 0.5))
    prior = np.log(rate / (1 - rate))
    labels = rng.random(len(speakers)) < 1 / (1 + np.exp(-prior - inclined))
    score = (1.5 + skill) * (labels - 0.5) + high + rng.normal(size=len(speakers))
    return speakers, labels, np.asarray(1 / (1 + np.exp(-1.2 * score - prior)))


def statistic(figure: str, labels: Bools, p: Floats) -> CountStatistic:
    """A figure of counts."""
    if figure in ("share", "rare share"):
        terms = np.stack([labels if figure == "share" else p > 0.85, np.ones(len(p))], axis=1).astype(np.float64)
        return CountStatistic(terms, lambda sums: sums[..., 0] / sums[..., 1])
    if figure == "log_loss":
        return log_loss(labels, p)
    if figure in ("brier", "ece"):
        return probability_metrics(labels, p)[figure]
    return decision_metrics(labels, p > 0.5)[figure]


@cache
def truth(figure: str) -> float:
    """The figure over very many speakers."""
    _, labels, p = draw(np.random.default_rng(0), np.full(40_000, 10))
    return auroc(labels, p).value if figure == "auroc" else statistic(figure, labels, p).value


def interval(figure: str, speakers: Ints, labels: Bools, p: Floats) -> Interval:
    """What the evaluation gives."""
    units = Units({"speaker": speakers}, len(p))
    if figure == "auroc":
        return ranking_interval(auroc(labels, p), units, lambda rows: auroc(labels[rows], p[rows]).value)
    return count_interval(statistic(figure, labels, p), units, n_bootstrap=400, seed=0)


def interval_by_count(figure: str, speakers: Ints, labels: Bools, p: Floats) -> tuple[float, float]:
    """What the evaluation gave before it looked at the clusters' sizes."""
    own = statistic(figure, labels, p)
    sums = np.stack([own.terms[speakers == speaker].sum(axis=0) for speaker in range(speakers.max() + 1)])
    if len(sums) >= FEW_CLUSTERS:
        draws = np.asarray(own.figure(cluster_weights(len(sums), 400, 0) @ sums))
        low, high = np.nanquantile(draws, [0.025, 0.975])
        if own.nonnegative_bias:
            low, high = 2 * own.value - high, max(own.value, 2 * own.value - low)
        return float(low), float(high)
    figures = np.asarray(own.figure(sums))
    figures = figures[np.isfinite(figures)]
    half = student.ppf(0.975, len(figures) - 1) * np.std(figures, ddof=1) / np.sqrt(len(figures))
    return own.value - float(half), own.value + float(half)


def coverage(
    sizes: Ints, samples: int, rng: np.random.Generator, figures: Sequence[str] = FIGURES, by_count: bool = False
) -> list[Row]:
    """Draw samples and see what the intervals of each figure hold."""
    found: dict[str, list[tuple[float, float, float, bool]]] = {figure: [] for figure in figures}
    for _ in range(samples):
        drawn = draw(rng, sizes)
        for figure, rows in found.items():
            try:
                own = interval(figure, *drawn)
            except UndefinedMetricError:
                continue
            if own.value is None:
                continue
            before = interval_by_count(figure, *drawn) if by_count and figure != "auroc" else (np.nan, np.nan)
            ends = (np.nan, np.nan) if own.low is None or own.high is None else (own.low, own.high)
            rows.append((own.value, *ends, before[0] <= truth(figure) <= before[1]))
    out = []
    for figure, rows in found.items():
        value, low, high, before = np.array(rows, dtype=np.float64).T
        given = np.isfinite(low)
        held = (low <= truth(figure)) & (truth(figure) <= high)
        out.append(
            Row(
                figure,
                float(held[given].mean()) if given.any() else float("nan"),
                float(given.mean()),
                float(np.median((high - low)[given])) if given.any() else float("nan"),
                2 * float(np.quantile(np.abs(value - truth(figure)), 0.95)),
                float(before.mean()) if by_count and figure != "auroc" else float("nan"),
            )
        )
    return out


def main() -> None:
    """Simulate and print a table of each kind of sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--figures", nargs="+", default=list(FIGURES), choices=FIGURES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.sizes:
        effective = effective_clusters(np.repeat(np.arange(len(SIZES[name])), SIZES[name]))
        print(f"\n{name}: {effective:.1f} effective clusters, {options.samples} samples\n")
        print("| figure | covers | median width | oracle's | given | by count, covers |\n|---|---|---|---|---|---|")
        rng = np.random.default_rng(options.seed)
        for row in coverage(SIZES[name], options.samples, rng, options.figures, by_count=True):
            print(
                f"| {row.figure} | {row.covered:.1%} | {row.width:.3f} | {row.oracle:.3f} | {row.given:.0%} | "
                f"{row.by_count:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
