"""Find a model's folder, check it, and load processor and model: from safetensors, without code from the folder."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.core.hub import hub_folder
from subtext.core.offline import offline
from subtext.core.weights_file import check_header
from subtext.errors import ConfigError, WeightsError
from subtext.features.content import DigestMemory
from subtext.vlm.spec import VlmSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FILES: Final = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
"""What a model folder may consist of; nothing else of a repository is fetched, read or counted."""
INDEX: Final = "model.safetensors.index.json"
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
_HEADROOM: Final = 1.2
"""Memory by the weights' own: the frames' activations and one layer's temporary copies; measured is what a run says."""


def find_folder(spec: VlmSpec) -> Path:
    """The model's folder, checked: whole, safetensors only, neither an adapter nor quantised by code from elsewhere.

    Raises:
        WeightsError: there is none, it lacks a file, or holds what is not read.
        ConfigError: a hub id has no pinned revision.
    """
    folder = Path(spec.path)
    if not folder.is_dir():
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", spec.path) or folder.is_absolute():
            raise WeightsError(f"no model folder {spec.path}; set vlm.path to a folder or a hub id (owner/name)")
        if spec.revision is None:
            raise ConfigError(
                f"vlm.path={spec.path} is no folder here; as a hub id it needs its commit, vlm.revision=<40 hex digits>"
            )
        found = hub_folder(spec.path, spec.revision, FILES, allow_download=spec.allow_download, what="model")
        if found is None:
            raise WeightsError(
                f"model {spec.path} is not on this machine; set vlm.path to its folder, or vlm.allow_download=true"
            )
        folder = found
    _check_folder(folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The model's safetensors files: the one, or those of its index.

    Raises:
        WeightsError: one is missing, or the index leads out of the folder.
    """
    single, index = folder / "model.safetensors", folder / INDEX
    if single.is_file():  # as transformers does, which then looks at no index
        return [single]
    if not index.is_file():
        pickled = sorted(p.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5") for p in folder.glob(kind))
        if pickled:
            raise WeightsError(f"{folder / pickled[0]}: only safetensors are read; save the model again as safetensors")
        raise WeightsError(f"{folder}: model.safetensors is missing; fetch the model again")
    mapped = _json(index).get("weight_map")
    names = sorted(set(map(str, mapped.values()))) if isinstance(mapped, dict) else []
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise WeightsError(f"{index} names '{name}', which is no safetensors file of this folder")
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: {name} is missing, which {INDEX} names; fetch the model again")
    if not names:
        raise WeightsError(f"{index} names no weights; fetch the model again")
    return [folder / name for name in names]


def _check_folder(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file() or (folder / "adapter_model.safetensors").is_file():
        raise WeightsError(
            f"{folder} holds an adapter, whose base is never fetched; set vlm.path to the base model's own folder"
        )
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: {name} is missing; fetch the model again")
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise WeightsError(f"{folder}: it has no processor (preprocessor_config.json); fetch the model again")
    config = _json(folder / "config.json")
    if "quantization_config" in config:
        raise WeightsError(
            f"{folder}: the weights are quantised; take the model's own weights in vlm.dtype, or vlm.four_bit=true"
        )
    if config.get("transformers_weights") is not None:
        raise WeightsError(f"{folder}: config.json names other weight files; save the model as model.safetensors")
    weight_files(folder)


def load_processor(spec: VlmSpec, folder: Path) -> Any:
    """The processor with its tokenizer, padded on the left.

    Raises:
        WeightsError: it cannot be loaded, or has no chat template though the family gives none.
        ConfigError: it has no setting that the family names.
    """
    from transformers import AutoProcessor

    processor = _loaded(AutoProcessor, folder, "processor", {})
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or tokenizer.pad_token_id is None:
        what = "tokenizer" if tokenizer is None else "padding token"
        raise WeightsError(f"{folder}: the processor has no {what}; save processor and tokenizer there together")
    tokenizer.padding_side = "left"
    if spec.chat_template is None and not (getattr(processor, "chat_template", None) or tokenizer.chat_template):
        raise WeightsError(
            f"{folder}: the processor has no chat template (chat_template.jinja); fetch it again, or set "
            "vlm.chat_template"
        )
    # Set before, not at a call: Idefics2 counts its placeholders by what its parts hold, whatever a call says.
    parts = [part for kind in ("image", "video") if (part := getattr(processor, f"{kind}_processor", None)) is not None]
    for name, value in spec.processor.items():
        having = [part for part in parts if hasattr(part, name)]
        if not having:
            raise ConfigError(f"vlm.processor.{name}: no part of {type(processor).__name__} has such a setting")
        for part in having:
            setattr(part, name, value)
    return processor


def load_model(spec: VlmSpec, folder: Path, processor: Any) -> "PreTrainedModel":
    """The model in eval mode on its device; what will not fit is said before anything is read.

    Raises:
        ConfigError: there is no such device, or the weights are larger than its free memory.
        WeightsError: the folder's model cannot be loaded, or is not that of its tokenizer.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    device = check_device(spec.device)
    check_memory(spec, folder, device)
    settings = {"use_safetensors": True, "dtype": getattr(torch, spec.dtype), "attn_implementation": spec.attention}
    if spec.four_bit:
        settings |= _four_bit(getattr(torch, spec.dtype), device)
    told = {**settings, "output_loading_info": True}
    model, info = _loaded(AutoModelForImageTextToText, folder, "model", told)
    missing = sorted(info["missing_keys"])
    if missing:  # which transformers would fill with random numbers and a warning
        raise WeightsError(
            f"{folder}: its weights lack {len(missing)} tensors, such as '{missing[0]}'; fetch the whole model again"
        )
    model = model.eval().requires_grad_(False)
    _check_agreement(folder, model, processor)
    _plain_generation(spec, model, processor.tokenizer)
    if spec.adapter is not None:
        from subtext.vlm.adapters import load_adapter

        load_adapter(spec, model, Path(spec.adapter))
    return model if spec.four_bit else model.to(device)  # which a model in four bits is on already


def _four_bit(dtype: "torch.dtype", device: "torch.device") -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ConfigError("vlm.four_bit needs a package that is not installed; pip install bitsandbytes") from None
    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": quantised, "device_map": {"": device}}


def check_device(name: str) -> "torch.device":
    """The device of this name.

    Raises:
        ConfigError: it is not there.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"vlm.device={name} is no device; use cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"vlm.device={name}: {torch.cuda.device_count() or 'no'} GPU is to be seen here; use "
            "vlm.device=cpu, or run where there is one"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"vlm.device={name}: only cpu and cuda are used")
    return device


def check_memory(spec: VlmSpec, folder: Path, device: "torch.device") -> None:
    """Say before loading what will not fit.

    Raises:
        ConfigError: the weights in `vlm.dtype` need more than is free.
    """
    # In four bits tables of words keep their precision, and layers pass through it: a byte a number is enough for both.
    needed = parameter_count(folder) * (1 if spec.four_bit else _BYTES[spec.dtype]) * _HEADROOM
    free = free_memory(device)
    if free is not None and needed > free:
        precision = "four bits" if spec.four_bit else spec.dtype
        raise ConfigError(
            f"{folder.name} in {precision} needs about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free on "
            f"{device}; use a smaller model, vlm.dtype=bfloat16, or another device"
        )


def parameter_count(folder: Path) -> int:
    """Numbers in the weight files, read from their headers."""
    return sum(math.prod(shape) for path in weight_files(folder) for shape in _shapes(path))


def free_memory(device: "torch.device") -> int | None:
    """Bytes that are free on a device, None where the system does not say."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(1024 * int(re.findall(r"MemAvailable:\s+(\d+) kB", text)[0]))
        group = Path("/sys/fs/cgroup")  # a container's own limit; files that were read can be dropped again
        limit, used, stat = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current", "stat"))
        if limit != "max":
            files = int(re.findall(r"^inactive_file (\d+)$", stat, re.MULTILINE)[0])
            found.append(int(limit) - int(used) + files)
    except (OSError, IndexError, ValueError):
        pass
    return min(found, default=None)


def _shapes(path: Path) -> list[list[int]]:
    """Of every tensor of a safetensors file, from its header."""
    try:
        check_header(path)
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return [list(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}); fetch it again") from error


def _loaded(auto: Any, folder: Path, what: str, settings: Mapping[str, Any]) -> Any:
    from safetensors import SafetensorError
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        with offline():
            return auto.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **settings)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        RecursionError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder}: the {what} cannot be loaded ({type(error).__name__}: {reason})") from error


