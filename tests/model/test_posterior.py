"""The fusion that learns nothing: its formula by hand, against the control from tables, in training and from a run."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from builders.fusion_cases import DIM, batch, strategy, targets
from builders.prediction_tables import labelled_clips
from builders.tiny_runs import changed, settings, write_corpus
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.evaluation.controls import posterior_product
from subtext.labels import (
    EMOTIONS,
    INCONGRUENCE_TYPES,
    MODALITIES,
    POLARITY_COLUMN,
    POLARITY_NAMES,
    IncongruenceRule,
    derive_labels,
)
from subtext.model.batches import Batch
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import HEADS, Heads
from subtext.model.posterior import PosteriorCells
from subtext.model.task import IncongruenceTask
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


def labels_of(table: pd.DataFrame) -> dict[str, Tensor]:
    return {name: spec.targets(table) for name, spec in HEADS.items()}


def said(values: list[list[float]], present: list[bool] | None = None) -> Tokens:
    """Polarity logits, one position a row."""
    there = torch.tensor([True] * len(values) if present is None else present)
    return Tokens(torch.tensor(values)[:, None, :], there[:, None])


def answers_of(cells: PosteriorCells, tokens: dict[str, Tokens]) -> dict[str, Tensor]:
    """What the cells answer to logits at one position a row."""
    return cells({m: said.mean() for m, said in tokens.items()}, {m: said.present for m, said in tokens.items()})


def weights_of(cells: PosteriorCells, tokens: dict[str, Tokens]) -> Tensor:
    return cells.weigh({m: said.mean() for m, said in tokens.items()}, {m: said.present for m, said in tokens.items()})


def test_an_example_by_hand() -> None:
    """Ten clips: words and face both negative 4, negative with a smile 4, both positive 2."""
    table = pd.DataFrame({"verbal_polarity": [-1] * 8 + [1] * 2, "visual_polarity": [-1] * 4 + [1] * 6})
    table["engagement"] = [10.0] * 4 + [20.0] * 4 + [30.0] * 2
    fusion = PosteriorCells(modalities=("visual", "text"), dim=DIM)
    fusion.fit(labels_of(derive_labels(table)))
    face, words = [0.2, 0.0, 0.8], [0.9, 0.0, 0.1]
    tokens = {
        "visual": said([np.log(np.add(face, 1e-9)).tolist()]),
        "text": said([np.log(np.add(words, 1e-9)).tolist()]),
    }
    # Shares of the cells times posteriors over marginals: face .4 negative and .6 positive, words .8 and .2.
    both_negative = 0.4 * (0.2 / 0.4) * (0.9 / 0.8)
    masking = 0.4 * (0.8 / 0.6) * (0.9 / 0.8)
    both_positive = 0.2 * (0.8 / 0.6) * (0.1 / 0.2)
    total = both_negative + masking + both_positive
    answers = answers_of(fusion, tokens)
    assert float(answers["incongruent"].sigmoid()) == pytest.approx(masking / total, abs=1e-5)
    kinds = answers["type"].softmax(dim=1)[0]
    assert float(kinds[INCONGRUENCE_TYPES.index("masking")]) == pytest.approx(masking / total, abs=1e-5)
    assert float(kinds[INCONGRUENCE_TYPES.index("congruent")]) == pytest.approx(1 - masking / total, abs=1e-5)
    mean = (10 * both_negative + 20 * masking + 30 * both_positive) / total
    assert float(answers["engagement"]) == pytest.approx(mean, abs=1e-4)


def test_absent_modalities_have_their_marginals_and_nothing_at_all_the_label_its_share() -> None:
    table = pd.DataFrame({"verbal_polarity": [-1] * 8 + [1] * 2, "visual_polarity": [-1] * 4 + [1] * 6})
    fusion = PosteriorCells(modalities=("visual", "text"), dim=DIM)
    fusion.fit(labels_of(derive_labels(table)))
    logits = np.log([0.2, 1e-9, 0.8]).tolist()
    tokens = {
        "visual": said([logits, logits], [True, False]),
        "text": said([[9.0, 0.0, -9.0]] * 2, [False, False]),
    }
    shares = answers_of(fusion, tokens)["incongruent"].sigmoid()
    # P(incongruent | face) = P(negative words | smiling face) * P(smiling face), and of all clips 4 in 10.
    torch.testing.assert_close(shares, torch.tensor([4 / 6 * 0.8, 0.4]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", ["incongruent", "vocal_incongruent"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_it_is_the_control_from_tables(target: str, calibrated: bool) -> None:
    table = labelled_clips(train=500, val=300, test=300, seed=4)
    rng = np.random.default_rng(0)
    names = {m: [f"prob_{POLARITY_COLUMN[m]}_{name}" for name in POLARITY_NAMES] for m in MODALITIES}
    for columns in names.values():  # posteriors that are neither calibrated nor of the right prior
        logits = 1.5 * np.log(table[columns].to_numpy() + 1e-9) + rng.normal(0, 1, 3)
        table[columns] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table.loc[5::40, [column for columns in names.values() for column in columns]] = np.nan
    if not calibrated:
        table.loc[table["split"] == "val", list(POLARITY_COLUMN.values())] = pd.NA
    expected = posterior_product(table, target)

    fusion = PosteriorCells(modalities=MODALITIES, dim=DIM)
    fusion.fit(labels_of(table[table["split"] == "train"]))
    logits = {m: torch.from_numpy(np.log(table[names[m]].to_numpy())).float() for m in MODALITIES}
    there = {m: ~values.isnan().any(dim=1) for m, values in logits.items()}
    val = torch.tensor((table["split"] == "val").tolist())
    labels = {
        m: HEADS[column].targets(table).masked_fill(~there[m], torch.nan) for m, column in POLARITY_COLUMN.items()
    }
    fusion.calibrate({m: v[val] for m, v in logits.items()}, {m: v[val] for m, v in labels.items()})
    assert bool((fusion.temperatures != 1).all()) is calibrated
    tokens = {m: Tokens(logits[m].nan_to_num(0)[:, None], there[m][:, None]) for m in MODALITIES}
    found = answers_of(fusion, tokens)[target].sigmoid()
    np.testing.assert_allclose(found.numpy(), expected.to_numpy(), atol=2e-4)


@pytest.mark.parametrize("counted", [True, False])
def test_the_cells_are_the_active_rule(counted: bool) -> None:
    rule = IncongruenceRule(count_unvoiced_warmth=counted)
    table = pd.DataFrame(
        [(v, f) for v in (-1, 0, 1) for f in (-1, 0, 1)], columns=["verbal_polarity", "visual_polarity"]
    )
    fusion = PosteriorCells(modalities=("text", "visual"), dim=DIM)
    fusion.fit(labels_of(derive_labels(table, rule)))
    assert torch.equal(fusion.in_cell("incongruent").view(3, 3).bool(), torch.from_numpy(rule.matrix()))


def test_voice_against_face_where_words_have_no_labels() -> None:
    """As in ravdess_swap: which pair a label is about follows from the training labels alone."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"visual_polarity": rng.integers(-1, 2, 90), "vocal_polarity": rng.integers(-1, 2, 90)})
    table["incongruent"] = table["visual_polarity"] != table["vocal_polarity"]
    fusion = PosteriorCells(modalities=MODALITIES, dim=DIM)
    fusion.fit(labels_of(table))
    agree, differ = [9.0, 0.0, -9.0], [-9.0, 0.0, 9.0]
    tokens = {
        "visual": said([agree, agree]),
        "prosody": said([agree, differ]),
        "text": said([agree, agree], [False] * 2),
    }
    assert (answers_of(fusion, tokens)["incongruent"] > 0).tolist() == [False, True]


