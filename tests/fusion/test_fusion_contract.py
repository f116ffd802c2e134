"""Every strategy with a file in conf/fusion, or of an installed plug-in, keeps the same contract."""

import pytest
import torch
from torch import Tensor

from builders.fusion_cases import DIM, FILES, LEARNING, MODALITIES, NAMES, PROMISED, UNKNOWN, batch, make
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.base import Fusion
from subtext.fusion.concat import ConcatFusion
from subtext.fusion.crossmodal import CrossModalFusion

EVIDENT = [name for name in NAMES if name.startswith(("late", "gated", "crossmodal", "bottleneck", "latent"))]
EVIDENT.remove("late, stacking")


def outputs(fusion: Fusion, tokens: dict[str, Tokens]) -> list[Tensor]:
    fused = fusion(tokens)
    return [part for part in (fused.embedding, fused.evidence, fused.opinions) if part is not None]


def assert_same(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def shown(fusion: Fusion, tokens: dict[str, Tokens], name: str) -> Tensor:
    evidence = fusion(tokens).evidence
    if evidence is None and name in UNKNOWN:
        pytest.skip("it shows no evidence")
    return evidence


def without_dropout(fusion: Fusion) -> Fusion:
    """In training mode, but for dropout, which would hide whether a parameter is connected."""
    fusion.train()
    for module in fusion.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return fusion


def test_every_strategy_is_there() -> None:
    assert set(FILES) >= PROMISED


@pytest.mark.parametrize("name", NAMES)
def test_every_subset_of_modalities_gives_a_finite_embedding(name: str) -> None:
    fused = make(name)(batch())
    # Without learning the embedding is the posterior of the cells of three polarities.
    assert fused.embedding.shape == (8, DIM if name in LEARNING else 3**3)
    assert all(torch.isfinite(out).all() for out in outputs(make(name), batch()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", MODALITIES)
def test_a_modality_absent_from_the_whole_batch_may_be_left_out(name: str, missing: str) -> None:
    fusion, tokens = make(name).eval(), batch(subsets=False)
    all_rows = torch.ones(8, dtype=torch.bool)
    masked = outputs(fusion, tokens | {missing: tokens[missing].drop(all_rows)})
    left_out = outputs(fusion, {m: t for m, t in tokens.items() if m != missing})
    assert all(torch.isfinite(out).all() for out in masked)
    assert_same(masked, left_out)


@pytest.mark.parametrize("name", NAMES)
def test_values_under_the_mask_are_never_read(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    spoiled = {m: Tokens(t.values.masked_fill(~t.mask[..., None], 1e4), t.mask) for m, t in tokens.items()}
    assert_same(outputs(fusion, tokens), outputs(fusion, spoiled))


@pytest.mark.parametrize("name", NAMES)
def test_further_padding_changes_nothing(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    padded = {m: t.padded_to(t.mask.shape[1] + 9) for m, t in tokens.items()}
    assert_same(outputs(fusion, tokens), outputs(fusion, padded))


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_mapping_changes_nothing(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    assert_same(outputs(fusion, tokens), outputs(fusion, dict(reversed(tokens.items()))))


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    alone = {m: Tokens(t.values[2:3], t.mask[2:3]) for m, t in tokens.items()}
    assert_same([out[2:3] for out in outputs(fusion, tokens)], outputs(fusion, alone))


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("modalities", [MODALITIES, ("text", "prosody"), ("visual",)])
def test_every_parameter_gets_a_gradient(name: str, modalities: tuple[str, ...]) -> None:
    fusion = without_dropout(make(name, modalities))
    # A row without the only modality is a row without any: it must stay finite, and teaches the absent embedding.
    fused = fusion(batch(rows=16))
    parts = [part for part in (fused.embedding, fused.evidence) if part is not None]
    sum([(part * torch.randn_like(part)).sum() for part in parts] + list(fused.losses.values())).backward()
    for parameter_name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, f"{parameter_name} is not connected"
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().sum() > 0, f"{parameter_name} has a zero gradient"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEARNING])
@pytest.mark.parametrize("modalities", [MODALITIES, ("text", "prosody"), ("visual",)])
def test_what_only_counts_has_no_parameters(name: str, modalities: tuple[str, ...]) -> None:
    assert not list(make(name, modalities).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_absent_tokens_get_no_gradient(name: str) -> None:
    fusion, tokens = make(name), batch()
    for sequence in tokens.values():
        sequence.values.requires_grad_()
    fusion(tokens).embedding.square().sum().backward()
    for sequence in tokens.values():
        assert sequence.values.grad is not None
        assert sequence.values.grad[~sequence.mask].abs().max() == 0
        assert sequence.values.grad[sequence.mask].abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast(name: str) -> None:
    fusion, tokens = make(name).eval(), batch()
    exact = fusion(tokens).embedding
    assert exact.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = fusion(tokens).embedding
        losses = without_dropout(fusion)(tokens).losses
    assert torch.isfinite(rough).all()
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    if name in LEARNING:
        sum([rough.float().sum(), *losses.values()]).backward()
    assert all(torch.isfinite(p.grad).all() for p in fusion.parameters() if p.grad is not None)


class Flat(torch.nn.Module):
    """A fusion that takes and gives plain tensors, as an exported graph must."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, values: dict[str, Tensor], masks: dict[str, Tensor]) -> list[Tensor]:
        return outputs(self.fusion, {m: Tokens(values[m], masks[m]) for m in values})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_exported_for_batches_of_any_size(name: str) -> None:
    def flat(tokens: dict[str, Tokens]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {m: t.values for m, t in tokens.items()}, {m: t.mask for m, t in tokens.items()}

    fusion = make(name).eval()
    rows = torch.export.Dim("rows", min=2, max=512)
    shapes = {m: {0: rows} for m in MODALITIES}
    exported = torch.export.export(Flat(fusion), flat(batch()), dynamic_shapes=(shapes, shapes)).module()
    other = batch(rows=5, seed=3)
    assert_same(list(exported(*flat(other))), outputs(fusion, other))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*EVIDENT, *UNKNOWN)])
def test_strategies_without_weights_show_no_evidence(name: str) -> None:
    assert make(name)(batch()).evidence is None


@pytest.mark.parametrize("name", [*EVIDENT, *UNKNOWN])
def test_evidence_sums_to_one_over_what_is_present(name: str) -> None:
    tokens = batch()
    evidence = shown(make(name), tokens, name)
    present = torch.stack([tokens[m].present for m in MODALITIES], dim=1)
    assert (evidence[~present] == 0).all()
    assert (evidence[present] > 0).all()
    torch.testing.assert_close(evidence.sum(dim=1), torch.ones(8))


@pytest.mark.parametrize("name", [*EVIDENT, *UNKNOWN])
def test_evidence_keeps_the_order_of_the_fusion(name: str) -> None:
    modalities = ("prosody", "visual", "text")
    tokens = batch()
    evidence = shown(make(name, modalities), tokens, name)
    assert torch.equal(evidence > 0, torch.stack([tokens[m].present for m in modalities], dim=1))


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_its_own_come_in_training_only(name: str) -> None:
    fusion, tokens = make(name), batch()
    assert not fusion.eval()(tokens).losses
    losses = fusion.train()(tokens).losses
    expected = {
        "discrepancy, aligned": {"alignment"},
        "shared_private": {"similarity", "difference", "reconstruction"},
        "shared_private, one loss": {"difference"},
    }
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    if name not in UNKNOWN:
        assert set(losses) == expected.get(name, set())
        assert all(loss > 0 for loss in losses.values())


@pytest.mark.parametrize("name", [n for n in NAMES if n in UNKNOWN or n.startswith(("discrepancy", "shared_private"))])
def test_losses_ignore_what_is_absent_or_padded(name: str) -> None:
    fusion, tokens = without_dropout(make(name)), batch()
    expected = fusion(tokens).losses
    changed = {
        m: Tokens(t.values.masked_fill(~t.mask[..., None], 1e4), t.mask).padded_to(20) for m, t in tokens.items()
    }
    # A row with nothing in it is no row.
    empty = {
        m: Tokens(torch.cat([t.values, t.values[:2]]), torch.cat([t.mask, torch.zeros_like(t.mask[:2])]))
        for m, t in changed.items()
    }
    for given in (changed, empty):
        found = fusion(given).losses
        assert_same([found[key] for key in expected], list(expected.values()))


@pytest.mark.parametrize("name", NAMES)
def test_one_row_of_one_modality_can_be_trained_on(name: str) -> None:
    fusion = without_dropout(make(name))
    tokens = {"text": Tokens(torch.randn(1, 1, DIM), torch.ones(1, 1, dtype=torch.bool))}
    fused = fusion(tokens)
    assert all(torch.isfinite(out).all() for out in outputs(fusion, tokens))
    if name in LEARNING:
        sum([fused.embedding.sum(), *fused.losses.values()]).backward()
    assert all(torch.isfinite(p.grad).all() for p in fusion.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_depends_on_every_modality(name: str) -> None:
    fusion, tokens, other = make(name).eval(), batch(subsets=False), batch(seed=2, subsets=False)
    before = fusion(tokens).embedding
    for modality in MODALITIES:
        changed = fusion(tokens | {modality: other[modality]}).embedding
        assert (changed - before).abs().amax(dim=1).min() > 1e-4, modality


def test_repeated_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        ConcatFusion(modalities=("text", "text"), dim=DIM)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fusion.heads=3.*width of the encoders' tokens, 16"):
        CrossModalFusion(modalities=("text",), dim=DIM, heads=3)


def test_a_batch_of_other_modalities_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the modalities"):
        make("concat", ("text",))({"visual": batch()["visual"]})
