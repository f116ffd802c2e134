"""The winner's configuration as an experiment file: it must compose to what the trial was trained with."""

from pathlib import Path

import pytest
import yaml

from subtext.core.composition import Composition, conf_folder
from subtext.errors import ConfigError
from subtext.sweeps.composition import unresolved
from subtext.sweeps.winner import WINNER, check_save_as, experiment_place, write_experiment

BELONGS_TO_THE_RUN = ("name", "seed", "experiment")


def settings_of(composition: Composition) -> dict[str, object]:
    return {k: v for k, v in unresolved(composition.config({})).items() if k not in BELONGS_TO_THE_RUN}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "trial"),
    [
        ([], ["fusion=late", "fusion.hidden=64"]),
        (["experiment=collage", "task.swap=0.25"], ["fusion=tensor", "fusion.width=9", "task.optimizer.lr=0.0031"]),
        (["experiment=ravdess_swap", "fold=3"], ["fusion=concat", "encoder.visual.dim=32", "encoder.prosody.dim=32"]),
        (["experiment=studio", "callbacks=early_stopping"], ["encoder/prosody=transformer", "seed=7"]),
        (["+trainer.limit_train_batches=3", "encoder.visual=null"], ["task.heads=[incongruent,verbal_polarity]"]),
    ],
)
def test_the_file_alone_composes_to_the_settings_of_the_trial(
    overrides: list[str], trial: list[str], tmp_path: Path
) -> None:
    sweep = Composition(conf_folder(), [*overrides, "paths.data=elsewhere"])
    place = experiment_place(tmp_path / "conf", WINNER)

    write_experiment(sweep, trial, place, name="found", origin="Trial 4.")

    again = Composition(conf_folder(), [f"experiment={WINNER}"], [str(tmp_path / "conf")])
    assert settings_of(again) == settings_of(Composition(conf_folder(), [*overrides, *trial]))
    assert again.config({}).name == "found"
    assert place.read_text().splitlines()[:2] == ["# @package _global_", "# Trial 4."]


def test_a_file_says_what_differs_and_nothing_that_belongs_to_one_machine(tmp_path: Path) -> None:
    sweep = Composition(conf_folder(), ["experiment=collage", "paths.data=elsewhere", "workers=7", "logger=none"])
    place = experiment_place(tmp_path / "conf", WINNER)

    write_experiment(sweep, ["fusion=late", "fusion.hidden=64"], place, name=WINNER, origin="Trial 4.")

    content = yaml.safe_load(place.read_text())
    assert {"override /fusion": "late"} in content["defaults"]
    assert content["fusion"] == {"hidden": 64}
    assert not content.keys() & {"paths", "workers", "logger", "seed"}
    # A reference stays one, so that each seed finds its own encoders.
    assert content["encoders"].endswith("seed-${seed}")


@pytest.mark.parametrize(("name", "said"), [("a/b", "letters, digits"), ("", "letters, digits"), ("late", "is there")])
def test_a_name_that_cannot_be_saved_is_refused_before_anything_is_searched(
    name: str, said: str, tmp_path: Path
) -> None:
    experiment_place(tmp_path, "late").parent.mkdir()
    experiment_place(tmp_path, "late").write_text("# somebody's\n")

    with pytest.raises(ConfigError, match=said):
        check_save_as(name, tmp_path)
    check_save_as("early", tmp_path)
    check_save_as(None, tmp_path)
