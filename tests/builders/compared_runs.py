"""Run folders with synthetic tables, as `subtext-compare` reads them."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from scipy.special import logit

from builders.prediction_tables import run_tables

KEPT = ("majority", "visual", "text", "shuffled", "posterior_product")


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    skill: float = 1.5,
    strategy: str | None = "late",
    corpus: str = "subtext.corpora.files.ManifestCorpus",
    noise: int = 0,
    settings: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    test: int = 160,
    clip_seed: int = 0,
    readings: float | None = None,
) -> Path:
    """A finished run whose fused model is as good as `skill`; `noise` makes it another model of the same seed.

    With `readings` it stands on some that are as good as that.
    """
    folder.mkdir(parents=True)
    tables = partial(run_tables, clip_seed=clip_seed, train=10, val=80, test=test, speakers=18)
    predictions, controls = tables(seed=seed + 100 * noise, skill=skill)
    if readings is not None:
        below, _ = tables(seed=seed + 100 * noise + 50, skill=readings)
        predictions["anchor_incongruent"] = logit(below["prob_incongruent"].astype(float).to_numpy())
    predictions["seed"] = seed
    predictions.to_parquet(folder / "predictions.parquet")
    controls[controls["control"].isin(KEPT)].to_parquet(folder / "controls.parquet")
    own = {"seed": seed, "groups": ["identity", "dialogue"], "question": "words against face"}
    (folder / "run.json").write_text(json.dumps(own | (facts or {})))
    composed = {
        "seed": seed,
        "name": folder.name,
        "fusion": None if strategy is None else {"_target_": f"subtext.fusion.{strategy}.Fusion", "dropout": 0.1},
        "corpus": {"_target_": corpus},
        "paths": {"runs": str(folder)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(composed | (settings or {})))
    return folder


def write_system(folder: Path, strategy: str, skill: float, seeds: tuple[int, ...] = (0, 1), **more: Any) -> Path:
    """Runs of several seeds, as `seed-0` and so on."""
    for seed in seeds:
        write_run(folder / f"seed-{seed}", seed=seed, skill=skill, strategy=strategy, **more)
    return folder
