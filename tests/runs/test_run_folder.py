"""Small files of a run folder, building from nodes, and what reading a model imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builders.dead_processes import left_by_the_dead
from subtext.core.building import build
from subtext.core.located import locate
from subtext.encoders.text import TextEncoder
from subtext.errors import ConfigError, RunError, TrustError, WeightsError
from subtext.features.index import _DESCRIBED, _FOR_PEOPLE, _TABLE
from subtext.features.text import TextExtractor
from subtext.fusion.base import Fusion
from subtext.model.checkpoints import BEST, LAST, PREVIOUS
from subtext.runs.folder import RunFile, RunFolder, git_commit, package_versions
from subtext.runs.saved import build_classifier


def test_a_fresh_folder_is_begun_and_no_more(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert not run.is_begun
    run.begin({"seed": 3, "name": "größer"}, overwrite=False)
    assert run.is_begun
    assert not run.is_trained
    assert not run.is_finished
    assert run.settings() == {"seed": 3, "name": "größer"}
    run.add_facts({"groups": ["speaker"]})
    facts = run.run()
    assert facts["seed"] == 3
    assert facts["groups"] == ["speaker"]
    assert {"python", "torch", "subtext"} <= facts["versions"].keys()


def test_an_interrupted_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin({"seed": 0}, overwrite=False)
    (tmp_path / "last.ckpt").write_bytes(b"x")
    (tmp_path / "figures").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"an interrupted run.*resume="):
        run.begin({"seed": 1}, overwrite=False)
    run.begin({"seed": 1}, overwrite=True)
    assert run.settings() == {"seed": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "notes.txt", "run.json"]


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.write_json("metrics.json", {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device; free some space"):
        run.write_json("metrics.json", {"a": 2})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"a": 1}


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match="cannot write to the run folder"):
        RunFolder(tmp_path / "run").begin({"seed": 0}, overwrite=False)


def test_a_model_without_its_configuration_is_not_deleted_unasked(tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors", "run.json"):
        (tmp_path / name).write_text("shared")
    with pytest.raises(RunError, match=r"holds model\.json, model\.safetensors of another run.*another name="):
        RunFolder(tmp_path).begin({"seed": 0}, overwrite=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("model.json", "model.safetensors", "run.json"), "shared"
    )
    RunFolder(tmp_path).begin({"seed": 0}, overwrite=True)
    assert not (tmp_path / "model.json").exists()


def test_a_run_that_ended_before_it_counted_as_begun_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    RunFolder(tmp_path).begin({"seed": 0}, overwrite=False)


def test_a_folder_in_which_nothing_can_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:  # the tests may run as root, whom no mode stops
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("subtext.runs.folder.TemporaryFile", full)
    with pytest.raises(RunError, match=r"cannot write to the run folder .*Read-only file system; .*set paths\.runs"):
        RunFolder(tmp_path / "run").make()


def test_overwriting_leaves_nothing_of_the_run_before_and_all_that_is_not_its_own(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin({"seed": 0}, overwrite=False)
    for name in RunFile:
        if not Path(name).suffix and not run.file(name).exists():
            run.file(name).mkdir()
            (run.file(name) / "left").touch()
        else:
            run.file(name).touch()
    left_by_the_dead(run.file("rows.parquet"))
    (run.path / "notes.txt").touch()
    run.begin({"seed": 1}, overwrite=True)
    assert {path.name for path in run.path.iterdir()} == {"config.yaml", "run.json", "notes.txt"}


def test_what_rooms_below_write_into_a_run_has_a_name_there() -> None:
    assert {LAST, PREVIOUS, BEST, _TABLE, _FOR_PEOPLE, _DESCRIBED} <= set(RunFile)


def test_a_run_can_write_only_what_overwriting_would_remove(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=r"diary\.json"):
        run.write_json("diary.json", {})
    assert list(tmp_path.iterdir()) == []
    assert run.file("audit/audit.md") == tmp_path / "audit" / "audit.md"


def test_a_run_owns_what_it_writes_by_whatever_name(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin({"seed": 0}, overwrite=False)
    (tmp_path / "weights").write_bytes(b"")
    run.file("model.safetensors").symlink_to(tmp_path / "weights")
    (tmp_path / "link.yaml").symlink_to(run.file("config.yaml"))
    for path in (run.file("model.json"), run.file("logs") / "a.csv", tmp_path / "weights", tmp_path / "link.yaml"):
        assert run.owns(path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in (run.path / "found.jsonl", tmp_path / "model.json", run.path, tmp_path / "circle", Path("x" * 300)):
        assert not run.owns(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"7", b"seed: [", b"seed: \xff", b"[" * 100_000])
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.yaml.*begin the run again"):
        RunFolder(tmp_path).settings()


def test_a_name_that_no_file_system_takes_is_no_run() -> None:
    with pytest.raises(RunError, match="no run folder"):
        RunFolder("x" * 300).model()


@pytest.mark.parametrize(
    "extractors", [None, ["a"], "text", {"text": "text"}, {"text": ["a"]}, {"text": {"_target_": 1}}]
)
def test_a_description_without_extractors_is_refused(tmp_path: Path, extractors: object) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"format": 1, "extractors": extractors}))
    with pytest.raises((RunError, WeightsError, TrustError), match=r"model"):
        RunFolder(tmp_path).extractors()


def test_a_run_folder_cannot_make_prediction_use_the_network(tmp_path: Path) -> None:
    node = {"_target_": "subtext.features.text.TextExtractor", "model": "nobody/none", "allow_download": True}
    described = {"format": 1, "extractors": {"text": node | {"revision": "a" * 40}}}
    (tmp_path / "model.json").write_text(json.dumps(described))
    text = RunFolder(tmp_path).extractors()["text"]
    assert isinstance(text, TextExtractor)
    assert text.allow_download is False


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"format": 99}', '{"format": ' + "[" * 100_000])
def test_a_description_that_cannot_be_used_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises((RunError, WeightsError), match=r"model\.json"):
        RunFolder(tmp_path).model()


def test_a_description_that_lacks_parts_is_refused() -> None:
    with pytest.raises(WeightsError, match="does not describe a model"):
        build_classifier({"format": 1, "encoders": {}, "fusion": None, "heads": {"names": ["type"]}})
    with pytest.raises(WeightsError, match="does not describe a model"):
        build_classifier({"format": 1})
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    with pytest.raises(TrustError, match="nested too deeply"):
        build_classifier({"encoders": {"text": {"_target_": "subtext.encoders.text.TextEncoder", "dim": nested}}})


def test_nodes_build_what_they_name() -> None:
    encoder = build({"_target_": "subtext.encoders.text.TextEncoder", "embed_dim": 3}, dim=8)
    assert isinstance(encoder, TextEncoder)
    assert (encoder.embed_dim, encoder.dim) == (3, 8)
    waiting = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert waiting(encoder.parameters()).defaults["lr"] == 0.5
    nested = build({"_target_": "builtins.dict", "rows": [{"_target_": "builtins.complex", "real": 1, "imag": 2}]})
    assert nested == {"rows": [1 + 2j]}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "subtext.encoders.text.Textencoder"}, "cannot find _target_"),
        ({"_target_": "nowhere.Thing"}, "cannot find _target_"),
        ({"_target_": "Thing"}, "cannot find _target_"),
        ({}, "cannot find _target_"),
        ({"_target_": "subtext.encoders.text.TextEncoder", "width": 3}, "unexpected keyword argument 'width'"),
        ({"_target_": "subtext.encoders.text.TextEncoder"}, "is no Fusion"),
    ],
)
def test_nodes_that_name_nothing_usable_are_refused(node: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(node, Fusion)


def test_versions_and_commit() -> None:
    assert package_versions()["numpy"] == locate("numpy.__version__")
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


def test_reading_a_model_imports_neither_lightning_nor_hydra() -> None:
    program = (
        "import sys, subtext.runs.folder, subtext.model.predict, subtext.model.classifier, subtext.core.building\n"
        "bad = {'pytorch_lightning', 'torchmetrics', 'hydra', 'lightning'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_text_in_place_of_names_to_trust_is_refused_and_not_taken_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trust is 'mine'.*trust=\('mine',\)"):
        RunFolder(tmp_path, trust="mine")
