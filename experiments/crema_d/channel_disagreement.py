"""CREMA-D: perceived disagreement of face and voice beside disagreement within each channel, by agreement threshold.

    python experiments/crema_d/channel_disagreement.py [--folder ../shared/data/crema_d]

Writes `rates.csv`, `rates.md`, `controls.csv` and `rates.png` beside itself. Votes only: no media, no model.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from subtext.corpora.crema_d import LEVELS, CremaD, disagreement_table, vote_controls
from subtext.report.figures import BLUE, GREEN, VERMILION

HERE = Path(__file__).parent
THRESHOLDS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DIVISIONS, SEED = 100, 0
CURVES = {
    ("all", "face and voice"): ("face against voice, all raters", "black", "o", "--"),
    ("halves", "face and voice"): ("face against voice, half the raters each", VERMILION, "s", "-"),
    ("halves", "voice"): ("voice against voice, half the raters each", BLUE, "^", "-"),
    ("halves", "face"): ("face against face, half the raters each", GREEN, "v", "-"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/crema_d"))
    folder = parser.parse_args().folder
    corpus = CremaD(folder=folder)
    tables = []
    for threshold in THRESHOLDS:
        table = disagreement_table(corpus, agreement=threshold, divisions=DIVISIONS, seed=SEED)
        tables.append(table.assign(threshold=threshold))
    rates = pd.concat(tables, ignore_index=True)
    # Single raters have no agreement with anyone: one row serves all thresholds.
    rates = rates[(rates["votes"] != "pairs of raters") | (rates["threshold"] == 0)]
    rates = rates[["level", "threshold", "votes", "compared", "rate", "low", "high", "share"]]
    rates.to_csv(HERE / "rates.csv", index=False, float_format="%.4f")
    (HERE / "rates.md").write_text(markdown(rates), encoding="utf-8")
    draw(rates, HERE / "rates.png")
    controls = [
        vote_controls(CremaD(folder=folder, level=level, agreement=threshold).build(), level).assign(
            level=level, threshold=threshold
        )
        for level in LEVELS
        for threshold in (0.0, 0.6, 0.8)
    ]
    columns = ["level", "threshold", "known", "auroc", "low", "high"]
    pd.concat(controls)[columns].to_csv(HERE / "controls.csv", index=False, float_format="%.4f")


def markdown(rates: pd.DataFrame) -> str:
    """One line a level and threshold, the comparisons side by side."""
    halves = rates[rates["votes"] != "pairs of raters"].copy()
    halves["cell"] = [f"{r.rate:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in halves.itertuples()]
    halves["column"] = halves["compared"] + ", " + halves["votes"]
    wide = halves.pivot(index=["level", "threshold"], columns="column", values="cell")
    share = rates[rates["votes"] == "all"].set_index(["level", "threshold"])["share"]
    wide.insert(0, "clips with a label", [f"{share[row]:.0%}" for row in wide.index])
    order = ["clips with a label", "face and voice, all", "face and voice, halves", "face, halves", "voice, halves"]
    wide = wide[[*order, "excess, halves"]].reset_index()
    lines = ["| " + " | ".join(wide.columns) + " |", "|" + "---|" * len(wide.columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in wide.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def draw(rates: pd.DataFrame, path: Path) -> None:
    """Both levels side by side, one curve a comparison with its band."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for axis, level in zip(axes, ("emotion", "polarity"), strict=True):
        for (votes, compared), (name, colour, marker, line) in CURVES.items():
            chosen = (rates["level"] == level) & (rates["votes"] == votes) & (rates["compared"] == compared)
            # Any untied winner among six emotions has more than a sixth of the votes; 0 stands for "no threshold".
            curve = rates[chosen].sort_values("threshold")
            place = [THRESHOLDS.index(threshold) for threshold in curve["threshold"]]
            axis.plot(place, curve["rate"], line, color=colour, marker=marker, markersize=4, label=name)
            axis.fill_between(place, curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
        axis.set_xticks(range(len(THRESHOLDS)), ["none", *(f"{t:g}" for t in THRESHOLDS[1:])])
        what = "six emotions" if level == "emotion" else "polarity (negative, neutral, positive)"
        axis.set_title(what, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.supxlabel("smallest share of votes for the winning label, in each set of raters compared", fontsize=10)
    axes[0].set_ylabel("labels differ (share of comparisons)")
    axes[0].set_ylim(0, None)
    axes[1].legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
