"""Fit a classifier: its epochs, the choice among them, and its calibration, all from training and validation rows."""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pandas as pd
import pytorch_lightning as pl
import torch
from annotated_types import MinLen
from pytorch_lightning.callbacks import RichProgressBar

from subtext.core.building import build
from subtext.core.processes import end_with_starter
from subtext.core.schema import Count, Dropout, OneOf, Share
from subtext.core.threads import share_cores
from subtext.errors import ConfigError, WeightsError
from subtext.evaluation.calibration import abstention_level, calibrate, choose_threshold, fit_temperature
from subtext.labels import MODALITIES
from subtext.model.anchoring import calibrate_posteriors, choose_gates, fit_readers
from subtext.model.baseline import person_means
from subtext.model.batches import ClipData, SwappedClips, loader
from subtext.model.checkpoints import Checkpoints, SafeCheckpointIO, resumable
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import HeadName
from subtext.model.losses import visible_targets
from subtext.model.predict import raw_answers
from subtext.model.readers import ReaderSpec
from subtext.model.synced import SyncedBatchNorm
from subtext.model.task import IncongruenceTask, selection_name

log = logging.getLogger(__name__)

VALIDATION_BATCH: Final = 128
DATA_SETTINGS: Final[Mapping[str, Any]] = {
    "heads": Annotated[Sequence[HeadName], MinLen(1)],
    "head_dropout": Dropout,
    "rows": Literal["clips", "streams"],
    "batch_size": Count,
    "max_steps": Mapping[Annotated[str, OneOf(MODALITIES)], Count],
    "swap": Share,
    "reader": ReaderSpec | None,
}
"""Entries of the task's node that are not arguments of the LightningModule, and what they may be."""


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        classifier: with the weights of its best epoch, of an anchored model the last, in eval mode.
        best_epoch: counted from 0.
        best_score: its figure on the validation split, see `task.SELECTION`.
        history: figures of every epoch.
    """

    classifier: IncongruenceClassifier
    best_epoch: int
    best_score: float
    history: pd.DataFrame


class Fitter:
    """Fits the main model of a run and those of its controls.

    Args:
        settings: the resolved configuration.
        folder: where Lightning may write, and loggers do in `logs`; None where nothing is written.
        resume: go on from the main model's checkpoint.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path | None, resume: bool = False) -> None:
        self.settings = settings
        self.folder = folder
        self.resume = resume
        self.seed = int(settings["seed"])
        self.device = device_of(settings["trainer"])

    def fit(
        self,
        classifier: IncongruenceClassifier,
        data: ClipData,
        folder: Path | None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
    ) -> Fitted:
        """Train on the training split, choose the epoch on the validation split; resumable where it has a folder.

        Args:
            classifier: the model, which is trained in place.
            data: rows of the training and the validation split; others are not looked at.
            folder: where checkpoints go; None keeps the best weights in memory only.
            on_epoch: told each epoch's figures; what it raises ends the training.

        Raises:
            WeightsError: the checkpoint to go on from is of another model.
        """
        task = self.settings["task"]
        training, validation = _with_streams(data.split("train")), _with_streams(data.split("val"))
        fit_readers(classifier, training, self.seed)
        validation.means = person_means(classifier, validation)
        batch_size = int(task["batch_size"])
        swap = float(task["swap"])
        module: IncongruenceTask = build(
            {k: v for k, v in task.items() if k not in DATA_SETTINGS},
            IncongruenceTask,
            classifier=classifier,
            targets=training.targets,
            embedded=data.embedded,
            seed=self.seed,
        )
        # An epoch that is the best on the clips that choose the gates would open them too often.
        checkpoints = Checkpoints(folder, on_epoch, last=classifier.is_anchored)
        trainer = self._trainer(checkpoints, folder, {} if module.learns else {"max_epochs": 1})
        if trainer.num_devices > 1:
            share_cores(trainer.num_devices)
            end_with_starter()
        checkpoint = resumable(folder) if folder is not None and self.resume else None
        if checkpoint is not None:
            log.info("going on from %s", checkpoint)
        began = time.perf_counter()
        with (
            _taken_up(checkpoint, checkpoints),
            interruptible(trainer),
            SyncedBatchNorm() if trainer.world_size > 1 else nullcontext(),
        ):
            trainer.fit(
                module,
                loader(
                    SwappedClips(training, swap, self.seed, classifier.heads.names) if swap else training,
                    batch_size,
                    seed=self.seed,
                    shuffle=True,
                    processes=trainer.world_size,
                ),
                loader(validation, VALIDATION_BATCH),
                ckpt_path=checkpoint,
                weights_only=True,
            )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # What follows is done by one process alone.
            torch.distributed.destroy_process_group()
        took = time.perf_counter() - began
        checkpoints.load_best(classifier)
        classifier.to(self.device).eval()
        calibrate_posteriors(classifier, validation)
        choose_gates(classifier, validation)
        if folder is not None:
            epochs = len(checkpoints.history)
            log.info(
                "epoch %d of %d kept: validation %s %.3f (%.0f s, %.0f clips/s)",
                checkpoints.best_epoch + 1,
                epochs,
                selection_name(classifier.heads.specs),
                checkpoints.best_score,
                took,
                (epochs - checkpoints.resumed_from) * len(training) / took,
            )
        return Fitted(classifier, checkpoints.best_epoch, checkpoints.best_score, pd.DataFrame(checkpoints.history))

    def _trainer(self, checkpoints: Checkpoints, folder: Path | None, more: Mapping[str, Any]) -> pl.Trainer:
        node = dict(self.settings["trainer"]) | dict(more)
        # Filling fresh memory with NaN, a default of deterministic mode, costs time and only serves to find bugs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        main = folder is not None
        if not main:
            # Controls are small and run in this process alone.
            node |= {"strategy": "auto", "devices": 1, "num_nodes": 1}
        callbacks = [build(c) for c in (self.settings.get("callbacks") or {}).values() if c]
        shown = main and sys.stderr.isatty()
        trainer: pl.Trainer = _build_trainer(
            node,
            callbacks=[*callbacks, checkpoints, *([RichProgressBar()] if shown else [])],
            logger=self._loggers(self.folder / "logs") if main and self.folder is not None else False,
            plugins=[SafeCheckpointIO()],
            default_root_dir=None if self.folder is None else str(self.folder),
            enable_progress_bar=shown,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        return trainer

    def _loggers(self, folder: Path) -> list[Any]:
        loggers = []
        for name, node in (self.settings.get("logger") or {}).items():
            if node is None:
                continue
            try:
                loggers.append(build(node, save_dir=str(folder)))
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"logger={name} needs a package that is not installed ({error}); "
                    f"install it with: pip install 'subtext[{name}]'"
                ) from error
        return loggers


