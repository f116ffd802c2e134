"""Several systems on the same clips: every figure with its interval, every difference with its test.

Computed from prediction tables and nothing else. A system is the runs of several seeds; its figures are means over
them. Two kinds of uncertainty stay apart: intervals say how a mean over these trained systems would vary over other
clips and units, `seed_sd` how the trained systems vary among themselves.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.errors import ConfigError
from subtext.evaluation.decisions import decide, has_folds, temperature
from subtext.evaluation.evaluate import BINARY_HEADS, CONTROLS, RANKING, REDRAWN, describe_groups, subsets_of
from subtext.evaluation.intervals import Interval, Units, count_interval, mean_of, mean_of_counts, ranking_interval
from subtext.evaluation.metrics import (
    ECE_BINS,
    Bools,
    CountStatistic,
    Floats,
    UndefinedMetricError,
    auroc,
    calibration_floor,
    decision_metrics,
    log_loss,
    probability_bin,
    probability_metrics,
)
from subtext.evaluation.multiple import holm, verdict
from subtext.evaluation.paired import PairedDifference, paired_auroc, paired_counts, paired_within
from subtext.evaluation.seeds import over_draws
from subtext.evaluation.systems import System, TrainedRun, check_seeds, same_encoders, shared_clips
from subtext.evaluation.within import auroc_by_unit
from subtext.labels import INCONGRUENCE_TYPES, incongruence_type

METRICS: Final = ("auroc", "auprc", "macro_f1", "balanced_accuracy", "mcc", "brier", "log_loss", "ece")
DIFFERENCES: Final = ("macro_f1", "balanced_accuracy", "brier", "log_loss")
"""Metrics whose differences have an interval beside that of AUROC, which alone is tested."""
POSTERIOR: Final = "posterior"
"""The strategy that learns nothing in the fusion: the reference for all."""
LEAST_CLIPS: Final = 10
"""Clips that a speaker must have to be named as the worst."""
LEAST_OF_A_LABEL: Final = 5
"""Clips of each label that a speaker must have to be named as the worst by AUROC, which one clip would decide else."""
FEW_CLIPS: Final = 20
"""Clips of a speaker below which there is no interval."""


@dataclass(frozen=True)
class Scores:
    """What one trained system says of the shared clips, in their order.

    Attributes:
        p: `[n]` calibrated probabilities, NaN where there is none.
        decided: `[n]` yes or no, by the threshold that the run's own validation clips chose.
        raw: `[n]` probabilities before temperature scaling; None where the run keeps no logits.
        fold: `[n]` the fold whose model judged each clip; None where one model judged all.
    """

    p: Floats
    decided: Bools
    raw: Floats | None = None
    fold: npt.NDArray[np.int64] | None = None


def compare(
    systems: Sequence[System],
    groups: Sequence[str],
    *,
    reference: str | None = None,
    within: str | None = None,
    alpha: float = 0.05,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare systems.

    Args:
        systems: at least one; their order decides nothing but the default reference.
        groups: columns of reused units that intervals and tests are clustered by.
        reference: the system that the others are held against; by default the posterior strategy if it is there, else
            the first.
        within: column of units inside which AUROC is computed and compared as well.
        alpha: family-wise error of the tests of one family.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling.

    Returns:
        What `comparison.json` holds: plain types only.

    Raises:
        RunError: the runs were tested on different clips, or a system repeats a seed.
        ConfigError: there is no such reference, no such unit, or alpha is no probability.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha:g}; give a probability between 0 and 1, such as 0.05")
    check_seeds(systems)
    chosen = choose_reference(systems, reference)
    ordered = sorted(systems, key=lambda system: system.name)
    clips = shared_clips(ordered, groups if within is None or within in groups else [*groups, within])
    if within is not None and (within not in clips or clips[within].isna().all()):
        known = ", ".join(str(column) for column in dict.fromkeys([*groups, "speaker"]) if column in clips)
        raise ConfigError(f"no test clip says its '{within}', so nothing can be computed inside it; known are: {known}")
    masks, notes = subsets_of(clips)
    unit = _speaker_unit(clips, groups)
    result: dict[str, Any] = {
        "format": 1,
        "clips": len(clips),
        "groups": describe_groups(clips, groups),
        "settings": {"alpha": alpha, "n_bootstrap": n_bootstrap, "seed": seed, "within": within},
        "reference": chosen,
        "systems": {system.name: _described(system) for system in ordered},
        "notes": [*notes, *_few_seeds(ordered), *_one_set_of_encoders(ordered), *_folds_differ(ordered)],
        "heads": {},
    }
    pairs = itertools.permutations(ordered, 2)
    together = {(ours.name, theirs.name) for ours, theirs in pairs if same_encoders(ours, theirs)}
    for head in BINARY_HEADS:
        scores = {system.name: [_scores(run, clips, head) for run in system.runs] for system in ordered}
        complete = {name: [s for s in each if s is not None] for name, each in scores.items() if None not in each}
        lacking = [name for name in scores if name not in complete]
        if len(lacking) == len(scores) or clips[head].isna().all():
            result["notes"].append(f"{head}: no predictions or no labels")
            continue
        if lacking:
            result["notes"].append(f"{head}: without {', '.join(lacking)}, which do not predict it")
        judge = _Judge(head, clips, groups, alpha, n_bootstrap, seed)
        controls, missing = _controls(ordered, clips, head)
        result["notes"] += missing
        result["heads"][head] = {
            "subsets": {
                name: _subset(judge, complete, controls, mask, chosen, within, together) for name, mask in masks.items()
            },
            "folds": {name: fold for name, each in complete.items() if (fold := judge.inside_folds(each)) is not None},
            "calibration": {name: judge.calibration(each, ordered, name) for name, each in complete.items()},
            "types": _types(judge, complete, controls),
            "speakers": {} if unit is None else judge.speakers(complete, unit),
        }
    return result


def choose_reference(systems: Sequence[System], wanted: str | None) -> str:
    """The system that others are held against.

    Args:
        systems: all.
        wanted: its name or, where only one system has it, its strategy; None for the default.

    Raises:
        ConfigError: there is no such system.
    """
    names = [system.name for system in systems]
    if wanted in names:
        return str(wanted)
    alike = [system.name for system in systems if system.strategy == (wanted or POSTERIOR)]
    if len(alike) == 1:
        return alike[0]
    if wanted is not None:
        raise ConfigError(f"no system '{wanted}' to hold the others against; the systems are: {', '.join(names)}")
    return names[0]


class _Judge:
    """Figures and differences of systems for one question."""

    def __init__(
        self, head: str, clips: pd.DataFrame, groups: Sequence[str], alpha: float, n_bootstrap: int, seed: int
    ) -> None:
        self.head = head
        self.clips = clips
        self.groups = tuple(groups)
        self.alpha = alpha
        self.n_bootstrap = n_bootstrap
        self.seed = seed
        self.units = Units.of(clips, groups)
        self.labelled: Bools = clips[head].notna().to_numpy(dtype=bool)
        self.labels: Bools = clips[head].fillna(False).to_numpy(dtype=bool)

    def known(self, scores: Sequence[Scores], mask: Bools) -> Bools:
        """Clips of a mask that have a label and a probability from each of the systems."""
        out = mask & self.labelled
        for each in scores:
            out = out & ~np.isnan(each.p)
        return out

    def figures(self, scores: Sequence[Scores], mask: Bools, metrics: Sequence[str] = METRICS) -> dict[str, Any]:
        """Means over seeds, each with its interval, the value of every seed and their standard deviation."""
        at = self.known(scores, mask)
        labels = self.labels[at]
        found: dict[str, Any] = {}
        for metric in metrics:
            if metric in RANKING:
                found[metric] = self.ranking(metric, labels, [s.p[at] for s in scores], self.units.take(at))
            else:
                make = [_counted(metric, labels, s.p[at], s.decided[at]) for s in scores]
                found[metric] = self.counted(make, self.units.take(at))
        return found

    def ranking(self, metric: str, labels: Bools, scores: Sequence[Floats], units: Units) -> dict[str, Any]:
        """Mean of AUROC or average precision over seeds."""
        measure = RANKING[metric]
        try:
            each = [measure(labels, p) for p in scores]
        except UndefinedMetricError as error:
            return Interval(None, reason=str(error)).as_dict()
        interval = ranking_interval(
            mean_of(each),
            units,
            lambda rows: float(np.mean([measure(labels[rows], p[rows]).value for p in scores])),
            method="DeLong" if metric == "auroc" else "influence",
        )
        return interval.as_dict() | _spread([estimate.value for estimate in each])

    def counted(self, makers: Sequence[Callable[[], CountStatistic]], units: Units) -> dict[str, Any]:
        """Mean of a metric of counts over seeds."""
        try:
            statistics = [make() for make in makers]
        except UndefinedMetricError as error:
            return Interval(None, reason=str(error)).as_dict()
        interval = count_interval(
            mean_of_counts(statistics), units, n_bootstrap=self.n_bootstrap, seed=self.seed
        ).as_dict()
        values = [statistic.value for statistic in statistics]
        return interval | (_spread(values) if np.isfinite(values).all() else {})

    def difference(
        self, ours: Sequence[Scores], theirs: Sequence[Scores], mask: Bools, together: bool
    ) -> PairedDifference:
        """Mean AUROC of ours less that of theirs, on clips that both judge."""
        at = self.known([*ours, *theirs], mask)
        return paired_auroc(
            self.labels[at],
            [s.p[at] for s in ours],
            [s.p[at] for s in theirs],
            self.units.take(at),
            alpha=self.alpha,
            together=together,
        )

    def other_differences(self, ours: Sequence[Scores], theirs: Sequence[Scores], mask: Bools) -> dict[str, Any]:
        """Ours less theirs in metrics that are not tested, each with an interval."""
        at = self.known([*ours, *theirs], mask)
        labels, units = self.labels[at], self.units.take(at)
        found: dict[str, Any] = {}
        for metric in DIFFERENCES:
            try:
                mine, other = (
                    [_counted(metric, labels, s.p[at], s.decided[at])() for s in side] for side in (ours, theirs)
                )
            except UndefinedMetricError as error:
                found[metric] = PairedDifference(None, reason=str(error)).as_dict()
                continue
            difference = paired_counts(mine, other, units, n_bootstrap=self.n_bootstrap, seed=self.seed)
            found[metric] = difference.as_dict()
        return found

    def by_unit(self, scores: Sequence[Scores], mask: Bools, unit: str) -> list[pd.Series]:
        """AUROC inside each unit, of each seed."""
        at = self.known(scores, mask)
        return [
            auroc_by_unit(self.clips.loc[at, [unit, self.head]].assign(score=s.p[at]), self.head, "score", unit)
            for s in scores
        ]

    def inside_folds(self, scores: Sequence[Scores]) -> dict[str, Any] | None:
        """AUROC inside each fold of cross-validation, mean over folds and seeds; None where a run has no folds.

        Beside it pooled AUROC also ranks clips of one fold's model against those of another's; see
        `subtext.evaluation.decisions.fold_figures`, which also says why there is no interval.
        """
        if any(each.fold is None for each in scores):
            return None
        at = self.known(scores, np.ones(len(self.clips), dtype=bool))
        table = pd.DataFrame({"label": self.labels[at]})
        each = [
            auroc_by_unit(table.assign(score=s.p[at], fold=s.fold[at]), "label", "score", "fold")
            for s in scores
            if s.fold is not None
        ]
        values = [float(found.mean()) for found in each]
        if not np.isfinite(values).all():
            return {"value": None, "reason": "no fold has clips of both labels"}
        return {"value": float(np.mean(values)), "folds": max(len(found) for found in each)} | _spread(values)

    def calibration(self, scores: Sequence[Scores], systems: Sequence[System], name: str) -> dict[str, Any]:
        """ECE, Brier and log loss before and after temperature scaling, on all test clips."""
        everywhere = np.ones(len(self.clips), dtype=bool)
        at = self.known(scores, everywhere)
        labels, units = self.labels[at], self.units.take(at)
        runs = next(system.runs for system in systems if system.name == name)
        found: dict[str, Any] = {
            "after": self.figures(scores, everywhere, ("ece", "brier", "log_loss")),
            "ece_if_calibrated": float(np.mean([calibration_floor(s.p[at]) for s in scores])) if at.any() else None,
            "temperatures": [_temperature(run, self.head) for run in runs],
            "bins": {"after": _bins(labels, [s.p[at] for s in scores])},
        }
        raw = [s.raw for s in scores if s.raw is not None and not np.isnan(s.raw[at]).any()]
        if len(raw) < len(scores):
            return found | {"before": {"reason": "no logits"}}
        before = [Scores(p, s.decided) for p, s in zip(raw, scores, strict=True)]
        found["before"] = self.figures(before, everywhere, ("ece", "brier", "log_loss"))
        found["bins"]["before"] = _bins(labels, [p[at] for p in raw])
        found["change"] = {}
        for metric in ("brier", "log_loss"):
            try:
                after, first = (
                    [_counted(metric, labels, s.p[at], s.decided[at])() for s in side] for side in (scores, before)
                )
            except UndefinedMetricError as error:
                found["change"][metric] = PairedDifference(None, reason=str(error)).as_dict()
                continue
            change = paired_counts(after, first, units, n_bootstrap=self.n_bootstrap, seed=self.seed)
            found["change"][metric] = change.as_dict()
        return found

    def speakers(self, systems: Mapping[str, Sequence[Scores]], unit: str) -> dict[str, Any]:
        """Figures of every speaker, and each system's worst."""
        everywhere = np.ones(len(self.clips), dtype=bool)
        values = self.clips[unit]
        rows: dict[str, list[dict[str, Any]]] = {}
        worst: dict[str, Any] = {}
        for name, scores in systems.items():
            known = self.known(scores, everywhere)
            rows[name] = [
                self._speaker(scores, known & (values == speaker).fillna(False).to_numpy(dtype=bool), str(speaker))
                for speaker in sorted(values.dropna().unique(), key=str)
            ]
            worst[name] = self._worst(rows[name], scores, known, unit)
        return {"unit": unit, "systems": rows, "worst": worst}

    def _speaker(self, scores: Sequence[Scores], at: Bools, speaker: str) -> dict[str, Any]:
        labels = self.labels[at]
        row: dict[str, Any] = {"speaker": speaker, "clips": int(at.sum()), "positive": int(labels.sum())}
        row["accuracy"] = float(np.mean([s.decided[at] == labels for s in scores])) if at.any() else None
        try:
            row["auroc"] = float(np.mean([auroc(labels, s.p[at]).value for s in scores]))
        except UndefinedMetricError:
            row["auroc"] = None
        return row

    def _worst(
        self, rows: Sequence[Mapping[str, Any]], scores: Sequence[Scores], known: Bools, unit: str
    ) -> dict[str, Any]:
        enough = [row for row in rows if row["clips"] >= LEAST_CLIPS]
        ranked = [row for row in enough if min(row["positive"], row["clips"] - row["positive"]) >= LEAST_OF_A_LABEL]
        figure = "auroc" if ranked else "accuracy"
        candidates = ranked or enough
        if not candidates:
            return {"reason": f"no {unit} has {LEAST_CLIPS} judged clips"}
        row = min(candidates, key=lambda row: (row[figure], row["speaker"]))
        found = {**row, "figure": figure, "value": row[figure], "low": None, "high": None, "of": len(candidates)}
        if row["clips"] < FEW_CLIPS:
            return found | {"reason": f"{row['clips']} clips: too few for an interval"}
        at = known & (self.clips[unit] == row["speaker"]).fillna(False).to_numpy(dtype=bool)
        labels, p, decided = self.labels[at], [s.p[at] for s in scores], [s.decided[at] for s in scores]
        own = self.clips.loc[at]
        # Another name of the speaker, such as the actor, is one cluster here.
        units = Units.of(own, [group for group in self.groups if group in own and own[group].nunique() > 1])
        if figure == "auroc":
            interval = self.ranking("auroc", labels, p, units)
        else:
            interval = self.counted([_share(d == labels) for d in decided], units)
        return found | {key: interval[key] for key in ("low", "high", "method", "reason") if key in interval}


