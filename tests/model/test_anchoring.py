"""Anchored fusion: never clearly worse than what it stands on, and better where there is more to know."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from builders.figure_clips import CONCAT, CROSSMODAL, FIGURES, POSTERIOR, figure_clips, fitted, model, settings
from builders.fusion_cases import LEARNING, MODALITIES, TIMES, strategy
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.model.anchoring import GATES, choose_gate, fit_readers
from subtext.model.batches import ClipData
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import HEADS, Heads
from subtext.model.posterior import PosteriorCells
from subtext.model.predict import raw_answers
from subtext.model.readers import ReaderSpec

FRESH = range(1000, 1020)
"""Seeds of sets that were not looked at while the rules were found."""


def score(classifier: IncongruenceClassifier, data: ClipData) -> float:
    """AUROC on the test split."""
    judged = data.split("test")
    return float(roc_auc_score(judged.targets["incongruent"], raw_answers(classifier, judged)["incongruent"]))


def anchored_and_product(seed: int, dependence: float) -> tuple[float, float, float]:
    """The gate, the anchored score, and that of the product of the same readings."""
    data = figure_clips(seed, speakers=48, clips=12, dependence=dependence)
    trained = fitted(model(CROSSMODAL, data, seed=seed, anchor="posterior"), data, settings(seed)).classifier
    gate, own = float(trained.gates[0]), score(trained, data)
    trained.gates.zero_()
    return gate, own, score(trained, data)


def test_a_dependence_that_no_posterior_sees_opens_the_gate() -> None:
    gate, own, product = anchored_and_product(1, dependence=0.5)
    assert gate > 0
    assert own > product + 0.05


def test_without_one_it_stays_shut() -> None:
    gate, own, product = anchored_and_product(0, dependence=0.0)
    assert gate == 0
    assert own == product


@pytest.mark.slow
def test_over_twenty_sets_without_dependence() -> None:
    """The gate is 0 in at least 90 %, and the score within 0.005 of the product."""
    found = np.array([anchored_and_product(seed, 0.0) for seed in FRESH])
    assert np.mean(found[:, 0] == 0) >= 0.9
    assert np.abs((found[:, 1] - found[:, 2]).mean()) <= 0.005


@pytest.mark.slow
def test_over_twenty_sets_with_a_dependence() -> None:
    """The gate is above 0 in at least 80 %, and gains more than 0.05."""
    found = np.array([anchored_and_product(seed, 0.5) for seed in FRESH])
    assert np.mean(found[:, 0] > 0) >= 0.8
    assert (found[:, 1] - found[:, 2]).mean() > 0.05


@pytest.mark.slow
def test_small_natural_sets_are_read_no_worse_than_by_logistic_regression() -> None:
    """Twenty sets of 130 clips without polarity labels: the mean difference is at least -0.01."""
    differences = []
    for seed in FRESH:
        # Labels that single channels tell in part, as they do in natural recordings.
        data = figure_clips(seed, speakers=26, clips=5, labelled=False)
        rng = np.random.default_rng(seed)
        values = np.concatenate([data.streams[m].values[:-1].numpy() for m in FIGURES], axis=1)
        table = data.table.assign(incongruent=values @ rng.normal(size=values.shape[1]) + 4 * rng.normal(size=130) > 0)
        data = ClipData(table, data.streams, data.numbers)
        untrained = model(CROSSMODAL, data, seed=seed, anchor="posterior", reader=ReaderSpec())
        trained = fitted(untrained, data, settings(seed)).classifier
        train, test = (np.flatnonzero(table["split"] == split) for split in ("train", "test"))
        scaled = (values - values[train].mean(0)) / values[train].std(0)
        regression = LogisticRegression(max_iter=1000).fit(scaled[train], table["incongruent"].iloc[train])
        theirs = roc_auc_score(table["incongruent"].iloc[test], regression.decision_function(scaled[test]))
        differences.append(score(trained, data) - theirs)
    assert np.mean(differences) >= -0.01


def test_readings_for_training_are_those_of_others() -> None:
    data = figure_clips(0, speakers=9, clips=8)
    training = data.split("train")
    classifier = model(CONCAT, data, anchor="posterior")
    fit_readers(classifier, training, seed=0)
    batch = training.__getitems__([3, 40])
    own = classifier.eval().read(classifier.embed(batch.streams))["visual_polarity"]
    assert batch.readings["visual_polarity"].shape == own.shape
    assert not torch.allclose(batch.readings["visual_polarity"], own)
    assert data.split("val").__getitems__([0]).readings == {}


def test_posterior_alone_has_nothing_left_to_learn() -> None:
    data = figure_clips(1)
    trained = fitted(model(POSTERIOR, data), data, settings(1))
    assert trained.classifier.counts()["trainable"] == 0
    assert len(trained.history) == 1
    assert score(trained.classifier, data) > 0.65


def test_without_polarity_labels_it_stands_on_readers_of_all_figures() -> None:
    data = figure_clips(2, labelled=False, dependence=0.0)
    values = data.streams["visual"].values[:-1, 0]
    data = ClipData(data.table.assign(incongruent=(values > 0).numpy()), data.streams, data.numbers)
    classifier = model(CROSSMODAL, data, anchor="posterior")
    assert classifier.posterior is None
    assert classifier.anchored == ("incongruent",)
    trained = fitted(classifier, data, settings(2, epochs=1)).classifier
    trained.gates.zero_()
    assert score(trained, data) > 0.9


# -- gates -------------------------------------------------------------------------------------------------------------


def losses(*gains: list[float]) -> torch.Tensor:
    """Of clips under each gate, the first of which loses 1."""
    rows = torch.ones(len(GATES), len(gains[0]))
    for place, gain in enumerate(gains):
        rows[place + 1] -= torch.tensor(gain)
    return rows


def test_the_gate_of_the_largest_gain_is_chosen() -> None:
    steady = [0.1] * 6, [0.2] * 6, [0.3] * 6, [0.1] * 6
    assert choose_gate(losses(*steady), list("abcdef")) == 0.5


def test_a_gain_within_one_standard_error_is_none() -> None:
    # Mean 0.1, standard error 0.22.
    unsteady = [0.6, -0.4, 0.6, -0.4, 0.6, -0.4]
    assert choose_gate(losses(unsteady), list("abcdef")) == 0.0


def test_speakers_and_not_clips_are_counted() -> None:
    """Many clips of one speaker who gains are one speaker's gain."""
    gain = [0.5] * 20 + [-0.1, -0.1, -0.1]
    assert choose_gate(losses(gain), [None] * 23) == 0.1
    assert choose_gate(losses(gain), ["a"] * 20 + ["b", "c", "d"]) == 0.0


