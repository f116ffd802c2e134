import math

import pytest
import torch

from subtext.encoders.augmentation import FrameAugmentation
from subtext.encoders.prosody import ProsodyEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError


def test_a_clip_of_three_and_a_half_seconds_gives_at_most_sixteen_tokens():
    encoder = ProsodyEncoder(input_dim=27).eval()
    frames = 175
    out = encoder(Tokens.pad([torch.randn(frames, 27)]))
    assert out.mask.sum() == math.ceil(frames / 12) <= 16


@pytest.mark.parametrize(
    "options", [{"kind": "lstm"}, {"stride": 0}, {"window": 0}, {"kind": "transformer", "channels": 30}]
)
def test_settings_that_cannot_be_used(options):
    with pytest.raises(ConfigError):
        ProsodyEncoder(input_dim=4, **options)


def test_one_frame_in_training():
    encoder = ProsodyEncoder(input_dim=4, trainable=True).train()
    out = encoder(Tokens.pad([torch.randn(1, 4)]))
    assert bool(torch.isfinite(out.values).all())


def test_input_is_standardised_by_the_training_data():
    encoder = ProsodyEncoder(input_dim=3, trainable=True)
    frames = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    frames = frames * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([0.0, 100.0, -5.0])
    encoder.fit_statistics(frames.split([100, 150, 250]))
    torch.testing.assert_close(encoder.backbone.standardise.mean, frames.mean(dim=0))
    torch.testing.assert_close(encoder.backbone.standardise.deviation, frames.std(dim=0, correction=0))


def test_a_summary_is_the_means_and_deviations_of_the_utterance():
    plain, more = (ProsodyEncoder(input_dim=3, channels=8, dim=8, summary=summary).eval() for summary in (False, True))
    assert more.embed_dim == plain.embed_dim + 6
    assert plain.settings != more.settings
    stream = Tokens.pad([torch.randn(40, 3), torch.randn(70, 3) * 2 + 1])
    figures = more.figures(more.embed(stream))[:, -6:]
    for row, length in enumerate((40, 70)):
        values = stream.values[row, :length]
        torch.testing.assert_close(figures[row, :3], values.mean(dim=0), atol=1e-4, rtol=0)
        torch.testing.assert_close(figures[row, 3:], values.std(dim=0, correction=0), atol=1e-3, rtol=0)


def test_weights_of_earlier_versions_read_the_same():
    encoder = ProsodyEncoder(input_dim=3, channels=8, dim=8).eval()
    encoder.fit_statistics([torch.randn(90, 3) * 2 + 1])
    kept = dict(encoder.state_dict())
    kept["backbone.standardise.running_mean"] = kept.pop("backbone.standardise.mean")
    kept["backbone.standardise.running_var"] = kept.pop("backbone.standardise.deviation").square() - 1e-5
    kept["backbone.standardise.num_batches_tracked"] = torch.tensor(3)
    other = ProsodyEncoder(input_dim=3, channels=8, dim=8).eval()
    other.load_state_dict(kept)
    stream = Tokens.pad([torch.randn(30, 3)])
    torch.testing.assert_close(other(stream).values, encoder(stream).values)


def test_loudness_cannot_be_told_from_relative_features_alone():
    from subtext.encoders.prosody import _relative

    frames = Tokens.pad([torch.randn(50, 2), torch.randn(30, 2)])
    louder = Tokens(frames.values + 3 * frames.mask.unsqueeze(-1), frames.mask)
    torch.testing.assert_close(_relative(louder), _relative(frames), atol=1e-4, rtol=1e-4)


class TestFrameAugmentation:
    def test_nothing_set_changes_nothing(self):
        still = FrameAugmentation(offset=0, gain=0, noise=0, time_masks=0, feature_mask=0)
        frames = Tokens.pad([torch.randn(20, 3), torch.randn(7, 3)])
        torch.testing.assert_close(still(frames).values, frames.values)

    def test_time_masks_are_stretches_within_the_share(self):
        masks = FrameAugmentation(offset=0, gain=0, noise=0, time_masks=1, time_share=0.2, feature_mask=0)
        torch.manual_seed(0)
        out = masks(Tokens.pad([torch.ones(100, 2)] * 50))
        hidden = (out.values[..., 0] == 0).sum(dim=1)
        assert 0 < hidden.max() <= 21
        edges = (out.values[..., 0].diff(dim=1) != 0).sum(dim=1)
        assert edges.max() <= 2

    def test_padding_stays_zero_and_masked(self):
        torch.manual_seed(0)
        out = FrameAugmentation()(Tokens.pad([torch.randn(20, 3), None, torch.randn(7, 3)]))
        assert out.mask.sum(dim=1).tolist() == [20, 0, 7]
        assert out.values[~out.mask].abs().sum() == 0
