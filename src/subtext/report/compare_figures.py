"""The pictures of a comparison: systems and controls, their differences, calibration, types, cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import FEW_CLUSTERS
from subtext.evaluation.multiple import VERDICT_WORDS, Verdict
from subtext.evaluation.robustness import AREA_COLUMNS, POINT_COLUMNS
from subtext.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    interval,
    named_rows,
    panels,
    plain,
    save,
    sheet,
)
from subtext.report.robustness_figures import robustness_figure
from subtext.report.terminal import (
    FEW_MARK,
    MODALITY_NAMES,
    SUBSET_NAMES,
    few_legend,
    head_name,
    interval_text,
    rests_on_few,
    system_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final = ("-", "--", "-.", ":")
VERDICT_COLOURS: Final[Mapping[Verdict, str]] = {
    "better": BLUE,
    "worse": VERMILION,
    "tie": GREEN,
    "undecided": ORANGE,
    "not_distinguished": GREY,
    "untested": "0.8",
}


def comparison_figures(folder: Path, comparison: Mapping[str, Any]) -> list[Path]:
    """Write every figure that the comparison allows, and remove those of an earlier one.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    written: list[Path | None] = []
    for head in comparison["heads"]:
        subset = headline(comparison, head)
        written.append(systems_forest(comparison, head, subset, folder / f"auroc_{head}.png"))
        written.append(differences_forest(comparison, head, subset, folder / f"differences_{head}.png"))
        written.append(difference_matrix(comparison, head, subset, folder / f"pairs_{head}.png"))
        written.append(within_strips(comparison, head, subset, folder / f"within_{head}.png"))
        written.append(reliability(comparison, head, folder / f"reliability_{head}.png"))
        written.append(types(comparison, head, folder / f"types_{head}.png"))
        written.append(robustness(comparison, head, folder / f"robustness_{head}.png"))
        written.append(cost(comparison, head, subset, folder / f"cost_{head}.png"))
    return [path for path in written if path is not None]


def headline(comparison: Mapping[str, Any], head: str) -> str:
    """The subset whose figures come first: clips with all streams, where that is known."""
    subsets = comparison["heads"][head]["subsets"]
    return "all_streams" if "all_streams" in subsets else "all"


def ranked(entry: Mapping[str, Any]) -> list[str]:
    """Systems by their AUROC, best first."""
    found = {name: system["metrics"]["auroc"]["value"] for name, system in entry["systems"].items()}
    return sorted(found, key=lambda name: (found[name] is None, -(found[name] or 0.0), name))


