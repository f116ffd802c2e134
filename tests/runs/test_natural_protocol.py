"""The protocol for natural recordings, on a generated corpus of three streams without polarity labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.commands import command_here
from subtext.runs.folder import RunFolder

WIDTHS = {"visual": 6, "text": 8, "prosody": 5}


def write_natural(folder: Path, *, speakers: int = 25, clips: int = 6, seed: int = 0) -> Path:
    """Clips whose label each channel tells in part; persons differ and have a session each; no polarity is known."""
    rng = np.random.default_rng(seed)
    (folder / "streams").mkdir(parents=True)
    weights = {m: rng.normal(size=width) for m, width in WIDTHS.items()}
    rows = []
    for number in range(speakers * clips):
        values = {m: rng.normal(size=(1, width)) for m, width in WIDTHS.items()}
        score = sum(float(values[m][0] @ weights[m]) for m in WIDTHS) + rng.normal()
        person = np.random.default_rng(number // clips)
        arrays = {m: (v + person.normal(size=v.shape[1])).astype(np.float32) for m, v in values.items()}
        np.savez(folder / "streams" / f"{number}.npz", **arrays)
        rows.append(
            {
                "id": f"clip-{number}",
                "speaker": f"person-{number // clips}",
                "session": f"session-{number // clips}",
                "features": f"streams/{number}.npz",
                "incongruent": score > 0,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "mine.csv", index=False)
    return folder / "mine.csv"


@pytest.mark.slow
def test_the_whole_protocol_runs_without_polarity_labels(tmp_path: Path) -> None:
    table = write_natural(tmp_path / "corpus")
    own = [f"corpus.path={table}", "corpus.groups=[speaker]", "workers=0", f"paths.work={tmp_path / 'work'}"]
    own += ["encoder/visual=features", "encoder.visual.input_dim=6", "encoder.visual.families=null"]
    own += ["encoder/prosody=features", "encoder.prosody.input_dim=5", "encoder.prosody.families=null"]
    own += ["encoder.text.embed_dim=8", "encoder.visual.dim=16", "encoder.text.dim=16", "encoder.prosody.dim=16"]
    own += [
        "controls=[majority,speaker,permuted,permuted_persons]",
        "trainer.max_epochs=3",
        "hydra.run.dir=run",
        "audit=false",
    ]
    done = command_here("train", "experiment=natural", *own, folder=tmp_path)
    assert done.code == 0, done.said
    run = RunFolder(tmp_path / "run")
    folds = [RunFolder(tmp_path / "run" / "folds" / str(fold)) for fold in range(5)]
    for fold in folds:
        rows = {split: set(part["speaker"]) for split, part in fold.table("rows.parquet").groupby("split")}
        assert not rows["train"] & rows["test"]
        assert not rows["train"] & rows["val"]
        assert not rows["val"] & rows["test"]
        assert fold.model()["heads"]["direct"] is True
        assert fold.model()["heads"]["baseline"] == {"visual": "session", "prosody": "session"}
        assert set(fold.model()["gates"]) == {"incongruent"}
    metrics = json.loads(run.file("metrics.json").read_text())
    assert metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] > 0.65
    assert set(metrics["controls"]) == {"majority", "speaker", "permuted", "permuted_persons"}
