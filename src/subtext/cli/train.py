"""subtext-train: train and evaluate one run, or go on with an interrupted one."""

from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

from subtext.cli.hydra_app import run
from subtext.core.composition import resolved


def main() -> NoReturn:
    """Run the command."""
    run(
        train_run,
        "subtext-train",
        form="subtext.runs.settings.TrainingSettings",
    )


def train_run(config: DictConfig) -> None:
    """Train as configured; with `resume`, as the interrupted run was configured."""
    from hydra.core.hydra_config import HydraConfig

    from subtext.model.fit import is_main_process
    from subtext.runs.front_door import train_composed

    hydra = HydraConfig.get()
    settings = resolved(config)
    done = train_composed(settings, Path(hydra.runtime.output_dir), hydra.overrides.task)
    if is_main_process():
        print(f"Run folder: {done.path}")


if __name__ == "__main__":
    main()
