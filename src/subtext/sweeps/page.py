"""`sweep.md` and `trials.csv`: what a sweep tried, what came out best, what failed, and what pruning saved."""

import json
import os
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from subtext.core.tables import write_csv
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

_STATES: Final = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.FAIL,
    TrialState.RUNNING,
    TrialState.WAITING,
)
_STATE_NAMES: Final = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
LIMITS: Final = (
    "Values are of the validation split, and the best of many trials is better there than it will be elsewhere. What a "
    "setting is worth is said by the test figures of the winner, trained anew with other seeds, and by subtext-compare."
)


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
    _write(path, "\n".join(_page(study, title, figures, path.parent)) + "\n")
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


def _page(study: Study, title: str, figures: Sequence[Path], folder: Path) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    names = objective_names(study)
    ways = ["maximised" if way == StudyDirection.MAXIMIZE else "minimised" for way in study.directions]
    yield f"Objectives: {', '.join(f'{objective_label(n)}, {w}' for n, w in zip(names, ways, strict=True))}."
    yield LIMITS
    yield from _states(study)
    yield from _best(study)
    if len(names) > 1:
        yield from _front(study)
    yield from _strategies(study)
    yield from _epochs(study)
    yield from _failures(study)
    yield from _figures(figures, folder, len(names))


def _states(study: Study) -> Iterator[str]:
    trials = counted_trials(study)
    yield ""
    yield "## Trials"
    yield ""
    if not trials:
        yield "Missing: no trial was begun."
    else:
        found = Counter(trial.state for trial in trials)
        yield "| state | trials |"
        yield "|---|---|"
        for state in _STATES:
            if found[state]:
                yield f"| {_STATE_NAMES[state]} | {found[state]} |"
        yield f"| all | {len(trials)} |"
    every = study.get_trials(deepcopy=False)
    repeats = sum(SAME_AS in trial.user_attrs for trial in every)
    requeued = sum(REQUEUED in trial.user_attrs for trial in every)
    if repeats:
        yield ""
        yield f"Not counted: {_times(repeats, 'point')} that the sampler drew again and that took over the values."
    if requeued:
        yield ""
        yield f"Not counted: {_times(requeued, 'trial')} whose process ended; their points were taken up again."
    odd = sum(trial.state == TrialState.COMPLETE for trial in trials) - len(completed_trials(study))
    if odd:
        yield ""
        yield f"{_times(odd, 'completed trial')} with a value that is not finite: left out of what follows."


def _best(study: Study) -> Iterator[str]:
    yield ""
    yield "## Best trial"
    yield ""
    done = completed_trials(study)
    if not done:
        yield "Missing: no trial completed."
        return
    # On the front the first objective decides; of two trials equal in that one, only the front has the better one.
    best = front(study)[0]
    values = [
        f"{objective_label(name)} {_value(value)}"
        for name, value in zip(objective_names(study), best.values, strict=True)
    ]
    yield f"Trial {best.number}: {', '.join(values)}."
    if scores := best.user_attrs.get("seed_scores"):
        shown = ", ".join(f"{_value(score)} (seed {seed})" for seed, score in scores.items())
        yield f"By seed: {shown}."
    if len(study.directions) > 1:
        yield f"Of the Pareto front it is the one with the best {objective_label(objective_names(study)[0])}."
    yield ""
    yield "| setting | value |"
    yield "|---|---|"
    for name, value in best.params.items():
        yield f"| {_cell(name)} | {_cell(_value(value))} |"
    if overrides := best.user_attrs.get("overrides"):
        yield ""
        yield "    subtext-train " + shlex.join(overrides)


