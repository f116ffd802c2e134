"""No learning in the fusion: calibrated unimodal posteriors, weighted by the training clips' cells. The reference.

With modalities that are independent given their polarities `c = (face, words, voice)`,

    P(c | clip)     ~  P(c) * product over modalities of P(c_m | modality m) / P(c_m)
    P(label | clip) =  sum over c of P(label | c) P(c | clip)

the product rule of Kittler, Hatef, Duin & Matas 1998, "On combining classifiers", over cells of polarities in place of
single classes. `P(c)`, `P(c_m)` and `P(label | c)` are shares among the training clips, so that no
rule has to be named: where labels follow the active rule, `P(label | c)` is that rule, with unvoiced warmth counted or
not, whichever pair of modalities it is about. `evaluation.controls.posterior_product` computes the same from tables.

On constructed pairs, whose parts are independent given their labels, this is close to the best that any fusion can do:
one that is clearly better has found a leak or better calibrated posteriors. On natural recordings it is what a fusion
that learns has to beat.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.base import Fused, Fusion
from subtext.heads import HEADS
from subtext.labels import POLARITIES, POLARITY_COLUMN

LIMIT = 30.0
"""Logits and log-probabilities are kept within it: a label that no cell shows would be minus infinity."""

ANSWERED = tuple(spec for spec in HEADS.values() if spec.modality is None)
"""The heads that are answered from the cells."""

log = logging.getLogger(__name__)


class PosteriorFusion(Fusion):
    """Polarity logits of each modality -> what the training cells say about every label.

    It has no parameters. `fit` takes the shares from the training labels, before training; `calibrate` takes a
    temperature and biases for each modality from the validation clips, after it, and until then posteriors are taken as
    they are. No gradient passes: the polarity heads, and the encoders under them, learn from polarity labels alone.

    It differs from the other strategies in what it is given, one position of three logits a modality in place of tokens
    (the classifier sees to that), and in what it gives: answers, and for an embedding the posterior of the cells.

    Args:
        modalities: names, in order.
        dim: width of the encoders' tokens, which are not looked at.
        smoothing: clips that are added to the training clips' cells, spread as if the modalities had nothing to do with
            each other and with the overall share of each label. 0, as in the control, gives a cell without a training
            clip no weight.

    Raises:
        ConfigError: the smoothing is negative.
    """

    cells: Tensor
    marginals: Tensor
    temperatures: Tensor
    biases: Tensor
    places: Tensor

    def __init__(self, *, modalities: Sequence[str], dim: int, smoothing: float = 0.0) -> None:
        super().__init__(modalities=modalities, dim=len(POLARITIES))
        if smoothing < 0:
            raise ConfigError(f"fusion.smoothing must not be negative, got {smoothing}")
        self.smoothing = smoothing
        count, polarities = len(self.modalities), len(POLARITIES)
        places = torch.tensor(list(itertools.product(range(polarities), repeat=count)))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("cells", torch.full((len(places),), 1 / len(places)))
        self.register_buffer("marginals", torch.full((count, polarities), 1 / polarities))
        self.register_buffer("temperatures", torch.ones(count))
        self.register_buffer("biases", torch.zeros(count, polarities))
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

        A clip counts where it carries the polarity of every modality that has labels at all; a modality without any is
        summed over.

        Args:
            targets: by head, float `[rows]`, NaN where unlabelled.

        Raises:
            ConfigError: no clip counts.
        """
        nowhere = torch.full_like(next(iter(targets.values())), torch.nan)
        polarities = torch.stack([targets.get(POLARITY_COLUMN[m], nowhere) for m in self.modalities], dim=1).cpu()
        labelled = ~polarities.isnan().all(dim=0)
        names = [POLARITY_COLUMN[m] for m, there in zip(self.modalities, labelled.tolist(), strict=True) if there]
        rows = labelled.any() & ~polarities[:, labelled].isnan().any(dim=1)
        if not bool(rows.any()):
            wanted = " and ".join(names or [POLARITY_COLUMN[m] for m in self.modalities])
            raise ConfigError(
                f"fusion=posterior weighs cells of polarities, but no training clip carries {wanted}; choose another "
                "fusion, or switch off the encoder of a modality that is labelled on other clips"
            )
        # A modality without labels has all its weight on one polarity, so that it adds no cells; it is always absent.
        known = polarities[rows].nan_to_num(0).long()
        of_clip = (known[:, None, :] == self.places.cpu()).all(dim=2).double()
        marginals = torch.nn.functional.one_hot(known, len(POLARITIES)).double().mean(dim=0)
        alone = marginals[torch.arange(len(self.modalities)), self.places.cpu()].prod(dim=1) * self.smoothing
        self.marginals.copy_(marginals)
        self.cells.copy_((of_clip.sum(dim=0) + alone) / (len(known) + self.smoothing))
        for spec in ANSWERED:
            target = targets.get(spec.name, nowhere).cpu()[rows].double()
            there = ~target.isnan()
            if not bool(there.any()):
                continue
            values = target[there].unsqueeze(1)
            if spec.kind == "choice":
                values = torch.nn.functional.one_hot(values.squeeze(1).long(), spec.size).double()
            overall = values.mean(dim=0)
            totals = of_clip[there].T @ values + alone.unsqueeze(1) * overall
            counts = (of_clip[there].sum(dim=0) + alone).unsqueeze(1)
            self.in_cell(spec.name).copy_(torch.where(counts > 0, totals / counts.clamp(min=1e-12), overall))

    def calibrate(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Choose a temperature and biases for each modality's polarity logits, from validation clips.

        Args:
            logits: by modality, `[rows, 3]`.
            targets: by modality, the polarity's number, float `[rows]`; NaN where it is unlabelled or has no stream.
        """
        from subtext.evaluation.calibration import fit_bias_corrected

        for place, modality in enumerate(self.modalities):
            self.temperatures[place], self.biases[place] = 1.0, 0.0
            if modality not in logits:
                continue
            known = ~targets[modality].isnan()
            labels = targets[modality][known].long()
            if len(labels.unique()) < 2:
                log.warning(
                    "fusion=posterior: the posterior of %s is not calibrated: %d validation clips carry %s, of fewer "
                    "than two kinds",
                    modality,
                    len(labels),
                    POLARITY_COLUMN[modality],
                )
                continue
            temperature, biases = fit_bias_corrected(logits[modality][known].numpy(), labels.numpy())
            self.temperatures[place] = temperature
            self.biases[place] = torch.from_numpy(biases).to(self.biases)

    def forward(self, tokens: Mapping[str, Tokens]) -> Fused:
        """Weigh the cells, and answer.

        Args:
            tokens: each modality's polarity logits `[batch, time, 3]`, the mean of which counts; one position is usual.

        Returns:
            `answers` to every head that reads no single modality: logits, log-probabilities or numbers. `embedding` is
            the posterior of the cells, `[batch, 3 ** n_modalities]`, the first modality changing slowest; where all are
            absent it is their training share. `evidence` is None.
        """
        weights = self.cells.log()
        for place, sequence in enumerate(self.complete(tokens).values()):
            logits = sequence.mean().detach().float() / self.temperatures[place] + self.biases[place]
            prior = self.marginals[place]
            # A polarity that never occurs has no cell with any weight, whatever is said about it here.
            ratio = logits.log_softmax(dim=1) - torch.where(prior > 0, prior, 1.0).log()
            ratio = torch.where(sequence.present.unsqueeze(1), ratio, 0.0)
            weights = weights + ratio[:, self.places[:, place]]
        weights = weights.log_softmax(dim=1)
        return Fused(weights.exp(), None, answers={spec.name: self._answer(spec.name, weights) for spec in ANSWERED})

    def _answer(self, name: str, weights: Tensor) -> Tensor:
        values, kind = self.in_cell(name), HEADS[name].kind
        if kind == "number":
            return (weights.exp() * values.squeeze(1)).sum(dim=1)
        shares = (weights.unsqueeze(2) + values.log()).logsumexp(dim=1)
        if kind == "choice":
            return shares.clamp(min=-LIMIT)
        against = (weights + (1 - values).clamp(min=0).log().squeeze(1)).logsumexp(dim=1)
        return (shares.squeeze(1) - against).clamp(-LIMIT, LIMIT)