def _subset(
    judge: _Judge,
    systems: Mapping[str, Sequence[Scores]],
    controls: Mapping[str, Mapping[str, Sequence[Scores]]],
    mask: Bools,
    reference: str,
    within: str | None,
    together: Collection[tuple[str, str]],
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "clips": int((mask & judge.labelled).sum()),
        "positive": int((mask & judge.labels).sum()),
        "systems": {
            name: {"clips": int(judge.known(scores, mask).sum()), "metrics": judge.figures(scores, mask)}
            for name, scores in systems.items()
        },
        "controls": {
            name: {
                control: _control(judge, control, systems.get(name), scores, mask) for control, scores in own.items()
            }
            for name, own in controls.items()
        },
    }

    def find(ours: str, theirs: str) -> PairedDifference:
        return judge.difference(systems[ours], systems[theirs], mask, (ours, theirs) in together)

    entry["differences"] = _families(list(systems), reference, find, judge.alpha)
    for row in entry["differences"]["reference"]:
        row["metrics"] = judge.other_differences(systems[row["system"]], systems[row["other"]], mask)
    if within is not None:
        each = {name: judge.by_unit(scores, mask, within) for name, scores in systems.items()}
        entry["within"] = {
            "unit": within,
            "systems": {name: _within_figure(found, within) for name, found in each.items()},
            "each": {name: _plain(pd.concat(found, axis=1).mean(axis=1)) for name, found in each.items()},
            "differences": _families(
                list(systems),
                reference,
                lambda a, b: paired_within(each[a], each[b], within, alpha=judge.alpha, together=(a, b) in together),
                judge.alpha,
            ),
        }
    return entry