def test_one_speaker_says_nothing_and_nobody_neither() -> None:
    assert choose_gate(losses([0.5] * 4), ["a"] * 4) == 0.0
    assert choose_gate(torch.ones(len(GATES), 0), []) == 0.0


# -- the contract of strategies, anchored ------------------------------------------------------------------------------


class Projection(TextEncoder):
    """Stands in for each encoder: a projection of precomputed embeddings."""

    def __init__(self, modality: str) -> None:
        super().__init__(embed_dim=16, dim=16, dropout=0.0)
        self.modality = modality


FUSED = ("incongruent", "vocal_incongruent", "type", "engagement")
POLARITIES = ("visual_polarity", "verbal_polarity", "vocal_polarity")


def anchored(name: str) -> IncongruenceClassifier:
    torch.manual_seed(0)
    return IncongruenceClassifier(
        encoders={m: Projection(m) for m in MODALITIES},
        fusion=strategy(name),
        heads=Heads(
            names=[*FUSED, *POLARITIES], dim=16, reader=ReaderSpec(networks=1), read=dict.fromkeys(MODALITIES, 16)
        ),
        anchor=PosteriorCells(modalities=MODALITIES, dim=16),
    )


def tokens(rows: int = 9, seed: int = 3, absent: bool = True) -> dict[str, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for place, (modality, time) in enumerate(TIMES.items()):
        mask = torch.arange(time) < torch.randint(1, time + 1, (rows,), generator=generator)[:, None]
        if absent:
            mask &= (torch.arange(rows) % 4 != place)[:, None]
        made[modality] = Tokens(torch.randn(rows, time, 16, generator=generator), mask)
    return made


@pytest.mark.parametrize("name", LEARNING)
def test_it_begins_with_the_answer_of_the_cells(name: str) -> None:
    classifier = anchored(name).eval()
    answers = classifier(tokens())
    readings = classifier.read(tokens())
    present = {m: sequence.present for m, sequence in tokens().items()}
    logits = {m: readings[spec.name] for m, spec in classifier.posterior.reads.items()}
    cells = classifier.posterior(logits, present)
    for head in FUSED:
        torch.testing.assert_close(answers[head], cells[head])


@pytest.mark.parametrize("name", LEARNING)
def test_every_parameter_that_learns_gets_a_gradient(name: str) -> None:
    classifier = anchored(name).train()
    # The readouts begin at zero, through which nothing flows back until they have moved.
    for head in FUSED:
        torch.nn.init.normal_(classifier.heads.readouts[HEADS[head].key][-1].weight)
    answers = classifier(tokens())
    fused = [answers[head].square().sum() for head in FUSED]
    sum([*fused, *(loss for key, loss in answers.items() if key.startswith("auxiliary/"))]).backward()
    without = [n for n, p in classifier.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []
    assert all(p.grad is None for reader in classifier.heads.readers.values() for p in reader.parameters())


@pytest.mark.parametrize("name", LEARNING)
def test_padding_and_neighbours_change_nothing(name: str) -> None:
    classifier = anchored(name).eval()
    for head in FUSED:
        torch.nn.init.normal_(classifier.heads.readouts[HEADS[head].key][-1].weight)
    given = tokens()
    whole = classifier(given)
    padded = classifier({m: sequence.padded_to(sequence.mask.shape[1] + 5) for m, sequence in given.items()})
    alone = classifier({m: Tokens(s.values[2:3], s.mask[2:3]) for m, s in given.items()})
    for head in FUSED:
        torch.testing.assert_close(padded[head], whole[head], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone[head], whole[head][2:3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LEARNING)
def test_a_shut_gate_leaves_the_cells(name: str) -> None:
    classifier = anchored(name).eval()
    before = classifier(tokens())
    for head in FUSED:
        torch.nn.init.normal_(classifier.heads.readouts[HEADS[head].key][-1].weight)
    assert not torch.allclose(classifier(tokens())["incongruent"], before["incongruent"])
    classifier.gates.zero_()
    after = classifier(tokens())
    for head in FUSED:
        torch.testing.assert_close(after[head], before[head])


def test_a_batch_without_a_modality_is_answered() -> None:
    classifier = anchored("crossmodal").eval()
    answers = classifier({"text": tokens(absent=False)["text"]})
    assert torch.isfinite(answers["incongruent"]).all()
    assert "visual_polarity" not in answers


def test_it_can_be_exported() -> None:
    classifier = anchored("crossmodal").eval()
    given = tokens(absent=False)

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = classifier

        def forward(self, *parts: torch.Tensor) -> torch.Tensor:
            streams = {m: Tokens(parts[2 * i], parts[2 * i + 1]) for i, m in enumerate(MODALITIES)}
            return self.model(streams)["incongruent"]

    flat = [part for m in MODALITIES for part in (given[m].values, given[m].mask)]
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(Plain().eval(), tuple(flat), dynamic_shapes=(tuple({0: rows} for _ in flat),))
    few = tuple(part[:4] for part in flat)
    for given_parts in (tuple(flat), few):
        torch.testing.assert_close(program.module()(*given_parts), Plain()(*given_parts))


def test_the_loss_falls_where_there_is_more_to_learn() -> None:
    data = figure_clips(3, dependence=0.5)
    history = fitted(model(CONCAT, data, anchor="posterior"), data, settings(3)).history
    assert history["train/loss"].iloc[-1] < history["train/loss"].iloc[0] - 0.02
