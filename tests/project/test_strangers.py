"""Somebody else's folder runs no code and reaches no network, whichever command reads it.

Hostile run folders, model folders, tables and studies; each would make a canary file, by a call or by an import alone.
"""

import json
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from builders.commands import command_here
from builders.sweep_commands import Commands
from builders.tiny_runs import settings, write_corpus
from subtext.cli import compare, evaluate, predict, robustness
from subtext.core.targets import SLOTS, check_targets
from subtext.corpora.files import ManifestCorpus
from subtext.errors import CacheError, SessionError, TrustError, WeightsError
from subtext.features.text import TextExtractor
from subtext.manifest import build_manifest, read_written_manifest, write_manifest
from subtext.prediction.focus import focus_of_run
from subtext.runs import cost
from subtext.runs.cost import measure_cost
from subtext.runs.folder import RunFolder
from subtext.runs.train import train
from subtext.sessions.settings import read_settings, the_file
from subtext.sweeps.cma_state import check_state

pytestmark = pytest.mark.usefixtures("undrawn")

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("kept_runs") / "begun"
"""A run that this package began before the wall stood (commit cdf21e0), and was killed in."""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that must never appear; the module `canary_module` makes it when it is imported."""
    place = tmp_path / "canary"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "canary_module.py").write_text(
        f"open({str(place)!r}, 'w').close()\n\n\nclass Thing:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=":")
    calls: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        calls.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield place
    assert not place.exists(), "code of the folder ran"
    assert not calls, f"it connected to {calls}"
    sys.modules.pop("canary_module", None)


def payloads(canary: Path) -> list[dict[str, Any]]:
    return [
        {"_target_": "os.system", "command": f"touch {canary}"},
        {"_target_": "canary_module.Thing"},
        {"_target_": "subtext.cli.data.__main__.main"},
        {"_target_": "subtext.runs.train.train", "settings": {}, "folder": str(canary)},
        {"_target_": "torch.hub.load", "repo_or_dir": "somebody/something", "model": "x"},
        {"_target_": "subtext.corpora.canary.Thing"},
        {"_target_": ["subtext.fusion.concat.ConcatFusion"]},
    ]


def placed(content: dict[str, Any], place: tuple[str, ...], node: Any) -> dict[str, Any]:
    """A copy with a node at a place, whatever stands in the way replaced."""
    out: dict[str, Any] = json.loads(json.dumps(content))
    inside = out
    for key in place[:-1]:
        if not isinstance(inside.get(key), dict):
            inside[key] = {}
        inside = inside[key]
    inside[place[-1]] = node
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A finished run on a tiny corpus."""
    folder = tmp_path_factory.mktemp("strangers")
    wanted = settings(folder, write_corpus(folder / "corpus"))
    wanted["trainer"]["max_epochs"] = 1
    return train(wanted, folder / "run").path


PLACES = [*(slot for slot in SLOTS if slot[0] not in ("encoders", "extractors")), ("trainer", "profiler"), ("a", "b")]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_run_folder_runs_nothing_when_it_is_gone_on_with(
    run: Path, place: tuple[str, ...], canary: Path, tmp_path: Path
) -> None:
    base = RunFolder(run).settings()
    for number, node in enumerate(payloads(canary)):
        folder = tmp_path / f"run-{number}"
        shutil.copytree(run, folder)
        (folder / "metrics.json").unlink()
        where = tuple("x" if part == "*" else part for part in place)
        (folder / "config.yaml").write_text(yaml.safe_dump(placed(base, where, node)))
        for trust in ((), ("mine", "canary")):  # other packages than it names
            with pytest.raises(TrustError, match="nothing of it was run"):
                train(RunFolder(folder).settings(), folder, resume=True, trust=trust)