def emotional(values: dict[str, float]) -> Tokens:
    """Emotion logits of one row, from probabilities."""
    return said([np.log([values.get(name, 0.0) + 1e-9 for name in EMOTIONS]).tolist()])


def two_emotions(*heads: str, **settings: object) -> PosteriorCells:
    """Ten clips of face and voice: both sad 4, sad with an angry voice 4, both angry 2. All of them are negative."""
    table = pd.DataFrame(
        {"visual_emotion": ["sadness"] * 8 + ["angry"] * 2, "vocal_emotion": ["sad"] * 4 + ["anger"] * 6}
    )
    table["incongruent"] = [False] * 4 + [True] * 4 + [False] * 2
    table["engagement"] = [10.0] * 4 + [20.0] * 4 + [30.0] * 2
    table["visual_polarity"] = table["vocal_polarity"] = -1
    fusion = PosteriorCells(modalities=("visual", "prosody"), dim=DIM, **settings)
    fusion.choose_cells(heads)
    fusion.fit(labels_of(table))
    return fusion


def test_an_example_of_emotions_by_hand() -> None:
    fusion = two_emotions("visual_emotion", "vocal_emotion")
    tokens = {
        "visual": emotional({"sad": 0.5, "angry": 0.5}),
        "prosody": emotional({"sad": 0.3, "angry": 0.6, "surprised": 0.1}),  # surprise stands in no training clip
    }
    # Shares of the cells times posteriors over marginals: face .8 sad and .2 angry, voice .4 and .6.
    both_sad = 0.4 * (0.5 / 0.8) * (0.3 / 0.4)
    differ = 0.4 * (0.5 / 0.8) * (0.6 / 0.6)
    both_angry = 0.2 * (0.5 / 0.2) * (0.6 / 0.6)
    total = both_sad + differ + both_angry
    answers = answers_of(fusion, tokens)
    assert float(answers["incongruent"].sigmoid()) == pytest.approx(differ / total, abs=1e-5)
    mean = (10 * both_sad + 20 * differ + 30 * both_angry) / total
    assert float(answers["engagement"]) == pytest.approx(mean, abs=1e-4)
    cells = weights_of(fusion, tokens).view(len(EMOTIONS), len(EMOTIONS))
    assert float(cells[EMOTIONS.index("sad"), EMOTIONS.index("angry")]) == pytest.approx(differ / total, abs=1e-5)
    assert int((cells > 0).sum()) == 3
    alone = answers_of(fusion, {"prosody": tokens["prosody"]})["incongruent"].sigmoid()
    # P(incongruent | voice) = P(sad face | angry voice) * P(angry voice | sad or angry voice).
    assert float(alone) == pytest.approx(4 / 6 * 0.6 / 0.9, abs=1e-5)


