"""Trials are configured as Hydra composes their overrides, and slips are refused before any trial."""

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from subtext.core.composition import Composition, conf_folder, override, quoted, ready_hydra
from subtext.core.located import locate
from subtext.errors import ConfigError
from subtext.sweeps.composition import settings_hash
from subtext.sweeps.samplers import build_pruner, build_sampler
from subtext.sweeps.sweep import make_plan

CONF = conf_folder()
COMMON = ["corpus=manifest", "corpus.path=mine.csv"]


def hydra_composes(overrides: list[str]) -> dict[str, Any]:
    """What subtext-train would run with."""
    ready_hydra()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    settings = OmegaConf.to_container(config, resolve=True)
    HydraConfig.instance().cfg = None
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize(
    "values",
    [
        {"fusion": "late", "fusion.combine": "stacking", "task.optimizer.lr": 3e-4, "task.batch_size": 32},
        {"encoder/visual": "resnet10t", "encoder.visual.size": 48, "fusion": "lowrank", "fusion.rank": 3},
        {"corpus": "studio", "corpus.size": "tiny", "trainer.max_epochs": 3, "seed": 7},
        {"task.optimizer.weight_decay": 0.0, "encoder.text.extractor.context": True, "encoders": "runs/a b"},
    ],
)
def test_settings_are_those_that_hydra_composes(values: dict[str, Any]) -> None:
    groups = {"fusion", "encoder/visual", "corpus"} & set(values)
    common = COMMON if "corpus" not in values else []
    ours = Composition(CONF, common).settings(values, groups)
    assert ours == hydra_composes([*common, *(override(key, value) for key, value in values.items())])


def test_values_of_one_trial_do_not_reach_the_next() -> None:
    composition = Composition(CONF, COMMON)
    before = composition.settings({"fusion": "late"}, {"fusion"})
    composition.settings({"fusion": "late", "fusion.combine": "mean", "task.batch_size": 3}, {"fusion"})
    assert composition.settings({"fusion": "late"}, {"fusion"}) == before


def test_names_that_follow_the_choice_follow_each_trials(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: a-${hydra:runtime.choices.fusion}\n")
    composition = Composition(CONF, [*COMMON, "experiment=mine"], [str(tmp_path)])
    names = [composition.settings({"fusion": f}, {"fusion"})["name"] for f in ("late", "concat", "late")]
    assert names == ["a-late", "a-concat", "a-late"]


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)


@given(
    st.one_of(texts, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(texts, max_size=3))
)
@example(r"C:\data\0")
@example("it\\'s \\")
def test_a_quoted_value_is_read_back_as_it_was(value: Any) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"key={quoted(value)}"])
    read = parsed.value()
    back = [getattr(part, "text", part) for part in read] if isinstance(read, list) else getattr(read, "text", read)
    assert back == value
    assert type(back) is type(value)


def test_the_hash_looks_past_where_a_run_is_done() -> None:
    one = {"task": {"swap": 0.5}, "paths": {"data": "a"}, "name": "x"}
    assert settings_hash(one) == settings_hash(one | {"paths": {"data": "b"}, "name": "y"})
    assert settings_hash(one) != settings_hash(one | {"task": {"swap": 0.0}})


def plan(tmp_path: Path, *overrides: str, sweep: str | None = None) -> Any:
    """A plan as the command makes it, of conf/sweep or a file of one's own."""
    search_path = []
    choice = "fusion"
    if sweep is not None:
        (tmp_path / "conf" / "sweep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / "sweep" / "mine.yaml").write_text(f"# @package _global_\n{sweep}\n")
        search_path, choice = [str(tmp_path / "conf")], "mine"
    for one in overrides:
        if one.startswith("sweep="):
            choice = one.partition("=")[2]
    ready_hydra()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "study",
            [
                f"hydra.searchpath=[{','.join(search_path)}]",
                f"sweep={choice}",
                *COMMON,
                *(one for one in overrides if not one.startswith("sweep=")),
            ],
            return_hydra_config=True,
        )
    HydraConfig.instance().set_config(config)
    try:
        return make_plan(
            config,
            overrides=[*COMMON, *overrides],
            choice=choice,
            conf=CONF,
            search_path=search_path,
            folder=tmp_path / "sweep",
        )
    finally:
        HydraConfig.instance().cfg = None


