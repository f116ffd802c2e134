"""Replies to a corpus's clients, written one by one, so that a killed run goes on where it was."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from subtext.core.writing import write_text
from subtext.errors import ConfigError
from subtext.replies.prompts import Prompt

Generator = Callable[[Sequence[Prompt]], Sequence[str | None]]
"""Replies to prompts, in their order; None where a prompt cannot be replied to. A model with eyes fits in too."""

SETTINGS: Final = ".settings.json"
_log = logging.getLogger(__name__)


def write_replies(
    prompts: Sequence[Prompt],
    generator: Generator,
    path: Path,
    settings: Mapping[str, Any],
    *,
    batch_size: int = 8,
) -> int:
    """Generate what is not there yet, a JSON line a reply, each batch flushed to the disk.

    Beside the file, `NAME.settings.json` holds the settings; a file of other settings is not continued.

    Args:
        prompts: what to reply to.
        generator: gives the replies.
        path: ends in .jsonl.
        settings: plain types that say how the replies are made, with `system` and `seed`.
        batch_size: prompts at once. Batches are the same in a run that goes on, as far as they are not written yet.

    Returns:
        How many replies were made.

    Raises:
        ConfigError: the file was made with other settings, is not ours, or two prompts share an id.
    """
    if path.suffix != ".jsonl":
        raise ConfigError(f"--out {path}: use a name that ends in .jsonl")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise ConfigError("two turns have the same id; give each its own")
    done = _begin(path, json.loads(json.dumps(settings)))
    made = 0
    with path.open("a", encoding="utf-8", newline="\n") as file:
        for first in range(0, len(prompts), batch_size):
            batch = [prompt for prompt in prompts[first : first + batch_size] if prompt.id not in done]
            if not batch:
                continue
            replies = generator(batch)
            for prompt, reply in zip(batch, replies, strict=True):
                file.write(json.dumps(_line(prompt, reply, settings), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            made += len(batch)
            _log.info("%s: %d of %d replies", path.name, len(done) + made, len(prompts))
    return made


def _line(prompt: Prompt, reply: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    row = prompt.row
    session = row.get("session")
    return {
        "id": prompt.id,
        "session": prompt.id if not isinstance(session, str) else session,
        "system": settings["system"],
        "seed": settings["seed"],
        "client": row["client"],
        "reply": reply,
    }


def _begin(path: Path, settings: Mapping[str, Any]) -> set[str]:
    """The ids that are there; what a killed run left half written is cut off."""
    beside = path.with_name(path.name.removesuffix(".jsonl") + SETTINGS)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside, json.dumps(settings, indent=1) + "\n")
        path.touch()
        return set()
    try:
        before = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{path} is there without its {beside.name}; choose another --out, or remove it") from None
    if not isinstance(before, dict):
        raise ConfigError(f"{beside} is no list of settings; choose another --out, or remove it")
    if before != settings:
        differing = sorted(key for key in settings if settings[key] != before.get(key))
        what = f"another '{differing[0]}'" if differing else "other settings"
        raise ConfigError(f"{path} was made with {what}; choose another --out, or remove it")
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        _log.warning("%s: the last line is incomplete and made again", path)
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return {json.loads(line)["id"] for line in whole.decode().split("\n") if line}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds a line that is no reply; choose another --out, or remove it") from error
