"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) in the text model of a vision-language model, and nowhere else.

What an adapter's folder says of its base is never followed: it is put on the model that the configuration names.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.core.weights_file import opened
from subtext.core.writing import replacing, write_text
from subtext.errors import ConfigError, WeightsError
from subtext.vlm.spec import VlmSpec

if TYPE_CHECKING:
    import torch

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
ADAPTED: Final = r".*(q_proj|v_proj)"
"""Which layers of the text model are adapted."""
NOT_TEXT: Final = re.compile(r"vision|visual|image|video|perceiver|resampler|connector|projector|cross", re.IGNORECASE)
_BASE: Final = "base_sha256"
_PREFIX: Final = "base_model.model."
"""What peft puts before a layer's name in a file."""
_KEY: Final = re.compile(re.escape(_PREFIX) + r"(.+)\.lora_([AB])\.weight")
_PLAIN: Final = {"peft_type": ("LORA",), "bias": ("none", None), "fan_in_fan_out": (False, None)}
_OTHER_KINDS: Final = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "lora_bias",
)


def targets(spec: VlmSpec, model: "torch.nn.Module") -> list[str]:
    """Names of the linear layers that get an adapter: queries and values of the text model's attention.

    Raises:
        ConfigError: there are none, or one of them is not in the text model.
    """
    import torch

    try:
        pattern = re.compile(spec.text_modules + ADAPTED)
    except re.error as error:
        raise ConfigError(f"vlm.text_modules={spec.text_modules}: no regular expression ({error})") from error
    found = [n for n, part in model.named_modules() if isinstance(part, torch.nn.Linear) and pattern.fullmatch(n)]
    if not found:
        raise ConfigError(f"vlm.text_modules={spec.text_modules}: no layer of {type(model).__name__} is named so")
    _check_text(found)
    return found


def adapter_parameters(model: "torch.nn.Module", spec: VlmSpec, rank: int) -> int:
    """Numbers in an adapter of this rank."""
    parts = dict(model.named_modules())
    # Not by the weight, which is packed in a layer of four bits.
    return sum(rank * (parts[name].in_features + parts[name].out_features) for name in targets(spec, model))


def add_adapter(
    model: "torch.nn.Module", names: Sequence[str], *, rank: int, alpha: float, dropout: float = 0.0
) -> None:
    """Put fresh adapters on layers, in place. They alone are trained, in float32; at first they change nothing.

    Raises:
        ConfigError: peft is missing, or an adapter would stand outside the text model.
    """
    import torch

    try:
        import peft
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"adapters need a package that is not installed ({error}); pip install 'subtext[vlm]'"
        ) from error
    model.requires_grad_(False)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="|".join(map(re.escape, names))
    )
    peft.inject_adapter_in_model(config, model)
    there = [name.removesuffix(".lora_A") for name, _ in model.named_modules() if name.endswith(".lora_A")]
    if sorted(there) != sorted(names):
        raise ConfigError(f"{len(there)} layers got an adapter, {len(names)} should have; report this as a fault")
    _check_text(there)
    for name, weight in model.named_parameters():
        weight.requires_grad_(".lora_" in name)
        if weight.requires_grad and weight.dtype != torch.float32:
            weight.data = weight.data.float()