def _families(
    systems: Sequence[str], reference: str, find: Callable[[str, str], PairedDifference], alpha: float
) -> dict[str, list[dict[str, Any]]]:
    """Differences against the reference and of all pairs: two families, each with Holm's correction of its own."""
    against = [(name, reference) for name in systems if name != reference and reference in systems]
    pairs = list(itertools.combinations(systems, 2))
    found: dict[tuple[str, str], PairedDifference] = {}
    for ours, theirs in dict.fromkeys([*against, *pairs]):
        found[ours, theirs] = find(ours, theirs)
    out = {}
    for family, members in (("reference", against), ("all_pairs", pairs)):
        keys = {f"{ours}\n{theirs}": (ours, theirs) for ours, theirs in members}
        adjusted = holm({key: found[pair].p for key, pair in keys.items()}, alpha)
        out[family] = [
            {"system": ours, "other": theirs}
            | found[ours, theirs].as_dict()
            | {"p_holm": adjusted[key], "verdict": verdict(found[ours, theirs], adjusted[key], alpha=alpha)}
            for key, (ours, theirs) in keys.items()
        ]
    return out


def _control(
    judge: _Judge, control: str, fused: Sequence[Scores] | None, scores: Sequence[Scores], mask: Bools
) -> dict[str, Any]:
    redrawn = control in REDRAWN
    entry: dict[str, Any] = {
        "clips": int(judge.known(scores, mask).sum()),
        "metrics": judge.figures(scores, mask, ("auroc",) if redrawn else METRICS),
    }
    if redrawn:
        entry["metrics"]["auroc"] |= over_draws(entry["metrics"]["auroc"].get("per_seed", []))
    elif fused is not None:
        # Both come from the same run.
        entry["system_minus_control"] = judge.difference(fused, scores, mask, together=True).as_dict()
    return entry


