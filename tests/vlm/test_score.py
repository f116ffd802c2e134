"""A scoring run: its tables, its controls, what a second and a killed run cost, and that light commands read it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from builders.scored_runs import SIZES, vlm_settings, write_talking_corpus
from builders.tiny_runs import settings as light_settings
from subtext.cli import compare as compare_command
from subtext.cli import evaluate as evaluate_command
from subtext.errors import ConfigError, RunError, SubtextError
from subtext.evaluation.prompted import calibrated
from subtext.runs.compare import cost_of
from subtext.runs.systems import read_systems
from subtext.runs.train import train
from subtext.vlm import score as score_module
from subtext.vlm.answers import parse
from subtext.vlm.controls import CONTROLS
from subtext.vlm.score import dry_run, score

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def model(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("smolvlm")


@pytest.fixture(scope="module")
def scored(corpus: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two heads and all controls."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    score(vlm_settings(corpus, model, folder, "heads=[incongruent,ether_type]", "controls=true"), folder)
    return folder


def table(folder: Path, name: str = "predictions") -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


def test_the_table_holds_validation_and_test_rows_with_probabilities(scored: Path) -> None:
    predictions = table(scored)
    assert predictions["split"].value_counts().to_dict() == {"val": SIZES[1], "test": SIZES[2]}
    assert predictions["prob_incongruent"].between(0, 1).all()
    ether = predictions[[f"prob_ether_type_{kind}" for kind in ("minimizing", "contradiction", "none")]]
    assert np.allclose(ether.sum(axis=1), 1)
    assert (predictions["spread_incongruent"] > 0).all(), "wordings differ"
    assert predictions["present_visual"].all()
    assert not predictions["present_prosody"].any()
    assert predictions["logit_incongruent"].nunique() == len(predictions), "turns differ"


def test_every_prompt_has_a_logged_row(scored: Path) -> None:
    answers, predictions = table(scored, "answers"), table(scored)
    rows = len(predictions)
    assert (answers["control"] == "").sum() == rows * (20 + 10)
    assert answers["control"].value_counts()["other_frames"] == rows * 20
    full = answers[answers["control"] == ""]
    assert full["prompt_sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert full["frame_times"].map(list).map(tuple).unique().tolist() == [(0.125, 0.375)]
    assert (full["vision_tokens"] == 8).all()
    assert (full["tokens"] > full["vision_tokens"]).all()
    first = full.iloc[0]
    assert set(json.loads(first["log_probs"])) == {"yes", "no"}
    assert first["mass"] == pytest.approx(sum(np.exp(list(json.loads(first["log_probs"]).values()))))
    assert full["raw"].notna().all()
    means = full[full["head"] == "incongruent"].groupby("id")["score"].mean()
    logits = predictions.set_index("id")["logit_incongruent"]
    assert np.allclose(np.log(means / (1 - means)), logits[means.index])


def test_controls_take_away_what_they_say(scored: Path) -> None:
    controls = table(scored, "controls")
    assert list(controls["control"].unique()) == list(CONTROLS)
    own = table(scored).set_index("id")["logit_incongruent"]
    logits = controls.pivot(index="id", columns="control", values="logit_incongruent").loc[own.index]
    assert logits["content_free"].nunique() == 1
    assert logits["words_only"].nunique() < len(own), "rows that say the same are the same without pictures"
    for name in ("words_only", "frames_only", "black_frames", "other_frames", "shuffled_frames"):
        assert (logits[name] - own).abs().max() > 1e-3, name
    asked = table(scored, "answers").query("head == 'incongruent'")
    frames = asked.drop_duplicates(["id", "control"]).pivot(index="id", columns="control", values="frames_sha256")
    assert frames[["words_only", "content_free"]].isna().all(axis=None)
    assert (frames["other_frames"] != frames[""]).all()
    assert frames["other_frames"].isin(frames[""]).all(), "from the same splits"
    assert frames["black_frames"].nunique() == 4, "one a size of pictures"
    recording = table(scored).set_index("id")["session"]
    lender = frames[""].reset_index().set_index("")["id"][frames["other_frames"]].to_numpy()
    assert (recording[lender].to_numpy() != recording[frames.index].to_numpy()).all()


def test_light_commands_take_the_run_beside_a_light_one(
    scored: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = light_settings(tmp_path, corpus, heads=["incongruent"])
    light["trainer"]["max_epochs"] = 1
    train(light, tmp_path / "light")
    assert evaluate_command.main([str(scored), "--bootstrap", "20"]) == 0
    metrics = json.loads((scored / "metrics.json").read_text())
    assert metrics["heads"]["incongruent"]["subsets"]["all"]["clips"] == SIZES[2]
    assert set(metrics["controls"]) == set(CONTROLS)
    assert metrics["ether_type"]["all"]["clips"] == SIZES[2]
    assert any("incongruent: mean over 20 prompts (v1) by likelihood, sd over them" in n for n in metrics["notes"])
    assert any("mass of the answer tokens" in note for note in metrics["notes"])
    assert not any("controls that were not run" in note for note in metrics["notes"])
    runs = [str(scored), str(tmp_path / "light")]
    assert compare_command.main([*runs, "--out", str(tmp_path / "both"), "--bootstrap", "20", "--no-cost"]) == 0
    found = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert set(found["systems"]) == {"vlm=smolvlm", "light"}
    assert found["heads"]["incongruent"]["subsets"]["all"]["clips"] == SIZES[2]
    assert any(note.startswith("vlm=smolvlm: incongruent: mean over 20 prompts") for note in found["notes"])
    assert "vlm=smolvlm" in capsys.readouterr().out


def test_a_second_run_asks_nothing(scored: Path, corpus: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the model is loaded")

    before = table(scored)
    monkeypatch.setattr("subtext.vlm.inputs.load_model", unwanted)
    monkeypatch.setattr("subtext.vlm.inputs.load_processor", unwanted)
    more = ("heads=[incongruent,ether_type]", "controls=true", "overwrite=true")
    score(vlm_settings(corpus, model, scored, *more), scored)
    pd.testing.assert_frame_equal(table(scored), before)
    assert json.loads((scored / "run.json").read_text())["vlm"]["prompts_asked"] == 0


def test_a_finished_run_is_not_lost(scored: Path, corpus: Path, model: Path) -> None:
    with pytest.raises(RunError, match="holds a finished run; replace it by overwrite=true"):
        score(vlm_settings(corpus, model, scored), scored)


def test_an_interrupted_run_of_other_settings_is_not_mixed_up(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(score_module, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            score(vlm_settings(corpus, model, tmp_path / "run"), tmp_path / "run")
    with pytest.raises(RunError, match="holds a run of other settings"):
        score(vlm_settings(corpus, model, tmp_path / "run", "seed=1"), tmp_path / "run")


def test_what_is_too_long_is_left_out_and_never_cut(corpus: Path, model: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(corpus)
    rows.loc[rows["id"] == "test-003", "transcript"] = "word " * 4000
    longer = corpus.with_name("longer.csv")
    rows.to_csv(longer, index=False)
    score(vlm_settings(longer, model, tmp_path / "run", "context=false"), tmp_path / "run")
    predictions = table(tmp_path / "run").set_index("id")
    assert predictions["prob_incongruent"].isna().sum() == 1
    assert "do not fit into a context of 8192" in predictions.loc["test-003", "reason_incongruent"]


def test_answers_that_are_not_numbers_are_said(corpus: Path, model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    save_file({k: torch.full_like(v, float("nan")) for k, v in weights.items()}, broken / "model.safetensors")
    with pytest.raises(ConfigError, match="no clip can be asked about: the model's answer is not a number"):
        score(vlm_settings(corpus, broken, tmp_path / "run"), tmp_path / "run")


def test_the_voice_is_told_and_asked_for(corpus: Path, model: Path, tmp_path: Path) -> None:
    deaf = vlm_settings(corpus, model, tmp_path / "run", "heads=[vocal_incongruent]")
    with pytest.raises(ConfigError, match="vocal_incongruent asks for the voice, of which nothing is told"):
        score(deaf, tmp_path / "run")
    with pytest.raises(ConfigError, match="another thing in each fold"):
        score(vlm_settings(corpus, model, tmp_path / "run", "voice=true", "cv=3"), tmp_path / "run")
    heads = "heads=[vocal_incongruent,vocal_polarity]"
    text, _ = dry_run(vlm_settings(corpus, model, tmp_path / "run", "voice=true", heads), tmp_path / "run")
    assert "The person's voice, as measured: pitch " in text
    assert "words and voice disagree" in text
    score(vlm_settings(corpus, model, tmp_path / "run", "voice=true", heads), tmp_path / "run")
    predictions = table(tmp_path / "run")
    assert predictions["present_prosody"].any()
    assert predictions["prob_vocal_incongruent"].notna().all()
    assert np.allclose(
        predictions[[f"prob_vocal_polarity_{p}" for p in ("negative", "neutral", "positive")]].sum(axis=1), 1
    )


def test_a_killed_run_goes_on(
    scored: Path, corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = vlm_settings(corpus, model, tmp_path / "run", "vlm.batch_size=16")
    real, batches = score_module.answer, 0

    def killed(*arguments: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches > 5:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(score_module, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            score(settings, tmp_path / "run")
    store = next((tmp_path / "work" / "vlm" / "answers").rglob("*.jsonl"))
    store.write_bytes(store.read_bytes()[:-30])  # the kill came while the last line was written
    score(settings, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "run.json").read_text())["vlm"]
    prompts = table(tmp_path / "run", "answers")["key"].nunique()
    assert told["prompts_asked"] == prompts - (5 * 16 - 1)
    whole, again = (table(folder).set_index("id")["logit_incongruent"] for folder in (scored, tmp_path / "run"))
    assert np.allclose(whole, again, atol=1e-4)


def test_the_floor_leaves_clips_unscored_and_says_why(scored: Path, corpus: Path, model: Path, tmp_path: Path) -> None:
    answered = f"paths.work={scored.parent / 'work'}"
    score(vlm_settings(corpus, model, tmp_path / "run", "floor=0.05", answered), tmp_path / "run")
    predictions = table(tmp_path / "run")
    assert (predictions["mass_incongruent"] < 0.05).all()
    assert predictions["prob_incongruent"].isna().all()
    assert set(predictions["reason_incongruent"]) == {"mass of the answers below 0.05"}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["heads"]["incongruent"]["subsets"]["all"]["without_probability"] == SIZES[2]
    told = json.loads((tmp_path / "run" / "run.json").read_text())["vlm"]
    assert f"incongruent: {SIZES[1] + SIZES[2]} clips not scored: mass" in " ".join(metrics["notes"])
    assert told["heads"]["incongruent"]["unscored"] == {"mass of the answers below 0.05": SIZES[1] + SIZES[2]}


def test_calibration_reads_validation_labels_only(scored: Path) -> None:
    predictions = table(scored)
    turned = predictions.copy()
    turned.loc[turned["split"] == "test", "incongruent"] = ~turned["incongruent"].astype(bool)
    pd.testing.assert_series_equal(calibrated(turned)["prob_incongruent"], predictions["prob_incongruent"])
    turned = predictions.copy()
    validated = turned["split"] == "val"
    turned.loc[validated, "incongruent"] = ~turned.loc[validated, "incongruent"].astype(bool)
    assert not np.allclose(calibrated(turned)["prob_incongruent"], predictions["prob_incongruent"])
    ranks = predictions["logit_incongruent"].rank(), predictions["prob_incongruent"].rank()
    pd.testing.assert_series_equal(*ranks, check_names=False)


def test_parts_together_are_the_whole(scored: Path, corpus: Path, model: Path, tmp_path: Path) -> None:
    more = ("heads=[incongruent,ether_type]", "controls=true", f"paths.work={scored.parent / 'work'}")
    parts = []
    for number in (1, 2):
        parts.append(tmp_path / f"part-{number}")
        score(vlm_settings(corpus, model, parts[-1], *more, f"shard={number}/2"), parts[-1])
    tables = [table(part) for part in parts]
    assert not set(tables[0]["session"]) & set(tables[1]["session"]), "divided by recording"
    out = tmp_path / "together"
    assert evaluate_command.main([*map(str, parts), "--out", str(out), "--bootstrap", "20"]) == 0
    for name in ("predictions", "controls"):
        keys = ["id"] if name == "predictions" else ["id", "control"]
        ours, theirs = (table(folder, name).set_index(keys).sort_index() for folder in (out, scored))
        pd.testing.assert_frame_equal(ours, theirs, check_like=True)
    assert evaluate_command.main([*map(str, parts), "--out", str(out), "--bootstrap", "20"]) == 0, "may be repeated"


def test_parts_that_do_not_fit_are_refused(
    scored: Path, corpus: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    score(vlm_settings(corpus, model, part, "shard=1/3", f"paths.work={scored.parent / 'work'}"), part)
    shutil.copytree(part, tmp_path / "again")
    assert evaluate_command.main([str(part), str(tmp_path / "again"), "--out", str(tmp_path / "out")]) == 2
    assert "the parts given are 1/3, 1/3; give each part of one division once" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_of_other_weights_or_unfinished_are_refused(
    scored: Path, corpus: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = f"paths.work={scored.parent / 'work'}"
    parts = [tmp_path / "1", tmp_path / "2"]
    for number, part in enumerate(parts, 1):
        score(vlm_settings(corpus, model, part, work, f"shard={number}/2"), part)
    merge = [*map(str, parts), "--out", str(tmp_path / "out"), "--bootstrap", "20"]
    facts = json.loads((parts[1] / "run.json").read_text())
    for about, said in (
        ({**facts["vlm"], "sha256": "0"}, "different weights"),
        ({}, "does not describe the model"),
        ([], "run.json: 'vlm' is not a mapping"),
    ):
        (parts[1] / "run.json").write_text(json.dumps({**facts, "vlm": about}))
        assert evaluate_command.main(merge) == 2
        assert said in capsys.readouterr().err
    (parts[1] / "run.json").write_text(json.dumps(facts))
    (parts[1] / "predictions.parquet").unlink()
    assert evaluate_command.main(merge) == 2
    assert "holds no predictions.parquet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_written_answers_are_parsed_strictly_and_counted(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subtext.vlm.answers import Answer

    def written(vlm: Any, encoded: Any, options: Any, tokens: int) -> list[Answer]:
        assert tokens == 8
        texts = ("Yes.", "no", "Yes, because they smile", "")
        return [Answer(dict.fromkeys(own, -1.0), texts[n % 4]) for n, own in enumerate(options)]

    monkeypatch.setattr(score_module, "answer", written)
    score(vlm_settings(corpus, model, tmp_path / "run", "answer=generation", "vlm.batch_size=4"), tmp_path / "run")
    predictions, answers = table(tmp_path / "run"), table(tmp_path / "run", "answers")
    assert (answers["raw"].isin(["Yes.", "no"]) == answers["parsed"].notna()).all()
    assert 0.3 < answers["parsed"].isna().mean() < 0.7
    assert predictions["unparsed_incongruent"].sum() == answers["parsed"].isna().sum()
    assert np.isfinite(predictions["logit_incongruent"]).all()
    notes = json.loads((tmp_path / "run" / "metrics.json").read_text())["notes"]
    assert f"incongruent: {answers['parsed'].isna().sum()} written answers could not be read" in notes


@pytest.mark.parametrize(
    ("raw", "options", "read"),
    [
        ("Yes", ("yes", "no"), "yes"),
        (" no.", ("yes", "no"), "no"),
        ("(B)", ("A", "B"), "B"),
        ("b)", ("A", "B"), "B"),
        ("yes and no", ("yes", "no"), None),
        ("yes, I think", ("yes", "no"), None),
        ("nobody", ("yes", "no"), None),
        ("", ("yes", "no"), None),
        ("C", ("A", "B"), None),
        ("A B", ("A", "B"), None),
    ],
)
def test_nothing_is_guessed(raw: str, options: tuple[str, ...], read: str | None) -> None:
    assert parse(raw, options) == read


def test_out_of_memory_halves_the_batch_and_then_stops(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = score_module.answer
    sizes: list[int] = []

    def tight(vlm: Any, encoded: Any, options: Any, tokens: int) -> Any:
        sizes.append(len(options))
        if len(options) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(vlm, encoded, options, tokens)

    monkeypatch.setattr(score_module, "answer", tight)
    score(vlm_settings(corpus, model, tmp_path / "run"), tmp_path / "run")
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[3:]) <= {1, 2, 4}
    assert table(tmp_path / "run")["prob_incongruent"].notna().all()

    def none(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(score_module, "answer", none)
    with pytest.raises(RunError, match=r"out of memory on cpu with one prompt; lower frames.count"):
        score(vlm_settings(corpus, model, tmp_path / "none", "frames.count=3"), tmp_path / "none")


def test_frames_that_do_not_fit_into_the_context_are_refused(corpus: Path, model: Path, tmp_path: Path) -> None:
    short = shutil.copytree(model, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 100
    (short / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"\d+ tokens do not fit into a context of 100; lower frames.count"):
        score(vlm_settings(corpus, short, tmp_path / "run"), tmp_path / "run")


def test_a_dry_run_shows_prompt_and_frames(corpus: Path, model: Path, tmp_path: Path) -> None:
    from PIL import Image

    text, picture = dry_run(vlm_settings(corpus, model, tmp_path / "run", "frames.count=3"), tmp_path / "run")
    assert 'The person says: "I am fine, really."' in text
    assert "Do the person's words and face disagree?" in text
    assert "frames at 0.08, 0.25, 0.42 s of 0.50 s" in text
    assert picture is not None
    with Image.open(picture) as opened:
        assert opened.size == (2 * 160, 2 * 72)
        sheet = np.asarray(opened)
    assert sheet[:72].std() > 10
    assert sheet[72:, 160:].max() == 0, "no fourth frame"
    score(vlm_settings(corpus, model, tmp_path / "run", "frames.count=1"), tmp_path / "run")


def test_folds_are_tested_once_each(corpus: Path, model: Path, tmp_path: Path) -> None:
    score(vlm_settings(corpus, model, tmp_path / "run", "cv=3"), tmp_path / "run")
    predictions = table(tmp_path / "run")
    tested = predictions[predictions["split"] == "test"]
    assert len(tested) == sum(SIZES)
    assert tested["id"].is_unique
    assert set(tested["fold"]) == {0, 1, 2}
    validated = predictions[predictions["split"] == "val"]
    assert len(validated) == sum(SIZES)
    assert (tested.groupby("fold")["prob_incongruent"].nunique() > 1).all()


@pytest.mark.parametrize("view", ["face", "both"])
def test_faces_can_be_sent(view: str, corpus: Path, model: Path, tmp_path: Path) -> None:
    text, picture = dry_run(vlm_settings(corpus, model, tmp_path / "run", f"frames.view={view}"), tmp_path / "run")
    assert picture is not None, text
    from PIL import Image

    with Image.open(picture) as opened:
        width, height = opened.size
    assert (width, height) == ((2 * 224, 224) if view == "face" else (2 * (160 + 72), 72))


def test_cost_of_a_run_stands_beside_the_light_models(scored: Path) -> None:
    cost = json.loads((scored / "run.json").read_text())["vlm"]["cost"]
    answers = table(scored, "answers")
    own = answers[answers["control"] == ""]
    assert cost["prompts_per_clip"] == 30
    assert cost["tokens_per_clip"] == pytest.approx(own["tokens"].sum() / own["id"].nunique())
    assert cost["ms_per_clip"]["cpu"] == pytest.approx(own["ms"].sum() / own["id"].nunique())
    assert cost["flops_per_clip"] > 30 * 2 * cost["parameters"]["frozen"]
    assert cost["peak_memory_mb"] > 100
    system = read_systems([str(scored)])[0]
    assert cost_of(system, measured=True) == cost


@pytest.mark.parametrize(
    "override",
    [
        "answer=guess",
        "floor=1",
        "floor=low",
        "max_new_tokens=0",
        "heads=incongruent",
        "heads=[]",
        "heads=[mood]",
        "controls=black",
        "controls=[black]",
        "shard=3/2",
        "shard=9999/9999",
        "cv=2",
        "frames.view=side",
        "vlm.dtype=float8",
        "vlm.batch_size=many",
        "vlm.path=nowhere",
    ],
)
def test_settings_that_cannot_be_used_are_one_line(override: str, corpus: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(SubtextError) as caught:
        score(vlm_settings(corpus, model, tmp_path / "run", override), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
