"""Train every fold of a corpus as a run of its own, and judge the pooled predictions."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.errors import ConfigError
from subtext.evaluation.run import CONTROLS, PREDICTIONS, evaluate_run
from subtext.run_folder import RunFolder

log = logging.getLogger(__name__)

FOLDS: Final = "folds"
"""Folder of a cross-validated run that holds the run of each fold."""


def train_folds(settings: Mapping[str, Any], run: RunFolder, *, resume: bool) -> RunFolder:
    """Train all folds, each in `folds/K`, and evaluate what they say together.

    Every row is tested once, by the model that did not see its fold. Thresholds and calibration stay those of each
    fold's own validation split.

    Args:
        settings: the resolved configuration, with `cv`. An encoder stage (`encoders`) that was cross-validated itself
            gives each fold the encoders of that fold.
        run: where it goes.
        resume: leave finished folds as they are, and go on with the one that was interrupted.

    Raises:
        ConfigError: fewer than 3 folds are asked for, or several processes.
    """
    from rich.console import Console

    from subtext.report.table import print_results
    from subtext.training import train

    folds = settings["cv"]
    if not isinstance(folds, int) or folds < 3:
        raise ConfigError(f"cv={folds}: ask for a whole number of folds, at least 3")
    trainer = settings["trainer"]
    if trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto"):
        raise ConfigError("cv= trains in one process; train the folds one by one with fold=0 ... to use trainer=ddp")
    if not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    parts = []
    for fold in range(folds):
        part = fold_of(run, fold)
        parts.append(part)
        if resume and part.is_finished:
            continue
        log.info("fold %d of %d", fold + 1, folds)
        own = {**settings, "fold": fold, "encoders": _stage(settings.get("encoders"), fold)}
        again = resume and part.is_begun
        train(part.settings() if again else own, part.path, resume=again)
    with run.writing():
        for name in (PREDICTIONS, CONTROLS):
            tables = [_of_fold(part.file(name), fold) for fold, part in enumerate(parts) if part.file(name).is_file()]
            if tables:
                pd.concat(tables, ignore_index=True).to_parquet(run.file(name), index=False)
    facts = parts[0].run()
    run.add_facts({key: facts[key] for key in ("groups", "labels", "metadata") if key in facts})
    print_results(evaluate_run(run.path, seed=int(settings["seed"])), Console())
    return run


def fold_of(run: RunFolder, fold: int) -> RunFolder:
    """The run of one fold."""
    return RunFolder(run.path / FOLDS / str(fold))


def _stage(encoders: str | None, fold: int) -> str | None:
    if encoders is None or not (Path(encoders) / FOLDS).is_dir():
        return encoders
    return str(fold_of(RunFolder(encoders), fold).path)


def _of_fold(path: Path, fold: int) -> pd.DataFrame:
    # Validation rows belong to the fold whose threshold they chose, not to the one in which they are tested.
    return pd.read_parquet(path).assign(fold=pd.array([fold], dtype="Int64")[0])
