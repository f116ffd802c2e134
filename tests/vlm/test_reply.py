"""Replies by a model that sees the client: prompts and files of subtext-replies, frames that count, runs that go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_endpoint import seen, server  # noqa: F401

from builders.scored_runs import SIZES, vlm_settings, write_talking_corpus
from subtext.errors import ConfigError, ManifestError
from subtext.replies.exchanges import client_turns, of_splits, read_replies
from subtext.replies.prompts import PLACEBO, TASK, TOLD, make_prompts
from subtext.runs.prepare import read_corpus
from subtext.vlm import reply as reply_module
from subtext.vlm.reply import VlmReplies, reply
from subtext.vlm.score import Clips, make_vlm


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_corpus(tmp_path_factory.mktemp("corpus"))


def configured(corpus: Path, model: Path, folder: Path, *more: str) -> dict[str, Any]:
    own = [f"reply.out={folder / 'plain.jsonl'}", "reply.max_new_tokens=4", "reply.batch_size=4"]
    return vlm_settings(corpus, model, folder, *own, *more)


def written(path: Path) -> pd.DataFrame:
    return read_replies([path])


def test_replies_are_read_by_subtext_replies_and_go_on(
    corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = configured(corpus, tiny_folder("smolvlm"), tmp_path)
    path, made = reply(settings)
    assert made == SIZES[2]
    table = written(path)
    assert table["system"].unique().tolist() == ["plain"]
    assert table["reply"].notna().all()
    assert table["session"].nunique() == 2
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:9])  # as a killed run leaves it
    assert reply(settings)[1] == SIZES[2] - 5
    assert path.read_bytes() == whole
    with pytest.raises(ConfigError, match="another 'max_new_tokens'"):
        reply(settings | {"reply": settings["reply"] | {"max_new_tokens": 5}})


def test_prompts_are_those_of_replies_with_pictures(
    corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configured(corpus, tiny_folder("smolvlm"), tmp_path)
    manifest = read_corpus(settings).manifest
    turns = client_turns(of_splits(manifest, "test"), 1)
    found = pd.DataFrame({"id": turns["id"], "prob_incongruent": [0.9, 0.1] * (len(turns) // 2)})
    vlm = make_vlm(settings)
    asked: list[str] = []
    generate = reply_module.generate

    def watched(*arguments: Any) -> Any:
        asked.extend(vlm.tokenizer.batch_decode(arguments[1].tensors["input_ids"]))
        return generate(*arguments)

    monkeypatch.setattr(reply_module, "generate", watched)
    writer = VlmReplies(vlm, Clips(settings, manifest), settings["prompts"]["parts"], 4)
    for hint, notes in (("none", ["", ""]), ("told", [TOLD[True], TOLD[False]]), ("placebo", [PLACEBO] * 2)):
        asked.clear()
        prompts = make_prompts(turns, hint, found if hint == "told" else None)[2:4]  # type: ignore[arg-type]
        assert all(text is not None for text in writer(prompts))
        for text, prompt, note in zip(asked, prompts, notes, strict=True):
            assert TASK + (f" {note}" if note else "") in text
            assert "You see a video" in text
            assert "\nClient: " in text
            assert prompt.row["client"].replace("<image>", "< image>") in text
        if hint == "none":
            assert not any(note in text for text in asked for note in (*TOLD.values(), PLACEBO))


def test_pictures_move_a_reply(corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    base = configured(corpus, tiny_folder("smolvlm"), tmp_path, "reply.max_new_tokens=12")
    texts = []
    for name, times in (("first", [0.1, 0.3]), ("other", [0.7, 0.9])):
        settings = {**base, "frames": {**base["frames"], "times": times}}
        settings["reply"] = {**base["reply"], "out": str(tmp_path / f"{name}.jsonl")}
        texts.append(written(reply(settings)[0])["reply"].tolist())
    assert texts[0] != texts[1]


def test_told_needs_predictions_of_every_turn(corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    settings = configured(corpus, tiny_folder("smolvlm"), tmp_path, "reply.hint=told")
    with pytest.raises(ConfigError, match="prediction table goes with the hint 'told'"):
        reply(settings)
    table = pd.DataFrame({"id": ["nobody"], "prob_incongruent": [0.5]})
    table.to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(ManifestError, match="turns have no prob_incongruent"):
        reply(settings | {"reply": settings["reply"] | {"predictions": str(tmp_path / "predictions.parquet")}})


def test_what_does_not_fit_has_no_reply_and_memory_is_halved(
    corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configured(corpus, tiny_folder("smolvlm"), tmp_path)
    manifest = read_corpus(settings).manifest
    vlm, prompts = make_vlm(settings), make_prompts(client_turns(of_splits(manifest, "test")))
    writer = VlmReplies(vlm, Clips(settings, manifest), settings["prompts"]["parts"], 4)
    generate, sizes = reply_module.generate, []

    def small(vlm: Any, encoded: Any, tokens: int) -> Any:
        sizes.append(len(encoded.tokens))
        if len(encoded.tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(vlm, encoded, tokens)

    whole = writer(prompts[:4])
    with monkeypatch.context() as patched:
        patched.setattr(reply_module, "generate", small)
        assert writer(prompts[:4]) == whole
    assert max(sizes) > 1
    monkeypatch.setattr(vlm.model.config.get_text_config(), "max_position_embeddings", 60)
    assert writer(prompts[:4]) == [None] * 4


def test_a_server_replies_too(server: str, corpus: Path, tmp_path: Path) -> None:  # noqa: F811
    settings = configured(corpus, Path("no"), tmp_path, f"endpoint.url={server}/reply/v1", "endpoint.model=m")
    path, made = reply(settings)
    assert made == SIZES[2]
    assert written(path)["reply"].unique().tolist() == ["Yes."]
    assert seen(server)["reply images"] == 2 * SIZES[2]
    about = json.loads(path.with_name("plain.settings.json").read_text())
    assert about["family"] == "smolvlm"