def _check_agreement(folder: Path, model: "PreTrainedModel", processor: Any) -> None:
    """Whether the tokenizer's numbers are rows of the model's table, and both mean the same by a picture."""
    table, tokens = model.get_input_embeddings(), len(processor.tokenizer)
    # IDEFICS keeps the rows of its control tokens apart.
    rows = table.num_embeddings + getattr(table, "num_additional_embeddings", 0)
    if tokens > rows:
        raise WeightsError(
            f"{folder}: the tokenizer has {tokens} tokens and the model {rows}; they are not of one model: fetch the "
            "folder again as a whole"
        )
    for kind in ("image", "video"):
        ours = getattr(processor, f"{kind}_token_id", None)
        theirs = next(
            (i for n in (f"{kind}_token_id", f"{kind}_token_index") if (i := getattr(model.config, n, None))), None
        )
        if theirs is not None and ours != theirs:
            raise WeightsError(
                f"{folder}: the processor's {kind} token is {ours}, the model's {theirs}; they are not of one model: "
                "fetch the folder again as a whole"
            )


def _plain_generation(spec: VlmSpec, model: "PreTrainedModel", tokenizer: Any) -> None:
    """Greedy decoding with the folder's end tokens and those of the family: no penalties or samplers of its own."""
    from transformers import GenerationConfig

    own = model.generation_config.eos_token_id if model.generation_config else None
    ends = [own] if isinstance(own, int) else list(own or [])
    ends += [tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(token) for token in spec.stop)]
    known = {end for end in ends if end is not None and end != tokenizer.unk_token_id}
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(known), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {path} ({' '.join(str(error).split())}); fetch the model again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} does not hold a JSON object; fetch the model again")
    return content


def folder_digest(folder: Path, memory: DigestMemory) -> str:
    """sha256 over the names and contents of all files of a model.

    Raises:
        WeightsError: one cannot be read.
    """
    files = sorted({path for pattern in FILES for path in folder.rglob(pattern)})
    digests = memory.digests(files)
    bad = next((error for error in digests.values() if isinstance(error, OSError)), None)
    if bad is not None:
        raise WeightsError(f"{folder}: {bad.filename or 'a file'} cannot be read: {bad.strerror or bad}")
    told = "".join(f"{path.relative_to(folder).as_posix()} {digests[path]}\n" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()


def model_digest(folder: Path, adapter: str | None, memory: DigestMemory) -> str:
    """sha256 of a model with its adapter, where it has one.

    Raises:
        WeightsError: a file cannot be read, or the adapter is of another base.
    """
    base = folder_digest(folder, memory)
    if adapter is None:
        return base
    from subtext.vlm.adapters import check_base

    check_base(Path(adapter), base)
    return hashlib.sha256(f"{base} {folder_digest(Path(adapter), memory)}".encode()).hexdigest()
