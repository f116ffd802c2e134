"""Several runs that differ in their seed, as one result.

Two kinds of uncertainty stay apart: the interval says how the mean over these trained systems would vary over other
clips and units, the standard deviation how the systems vary among themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.evaluate import BINARY_HEADS, REDRAWN, REDRAWN_REASON, subsets_of
from subtext.evaluation.intervals import LEVEL, Interval, Units, mean_of, ranking_interval
from subtext.evaluation.metrics import Bools, Floats, Linearised, UndefinedMetricError, auroc
from subtext.labels import MODALITIES

FUSED: Final = "fused"
STATEMENT: Final = "AUROC: mean over seeds; interval from the seed-averaged DeLong influence values, clustered by unit"


@dataclass(frozen=True)
class Run:
    """The tables of one run.

    Attributes:
        name: what to call it, usually its folder's name.
        predictions: predictions table.
        controls: controls table, None where none were run.
        metrics: what `evaluate` gave for them.
    """

    name: str
    predictions: pd.DataFrame
    controls: pd.DataFrame | None
    metrics: Mapping[str, Any]


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


def per_seed_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """Every figure of every run, with the run's name and seed: what `per_seed.csv` holds."""
    tables = []
    for run in runs:
        table = figures_of(run.metrics)
        table.insert(0, "run", run.name)
        table.insert(1, "seed", run.metrics["seed"])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pool_seeds(runs: Sequence[Run], groups: Sequence[str]) -> dict[str, Any]:
    """One result from runs on the same test clips.

    Every figure is given as mean and standard deviation over the runs; AUROC, and its paired difference between the
    fused model and each control, also with a clustered interval of the mean.

    Args:
        runs: at least one.
        groups: columns of reused units.

    Returns:
        Plain types only.

    Raises:
        RunError: the runs were tested on different clips, or two have the same seed.
    """
    tests = [_same_clips(runs[0], run) for run in runs]
    seeds = [run.metrics["seed"] for run in runs]
    known = [seed for seed in seeds if seed is not None]
    if len(set(known)) < len(known):
        raise RunError(f"runs {', '.join(run.name for run in runs)} repeat a seed ({known}); give each seed once")
    units = Units.of(tests[0], groups)
    summary = summarise_seeds([run.metrics for run in runs])
    result: dict[str, Any] = {
        "format": 1,
        "runs": [run.name for run in runs],
        "seeds": seeds,
        "groups": runs[0].metrics["groups"],
        "interval": STATEMENT,
        "clips": len(tests[0]),
        "notes": _lacking(runs),
        "figures": [
            {key: (None if isinstance(item, float) and np.isnan(item) else item) for key, item in row.items()}
            for row in summary.to_dict("records")
        ],
        "auroc": {},
    }
    for head in BINARY_HEADS:
        systems = _probabilities(runs, tests, head)
        if FUSED not in systems:
            continue
        labels = tests[0][head]
        masks, _ = subsets_of(tests[0])
        result["auroc"][head] = {subset: _pool_subset(systems, labels, mask, units) for subset, mask in masks.items()}
    return result


def _pool_subset(systems: Mapping[str, list[Floats]], labels: pd.Series, mask: Bools, units: Units) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    fused = systems[FUSED]
    for name, scores in systems.items():
        entry[name] = _mean_interval([(s, None) for s in scores], labels, mask, units)
        if name in REDRAWN:
            entry[name] |= over_draws(entry[name].get("per_seed", []))
        elif name != FUSED:
            pairs = [(ours, theirs) for ours, theirs in zip(fused, scores, strict=True)]
            entry[name]["fused_minus_control"] = _mean_interval(pairs, labels, mask, units)
    return entry


def over_draws(values: Sequence[float]) -> dict[str, Any]:
    """A t interval over seeds, of a control that each seed draws anew; it replaces all that is said of clusters."""
    from scipy.stats import t

    none: dict[str, Any] = {"units": [], "clusters": {}}
    if len(values) < 2:
        return none | {"low": None, "high": None, "reason": REDRAWN_REASON}
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    mean = float(np.mean(values))
    ends = {"low": max(0.0, mean - half), "high": min(1.0, mean + half)}
    return none | ends | {"method": f"t over {len(values)} draws"}


def _mean_interval(
    systems: Sequence[tuple[Floats, Floats | None]], labels: pd.Series, mask: Bools, units: Units
) -> dict[str, Any]:
    known = mask & labels.notna().to_numpy()
    for ours, theirs in systems:
        known = known & ~np.isnan(ours) & (True if theirs is None else ~np.isnan(theirs))
    positive = labels[known].to_numpy(dtype=bool)

    def estimates(rows: Bools) -> list[Linearised]:
        found = []
        for ours, theirs in systems:
            estimate = auroc(positive[rows], ours[known][rows])
            found.append(estimate if theirs is None else estimate - auroc(positive[rows], theirs[known][rows]))
        return found

    try:
        each = estimates(np.ones(len(positive), dtype=bool))
    except UndefinedMetricError as error:
        return Interval(None, reason=str(error)).as_dict()
    within: Callable[[Bools], float] = lambda rows: mean_of(estimates(rows)).value  # noqa: E731
    low = 0.0 if systems[0][1] is None else -1.0
    values = [e.value for e in each]
    return ranking_interval(mean_of(each), units.take(known), within, low=low).as_dict() | {
        "clips": int(known.sum()),
        "per_seed": values,
        "seed_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def _same_clips(first: Run, run: Run) -> pd.DataFrame:
    reference = first.predictions.loc[first.predictions["split"] == "test"].set_index("id")
    test = run.predictions.loc[run.predictions["split"] == "test"].set_index("id")
    same = set(test.index) == set(reference.index)
    test = test.reindex(reference.index)
    for column in (*BINARY_HEADS, *(f"present_{modality}" for modality in MODALITIES)):
        if same and (column in reference) == (column in test) and column in reference:
            same = reference[column].astype("boolean").equals(test[column].astype("boolean"))
    if not same:
        raise RunError(
            f"runs {first.name} and {run.name} were tested on different clips; pool runs that differ in their seed only"
        )
    return test.reset_index()


def _lacking(runs: Sequence[Run]) -> list[str]:
    """Controls that some runs lack, which therefore have no mean."""
    have = [set() if run.controls is None else set(run.controls["control"]) for run in runs]
    return [
        f"{name}: only {', '.join(run.name for run, found in zip(runs, have, strict=True) if name in found)} ran it"
        for name in sorted(set().union(*have))
        if not all(name in found for found in have)
    ]


def _probabilities(runs: Sequence[Run], tests: Sequence[pd.DataFrame], head: str) -> dict[str, list[Floats]]:
    """System -> its test probabilities in every run, in the order of the first run's clips; NaN where missing."""
    column = f"prob_{head}"
    if any(column not in test or head not in test for test in tests):
        return {}
    systems: dict[str, list[Floats]] = {
        FUSED: [test[column].to_numpy(dtype=np.float64, na_value=np.nan) for test in tests]
    }
    for run in runs:
        if run.controls is None or column not in run.controls:
            continue
        rows = run.controls.loc[run.controls["split"] == "test"]
        for name, control in rows.groupby("control", sort=False):
            values = control.drop_duplicates("id").set_index("id")[column].reindex(tests[0]["id"])
            if values.notna().any():
                systems.setdefault(str(name), []).append(values.to_numpy(dtype=np.float64, na_value=np.nan))
    # A control that some runs lack cannot be averaged over all of them.
    return {name: scores for name, scores in systems.items() if len(scores) == len(runs)}