def shown_controls(comparison: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
    """The system whose controls stand beside all: the reference's, else those of the best that has some."""
    candidates = [comparison["reference"], *ranked(entry)]
    return next((name for name in candidates if name in entry["controls"]), None)


def systems_forest(comparison: Mapping[str, Any], head: str, subset: str, path: Path) -> Path | None:
    """AUROC of every system with its interval and each seed's value, and of the controls."""
    entry = comparison["heads"][head]["subsets"][subset]
    rows = [
        (name, entry["systems"][name]["metrics"]["auroc"], BLUE, "o")
        for name in ranked(entry)
        if entry["systems"][name]["metrics"]["auroc"]["value"] is not None
    ]
    if not rows:
        return None
    whose = shown_controls(comparison, entry)
    for name, control in entry["controls"].get(whose, {}).items():
        figure = control["metrics"]["auroc"]
        if figure["value"] is not None:
            rows.append((f"control: {system_name(name)}", figure, GREY, "s"))
    figure_ = sheet(9.4, 1.7 + 0.36 * len(rows))
    ax = figure_.subplots()
    ax.axvline(0.5, color="0.75", linewidth=1)
    for place, (_, figure, colour, marker) in enumerate(rows):
        each = figure.get("per_seed", [])
        if len(each) > 1:
            ax.plot(each, [place + 0.24] * len(each), "|", color=colour, markersize=6, alpha=0.8)
        interval(ax, figure, place, colour, marker, size=6, width=1.8)
    named_rows(ax, [plain(name) for name, *_ in rows], [interval_text(figure) for _, figure, *_ in rows])
    lows = [end for _, f, *_ in rows for end in (f["low"], *f.get("per_seed", [f["value"]])) if end is not None]
    few = few_legend([found for _, found, *_ in rows])
    ax.set(
        xlabel=f"AUROC with 95 % interval, {SUBSET_NAMES[subset]} ({entry['clips']}); ticks: single seeds{few}",
        xlim=(min(0.4, min(lows) - 0.02), 1.01),
        title=f"Systems and controls, {head_name(comparison, head)}",
    )
    if whose is not None and len(entry["controls"]) > 1:
        ax.set_ylabel(f"controls of {plain(whose)}", fontsize=8)
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    return save(figure_, path)


def differences_forest(comparison: Mapping[str, Any], head: str, subset: str, path: Path) -> Path | None:
    """AUROC of each system less the reference's, with verdict, margin and minimum detectable difference."""
    entry = comparison["heads"][head]["subsets"][subset]
    shown = [("all clips compared", entry["differences"]["reference"])]
    if "within" in entry:
        shown.append((f"inside each {entry['within']['unit']}", entry["within"]["differences"]["reference"]))
    shown = [(title, [row for row in rows if row["value"] is not None]) for title, rows in shown]
    shown = [(title, rows) for title, rows in shown if rows]
    if not shown:
        return None
    order = [row["system"] for row in sorted(shown[0][1], key=lambda row: -row["value"])]
    figure = sheet(3.2 + 4.6 * len(shown), 1.9 + 0.42 * len(order))
    axes = panels(figure, len(shown), len(shown), sharey=True)
    seen: dict[Verdict, None] = {}
    margin = comparison["settings"]["margin"]
    for ax, (title, rows) in zip(axes, shown, strict=True):
        ax.axvline(0, color="0.6", linewidth=1)
        for end in (-margin, margin):
            ax.axvline(end, color="0.6", linewidth=0.8, linestyle=":")
        for row in rows:
            place, colour = order.index(row["system"]), VERDICT_COLOURS[row["verdict"]]
            seen[row["verdict"]] = None
            if row.get("minimal_detectable") is not None:
                size = row["minimal_detectable"]
                ax.fill_betweenx([place - 0.34, place + 0.34], -size, size, color="0.93", linewidth=0)
            interval(ax, row, place, colour, size=6, width=2, marked=True)
        ax.set(xlabel=f"difference in AUROC (system - {plain(comparison['reference'])})", title=title)
    axes[0].set_yticks(range(len(order)), [plain(name) for name in order])
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    for verdict in VERDICT_COLOURS:
        if verdict in seen:
            axes[0].plot([], [], "o-", color=VERDICT_COLOURS[verdict], label=VERDICT_WORDS[verdict])
    axes[0].fill_between([], [], [], color="0.88", label="below the minimum detectable difference (power 0.8)")
    axes[0].plot([], [], ":", color="0.6", linewidth=0.8, label=f"margin of a tie, {margin:g}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    few = few_legend([row for _, rows in shown for row in rows])
    what = f"{head_name(comparison, head)}, {SUBSET_NAMES[subset]}"
    figure.suptitle(f"Paired differences, {what}\nverdicts after Holm's correction{few}", fontsize=11)
    return save(figure, path)


def difference_matrix(comparison: Mapping[str, Any], head: str, subset: str, path: Path) -> Path | None:
    """AUROC of the row less that of the column, bold and starred where Holm's correction over all pairs leaves it."""
    entry = comparison["heads"][head]["subsets"][subset]
    names = ranked(entry)
    rows = [row for row in entry["differences"]["all_pairs"] if row["value"] is not None]
    if len(names) < 3 or not rows:
        return None
    values = np.full((len(names), len(names)), np.nan)
    real, rough = np.zeros_like(values, dtype=bool), np.zeros_like(values, dtype=bool)
    for row in rows:
        one, other = names.index(row["system"]), names.index(row["other"])
        values[one, other], values[other, one] = row["value"], -row["value"]
        real[one, other] = real[other, one] = row["verdict"] in ("better", "worse")
        rough[one, other] = rough[other, one] = rests_on_few(row)
    side = 2.6 + 0.72 * len(names)
    figure = sheet(side + 1.2, side)
    ax = figure.subplots()
    largest = max(0.02, float(np.nanmax(np.abs(values))))
    image = ax.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
    for one, other in zip(*np.nonzero(~np.isnan(values)), strict=True):
        bright = abs(values[one, other]) > 0.6 * largest
        ax.text(
            other,
            one,
            f"{values[one, other]:+.3f}{'*' if real[one, other] else ''}{FEW_MARK if rough[one, other] else ''}",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if real[one, other] else "normal",
            color="white" if bright else "black",
        )
    ax.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    ax.set_xticks(
        range(len(names)),
        [plain(name) for name in names],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
    )
    alpha = comparison["settings"]["alpha"]
    tested = sum(row["p"] is not None for row in rows)
    told = f"* significant at {alpha:g} after Holm's correction over {tested} pairs" if tested else "too few to tell"
    figure.suptitle(
        f"Difference in AUROC (row - column)\n{head_name(comparison, head)}, {SUBSET_NAMES[subset]}\n"
        f"{told}{few_legend(rows)}",
        fontsize=9,
    )
    figure.colorbar(image, ax=ax, shrink=0.7)
    return save(figure, path)


def within_strips(comparison: Mapping[str, Any], head: str, subset: str, path: Path) -> Path | None:
    """AUROC inside each unit: a point each, and their mean with a t interval."""
    entry = comparison["heads"][head]["subsets"][subset]
    within = entry.get("within")
    if within is None:
        return None
    names = [name for name in ranked(entry) if within["systems"][name]["value"] is not None]
    if not names:
        return None
    figure = sheet(8.4, 1.7 + 0.5 * len(names))
    ax = figure.subplots()
    ax.axvline(0.5, color="0.75", linewidth=1)
    for place, name in enumerate(names):
        each = [value for value in within["each"][name].values() if value is not None]
        ax.plot(each, [place + 0.2] * len(each), "o", color=SKY, markersize=4, alpha=0.6)
        interval(ax, within["systems"][name], place - 0.1, BLUE, "D", size=6, width=2)
    named_rows(ax, [plain(name) for name in names], [interval_text(within["systems"][name]) for name in names])
    few = few_legend([within["systems"][name] for name in names])
    ax.set(
        xlabel=f"AUROC inside each {within['unit']} (points), mean with 95 % t interval{few}",
        title=f"Inside each {within['unit']}, {head_name(comparison, head)}, {SUBSET_NAMES[subset]}",
    )
    return save(figure, path)


def reliability(comparison: Mapping[str, Any], head: str, path: Path) -> Path | None:
    """Share of positives against predicted probability, before and after temperature scaling."""
    found = comparison["heads"][head]["calibration"]
    if not found:
        return None
    figure = sheet(10.8, 5.6)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, when in zip(axes, ("before", "after"), strict=True):
        ax.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        for style, (name, entry) in zip(_styles(len(found)), sorted(found.items()), strict=True):
            bins = entry["bins"].get(when)
            if not bins:
                continue
            error = entry[when]["ece"]["value"]
            label = f"{plain(name)} ({'n/a' if error is None else f'{error:.3f}'})"
            x, y, clips = ([b[key] for b in bins] for key in ("probability", "positive", "clips"))
            ax.plot(x, y, label=label, markersize=4, linewidth=1.3, **style)
            # A bin of few clips is a rough share.
            rough = [place for place, number in enumerate(clips) if number < FEW_CLUSTERS]
            hollow = {"color": style["color"], "marker": style["marker"], "linestyle": "", "markerfacecolor": "white"}
            ax.plot([x[place] for place in rough], [y[place] for place in rough], markersize=4, zorder=3, **hollow)
        title = f"{head_name(comparison, head).capitalize()}, {when} temperature scaling"
        label = f"predicted probability (hollow: fewer than {FEW_CLUSTERS} clips)"
        ax.set(xlabel=label, title=title, xlim=(0, 1), ylim=(-0.02, 1.02))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(title="ECE", fontsize=7, title_fontsize=8, loc="lower right")
    axes[0].set_ylabel("share of positive clips, all test clips")
    return save(figure, path)


def types(comparison: Mapping[str, Any], head: str, path: Path) -> Path | None:
    """AUROC of each type against congruent clips, a panel a type."""
    found = comparison["heads"][head]["types"]
    kinds = [kind for kind, entry in found.items() if isinstance(entry, Mapping) and kind != "congruent"]
    if not kinds:
        return None
    entry = comparison["heads"][head]["subsets"]["all"]
    names = ranked(entry)
    whose = shown_controls(comparison, entry)
    alone = [
        (control, True) for control in MODALITY_NAMES if control in found[kinds[0]]["controls"].get(whose or "", {})
    ]
    rows = [(name, False) for name in names] + alone
    figure = sheet(2.4 + 2.5 * len(kinds), 1.8 + 0.34 * len(rows))
    axes = panels(figure, len(kinds), len(kinds), sharey=True, sharex=True)
    areas: list[Mapping[str, Any]] = []
    for ax, kind in zip(axes, kinds, strict=True):
        ax.axvline(0.5, color="0.75", linewidth=1)
        for place, (name, is_control) in enumerate(rows):
            source = found[kind]["controls"][whose] if is_control else found[kind]["systems"]
            colour, marker = (GREY, "s") if is_control else (BLUE, "o")
            area = source[name].get("auroc", {"value": None})
            areas.append(area)
            interval(ax, area, place, colour, marker, width=1.5, marked=True)
        ax.set_title(f"{kind.replace('_', ' ')}\n({found[kind]['clips']} clips)", fontsize=9)
        ax.set_xlabel("AUROC", fontsize=8)
        ax.grid(axis="x", color="0.92")
    labels = [f"control: {system_name(name)}" if is_control else plain(name) for name, is_control in rows]
    axes[0].set_yticks(range(len(rows)), labels, fontsize=8)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    what = f"Each type against congruent clips, {head_name(comparison, head)}"
    figure.suptitle(f"{what}, 95 % intervals{few_legend(areas)}", fontsize=11)
    return save(figure, path)


def robustness(comparison: Mapping[str, Any], head: str, path: Path) -> Path | None:
    """AUROC of all systems as streams are dropped or spoiled, a panel a condition."""
    found = sorted(comparison["robustness"].get(head, {}).items())
    # A system whose streams were only dropped has no area, and its empty table needs its columns all the same.
    points, areas = (
        {name: pd.DataFrame(entry[key], columns=list(columns)) for name, entry in found}
        for key, columns in (("points", POINT_COLUMNS), ("areas", AREA_COLUMNS))
    )
    if not points:
        return None
    return robustness_figure(points, path, areas=areas, question=head_name(comparison, head))


def cost(comparison: Mapping[str, Any], head: str, subset: str, path: Path) -> Path | None:
    """AUROC against operations a clip."""
    entry = comparison["heads"][head]["subsets"][subset]
    points = {
        name: (comparison["cost"][name]["flops_per_clip"], entry["systems"][name]["metrics"]["auroc"])
        for name in sorted(entry["systems"])
        if comparison["cost"].get(name, {}).get("flops_per_clip")
        and entry["systems"][name]["metrics"]["auroc"]["value"] is not None
    }
    if not points:
        return None
    figure = sheet(8.4, 4.6)
    ax = figure.subplots()
    for style, (name, (flops, area)) in zip(_styles(len(points)), points.items(), strict=True):
        if area["low"] is not None:
            ax.plot([flops] * 2, [area["low"], area["high"]], color=style["color"], linewidth=1.3, alpha=0.7)
        ax.plot(flops, area["value"], style["marker"], color=style["color"], markersize=8, label=plain(name))
        if rests_on_few(area) and area["low"] is not None:
            ax.annotate(FEW_MARK, (flops, area["value"]), xytext=(7, 0), textcoords="offset points", fontsize=9)
    ax.set_xscale("log")
    ax.margins(x=0.12)
    _few_log_ticks(ax)
    ax.set(
        xlabel=f"floating-point operations a clip (log scale){few_legend([area for _, area in points.values()])}",
        ylabel="AUROC with 95 % interval",
        title=f"What a clip costs, {head_name(comparison, head)}, {SUBSET_NAMES[subset]}",
    )
    ax.grid(color="0.93")
    ax.set_axisbelow(True)
    figure.legend(loc="outside right upper", fontsize=8)
    return save(figure, path)


def _few_log_ticks(ax: "Axes") -> None:
    """Readable ticks where all values lie within one power of ten."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = ax.get_xlim()
    narrow = high / low < 12
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _styles(count: int) -> list[dict[str, Any]]:
    """Colour, marker and dash of each of so many systems."""
    return [
        {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[(place + place // len(COLOURS)) % len(MARKERS)],
            "linestyle": DASHES[(place // len(COLOURS)) % len(DASHES)],
        }
        for place in range(count)
    ]
