"""No learning in the fusion: calibrated unimodal posteriors, weighted by the training clips' cells. The reference.

With modalities that are independent given their polarities or emotions `c = (face, words, voice)`,

    P(c | clip)     ~  P(c) * product over modalities of P(c_m | modality m) / P(c_m)
    P(label | clip) =  sum over c of P(label | c) P(c | clip)

the product rule of Kittler, Hatef, Duin & Matas 1998, "On combining classifiers", over cells of classes in place of
single classes. `P(c)`, `P(c_m)` and `P(label | c)` are shares among the training clips, so that no
rule has to be named: where labels follow the active rule, `P(label | c)` is that rule, with unvoiced warmth counted or
not, whichever pair of modalities it is about; where they say whether emotions differ, it is that.
`evaluation.controls.posterior_product` computes the same of polarities from tables.

On constructed pairs, whose parts are independent given their labels, this is close to the best that any fusion can do:
one that is clearly better has found a leak or better calibrated posteriors. On natural recordings it is what a fusion
that learns has to beat.
"""

import itertools
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from subtext.core.schema import NotNegative, checked
from subtext.errors import ConfigError
from subtext.labels import EMOTION_COLUMN, POLARITY_COLUMN
from subtext.model.heads import HEADS, HeadSpec

Cells = Literal["auto", "polarity", "emotion"]

LIMIT = 30.0
"""Logits and log-probabilities are kept within it: a label that no cell shows would be minus infinity."""

ANSWERED = tuple(spec for spec in HEADS.values() if spec.modality is None)
"""The heads that are answered from the cells."""

log = logging.getLogger(__name__)


