"""The figure of the validation: each measure's AUROC with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from subtext.core.writing import replacing
from subtext.replies.measures import CLAIMS

_COLOURS: Final = {"holds": "tab:blue", "includes 0.5": "0.55", "against its claim": "tab:red"}


def draw_validation(content: Mapping[str, Any], path: Path) -> None:
    """Draw the rows of `Validated.as_dict()` as a PNG.

    Args:
        content: the figures.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    rows = [row for row in content["measures"] if row["auroc"]["value"] is not None]
    figure = Figure(figsize=(8.5, 1.6 + 0.24 * (len(rows) + len(CLAIMS))), layout="constrained")
    axes = figure.subplots()
    names, place = [], 0
    for claim, title in CLAIMS.items():
        names.append((place, title, True))
        place += 1
        for row in rows:
            if row["claim"] != claim:
                continue
            area = row["auroc"]
            colour = _COLOURS.get(row["verdict"], "0.55")
            if area.get("low") is not None:
                axes.plot([area["low"], area["high"]], [place, place], color=colour, linewidth=1.5)
            filled = colour if row["codes"] != "human" else "white"
            axes.plot(area["value"], place, "o", color=colour, markerfacecolor=filled, markersize=5)
            codes = f" ({row['codes']} codes)" if row["codes"] else ""
            names.append((place, row["measure"].replace("_", " ") + codes, False))
            place += 1
    axes.axvline(0.5, color="black", linewidth=0.8)
    axes.axvline(content["length"]["value"], color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks([at for at, *_ in names], [name for _, name, _ in names], fontsize=8)
    for label, (_, _, bold) in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if bold else "normal")
    for name, colour in _COLOURS.items():
        axes.plot([], [], "o-", color=colour, markersize=5, label=f"interval {name}" if name[0] == "i" else name)
    axes.plot([], [], "o", color="black", markerfacecolor="white", markersize=5, label="people's codes")
    axes.plot([], [], ":", color="black", linewidth=0.8, label=f"length alone, {content['length']['value']:.3f}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    axes.set_ylim(place - 0.5, -0.7)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"AUROC for high quality, in the claim's direction ({content['sessions']} sessions)", fontsize=9)
    axes.grid(axis="x", linewidth=0.3)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=130)
