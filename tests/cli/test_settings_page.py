"""`--settings`, and the page of the documentation that shows what it prints."""

from pathlib import Path

import pytest

from builders.commands import command_here
from subtext.core.composition import Composition, conf_folder
from subtext.runs.settings import TrainingSettings

CONF = conf_folder()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_shows_what_the_command_prints(tmp_path: Path) -> None:
    done = command_here("train", "corpus=manifest", "--settings", folder=tmp_path)
    assert (done.code, done.err, done.written) == (0, "", [])
    shown = PAGE.read_text(encoding="utf-8").partition("```text\n")[2].removesuffix("```\n")
    assert shown == done.out


def test_settings_fit_a_terminal_and_say_what_their_classes_say(tmp_path: Path) -> None:
    done = command_here("train", "corpus=manifest", "fusion=late", "--settings", folder=tmp_path)
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[lines.index("fusion.combine=weights") + 1] == "    mean, weights or stacking"
    assert "fusion.layers=1" not in lines


def test_settings_that_cannot_be_used_are_refused_there_too(tmp_path: Path) -> None:
    command_here("train", "corpus=manifest", "--settings", "seed=-1", folder=tmp_path).refused("seed is -1")


CHOICES = sorted(
    f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"
    for path in CONF.rglob("*.yaml")
    if path.parent != CONF and path.parts[len(CONF.parts)] not in ("hydra", "sweep", "sampler", "pruner", "vlm")
)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_ours_is_one(choice: str) -> None:
    TrainingSettings.check(Composition(CONF, [choice]).settings({}, ()))
