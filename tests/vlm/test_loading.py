"""Model folders that are broken, of two models, or hostile: one clear line each, no code run, nothing fetched."""

import json
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from builders.tiny_models import random_frames, tiny_vlm
from subtext.errors import ConfigError, SubtextError
from subtext.features.content import DigestMemory
from subtext.vlm import inputs, loading
from subtext.vlm.answers import answer_tokens, first_log_probs
from subtext.vlm.inputs import Sample, Vlm

QUESTION = "Do the words and the face agree? Answer yes or no."


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach another machine fails the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("something tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny SmolVLM to be spoiled."""
    return Path(shutil.copytree(tiny_folder("smolvlm"), tmp_path / "model"))


def asked(folder: Path, **more: Any) -> Vlm:
    """The model, after it has answered a question."""
    vlm = tiny_vlm("smolvlm", folder, **more)
    first_log_probs(vlm, vlm.encode([Sample(QUESTION, random_frames())]))
    return vlm


def change(path: Path, **entries: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | entries))


def refused(folder: Path, **more: Any) -> str:
    with pytest.raises(SubtextError) as caught:
        asked(folder, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_model_answers(folder: Path) -> None:
    assert next(asked(folder).model.parameters()).dtype == torch.float32
    assert next(asked(folder, dtype="bfloat16").model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_says_which(name: str, folder: Path) -> None:
    (folder / name).unlink()
    message = refused(folder)
    assert str(folder) in message
    assert name.partition(".")[0] in message


def test_a_folder_without_processor(folder: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert "it has no processor" in refused(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "no model folder" in refused(tmp_path / "nothing")


def test_a_processor_without_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "the processor has no chat template" in refused(folder)
    template = "{% for part in messages[0]['content'] %}{{ part['text'] or '<video>' }}{% endfor %}"
    assert asked(folder, chat_template=template).spec.chat_template == template


def test_tokenizer_and_model_of_two_models(folder: Path, tiny_folder: Callable[[str], Path]) -> None:
    shutil.copy(tiny_folder("video_llava") / "tokenizer.json", folder / "tokenizer.json")
    assert "the processor's image token is 3, the model's 4; they are not of one model" in refused(folder)
    shutil.copy(tiny_folder("qwen2_5_vl") / "tokenizer.json", folder / "tokenizer.json")
    assert "knows no image or video token" in refused(folder)


def test_more_tokens_than_the_model_has(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    top = max(token["id"] for token in tokenizer["added_tokens"])
    size = max([top, *tokenizer["model"]["vocab"].values()])
    new = {**tokenizer["added_tokens"][0], "id": size + 1, "content": "<beyond>"}
    tokenizer["added_tokens"].append(new)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert f"the tokenizer has {size + 2} tokens and the model {size + 1}" in refused(folder)


def test_weights_that_lack_a_tensor_are_not_filled_with_noise(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "layers.1.self_attn.q_proj" in key)
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
    assert "its weights lack 1 tensors" in refused(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    own = json.loads((folder / "config.json").read_text())["text_config"]
    change(folder / "config.json", text_config={**own, "intermediate_size": 48})
    assert "cannot be loaded" in refused(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 14) + b'{"a":{"x": 1}}',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_what_is_no_safetensors_file(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "model.safetensors" in refused(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    asked(folder)  # the safetensors beside it are
    (folder / "model.safetensors").unlink()
    assert "only safetensors are read" in refused(folder)


def test_an_index_leads_nowhere_else(folder: Path, tmp_path: Path) -> None:
    change(folder / "config.json", transformers_weights="../outside.safetensors")
    assert "names other weight files" in refused(folder)
    change(folder / "config.json", transformers_weights=None)
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    assert "'../outside.safetensors', which is no safetensors file of this folder" in refused(folder)
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert "model-1.safetensors is missing" in refused(folder)
    index.write_text(json.dumps({"weight_map": ["a"]}))
    assert "index" in refused(folder)


def test_an_adapter_does_not_fetch_its_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "somebody/else", "peft_type": "LORA"})
    )
    assert "holds an adapter, whose base is never fetched" in refused(folder)


def test_quantised_weights(folder: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert "the weights are quantised" in refused(folder)


EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n"


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"}}),
        ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}),
        ("config.json", {"model_type": "evil"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}),
        ("tokenizer_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}, "tokenizer_class": "Evil"}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}),
        ("processor_config.json", {"processor_class": "Evil"}),
        ("config.json", {"_attn_implementation": "somebody/kernel", "attn_implementation": "somebody/kernel"}),
    ],
)
def test_code_in_a_folder_is_never_run(name: str, entries: dict[str, Any], folder: Path) -> None:
    (folder / "evil.py").write_text(EVIL)
    change(folder / name, **entries)
    with suppress(SubtextError):
        vlm = asked(folder)
        assert type(vlm.model).__module__.startswith("transformers.")
        assert type(vlm.processor).__module__.startswith("transformers.")
        assert vlm.model.config._attn_implementation == "sdpa"
    assert not (folder / "ran").exists()


def test_a_kernel_named_in_a_part_of_the_configuration_is_not_fetched(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[part] |= {"_attn_implementation": "somebody/kernel", "attn_implementation": "somebody/kernel"}
    (folder / "config.json").write_text(json.dumps(config))
    try:
        vlm = asked(folder)
    except SubtextError:
        return
    assert vlm.model.config.text_config._attn_implementation == "sdpa"


def test_generation_settings_of_a_folder_change_nothing(folder: Path) -> None:
    plain = asked(folder)
    before = first_log_probs(plain, plain.encode([Sample(QUESTION, random_frames())]))
    own = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "bad_words_ids": [[7]]}
    change(folder / "generation_config.json", **own)
    changed = asked(folder)
    encoded = changed.encode([Sample(QUESTION, random_frames())])
    assert torch.equal(first_log_probs(changed, encoded), before)
    settings = changed.model.generation_config
    assert settings is not None
    assert settings.repetition_penalty in (None, 1.0)
    assert changed.tokenizer.convert_tokens_to_ids("<end_of_utterance>") in settings.eos_token_id


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes longer than 1 s"),
        ("{{ raise_exception('not for you') }}", "cannot be used (TemplateError)"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "cannot be used"),
        ("{% include '/etc/passwd' %}", "cannot be used"),
        ("{{ 'a' * 10000000 }}{{ messages[0]['content'][-1]['text'] }}", "signs"),
        ("<video>nothing of the question", "0 times instead of once"),
        ("<video>{% for i in range(2) %}{{ messages[0]['content'][-1]['text'] }}{% endfor %}", "2 times"),
        ("{{ messages[0]['content'][-1]['text'] }}", "frames"),
        ("{{ messages[0]['nothing']['at all'] }}", "cannot be used"),
        ("{% broken", "cannot be used"),
    ],
)
def test_chat_templates_that_loop_lose_or_repeat(
    template: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "TEMPLATE_SECONDS", 1)
    (folder / "chat_template.jinja").unlink()
    message = refused(folder, chat_template=template)
    assert said in message
    assert "not for you" not in message, "a template's words may be those of the prompt"


def test_a_hub_id_needs_its_commit_and_leave(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert "needs its commit, vlm.revision" in refused(Path("somebody/model"))
    assert "is not a commit" in refused(Path("somebody/model"), revision="main")
    commit = "0" * 40
    assert "is not on this machine" in refused(Path("somebody/model"), revision=commit)
    calls: list[dict[str, Any]] = []

    def fetched(repository: str, **how: Any) -> str:
        calls.append({"repository": repository, **how})
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    asked(Path("somebody/model"), revision=commit, allow_download=True)
    assert calls[0]["repository"] == "somebody/model"
    assert calls[0]["revision"] == commit
    assert calls[0]["local_files_only"] is False
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in calls[0]["allow_patterns"])


def test_devices_that_are_not_there(folder: Path) -> None:
    if not torch.cuda.is_available():
        assert "no GPU is to be seen here; use vlm.device=cpu" in refused(folder, device="cuda")
    assert "is no device" in refused(folder, device="tpu9")
    assert "only cpu and cuda" in refused(folder, device="meta")


def test_what_does_not_fit_is_said_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda _: 1000)
    message = refused(folder)
    assert "needs about" in message
    assert "GiB are free on cpu" in message


