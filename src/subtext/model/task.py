"""The LightningModule around the classifier: how it learns, and what chooses the best epoch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torchmetrics import Metric
from torchmetrics.classification import BinaryAUROC, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError

from subtext.core.schema import Dropout, NotNegative, Seed, checked
from subtext.errors import ConfigError
from subtext.model.batches import Batch, mix, rank_and_count
from subtext.model.classifier import AUXILIARY, IncongruenceClassifier
from subtext.model.heads import HeadName, HeadSpec
from subtext.model.losses import ClassWeights, HeadLoss, balanced_weights, visible_targets

SELECTION = "val/selection"
"""The figure, larger is better, by which the best epoch is chosen: AUROC on the validation split of `incongruent` if
that head is on, else of `vocal_incongruent`; else the mean macro-F1 of the choice heads; else minus the mean error."""


def warmup_cosine(optimizer: Optimizer, *, total_steps: int, warmup: float = 0.1, floor: float = 0.01) -> LambdaLR:
    """Linear rise over a share `warmup` of the steps, then a cosine down to `floor` times the learning rate."""
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = torch.tensor(min(1.0, (step - rise) / max(1, total_steps - rise)))
        return float(floor + (1 - floor) * 0.5 * (1 + torch.cos(torch.pi * progress)))

    return LambdaLR(optimizer, factor)


class IncongruenceTask(pl.LightningModule):
    """Training of an `IncongruenceClassifier`.

    Args:
        classifier: the model.
        targets: training labels by head, float `[rows]`, for class weights and scales.
        embedded: modalities whose streams are a frozen backbone's output already.
        seed: with the step's number, decides dropout and augmentation.
        optimizer: parameter groups -> optimizer.
        scheduler: (optimizer, total_steps=...) -> schedule, stepped after every batch; None for a constant rate.
        backbone_lr: learning rate of backbones that train; None for the optimizer's own.
        head_weights: weight of each head's loss; 1 where not named.
        class_weights: `balanced` gives the classes of a head equal shares of its loss, `none` leaves them as they come.
            Balancing shifts the probabilities away from the classes' frequencies.
        focal_gamma: see `HeadLoss`.
        label_smoothing: see `HeadLoss`.
        modality_dropout: probability that a modality of a row is hidden from the fusion in training. One that is there
            always stays.

    Raises:
        ConfigError: a setting cannot be used.
    """

    @checked
    def __init__(
        self,
        *,
        classifier: IncongruenceClassifier,
        targets: Mapping[str, Tensor],
        embedded: Iterable[str] = (),
        seed: Seed = 0,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        backbone_lr: NotNegative | None = None,
        head_weights: Mapping[HeadName, NotNegative] | None = None,
        class_weights: ClassWeights = "none",
        focal_gamma: NotNegative = 0.0,
        label_smoothing: Dropout = 0.0,
        modality_dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.embedded = frozenset(embedded)
        self.seed = seed
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.backbone_lr = backbone_lr
        self.head_weights = dict(head_weights or {})
        self.modality_dropout = modality_dropout
        specs = classifier.heads.specs
        classifier.fit_targets(targets)
        self.losses = nn.ModuleDict(
            {
                spec.key: HeadLoss(
                    spec,
                    weights=balanced_weights(spec, targets[spec.name])
                    if class_weights == "balanced" and spec.kind != "number"
                    else None,
                    focal_gamma=focal_gamma,
                    label_smoothing=label_smoothing,
                )
                for spec in specs
            }
        )
        self.metrics = nn.ModuleDict({spec.key: _metric(spec) for spec in specs})

    @property
    def learns(self) -> bool:
        """Whether anything is left to learn step by step; a model of readers and cells alone has been fitted before."""
        return any(weights.requires_grad for weights in self.classifier.parameters())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Loss of one batch: of the heads, and of the fusion where it has losses of its own."""
        if not self.learns:
            return None
        # A resumed run must draw what the uninterrupted one would have drawn at this step.
        seed_draws(mix(self.seed, self.global_step, batch_idx, self.global_rank), self.device)
        if rank_and_count()[1] > 1:
            _check_shares(batch)
        embedded = self.classifier.embed(batch.streams, self.embedded)
        present = {modality: tokens.present for modality, tokens in embedded.items()}
        hidden = hide(present, self.modality_dropout) if self.modality_dropout else None
        answers = self.classifier(embedded, hidden, batch.readings or None)
        loss = self._loss(answers, batch, present)
        for name, extra in answers.items():
            if name.startswith(AUXILIARY):
                loss = loss + extra
                name = f"train/{name.removeprefix(AUXILIARY)}_loss"
                self.log(name, extra, on_step=False, on_epoch=True, batch_size=len(batch.rows), sync_dist=True)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.rows), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Losses of the heads, and figures, of one batch."""
        embedded = self.classifier.embed(batch.streams, self.embedded)
        present = {modality: tokens.present for modality, tokens in embedded.items()}
        answers = self.classifier(embedded, readings=self.classifier.read(embedded, batch.means))
        loss = self._loss(answers, batch, present)
        self.log("val/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.rows), sync_dist=True)
        for spec in self.classifier.heads.specs:
            targets = visible_targets(spec, batch.targets, present)
            known = ~targets.isnan()
            if bool(known.any()):
                labels = targets[known] if spec.kind == "number" else targets[known].long()
                self._metric(spec).update(answers[spec.name][known].float(), labels)

    def on_validation_epoch_end(self) -> None:
        """Log each head's figure and the one that chooses the best epoch."""
        figures: dict[str, float] = {}
        for spec in self.classifier.heads.specs:
            metric = self._metric(spec)
            if metric.update_called:
                figures[spec.name] = float(metric.compute())
            metric.reset()
        for spec in self.classifier.heads.specs:
            if spec.name in figures:
                self.log(f"val/{spec.name}_{figure_name(spec)}", figures[spec.name], sync_dist=False)
        self.log(SELECTION, selection(self.classifier.heads.specs, figures), sync_dist=False)

    def configure_optimizers(self) -> Any:
        """Backbones apart from the rest, with a learning rate of their own if one is set."""
        if not self.learns:
            return None
        encoders = [self.classifier.encoder(modality) for modality in self.classifier.modalities]
        backbone = [p for encoder in encoders for p in encoder.backbone_parameters()]
        inside = {id(p) for p in backbone}
        rest = [p for p in self.classifier.parameters() if p.requires_grad and id(p) not in inside]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if backbone:
            groups.append({"params": backbone} | ({} if self.backbone_lr is None else {"lr": self.backbone_lr}))
        try:
            optimizer = self.make_optimizer(groups)
            if self.make_scheduler is None:
                return optimizer
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = self.make_scheduler(optimizer, total_steps=steps)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"task.optimizer or task.scheduler cannot be used: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, answers: Mapping[str, Tensor], batch: Batch, present: Mapping[str, Tensor]) -> Tensor:
        total: Tensor | None = None
        for spec in self.classifier.heads.specs:
            if spec.name not in answers:
                continue
            scale = self.classifier.heads.scale(spec.name) if spec.kind == "number" else None
            targets = visible_targets(spec, batch.targets, present)
            loss = self.losses[spec.key](answers[spec.name], targets, scale) * self.head_weights.get(spec.name, 1.0)
            total = loss if total is None else total + loss
        if total is None:
            raise ConfigError("the batch has none of the modalities that the heads read")
        return total

    def _metric(self, spec: HeadSpec) -> Metric:
        return cast(Metric, self.metrics[spec.key])


