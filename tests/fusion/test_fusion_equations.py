"""What the strategies compute, against direct transcriptions of the published equations."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.fusion.base import Fusion
from subtext.fusion.bottleneck import BottleneckFusion
from subtext.fusion.discrepancy import DiscrepancyFusion, contrastive_loss
from subtext.fusion.gated import GatedFusion, GatedUnit
from subtext.fusion.late import LateFusion
from subtext.fusion.latent import LatentFusion
from subtext.fusion.lowrank import LowRankFusion, low_rank_product
from subtext.fusion.shared_private import SharedPrivateFusion, moment_discrepancy, overlap
from subtext.fusion.tensor import TensorFusion, outer_product

MODALITIES = ("visual", "text", "prosody")
DIM = 8


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(rows: int = 6, seed: int = 0) -> dict[str, Tokens]:
    return {
        m: Tokens(random(rows, 3, DIM, seed=seed + n), torch.ones(rows, 3, dtype=torch.bool))
        for n, m in enumerate(MODALITIES)
    }


def pooled(fusion: Fusion, given: dict[str, Tokens]) -> list[Tensor]:
    """The normalised mean of each modality."""
    norms = fusion.get_submodule("vectors.norms")
    return [norms.get_submodule(m)(given[m].values.mean(dim=1)) for m in MODALITIES]


# -- GMU: Arevalo et al. 2017, arXiv 1702.01992


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_gmu_of_three_modalities() -> None:
    torch.manual_seed(0)
    unit, x = GatedUnit(3, DIM), random(5, 3, DIM)
    said, gates = unit(x)
    w = [layer.weight.detach().numpy() for layer in unit.transforms]
    v = unit.gates.weight.detach().numpy().reshape(3, DIM, 3 * DIM)
    for row in range(5):
        xs = x[row].numpy()
        h = [np.tanh(w[i] @ xs[i]) for i in range(3)]
        z = [sigmoid(v[i] @ np.concatenate(xs)) for i in range(3)]
        np.testing.assert_allclose(said[row].detach().numpy(), h, atol=1e-6)
        np.testing.assert_allclose(gates[row].detach().numpy(), z, atol=1e-6)


def test_gmu_of_two_modalities_ties_its_gates() -> None:
    torch.manual_seed(0)
    unit, x = GatedUnit(2, DIM), random(5, 2, DIM)
    said, gates = unit(x)
    w_v, w_t = (layer.weight.detach().numpy() for layer in unit.transforms)
    w_z = unit.gates.weight.detach().numpy()
    for row in range(5):
        x_v, x_t = x[row].numpy()
        z = sigmoid(w_z @ np.concatenate([x_v, x_t]))
        h = z * np.tanh(w_v @ x_v) + (1 - z) * np.tanh(w_t @ x_t)
        np.testing.assert_allclose((gates * said).sum(dim=1)[row].detach().numpy(), h, atol=1e-6)


def test_the_gated_fusion_is_the_unit_over_what_is_present() -> None:
    torch.manual_seed(0)
    fusion, given = GatedFusion(modalities=MODALITIES, dim=DIM).eval(), tokens()
    x = torch.stack(pooled(fusion, given), dim=1)
    said, gates = fusion.unit(x)
    torch.testing.assert_close(fusion(given).embedding, fusion.output((gates * said).sum(dim=1)))
    absent = given | {"text": given["text"].drop(torch.ones(6, dtype=torch.bool))}
    x[:, 1] = fusion.vectors.absent[1]
    said, gates = fusion.unit(x)
    torch.testing.assert_close(fusion(absent).embedding, fusion.output((gates * said)[:, [0, 2]].sum(dim=1)))


# -- TFN: Zadeh et al. 2017, arXiv 1707.07250


def with_one(vector: Tensor) -> Tensor:
    return torch.cat([vector, torch.ones(1)])


def test_tensor_fusion_is_the_outer_product_with_ones_appended() -> None:
    z = random(4, 3, 5)
    product = outer_product(z)
    assert product.shape == (4, 6**3)
    for row in range(4):
        expected = torch.einsum("i,j,k->ijk", *(with_one(z[row, m]) for m in range(3)))
        torch.testing.assert_close(product[row].view(6, 6, 6), expected)
    # Each single vector, each pair and the constant are among the entries.
    cube = product.view(4, 6, 6, 6)
    torch.testing.assert_close(cube[:, :5, 5, 5], z[:, 0])
    torch.testing.assert_close(cube[:, 5, :5, :5], torch.einsum("bj,bk->bjk", z[:, 1], z[:, 2]))
    assert (cube[:, 5, 5, 5] == 1).all()


def test_the_order_of_modalities_only_permutes_the_product() -> None:
    z = random(4, 3, 5)
    turned = outer_product(z[:, [2, 0, 1]]).view(4, 6, 6, 6)
    torch.testing.assert_close(turned.permute(0, 2, 3, 1), outer_product(z).view(4, 6, 6, 6))


def test_tensor_fusion_of_tokens() -> None:
    torch.manual_seed(0)
    fusion, given = TensorFusion(modalities=MODALITIES, dim=DIM, width=3).eval(), tokens()
    z = [nn.functional.gelu(layer[0](x)) for layer, x in zip(fusion.narrow, pooled(fusion, given), strict=True)]
    cube = [torch.einsum("i,j,k->ijk", *(with_one(part[row]) for part in z)).flatten() for row in range(6)]
    torch.testing.assert_close(fusion(given).embedding, fusion.output(torch.stack(cube)))


# -- LMF: Liu et al. 2018, arXiv 1806.00064


def test_low_rank_fusion_is_tensor_fusion_with_weights_of_low_rank() -> None:
    """The paper's h = W . Z: Z the product of the [z_m; 1], W the sum over r of the products of the w_m^(r)."""
    z, factors = random(4, 3, 5), random(3, 2, 6, 7, seed=1)
    weights = sum(torch.einsum("id,jd,kd->ijkd", *(factors[m, r] for m in range(3))) for r in range(2))
    expected = torch.einsum("bijk,ijkd->bd", outer_product(z).view(4, 6, 6, 6), weights)
    torch.testing.assert_close(low_rank_product(z, factors), expected, rtol=1e-4, atol=1e-4)


