"""Encoders, fusion and heads put together."""

import pandas as pd
import pytest
import torch
from torch import Tensor

from subtext.encoders.prosody import ProsodyEncoder
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.concat import ConcatFusion
from subtext.fusion.crossmodal import CrossModalFusion
from subtext.labels import INCONGRUENCE_TYPES
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import HEADS, Heads

DIM = 16
FUSED = ["incongruent", "vocal_incongruent", "type", "engagement"]


class FaceEncoder(TextEncoder):
    """Stands in for the visual encoder: a projection of precomputed embeddings."""

    modality = "visual"


def make(heads: list[str], fusion: type | None = CrossModalFusion) -> IncongruenceClassifier:
    torch.manual_seed(0)
    encoders = {
        "visual": FaceEncoder(embed_dim=5, dim=DIM, dropout=0.0),
        "text": TextEncoder(embed_dim=7, dim=DIM, dropout=0.0),
        "prosody": ProsodyEncoder(input_dim=4, channels=8, layers=1, trainable=True, dim=DIM, dropout=0.0),
    }
    return IncongruenceClassifier(
        encoders=encoders,
        fusion=None if fusion is None else fusion(modalities=list(encoders), dim=DIM),
        heads=Heads(names=heads, dim=DIM),
    )


def streams(rows: int = 6, seed: int = 0) -> dict[str, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for modality, (time, width) in {"visual": (4, 5), "text": (1, 7), "prosody": (30, 4)}.items():
        lengths = torch.randint(1, time + 1, (rows,), generator=generator)
        mask = torch.arange(time) < lengths[:, None]
        out[modality] = Tokens(torch.randn(rows, time, width, generator=generator), mask)
    return out


def test_every_head_answers_in_its_shape() -> None:
    classifier = make(list(HEADS)).eval()
    answers = classifier(classifier.embed(streams()))
    shapes = {name: tuple(answer.shape) for name, answer in answers.items()}
    assert shapes == {
        "incongruent": (6,),
        "vocal_incongruent": (6,),
        "type": (6, len(INCONGRUENCE_TYPES)),
        "visual_polarity": (6, 3),
        "verbal_polarity": (6, 3),
        "vocal_polarity": (6, 3),
        "visual_emotion": (6, 9),
        "verbal_emotion": (6, 9),
        "vocal_emotion": (6, 9),
        "engagement": (6,),
        "evidence": (6, 3),
    }


@pytest.mark.parametrize("fusion", [CrossModalFusion, ConcatFusion])
def test_padding_further_changes_no_answer(fusion: type) -> None:
    classifier = make(list(HEADS), fusion).eval()
    given = streams()
    given["text"] = given["text"].drop(torch.arange(6) == 2)
    longer = {m: t.padded_to(t.mask.shape[1] + 11) for m, t in given.items()}
    first, second = (classifier(classifier.embed(s)) for s in (given, longer))
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=0)


def test_a_polarity_is_told_from_its_own_modality_alone() -> None:
    classifier = make(list(HEADS)).eval()
    before, other = streams(), streams(seed=1)
    first = classifier(classifier.embed(before))
    second = classifier(classifier.embed(other | {"text": before["text"]}))
    torch.testing.assert_close(first["verbal_polarity"], second["verbal_polarity"])
    assert not torch.allclose(first["visual_polarity"], second["visual_polarity"])
    assert not torch.allclose(first["incongruent"], second["incongruent"])


def test_hidden_modalities_are_hidden_from_the_fusion_only() -> None:
    classifier = make(list(HEADS)).eval()
    given = streams()
    embedded = classifier.embed(given)
    rows = torch.arange(6) < 3
    hidden = classifier(embedded, {"visual": rows})
    absent = classifier(classifier.embed(given | {"visual": given["visual"].drop(rows)}))
    shown = classifier(embedded)
    torch.testing.assert_close(hidden["incongruent"], absent["incongruent"])
    torch.testing.assert_close(hidden["visual_polarity"], shown["visual_polarity"])
    assert not torch.allclose(hidden["incongruent"][rows], shown["incongruent"][rows])


def test_a_batch_may_lack_a_modality() -> None:
    classifier = make(list(HEADS)).eval()
    given = streams()
    del given["visual"]
    answers = classifier(classifier.embed(given))
    assert "visual_polarity" not in answers
    assert torch.isfinite(answers["incongruent"]).all()
    assert (answers["evidence"][:, 0] == 0).all()


