"""What holds for every encoder, whatever it computes."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from safetensors.torch import save_file

from builders.configured import configured
from subtext.encoders.augmentation import FaceAugmentation, FrameAugmentation
from subtext.encoders.encoder import Encoder
from subtext.encoders.precomputed import FeatureEncoder
from subtext.encoders.prosody import ProsodyEncoder
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.encoders.visual import VisualEncoder
from subtext.errors import ConfigError, RunError, WeightsError
from subtext.features.extractor import Extractor
from subtext.labels import MODALITIES
from subtext.runs.prepare import encoder_settings

CONFIGS = {f"{m}-{name}": path for m in MODALITIES for name, path in configured(f"encoder/{m}").items()}


def visual(**options) -> VisualEncoder:
    return VisualEncoder(**{"name": "resnet10t", "size": 32, "grey": True, "dim": 16, **options})


def prosody(**options) -> ProsodyEncoder:
    return ProsodyEncoder(**{"input_dim": 6, "channels": 16, "dim": 16, **options})


def of_config(name: str, **options) -> Encoder:
    """An encoder as it is configured, but frozen, and without the weights that it may begin with."""
    settings = encoder_settings(configuration(name))
    known = inspect.signature(get_class(settings["_target_"])).parameters
    options = {"trainable": False, "pretrained": False, "weights": None, **options}
    return instantiate(settings, **{key: value for key, value in options.items() if key in known})


def configuration(name: str) -> dict[str, Any]:
    config = OmegaConf.create({"encoder": yaml.safe_load(CONFIGS[name].read_text()), "paths": {"models": "models"}})
    return OmegaConf.to_container(config, resolve=True)["encoder"]


BUILDERS: dict[str, Callable[..., Encoder]] = {
    "visual": visual,
    "visual without temporal module": lambda **o: visual(temporal="none", **o),
    "visual with attention over time": lambda **o: visual(temporal="attention", standardise="fixed", **o),
    "visual mobilenet in colour": lambda **o: visual(name="mobilenetv4_conv_small", grey=False, size=64, **o),
    "visual transformer": lambda **o: visual(name="vit_tiny_patch16_224", **o),
    "text": lambda trainable=False, **o: TextEncoder(embed_dim=12, dim=16, **o),
    "prosody": prosody,
    "features in families": lambda trainable=False, **o: FeatureEncoder(
        modality="prosody", input_dim=6, families=[4, 2], channels=8, dim=16, trainable=trainable, **o
    ),
    "prosody transformer": lambda **o: prosody(kind="transformer", **o),
    "prosody absolute, odd stride": lambda **o: prosody(relative=False, stride=3, window=2, heads=1, layers=1, **o),
}
BUILDERS |= {f"conf {name}": partial(of_config, name) for name in CONFIGS}
ROWS = (7, None, 1, 4)


def stream_of(encoder: Encoder, lengths=ROWS, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    width = getattr(encoder, encoder.width_setting) if encoder.width_setting else 12
    rows: list[torch.Tensor | None] = []
    for length in lengths:
        if length is None:
            rows.append(None)
        elif encoder.modality == "visual" and not encoder.width_setting:
            rows.append(torch.randint(0, 256, (length, 32, 32, 3), generator=generator, dtype=torch.uint8))
        elif encoder.modality == "text":
            rows.append(torch.randn(length, width, generator=generator))
        else:
            rows.append(torch.randn(9 * length, width, generator=generator) * 2 + 5)
    return Tokens.pad(rows)


@pytest.fixture(params=BUILDERS, ids=lambda name: name.replace(" ", "-"))
def build(request) -> Callable[..., Encoder]:
    def builder(**options) -> Encoder:
        torch.manual_seed(0)
        return BUILDERS[request.param](**options)

    return builder


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("half", ["embed", "forward"])
def test_shapes_and_absent_rows(build, half):
    encoder = build().eval()
    stream = stream_of(encoder)
    out = getattr(encoder, half)(stream)
    assert out.values.shape[0] == len(ROWS)
    assert out.values.shape[2] == (encoder.embed_dim if half == "embed" else encoder.dim)
    assert out.present.tolist() == [True, False, True, True]
    assert out.values[~out.mask].abs().sum() == 0
    assert bool(torch.isfinite(out.values).all())


def test_further_padding_changes_nothing(build):
    encoder = build().eval()
    stream = stream_of(encoder)
    short, long = encoder(stream), encoder(stream.padded_to(stream.mask.shape[1] + 37))
    time = short.mask.shape[1]
    assert torch.equal(long.mask[:, :time], short.mask)
    assert not long.mask[:, time:].any()
    close(long.values[:, :time], short.values)


def test_a_row_alone_equals_itself_in_a_batch(build):
    encoder = build().eval()
    stream = stream_of(encoder)
    together = encoder(stream)
    for row, length in enumerate(ROWS):
        if length is not None:
            alone = encoder(Tokens.pad([stream.values[row][stream.mask[row]]]))
            close(alone.real, together.values[row][together.mask[row]])


def test_what_stands_at_padded_positions_does_not_matter(build):
    encoder = build().eval()
    stream = stream_of(encoder)
    dirty = stream.values.clone()
    dirty[~stream.mask] = 77
    close(encoder(Tokens(dirty, stream.mask)).values, encoder(stream).values)


def test_permuting_the_batch_permutes_the_result(build):
    encoder = build().eval()
    stream = stream_of(encoder)
    order = torch.tensor([2, 0, 3, 1])
    permuted = encoder(Tokens(stream.values[order], stream.mask[order]))
    close(permuted.values, encoder(stream).values[order])


def test_a_batch_in_which_every_row_is_absent(build):
    encoder = build(trainable=True)
    stream = stream_of(encoder)
    for mode in (True, False):
        out = encoder.train(mode)(stream.drop(torch.ones(len(ROWS), dtype=torch.bool)))
        assert not out.present.any()
        assert out.values.abs().sum() == 0


@pytest.mark.parametrize("trainable", [True, False])
def test_every_trainable_parameter_gets_a_gradient(build, trainable):
    encoder = build(trainable=trainable, dropout=0.0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            # timm starts residual branches at zero, which hides them from the first step's gradient.
            parameter.add_(torch.randn_like(parameter) * 0.02)
    encoder(stream_of(encoder, (7, 6, 5, 4))).values.square().sum().backward()
    learned = {name for name, p in encoder.named_parameters() if p.requires_grad}
    missing = {n for n, p in encoder.named_parameters() if n in learned and (p.grad is None or not p.grad.abs().any())}
    assert not missing
    assert any(name.startswith("projection") for name in learned)
    backbone = {name for name, _ in encoder.named_parameters() if name.startswith("backbone")}
    assert learned >= backbone if trainable else not learned & backbone


def test_backbone_and_head_parameters_are_all_that_learns(build):
    for trainable in (True, False):
        encoder = build(trainable=trainable)
        parts = [*encoder.backbone_parameters(), *encoder.head_parameters()]
        assert {id(p) for p in parts} == {id(p) for p in encoder.parameters() if p.requires_grad}
        assert len(parts) == len({id(p) for p in parts})


def test_a_frozen_backbone_never_changes_what_it_gives(build):
    encoder = build().train()
    stream = stream_of(encoder)
    before, fingerprint = encoder.embed(stream), encoder.fingerprint()
    for _ in range(3):
        encoder(stream)
    assert not before.values.requires_grad
    assert torch.equal(encoder.embed(stream).values, before.values)
    assert encoder.fingerprint() == fingerprint


def test_the_fingerprint_tells_weights_and_settings_apart(build):
    encoder = build(trainable=True)
    assert encoder.fingerprint() == build(trainable=False).fingerprint(), "how it is trained does not shape the output"
    if not encoder.backbone.state_dict():
        return
    weights = next(iter(encoder.backbone.state_dict().values()))
    before = encoder.fingerprint()
    with torch.no_grad():
        weights.view(-1)[0] += 1e-3
    assert encoder.fingerprint() != before


def test_settings_shape_the_fingerprint():
    assert visual().settings != visual(standardise="fixed").settings
    fingerprints = set()
    for options in ({}, {"standardise": "fixed"}, {"size": 48}):
        torch.manual_seed(0)
        fingerprints.add(visual(**options).fingerprint())
    assert len(fingerprints) == 3


class Scaled(Encoder):
    """One that says nothing of its settings."""

    modality = "prosody"

    def __init__(self, *, scale=1.0, embed_dim=6, dim=16, dropout=0.1, trainable=False):
        super().__init__(
            backbone=torch.nn.Identity(),
            embed_dim=embed_dim,
            dim=dim,
            dropout=dropout,
            trainable=trainable,
            random_weights=False,
        )
        self.scale = scale

    def _encode(self, stream: Tokens) -> Tokens:
        return stream.with_real(self.scale * stream.real[:, : self.embed_dim])


class Other(Scaled):
    pass


class Doubled(ProsodyEncoder):
    def _encode(self, stream: Tokens) -> Tokens:
        return super()._encode(Tokens(2 * stream.values, stream.mask))


def test_an_encoder_that_says_nothing_of_its_settings_shares_no_cache_entry():
    differing = [Scaled(), Scaled(scale=2.0), Scaled(embed_dim=4), Scaled(scale=[1.0, 2.0]), Other()]
    assert len({encoder.fingerprint() for encoder in differing}) == len(differing)
    same = [Scaled(), Scaled(scale=1.0), Scaled(dim=8), Scaled(dropout=0.5), Scaled(trainable=True)]
    assert len({encoder.fingerprint() for encoder in [*same, copy.deepcopy(same[0])]}) == 1


def test_an_encoder_does_not_inherit_what_another_one_says_of_its_settings():
    torch.manual_seed(0)
    own = Doubled(input_dim=6, channels=16)
    assert own.settings["class"].endswith(".Doubled")
    assert own.settings["channels"] == 16
    torch.manual_seed(0)
    assert own.fingerprint() != prosody(dim=128).fingerprint()


def test_an_argument_that_cannot_be_told_apart_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"argument scale is no plain value .*; give the class a property settings"):
        Scaled(scale=torch.ones(3))


def test_training_is_repeatable_from_the_global_seed(build):
    encoder = build(trainable=True)
    stream = stream_of(encoder)
    if isinstance(encoder, VisualEncoder):
        encoder.augment = FaceAugmentation()
    if isinstance(encoder, ProsodyEncoder):
        encoder.augment = FrameAugmentation()
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(encoder(stream).values)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def run_folder(encoder: Encoder, folder: Path) -> Path:
    weights = {f"encoders.{encoder.modality}.{name}": t.contiguous() for name, t in encoder.state_dict().items()}
    save_file({**weights, "heads.other": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def test_load_backbone_takes_the_weights_of_another_run(build, tmp_path):
    source = build(trainable=True)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.01)
    target = build()
    target.load_backbone(run_folder(source, tmp_path))
    assert not target.has_random_weights
    assert target.fingerprint() == source.fingerprint()
    stream = stream_of(target)
    with torch.no_grad():  # as of a frozen one, or attention would be computed in another way
        close(target.embed(stream).values, source.eval().embed(stream).values)


def test_load_backbone_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match=r"no model\.safetensors"):
        visual().load_backbone(tmp_path)
    run_folder(prosody(), tmp_path)
    with pytest.raises(RunError, match="no visual encoder"):
        visual().load_backbone(tmp_path)
    with pytest.raises(WeightsError, match="of another kind"):
        prosody(channels=32).load_backbone(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        prosody().load_backbone(tmp_path)


def test_random_weights_are_told():
    assert visual().has_random_weights
    assert prosody().has_random_weights
    assert not TextEncoder().has_random_weights


@pytest.mark.parametrize("name", CONFIGS)
def test_every_encoder_config_builds(name):
    settings = configuration(name)
    extractor = settings["extractor"]
    encoder = instantiate(encoder_settings(settings))
    assert encoder.modality == name.partition("-")[0]
    assert encoder.dim == 128
    assert issubclass(get_class(extractor["_target_"]), Extractor)
    if isinstance(encoder, VisualEncoder):
        assert extractor["size"] == encoder.size
