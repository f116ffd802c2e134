"""The light model's whole cost: what a vision-language model does inside itself is counted on our side too."""

from pathlib import Path

import pandas as pd
import pytest

from builders.untrained_run import write_untrained_run
from subtext.errors import RunError
from subtext.features.index import FeatureIndex
from subtext.runs.folder import RunFolder
from subtext.vlm.light import light_cost

PLACES = {"visual": (10, "64x64x3"), "text": (1, "384"), "prosody": (200, "27")}


def run_with(folder: Path, models: Path, detector: str) -> Path:
    """A run whose corpus has one clip of two seconds and eight tokens."""
    own = [f"encoder.visual.extractor.detector={detector}", f"encoder.visual.extractor.models={models}"]
    run = write_untrained_run(folder, own)
    rows = [
        {"id": "a", "modality": m, "key": m, "status": "ok", "reason": "", "n_steps": steps, "step_shape": shape}
        for m, (steps, shape) in PLACES.items()
    ]
    table = pd.DataFrame(rows).assign(n_tokens=[None, 8.0, None])
    FeatureIndex(table, dict.fromkeys(PLACES, "x")).save(run)
    return run


def test_faces_and_words_are_on_our_side(tmp_path: Path, shared_models: Path) -> None:
    run = run_with(tmp_path / "run", shared_models, "yunet")
    short, long = light_cost(run), light_cost(run, seconds=10.0)
    assert short["classifier"]["parameters"] == sum(RunFolder(run).classifier().counts().values())
    assert short["text_encoder"]["parameters"] == pytest.approx(22.7e6, rel=0.01)
    assert short["face_detector"]["parameters"] > 50_000
    for found in (short, long):
        for name in ("parameters", "flops"):
            assert found["total"][name] == sum(v[name] for part, v in found.items() if part != "total")
    # One detection a second and two more.
    assert long["face_detector"]["flops"] * 4 == short["face_detector"]["flops"] * 12
    # Its convolutions are depthwise for the most part; counted as full ones they would be 1.47 GFLOP a picture.
    assert 0.1e9 < short["face_detector"]["flops"] / 4 < 0.3e9
    assert long["classifier"]["flops"] == pytest.approx(5 * short["classifier"]["flops"], rel=0.05)
    assert long["text_encoder"]["flops"] > 3 * short["text_encoder"]["flops"]
    assert light_cost(run, seconds=2.0) == short


def test_a_detector_that_is_no_network_is_not_counted_as_nothing(tmp_path: Path, shared_models: Path) -> None:
    with pytest.raises(RunError, match="whose operations are not counted; use yunet"):
        light_cost(run_with(tmp_path / "run", shared_models, "haar"))