def test_every_command_that_reads_a_run_folder_leaves_its_code_alone(
    run: Path, canary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # In a process of its own, as compare does it, the cost of these six would be most of the time.
    monkeypatch.setattr(cost, "measure_cost", cost.measure_here)
    Path("x.wav").write_bytes(b"RIFF")
    base, described = RunFolder(run).settings(), RunFolder(run).model()
    for number, node in enumerate(payloads(canary)[:3]):
        folder = tmp_path / f"run-{number}"
        shutil.copytree(run, folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(base | {"corpus": node, "callbacks": {"x": node}}))
        for place in (("fusion",), ("encoders", "text"), ("encoders", "text", "embed_dim"), ("extractors", "text")):
            (folder / "model.json").write_text(json.dumps(placed(described, place, node)))
            with pytest.raises(TrustError, match="nothing of it was run"):
                RunFolder(folder).extractors()
            with pytest.raises(TrustError, match="nothing of it was run"):
                RunFolder(folder).classifier()
        for trust in ([], ["--trust", "mine"]):
            assert predict.main([str(folder), "x.wav", "--transcript", "no", *trust]) == 2
            assert robustness.main([str(folder), "--conditions", "drop", *trust]) == 2
        shown = capsys.readouterr().err
        assert "model.json: 'extractors.text._target_'" in shown
        assert "config.yaml: 'callbacks.x._target_'" in shown
        assert "Traceback" not in shown
        # These read tables only, and do not mind what the configuration names.
        assert evaluate.main([str(folder)]) == 0
        assert compare.main([str(folder), str(run), "--out", str(tmp_path / f"compared-{number}")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["resume=RUN"], ["resume=RUN", "debug=true"]])
def test_the_installed_command_refuses_a_hostile_run(
    run: Path, canary: Path, tmp_path: Path, arguments: list[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    base = RunFolder(run).settings()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(base | {"corpus": payloads(canary)[0]}))
    done = subprocess.run(
        [sys.executable, "-m", "subtext.cli.train", *(a.replace("RUN", str(tmp_path / "run")) for a in arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "'corpus._target_' is 'os.system'" in done.stderr


@pytest.mark.parametrize(
    "logger", ["WandbLogger", "MLFlowLogger", "CometLogger", "NeptuneLogger", "LitLogger", "logger.DummyLogger"]
)
def test_a_folder_does_not_choose_a_logger_that_may_use_the_network(logger: str, canary: Path) -> None:
    node = {"logger": {"x": {"_target_": f"pytorch_lightning.loggers.{logger}", "offline": False}}}
    with pytest.raises(TrustError, match=logger):
        check_targets(node, "config.yaml")


def test_a_run_that_is_gone_on_with_fetches_nothing(run: Path, canary: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("metrics.json", "model.json", "*.ckpt"))
    base = RunFolder(run).settings()
    extractor = base["encoder"]["text"]["extractor"] | {
        "model": "nobody/none",
        "revision": "a" * 40,
        "allow_download": True,
    }
    base["encoder"]["text"]["extractor"] = extractor
    table = pd.read_csv(base["corpus"]["path"]).assign(transcript="hello").drop(columns="features")
    table.to_csv(tmp_path / "said.csv", index=False)
    base["corpus"]["path"] = str(tmp_path / "said.csv")
    with pytest.raises(WeightsError, match="nobody/none cannot be fetched"):
        train(base, tmp_path / "run", resume=True)


def test_slots_list_what_the_configuration_names_and_no_more() -> None:
    named: dict[str, set[str]] = {}

    def walk(node: Any, slot: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                named.setdefault(".".join(slot), set()).add(node["_target_"])
            for key, inner in node.items():
                walk(inner, (*slot, str(key)))

    conf = REPOSITORY / "conf"
    for group in ("corpus", "encoder", "fusion", "task", "trainer", "callbacks", "logger"):
        for path in (conf / group).rglob("*.yaml"):
            slot = (group, "*") if group == "encoder" else (group,)
            walk(yaml.safe_load(path.read_text()), slot)
    network = {f"pytorch_lightning.loggers.{name}" for name in ("WandbLogger", "MLFlowLogger")}
    wild = {".".join(slot): names for slot, names in SLOTS.items() if slot[0] not in ("encoders", "extractors")}
    found: dict[str, set[str]] = {}
    for place, names in named.items():
        slot = next(
            s
            for s in wild
            if len(s.split(".")) == len(place.split("."))
            and all(a in ("*", b) for a, b in zip(s.split("."), place.split("."), strict=True))
        )
        found.setdefault(slot, set()).update(names - network)
    assert found == {slot: set(names) for slot, names in wild.items()}
    for place in (("encoders", "*"), ("encoders", "*", "augment")):
        assert SLOTS[place] == SLOTS["encoder", *place[1:]]
    assert SLOTS["extractors", "*"] == SLOTS["encoder", "*", "extractor"]


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, canary: Path) -> None:
    write_corpus(tmp_path / "corpus")
    shutil.copytree(KEPT, tmp_path / "run")
    done = command_here("train", "resume=run", folder=tmp_path)
    assert done.code == 0, done.err
    assert RunFolder(tmp_path / "run").is_finished


@pytest.mark.parametrize("number", range(2))
def test_a_configuration_nested_without_end_is_refused(number: int) -> None:
    content: dict[str, Any] = {}
    content["again"] = content if number else [content]
    with pytest.raises(TrustError, match="nested too deeply"):
        check_targets(content, "config.yaml")


@pytest.mark.parametrize("setting", ["name", "version", "sub_dir"])
@pytest.mark.parametrize("value", ["../../elsewhere", "{}/elsewhere"])
def test_a_logger_writes_nowhere_but_in_the_run(setting: str, value: str, tmp_path: Path) -> None:
    node = {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", setting: value.format(tmp_path)}
    with pytest.raises(TrustError, match="leads out of the run's logs"):
        check_targets({"logger": {"x": node}}, "config.yaml")
    check_targets({"logger": {"x": node | {setting: "mine/v1.2"}}}, "config.yaml")


@pytest.mark.parametrize(
    "link", ["metrics.json.part", "figures/roc_pr_incongruent.png", "figures", "subtext-train.log"]
)
def test_nothing_is_written_through_a_link_of_a_folder(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str
) -> None:
    folder, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(run, folder)
    mine.mkdir()
    for name in ("file", "roc_pr_incongruent.png"):
        (mine / name).write_text("mine")
    place = folder / link
    if link == "figures":
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(mine if link == "figures" else mine / "file")
    before = sorted(mine.iterdir())
    assert evaluate.main([str(folder)]) == 2
    assert robustness.main([str(folder), "--conditions", "drop"]) == 2
    with pytest.raises(TrustError, match="leads out of"):
        train(RunFolder(folder).settings(), folder, resume=True)
    # Before Hydra opens the log.
    done = command_here("train", "corpus=manifest", "corpus.path=rows.csv", f"hydra.run.dir={folder}", folder=tmp_path)
    done.refused("leads out of")
    assert sorted(mine.iterdir()) == before
    assert {path.read_text() for path in before} == {"mine"}
    assert capsys.readouterr().err.count("leads out of") == 2


def test_links_inside_and_links_to_files_that_are_replaced_do_no_harm(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for name in ("predictions.parquet", "report.md", "metrics.json"):
        (folder / name).replace(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    (folder / "again").symlink_to("figures")
    (tmp_path / "report.md").write_text("mine")
    assert evaluate.main([str(folder)]) == 0
    assert (tmp_path / "report.md").read_text() == "mine"


def test_what_a_run_says_of_itself_is_no_markup(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "run")
    RunFolder(tmp_path / "run").add_facts({"question": "is [/red] it"})
    assert evaluate.main([str(tmp_path / "run")]) == 0
    assert "[/red]" in capsys.readouterr().out


def test_a_key_of_a_table_is_no_path(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    table = pd.read_parquet(tmp_path / "run" / "extraction.parquet")
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"12345678mine")
    table.loc[table["key"].notna(), "key"] = str(mine.with_suffix(""))
    table.to_parquet(tmp_path / "run" / "extraction.parquet")
    with pytest.raises(CacheError, match="no stream has the key"):
        focus_of_run(tmp_path / "run")
    assert mine.exists()


def test_measuring_cost_imports_nothing_of_the_folder_it_is_called_in(
    run: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "torch.py").write_text((tmp_path / "modules" / "canary_module.py").read_text())
    monkeypatch.chdir(tmp_path / "run")
    assert measure_cost(".")["parameters"]


WORKER = """
from subtext.features.cache import MemoryCache
from subtext.features.workers import _Worker

if __name__ == "__main__":
    worker = _Worker({}, MemoryCache())
    assert worker.pipe.recv() == "ready"
    worker.end()
"""


def test_a_worker_imports_nothing_of_the_folder_it_is_started_in(canary: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WORKER)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pickle.py").write_text((tmp_path / "modules" / "canary_module.py").read_text())
    subprocess.run([sys.executable, str(tmp_path / "script.py")], cwd=tmp_path / "here", timeout=120, check=True)


# -- text models ---------------------------------------------------------------------------------------------------


@pytest.fixture
def text_model(tmp_path: Path) -> Path:
    """The files of a text model, which is none: nothing of it may be loaded."""
    folder = tmp_path / "text"
    folder.mkdir()
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def modules(*named: tuple[str, str]) -> str:
    return json.dumps([{"idx": i, "name": str(i), "path": p, "type": t} for i, (t, p) in enumerate(named)])


TRANSFORMER = ("sentence_transformers.models.Transformer", "")


@pytest.mark.parametrize(
    "named",
    [
        [TRANSFORMER, ("canary_module.Thing", "1")],
        [("sentence_transformers.base.modules.router.Router", "")],
        [("sentence_transformers.util.import_from_string", "")],
        [TRANSFORMER, ("sentence_transformers.models.Pooling", "../elsewhere")],
        [TRANSFORMER, ("sentence_transformers.models.Dense", "2_Dense")],
    ],
)
def test_a_text_model_is_made_of_known_modules_only(
    text_model: Path, canary: Path, named: list[tuple[str, str]]
) -> None:
    (text_model / "2_Dense").mkdir()
    (text_model / "2_Dense" / "config.json").write_text('{"activation_function": "torch.hub.load"}')
    (text_model / "modules.json").write_text(modules(*named))
    extractor = TextExtractor(model=str(text_model))
    for read in (lambda: extractor.folder, extractor.fingerprint, lambda: list(extractor.extract([]))):
        with pytest.raises(TrustError, match="nothing of it was run"):
            read()


def test_a_text_model_does_not_name_another_one_to_load(text_model: Path, canary: Path) -> None:
    (text_model / "modules.json").write_text(modules(TRANSFORMER))
    (text_model / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    with pytest.raises(TrustError, match="is not followed"):
        TextExtractor(model=str(text_model)).fingerprint()


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("sentence_bert_config.json", {"model_kwargs": {"device_map": {"": "disk"}, "offload_folder": "elsewhere"}}),
        ("sentence_roberta_config.json", {"model_args": {"gguf_file": "../x.gguf"}}),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "somebody/tokenizer"}),
        ("config.json", {"attn_implementation": "somebody/kernel"}),
        ("config.json", {"text_config": {"_attn_implementation": "somebody/kernel"}}),
    ],
)
def test_a_text_model_sets_nothing_that_loads_more_or_writes(
    text_model: Path, canary: Path, file: str, entries: dict[str, Any]
) -> None:
    (text_model / "modules.json").write_text(modules(TRANSFORMER))
    (text_model / "sentence_bert_config.json").write_text('{"max_seq_length": 256, "model_kwargs": {}}')
    (text_model / "config.json").write_text('{"_name_or_path": "somebody/model", "attn_implementation": "sdpa"}')
    assert TextExtractor(model=str(text_model)).folder == text_model
    (text_model / file).write_text(json.dumps(entries))
    with pytest.raises(TrustError, match="is not followed"):
        TextExtractor(model=str(text_model)).fingerprint()


# -- tables --------------------------------------------------------------------------------------------------------


def table_elsewhere(folder: Path) -> Path:
    """A table whose description says that its files are in another folder."""
    (folder / "secret").mkdir()
    (folder / "secret" / "a.wav").write_bytes(b"RIFF")
    (folder / "table").mkdir()
    manifest = build_manifest(
        pd.DataFrame({"id": ["a"], "audio": ["a.wav"], "transcript": ["hello"]}), root=folder / "secret", name="t"
    )
    return write_manifest(manifest, folder / "table" / "m.parquet")


def test_a_table_does_not_say_that_its_files_are_elsewhere(
    untrained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table_elsewhere(tmp_path)
    readers: list[Callable[[], object]] = [
        lambda: read_written_manifest(path),
        lambda: ManifestCorpus(path=path).build(),
    ]
    for read in readers:
        with pytest.raises(TrustError, match=r"corpus\.root="):
            read()
    assert predict.main([str(untrained_run), str(path)]) == 2
    assert "--root" in capsys.readouterr().err
    # The user may say so.
    assert ManifestCorpus(path=path, root=tmp_path / "secret").build().path("a.wav").is_file()
    assert read_written_manifest(path, tmp_path / "secret").path("a.wav").is_file()


def test_a_table_without_files_needs_no_root(tmp_path: Path) -> None:
    manifest = build_manifest(pd.DataFrame({"id": ["a"], "transcript": ["hello"]}), root=tmp_path, name="t")
    path = write_manifest(manifest, tmp_path / "table" / "m.parquet")
    assert ManifestCorpus(path=path).build().root == path.parent


@pytest.mark.parametrize("kind", ["turns", "words"])
@pytest.mark.parametrize("named", ["../mine.csv", "{}/mine.csv"])
def test_a_session_names_no_file_outside_of_its_folder(kind: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("start,end,speaker,transcript\n0,1,client,mine\n")
    (tmp_path / "S01").mkdir()
    (tmp_path / "S01" / "session.yaml").write_text(f"{kind}: {named.format(tmp_path)}\n")
    with pytest.raises(SessionError, match=f"{kind}: .* is not in"):
        the_file(tmp_path / "S01", read_settings(tmp_path / "S01"), kind, [".csv"])


# -- studies -------------------------------------------------------------------------------------------------------


class Trap:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self.place,)  # type: ignore[return-value]


def test_a_study_does_not_bring_a_pickle(tmp_path: Path, canary: Path) -> None:
    attributes = {"cma:optimizer:0": pickle.dumps(Trap(canary)).hex(), "cma:generation": 1}
    with pytest.raises(TrustError, match="was not loaded"):
        check_state(attributes, "study.journal")


def test_a_study_does_not_bring_values_from_outside_the_space(tmp_path: Path, canary: Path) -> None:
    commands = Commands(tmp_path)
    commands.here("trials=1", "workers=0")
    journal = tmp_path / "runs" / "sweeps" / "mine-none" / "study.journal"
    node = {"_target_": "canary_module.Thing"}
    text = journal.read_text()
    honest = r"\"choices\": [16, 32]"
    assert honest in text
    journal.write_text(text.replace(honest, rf"\"choices\": [{json.dumps(json.dumps([node] * 2))[2:-2]}]"))
    assert "not of the space" in commands.here("trials=1", code=2)
    assert "canary_module" not in "".join(p.read_text() for p in tmp_path.rglob("winner.yaml"))


@pytest.mark.parametrize("kind", [{}, {"with_margin": True}, {"use_separable_cma": True}, {"lr_adapt": True}])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_state_of_the_sampler_itself_is_none(kind: dict[str, bool]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(n_startup_trials=1, seed=0, **kind))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=20)
    states = [trial.system_attrs for trial in study.trials if any("optimizer" in key for key in trial.system_attrs)]
    assert states
    for attributes in states:
        check_state(attributes, "study.journal")


# -- the package itself --------------------------------------------------------------------------------------------


def test_no_module_does_anything_on_import_or_hides_a_standard_one() -> None:
    sources = list((REPOSITORY / "src").rglob("*.py"))
    mains = [path for path in sources if path.name == "__main__.py"]
    assert mains
    for path in mains:
        name = ".".join(path.relative_to(REPOSITORY / "src").with_suffix("").parts)
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    hidden = {path.stem for path in sources} & set(sys.stdlib_module_names) - {"__init__", "__main__"}
    assert not hidden, f"named like modules of the standard library: {hidden}"
