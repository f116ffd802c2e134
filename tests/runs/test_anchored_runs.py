"""A run whose fusion stands on readings against the person's own baseline: trained, read back, predicted with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.tiny_runs import changed, settings, write_corpus
from subtext.corpora.files import ManifestCorpus
from subtext.errors import ConfigError
from subtext.model.checkpoints import Checkpoints
from subtext.prediction.predictor import Predictor
from subtext.runs.controls import chosen_controls
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

READER = {"networks": 1, "steps": 20, "least_turns": 2}


def anchored(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = changed(base, encoder__prosody__trainable=False, task__reader=READER, **more)
    base["fusion"]["anchor"] = "posterior"
    return base


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("anchored")
    base = anchored(settings(folder, write_corpus(folder / "corpus")), controls=["permuted", "permuted_persons"])
    base["encoder"]["text"]["baseline"] = "speaker"
    return train(base, folder / "run")


def test_the_folder_says_what_the_model_stands_on(run: RunFolder) -> None:
    described = run.model()
    assert described["heads"]["baseline"] == {"text": "speaker"}
    assert described["heads"]["read"] == {"text": 8, "prosody": 40}
    assert set(described["gates"]) == {"incongruent"}
    assert described["gates"]["incongruent"] in (0.0, 0.1, 0.25, 0.5, 1.0)
    assert "baseline" not in described["encoders"]["text"]
    report = run.file("report.md").read_text()
    assert "readings that it stands on" in report
    assert "text is read against the person's own mean (speaker)" in report.replace("\n", " ")


def test_it_is_as_good_as_the_product_and_permuted_persons_stand_beside_it(run: RunFolder) -> None:
    metrics = json.loads(run.file("metrics.json").read_text())
    assert metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"] > 0.9
    assert set(metrics["controls"]) == {"permuted", "permuted_persons"}
    controls = run.controls()
    assert controls is not None
    assert [column for column in controls if str(column).startswith(("anchor_", "baseline_"))] == []


def test_predictions_say_how_many_turns_a_baseline_knew(run: RunFolder) -> None:
    table = run.predictions()
    # Ten speakers share 40 rows of a split, of which some have no words.
    words = table[table["present_text"]].groupby(["split", "speaker"]).size()
    known = table.set_index(["split", "speaker"])["baseline_text"].groupby(level=[0, 1]).max()
    assert (known[words.index] == words.where(words >= 2, 0)).all()
    assert "baseline_prosody" not in table


def test_a_folder_predicts_what_the_run_did(run: RunFolder, tmp_path: Path) -> None:
    corpus = Path(run.settings()["corpus"]["path"])
    own = run.predictions()
    rows = pd.read_csv(corpus)
    rows = rows[rows["id"].isin(own.loc[own["split"] == "test", "id"])]
    part = corpus.with_name("test_rows.csv")
    rows.to_csv(part, index=False)
    lines = pd.DataFrame(Predictor(run.path).predict(part)).set_index("id")
    mine = own.set_index("id").loc[lines.index]
    both = mine["present_text"] & mine["present_prosody"]
    assert both.sum() > 20
    texts = lines["polarity"].map(lambda found: found.get("text", {}).get("positive", np.nan))
    assert np.allclose(texts[both], mine.loc[both, "prob_verbal_polarity_positive"], atol=1e-5)
    assert (lines["gate"].map(lambda gate: gate["incongruent"] if gate else None).dropna() <= 1).all()
    assert (
        lines.loc[both, "baseline"].map(lambda turns: turns["text"]).tolist()
        == mine.loc[both, "baseline_text"].tolist()
    )


def test_it_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = anchored(settings(tmp_path, write_corpus(tmp_path / "corpus")))
    whole = train(base, tmp_path / "whole").predictions()
    end = Checkpoints.on_train_epoch_end

    def interrupted(self: Checkpoints, trainer: Any, module: Any) -> None:
        end(self, trainer, module)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_train_epoch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(base, tmp_path / "part")
    assert not RunFolder(tmp_path / "part").is_trained
    again = train(base, tmp_path / "part", resume=True)
    assert len(again.csv("history.csv")) == 3
    assert np.allclose(again.predictions()["prob_incongruent"], whole["prob_incongruent"], equal_nan=True)


def test_permuted_persons_need_a_baseline() -> None:
    assert "permuted_persons" in chosen_controls(True, ["text"], baseline=True)
    assert "permuted_persons" not in chosen_controls(True, ["text"])
    with pytest.raises(ConfigError, match="no control 'permuted_persons'"):
        chosen_controls(["permuted_persons"], ["text"])


def test_exchanging_clips_is_for_constructed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = settings(tmp_path, write_corpus(tmp_path / "corpus"), swap=0.5)
    natural = dataclasses.replace(ManifestCorpus.description, nature="natural")
    monkeypatch.setattr(ManifestCorpus, "description", natural)
    with pytest.raises(ConfigError, match=r"task\.swap=0\.5 exchanges .* are natural.*set task\.swap=0"):
        train(base, tmp_path / "run")
