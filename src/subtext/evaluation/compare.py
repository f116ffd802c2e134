"""Several systems on the same clips: every figure with its interval, every difference with its test.

Computed from prediction tables and nothing else. A system is the runs of several seeds; its figures are means over
them. Two kinds of uncertainty stay apart: intervals say how a mean over these trained systems would vary over other
clips and units, `seed_sd` how the trained systems vary among themselves.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.natural_order import natural
from subtext.errors import ConfigError
from subtext.evaluation.decisions import has_folds, temperature
from subtext.evaluation.evaluate import describe_groups, subsets_of
from subtext.evaluation.intervals import FEWEST_CLUSTERS, Interval, Units
from subtext.evaluation.judge import METRICS, REDRAWN, Answers, Figure, Judge, Question, over_draws
from subtext.evaluation.metrics import (
    ECE_BINS,
    Bools,
    CountStatistic,
    Floats,
    UndefinedMetricError,
    auroc,
    calibration_floor,
    probability_bin,
)
from subtext.evaluation.multiple import holm, verdict
from subtext.evaluation.paired import PairedDifference, paired_within
from subtext.evaluation.systems import (
    System,
    TrainedRun,
    answers_of,
    check_seeds,
    controls_of,
    same_encoders,
    shared_clips,
)
from subtext.evaluation.tables import BINARY_HEADS
from subtext.evaluation.within import FEW_CLIPS, auroc_by_unit, within_auroc
from subtext.labels import INCONGRUENCE_TYPES, incongruence_type

DIFFERENCES: Final = ("macro_f1", "balanced_accuracy", "brier", "log_loss")
"""Metrics whose differences have an interval beside that of AUROC, which alone is tested."""
POSTERIOR: Final = "posterior"
"""The strategy that learns nothing in the fusion: the reference for all."""
LEAST_CLIPS: Final = 10
"""Clips that a speaker must have to be named as the worst."""
LEAST_OF_A_LABEL: Final = FEWEST_CLUSTERS
"""Clips of each label that a speaker must have to be named as the worst by AUROC, which one clip would decide else."""


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
    judge = Judge(Units.of(clips, groups), n_bootstrap, seed)
    for head in BINARY_HEADS:
        answers = {system.name: answers_of(system, clips, head) for system in ordered}
        complete = {system.name: own for system in ordered if len(own := answers[system.name]) == len(system.runs)}
        lacking = [name for name in answers if name not in complete]
        if not complete or clips[head].isna().all():
            result["notes"].append(f"{head}: no predictions or no labels")
            continue
        if lacking:
            result["notes"].append(f"{head}: without {', '.join(lacking)}, which do not predict it")
        question = _Question(head, clips, judge, alpha)
        controls, missing = controls_of(ordered, clips, head)
        result["notes"] += missing
        folds = {name: question.inside_folds(own) for name, own in complete.items()}
        result["heads"][head] = {
            "subsets": {
                name: _subset(question, complete, controls, mask, chosen, within, together)
                for name, mask in masks.items()
            },
            "folds": {name: found for name, found in folds.items() if found is not None},
            "calibration": {
                system.name: question.calibration(complete[system.name], system.runs)
                for system in ordered
                if system.name in complete
            },
            "types": _types(question, complete, controls),
            "speakers": {} if unit is None else question.speakers(complete, unit),
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


class _Question(Question):
    """Figures and differences of systems for one question about the clips that all share."""

    def inside(self, answers: Sequence[Answers], mask: Bools, units: Iterable[Any]) -> list[pd.Series]:
        """AUROC inside each unit, of each seed; the units of every clip are given for each."""
        at = self.judged(answers, mask)
        tables = (
            pd.DataFrame({"label": self.labels[at], "score": each.p[at], "unit": own[at]})
            for each, own in zip(answers, units, strict=True)
        )
        return [auroc_by_unit(table, "label", "score", "unit") for table in tables]

    def inside_folds(self, answers: Sequence[Answers]) -> dict[str, Any] | None:
        """AUROC inside each fold of cross-validation, mean over folds and seeds; None where a run has no folds.

        Beside it pooled AUROC also ranks clips of one fold's model against those of another's; see
        `subtext.evaluation.decisions.fold_figures`, which also says why there is no interval.
        """
        if any(each.fold is None for each in answers):
            return None
        found = self.inside(answers, self.everywhere, [each.fold for each in answers])
        values = [float(own.mean()) for own in found]
        if not np.isfinite(values).all():
            return {"value": None, "reason": "no fold has clips of both labels"}
        mean = Figure(Interval(float(np.mean(values))), tuple(values))
        return {"value": mean.interval.value, "folds": max(len(own) for own in found)} | mean.spread

    def calibration(self, answers: Sequence[Answers], runs: Sequence[TrainedRun]) -> dict[str, Any]:
        """ECE, Brier and log loss before and after temperature scaling, on all test clips."""
        metrics = ("ece", "brier", "log_loss")
        at = self.judged(answers, self.everywhere)
        labels = self.labels[at]
        found: dict[str, Any] = {
            "after": self.figures(answers, self.everywhere, metrics),
            "ece_if_calibrated": float(np.mean([calibration_floor(a.p[at]) for a in answers])) if at.any() else None,
            "temperatures": [_temperature(run, self.head) for run in runs],
            "bins": {"after": _bins(labels, [each.p[at] for each in answers])},
        }
        before = [replace(a, p=a.raw) for a in answers if a.raw is not None and not np.isnan(a.raw[at]).any()]
        if len(before) < len(answers):
            return found | {"before": {"reason": "no logits"}}
        found["before"] = self.figures(before, self.everywhere, metrics)
        found["bins"]["before"] = _bins(labels, [each.p[at] for each in before])
        found["change"] = {
            metric: self.difference(metric, answers, before, self.everywhere).as_dict()
            for metric in ("brier", "log_loss")
        }
        return found

    def speakers(self, systems: Mapping[str, Sequence[Answers]], unit: str) -> dict[str, Any]:
        """Figures of every speaker, and each system's worst."""
        values = self.clips[unit]
        own = {
            str(speaker): (values == speaker).fillna(False).to_numpy(dtype=bool)
            for speaker in sorted(values.dropna().unique(), key=natural)
        }
        rows = {
            name: [self._speaker(answers, mask, speaker) for speaker, mask in own.items()]
            for name, answers in systems.items()
        }
        worst = {name: self._worst(rows[name], answers, own, unit) for name, answers in systems.items()}
        return {"unit": unit, "systems": rows, "worst": worst}

    def _speaker(self, answers: Sequence[Answers], mask: Bools, speaker: str) -> dict[str, Any]:
        at = self.judged(answers, mask)
        labels = self.labels[at]
        row: dict[str, Any] = {"speaker": speaker, "clips": int(at.sum()), "positive": int(labels.sum())}
        row["accuracy"] = float(np.mean([each.decided[at] == labels for each in answers])) if at.any() else None
        try:
            row["auroc"] = float(np.mean([auroc(labels, each.p[at]).value for each in answers]))
        except UndefinedMetricError:
            row["auroc"] = None
        return row

    def _worst(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answers], own: Mapping[str, Bools], unit: str
    ) -> dict[str, Any]:
        enough = [row for row in rows if row["clips"] >= LEAST_CLIPS]
        ranked = [row for row in enough if min(row["positive"], row["clips"] - row["positive"]) >= LEAST_OF_A_LABEL]
        name = "auroc" if ranked else "accuracy"
        candidates = ranked or enough
        if not candidates:
            return {"reason": f"no {unit} has {LEAST_CLIPS} judged clips"}
        row = min(candidates, key=lambda row: (row[name], natural(row["speaker"])))
        found = {**row, "figure": name, "value": row[name], "low": None, "high": None, "of": len(candidates)}
        if row["clips"] < FEW_CLIPS:
            return found | {"reason": f"{row['clips']} clips: too few for an interval"}
        at = self.judged(answers, own[row["speaker"]])
        labels, clips = self.labels[at], self.clips.loc[at]
        # Another name of the speaker, such as the actor, is one cluster here.
        own_units = [unit for unit in self.judge.units.codes if clips[unit].nunique() > 1]
        judge = replace(self.judge, units=Units.of(clips, own_units))
        if ranked:
            figure = judge.ranking("auroc", labels, [each.p[at] for each in answers])
        else:
            figure = judge.counted(lambda: [_share(each.decided[at] == labels) for each in answers])
        interval = figure.interval.as_dict()
        return found | {key: interval[key] for key in ("low", "high", "method", "reason") if key in interval}


