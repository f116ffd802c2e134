from pathlib import Path

import pandas as pd
import pytest
import torch

from builders.fusion_cases import DIM, strategy
from builders.tiny_runs import changed, settings, write_corpus
from subtext.encoders.text import TextEncoder
from subtext.errors import CacheError, ConfigError
from subtext.model.batches import ClipData, StreamTable
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import Heads
from subtext.model.predict import predict_table
from subtext.prediction.focus import focus_of_run, focus_table
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


class Projection(TextEncoder):
    def __init__(self, modality: str) -> None:
        super().__init__(embed_dim=DIM, dim=DIM, dropout=0.1)
        self.modality = modality


def classifier(name: str) -> IncongruenceClassifier:
    modalities = ("visual", "prosody")
    heads = ("incongruent", "visual_polarity", "vocal_polarity")
    fusion = strategy(name, modalities)
    return IncongruenceClassifier(
        encoders={m: Projection(m) for m in modalities}, fusion=fusion, heads=Heads(names=heads, dim=DIM)
    )


@pytest.fixture
def clips() -> ClipData:
    """Three clips: face and voice, voice alone, face alone; of two distinct voices, one long."""
    torch.manual_seed(0)
    streams = {
        "visual": StreamTable([torch.randn(2, DIM)]),
        "prosody": StreamTable([torch.randn(5, DIM), torch.randn(3, DIM)]),
    }
    numbers = {"visual": torch.tensor([0, -1, 0]), "prosody": torch.tensor([0, 1, -1])}
    return ClipData(pd.DataFrame({"id": ["both", "voice", "face"]}), streams, numbers)


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_every_token_of_every_clip_has_its_weight(clips: ClipData, batch_size: int) -> None:
    model = classifier("crossmodal")
    table = focus_table(model.train(), clips, batch_size)
    counts = table.groupby(["id", "modality"]).size().to_dict()
    assert counts == {("both", "visual"): 2, ("both", "prosody"): 5, ("voice", "prosody"): 3, ("face", "visual"): 2}
    assert table.groupby("id")["weight"].sum().to_numpy() == pytest.approx([1, 1, 1], abs=1e-5)
    evidence = predict_table(model, clips).set_index("id")
    of_modalities = table.groupby(["id", "modality"])["weight"].sum()
    assert of_modalities["both", "prosody"] == pytest.approx(evidence.loc["both", "evidence_prosody"], abs=1e-5)
    voice = table[(table["id"] == "voice")]
    assert voice["token"].tolist() == [0, 1, 2]
    assert voice["position"].tolist() == pytest.approx([1 / 6, 1 / 2, 5 / 6])


def test_a_fusion_that_does_not_attend_along_time_is_refused(clips: ClipData) -> None:
    for name in ("concat", "posterior"):
        with pytest.raises(ConfigError, match="does not attend along time"):
            focus_table(classifier(name), clips)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, and the cache of its streams."""
    folder = tmp_path_factory.mktemp("focus")
    made = settings(folder, write_corpus(folder / "corpus", sizes=(40, 20, 20)))
    train(changed(made, trainer__max_epochs=1), folder / "run")
    return folder


def test_a_run_attends_as_its_predictions_say(place: Path) -> None:
    predictions = pd.read_parquet(place / "run" / "predictions.parquet")
    for split in ("test", "val"):
        own = predictions[predictions["split"] == split].set_index("id")
        sums = focus_of_run(place / "run", split).pivot_table(
            index="id", columns="modality", values="weight", aggfunc="sum", fill_value=0
        )
        assert set(sums.index) == set(own.index)
        for modality in ("text", "prosody"):
            evidence = own[f"evidence_{modality}"].reindex(sums.index)
            assert sums[modality].to_numpy() == pytest.approx(evidence.to_numpy(), abs=1e-5)


def test_some_clips_of_a_run_whose_cache_was_moved(place: Path, tmp_path: Path) -> None:
    whole = focus_of_run(place / "run")
    chosen = sorted(whole["id"].unique())[3:5]
    moved = focus_of_run(place / "run", ids=chosen, features=(place / "features").rename(tmp_path / "moved"))
    (tmp_path / "moved").rename(place / "features")
    expected = whole[whole["id"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(moved, expected, check_exact=False, atol=1e-6)


def test_what_a_run_cannot_show(place: Path, tmp_path: Path) -> None:
    predictions = pd.read_parquet(place / "run" / "predictions.parquet")
    known = predictions.loc[predictions["split"] == "test", "id"].iloc[0]
    with pytest.raises(ConfigError, match=r"^ids, entry 2: .*no such clip of the split 'test'; name one") as e:
        focus_of_run(place / "run", ids=[known, "nobody"])
    assert "nobody" not in str(e.value)
    with pytest.raises(ConfigError, match="no clip of the split 'train'; give val or test"):
        focus_of_run(place / "run", "train")
    with pytest.raises(CacheError, match="subtext-extract"):
        focus_of_run(place / "run", features=tmp_path / "empty")
