"""Classes and functions by their dotted names, as configurations and models give them."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

from subtext.errors import ConfigError

MOVED: Final[Mapping[str, str]] = {
    "subtext.task.IncongruenceTask": "subtext.model.task.IncongruenceTask",
    "subtext.task.warmup_cosine": "subtext.model.task.warmup_cosine",
    "subtext.sweeps.grid.GridSampler": "subtext.sweeps.samplers.GridSampler",
    "subtext.sweeps.pruners.PatientPruner": "subtext.sweeps.samplers.PatientPruner",
    "subtext.fusion.posterior.PosteriorFusion": "subtext.model.posterior.PosteriorCells",
}
"""Where the classes are that configurations and models of earlier versions name elsewhere."""


def locate(name: str) -> Any:
    """The class or function of a dotted name.

    Raises:
        ConfigError: there is none.
    """
    module, _, attribute = MOVED.get(name, name).rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"cannot find _target_ '{name}': {error}; correct it, or if it is your own file put its folder on "
            "PYTHONPATH"
        ) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot find _target_ '{name}': {error}") from error
