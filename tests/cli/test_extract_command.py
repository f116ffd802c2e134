"""subtext-extract on a user's own manifest: what it writes, says and returns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from omegaconf import OmegaConf

from builders import tiny_runs
from subtext.cli.extract import extract_corpus
from subtext.encoders.encoder import Encoder
from subtext.features.cache import FeatureCache
from subtext.features.index import FeatureIndex


def never_built(*, hop: float) -> Encoder:
    raise AssertionError("extraction needs no encoder")


@pytest.mark.parametrize("broken", [False, True])
def test_the_command_writes_a_table_and_tells_of_failures(
    tmp_path: Path, broken: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", 0.2 * np.sin(2 * np.pi * 150 * np.arange(16_000) / 16_000), 16_000)
    names = ["a.wav", "gone.wav" if broken else "a.wav"]
    pd.DataFrame({"id": ["x", "y"], "audio": names}).to_csv(tmp_path / "mine.csv", index=False)
    made = tiny_runs.settings(tmp_path, tmp_path / "mine.csv")
    made["corpus"].pop("name")
    made["encoder"] = {
        "visual": None,
        "prosody": {
            "_target_": f"{__name__}.never_built",
            "hop": 0.02,
            "extractor": {"_target_": "subtext.features.prosody.ProsodyExtractor", "hop": "${..hop}"},
        },
    }
    config = OmegaConf.create(made)
    assert extract_corpus(config) == (1 if broken else 0)
    out = capsys.readouterr().out
    assert f"prosody: {2 - broken} ok, 0 absent, {int(broken)} failed" in out
    folder = tmp_path / "features" / "mine"
    index = FeatureIndex.load(folder)
    assert len(FeatureCache(tmp_path / "features").read(index.key("x", "prosody") or "")) == 50
    table = pd.read_csv(folder / "extraction.csv")
    assert table["status"].tolist() == ["ok", "failed" if broken else "ok"]
    assert str(folder / "extraction.csv") in out
