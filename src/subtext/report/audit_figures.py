"""The pictures of an audit: what is shared across splits, what predicts the label, classes by speaker."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from subtext.report.drawing import BLUE, GREY, ORANGE, VERMILION, interval, panels, plain, save, sheet

_MOST: Final = 25


def sides(overlap: pd.DataFrame, path: Path) -> Path | None:
    """Share of judged rows whose unit or content is in training too; None where there is no division.

    Args:
        overlap: columns `division`, `unit`, `share`.
        path: the PNG file.
    """
    if overlap.empty:
        return None
    divisions = list(dict.fromkeys(overlap["division"]))
    most = max((overlap["division"] == division).sum() for division in divisions)
    figure = sheet(3.2 + 3.6 * len(divisions), 1.2 + 0.28 * most)
    for ax, division in zip(panels(figure, len(divisions), len(divisions)), divisions, strict=True):
        rows = overlap[overlap["division"] == division].iloc[::-1]
        places = np.arange(len(rows))
        ax.barh(places, 100 * rows["share"], color=BLUE, height=0.7)
        for place, share in zip(places, rows["share"], strict=True):
            ax.text(100 * share + 1, place, f"{share:.1%}", va="center", fontsize=8)
        ax.set_yticks(places, rows["unit"], fontsize=8)
        ax.set(
            xlim=(0, 115),
            ylim=(-0.6, len(rows) - 0.4),
            xlabel="judged rows, %",
            title=f"shared across splits ({division})",
        )
        ax.set_xticks([0, 25, 50, 75, 100])
    return save(figure, path)


def predictability(tested: pd.DataFrame, path: Path) -> Path | None:
    """AUROC of every variable with its interval, one panel a label, alarms in red; None where nothing was tested.

    Args:
        tested: columns `label`, `variable`, `how`, `auroc`, `low`, `high`, `alarm`.
        path: the PNG file.
    """
    known = tested.dropna(subset=["auroc"]) if len(tested) else tested
    if known.empty:
        return None
    labels = list(dict.fromkeys(known["label"]))
    most = max((known["label"] == label).sum() for label in labels)
    columns = min(len(labels), 3)
    lines = -(-len(labels) // columns)
    figure = sheet(1.6 + 4.4 * columns, lines * (1.2 + 0.27 * most))
    axes = panels(figure, len(labels), columns)
    for ax, label in zip(axes, labels, strict=False):
        rows = known[known["label"] == label].sort_values("auroc")
        ax.axvline(0.5, color="0.7", linewidth=1)
        for place, row in enumerate(rows.itertuples()):
            colour = VERMILION if row.alarm else GREY
            found = {"value": row.auroc, "low": None if pd.isna(row.low) else row.low, "high": row.high}
            interval(ax, found, place, colour, "D" if row.alarm else "o")
        names = [
            f"{row.variable} ({row.how})" if row.how.startswith(("own", "random")) else row.variable
            for row in rows.itertuples()
        ]
        ax.set_yticks(np.arange(len(rows)), names, fontsize=8)
        ax.set(
            xlabel="AUROC with 95 % interval (diamond: alarm)",
            title=label,
            ylim=(-0.6, len(rows) - 0.4),
            xlim=(0.2, 1.02),
        )
    return save(figure, path)


def class_counts(speakers: pd.DataFrame, path: Path) -> Path | None:
    """Negative and positive rows of the speakers with most rows, one panel a label; None without speakers.

    Args:
        speakers: columns `label`, `value`, `negative`, `positive`, most rows first.
        path: the PNG file.
    """
    if speakers.empty:
        return None
    labels = list(dict.fromkeys(speakers["label"]))
    most = min(_MOST, max((speakers["label"] == label).sum() for label in labels))
    columns = min(len(labels), 3)
    lines = -(-len(labels) // columns)
    figure = sheet(1.2 + 4.2 * columns, lines * (1.2 + 0.22 * most))
    axes = panels(figure, len(labels), columns)
    for ax, label in zip(axes, labels, strict=False):
        rows = speakers[speakers["label"] == label]
        shown = rows.head(_MOST).iloc[::-1]
        places = np.arange(len(shown))
        ax.barh(places, shown["negative"], color=BLUE, label="negative", height=0.75)
        ax.barh(places, shown["positive"], left=shown["negative"], color=ORANGE, label="positive", height=0.75)
        ax.set_yticks(places, [plain(str(value), 24) for value in shown["value"]], fontsize=7)
        more = f", {len(shown)} of {len(rows)} speakers" if len(rows) > len(shown) else ""
        ax.set(xlabel="labelled rows", title=f"{label}{more}", ylim=(-0.6, len(shown) - 0.4))
        ax.legend(fontsize=8, loc="lower right")
    return save(figure, path)
