"""What the settings of extraction and training may be; parts say it in the signatures of their classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge

from subtext.core.schema import Form, Natural, OneOf, Part, Seed
from subtext.core.threads import cores
from subtext.corpora.corpus import Corpus
from subtext.encoders.encoder import Encoder
from subtext.errors import ConfigError
from subtext.features.extractor import Extractor
from subtext.fusion.base import Fusion
from subtext.labels import MODALITIES
from subtext.model.classifier import ANCHOR, Anchor, build_fusion
from subtext.model.fit import DATA_SETTINGS
from subtext.model.heads import head_specs
from subtext.model.posterior import PosteriorCells
from subtext.model.readers import Baseline
from subtext.model.task import IncongruenceTask
from subtext.runs.controls import chosen_controls

_FUSION = Part(given=("modalities", "dim"), besides={ANCHOR: Anchor | None})
_ENCODER = Part(besides={"extractor": Annotated[Extractor, Part()], "baseline": Baseline | None})


@dataclass(frozen=True)
class Paths:
    """Where things are read from and written to; more of them may be named."""

    features: str
    data: str = ""
    models: str = ""
    work: str = ""
    corpora: str = ""
    runs: str = ""


@dataclass(frozen=True)
class CorpusSettings(Form):
    """Those of `subtext-data`."""

    corpus: Annotated[Corpus, Part()]
    paths: Paths


@dataclass(frozen=True)
class TrainingSettings(CorpusSettings):
    """Those of `subtext-extract` and `subtext-train`, and of a trial of a sweep."""

    encoder: Mapping[Annotated[str, OneOf(MODALITIES)], Annotated[Encoder, _ENCODER] | None]
    workers: Natural
    task: Annotated[IncongruenceTask, Part(given=("classifier", "targets", "embedded", "seed"), besides=DATA_SETTINGS)]
    trainer: Annotated[pl.Trainer, Part()]
    seed: Seed
    fusion: Annotated[Fusion | PosteriorCells, _FUSION] | None = None
    callbacks: Mapping[str, Annotated[pl.Callback, Part()] | None] | None = None
    logger: Mapping[str, Annotated[Any, Part(given=("save_dir",))] | None] | None = None
    controls: bool | Sequence[str] = True
    name: str = ""
    encoders: str | None = None
    resume: str | None = None
    trust: Sequence[str] | None = ()
    overwrite: bool = False
    cv: Annotated[int, Ge(3)] | None = None
    fold: Natural | None = None
    audit: bool = True
    strict: bool = False
    debug: bool = False

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Form.check`; also what several settings must agree on."""
        super().check(settings)
        check_folds(settings)
        head_specs(settings["task"]["heads"])
        encoders = {modality: node for modality, node in settings["encoder"].items() if node}
        controls = settings.get("controls", True)
        against = any(node.get("baseline") not in (None, "none") for node in encoders.values())
        chosen_controls(controls, [modality for modality in MODALITIES if modality in encoders], baseline=against)
        missing = [modality for modality in encoders if modality not in settings["task"]["max_steps"]]
        if missing:
            raise ConfigError(f"task.max_steps.{missing[0]} is missing; write a whole number of at least 1")
        _check_devices(settings["trainer"])
        widths = {modality: node["dim"] for modality, node in encoders.items() if "dim" in node}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"encoder.{modality}.dim={width}" for modality, width in widths.items())
            raise ConfigError(f"encoders must agree on the width of their tokens; set the same for each: {said}")
        if settings.get("fusion") and widths:
            # On no device: only what its constructor refuses is of interest.
            with torch.device("meta"):
                build_fusion(settings["fusion"], list(encoders), next(iter(widths.values())))


def check_folds(settings: Mapping[str, Any]) -> None:
    """Whether `cv` and `fold` go together.

    Raises:
        ConfigError: they do not.
    """
    folds, fold = settings.get("cv"), settings.get("fold")
    if fold is None:
        return
    if folds is None:
        raise ConfigError(f"fold={fold} names one fold of a cross-validation; say of how many by cv=, such as cv=5")
    if fold >= folds:
        raise ConfigError(f"fold={fold}: there is no such fold; those of cv={folds} are 0 to {folds - 1}")


def _check_devices(trainer: Mapping[str, Any]) -> None:
    """On a CPU every device is a process, which takes a core and memory of its own."""
    devices, available = trainer.get("devices", 1), cores()
    if trainer.get("accelerator") == "cpu" and isinstance(devices, int) and devices > max(available, 2):
        raise ConfigError(
            f"trainer.devices is {devices}; write at most {max(available, 2)}, as there are {available} cores"
        )