def adapter_state(model: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    """The adapters' numbers by their names in the model, on the CPU."""
    return {
        name: weight.detach().cpu().clone().contiguous()
        for name, weight in model.named_parameters()
        if ".lora_" in name
    }


def write_adapter(model: "torch.nn.Module", folder: Path, *, rank: int, alpha: float, base: str) -> None:
    """Write the adapters of a model in peft's format: safetensors and a configuration that names no base.

    Args:
        model: with adapters.
        folder: made if need be.
        rank: of the adapters.
        alpha: of the adapters.
        base: sha256 of the base's folder, kept beside the numbers.
    """
    from safetensors.torch import save_file

    state = {_PREFIX + name.replace(".default.", "."): weight for name, weight in adapter_state(model).items()}
    names = sorted({match[1] for key in state if (match := _KEY.fullmatch(key))})
    with replacing(folder / WEIGHTS) as place:
        save_file(state, place, metadata={"format": "pt", _BASE: base})
    about: dict[str, Any] = {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
    }
    about |= {"bias": "none", "target_modules": names, "inference_mode": True}
    write_text(folder / CONFIG, json.dumps(about, indent=1) + "\n")


def load_adapter(spec: VlmSpec, model: "torch.nn.Module", folder: Path) -> None:
    """Put the adapter of a folder on a model, in place. Only its numbers and its `lora_alpha` are taken from there.

    Raises:
        WeightsError: it is no plain LoRA adapter of this model's text model, or is not whole.
    """
    import torch

    about, state = read_adapter(folder)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, weight in state.items():
        match = _KEY.fullmatch(key)
        if match is None or weight.dim() != 2 or not weight.is_floating_point():
            raise WeightsError(f"{folder / WEIGHTS}: '{key[:100]}' is no part of a plain LoRA adapter; take another")
        if not bool(torch.isfinite(weight).all()):
            raise WeightsError(f"{folder / WEIGHTS}: '{key[:100]}' holds what is not a number; train it again")
        shapes.setdefault(match[1], {})[match[2]] = tuple(weight.shape)
    ranks = {pair["A"][0] if "A" in pair else 0 for pair in shapes.values()}
    if len(ranks) != 1 or 0 in ranks:
        raise WeightsError(f"{folder / WEIGHTS}: its layers are not of one rank; take a plain LoRA adapter")
    rank = ranks.pop()
    parts = dict(model.named_modules())
    for name, pair in shapes.items():
        part = parts.get(name)
        if not isinstance(part, torch.nn.Linear):
            raise WeightsError(f"{folder}: the model has no layer '{name[:100]}'; the adapter is of another base")
        if pair != {"A": (rank, part.in_features), "B": (part.out_features, rank)}:
            raise WeightsError(
                f"{folder}: '{name[:100]}' is of another size in the model; the adapter is of another base"
            )
    outside = sorted(shapes.keys() - _text_layers(spec, parts))
    if outside:
        raise WeightsError(f"{folder}: it adapts '{outside[0][:100]}', which is not in the text model; take another")
    add_adapter(model, sorted(shapes), rank=rank, alpha=float(about["lora_alpha"]))
    own = dict(model.named_parameters())
    with torch.no_grad():
        for key, weight in state.items():
            own[key.removeprefix(_PREFIX).removesuffix(".weight") + ".default.weight"].copy_(weight)
    model.requires_grad_(False).eval()


def adapter_numbers(folder: Path) -> int:
    """Numbers in the adapter of a folder."""
    return sum(weight.numel() for weight in read_adapter(folder)[1].values())


def check_base(folder: Path, base: str) -> None:
    """Whether an adapter was trained on a base, where it says so; a base's shapes alone don't tell.

    Raises:
        WeightsError: it was trained on another.
    """
    with opened(folder / WEIGHTS) as file:
        known = (file.metadata() or {}).get(_BASE, base)
    if known != base:
        raise WeightsError(f"{folder}: the adapter was trained on another base than vlm.path; name that one")


def read_adapter(folder: Path) -> "tuple[Mapping[str, Any], dict[str, torch.Tensor]]":
    """The configuration and the numbers of an adapter's folder.

    Raises:
        WeightsError: a file is missing or unsafe, or it is an adapter of another kind.
    """
    from subtext.encoders.encoder import read_safetensors

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: {name} is missing; set vlm.adapter to a folder that subtext-vlm tune wrote")
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        alpha = about["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{folder / CONFIG} is no adapter's configuration ({error}); take another") from error
    odd = [name for name, allowed in _PLAIN.items() if about.get(name) not in allowed]
    odd += [name for name in _OTHER_KINDS if about.get(name)]
    if odd or isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
        raise WeightsError(f"{folder / CONFIG}: {(odd or ['lora_alpha'])[0]} is not that of a plain LoRA adapter")
    return about, read_safetensors(folder / WEIGHTS)


def _text_layers(spec: VlmSpec, parts: "Mapping[str, torch.nn.Module]") -> set[str]:
    pattern = re.compile(spec.text_modules + ".*")
    return {name for name in parts if pattern.fullmatch(name) and not NOT_TEXT.search(name)}


def _check_text(names: Sequence[str]) -> None:
    outside = [name for name in names if NOT_TEXT.search(name)]
    if outside:
        raise ConfigError(f"an adapter would stand on '{outside[0]}', outside the text model; mend vlm.text_modules")
