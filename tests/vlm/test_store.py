"""Answers on disk: several writers, torn lines, foreign lines."""

from pathlib import Path

import pytest

from subtext.errors import CacheError
from subtext.vlm.store import AnswerStore, key_of

ANSWER = {"log_probs": {"yes": -1.0, "no": -2.0}, "raw": "yes\n", "tokens": 3}


def test_answers_come_back_from_every_writer(tmp_path: Path) -> None:
    first, second = AnswerStore(tmp_path), AnswerStore(tmp_path)
    first.add({"a": ANSWER})
    second.add({"b": ANSWER, "c": ANSWER})
    assert first.get("b") is None, "read when it began"
    again = AnswerStore(tmp_path)
    assert [again.get(key) for key in "abcd"] == [ANSWER, ANSWER, ANSWER, None]


def test_what_is_torn_or_no_answer_is_passed_over(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.add({"a": ANSWER, "b": ANSWER})
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes()[:-10])
    lines = [b"[]", b"{}", b'"a"', b'{"key": "x"}', b'{"key": 1, "log_probs": {}}', b"\xff", b"[" * 100_000]
    (tmp_path / "other.jsonl").write_bytes(b"\n".join(lines) + b'\n{"key": "y", "log_probs": {"yes": null}}\n')
    again = AnswerStore(tmp_path)
    assert again.get("a") == ANSWER
    assert all(again.get(key) is None for key in ("b", "x", "y"))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="free some space or set paths"):
        AnswerStore(tmp_path / "file" / "answers")


def test_a_key_is_of_everything() -> None:
    assert key_of(text="a", frames=None) == key_of(frames=None, text="a")
    assert key_of(text="a", frames=None) != key_of(text="a", frames="b")
