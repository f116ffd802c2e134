"""Several runs that differ in their seed, as one result.

Two kinds of uncertainty stay apart: the interval says how the mean over these trained systems would vary over other
clips and units, the standard deviation how the systems vary among themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.evaluate import subsets_of
from subtext.evaluation.intervals import Units
from subtext.evaluation.judge import REDRAWN, Answers, Figure, Judge, Question, over_draws
from subtext.evaluation.metrics import Bools
from subtext.evaluation.systems import System, TrainedRun, answers_of, controls_of, shared_clips
from subtext.evaluation.tables import BINARY_HEADS
from subtext.labels import MODALITIES

FUSED: Final = "fused"
STATEMENT: Final = (
    "AUROC: mean over seeds. The interval of a difference includes what other seeds would change. That of a mean comes "
    "from the seed-averaged DeLong influence values, clustered by unit"
)


@dataclass(frozen=True)
class EvaluatedRun(TrainedRun):
    """The tables of one run, with what `evaluate` gave for them."""

    metrics: Mapping[str, Any] = field(default_factory=dict)


def figures_of(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every figure of a `metrics.json` in long form: system, part, subset, metric, value, low, high, clips."""
    rows: list[dict[str, Any]] = []

    def add(system: str, part: str, subset: str, figures: Mapping[str, Any], clips: int | None) -> None:
        for metric, figure in figures.items():
            if isinstance(figure, Mapping) and "value" in figure:
                ends = {key: figure[key] for key in ("value", "low", "high")}
                rows.append(
                    {"system": system, "part": part, "subset": subset, "metric": metric, **ends, "clips": clips}
                )

    for head, result in metrics["heads"].items():
        for subset, entry in result["subsets"].items():
            add(FUSED, head, subset, entry["metrics"], entry["clips"])
            for kind in ("contradiction", "zero_cell"):
                if kind in entry:
                    add(FUSED, f"{head}:{kind}", subset, {"auroc": entry[kind]["auroc"]}, entry[kind].get("clips"))
    for view in ("type", "ether_type"):
        for subset, entry in metrics.get(view, {}).items():
            add(FUSED, view, subset, entry.get("metrics", {}), entry["clips"])
    for modality, entry in metrics["polarity"].items():
        add(FUSED, f"polarity:{modality}", "present", entry.get("metrics", {}), entry["clips"])
    for modality, entry in metrics.get("emotion", {}).items():
        add(FUSED, f"emotion:{modality}", "present", entry.get("metrics", {}), entry["clips"])
    add(FUSED, "engagement", "all", metrics["engagement"].get("metrics", {}), metrics["engagement"]["clips"])
    for name, control in metrics["controls"].items():
        for head in BINARY_HEADS:
            for subset, entry in control.get(head, {}).get("subsets", {}).items():
                add(name, head, subset, entry["metrics"], entry["clips"])
                for kind in ("contradiction", "zero_cell"):
                    add(name, f"{head}:{kind}", subset, {"auroc": entry[kind]["auroc"]}, entry[kind].get("clips"))
                difference = entry.get("fused_minus_control", {})
                add(f"{FUSED} - {name}", head, subset, difference, difference.get("clips"))
    return pd.DataFrame(rows, columns=["system", "part", "subset", "metric", "value", "low", "high", "clips"])


def summarise_seeds(metrics: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Mean and standard deviation over seeds of every figure.

    Args:
        metrics: one `metrics.json` a seed.

    Returns:
        Columns system, part, subset, metric, mean, sd (null for one seed), seeds (how many have the figure), lowest and
        highest. A figure that is undefined for a seed is left out of that mean, and `seeds` shows it.
    """
    keys = ["system", "part", "subset", "metric"]
    table = pd.concat([figures_of(m) for m in metrics], ignore_index=True)
    table["value"] = table["value"].astype(np.float64)
    grouped = table.groupby(keys, sort=False)["value"]
    return grouped.agg(mean="mean", sd="std", seeds="count", lowest="min", highest="max").reset_index()


def per_seed_rows(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """Every figure of every run, with the run's name and seed: what `per_seed.csv` holds."""
    tables = []
    for run in runs:
        table = figures_of(run.metrics)
        table.insert(0, "run", run.label)
        table.insert(1, "seed", run.seed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pool_seeds(runs: Sequence[EvaluatedRun], groups: Sequence[str]) -> dict[str, Any]:
    """One result from runs on the same test clips.

    Every figure is given as mean and standard deviation over the runs; AUROC, and its paired difference between the
    fused model and each control, also with a clustered interval.

    Args:
        runs: at least one.
        groups: columns of reused units.

    Returns:
        Plain types only.

    Raises:
        RunError: the runs were tested on different clips, or two have the same seed.
    """
    system = System(FUSED, tuple(runs))
    clips = shared_clips([system], [*groups, *(f"present_{modality}" for modality in MODALITIES)])
    seeds = [run.seed for run in runs]
    certain = [seed for seed in seeds if seed is not None]
    if len(set(certain)) < len(certain):
        raise RunError(f"runs {', '.join(run.label for run in runs)} repeat a seed ({certain}); give each seed once")
    judge = Judge(Units.of(clips, groups))
    result: dict[str, Any] = {
        "format": 1,
        "runs": [run.label for run in runs],
        "seeds": seeds,
        "groups": runs[0].metrics["groups"],
        "interval": STATEMENT,
        "clips": len(clips),
        "notes": _lacking(runs),
        "figures": [
            {key: (None if isinstance(item, float) and np.isnan(item) else item) for key, item in row.items()}
            for row in summarise_seeds([run.metrics for run in runs]).to_dict("records")
        ],
        "auroc": {},
    }
    for head in BINARY_HEADS:
        fused = answers_of(system, clips, head)
        if len(fused) == len(runs):
            controls = controls_of([system], clips, head)[0].get(FUSED, {})
            question = Question(head, clips, judge)
            result["auroc"][head] = {
                name: _pool(question, fused, controls, mask) for name, mask in subsets_of(clips)[0].items()
            }
    return result


def _pool(
    question: Question, fused: Sequence[Answers], controls: Mapping[str, Sequence[Answers]], mask: Bools
) -> dict[str, dict[str, Any]]:
    entry = {}
    for name, answers in {FUSED: fused, **controls}.items():
        clips = {"clips": int(question.judged(answers, mask).sum())}
        entry[name] = question.figures(answers, mask, ["auroc"])["auroc"] | clips
        if name in REDRAWN:
            entry[name] |= over_draws(entry[name].get("per_seed", []))
        elif name != FUSED:
            less = question.difference("auroc", fused, answers, mask, together=True)
            entry[name]["fused_minus_control"] = Figure.of(less).as_dict() | {"clips": less.clips}
    return entry


def _lacking(runs: Sequence[TrainedRun]) -> list[str]:
    """Controls that some runs lack, which therefore have no mean."""
    have = [set() if run.controls is None else set(run.controls["control"]) for run in runs]
    return [
        f"{name}: only {', '.join(run.label for run, found in zip(runs, have, strict=True) if name in found)} ran it"
        for name in sorted(set().union(*have))
        if not all(name in found for found in have)
    ]
