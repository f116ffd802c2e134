"""subtext-train: train and evaluate one run, or go on with an interrupted one."""

from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from subtext.cli.hydra_app import run
from subtext.core.composition import resolved


class GridTable(Callback):
    """Ends a grid (`-m`) with one table over its runs."""

    def __init__(self) -> None:
        self._runs: list[tuple[list[str], Path]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **_: Any) -> None:
        """Remember a run of the grid: what sets it apart from the others, and its folder."""
        hydra = job_return.hydra_cfg.hydra
        self._runs.append((list(job_return.overrides), Path(hydra.runtime.output_dir)))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table of the runs that finished."""
        from subtext.report.terminal import print_runs
        from subtext.runs.folder import RunFolder

        shared = set.intersection(*(set(overrides) for overrides, _ in self._runs)) if self._runs else set()
        named = [
            (" ".join(text for text in overrides if text not in shared) or path.name, RunFolder(path))
            for overrides, path in self._runs
        ]
        print_runs([(name, run.metrics()) for name, run in named if run.is_finished])


def main() -> NoReturn:
    """Run the command."""
    run(
        train_run,
        "subtext-train",
        form="subtext.runs.settings.TrainingSettings",
        callbacks={"grid_table": f"{__name__}.{GridTable.__name__}"},
    )


def train_run(config: DictConfig) -> None:
    """Train as configured; with `resume`, as the interrupted run was configured."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from subtext.model.fit import is_main_process
    from subtext.runs.front_door import train_composed

    hydra = HydraConfig.get()
    settings = resolved(config)
    alone = hydra.mode != RunMode.MULTIRUN
    done = train_composed(settings, Path(hydra.runtime.output_dir), hydra.overrides.task, print_table=alone)
    if is_main_process():
        print(f"Run folder: {done.path}")


if __name__ == "__main__":
    main()