def _check_shares(batch: Batch) -> None:
    """Whether every process has every modality in its share of a batch; without, they would wait for each other.

    Raises:
        ConfigError: one has not; all processes know, and all end.
    """
    there = torch.stack([tokens.present.any() for tokens in batch.streams.values()]).int()
    torch.distributed.all_reduce(there, torch.distributed.ReduceOp.MIN)
    lacking = [modality for modality, has in zip(batch.streams, there.tolist(), strict=True) if not has]
    if lacking:
        raise ConfigError(
            f"a process has a batch without any {lacking[0]}, and several processes learn together only where each "
            "has some; set a larger task.batch_size, or train in one process: trainer=cpu or trainer=gpu"
        )


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what a step on `device` draws from: `torch.manual_seed` prepares every kind of accelerator, 3 ms a step."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def hide(present: Mapping[str, Tensor], probability: float) -> dict[str, Tensor]:
    """Which modality of which row to hide, bool `[batch]` each, drawn from torch's global generator.

    Every row keeps at least one of the modalities that it has: if all would go, one of them, chosen at random, stays.
    """
    there = torch.stack(list(present.values()))
    draws = torch.rand(there.shape, device=there.device)
    keep = there & (draws >= probability)
    last = draws.masked_fill(~there, -1).argmax(dim=0)
    rescued = torch.nn.functional.one_hot(last, len(there)).T.bool() & there
    keep |= rescued & ~keep.any(dim=0)
    return {modality: there[row] & ~keep[row] for row, modality in enumerate(present)}


def figure_name(spec: HeadSpec) -> str:
    """What validation measures of a head."""
    return {"binary": "auroc", "choice": "macro_f1", "number": "error"}[spec.kind]


def selection(specs: Iterable[HeadSpec], figures: Mapping[str, float]) -> float:
    """See `SELECTION`."""
    by_kind: dict[str, list[float]] = {"binary": [], "choice": [], "number": []}
    for spec in specs:
        if spec.name in figures:
            by_kind[spec.kind].append(figures[spec.name])
    if by_kind["binary"]:
        return by_kind["binary"][0]
    if by_kind["choice"]:
        return sum(by_kind["choice"]) / len(by_kind["choice"])
    if by_kind["number"]:
        return -sum(by_kind["number"]) / len(by_kind["number"])
    raise ConfigError("no validation row carries a label of any head; give the manifest a labelled 'val' split")


def selection_name(specs: Iterable[HeadSpec]) -> str:
    """What `SELECTION` is of a model with these heads, in words."""
    kinds = {spec.kind: spec.name for spec in reversed(list(specs))}
    if "binary" in kinds:
        return f"AUROC of {kinds['binary']}"
    return "mean macro-F1" if "choice" in kinds else "mean absolute error, negative"


def _metric(spec: HeadSpec) -> Metric:
    if spec.kind == "binary":
        return BinaryAUROC()
    if spec.kind == "choice":
        return MulticlassF1Score(num_classes=len(spec.classes), average="macro")
    return MeanAbsoluteError()
