import pandas as pd
import pytest
import torch

from fusion_cases import DIM, strategy
from subtext.classifier import IncongruenceClassifier
from subtext.data import ClipData, StreamTable
from subtext.encoders.text import TextEncoder
from subtext.errors import ConfigError
from subtext.heads import Heads
from subtext.prediction.focus import focus_table
from subtext.predictions import predict_table


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
