"""Heads of emotions: labels, rows that are moved about, and runs whose label is about emotions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from builders.prediction_tables import labelled_clips
from builders.tiny_runs import DIRECTIONS, changed, settings
from subtext.evaluation.evaluate import evaluate
from subtext.labels import EMOTION_POLARITY, EMOTIONS
from subtext.model.batches import ClipData, StreamTable, SwappedClips
from subtext.model.heads import HEADS, head_specs
from subtext.runs.folder import RunFolder
from subtext.runs.saved import build_classifier
from subtext.runs.stages import take_over
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

SHOWN = ("happy", "sad", "angry", "fear")


def test_labels_are_numbers_of_emotions_and_foreign_words_are_none() -> None:
    table = pd.DataFrame({"visual_emotion": ["Joy", "happy", "calm", "hangry", None]})
    expected = [EMOTIONS.index("happy"), EMOTIONS.index("happy"), EMOTIONS.index("calm"), -1, -1]
    assert HEADS["visual_emotion"].targets(table).nan_to_num(-1).tolist() == expected
    assert HEADS["vocal_emotion"].targets(table).isnan().all()


def test_none_is_on_by_itself() -> None:
    files = (Path(__file__).resolve().parents[2] / "conf" / "task").glob("*.yaml")
    heads = [OmegaConf.load(file).heads for file in files]
    assert len(heads) > 1
    assert not any("emotion" in head for names in heads for head in names)


def clips(rows: int = 80) -> ClipData:
    """Faces whose streams hold the number of their emotion and their own; surprise and two others have no polarity."""
    rng = np.random.default_rng(0)
    words = rng.choice(["happy", "sad", "angry", "surprised"], rows).astype(object)
    table = pd.DataFrame({"id": [f"c{n}" for n in range(rows)], "split": "train", "visual_emotion": words})
    table["visual_polarity"] = table["visual_emotion"].map(EMOTION_POLARITY).astype("Int64")
    numbers = [EMOTIONS.index(word) for word in words]
    table.loc[[3, 4], "visual_emotion"] = None
    table.loc[[5, 6], ["visual_emotion", "visual_polarity"]] = None
    streams = StreamTable([torch.tensor([[float(numbers[n]), float(n)]]) for n in range(rows)])
    return ClipData(table, {"visual": streams}, {"visual": torch.arange(rows)})


@pytest.mark.parametrize("heads", [["visual_polarity"], ["visual_polarity", "visual_emotion"]])
def test_streams_are_swapped_for_others_of_the_same_emotion_where_it_is_asked_for(heads: list[str]) -> None:
    data, rows = clips(), list(range(80))
    before, after = (
        d.__getitems__(rows).streams["visual"].values[:, 0] for d in (data, SwappedClips(data, 1.0, 0, heads))
    )
    labelled = torch.tensor([n not in (3, 4, 5, 6) for n in rows])
    assert (before[labelled, 1] != after[labelled, 1]).float().mean() > (0.9 if len(heads) > 1 else 0.6)
    assert bool((before[labelled, 0] == after[labelled, 0]).all()) is (len(heads) > 1)
    polarity = {float(EMOTIONS.index(name)): EMOTION_POLARITY[name] for name in EMOTIONS}
    assert [polarity[float(v)] for v in before[:, 0]] == [polarity[float(v)] for v in after[:, 0]]
    assert torch.equal(before[5:7], after[5:7])
    if len(heads) > 1:  # those of known polarity and unknown emotion are a kind of their own
        assert set(after[3:5, 1].tolist()) <= {3.0, 4.0}


def test_a_permuted_stream_takes_its_emotion_along() -> None:
    mixed = clips().permuted(seed=1)
    shown = mixed.__getitems__(range(80)).streams["visual"].values[:, 0, 0]
    known = ~mixed.targets["visual_emotion"].isnan()
    assert int(known.sum()) == 76
    assert torch.equal(shown[known], mixed.targets["visual_emotion"][known])
    assert mixed.table["visual_emotion"].tolist() != clips().table["visual_emotion"].tolist()


def test_a_single_stream_keeps_polarity_and_emotion() -> None:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "split": "train",
            "visual_emotion": ["joy", "happy", "surprise", None],
            "visual_polarity": pd.array([1, 1, None, None], dtype="Int64"),
            "vocal_emotion": ["sad", "calm", "sad", "sad"],
            "vocal_polarity": pd.array([-1, 0, -1, -1], dtype="Int64"),
        }
    )
    streams = {m: StreamTable([torch.full((2, 1), float(n)) for n in range(3)]) for m in ("visual", "prosody")}
    numbers = {"visual": torch.tensor([0, 0, 1, 2]), "prosody": torch.tensor([0, 1, 0, 0])}
    asked = ["visual_polarity", "visual_emotion", "vocal_emotion"]
    single = ClipData(table, streams, numbers).as_single_streams(head_specs(asked))
    assert single.table["id"].tolist() == ["visual:a", "visual:c", "prosody:a", "prosody:b"]
    assert single.targets["visual_polarity"].nan_to_num(-1).tolist() == [2, -1, -1, -1]
    happy, sad, calm, surprised = (EMOTIONS.index(name) for name in ("happy", "sad", "calm", "surprised"))
    assert single.targets["visual_emotion"].nan_to_num(-1).tolist() == [happy, surprised, -1, -1]
    assert single.targets["vocal_emotion"].nan_to_num(-1).tolist() == [-1, -1, sad, calm]


def test_emotions_are_judged_where_a_run_answers_them() -> None:
    table = labelled_clips(train=10, val=60, test=60).query("split != 'train'").reset_index(drop=True)
    plain = evaluate(table, n_bootstrap=50)
    assert "emotion" not in plain
    spelled = np.where(table["vocal_polarity"] == 0, "calm", np.where(table["vocal_polarity"] > 0, "Joy", "sadness"))
    table["vocal_emotion"] = spelled
    for name in EMOTIONS:
        table[f"prob_vocal_emotion_{name}"] = 0.0
    for name, of in (("calm", "neutral"), ("happy", "positive"), ("sad", "negative")):
        table[f"prob_vocal_emotion_{name}"] = table[f"prob_vocal_polarity_{of}"]
    metrics = evaluate(table, n_bootstrap=50)
    emotion, polarity = metrics["emotion"]["prosody"], metrics["polarity"]["prosody"]
    assert set(metrics["emotion"]) == {"prosody"}
    assert emotion["clips"] == polarity["clips"] > 0
    # Three of nine emotions occur: the mean is over these.
    for name in ("macro_f1", "accuracy"):
        assert emotion["metrics"][name]["value"] == pytest.approx(polarity["metrics"][name]["value"])
    del metrics["emotion"]
    assert metrics.keys() == plain.keys()


def write_corpus(folder: Path) -> Path:
    """Words and voice that carry one of four emotions plainly, three of them negative; incongruent: they differ."""
    rng = np.random.default_rng(0)
    (folder / "streams").mkdir(parents=True)
    rows = []
    for split, size in (("train", 96), ("val", 48), ("test", 48)):
        for number in range(size):
            name = f"{split}-{number:03d}"
            said = int(rng.integers(4))
            voiced = said if rng.random() < 0.5 else int(rng.integers(4))
            arrays = {}
            for modality, emotion in (("text", said), ("prosody", voiced)):
                steps = 1 if modality == "text" else int(rng.integers(12, 30))
                values = 0.5 * rng.normal(size=(steps, DIRECTIONS[modality]))
                values[:, emotion] += 3
                arrays[modality] = values.astype(np.float32)
            np.savez(folder / "streams" / f"{name}.npz", **arrays)
            labels = {"verbal_emotion": SHOWN[said], "vocal_emotion": SHOWN[voiced], "incongruent": said != voiced}
            about = {"id": name, "speaker": f"{split}-{number % 10}", "split": split}
            rows.append({**about, "features": f"streams/{name}.npz", **labels})
    pd.DataFrame(rows).to_csv(folder / "tiny.csv", index=False)
    return folder / "tiny.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("emotions")
    node = {"_target_": "subtext.model.posterior.PosteriorCells", "smoothing": 0.0, "cells": "auto"}
    heads = ["incongruent", "verbal_emotion", "vocal_emotion"]
    base = settings(folder, write_corpus(folder / "corpus"), heads=heads)
    base["trainer"]["max_epochs"] = 8
    return train(changed(base, fusion=node, controls=["posterior_product", "permuted", "shuffled"]), folder / "run")


def test_cells_of_emotions_answer_whether_emotions_differ(run: RunFolder) -> None:
    metrics = json.loads(run.file("metrics.json").read_text())
    assert metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] > 0.9
    assert {m: entry["clips"] for m, entry in metrics["emotion"].items()} == {"text": 48, "prosody": 48}
    assert metrics["emotion"]["prosody"]["metrics"]["macro_f1"]["value"] > 0.8
    assert set(metrics["controls"]) == {"permuted", "shuffled"}  # there is no posterior of polarities
    assert metrics["controls"]["permuted"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] < 0.8
    assert "emotion of the voice" in run.file("report.md").read_text()


def test_a_run_keeps_its_cells_of_emotions(run: RunFolder) -> None:
    fusion = run.classifier().posterior
    assert fusion is not None
    assert fusion.cells.shape == (81,)
    assert int((fusion.cells > 0).sum()) <= 16
    assert (fusion.temperatures != 1).all()


def test_a_stage_hands_its_emotion_readout_on(run: RunFolder) -> None:
    fresh, stage = build_classifier(run.model()), run.classifier()
    name = "heads.readouts.vocal_emotion_head.2.weight"
    assert not torch.equal(fresh.state_dict()[name], stage.state_dict()[name])
    take_over(fresh, run.path)
    assert torch.equal(fresh.state_dict()[name], stage.state_dict()[name])
