"""The pictures of a sweep: history, parallel coordinates, importance, Pareto front, strategies and their own settings.

Drawn here and not by `optuna.visualization`, whose figures change pyplot's global style, leave trials out of parallel
coordinates that lack a conditional parameter, and do not keep repeated trials apart.
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from subtext.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from subtext.sweeps.study import counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution

FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "history": ("Values in the order of the trials", "a trial that completed"),
    "strategies": (
        "Completed trials by fusion strategy",
        "two strategies, and a trial of one of them that completed",
    ),
    "parallel_coordinates": (
        "Settings that at least half of the trials have, and the value",
        "two completed trials and a setting that varies and that half of them have",
    ),
    "conditional_settings": (
        "Settings that only some trials have",
        "two completed trials with a setting that others lack",
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
    "selection": "selection (validation)",
    "flops_per_clip": "FLOPs a clip",
    "parameters": "trained parameters",
}
_MARKS: Final = [(colour, mark) for mark in "os^" for colour in (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)]
_BEST: Final = VERMILION
_SEED: Final = 0
_ABSENT: Final = object()
"""Stands for the value of a setting that a trial does not have."""
_LANE: Final = -0.13
"""Where lines cross the axis of a setting that their trial does not have."""
_PLACES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def sweep_figures(folder: Path, study: Study) -> list[Path]:
    """Write every figure that the trials allow; those that a trial too few forbids are left out.

    Args:
        folder: where the PNG files go.
        study: one or several objectives; trials in any state.

    Returns:
        The files written, named as in `FIGURES`.
    """
    drawn = {
        "history": history,
        "strategies": strategies,
        "parallel_coordinates": parallel_coordinates,
        "conditional_settings": conditional_settings,
        "importance": importance,
        "pareto": pareto,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = (draw(study, folder / f"{name}.png") for name, draw in drawn.items())
    return [path for path in paths if path is not None]


# -- what is in a study ------------------------------------------------------------------------------------------------


def counted_trials(study: Study) -> list[FrozenTrial]:
    """The trials that stand for a point of their own, in order."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def completed_trials(study: Study) -> list[FrozenTrial]:
    """Those of them that completed with finite values."""
    return [
        trial
        for trial in counted_trials(study)
        if trial.state == TrialState.COMPLETE and all(math.isfinite(value) for value in trial.values)
    ]


def objective_names(study: Study) -> list[str]:
    """What the study optimises, as the sweep named it."""
    if study.metric_names:
        return list(study.metric_names)
    if len(study.directions) == 1:
        return ["value"]
    return [f"value {number}" for number in range(len(study.directions))]


def objective_label(name: str) -> str:
    """An objective's name for people."""
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


def best_first(study: Study, trials: Sequence[FrozenTrial], objective: int = 0) -> list[FrozenTrial]:
    """Completed trials in the order of an objective; the earlier of two equal ones first."""
    sign = -1 if study.directions[objective] == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * trial.values[objective], trial.number))


def front(study: Study) -> list[FrozenTrial]:
    """Completed trials that no other one is as good as in every objective, and better in one; best first.

    Of trials with the same values all are kept.
    """
    trials = completed_trials(study)
    if not trials:
        return []
    signs = np.array([-1.0 if way == StudyDirection.MAXIMIZE else 1.0 for way in study.directions])
    values = np.array([trial.values for trial in trials]) * signs
    no_worse = (values[:, None] <= values[None, :]).all(axis=2)
    better = (values[:, None] < values[None, :]).any(axis=2)
    beaten = (no_worse & better).any(axis=0)
    return best_first(study, [trial for trial, bad in zip(trials, beaten, strict=True) if not bad])


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
    values = {trial.values[objective] for trial in trials}
    if len(trials) < FEWEST_FOR_IMPORTANCE or len(values) < 2:
        return {}, {}
    sign = -1 if study.directions[objective] == StudyDirection.MAXIMIZE else 1
    # The top tenth, but at least the five trials that PED-ANOVA asks for.
    quantile = max(0.1, FEWEST_FOR_BOX / len(trials))
    with _quiet():
        own = create_study(directions=study.directions)
        own.add_trials(trials)

        def target(trial: FrozenTrial) -> float:
            return sign * float(trial.values[objective])

        names = {name for trial in trials for name in trial.params}
        shared = {name for name in names if all(name in trial.params for trial in trials)}
        common = sorted(name for name in shared if _varies(trials, name))
        try:
            explained = get_param_importances(
                own, evaluator=FanovaImportanceEvaluator(seed=_SEED), params=common, target=target
            )
        except (RuntimeError, ValueError):  # no variance in the forest; a space that changed
            explained = {}
        parting = get_param_importances(
            own,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile),
            params=sorted(name for name in names if _varies(trials, name)),
            target=target,
        )
    return _told(explained), _told(parting)