def test_low_rank_fusion_follows_the_equation_term_by_term() -> None:
    torch.manual_seed(0)
    fusion, given = LowRankFusion(modalities=MODALITIES, dim=DIM, rank=3).eval(), tokens()
    z, w = pooled(fusion, given), fusion.factors
    for row in range(6):
        h = torch.zeros(DIM)
        for r in range(3):
            term = torch.ones(DIM)
            for m in range(3):
                term = term * (with_one(z[m][row]) @ w[m, r])
            h = h + term
        torch.testing.assert_close(fusion(given).embedding[row], h + fusion.bias)


def test_the_order_of_modalities_does_not_matter_to_the_low_rank_product() -> None:
    z, factors, turned = random(4, 3, 5), random(3, 2, 6, 7, seed=1), [2, 0, 1]
    torch.testing.assert_close(low_rank_product(z[:, turned], factors[turned]), low_rank_product(z, factors))


# -- MISA: Hazarika et al. 2020, arXiv 2005.03545


def test_moment_discrepancy_follows_its_equation() -> None:
    a, b = random(9, 4).sigmoid(), random(9, 4, seed=1).sigmoid()
    there_a, there_b = torch.arange(9) < 7, torch.arange(9) > 2
    x, y = a[there_a].numpy(), b[there_b].numpy()
    expected = np.linalg.norm(x.mean(0) - y.mean(0))
    for k in range(2, 6):
        expected += np.linalg.norm(((x - x.mean(0)) ** k).mean(0) - ((y - y.mean(0)) ** k).mean(0))
    assert float(moment_discrepancy(a, b, (there_a, there_b))) == pytest.approx(expected, abs=1e-5)
    assert float(moment_discrepancy(a, a, (there_a, there_a))) == pytest.approx(0, abs=1e-5)
    assert float(moment_discrepancy(a, b, (there_a, torch.zeros(9, dtype=torch.bool)))) == 0


