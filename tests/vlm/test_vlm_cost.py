"""Costs counted on shapes are those of the real model; the published configurations are of their cards' size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from builders.tiny_models import BUILDERS, random_frames, tiny_vlm
from subtext.core.composition import conf_folder
from subtext.errors import ConfigError
from subtext.vlm.cost import count_flops, folder_cost, meta_model, published_cost
from subtext.vlm.inputs import Sample
from subtext.vlm.spec import VlmSpec

QUESTION = "Do the words and the face agree? Answer yes or no."
BILLIONS = {
    "idefics": 8.93,
    "idefics2": 8.40,
    "idefics3": 8.46,
    "smolvlm": 2.25,
    "video_llava": 7.37,
    "llava_next_video": 7.06,
    "llava_onevision": 8.03,
    "qwen2_5_vl": 8.29,
    "qwen3_vl": 8.77,
    "internvl": 7.94,
}
"""What the models' cards say, from memory."""


def family(name: str) -> VlmSpec:
    own = OmegaConf.to_container(OmegaConf.load(conf_folder() / "vlm" / f"{name}.yaml"))
    return VlmSpec(**own, path="", device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("name", BUILDERS)
def test_shapes_alone_give_the_operations_of_the_real_model(name: str, tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm(name, tiny_folder(name), attention="eager")
    for frames in (random_frames(4), random_frames(8)):
        encoded = vlm.encode([Sample(QUESTION, frames)])
        found = folder_cost(vlm.spec, vlm.folder, encoded.tensors, encoded.vision_tokens[0], rank=4)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            vlm.model(**encoded.tensors, use_cache=False, logits_to_keep=1)
        assert found.flops_per_prompt == counter.get_total_flops()
        assert found.parameters == sum(weight.numel() for weight in vlm.model.parameters())
        assert found.tokens == encoded.tokens[0]


@pytest.mark.parametrize("name", BUILDERS)
def test_published_models_are_of_their_cards_size(name: str) -> None:
    found = published_cost(family(name), rank=8)
    assert found.parameters / 1e9 == pytest.approx(BILLIONS[name], abs=0.006)
    assert found.adapter_parameters < found.parameters / 1000
    assert found.vision_tokens + 200 == found.tokens
    # Two operations a parameter and token: less what only the last token needs, more by vision.
    assert 0.3 < found.flops_per_prompt / (2 * found.parameters * found.tokens) < 3
    assert found.memory_bf16_gib == pytest.approx(2 * found.parameters / 2**30)


def test_a_family_without_a_published_configuration_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no published configuration of 'other'.*vlm\.path"):
        published_cost(VlmSpec(name="other", path="", device="cpu", dtype="float32", frames="images", text_modules="x"))


def test_the_wrong_number_of_placeholders_is_no_cost(tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm("smolvlm", tiny_folder("smolvlm"))
    encoded = vlm.encode([Sample(QUESTION, random_frames(4))])
    ids = encoded.tensors["input_ids"]
    place = int((ids[0] == vlm._vision_ids[0]).nonzero()[0])
    ids[0, place] = 1
    with pytest.raises(ValueError, match="token"):
        count_flops(meta_model(vlm.model.config), encoded.tensors)
