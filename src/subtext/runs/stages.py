"""What a run takes over from an encoder stage, and whether it may: no stage may have seen what a run is judged on."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from subtext.errors import ManifestError, RunError
from subtext.features.index import FeatureIndex
from subtext.manifest import Manifest
from subtext.manifest.checks import row_number
from subtext.model.classifier import IncongruenceClassifier
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.saved import read_weights

log = logging.getLogger(__name__)


def with_stage_of_fold(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, where its encoder stage was cross-validated with that stage's run of the same fold."""
    source, fold = settings.get("encoders"), settings.get("fold")
    if source is None or fold is None or not Path(source, RunFile.FOLDS).is_dir():
        return dict(settings)
    return {**settings, "encoders": str(Path(source, RunFile.FOLDS, str(fold)))}


def check_stage(settings: Mapping[str, Any]) -> None:
    """Whether the encoder stage that a run builds on is there, before anything is begun.

    Raises:
        RunError: it is not.
    """
    source = settings.get("encoders")
    if source is not None and not RunFolder(source).is_trained:
        raise RunError(
            f"no finished encoder stage in {source}; run it first (experiment=studio needs experiment=studio_encoders "
            f"with the same seed={settings['seed']} and corpus settings), or name another run by encoders=RUN"
        )


def check_unseen(stage: RunFolder, manifest: Manifest, index: FeatureIndex) -> None:
    """Whether an encoder stage has kept its eyes off the rows that this run is chosen and judged on.

    Neither recordings nor, in the same corpus, rows, speakers and other units of the test split may be in the stage's
    training or validation rows, and none of the validation split among its training rows.

    Raises:
        RunError: it has seen some.
    """
    if not stage.file(RunFile.ROWS).is_file():
        log.warning("%s does not say which rows it was trained on, so they may be this run's test rows", stage.path)
        return
    rows = stage.table(RunFile.ROWS)
    theirs, ours = FeatureIndex.load(stage.path), manifest.table
    recorded = [modality for modality in theirs.modalities if modality != "text"]
    for split, seen_in in (("test", ("train", "val")), ("val", ("train",))):
        seen, judged = rows[rows["split"].isin(seen_in)], ours[ours["split"] == split]
        keys = {theirs.key(row, modality) for row in seen["id"] for modality in recorded} - {None}
        for modality in index.modalities:
            for place, row in enumerate(judged["id"]):
                if index.key(row, modality) in keys:
                    where = f"row {row_number(judged.index, place)} of {manifest.name}"
                    raise _seen(stage, split, seen_in, f"the {modality} stream of {where}")
        same = bool(set(rows.get("corpus", pd.Series()).dropna()) & set(ours["corpus"].dropna()))
        for group in ("id", *manifest.groups) if same else ():
            known = np.flatnonzero(judged[group].isin(seen.get(group, pd.Series()).dropna()).to_numpy())
            if len(known):
                where = f"row {row_number(judged.index, int(known[0]))} of {manifest.name}"
                raise _seen(stage, split, seen_in, f"the {group} of {where}")


def _seen(stage: RunFolder, split: str, seen_in: Sequence[str], what: str) -> RunError:
    return RunError(
        f"{what} is in this run's {split} split and in the {' or '.join(seen_in)} split of the encoder stage in "
        f"{stage.path}; train the encoders on the same corpus and splits, or name others by encoders=RUN"
    )


def check_recordings(manifest: Manifest, index: FeatureIndex) -> None:
    """Whether no face or voice stream stands in the training split and in another one.

    Texts may: people say the same words.

    Raises:
        ManifestError: one does.
    """
    table = manifest.table
    split = table.set_index("id")["split"]
    rows = index.table[index.table["key"].notna() & (index.table["modality"] != "text")]
    rows = rows.assign(split=rows["id"].map(split))
    training = rows[rows["split"] == "train"].drop_duplicates("key").set_index("key")["id"]
    other = rows[rows["split"].isin(["val", "test"]) & rows["key"].isin(training.index)]
    if len(other):
        first = other.iloc[0]
        one, same = (
            row_number(table.index, int((table["id"] == id_).to_numpy().argmax()))
            for id_ in (first["id"], training[first["key"]])
        )
        raise ManifestError(
            f"{manifest.name}: row {one} ({first['split']}) and row {same} (train) are the same recording "
            f"({first['modality']}; {len(other)} such rows); put it into one split"
        )


def take_over(classifier: IncongruenceClassifier, folder: Path) -> None:
    """Begin where an encoder stage ended: with its projections and single modalities' readouts, as far as they fit.

    The backbones have been taken over before (`Encoder.load_backbone`), and must fit.
    """
    theirs = read_weights(RunFolder(folder).file(RunFile.WEIGHTS))
    own = classifier.state_dict()
    readouts = tuple(f"heads.readouts.{spec.key}." for spec in classifier.heads.specs if spec.modality is not None)
    fitting = {
        name: tensor
        for name, tensor in theirs.items()
        if name.startswith(("encoders.", *readouts)) and name in own and own[name].shape == tensor.shape
    }
    classifier.load_state_dict(fitting, strict=False)
