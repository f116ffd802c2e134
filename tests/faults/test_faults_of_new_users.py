"""What somebody gets wrong who follows the README for the first time: one line that says what to write."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import subtext
from builders.commands import command_here
from builders.scored_runs import write_talking_corpus
from builders.tiny_runs import write_corpus
from builders.untrained_run import write_untrained_run
from subtext.core.composition import Composition, conf_folder
from subtext.errors import ConfigError
from subtext.runs.prepare import FEWEST_FROM_RANDOM, Prepared

STREAMS = ["corpus=manifest", "corpus.path=my.csv", "~encoder/visual", "workers=0"]
STREAMS += ["encoder.text.embed_dim=8", "encoder.prosody.input_dim=6", "encoder.prosody.trainable=true"]
QUICK = ["trainer.max_epochs=1", "controls=false", "audit=false", "logger=none"]
CELLS = {"id": "a", "speaker": "p", "transcript": "CANARY words", "start": "0", "end": "1", "visual_polarity": "1"}
CELLS |= {"split": "train"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with `my.csv`, whose rows name streams of words and voice."""
    write_corpus(tmp_path, sizes=(20, 10, 10)).rename(tmp_path / "my.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("ours", "written"),
    [
        ("visual_polarity", "visual_polarty"),
        ("visual_polarity", "Visual Polarity"),
        ("speaker", "speakers"),
        ("transcript", "transcipt"),
        ("split", "spilt"),
        ("start", "Start"),
        ("end", "END"),
        ("id", "Id"),
    ],
)
def test_a_misspelt_column_of_a_table(ours: str, written: str, tmp_path: Path) -> None:
    header = [written if name == ours else name for name in CELLS]
    (tmp_path / "my.csv").write_text(f"{','.join(header)}\n{','.join(CELLS.values())}\n", encoding="utf-8")
    done = command_here("data", "build", "my.csv", folder=tmp_path)
    done.refused("my.csv", f"did you mean {ours}? (header cell {list(CELLS).index(ours) + 1})")
    assert written not in done.err.replace(ours, "")
    assert "CANARY" not in done.err


def test_a_misspelt_label_ends_a_training(mine: Path) -> None:
    table = pd.read_csv(mine / "my.csv").rename(columns={"visual_polarity": "visual_polarty"})
    table.to_csv(mine / "my.csv", index=False)
    done = command_here("train", *STREAMS, *QUICK, folder=mine)
    done.refused("did you mean visual_polarity? (header cell 5)", apart_from=("runs",))
    assert "visual_polarty" not in done.err


@pytest.mark.parametrize(
    ("ours", "written"), [("transcript", "transcirpt"), ("speaker", "Speaker"), ("start", "strat")]
)
def test_a_misspelt_column_of_turns(ours: str, written: str, tmp_path: Path) -> None:
    header = "start,end,speaker,transcript".replace(ours, written)
    (tmp_path / "turns.csv").write_text(f"{header}\n0,1,p,CANARY\n", encoding="utf-8")
    done = command_here("data", "codebook", "--elan", "turns.csv", "--rater", "r1", "--out", "files", folder=tmp_path)
    if ours != "speaker":  # which rating files do not need
        done.refused(f"did you mean {ours}? (header cell")
    soundfile.write(tmp_path / "a.wav", np.zeros(32000), 16000)
    write_untrained_run(tmp_path / "run")
    (tmp_path / "turns.csv").rename(tmp_path / "a.csv")
    done = command_here("predict", "run", "a.wav", folder=tmp_path)
    assert f"did you mean {ours}? (header cell" in done.err
    assert "CANARY" not in done.said


@pytest.mark.parametrize(("ours", "written"), [("rater", "raters"), ("session", "sesion"), ("value", "vlaue")])
def test_a_misspelt_column_of_ratings(ours: str, written: str, tmp_path: Path) -> None:
    header = "session,turn,rater,label,value".replace(ours, written)
    (tmp_path / "ratings.csv").write_text(f"{header}\nS1,1,r1,incongruent,1\n", encoding="utf-8")
    command_here("data", "agreement", "ratings.csv", folder=tmp_path).refused(f"did you mean {ours}? (header cell")


def test_columns_of_ones_own_go_through(tmp_path: Path) -> None:
    extra = "visual_polarity_rater2,speaker_id,start_frame,dialogue,age"
    line = ",".join([*CELLS.values(), "1", "9", "12", "d", "40"])
    (tmp_path / "my.csv").write_text(f"{','.join(CELLS)},{extra}\n{line}\n", encoding="utf-8")
    done = command_here("data", "build", "my.csv", "--out", "m.parquet", folder=tmp_path)
    assert done.code == 0, done.said
    assert set(extra.split(",")) <= set(pd.read_parquet(tmp_path / "m.parquet").columns)


