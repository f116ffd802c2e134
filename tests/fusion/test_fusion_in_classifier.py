"""Every strategy with encoders and heads around it: what it costs, whether it learns, and its losses in training."""

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from builders.fusion_cases import DIM, LEARNING, MODALITIES, NAMES, UNKNOWN, batch, make, strategy
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.fusion.shared_private import SharedPrivateFusion
from subtext.labels import POLARITY_COLUMN
from subtext.model.batches import Batch
from subtext.model.classifier import AUXILIARY, IncongruenceClassifier
from subtext.model.heads import HEADS, Heads
from subtext.model.task import IncongruenceTask


class Projection(TextEncoder):
    """Stands in for each encoder: a projection of precomputed embeddings."""

    def __init__(self, modality: str) -> None:
        super().__init__(embed_dim=DIM, dim=DIM, dropout=0.0)
        self.modality = modality


def classifier(name: str, heads: tuple[str, ...] = ("incongruent",)) -> IncongruenceClassifier:
    fusion = strategy(name)
    if name not in LEARNING:
        heads += tuple(POLARITY_COLUMN[m] for m in MODALITIES)
    for module in fusion.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return IncongruenceClassifier(
        encoders={m: Projection(m) for m in MODALITIES}, fusion=fusion, heads=Heads(names=heads, dim=DIM, dropout=0.0)
    )


def answer(model: IncongruenceClassifier, tokens: dict[str, Tokens]) -> Tensor:
    return model(model.embed(tokens))["incongruent"]


def learn(model: IncongruenceClassifier, tokens: dict[str, Tokens], labels: Tensor, rate: float, steps: int) -> float:
    """Loss of the head when it is small, or after so many steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    loss = math.inf
    for _ in range(steps):
        optimizer.zero_grad()
        answers = model(model.embed(tokens))
        loss_of_head = nn.functional.binary_cross_entropy_with_logits(answers["incongruent"], labels)
        sum([loss_of_head, *(v for k, v in answers.items() if k.startswith(AUXILIARY))]).backward()
        optimizer.step()
        loss = float(loss_of_head.detach())
        if loss < 0.05:
            break
    return loss


def clips() -> tuple[dict[str, Tokens], Tensor]:
    """Thirty-two, with labels that have nothing to do with them."""
    labels = torch.randint(0, 2, (32,), generator=torch.Generator().manual_seed(6)).float()
    return batch(rows=32, seed=5, subsets=False), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_thirty_two_clips_can_be_learned_by_heart(name: str) -> None:
    model, (tokens, labels) = classifier(name), clips()
    assert learn(model, tokens, labels, rate=0.005, steps=150) < 0.05
    assert ((answer(model.eval(), tokens) > 0).float() == labels).all()


def test_reconstruction_does_not_shrink_what_is_to_be_reconstructed() -> None:
    """A target that learns along shrinks to a fifth in a hundred steps of this loss alone."""
    model, (tokens, _) = classifier("shared_private"), clips()
    fusion = cast(SharedPrivateFusion, model.fusion)
    fusion.loss_weights.update(similarity=0.0, difference=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)

    def spread() -> float:
        projected = {m: model.encoder(m).project(tokens[m]) for m in MODALITIES}
        return float(fusion.vectors(projected)[0].std(dim=0).mean().detach())

    before = spread()
    for _ in range(100):
        optimizer.zero_grad()
        answers = model(model.embed(tokens))
        [loss] = [value for key, value in answers.items() if key.startswith(AUXILIARY)]
        loss.backward()
        optimizer.step()
    assert spread() > before


@pytest.mark.parametrize("name", NAMES)
def test_cost_can_be_told(name: str, record_property: Callable[[str, object], None]) -> None:
    model = classifier(name)
    tokens = batch(rows=1, subsets=False)
    part = model.fusion or model.posterior
    assert part is not None
    parameters = sum(p.numel() for p in part.parameters())
    counts = model.counts()
    assert counts["trainable"] == sum(p.numel() for p in model.parameters())
    whole = model.flops(tokens)
    with torch.no_grad(), FlopCounterMode(display=False) as without:
        model.heads(torch.zeros(1, DIM), model.embed(tokens))
        for modality in MODALITIES:
            model.encoder(modality).project(tokens[modality])
    fusion = whole - without.get_total_flops()
    # Three modalities through at least one linear layer each; what only counts multiplies no matrices.
    assert fusion > 3 * 2 * DIM if name in LEARNING else (parameters, fusion) == (0, 0)
    print(f"{name}: {parameters} parameters, {fusion} FLOPs a clip at width {DIM}")
    record_property("parameters", parameters)
    record_property("flops", fusion)


def test_flops_of_the_gated_fusion_are_those_of_its_matrices() -> None:
    fusion = make("gated").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fusion(batch(rows=1, subsets=False))
    k, hidden = len(MODALITIES), 128
    assert counter.get_total_flops() == 2 * (k * DIM**2 + (k * DIM) ** 2 + 2 * DIM * hidden)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNKNOWN])
def test_late_fusion_alone_cannot_express_an_interaction(name: str) -> None:
    """Averaged decisions are sums of what each modality says; everything else is not."""
    model = classifier(name).eval()
    one, other = batch(subsets=False), batch(seed=2, subsets=False)

    def of(visual: dict[str, Tokens], text: dict[str, Tokens]) -> Tensor:
        return answer(model, one | {"visual": visual["visual"], "text": text["text"]})

    interaction = (of(one, one) + of(other, other) - of(one, other) - of(other, one)).abs().max()
    if name in ("late", "late, mean"):
        assert interaction < 1e-5
    else:
        assert interaction > 1e-5


def test_opinions_are_answered_from_one_by_one_and_averaged() -> None:
    model, tokens = classifier("late, mean", ("incongruent", "type", "engagement")).eval(), batch()
    model.heads.fit_scales({"engagement": torch.tensor([100.0, 120.0])})
    answers = model(model.embed(tokens))
    projected = {m: model.encoder(m).project(tokens[m]) for m in MODALITIES}
    assert model.fusion is not None
    fused = model.fusion(projected)
    present = torch.stack([tokens[m].present for m in MODALITIES], dim=1)
    for head in ("incongruent", "type", "engagement"):
        each = torch.stack([model.heads(fused.opinions[:, place], {})[head] for place in range(3)], dim=1)
        for row in range(8):
            torch.testing.assert_close(answers[head][row], each[row, present[row]].mean(dim=0))


def test_training_adds_the_fusions_losses_and_validation_does_not() -> None:
    tokens = batch(rows=16)
    targets = {name: torch.arange(16).remainder(2).float() for name in HEADS}
    given = Batch(tokens, targets, torch.arange(16))
    model = classifier("shared_private")
    task = IncongruenceTask(classifier=model, targets=targets, optimizer=partial(torch.optim.Adam, lr=0.01))
    logged: dict[str, float] = {}
    task.log = lambda name, value, **_: logged.update({name: float(torch.as_tensor(value).detach())})  # type: ignore[method-assign]
    loss = float(task.train().training_step(given, 0).detach())
    task.eval().validation_step(given, 0)
    own = [logged[f"train/{name}_loss"] for name in ("similarity", "difference", "reconstruction")]
    assert min(own) > 0
    assert loss == logged["train/loss"] == pytest.approx(logged["val/loss"] + sum(own), rel=1e-5)
