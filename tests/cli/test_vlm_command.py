"""subtext-vlm from the command line: modes, one-line errors, a dry run, the part that a SLURM array asks for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from builders.commands import command_here
from subtext.core.composition import conf_folder

LIGHT = ("train", "evaluate", "compare", "predict", "extract", "robustness", "sweep")


def test_the_first_word_is_the_mode(tmp_path: Path) -> None:
    for arguments in ((), ("vlm=smolvlm",), ("scores",)):
        done = command_here("vlm", *arguments, folder=tmp_path)
        assert done.code == 2
        assert "the first word is the mode: score" in done.err
    done = command_here("vlm", "--help", folder=tmp_path)
    assert done.code == 0
    assert "usage: subtext-vlm MODE" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = command_here("vlm", "score", "vlm=smolvlm", "vlm.path=nowhere", "vlm.device=cpu", folder=tmp_path)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].startswith("WeightsError: no model folder nowhere")
    done = command_here("vlm", "score", "vlm=smolvlmm", "vlm.path=x", folder=tmp_path)
    assert done.code != 0
    assert "did you mean 'vlm=smolvlm'" in done.err
    done = command_here("vlm", "score", "--help", folder=tmp_path)
    assert done.code == 0
    assert "vlm: idefics, idefics2" in done.out


def test_cost_needs_neither_weights_nor_a_folder(tmp_path: Path) -> None:
    done = command_here("vlm", "cost", "vlm=internvl", folder=tmp_path)
    assert done.code == 0, done.err
    assert re.search(r"parameters +│ +7,94\d,\d{3},\d{3}", done.out)
    assert max(map(len, done.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    done = command_here("vlm", "cost", "vlm=internvl", "light=nowhere", folder=tmp_path)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].startswith("RunError: no run folder nowhere")


@pytest.mark.slow
def test_a_dry_run_and_the_part_of_a_slurm_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from builders.scored_runs import write_talking_corpus
    from builders.tiny_models import write_tiny

    (tmp_path / "corpus").mkdir()
    corpus = write_talking_corpus(tmp_path / "corpus")
    model = write_tiny("smolvlm", tmp_path / "model")
    given = ["score", "vlm=smolvlm", f"vlm.path={model}", "vlm.device=cpu", "vlm.dtype=float32", "corpus=manifest"]
    given += [
        f"corpus.path={corpus}",
        "frames.count=2",
        "heads=[incongruent]",
        "controls=false",
        "floor=0",
        "workers=0",
    ]
    given += [f"paths.work={tmp_path / 'work'}", f"paths.runs={tmp_path / 'runs'}", "name=tiny"]
    # A family of one's own is one file.
    (tmp_path / "conf" / "vlm").mkdir(parents=True)
    own = (conf_folder() / "vlm" / "smolvlm.yaml").read_text().replace("name: smolvlm", "name: mine")
    (tmp_path / "conf" / "vlm" / "mine.yaml").write_text(own)
    given = ["score", "--config-dir", str(tmp_path / "conf"), "vlm=mine", *given[2:]]
    done = command_here("vlm", *given, "--dry-run", folder=tmp_path)
    assert done.code == 0, done.err
    assert "wording 1-mismatch-yes_first, 1 of 20 a clip" in " ".join(done.out.split())
    assert (tmp_path / "runs" / "tiny" / "seed-0" / "dry_run.png").is_file()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    done = command_here("vlm", *given, "shard=${oc.env:SLURM_ARRAY_TASK_ID}/2", folder=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "runs" / "tiny" / "seed-0" / "shard-2-of-2" / "predictions.parquet").is_file()


def test_the_light_path_imports_nothing_of_this() -> None:
    commands = ", ".join(f"subtext.cli.{command}" for command in LIGHT)
    code = (
        f"import sys, {commands}, subtext.runs.train, subtext.prediction.predictor, subtext.runs.evaluate\n"
        "import subtext.runs.merge, subtext.runs.prepare\n"
        "assert not [name for name in sys.modules if name.startswith(('subtext.vlm', 'peft'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
