"""Every strategy with a file in conf/fusion keeps the same contract."""

import itertools
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.base import Fusion
from subtext.fusion.concat import ConcatFusion
from subtext.fusion.crossmodal import CrossModalFusion

CONF = Path(__file__).resolve().parents[2] / "conf" / "fusion"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")
MODALITIES = ("visual", "text", "prosody")
DIM = 16
TIMES = {"visual": 7, "text": 1, "prosody": 12}


def make(name: str, modalities: tuple[str, ...] = MODALITIES) -> Fusion:
    torch.manual_seed(0)
    config = OmegaConf.load(CONF / f"{name}.yaml")
    return instantiate(config, modalities=modalities, dim=DIM)


def batch(rows: int = 8, seed: int = 1, subsets: bool = True) -> dict[str, Tokens]:
    """Ragged random tokens; with `subsets`, row k lacks the modalities that its number says."""
    generator = torch.Generator().manual_seed(seed)
    choices = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
    tokens = {}
    for modality, time in TIMES.items():
        lengths = torch.randint(1, time + 1, (rows,), generator=generator)
        mask = torch.arange(time) < lengths[:, None]
        if subsets:
            mask &= torch.tensor([modality in choices[row % len(choices)] for row in range(rows)])[:, None]
        values = torch.randn(rows, time, DIM, generator=generator)
        tokens[modality] = Tokens(values, mask)
    return tokens


def outputs(fusion: Fusion, tokens: dict[str, Tokens]) -> list[Tensor]:
    fused = fusion(tokens)
    return [fused.embedding] + ([] if fused.evidence is None else [fused.evidence])


def assert_same(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_both_strategies_of_this_release_are_there() -> None:
    assert {"concat", "crossmodal"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_subset_of_modalities_gives_a_finite_embedding(name: str) -> None:
    fused = make(name)(batch())
    assert fused.embedding.shape == (8, DIM)
    assert torch.isfinite(fused.embedding).all()


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modalities", [MODALITIES, ("text", "prosody"), ("visual",)])
def test_every_parameter_gets_a_gradient(name: str, modalities: tuple[str, ...]) -> None:
    fusion = make(name, modalities)
    fusion.eval()  # dropout would hide whether a parameter is connected
    tokens = batch(rows=16)
    # A row without the only modality is a row without any: it must stay finite, and teaches the absent embedding.
    sum((out * torch.randn_like(out)).sum() for out in outputs(fusion, tokens)).backward()
    for parameter_name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, f"{parameter_name} is not connected"
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().sum() > 0, f"{parameter_name} has a zero gradient"


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
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = fusion(tokens).embedding
    assert torch.isfinite(rough).all()
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    rough.float().sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_evidence_sums_to_one_over_what_is_present(name: str) -> None:
    tokens = batch()
    evidence = make(name)(tokens).evidence
    if evidence is None:
        pytest.skip(f"{name} has no evidence weights")
    present = torch.stack([tokens[m].present for m in MODALITIES], dim=1)
    assert (evidence[~present] == 0).all()
    assert (evidence[present] > 0).all()
    torch.testing.assert_close(evidence.sum(dim=1), torch.ones(8))


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
    with pytest.raises(ConfigError, match=r"fusion.heads=3.*dim=16"):
        CrossModalFusion(modalities=("text",), dim=DIM, heads=3)


def test_a_batch_of_other_modalities_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the modalities"):
        make("concat", ("text",))({"visual": batch()["visual"]})
