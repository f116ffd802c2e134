"""One judge for every figure, whoever asks: a run, the pooled seeds of one, or a comparison of several systems.

A system is one training or several that differ in their seed, on the same clips, and its figure is the mean over them.
Two kinds of uncertainty stay apart: the interval says how the mean of these trained systems would vary over other clips
and units, `seed_sd` how the trained systems vary among themselves. A difference of two systems is that of
`subtext.evaluation.paired`, whose interval joins both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.evaluation.decisions import decide, has_folds
from subtext.evaluation.intervals import (
    Interval,
    Units,
    count_interval,
    mean_interval,
    mean_of,
    mean_of_counts,
    ranking_interval,
)
from subtext.evaluation.metrics import (
    Bools,
    CountStatistic,
    Floats,
    Linearised,
    UndefinedMetricError,
    auroc,
    average_precision,
    decision_metrics,
    log_loss,
    probability_metrics,
)
from subtext.evaluation.paired import ALPHA, PairedDifference, paired_auroc, paired_counts

RANKING: Final[Mapping[str, Callable[[Bools, Floats], Linearised]]] = {"auroc": auroc, "auprc": average_precision}
METRICS: Final = (*RANKING, "macro_f1", "balanced_accuracy", "mcc", "brier", "log_loss", "ece")
REDRAWN: Final = frozenset({"shuffled"})
"""Controls that are one draw of something random: a model of shuffled pairs ranks the cells of polarities by chance.