def test_overlap_is_zero_for_orthogonal_parts_only() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    everyone = torch.ones(4, dtype=torch.bool)
    assert float(overlap(signs[:, :1], signs[:, 1:], everyone)) == pytest.approx(0, abs=1e-6)
    assert float(overlap(signs[:, :1], signs[:, :1], everyone)) == pytest.approx(16, rel=1e-4)
    a, b, rows = random(9, 4), random(9, 5, seed=1), torch.arange(9) < 7
    x, y = (v[rows].numpy() - v[rows].numpy().mean(0) for v in (a, b))
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    assert float(overlap(a, b, rows)) == pytest.approx(np.mean((x.T @ y) ** 2), rel=1e-4)


def test_the_three_losses_are_weighted_and_put_together_as_in_the_paper() -> None:
    torch.manual_seed(0)
    fusion = SharedPrivateFusion(
        modalities=MODALITIES, dim=DIM, similarity=2.0, difference=0.5, reconstruction=3.0, dropout=0.0
    )
    given = tokens(rows=12)
    losses = fusion(given).losses
    u = pooled(fusion, given)
    shared, private = [fusion.shared(x) for x in u], [e(x) for e, x in zip(fusion.private, u, strict=True)]
    rows = torch.ones(12, dtype=torch.bool)
    pairs = [(0, 1), (0, 2), (1, 2)]
    similarity = sum(moment_discrepancy(shared[i], shared[j], (rows, rows)) for i, j in pairs) / 3
    difference = sum(overlap(private[i], private[j], rows) for i, j in pairs)
    difference = difference + sum(overlap(p, s, rows) for p, s in zip(private, shared, strict=True))
    given_back = [d(p + s) for d, p, s in zip(fusion.decoders, private, shared, strict=True)]
    reconstruction = sum((g - x).square().mean() for g, x in zip(given_back, u, strict=True)) / 3
    torch.testing.assert_close(losses["similarity"], 2 * similarity)
    torch.testing.assert_close(losses["difference"], 0.5 * difference)
    torch.testing.assert_close(losses["reconstruction"], 3 * reconstruction)


# -- discrepancy: InferSent, SBERT, CLIP


def test_discrepancy_features_of_every_pair_on_the_unit_sphere() -> None:
    torch.manual_seed(0)
    fusion = DiscrepancyFusion(modalities=MODALITIES, dim=DIM, width=4, distance=3).eval()
    given = tokens()
    u = [
        nn.functional.normalize(layer(x), dim=1) for layer, x in zip(fusion.shared, pooled(fusion, given), strict=True)
    ]
    parts = [2 * x for x in u]  # the square root of the width
    for number, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        d = 2 * (u[i] - u[j])
        measured = torch.stack([(fusion.metrics[number].T @ row).square().mean() for row in d])
        parts += [d.abs(), 4 * u[i] * u[j], measured[:, None]]
    torch.testing.assert_close(fusion(given).embedding, fusion.output(torch.cat(parts, dim=1)))


def test_contrastive_loss_is_clips_over_rows_that_have_both() -> None:
    u, v = (nn.functional.normalize(random(7, 4, seed=s), dim=1) for s in (0, 1))
    both = torch.tensor([True, True, False, True, False, True, True])
    scores = u[both] @ v[both].T / 0.2
    rows = torch.arange(5)
    expected = (nn.functional.cross_entropy(scores, rows) + nn.functional.cross_entropy(scores.T, rows)) / 2
    torch.testing.assert_close(contrastive_loss(u, v, both, 0.2), expected)
    assert float(contrastive_loss(u, v, torch.arange(7) == 2, 0.2)) == 0
    assert float(contrastive_loss(u, u, both, 0.01)) < 0.1 < float(contrastive_loss(u, v, both, 0.2))


