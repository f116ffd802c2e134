"""Figures measured elsewhere as tokens."""

import pytest
import torch

from subtext.encoders.precomputed import FeatureEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError


def encoder(**options) -> FeatureEncoder:
    torch.manual_seed(0)
    return FeatureEncoder(
        **{"modality": "visual", "input_dim": 5, "families": [2, 3], "channels": 4, "dim": 8, **options}
    )


def test_a_step_becomes_a_token_a_family():
    model = encoder().eval()
    out = model(Tokens.pad([torch.randn(3, 5), None, torch.randn(1, 5)]))
    assert out.values.shape == (3, 6, 8)
    assert out.mask.sum(dim=1).tolist() == [6, 0, 2]


def test_a_token_depends_on_its_own_family_only():
    model = encoder().eval()
    stream = torch.randn(1, 1, 5)
    changed = stream.clone()
    changed[..., 0] += 1
    mask = torch.ones(1, 1, dtype=torch.bool)
    before, after = (model(Tokens(values, mask)).values[0] for values in (stream, changed))
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1], after[1])


def test_units_of_the_figures_do_not_matter():
    """Standardised by the training rows, a figure in Hz says the same as one in kHz; one that never varies says 0."""
    values = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)) * 3 + 7
    values[:, 4] = 1e6
    outputs = []
    for scale in (1.0, 1000.0):
        model = encoder().eval()
        model.fit_statistics((values * scale).split(1))
        outputs.append(model.embed(Tokens((values * scale)[:, None], torch.ones(64, 1, dtype=torch.bool))).values)
    torch.testing.assert_close(outputs[0], outputs[1])
    known = outputs[0][:, 0]
    torch.testing.assert_close(known[:, :4].mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(known[:, :4].std(dim=0, correction=0), torch.ones(4), atol=1e-2, rtol=0)
    assert bool((known[:, 4] == 0).all())


def test_training_leaves_the_statistics_alone():
    model = encoder().train()
    before = model.backbone.mean.clone()
    model(Tokens(torch.randn(8, 1, 5) + 100, torch.ones(8, 1, dtype=torch.bool)))
    assert torch.equal(model.backbone.mean, before)


def test_a_figure_is_cut_off_at_the_limit():
    model = encoder(limit=3.0)
    assert model.embed(Tokens(torch.full((1, 1, 5), -100.0), torch.ones(1, 1, dtype=torch.bool))).values.unique() == -3


def test_weights_of_earlier_versions_read_the_same():
    """They standardised by running statistics, and counted the families' maps to the backbone."""
    model = encoder().eval()
    values = torch.randn(4, 1, 5) * 2 + 1
    model.fit_statistics([values[:, 0]])
    stream = Tokens(values, torch.ones(4, 1, dtype=torch.bool))
    kept = dict(model.state_dict())
    kept["backbone.standardise.running_mean"] = kept.pop("backbone.mean")
    kept["backbone.standardise.running_var"] = kept.pop("backbone.deviation").square() - 1e-5
    kept["backbone.standardise.num_batches_tracked"] = torch.tensor(9)
    for name in [name for name in kept if name.startswith("maps.")]:
        kept[f"backbone.{name}"] = kept.pop(name)
    other = encoder().eval()
    other.load_state_dict(kept)
    torch.testing.assert_close(other(stream).values, model(stream).values)


def test_settings_that_cannot_be_used():
    with pytest.raises(ConfigError, match=r"encoder\.visual\.families are \[2, 2\], of 4 figures"):
        encoder(families=[2, 2])
    with pytest.raises(ConfigError, match="modality is 'face'"):
        encoder(modality="face")
    with pytest.raises(ConfigError, match=r"encoder\.visual\.input_dim is 5; set it to 7"):
        encoder().check_stream([7])
