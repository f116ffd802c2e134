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


def test_units_of_the_figures_do_not_matter_once_trained():
    """Standardised by what it saw in training, a figure in Hz says the same as one in kHz."""
    values = torch.randn(64, 1, 5) * 3 + 7
    outputs = []
    for scale in (1.0, 1000.0):
        model = encoder(hidden_dropout=0.0, dropout=0.0)
        stream = Tokens(values * scale, torch.ones(64, 1, dtype=torch.bool))
        for _ in range(200):
            model(stream)
        outputs.append(model.eval()(stream).values)
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-3, rtol=1e-3)


def test_held_out_rows_leave_the_statistics_alone():
    model = encoder().eval()
    before = model.backbone.standardise.running_mean.clone()
    model(Tokens(torch.randn(8, 1, 5) + 100, torch.ones(8, 1, dtype=torch.bool)))
    assert torch.equal(model.backbone.standardise.running_mean, before)


def test_settings_that_cannot_be_used():
    with pytest.raises(ConfigError, match=r"encoder\.visual\.families are \[2, 2\], of 4 figures"):
        encoder(families=[2, 2])
    with pytest.raises(ConfigError, match="modality is 'face'"):
        encoder(modality="face")
    with pytest.raises(ConfigError, match=r"encoder\.visual\.input_dim is 5; set it to 7"):
        encoder().check_stream([7])