def test_settings_that_no_part_has(folder: Path) -> None:
    assert "no part of SmolVLMProcessor has such a setting" in refused(folder, processor={"no_such": 1})
    for setting in ({"dtype": "int8"}, {"frames": "gif"}, {"attention": "somebody/kernel"}, {"batch_size": 0}):
        ((name, value),) = setting.items()
        assert f"VlmSpec: {name} is {value!r}; write " in refused(folder, **setting)


def test_answers_are_single_tokens_in_every_spelling(folder: Path) -> None:
    vlm = asked(folder)
    tokens = answer_tokens(vlm, ("yes", "no", "A"))
    spelled = {option: {vlm.tokenizer.decode([n]) for n in ids} for option, ids in tokens.items()}
    assert spelled["yes"] >= {" yes", " Yes"}
    assert {text.strip().lower() for text in spelled["yes"]} == {"yes"}
    assert {text.strip() for text in spelled["A"]} == {"A"}
    with pytest.raises(ConfigError, match="no token for the answer 'incongruent-ish'"):
        answer_tokens(vlm, ("incongruent-ish",))


def test_the_digest_is_of_contents_and_names(folder: Path, tmp_path: Path) -> None:
    memory = DigestMemory(tmp_path / "digests.sqlite")
    before = loading.folder_digest(folder, memory)
    assert loading.folder_digest(Path(shutil.copytree(folder, tmp_path / "copy")), memory) == before
    (folder / "README.md").write_text("not read")
    assert loading.folder_digest(folder, memory) == before
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).add_(1e-3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert loading.folder_digest(folder, memory) != before


def test_four_bits_need_their_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "pip install bitsandbytes" in refused(folder, four_bit=True)


def test_in_four_bits_a_model_answers_as_with_its_rounded_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes, which is no part of the extra, is not installed")
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    # Its fast path on CPUs wants layers of at least 64 numbers; a tiny model's are narrower.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    whole, packed = asked(folder), asked(folder, four_bit=True)
    sample = [Sample(QUESTION, random_frames())]
    exact, found = (first_log_probs(vlm, vlm.encode(sample))[0] for vlm in (whole, packed))
    layers = {name: part for name, part in packed.model.named_modules() if isinstance(part, Linear4bit)}
    assert any("text_model" in name for name in layers)
    with torch.no_grad():
        for name, layer in layers.items():
            rounded = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            whole.model.get_submodule(name).weight.copy_(rounded)
    torch.testing.assert_close(found, first_log_probs(whole, whole.encode(sample))[0], atol=1e-4, rtol=0)
    assert not torch.allclose(found, exact, atol=1e-2)
