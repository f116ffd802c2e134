"""Runs tried with streams missing and spoiled: precomputed streams and folds (trained), recordings (untrained)."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from builders.talking_face import write_talking_face
from builders.tiny_runs import settings, write_corpus
from builders.untrained_run import write_untrained_run
from subtext.cli.robustness import main
from subtext.core.composition import conf_folder
from subtext.corpora.files import ManifestCorpus
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.model.batches import load_clips
from subtext.model.predict import predict_table
from subtext.prediction.predictor import Predictor
from subtext.runs import robustness as measure
from subtext.runs.folder import RunFolder
from subtext.runs.folds import fold_of
from subtext.runs.prepare import read_corpus
from subtext.runs.robustness import _TestClips, _Trials, measure_robustness
from subtext.runs.train import train

KEYS = ["condition", "strength"]


# -- precomputed streams -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    train(settings(folder, write_corpus(folder / "corpus")), folder / "run")
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path) -> RunFolder:
    """A copy of the trained run."""
    shutil.copytree(place / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(place: Path) -> pd.DataFrame:
    """Everything that applies to the trained run."""
    shutil.copytree(place / "run", place / "whole")
    return measure_robustness(place / "whole")


def clean_of(run: Path) -> pd.DataFrame:
    table = pd.read_parquet(run / "predictions.parquet")
    return table[table["split"] == "test"].reset_index(drop=True)


def of(table: pd.DataFrame, condition: str, strength: float = 1.0) -> pd.DataFrame:
    return table[(table["condition"] == condition) & (table["strength"] == strength)].reset_index(drop=True)


def test_clean_rows_are_the_runs_own_predictions(whole: pd.DataFrame, place: Path) -> None:
    own = clean_of(place / "run")
    clean = of(whole, "clean", 0.0)
    shared = [column for column in clean if column in own]
    assert {"id", "split", "speaker", "incongruent", "prob_incongruent", "present_text"} <= set(shared)
    pd.testing.assert_frame_equal(clean[shared], own[shared])
    assert not [column for column in whole if column.startswith(("logit_", "evidence_"))]


def test_every_condition_has_every_clip_once(whole: pd.DataFrame, place: Path) -> None:
    assert list(dict.fromkeys(whole["condition"])) == [
        "clean", "drop:text", "drop:prosody", "text:feature_noise", "prosody:feature_noise",
    ]  # fmt: skip
    ids = clean_of(place / "run")["id"].tolist()
    for _, rows in whole.groupby(KEYS):
        assert rows["id"].tolist() == ids
    assert set(whole["split"]) == {"test"}


def test_noise_of_strength_none_changes_nothing_and_more_changes_more(whole: pd.DataFrame, place: Path) -> None:
    clips = _TestClips(RunFolder(place / "run"), None, None)
    with measure._scratch(place / "features") as scratch:
        trials = _Trials(clips, scratch, 0)
        none = trials.predict("prosody:feature_noise", np.inf).set_index("id")
        pd.testing.assert_frame_equal(none, trials._answers(trials.clean).set_index("id"), check_exact=True)
    own = clean_of(place / "run").set_index("id")
    columns = [column for column in own if column.startswith(("prob_", "present_"))]
    # Rows share batches with others than in training, on which the last digit of single precision depends.
    pd.testing.assert_frame_equal(none.loc[own.index, columns], own[columns], rtol=1e-4, atol=1e-7)
    away = [
        np.nanmean(
            np.abs(of(whole, "prosody:feature_noise", s)["prob_incongruent"] - own["prob_incongruent"].to_numpy())
        )
        for s in (20.0, 0.0)
    ]
    assert 0 < away[0] < away[1]


def test_a_dropped_stream_is_an_absent_one(whole: pd.DataFrame, place: Path, tmp_path: Path) -> None:
    # The same clips from a manifest whose files lack the words.
    corpus = shutil.copytree(place / "corpus", tmp_path / "corpus")
    for path in (corpus / "streams").glob("test-*.npz"):
        arrays = dict(np.load(path))
        arrays.pop("text", None)
        np.savez(path, **arrays)
    manifest = ManifestCorpus(path=corpus / "tiny.csv", name="tiny").build()
    manifest = manifest.with_table(manifest.table[manifest.table["split"] == "test"].reset_index(drop=True))
    classifier, cache, model = RunFolder(place / "run").classifier(), MemoryCache(), RunFolder(place / "run").model()
    index = extract(manifest, RunFolder(place / "run").extractors(), cache)
    encoders = {m: classifier.encoder(m) for m in classifier.modalities}
    data = load_clips(manifest.table, index, cache, encoders, model["max_steps"])
    expected = predict_table(classifier, data, calibration=model["calibration"])
    dropped = of(whole, "drop:text")
    assert dropped["id"].tolist() == expected["id"].tolist()
    assert not dropped["present_text"].any()
    np.testing.assert_allclose(dropped["prob_incongruent"], expected["prob_incongruent"], rtol=1e-6)
    assert dropped["prob_verbal_polarity_positive"].isna().all()
    # And so says the command that predicts, which keeps what it will not commit itself to.
    lines = {line["id"]: line for line in Predictor(place / "run").predict([("tiny.csv", corpus / "tiny.csv")])}
    told = [lines[row]["polarity"].get("prosody", {}).get("positive", np.nan) for row in dropped["id"]]
    np.testing.assert_allclose(dropped["prob_vocal_polarity_positive"], told, rtol=1e-4, atol=1e-9)


def test_it_depends_on_the_seed_alone(whole: pd.DataFrame, run: RunFolder) -> None:
    asked = {"conditions": ["text:feature_noise"], "strengths": {"text:feature_noise": [0.0]}}
    again = measure_robustness(run.path, **asked)
    pd.testing.assert_frame_equal(of(again, "text:feature_noise", 0.0), of(whole, "text:feature_noise", 0.0))
    other = measure_robustness(run.path, **asked, seed=1, overwrite=True)
    assert (of(other, "clean", 0.0)["prob_incongruent"] == of(whole, "clean", 0.0)["prob_incongruent"]).all()
    assert (of(other, "text:feature_noise", 0.0)["prob_incongruent"]
            != of(whole, "text:feature_noise", 0.0)["prob_incongruent"]).any()  # fmt: skip


def test_an_interrupted_call_goes_on(whole: pd.DataFrame, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, float]] = []
    original = _Trials.predict

    def counted(self: _Trials, name: str, strength: float) -> pd.DataFrame:
        tried.append((name, strength))
        if len(tried) == 4:
            raise KeyboardInterrupt
        return original(self, name, strength)

    monkeypatch.setattr(_Trials, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        measure_robustness(run.path)
    assert len(pd.read_parquet(run.file("robustness.parquet")).groupby(KEYS)) == 4
    table = measure_robustness(run.path)
    assert len(tried) == len(set(tried)) + 1
    pd.testing.assert_frame_equal(table, whole)
    # A third call has nothing to do and reads no model.
    monkeypatch.setattr(RunFolder, "classifier", lambda self: pytest.fail("read"))
    pd.testing.assert_frame_equal(measure_robustness(run.path), whole)


def test_labels_and_other_splits_are_not_read(
    whole: pd.DataFrame, place: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same corpus with every other label turned round and other streams in the other splits.
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    moved = table["split"] != "test"
    table.loc[moved, "features"] = table.loc[moved, "features"].to_numpy()[::-1]
    for column in ("verbal_polarity", "visual_polarity", "vocal_polarity"):
        table[column] = -table[column]
    table.to_csv(place / "corpus" / "other.csv", index=False)
    configured = run.settings()
    configured["corpus"]["path"] = str(place / "corpus" / "other.csv")
    run.write_text("config.yaml", yaml.safe_dump(configured))
    found = measure_robustness(run.path, ["drop", "text:feature_noise"])
    expected = whole[~whole["condition"].str.startswith("prosody:")].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.slow
def test_each_fold_is_tried_on_its_own_rows(place: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table["speaker"] = [f"s{number % 12}" for number in range(len(table))]
    table.drop(columns="split").to_csv(place / "corpus" / "folds.csv", index=False)
    base = settings(place, place / "corpus" / "folds.csv") | {"cv": 3, "fold": None}
    base["trainer"]["max_epochs"] = 1
    run = train(base, place / "crossed")
    tried = measure_robustness(run.path, ["drop:text"])
    own = clean_of(run.path)
    clean = of(tried, "clean", 0.0)
    assert clean["id"].tolist() == own["id"].tolist()
    assert (clean["prob_incongruent"].fillna(-1) == own["prob_incongruent"].fillna(-1)).all()
    dropped = of(tried, "drop:text")
    for fold in range(3):
        part = fold_of(run, fold)
        alone = of(measure_robustness(part.path, ["drop:text"]), "drop:text")
        ours = dropped[dropped["fold"] == fold].reset_index(drop=True)
        np.testing.assert_array_equal(ours["prob_incongruent"], alone["prob_incongruent"])
        assert ours["id"].tolist() == alone["id"].tolist()
    pd.testing.assert_frame_equal(measure_robustness(run.path, ["drop:text"]), tried)


# -- what cannot be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "strengths", "message"),
    [
        (["prosody:hum"], {}, "there is no condition 'prosody:hum'; use drop, drop:text"),
        (["visual:blur"], {}, "reads no visual"),
        (["drop:visual"], {}, "there is no condition 'drop:visual'"),
        (["prosody:noise"], {}, "reads prosody from column features"),
        (None, {"drop:text": [1.0]}, "has no strength"),
        (["drop"], {"text:feature_noise": [10.0]}, "not among the conditions"),
        (None, {"text:feature_noise": [float("nan")]}, "use -40 to 80"),
        (None, {"text:feature_noise": [400.0]}, "use -40 to 80"),
    ],
)
def test_conditions_that_cannot_be_used(
    run: RunFolder, conditions: list[str] | None, strengths: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_robustness(run.path, conditions, strengths)
    assert not run.file("robustness.parquet").exists()


def test_runs_that_cannot_be_tried(run: RunFolder, place: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        measure_robustness(tmp_path / "nowhere")
    measure_robustness(run.path, ["drop:text"])
    before = run.file("robustness.parquet").read_bytes()
    with pytest.raises(RunError, match=r"made with --seed 0; add --overwrite"):
        measure_robustness(run.path, ["drop:text"], seed=1)
    described = run.model()
    described["calibration"]["incongruent"]["temperature"] *= 7
    run.write_json("model.json", described)
    with pytest.raises(RunError, match="made with another model; add --overwrite"):
        measure_robustness(run.path, ["drop:text"])
    with pytest.raises(RunError, match=r"gives other answers than predictions.parquet says"):
        measure_robustness(run.path, ["drop:text"], overwrite=True)
    with pytest.raises(ConfigError, match="there is no condition 'typo'"):
        measure_robustness(run.path, ["typo"], overwrite=True)
    with pytest.raises(ConfigError, match="no condition is named"):
        measure_robustness(run.path, [], overwrite=True)
    assert before == run.file("robustness.parquet").read_bytes()
    run.file("metrics.json").unlink()
    with pytest.raises(RunError, match="is not finished; finish it with"):
        measure_robustness(run.path)


def test_another_corpus_is_noticed(run: RunFolder, place: Path) -> None:
    table = pd.read_csv(place / "corpus" / "tiny.csv")
    table.drop(index=table.index[table["split"] == "test"][3]).to_csv(place / "corpus" / "fewer.csv", index=False)
    configured = run.settings()
    configured["corpus"]["path"] = str(place / "corpus" / "fewer.csv")
    run.write_text("config.yaml", yaml.safe_dump(configured))
    with pytest.raises(RunError, match=r"tested on 40 clips, of which its corpus now holds 39 among 39"):
        measure_robustness(run.path)


# -- recordings, pictures and words ------------------------------------------------------------------------------------

SAID = ["I am fine, really, thank you", "that was quite a lovely day", "we never talk about this", "oh, go on then"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, of random weights, on a video, a picture with a sound file, and words alone."""
    folder = tmp_path_factory.mktemp("recorded")
    clip = write_talking_face(folder / "clip.mp4", seconds=1.2)
    write_talking_face(folder / "sound.mp4", seconds=1.0, picture=False)
    video = cv2.VideoCapture(str(clip))
    cv2.imwrite(str(folder / "face.png"), video.read()[1])
    video.release()
    rows: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        for number, text in enumerate(SAID):
            row: dict[str, Any] = {"id": f"{split}-{number}", "speaker": f"{split}-{number}", "split": split}
            media = [{"video": "clip.mp4"}, {"image": "face.png", "audio": "sound.mp4"}, {}, {"video": "clip.mp4"}]
            rows.append({**row, **media[number], "transcript": f"{text} {split}", "incongruent": number % 2})
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    overrides = ["encoder.visual.extractor.detector=haar", "encoder.prosody.extractor.normalise=speaker"]
    run = RunFolder(write_untrained_run(folder / "run", overrides, heads=("incongruent", "visual_polarity")))
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose(
            "config",
            [*overrides, "seed=0", "corpus=manifest", f"corpus.path={folder / 'own.csv'}", "name=own", "workers=0",
             f"paths.features={folder / 'features'}"],
        )  # fmt: skip
    node = {key: config[key] for key in ("corpus", "task", "paths", "workers", "seed", "cv", "fold")}
    run.write_text("config.yaml", yaml.safe_dump(OmegaConf.to_container(OmegaConf.create(node), resolve=True)))
    # Predicted as training does, on all rows at once.
    manifest = read_corpus(run.settings()).manifest
    classifier, cache = run.classifier(), FeatureCache(folder / "features")
    index = extract(manifest, run.extractors(), cache)
    encoders = {m: classifier.encoder(m) for m in classifier.modalities}
    data = load_clips(manifest.table, index, cache, encoders, run.model()["max_steps"])
    judged = data.select(np.flatnonzero(data.table["split"] != "train"))
    run.write_table("predictions.parquet", predict_table(classifier, judged, calibration=run.model()["calibration"]))
    run.write_json("run.json", {"groups": ["speaker"], "seed": 0})
    run.write_json("metrics.json", {})
    return run.path