class PosteriorCells(nn.Module):
    """Polarity or emotion logits of each modality -> what the training cells say about every label.

    It fuses answers, where a `Fusion` fuses tokens, and has no parameters. `fit` takes the shares from the training
    labels, before training; `calibrate` takes a temperature and biases for each modality from the validation clips,
    after it, and until then posteriors are taken as they are. The answers are differentiable by the logits.

    Args:
        modalities: names, in order.
        dim: as every fusion is given it; tokens are not looked at.
        smoothing: clips that are added to the training clips' cells, spread as if the modalities had nothing to do with
            each other and with the overall share of each label. 0, as in the control, gives a cell without a training
            clip no weight.
        cells: what the cells are made of. `auto`: a modality's emotion where its emotion head is on (which takes
            training clips that carry the label), else its polarity; the two may be mixed. `polarity`, `emotion`: these
            alone; a modality without that head is not used. `incongruent` that is about emotions needs cells of them.

    Raises:
        ConfigError: the smoothing is negative, or `cells` is none of these.

    Attributes:
        reads: by modality, the head whose logits are expected.
    """

    reads: dict[str, HeadSpec]
    cells: Tensor
    marginals: Tensor
    temperatures: Tensor
    biases: Tensor
    places: Tensor

    @checked
    def __init__(
        self, *, modalities: Sequence[str], dim: int, smoothing: NotNegative = 0.0, cells: Cells = "auto"
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.smoothing = smoothing
        self.kind = cells
        self.reads = {}
        self.choose_cells(())

    def choose_cells(self, heads: Collection[str]) -> None:
        """Choose what each modality's cells are made of; where that is something else than before, they are empty.

        Args:
            heads: names of the heads that are on.
        """

        def column(modality: str) -> str:
            emotion = EMOTION_COLUMN[modality]
            wanted = self.kind == "emotion" or (self.kind == "auto" and emotion in heads)
            return emotion if wanted else POLARITY_COLUMN[modality]

        reads = {modality: HEADS[column(modality)] for modality in self.modalities}
        if reads == self.reads:
            return
        self.reads = reads
        sizes = [spec.size for spec in self.reads.values()]
        places = torch.tensor(list(itertools.product(*map(range, sizes))))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("cells", torch.full((len(places),), 1 / len(places)))
        # A modality of fewer classes than another has zeros at the end.
        marginals = torch.stack([torch.arange(max(sizes)) < size for size in sizes]).float()
        self.register_buffer("marginals", marginals / marginals.sum(dim=1, keepdim=True))
        self.register_buffer("temperatures", torch.ones(len(sizes)))
        self.register_buffer("biases", torch.zeros(len(sizes), max(sizes)))
        for spec in ANSWERED:
            # Shares of the classes; of a yes-no head that of yes; of a number its mean.
            start = {"binary": 0.5, "choice": 1 / max(1, spec.size), "number": 0.0}[spec.kind]
            self.register_buffer(f"{spec.name}_in_cell", torch.full((len(places), spec.size), start))

    def in_cell(self, name: str) -> Tensor:
        """What the training clips of each cell say to a head, `[cells, size]`."""
        values: Tensor = getattr(self, f"{name}_in_cell")
        return values

    def fit(self, targets: Mapping[str, Tensor]) -> None:
        """Take the shares of the cells, and of the labels in each, from the training labels.

        A clip counts where it carries the label of every modality that has labels at all; a modality without any is
        summed over.

        Args:
            targets: by head, float `[rows]`, NaN where unlabelled.

        Raises:
            ConfigError: no clip counts.
        """
        nowhere = torch.full_like(next(iter(targets.values())), torch.nan)
        names = [spec.name for spec in self.reads.values()]
        labels = torch.stack([targets.get(name, nowhere) for name in names], dim=1).cpu()
        labelled = ~labels.isnan().all(dim=0)
        rows = labelled.any() & ~labels[:, labelled].isnan().any(dim=1)
        if not bool(rows.any()):
            some = [name for name, there in zip(names, labelled.tolist(), strict=True) if there]
            raise ConfigError(
                "fusion=posterior weighs cells of polarities or emotions, but no training clip carries "
                f"{' and '.join(some or names)}; choose another fusion, or switch off the encoder of a modality that "
                "is labelled on other clips"
            )
        # A modality without labels has all its weight on one class, so that it adds no cells; it is always absent.
        known, places = labels[rows].nan_to_num(0).long(), self.places.cpu()
        # The last modality changes fastest.
        cell_of_clip = torch.zeros(len(known), dtype=torch.long)
        for place, spec in enumerate(self.reads.values()):
            cell_of_clip = cell_of_clip * spec.size + known[:, place]
        in_cell = torch.bincount(cell_of_clip, minlength=len(places)).double()
        marginals = torch.nn.functional.one_hot(known, self.marginals.shape[1]).double().mean(dim=0)
        alone = marginals[torch.arange(len(names)), places].prod(dim=1) * self.smoothing
        self.marginals.copy_(marginals)
        self.cells.copy_((in_cell + alone) / (len(known) + self.smoothing))
        for spec in ANSWERED:
            target = targets.get(spec.name, nowhere).cpu()[rows].double()
            there = ~target.isnan()
            if not bool(there.any()):
                continue
            values = target[there].unsqueeze(1)
            if spec.kind == "choice":
                values = torch.nn.functional.one_hot(values.squeeze(1).long(), spec.size).double()
            overall = values.mean(dim=0)
            totals = (alone.unsqueeze(1) * overall).index_add(0, cell_of_clip[there], values)
            counts = (torch.bincount(cell_of_clip[there], minlength=len(places)) + alone).unsqueeze(1)
            self.in_cell(spec.name).copy_(torch.where(counts > 0, totals / counts.clamp(min=1e-12), overall))

    def calibrate(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Choose a temperature and biases for the logits of some modalities, from clips that they were not fitted to.

        Args:
            logits: by modality, `[rows, classes]`, of the head that `reads` names.
            targets: by modality, the class's number, float `[rows]`; NaN where it is unlabelled or has no stream.
        """
        from subtext.evaluation.calibration import fit_bias_corrected

        for place, modality in enumerate(self.modalities):
            if modality not in logits:
                continue
            self.temperatures[place], self.biases[place] = 1.0, 0.0
            known = ~targets[modality].isnan()
            labels = targets[modality][known].long()
            if len(labels.unique()) < 2:
                log.warning(
                    "the posterior of %s is not calibrated: %d clips to do it with carry %s, of fewer than two kinds",
                    modality,
                    len(labels),
                    self.reads[modality].column,
                )
                continue
            temperature, biases = fit_bias_corrected(logits[modality][known].numpy(), labels.numpy())
            self.temperatures[place] = temperature
            self.biases[place, : len(biases)] = torch.from_numpy(biases).to(self.biases)

    def weigh(self, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """The posterior of the cells, `[batch, cells]`, the first modality changing slowest.

        Args:
            logits: by modality, `[batch, classes]`, of the head that `reads` names; one that is left out is absent.
            present: by modality, bool `[batch]`. Where all are absent, the cells have their training share.
        """
        rows = next(iter(present.values())).shape[0]  # len() would keep an export to this number
        weights = self.cells.log().expand(rows, -1)
        for place, modality in enumerate(self.modalities):
            if modality not in logits:
                continue
            size = self.reads[modality].size
            calibrated = logits[modality].float() / self.temperatures[place] + self.biases[place, :size]
            prior = self.marginals[place, :size]
            # A class that never occurs has no cell with any weight, whatever is said about it here.
            ratio = calibrated.log_softmax(dim=1) - torch.where(prior > 0, prior, 1.0).log()
            ratio = torch.where(present[modality].unsqueeze(1), ratio, 0.0)
            weights = weights + ratio[:, self.places[:, place]]
        return weights.softmax(dim=1)

    def forward(self, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer every head that reads no single modality: logits, log-probabilities or numbers, as `Heads` would.

        Args:
            logits: see `weigh`.
            present: see `weigh`.
        """
        posterior = self.weigh(logits, present)
        return {spec.name: self._answer(spec.name, posterior) for spec in ANSWERED}

    def _answer(self, name: str, posterior: Tensor) -> Tensor:
        values, kind = self.in_cell(name), HEADS[name].kind
        # As matrix products these would be rounded under mixed precision.
        shares = (posterior.unsqueeze(2) * values).sum(dim=1)
        if kind == "number":
            return shares.squeeze(1)
        if kind == "choice":
            return _log(shares).clamp(min=-LIMIT)
        # Not one less the shares, which would round small ones away.
        against = (posterior.unsqueeze(2) * (1 - values).clamp(min=0)).sum(dim=1)
        return (_log(shares) - _log(against)).squeeze(1).clamp(-LIMIT, LIMIT)


def _log(shares: Tensor) -> Tensor:
    # Beyond the limit, so that no answer changes; a gradient through the logarithm of nothing would be no number.
    return shares.clamp(min=math.exp(-2 * LIMIT)).log()
