"""Train: one run, or one of every fold of a corpus."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from subtext.core.offline import offline
from subtext.core.targets import check_targets
from subtext.errors import ConfigError, RunError
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.folds import train_folds
from subtext.runs.one_run import train_one
from subtext.runs.settings import TrainingSettings


def train(settings: Mapping[str, Any], folder: Path, *, resume: bool = False, trust: Collection[str] = ()) -> RunFolder:
    """Run, or go on with a run.

    Args:
        settings: the resolved configuration, plain values.
        folder: the run folder.
        resume: go on with the run that was interrupted there; `settings` must be its own. The folder may be somebody
            else's, so it has nothing built but what is trusted, and nothing fetched from the network.
        trust: packages that a run to go on with may have parts of, besides this one and installed plug-ins, such as
            `("mypackage",)`; one class is enough too: `("pytorch_lightning.loggers.WandbLogger",)`.

    Returns:
        The run folder, complete.

    Raises:
        RunError: a run is in the folder already, or there is none to go on with; the encoder stage is not there, or
            has seen rows that this run is judged on.
        ManifestError: the corpus cannot be trained on.
        ConfigError: a setting cannot be used.
        TrustError: a run to go on with has a part that is not trusted.
    """
    run = RunFolder(folder, trust)
    if not resume:
        TrainingSettings.check(settings)
        return _train(settings, run, resume=False)
    source = run.file(RunFile.CONFIG)
    check_targets(settings, source, trust)
    try:
        TrainingSettings.check(settings)
    except ConfigError as error:
        raise RunError(f"{source}: {error}. A run goes on as it was configured; begin it again") from error
    run.check_links()
    with offline():
        return _train(settings, run, resume=True)


def _train(settings: Mapping[str, Any], run: RunFolder, *, resume: bool) -> RunFolder:
    one = settings.get("cv") is None or settings.get("fold") is not None
    return (train_one if one else train_folds)(settings, run, resume=resume)
