"""Clips unlike those of the training: the command abstains and says why; what a run cannot tell is said once."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builders.commands import Done, command_here
from builders.talking_face import write_talking_face
from builders.untrained_run import write_novelty

ALIKE, UNLIKE = 1e6, 1e-3
"""Levels that every clip keeps, and that none does."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_face(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=2.0)


@pytest.fixture
def run(untrained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained_run, tmp_path / "run"))


def predicted(run: Path, clip: Path, *options: str, times: int = 1) -> Done:
    said = ["--transcript", "I am fine, really."]
    return command_here("predict", str(run), *[str(clip)] * times, *said, *options, folder=run.parent)


def line_of(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_clips_like_those_of_training_are_answered(run: Path, clip: Path) -> None:
    write_novelty(run, dict.fromkeys(("visual", "text", "prosody"), ALIKE))
    done = predicted(run, clip)
    line = line_of(done)
    assert set(line["novelty"]) == {"visual", "text", "prosody"}
    assert all(0 < value < 1 for value in line["novelty"].values())
    assert line["unlike"] == []
    assert line["incongruent"] is not None
    assert done.err == ""


@pytest.mark.parametrize("unlike", ["visual", "text", "prosody"])
def test_a_modality_unlike_that_of_training_abstains(run: Path, clip: Path, unlike: str) -> None:
    write_novelty(run, dict.fromkeys(("visual", "text", "prosody"), ALIKE) | {unlike: UNLIKE})
    line = line_of(predicted(run, clip))
    assert line["unlike"] == [unlike]
    assert line["abstain"] is True
    assert line["incongruent"] is line["vocal_incongruent"] is None
    name = {"visual": "face", "text": "words", "prosody": "voice"}[unlike]
    for reasons in line["abstentions"].values():
        (reason,) = reasons
        assert reason.startswith(f"{name} unlike those of training: distance ")


def test_the_check_can_be_left_out(run: Path, clip: Path) -> None:
    answered = line_of(predicted(run, clip))
    write_novelty(run, dict.fromkeys(("visual", "text", "prosody"), UNLIKE))
    (run / "novelty.safetensors").write_bytes(b"")  # which is not even looked at
    done = predicted(run, clip, "--no-novelty-check")
    line = line_of(done)
    assert line["abstain"] is False
    assert (line["novelty"], line["unlike"]) == ({}, [])
    assert line["incongruent"] == answered["incongruent"]
    assert done.err == ""


def test_a_table_holds_it_too(run: Path, clip: Path) -> None:
    write_novelty(run, {"visual": UNLIKE, "prosody": ALIKE})
    assert predicted(run, clip, "--out", "lines.csv").code == 0
    with (run.parent / "lines.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["novelty.visual"]) > 1 > float(row["novelty.prosody"])
    assert row["unlike"] == "visual"
    assert "face unlike those of training" in row["abstentions.incongruent"]


def test_what_was_used_is_part_of_the_digest(run: Path, clip: Path) -> None:
    before = line_of(predicted(run, clip))["model"]
    write_novelty(run, {"visual": ALIKE})
    with_check = line_of(predicted(run, clip))["model"]
    weights = (run / "novelty.safetensors").read_bytes()
    (run / "novelty.safetensors").write_bytes(weights[:-4] + b"\x00\x00\x80\x40")
    assert len({before, with_check, line_of(predicted(run, clip))["model"]}) == 3


# -- what a run cannot tell -------------------------------------------------------------------------------------------


def told(run: Path, clip: Path) -> list[str]:
    """What stands on the error stream after two clips."""
    return predicted(run, clip, times=2).err.splitlines()


def test_a_level_of_too_few_clips_is_said_once(run: Path, clip: Path) -> None:
    write_novelty(run, {"visual": None, "text": ALIKE, "prosody": None})
    (said,) = told(run, clip)
    assert "novelty is not checked for want of 100 different validation clips: face (80), voice (80)" in said


def test_a_run_of_before_is_said_once(run: Path, clip: Path) -> None:
    described = json.loads((run / "model.json").read_text())
    del described["novelty"]
    (run / "model.json").write_text(json.dumps(described))
    (said,) = told(run, clip)
    assert "novelty is not checked: it was trained before there was a check; train it again" in said


@pytest.mark.parametrize("nature", ["constructed", "natural", "acted", None])
def test_a_constructed_corpus_is_said_once(run: Path, clip: Path, nature: str | None) -> None:
    (run / "run.json").write_text(json.dumps({"nature": nature}))
    said = told(run, clip)
    assert len(said) == (nature == "constructed")
    assert all("was trained on constructed clips" in line for line in said)


def test_facts_that_cannot_be_read_are_no_reason_not_to_predict(run: Path, clip: Path) -> None:
    (run / "run.json").write_text("{")
    assert told(run, clip) == []