# -- MBT and Perceiver: what the attention may see


def test_modalities_reach_each_other_through_the_bottleneck_only() -> None:
    torch.manual_seed(0)
    fusion = BottleneckFusion(modalities=MODALITIES, dim=DIM, heads=2).eval()
    before, after = tokens(), tokens() | {"text": tokens(seed=9)["text"]}
    changed = (fusion(before).opinions - fusion(after).opinions).abs().amax(dim=(0, 2))
    assert (changed > 1e-6).all()

    def cut(module: nn.Module, arguments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        values, bias = arguments
        bias = bias.expand(-1, -1, values.shape[1], -1).clone()
        bias[..., :-4, -4:] = -torch.inf  # no token reads the four bottleneck tokens
        return values, bias

    for module in fusion.modules():
        if type(module).__name__ == "AttentionBlock":
            module.register_forward_pre_hook(cut)
    changed = (fusion(before).opinions - fusion(after).opinions).abs().amax(dim=(0, 2))
    assert changed[[0, 2]].max() == 0
    assert changed[1] > 1e-6


def test_an_absent_modality_says_nothing_through_the_bottleneck() -> None:
    torch.manual_seed(0)
    fusion, given = BottleneckFusion(modalities=MODALITIES, dim=DIM, heads=2).eval(), tokens()
    absent = {m: t.drop(torch.ones(6, dtype=torch.bool)) if m == "text" else t for m, t in given.items()}
    before = fusion(absent)
    with torch.no_grad():
        for blocks in fusion.blocks:
            for parameter in blocks[1].parameters():
                parameter.add_(1.0)
    torch.testing.assert_close(fusion(absent).embedding, before.embedding)
    assert before.evidence is not None
    torch.testing.assert_close(before.evidence, torch.tensor([[0.5, 0.0, 0.5]]).expand(6, 3))


def test_long_streams_do_not_drown_short_ones_in_the_latents() -> None:
    torch.manual_seed(0)
    fusion = LatentFusion(modalities=MODALITIES, dim=DIM, heads=2).eval()
    nn.init.zeros_(fusion.readings[0].query.weight)
    nn.init.zeros_(fusion.readings[0].query.bias)
    given = tokens() | {"prosody": Tokens(random(6, 200, DIM), torch.ones(6, 200, dtype=torch.bool))}
    torch.testing.assert_close(fusion(given).evidence, torch.full((6, 3), 1 / 3))


# -- late


def test_late_weights_are_a_softmax_over_what_is_present() -> None:
    fusion, given = LateFusion(modalities=MODALITIES, dim=DIM).eval(), tokens()
    assert fusion.weights is not None
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
    given["prosody"] = given["prosody"].drop(torch.arange(6) == 0)
    weights = fusion(given).evidence
    total = 1 + math.e + math.e**2
    torch.testing.assert_close(weights[1], torch.tensor([1, math.e, math.e**2]) / total)
    torch.testing.assert_close(weights[0], torch.tensor([1, math.e, 0]) / (1 + math.e))


# -- settings


@pytest.mark.parametrize(
    ("strategy", "settings", "message"),
    [
        (LateFusion, {"combine": "vote"}, "combine is 'vote'"),
        (LateFusion, {"outcomes": 1}, "outcomes is 1"),
        (TensorFusion, {"width": 100}, "1030301 entries"),
        (LowRankFusion, {"rank": 0}, "rank is 0"),
        (BottleneckFusion, {"layers": 1, "heads": 2}, "layers is 1; write a whole number from 2"),
        (BottleneckFusion, {"heads": 3}, "fusion.heads=3"),
        (LatentFusion, {"latents": 0, "heads": 2}, "latents is 0"),
        (DiscrepancyFusion, {"temperature": 0.0}, "temperature is 0.0"),
        (SharedPrivateFusion, {"difference": -1.0}, "difference is -1.0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    strategy: type[Fusion], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        strategy(modalities=MODALITIES, dim=DIM, **settings)