def test_polarities_cannot_tell_negative_emotions_apart() -> None:
    fusion = two_emotions()
    tokens = {m: said([[5.0, 0.0, -5.0]]) for m in fusion.modalities}
    assert float(answers_of(fusion, tokens)["incongruent"].sigmoid()) == pytest.approx(0.4, abs=1e-5)


def test_one_modality_may_have_emotions_and_another_polarities() -> None:
    table = pd.DataFrame({"visual_emotion": ["sad", "angry", "happy", "happy"], "vocal_polarity": [-1, 0, 1, 1]})
    table["incongruent"] = [False, True, False, False]
    fusion = PosteriorCells(modalities=("visual", "prosody"), dim=DIM)
    fusion.choose_cells(["visual_emotion", "vocal_polarity"])
    fusion.fit(labels_of(table))
    rows = torch.tensor([EMOTIONS.index("sad"), EMOTIONS.index("happy")] * 10)
    noise = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    fusion.calibrate({"visual": noise}, {"visual": rows.float()})
    assert fusion.biases.shape == (2, 9)
    assert not bool(fusion.biases[1].any())
    tokens = {"visual": emotional({"angry": 0.9, "happy": 0.1}), "prosody": said([[-9.0, 9.0, -9.0]])}
    assert weights_of(fusion, tokens).shape == (1, 27)
    assert float(answers_of(fusion, tokens)["incongruent"]) > 0


@pytest.mark.parametrize(
    ("cells", "heads", "face", "voice"),
    [
        ("auto", (), "visual_polarity", "vocal_polarity"),
        ("auto", ("visual_emotion", "visual_polarity", "vocal_polarity"), "visual_emotion", "vocal_polarity"),
        ("polarity", ("visual_emotion", "vocal_emotion"), "visual_polarity", "vocal_polarity"),
        ("emotion", ("visual_emotion",), "visual_emotion", "vocal_emotion"),
    ],
)
def test_what_the_cells_are_made_of(cells: str, heads: tuple[str, ...], face: str, voice: str) -> None:
    fusion = PosteriorCells(modalities=("visual", "prosody"), dim=DIM, cells=cells)
    fusion.choose_cells(heads)
    assert {m: spec.name for m, spec in fusion.reads.items()} == {"visual": face, "prosody": voice}
    assert len(fusion.cells) == (9 if "emotion" in face else 3) * (9 if "emotion" in voice else 3)
    assert float(fusion.marginals.sum(dim=1).min()) == pytest.approx(1)


def test_cells_of_anything_else_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cells is 'mood'; write auto, polarity or emotion"):
        PosteriorCells(modalities=("text",), dim=DIM, cells="mood")