def calibration(classifier: IncongruenceClassifier, data: ClipData) -> dict[str, dict[str, Any]]:
    """Temperature of each head, threshold and abstention level of the yes-no heads, from the validation split alone."""
    data = data.split("val").only(classifier.modalities)
    answers = raw_answers(classifier, data)
    present = data.present
    anything = torch.stack([present[m] for m in classifier.modalities]).any(dim=0)
    chosen: dict[str, dict[str, Any]] = {}
    for spec in classifier.heads.specs:
        if spec.kind == "number" or spec.name not in answers:
            continue
        targets = visible_targets(spec, data.targets, present)
        known = ~targets.isnan() & anything
        logits, labels = answers[spec.name][known].numpy(), targets[known].numpy().astype(int)
        temperature = fit_temperature(logits, labels)
        chosen[spec.name] = {"temperature": temperature}
        if spec.kind == "binary":
            shares = calibrate(logits, temperature)
            threshold = choose_threshold(shares, labels)
            level = abstention_level(shares, labels, threshold=threshold)
            chosen[spec.name] |= {"threshold": threshold, "abstention": level.as_dict()}
    return chosen


def _with_streams(data: ClipData) -> ClipData:
    """The rows that have any stream: there is nothing to learn from the others."""
    there = torch.stack(list(data.present.values())).any(dim=0)
    return data if bool(there.all()) else data.select(torch.nonzero(there).squeeze(1))


def _build_trainer(node: Mapping[str, Any], **more: Any) -> pl.Trainer:
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    try:
        trainer: pl.Trainer = build(node, pl.Trainer, **more)
    except MisconfigurationException as error:
        raise ConfigError(f"the trainer's settings do not fit: {' '.join(str(error).split())}") from error
    return trainer


def device_of(trainer: Mapping[str, Any]) -> torch.device:
    """Where embeddings and predictions are computed: where the trainer trains."""
    wanted = str(trainer.get("accelerator", "auto"))
    if wanted in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ConfigError("trainer.accelerator asks for a GPU, but torch finds none; use trainer=cpu")
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def is_main_process() -> bool:
    """Whether this is the process that writes, of those that trainer=ddp starts."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


@contextmanager
def _taken_up(checkpoint: Path | None, checkpoints: Checkpoints) -> Iterator[None]:
    """Say so where a checkpoint does not belong to what is trained."""
    try:
        yield
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        if checkpoint is None or checkpoints.began:
            raise
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{checkpoint} is of another model than the run's configuration describes ({reason}); bring back the "
            "run's own, or begin anew with overwrite=true"
        ) from error


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C end training as it ends everything else; Lightning would turn it into exit code 1."""
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's remarks about settings that are chosen on purpose, and its advertisements."""
    loggers = {"pytorch_lightning": logging.WARNING, "lightning_fabric": logging.WARNING}
    if not is_main_process():
        loggers["subtext"] = logging.ERROR  # the main process has said it already
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name, level in loggers.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            for message in _REMARKS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


_REMARKS: Final = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*GPU available but not used.*",
    ".*It is recommended to use .self.log.*sync_dist=True.*",  # the metrics have been brought together already
    ".*in eval mode at the start of training.*",  # frozen backbones are meant to be
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
    ".*No positive samples in targets.*",
    ".*No negative samples in targets.*",
    ".*`parameters` is an empty generator.*",
    ".*`training_step` returned `None`.*",
    ".*`LightningModule.configure_optimizers` returned `None`.*",  # readers and cells have been fitted already
    ".*`srun` command is available.*",  # one process trains as well without it
)
