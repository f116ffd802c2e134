"""The picture of what missing and spoiled streams cost: a panel a condition, a line a system."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from subtext.evaluation.conditions import CLEAN, CONDITIONS, Condition, dropped
from subtext.labels import MODALITIES
from subtext.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, panels, plain, save, sheet
from subtext.report.terminal import MODALITY_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES: Final = [
    (colour, dash, marker)
    for dash, marker in (("-", "o"), ("--", "s"), (":", "^"))
    for colour in (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
]
_TITLES: Final[Mapping[str, str]] = {
    "blur": "blur",
    "occlusion": "occlusion",
    "noise": "white noise",
    "pink": "pink noise",
    "word_error": "word errors",
    "feature_noise": "feature noise",
}
_AXES: Final[Mapping[str, str]] = {
    "blur": "sd of the blur / height of the face",
    "occlusion": "occluded share of the face",
    "word_error": "word error rate",
}


def robustness_figure(
    systems: Mapping[str, pd.DataFrame],
    path: Path,
    *,
    areas: Mapping[str, pd.DataFrame] | None = None,
    question: str = "",
) -> Path | None:
    """AUROC along each condition's strengths and by what was dropped, with 95 % intervals; None without a condition.

    The horizontal axes are those along which areas are taken, so that an area is what one sees. Systems differ in
    colour, then in dash and marker.

    Args:
        systems: name -> its table of points, see `RobustnessCurves.point_table`.
        path: the PNG to write.
        areas: name -> its table of areas, whose figures then stand in the legends.
        question: what the AUROC is of, for the title.
    """
    found = {name for table in systems.values() for name in table["condition"]}
    curves = [name for name in CONDITIONS if name in found]
    drops = sorted({name for name in found if dropped(name)}, key=_drop_order)
    if not curves and not drops:
        return None
    count = len(curves) + bool(drops)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = sheet(1.2 + 3.7 * columns, 0.9 + 3.1 * rows)
    axes = panels(figure, count, columns, sharey=True)
    styles = {name: _STYLES[number % len(_STYLES)] for number, name in enumerate(systems)}
    if drops:
        _drop_panel(axes[0], systems, drops, styles)
    for ax, name in zip(axes[bool(drops) :], curves, strict=False):
        own = {} if areas is None else {system: _area(table, name) for system, table in areas.items()}
        _curve_panel(ax, systems, CONDITIONS[name], styles, own)
    for ax in axes:
        ax.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    for ax in axes[::columns]:
        ax.set_ylabel("AUROC")
    # A single panel is too narrow for it in one line.
    between = ": " if columns > 1 else ":\n"
    figure.suptitle(f"Missing and degraded streams{between + question if question else ''}, with 95 % intervals")
    if len(systems) > 1:
        # Drawn nowhere, so that every system has its sign, whichever panels it is in.
        handles = [
            axes[0].plot([], [], color=colour, linestyle=dash, marker=marker, markersize=4, label=plain(name))[0]
            for name, (colour, dash, marker) in styles.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(systems)), fontsize=9)
    return save(figure, path)


def _curve_panel(
    ax: "Axes",
    systems: Mapping[str, pd.DataFrame],
    condition: Condition,
    styles: Mapping[str, tuple[str, str, str]],
    areas: Mapping[str, float | None],
) -> None:
    ticks = {0.0: "none"} if condition.noise else {0.0: "0"}
    for system, table in systems.items():
        own = table[table["condition"].isin([CLEAN, condition.name])].astype({"level": float}).sort_values("level")
        own = own.dropna(subset=["auroc"])
        if len(own) < 2:
            continue
        values = own[["auroc", "low", "high"]].astype(float)
        colour, dash, marker = styles[system]
        area = areas.get(system)
        label = None if area is None else f"area {area:.3f}"
        ax.plot(own["level"], values["auroc"], color=colour, linestyle=dash, marker=marker, markersize=4, label=label)
        ax.fill_between(own["level"], values["low"], values["high"], color=colour, alpha=0.15, linewidth=0)
        for level, strength in zip(own["level"], own["strength"], strict=True):
            if level > 0:
                ticks[level] = f"{strength:g}"
    ax.set_xticks(sorted(ticks), [ticks[level] for level in sorted(ticks)], fontsize=8)
    kind = condition.name.split(":")[1]
    ax.set_xlabel("SNR (dB)" if condition.noise else _AXES[kind], fontsize=9)
    ax.set_title(f"{MODALITY_NAMES[condition.modality]}: {_TITLES[kind]}", fontsize=10)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8, loc="lower left")


def _drop_panel(
    ax: "Axes",
    systems: Mapping[str, pd.DataFrame],
    drops: list[str],
    styles: Mapping[str, tuple[str, str, str]],
) -> None:
    names = [CLEAN, *drops]
    for number, (system, table) in enumerate(systems.items()):
        own = (
            table[table["condition"].isin(names)]
            .set_index("condition")
            .reindex(names)[["auroc", "low", "high"]]
            .astype(float)
        )
        colour, _, marker = styles[system]
        places = np.arange(len(names)) + (number - (len(systems) - 1) / 2) * 0.6 / len(systems)
        ax.vlines(places, own["low"], own["high"], color=colour, linewidth=1.6)
        ax.plot(places, own["auroc"], color=colour, marker=marker, markersize=4, linestyle="")
    told = ["nothing", *(" +\n".join(MODALITY_NAMES[m] for m in dropped(name)) for name in drops)]
    ax.set_xticks(range(len(names)), told, fontsize=8)
    ax.set_xlabel("missing", fontsize=9)
    ax.set_title("Missing streams", fontsize=10)


def _drop_order(name: str) -> tuple[int, list[int]]:
    return len(dropped(name)), [MODALITIES.index(m) for m in dropped(name)]


def _area(table: pd.DataFrame, condition: str) -> float | None:
    found = table.loc[table["condition"] == condition, "area"].dropna()
    return float(found.iloc[0]) if len(found) else None