def _subset(
    question: _Question,
    systems: Mapping[str, Sequence[Answers]],
    controls: Mapping[str, Mapping[str, Sequence[Answers]]],
    mask: Bools,
    reference: str,
    within: str | None,
    together: Collection[tuple[str, str]],
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "clips": int((mask & question.labelled).sum()),
        "positive": int((mask & question.labels).sum()),
        "systems": {
            name: {"clips": int(question.judged(answers, mask).sum()), "metrics": question.figures(answers, mask)}
            for name, answers in systems.items()
        },
        "controls": {
            name: {
                control: _control(question, control, systems.get(name), answers, mask)
                for control, answers in own.items()
            }
            for name, own in controls.items()
        },
        "differences": _families(
            list(systems),
            reference,
            lambda a, b: question.difference("auroc", systems[a], systems[b], mask, (a, b) in together),
            question.alpha,
        ),
    }
    for row in entry["differences"]["reference"]:
        sides = systems[row["system"]], systems[row["other"]]
        row["metrics"] = {metric: question.difference(metric, *sides, mask).as_dict() for metric in DIFFERENCES}
    if within is not None:
        units = question.clips[within].array
        each = {name: question.inside(own, mask, [units] * len(own)) for name, own in systems.items()}
        entry["within"] = {
            "unit": within,
            "systems": {name: within_auroc(found, within).as_dict() for name, found in each.items()},
            "each": {name: _plain(pd.concat(found, axis=1).mean(axis=1)) for name, found in each.items()},
            "differences": _families(
                list(systems),
                reference,
                lambda a, b: paired_within(each[a], each[b], within, alpha=question.alpha, together=(a, b) in together),
                question.alpha,
            ),
        }
    return entry