def test_figures_of_a_face_for_an_encoder_of_pictures(mine: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (mine / "streams").glob("*.npz"):
        np.savez(path, **np.load(path), visual=rng.normal(size=(3, 17)))
    pictures = [setting for setting in STREAMS if setting != "~encoder/visual"]
    said = "encoder/visual=features encoder.visual.input_dim=17 encoder.visual.families=null"
    done = command_here("train", *pictures, *QUICK, folder=mine)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("ConfigError: a step of the visual streams is 17 figures")
    assert said in done.err
    wrong = "encoder/visual=features", "encoder.visual.input_dim=17"
    done = command_here("train", *pictures, *QUICK, *wrong, "name=wrong", folder=mine)
    assert done.code == 2
    assert "or set encoder.visual.families=null for one" in done.err.splitlines()[-1]
    done = command_here("train", *pictures, *QUICK, *said.split(), "name=right", folder=mine)
    assert done.code == 0, done.said


def test_a_detector_without_its_weights(tmp_path: Path) -> None:
    table = pd.read_csv(write_talking_corpus(tmp_path)).drop(columns="features")
    table.head(2).to_csv(tmp_path / "my.csv", index=False)
    given = ["corpus=manifest", "corpus.path=my.csv", "encoder/visual=mobilenet", "workers=0"]
    done = command_here("extract", *given, folder=tmp_path)
    done.refused(
        "encoder.visual.extractor.detector=haar", "models/face_detection_yunet_2023mar.onnx", apart_from=("work",)
    )
    # What the line says to write is what helps.
    done = command_here("extract", *given, "encoder.visual.extractor.detector=haar", folder=tmp_path)
    assert done.code == 0, done.said
    assert "my" in {path.name for path in (tmp_path / "work" / "features").iterdir()}


def test_a_detector_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("id,transcript\na,Fine.\n", encoding="utf-8")
    given = ["corpus=manifest", "corpus.path=my.csv", "encoder.visual.extractor.detector=har"]
    done = command_here("extract", *given, folder=tmp_path)
    done.refused("encoder.visual.extractor.detector is 'har'; write yunet or haar")


def test_few_clips_and_random_weights_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.read_csv(write_talking_corpus(tmp_path)).drop(columns="features")
    table.to_csv(tmp_path / "my.csv", index=False)

    def told(*more: str) -> str:
        own = [f"corpus.path={tmp_path / 'my.csv'}", f"paths.work={tmp_path / 'work'}"]
        settings = Composition(conf_folder(), ["corpus=manifest", "workers=0", *own, *more]).settings({}, ())
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            _ = Prepared(settings).encoders
        return "\n".join(message for message in caplog.messages if "encoder" in message)

    alone = ["~encoder/text", "~encoder/prosody"]
    assert "the visual encoder is frozen with random weights" in told(*alone)
    learning = told(*alone, "encoder.visual.trainable=true")
    assert "random weights from 30 training clips" in learning
    assert f"seen to succeed here are {FEWEST_FROM_RANDOM}" in learning
    assert "encoder.visual.pretrained=true" in learning
    # The voice's encoder is small, and learns from its first clip.
    assert told("~encoder/visual", "~encoder/text", "encoder.prosody.trainable=true") == ""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: subtext.train(["seed=1"]), "overrides: argument 1 is a list; put a star before the list"),  # type: ignore[arg-type]
        (lambda: subtext.extract("seed=1", ("workers=0",)), "overrides: argument 2 is a tuple"),  # type: ignore[arg-type]
        (lambda: subtext.train({"seed": 1}), "overrides: argument 1 is a dict; write text"),  # type: ignore[arg-type]
        (lambda: subtext.train(config_dirs="conf"), r"write config_dirs=\['conf'\]"),
        (lambda: subtext.extract(config_dirs=Path("conf")), r"write config_dirs=\['conf'\]"),  # type: ignore[arg-type]
        (lambda: subtext.evaluate(["a", "b"]), "runs: argument 1 is a list"),  # type: ignore[arg-type]
        (lambda: subtext.evaluate("a", groups="speaker"), r"write groups=\['speaker'\]"),
        (lambda: subtext.evaluate(), "no run is named"),
        (lambda: subtext.compare(), "no run is named"),
        (lambda: subtext.compare(["a", "b"]), "runs: argument 1 is a list"),  # type: ignore[arg-type]
        (lambda: subtext.compare("a", groups="speaker"), r"write groups=\['speaker'\]"),
        (lambda: subtext.read_manifest("my.csv", columns=["a"]), r"corpus\.columns is a list"),
        (lambda: subtext.read_manifest("my.csv", values="a"), r"corpus\.values is a str"),
        (lambda: subtext.read_manifest("my.csv", groups="speaker"), r"corpus\.groups=\[speaker\]"),
    ],
)
def test_a_list_or_a_text_in_the_other_ones_place(
    call: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["corpus.path=my.csv"], "my"),
        (["corpus.path=S01/manifest.parquet"], "S01"),
        (["corpus.path=manifest.parquet"], "manifest"),
        (["corpus.path=my.csv", "corpus.name=ours"], "ours"),
        (["corpus.path='our own/table (2).csv'"], "table_2"),
        (["corpus.path=my.csv", "corpus.name='../../up'"], "up"),
        (["corpus.path=my.csv", "name=chosen"], "chosen"),
        ([], "manifest"),
    ],
)
def test_a_run_is_named_after_the_table(given: list[str], name: str) -> None:
    composed = Composition(conf_folder(), ["corpus=manifest", *given])
    assert composed.settings({}, ())["name"] == name
    assert composed.run_folder().parts[:2] == ("runs", name)


def test_a_run_of_a_corpus_is_named_after_it() -> None:
    assert Composition(conf_folder(), ["corpus=meld"]).settings({}, ())["name"] == "meld"
