"""Prediction from media with an untrained model: what is there, what is missing, the numbers that training gives."""

import json
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from builders.tiny_runs import settings, write_corpus
from builders.untrained_run import write_untrained_run
from subtext.corpora.studio.write import write_mp4
from subtext.errors import ConfigError, RunError, TrustError, WeightsError
from subtext.features.cache import FeatureCache
from subtext.features.extract import extract
from subtext.manifest import build_manifest
from subtext.model.batches import load_clips
from subtext.model.predict import predict_table
from subtext.prediction import predictor as predictor_module
from subtext.prediction.inputs import Words, find_inputs
from subtext.prediction.lines import readable, to_json
from subtext.prediction.predictor import Predictor
from subtext.runs.folder import RunFolder
from subtext.sessions.transcripts import Turn

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def predictor(untrained_run: Path) -> Predictor:
    return Predictor(untrained_run)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_face(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=4.0)


def lines(predictor: Predictor, path: Path, turns: list[Turn] | None = None) -> list[dict[str, Any]]:
    got = list(predictor.predict([(path.name, path)], turns))
    for line in got:
        json.loads(to_json(line), parse_constant=pytest.fail)
    return got


def test_a_clip_with_all_three_streams(predictor: Predictor, clip: Path) -> None:
    (line,) = lines(predictor, clip, [Turn(None, None, "I am fine.")])
    assert (line["input"], line["id"], line["start"]) == ("clip.mp4", "clip.mp4", 0.0)
    assert line["end"] == pytest.approx(4.0, abs=0.1)
    assert line["missing"] == {}
    assert line["abstain"] is False
    assert 0 < line["prob_incongruent"] < 1
    assert 0 < line["prob_vocal_incongruent"] < 1
    assert sum(line["type"].values()) == pytest.approx(1)
    assert set(line["polarity"]) == {"visual", "text", "prosody"}
    assert sum(line["evidence"].values()) == pytest.approx(1, abs=1e-4)
    assert line["faces"]["share"] > 0.9
    assert line["faces"]["people"] == 1
    assert len(line["model"]) == 64
    assert {m: len(f) for m, f in line["features"].items()} == {"visual": 64, "text": 64, "prosody": 64}


def test_turns_are_judged_apart_and_in_order_of_time(predictor: Predictor, clip: Path) -> None:
    turns = [Turn(2.0, 4.0, "b"), Turn(0.0, 2.0, "a", speaker="Ann"), Turn(1.0, 1.0, "c", problem="holds nothing")]
    got = lines(predictor, clip, turns)
    assert [line["id"] for line in got] == ["clip.mp4#2", "clip.mp4#3", "clip.mp4#1"]
    assert got[0]["speaker"] == "Ann"
    assert got[1]["error"] == "holds nothing"
    assert got[0]["prob_incongruent"] != got[2]["prob_incongruent"]
    # A turn says the same whatever stands beside it.
    (alone,) = lines(predictor, clip, [Turn(2.0, 4.0, "b")])
    assert alone["prob_incongruent"] == pytest.approx(got[2]["prob_incongruent"], abs=1e-5)


