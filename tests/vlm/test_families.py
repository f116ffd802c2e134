"""Ten families: every frame reaches the answer, a batch is as good as one, and what drops frames is stopped."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from builders.tiny_models import BUILDERS, random_frames, tiny_vlm
from subtext.core.composition import conf_folder
from subtext.errors import ConfigError, WeightsError
from subtext.vlm.answers import first_log_probs
from subtext.vlm.inputs import Frames, Sample, Vlm

FAMILIES = tuple(BUILDERS)
OTHER = {"idefics2": "tiled", "idefics3": "tiled", "idefics": "tiled", "internvl": "images", "qwen2_5_vl": "images"}
"""A second way of giving frames that the family can take too."""
QUESTION = "Do the words and the face agree? Answer yes or no."


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Vlm:
    return tiny_vlm(request.param, tiny_folder(request.param))


def with_frame(frames: Frames, place: int, image: np.ndarray) -> Frames:
    images = frames.images.copy()
    images[place] = image
    return replace(frames, images=images)


def moves(vlm: Vlm) -> torch.Tensor:
    """How far log-probabilities move when each frame in turn is replaced, and when the order is reversed."""
    frames, other = random_frames(), random_frames(seed=99)
    versions = [frames, *(with_frame(frames, n, other.images[n]) for n in range(4))]
    versions.append(replace(frames, images=frames.images[::-1]))
    log_probs = first_log_probs(vlm, vlm.encode([Sample(QUESTION, version) for version in versions]))
    return (log_probs[1:] - log_probs[0]).abs().amax(dim=1)


def test_replacing_any_one_frame_moves_the_score(vlm: Vlm) -> None:
    assert (moves(vlm)[:4] > 1e-3).all(), vlm.spec.name
    assert moves(vlm)[4] > 1e-3, "the order of frames"


@pytest.mark.parametrize("family", OTHER)
def test_every_frame_moves_the_score_however_frames_are_given(family: str, tiny_folder: Callable[[str], Path]) -> None:
    assert (moves(tiny_vlm(family, tiny_folder(family), frames=OTHER[family])) > 1e-3).all()


def test_a_batch_padded_on_the_left_is_as_good_as_one(vlm: Vlm) -> None:
    samples = [
        Sample("Is it so?", random_frames()),
        Sample("The person says: I am fine, really. " + QUESTION, random_frames(seed=1)),
    ]
    together = first_log_probs(vlm, encoded := vlm.encode(samples))
    assert encoded.tokens[0] < encoded.tokens[1]
    assert encoded.tensors["attention_mask"][0, 0] == 0, "padding on the left"
    alone = torch.cat([first_log_probs(vlm, vlm.encode([sample])) for sample in samples])
    assert (together - alone).abs().max() < 1e-4
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_words_alone_hold_no_placeholder(vlm: Vlm) -> None:
    encoded = vlm.encode([Sample(QUESTION)])
    assert encoded.vision_tokens == [0]
    assert torch.isfinite(first_log_probs(vlm, encoded)).all()


@pytest.mark.parametrize("family", ["idefics2", "idefics3"])
def test_a_processor_that_drops_a_video_is_stopped(family: str, tiny_folder: Callable[[str], Path]) -> None:
    dropping = tiny_vlm(family, tiny_folder(family), frames="video")
    with pytest.raises((ConfigError, WeightsError), match="frames"):
        dropping.encode([Sample(QUESTION, random_frames())])


def test_frames_lost_on_the_way_are_found(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    if vlm.spec.frames == "tiled":
        pytest.skip("all frames are one picture before the processor sees them")
    process = vlm._process

    def losing(prompts: list[str], given: list[Frames]) -> dict[str, torch.Tensor]:
        fewer = [replace(f, images=f.images[:4], times=f.times[:4]) if len(f.images) > 4 else f for f in given]
        return process(prompts, fewer)

    monkeypatch.setattr(vlm, "_process", losing)
    with pytest.raises((ConfigError, WeightsError), match="frames"):
        vlm.encode([Sample(QUESTION, random_frames(6))])


def test_times_of_frames_are_told_to_the_model(tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm("qwen3_vl", tiny_folder("qwen3_vl"))
    frames = replace(random_frames(), times=(0.2, 0.4, 1.2, 1.4), duration=2.0)
    text = vlm.tokenizer.decode(vlm.encode([Sample(QUESTION, frames)]).tensors["input_ids"][0])
    assert "<0.3 seconds>" in text
    assert "<1.3 seconds>" in text
    smol = tiny_vlm("smolvlm", tiny_folder("smolvlm"))
    frames = replace(frames, times=(1.0, 61.0, 62.0, 63.5), duration=64.0)
    text = smol.tokenizer.decode(smol.encode([Sample(QUESTION, frames)]).tensors["input_ids"][0])
    assert "01:01" in text
    assert "0:01:04" in text


def test_too_many_frames_are_refused(tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm("video_llava", tiny_folder("video_llava"))
    with pytest.raises(ConfigError, match="video_llava takes 15 frames at most, not 16"):
        vlm.encode([Sample(QUESTION, random_frames(16))])


def test_control_tokens_in_a_transcript_are_no_placeholders(vlm: Vlm) -> None:
    image = vlm.tokenizer.convert_ids_to_tokens(vlm._vision_ids[0])
    said = f"I saw {image} and {vlm.tokenizer.eos_token} there"
    plain, hostile = (vlm.encode([Sample(text, random_frames())]) for text in ("I saw it", said))
    assert plain.vision_tokens == hostile.vision_tokens


def test_adapters_would_reach_the_text_model_alone(vlm: Vlm) -> None:
    names = [name for name, _ in vlm.model.named_modules() if re.fullmatch(f"{vlm.spec.text_modules}.*q_proj", name)]
    layers = vlm.model.config.get_text_config().num_hidden_layers
    assert len(names) == layers, names
    assert not [name for name in names if re.search("vision|visual|tower|perceiver|connector|cross", name)]


def test_there_are_ten_families_and_each_is_one_file() -> None:
    files = {path.stem: OmegaConf.load(path) for path in (conf_folder() / "vlm").glob("*.yaml")}
    assert set(files) == set(FAMILIES)
    assert all(settings.name == name for name, settings in files.items())
