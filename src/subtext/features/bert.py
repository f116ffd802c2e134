"""The BERT encoder in plain torch, for sentence embeddings without the import time of transformers.

Importing transformers and sentence-transformers takes several seconds, which a cold `subtext-predict` would spend
before it reads its first word; the default text model is a small BERT. Others go through sentence-transformers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from subtext.encoders.encoder import read_safetensors

_SUPPORTED: Final[dict[str, set[object]]] = {
    "model_type": {"bert"},
    "hidden_act": {"gelu"},
    "position_embedding_type": {"absolute", None},
    "is_decoder": {False, None},
}


def is_plain_bert(folder: Path) -> bool:
    """Whether a sentence-transformers folder is a BERT with mean pooling, perhaps normalised, and no more."""
    needed = ("config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json")
    if not all((folder / name).is_file() for name in needed):
        return False
    config, pooling = _json(folder / "config.json"), _json(folder / "1_Pooling/config.json")
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in _json(folder / "modules.json")]
    modes = {name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True}
    return (
        all(config.get(name) in values for name, values in _SUPPORTED.items())
        and kinds in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
        and (modes == {"pooling_mode_mean_tokens"} or pooling.get("pooling_mode") == "mean")
        and not _sentence(folder).get("do_lower_case")
    )


class BertEmbedder:
    """Devlin et al. 2019 (arXiv 1810.04805) as an encoder of sentences (Reimers & Gurevych 2019, arXiv 1908.10084).

    Args:
        folder: a folder that `is_plain_bert`.
    """

    def __init__(self, folder: Path) -> None:
        config = _json(folder / "config.json")
        weights = {
            name.removeprefix("bert."): value for name, value in read_safetensors(folder / "model.safetensors").items()
        }
        self._bert = _Bert(config)
        self._bert.load(weights)
        self._normalise = len(_json(folder / "modules.json")) == 3
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.dim: int = config["hidden_size"]
        longest = int(_sentence(folder).get("max_seq_length") or config["max_position_embeddings"])
        self.max_tokens = longest - self._tokenizer.num_special_tokens_to_add(False)
        self.unknown = self._tokenizer.token_to_id(config.get("unk_token", "[UNK]"))

    def tokenize(self, text: str) -> Encoding:
        """The tokens of a text without special ones, with their places in it."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def embed(self, texts: Sequence[str], per_token: bool) -> list[Tensor]:
        """For each text `[1, dim]`, or `[tokens, dim]` without the special ones."""
        encoded = self._tokenizer.encode_batch(list(texts))
        longest = max(len(one.ids) for one in encoded)
        ids = torch.zeros(len(encoded), longest, dtype=torch.long)
        mask = torch.zeros(len(encoded), longest, dtype=torch.bool)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            mask[row, : len(one.ids)] = True
        with torch.inference_mode():
            hidden = self._bert(ids, mask)
            if per_token:
                real = [torch.tensor(one.special_tokens_mask) == 0 for one in encoded]
                return [hidden[row, : len(keep)][keep] for row, keep in enumerate(real)]
            weights = mask.to(hidden.dtype).unsqueeze(-1)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            return list((functional.normalize(pooled, dim=1) if self._normalise else pooled).split(1))


class _Bert(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, epsilon = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(
            _Layer(width, config["intermediate_size"], config["num_attention_heads"], epsilon)
            for _ in range(config["num_hidden_layers"])
        )

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over weights under the names that transformers gives them."""
        names = {
            "words": "embeddings.word_embeddings",
            "positions": "embeddings.position_embeddings",
            "types": "embeddings.token_type_embeddings",
            "norm": "embeddings.LayerNorm",
        }
        inner = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "out": "attention.output.dense",
            "out_norm": "attention.output.LayerNorm",
            "up": "intermediate.dense",
            "down": "output.dense",
            "down_norm": "output.LayerNorm",
        }
        for number in range(len(self.layers)):
            names |= {f"layers.{number}.{ours}": f"encoder.layer.{number}.{theirs}" for ours, theirs in inner.items()}
        state = {}
        for name in self.state_dict():
            module, _, kind = name.rpartition(".")
            state[name] = weights[f"{names[module]}.{kind}"].float()
        self.load_state_dict(state)
        self.eval().requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`[batch, tokens]` to `[batch, tokens, width]`."""
        places = torch.arange(ids.shape[1])
        hidden = self.norm(self.words(ids) + self.positions(places) + self.types.weight[0])
        for layer in self.layers:
            hidden = layer(hidden, mask[:, None, None, :])
        return hidden


class _Layer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.out_norm = nn.Linear(width, width), nn.LayerNorm(width, eps=epsilon)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.down_norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            part(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = self.out_norm(hidden + self.out(seen.transpose(1, 2).flatten(-2)))
        return self.down_norm(hidden + self.down(functional.gelu(self.up(hidden))))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _sentence(folder: Path) -> dict[str, Any]:
    path = folder / "sentence_bert_config.json"
    return _json(path) if path.is_file() else {}
