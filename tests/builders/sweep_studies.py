"""Studies made by hand: what Optuna would hold after a sweep, without a training."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

STRATEGIES = ("concat", "crossmodal", "gated", "late", "lowrank", "tensor")
COMMON: Mapping[str, BaseDistribution] = {
    "fusion": CategoricalDistribution(STRATEGIES),
    "encoder.dim": CategoricalDistribution([64, 128, 256]),
    "optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "task.modality_dropout": FloatDistribution(0, 0.4, step=0.1),
}
OWN: Mapping[str, Mapping[str, BaseDistribution]] = {
    "crossmodal": {"fusion.layers": IntDistribution(1, 4), "fusion.heads": CategoricalDistribution([2, 4, 8])},
    "lowrank": {"fusion.rank": IntDistribution(1, 64, log=True)},
    "late": {"fusion.mode": CategoricalDistribution(["mean", "learned", "stacking"])},
    "tensor": {"fusion.layers": IntDistribution(1, 4)},
}


def new_study(objectives: Mapping[str, str] | None = None) -> Study:
    """An empty study with the names that a sweep gives."""
    optuna.logging.disable_default_handler()
    objectives = objectives or {"selection": "maximize"}
    study = optuna.create_study(study_name="fusion-collage", directions=list(objectives.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that naming objectives is new
        study.set_metric_names(list(objectives))
    return study


def trial(
    fusion: str = "concat",
    values: float | Sequence[float] | None = None,
    *,
    state: TrialState = TrialState.COMPLETE,
    reported: Sequence[float] = (),
    rng: np.random.Generator | None = None,
    **attributes: Any,
) -> FrozenTrial:
    """One trial at a random point; `reported` are the values told epoch by epoch."""
    rng = rng or np.random.default_rng(0)
    distributions = {**COMMON, **OWN.get(fusion, {})}
    params = {name: fusion if name == "fusion" else _draw(d, rng) for name, d in distributions.items()}
    attributes.setdefault("overrides", [f"{name}={value}" for name, value in params.items()])
    return create_trial(
        state=state,
        values=[values] if isinstance(values, float) else values,
        params=params,
        distributions=distributions,
        intermediate_values=dict(enumerate(reported)),
        user_attrs=attributes,
    )


def swept(trials: int = 50, seed: int = 0, objectives: Mapping[str, str] | None = None) -> Study:
    """A sweep as it might have gone: a good learning rate and crossmodal help; some pruned, some failed."""
    rng = np.random.default_rng(seed)
    study = new_study(objectives)
    several = len(study.directions) > 1
    for number in range(trials):
        fusion = str(rng.choice(STRATEGIES))
        made = trial(fusion, rng=rng, state=TrialState.RUNNING)
        rate = math.log10(made.params["optimizer.lr"])
        score = 0.75 - 0.03 * (rate + 3.2) ** 2 + 0.05 * (fusion == "crossmodal") + 0.015 * rng.normal()
        size = 4e4 * made.params["encoder.dim"] * made.params.get("fusion.layers", 1) * rng.uniform(0.8, 1.3)
        if number % 17 == 11:
            reason = "OutOfMemoryError: tried to allocate 2 | 3 GiB"
            study.add_trial(_ended(made, TrialState.FAIL, epochs=1, epochs_planned=10, reason=reason))
        elif not several and number > 8 and score < 0.7:
            told = [score - 0.1, score - 0.05]
            about = {"epochs": 2, "epochs_planned": 10, "reason": "pruned in epoch 2 of seed 0"}
            study.add_trial(_ended(made, TrialState.PRUNED, reported=told, **about))
        else:
            values = [score, *[size, size / 8][: len(study.directions) - 1]]
            about = {"seed_scores": {"0": score}, "clips_per_second": 900.0 + number}
            study.add_trial(_ended(made, TrialState.COMPLETE, values, epochs=9, epochs_planned=10, **about))
    return study


def _ended(
    made: FrozenTrial,
    state: TrialState,
    values: Sequence[float] | None = None,
    reported: Sequence[float] = (),
    **attributes: Any,
) -> FrozenTrial:
    return create_trial(
        state=state,
        values=values,
        params=made.params,
        distributions=made.distributions,
        intermediate_values=dict(enumerate(reported)),
        user_attrs=made.user_attrs | attributes,
    )


def _draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(rng.integers(len(choices)))]
        case IntDistribution(low=low, high=high, log=True):
            return round(math.exp(rng.uniform(math.log(low), math.log(high))))
        case IntDistribution(low=low, high=high):
            return int(rng.integers(low, high + 1))
        case FloatDistribution(low=low, high=high, log=True):
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        case FloatDistribution(low=low, high=high, step=step):
            return low + step * int(rng.integers(round((high - low) / step) + 1))
    raise TypeError(distribution)
