"""What the settings of a sweep may be, and what is searched in it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from annotated_types import MinLen
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from subtext.core.located import locate
from subtext.core.schema import Count, Natural, OneOf, Part, Seed
from subtext.errors import ConfigError
from subtext.runs.settings import TrainingSettings
from subtext.sweeps.objective import FIGURES
from subtext.sweeps.samplers import build_pruner, build_sampler
from subtext.sweeps.space import Space
from subtext.sweeps.storage import quiet_optuna

WHAT_IS_SEARCHED: Final = (
    "what is searched stands in a file of conf/sweep; write one of your own as FOLDER/sweep/NAME.yaml and give "
    "--config-dir FOLDER sweep=NAME"
)
"""What to do where nothing is."""


@dataclass(frozen=True)
class SweepSettings(TrainingSettings):
    """Those of `subtext-sweep`: of all its trainings, and of the study."""

    sampler: Annotated[BaseSampler, Part()] = field(kw_only=True)
    pruner: Annotated[BasePruner, Part()] = field(kw_only=True)
    trials: Count = 50
    seeds: Count = 1
    refit_seeds: Natural = 5
    storage: str | None = None
    max_failures: Natural | None = 10
    save_as: str | None = None
    objectives: Annotated[Mapping[Annotated[str, OneOf(FIGURES)], Literal["maximize", "minimize"]], MinLen(1)] = field(
        default_factory=dict
    )
    space: Annotated[Mapping[str, Any], MinLen(1)] = field(kw_only=True)
    constants: Mapping[str, Any] | None = None
    study_seed: Seed = 0
    objective: str = ""

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Form.check`; also whether the space can be read.

        Which keys it may set is known when its choices are composed (`subtext.sweeps.sweep.make_plan`).
        """
        if settings.get("space") == {}:
            raise ConfigError(f"space is {{}}, as by ~sweep: {WHAT_IS_SEARCHED}")
        super().check(settings)
        kind = locate(settings["objective"])
        if not inspect.isclass(kind) or not callable(getattr(kind, "prepare", None)):
            raise ConfigError(
                f"objective is {settings['objective']}, which runs no trials; name a class with prepare() whose "
                "objects are called with a trial, as subtext.sweeps.objective.Objective"
            )
        quiet_optuna()
        build_sampler(settings["sampler"], settings["study_seed"])
        build_pruner(settings["pruner"])
        Space.parse(settings["space"], where="the sweep")
