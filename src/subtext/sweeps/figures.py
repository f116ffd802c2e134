"""The pictures of a sweep that a paper needs: history, strategies, importance of the settings, trade-off.

Drawn here and not by `optuna.visualization`, whose figures change pyplot's global style and do not keep repeated trials
apart. For all else, as parallel coordinates and slices, `optuna-dashboard SWEEP/study.journal` opens the study itself.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from subtext.core.writing import replacing
from subtext.report.figures import BLUE, GREEN, GREY, ORANGE, VERMILION
from subtext.sweeps.study import SCORE_NAME, best_first, completed_trials, counted_trials, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "history": ("Values in the order of the trials", "a trial that completed"),
    "strategies": (
        "Completed trials by fusion strategy",
        "two strategies, and a trial of one of them that completed",
    ),
    "importance": (
        "Which settings mattered",
        "ten completed trials whose values differ, with a setting that varies",
    ),
    "pareto": ("Trade-off between the objectives", "two objectives and a completed trial"),
}
"""Name of the file -> caption, and what there must be for it to be drawn."""
STRATEGY: Final = "fusion"
FEWEST_FOR_IMPORTANCE: Final = 10
MOST_IMPORTANT: Final = 15
FEWEST_FOR_BOX: Final = 5
"""With fewer trials a box would hide how few there are; the points alone are drawn."""
_OBJECTIVE_NAMES: Final[Mapping[str, str]] = {
    "flops_per_clip": "FLOPs a clip",
    "parameters": "trained parameters",
}
_NO_INTERVALS: Final = "single trials on the validation split, without intervals: small differences mean nothing"
_SEED: Final = 0


def sweep_figures(folder: Path, study: Study) -> list[Path]:
    """Write every figure that the trials allow; those that a trial too few forbids are left out.

    Args:
        folder: where the PNG files go.
        study: one or several objectives; trials in any state.

    Returns:
        The files written, named as in `FIGURES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"history": history, "strategies": strategies, "importance": importance, "pareto": pareto}
    paths = (draw(study, folder / f"{name}.png") for name, draw in drawn.items())
    return [path for path in paths if path is not None]


# -- what is in a study ------------------------------------------------------------------------------------------------


def objective_names(study: Study) -> list[str]:
    """What the study optimises, as the sweep named it."""
    if study.metric_names:
        return list(study.metric_names)
    if len(study.directions) == 1:
        return ["value"]
    return [f"value {number}" for number in range(len(study.directions))]


def objective_label(study: Study, name: str) -> str:
    """An objective's name for people: of the score, the metric that it is."""
    if name == "selection":
        told = (trial.user_attrs.get(SCORE_NAME) for trial in study.get_trials(deepcopy=False))
        return f"{next(filter(None, told), 'score')} (validation)"
    return _OBJECTIVE_NAMES.get(name, name.replace("_", " "))


def strategy_of(trial: FrozenTrial) -> str | None:
    """A trial's fusion strategy: what was searched, or what the overrides say; None where neither tells."""
    if STRATEGY in trial.params:
        return str(trial.params[STRATEGY])
    for text in reversed(trial.user_attrs.get("overrides", [])):
        key, _, value = text.partition("=")
        if key.lstrip("+") == STRATEGY:
            return value.strip("'\"")
    return None


def importances(study: Study, objective: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """How much each setting mattered for one objective: two measures that answer different questions.

    Returns:
        fANOVA (Hutter et al. 2014) of the settings that every completed trial has: share of the variance that a forest
        explains by each. PED-ANOVA (Watanabe et al. 2023, conditional settings as in Optuna 5) of all settings: by
        which the best trials differ from the rest. Each sums to 1. Both empty where there are too few trials.
    """
    from optuna import create_study
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    trials = completed_trials(study)
    if len(trials) < FEWEST_FOR_IMPORTANCE or len({trial.values[objective] for trial in trials}) < 2:
        return {}, {}
    sign = -1 if study.directions[objective] == StudyDirection.MAXIMIZE else 1

    def target(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    values: dict[str, list[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    varied = sorted(name for name, found in values.items() if len({repr(value) for value in found}) > 1)
    common = [name for name in varied if len(values[name]) == len(trials)]
    # The top tenth, but at least the five trials that PED-ANOVA asks for.
    parter = PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(trials)))
    with _quiet():
        own = create_study(directions=study.directions)
        own.add_trials(trials)
        try:
            forest = FanovaImportanceEvaluator(seed=_SEED)
            explained = get_param_importances(own, evaluator=forest, params=common, target=target)
        except (RuntimeError, ValueError):  # no variance in the forest; a space that changed
            explained = {}
        parting = get_param_importances(own, evaluator=parter, params=varied, target=target)
    return _told(explained), _told(parting)


def _told(found: Mapping[str, float]) -> dict[str, float]:
    # All zero means that nothing could be told, which equal bars would hide.
    if not found or not math.isfinite(total := sum(found.values())) or total <= 0:
        return {}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


@contextmanager
def _quiet() -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


# -- figures -----------------------------------------------------------------------------------------------------------


def history(study: Study, path: Path) -> Path | None:
    """Each trial's values by its number, with the best so far; None where no trial completed."""
    from matplotlib.ticker import MaxNLocator

    done, counted, names = completed_trials(study), counted_trials(study), objective_names(study)
    if not done:
        return None
    figure = _figure(9.0, 1.2 + 3.2 * len(names))
    pruned = [t for t in counted if t.state == TrialState.PRUNED and t.intermediate_values]
    failed = [t.number for t in counted if t.state == TrialState.FAIL]
    numbers = [trial.number for trial in done]
    for index, ax in enumerate(_axes(figure, len(names), 1)):
        values = [trial.values[index] for trial in done]
        maximize = study.directions[index] == StudyDirection.MAXIMIZE
        best = (np.maximum if maximize else np.minimum).accumulate(values)
        if len(names) == 1 and pruned:
            last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
            label = f"pruned ({len(pruned)}), last value before its end"
            ax.plot([t.number for t in pruned], last, "x", color=GREY, label=label)
        ax.plot(numbers, values, "o", color=BLUE, markersize=5, label=f"completed ({len(done)})")
        # The line goes on to the last trial, whatever became of that.
        ax.step([*numbers, counted[-1].number], [*best, best[-1]], where="post", color=ORANGE, label="best so far")
        if failed:
            foot, label = [0.02] * len(failed), f"failed ({len(failed)})"
            ax.plot(failed, foot, "|", color=VERMILION, mew=2, transform=ax.get_xaxis_transform(), label=label)
        _log_scale(ax.yaxis, values)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="trial", ylabel="\n(".join(_with_way(study, index).rsplit(" (", 1)))
        _grid(ax, "y")
    return _save(figure, path, f"History of the sweep\n({_NO_INTERVALS})", columns=4)


def strategies(study: Study, path: Path) -> Path | None:
    """Values of the completed trials of each strategy; None with fewer than two strategies."""
    from matplotlib.artist import setp

    done, counted, objectives = completed_trials(study), counted_trials(study), objective_names(study)
    # The best trial's first, in the end those of which no trial completed.
    order = [name for name in dict.fromkeys(map(strategy_of, [*best_first(study, done), *counted])) if name]
    groups = {name: [trial for trial in done if strategy_of(trial) == name] for name in order}
    if len(groups) < 2 or not any(groups.values()):
        return None
    figure = _figure(4.0 + 4.2 * len(objectives), 1.5 + 0.46 * len(groups))
    for index, ax in enumerate(_axes(figure, 1, len(objectives), sharey=True)):
        _log_scale(ax.xaxis, [trial.values[index] for trial in done])
        for place, trials in enumerate(groups.values()):
            values = [trial.values[index] for trial in trials]
            if len(values) >= FEWEST_FOR_BOX:
                box = ax.boxplot(values, orientation="horizontal", positions=[place], widths=0.6, showfliers=False)
                for lines, colour in (("boxes", "0.55"), ("whiskers", "0.55"), ("caps", "0.55"), ("medians", ORANGE)):
                    setp(box[lines], color=colour, linewidth=1.5)
            shift = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
            ax.plot(values, place + shift, "o", color=BLUE, markersize=4, alpha=0.7, markeredgewidth=0)
        ax.set_xlabel(objective_label(study, objectives[index]))
        _grid(ax, "x")
    tried = Counter(map(strategy_of, counted))
    labels = [f"{name}\n{len(trials)} of {tried[name]} completed" for name, trials in groups.items()]
    figure.axes[0].set_yticks(range(len(groups)), labels, fontsize=8)
    figure.axes[0].set_ylim(len(groups) - 0.5, -0.5)
    title = (
        "Completed trials by fusion strategy, the best trial's first\n"
        f"(box: quartiles and median, from {FEWEST_FOR_BOX} trials on; pruned trials have no value)\n({_NO_INTERVALS})"
    )
    return _save(figure, path, title)


def importance(study: Study, path: Path) -> Path | None:
    """Importance of the settings for each objective; None where it cannot be told."""
    names = objective_names(study)
    found = [importances(study, index) for index in range(len(names))]
    most = min(MOST_IMPORTANT, max(len(part) for both in found for part in both))
    if not most:
        return None
    figure = _figure(11.0, len(names) * (1.0 + 0.34 * most) + 1.0)
    axes = iter(_axes(figure, len(names), 2))
    titles = (
        "fANOVA: share of the variance,\nsettings that every trial has",
        "PED-ANOVA: what sets the best trials apart,\nall settings",
    )
    for both, name in zip(found, names, strict=True):
        for whole, title, colour in zip(both, titles, (BLUE, GREEN), strict=True):
            ax = next(axes)
            part = dict(list(whole.items())[:MOST_IMPORTANT])
            left = len(whole) - len(part)
            ax.set_title(title + (f", without {left} lesser ones" if left else ""), fontsize=10)
            if not part:
                ax.text(0.5, 0.5, "cannot be told from these trials", ha="center", transform=ax.transAxes, color="0.4")
                ax.set(xticks=[], yticks=[])
                continue
            bars = ax.barh(range(len(part)), list(part.values()), color=colour, height=0.7)
            ax.bar_label(bars, fmt=" %.2f", fontsize=8)
            ax.set_yticks(range(len(part)), list(part), fontsize=8.5)
            ax.set(ylim=(most - 0.5, -0.5), xlim=(0, 1.13 * max(part.values())))
            ax.set_xlabel(f"importance for {objective_label(study, name)}", fontsize=9)
            _grid(ax, "x")
    count = len(completed_trials(study))
    return _save(figure, path, f"Importance of the settings, from {count} completed trials: a hint, not a test")


def pareto(study: Study, path: Path) -> Path | None:
    """The first objective against each other one, with the front; None for a single objective."""
    names, done, best = objective_names(study), completed_trials(study), front(study)
    if len(names) < 2 or not done:
        return None
    numbers = {trial.number for trial in best}
    others = [trial for trial in done if trial.number not in numbers]
    figure = _figure(1.6 + 5.6 * (len(names) - 1), 5.4)
    for index, ax in enumerate(_axes(figure, 1, len(names) - 1), start=1):
        label = f"other completed trials ({len(others)})"
        across, up = [t.values[index] for t in others], [t.values[0] for t in others]
        ax.plot(across, up, "o", color="0.72", markersize=5, label=label)
        along = best_first(study, best, index)
        across, up = [t.values[index] for t in along], [t.values[0] for t in along]
        if len(names) == 2:
            # What is known to be reached: between two points of the front, no more than the one that costs less gives.
            ax.step(across, up, where="post", color=VERMILION, linewidth=1.4, zorder=2)
        ax.plot(across, up, "o", color=VERMILION, markersize=7, label=f"Pareto front ({len(best)})", zorder=3)
        _log_scale(ax.xaxis, [trial.values[index] for trial in done])
        _log_scale(ax.yaxis, [trial.values[0] for trial in done])
        for place, trial in enumerate(along):
            text = " ".join(filter(None, (strategy_of(trial), f"#{trial.number}")))
            offset, side = ((-5, 7), "right") if place % 2 == 0 else ((6, -12), "left")
            point = (trial.values[index], trial.values[0])
            ax.annotate(text, point, xytext=offset, textcoords="offset points", ha=side, fontsize=8)
        ax.margins(x=0.16, y=0.1)
        ax.set(xlabel=_with_way(study, index), ylabel=_with_way(study, 0))
        _grid(ax, "both")
    return _save(figure, path, f"Trade-off between the objectives\n({_NO_INTERVALS})", columns=2)


# -- looks -------------------------------------------------------------------------------------------------------------


def _with_way(study: Study, index: int) -> str:
    """An objective's name for people, and which end of it is the good one."""
    way = "higher" if study.directions[index] == StudyDirection.MAXIMIZE else "lower"
    return f"{objective_label(study, objective_names(study)[index])} ({way} is better)"


def _log_scale(axis: "Axis", values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(values) > 0 and max(values) > 10 * min(values):
        (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 300 * min(values) else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.6g}"))
        axis.set_minor_formatter(NullFormatter())


def _grid(ax: "Axes", along: Literal["x", "y", "both"]) -> None:
    ax.grid(axis=along, color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _axes(figure: "Figure", rows: int, columns: int, *, sharey: bool = False) -> "list[Axes]":
    return list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path, title: str, columns: int = 0) -> Path:
    """Write a figure in one step, with the legend of its first axes in so many columns below it."""
    figure.suptitle(title, fontsize=11)
    if columns:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150, format="png")
    return path
