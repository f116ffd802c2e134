"""An interrupted run whose folder was spoiled: refused in one line before anything is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from builders.commands import Done, command_here
from builders.spoilt_places import spoil
from builders.tiny_runs import settings, write_corpus
from subtext.core.schema import check
from subtext.errors import ConfigError
from subtext.model.checkpoints import BEST, LAST, Checkpoints
from subtext.runs.settings import TrainingSettings
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


class _Ended(Exception):
    pass


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was ended after its second of three epochs."""
    place = tmp_path_factory.mktemp("interrupted")
    asked = settings(place, write_corpus(place / "corpus"))
    epoch_ends = Checkpoints.on_train_epoch_end

    def on_train_epoch_end(self: Checkpoints, trainer: Any, module: Any) -> None:
        epoch_ends(self, trainer, module)
        if trainer.current_epoch == 1:
            raise _Ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", on_train_epoch_end)
        with pytest.raises(_Ended):
            train(asked, place / "run")
    return place / "run"


@pytest.fixture
def run(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def resume(run: Path) -> Done:
    return command_here("train", f"resume={run}", folder=run.parent)


def refused(run: Path, *named: str) -> None:
    """The last line is the error; before it the log says how far the run had come."""
    before = (run / LAST).read_bytes()
    done = resume(run)
    assert done.code == 2, done.said
    assert "Traceback" not in done.said
    line = done.err.splitlines()[-1]
    assert all(name in line for name in named), line
    assert (run / LAST).read_bytes() == before
    assert not (run / "model.json").exists()


def spoil_checkpoint(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    checkpoint = torch.load(run / LAST, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, run / LAST)


SECTIONS = [
    *("seed", "workers", "corpus", "encoder", "trainer", "paths", "paths.features", "task"),
    *(f"task.{name}" for name in ("heads", "head_dropout", "rows", "batch_size", "max_steps", "swap")),
]


@pytest.mark.parametrize("place", SECTIONS)
def test_a_configuration_without_a_part_is_refused_before_anything_is_written(run: Path, place: str) -> None:
    spoil(run / "config.yaml", place, ...)
    part = place in ("corpus", "trainer", "task")
    remedy = f"choose a file of conf/{place}, or write its _target_" if part else "write "
    said = f"config.yaml: {place} is missing; {remedy}"
    resume(run).refused(said, "begin it again", apart_from=("run/subtext-train.log",))


def test_the_name_of_a_setting_stays_on_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^'see\\nd' is not known; did you mean 'seed'\?$"):
        check({"see\nd": 1}, TrainingSettings)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("task", "words"),
        ("corpus", ["a"]),
        ("encoder", 3),
        ("encoder.text", "text"),
        ("fusion", "late"),
        ("trainer", None),
        ("paths", "here"),
        ("paths.features", 7),
        ("seed", "zero"),
        ("workers", -1),
        ("cv", "five"),
        ("callbacks", [1]),
    ],
)
def test_sections_of_other_kinds_are_refused_before_anything_is_written(run: Path, place: str, value: Any) -> None:
    spoil(run / "config.yaml", place, value)
    resume(run).refused("config.yaml", f"'{place}'", apart_from=("run/subtext-train.log",))


def test_the_checkpoint_of_another_model_is_refused(run: Path) -> None:
    for modality in ("text", "prosody"):
        spoil(run / "config.yaml", f"encoder.{modality}.dim", 32)
    refused(run, LAST, "another model", "overwrite=true")


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda checkpoint: checkpoint.pop(name)


def _as_text(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda checkpoint: checkpoint.update({name: "x"})


def _remembering(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda checkpoint: checkpoint["callbacks"]["Checkpoints"].update({name: value})


PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks")
CHANGES = {
    # Without weights it is none, and the one before is taken.
    **{f"without {name}": _without(name) for name in (*PARTS[1:], "pytorch-lightning_version")},
    **{f"{name} as text": _as_text(name) for name in PARTS[:2]},
    "history of texts": _remembering("history", ["a"]),
    "best score as text": _remembering("best_score", "high"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_checkpoint_that_was_taken_apart_is_refused(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    spoil_checkpoint(run, change)
    refused(run, LAST)


@pytest.mark.parametrize("other", [True, False])
def test_best_weights_of_another_model_are_refused(run: Path, other: bool) -> None:
    # No later epoch is better, so that the kept weights are needed.
    spoil_checkpoint(run, _remembering("best_score", 2.0))
    if other:
        save_file({"a": torch.zeros(1)}, run / BEST)
    else:
        (run / BEST).write_bytes(b"none")
    done = resume(run)
    assert done.code == 2, done.said
    assert "Traceback" not in done.said
    assert BEST in done.err.splitlines()[-1]


@pytest.mark.parametrize("place", ["NOT_THERE", "empty", "file", "deep/er", "link"])
def test_where_no_run_is_none_is_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    command_here("train", f"resume={place}", folder=tmp_path).refused(place, "config.yaml")