def test_recordings_pictures_and_words_are_spoiled(recorded: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted((recorded.parent / "features").rglob("*.safetensors"))
    names = ["visual:occlusion", "prosody:noise", "text:word_error"]
    strengths = {"visual:occlusion": [0.02, 1.0], "prosody:noise": [0.0], "text:word_error": [0.5]}
    with caplog.at_level(logging.INFO):
        table = measure_robustness(recorded, names, strengths)
    clean = of(table, "clean", 0.0)
    assert clean["present_visual"].tolist() == [True, True, False, True]
    for name, strength, changed in [
        ("visual:occlusion", 1.0, [True, True, False, True]),
        ("prosody:noise", 0.0, [True, True, False, True]),
        ("text:word_error", 0.5, [True] * 4),
    ]:
        rows = of(table, name, strength)
        assert (np.abs(rows["prob_incongruent"] - clean["prob_incongruent"]) > 1e-6).tolist() == changed
        others = {"visual", "text", "prosody"} - {name.split(":")[0]}
        assert all((rows[f"present_{m}"] == clean[f"present_{m}"]).all() for m in others)
    # A covered face is not found: the modality is absent, and its own head has nothing to say.
    covered = of(table, "visual:occlusion", 1.0)
    assert not covered["present_visual"].any()
    assert covered["prob_visual_polarity_negative"].isna().all()
    assert of(table, "visual:occlusion", 0.02)["present_visual"].any()
    # Spoiled streams leave nothing behind, and nobody's words are in the log.
    assert sorted((recorded.parent / "features").rglob("*.safetensors")) == before
    assert not list((recorded.parent / "features").glob("robustness-*"))
    assert not any(word in caplog.text for word in ("fine", "lovely", "never"))


@pytest.mark.parametrize("condition", ["visual:blur", "visual:occlusion", "prosody:pink", "text:word_error"])
def test_strength_zero_is_the_clean_prediction(recorded: Path, condition: str) -> None:
    clips = _TestClips(RunFolder(recorded), None, None)
    with measure._scratch(recorded.parent / "features") as scratch:
        trials = _Trials(clips, scratch, 0)
        none = trials.predict(condition, np.inf if condition.startswith("prosody") else 0.0).set_index("id")
        clean = trials._answers(trials.clean).set_index("id")
    # Frozen backbones computed the clean streams beside those of other splits: the last digits differ.
    pd.testing.assert_frame_equal(none, clean, rtol=1e-3, atol=1e-6)


def test_words_come_from_training_rows_only(recorded: Path) -> None:
    clips = _TestClips(RunFolder(recorded), None, None)
    assert sorted(clips.said) == sorted(f"{text} train" for text in SAID)
    assert set(clips.manifest.table["split"]) == {"test"}
    clips.said = []
    with measure._scratch(recorded.parent / "features") as scratch:
        trials = _Trials(clips, scratch, 0)
        with pytest.raises(ManifestError, match="no training row has a transcript"):
            trials.predict("text:word_error", 0.5)


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"visual:blur": [-0.1]}, "use more than 0, up to 1"),
        ({"text:word_error": [1.5]}, "use more than 0, up to 1"),
        ({"visual:feature_noise": [10.0]}, "reads visual from media or words"),
    ],
)
def test_strengths_that_mean_nothing(recorded: Path, strengths: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_robustness(recorded, None, strengths)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_tables_and_figures(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.file("predictions.parquet").read_bytes()
    asked = ["--conditions", "drop", "prosody:feature_noise", "--strengths", "prosody:feature_noise=10,0,inf"]
    assert main([str(run.path), *asked]) == 0
    printed = capsys.readouterr().out
    assert "Area under the curve" in printed
    points = pd.read_csv(run.file("robustness.csv"))
    assert points["condition"].tolist() == ["clean", "drop:text", "drop:prosody", *["prosody:feature_noise"] * 2]
    assert points["strength"].tolist()[-2:] == [10.0, 0.0]
    assert pd.read_csv(run.file("robustness_areas.csv"))["strengths"].tolist() == ["inf 10 0"]
    assert run.file("figures/robustness_incongruent.png").stat().st_size > 10_000
    assert run.file("predictions.parquet").read_bytes() == before
    assert json.loads(run.file("robustness.json").read_text())["seed"] == 0
    run.begin(run.settings(), overwrite=True)
    assert not list(run.path.glob("robustness*"))


def test_the_command_where_streams_are_dropped_only(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """No condition has a share of clips in which its stream is still found, and none has an area."""
    assert main([str(run.path), "--conditions", "drop"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if "drop:" in line]
    assert [(row[0].strip(), row[4].strip()) for row in rows] == [("drop:text", ""), ("drop:prosody", "")]
    assert "Area under the curve" not in printed
    assert pd.read_csv(run.file("robustness_areas.csv")).empty
    assert run.file("figures/robustness_incongruent.png").stat().st_size > 10_000


@pytest.mark.parametrize("given", ["prosody:noise", "prosody:noise=", "prosody:noise=loud", "=3"])
def test_strengths_that_cannot_be_read(run: RunFolder, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.path), "--strengths", given]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
