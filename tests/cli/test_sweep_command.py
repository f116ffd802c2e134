"""subtext-sweep as a person meets it: what it refuses, and a search from its first trial to the tested winner."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tiny_runs import DIRECTIONS, write_corpus

SWEEPS = Path(__file__).parents[1] / "sweeps"
FAKE = [
    "objective=fake_objective.FakeObjective",
    "refit_seeds=0",
    "workers=0",
    "corpus=manifest",
    "corpus.path=none.csv",
]


def sweep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "subtext.cli.sweep", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(SWEEPS), "FAKE_RAN": str(cwd / "ran.jsonl")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trials=0"], "ConfigError: trials is 0; write a whole number of at least 1"),
        (["sampler=grid"], "sampler=grid cannot go over this space: task.optimizer.lr has endlessly many values"),
        (["storage=mine"], "ConfigError: storage=mine is of no known kind"),
        (["save_as=collage"], "collage.yaml is there already"),
        (["objective=nowhere.Objective"], "No module named 'nowhere'"),
        (["+objectives.loss=minimize", "objective=subtext.sweeps.objective.Objective"], "no figure 'loss'"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = sweep(*FAKE, "fusion=late", *arguments, cwd=tmp_path)  # one strategy is composed sooner than all
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr.splitlines()[-1]


def test_a_grid_of_sweeps_is_refused(tmp_path: Path) -> None:
    done = sweep("-m", *FAKE, "fusion=late,concat", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "ConfigError: -m: a sweep is one study" in done.stderr


def test_misspelt_names_the_nearest(tmp_path: Path) -> None:
    for slip, meant in (("sweep=fusoin", "sweep=fusion"), ("sampler=cmeas", "sampler=cmaes"), ("trails=3", "trials")):
        done = sweep(slip, cwd=tmp_path)
        assert done.returncode != 0
        assert f"did you mean '{meant}'?" in done.stderr


def test_other_settings_are_another_sweep(tmp_path: Path) -> None:
    assert sweep(*FAKE, "fusion=late", "trials=1", cwd=tmp_path).returncode == 0
    done = sweep(*FAKE, "fusion=late", "trials=2", "task.swap=0.5", cwd=tmp_path)
    assert done.returncode == 2
    assert "settings.task.swap was 0.0 and is 0.5" in done.stderr
    assert sweep(*FAKE, "fusion=late", "trials=2", "task.swap=0.5", "name=other", cwd=tmp_path).returncode == 0


def test_every_trial_on_the_front_is_kept_as_an_experiment(tmp_path: Path) -> None:
    done = sweep("sweep=pareto", *FAKE, "trials=12", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    experiments = {path.stem for path in (tmp_path / "runs/sweeps/pareto-manifest/conf/experiment").glob("*.yaml")}
    assert "winner" in experiments
    assert len(experiments) > 2
    assert all(name == "winner" or name.startswith("pareto_") for name in experiments)


@pytest.mark.slow
def test_a_sweep_from_the_first_trial_to_the_tested_winner(tmp_path: Path) -> None:
    """Slow: three processes that import torch, five trainings."""
    write_corpus(tmp_path)
    arguments = [
        "corpus=manifest",
        "corpus.path=tiny.csv",
        "~encoder/visual",
        f"encoder.text.embed_dim={DIRECTIONS['text']}",
        f"encoder.prosody.input_dim={DIRECTIONS['prosody']}",
        "encoder.prosody.channels=8",
        "encoder.prosody.trainable=true",
        "task.heads=[incongruent,verbal_polarity,vocal_polarity]",
        "trainer.max_epochs=2",
        "logger=none",
        "controls=false",
        "audit=false",
    ]
    done = sweep(*arguments, "fusion=concat", "seeds=2", "trials=2", "refit_seeds=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "sweeps" / "fusion-manifest"
    metrics = json.loads((folder / "winner" / "seed-2" / "metrics.json").read_text())
    assert metrics
    config = yaml.safe_load((folder / "winner" / "seed-2" / "config.yaml").read_text())
    assert config["seed"] == 2  # the trials had 0 and 1
    assert (folder / "sweep.md").is_file()

    again = subprocess.run(
        [
            sys.executable,
            "-m",
            "subtext.cli.train",
            "--config-dir",
            str(folder / "conf"),
            "experiment=winner",
            "seed=2",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    (run,) = (tmp_path / "runs" / "winner").glob("*/metrics.json")
    assert json.loads(run.read_text()) == metrics