def _front(study: Study) -> Iterator[str]:
    yield ""
    yield "## Pareto front"
    yield ""
    trials = front(study)
    if not trials:
        yield "Missing: no trial completed."
        return
    yield "Trials that no other one is as good as in every objective and better in one."
    yield ""
    yield f"| trial | strategy | {' | '.join(objective_label(name) for name in objective_names(study))} |"
    yield f"|{'---|' * (2 + len(study.directions))}"
    for trial in trials:
        cells = [str(trial.number), _cell(strategy_of(trial) or "-"), *(_value(value) for value in trial.values)]
        yield f"| {' | '.join(cells)} |"


def _strategies(study: Study) -> Iterator[str]:
    yield ""
    yield "## Strategies"
    yield ""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in counted_trials(study):
        if (name := strategy_of(trial)) is not None:
            groups.setdefault(name, []).append(trial)
    if not groups:
        yield "Missing: no trial says which fusion strategy it had."
        return
    done = completed_trials(study)
    numbers = {trial.number for trial in done}
    objective = objective_label(objective_names(study)[0])
    ranked = [strategy_of(trial) for trial in best_first(study, done)]
    yield (
        f"Best and median are of {objective} over the completed trials. Strategies that a sampler took up more often "
        "had more chances, so the best is no fair comparison; `subtext-compare` of equally tuned winners is one."
    )
    yield ""
    yield "| strategy | best | median | trials | completed | pruned | failed | epochs |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted(groups, key=lambda name: (ranked.index(name) if name in ranked else len(ranked), name)):
        trials = groups[name]
        own = best_first(study, [trial for trial in trials if trial.number in numbers])
        best = _value(own[0].values[0]) if own else "-"
        median = _value(statistics.median(trial.values[0] for trial in own)) if own else "-"
        states = Counter(trial.state for trial in trials)
        counts = [states[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)]
        known = [trial.user_attrs["epochs"] for trial in trials if "epochs" in trial.user_attrs]
        row = [_cell(name), best, median, len(trials), *counts, sum(known) if known else "-"]
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def _epochs(study: Study) -> Iterator[str]:
    yield ""
    yield "## Epochs"
    yield ""
    found = epochs_of(counted_trials(study))
    if found is None:
        yield "Missing: no trial that completed or was pruned says how many epochs it ran."
        return
    yield (
        f"{found.run} of {found.planned} planned epochs were run in {_times(found.trials, 'trial')} that completed or "
        f"were pruned: {found.saved:.1%} saved. Pruning saved {found.saved_by_pruning:.1%}, early stopping "
        f"{found.saved - found.saved_by_pruning:.1%}. Failed trials are not in these figures."
    )
    speeds = [trial.user_attrs.get("clips_per_second") for trial in completed_trials(study)]
    if known := [speed for speed in speeds if speed is not None]:
        yield ""
        low, middle, high = min(known), statistics.median(known), max(known)
        yield f"Clips a second in training, completed trials: median {middle:.0f}, from {low:.0f} to {high:.0f}."


def _failures(study: Study) -> Iterator[str]:
    yield ""
    yield "## Failures"
    yield ""
    failed = [trial for trial in counted_trials(study) if trial.state == TrialState.FAIL]
    if not failed:
        yield "No trial failed."
        return
    yield "| trial | strategy | reason |"
    yield "|---|---|---|"
    for trial in failed:
        reason = trial.user_attrs.get("reason", "not known")
        yield f"| {trial.number} | {_cell(strategy_of(trial) or '-')} | {_cell(reason)} |"


def _figures(figures: Sequence[Path], folder: Path, objectives: int) -> Iterator[str]:
    yield ""
    yield "## Figures"
    written = {figure.stem: figure for figure in figures}
    for name, (caption, _) in FIGURES.items():
        if name in written:
            yield ""
            yield f"![{caption}]({written[name].relative_to(folder).as_posix()})"
    missing = {
        name: about for name, about in FIGURES.items() if name not in written and (name != "pareto" or objectives > 1)
    }
    if missing:
        yield ""
        for name, (_, needed) in missing.items():
            yield f"- Missing: {name.replace('_', ' ')}; it takes {needed}."


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 10):
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.4g}"


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
