"""Whole runs on a corpus of precomputed streams."""

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from builders.tiny_runs import changed, settings, write_corpus
from subtext.errors import ConfigError, ManifestError, RunError, TrustError, WeightsError
from subtext.evaluation.calibration import calibrate, choose_threshold, fit_temperature
from subtext.model.batches import ClipData
from subtext.model.fit import Fitter
from subtext.runs.controls import chosen_controls
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_corpus(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    return settings(place, place / "corpus" / "tiny.csv")


@pytest.fixture(scope="module")
def run(place: Path, base: dict[str, Any]) -> RunFolder:
    """A finished run with every control."""
    full = copy.deepcopy(base) | {"controls": True}
    full["trainer"]["max_epochs"] = 12
    return train(full, place / "run")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out metrics, figures and report, for runs of which only the training matters."""
    monkeypatch.setattr("subtext.runs.one_run._Run._evaluate", lambda self: self.run.write_json("metrics.json", {}))


def test_a_run_leaves_everything_behind(run: RunFolder) -> None:
    for name in ("config.yaml", "run.json", "model.json", "model.safetensors", "history.csv"):
        assert run.file(name).is_file(), name
    for name in ("predictions.parquet", "controls.parquet", "metrics.json", "report.md", "extraction.csv"):
        assert run.file(name).is_file(), name
    assert not any(run.file(name).exists() for name in ("last.ckpt", "previous.ckpt", "best.safetensors"))
    facts = run.run()
    assert facts["groups"] == ["speaker"]
    assert facts["missing"]["prosody"] > 0
    assert torch.__version__.startswith(facts["versions"]["torch"])
    assert json.loads(run.file("model.json").read_text())["parameters"]["trainable"] > 1000


def test_predictions_hold_every_clip_of_validation_and_test_once(run: RunFolder) -> None:
    table = pd.read_parquet(run.file("predictions.parquet"))
    assert table["id"].is_unique
    assert table["split"].value_counts().to_dict() == {"val": 40, "test": 40}
    assert table["prob_incongruent"].between(0, 1).all()
    lacks = ~table["present_prosody"]
    assert lacks.any()
    assert table.loc[lacks, "prob_vocal_polarity_negative"].isna().all()
    assert table.loc[~lacks, "prob_vocal_polarity_negative"].notna().all()
    assert (table.loc[lacks, "evidence_prosody"] == 0).all()
    np.testing.assert_allclose(table[["evidence_text", "evidence_prosody"]].sum(axis=1), 1, atol=1e-5)
    temperature = run.model()["calibration"]["incongruent"]["temperature"]
    np.testing.assert_allclose(
        table["prob_incongruent"], 1 / (1 + np.exp(-table["logit_incongruent"] / temperature)), atol=1e-6
    )


def test_the_fusion_learns_what_neither_modality_tells(run: RunFolder) -> None:
    metrics = json.loads(run.file("metrics.json").read_text())
    controls = pd.read_parquet(run.file("controls.parquet"))
    assert list(controls["control"].unique()) == [
        "majority",
        "metadata",
        "speaker",
        "text",
        "prosody",
        "posterior_product",
        "permuted",
        "shuffled",
    ]
    assert (controls.groupby("control").size() == 80).all()
    assert controls["prob_incongruent"].notna().all()
    fused = metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"]
    assert fused > 0.75, fused
    areas = {
        name: control["incongruent"]["subsets"]["all"]["metrics"]["auroc"]["value"]
        for name, control in metrics["controls"].items()
        if name in ("text", "prosody", "permuted")
    }
    assert all(abs(area - 0.5) < 0.2 < fused - area for area in areas.values()), areas


def test_what_is_chosen_is_chosen_on_validation(run: RunFolder) -> None:
    table = pd.read_parquet(run.file("predictions.parquet"))
    chosen = run.model()["calibration"]["incongruent"]
    found = {}
    for split in ("val", "test"):
        rows = table[(table["split"] == split) & table["logit_incongruent"].notna()]
        logits, labels = rows["logit_incongruent"].to_numpy(), rows["incongruent"].to_numpy(dtype=int)
        temperature = fit_temperature(logits, labels)
        found[split] = temperature, choose_threshold(calibrate(logits, temperature), labels)
    assert (chosen["temperature"], chosen["threshold"]) == pytest.approx(found["val"], abs=1e-5)
    assert found["val"] != pytest.approx(found["test"], abs=1e-5)


@pytest.mark.usefixtures("quick")
def test_the_shuffled_control_learns_and_chooses_from_shuffled_pairs(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[ClipData] = []
    fit = Fitter.fit

    def spy(self: Fitter, classifier: Any, data: ClipData, folder: Path | None) -> Any:
        fitted.append(data)
        return fit(self, classifier, data, folder)

    monkeypatch.setattr(Fitter, "fit", spy)
    train(changed(base, controls=["text", "shuffled"], trainer__max_epochs=1), tmp_path / "run")
    main, text, shuffled = fitted
    assert set(text.numbers) == {"text"}

    def pairs(data: ClipData, split: str) -> dict[str, tuple[int, int]]:
        part = data.split(split)
        return dict(
            zip(
                part.table["id"],
                zip(part.numbers["text"].tolist(), part.numbers["prosody"].tolist(), strict=True),
                strict=True,
            )
        )

    for split in ("train", "val"):
        before, after = pairs(main, split), pairs(shuffled, split)
        assert before.keys() == after.keys()
        assert np.mean([before[row] == after[row] for row in before]) < 0.3
    assert pairs(main, "test") == pairs(shuffled, "test")


@pytest.mark.usefixtures("quick")
def test_a_corpus_of_labels_without_polarities_runs_the_controls_that_it_allows(
    place: Path, base: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(table: pd.DataFrame) -> None:
        table["incongruent"] = table["verbal_polarity"] != table["visual_polarity"]
        table.drop(columns=["verbal_polarity", "visual_polarity", "vocal_polarity"], inplace=True)

    asked = rewritten(place, base, "labels_only", change)
    with caplog.at_level(logging.WARNING):
        done = train(
            changed(asked, controls=["majority", "posterior_product"], trainer__max_epochs=1), tmp_path / "run"
        )
    assert list(pd.read_parquet(done.file("controls.parquet"))["control"].unique()) == ["majority"]
    assert "control posterior_product left out for incongruent" in caplog.text
    assert done.is_finished


def test_metadata_is_what_describes_files_not_what_a_table_says(run: RunFolder) -> None:
    assert "duration" in run.run()["metadata"] or "voice_duration" in run.run()["metadata"]
    assert not set(run.run()["metadata"]) & {"verbal_polarity", "speaker", "incongruent", "voiced_share"}


def test_the_model_is_that_of_the_best_epoch_not_of_the_last(run: RunFolder) -> None:
    history = pd.read_csv(run.file("history.csv"))
    best = run.model()["best"]
    assert len(history) == 12
    assert best["epoch"] == history["val/selection"].idxmax()
    assert best["score"] == pytest.approx(history["val/selection"].max(), abs=1e-9)
    table = pd.read_parquet(run.file("predictions.parquet"))
    val = table[table["split"] == "val"].dropna(subset=["logit_incongruent"])
    positive = val["incongruent"].astype(bool)
    pairs = (
        val.loc[positive, "logit_incongruent"].to_numpy()[:, None] - val.loc[~positive, "logit_incongruent"].to_numpy()
    )
    assert (pairs > 0).mean() + 0.5 * (pairs == 0).mean() == pytest.approx(best["score"], abs=1e-5)


@pytest.mark.usefixtures("quick")
def test_the_same_settings_give_the_same_run_and_another_seed_another(
    place: Path, base: dict[str, Any], tmp_path: Path
) -> None:
    def logits(name: str, seed: int) -> np.ndarray:
        done = train(changed(base, seed=seed), tmp_path / name)
        return pd.read_parquet(done.file("predictions.parquet"))["logit_incongruent"].to_numpy()

    first, again, other = logits("a", 0), logits("b", 0), logits("c", 1)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, equal_nan=True)


def test_a_second_run_in_the_same_folder_is_refused(run: RunFolder, base: dict[str, Any]) -> None:
    before = run.file("metrics.json").read_bytes()
    with pytest.raises(RunError, match=r"finished run.*resume=.*overwrite=true"):
        train(base, run.path)
    assert run.file("metrics.json").read_bytes() == before


@pytest.mark.usefixtures("quick")
def test_overwriting_leaves_other_files_alone(base: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "config.yaml").write_text("seed: 0")
    train(changed(base, overwrite=True, trainer__max_epochs=1), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "metrics.json").is_file()


def test_the_loaded_classifier_gives_the_run_s_predictions(run: RunFolder, base: dict[str, Any]) -> None:
    classifier = run.classifier()
    assert not classifier.training
    assert classifier.modalities == ("text", "prosody")
    weights = load_file(run.file("model.safetensors"))
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, weights[name])
    extractors = run.extractors()
    assert set(extractors) == {"text", "prosody"}
    stated = run.model()["fingerprints"]["prosody"]["encoder"]
    assert classifier.encoder("prosody").fingerprint() == stated


def copy_of(run: RunFolder, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("model.json", "model.safetensors", "config.yaml"):
        (folder / name).write_bytes(run.file(name).read_bytes())
    return folder


def test_weights_of_another_fusion_are_refused(run: RunFolder, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path / "model")
    described = json.loads((folder / "model.json").read_text())
    described["fusion"] = {"_target_": "subtext.fusion.concat.ConcatFusion", "hidden": 8}
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="does not fit the model"):
        RunFolder(folder).classifier()


def test_a_pickle_in_place_of_the_weights_is_never_loaded(run: RunFolder, tmp_path: Path) -> None:
    folder, marker = copy_of(run, tmp_path / "model"), tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        RunFolder(folder).classifier()
    torch.save({"state_dict": Trap()}, folder / "last.ckpt")
    from subtext.model.checkpoints import read_checkpoint

    with pytest.raises(WeightsError, match="was not loaded"):
        read_checkpoint(folder / "last.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.run", "subtext.core.building.build", "collections.OrderedDict"]
)
def test_a_model_folder_cannot_name_foreign_code(run: RunFolder, tmp_path: Path, target: str) -> None:
    folder = copy_of(run, tmp_path / "model")
    described = json.loads((folder / "model.json").read_text())
    described["fusion"]["_target_"] = target
    described["extractors"]["text"]["_target_"] = target
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(TrustError, match="nothing of it was run"):
        RunFolder(folder).classifier()
    with pytest.raises(TrustError, match="nothing of it was run"):
        RunFolder(folder).extractors()


def test_an_altered_tensor_shape_is_refused(run: RunFolder, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name] = torch.zeros(3, 3, 3)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=name):
        RunFolder(folder).classifier()


def test_a_folder_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        RunFolder(tmp_path / "nowhere").classifier()
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(RunError, match="subtext-train resume="):
        RunFolder(tmp_path).classifier()


@pytest.mark.usefixtures("quick")
def test_heads_without_labels_are_left_off_with_a_notice(
    base: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = changed(base, task__heads=["incongruent", "engagement"], trainer__max_epochs=1)
    with caplog.at_level(logging.WARNING):
        done = train(asked, tmp_path / "run")
    assert done.model()["heads"]["names"] == ["incongruent"]
    assert "no training row carries 'engagement'" in caplog.text


def rewritten(place: Path, base: dict[str, Any], name: str, change: Any) -> dict[str, Any]:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    change(table)
    path = place / "corpus" / f"{name}.csv"
    table.to_csv(path, index=False)
    return changed(base, corpus__path=str(path))


def test_one_class_only_in_a_split_is_refused(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        rows = table["split"] == "val"
        table.loc[rows, ["verbal_polarity", "visual_polarity"]] = 0

    with pytest.raises(ManifestError, match=r"'incongruent' of the split 'val' are all congruent"):
        train(rewritten(place, base, "one_class", change), tmp_path / "run")


def test_a_missing_split_is_refused(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["split"] == "test", "split"] = "val"

    with pytest.raises(ManifestError, match=r"no row is in the split 'test'.*subtext-data split"):
        train(rewritten(place, base, "no_test", change), tmp_path / "run")


def test_a_speaker_in_two_splits_is_refused(place: Path, base: dict[str, Any], tmp_path: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["split"] == "test", "speaker"] = "train-0"

    with pytest.raises(ManifestError, match="one speaker is in the splits train, test, in rows 1, 121 "):
        train(rewritten(place, base, "leak", change), tmp_path / "run")


@pytest.mark.usefixtures("quick")
def test_frozen_random_weights_are_warned_about(
    base: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = changed(base, encoder__prosody__trainable=False, trainer__max_epochs=1)
    with caplog.at_level(logging.WARNING):
        train(frozen, tmp_path / "run")
    assert "prosody encoder is frozen with random weights" in caplog.text


@pytest.mark.usefixtures("quick")
def test_an_encoder_stage_hands_its_backbone_on(base: dict[str, Any], tmp_path: Path) -> None:
    stage = changed(base, fusion=None, task__heads=["vocal_polarity"], task__rows="streams", task__swap=0.0)
    first = train(stage, tmp_path / "encoders")
    assert first.model()["modalities"] == ["prosody"]
    table = pd.read_parquet(first.file("predictions.parquet"))
    assert table["present_prosody"].all()
    second = train(
        changed(base, encoders=str(first.path), encoder__prosody__trainable=False, trainer__max_epochs=1),
        tmp_path / "fusion",
    )
    before, after = (load_file(r.file("model.safetensors")) for r in (first, second))
    names = [name for name in before if name.startswith("encoders.prosody.backbone.")]
    assert names
    for name in names:
        assert torch.equal(before[name], after[name]), name
    assert first.model()["fingerprints"]["prosody"] == second.model()["fingerprints"]["prosody"]


@pytest.mark.usefixtures("quick")
def test_the_fusion_begins_where_the_encoder_stage_ended(base: dict[str, Any], tmp_path: Path) -> None:
    stage = changed(base, fusion=None, task__heads=["vocal_polarity"], task__rows="streams", task__swap=0.0)
    first = train(stage, tmp_path / "encoders")
    still = changed(
        base,
        encoders=str(first.path),
        encoder__prosody__trainable=False,
        trainer__max_epochs=1,
        task__optimizer__lr=0.0,
    )
    second = train(still, tmp_path / "fusion")
    before, after = (load_file(r.file("model.safetensors")) for r in (first, second))
    names = [name for name in before if name.startswith(("encoders.prosody.projection.", "heads.readouts.vocal"))]
    assert len(names) >= 8
    for name in names:
        assert torch.equal(before[name], after[name]), name


@pytest.mark.usefixtures("quick")
def test_a_frozen_backbone_gives_the_same_as_computing_it_again(base: dict[str, Any], tmp_path: Path) -> None:
    """Training on cached embeddings and predicting from raw streams must be the same model."""
    from subtext.features.cache import FeatureCache
    from subtext.features.index import FeatureIndex
    from subtext.model.batches import ClipData, StreamTable, shorten
    from subtext.model.predict import predict_table

    done = train(changed(base, encoder__prosody__trainable=False, trainer__max_epochs=1), tmp_path / "run")
    stated = pd.read_parquet(done.file("predictions.parquet")).set_index("id")
    index, cache = FeatureIndex.load(done.path), FeatureCache(base["paths"]["features"])
    streams, numbers = {}, {}
    for modality, limit in (("text", 8), ("prosody", 20)):
        keys = [index.key(row, modality) for row in stated.index]
        known = sorted({key for key in keys if key})
        raw = [torch.from_numpy(shorten(cache.read(key).values, limit, modality)) for key in known]
        streams[modality] = StreamTable(raw)
        numbers[modality] = torch.tensor([known.index(key) if key else -1 for key in keys])
    data = ClipData(stated.reset_index()[["id", "split"]], streams, numbers)
    again = predict_table(done.classifier(), data).set_index("id")
    np.testing.assert_allclose(again["logit_incongruent"], stated["logit_incongruent"], atol=1e-4)


def test_unknown_controls_are_refused() -> None:
    with pytest.raises(ConfigError, match="no control 'texts'"):
        chosen_controls(["texts"], ("text", "prosody"))
    assert chosen_controls(["shuffled", "text"], ("visual", "text", "prosody")) == ["text", "shuffled"]
    assert "visual+prosody" in chosen_controls(True, ("visual", "text", "prosody"))
    assert chosen_controls(False, ("visual", "text")) == []


def test_a_logger_whose_package_is_missing_names_the_extra(base: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    try:
        import wandb  # noqa: F401
    except ModuleNotFoundError:
        node = {"wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger", "offline": True}}
        with pytest.raises(ConfigError, match=r"pip install 'subtext\[wandb\]'"):
            train(changed(base, logger=node), tmp_path / "run")
    else:
        pytest.skip("wandb is installed")
