"""Losses, modality dropout, schedules and the figure that chooses the epoch."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from subtext.encoders.prosody import ProsodyEncoder
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.concat import ConcatFusion
from subtext.model.batches import Batch
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import HEADS, Heads, head_specs
from subtext.model.losses import HeadLoss, balanced_weights, visible_targets
from subtext.model.task import IncongruenceTask, hide, selection, warmup_cosine

NAN = torch.nan


def test_binary_and_choice_losses_are_cross_entropy_over_labelled_rows() -> None:
    logits, targets = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1.0, 0.0, NAN])
    expected = nn.functional.binary_cross_entropy_with_logits(logits[:2], targets[:2])
    torch.testing.assert_close(HeadLoss(HEADS["incongruent"])(logits, targets), expected)
    logits = torch.randn(3, 6)
    expected = nn.functional.cross_entropy(logits[1:], torch.tensor([4, 0]), label_smoothing=0.1)
    loss = HeadLoss(HEADS["type"], label_smoothing=0.1)(logits, torch.tensor([NAN, 4.0, 0.0]))
    torch.testing.assert_close(loss, expected)


def test_weighted_and_focal_losses_follow_their_formulas() -> None:
    logits, targets = torch.randn(20, 3), torch.arange(20).remainder(3).float()
    weights = torch.tensor([1.0, 2.0, 0.5])
    expected = nn.functional.cross_entropy(logits, targets.long(), weight=weights)
    torch.testing.assert_close(HeadLoss(HEADS["visual_polarity"], weights=weights)(logits, targets), expected)
    p = torch.tensor(0.8)
    loss = HeadLoss(HEADS["incongruent"], focal_gamma=2.0)(torch.logit(p)[None], torch.ones(1))
    torch.testing.assert_close(loss, -((1 - p) ** 2) * p.log())


def test_a_number_is_measured_in_units_of_its_spread() -> None:
    loss = HeadLoss(HEADS["engagement"])
    torch.testing.assert_close(
        loss(torch.tensor([30.0, 0.0]), torch.tensor([10.0, NAN]), torch.tensor(10.0)), torch.tensor(1.5)
    )


def test_no_labelled_row_means_a_loss_of_zero_that_can_be_followed_back() -> None:
    logits = torch.randn(2, 6, requires_grad=True)
    loss = HeadLoss(HEADS["type"])(logits, torch.tensor([NAN, NAN]))
    loss.backward()
    assert float(loss) == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_balanced_weights_give_every_class_the_same_share() -> None:
    targets = torch.tensor([0.0] * 6 + [1.0] * 3 + [2.0] + [NAN] * 5)
    weights = balanced_weights(HEADS["visual_polarity"], targets)
    counts = torch.tensor([6.0, 3.0, 1.0])
    torch.testing.assert_close(weights * counts, torch.full((3,), 10 / 3))
    # A class that never comes keeps its weight and takes none from the others.
    assert balanced_weights(HEADS["type"], torch.tensor([0.0, 0.0, 2.0]))[5] == 1


@pytest.mark.parametrize("settings", [{"focal_gamma": -1.0}, {"label_smoothing": 1.0}])
def test_losses_refuse_settings_that_mean_nothing(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        HeadLoss(HEADS["type"], **settings)


def test_a_polarity_counts_only_where_its_modality_is_present() -> None:
    targets = {"visual_polarity": torch.tensor([0.0, 1.0, NAN]), "incongruent": torch.tensor([1.0, 1.0, 0.0])}
    present = {"visual": torch.tensor([False, True, True])}
    seen = visible_targets(HEADS["visual_polarity"], targets, present)
    assert seen.isnan().tolist() == [True, False, True]
    assert visible_targets(HEADS["incongruent"], targets, present) is targets["incongruent"]
    assert visible_targets(HEADS["visual_polarity"], targets, {}).isnan().all()


def test_hiding_never_takes_the_last_modality() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    present = {m: torch.rand(2000, generator=generator) < 0.7 for m in ("visual", "text", "prosody")}
    hidden = hide(present, 0.6)
    left = {m: present[m] & ~hidden[m] for m in present}
    some = torch.stack(list(present.values())).any(dim=0)
    assert torch.equal(torch.stack(list(left.values())).any(dim=0), some)
    for modality in present:
        assert not (hidden[modality] & ~present[modality]).any()
        # Hidden with probability 0.6 but for the rescue of rows that would lose everything.
        assert 0.3 < float(hidden[modality][present[modality]].float().mean()) < 0.6
    torch.manual_seed(0)
    assert all(torch.equal(hidden[m], again) for m, again in hide(present, 0.6).items())
    assert not any(h.any() for h in hide(present, 0.0).values())


def test_the_schedule_rises_and_falls() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_cosine(optimizer, total_steps=100, warmup=0.1, floor=0.01)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02


def test_what_chooses_the_epoch() -> None:
    specs = head_specs(["vocal_incongruent", "incongruent", "visual_polarity", "verbal_polarity"])
    figures = {"incongruent": 0.7, "vocal_incongruent": 0.9, "visual_polarity": 0.5, "verbal_polarity": 0.3}
    assert selection(specs, figures) == 0.7
    assert selection(specs[1:], figures) == 0.9
    assert selection(specs[2:], figures) == pytest.approx(0.4)
    assert selection(head_specs(["engagement"]), {"engagement": 2.0}) == -2
    with pytest.raises(ConfigError, match="val"):
        selection(specs, {})


def make(**settings: object) -> IncongruenceTask:
    torch.manual_seed(0)
    encoders = {
        "text": TextEncoder(embed_dim=4, dim=8),
        "prosody": ProsodyEncoder(input_dim=3, channels=4, layers=1, trainable=True, dim=8),
    }
    classifier = IncongruenceClassifier(
        encoders=encoders,
        fusion=ConcatFusion(modalities=list(encoders), dim=8, hidden=8),
        heads=Heads(names=["incongruent", "verbal_polarity"], dim=8),
    )
    targets = {name: torch.tensor([0.0, 1.0, 1.0]) for name in HEADS}
    optimizer = partial(torch.optim.AdamW, lr=0.01)
    return IncongruenceTask(classifier=classifier, targets=targets, optimizer=optimizer, **settings)  # type: ignore[arg-type]


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    streams = {
        "text": Tokens(torch.randn(5, 1, 4, generator=generator), torch.ones(5, 1, dtype=torch.bool)),
        "prosody": Tokens(torch.randn(5, 9, 3, generator=generator), torch.ones(5, 9, dtype=torch.bool)),
    }
    return Batch(streams, {name: torch.tensor([0.0, 1.0, 1.0, 0.0, NAN]) for name in HEADS}, torch.arange(5))


def test_a_step_draws_from_seed_and_step_alone() -> None:
    def loss(**settings: object) -> float:
        task = make(modality_dropout=0.3, **settings)
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
        torch.rand(3)
        return float(task.training_step(batch(), 2))

    assert loss(seed=0) == loss(seed=0)
    assert loss(seed=0) != loss(seed=1)


def test_backbones_have_a_learning_rate_of_their_own() -> None:
    task = make(backbone_lr=0.0001)
    optimizer = task.configure_optimizers()
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [0.01, 0.0001]
    counted = sum(len(group["params"]) for group in optimizer.param_groups)
    assert counted == sum(p.requires_grad for p in task.classifier.parameters())
    inside = {id(p) for p in task.classifier.encoder("prosody").backbone_parameters()}
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == inside
    assert len(make().configure_optimizers().param_groups) == 2


def test_head_weights_scale_losses() -> None:
    def loss(**weights: float) -> float:
        task = make(head_weights=weights).eval()
        answers = task.classifier(task.classifier.embed(batch().streams))
        present = {m: t.present for m, t in batch().streams.items()}
        return float(task._loss(answers, batch(), present))

    assert loss(incongruent=2.0, verbal_polarity=2.0) == pytest.approx(2 * loss())
    parts = loss(incongruent=0.0) + loss(verbal_polarity=0.0)
    assert math.isclose(parts, loss(), rel_tol=1e-5)


@pytest.mark.parametrize("settings", [{"class_weights": "even"}, {"modality_dropout": 1.0}])
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        make(**settings)
