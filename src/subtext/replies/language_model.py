"""A text model from a local folder or a pinned hub revision, with or without an adapter of ours.

Weights are safetensors, code of a model's author is never run, and nothing is fetched unless asked for. What an adapter
says of its base is not followed: it is put on the model at hand.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from subtext.core.weights_file import check_header
from subtext.errors import ConfigError, RunError, WeightsError
from subtext.features.content import file_digest
from subtext.replies.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

Dtype = Literal["float32", "bfloat16"]

ADAPTER: Final = "adapter_model.safetensors"
ADAPTER_CONFIG: Final = "adapter_config.json"
_ADAPTER_SETTINGS: Final = ("r", "lora_alpha", "lora_dropout", "target_modules")
_WANTED: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class LanguageModel:
    """Replies to prompts by the likeliest words, or by words drawn at random.

    Args:
        model: a folder with config.json, a tokenizer and *.safetensors, or a hub id.
        revision: of a hub id: the commit, 40 hexadecimal digits.
        allow_download: fetch from the hub what is not in its local cache.
        adapter: folder of a LoRA adapter.
        max_new_tokens: longest reply.
        temperature: 0 takes the likeliest words.
        seed: of drawn words.
        device: as torch names it, such as cpu or cuda.
        dtype: float32 or bfloat16, of the weights.

    Raises:
        ConfigError: a setting cannot be used.
        WeightsError: the model or adapter lacks a file or cannot be loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        allow_download: bool = False,
        adapter: Path | None = None,
        max_new_tokens: int = 60,
        temperature: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
        dtype: Dtype = "float32",
    ) -> None:
        if max_new_tokens < 1 or not 0 <= temperature < 10:
            raise ConfigError("max_new_tokens must be 1 or more, and temperature from 0 to below 10")
        self.folder = model_folder(model, revision, allow_download)
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.dtype = dtype
        self.model, self.tokenizer = load_model(self.folder, device=device, dtype=dtype)
        self.adapter = adapter
        if adapter is not None:
            self.model = with_adapter(self.model, adapter)
        self.model.eval()

    def settings(self) -> dict[str, Any]:
        """What shapes the replies, as plain types."""
        files = sorted([*self.folder.glob("*.json"), *self.folder.glob("*.safetensors"), *self.folder.glob("*.jinja")])
        return {
            "model": hashlib.sha256("".join(file_digest(path) for path in files).encode()).hexdigest(),
            "adapter": None if self.adapter is None else file_digest(self.adapter / ADAPTER),
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "dtype": self.dtype,
        }

    def __call__(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The replies; None where a prompt is longer than the model reads. Where memory runs out, in halves.

        Raises:
            RunError: memory does not even do for one prompt.
        """
        import torch

        try:
            return self._replies(prompts)
        except torch.OutOfMemoryError:
            if len(prompts) > 1:
                half = len(prompts) // 2
                return [*self(prompts[:half]), *self(prompts[half:])]
            raise RunError("not enough memory for one prompt; take a smaller model, --dtype bfloat16 or cpu") from None

    def _replies(self, prompts: Sequence[Prompt]) -> list[str | None]:
        import torch

        texts = [self.chat(prompt.messages) for prompt in prompts]
        longest = self.context - self.max_new_tokens
        lengths = [len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        fitting = [place for place, length in enumerate(lengths) if length <= longest]
        replies: list[str | None] = [None] * len(prompts)
        if not fitting:
            return replies
        batch = self.tokenizer(
            [texts[place] for place in fitting],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self.model.device)
        drawn = (
            {"do_sample": True, "temperature": self.temperature, "top_k": 0}
            if self.temperature
            else {"do_sample": False}
        )
        # By the prompts, so that a run that goes on draws what it would have drawn.
        torch.manual_seed(int(hashlib.sha256(f"{self.seed}{prompts[0].id}".encode()).hexdigest()[:8], 16))
        with torch.inference_mode():
            made: Tensor = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                **drawn,
            )
        for place, tokens in zip(fitting, made[:, batch["input_ids"].shape[1] :], strict=True):
            replies[place] = str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
        return replies

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages in the model's chat template, up to where the reply begins."""
        return chat_text(self.tokenizer, messages)

    @property
    def context(self) -> int:
        """Tokens that the model reads at once."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or self.tokenizer.model_max_length)


def chat_text(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages in a tokenizer's chat template, up to where the reply begins."""
    return str(tokenizer.apply_chat_template(said(tokenizer, messages), add_generation_prompt=True, tokenize=False))


def said(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The messages without a model's control tokens, which in somebody's words would begin another turn."""
    controls = sorted({str(token) for token in tokenizer.added_tokens_decoder.values()}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, controls))) if controls else None
    return [
        {"role": m["role"], "content": m["content"] if pattern is None else pattern.sub(" ", m["content"])}
        for m in messages
    ]


def model_folder(model: str, revision: str | None, allow_download: bool) -> Path:
    """Where a model's files are.

    Raises:
        ConfigError: the revision is no commit.
        WeightsError: it is neither a folder nor in the hub's cache, or cannot be fetched.
    """
    if Path(model).is_dir():
        return Path(model)
    if revision is None or not _COMMIT.fullmatch(revision):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            raise WeightsError(f"{model} is no folder; name one with config.json, a tokenizer and *.safetensors")
        raise ConfigError(
            f"{model} is no folder; for a model of the hub also give --revision, a commit of 40 hex digits"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                model, revision=revision, local_files_only=not allow_download, allow_patterns=list(_WANTED)
            )
        )
    except LocalEntryNotFoundError:
        remedy = "the hub cannot be reached" if allow_download else "it is not on this machine; add --allow-download"
        raise WeightsError(f"{model} at {revision}: {remedy}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{model} cannot be fetched ({type(error).__name__}: {reason})") from error


def load_model(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> tuple[Any, Any]:
    """The model and its tokenizer, which has a chat template and something to pad with.

    Args:
        folder: its files.
        device: where it is put.
        dtype: of its weights.

    Raises:
        ConfigError: there is no such device.
        RunError: the model does not fit into memory.
        WeightsError: a file is missing or unsafe, model and tokenizer disagree, or there is no chat template.
    """
    import torch

    _check_files(folder)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device '{device}' cannot be used ({' '.join(str(error).split())[:100]}); use cpu"
        ) from error
    try:
        with quiet():
            from transformers import AutoModelForCausalLM, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, dtype),
            ).to(device)
    except torch.OutOfMemoryError:
        raise RunError(
            f"{folder}: not enough memory on {device}; take a smaller model, --dtype bfloat16 or cpu"
        ) from None
    except Exception as error:  # tokenizers raises no narrower one, and the readers what they come upon
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder}: the model cannot be loaded ({type(error).__name__}: {reason})") from error
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise WeightsError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens and the model "
            f"{model.get_input_embeddings().num_embeddings}; they do not belong together"
        )
    if not tokenizer.chat_template:
        raise WeightsError(f"{folder}: the tokenizer has no chat template; take an instruction-tuned model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: config.json is missing; copy the whole model folder")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise WeightsError(f"{folder}: the tokenizer (tokenizer.json) is missing; copy the whole model folder")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise WeightsError(f"{index} cannot be read; copy it again") from error
        missing = sorted(name for name in wanted if not (folder / str(name)).is_file())
        if missing:
            raise WeightsError(f"{folder}: {missing[0]} is missing; copy the whole model folder")
    elif not list(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        what = "weights as a pickle are not read; save the model as" if pickled else "no weights; the folder needs"
        raise WeightsError(f"{folder}: {what} model.safetensors")
    for path in sorted(folder.glob("*.safetensors")):
        check_header(path)


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with a LoRA adapter of which only sizes and module names are believed.

    Raises:
        WeightsError: a file is missing or does not fit the model.
    """
    from subtext.encoders.encoder import read_safetensors

    peft = import_peft()
    for name in (ADAPTER_CONFIG, ADAPTER):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder}: {name} is missing; name a folder that subtext-replies tune wrote")
    try:
        described = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", **{key: described[key] for key in _ADAPTER_SETTINGS if key in described}
        )
        tensors = read_safetensors(folder / ADAPTER)
        adapted = peft.get_peft_model(model, config)
        loaded = peft.set_peft_model_state_dict(adapted, tensors)
        missing = [key for key in loaded.missing_keys if "lora_" in key]
        if missing or loaded.unexpected_keys:
            raise ValueError(f"{len(missing)} of its tensors are missing, {len(loaded.unexpected_keys)} too many")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        WeightsError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder}: the adapter does not fit the model ({reason})") from error
    return adapted


def import_peft() -> Any:
    """The module peft.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError("peft is missing; run: pip install 'subtext[vlm]'") from error
    return peft


@contextmanager
def quiet() -> "Iterator[None]":
    """Without transformers' progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
