"""How far a clip lies from the training clips, modality by modality: a model says something of whatever it is shown.

The distance is Mahalanobis', step by step of what the encoder's backbone gives, to the steps of the training streams;
a clip's is the root mean square over its steps. So a short clip is no farther away than a long one, as it would be by
its mean, which varies more. The covariance is that of probabilistic principal components (Tipping & Bishop 1999): the
leading components with their own variances, and one variance for all directions beside them, which count too. The level
is the one that 99 % of the validation streams keep: the network knows the training streams, so they would lie closer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch
from torch import Tensor

from subtext.encoders.tokens import Tokens
from subtext.evaluation.novelty import FEWEST_CLIPS, KEPT_SHARE
from subtext.model.batches import ClipData
from subtext.model.classifier import IncongruenceClassifier

COMPONENTS: Final = 128
"""Principal components that have a variance of their own, at most; see benchmarks/novelty.py for what was tried."""

_BATCH: Final = 64
_SMALLEST: Final = 1e-6
"""Of all variance, what a direction has at least: where nothing varied, a rounding error would lie infinitely far."""
_FARTHEST: Final = 1e9


@dataclass(frozen=True)
class Reference:
    """Where the training streams of one modality lie.

    Attributes:
        center: mean of their steps, each stream counting alike, `[embed_dim]`.
        directions: principal components, orthonormal rows, `[components, embed_dim]`.
        spreads: standard deviations along them and, last, along any other direction, `[components + 1]`.
        level: the distance that 99 % of the validation streams keep.

    Example:
        >>> import torch
        >>> steps = torch.randn(300, 5, 8, generator=torch.Generator().manual_seed(0))
        >>> streams = subtext.Tokens(steps, torch.ones(300, 5, dtype=torch.bool))
        >>> reference = Reference.fit([streams], [streams])
        >>> far = subtext.Tokens(steps + 9, streams.mask)
        >>> int((reference.novelty(streams) > 1).sum()), int((reference.novelty(far) > 1).sum())
        (2, 300)
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
    def fit(cls, training: Iterable[Tokens], validation: Iterable[Tokens]) -> Self:
        """From batches of distinct streams' embeddings, `[batch, time, embed_dim]`; none of them need be kept."""
        count, total, products = 0, torch.zeros(()), torch.zeros(())
        for tokens in training:
            steps = tokens.mask.sum(dim=1, keepdim=True).expand(tokens.mask.shape)[tokens.mask]
            weighted = tokens.real.double() / steps.double().sqrt()[:, None]
            products = products + weighted.T @ weighted
            total = total + tokens.mean().double().sum(dim=0)
            count += len(tokens.mask)
        center = total / count
        covariance = products / count - center.outer(center)
        variances, directions = torch.linalg.eigh(covariance)
        variances, directions = variances.flip(0), directions.flip(1).T
        variances = variances.clamp(min=max(float(variances.sum()) * _SMALLEST, 1e-12))
        kept = min(COMPONENTS, len(variances) // 2, count // 2)
        spreads = torch.cat([variances[:kept], variances[kept:].mean(dim=0, keepdim=True)]).sqrt()
        unlevelled = cls(center.float(), directions[:kept].float(), spreads.float(), 1.0)
        distances = torch.cat([unlevelled.novelty(tokens) for tokens in validation]).double()
        level = float(torch.quantile(distances, KEPT_SHARE, interpolation="higher"))
        return replace(unlevelled, level=max(level, _SMALLEST))

    def novelty(self, embedded: Tokens) -> Tensor:
        """Distances to the training streams as multiples of the level, `[batch]`; above 1: unlike them.

        Args:
            embedded: what the backbone gives, `[batch, time, embed_dim]`; rows that lack the modality get 0.
        """
        center, directions, spreads = (tensor.to(embedded.values.device) for tensor in self.tensors)
        off = embedded.real.float() - center
        along = off @ directions.T
        beside = off - along @ directions
        squares = (along / spreads[:-1]).square().sum(dim=1) + (beside / spreads[-1]).square().sum(dim=1)
        distances = embedded.with_real(squares[:, None]).mean().squeeze(1).sqrt()
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
        training, validation = data.split("train"), data.split("val")
        clips, references = {}, {}
        for modality in classifier.modalities:
            clips[modality] = len(_distinct(validation, modality))
            if clips[modality] >= FEWEST_CLIPS and len(_distinct(training, modality)):
                references[modality] = Reference.fit(
                    *(embedded_streams(classifier, part, modality) for part in (training, validation))
                )
        return cls(references, clips)

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
def embedded_streams(classifier: IncongruenceClassifier, data: ClipData, modality: str) -> Iterator[Tokens]:
    """What the backbone gives of each distinct stream of some rows: batches `[batch, time, embed_dim]` on the CPU."""
    classifier.eval()
    device = next(classifier.parameters()).device
    for numbers in _distinct(data, modality).split(_BATCH):
        streams = {modality: data.streams[modality].batch(numbers).to(device)}
        yield classifier.embed(streams, data.embedded)[modality].to("cpu")


def _distinct(data: ClipData, modality: str) -> Tensor:
    numbers = data.numbers.get(modality, torch.empty(0, dtype=torch.long))
    return numbers[numbers >= 0].unique()
