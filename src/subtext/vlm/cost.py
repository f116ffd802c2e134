"""What a vision-language model costs, counted without its weights: parameters, operations, tokens, memory of weights.

The whole forward pass of the real model class is run on shapes alone: floating-point tensors stand on torch's meta
device, while whole numbers and masks, whose values decide what is computed (which pictures are padding, where
placeholders stand), are computed as usual. So connectors, resamplers and perceivers are counted too.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import yaml

from subtext.errors import ConfigError, WeightsError
from subtext.vlm.adapters import adapter_numbers, adapter_parameters
from subtext.vlm.inputs import Frames, Sample, Vlm
from subtext.vlm.spec import VlmSpec

if TYPE_CHECKING:
    import torch

FRAMES: Final = 8
SIZE: Final = (384, 512)
"""Height and width of a frame, px: 4:3 at the longer side that is sent by default."""
TEXT_TOKENS: Final = 200
"""Tokens of a prompt besides those that stand for pictures: question, transcript, marks around frames."""


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        model: its name.
        source: where its configuration is from.
        parameters: numbers in the model.
        adapter_parameters: numbers in the LoRA adapter that is trained in fine-tuning.
        flops_per_prompt: operations of reading one prompt about one clip, up to the answer's first token; a
            multiplication and an addition are two, attention is counted in full, not by half for its causal mask.
        tokens: of that prompt.
        vision_tokens: placeholders for pictures among them.
        memory_bf16_gib: of the weights alone in bfloat16, GiB.
        memory_float32_gib: of the weights alone in float32, GiB.
    """

    model: str
    source: str
    parameters: int
    adapter_parameters: int
    flops_per_prompt: int
    tokens: int
    vision_tokens: int
    memory_bf16_gib: float
    memory_float32_gib: float

    def as_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


def configured_cost(settings: Mapping[str, Any], rank: int) -> Cost:
    """Of the model of a configuration: the one in `vlm.path`, else the family's published one.

    Args:
        settings: `vlm` and `frames`.
        rank: of an adapter.
    """
    spec = VlmSpec(**{**settings["vlm"], "path": str(settings["vlm"]["path"])})
    if spec.path == "???":
        return published_cost(spec, rank)
    vlm = Vlm(spec)
    count = len(settings["frames"].get("times") or ()) or int(settings["frames"]["count"])
    black = Frames(np.zeros((count, *SIZE, 3), np.uint8), tuple(float(n) for n in range(count)), float(count))
    encoded = vlm.encode([Sample("Do the person's words and face disagree? Answer with one word, yes or no.", black)])
    return folder_cost(spec, vlm.folder, encoded.tensors, encoded.vision_tokens[0], rank)


def published_cost(spec: VlmSpec, rank: int = 8) -> Cost:
    """Of the family's published model of full size, for 8 frames of 512 x 384 px and 200 other tokens.

    Args:
        spec: the family.
        rank: of the adapter.

    Raises:
        ConfigError: the family has no published configuration in this package.
    """
    import torch
    from transformers import AutoConfig

    about = _published(spec.name)
    node = dict(about["config"])
    config = AutoConfig.for_model(node.pop("model_type"), **node)
    model = meta_model(config)
    tensors = _frames_as(about["processor"])
    names = [f"{kind}_token_{what}" for kind in ("video", "image") for what in ("id", "index")]
    marks = [token for name in names if (token := getattr(config, name, None)) is not None]
    if "pixel_values" in tensors and len(marks) > 1:
        marks = [config.image_token_id]
    vision = int(about["vision_tokens"])
    ids = torch.ones(1, vision + TEXT_TOKENS, dtype=torch.long)
    run = vision // (runs := about.get("runs", 1))
    for first in range(1, 1 + runs * (run + 1), run + 1):
        ids[0, first : first + run] = marks[0] if marks else 1
    tensors |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "image_attention_mask" in inspect.signature(model.forward).parameters:  # IDEFICS
        tensors["image_attention_mask"] = torch.ones(1, ids.shape[1], tensors["pixel_values"].shape[1])
    if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
        tensors["mm_token_type_ids"] = 2 * (ids == marks[0]).long()
    return _cost(spec, model, tensors, vision, rank, about["model"], about["source"])


def folder_cost(spec: VlmSpec, folder: Path, tensors: "Mapping[str, torch.Tensor]", vision: int, rank: int = 8) -> Cost:
    """Of the model in a folder, whose weights are not read.

    Args:
        spec: the family.
        folder: with config.json.
        tensors: one prompt, as `Vlm.encode` gives it.
        vision: placeholders for pictures in it.
        rank: of the adapter.

    Raises:
        WeightsError: config.json cannot be used.
    """
    from transformers import AutoConfig

    try:
        model = meta_model(AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder}: config.json cannot be used ({' '.join(str(error).split())[:200]})") from error
    return _cost(spec, model, tensors, vision, rank, folder.name, "its config.json")


def prompt_cost(vlm: Vlm, sample: Sample) -> dict[str, Any]:
    """Of reading one prompt: `parameters`, `adapter_parameters`, `flops` of the base, and `peak_memory_mb`, the most
    that this process has held so far.
    """
    encoded = vlm.encode([sample])
    found = folder_cost(vlm.spec, vlm.folder, encoded.tensors, encoded.vision_tokens[0])
    return {
        "parameters": found.parameters,
        "adapter_parameters": 0 if vlm.spec.adapter is None else adapter_numbers(Path(vlm.spec.adapter)),
        "flops": found.flops_per_prompt,
        "peak_memory_mb": _peak_memory(vlm.spec.device),
    }


