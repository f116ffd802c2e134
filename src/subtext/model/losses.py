"""What training minimises: one loss a head, over the rows that carry its label."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Dropout, NotNegative, checked
from subtext.model.heads import HeadSpec

ClassWeights = Literal["balanced", "none"]


def balanced_weights(spec: HeadSpec, targets: Tensor) -> Tensor:
    """Weights that give every class of a head the same share of the loss, `[classes]`; 1 for a class without rows."""
    known = targets[~targets.isnan()].long()
    counts = torch.bincount(known, minlength=len(spec.classes)).float()
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum().clamp(min=1) * counts.clamp(min=1)), 1.0)


class HeadLoss(nn.Module):
    """Cross-entropy or focal loss of one yes-no or choice head; smooth L1 of a number in units of its spread.

    Args:
        spec: the head.
        weights: weight of each class, `[classes]`; None for equal weights.
        focal_gamma: how strongly well-answered rows are played down (Lin et al. 2017, arXiv 1708.02002, eq. 5);
            0 is cross-entropy.
        label_smoothing: share of a label that is spread over all classes.
    """

    weights: Tensor | None

    @checked
    def __init__(
        self,
        spec: HeadSpec,
        *,
        weights: Tensor | None = None,
        focal_gamma: NotNegative = 0.0,
        label_smoothing: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, answers: Tensor, targets: Tensor, scale: Tensor | None = None) -> Tensor:
        """Mean loss over the labelled rows, scalar; zero, with a gradient of zero, where no row is labelled.

        Under several processes it is this one's part of the mean over the rows of all: their gradients' average is the
        gradient of that mean, however many labelled rows each has.

        Args:
            answers: `[batch]` or `[batch, classes]`.
            targets: float `[batch]`, NaN where unlabelled.
            scale: unit of a number.
        """
        known = ~targets.isnan()
        losses = self.of_each(answers[known], targets[known], scale)
        weights = None if self.spec.kind == "number" else self.weights
        return _mean(losses, torch.ones_like(losses) if weights is None else weights[targets[known].long()])

    def of_each(self, answers: Tensor, targets: Tensor, scale: Tensor | None = None) -> Tensor:
        """Loss of each of some labelled rows, before any weight, `[rows]`; see `forward`."""
        answers = answers.float()
        if self.spec.kind == "number":
            unit = 1.0 if scale is None else scale
            return functional.smooth_l1_loss(answers / unit, targets / unit, reduction="none")
        classes = targets.long()
        logits = torch.stack([torch.zeros_like(answers), answers], dim=1) if self.spec.kind == "binary" else answers
        log_shares = logits.log_softmax(dim=1)
        losses = functional.nll_loss(log_shares, classes, reduction="none")
        if self.label_smoothing:
            losses = (1 - self.label_smoothing) * losses - self.label_smoothing * log_shares.mean(dim=1)
        if self.focal_gamma:
            right = log_shares.gather(1, classes[:, None]).squeeze(1).exp()
            losses = losses * (1 - right) ** self.focal_gamma
        return losses


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the rows of a batch, whose parts several processes may have."""
    total = weights.sum()
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.is_grad_enabled():
        torch.distributed.all_reduce(total, torch.distributed.ReduceOp.SUM)
        total = total / torch.distributed.get_world_size()
    return (losses * weights).sum() / torch.where(total > 0, total, 1.0)


def visible_targets(spec: HeadSpec, targets: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    """A head's targets; of a head that reads one modality only where that is there to be read."""
    known = targets[spec.name]
    if spec.modality is None:
        return known
    if spec.modality not in present:
        return torch.full_like(known, torch.nan)
    return known.masked_fill(~present[spec.modality], torch.nan)
