"""Parts of one's own, outside of the package: they train, and their runs are opened by the name of their package.

The parts are those of docs/add_your_own.md, word for word.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.commands import Done, command_here
from builders.tiny_runs import write_corpus
from subtext.cli import compare, robustness
from subtext.core import plugins
from subtext.core.targets import check_targets
from subtext.errors import ConfigError, TrustError
from subtext.runs import cost
from subtext.runs.folder import RunFolder
from subtext.runs.train import train

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add_your_own.md"
NARROW = ["encoder/text=minilm", "encoder.text.embed_dim=8", "encoder.prosody.input_dim=6", "~encoder/visual"]
QUICK = ["trainer.max_epochs=1", "controls=false", "audit=false", "workers=0", "logger=none"]


EXTRA = """

from subprocess import run as borrowed
from subtext.fusion.concat import ConcatFusion


def delete_everything(**settings: object) -> None:
    open("deleted", "w").close()


def made(modalities: Sequence[str], dim: int) -> Fusion:
    return MeanFusion(modalities=modalities, dim=dim)
"""
"""What a package has besides, for other ends."""


def write_parts(package: Path, conf: Path) -> None:
    """The page's blocks: Python into one module, configuration into the files that it names."""
    code = re.findall(r"```python\n(# mine\.py\n.*?)```", PAGE.read_text(), flags=re.DOTALL)
    package.parent.mkdir(parents=True, exist_ok=True)
    package.write_text("\n\n".join(code) + EXTRA)
    for name, content in re.findall(r"```yaml\n# conf/(\S+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        if not name.startswith("vlm/"):
            (conf / name).parent.mkdir(parents=True, exist_ok=True)
            (conf / name).write_text(content)


def process(module: str, *arguments: str | Path, cwd: Path, path: Path | str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, where what is tested is how Python itself finds a package."""
    return subprocess.run(
        [sys.executable, "-m", f"subtext.cli.{module}", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")]).strip(":")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def command(module: str, *arguments: str | Path, cwd: Path, path: Path) -> Done:
    """A command here with a folder on Python's path, whose parts are forgotten before and afterwards."""
    sys.modules.pop("mine", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        patch.setenv("PYTHONPATH", str(path), prepend=os.pathsep)
        done = command_here(module, *map(str, arguments), folder=cwd)
    sys.modules.pop("mine", None)
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """A folder with `plugins`, a corpus, and `run`, trained there by the command that the page shows."""
    folder = tmp_path_factory.mktemp("outside")
    write_parts(folder / "plugins" / "mine.py", folder / "plugins" / "conf")
    write_corpus(folder / "data" / "interviews").rename(folder / "data" / "interviews" / "turns.csv")
    parts = ["corpus=mine", "fusion=mine", "encoder/prosody=mine", "paths.data=data", "hydra.run.dir=run"]
    done = command(
        "train", "--config-dir", "plugins/conf", *parts, *NARROW, *QUICK, cwd=folder, path=folder / "plugins"
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def on_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parts can be imported here, as with PYTHONPATH, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(place / "plugins")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.chdir(place)
    return place


def interrupted(place: Path, folder: Path, *gone: str) -> Path:
    """A copy of the run without what is written last."""
    shutil.copytree(place / "run", folder)
    for name in ("metrics.json", *gone):
        (folder / name).unlink()
    return folder


def test_a_run_is_predicted_with_once_its_package_is_named(place: Path) -> None:
    predict = ("predict", "run", "data/interviews/turns.csv")
    refused = command(*predict, cwd=place, path=place / "plugins")
    refused.refused("model.json: 'encoders.prosody._target_' is 'mine.FrameEncoder'", "--trust mine,")
    done = command(*predict, "--trust", "mine", cwd=place, path=place / "plugins")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 160
    assert "probability" not in done.err


def test_an_interrupted_run_goes_on_once_its_package_is_named(place: Path, tmp_path: Path) -> None:
    run = interrupted(place, tmp_path / "run", "predictions.parquet")
    command("train", f"resume={run}", cwd=place, path=place / "plugins").refused("trust=[mine]")
    assert not (run / "predictions.parquet").exists()
    done = command("train", f"resume={run}", "trust=[mine]", cwd=place, path=place / "plugins")
    assert done.code == 0, done.err
    assert RunFolder(run).is_finished


def test_other_readers_of_a_run_take_the_name_too(
    on_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(on_path / "run")
    assert robustness.main([run, "--conditions", "drop"]) == 2
    assert "--trust mine," in capsys.readouterr().err
    assert robustness.main([run, "--conditions", "drop", "--trust", "mine"]) == 0
    assert RunFolder(run, ("mine",)).classifier().modalities == ("text", "prosody")
    assert set(RunFolder(run, ("mine",)).extractors()) == {"text", "prosody"}
    monkeypatch.setenv("PYTHONPATH", str(on_path / "plugins"), prepend=os.pathsep)
    assert cost.measure_cost(run, ("mine",))["ms_per_clip"]
    monkeypatch.setattr(cost, "measure_cost", cost.measure_here)
    monkeypatch.setattr(cost, "SECONDS", 0.1)
    shutil.copytree(run, tmp_path / "again")
    reasons = []
    for name, door in (("refused", []), ("opened", ["--trust", "mine"])):
        out = tmp_path / name
        assert compare.main([run, f"again={tmp_path / 'again'}", "--out", str(out), "--bootstrap", "10", *door]) == 0
        reasons.append(
            {part.get("reason") for part in json.loads((out / "comparison.json").read_text())["cost"].values()}
        )
    assert all("--trust mine," in reason for reason in reasons[0])
    assert reasons[1] == {None}


def test_a_folder_does_not_open_the_door_itself(on_path: Path, tmp_path: Path) -> None:
    run = RunFolder(interrupted(on_path, tmp_path / "run"))
    own = run.settings() | {"trust": ["mine"]}
    (run.path / "config.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(TrustError, match=r"trust=\[mine\]"):
        train(run.settings(), run.path, resume=True)
    assert "mine" not in sys.modules


@pytest.mark.parametrize("trust", [(), ("min",), ("mine_too", "mi"), ("mine.sub",), ("somebody",)])
def test_only_what_lies_in_a_named_package_is_let_in(on_path: Path, trust: tuple[str, ...]) -> None:
    for place in (("fusion",), ("encoder", "text"), ("encoder", "text", "extractor"), ("corpus",), ("logger", "x")):
        node: Any = {"_target_": "mine.MeanFusion"}
        for key in reversed(place):
            node = {key: node}
        with pytest.raises(TrustError, match="nothing of it was run"):
            check_targets(node, "run/config.yaml", trust)
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("slot", "target"),
    [
        ("fusion", "mine.delete_everything"),
        ("fusion", "mine.FrameEncoder"),
        ("fusion", "mine.borrowed"),
        ("fusion", "mine.ConcatFusion"),
        ("fusion", "mine.torch"),
        ("corpus", "mine.MeanFusion"),
        ("corpus.nuisance", "mine.Interviews"),
        ("trainer", "mine.Interviews"),
        ("fusion.inner", "mine.MeanFusion"),
        ("task.scheduler", "mine.delete_everything"),
        ("logger.x", "mine.MeanFusion"),
    ],
)
def test_what_is_trusted_must_be_its_own_and_of_the_right_kind(on_path: Path, slot: str, target: str) -> None:
    node: Any = {"_target_": target, "_partial_": True}
    for key in reversed(slot.split(".")):
        node = {key: node}
    with pytest.raises(TrustError, match=f"is '{target}', and no folder may name that there; nothing of it was run"):
        check_targets(node, "run/config.yaml", ("mine",))
    assert not Path("deleted").exists()


def test_a_class_a_module_or_a_function_that_says_what_it_gives_is_let_in(on_path: Path) -> None:
    check_targets({"fusion": {"_target_": "mine.made"}}, "run/config.yaml", ("mine",))
    check_targets({"fusion": {"_target_": "mine.MeanFusion"}}, "run/config.yaml", ("mine.MeanFusion",))
    check_targets(
        {"task": {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True}}}, "run/c", ("torch.optim",)
    )


def test_loggers_that_may_use_the_network_are_let_in_one_by_one() -> None:
    name = "pytorch_lightning.loggers.MLFlowLogger"
    content = {"logger": {"mlflow": {"_target_": name}}}
    with pytest.raises(TrustError, match=rf"trust=\[{name}\]"):  # not all of Lightning
        check_targets(content, "config.yaml")
    check_targets(content, "run/config.yaml", (name,))
    with pytest.raises(TrustError, match="WandbLogger"):
        check_targets(
            {"logger": {"x": {"_target_": "pytorch_lightning.loggers.WandbLogger"}}}, "run/config.yaml", (name,)
        )
    out = {"logger": {"mlflow": {"_target_": name, "save_dir": "../elsewhere"}}}
    with pytest.raises(TrustError, match="leads out of the run's logs"):
        check_targets(out, "run/config.yaml", (name,))


@pytest.mark.parametrize("name", ["", "my package", "../mine", "mine.", 3])
def test_a_name_that_is_none_is_told(name: Any) -> None:
    with pytest.raises(ConfigError, match="write its name as in Python"):
        check_targets({}, "run/config.yaml", [name])
    with pytest.raises(ConfigError, match=r"write a list of names: \[mine\]"):
        check_targets({}, "run/config.yaml", "mine")


@pytest.mark.parametrize("where", ["run", "here"])
def test_a_trusted_package_is_not_taken_from_a_folder_of_somebody_else(place: Path, tmp_path: Path, where: str) -> None:
    """Neither from the run folder, though PYTHONPATH names it, nor from the current one that nobody named."""
    (tmp_path / "here").mkdir()
    run = interrupted(place, tmp_path / "run")
    (tmp_path / where / "mine.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n")
    path = run if where == "run" else ""
    table = place / "data" / "interviews" / "turns.csv"
    done = process("predict", run, table, "--trust", "mine", cwd=tmp_path / "here", path=path)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert ("in the run folder itself" if where == "run" else "the current folder") in line
    assert not (tmp_path / "canary").exists()


def test_a_fold_that_is_gone_on_with_is_looked_at_too(on_path: Path, tmp_path: Path) -> None:
    """Not only the run above it: each has a configuration of its own."""
    shipped = {"_target_": "subtext.corpora.files.ManifestCorpus", "path": str(on_path / "data/interviews/turns.csv")}
    whole = RunFolder(on_path / "run").settings() | {"corpus": shipped | {"name": "tiny"}, "cv": 3}
    whole["fusion"] = {"_target_": "subtext.fusion.concat.ConcatFusion"}
    whole["encoder"]["prosody"] = None
    hostile = whole | {"corpus": {"_target_": "mine.delete_everything"}, "fold": 0}
    for folder, settings in ((tmp_path / "run", whole), (tmp_path / "run" / "folds" / "0", hostile)):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for trust in ((), ("mine",)):
        with pytest.raises(TrustError, match=r"folds/0/config.yaml: 'corpus._target_' is 'mine.delete_everything'"):
            train(RunFolder(tmp_path / "run").settings(), tmp_path / "run", resume=True, trust=trust)
    assert not Path("deleted").exists()


# -- installed plug-ins ----------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves one: the parts as a package, with their configuration, and an entry point."""
    folder = tmp_path / "site"
    write_parts(folder / "mine" / "__init__.py", folder / "mine" / "conf")
    (folder / "mine-1.0.dist-info").mkdir()
    (folder / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (folder / "mine-1.0.dist-info" / "entry_points.txt").write_text("[subtext.plugins]\nmine = mine\n")
    return folder


def test_an_installed_plug_in_needs_no_option(place: Path, site: Path, tmp_path: Path) -> None:
    done = command("train", "fusion=mine", "corpus=mine", "--cfg", "job", cwd=tmp_path, path=site)
    assert "_target_: mine.MeanFusion" in done.out, done.err
    shown = command("train", "--help", cwd=tmp_path, path=site).out.replace("\n  ", " ")
    assert "mine" in shown.partition("fusion: ")[2].split("\n")[0].split(", ")
    assert "'fusion=mine'" in command("train", "fusion=mime", cwd=tmp_path, path=site).err
    card = command("data", "card", "mine", f"paths.data={place / 'data'}", cwd=tmp_path, path=site)
    assert "Interviews of ours" not in card.err
    assert card.code == 0, card.err
    alone = process("predict", place / "run", place / "data/interviews/turns.csv", cwd=tmp_path, path=site)
    assert alone.returncode == 0, alone.stderr


def test_what_a_plug_in_names_is_read_and_not_imported(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.chdir(tmp_path)
    assert plugins.plugins() == ["mine"]
    assert plugins.plugin_configs() == [site.resolve() / "mine" / "conf"]
    assert "mine" not in sys.modules
    check_targets({"fusion": {"_target_": "mine.MeanFusion"}}, "run/config.yaml")
    with pytest.raises(TrustError):
        check_targets({"fusion": {"_target_": "mine.delete_everything"}}, "run/config.yaml")


def test_a_plug_in_that_merely_lies_in_the_current_folder_is_none(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(site)
    assert plugins.plugins() == []
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    assert plugins.plugins() == ["mine"]


@pytest.mark.slow
def test_contract_tests_collect_what_a_plug_in_names(site: Path) -> None:
    files = ("fusion/test_fusion_contract.py", "encoders/test_encoders.py", "corpora/test_every_corpus.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-k", "mine", *(f"tests/{file}" for file in files)],
        cwd=PAGE.parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).strip(":")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 30
