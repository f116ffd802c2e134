"""A made-up corpus with AnnoMI's columns, a sentence model of a few hashed words, and a tiny language model."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from subtext.manifest import Manifest, build_manifest
from subtext.replies.embedding import Embedder
from subtext.replies.texts import words_of

SAID = {
    "reflection": ["It sounds like you feel {x}.", "So you are worried about {x}.", "You miss {x} a lot."],
    "question": ["What would you like about {x}?", "How long has {x} been so?", "Do you think of {x}?"],
    "therapist_input": ["You should try {x} every day.", "Studies show that {x} helps many people.", "I suggest {x}."],
    "other": ["Okay, {x}.", "Thank you for {x}.", "Hello, {x}."],
}
TOPICS = ["work", "sleep", "your family", "smoking", "the exam", "running", "your mother", "money"]


class _Extractor:
    """Stands for the text extractor in saved coders."""

    def fingerprint(self) -> str:
        return "hashed words"


class HashedWords(Embedder):
    """An embedding without a model: each word adds one of 24 fixed directions."""

    def __init__(self) -> None:
        self.extractor = _Extractor()  # type: ignore[assignment]

    def __call__(self, texts: Sequence[Any]) -> np.ndarray:
        out = np.zeros((len(texts), 24))
        for row, text in enumerate(texts):
            for word in words_of(text) if isinstance(text, str) else ():
                out[row, hashlib.sha256(word.encode()).digest()[0] % 24] += 1
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


@pytest.fixture(scope="module")
def few_buckets() -> Iterator[None]:
    """Fewer places for n-grams: the real number makes small corpora slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subtext.replies.coder._BUCKETS", 2**9)
        yield


@pytest.fixture(scope="session")
def embed() -> HashedWords:
    return HashedWords()


@pytest.fixture(scope="session")
def dialogues() -> Manifest:
    """36 sessions of 18 films; good ones reflect, poor ones advise. Constructed, not recorded."""
    rng = np.random.default_rng(0)
    rows = []
    for session in range(36):
        high = session % 3 > 0
        acts = ["reflection", "question", "other"] if high else ["therapist_input", "question", "other"]
        for turn in range(24):
            client = turn % 2 == 0
            topic = TOPICS[int(rng.integers(len(TOPICS)))]
            act = acts[int(rng.integers(len(acts)))] if rng.random() < 0.9 else "reflection"
            kind = int(rng.integers(3))
            words = (
                f"I think a lot about {topic}, and it is number {turn}." if client else SAID[act][kind].format(x=topic)
            )
            row: dict[str, Any] = {
                "id": f"{session}-{turn}",
                "session": str(session),
                "role": "client" if client else "counsellor",
                "transcript": words,
                "mi_quality": "high" if high else "low",
                "source": f"film {session // 2}",
                "client_talk_type": "change" if client and high else "neutral" if client else None,
            }
            votes = {"main_therapist_behaviour": act, "question_subtype": None, "reflection_subtype": None}
            if act == "question":
                votes["question_subtype"] = "closed" if kind == 2 else "open"
            if act == "reflection":
                votes["reflection_subtype"] = "complex" if kind == 2 else "simple"
            codes = {
                "main_therapist_behaviour": ("reflection", "question", "therapist_input", "other"),
                "question_subtype": ("open", "closed"),
                "reflection_subtype": ("simple", "complex"),
            }
            for column, values in codes.items():
                given = None if client else votes[column]
                row[column] = given
                for value in values:
                    # In the first film three annotators, one of whom says the next code.
                    several = 2 if session < 2 else 1
                    row[f"{column}_votes_{value}"] = several * (given == value)
                if given is not None and session < 2:
                    other = values[(values.index(given) + 1) % len(values)]
                    row[f"{column}_votes_{other}"] += 1
            rows.append(row)
    return build_manifest(pd.DataFrame(rows), root=Path.cwd(), name="made_up", groups=("source",))


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, a tokenizer of words, and a chat template."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = sorted(
        {word for said in SAID.values() for text in said for word in [*words_of(text), "work", "sleep", "number"]}
    )
    special = ["<pad>", "<unk>", "<s>", "</s>", "<system>", "<user>", "<assistant>"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*special, *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special[4:],
    )
    fast.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(special) + len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    folder = tmp_path_factory.mktemp("tiny_lm") / "model"
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    fast.save_pretrained(folder)
    return folder
