"""Readers: what one modality shows by itself, read from a clip's figures by plain tools that are fitted at once.

A reader is a mean, in logarithms, of the posteriors of a multinomial logistic regression and of some small networks
with much dropout; how much the networks count is chosen on clips of speakers whom neither was fitted to. Both read
figures that are standardised by the training clips and cut off at some deviations. They are fitted to all distinct
streams together, each of which counts once, however many clips it is part of: on some hundred streams gradient steps
over batches of clips find worse ones (experiments/fusion_ravdess_swap).

Readers need figures that stay as they are while the rest of a model is trained: those of an encoder whose backbone is
frozen, or has no weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from subtext.core.schema import Count, Dropout, Natural, NotNegative, Positive, Width, checked
from subtext.encoders.standardise import Standardised

_UNSEEN: Final = -10.0
"""Logit of a class without a training clip."""
_SHARES: Final = (0.0, 0.25, 0.5, 0.75)
_CLIPS_A_STEP: Final = 2048
"""The networks see all clips at each step, or so many at random where there are more."""


Baseline = Literal["none", "session", "speaker", "enrol"]
"""Whose mean figures are a baseline, see `model.baseline`."""


@checked
@dataclass(frozen=True)
class ReaderSpec:
    """How readers are built and fitted.

    Attributes:
        c: inverse strength of the logistic regression's L2 penalty, as scikit-learn counts it.
        networks: how many small networks are averaged with it.
        hidden: width of their hidden layer.
        limit: deviations beyond which a figure is cut off.
        input_dropout: share of the figures hidden from the networks in training.
        hidden_dropout: share of their hidden units dropped in training.
        weight_decay: L2 of the networks.
        steps: of the networks' training; each sees all streams.
        learning_rate: of the networks.
        least_turns: turns of a person from which their mean is a baseline, see `model.baseline`.
        folds: parts of the training speakers, each of which is read by readers fitted to the others, for what learns
            from readings.
    """

    c: Positive = 0.1
    networks: Natural = 3
    hidden: Width = 48
    limit: Positive = 3.0
    input_dropout: Dropout = 0.3
    hidden_dropout: Dropout = 0.5
    weight_decay: NotNegative = 3e-3
    steps: Count = 150
    learning_rate: Positive = 0.02
    least_turns: Count = 5
    folds: Count = 5


class Networks(nn.Module):
    """Small networks side by side: figures `[rows, width]` -> `[networks, rows, classes]`.

    Args:
        number: of networks.
        width: of the figures.
        hidden: units of the hidden layer, with GELU.
        classes: logits.
    """

    def __init__(self, number: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        # As nn.Linear begins.
        first, second = width**-0.5, hidden**-0.5
        self.hidden = nn.Parameter(torch.empty(number, width, hidden).uniform_(-first, first))
        self.hidden_bias = nn.Parameter(torch.empty(number, 1, hidden).uniform_(-first, first))
        self.output = nn.Parameter(torch.empty(number, hidden, classes).uniform_(-second, second))
        self.output_bias = nn.Parameter(torch.empty(number, 1, classes).uniform_(-second, second))

    def forward(self, known: Tensor, input_mask: Tensor | None = None, hidden_mask: Tensor | None = None) -> Tensor:
        """See the class.

        Args:
            known: figures, of all networks or `[networks, rows, width]` of each.
            input_mask: factors of the figures, as of dropout, of the same shape.
            hidden_mask: factors of the hidden units, `[networks, rows, hidden]`.
        """
        known = known.expand(len(self.hidden), -1, -1)
        known = known if input_mask is None else known * input_mask
        hidden = functional.gelu(torch.baddbmm(self.hidden_bias, known, self.hidden))
        hidden = hidden if hidden_mask is None else hidden * hidden_mask
        return torch.baddbmm(self.output_bias, hidden, self.output)


class Reader(nn.Module):
    """Figures `[batch, width]` -> log posteriors of some classes, up to a constant, `[batch, classes]`.

    A figure that is missing (NaN) is taken for the training clips' mean. With a baseline there is a second reader, of
    the figures less the person's own mean, and where that is known the two are averaged.

    Args:
        width: of the figures.
        classes: how many.
        spec: how it is built and fitted.
        baseline: whether it also reads figures less the person's mean.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
        >>> figures = torch.randn(60, 4)
        >>> reader = Reader(4, 2, ReaderSpec(networks=1))
        >>> fit([reader], figures, (figures[:, 0] > 0).long(), torch.ones(1, 60, dtype=torch.bool), seed=0)
        >>> bool((reader(figures).argmax(dim=1) == (figures[:, 0] > 0)).float().mean() > 0.9)
        True
    """

    share: Tensor

    def __init__(self, width: int, classes: int, spec: ReaderSpec, baseline: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.classes = classes
        self.standardise = Standardised(width, spec.limit)
        self.linear = nn.Linear(width, classes)
        self.networks = Networks(spec.networks, width, spec.hidden, classes)
        # Of the networks; the rest is the regression's.
        self.register_buffer("share", torch.tensor(1 - 1 / (1 + spec.networks)))
        self.relative = Reader(width, classes, spec) if baseline else None
        self.requires_grad_(False)

    def like(self) -> "Reader":
        """Another one of the same kind, not fitted."""
        return Reader(self.linear.in_features, self.classes, self.spec)

    def known(self, figures: Tensor) -> Tensor:
        """Figures as the regression and the networks read them."""
        return self.standardise(figures.to(self.linear.weight.dtype)).nan_to_num(0.0)

    def parts(self, figures: Tensor) -> tuple[Tensor, Tensor]:
        """What the regression and what the networks make of figures: log posteriors, `[batch, classes]` each."""
        known = self.known(figures)
        linear = self.linear(known).float().log_softmax(dim=1)
        if not self.spec.networks:
            return linear, linear
        return linear, self.networks(known).float().log_softmax(dim=2).mean(dim=0)

    def forward(self, figures: Tensor, means: Tensor | None = None) -> Tensor:
        """See the class.

        Args:
            figures: `[batch, width]`.
            means: of each clip's person, `[batch, width]`; NaN where they are not known. None: nobody's is.
        """
        read = torch.lerp(*self.parts(figures), self.share)
        if self.relative is None or means is None:
            return read
        both = (read + self.relative(figures - means)) / 2
        return torch.where(means.isnan().all(dim=1, keepdim=True), read, both)


def fit(readers: Sequence[Reader], figures: Tensor, classes: Tensor, rows: Tensor, *, seed: int) -> None:
    """Let readers of one kind learn from all their clips at once.

    Args:
        readers: get their weights.
        figures: `[clips, width]`, on the CPU.
        classes: the number of each clip's class, `[clips]`.
        rows: which clips each reader learns from, bool `[readers, clips]`; one without any stays as it is.
        seed: of the networks' weights and dropout.
    """
    for reader, own in zip(readers, rows, strict=True):
        reader.standardise.fit(figures[own])
        _fit_regression(reader, figures[own], classes[own])
    spec = readers[0].spec
    if not spec.networks:
        return
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        networks = Networks(len(readers) * spec.networks, figures.shape[1], spec.hidden, readers[0].classes)
        known = torch.stack([reader.known(figures) for reader in readers]).repeat_interleave(spec.networks, dim=0)
        # Each network's loss is the mean over its own clips.
        weights = (rows / rows.sum(dim=1, keepdim=True).clamp(min=1)).repeat_interleave(spec.networks, dim=0)
        optimizer = torch.optim.Adam(
            networks.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, foreach=True
        )
        clips = torch.arange(len(figures))
        for _ in range(spec.steps):
            if len(figures) > _CLIPS_A_STEP:
                clips = torch.randperm(len(figures))[:_CLIPS_A_STEP]
            optimizer.zero_grad()
            # All readers see the same draws, of which there are many.
            masks = [
                functional.dropout(torch.ones(spec.networks, len(clips), width), share).repeat(len(readers), 1, 1)
                for width, share in ((figures.shape[1], spec.input_dropout), (spec.hidden, spec.hidden_dropout))
            ]
            answers = networks(known[:, clips], *masks)
            losses = functional.cross_entropy(
                answers.flatten(0, 1), classes[clips].repeat(len(known)), reduction="none"
            )
            share = len(clips) / len(figures)
            (losses.view(len(known), -1) * weights[:, clips] / share).sum().backward()
            optimizer.step()
    for place, reader in enumerate(readers):
        own = slice(place * spec.networks, (place + 1) * spec.networks)
        reader.networks.load_state_dict({name: values[own] for name, values in networks.state_dict().items()})


def _fit_regression(reader: Reader, figures: Tensor, classes: Tensor) -> None:
    from sklearn.linear_model import LogisticRegression

    seen = classes.unique()
    reader.linear.weight.zero_()
    reader.linear.bias.fill_(_UNSEEN)
    reader.linear.bias[seen] = 0.0
    if len(seen) < 2:
        return
    found = LogisticRegression(C=reader.spec.c, max_iter=1000).fit(
        reader.known(figures).double().numpy(), classes.numpy()
    )
    weight, bias = torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()
    if len(seen) == 2:  # which scikit-learn answers by the second class alone
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    reader.linear.weight[seen], reader.linear.bias[seen] = weight, bias


def fit_and_read(
    reader: Reader,
    figures: Tensor,
    classes: Tensor,
    speakers: Sequence[object],
    *,
    seed: int,
    means: Tensor | None = None,
) -> Tensor:
    """Fit a reader, and tell what readers like it say of clips of speakers whom they were not fitted to.

    By these readings the reader's share of the networks is chosen.

    What is trained on readings must not see those of a reader's own training clips, which are surer than any it will
    see later (Wolpert 1992, "Stacked generalization").

    Args:
        reader: gets its weights, from all clips.
        figures: `[clips, width]`.
        classes: `[clips]`.
        speakers: whose clips they are, `[clips]`; None for a clip that stands alone.
        seed: deals speakers to folds, and seeds the readers.
        means: of each clip's person, see `Reader.forward`; for a reader with a baseline.

    Returns:
        `[clips, classes]`.
    """
    units = clusters(speakers)
    count = int(units.max()) + 1
    deal = np.random.default_rng(seed).permutation(count) % max(2, min(reader.spec.folds, count))
    fold = torch.from_numpy(deal[units])
    others = [reader.like() for _ in range(int(fold.max()) + 1)]
    rows = torch.stack([torch.ones_like(fold, dtype=torch.bool), *(fold != part for part in range(len(others)))])
    fit([reader, *others], figures, classes, rows, seed=seed)
    linear, curved = figures.new_zeros(2, len(figures), reader.classes)
    for part, other in enumerate(others):
        linear[fold == part], curved[fold == part] = other.parts(figures[fold == part])
    reader.share.fill_(_share(linear, curved, classes) if reader.spec.networks else 0.0)
    answers = torch.lerp(linear, curved, reader.share)
    if reader.relative is not None and means is not None:
        known = ~means.isnan().all(dim=1)
        own = [name for name, there in zip(speakers, known.tolist(), strict=True) if there]
        relative = fit_and_read(reader.relative, (figures - means)[known], classes[known], own, seed=seed)
        answers[known] = (answers[known] + relative) / 2
    return answers


def _share(linear: Tensor, curved: Tensor, classes: Tensor) -> float:
    """The networks' share with which clips of others are read best, once calibrated."""
    from subtext.evaluation.calibration import fit_temperature

    losses = {}
    for share in _SHARES:
        read = torch.lerp(linear, curved, share)
        read = read / fit_temperature(read.numpy(), classes.numpy())
        losses[share] = float(functional.cross_entropy(read, classes))
    return min(losses, key=losses.__getitem__)


def clusters(speakers: Sequence[object]) -> npt.NDArray[np.int64]:
    """Numbers of speakers from 0, `[clips]`; a clip whose speaker is None has a number of its own."""
    names = [f"clip {place}" if name is None else f"speaker {name}" for place, name in enumerate(speakers)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
