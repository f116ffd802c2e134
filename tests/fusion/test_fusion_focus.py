"""Where along the tokens the evidence lies, of the strategies that attend along time."""

import pytest
import torch

from builders.fusion_cases import DIM, MODALITIES, NAMES, UNKNOWN, batch, make
from subtext.encoders.tokens import Tokens
from subtext.fusion.crossmodal import CrossModalFusion
from subtext.fusion.latent import LatentFusion

FOCUSED = [name for name in NAMES if name.startswith(("crossmodal", "latent"))]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*FOCUSED, *UNKNOWN)])
def test_others_have_none(name: str) -> None:
    assert make(name).eval()(batch()).focus is None


@pytest.mark.parametrize("name", [*FOCUSED, *UNKNOWN])
@pytest.mark.parametrize("modalities", [MODALITIES, ("prosody", "visual"), ("text",)])
def test_it_sums_to_the_evidence_and_is_zero_at_padding(name: str, modalities: tuple[str, ...]) -> None:
    tokens = batch(rows=14)
    fused = make(name, modalities).eval()(tokens)
    if fused.focus is None and name in UNKNOWN:
        pytest.skip("it does not attend along time")
    assert tuple(fused.focus) == modalities
    for place, modality in enumerate(modalities):
        weights, mask = fused.focus[modality], tokens[modality].mask
        assert weights.shape == mask.shape
        assert (weights[~mask] == 0).all()
        there = tokens[modality].present
        assert (weights[mask] > 0).all()
        torch.testing.assert_close(weights.sum(dim=1)[there], fused.evidence[there, place])
    whole = torch.stack([weights.sum(dim=1) for weights in fused.focus.values()]).sum(dim=0)
    anything = torch.stack([tokens[m].present for m in modalities]).any(dim=0)
    torch.testing.assert_close(whole, anything.float())


@pytest.mark.parametrize("name", FOCUSED)
def test_further_padding_adds_zeros_only(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    longer = fusion({m: t.padded_to(t.mask.shape[1] + 5) for m, t in tokens.items()}).focus
    for modality, weights in fusion(tokens).focus.items():
        torch.testing.assert_close(longer[modality][:, :-5], weights)
        assert (longer[modality][:, -5:] == 0).all()


@pytest.mark.parametrize("name", FOCUSED)
def test_a_modality_that_the_batch_lacks_has_none(name: str) -> None:
    tokens = {m: t for m, t in batch(subsets=False).items() if m != "text"}
    focus = make(name).eval()(tokens).focus
    assert (focus["text"] == 0).all()
    torch.testing.assert_close(focus["visual"].sum(dim=1) + focus["prosody"].sum(dim=1), torch.ones(8))


@pytest.mark.parametrize("name", FOCUSED)
def test_training_does_without(name: str) -> None:
    assert make(name).train()(batch()).focus is None


def test_crossmodal_looks_where_its_queries_say() -> None:
    """One query that scores a direction: the token that has it is the one."""
    torch.manual_seed(0)
    fusion = CrossModalFusion(modalities=("prosody",), dim=DIM, queries=1).eval()
    with torch.no_grad():
        for block in fusion.blocks:
            for parameter in block.parameters():
                parameter.zero_()
        fusion.queries.zero_()
        fusion.queries[0, 0] = 50.0
    values = torch.zeros(1, 6, DIM)
    values[0, 3, 0] = 5.0
    focus = fusion({"prosody": Tokens(values, torch.ones(1, 6, dtype=torch.bool))}).focus["prosody"]
    assert focus[0, 3] > 0.99


def test_latents_look_where_their_keys_say() -> None:
    torch.manual_seed(0)
    fusion = LatentFusion(modalities=("text", "prosody"), dim=DIM, heads=1).eval()
    reading = fusion.readings[0]
    with torch.no_grad():
        reading.query.weight.zero_()
        reading.query.bias.zero_()
        reading.query.bias[0] = 100.0
        reading.key_value.weight.zero_()
        reading.key_value.weight[0, 0] = 1.0
        reading.key_value.bias.zero_()
    values = torch.zeros(1, 6, DIM)
    values[0, 4, 0] = 5.0
    mask = torch.ones(1, 6, dtype=torch.bool)
    focus = fusion({"prosody": Tokens(values, mask), "text": Tokens(torch.zeros(1, 1, DIM), mask[:, :1])}).focus
    assert focus["prosody"][0, 4] > 0.99
