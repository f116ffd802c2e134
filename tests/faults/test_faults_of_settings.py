"""Settings that cannot be used: refused in one line that names them, before anything is read or written."""

import copy
import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

import subtext
from builders.commands import command_here
from subtext.core.composition import Composition, conf_folder, resolved
from subtext.errors import ConfigError
from subtext.runs.settings import TrainingSettings

TABLE = ("corpus=manifest", "corpus.path=rows.csv")

SETTINGS = [
    # What a key is set to does not exist, or goes round in a circle.
    (["name=${nope.key}"], "nope.key"),
    (["name=${name}"], "name"),
    (["seed=${oc.env:SUBTEXT_NOT_SET}"], "seed"),
    (["encoder.text.dim=${encoder.visual.dim}", "encoder.visual.dim=${encoder.text.dim}"], "encoder."),
    (["name=${oc.nothing:1}"], "oc.nothing"),
    # Of the wrong kind.
    (["~seed"], "seed is missing"),
    (["~trainer.max_epochs", "~task.batch_size"], "task.batch_size is missing"),
    (["seed=abc"], "seed is 'abc'; write a whole number from 0 to 4294967295"),
    (["seed=1.5"], "seed is 1.5"),
    (["seed=-1"], "seed is -1"),
    (["seed=true"], "seed is true"),
    (["seed=99999999999"], "seed is 99999999999"),
    (["workers=abc"], "workers is 'abc'"),
    (["workers=-1"], "workers is -1"),
    (["controls=7"], "controls is 7"),
    (["controls=[nope]"], "'nope'"),
    (["audit=maybe"], "audit is 'maybe'; write true or false"),
    (["strict=1"], "strict is 1"),
    (["overwrite=null"], "overwrite is null"),
    (["trust=me"], "trust is 'me'"),
    (["cv=2"], "cv is 2"),
    (["cv=many"], "cv is 'many'"),
    (["fold=1"], "fold=1"),
    (["cv=3", "fold=7"], "fold=7"),
    (["paths.features=[a]"], "paths.features"),
    (["+sed=1"], "did you mean 'seed'"),
    # Of the task.
    (["task.batch_size=many"], "task.batch_size is 'many'"),
    (["task.batch_size=null"], "task.batch_size is null"),
    (["task.batch_size=[1]"], "task.batch_size is [1]"),
    (["task.batch_size=1.5"], "task.batch_size is 1.5"),
    (["task.batch_size=0"], "task.batch_size is 0; write a whole number of at least 1"),
    (["task.heads=null"], "task.heads is null"),
    (["task.heads=[]"], "task.heads"),
    (["task.heads=[incongruous]"], "task.heads[0]"),
    (["task.heads=[type,type]"], "task.heads"),
    (["task.head_dropout=1.5"], "task.head_dropout is 1.5"),
    (["task.modality_dropout=1"], "task.modality_dropout is 1"),
    (["task.swap=2"], "task.swap is 2"),
    (["task.rows=films"], "task.rows is 'films'; write clips or streams"),
    (["task.max_steps.text=0"], "task.max_steps.text is 0"),
    (["~task.max_steps.text"], "task.max_steps.text is missing"),
    (["task.head_weights.incongruent=-1"], "task.head_weights.incongruent is -1"),
    (["+task.head_weights.nope=1"], "task.head_weights"),
    (["task.class_weights=fair"], "task.class_weights is 'fair'; write balanced or none"),
    (["task.focal_gamma=-1"], "task.focal_gamma is -1"),
    (["task.label_smoothing=nan"], "task.label_smoothing is nan"),
    (["task.optimizer.lr=nan"], "task.optimizer.lr is nan"),
    (["task.optimizer.lr=inf"], "task.optimizer.lr is inf"),
    (["task.optimizer.lr=-1"], "task.optimizer.lr is -1"),
    (["task.optimizer.lr=fast"], "task.optimizer.lr is 'fast'"),
    (["task.optimizer.weight_decay=-1"], "task.optimizer.weight_decay is -1"),
    (["task.optimizer=null"], "task.optimizer is null"),
    (["~task.optimizer._target_"], "task.optimizer"),
    (["+task.optimizer.learning_rate=1"], "task.optimizer.learning_rate"),
    (["task.optimizer._partial_=7"], "task.optimizer._partial_ is 7"),
    (["task.backbone_lr=quick"], "task.backbone_lr is 'quick'"),
    # Of parts.
    (["~task._target_"], "task is"),
    (["~fusion._target_"], "fusion is"),
    (["~trainer._target_"], "trainer is"),
    (["~corpus._target_"], "corpus is"),
    (["encoder.text.dim=0"], "encoder.text.dim is 0"),
    (["encoder.text.dim=64"], "width of their tokens"),
    (["encoder.text.embed_dim=1e9"], "encoder.text.embed_dim"),
    (["encoder.text.embed_dim=1000000000"], "encoder.text.embed_dim is 1000000000"),
    (["encoder.text.extractor=null"], "encoder.text.extractor is null"),
    (["encoder.text.extractor.output=words"], "encoder.text.extractor.output is 'words'; write sentence or tokens"),
    (["encoder.visual.extractor.rate=0"], "encoder.visual.extractor.rate is 0; write a number above 0"),
    (["encoder.visual.extractor.detector=dlib"], "encoder.visual.extractor.detector is 'dlib'; write yunet or haar"),
    (["encoder.text._target_=subtext.fusion.late.LateFusion"], "encoder.text._target_"),
    (["encoder.text._target_=subtext.encoders.text.TxtEncoder"], "encoder.text"),
    (["encoder.text._target_=7"], "encoder.text._target_ is 7"),
    (["fusion._target_=os.system"], "fusion"),
    (["fusion.layers=1000000"], "fusion.layers is 1000000; write a whole number from 1 to 256"),
    (["fusion.heads=3"], "fusion.heads=3"),
    (["fusion.dropout=-0.1"], "fusion.dropout is -0.1"),
    (
        ["+fusion.layer=2"],
        "fusion.layer is no setting of subtext.fusion.crossmodal.CrossModalFusion; did you mean layers",
    ),
    (["fusion=late", "fusion.combine=vote"], "fusion.combine is 'vote'; write mean, weights or stacking"),
    (["fusion=tensor", "fusion.width=1000"], "fusion.width=1000"),
    (["trainer.max_epochs=-1"], "trainer.max_epochs is -1; write a whole number of at least 1"),
    (["trainer.max_epochs=null"], "trainer.max_epochs is null"),
    (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val is -1"),
    (["trainer.devices=0"], "trainer.devices is 0"),
    (["trainer.devices=7000"], "trainer.devices is 7000"),
    (["trainer.devices=500"], "trainer.devices is 500"),
    (["trainer.precision=64"], "trainer.precision is 64"),
    (["+trainer.max_epoch=3"], "trainer.max_epoch"),
    (["callbacks=early_stopping", "callbacks.early_stopping.patience=-1"], "callbacks.early_stopping.patience is -1"),
    (["callbacks=early_stopping", "callbacks.early_stopping.mode=up"], "callbacks.early_stopping.mode is 'up'"),
    (["callbacks.early_stopping=7"], "callbacks.early_stopping is 7"),
    (["logger.csv=yes"], "logger.csv is 'yes'"),
]


THROUGH = [case for place, case in enumerate(SETTINGS) if place % 4 == 0]
"""Through the command: composing takes most of the time."""


@pytest.mark.parametrize(("given", "named"), THROUGH, ids=[" ".join(given) for given, _ in THROUGH])
def test_a_setting_that_cannot_be_used_is_refused(given: list[str], named: str, tmp_path: Path) -> None:
    command_here("train", *TABLE, *given, folder=tmp_path).refused(named)


@pytest.fixture(scope="module")
def usual() -> DictConfig:
    """The configuration that the others are slips of."""
    return Composition(conf_folder(), TABLE).config({})


OTHERS = [
    case
    for case in SETTINGS
    if case not in THROUGH and len(case[0]) == 1 and case[0][0][0] not in "~+" and "${" not in case[0][0]
]


@pytest.mark.parametrize(("given", "named"), OTHERS, ids=[" ".join(given) for given, _ in OTHERS])
def test_each_setting_that_cannot_be_used_is_refused(given: list[str], named: str, usual: DictConfig) -> None:
    config, (override,) = copy.deepcopy(usual), OverridesParser.create().parse_overrides(given)
    with open_dict(config):
        del config["hydra"], config["name"]
        OmegaConf.update(config, override.key_or_group, override.value(), merge=False)
    with pytest.raises(ConfigError, match=re.escape(named)):
        TrainingSettings.check(resolved(config))


COMPOSED = [case for case in SETTINGS if case not in THROUGH and case not in OTHERS]


@pytest.mark.parametrize(("given", "named"), COMPOSED, ids=[" ".join(given) for given, _ in COMPOSED])
def test_each_composition_that_cannot_be_used_is_refused(given: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        TrainingSettings.check(Composition(conf_folder(), [*TABLE, *given]).settings({}, ()))


LINES = [
    ("corpus.path=/my data (1)/a=b, c.csv", """write "corpus.path='/my data (1)/a=b, c.csv'" """.strip()),
    ("corpus.path=~/x.csv", f"corpus.path='{Path.home()}/x.csv'"),
    ("corpus.path=a{b.csv", "corpus.path='a{b.csv'"),
    ("name=it's", "name"),
    ("name=a:b c]", "name"),
    ("seed=1,2", "with -m a grid"),
    ("sed=1", "did you mean 'seed'"),
    ("fusion=crossmodl", "did you mean 'fusion=crossmodal'"),
    ("fusion=null", "write fusion=CHOICE, one of bottleneck, concat"),
    ("~nothing", "nothing"),
]


@pytest.mark.parametrize(("given", "named"), LINES)
def test_a_command_line_that_cannot_be_read_is_refused(given: str, named: str, tmp_path: Path) -> None:
    command_here("train", "corpus=manifest", given, folder=tmp_path).refused(named)


@pytest.mark.parametrize("name", ["my data (1)/a=b, c.csv", "a${b}.csv", "it's.csv", "a: b.csv"])
def test_what_is_advised_for_a_path_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("id,transcript\na,Fine.\n")
    refusal = command_here("train", "corpus=manifest", f"corpus.path={name}", folder=tmp_path).err
    if r"write \${" in refusal:
        refusal = command_here(
            "train", "corpus=manifest", f"corpus.path={name}".replace("${", r"\${"), folder=tmp_path
        ).err
    elif "write " in refusal and "need quotes" in refusal:
        [given] = shlex.split(refusal.partition("write ")[2])
        refusal = command_here("train", "corpus=manifest", given, folder=tmp_path).err
    assert "no row is in the split" in refusal, refusal
    assert command_here("data", "build", name, "--out", "out.parquet", folder=tmp_path).code == 0


FILES = [
    ("tab", b"seed:\t3\n", "tab.yaml"),
    ("twice", b"seed: 1\nseed: 2\n", "duplicate key seed"),
    ("bytes", b"seed: \xff\xfe\n", "bytes.yaml is no UTF-8 text"),
    ("tag", b"name: !!python/object/apply:os.system [touch hacked]\n", "tag.yaml"),
    ("list", b"- seed=1\n- name=b\n", "list.yaml holds no settings"),
    ("text", b"just text\n", "text.yaml holds no settings"),
    ("open", b"name: [a\n", "open.yaml"),
    ("near", b"# @package _global_\nsed: 4\n", "'sed' is not known; did you mean 'seed'"),
    ("range", b"# @package _global_\ntrainer:\n  max_epochs: 0\n", "trainer.max_epochs is 0"),
]


@pytest.mark.parametrize(("name", "content", "named"), FILES, ids=[name for name, *_ in FILES])
def test_a_file_of_settings_that_cannot_be_used_is_refused(
    name: str, content: bytes, named: str, tmp_path: Path
) -> None:
    place = tmp_path / "own" / "experiment" / f"{name}.yaml"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    done = command_here("train", "--config-dir", "own", *TABLE, f"experiment={name}", folder=tmp_path)
    done.refused(named)


def test_a_folder_of_settings_that_is_not_there_is_said(tmp_path: Path) -> None:
    command_here("train", "--config-dir", "none", "fusion=own", folder=tmp_path).refused("--config-dir none")


SWEEPS = [
    (["trials=0"], "trials is 0"),
    (["trials=many"], "trials is 'many'"),
    (["seeds=0"], "seeds is 0"),
    (["refit_seeds=-1"], "refit_seeds is -1"),
    (["max_failures=-1"], "max_failures is -1"),
    (["study_seed=abc"], "study_seed is 'abc'"),
    (["objective=os.system"], "objective"),
    (["objectives={accuracy:maximize}"], "objectives"),
    (["objectives={selection:up}"], "objectives.selection is 'up'; write maximize or minimize"),
    (["sampler=tpe", "sampler.n_startup_trials=few"], "sampler.n_startup_trials"),
    (["sampler=tpe", "+sampler.start=1"], "sampler.start"),
    (["pruner=percentile", "pruner.percentile=200"], "pruner"),
    (["constants=7"], "constants is 7"),
    (["seed=-1"], "seed is -1"),
    (["task.batch_size=0"], "task.batch_size is 0"),
    (["~space"], "space"),
]


@pytest.mark.parametrize(("given", "named"), SWEEPS, ids=[" ".join(given) for given, _ in SWEEPS])
def test_a_setting_of_a_sweep_that_cannot_be_used_is_refused(given: list[str], named: str, tmp_path: Path) -> None:
    command_here("sweep", *TABLE, *given, folder=tmp_path).refused(named)


SPACES = [
    ("{task.optimizer.lr: {low: 1, high: 0.1}}", "low 1 is above high 0.1"),
    ("{task.optimizer.lr: {low: 0, high: 1, log: true}}", "log scale"),
    ("{task.optimizer.lr: {low: -1.0, high: 1.0}}", "task.optimizer.lr is -1.0"),
    ("{task.batch_size: {choices: [8, many]}}", "task.batch_size is 'many'"),
    ("{task.head_dropout: {low: 0.0, high: 1.5}}", "task.head_dropout is 1.5"),
    ("{fusion: {choices: [late, nope]}}", "nope"),
    ("{a: {keys: [task.swap], choices: [0.0], when: {b: 1}}, b: {keys: [cv], choices: [1], when: {a: 0.0}}}", "circle"),
    ("{task.nope: {choices: [1]}}", "task.nope"),
    ("{task.batch_size: 8}", "task.batch_size"),
    ("[1]", "sweep/own"),
]


@pytest.mark.parametrize(("space", "named"), SPACES)
def test_a_space_that_cannot_be_searched_is_refused(space: str, named: str, tmp_path: Path) -> None:
    place = tmp_path / "own" / "sweep" / "own.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(f"# @package _global_\nspace: {space}\n")
    done = command_here("sweep", "--config-dir", "own", "sweep=own", *TABLE, folder=tmp_path)
    done.refused(named, apart_from=("runs",))


VLMS = [
    (["vlm.batch_size=0"], "vlm.batch_size is 0"),
    (["vlm.dtype=int3"], "vlm.dtype is 'int3'"),
    (["floor=1"], "floor is 1"),
    (["answer=guess"], "answer is 'guess'; write likelihood or generation"),
    (["heads=[]"], "heads"),
    (["controls=[nope]"], "controls"),
    (["frames.count=0"], "frames.count is 0"),
    (["frames.view=back"], "frames.view is 'back'"),
    (["tune.rank=0"], "tune.rank is 0"),
    (["tune.dropout=1.0"], "tune.dropout is 1.0"),
    (["reply.hint=maybe"], "reply.hint is 'maybe'"),
    (["labels=other"], "labels is 'other'"),
    (["seed=-1"], "seed is -1"),
]


@pytest.mark.parametrize(("given", "named"), VLMS, ids=[" ".join(given) for given, _ in VLMS])
def test_a_setting_of_a_language_model_that_cannot_be_used_is_refused(
    given: list[str], named: str, tmp_path: Path
) -> None:
    command_here("vlm", "score", *TABLE, "vlm.path=none", *given, folder=tmp_path).refused(named)


EXTRACTIONS = [
    (["workers=abc"], "workers is 'abc'"),
    (["encoder.visual.extractor.max_frames=0"], "encoder.visual.extractor.max_frames is 0"),
    (["encoder.prosody.extractor.hop=7"], "encoder.prosody.extractor.hop is 7"),
    (["encoder.prosody.extractor.method=ear"], "encoder.prosody.extractor.method is 'ear'"),
    (["+encoder.text.extractor.batch_size=0"], "encoder.text.extractor.batch_size is 0"),
    (["paths.features=null"], "paths.features is null"),
    (["corpus.on_error=pass"], "corpus.on_error is 'pass'; write stop or skip"),
    (["corpus.allow_links=maybe"], "corpus.allow_links is 'maybe'"),
]


@pytest.mark.parametrize(("given", "named"), EXTRACTIONS, ids=[" ".join(given) for given, _ in EXTRACTIONS])
def test_a_setting_of_extraction_that_cannot_be_used_is_refused(given: list[str], named: str, tmp_path: Path) -> None:
    command_here("extract", *TABLE, *given, folder=tmp_path).refused(named)


def test_python_refuses_as_the_commands_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^task\.batch_size is 0; write a whole number of at least 1$"):
        subtext.train(*TABLE, "task.batch_size=0")
    with pytest.raises(ConfigError, match=r"^workers is -1"):
        subtext.extract(*TABLE, "workers=-1")
    assert not list(tmp_path.iterdir())
