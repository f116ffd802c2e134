"""Trained runs of a tiny studio corpus, their comparison and a sweep, as the commands leave them."""

from pathlib import Path
from typing import Any, Final

import pytest
from hydra import compose, initialize_config_dir

from subtext.core.composition import Composition, conf_folder
from subtext.corpora.studio import Studio
from subtext.manifest import Manifest
from subtext.report import figures
from subtext.runs import cost
from subtext.runs.compare import compare_runs
from subtext.runs.train import train
from subtext.sweeps.sweep import make_plan, run_sweep

STRATEGIES = ("crossmodal", "late")
SEEDS = (0, 1)
_PICTURES: Final = {"width": 160, "height": 120, "fps": 5}
"""Small and few, so that they are soon rendered; faces are found in them all the same."""


def corpus_of(folder: Path) -> Studio:
    """The tiny corpus, at the place where runs with `paths.work` at this folder look for it."""
    return Studio(
        folder / "corpora" / "studio" / "tiny-0",
        size="tiny",
        workers=0,
        width=_PICTURES["width"],
        height=_PICTURES["height"],
        fps=_PICTURES["fps"],
    )


def build_studio(folder: Path) -> Manifest:
    """Its clips, rendered where they are not there yet."""
    return corpus_of(folder).build()


def overrides(folder: Path) -> list[str]:
    """What a command line would say: the tiny corpus, a face encoder with random weights, few epochs."""
    return [
        "corpus=studio",
        "corpus.size=tiny",
        "corpus.workers=0",
        *(f"corpus.{key}={value}" for key, value in _PICTURES.items()),
        "encoder.prosody.trainable=true",
        "encoder.prosody.layers=0",
        "task.heads=[incongruent,type,visual_polarity,verbal_polarity]",
        "task.batch_size=16",
        "task.max_steps.visual=3",
        "trainer.max_epochs=2",
        "logger=none",
        "audit=false",
        "controls=[majority,text,posterior_product]",
        "workers=0",
        f"paths.work={folder}",
        f"paths.runs={folder / 'runs'}",
    ]


def train_studio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Runs of two seeds of each strategy, in a folder each; without the figures, which take longer than training."""
    monkeypatch.setattr(figures, "run_figures", lambda *_: [])
    composition = Composition(conf_folder(), overrides(folder))
    for strategy in STRATEGIES:
        for seed in SEEDS:
            settings: dict[str, Any] = composition.settings({"fusion": strategy, "seed": seed}, {"fusion"})
            train(settings, folder / "runs" / strategy / f"seed-{seed}")
    return {strategy: folder / "runs" / strategy for strategy in STRATEGIES}


def compare_studio(folder: Path, systems: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their comparison, costs measured in this process and not for long."""
    monkeypatch.setattr(cost, "measure_cost", cost.measure_here)
    monkeypatch.setattr(cost, "BATCHES", (1,))
    monkeypatch.setattr(cost, "PASSES", (1, 1))
    compare_runs([str(runs) for runs in systems.values()], folder / "comparison", n_bootstrap=20)
    return folder / "comparison"


def sweep_studio(folder: Path, trials: int = 12) -> Path:
    """A sweep over the two strategies: as many trials as the importance of settings takes, and two more."""
    place = folder / "runs" / "sweeps" / "tiny"
    given = [*overrides(folder), "trainer.max_epochs=1", "task.heads=[incongruent]"]
    own = [f"trials={trials}", "refit_seeds=0", "name=tiny", "sampler=random", "pruner=none"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("study", [*given, *own])
    config.space = {
        "fusion": {"choices": list(STRATEGIES)},
        "task.optimizer.lr": {"low": 1e-3, "high": 1e-2, "log": True},
        "fusion.queries": {"choices": [1, 2], "when": {"fusion": "crossmodal"}},
    }
    # In a study, workers are processes of trials; this is about extraction.
    config.constants = {"workers": 0}
    plan = make_plan(
        config, overrides=[*given, *own], choice="fusion", conf=conf_folder(), search_path=(), folder=place
    )
    run_sweep(plan, refit_seeds=0, save_as=None)
    return place
