"""Systems: trained runs that differ in their seed only, and whether they can be held against each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.special import expit

from subtext.errors import RunError
from subtext.evaluation.evaluate import CONTROLS
from subtext.evaluation.judge import Answers
from subtext.evaluation.tables import ANSWERS, BINARY_HEADS, check_once
from subtext.labels import MODALITIES

OWN_PRODUCT: Final = "own_product"
"""The readings that an anchored fusion stands on, as a control beside it."""


@dataclass(frozen=True)
class TrainedRun:
    """The tables of one run.

    Attributes:
        label: what to call it: the end of its folder's path.
        seed: None where the run does not say it.
        predictions: predictions table.
        controls: controls table, None where none were run.
        folder: where it is.
        encoders: where the encoders came from that it was given; None where it trained its own.
    """

    label: str
    seed: int | None
    predictions: pd.DataFrame
    controls: pd.DataFrame | None = None
    folder: Path | None = None
    encoders: str | None = None


@dataclass(frozen=True)
class System:
    """Runs that differ in their seed only.

    Attributes:
        name: what it is called.
        runs: by seed.
        settings: its resolved settings that other systems have otherwise, flat.
        strategy: the fusion's module, such as `late`; None where it is not known.
    """

    name: str
    runs: tuple[TrainedRun, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    strategy: str | None = None


def shared_clips(systems: Sequence[System], groups: Sequence[str]) -> pd.DataFrame:
    """The clips that all runs were tested on: ids, labels, groups and presence, in the order of their ids.

    A stream counts as present where it is to any run: one that does not use it calls it absent.

    Raises:
        RunError: two runs differ in their clips, a label or a group; the message names a row.
    """
    first: TrainedRun | None = None
    for system in systems:
        for run in system.runs:
            test = _test(run)
            if first is None:
                first, clips = run, test
                continue
            _same_clips(first, clips, run, test, groups)
            for column in (f"present_{modality}" for modality in MODALITIES):
                if column in test:
                    there = test[column].fillna(False).astype(bool)
                    clips[column] = there if column not in clips else clips[column].fillna(False).astype(bool) | there
    if first is None:
        raise RunError("no runs to compare; give at least one run folder")
    keep = [column for column in clips if not str(column).startswith(ANSWERS)]
    return clips[keep].reset_index()


def answers_of(system: System, clips: pd.DataFrame, head: str, control: str | None = None) -> list[Answers]:
    """What a system's runs, or a control of each, say of the shared clips; of those runs that say something."""
    found = []
    for run in system.runs:
        rows = None if control is None or run.controls is None else run.controls[run.controls["control"] == control]
        if control is None or rows is not None:
            found.append(Answers.of(run.predictions, head, clips["id"], rows))
    return [answers for answers in found if answers is not None and not np.isnan(answers.p).all()]


def controls_of(
    systems: Sequence[System], clips: pd.DataFrame, head: str
) -> tuple[dict[str, dict[str, list[Answers]]], list[str]]:
    """System -> control -> what it says in every seed; and which controls have no mean for want of some seeds.

    An anchored system's own readings stand among its controls.
    """
    found: dict[str, dict[str, list[Answers]]] = {}
    notes = []
    for system in systems:
        names = {
            str(name) for run in system.runs if run.controls is not None for name in run.controls["control"].unique()
        }
        if len(own := _readings_of(system, clips, head)) == len(system.runs):
            found.setdefault(system.name, {})[OWN_PRODUCT] = own
        for name in sorted(names, key=lambda name: (CONTROLS.index(name) if name in CONTROLS else len(CONTROLS), name)):
            answers = answers_of(system, clips, head, name)
            if len(answers) == len(system.runs):
                found.setdefault(system.name, {})[name] = answers
            elif answers:
                runs = f"{len(answers)} of {len(system.runs)} runs"
                notes.append(f"{head}: control {name} of {system.name} stands in {runs}")
    return found, notes


