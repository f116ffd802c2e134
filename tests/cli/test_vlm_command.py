"""subtext-vlm from the command line: modes, one-line errors, a dry run, the part that a SLURM array asks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from subtext.core.composition import conf_folder

LIGHT = ("train", "evaluate", "compare", "predict", "extract", "robustness", "sweep")


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "subtext.cli.vlm", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_first_word_is_the_mode(tmp_path: Path) -> None:
    for arguments in ((), ("vlm=smolvlm",), ("scores",)):
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 2
        assert "the first word is the mode: score" in done.stderr
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "usage: subtext-vlm MODE" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = run("score", "vlm=smolvlm", "vlm.path=nowhere", "vlm.device=cpu", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("WeightsError: no model folder nowhere")
    done = run("score", "vlm=smolvlmm", "vlm.path=x", folder=tmp_path)
    assert done.returncode != 0
    assert "did you mean 'vlm=smolvlm'" in done.stderr
    done = run("score", "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "vlm: idefics, idefics2" in done.stdout


def test_cost_needs_neither_weights_nor_a_folder(tmp_path: Path) -> None:
    done = run("cost", "vlm=internvl", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"parameters +│ +7,94\d,\d{3},\d{3}", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    done = run("cost", "vlm=internvl", "light=nowhere", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("RunError: no run folder nowhere")


@pytest.mark.slow
def test_a_dry_run_and_the_part_of_a_slurm_array(tmp_path: Path) -> None:
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
    done = run(*given, "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wording 1-mismatch-yes_first, 1 of 20 a clip" in " ".join(done.stdout.split())
    assert (tmp_path / "runs" / "tiny" / "seed-0" / "dry_run.png").is_file()
    part = "shard=${oc.env:SLURM_ARRAY_TASK_ID}/2"
    done = run(*given, part, folder=tmp_path, SLURM_ARRAY_TASK_ID="2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "tiny" / "seed-0" / "shard-2-of-2" / "predictions.parquet").is_file()


def test_the_light_path_imports_nothing_of_this() -> None:
    commands = ", ".join(f"subtext.cli.{command}" for command in LIGHT)
    code = (
        f"import sys, {commands}, subtext.runs.train, subtext.prediction.predictor, subtext.runs.evaluate\n"
        "import subtext.runs.merge, subtext.runs.prepare\n"
        "assert not [name for name in sys.modules if name.startswith(('subtext.vlm', 'peft'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
