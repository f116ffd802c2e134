"""Train every fold of a corpus as a run of its own, and judge the pooled predictions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from subtext.core.building import build
from subtext.core.targets import check_targets
from subtext.corpora.corpus import Corpus
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.manifest import Manifest
from subtext.manifest.splits import fold_as_test, with_folds
from subtext.model.heads import head_specs
from subtext.runs.evaluate import evaluate_run
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.one_run import train_one
from subtext.runs.prepare import disjoint_columns
from subtext.runs.stages import check_stage, with_stage_of_fold

log = logging.getLogger(__name__)


def train_folds(
    settings: Mapping[str, Any],
    run: RunFolder,
    *,
    resume: bool,
    of_fold: Callable[[int], Mapping[str, Any]] | None = None,
) -> RunFolder:
    """Train all folds, each in `folds/K`, and evaluate what they say together.

    Every row is tested once, by the model that did not see its fold. Thresholds and calibration stay those of each
    fold's own validation split.

    Args:
        settings: the resolved configuration, with `cv`. An encoder stage (`encoders`) that was cross-validated itself
            gives each fold the encoders of that fold.
        run: where it goes.
        resume: leave finished folds as they are, and go on with the one that was interrupted.
        of_fold: the configuration of each fold, where they differ, as they do when each fold's settings were chosen
            without it; None where all are trained with `settings`.

    Raises:
        ConfigError: several processes are asked for.
        ManifestError: the labels of a training or validation split would be all of one class.
        RunError: an encoder stage is not there, or the corpus changed between two folds.
        TrustError: a fold to go on with has a part that is not trusted.
    """
    from rich.console import Console

    from subtext.report.terminal import print_results

    folds = settings["cv"]
    trainer = settings["trainer"]
    if trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto"):
        raise ConfigError("cv= trains in one process; train the folds one by one with fold=0 ... to use trainer=ddp")
    for fold in range(folds):
        check_stage(with_stage_of_fold({**settings, "fold": fold}))
    corpus = build(settings["corpus"], Corpus).build()
    _check_labels(with_folds(corpus, folds, disjoint_columns(settings["corpus"], corpus)), folds, settings["task"])
    if not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    parts = []
    for fold in range(folds):
        part = fold_of(run, fold)
        parts.append(part)
        if resume and part.is_finished:
            continue
        log.info("fold %d of %d", fold + 1, folds)
        own = {**(settings if of_fold is None else of_fold(fold)), "fold": fold}
        again = resume and part.is_begun
        if again:
            own = part.settings()
            check_targets(own, part.file(RunFile.CONFIG), run.trust)
        train_one(own, part, resume=again)
        _check_same_corpus(parts)
    for name in (RunFile.PREDICTIONS, RunFile.CONTROLS):
        tables = [_of_fold(part.table(name), fold) for fold, part in enumerate(parts) if part.file(name).is_file()]
        if tables:
            run.write_table(name, pd.concat(tables, ignore_index=True))
    facts = parts[0].run()
    run.add_facts({key: facts[key] for key in ("groups", "labels", "question", "nature", "metadata") if key in facts})
    print_results(evaluate_run(run.path, seed=int(settings["seed"])), Console(markup=False))
    return run


def fold_of(run: RunFolder, fold: int) -> RunFolder:
    """The run of one fold."""
    return RunFolder(run.file(RunFile.FOLDS) / str(fold), run.trust)


def _check_labels(manifest: Manifest, folds: int, task: Mapping[str, Any]) -> None:
    """Refuse before hours of training what the last fold would be refused for."""
    for spec in head_specs(task["heads"]):
        if spec.kind != "binary" or manifest.table[spec.column].isna().all():
            continue
        for fold in range(folds):
            table = fold_as_test(manifest, fold, folds).table
            for split in ("train", "val"):
                labels = table.loc[table["split"] == split, spec.column].dropna()
                if labels.nunique() < 2:
                    there = f"are all {spec.names[int(labels.iloc[0])]}" if len(labels) else "are missing"
                    raise ManifestError(
                        f"{manifest.name}: while fold {fold} is tested, the labels '{spec.column}' of the split "
                        f"'{split}' {there} ({len(labels)} labelled rows), and each needs both; divide the rows into "
                        "fewer or other folds with subtext-data split"
                    )


def _check_same_corpus(parts: Sequence[RunFolder]) -> None:
    first, last = ((part.run().get("inputs") or {}).get("manifest") for part in (parts[0], parts[-1]))
    if first != last:
        raise RunError(
            f"the corpus changed between fold 0 and fold {parts[-1].path.name} in {parts[-1].path.parent}, so their "
            "predictions cannot be pooled; begin anew with overwrite=true, or bring back what it began with"
        )


def _of_fold(table: pd.DataFrame, fold: int) -> pd.DataFrame:
    # Validation rows belong to the fold whose threshold they chose, not to the one in which they are tested.
    return table.assign(fold=pd.array([fold], dtype="Int64")[0])
