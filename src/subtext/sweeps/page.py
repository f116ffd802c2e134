"""`sweep.md` and `trials.csv`: what a sweep tried, what came out best, what failed, and what pruning saved."""

import json
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from subtext.core.tables import write_csv
from subtext.core.templates import marked, one_line
from subtext.core.writing import write_text
from subtext.report.markdown import markdown
from subtext.sweeps.figures import (
    FIGURES,
    best_first,
    completed_trials,
    counted_trials,
    front,
    objective_label,
    objective_names,
    strategy_of,
    sweep_figures,
)
from subtext.sweeps.study import REQUEUED, SAME_AS, WORKER

if TYPE_CHECKING:
    import pandas as pd

_STATE_NAMES: Final = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Epochs:
    """Epochs of the trials that completed or were pruned.

    Attributes:
        trials: how many tell both what they planned and what they ran.
        planned: epochs, over all seeds.
        run: epochs.
        pruned: epochs that pruned trials left out.
    """

    trials: int
    planned: int
    run: int
    pruned: int

    @property
    def saved(self) -> float:
        """Share of the planned epochs that were not run, for whatever reason."""
        return 1 - self.run / self.planned

    @property
    def saved_by_pruning(self) -> float:
        """Share of the planned epochs that pruned trials left out."""
        return self.pruned / self.planned


def report_sweep(folder: Path, study: Study) -> None:
    """Write `sweep.md`, `trials.csv` and the figures of a sweep, each whole or not at all.

    Args:
        folder: of the sweep; figures go to `figures` in it.
        study: trials in any state, or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_trials(folder / "trials.csv", study)
    figures = sweep_figures(folder / "figures", study)
    write_sweep_page(folder / "sweep.md", study, title=f"Sweep {study.study_name}", figures=figures)


def write_sweep_page(path: Path, study: Study, *, title: str, figures: Sequence[Path] = ()) -> Path:
    """Write a sweep's report.

    Args:
        path: the Markdown file.
        study: trials in any state, or none.
        title: of the page.
        figures: PNG files under the page's folder, named as in `sweep_figures.FIGURES`.
    """
    every, trials, done = study.get_trials(deepcopy=False), counted_trials(study), completed_trials(study)
    names = [objective_label(study, name) for name in objective_names(study)]
    counts = Counter(trial.state for trial in trials)
    states = {_STATE_NAMES[state]: counts[state] for state in _STATE_NAMES if counts[state]}
    written = {figure.stem: figure.relative_to(path.parent).as_posix() for figure in figures}
    speeds = [trial.user_attrs.get("clips_per_second") for trial in done]
    page = markdown(
        "sweeps/page.md.j2",
        title=title,
        objectives=dict(zip(names, (way.name.lower().replace("ize", "ised") for way in study.directions), strict=True)),
        first=names[0],
        states=states | {"all": len(trials)} if trials else {},
        repeats=sum(SAME_AS in trial.user_attrs for trial in every),
        requeued=sum(REQUEUED in trial.user_attrs for trial in every),
        odd=counts[TrialState.COMPLETE] - len(done),
        front=front(study) if done else [],
        strategies=list(_strategies(study)),
        epochs=epochs_of(trials),
        speeds=[speed for speed in speeds if speed is not None],
        failed=[trial for trial in trials if trial.state == TrialState.FAIL],
        figures=[(FIGURES[name][0], written[name]) for name in FIGURES if name in written],
        missing={
            name: needed
            for name, (_, needed) in FIGURES.items()
            if name not in written and (name != "pareto" or len(names) > 1)
        },
        strategy_of=strategy_of,
        value=_value,
        median=statistics.median,
        command=marked(lambda overrides: one_line(shlex.join(overrides))),
    )
    write_text(path, page)
    return path


def write_trials(path: Path, study: Study) -> Path:
    """Write all trials as CSV: a row a trial, columns as Optuna names them.

    `counted` is False for what stands for no point of its own: a repeat, or a trial that runs again under another
    number.
    """
    return write_csv(trials_table(study), path)


def trials_table(study: Study) -> "pd.DataFrame":
    """All trials: number, counted, state, `values_*`, `params_*`, `user_attrs_*` (lists as JSON) and times."""
    import pandas as pd

    counted = {trial.number for trial in counted_trials(study)}
    table = study.trials_dataframe(multi_index=False)
    if table.empty:
        return pd.DataFrame(columns=["number", "counted", "state"])
    table["counted"] = table["number"].isin(counted)
    begins = ("number", "counted", "state", "value", "params_", "user_attrs_", "datetime_", "duration")
    columns = [str(column) for begin in begins for column in table if str(column).startswith(begin)]
    # Where a worker ran is of no account, and names a machine.
    table = table[[column for column in columns if column != f"user_attrs_{WORKER}"]]
    return table.map(lambda value: json.dumps(value) if isinstance(value, (list, dict)) else value)


def epochs_of(trials: Sequence[FrozenTrial]) -> Epochs | None:
    """What was planned and run; None where no trial tells. Failed trials are left out: a crash saves nothing."""
    known = [
        (trial, int(trial.user_attrs["epochs_planned"]), int(trial.user_attrs["epochs"]))
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and trial.user_attrs.get("epochs_planned")
        and "epochs" in trial.user_attrs
    ]
    if not known:
        return None
    return Epochs(
        trials=len(known),
        planned=sum(planned for _, planned, _ in known),
        run=sum(run for _, _, run in known),
        pruned=sum(planned - run for trial, planned, run in known if trial.state == TrialState.PRUNED),
    )


def _strategies(study: Study) -> Iterator[list[Any]]:
    """A row a strategy, the best first: best, median, trials, those of each state, epochs."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in counted_trials(study):
        if (name := strategy_of(trial)) is not None:
            groups.setdefault(name, []).append(trial)
    done = completed_trials(study)
    numbers = {trial.number for trial in done}
    ranked = [strategy_of(trial) for trial in best_first(study, done)]
    for name in sorted(groups, key=lambda name: (ranked.index(name) if name in ranked else len(ranked), name)):
        trials = groups[name]
        own = best_first(study, [trial for trial in trials if trial.number in numbers])
        best = _value(own[0].values[0]) if own else "-"
        median = _value(statistics.median(trial.values[0] for trial in own)) if own else "-"
        states = Counter(trial.state for trial in trials)
        counts = [states[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)]
        known = [trial.user_attrs["epochs"] for trial in trials if "epochs" in trial.user_attrs]
        yield [name, best, median, len(trials), *counts, sum(known) if known else "-"]


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 10):
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.4g}"
