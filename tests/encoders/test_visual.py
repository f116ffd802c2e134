import pickle
import warnings

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from subtext.encoders.augmentation import FaceAugmentation
from subtext.encoders.tokens import Tokens
from subtext.encoders.visual import VisualEncoder
from subtext.errors import ConfigError, WeightsError


def crops(rows: int = 2, time: int = 5, side: int = 32, channels: int = 3) -> Tokens:
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 256, (rows, time, side, side, channels), generator=generator, dtype=torch.uint8)
    return Tokens(values, torch.ones(rows, time, dtype=torch.bool))


def encoder(**options) -> VisualEncoder:
    return VisualEncoder(**{"name": "resnet10t", "size": 32, "grey": True, "dim": 8, **options})


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(ConfigError, match="resnet10t"):
        encoder(name="resnet10tt")


@pytest.mark.parametrize(
    "options",
    [{"standardise": "sometimes"}, {"train_frames": 0}, {"temporal": "lstm"}, {"pretrained": True, "weights": "a"}],
)
def test_settings_that_cannot_be_used(options):
    with pytest.raises(ConfigError):
        encoder(**options)


def test_published_weights_offline_say_the_remedy(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"encoder\.visual\.weights") as caught:
        encoder(pretrained=True)
    assert "\n" not in str(caught.value)


def test_a_model_without_published_weights(monkeypatch):
    with pytest.raises(ConfigError, match="publishes no weights"):
        encoder(name="mobilenetv4_conv_aa_medium", pretrained=True)


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=10).state_dict(), path)
    loaded = encoder(weights=path, grey=False)
    assert not loaded.has_random_weights
    assert torch.equal(loaded.backbone.state_dict()["conv1.0.weight"], load_file(path)["conv1.0.weight"])
    # One channel is the sum over the three that the file has.
    grey = encoder(weights=path).backbone.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(grey, load_file(path)["conv1.0.weight"].sum(dim=1, keepdim=True))


def test_weights_that_cannot_be_used(tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        encoder(weights=tmp_path / "none.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"conv1.0.weight": [1.0]}))
        with pytest.raises(WeightsError, match=r"safetensors\.torch\.save_file"):
            encoder(weights=tmp_path / name)
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not fit the timm model resnet10t") as caught:
        encoder(weights=tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)


def test_lighting_is_taken_out_by_standardising_each_crop():
    lit = encoder().eval()
    stream = crops()
    halved = Tokens((stream.values.float() / 2 + 40), stream.mask)
    torch.testing.assert_close(lit.embed(halved).values, lit.embed(stream).values, atol=1e-3, rtol=1e-3)
    fixed = encoder(standardise="fixed").eval()
    assert not torch.allclose(fixed.embed(halved).values, fixed.embed(stream).values, atol=1e-2)


def test_a_crop_of_one_shade_is_finite():
    stream = crops()
    black = Tokens(torch.zeros_like(stream.values), stream.mask)
    assert bool(torch.isfinite(encoder().eval()(black).values).all())


def test_grey_crops_and_one_channel_crops_are_the_same():
    stream = crops(channels=1)
    three = Tokens(stream.values.expand(-1, -1, -1, -1, 3), stream.mask)
    for grey in (True, False):
        model = encoder(grey=grey).eval()
        torch.testing.assert_close(model.embed(stream).values, model.embed(three).values, atol=1e-4, rtol=1e-4)


def test_crops_of_another_size_are_resized():
    assert encoder(size=48).eval().embed(crops(side=40)).values.shape == (2, 5, 512)


def test_training_looks_at_some_frames_of_each_clip():
    model = encoder(trainable=True, train_frames=2, temporal="none")
    stream = crops(rows=3)
    stream = Tokens(stream.values, torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]).bool())
    out = model.train().embed(stream)
    assert out.mask.sum(dim=1).tolist() == [2, 1, 0]
    assert model.eval().embed(stream).mask.sum(dim=1).tolist() == [5, 1, 0]


def test_chosen_frames_are_real_frames_in_their_order():
    from subtext.encoders.visual import _some_positions

    mask = torch.rand(6, 20, generator=torch.Generator().manual_seed(0)) < 0.6
    stream = Tokens(torch.arange(20.0).expand(6, 20).clone(), mask)
    some = _some_positions(stream, 4)
    for row in range(6):
        chosen = some.values[row][some.mask[row]]
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert bool(mask[row][chosen.long()].all())


def test_batch_normalisation_learns_only_where_the_backbone_is_trainable():
    for trainable in (True, False):
        model = encoder(trainable=trainable).train()
        before = model.backbone.state_dict()["bn1.running_mean"].clone()
        model(crops())
        changed = not torch.equal(model.backbone.state_dict()["bn1.running_mean"], before)
        assert changed == trainable


class TestFaceAugmentation:
    def test_nothing_set_changes_nothing(self):
        still = FaceAugmentation(flip=0, shift=0, scale=0, rotation=0, contrast=0, brightness=0, erase=0)
        images = torch.rand(4, 1, 16, 16)
        torch.testing.assert_close(still(images), images, atol=1e-5, rtol=0)

    def test_flip_mirrors(self):
        mirror = FaceAugmentation(flip=1, shift=0, scale=0, rotation=0, contrast=0, brightness=0, erase=0)
        images = torch.rand(4, 3, 16, 16)
        torch.testing.assert_close(mirror(images), images.flip(-1), atol=1e-5, rtol=0)

    def test_shift_stays_within_its_limit(self):
        shift = FaceAugmentation(flip=0, shift=0.125, scale=0, rotation=0, contrast=0, brightness=0, erase=0)
        images = torch.zeros(200, 1, 32, 32)
        images[:, :, 16, 16] = 1
        moved = shift(images)[:, 0].flatten(1).argmax(dim=1)
        distance = torch.maximum((moved // 32 - 16).abs(), (moved % 32 - 16).abs())
        assert 0 < distance.max() <= 4

    def test_erase_replaces_a_box_in_the_chosen_share(self):
        erase = FaceAugmentation(flip=0, shift=0, scale=0, rotation=0, contrast=0, brightness=0, erase=0.5)
        torch.manual_seed(0)
        images = torch.rand(400, 1, 32, 32)
        changed = (erase(images) - images).abs() > 1e-4
        share = changed.flatten(1).any(dim=1).float().mean()
        assert 0.4 < share < 0.6
        assert changed.float().mean(dim=(1, 2, 3)).max() < 0.33**2 + 0.05

    def test_each_crop_is_changed_on_its_own(self):
        torch.manual_seed(0)
        image = torch.rand(1, 1, 32, 32).expand(2, -1, -1, -1)
        out = FaceAugmentation()(image)
        assert not torch.allclose(out[0], out[1], atol=1e-2)


def test_no_warning_on_an_ordinary_batch():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(trainable=True, augment=FaceAugmentation())(crops())
