"""What a message says to set can be set: every KEY=VALUE in the texts of the code is a whole setting, and composes."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from subtext.core.composition import conf_folder, ready_hydra

SOURCE = Path(__file__).resolve().parents[2] / "src" / "subtext"
ROOTS = ("config", "study", "vlm_run")
"""What the commands' configurations begin with."""
OTHERS = {
    "out": "an argument of Python, beside the option --out",
    "engagement": "a label, in help of --method",
    "said": "an argument of a function",
    "shown": "an argument of a function",
    "frames": "an argument of a function",
    "max_lag": "an argument of a class that no configuration makes",
    "mode": "of an address of SQLite",
    "journal_mode": "of SQLite",
    "synchronous": "of SQLite",
    "sync_dist": "a pattern for a warning of Lightning's",
    **dict.fromkeys(("sha256", "score", "side", "least", "opencv", "neighbours", "smallest"), "a fingerprint"),
    "answer": "a setting, in a fingerprint",
    "sep": "of the first line of a table",
}
"""Names before an equals sign that are no settings of a configuration."""
_SETTING = re.compile(r"(?<![\w.\[/\-{}$:(])([a-z][\w]*(?:[./](?:\w|\{[^{}]*\})+)*)=(?!=)([^\s;,:)'\"]*)")


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in a module save docstrings, those with placeholders as {...}."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%(?:[sdr]|\.\d[fg])", "{}", node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(str(part) for part in parts)


@cache
def told() -> list[tuple[str, str]]:
    """File and text of everything that the code may say."""
    return [
        (path.relative_to(SOURCE).as_posix(), text)
        for path in sorted(SOURCE.rglob("*.py"))
        for text in texts(ast.parse(path.read_text(encoding="utf-8")))
    ]


@cache
def named() -> list[tuple[str, str, str]]:
    """File, key and value of each KEY=VALUE."""
    found = {(file, key, value.rstrip(".")) for file, text in told() for key, value in _SETTING.findall(text)}
    return sorted(found)


@cache
def keys() -> dict[str, set[str]]:
    """Key -> the choices, GROUP=NAME, in whose file it stands; of a root's own none."""
    out: dict[str, set[str]] = {}
    for path in conf_folder().rglob("*.yaml"):
        group = path.parent.relative_to(conf_folder()).as_posix()
        if group.startswith(("hydra", "sweep", "experiment")):
            continue
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        node.pop("defaults", None)
        for key in _keys(node, "" if group == "." else f"{group.replace('/', '.')}."):
            out.setdefault(key, set()).update(() if group == "." else {f"{group}={path.stem}"})
    return out


def _keys(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def groups() -> set[str]:
    return {path.parent.relative_to(conf_folder()).as_posix() for path in conf_folder().rglob("*.yaml")} - {"."}


def dotted() -> list[tuple[str, str]]:
    """File and key of each setting that a message names without an equals sign."""
    roots = "|".join(sorted({key.partition(".")[0] for key in keys() if "." in key} - {"hydra"}))
    pattern = re.compile(rf"(?<![\w./{{$-])((?:{roots})(?:\.(?:\w|\{{[^{{}}]*\}})++)++)(?![=(/])")
    return sorted({(file, key) for file, text in told() if " " in text.strip() for key in pattern.findall(text)})


def is_setting(key: str) -> bool:
    pattern = re.compile(re.sub(r"\\\{.*?\\\}", r"\\w+", re.escape(key)))
    return key.startswith("hydra") or any(pattern.fullmatch(known) for known in {*keys(), *groups()})


@pytest.mark.parametrize("file", sorted({file for file, *_ in named()}))
def test_every_key_in_a_message_is_a_whole_key(file: str) -> None:
    unknown = [f"{key}={value}" for of, key, value in named() if of == file and key not in OTHERS]
    assert [text for text in unknown if not is_setting(text.partition("=")[0])] == []


def test_every_dotted_key_in_a_message_is_a_whole_key() -> None:
    found = dotted()
    assert len(found) > 30
    assert [(file, key) for file, key in found if not is_setting(key)] == []


def test_what_is_said_to_be_no_setting_is_in_use_and_none() -> None:
    used = {key for _, key, _ in named()}
    assert OTHERS.keys() - used == set()
    assert [key for key, what in OTHERS.items() if is_setting(key) and key != "frames" and "setting" not in what] == []


def literal() -> list[str]:
    """Those that can be typed as they stand: without a placeholder, and whose value is no word for one."""
    whole = {
        f"{key}={value}"
        for _, key, value in named()
        if key not in OTHERS and "{" not in key + value and value and not re.search(r"[A-Z<%]|\.\.\.", value)
    }
    return sorted(text for text in whole if not text.startswith("hydra"))


@pytest.mark.parametrize("text", literal())
def test_every_setting_in_a_message_composes(text: str) -> None:
    ready_hydra()
    choices = sorted(keys().get(text.partition("=")[0], ()))[:1]
    reasons = []
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for root in ROOTS:
            try:
                compose(root, [*choices, text])
            except (HydraException, OmegaConfBaseException) as error:
                reasons.append(str(error))
            else:
                return
    raise AssertionError(f"{text}: {reasons}")
