"""LoRA adapters in the text model of a vision-language model: put there, counted, written and read as safetensors."""

import re
from typing import TYPE_CHECKING, Final

from subtext.errors import ConfigError
from subtext.vlm.spec import VlmSpec

if TYPE_CHECKING:
    import torch

ADAPTED: Final = r".*(q_proj|v_proj)"
"""Which layers of the text model are adapted."""


def targets(spec: VlmSpec, model: "torch.nn.Module") -> list[str]:
    """Names of the linear layers that get an adapter: queries and values of the text model's attention.

    Raises:
        ConfigError: there are none.
    """
    import torch

    pattern = re.compile(spec.text_modules + ADAPTED)
    found = [n for n, part in model.named_modules() if isinstance(part, torch.nn.Linear) and pattern.fullmatch(n)]
    if not found:
        raise ConfigError(f"vlm.text_modules={spec.text_modules}: no layer of {type(model).__name__} is named so")
    return found


def adapter_parameters(model: "torch.nn.Module", spec: VlmSpec, rank: int) -> int:
    """Numbers in an adapter of this rank."""
    parts = dict(model.named_modules())
    return sum(rank * sum(parts[name].weight.shape) for name in targets(spec, model))
