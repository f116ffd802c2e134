"""Checkpoints for resuming: whole or not at all, plain tensors, the last but one kept; and the best weights beside."""

import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors.torch import save
from torch import Tensor

from subtext.core.writing import replacing, write_bytes
from subtext.errors import NotFiniteError, RunError, WeightsError
from subtext.model.classifier import IncongruenceClassifier, load_weights
from subtext.model.task import SELECTION, IncongruenceTask

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.safetensors"
"""What resuming needs while a training is under way, see `forget`."""


_NOT_A_CHECKPOINT = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a strange file makes zipfile or torch raise."""


_TAKEN_UP: Final = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks")
"""What Lightning does without where a checkpoint lacks it, so that training would begin again in silence."""


class SafeCheckpointIO(CheckpointIO):
    """Writes Lightning's checkpoints beside the place and moves them there, and never unpickles one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write; what stood there is kept as `previous.ckpt` until the next time."""
        place = Path(path)
        try:
            with replacing(place) as beside:
                with beside.open("wb") as file:
                    torch.save(checkpoint, file)
                if place.exists():
                    os.replace(place, place.with_name(PREVIOUS))
        except (OSError, RuntimeError) as error:  # torch wraps a full disk into a RuntimeError
            raise RunError(
                f"cannot write the checkpoint {place}: {str(error).splitlines()[0]}; free some space, then go on with "
                f"resume={place.parent}"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """See `read_checkpoint`; one without all that training goes on from is refused too."""
        checkpoint = read_checkpoint(Path(path))
        lacking = [name for name in _TAKEN_UP if not checkpoint.get(name)]
        if lacking:
            raise WeightsError(f"{path} lacks {', '.join(lacking)}; bring back the run's own, or begin anew")
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of tensors and plain types.

    Raises:
        WeightsError: it is damaged, or anything else than such a checkpoint; a pickle is never loaded.
    """
    try:
        # The checksums of the archive tell a damaged file from a whole one; torch does not look at them.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if isinstance(checkpoint, dict) and "state_dict" in checkpoint:
                return checkpoint
    except _NOT_A_CHECKPOINT as error:
        raise WeightsError(
            f"{path} is damaged or no checkpoint of tensors and plain types; it was not loaded"
        ) from error
    raise WeightsError(f"{path} is damaged or no checkpoint of tensors and plain types; it was not loaded")


def resumable(folder: Path) -> Path | None:
    """The newest whole checkpoint in a run folder; None where training had not finished an epoch.

    Raises:
        WeightsError: there are checkpoints, but none is whole.
    """
    there = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    errors = []
    for path in there:
        try:
            read_checkpoint(path)
        except WeightsError as error:
            errors.append(error)
        else:
            return path
    if errors:
        raise errors[0]
    return None


def forget(folder: Path) -> None:
    """Remove what resuming needed, once the model is written: it is several times as large."""
    for name in (LAST, PREVIOUS, BEST):
        (folder / name).unlink(missing_ok=True)


class Checkpoints(Checkpoint):
    """Keeps the best or the last epoch's weights, the history of figures and, with a folder, what is needed to resume.

    Lightning runs callbacks of this kind last, so early stopping has decided by then.

    Args:
        folder: where checkpoints go; None keeps the best weights in memory only.
        on_epoch: told each epoch's figures.
        last: keep the last epoch, where the validation split is needed for another choice than that of the epoch.

    Attributes:
        began: whether a checkpoint has been taken up, if there is one, and training begins.
    """

    def __init__(
        self,
        folder: Path | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
        *,
        last: bool = False,
    ) -> None:
        self.folder = folder
        self.on_epoch = on_epoch
        self.last = last
        self.best_score = float("-inf")
        self.best_epoch = -1
        self.best: dict[str, Tensor] | None = None
        self.history: list[dict[str, float]] = []
        self.began = False
        self.resumed_from = 0
        """Epochs of the history that an earlier session trained."""
        self._stopped = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had stopped early before it was interrupted must not train on."""
        self.began = True
        if self._stopped:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what this epoch gave."""
        figures = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        for name, value in figures.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NotFiniteError(
                    f"{name} is not a number any more in epoch {trainer.current_epoch}; lower task.optimizer.lr"
                )
        epoch = {"epoch": float(trainer.current_epoch), "step": float(trainer.global_step), **figures}
        self.history.append(epoch)
        score = figures.get(SELECTION, float("-inf"))
        if score > self.best_score or self.last:
            self.best_score, self.best_epoch = score, trainer.current_epoch
            self._keep(trainer, pl_module)
        self._stopped = trainer.should_stop
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        if self.folder is not None:
            trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "stopped": self._stopped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where `state_dict` was."""
        self.best_score = float(state_dict["best_score"])
        self.best_epoch = int(state_dict["best_epoch"])
        self.history = [{str(name): float(value) for name, value in row.items()} for row in state_dict["history"]]
        self.resumed_from = len(self.history)
        self._stopped = bool(state_dict["stopped"])

    def load_best(self, classifier: IncongruenceClassifier) -> None:
        """Give a classifier its weights after the best epoch.

        Raises:
            RunError: no epoch was finished.
            WeightsError: the weights that are kept are of another model.
        """
        if self.best is not None:
            classifier.load_state_dict(self.best)
        elif self.folder is not None and (self.folder / BEST).is_file():
            load_weights(classifier, self.folder / BEST, "config.yaml")
        else:
            raise RunError("training finished no epoch; set trainer.max_epochs to at least 1")

    def _keep(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, IncongruenceTask):
            raise TypeError(f"expected an IncongruenceTask, got {type(pl_module).__name__}")
        # Copies, because an alias would go on training and end as the last epoch's weights.
        self.best = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in pl_module.classifier.state_dict().items()
        }
        if self.folder is not None and trainer.is_global_zero:
            try:
                write_bytes(self.folder / BEST, save(self.best))
            except OSError as error:
                raise RunError(f"cannot write {self.folder / BEST}: {error.strerror}; free some space") from error
