"""subtext-sweep: search settings, or go on with a search that was broken off, and refit what it found."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig, OmegaConf

from subtext.cli.hydra_app import run, search_path
from subtext.core.composition import conf_folder

if TYPE_CHECKING:
    from subtext.sweeps.workers import Plan


def main() -> NoReturn:
    """Run the command."""
    run(
        sweep_run,
        "subtext-sweep",
        form="subtext.sweeps.settings.SweepSettings",
        config_name="study",
        run_folder="${paths.runs}/sweeps/${name}",
    )


def sweep_run(config: DictConfig) -> None:
    """Search as configured; the same command goes on with the same study."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from subtext.errors import ConfigError
    from subtext.sweeps.nested import run_nested
    from subtext.sweeps.settings import WHAT_IS_SEARCHED
    from subtext.sweeps.sweep import make_plan, run_sweep

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise ConfigError("-m: a sweep is one study; put what is to be tried into its space, or fix it by KEY=VALUE")
    if "sweep" not in hydra.runtime.choices:
        raise ConfigError(f"~sweep: {WHAT_IS_SEARCHED}")
    folder = Path(hydra.runtime.output_dir)

    def plan(place: Path, fold: int | None = None) -> "Plan":
        return make_plan(
            config if fold is None else OmegaConf.merge(config, {"fold": fold}),
            overrides=[*hydra.overrides.task, *([] if fold is None else [f"fold={fold}"])],
            choice=str(hydra.runtime.choices.sweep),
            conf=conf_folder(),
            search_path=search_path(),
            folder=place,
        )

    # Not `config.cv`: an experiment or the sweep's constants may set it.
    whole = plan(folder)
    about = {"refit_seeds": config.refit_seeds, "save_as": config.save_as}
    if whole.base.get("cv") is None or whole.base.get("fold") is not None:
        run_sweep(whole, **about)
    else:
        of_all = whole.compose()
        run_nested(plan, lambda seed: of_all.settings({"seed": seed}, set()), folder, folds=whole.base["cv"], **about)


if __name__ == "__main__":
    main()