def test_smoothing_adds_clips_of_independent_modalities() -> None:
    table = pd.DataFrame({"verbal_polarity": [-1] * 8 + [1] * 2, "visual_polarity": [-1] * 4 + [1] * 6})
    fusion = PosteriorCells(modalities=("text", "visual"), dim=DIM, smoothing=5.0)
    fusion.fit(labels_of(derive_labels(table)))
    cells = fusion.cells.view(3, 3)
    assert float(cells.sum()) == pytest.approx(1)
    # Positive words with a negative face stand in no clip: 5 * .2 * .4 clips of 15, of which 4 in 10 are incongruent.
    assert float(cells[2, 0]) == pytest.approx(0.4 / 15)
    assert float(fusion.in_cell("incongruent").view(3, 3)[2, 0]) == pytest.approx(0.4)
    # Negative words with a smile: 4 incongruent clips and 5 * .8 * .6 = 2.4 others with 4 in 10.
    assert float(fusion.in_cell("incongruent").view(3, 3)[0, 2]) == pytest.approx((4 + 2.4 * 0.4) / 6.4)


def test_labels_that_no_cell_is_sure_of_and_certain_ones_stay_finite() -> None:
    fusion = strategy("posterior")
    tokens = {m: said([[200.0, -200.0, -200.0]] * 2) for m in MODALITIES}
    answers = answers_of(fusion, tokens)
    assert all(bool(torch.isfinite(values).all()) for values in answers.values())
    assert float(answers["incongruent"].max()) <= 30


def test_without_clips_that_carry_all_polarities_it_says_so() -> None:
    fusion = PosteriorCells(modalities=("text", "visual"), dim=DIM)
    with pytest.raises(ConfigError, match="no training clip carries verbal_polarity and visual_polarity"):
        fusion.fit(labels_of(pd.DataFrame({"incongruent": [True, False]})))
    apart = pd.DataFrame({"verbal_polarity": [-1, pd.NA], "visual_polarity": [pd.NA, 1]}, dtype="Int64")
    with pytest.raises(ConfigError, match="switch off the encoder"):
        fusion.fit(labels_of(apart))
    with pytest.raises(ConfigError, match="smoothing"):
        PosteriorCells(modalities=("text",), dim=DIM, smoothing=-1.0)


def test_answers_are_differentiable_by_the_logits_of_those_that_are_present() -> None:
    cells = strategy("posterior")
    logits = {m: torch.zeros(2, 3, requires_grad=True) for m in MODALITIES}
    there = {m: torch.tensor([True, m != "text"]) for m in MODALITIES}
    answers = cells(logits, there)
    sum(answer.sum() for answer in answers.values()).backward()
    for modality, given in logits.items():
        assert given.grad is not None
        assert torch.isfinite(given.grad).all()
        assert (given.grad.abs().sum(dim=1) > 0).tolist() == there[modality].tolist()


# -- with encoders and heads around it


class Projection(TextEncoder):
    def __init__(self, modality: str) -> None:
        super().__init__(embed_dim=DIM, dim=DIM, dropout=0.0)
        self.modality = modality


def classifier(*heads: str, cells: str = "auto") -> IncongruenceClassifier:
    torch.manual_seed(0)
    return IncongruenceClassifier(
        encoders={m: Projection(m) for m in MODALITIES},
        fusion=PosteriorCells(modalities=MODALITIES, dim=DIM, cells=cells),
        heads=Heads(names=heads, dim=DIM, dropout=0.0),
    )