def _types(
    judge: _Judge,
    systems: Mapping[str, Sequence[Scores]],
    controls: Mapping[str, Mapping[str, Sequence[Scores]]],
) -> dict[str, Any]:
    """Each type against congruent clips: AUROC, and how often clips of the type are called incongruent."""
    kinds = _kinds(judge.clips, judge.head)
    if kinds.isna().all():
        return {"reason": "the types of the test clips are not known"}
    found: dict[str, Any] = {}
    congruent = (kinds == "congruent").fillna(False).to_numpy(dtype=bool)
    for kind in INCONGRUENCE_TYPES:
        own = (kinds == kind).fillna(False).to_numpy(dtype=bool)
        if not own.any():
            continue

        def figures(scores: Sequence[Scores], own: Bools = own) -> dict[str, Any]:
            at = judge.known(scores, own)
            entry: dict[str, Any] = {
                "clips": int(at.sum()),
                "called": judge.counted([_share(s.decided[at]) for s in scores], judge.units.take(at)),
            }
            if own is not congruent and not (own & congruent).any():
                both = judge.known(scores, own | congruent)
                entry["auroc"] = judge.ranking("auroc", own[both], [s.p[both] for s in scores], judge.units.take(both))
            return entry

        found[kind] = {
            "clips": int(own.sum()),
            "systems": {name: figures(scores) for name, scores in systems.items()},
            "controls": {
                name: {control: figures(scores) for control, scores in each.items() if control not in REDRAWN}
                for name, each in controls.items()
            },
        }
    return found


