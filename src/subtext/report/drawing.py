"""What all figures share: colours, the sheet, a point with its interval, rows with their figures, panels.

Colours are Okabe and Ito's, which stay apart for readers with colour vision deficiencies; lines differ in dash as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from subtext.core.writing import replacing
from subtext.report.terminal import FEW_MARK, rests_on_few

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
GREY: Final = "#7F7F7F"


def sheet(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    # A bare Figure draws with Agg and leaves pyplot's global state alone.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, without frames."""
    for ax in figure.axes:
        for panel in (ax, *ax.child_axes):
            panel.spines[["top", "right"]].set_visible(False)
    with replacing(path) as place:
        figure.savefig(place, dpi=150)
    return path


def panels(figure: "Figure", count: int, columns: int, **shared: Any) -> "np.ndarray[Any, Any]":
    """Axes in rows of so many; those beyond the count are hidden.

    Args:
        figure: the sheet.
        count: panels.
        columns: panels in a row.
        shared: `sharex` and `sharey` as matplotlib takes them.
    """
    axes = np.atleast_1d(figure.subplots(-(-count // columns), columns, **shared)).ravel()
    for ax in axes[count:]:
        ax.set_visible(False)
    return axes


def plain(name: str, most: int = 44) -> str:
    """A name as text that stands in a figure: shortened, and never taken for mathematics."""
    # Matplotlib takes text between two dollar signs for mathematics.
    return (name if len(name) <= most else f"{name[: most - 2]}...").replace("$", r"\$")


def interval(
    ax: "Axes",
    found: Mapping[str, Any],
    place: float,
    colour: str,
    marker: str = "o",
    *,
    size: float = 5,
    width: float = 1.6,
    label: str | None = None,
    marked: bool = False,
) -> None:
    """A figure of `metrics.json` as a point, hollow without an interval, which is a line; nothing without a value.

    With `marked`, an interval that rests on few clusters bears `FEW_MARK`, for figures without a column of numbers.
    """
    if found["value"] is None:
        return
    if found["low"] is not None:
        ax.plot([found["low"], found["high"]], [place] * 2, color=colour, linewidth=width)
    face = colour if found["low"] is not None else "white"
    ax.plot(
        found["value"],
        place,
        marker=marker,
        color=colour,
        markerfacecolor=face,
        markersize=size,
        linestyle="",
        label=label,
    )
    if marked and found.get("low") is not None and rests_on_few(found):
        ax.annotate(
            FEW_MARK, (found["value"], place), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8
        )


def named_rows(ax: "Axes", names: Sequence[str], figures: Sequence[str], heading: str = "") -> None:
    """Rows from the top down, each with its name on the left and its figure on the right."""
    ax.set_yticks(range(len(names)), names)
    right = ax.secondary_yaxis("right")
    right.set_ylabel(heading, fontsize=8)
    right.set_yticks(range(len(names)), figures)
    right.tick_params(length=0, labelsize=8)
    ax.invert_yaxis()
