"""The measure of novelty in a stranger's run folder: what is wrong with it is refused in a line that names the file."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from builders.commands import command_here
from builders.untrained_run import write_novelty
from subtext.model.novelty import COMPONENTS


@pytest.fixture
def run(untrained_run: Path, tmp_path: Path) -> Path:
    copied = shutil.copytree(untrained_run, tmp_path / "run", copy_function=os.link)
    return write_novelty(Path(copied), {"visual": 1e6, "text": 1e6, "prosody": None})


def refused(run: Path, *named: str) -> None:
    """Predicting says so, before anything is read; without the check there is nothing wrong."""
    (run.parent / "clip.wav").write_bytes(b"")
    command_here("predict", str(run), "clip.wav", folder=run.parent).refused(*named)


def changed(run: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(run / "novelty.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, run / "novelty.safetensors")


def test_a_run_folder_without_the_file(run: Path) -> None:
    (run / "novelty.safetensors").unlink()
    refused(run, "no novelty.safetensors", "--no-novelty-check")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", pickle.dumps({"visual.center": [0.0]}), b"\xff" * 64, save({"a": torch.ones(2)})[:-3]],
    ids=["empty", "one byte", "a pickle", "a header without end", "cut off"],
)
def test_a_file_that_is_no_safetensors(run: Path, content: bytes) -> None:
    (run / "novelty.safetensors").write_bytes(content)
    refused(run, "novelty.safetensors")


def _without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(name)


def _with(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: make(tensors[name])})


def _spoilt(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.index_fill(0, torch.tensor([0]), value)


TENSORS = {
    "no center": _without("visual.center"),
    "no directions": _without("text.directions"),
    "no spreads": _without("visual.spreads"),
    "nothing at all": lambda tensors: tensors.clear(),
    "narrower than the encoder": _with("text.center", lambda t: t[:-1]),
    "wider than the encoder": _with("visual.directions", lambda t: torch.cat([t, t], dim=1)),
    "a center of two axes": _with("visual.center", lambda t: t[None]),
    "directions of one axis": _with("visual.directions", torch.ravel),
    "a number alone": _with("visual.spreads", lambda t: t.sum()),
    "a spread too few": _with("text.spreads", lambda t: t[:-1]),
    "more directions than are kept": lambda tensors: tensors.update(
        {"text.directions": torch.zeros(COMPONENTS + 1, 384), "text.spreads": torch.ones(COMPONENTS + 2)}
    ),
    "a center that is no number": _with("visual.center", _spoilt(float("nan"))),
    "directions without end": _with("visual.directions", _spoilt(float("inf"))),
    "a spread of nought": _with("text.spreads", _spoilt(0.0)),
    "a spread below nought": _with("text.spreads", _spoilt(-1.0)),
    "whole numbers": _with("visual.center", lambda t: t.long()),
    "double precision": _with("visual.spreads", lambda t: t.double()),
    "complex numbers": _with("visual.center", lambda t: t.to(torch.complex64)),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_tensors_that_do_not_fit(run: Path, fault: str) -> None:
    changed(run, TENSORS[fault])
    refused(run, "novelty.safetensors", "encoder")


ENTRIES: list[tuple[str, Any]] = [
    ("level", 0),
    ("level", -1.0),
    ("level", 10**400),
    ("level", "3"),
    ("level", True),
    ("level", [3.0]),
    ("level", ...),
    ("clips", -1),
    ("clips", 1.5),
    ("clips", "many"),
    ("clips", None),
]


@pytest.mark.parametrize(("key", "value"), ENTRIES)
def test_a_description_of_other_kinds(run: Path, key: str, value: Any) -> None:
    described = json.loads((run / "model.json").read_text())
    if value is ...:
        del described["novelty"]["visual"][key]
    else:
        described["novelty"]["visual"][key] = value
    (run / "model.json").write_text(json.dumps(described))
    refused(run, "model.json", f"novelty.visual.{key}")


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_a_level_that_json_does_not_know(run: Path, level: float) -> None:
    described = json.loads((run / "model.json").read_text())
    described["novelty"]["text"]["level"] = level
    (run / "model.json").write_text(json.dumps(described))
    refused(run, "model.json", "no number that JSON knows")


@pytest.mark.parametrize("value", [None, 3, "none", [], {"visual": None}, {"visual": [1]}])
def test_a_measure_that_is_no_mapping(run: Path, value: Any) -> None:
    described = json.loads((run / "model.json").read_text()) | {"novelty": value}
    (run / "model.json").write_text(json.dumps(described))
    refused(run, "model.json", "novelty")