def _kinds(clips: pd.DataFrame, head: str) -> pd.Series:
    """The type of each clip: what the corpus says of words and face; for the voice, what its polarity gives."""
    if head == "incongruent":
        if "incongruence_type" in clips:
            return clips["incongruence_type"].astype("string")
        return pd.Series(pd.NA, index=clips.index, dtype="string")
    columns = ["verbal_polarity", BINARY_HEADS[head]]
    if any(column not in clips for column in columns):
        return pd.Series(pd.NA, index=clips.index, dtype="string")
    said, shown = (clips[column].astype("Int64") for column in columns)
    kinds = [
        pd.NA if pd.isna(one) or pd.isna(other) else incongruence_type(int(one), int(other))
        for one, other in zip(said, shown, strict=True)
    ]
    return pd.Series(kinds, index=clips.index, dtype="string")


def _scores(run: TrainedRun, clips: pd.DataFrame, head: str, control: str | None = None) -> Scores | None:
    """What a run, or a control of it, says of the shared clips; None where it says nothing."""
    column = f"prob_{head}"
    table = run.predictions
    if control is not None:
        if run.controls is None or column not in run.controls:
            return None
        rows = run.controls.loc[run.controls["control"] == control]
        key = ["id", "split", "fold"] if "fold" in rows and "fold" in table else ["id", "split"]
        # Labels are the run's own, so that both are judged on the very same clips.
        table = table.drop(columns=[c for c in (column, f"logit_{head}") if c in table]).merge(
            rows.drop_duplicates(key)[[*key, column]], on=key, how="left"
        )
    if column not in table or head not in table:
        return None
    test = table.loc[table["split"] == "test"].set_index("id").reindex(clips["id"]).reset_index()
    if test[column].isna().all():
        return None
    _, decided = decide(head, test, table.loc[table["split"] == "val"].reset_index(drop=True))
    raw = None
    if f"logit_{head}" in test and test[f"logit_{head}"].notna().any():
        from scipy.special import expit

        raw = expit(test[f"logit_{head}"].to_numpy(dtype=np.float64, na_value=np.nan))
    fold = test["fold"].fillna(-1).to_numpy(dtype=np.int64) if has_folds(test) else None
    return Scores(test[column].to_numpy(dtype=np.float64, na_value=np.nan), decided, raw, fold)