def _readings_of(system: System, clips: pd.DataFrame, head: str) -> list[Answers]:
    """What the readings say that a system's anchored fusion stands on, in every run; of those that have such."""
    column = f"anchor_{head}"
    found = []
    for run in system.runs:
        if column in run.predictions:
            rows = run.predictions.assign(**{f"prob_{head}": expit(run.predictions[column].astype("float64"))})
            found.append(Answers.of(run.predictions, head, clips["id"], rows))
    return [answers for answers in found if answers is not None and not np.isnan(answers.p).all()]


def _test(run: TrainedRun) -> pd.DataFrame:
    test = run.predictions.loc[run.predictions["split"] == "test"]
    if test.empty:
        raise RunError(f"run {run.label} holds no test rows; give the manifest a test split")
    tested = (run.predictions["split"] == "test").to_numpy(dtype=bool)
    check_once(run.predictions, ["id"], f"the predictions of run {run.label}", tested)
    # Clips without a label, such as turns of enrolment, are no question to anybody.
    labels = [head for head in BINARY_HEADS if head in test]
    if labels:
        test = test[test[labels].notna().any(axis=1)]
    return test.set_index("id").sort_index()


def _same_clips(
    first: TrainedRun, clips: pd.DataFrame, run: TrainedRun, test: pd.DataFrame, groups: Sequence[str]
) -> None:
    remedy = "compare runs on the same corpus, split and folds"
    other = clips.index.symmetric_difference(test.index)
    if len(other):
        has, lacks = (first, run) if other[0] in clips.index else (run, first)
        raise RunError(
            f"runs {first.label} and {run.label} were tested on different clips: {len(other)} stand in one of them "
            f"only, the first of which {has.label} has in row {_row(has, other[0])} and {lacks.label} has not; {remedy}"
        )
    for column in (*BINARY_HEADS, *groups):
        if column not in clips or column not in test:
            if (column in clips) != (column in test) and not (clips if column in clips else test)[column].isna().all():
                lacks = run if column in clips else first
                raise RunError(f"run {lacks.label} has no column '{column}', which other runs have; {remedy}")
            continue
        ours, theirs = clips[column].astype("string"), test[column].astype("string")
        different = np.flatnonzero(~((ours == theirs).fillna(False) | (ours.isna() & theirs.isna())).to_numpy(bool))
        if len(different):
            clip = clips.index[different[0]]
            raise RunError(
                f"runs {first.label} and {run.label} were tested on different clips: they differ in '{column}' of "
                f"{len(different)}, first in rows {_row(first, clip)} and {_row(run, clip)}; {remedy}"
            )


def _row(run: TrainedRun, clip: Any) -> int:
    """Where a test clip stands in a run's predictions, counted from 1."""
    own = (run.predictions["split"] == "test") & (run.predictions["id"] == clip)
    return int(np.flatnonzero(own)[0]) + 1


def same_encoders(ours: System, theirs: System) -> bool:
    """Whether the trainings of both belong together: as many, of the same seeds, each pair on encoders of its own.

    Where all seeds have the same encoders, these add nothing to what seeds differ by, and nothing is to be taken off.
    """
    encoders = [run.encoders for run in ours.runs]
    return (
        len(ours.runs) == len(theirs.runs)
        and None not in encoders
        and len(set(encoders)) > 1
        and all(
            a.seed is not None and (a.seed, a.encoders) == (b.seed, b.encoders)
            for a, b in zip(ours.runs, theirs.runs, strict=True)
        )
    )


def check_seeds(systems: Iterable[System]) -> None:
    """Refuse systems that repeat a seed: their spread would be too small.

    Raises:
        RunError: one does.
    """
    for system in systems:
        seeds = [run.seed for run in system.runs if run.seed is not None]
        repeated = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if repeated is not None:
            both = [run.label for run in system.runs if run.seed == repeated]
            raise RunError(
                f"runs {' and '.join(both)} are of the same settings and the same seed {repeated}; give each seed "
                "once, or give the runs names: NAME=RUN"
            )