def _told(found: Mapping[str, float]) -> dict[str, float]:
    # All zero means that nothing could be told, which equal bars would hide.
    if not found or not math.isfinite(total := sum(found.values())) or total <= 0:
        return {}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _varies(trials: Sequence[FrozenTrial], name: str) -> bool:
    return len({repr(trial.params[name]) for trial in trials if name in trial.params}) > 1


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
    done = completed_trials(study)
    if not done:
        return None
    from matplotlib.ticker import MaxNLocator

    names = objective_names(study)
    figure = _figure(9.0, 1.2 + 3.2 * len(names))
    pruned = [t for t in counted_trials(study) if t.state == TrialState.PRUNED and t.intermediate_values]
    failed = [t.number for t in counted_trials(study) if t.state == TrialState.FAIL]
    for index, (ax, name) in enumerate(zip(_axes(figure, len(names), 1), names, strict=True)):
        numbers = [trial.number for trial in done]
        values = [trial.values[index] for trial in done]
        maximize = study.directions[index] == StudyDirection.MAXIMIZE
        best = (np.maximum if maximize else np.minimum).accumulate(values)
        if len(names) == 1 and pruned:
            last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
            label = f"pruned ({len(pruned)}), last value before its end"
            ax.plot([t.number for t in pruned], last, "x", color=GREY, markersize=5, label=label)
        ax.plot(numbers, values, "o", color=BLUE, markersize=5, label=f"completed ({len(done)})")
        # The line goes on to the last trial, whatever became of that.
        last_number = max(trial.number for trial in counted_trials(study))
        ax.step([*numbers, last_number], [*best, best[-1]], where="post", color=ORANGE, label="best so far")
        if failed:
            ax.plot(
                failed,
                [0.02] * len(failed),
                "|",
                color=VERMILION,
                markersize=9,
                markeredgewidth=2,
                transform=ax.get_xaxis_transform(),
                label=f"failed ({len(failed)})",
            )
        _log_scale(ax.yaxis, values)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        way = "higher is better" if maximize else "lower is better"
        ax.set(xlabel="trial", ylabel=f"{objective_label(name)}\n({way})")
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
    figure.suptitle("History of the sweep")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    return _save(figure, path)