def test_polarity_heads_learn_from_polarities_alone() -> None:
    labels = targets(rows=16)
    given = Batch(batch(rows=16), labels, torch.arange(16))
    gradients = []
    for weight in (0.0, 100.0):
        model = classifier("incongruent", "type", *POLARITY_COLUMN.values())
        task = IncongruenceTask(
            classifier=model,
            targets=labels,
            optimizer=partial(torch.optim.Adam, lr=0.01),
            head_weights={"incongruent": weight, "type": weight},
        )
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
        task.train().training_step(given, 0).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_clips_learned_by_heart_have_the_labels_of_their_cells() -> None:
    """What other fusions do with any labels this one does with those that follow from polarities, and no others."""
    tokens = batch(rows=32, seed=5, subsets=False)
    directions = torch.randn(3, DIM, 3, generator=torch.Generator().manual_seed(0))
    polarities = {
        POLARITY_COLUMN[m]: (tokens[m].mean() @ directions[k]).argmax(1) - 1 for k, m in enumerate(MODALITIES)
    }
    labels = labels_of(derive_labels(pd.DataFrame({name: values.numpy() for name, values in polarities.items()})))
    model = classifier("incongruent", "vocal_incongruent", "type", *POLARITY_COLUMN.values())
    model.fit_targets(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        answers = model(model.embed(tokens))
        losses = [
            torch.nn.functional.cross_entropy(answers[name], labels[name].long()) for name in POLARITY_COLUMN.values()
        ]
        sum(losses).backward()
        optimizer.step()
    answers = model.eval()(model.embed(tokens))
    assert torch.equal(answers["incongruent"] > 0, labels["incongruent"].bool())
    assert torch.equal(answers["vocal_incongruent"] > 0, labels["vocal_incongruent"].bool())
    assert torch.equal(answers["type"].argmax(dim=1), labels["type"].long())


def test_a_modality_without_a_polarity_head_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    model = classifier("incongruent", "verbal_polarity", "visual_polarity")
    model.fit_targets(targets())
    assert "does not use prosody" in caplog.text
    assert not any(parameter.requires_grad for parameter in model.encoder("prosody").parameters())
    tokens, other = batch(subsets=False), batch(seed=2, subsets=False)
    before = model.eval()(model.embed(tokens))["incongruent"]
    assert torch.equal(model(model.embed(tokens | {"prosody": other["prosody"]}))["incongruent"], before)
    alone = model(model.embed({"prosody": tokens["prosody"]}))["incongruent"].sigmoid()
    torch.testing.assert_close(alone, targets()["incongruent"].mean().expand(8))


def test_an_emotion_head_that_the_cells_leave_out_learns_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    model = classifier("incongruent", "verbal_polarity", "visual_polarity", "vocal_emotion", cells="polarity")
    model.fit_targets(targets())
    assert "does not use prosody, which has no head vocal_polarity" in caplog.text
    assert "does not learn" not in caplog.text
    assert all(parameter.requires_grad for parameter in model.encoder("prosody").parameters())
    tokens, other = batch(subsets=False), batch(seed=2, subsets=False)
    given, mixed = model.eval()(model.embed(tokens)), model(model.embed(tokens | {"prosody": other["prosody"]}))
    assert torch.equal(given["incongruent"], mixed["incongruent"])
    assert not torch.allclose(given["vocal_emotion"], mixed["vocal_emotion"])


def test_without_any_polarity_head_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="add visual_emotion or verbal_emotion or vocal_emotion"):
        classifier("incongruent", *POLARITY_COLUMN.values(), cells="emotion")
    with pytest.raises(ConfigError, match="add visual_polarity or verbal_polarity or vocal"):
        classifier("incongruent")


def test_hidden_modalities_are_hidden_from_it() -> None:
    model = classifier("incongruent", *POLARITY_COLUMN.values())
    model.fit_targets(targets())
    tokens = batch(subsets=False)
    embedded = model.eval().embed(tokens)
    hidden = {"text": torch.ones(8, dtype=torch.bool)}
    without = model({m: t for m, t in embedded.items() if m != "text"})["incongruent"]
    torch.testing.assert_close(model(embedded, hidden)["incongruent"], without)
    assert not torch.allclose(model(embedded)["incongruent"], without)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posterior")
    base = settings(folder, write_corpus(folder / "corpus"), class_weights="balanced", label_smoothing=0.1)
    node = {"_target_": "subtext.model.posterior.PosteriorCells", "smoothing": 0.0}
    chosen = changed(base, fusion=node, controls=["text", "posterior_product", "shuffled"])
    train(chosen, folder / "run")
    return folder / "run"


def test_a_run_says_what_its_control_says(run: Path) -> None:
    """As far as forty validation clips go, which clear voices separate: the control calibrates what was calibrated."""
    controls = pd.read_parquet(run / "controls.parquet")
    control = controls[controls["control"] == "posterior_product"].set_index("id")["prob_incongruent"]
    predictions = pd.read_parquet(run / "predictions.parquet").set_index("id")
    assert predictions["logit_incongruent"].corr(control, method="spearman") > 0.98
    differences = (1 / (1 + np.exp(-predictions["logit_incongruent"])) - control).abs()
    assert differences.median() < 0.01
    assert set(controls["control"]) == {"text", "posterior_product", "shuffled"}


def test_a_run_keeps_cells_and_calibration_with_its_weights(run: Path) -> None:
    fusion = RunFolder(run).classifier().posterior
    assert fusion is not None
    assert fusion.modalities == ("text", "prosody")
    assert (fusion.temperatures != 1).all()
    assert (fusion.cells > 0).sum() >= 5
    assert not any("incongruent_head" in name for name in RunFolder(run).classifier().state_dict())
    assert RunFolder(run).model()["fusion"]["smoothing"] == 0.0
