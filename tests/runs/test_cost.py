from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.untrained_run import write_untrained_run
from subtext.errors import CacheError, RunError
from subtext.features.index import FeatureIndex
from subtext.runs.cost import measure_cost, measure_here
from subtext.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["encoder/visual=features", "fusion=late"]
"""A model that computes quickly."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run on three clips, the middle one of which is typical."""
    folder = write_untrained_run(tmp_path_factory.mktemp("cost") / "run", SMALL)
    steps = {"visual": [1, 1, 1], "text": [1, 1, 1], "prosody": [90, 100, 5000]}
    shapes = {"visual": "56", "text": "384", "prosody": "27"}
    rows = [
        {
            "id": str(n),
            "modality": m,
            "key": f"{m}{n}",
            "status": "ok",
            "reason": "",
            "n_steps": s,
            "step_shape": shapes[m],
        }
        for m, counts in steps.items()
        for n, s in enumerate(counts)
    ]
    FeatureIndex(pd.DataFrame(rows), dict.fromkeys(steps, "")).save(folder)
    return folder


@pytest.mark.slow
def test_cost_of_a_run_is_measured_in_a_process_of_its_own(run: Path) -> None:
    held = np.ones(300 * 2**20, dtype=np.uint8)  # memory of this process, which is none of the model's
    found = measure_cost(run)
    assert held[-1]
    classifier = RunFolder(run).classifier()
    assert found["parameters"] == classifier.counts()
    assert found["flops_per_clip"] > 0
    assert found["steps"] == {"visual": 1, "text": 1, "prosody": 100}
    assert set(found["ms_per_clip"]) == {"1", "64"}
    assert min(found["ms_per_clip"].values()) > 0
    assert 0 < found["core_share"] <= 1
    weights = sum(tensor.nbytes for tensor in classifier.state_dict().values()) / 2**20
    assert weights <= found["own_memory_mb"] < 300
    assert found["own_memory_mb"] < found["peak_memory_mb"]


def test_a_long_typical_clip_is_shortened_as_in_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = RunFolder(run).model() | {"max_steps": {"visual": 64, "text": 64, "prosody": 40}}
    monkeypatch.setattr("subtext.runs.cost.SECONDS", 0.0)
    monkeypatch.setattr(RunFolder, "model", lambda _: described)
    assert measure_here(run)["steps"]["prosody"] == 40


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        measure_cost(tmp_path / "nothing")
    with pytest.raises(CacheError, match="no table of extraction results"):
        measure_here(write_untrained_run(tmp_path / "run", SMALL))
