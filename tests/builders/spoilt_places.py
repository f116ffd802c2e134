"""Plain content, such as a run folder's JSON and YAML, with another value in one place."""

import json
from pathlib import Path
from typing import Any

import yaml


def placed(content: Any, place: str, value: Any) -> Any:
    """A copy of plain content with another value in a place.

    Args:
        content: dictionaries and lists.
        place: keys with dots between them.
        value: what stands there then; `...` takes the entry out.
    """
    out = json.loads(json.dumps(content))
    *path, last = place.split(".")
    node = out
    for part in path:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return out


def spoil(file: Path, place: str, value: Any) -> None:
    """Put a value in a place of a JSON or YAML file; see `placed`."""
    if file.suffix == ".json":
        file.write_text(json.dumps(placed(json.loads(file.read_text()), place, value)))
    else:
        file.write_text(yaml.safe_dump(placed(yaml.safe_load(file.read_text()), place, value)))