def test_the_fusion_sweep_knows_every_strategy_and_only_settings_that_they_have(tmp_path: Path) -> None:
    made = plan(tmp_path)
    strategies = {path.stem for path in (CONF / "fusion").glob("*.yaml")} - {"none"}
    (fusion,) = [entry for entry in made.space.entries if entry.name == "fusion"]
    assert set(fusion.values() or []) == strategies
    own = {}
    for strategy in strategies:
        searched = {
            k for e in made.space.entries for k in e.keys if "fusion" in e.when and strategy in e.when["fusion"]
        }
        own[strategy] = searched
        config = yaml.safe_load((CONF / "fusion" / f"{strategy}.yaml").read_text())
        assert {key.removeprefix("fusion.") for key in searched} <= set(config)
    assert all(own.values()), own


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [path.stem for path in (CONF / "sweep").glob("*.yaml")])
def test_every_sweep_of_ours_is_usable(sweep: str, tmp_path: Path) -> None:
    made = plan(tmp_path, f"sweep={sweep}")
    assert made.epochs == made.base["trainer"]["max_epochs"]
    assert len(made.space.entries) > 3
    assert locate(made.objective)


@pytest.mark.parametrize(
    "choice", [p.relative_to(CONF) for kind in ("sampler", "pruner") for p in CONF.glob(f"{kind}/*")]
)
def test_every_sampler_and_pruner_of_ours_can_be_made(choice: Path) -> None:
    node = OmegaConf.load(CONF / choice)
    node.study_seed = 0
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    del plain["study_seed"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # an argument that Optuna is to drop
        assert {"sampler": build_sampler, "pruner": build_pruner}[choice.parent.name](plain)


def test_a_constant_of_the_command_line_is_not_searched(tmp_path: Path) -> None:
    made = plan(tmp_path, "fusion=late", "fusion.combine=mean", "task.batch_size=16", "trials=3")
    names = {entry.name for entry in made.space.entries}
    assert names == {
        "task.optimizer.lr",
        "task.optimizer.weight_decay",
        "task.head_dropout",
        "width",
        "dropout",
        "late.hidden",
    }
    assert made.trials == 3
    settings = made.settings(made.compose(), {"late.hidden": 64, "width": 64}, seed=5)
    assert settings["fusion"]["combine"] == "mean"
    assert settings["fusion"]["hidden"] == 64
    assert settings["encoder"]["text"]["dim"] == settings["encoder"]["prosody"]["dim"] == 64
    assert settings["task"]["batch_size"] == 16
    assert settings["seed"] == 5


def test_the_choice_of_a_group_leaves_its_settings_in_the_search(tmp_path: Path) -> None:
    # `task` is a group that is not searched itself; a dictionary in its place would set all its keys.
    made = plan(tmp_path, "fusion=late", "task=incongruence", "task.optimizer={lr:0.001,weight_decay:0.01}")
    names = {entry.name for entry in made.space.entries}
    assert {"task.batch_size", "task.head_dropout"} <= names
    assert not names & {"task.optimizer.lr", "task.optimizer.weight_decay"}


def test_a_trial_of_a_fold_takes_that_folds_encoders(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    (stage / "folds" / "1").mkdir(parents=True)
    made = plan(tmp_path, "fusion=late", f"encoders={stage}", "cv=3", "fold=1")
    assert made.base["encoders"] == str(stage / "folds" / "1")
    assert made.settings(made.compose(), {"width": 64}, seed=5)["encoders"] == str(stage / "folds" / "1")


def test_a_trials_overrides_give_its_settings_again(tmp_path: Path) -> None:
    made = plan(tmp_path, "sweep=pareto", "task.swap=0.25")
    point = {"fusion": "gated", "task.optimizer.lr": 1.5e-3, "width": 32, "fusion.hidden": 64}
    settings = made.settings(made.compose(), point, seed=0)
    assert settings == hydra_composes([*made.overrides, *made.overrides_of(point)])
    assert settings["task"]["swap"] == 0.25


def test_an_encoder_that_is_off_has_no_width(tmp_path: Path) -> None:
    sweep = "space: {width: {keys: [encoder.visual.dim, encoder.text.dim], choices: [16, 32]}}"
    (width,) = plan(tmp_path, sweep=sweep).space.entries
    assert width.keys == ("encoder.visual.dim", "encoder.text.dim")
    (width,) = plan(tmp_path, "~encoder/visual", sweep=sweep).space.entries
    assert width.keys == ("encoder.text.dim",)
    with pytest.raises(ConfigError, match=r"sets encoder\.visaul\.dim, which is not in the configuration"):
        plan(tmp_path, sweep=sweep.replace("visual", "visaul"))


def test_constants_of_the_sweep_give_way_to_the_command_line(tmp_path: Path) -> None:
    sweep = "constants: {trainer.max_epochs: 4, task.swap: 0.5}\nspace: {task.batch_size: {choices: [8, 16]}}"
    made = plan(tmp_path, "trainer.max_epochs=2", sweep=sweep)
    assert made.base["trainer"]["max_epochs"] == 2
    assert made.base["task"]["swap"] == 0.5
    assert made.epochs == 2


def test_the_longest_training_of_the_space_is_known(tmp_path: Path) -> None:
    made = plan(tmp_path, sweep="space: {trainer.max_epochs: {choices: [5, 40]}}")
    assert made.epochs == 40
    made = plan(tmp_path, sweep="space: {trainer.max_epochs: {low: 5, high: 25, log: true}}")
    assert made.base["trainer"]["max_epochs"] == 30
    assert made.epochs == 25
    sweep = """space:
      task.batch_size: {choices: [8, 16]}
      trainer.max_epochs: {choices: [5, 10], when: {task.batch_size: 8}}"""
    assert plan(tmp_path, sweep=sweep).epochs == 30


def test_hyperband_knows_the_longest_training_from_the_start(tmp_path: Path) -> None:
    """Optuna's auto waits for a trial that completes, prunes nothing before, and takes its length for the longest."""
    sweep = "space: {trainer.max_epochs: {choices: [3, 27]}}"
    made = plan(tmp_path, "pruner=hyperband", "seeds=2", sweep=sweep)
    assert made.pruner["max_resource"] == 54
    assert made.definition["pruner"]["max_resource"] == "auto"  # so that a sweep begun before goes on
    pruner = build_pruner(made.pruner)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trial = study.ask()
    trial.report(0.5, 0)
    assert not trial.should_prune()
    assert pruner._n_brackets == 4  # 2, 6, 18 and 54 epochs
    assert plan(tmp_path, "pruner=hyperband", "pruner.max_resource=9", sweep=sweep).pruner["max_resource"] == 9


REFUSED: list[tuple[str, list[str], str]] = [
    ("space: {task.lr: {low: 0.1, high: 1.0}}", [], "space.task.lr sets task.lr, which is not in the configuration"),
    (
        "space: {fusion: {choices: [late, concat]}, fusion.combine: {choices: [mean, stacking]}}",
        [],
        "with fusion=concat (fusion/concat.yaml); correct the key, or say by `when`",
    ),
    ("space: {fusion: {choices: [late, cocnat]}}", [], "fusion=cocnat"),
    ("space: {task.batch_size: {choices: [8]}}\ntask: {swap: 0.5}", [], "sets task, which belongs to training"),
    ("space: {task.batch_size: {choices: [8]}}", ["trials=0"], "trials is 0; write a whole number of at least 1"),
    ("space: {task.batch_size: {choices: [8]}}", ["workers=many"], "workers is 'many'; write a whole number"),
    ("space: {task.batch_size: {choices: [8]}}", ["resume=there"], "the same command goes on"),
    ("space: {task.batch_size: {choices: [8]}}", ["overwrite=true"], "choose another name="),
    ("space: {task.batch_size: {choices: [8]}}", ["task.batch_size=3"], "nothing is left to search"),
    ("space: {task.batch_size: {choices: [8]}}", ["objectives.selection=max"], "write maximize or minimize"),
    ("space: {}", [], "what is searched stands in a file of conf/sweep"),
    ("space: {seed: {choices: [1, 2]}}", [], "seed cannot be searched: a trial is trained with as many seeds"),
    ("space: {fold: {choices: [0, 1]}}", ["cv=4"], "fold cannot be searched: it would choose the fold that is easiest"),
    (
        "space: {trainer.max_epochs: {low: 1.5, high: 3.5}}",
        [],
        "trainer.max_epochs is 1.5; write a whole number of at least 1",
    ),
    ("space: {task.batch_size: {choices: [8]}}", ["trainer.max_epochs=-1"], "trainer.max_epochs is -1; write a whole"),
    ("space: {easy: {keys: [cv], choices: [3, 4]}}", [], "cv cannot be searched"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("sweep", "overrides", "said"), REFUSED)
def test_what_no_trial_could_run_is_refused_with_the_file(
    sweep: str, overrides: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        plan(tmp_path, *overrides, sweep=sweep)
    assert said in str(raised.value)


def test_hydras_state_stays_as_it_was() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        Composition(CONF, COMMON).config({"fusion": "late"})
        assert compose("config", [*COMMON, "fusion=concat"]).fusion._target_.endswith("ConcatFusion")