Its AUROC scatters around 0.5 by 0.1 to 0.2 from draw to draw, the more widely the better the encoders are, and no
interval over clips sees that. Runs of several seeds give an interval over draws.
"""
REDRAWN_REASON: Final = "one draw of shuffled pairs; pool several seeds for an interval over draws"


@dataclass(frozen=True)
class Answers:
    """What one trained system says of some clips, in their order.

    Attributes:
        p: `[n]` calibrated probabilities, NaN where there is none.
        decided: `[n]` yes or no, by the threshold that the run's own validation clips chose.
        threshold: that threshold, see `subtext.evaluation.decisions.decide`.
        raw: `[n]` probabilities before temperature scaling; None where the run keeps no logits.
        fold: `[n]` the fold whose model judged each clip; None where one model judged all.
    """

    p: Floats
    decided: Bools
    threshold: Mapping[str, Any]
    raw: Floats | None = None
    fold: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, head: str, ids: pd.Series, control: pd.DataFrame | None = None
    ) -> "Answers | None":
        """Read them from a table of predictions; None where it has no such head, or the control says nothing.

        Args:
            predictions: of one run.
            head: the question.
            ids: the test clips.
            control: rows of a control. Labels and folds stay the run's own, so that both are judged on the same clips.
        """
        column, logit = f"prob_{head}", f"logit_{head}"
        table = predictions
        if control is not None and column in control:
            key = ["id", "split", "fold"] if "fold" in control and "fold" in table else ["id", "split"]
            own = control.drop_duplicates(key)[[*key, column]]
            table = table.drop(columns=[column, logit], errors="ignore").merge(own, on=key, how="left")
        if column not in table or head not in table or (control is not None and column not in control):
            return None
        test = table.loc[table["split"] == "test"].set_index("id").reindex(ids).reset_index()
        p = test[column].to_numpy(dtype=np.float64, na_value=np.nan)
        if control is not None and np.isnan(p).all():
            return None
        threshold, decided = decide(head, test, table.loc[table["split"] == "val"].reset_index(drop=True))
        raw = None
        if logit in test and test[logit].notna().any():
            from scipy.special import expit

            raw = expit(test[logit].to_numpy(dtype=np.float64, na_value=np.nan))
        fold = test["fold"].fillna(-1).to_numpy(dtype=np.int64) if has_folds(test) else None
        return cls(p, decided, threshold, raw, fold)

    def at(self, rows: Bools) -> "Answers":
        """Those on some of the clips."""
        raw = None if self.raw is None else self.raw[rows]
        fold = None if self.fold is None else self.fold[rows]
        return Answers(self.p[rows], self.decided[rows], self.threshold, raw, fold)


def known(answers: Sequence[Answers], labelled: Bools) -> Bools:
    """Which of the labelled clips have a probability from each of the systems."""
    return np.all([labelled, *(~np.isnan(each.p) for each in answers)], axis=0)


@dataclass(frozen=True)
class Figure:
    """A figure of one system.

    Attributes:
        interval: the mean over its trainings, and how that would vary over other clips.
        per_seed: the figure of each training; empty where it is undefined.
    """

    interval: Interval
    per_seed: tuple[float, ...] = ()

    @classmethod
    def of(cls, difference: PairedDifference) -> "Figure":
        """A difference as a figure of its own, without what its test alone has to say."""
        d = difference
        interval = Interval(d.value, d.low, d.high, d.test, d.units, d.clusters, d.reason if d.low is None else None)
        return cls(interval, tuple(a - b for a, b in zip(d.ours, d.theirs, strict=True)))

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation over the trainings; None with one."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None

    @property
    def spread(self) -> dict[str, Any]:
        """What the trainings differ by, in plain types; nothing where a training has no figure."""
        if not self.per_seed or not np.isfinite(self.per_seed).all():
            return {}
        return {"per_seed": list(self.per_seed), "seed_sd": self.seed_sd}

    def as_dict(self) -> dict[str, Any]:
        """Plain types."""
        return self.interval.as_dict() | self.spread


@dataclass(frozen=True)
class Judge:
    """Figures of a system on some clips.

    Attributes:
        units: the clips' clusters.
        n_bootstrap: resamples, where an interval is a bootstrap's.
        seed: seeds the resampling.

    Example:
        >>> labels = np.array([False, True, False, True])
        >>> two_seeds = [np.array([0.1, 0.9, 0.4, 0.3]), np.array([0.2, 0.6, 0.1, 0.8])]
        >>> Judge(Units({}, 4)).ranking("auroc", labels, two_seeds).per_seed
        (0.75, 1.0)
    """

    units: Units
    n_bootstrap: int = 1000
    seed: int = 0

    def take(self, rows: Bools) -> "Judge":
        """The judge of some of the clips."""
        return replace(self, units=self.units.take(rows))

    def ranked(self, estimates: Callable[[Bools], Sequence[Linearised]], method: str = "DeLong") -> Figure:
        """A figure with influence values.

        Args:
            estimates: it, of each training, on some of the clips (bool `[n]`).
            method: what the influence values are called.
        """
        try:
            each = estimates(np.ones(self.units.n, dtype=bool))
        except UndefinedMetricError as error:
            return Figure(Interval(None, reason=str(error)))
        within: Callable[[Bools], float] = lambda rows: mean_of(estimates(rows)).value  # noqa: E731
        interval = ranking_interval(mean_of(each), self.units, within, method=method)
        return Figure(interval, tuple(estimate.value for estimate in each))

    def counted(self, make: Callable[[], Sequence[CountStatistic]]) -> Figure:
        """A figure of counts, from its statistic in each training."""
        try:
            statistics = make()
        except UndefinedMetricError as error:
            return Figure(Interval(None, reason=str(error)))
        interval = count_interval(mean_of_counts(statistics), self.units, n_bootstrap=self.n_bootstrap, seed=self.seed)
        return Figure(interval, tuple(statistic.value for statistic in statistics))

    def ranking(self, metric: str, labels: Bools, scores: Sequence[Floats]) -> Figure:
        """AUROC or average precision, from the scores `[n]` of each training."""
        measure = RANKING[metric]
        return self.ranked(
            lambda rows: [measure(labels[rows], p[rows]) for p in scores],
            "DeLong" if metric == "auroc" else "influence",
        )

    def figures(self, labels: Bools, answers: Sequence[Answers], metrics: Sequence[str] = METRICS) -> dict[str, Figure]:
        """Some of `METRICS` each, from what each training says of the clips."""

        def figure(metric: str) -> Figure:
            if metric in RANKING:
                return self.ranking(metric, labels, [each.p for each in answers])
            return self.counted(lambda: [counts(metric, labels, each) for each in answers])

        return {metric: figure(metric) for metric in metrics}

    def difference(
        self,
        metric: str,
        labels: Bools,
        ours: Sequence[Answers],
        theirs: Sequence[Answers],
        *,
        alpha: float = ALPHA,
        together: bool = False,
    ) -> PairedDifference:
        """Ours less theirs: in AUROC a test, in a metric of counts an interval; see `subtext.evaluation.paired`."""
        if metric == "auroc":
            scores = [each.p for each in ours], [each.p for each in theirs]
            return paired_auroc(labels, *scores, self.units, alpha=alpha, together=together)
        try:
            a, b = ([counts(metric, labels, each) for each in side] for side in (ours, theirs))
        except UndefinedMetricError as error:
            return PairedDifference(None, reason=str(error))
        return paired_counts(a, b, self.units, n_bootstrap=self.n_bootstrap, seed=self.seed)


class Question:
    """One question about the clips that several systems share.

    Args:
        head: the question.
        clips: one row a clip, with its label.
        judge: of these clips.
        alpha: level of the tests.
    """

    def __init__(self, head: str, clips: pd.DataFrame, judge: Judge, alpha: float = ALPHA) -> None:
        self.head = head
        self.clips = clips
        self.judge = judge
        self.alpha = alpha
        self.everywhere: Bools = np.ones(len(clips), dtype=bool)
        self.labelled: Bools = clips[head].notna().to_numpy(dtype=bool)
        self.labels: Bools = clips[head].fillna(False).to_numpy(dtype=bool)

    def judged(self, answers: Sequence[Answers], mask: Bools) -> Bools:
        """Clips of a mask that have a label and a probability from each of the systems."""
        return known(answers, mask & self.labelled)

    def figures(self, answers: Sequence[Answers], mask: Bools, metrics: Sequence[str] = METRICS) -> dict[str, Any]:
        """Means over seeds, each with its interval, the value of every seed and their standard deviation."""
        at = self.judged(answers, mask)
        found = self.judge.take(at).figures(self.labels[at], [each.at(at) for each in answers], metrics)
        return {metric: figure.as_dict() for metric, figure in found.items()}

    def difference(
        self, metric: str, ours: Sequence[Answers], theirs: Sequence[Answers], mask: Bools, together: bool = False
    ) -> PairedDifference:
        """Mean of ours less that of theirs, on clips that both judge."""
        at = self.judged([*ours, *theirs], mask)
        sides = ([each.at(at) for each in side] for side in (ours, theirs))
        return self.judge.take(at).difference(metric, self.labels[at], *sides, alpha=self.alpha, together=together)


def counts(metric: str, labels: Bools, answers: Answers) -> CountStatistic:
    """A metric of counts of one training.

    Raises:
        UndefinedMetricError: it has no value on these clips.
    """
    if metric == "log_loss":
        return log_loss(labels, answers.p)
    if metric in ("brier", "ece"):
        return probability_metrics(labels, answers.p)[metric]
    return decision_metrics(labels, answers.decided)[metric]


def over_draws(values: Sequence[float]) -> dict[str, Any]:
    """A t interval over seeds, of a control that each seed draws anew; it replaces all that is said of clusters."""
    found = mean_interval(values, "draw")
    how = {"reason": REDRAWN_REASON} if found.low is None else {"method": f"t over {len(values)} draws"}
    return {"units": [], "clusters": {}, "low": found.low, "high": found.high} | how