def _controls(
    systems: Sequence[System], clips: pd.DataFrame, head: str
) -> tuple[dict[str, dict[str, list[Scores]]], list[str]]:
    """System -> control -> its scores of every seed; and which controls have no mean for want of some seeds."""
    found: dict[str, dict[str, list[Scores]]] = {}
    notes = []
    for system in systems:
        names = {
            str(name) for run in system.runs if run.controls is not None for name in run.controls["control"].unique()
        }
        own: dict[str, list[Scores]] = {}
        for name in sorted(names, key=lambda name: (CONTROLS.index(name) if name in CONTROLS else len(CONTROLS), name)):
            scores = [_scores(run, clips, head, name) for run in system.runs]
            there = [s for s in scores if s is not None]
            if len(there) == len(scores):
                own[name] = there
            elif there:
                notes.append(f"{head}: control {name} of {system.name} stands in {len(there)} of {len(scores)} runs")
        if own:
            found[system.name] = own
    return found, notes


def _counted(metric: str, labels: Bools, p: Floats, decided: Bools) -> Callable[[], CountStatistic]:
    if metric == "log_loss":
        return lambda: log_loss(labels, p)
    if metric in ("brier", "ece"):
        return lambda: probability_metrics(labels, p)[metric]
    return lambda: decision_metrics(labels, decided)[metric]


