"""YAML that people write by hand, read so that nothing in it is lost in silence."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from subtext.errors import SubtextError

_QUOTED: Final = re.compile(r"'[^'<][^']+'|\"[^\"]+\"")


def read_yaml(path: Path, error: type[SubtextError]) -> Any:
    """A UTF-8 file's content as plain types.

    Args:
        path: the file.
        error: what to raise.

    Raises:
        SubtextError: of the class `error`: the file cannot be read, is not YAML, or holds a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path and its rights") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 at byte {problem.start}; save it as UTF-8") from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        # What stands between quotes there is the file's own, which may name people.
        reason = _QUOTED.sub("'...'", getattr(problem, "problem", None) or "characters that it cannot hold")
        raise error(f"{path}{where}: not readable as YAML ({reason}); correct it") from problem
    except ValueError as problem:  # a number of thousands of digits, a date that is none
        raise error(f"{path}: not readable as YAML (a number or a date that is none); put it in quotes") from problem
    except RecursionError as problem:
        raise error(f"{path}: nested too deeply; write plain keys with values") from problem


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, "a key stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
