"""How far a clip lies from the training clips, modality by modality: a model says something of whatever it is shown.

The distance is Mahalanobis' to the training streams, over the mean along time of what the encoder's backbone gives,
with the covariance of probabilistic principal components (Tipping & Bishop 1999): the leading components with their own
variances, and one variance for all other directions together. The other directions count: what a network never saw
differs from its training mostly there. The level is the one that 99 % of the validation streams keep. So the network,
which has seen the training streams, and the covariance, which was fitted to them, cannot make new clips look strange.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor

from subtext.evaluation.novelty import FEWEST_CLIPS, KEPT_SHARE
from subtext.model.batches import ClipData
from subtext.model.classifier import IncongruenceClassifier

COMPONENTS: Final = 32
"""Principal components that have a variance of their own, at most."""

_BATCH: Final = 128
_FARTHEST: Final = 1e9


@dataclass(frozen=True)
class Reference:
    """Where the training streams of one modality lie.

    Attributes:
        center: their mean, `[embed_dim]`.
        directions: principal components, orthonormal rows, `[components, embed_dim]`.
        spreads: standard deviations along them and, last, along any other direction, `[components + 1]`.
        level: the distance that 99 % of the validation streams keep.

    Example:
        >>> import torch
        >>> near = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
        >>> reference = Reference.fit(near[:200], near[200:])
        >>> (reference.novelty(near) > 1).float().mean() < 0.05, bool((reference.novelty(near + 9) > 1).all())
        (tensor(True), True)
    """

    center: Tensor
    directions: Tensor
    spreads: Tensor
    level: float

    @staticmethod
    def tensor_names(modality: str) -> list[str]:
        """What the tensors are called in a file, in the order of the attributes."""
        return [f"{modality}.{name}" for name in ("center", "directions", "spreads")]

    @staticmethod
    def fits(shapes: Sequence[Sequence[int]], embed_dim: int) -> bool:
        """Whether tensors of these shapes are a reference for an encoder of this width."""
        if len(shapes) != 3 or len(shapes[1]) != 2:
            return False
        components = shapes[1][0]
        expected = [[embed_dim], [components, embed_dim], [components + 1]]
        return components <= COMPONENTS and [list(shape) for shape in shapes] == expected

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is kept in a file, see `tensor_names`."""
        return self.center, self.directions, self.spreads

    @property
    def is_usable(self) -> bool:
        """Whether it gives a distance for whatever is shown: all is a number, and every spread above 0."""
        single = all(tensor.dtype == torch.float32 for tensor in self.tensors)
        return single and all(bool(t.isfinite().all()) for t in self.tensors) and bool((self.spreads > 0).all())

    @classmethod
    def fit(cls, training: Tensor, validation: Tensor) -> Self:
        """From mean embeddings of distinct streams, `[streams, embed_dim]` each."""
        values = training.double()
        center = values.mean(dim=0)
        _, scales, directions = torch.linalg.svd(values - center, full_matrices=False)
        variances = scales.square() / max(1, len(values) - 1)
        # A direction in which nothing varies would make any rounding error a distance without bound.
        variances = variances.clamp(min=max(float(variances.sum()) * 1e-6, 1e-12))
        kept = min(COMPONENTS, len(variances) // 2)
        others = values.shape[1] - kept
        rest = variances[kept:].sum() / others
        spreads = torch.cat([variances[:kept], rest[None].clamp(min=1e-12)]).sqrt()
        unlevelled = cls(center.float(), directions[:kept].float(), spreads.float(), 1.0)
        level = float(torch.quantile(unlevelled.novelty(validation).double(), KEPT_SHARE, interpolation="higher"))
        return cls(unlevelled.center, unlevelled.directions, unlevelled.spreads, max(level, 1e-6))

    def novelty(self, means: Tensor) -> Tensor:
        """Distances to the training streams as multiples of the level, `[rows]`; above 1: unlike them.

        Args:
            means: over time, `[rows, embed_dim]`.
        """
        center, directions, spreads = (tensor.to(means.device, torch.float64) for tensor in self.tensors)
        off = means.double() - center
        along = off @ directions.T
        rest = (off.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
        distances = ((along / spreads[:-1]).square().sum(dim=1) + rest / spreads[-1].square()).sqrt()
        # A distance that is no number is no sign that all is well.
        return (distances / self.level).nan_to_num(nan=_FARTHEST, posinf=_FARTHEST).clamp(max=_FARTHEST)


@dataclass(frozen=True)
class Novelty:
    """What tells whether clips are unlike those of the training.

    Attributes:
        references: by modality, of those that had enough validation streams.
        clips: by modality: distinct validation streams.
    """

    references: dict[str, Reference]
    clips: dict[str, int]

    @classmethod
    def fit(cls, classifier: IncongruenceClassifier, data: ClipData) -> Self:
        """From a trained model and its training and validation rows; a stream that several rows share counts once.

        Args:
            classifier: the model, on the device where it shall compute.
            data: rows of both splits; others are not looked at.
        """
        training, validation = (mean_embeddings(classifier, data.split(split)) for split in ("train", "val"))
        clips = {modality: len(validation.get(modality, ())) for modality in classifier.modalities}
        enough = [m for m in classifier.modalities if clips[m] >= FEWEST_CLIPS and len(training.get(m, ()))]
        return cls({m: Reference.fit(training[m], validation[m]) for m in enough}, clips)

    @property
    def described(self) -> dict[str, dict[str, Any]]:
        """What `model.json` says of it; without a level there is no check."""
        levels = {modality: reference.level for modality, reference in self.references.items()}
        return {modality: {"clips": n, "level": levels.get(modality)} for modality, n in self.clips.items()}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the file beside it holds."""
        return {
            name: tensor.contiguous()
            for modality, reference in self.references.items()
            for name, tensor in zip(Reference.tensor_names(modality), reference.tensors, strict=True)
        }


@torch.inference_mode()
def mean_embeddings(classifier: IncongruenceClassifier, data: ClipData) -> dict[str, Tensor]:
    """Mean along time of what the backbones give of each distinct stream, `[streams, embed_dim]` by modality.

    Args:
        classifier: the model, on the device where it shall compute.
        data: rows, of which a stream that several share counts once.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    found = {}
    for modality in classifier.modalities:
        if modality not in data.streams:
            continue
        numbers = data.numbers[modality]
        parts = []
        for part in numbers[numbers >= 0].unique().split(_BATCH):
            streams = {modality: data.streams[modality].batch(part).to(device)}
            parts.append(classifier.embed(streams, data.embedded)[modality].mean().float().cpu())
        found[modality] = torch.cat(parts) if parts else torch.empty(0, 0)
    return found
