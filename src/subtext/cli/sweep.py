"""subtext-sweep: search settings, or go on with a search that was broken off, and refit what it found."""

from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

from subtext.cli.hydra_app import conf_folder, run, search_path


def main() -> NoReturn:
    """Run the command."""
    run(sweep_run, "subtext-sweep", config_name="study", run_folder="${paths.runs}/sweeps/${name}")


def sweep_run(config: DictConfig) -> int:
    """Search as configured; the same command goes on with the same study."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from subtext.errors import ConfigError
    from subtext.sweeps.sweep import make_plan, run_sweep

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise ConfigError("-m: a sweep is one study; put what is to be tried into its space, or fix it by KEY=VALUE")
    folder = Path(hydra.runtime.output_dir)
    plan = make_plan(
        config,
        overrides=list(hydra.overrides.task),
        choice=str(hydra.runtime.choices.sweep),
        conf=conf_folder(),
        search_path=search_path(),
        folder=folder,
    )
    return run_sweep(plan, refit_seeds=config.refit_seeds, save_as=config.save_as)


if __name__ == "__main__":
    main()