def strategies(study: Study, path: Path) -> Path | None:
    """Values of the completed trials of each strategy; None with fewer than two strategies."""
    groups: dict[str, list[FrozenTrial]] = {}
    tried: dict[str, int] = {}
    done = completed_trials(study)
    numbers = {trial.number for trial in done}
    for trial in counted_trials(study):
        name = strategy_of(trial)
        if name is not None:
            tried[name] = tried.get(name, 0) + 1
            groups.setdefault(name, []).extend([trial] if trial.number in numbers else [])
    if len(groups) < 2 or not any(groups.values()):
        return None
    ranked = [strategy_of(t) for t in best_first(study, [t for trials in groups.values() for t in trials])]
    order = sorted(groups, key=lambda name: (ranked.index(name) if name in ranked else len(ranked), name))
    names = objective_names(study)
    figure = _figure(4.0 + 4.2 * len(names), 1.5 + 0.46 * len(order))
    for index, (ax, name) in enumerate(zip(_axes(figure, 1, len(names), sharey=True), names, strict=True)):
        _log_scale(ax.xaxis, [t.values[index] for t in done])
        for place, strategy in enumerate(order):
            values = [trial.values[index] for trial in groups[strategy]]
            if len(values) >= FEWEST_FOR_BOX:
                ax.boxplot(
                    values,
                    orientation="horizontal",
                    positions=[place],
                    widths=0.6,
                    showfliers=False,
                    patch_artist=True,
                    boxprops={"facecolor": "#DCEAF5", "edgecolor": "0.55"},
                    whiskerprops={"color": "0.55"},
                    capprops={"color": "0.55"},
                    medianprops={"color": ORANGE, "linewidth": 2.2},
                )
            shift = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
            ax.plot(values, place + shift, "o", color=BLUE, markersize=4, alpha=0.7, markeredgewidth=0)
        ax.set_xlabel(objective_label(name))
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
    labels = [f"{name}\n{len(groups[name])} of {tried[name]} completed" for name in order]
    figure.axes[0].set_yticks(range(len(order)), labels, fontsize=8)
    figure.axes[0].set_ylim(len(order) - 0.5, -0.5)
    figure.suptitle(
        "Completed trials by fusion strategy, the best trial's first\n"
        f"(box: quartiles and median, from {FEWEST_FOR_BOX} trials on; pruned trials have no value)",
        fontsize=10,
    )
    return _save(figure, path)


