"""Every way in which a file of a kind can hold what does not belong there: made by rule, not thought up one by one.

What stands in the spoilt place is `CANARY`, which no message may repeat.
"""

import csv
import io
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

CANARY = "Qzxoonah: we miss her --> 1,5"
MARK = "qzx"
"""Of what inputs hold and no message may: in `CANARY`, and to be written into ids, names and words of good inputs."""


def spoilt(path: Path, most: int) -> Iterator[tuple[str, bytes]]:
    """What was done to a file, and its content then.

    Args:
        path: a good file.
        most: of the places in it, drawn by chance, the same every time.
    """
    kinds: dict[str, Callable[[Path], Iterator[tuple[str, bytes]]]] = {
        ".csv": _table,
        ".tsv": _table,
        ".parquet": _parquet,
        ".json": _json,
        ".jsonl": _json_lines,
        ".yaml": _yaml,
        ".eaf": _xml,
    }
    ways = list(kinds.get(path.suffix, _text)(path))
    yield from random.Random(0).sample(ways, most) if len(ways) > most else ways
    content = path.read_bytes()
    middle = len(content) // 2
    yield "cut off", content[:middle]
    yield "a byte that is no UTF-8", content[:middle] + b"\xff" + content[middle:]
    yield "a zero byte", content[:middle] + b"\0" + content[middle:]
    yield "an open quote", content[:middle] + b'"' + content[middle:]
    yield "words alone", f"{CANARY}\n{CANARY}, {CANARY}\n".encode()
    yield "nothing", b""


def _table(path: Path) -> Iterator[tuple[str, bytes]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), delimiter=delimiter))

    def written(changed: list[list[str]]) -> bytes:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter).writerows(changed)
        return out.getvalue().encode()

    for number, row in enumerate(rows):
        for place in range(len(row)):
            cells = [CANARY if n == place else cell for n, cell in enumerate(row)]
            yield f"row {number}, cell {place}", written([*rows[:number], cells, *rows[number + 1 :]])
        yield f"row {number} too long", written([*rows[:number], [*row, CANARY], *rows[number + 1 :]])
        yield f"row {number} too short", written([*rows[:number], row[:-1], *rows[number + 1 :]])
    yield "no header", written(rows[1:])
    yield "a row twice", written([*rows, rows[-1]])
    yield "a column twice", written([[*row, row[0]] for row in rows])


def _parquet(path: Path) -> Iterator[tuple[str, bytes]]:
    table = pd.read_parquet(path)

    def written(changed: pd.DataFrame) -> bytes:
        out = io.BytesIO()
        changed.to_parquet(out)
        return out.getvalue()

    for column in table:
        cells = table[column].astype("string")
        for row in range(len(table)):
            yield (
                f"row {row}, {column}",
                written(table.assign(**{column: [CANARY if n == row else c for n, c in enumerate(cells)]})),
            )
        yield f"{column} renamed", written(table.rename(columns={column: CANARY}))
        yield f"{column} missing", written(table.drop(columns=column))
    yield "a row twice", written(pd.concat([table, table.tail(1)]))


def _json(path: Path) -> Iterator[tuple[str, bytes]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    yield from ((what, json.dumps(changed).encode()) for what, changed in _changed(content, ""))


def _json_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        for what, changed in _changed(json.loads(line), ""):
            text = "\n".join([*lines[:number], json.dumps(changed), *lines[number + 1 :]])
            yield f"line {number}{what}", text.encode()
        yield f"line {number} no JSON", "\n".join([*lines[:number], CANARY, *lines[number + 1 :]]).encode()
    yield "a line twice", "\n".join([*lines, lines[-1]]).encode()


def _yaml(path: Path) -> Iterator[tuple[str, bytes]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    yield from ((what, yaml.safe_dump(changed).encode()) for what, changed in _changed(content, ""))
    yield from _text(path)


def _changed(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """A tree with each node in turn replaced, each key renamed."""
    yield place, CANARY
    yield place, {CANARY: CANARY}
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{place}.{key} renamed", {CANARY if k == key else k: v for k, v in node.items()}
            for what, changed in _changed(value, f"{place}.{key}"):
                yield what, {**node, key: changed}
    elif isinstance(node, list):
        for number, value in enumerate(node):
            for what, changed in _changed(value, f"{place}[{number}]"):
                yield what, [*node[:number], changed, *node[number + 1 :]]


def _xml(path: Path) -> Iterator[tuple[str, bytes]]:
    text = path.read_text(encoding="utf-8")
    word = CANARY.replace(">", "")
    for found in re.finditer(r'="[^"]*"|>[^<]+<', text):
        first, last = text[found.start() : found.start() + 1 + (text[found.start()] == "=")], text[found.end() - 1]
        yield f"at {found.start()}", f"{text[: found.start()]}{first}{word}{last}{text[found.end() :]}".encode()


def _text(path: Path) -> Iterator[tuple[str, bytes]]:
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"\S+", text):
        yield f"at {found.start()}", f"{text[: found.start()]}{CANARY}{text[found.end() :]}".encode()
    lines = text.split("\n")
    for number in range(len(lines)):
        yield f"line {number}", "\n".join([*lines[:number], CANARY, *lines[number + 1 :]]).encode()
