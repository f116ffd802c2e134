"""Tiny models of ten families with random weights, made on the spot; their hub-loading code is the real one."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers as hf
from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from subtext.core.building import build
from subtext.core.composition import conf_folder
from subtext.vlm.inputs import Frames, Vlm
from subtext.vlm.spec import VlmSpec

_SENTENCES: Final = [
    "The client says: I am fine, really. Do the words and the face agree? Answer yes or no.",
    "USER: ASSISTANT: User: Assistant: system user assistant yes no Yes No A B C D E F negative neutral positive",
    "You are given frames of a counselling session. The person says that they are sad and the face smiles.",
] * 20


def _tokenizer(special: Sequence[str], eos: str = "</s>", bos: str | None = None, extra: Any = None) -> Any:
    """Byte-level BPE, learned from three sentences."""
    t = Tokenizer(models.BPE(unk_token=None))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", *([bos] if bos else []), eos, *(s for s in special if s != eos)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    t.train_from_iterator(_SENTENCES, trainer)
    more = {"bos_token": bos} if bos else {}
    more |= {"extra_special_tokens": extra} if extra else {}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=t, eos_token=eos, pad_token="<pad>", model_max_length=8192, **more
    )


def _text(kind: str, tok: Any, **more: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": len(tok),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "pad_token_id": tok.pad_token_id,
        "bos_token_id": tok.bos_token_id,
        "eos_token_id": tok.eos_token_id,
    } | more


def _vision(**more: Any) -> dict[str, Any]:
    own = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return own | {"image_size": 32, "patch_size": 8} | more


_PARTS = "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
_IDEFICS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:"
    + _PARTS
    + "{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_LLAVA = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    + _PARTS
    + " {% else %}<{{ part['type'] }}>\n{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _im(image: str, video: str) -> str:
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        + _PARTS
        + "{% elif part['type'] == 'image' %}"
        + image
        + "{% else %}"
        + video
        + "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _idefics() -> tuple[Any, Any]:
    tok = _tokenizer([], bos="<s>")
    perceiver = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16}
    text = {k: v for k, v in _text("", tok).items() if k not in ("model_type", "num_key_value_heads")}
    # As published: these come last, in rows of their own.
    control = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    tok.add_special_tokens({"additional_special_tokens": control})
    config = hf.IdeficsConfig(
        **text,
        additional_vocab_size=len(control),
        # The default, zeros, shuts pictures out.
        alpha_initializer="ones",
        alpha_type="float",
        cross_layer_interval=1,
        use_resampler=True,
        freeze_text_layers=False,
        freeze_vision_layers=False,
        perceiver_config={"use_resampler": True, **perceiver},
        vision_config={**_vision(image_size=28, patch_size=14), "embed_dim": 32},
    )
    return hf.IdeficsForVisionText2Text(config), hf.IdeficsProcessor(hf.IdeficsImageProcessor(image_size=28), tok)


def _idefics2() -> tuple[Any, Any]:
    tok = _tokenizer(["<fake_token_around_image>", "<image>", "<end_of_utterance>"], bos="<s>")
    pictures = hf.Idefics2ImageProcessor(size={"shortest_edge": 24, "longest_edge": 32}, do_image_splitting=True)
    perceiver = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16}
    config = hf.Idefics2Config(
        vision_config=_vision(),
        perceiver_config={"hidden_size": 32, "num_key_value_heads": 2, **perceiver},
        text_config=_text("mistral", tok),
        image_token_id=tok.convert_tokens_to_ids("<image>"),
    )
    processor = hf.Idefics2Processor(pictures, tok, image_seq_len=4, chat_template=_IDEFICS)
    return hf.Idefics2ForConditionalGeneration(config), processor


_TILES = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
_IDEFICS3 = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<global-img>", "<video>", *_TILES]


def _idefics3() -> tuple[Any, Any]:
    tok = _tokenizer(_IDEFICS3, eos="<end_of_utterance>")
    pictures = hf.Idefics3ImageProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    image = tok.convert_tokens_to_ids("<image>")
    config = hf.Idefics3Config(
        vision_config=_vision(), text_config=_text("llama", tok), scale_factor=2, image_token_id=image
    )
    processor = hf.Idefics3Processor(pictures, tok, image_seq_len=4, chat_template=_IDEFICS)
    return hf.Idefics3ForConditionalGeneration(config), processor


def _smolvlm() -> tuple[Any, Any]:
    tok = _tokenizer(_IDEFICS3, eos="<end_of_utterance>")
    edge = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    pictures = hf.SmolVLMImageProcessor(**edge, do_image_splitting=True)
    sampling = {"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 32}}
    videos = hf.SmolVLMVideoProcessor(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, num_frames=4, fps=1, video_sampling=sampling
    )
    image = tok.convert_tokens_to_ids("<image>")
    config = hf.SmolVLMConfig(
        vision_config=_vision(), text_config=_text("llama", tok), scale_factor=2, image_token_id=image
    )
    processor = hf.SmolVLMProcessor(pictures, tok, videos, image_seq_len=4, chat_template=_IDEFICS)
    return hf.SmolVLMForConditionalGeneration(config), processor


def _llava_tokens(tok: Any) -> dict[str, int]:
    return {f"{kind}_token_index": tok.convert_tokens_to_ids(f"<{kind}>") for kind in ("image", "video")}


_CUT = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}


def _video_llava() -> tuple[Any, Any]:
    tok = _tokenizer(["<image>", "<video>"], bos="<s>")
    vision = _vision(
        model_type="clip_vision_model", num_hidden_layers=3, image_size=28, patch_size=14, projection_dim=32
    )
    config = hf.VideoLlavaConfig(vision_config=vision, text_config=_text("llama", tok), **_llava_tokens(tok))
    processor = hf.VideoLlavaProcessor(
        image_processor=hf.VideoLlavaImageProcessor(**_CUT),
        video_processor=hf.VideoLlavaVideoProcessor(**_CUT),
        tokenizer=tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=_LLAVA,
    )
    return hf.VideoLlavaForConditionalGeneration(config), processor


def _llava_next_video() -> tuple[Any, Any]:
    tok = _tokenizer(["<image>", "<video>"], bos="<s>")
    grid = [[28, 56], [56, 28], [56, 56]]
    vision = _vision(
        model_type="clip_vision_model", num_hidden_layers=3, image_size=28, patch_size=7, projection_dim=32
    )
    config = hf.LlavaNextVideoConfig(
        vision_config=vision, text_config=_text("llama", tok), image_grid_pinpoints=grid, **_llava_tokens(tok)
    )
    processor = hf.LlavaNextVideoProcessor(
        image_processor=hf.LlavaNextImageProcessor(**_CUT, image_grid_pinpoints=grid),
        video_processor=hf.LlavaNextVideoVideoProcessor(**_CUT),
        tokenizer=tok,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_LLAVA,
    )
    return hf.LlavaNextVideoForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    tok = _tokenizer(["<image>", "<video>", "<|im_start|>"], eos="<|im_end|>")
    grid, size = [[28, 28], [28, 56], [56, 28], [56, 56]], {"height": 28, "width": 28}
    vision = _vision(model_type="siglip_vision_model", image_size=28, patch_size=7, vision_use_head=False)
    config = hf.LlavaOnevisionConfig(
        vision_config=vision, text_config=_text("qwen2", tok), image_grid_pinpoints=grid, **_llava_tokens(tok)
    )
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid),
        tokenizer=tok,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_im("<image>\n", "<video>\n"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


_QWEN = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def _qwen_template() -> str:
    return _im(*(f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")))


def _qwen_ids(tok: Any) -> dict[str, int]:
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {f"vision_{end}_token_id": f"vision_{end}" for end in ("start", "end")}
    return {key: tok.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def _qwen_text(tok: Any, **rope: Any) -> dict[str, Any]:
    text = {k: v for k, v in _text("", tok).items() if k != "model_type"}
    return text | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope}}


def _qwen2_5_vl() -> tuple[Any, Any]:
    tok = _tokenizer(_QWEN, eos="<|im_end|>")
    own = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    own["size"] = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14}
    vision |= {"spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "window_size": 56}
    config = hf.Qwen2_5_VLConfig(
        vision_config={**vision, "fullatt_block_indexes": [1]},
        text_config=_qwen_text(tok, mrope_section=[2, 3, 3]),
        **_qwen_ids(tok),
    )
    processor = hf.Qwen2_5_VLProcessor(
        image_processor=hf.Qwen2VLImageProcessor(**own),
        tokenizer=tok,
        video_processor=hf.Qwen2VLVideoProcessor(**own),
        chat_template=_qwen_template(),
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> tuple[Any, Any]:
    tok = _tokenizer(_QWEN, eos="<|im_end|>")
    own = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    own["size"] = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64 * 4}
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16}
    vision |= {"spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "num_position_embeddings": 64}
    text = _qwen_text(tok, mrope_section=[4, 2, 2], mrope_interleaved=True)
    config = hf.Qwen3VLConfig(
        vision_config={**vision, "deepstack_visual_indexes": [0, 1]},
        text_config={**text, "head_dim": 16, "num_hidden_layers": 3},
        **_qwen_ids(tok),
    )
    processor = hf.Qwen3VLProcessor(
        image_processor=hf.Qwen2VLImageProcessor(**own),
        tokenizer=tok,
        video_processor=hf.Qwen3VLVideoProcessor(**own),
        chat_template=_qwen_template(),
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


def _internvl() -> tuple[Any, Any]:
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    names["video_token"] = "<video>"
    tok = _tokenizer(["<|im_start|>", *names.values()], eos="<|im_end|>", extra=names)
    size = {"height": 28, "width": 28}
    config = hf.InternVLConfig(
        vision_config=_vision(image_size=[28, 28], patch_size=[7, 7]),
        text_config=_text("qwen2", tok),
        image_token_id=tok.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=2),
        tokenizer=tok,
        video_processor=hf.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=_im("<IMG_CONTEXT>\n", "<video>\n"),
    )
    return hf.InternVLForConditionalGeneration(config), processor


BUILDERS: Final[dict[str, Callable[[], tuple[Any, Any]]]] = {
    "idefics": _idefics,
    "idefics2": _idefics2,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "video_llava": _video_llava,
    "llava_next_video": _llava_next_video,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "internvl": _internvl,
}


def write_tiny(family: str, folder: Path) -> Path:
    """Write a family's tiny model with its processor as the hub would give it."""
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() >= 2:
                # Variance 1 / fan-in: at this width the default leaves the answer blind to frames and padding.
                weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def tiny_settings(family: str, folder: Path, **more: Any) -> dict[str, Any]:
    """The settings of `vlm=FAMILY`, for the tiny model."""
    own = OmegaConf.to_container(OmegaConf.load(conf_folder() / "vlm" / f"{family}.yaml"))
    return {**own, "path": str(folder), "device": "cpu", "dtype": "float32"} | more


def tiny_vlm(family: str, folder: Path, **more: Any) -> Vlm:
    """The tiny model, loaded from its folder."""
    node = {"_target_": "subtext.vlm.spec.VlmSpec", **tiny_settings(family, folder, **more)}
    return Vlm(build(node, VlmSpec))


def random_frames(n: int = 4, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Frames:
    """Noise, so that each frame differs from every other one."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (n, *size, 3), dtype=np.uint8)
    return Frames(images, tuple(0.5 + step for step in range(n)), float(n))


if __name__ == "__main__":
    for name in BUILDERS:
        write_tiny(name, Path(sys.argv[1]) / name)