def clip_cost(prompt: Mapping[str, Any], answers: pd.DataFrame, device: str) -> dict[str, Any]:
    """Of all prompts about a clip, as `subtext-compare` shows it beside light models.

    Args:
        prompt: as `prompt_cost` gives it.
        answers: the answer log; `ms` of a prompt is its share of the batch that it was answered in.
        device: that answered.

    Returns:
        `parameters`, `flops_per_clip` (as if nothing of one prompt were kept for the next), `prompts_per_clip`,
        `tokens_per_clip`, `ms_per_clip` by device, `peak_memory_mb`.
    """
    by_clip = answers.loc[answers["control"] == ""].groupby("id")
    prompts = float(by_clip.size().mean())
    took = by_clip["ms"].sum(min_count=1).mean()
    return {
        "parameters": {"trainable": prompt["adapter_parameters"], "frozen": prompt["parameters"]},
        "flops_per_clip": round(prompt["flops"] * prompts),
        "prompts_per_clip": prompts,
        "tokens_per_clip": float(by_clip["tokens"].sum().mean()),
        "ms_per_clip": {} if pd.isna(took) else {device.partition(":")[0]: float(took)},
        "peak_memory_mb": prompt["peak_memory_mb"],
    }


def _peak_memory(device: str) -> float | None:
    import torch

    from subtext.runs.cost import peak_memory

    return torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else peak_memory()


def meta_model(config: Any) -> "torch.nn.Module":
    """The model of a configuration, on the meta device: shapes without numbers."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        # Plain attention, because the counter knows no fused one on this device.
        model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager")
    made: torch.nn.Module = model.to("meta").eval().requires_grad_(False)
    return made


def count_flops(model: "torch.nn.Module", tensors: "Mapping[str, torch.Tensor]") -> int:
    """Operations of one forward pass with logits for the last token alone, where the model can leave out the others.

    Args:
        model: on the meta device.
        tensors: a prompt's, on the CPU.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = 1
    with FlopCounterMode(display=False) as counter, torch.no_grad(), _shapes():
        model(**tensors, **options)
    return int(counter.get_total_flops())


def _cost(
    spec: VlmSpec,
    model: "torch.nn.Module",
    tensors: "Mapping[str, torch.Tensor]",
    vision: int,
    rank: int,
    name: str,
    source: str,
) -> Cost:
    parameters = sum(weight.numel() for weight in model.parameters())
    flops = count_flops(model, tensors)
    return Cost(
        model=name,
        source=source,
        parameters=parameters,
        adapter_parameters=adapter_parameters(model, spec, rank),
        flops_per_prompt=flops,
        tokens=int(tensors["attention_mask"].sum()),
        vision_tokens=vision,
        memory_bf16_gib=2 * parameters / 2**30,
        memory_float32_gib=4 * parameters / 2**30,
    )


def _published(family: str) -> dict[str, Any]:
    place = resources.files("subtext.vlm") / "published" / f"{family}.yaml"
    if not place.is_file():
        raise ConfigError(f"there is no published configuration of '{family}' here; set vlm.path to a model's folder")
    about: dict[str, Any] = yaml.safe_load(place.read_text(encoding="utf-8"))
    return about


def _frames_as(processor: Mapping[str, Any]) -> "dict[str, torch.Tensor]":
    """Black frames, as the family's processor for pictures or video gives them."""
    import torch
    import transformers
    from PIL import Image
    from transformers.video_utils import VideoMetadata

    part = getattr(transformers, processor["name"])(**processor["settings"])
    images = np.zeros((FRAMES, *SIZE, 3), np.uint8)
    if "Video" in processor["name"].removeprefix("VideoLlava").removeprefix("LlavaNextVideo"):
        about = VideoMetadata(
            total_num_frames=FRAMES, fps=1.0, width=SIZE[1], height=SIZE[0], frames_indices=list(range(FRAMES))
        )
        made = part(videos=[images], video_metadata=[about], do_sample_frames=False, return_tensors="pt")
    elif processor["name"] == "IdeficsImageProcessor":
        return {"pixel_values": part([Image.fromarray(images[0])], return_tensors="pt")[None]}
    else:
        made = part([[Image.fromarray(image) for image in images]], return_tensors="pt")
    return {key: value for key, value in made.items() if torch.is_tensor(value)}


def _shapes() -> Any:
    """A mode under which floating-point results of weights stay without numbers, and whole numbers have them."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map_only

    aten = torch.ops.aten
    indexing = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            without = any(tensor.is_meta for tensor in tensors)
            if kwargs.get("device") is not None:
                # What has no numbers cannot leave the meta device, what has them must not go there.
                kwargs["device"] = torch.device("meta" if without else "cpu")
            if without:
                if func in indexing:  # where a mask is true is told by its numbers
                    places = [_places(index) for index in args[1]]
                    args = (args[0], [one for each in places for one in each], *args[2:])
                args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
            return func(*args, **kwargs)

    return Shapes()


def _places(index: "torch.Tensor | None") -> "list[torch.Tensor | None]":
    import torch

    if index is None or index.dtype != torch.bool or index.is_meta:
        return [index]
    return list(index.nonzero(as_tuple=True))
