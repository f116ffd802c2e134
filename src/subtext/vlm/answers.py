"""What a model answers: log-probabilities of answer tokens, in float32, and generated text with a strict parser."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from subtext.errors import ConfigError, WeightsError
from subtext.vlm.inputs import Encoded, Vlm

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """A model's answer to one prompt.

    Attributes:
        log_probs: option -> natural logarithm of the probability of all its token variants.
        raw: what the model wrote.
    """

    log_probs: Mapping[str, float]
    raw: str


def answer_tokens(vlm: Vlm, options: Sequence[str]) -> dict[str, list[int]]:
    """Every token of the vocabulary that spells an option: `yes`, ` yes`, `Yes`; of a letter the capital one alone.

    An answer is one token, so that options of different length are not held against each other.

    Raises:
        ConfigError: the tokenizer has no token for an option.
    """
    found: dict[str, list[int]] = {}
    vocabulary = vlm.tokenizer.get_vocab()
    for option in options:
        wanted = folded(option, option)
        near = [number for token, number in vocabulary.items() if wanted in folded(token, option)]
        found[option] = sorted(n for n in near if folded(vlm.tokenizer.decode([n]).strip(), option) == wanted)
        if not found[option]:
            raise ConfigError(f"{vlm.folder}: its tokenizer has no token for the answer '{option}'; word it otherwise")
    return found


def folded(text: str, option: str) -> str:
    """A text as it's compared with an option: of a letter the capital one alone counts."""
    return text.casefold() if len(option) > 1 else text


def generate(vlm: Vlm, encoded: Encoded, tokens: int) -> "tuple[Tensor, list[str]]":
    """Greedy answers.

    Args:
        vlm: the model.
        encoded: a batch.
        tokens: most new tokens; one is enough for the likelihood of answers.

    Returns:
        float32 log-probabilities `[batch, vocabulary]` of the first new token, and the texts.

    Raises:
        WeightsError: the model doesn't take what its processor made.
    """
    import torch

    model = vlm.model
    prepared = {key: _placed(value, model) for key, value in encoded.tensors.items()}
    try:
        with torch.inference_mode():
            made = model.generate(
                **prepared, max_new_tokens=tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
    except ValueError as error:  # such as placeholders that are not as many as the vision tower's features
        raise WeightsError(f"{vlm.folder}: the model cannot take this input ({type(error).__name__})") from error
    new = made.sequences[:, encoded.tensors["input_ids"].shape[1] :]
    texts = vlm.tokenizer.batch_decode(new, skip_special_tokens=True)
    return torch.log_softmax(made.logits[0].float(), dim=-1).cpu(), texts


def first_log_probs(vlm: Vlm, encoded: Encoded) -> "Tensor":
    """float32 log-probabilities `[batch, vocabulary]` of the first token of an answer."""
    return generate(vlm, encoded, 1)[0]


def answer(vlm: Vlm, encoded: Encoded, options: "Sequence[Mapping[str, Sequence[int]]]", tokens: int) -> list[Answer]:
    """Answers to a batch.

    Args:
        vlm: the model.
        encoded: the batch.
        options: for each sample option -> tokens, as `answer_tokens` gives them.
        tokens: most new tokens.
    """
    log_probs, texts = generate(vlm, encoded, tokens)
    return [
        Answer({option: float(row[list(ids)].logsumexp(dim=0)) for option, ids in own.items()}, text)
        for row, own, text in zip(log_probs, options, texts, strict=True)
    ]


def parse(raw: str, options: Sequence[str]) -> str | None:
    """Which option a text is: the option alone, in any case, perhaps in brackets and with a full stop.

    Returns:
        The option; None where the text is anything else. Nothing is guessed.
    """
    written = re.fullmatch(r"\s*\(?\s*(\w+)\s*\)?\s*[.!:]?\s*", raw)
    said = written[1].casefold() if written else None
    return next((option for option in options if option.casefold() == said), None)


def _placed(value: "torch.Tensor", model: "torch.nn.Module") -> "torch.Tensor":
    weights = next(model.parameters())
    return value.to(weights.device, weights.dtype if value.is_floating_point() else value.dtype)
