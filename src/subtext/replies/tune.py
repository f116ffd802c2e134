"""LoRA on a text model: AnnoMI's counsellors of high quality as examples of replies."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.writing import write_text
from subtext.errors import ConfigError, ManifestError, NotFiniteError
from subtext.replies.language_model import Dtype, chat_text, import_peft, load_model, said
from subtext.replies.prompts import Prompt, make_prompts
from subtext.replies.texts import words_of

FACTS: Final = "tuning.json"
_IGNORED: Final = -100
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuning:
    """How to tune.

    Attributes:
        replies: most replies to learn from, drawn by the seed.
        longest: tokens of prompt and reply together; what is longer is left out.
        shortest: words of a reply; "Mm-hmm." teaches nothing.
        batch_size: replies a step.
        learning_rate: at the start; it falls to 0 along a line.
        rank: of the adapter; its alpha is twice that.
        target_modules: what it adapts.
        seed: draws the replies, their order and the adapter's first weights.
        device: as torch names it.
        dtype: of the base's weights; the adapter's are float32.
    """

    replies: int = 1000
    longest: int = 200
    shortest: int = 3
    batch_size: int = 8
    learning_rate: float = 2e-4
    rank: int = 8
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    seed: int = 0
    device: str = "cpu"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        if min(self.replies, self.longest, self.batch_size, self.rank) < 1 or not self.learning_rate > 0:
            raise ConfigError("replies, longest, batch_size, rank and learning_rate must be above 0")


def examples_of(turns: pd.DataFrame, tuning: Tuning) -> list[tuple[Prompt, str]]:
    """Prompts with the reply that a counsellor of a session of high quality gave.

    Raises:
        ManifestError: the corpus has no mi_quality, or none of those.
    """
    if "mi_quality" not in turns:
        raise ManifestError(
            "there is no column 'mi_quality'; tuning takes replies of AnnoMI's sessions of high quality"
        )
    good = turns[(turns["mi_quality"] == "high") & turns["reply"].notna()]
    good = good[[len(words_of(reply)) >= tuning.shortest for reply in good["reply"]]]
    if not len(good):
        raise ManifestError("no session of high quality has a reply to learn from; choose another split")
    return list(zip(make_prompts(good), good["reply"], strict=True))


def tune(folder: Path, examples: Sequence[tuple[Prompt, str]], tuning: Tuning, out: Path) -> dict[str, Any]:
    """One epoch over at most `tuning.replies` examples; writes the adapter as safetensors.

    Only the reply's tokens and the end of the turn are learned.

    Args:
        folder: the base model.
        examples: as `examples_of` gives them.
        tuning: settings.
        out: folder for adapter_model.safetensors, adapter_config.json and tuning.json.

    Returns:
        What was done: replies, tokens, steps, trainable parameters, mean loss of the first and the last tenth.

    Raises:
        ConfigError: the model has no such modules.
        ManifestError: no example is short enough.
        NotFiniteError: the loss is no number any more.
        WeightsError: the model cannot be loaded.
    """
    import torch

    peft = import_peft()
    torch.manual_seed(tuning.seed)
    model, tokenizer = load_model(folder, device=tuning.device, dtype=tuning.dtype)
    encoded = [pair for pair in (_encoded(tokenizer, *one) for one in examples) if len(pair[0]) <= tuning.longest]
    if not encoded:
        raise ManifestError(f"no reply has {tuning.longest} tokens or fewer with its prompt; raise --longest")
    order = np.random.default_rng(tuning.seed).permutation(len(encoded))[: tuning.replies]
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules=list(tuning.target_modules)
    )
    try:
        model = peft.get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"{folder}: {' '.join(str(error).split())[:200]}") from error
    model.train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=tuning.learning_rate)
    batches = [order[first : first + tuning.batch_size] for first in range(0, len(order), tuning.batch_size)]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    losses, tokens = [], 0
    for number, rows in enumerate(batches, 1):
        width = max(len(encoded[row][0]) for row in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), _IGNORED)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            full, prompt = encoded[row]
            ids[place, : len(full)] = torch.tensor(full)
            labels[place, prompt : len(full)] = torch.tensor(full[prompt:])
            mask[place, : len(full)] = 1
            tokens += len(full)
        ids, labels, mask = (tensor.to(tuning.device) for tensor in (ids, labels, mask))
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        if not torch.isfinite(loss):
            raise NotFiniteError(f"the loss of step {number} is {float(loss.detach())}; lower --learning-rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        losses.append(float(loss.detach()))
        _log.info("step %d of %d, loss %.3f", number, len(batches), losses[-1])
    tenth = max(1, len(losses) // 10)
    facts = {
        "replies": len(order),
        "tokens": tokens,
        "steps": len(batches),
        "trainable_parameters": sum(parameter.numel() for parameter in learned),
        "first_loss": float(np.mean(losses[:tenth])),
        "last_loss": float(np.mean(losses[-tenth:])),
        "seed": tuning.seed,
    }
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out, safe_serialization=True)
    write_text(out / FACTS, json.dumps(facts, indent=1) + "\n")
    return facts


def _encoded(tokenizer: Any, prompt: Prompt, reply: str) -> tuple[list[int], int]:
    """Tokens of prompt and reply with the end of its turn, and how many of them are the prompt's."""
    before = chat_text(tokenizer, prompt.messages)
    whole = said(tokenizer, [*prompt.messages, {"role": "assistant", "content": reply}])
    after = str(tokenizer.apply_chat_template(whole, tokenize=False))
    if not after.startswith(before):
        raise ConfigError("the chat template writes a past reply otherwise than a new one; tune another model")
    # Apart, so that no token spans the border.
    head, tail = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, after[len(before) :].rstrip())
    )
    return [*head, *tail], len(head)
