"""Answers that were paid for: kept line by line, so that a killed run loses none and a second one costs nothing."""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subtext.errors import CacheError


class AnswerStore:
    """JSON Lines in a folder that several processes may share: each writes a file of its own, all are read.

    Args:
        folder: of one model's answers.

    Raises:
        CacheError: the folder cannot be read or made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"{uuid.uuid4().hex}.jsonl"
        self._answers: dict[str, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.jsonl")):
                for line in path.read_bytes().splitlines():
                    self._take(line)
        except OSError as error:
            raise self._unusable(error) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer to a prompt, None where it has not been given yet."""
        return self._answers.get(key)

    def add(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep answers; they are on the disk when this returns.

        Raises:
            CacheError: they cannot be written.
        """
        self._answers |= {key: dict(answer) for key, answer in answers.items()}
        lines = "".join(json.dumps({"key": key, **answer}) + "\n" for key, answer in answers.items())
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error

    def _take(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            key = answer.pop("key")
            # Numbers that no reader of the table could use would come back in every run.
            if isinstance(key, str) and all(isinstance(v, float) for v in answer["log_probs"].values()):
                self._answers[key] = answer
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # the last line of a process that was killed

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"cannot keep answers in {self._folder}: {error.strerror or error}; free some space or set paths.work"
        )


def key_of(**parts: Any) -> str:
    """sha256 over everything that shapes an answer."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