def parallel_coordinates(study: Study, path: Path) -> Path | None:
    """One line a trial over the settings that most have, to its values; None with fewer than two completed trials.

    Settings of a few strategies are left to `conditional_settings`: with an axis for each nothing could be seen.
    """
    done = completed_trials(study)
    pruned = [t for t in counted_trials(study) if t.state == TrialState.PRUNED]
    settings = _frequent(done)
    if len(done) < 2 or not settings:
        return None
    names = objective_names(study)
    scales = [_SettingAxis(name, [*done, *pruned]) for name in settings]
    ends = [_ValueAxis(objective_label(name), [t.values[i] for t in done]) for i, name in enumerate(names)]
    columns: list[_SettingAxis | _ValueAxis] = [*scales, *ends]
    figure = _figure(max(8.0, 1.7 * len(columns) + 1.6), 5.6)
    ax = figure.subplots()
    for trial in pruned:
        heights = [
            scale.height(trial.params.get(name, _ABSENT), trial.number)
            for scale, name in zip(scales, settings, strict=True)
        ]
        ax.plot(range(len(heights)), heights, color="0.86", linewidth=0.8, zorder=1)
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    values = [trial.values[0] for trial in done]
    low, high = min(values), max(values)
    # Up to the map's light green: its yellow is hardly seen on white. Dark is good.
    shades = colormaps["viridis"](np.linspace(0, 0.87, 256))
    colours = ListedColormap(shades[::-1] if study.directions[0] == StudyDirection.MAXIMIZE else shades)
    norm = (LogNorm if ends[0].log else Normalize)(*((low, high) if high > low else (low - 0.5, low + 0.5)))
    ranked = best_first(study, done)
    for place, trial in enumerate(reversed(ranked)):
        heights = [
            scale.height(trial.params.get(name, _ABSENT), trial.number)
            for scale, name in zip(scales, settings, strict=True)
        ]
        heights += [end.height(value, trial.number) for end, value in zip(ends, trial.values, strict=True)]
        is_best = place == len(ranked) - 1
        style: dict[str, Any] = (
            {"color": _BEST, "linewidth": 2.6, "zorder": 4, "label": f"best: trial {trial.number}"}
            if is_best
            else {"color": colours(norm(trial.values[0])), "linewidth": 1.2, "alpha": 0.8, "zorder": 2}
        )
        ax.plot(range(len(columns)), heights, **style)
    notes: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "va": "center", "zorder": 5}
    notes["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for place, column in enumerate(columns):
        ax.axvline(place, color="0.35", linewidth=1, zorder=3)
        for height, text in column.ticks():
            ax.annotate(text, (place, height), xytext=(4, 0), **notes)
    lacking = [place for place, name in enumerate(settings) if any(name not in t.params for t in [*done, *pruned])]
    for place in lacking:
        ax.annotate("not set", (place, _LANE), xytext=(4, 0), **notes)
    ax.set_xticks(range(len(columns)), [_broken(column.title) for column in columns], fontsize=8.5)
    ax.set(xlim=(-0.15, len(columns) - 0.6), ylim=(_LANE - 0.05 if lacking else -0.06, 1.06), yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    figure.colorbar(ScalarMappable(norm, colours), ax=ax, label=objective_label(names[0]), shrink=0.7, pad=0.01)
    if pruned:
        ax.plot([], [], color="0.8", linewidth=1.2, label=f"pruned ({len(pruned)}), which have no value")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle(f"Settings that at least half of the trials have, {len(done)} completed trials")
    return _save(figure, path)


def conditional_settings(study: Study, path: Path) -> Path | None:
    """Value against each setting that only some trials have, by strategy; None where there is none."""
    done = completed_trials(study)
    having = Counter(name for trial in done for name in trial.params)
    own = sorted(name for name, count in having.items() if 2 <= count < len(done))
    if not own:
        return None
    wide = min(3 if len(own) <= 9 else 5, len(own))
    rows = -(-len(own) // wide)
    figure = _figure(3.2 * wide + 1.0, 2.2 * rows + 1.0)
    axes = _axes(figure, rows, wide, sharey=True)
    known = sorted({strategy_of(trial) or "other" for trial in done})
    styles = dict(zip(known, _MARKS * (1 + len(known) // len(_MARKS)), strict=False))
    values = [trial.values[0] for trial in done]
    shown: set[str] = set()
    for ax, name in zip(axes, own, strict=False):
        trials = [trial for trial in done if name in trial.params]
        scale = _SettingAxis(name, trials)
        for strategy in known:
            mine = [trial for trial in trials if (strategy_of(trial) or "other") == strategy]
            if not mine:
                continue
            colour, mark = styles[strategy]
            across = [scale.height(trial.params[name], trial.number) for trial in mine]
            label = None if strategy in shown else strategy
            shown.add(strategy)
            ax.plot(across, [t.values[0] for t in mine], mark, color=colour, label=label, markersize=5.5, alpha=0.85)
        ticks = scale.ticks()
        ax.set_xticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=8)
        ax.set(xlim=(-0.08, 1.08), xlabel=scale.title)
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
    for ax in axes[len(own) :]:
        ax.set_axis_off()
    for ax in axes[::wide]:
        ax.set_ylabel(objective_label(objective_names(study)[0]), fontsize=9)
    _log_scale(axes[0].yaxis, values)
    figure.suptitle("Settings that only some trials have, completed trials")
    figure.legend(loc="outside lower center", ncols=min(6, len(shown)), fontsize=9)
    return _save(figure, path)


def importance(study: Study, path: Path) -> Path | None:
    """Importance of the settings for each objective; None where it cannot be told."""
    names = objective_names(study)
    found = [importances(study, index) for index in range(len(names))]
    if not any(part for both in found for part in both):
        return None
    most = min(MOST_IMPORTANT, max(len(part) for both in found for part in both))
    figure = _figure(11.0, len(names) * (1.0 + 0.34 * most) + 1.0)
    axes = _axes(figure, len(names), 2)
    titles = (
        "fANOVA: share of the variance,\nsettings that every trial has",
        "PED-ANOVA: what parts the best trials from the rest,\nall settings",
    )
    for index, (both, name) in enumerate(zip(found, names, strict=True)):
        for ax, whole, title, colour in zip(axes[2 * index :], both, titles, (BLUE, GREEN), strict=False):
            part = dict(list(whole.items())[:MOST_IMPORTANT])
            left = len(whole) - len(part)
            ax.set_title(title + (f", without {left} lesser ones" if left else ""), fontsize=10)
            if not part:
                ax.text(0.5, 0.5, "cannot be told from these trials", ha="center", transform=ax.transAxes, color="0.4")
                ax.set(xticks=[], yticks=[])
                continue
            ax.barh(range(len(part)), list(part.values()), color=colour, height=0.7)
            ax.set_yticks(range(len(part)), list(part), fontsize=8.5)
            ax.set_ylim(most - 0.5, -0.5)
            ax.set_xlim(0, 1.13 * max(part.values()))
            for place, value in enumerate(part.values()):
                ax.text(value, place, f" {value:.2f}", va="center", fontsize=8)
            ax.set_xlabel(f"importance for {objective_label(name)}", fontsize=9)
    count = len(completed_trials(study))
    figure.suptitle(f"Importance of the settings, from {count} completed trials: a hint, not a test", fontsize=11)
    return _save(figure, path)


def pareto(study: Study, path: Path) -> Path | None:
    """The first objective against each other one, with the front; None for a single objective."""
    names = objective_names(study)
    done = completed_trials(study)
    if len(names) < 2 or not done:
        return None
    best = front(study)
    figure = _figure(1.6 + 5.6 * (len(names) - 1), 5.4)
    for index, ax in enumerate(_axes(figure, 1, len(names) - 1), start=1):
        numbers = {trial.number for trial in best}
        others = [trial for trial in done if trial.number not in numbers]
        ax.plot(
            [t.values[index] for t in others],
            [t.values[0] for t in others],
            "o",
            color="0.72",
            markersize=5,
            label=f"other completed trials ({len(others)})",
        )
        along = sorted(best, key=lambda trial: trial.values[index])
        across, up = [t.values[index] for t in along], [t.values[0] for t in along]
        if len(names) == 2:
            # What is known to be reached: between two points of the front, no more than the one that costs less gives.
            where: Literal["pre", "post"] = "post" if study.directions[1] == StudyDirection.MINIMIZE else "pre"
            ax.step(across, up, where=where, color=_BEST, linewidth=1.4, zorder=2)
        ax.plot(across, up, "o", color=_BEST, markersize=7, label=f"Pareto front ({len(best)})", zorder=3)
        _log_scale(ax.xaxis, [trial.values[index] for trial in done])
        _log_scale(ax.yaxis, [trial.values[0] for trial in done])
        for place, trial in enumerate(along):
            text = " ".join(filter(None, (strategy_of(trial), f"#{trial.number}")))
            up_there = place % 2 == 0
            ax.annotate(
                text,
                (trial.values[index], trial.values[0]),
                xytext=(-5, 7) if up_there else (6, -12),
                textcoords="offset points",
                ha="right" if up_there else "left",
                fontsize=8,
            )
        ax.margins(x=0.16, y=0.1)
        ways = [
            "higher is better" if study.directions[i] == StudyDirection.MAXIMIZE else "lower is better"
            for i in (index, 0)
        ]
        ax.set(xlabel=f"{objective_label(names[index])} ({ways[0]})", ylabel=f"{objective_label(names[0])} ({ways[1]})")
        ax.grid(color="0.93")
        ax.set_axisbelow(True)
    figure.suptitle("Trade-off between the objectives")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return _save(figure, path)


# -- axes --------------------------------------------------------------------------------------------------------------


class _SettingAxis:
    """Places the values of one setting between 0 and 1, as its distribution is scaled."""

    def __init__(self, name: str, trials: Sequence[FrozenTrial]) -> None:
        distribution = next(trial.distributions[name] for trial in trials if name in trial.params)
        values = [trial.params[name] for trial in trials if name in trial.params]
        self.log = bool(getattr(distribution, "log", False))
        self.choices = _choices(distribution, values)
        self.title = name + (" (log)" if self.log else "")
        if self.choices is None:
            ends = [float(end) for end in (*values, distribution.low, distribution.high)]  # type: ignore[attr-defined]
            self.low, self.high = self._scaled(min(ends)), self._scaled(max(ends))
            self.step = 0 if self.log else getattr(distribution, "step", None) or 0
        self.whole = type(distribution).__name__ == "IntDistribution"

    def height(self, value: Any, number: int) -> float:
        """Where a trial's value stands; values of a few choices are spread a little, the same way for each trial."""
        if value is _ABSENT:
            return _LANE
        if self.choices is None:
            return (self._scaled(value) - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        count = len(self.choices)
        # Golden-ratio steps: trials that follow each other are set far apart.
        spread = ((number * 0.6180339887) % 1 - 0.5) * 0.4 / max(count - 1, 4)
        place = self.choices.index(value) / (count - 1) if count > 1 else 0.5
        return place + spread

    def ticks(self) -> list[tuple[float, str]]:
        """Places with what to write there."""
        if self.choices is not None:
            count = len(self.choices)
            return [(i / (count - 1) if count > 1 else 0.5, _word(value)) for i, value in enumerate(self.choices)]
        if self.low == self.high:
            return [(0.5, _short(math.exp(self.low) if self.log else self.low))]
        if self.log:
            values = _log_ticks(math.exp(self.low), math.exp(self.high))
        elif self.step and (steps := round((self.high - self.low) / self.step)) <= 8:
            values = [self.low + step * self.step for step in range(steps + 1)]
        else:
            values = [self.low + place * (self.high - self.low) for place in _PLACES]
        if self.whole:
            values = sorted({float(round(value)) for value in values})
        return [(self.height(value, 0), _short(value)) for value in values]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


class _ValueAxis:
    """Places an objective's values between 0 and 1; logarithmic where they span more than a factor of ten."""

    def __init__(self, title: str, values: Sequence[float]) -> None:
        self.log = _spans(values)
        self.title = title + (" (log)" if self.log else "")
        self.low, self.high = self._scaled(min(values)), self._scaled(max(values))

    def height(self, value: float, number: int) -> float:
        return (self._scaled(value) - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        if self.high <= self.low:
            return [(0.5, _short(math.exp(self.low) if self.log else self.low))]
        if self.log:
            values = _log_ticks(math.exp(self.low), math.exp(self.high))
        else:
            values = [self.low + place * (self.high - self.low) for place in _PLACES]
        return [(self.height(value, 0), _short(value)) for value in values]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


def _choices(distribution: "BaseDistribution", values: Sequence[Any]) -> list[Any] | None:
    """The choices that were drawn at all; None for a range."""
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return [choice for choice in distribution.choices if choice in values]
    return None


def _frequent(trials: Sequence[FrozenTrial]) -> list[str]:
    """Settings that vary and that at least half of the trials have: the strategy first, then by name."""
    having = Counter(name for trial in trials for name in trial.params)
    names = [name for name, count in having.items() if 2 * count >= len(trials) and _varies(trials, name)]
    return sorted(names, key=lambda name: (name != STRATEGY, name))


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in a range, also times 2 and 5 where they are few; the range's ends where those stand off."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            break
    room = (high / low) ** 0.06
    ends = [end for end in (low, high) if all(max(end / tick, tick / end) > room for tick in ticks)]
    return sorted([*ticks, *ends])


def _broken(title: str) -> str:
    return title.replace("/", "/\n").replace(".", ".\n").replace(" (", "\n(")


def _word(value: Any) -> str:
    return _short(value) if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def _spans(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 10 * min(values)


def _log_scale(axis: "Axis", values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if _spans(values):
        (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 300 * min(values) else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: _short(value)))
        axis.set_minor_formatter(NullFormatter())


def _axes(figure: "Figure", rows: int, columns: int, *, sharey: bool = False) -> "list[Axes]":
    return list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> Path:
    for ax in figure.axes:
        if ax.get_label() != "<colorbar>":
            ax.spines[["top", "right"]].set_visible(False)
    beside = path.with_name(f"{path.name}.part")
    figure.savefig(beside, dpi=150, format="png")
    os.replace(beside, path)
    return path
