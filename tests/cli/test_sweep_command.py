"""subtext-sweep as a person meets it: what it refuses, and a search from its first trial to the tested winner."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from builders.sweep_commands import COMMON, sweep_here
from builders.tiny_runs import DIRECTIONS, write_corpus

pytestmark = pytest.mark.usefixtures("undrawn")

FAKE = [*COMMON, "workers=0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trials=0"], "ConfigError: trials is 0; write a whole number of at least 1"),
        (["sampler=grid"], "sampler=grid cannot go over this space: task.optimizer.lr has endlessly many values"),
        (["storage=mine"], "ConfigError: storage=mine is of no known kind"),
        (["save_as=collage"], "collage.yaml is there already"),
        (["objective=nowhere.Objective"], "No module named 'nowhere'"),
        (
            ["+objectives.loss=minimize", "objective=subtext.sweeps.objective.Objective"],
            "ConfigError: objectives has no setting 'loss'; its settings are selection, flops_per_clip or parameters",
        ),
        (["pruner=null"], "pruner=CHOICE, one of hyperband, median, none, patient, percentile"),
        (["~sweep"], "ConfigError: space is {}, as by ~sweep: what is searched stands in a file of conf/sweep; write"),
        (["~pruner"], "ConfigError: pruner is missing; choose a file of conf/pruner, or write its _target_"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    # One strategy is composed sooner than all.
    code, told = sweep_here(*FAKE, "fusion=late", *arguments, folder=tmp_path)
    assert code == 2, told
    assert "Traceback" not in told
    assert said in told.splitlines()[-1]


def test_a_grid_of_sweeps_is_refused(tmp_path: Path) -> None:
    code, said = sweep_here("-m", *FAKE, "fusion=late,concat", folder=tmp_path)
    assert code == 2, said
    assert "ConfigError: -m: a sweep is one study" in said


@pytest.mark.parametrize(
    ("slip", "meant"), [("sweep=fusoin", "sweep=fusion"), ("sampler=cmeas", "sampler=cmaes"), ("trails=3", "trials")]
)
def test_misspelt_names_the_nearest(slip: str, meant: str, tmp_path: Path) -> None:
    code, said = sweep_here(slip, folder=tmp_path)
    assert code != 0
    assert f"did you mean '{meant}'?" in said


@pytest.mark.slow
def test_other_settings_are_another_sweep(tmp_path: Path) -> None:
    assert sweep_here(*FAKE, "fusion=late", "trials=1", folder=tmp_path)[0] == 0
    code, said = sweep_here(*FAKE, "fusion=late", "trials=2", "task.swap=0.5", folder=tmp_path)
    assert code == 2
    assert "settings.task.swap was 0.0 and is 0.5" in said
    assert sweep_here(*FAKE, "fusion=late", "trials=2", "task.swap=0.5", "name=other", folder=tmp_path)[0] == 0


@pytest.mark.slow
def test_every_trial_on_the_front_is_kept_as_an_experiment(tmp_path: Path) -> None:
    experiments = tmp_path / "runs/sweeps/pareto-none/conf/experiment"
    experiments.mkdir(parents=True)
    (experiments / "pareto_999.yaml").touch()  # of an earlier session; better ones have been found since
    code, said = sweep_here("sweep=pareto", *FAKE, "trials=12", folder=tmp_path)
    assert code == 0, said
    names = {path.stem for path in experiments.glob("*.yaml")}
    assert "winner" in names
    assert "pareto_999" not in names
    assert len(names) > 2
    assert all(name == "winner" or name.startswith("pareto_") for name in names)


@pytest.mark.slow
def test_a_sweep_from_the_first_trial_to_the_tested_winner(tmp_path: Path) -> None:
    """Slow: a process that imports torch, six trainings. The winner is saved among the experiments of one's own."""
    write_corpus(tmp_path)
    (tmp_path / "mine").mkdir()
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
    more = ["--config-dir", "mine", "fusion=concat", "seeds=2", "trials=2", "refit_seeds=1", "save_as=found"]
    code, said = sweep_here(*more, *arguments, "workers=0", folder=tmp_path)
    assert code == 0, said
    folder = tmp_path / "runs" / "sweeps" / "fusion-tiny"
    metrics = json.loads((folder / "winner" / "seed-2" / "metrics.json").read_text())
    assert metrics
    config = yaml.safe_load((folder / "winner" / "seed-2" / "config.yaml").read_text())
    assert config["seed"] == 2  # the trials had 0 and 1
    assert (folder / "sweep.md").is_file()

    again = subprocess.run(
        [sys.executable, "-m", "subtext.cli.train", "--config-dir", "mine", "experiment=found", "seed=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    (run,) = (tmp_path / "runs" / "found").glob("*/metrics.json")
    assert json.loads(run.read_text()) == metrics
    assert (folder / "conf" / "experiment" / "winner.yaml").is_file()