def test_many_turns_open_the_file_no_more_often_than_one(
    predictor: Predictor, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = av.open

    def counted(*args: Any, **kwargs: Any) -> Any:
        opened.append(args[0])
        return original(*args, **kwargs)

    monkeypatch.setattr(av, "open", counted)
    lines(predictor, clip, [Turn(0.0, 1.0, "a")])
    once = len(opened)
    opened.clear()
    assert len(lines(predictor, clip, [Turn(n * 0.1, n * 0.1 + 0.5, f"turn {n}") for n in range(30)])) == 30
    assert len(opened) == once <= 4


def test_turns_are_given_while_the_rest_is_still_being_read(
    predictor: Predictor, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[int, ...]] = []
    original = predictor_module._EmbeddingCache.write

    def spy(cache: predictor_module._EmbeddingCache, key: str, stream: Any) -> None:
        original(cache, key, stream)
        if "face_share" in stream.quality:
            kept.append(cache.read(key).values.shape)

    monkeypatch.setattr(predictor_module._EmbeddingCache, "write", spy)
    turns = [Turn(n * 0.08, n * 0.08 + 0.4, f"turn {n}") for n in range(40)]
    going = predictor.predict([("clip", clip)], turns)
    assert next(going)["id"] == "clip#1"
    assert predictor_module.TURNS_AT_ONCE <= len(kept) < 40
    assert [line["id"] for line in going] == [f"clip#{n}" for n in range(2, 41)]
    # An hour of crops would fill the memory: only embeddings [time, width] are kept.
    assert all(len(shape) == 2 for shape in kept)


def test_a_turn_that_is_longer_than_the_model_takes_says_so(
    untrained_run: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small = Predictor(altered(untrained_run, tmp_path / "small", max_steps={"visual": 5, "text": 64, "prosody": 50}))
    monkeypatch.setattr(predictor_module, "LONG_TURN", 1.5)
    long, short = lines(small, clip, [Turn(0.0, 2.0, "a"), Turn(2.0, 2.5, "b")])
    assert long["warnings"][0].startswith("the turn lasts 2 s")
    assert [w for w in long["warnings"] if w.startswith("face: of 10 steps the model takes 5; evenly spaced")]
    assert [w for w in long["warnings"] if w.startswith("voice: of 100 steps the model takes 50; its middle")]
    assert len(long["warnings"]) == 3
    assert short["warnings"] == []
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("clip.mp4#1: ")] == [
        f"clip.mp4#1: {warning}" for warning in long["warnings"]
    ]


def test_words_that_the_text_model_hardly_knows_are_warned_about(predictor: Predictor, clip: Path) -> None:
    known, strange = lines(predictor, clip, [Turn(0.0, 1.0, "fine, really"), Turn(1.0, 2.0, "🙃 🙃 🙃 fine")])
    assert known["warnings"] == []
    assert strange["warnings"] == [
        "words: the text model does not know 75% of them; its reading is not to be relied on"
    ]


def test_a_recording_whose_header_tells_no_length_has_an_end_and_its_warning(
    predictor: Predictor, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a browser records it.
    live = tmp_path / "live.mkv"
    with av.open(str(clip)) as source, av.open(str(live), "w", format="matroska", options={"live": "1"}) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    with av.open(str(live)) as container:
        assert container.duration is None
    monkeypatch.setattr("subtext.prediction.inputs.LONG_TURN", 3.0)
    (line,) = lines(predictor, live, [Turn(None, None, "fine")])
    assert line["end"] == pytest.approx(4.0, abs=0.2)
    assert line["warnings"][0].startswith("the whole recording (4 s) is taken as one turn")


def test_without_words_it_abstains_and_still_tells_face_and_voice(predictor: Predictor, clip: Path) -> None:
    (line,) = lines(predictor, clip)
    assert line["abstain"] is True
    assert "no transcript, or an empty one" in line["missing"]["text"]
    assert line["prob_incongruent"] is None
    assert set(line["polarity"]) == {"visual", "prosody"}
    assert line["failed"] == []


def test_sound_alone_compares_words_and_voice(predictor: Predictor, tmp_path: Path) -> None:
    talk = write_talking_face(tmp_path / "talk.mp4", seconds=2.0, picture=False)
    (line,) = lines(predictor, talk, [Turn(None, None, "fine")])
    assert line["missing"] == {"visual": "the recording has no picture"}
    assert line["prob_incongruent"] is None
    assert line["vocal_incongruent"] is not None
    assert line["abstain"] is False
    assert line["faces"] == {"share": None, "people": None}


def test_picture_alone_compares_words_and_face(predictor: Predictor, tmp_path: Path) -> None:
    talk = write_talking_face(tmp_path / "talk.mp4", seconds=2.0, sound=False)
    (line,) = lines(predictor, talk, [Turn(None, None, "fine")])
    assert set(line["missing"]) == {"prosody"}
    assert line["incongruent"] is not None
    assert line["abstentions"]["vocal_incongruent"][0].startswith("no voice: ")
    assert line["failed"] == []


def test_nothing_to_see_hear_or_read_is_said_not_guessed(predictor: Predictor, tmp_path: Path) -> None:
    empty = write_mp4(
        tmp_path / "empty.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 20, 10, np.zeros(32_000, np.float32)
    )
    (line,) = lines(predictor, empty)
    assert set(line["missing"]) == {"visual", "text", "prosody"}
    assert "no face" in line["missing"]["visual"]
    assert line["abstain"] is True
    assert line["polarity"] == {}
    assert set(line["abstentions"]) == {"incongruent", "vocal_incongruent"}
    assert len(line["abstentions"]["incongruent"]) == 2
    assert line["faces"]["share"] == 0.0
    assert line["failed"] == []


def test_a_truncated_recording_says_so(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    whole = clip.read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    (line,) = lines(predictor, cut, [Turn(None, None, "fine")])
    assert "error" in line
    assert "cut.mp4" in line["error"]


def test_one_bad_recording_does_not_cost_the_others(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a film" * 100)
    got = list(predictor.predict([("bad", bad), ("good", clip)], [Turn(None, None, "fine")]))
    assert "error" in got[0]
    assert got[1]["prob_incongruent"] is not None


def test_turns_before_a_recording_breaks_off_are_kept(predictor: Predictor, tmp_path: Path) -> None:
    whole = write_talking_face(tmp_path / "whole.mp4", seconds=6.0)
    fast, cut = tmp_path / "fast.mp4", tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(fast), "w", options={"movflags": "+faststart"}) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    cut.write_bytes(fast.read_bytes()[: fast.stat().st_size * 2 // 3])
    first, last = lines(predictor, cut, [Turn(0.0, 2.0, "a"), Turn(4.0, 6.0, "b")])
    assert first["failed"] == []
    assert first["prob_incongruent"] is not None
    assert last["failed"] == ["visual", "prosody"]
    assert "breaks off" in last["missing"]["visual"]
    assert set(last["polarity"]) == {"text"}


def test_one_picture_is_a_turn_without_sound(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as container:
        next(container.decode(video=0)).to_image().save(tmp_path / "still.jpg")
    (line,) = lines(predictor, tmp_path / "still.jpg", [Turn(None, None, "fine")])
    assert line["missing"] == {"prosody": "a picture has no sound"}
    assert line["prob_incongruent"] is not None


@pytest.mark.parametrize("words", ["🙃🙃", "שלום עולם", " ".join(["word"] * 10_000), "\u200b", "- a, (b) = {c}"])
def test_any_words_give_a_number_or_a_reason(predictor: Predictor, clip: Path, words: str) -> None:
    (line,) = lines(predictor, clip, [Turn(0.0, 1.0, words)])
    assert line["transcript"] == words
    assert ("text" in line["missing"]) == (line["prob_incongruent"] is None)


def test_a_manifest_gives_the_numbers_that_training_gives(
    predictor: Predictor, untrained_run: Path, clip: Path, tmp_path: Path
) -> None:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "video": [clip.name, clip.name, None, clip.name],
            "start": [0.0, 1.0, None, 2.0],
            "end": [1.5, 2.5, None, 4.0],
            "transcript": ["I'm fine, thanks", None, "only words", "NA"],
            "incongruent": [1, 0, None, 0],
            "split": "test",
        }
    )
    table.to_csv(clip.parent / "rows.csv", index=False)
    got = list(predictor.predict([("rows.csv", clip.parent / "rows.csv")]))
    assert [line["id"] for line in got] == ["a", "b", "c", "d"]

    manifest = build_manifest(table, root=clip.parent, name="rows", groups=())
    cache = FeatureCache(tmp_path / "cache")
    index = extract(manifest, RunFolder(untrained_run).extractors(), cache, progress=False)
    classifier = RunFolder(untrained_run).classifier()
    encoders = {m: classifier.encoder(m) for m in classifier.modalities}
    clips = load_clips(manifest.table, index, cache, encoders, RunFolder(untrained_run).model()["max_steps"])
    expected = predict_table(classifier, clips).set_index("id")
    for line in got:
        wanted = expected.loc[line["id"]]
        assert {m for m in ("visual", "text", "prosody") if wanted[f"present_{m}"]} == set(line["evidence"])
        if line["prob_incongruent"] is not None:
            assert line["prob_incongruent"] == pytest.approx(wanted["prob_incongruent"], abs=1e-4)
            assert line["type"]["masking"] == pytest.approx(wanted["prob_type_masking"], abs=1e-4)
        for modality, polarity in line["polarity"].items():
            column = {"visual": "visual_polarity", "text": "verbal_polarity", "prosody": "vocal_polarity"}[modality]
            assert polarity["positive"] == pytest.approx(wanted[f"prob_{column}_positive"], abs=1e-4)


def test_real_recordings_of_another_codec(predictor: Predictor, shared_data: Path) -> None:
    inputs = find_inputs([str(shared_data / "crema_d" / "VideoFlash")], Words())
    got = list(predictor.predict(inputs, Words(transcript="Don't forget a jacket.").read()))
    assert len(got) == 6
    for line in got:
        assert line["missing"] == {}
        assert line["faces"]["share"] == 1.0
        assert line["faces"]["people"] == 1
        assert 1.5 < line["end"] < 4
        assert line["prob_incongruent"] is not None
    # Six performances of one sentence: the words are the same, faces and voices are not.
    assert len({line["polarity"]["text"]["positive"] for line in got}) == 1
    assert len({line["polarity"]["visual"]["positive"] for line in got}) == 6
    assert len({line["polarity"]["prosody"]["positive"] for line in got}) == 6


def altered(run: Path, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(run / "model.safetensors")
    described = json.loads((run / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(described | changes))
    return folder


def test_unusable_run_folders_and_devices_say_what_to_do(untrained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        Predictor(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"holds no model\.json"):
        Predictor(tmp_path / "empty")
    with pytest.raises(TrustError, match="nothing of it was run"):
        Predictor(altered(untrained_run, tmp_path / "evil", fusion={"_target_": "os.system", "command": "true"}))
    other = {"_target_": "subtext.fusion.concat.ConcatFusion"}
    with pytest.raises(WeightsError, match="does not fit"):
        Predictor(altered(untrained_run, tmp_path / "other", fusion=other))
    with pytest.raises(RunError, match="incomplete"):
        Predictor(altered(untrained_run, tmp_path / "incomplete", max_steps={}))
    with pytest.raises(RunError, match=r"'max_steps\.visual' is not a whole number from 1"):
        Predictor(altered(untrained_run, tmp_path / "short", max_steps={"visual": 0, "text": 1, "prosody": 1}))
    for number, temperature in enumerate((0, "warm", None, float("nan"), [1])):
        calibration = {"type": {"temperature": temperature}}
        with pytest.raises(RunError, match=r"temperature' is not a number above 0|NaN is no number"):
            Predictor(altered(untrained_run, tmp_path / f"warm{number}", calibration=calibration))
    with pytest.raises(RunError, match=r"'calibration\.type' is not a mapping"):
        Predictor(altered(untrained_run, tmp_path / "list", calibration={"type": [1.0]}))
    extractors = json.loads((untrained_run / "model.json").read_text())["extractors"]
    extractors.pop("prosody")
    with pytest.raises(RunError, match="tells how to read visual, text for a model of visual, text, prosody"):
        Predictor(altered(untrained_run, tmp_path / "deaf", extractors=extractors))
    with pytest.raises(ConfigError, match="--device warp cannot be used"):
        Predictor(untrained_run, device="warp")


def test_a_pickle_is_never_opened(untrained_run: Path, tmp_path: Path) -> None:
    folder = altered(untrained_run, tmp_path / "pickle")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(WeightsError):
        Predictor(folder)


def test_features_made_otherwise_than_in_training_are_warned_about(
    untrained_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    described = json.loads((untrained_run / "model.json").read_text())
    described["fingerprints"]["prosody"]["extractor"] = "another"
    with caplog.at_level(logging.WARNING):
        Predictor(altered(untrained_run, tmp_path / "old", fingerprints=described["fingerprints"]))
    assert [r.getMessage() for r in caplog.records if "voice is read otherwise" in r.getMessage()]
    assert not [r for r in caplog.records if "face is read otherwise" in r.getMessage()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was really trained, on precomputed streams, and its manifest."""
    from subtext.runs.train import train

    folder = tmp_path_factory.mktemp("trained")
    manifest = write_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subtext.runs.one_run._Run._evaluate", lambda self: None)
        return train(settings(folder, manifest), folder / "run").path, manifest


def test_a_trained_run_says_again_what_it_said_of_its_test_clips(trained: tuple[Path, Path]) -> None:
    run, manifest = trained
    expected = pd.read_parquet(run / "predictions.parquet").set_index("id")
    got = {line["id"]: line for line in Predictor(run).predict([("tiny.csv", manifest)])}
    assert set(expected.index) < set(got)
    abstained = 0
    for id_, wanted in expected.iterrows():
        line = got[str(id_)]
        assert set(line["evidence"]) == {m for m in ("text", "prosody") if wanted[f"present_{m}"]}
        if "text" in line["polarity"]:
            assert line["polarity"]["text"]["negative"] == pytest.approx(
                wanted["prob_verbal_polarity_negative"], abs=1e-5
            )
        # The model has no eyes, so what it learned as words against face has no pair to be about.
        assert line["prob_incongruent"] is None
        abstained += line["abstain"]
        assert line["missing"]["visual"] == "the model does not use it"
    assert abstained == len(expected)


def test_a_model_of_precomputed_streams_reads_nothing_from_media(trained: tuple[Path, Path], clip: Path) -> None:
    (line,) = lines(Predictor(trained[0]), clip, [Turn(None, None, "fine")])
    assert line["missing"]["text"] == line["missing"]["prosody"] == "the row names no features file"
    assert line["abstain"] is True


def test_streams_of_another_kind_are_refused(untrained_run: Path, trained: tuple[Path, Path]) -> None:
    with pytest.raises(RunError, match=r"tiny\.csv: the model cannot compute on its streams .*features"):
        list(Predictor(untrained_run).predict([("tiny.csv", trained[1])]))


def test_a_model_of_polarities_alone_answers_those(clip: Path, tmp_path: Path) -> None:
    run = write_untrained_run(tmp_path / "run", ["fusion=none"], heads=["visual_polarity", "vocal_polarity"])
    (line,) = lines(Predictor(run), clip, [Turn(None, None, "fine")])
    assert set(line["polarity"]) == {"visual", "prosody"}
    assert "prob_incongruent" not in line
    assert line["abstain"] is True
    assert line["abstentions"] == {}
    assert readable(line).endswith("abstains: the model answers neither question")


def test_it_abstains_below_the_level_of_the_run(clip: Path, tmp_path: Path) -> None:
    run = write_untrained_run(tmp_path / "run", level=0.999)
    (line,) = lines(Predictor(run), clip, [Turn(None, None, "fine")])
    assert line["abstain"] is True
    assert line["incongruent"] is None
    assert 0 < line["prob_incongruent"] < 1
    assert "below 1.00" in line["abstentions"]["incongruent"][0]
