"""Fine-tuning: adapters in the text model alone, loss on answers alone, arms that differ in labels, exact resume."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from builders.scored_runs import vlm_settings, write_talking_corpus
from builders.tiny_models import BUILDERS, random_frames, tiny_vlm
from subtext.errors import ConfigError, ManifestError, NotFiniteError, RunError, SubtextError, WeightsError
from subtext.model.checkpoints import LAST, Checkpoints, read_checkpoint
from subtext.runs.folder import RunFolder
from subtext.runs.prepare import read_corpus
from subtext.runs.systems import settings_of
from subtext.vlm.adapters import CONFIG, WEIGHTS, adapter_parameters, add_adapter, load_adapter, targets, write_adapter
from subtext.vlm.answers import first_log_probs
from subtext.vlm.inputs import Sample, Vlm
from subtext.vlm.questions import Questions, Wording
from subtext.vlm.score import score
from subtext.vlm.spec import ARMS
from subtext.vlm.tune import Encoder, Example, VlmTask, examples_of, tune

QUESTION = "Do the words and the face agree? Answer yes or no."
WORDING = Wording("incongruent", "1", QUESTION, {"yes": "yes", "no": "no"})
TUNE = (
    "tune.steps=6",
    "tune.every=2",
    "tune.batch_size=3",
    "tune.rank=2",
    "tune.learning_rate=0.01",
    "tune.dropout=0.2",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_corpus(tmp_path_factory.mktemp("corpus"))


def tuned(corpus: Path, model: Path, folder: Path, *more: str) -> Path:
    return tune(vlm_settings(corpus, model, folder, *TUNE, *more), folder).path


def adapter_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / WEIGHTS)


@pytest.fixture(scope="module")
def arms(corpus: Path, tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("arms")
    return {arm: tuned(corpus, tiny_folder("smolvlm"), root / arm, f"labels={arm}") for arm in ARMS}


@pytest.mark.parametrize("family", BUILDERS)
def test_adapters_stand_in_the_text_model_alone_and_learn_answers_alone(
    family: str, tiny_folder: Callable[[str], Path]
) -> None:
    vlm = tiny_vlm(family, tiny_folder(family))
    asked = [(Example("a", WORDING, "yes"), Sample(QUESTION, random_frames()))]
    asked.append((Example("b", WORDING, "no"), Sample("I am fine, really. " + QUESTION, random_frames(seed=1))))
    (batch,) = Encoder(vlm)(asked)
    end = vlm.spec.stop[0] if vlm.spec.stop else vlm.tokenizer.eos_token
    for row, (example, _) in enumerate(asked):
        learned = batch["labels"][row] != -100
        ids = batch["input_ids"][row]
        assert vlm.tokenizer.decode(ids[learned]).replace(" ", "") == example.answer + end
        assert learned[-int(learned.sum()) :].all()
        assert not any((ids[learned] == number).any() for number in vlm._vision_ids)
        assert batch["attention_mask"][row][learned].all()

    before = {name: weight.clone() for name, weight in vlm.model.named_parameters()}
    add_adapter(vlm.model, names := targets(vlm.spec, vlm.model), rank=2, alpha=4.0)
    layers = vlm.model.config.get_text_config().num_hidden_layers
    assert len(names) == 2 * layers
    adapted = {n.rpartition(".lora_A")[0] for n, _ in vlm.model.named_modules() if ".lora_A" in n}
    assert adapted == set(names)
    text = vlm.model.model if family == "idefics" else vlm.model.model.get_decoder()
    within = {id(part) for part in text.layers.modules()}
    parts = dict(vlm.model.named_modules())
    assert all(id(parts[name]) in within for name in names), "independent of names: layers of the text model"
    task = VlmTask(vlm.model, learning_rate=0.05, steps=10, seed=0)
    optimizer = task.configure_optimizers()["optimizer"]
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = task.training_step([batch], 0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    trained = sum(weight.numel() for weight in vlm.model.parameters() if weight.requires_grad)
    assert trained == adapter_parameters(tiny_vlm(family, vlm.folder).model, vlm.spec, 2)
    for name, weight in vlm.model.named_parameters():
        assert weight.requires_grad == (".lora_" in name)
        if not weight.requires_grad:
            assert torch.equal(weight, before[name.replace(".base_layer.", ".")]), name


def test_the_loss_is_that_of_the_answer_token_by_token(tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm("smolvlm", tiny_folder("smolvlm"))
    samples = [Sample(QUESTION, random_frames()), Sample("Is it so?", random_frames(seed=1))]
    (batch,) = Encoder(vlm)([(Example("a", WORDING, "yes"), samples[0]), (Example("b", WORDING, "no"), samples[1])])
    task = VlmTask(vlm.model, learning_rate=0.1, steps=1, seed=0)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    logs = vlm.model(**inputs).logits[:, :-1].float().log_softmax(-1)
    wanted = batch["labels"][:, 1:]
    own = [-logs[row, place, wanted[row, place]] for row, place in (wanted != -100).nonzero().tolist()]
    assert len(own) == 4
    assert float(task.training_step([batch], 0)) == pytest.approx(float(torch.stack(own).mean()), abs=1e-5)


def test_arms_differ_in_labels_alone(arms: dict[str, Path], corpus: Path, tiny_folder: Callable[[str], Path]) -> None:
    taught = {arm: pd.read_csv(folder / "examples.csv") for arm, folder in arms.items()}
    facts = {arm: json.loads((folder / "run.json").read_text())["tuning"] for arm, folder in arms.items()}
    for arm in ARMS:
        assert taught[arm]["id"].equals(taught["incongruence"]["id"])
        assert len(taught[arm]) == 18
        same = ("rows", "questions", "steps", "trainable_parameters", "layers", "base_sha256")
        assert {k: facts[arm][k] for k in same} == {k: facts["incongruence"][k] for k in same}
    assert taught["placebo"]["wording"].equals(taught["incongruence"]["wording"])
    assert set(taught["polarity"]["head"]) <= {"verbal_polarity", "visual_polarity"}
    numbers = [{arm: taught[arm]["wording"].str[0].tolist() for arm in ARMS}[arm] for arm in ARMS]
    assert numbers[0] == numbers[1] == numbers[2]
    states = [adapter_of(folder) for folder in arms.values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.equal(states[one][key], states[other][key]) for key in states[one])


def test_labels_are_those_of_the_rows_and_the_placebo_keeps_their_rate(
    corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = vlm_settings(corpus, tiny_folder("smolvlm"), tmp_path / "run")
    manifest = read_corpus(settings).manifest
    questions = Questions(settings["prompts"], ["incongruent"])
    table = manifest.table.set_index("id")
    made = {arm: examples_of(manifest, questions, arm, 0) for arm in ARMS}
    train = table[
        (table["split"] == "train") & table[["incongruent", "verbal_polarity", "visual_polarity"]].notna().all(axis=1)
    ]
    assert {e.row for e in made["incongruence"]} == set(train.index)
    assert len({len(each) for each in made.values()}) == 1
    for example in made["incongruence"]:
        asks_for_match = "-match-" in example.wording.name
        assert (example.answer == "yes") == (bool(table.loc[example.row, "incongruent"]) != asks_for_match)
    for example in made["polarity"]:
        negative = table.loc[example.row, example.wording.head] < 0
        asks_negative = example.wording.options["yes"] == "negative"
        assert (example.answer == "yes") == (negative == asks_negative)
    first = {
        arm: [e for e in made[arm] if e.wording.name == made[arm][0].wording.name]
        for arm in ("incongruence", "placebo")
    }
    told = {arm: [e.answer for e in each] for arm, each in first.items()}
    assert sorted(told["placebo"]) == sorted(told["incongruence"])
    assert told["placebo"] != told["incongruence"]
    other = [e.answer for e in examples_of(manifest, questions, "placebo", 1)]
    assert other != [e.answer for e in made["placebo"]], "each seed shuffles otherwise"
    with pytest.raises(ConfigError, match=r"^labels is 'other'; write incongruence, polarity or placebo$"):
        examples_of(manifest, questions, "other", 0)
    with pytest.raises(ManifestError, match="no training row has"):
        examples_of(manifest.with_table(manifest.table.assign(visual_polarity=pd.NA)), questions, "polarity", 0)


def test_a_broken_run_ends_as_an_unbroken_one(
    arms: dict[str, Path],
    corpus: Path,
    tiny_folder: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = tiny_folder("smolvlm"), tmp_path / "run"
    keep = Checkpoints.on_train_epoch_end

    def broken(self: Checkpoints, trainer: Any, module: Any) -> None:
        keep(self, trainer, module)
        if trainer.current_epoch == 0:
            raise RuntimeError("the machine is switched off")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_train_epoch_end", broken)
        with pytest.raises(RuntimeError, match="switched off"):
            tuned(corpus, model, folder)
    checkpoint = read_checkpoint(folder / LAST)
    assert checkpoint["global_step"] == 2
    assert checkpoint["state_dict"]
    assert all(".lora_" in key for key in checkpoint["state_dict"]), "the base is not in it"
    torch.manual_seed(12345)  # another state of the generators must not matter
    torch.rand(7)
    tuned(corpus, model, folder)
    whole, resumed = adapter_of(arms["incongruence"]), adapter_of(folder)
    assert whole.keys() == resumed.keys()
    for key in whole:
        assert torch.equal(whole[key], resumed[key]), key
    history = pd.read_csv(folder / "history.csv")
    assert history["step"].tolist() == [2, 4, 6]
    with pytest.raises(RunError, match="holds a finished adapter"):
        tuned(corpus, model, folder)


@pytest.mark.slow
def test_a_killed_process_ends_as_an_unbroken_one(
    arms: dict[str, Path], corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    model, folder = tiny_folder("smolvlm"), tmp_path / "run"
    program = (
        "import os, signal, json, sys\n"
        "from pathlib import Path\n"
        "from subtext.vlm import tune\n"
        "settings = json.loads(sys.stdin.read())\n"
        "step = tune.VlmTask.training_step\n"
        "def dying(self, batch, number):\n"
        "    if self.global_step == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, batch, number)\n"
        "tune.VlmTask.training_step = dying\n"
        "tune.tune(settings, Path(settings['folder']))\n"
    )
    settings = vlm_settings(corpus, model, folder, *TUNE)
    done = subprocess.run([sys.executable, "-c", program], input=json.dumps(settings), text=True, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "adapter").exists()
    tuned(corpus, model, folder)
    whole, resumed = adapter_of(arms["incongruence"]), adapter_of(folder)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_adapter_is_read_by_score_and_by_peft(
    arms: dict[str, Path], corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    base, adapter = tiny_folder("smolvlm"), arms["incongruence"] / "adapter"
    assert json.loads((adapter / CONFIG).read_text())["base_model_name_or_path"] is None
    assert sorted(path.name for path in adapter.iterdir()) == [CONFIG, WEIGHTS]
    sample = [Sample(QUESTION, random_frames())]
    plain, put = tiny_vlm("smolvlm", base), tiny_vlm("smolvlm", base, adapter=str(adapter))
    without, own = (first_log_probs(vlm, vlm.encode(sample)) for vlm in (plain, put))
    assert (own - without).abs().max() > 1e-4
    theirs = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter).eval()
    encoded = put.encode(sample).tensors
    with torch.no_grad():
        assert torch.allclose(theirs(**encoded).logits, put.model(**encoded).logits, atol=1e-6)

    settings = [vlm_settings(corpus, base, tmp_path / name) for name in ("base", "tuned")]
    settings[1]["vlm"]["adapter"] = str(adapter)
    tables = [pd.read_parquet(score(each, Path(each["folder"])).path / "predictions.parquet") for each in settings]
    assert (tables[0]["logit_incongruent"] - tables[1]["logit_incongruent"]).abs().max() > 1e-4
    facts = json.loads((tmp_path / "tuned" / "run.json").read_text())["vlm"]
    assert facts["adapter"] == "incongruence"
    assert facts["prompts_asked"] > 0, "the base's answers are not taken for the adapter's"


def spoilt(adapter: Path, folder: Path, weights: Callable[[dict[str, torch.Tensor]], Any] | None, **about: Any) -> Path:
    folder.mkdir()
    state = load_file(adapter / WEIGHTS)
    if weights is not None:
        weights(state)
    save_file(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(json.loads((adapter / CONFIG).read_text()) | about))
    return folder


def test_hostile_adapters_are_refused(
    arms: dict[str, Path], tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, base = arms["incongruence"] / "adapter", tiny_folder("smolvlm")
    vlm = tiny_vlm("smolvlm", base)
    key = next(iter(load_file(adapter / WEIGHTS)))
    layer = key.removeprefix("base_model.model.").partition(".lora_")[0]
    vision = next(n for n, p in vlm.model.named_modules() if "vision" in n and n.endswith("q_proj"))

    def on_vision(state: dict[str, torch.Tensor]) -> None:
        for one in list(state):
            if layer in one:
                state[one.replace(layer, vision)] = state.pop(one)

    cases = {
        "dora": (None, {"use_dora": True}, "use_dora"),
        "modules": (None, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        "kind": (None, {"peft_type": "PREFIX_TUNING"}, "peft_type"),
        "alpha": (None, {"lora_alpha": "__import__('os')"}, "lora_alpha"),
        "infinite": (None, {"lora_alpha": 1e400}, "lora_alpha"),
        "vision": (on_vision, {}, "not in the text model"),
        "half": (lambda s: s.pop(key), {}, "another|one rank"),
        "extra": (lambda s: s.update({"lm_head.weight": torch.ones(2, 2)}), {}, "no part of a plain LoRA"),
        "nan": (lambda s: s[key].fill_(float("nan")), {}, "not a number"),
        "other": (lambda s: s.update({key.replace("layers.0", "layers.9"): s.pop(key)}), {}, "one rank|no layer"),
        "size": (
            lambda s: s.update({k: v[:, :5].contiguous() for k, v in s.items() if "lora_A" in k}),
            {},
            "another size",
        ),
    }
    for name, (weights, about, message) in cases.items():
        folder = spoilt(adapter, tmp_path / name, weights, **about)
        with pytest.raises(WeightsError, match=message):
            load_adapter(vlm.spec, vlm.model, folder)
        assert not any(".lora_" in parameter for parameter, _ in vlm.model.named_parameters()), name
    pickled = spoilt(adapter, tmp_path / "pickled", None)
    (pickled / WEIGHTS).rename(pickled / "adapter_model.bin")
    with pytest.raises(WeightsError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(vlm.spec, vlm.model, pickled)
    (pickled / WEIGHTS).write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="safetensors"):
        load_adapter(vlm.spec, vlm.model, pickled)
    # What it says of its base and of its layers is not followed.
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("fetched"))
    named = spoilt(
        adapter, tmp_path / "named", None, base_model_name_or_path="somebody/model", target_modules="(a+)+$", r=10**9
    )
    load_adapter(vlm.spec, vlm.model, named)
    with pytest.raises(WeightsError, match="whose base is never fetched"):
        Vlm(replace(vlm.spec, path=str(adapter)))


def test_an_adapter_outside_the_text_model_is_refused(tiny_folder: Callable[[str], Path]) -> None:
    vlm = tiny_vlm("smolvlm", tiny_folder("smolvlm"), text_modules=".*")
    with pytest.raises(ConfigError, match="outside the text model"):
        targets(vlm.spec, vlm.model)
    with pytest.raises(ConfigError, match="no layer"):
        targets(replace(vlm.spec, text_modules="nothing"), vlm.model)
    with pytest.raises(ConfigError, match="no regular expression"):
        targets(replace(vlm.spec, text_modules="("), vlm.model)


def test_adapters_are_trained_in_float32_on_a_base_in_bfloat16(
    tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    vlm = tiny_vlm("qwen2_5_vl", tiny_folder("qwen2_5_vl"), dtype="bfloat16")
    (batch,) = Encoder(vlm)([(Example("a", WORDING, "yes"), Sample(QUESTION, random_frames()))])
    add_adapter(vlm.model, targets(vlm.spec, vlm.model), rank=2, alpha=4.0)
    kinds = {weight.dtype for weight in vlm.model.parameters() if weight.requires_grad}
    assert kinds == {torch.float32}
    task = VlmTask(vlm.model, learning_rate=0.1, steps=1, seed=0)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    loss = task.training_step([batch], 0)
    loss.backward()
    assert loss.dtype == torch.float32
    write_adapter(vlm.model, tmp_path, rank=2, alpha=4.0, base="x")
    assert {weight.dtype for weight in load_file(tmp_path / WEIGHTS).values()} == {torch.float32}


def test_seeds_of_one_arm_are_one_system_and_arms_are_several(corpus: Path, tmp_path: Path) -> None:
    settings = {}
    for arm in ("incongruence", "placebo"):
        for seed in (0, 1):
            run = RunFolder(tmp_path / f"{arm}-{seed}")
            adapter = f"runs/smolvlm-tuned/{arm}/seed-{seed}/adapter"
            run.begin(
                vlm_settings(corpus, tmp_path, run.path, f"seed={seed}", f"vlm.adapter={adapter}"), overwrite=False
            )
            settings[arm, seed] = settings_of(run)
    assert settings["placebo", 0] == settings["placebo", 1]
    assert settings["incongruence", 0] != settings["placebo", 0]


@pytest.mark.parametrize(
    "setting",
    [
        "tune.rank=0",
        "tune.steps=many",
        "tune.steps=5",
        "tune.every=0",
        "tune.batch_size=1.5",
        "tune.learning_rate=-1",
        "tune.dropout=1",
        "labels=truth",
        "labels=null",
        "cv=3",
        "vlm.adapter=somewhere",
    ],
)
def test_settings_that_cannot_be_used_are_one_line(
    setting: str, corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(SubtextError) as caught:
        tuned(corpus, tiny_folder("smolvlm"), tmp_path / "run", setting)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_run_that_ends_badly_says_so_in_one_line(
    corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_folder("smolvlm")
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "cross_entropy", lambda *a, **k: a[0].sum() * float("nan"))
        with pytest.raises(NotFiniteError, match=r"lower tune\.learning_rate"):
            tuned(corpus, model, tmp_path / "nan")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    with monkeypatch.context() as patched:
        patched.setattr(VlmTask, "training_step", full)
        with pytest.raises(RunError, match=r"out of memory with 3 prompts a step; lower tune\.batch_size") as caught:
            tuned(corpus, model, tmp_path / "full")
    assert "\n" not in str(caught.value)
    (tmp_path / "full" / LAST).write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(WeightsError, match="it was not loaded"):
        tuned(corpus, model, tmp_path / "full")


def test_an_adapter_of_another_base_is_refused(
    arms: dict[str, Path], corpus: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_folder("smolvlm"), tmp_path / "other")
    state = load_file(other / "model.safetensors")
    save_file({key: weight + 0.01 for key, weight in state.items()}, other / "model.safetensors", {"format": "pt"})
    adapter = arms["placebo"] / "adapter"
    with pytest.raises(WeightsError, match="trained on another base"):
        score(vlm_settings(corpus, other, tmp_path / "run", f"vlm.adapter={adapter}"), tmp_path / "run")