def _families(
    systems: Sequence[str], reference: str, find: Callable[[str, str], PairedDifference], alpha: float
) -> dict[str, list[dict[str, Any]]]:
    """Differences against the reference and of all pairs: two families, each with Holm's correction of its own."""
    against = [(name, reference) for name in systems if name != reference and reference in systems]
    pairs = list(itertools.combinations(systems, 2))
    found = {(ours, theirs): find(ours, theirs) for ours, theirs in dict.fromkeys([*against, *pairs])}
    out = {}
    for family, members in (("reference", against), ("all_pairs", pairs)):
        adjusted = holm({"\n".join(pair): found[pair].p for pair in members})
        out[family] = [
            {"system": pair[0], "other": pair[1]}
            | found[pair].as_dict()
            | {"p_holm": p, "verdict": verdict(found[pair], p, alpha=alpha)}
            for pair, p in zip(members, adjusted.values(), strict=True)
        ]
    return out


def _control(
    question: _Question, control: str, fused: Sequence[Answers] | None, answers: Sequence[Answers], mask: Bools
) -> dict[str, Any]:
    redrawn = control in REDRAWN
    entry: dict[str, Any] = {
        "clips": int(question.judged(answers, mask).sum()),
        "metrics": question.figures(answers, mask, ("auroc",) if redrawn else METRICS),
    }
    if redrawn:
        entry["metrics"]["auroc"] |= over_draws(entry["metrics"]["auroc"].get("per_seed", []))
    elif fused is not None:
        # Both come from the same run.
        entry["system_minus_control"] = question.difference("auroc", fused, answers, mask, together=True).as_dict()
    return entry


def _types(
    question: _Question,
    systems: Mapping[str, Sequence[Answers]],
    controls: Mapping[str, Mapping[str, Sequence[Answers]]],
) -> dict[str, Any]:
    """Each type against congruent clips: AUROC, and how often clips of the type are called incongruent."""
    kinds = _kinds(question.clips, question.head)
    if kinds.isna().all():
        return {"reason": "the types of the test clips are not known"}

    def figures(answers: Sequence[Answers], kind: str) -> dict[str, Any]:
        at = question.judged(answers, masks[kind])
        called = question.judge.take(at).counted(lambda: [_share(each.decided[at]) for each in answers])
        entry: dict[str, Any] = {"clips": int(at.sum()), "called": called.as_dict()}
        if kind != "congruent":
            both = question.judged(answers, masks[kind] | masks["congruent"])
            scores = [each.p[both] for each in answers]
            entry["auroc"] = question.judge.take(both).ranking("auroc", masks[kind][both], scores).as_dict()
        return entry

    masks = {kind: (kinds == kind).fillna(False).to_numpy(dtype=bool) for kind in INCONGRUENCE_TYPES}
    return {
        kind: {
            "clips": int(mask.sum()),
            "systems": {name: figures(answers, kind) for name, answers in systems.items()},
            "controls": {
                name: {control: figures(answers, kind) for control, answers in own.items() if control not in REDRAWN}
                for name, own in controls.items()
            },
        }
        for kind, mask in masks.items()
        if mask.any()
    }


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


def _share(yes: Bools) -> CountStatistic:
    """The share of clips for which something holds.

    Raises:
        UndefinedMetricError: there are no clips.
    """
    if not len(yes):
        raise UndefinedMetricError("no such clips with a probability")
    terms = np.stack([yes.astype(np.float64), np.ones(len(yes))], axis=1)
    return CountStatistic(terms, lambda sums: sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan))


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
    return {str(key): None if pd.isna(series[key]) else float(series[key]) for key in sorted(series.index, key=natural)}