def _share(yes: Bools) -> Callable[[], CountStatistic]:
    """The share of clips for which something holds."""

    def make() -> CountStatistic:
        if not len(yes):
            raise UndefinedMetricError("no such clips with a probability")
        terms = np.stack([yes.astype(np.float64), np.ones(len(yes))], axis=1)
        return CountStatistic(terms, lambda sums: sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan))

    return make


def _spread(values: Sequence[float]) -> dict[str, Any]:
    each = [float(value) for value in values]
    return {"per_seed": each, "seed_sd": float(np.std(each, ddof=1)) if len(each) > 1 else None}


def _within_figure(each: Sequence[pd.Series], unit: str) -> dict[str, Any]:
    from subtext.evaluation.intervals import mean_interval

    mean = pd.concat(each, axis=1).mean(axis=1, skipna=False).dropna()
    return mean_interval(mean.to_list(), unit).as_dict() | _spread([float(one.mean()) for one in each])


def _bins(labels: Bools, scores: Sequence[Floats]) -> list[dict[str, float]]:
    """Reliability: mean probability and share of positives in every bin that holds clips, all seeds together."""
    p, truth = np.concatenate(scores), np.tile(labels, len(scores))
    bins = probability_bin(p)
    return [
        {
            "probability": float(p[at].mean()),
            "positive": float(truth[at].mean()),
            "clips": float(at.sum()) / len(scores),
        }
        for at in (bins == number for number in range(ECE_BINS))
        if at.any()
    ]


def _temperature(run: TrainedRun, head: str) -> float | None:
    test = run.predictions.loc[run.predictions["split"] == "test"]
    validation = run.predictions.loc[run.predictions["split"] == "val"]
    value = temperature(head, test, validation)["value"]
    return None if value is None else float(value)


def _speaker_unit(clips: pd.DataFrame, groups: Sequence[str]) -> str | None:
    """The column whose values figures are broken down by: the speaker, or the first group that is known."""
    return next((c for c in ("speaker", *groups) if c in clips and clips[c].notna().any()), None)


def _described(system: System) -> dict[str, Any]:
    return {
        "runs": [run.label for run in system.runs],
        "seeds": [run.seed for run in system.runs],
        "strategy": system.strategy,
        "settings": dict(system.settings),
    }


def _few_seeds(systems: Sequence[System]) -> list[str]:
    single = [system.name for system in systems if len(system.runs) == 1]
    if not single:
        return []
    return [f"one run only of {', '.join(single)}: how much another seed would change is not known"]


def _one_set_of_encoders(systems: Sequence[System]) -> list[str]:
    """A note on systems whose seeds all have the same encoders: other encoders would change more than the seeds do."""
    given = {system.name: {run.encoders for run in system.runs} for system in systems if len(system.runs) > 1}
    same = [name for name, encoders in given.items() if len(encoders) == 1 and None not in encoders]
    if not same:
        return []
    return [
        f"all seeds of {', '.join(same)} were given the same encoders: seed sd, intervals and p do not know what "
        "training these again would change"
    ]


def _folds_differ(systems: Sequence[System]) -> list[str]:
    """A note where runs put the same clips into other folds, so that their models learned from other clips."""
    first: tuple[str, pd.Series] | None = None
    for run in (run for system in systems for run in system.runs):
        test = run.predictions.loc[run.predictions["split"] == "test"]
        # A run without folds, or of a single one, has one model for all clips.
        which = test["fold"].fillna(-1).astype("int64") if has_folds(test) else 0
        folds = test.assign(fold=which).set_index("id")["fold"].sort_index()
        if first is None:
            first = run.label, folds
        elif not folds.equals(first[1]):
            return [
                f"{first[0]} and {run.label} have other folds: their models learned from other clips, which may be "
                "what sets them apart"
            ]
    return []


def _plain(series: pd.Series) -> dict[str, float | None]:
    return {str(key): None if pd.isna(value) else float(value) for key, value in series.items()}