def test_every_trainable_parameter_gets_a_gradient() -> None:
    classifier = make(list(HEADS))
    given = streams(rows=12)
    # Each modality is there in some rows and absent in others, for what stands in its place.
    given = {m: t.drop(torch.arange(12) % 4 == place) for place, (m, t) in enumerate(given.items())}
    answers = classifier(classifier.embed(given))
    torch.manual_seed(1)
    sum((answer * torch.randn_like(answer)).sum() for answer in answers.values()).backward()
    for name, parameter in classifier.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_without_fusion_only_polarities_can_be_asked() -> None:
    classifier = make(["visual_polarity", "vocal_polarity"], None)
    assert set(classifier(classifier.embed(streams()))) == {"visual_polarity", "vocal_polarity"}
    with pytest.raises(ConfigError, match="without a fusion"):
        make(["incongruent"], None)


def test_parts_that_do_not_fit_are_refused() -> None:
    text = TextEncoder(embed_dim=7, dim=DIM)
    narrow = FaceEncoder(embed_dim=5, dim=8)
    heads = Heads(names=["verbal_polarity"], dim=DIM)
    with pytest.raises(ConfigError, match=r"encoder.visual.dim=8, encoder.text.dim=16"):
        IncongruenceClassifier(encoders={"visual": narrow, "text": text}, fusion=None, heads=heads)
    with pytest.raises(ConfigError, match=r"needs encoder/prosody"):
        IncongruenceClassifier(encoders={"text": text}, fusion=None, heads=Heads(names=["vocal_polarity"], dim=DIM))
    with pytest.raises(ConfigError, match="no encoder"):
        IncongruenceClassifier(encoders={}, fusion=None, heads=heads)


def test_heads_are_checked() -> None:
    with pytest.raises(ConfigError, match="no head 'irony'"):
        Heads(names=["irony"], dim=DIM)
    with pytest.raises(ConfigError, match="only once"):
        Heads(names=["type", "type"], dim=DIM)
    assert Heads(names=["type", "incongruent"], dim=DIM).names == ("incongruent", "type")


def test_labels_become_targets() -> None:
    table = pd.DataFrame(
        {
            "incongruent": pd.array([True, False, None], dtype="boolean"),
            "incongruence_type": pd.array(["masking", None, "congruent"], dtype="string"),
            "visual_polarity": pd.array([-1, 1, None], dtype="Int64"),
            "engagement": [0.5, None, 2.0],
        }
    )

    def values(name: str) -> list[float]:
        return [-9.0 if v != v else v for v in HEADS[name].targets(table).tolist()]

    assert values("incongruent") == [1, 0, -9]
    assert values("type") == [2, -9, 0]
    assert values("visual_polarity") == [0, 2, -9]
    assert values("engagement") == [0.5, -9, 2]
    assert values("verbal_polarity") == [-9, -9, -9]
    with pytest.raises(
        ConfigError, match="row 2, column 'incongruence_type': no class that the head 'type' knows; "
    ) as e:
        HEADS["type"].targets(pd.DataFrame({"incongruence_type": ["masking", "irony"]}))
    assert "use one of congruent, minimizing" in str(e.value)
    assert "irony" not in str(e.value)


def test_a_number_is_answered_in_the_units_of_its_labels() -> None:
    heads = Heads(names=["engagement"], dim=DIM)
    heads.fit_scales({"engagement": torch.tensor([100.0, 120.0, torch.nan])})
    torch.nn.init.zeros_(heads.readouts["engagement_head"][2].weight)
    torch.nn.init.zeros_(heads.readouts["engagement_head"][2].bias)
    assert heads(torch.randn(2, DIM), {})["engagement"].tolist() == [110, 110]
    assert float(heads.scale("engagement")) == 10


def test_counts_and_operations() -> None:
    classifier = make(FUSED)
    counts = classifier.counts()
    assert counts["frozen"] == 0
    assert counts["trainable"] == sum(p.numel() for p in classifier.parameters())

    def operations(time: int) -> int:
        given = {"text": Tokens(torch.zeros(1, time, 7), torch.ones(1, time, dtype=torch.bool))}
        return classifier.flops(given)

    # A projection of 7 to 16 alone is 2 x 7 x 16 operations a step; a longer clip costs more.
    assert operations(2) - operations(1) > 2 * 7 * 16
    assert classifier.training


def test_the_default_model_is_light() -> None:
    encoders = {
        "visual": FaceEncoder(embed_dim=1280),
        "text": TextEncoder(),
        "prosody": ProsodyEncoder(input_dim=24, trainable=True),
    }
    classifier = IncongruenceClassifier(
        encoders=encoders,
        fusion=CrossModalFusion(modalities=list(encoders), dim=128),
        heads=Heads(names=list(HEADS), dim=128),
    )
    assert classifier.counts()["trainable"] < 2e6


def test_bfloat16_autocast_runs_forwards_and_backwards() -> None:
    classifier = make(list(HEADS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers: dict[str, Tensor] = classifier(classifier.embed(streams()))
        loss = sum(answer.float().square().mean() for answer in answers.values())
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters() if p.grad is not None)
