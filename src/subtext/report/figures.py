"""The pictures of a run folder: curves, confusion, reliability, training, controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import FEW_CLUSTERS
from subtext.evaluation.metrics import ECE_BINS, probability_bin
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
    save,
    sheet,
)
from subtext.report.terminal import (
    FEW_MARK,
    HEAD_NAMES,
    METRIC_NAMES,
    MODALITY_NAMES,
    SUBSET_NAMES,
    few_legend,
    figure_at,
    head_name,
    interval_text,
    subsets_apart,
    system_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_FOR_PRECISION: Final = 10
CURVES: Final[Mapping[str, tuple[str, str]]] = {
    "visual": (ORANGE, "--"),
    "text": (GREEN, "-."),
    "prosody": (PURPLE, ":"),
    "posterior_product": (VERMILION, "--"),
    "metadata": (GREY, ":"),
}
"""Controls that stand beside the fused model in the curves: colour and dash."""


def curves(
    predictions: pd.DataFrame, controls: pd.DataFrame | None, head: str, path: Path, metrics: Mapping[str, Any]
) -> Path | None:
    """ROC and precision-recall curves of the test clips; None where the head has one class only.

    Args:
        predictions: predictions table.
        controls: controls table.
        head: the question.
        path: the PNG to write.
        metrics: what `evaluate` gave; the areas stand in the legends, with their intervals.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    labels, scores = _test_scores(predictions, head)
    if len(np.unique(labels)) < 2:
        return None
    systems = {"fused": (labels, scores, BLUE, "-", 2.2)}
    for name, (colour, dash) in CURVES.items():
        if controls is None or f"prob_{head}" not in controls:
            continue
        rows = controls.loc[controls["control"] == name]
        truth, other = _test_scores(rows, head)
        if len(np.unique(truth)) == 2:
            systems[name] = (truth, other, colour, dash, 1.4)
    figure = sheet(9.6, 4.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    right.axhline(labels.mean(), color="0.8", linewidth=1)
    shown = []
    for name, (truth, values, colour, dash, width) in systems.items():
        style = {"color": colour, "linestyle": dash, "linewidth": width}
        false_positive, true_positive, _ = roc_curve(truth, values)
        own = metrics["heads"] if name == "fused" else metrics["controls"].get(name, {})
        areas = [figure_at(own, head, "subsets", "all", "metrics", metric) for metric in ("auroc", "auprc")]
        shown += areas
        label, other_label = (f"{system_name(name)} {interval_text(area, digits=2)}" for area in areas)
        left.plot(false_positive, true_positive, label=label, **style)
        precision, recall, thresholds = precision_recall_curve(truth, values)
        # The precision of a handful of clips is noise. Steps, because it is no straight line between two thresholds.
        enough = (values[:, None] >= thresholds).sum(axis=0) >= FEWEST_FOR_PRECISION
        right.step(recall[:-1][enough], precision[:-1][enough], where="post", label=other_label, **style)
    question = head_name(metrics, head)
    left.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC, {question}")
    right.set(
        xlabel="recall", ylabel="precision", title=f"Precision and recall, {question}", xlim=(0, 1.02), ylim=(0, 1.02)
    )
    if len(labels) < FEWEST_FOR_PRECISION:
        right.text(0.5, 0.6, f"a curve takes {FEWEST_FOR_PRECISION} clips", ha="center", color="0.4")
    left.set_aspect("equal")
    left.legend(title="AUROC [95 % interval]", loc="lower right", fontsize=7, title_fontsize=7)
    right.legend(title="AUPRC [95 % interval]", loc="lower right", fontsize=7, title_fontsize=7)
    figure.suptitle(f"All {len(labels)} test clips with a label{few_legend(shown)}", fontsize=9)
    return save(figure, path)


def confusion(results: Mapping[str, Mapping[str, Any]], path: Path) -> Path | None:
    """Confusion matrices side by side, counts with the share of each row; None where there is none to show.

    Args:
        results: title -> an entry of `metrics.json` with `classes` and `confusion`.
        path: the PNG to write.
    """
    shown = {title: entry for title, entry in results.items() if np.sum(entry.get("confusion", [])) > 0}
    if not shown:
        return None
    largest = max(len(entry["classes"]) for entry in shown.values())
    side = 1.6 + 0.72 * largest
    figure = sheet(side * len(shown) + 0.4, side + 0.2)
    axes = np.atleast_1d(figure.subplots(1, len(shown)))
    for ax, (title, entry) in zip(axes, shown.items(), strict=True):
        _confusion_panel(
            ax, np.asarray(entry["confusion"]), [name.replace("_", " ") for name in entry["classes"]], title
        )
    return save(figure, path)


def reliability(predictions: pd.DataFrame, head: str, path: Path, *, question: str | None = None) -> Path | None:
    """How often clips of each predicted probability are positive, before and after calibration; None without clips.

    The bars are Wilson's 95 % intervals of the share in a bin. They take clips for independent.
    """
    from scipy.special import expit
    from statsmodels.stats.proportion import proportion_confint

    labels, calibrated = _test_scores(predictions, head)
    if not len(labels):
        return None
    series = [("after calibration", calibrated, BLUE, "o", "-")]
    test = predictions.loc[(predictions["split"] == "test") & predictions[head].notna()]
    test = test.loc[test[f"prob_{head}"].notna()]
    if f"logit_{head}" in test and test[f"logit_{head}"].notna().all():
        raw = expit(test[f"logit_{head}"].to_numpy(dtype=np.float64))
        series.insert(0, ("before calibration", raw, ORANGE, "s", "--"))
    figure = sheet(5.4, 6.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    width = 0.8 / ECE_BINS / len(series)
    for index, (name, values, colour, marker, dash) in enumerate(series):
        bins = probability_bin(values)
        counts = np.bincount(bins, minlength=ECE_BINS)
        filled = counts > 0
        mean = np.bincount(bins, weights=values, minlength=ECE_BINS)[filled] / counts[filled]
        positive = np.bincount(bins, weights=labels, minlength=ECE_BINS)[filled]
        share = positive / counts[filled]
        ends = proportion_confint(positive, counts[filled], method="wilson")
        top.vlines(mean, *ends, color=colour, linewidth=1, alpha=0.6)
        error = np.abs(share - mean) @ counts[filled] / counts.sum()
        label = f"{name} (ECE {error:.3f})"
        top.plot(mean, share, color=colour, marker=marker, markersize=5, linestyle=dash, linewidth=1.4, label=label)
        centres = (np.arange(ECE_BINS) + 0.5) / ECE_BINS + (index - (len(series) - 1) / 2) * width
        bottom.bar(centres, counts, width=width, color=colour)
    top.set(
        ylabel="share of positive clips, 95 % interval",
        title=f"Reliability, {question or HEAD_NAMES[head]} ({len(labels)} clips)",
        ylim=(-0.02, 1.02),
        xlim=(0, 1),
    )
    top.legend(loc="upper left", fontsize=9)
    bottom.set(xlabel="predicted probability", ylabel="clips")
    return save(figure, path)


def training_curves(
    history: pd.DataFrame, path: Path, best_epoch: int | None = None, clips: int | None = None
) -> Path | None:
    """Loss and validation figures by epoch; None where the history holds neither.

    Args:
        history: columns `epoch` and any of `train/...`, `val/...`; rows may each hold some of them.
        path: the PNG to write.
        best_epoch: the epoch whose weights were kept, counted from 0.
        clips: of the validation split.
    """
    if "epoch" not in history:
        return None
    numeric = history.select_dtypes("number")
    # Counted from 1, as reports and messages do.
    by_epoch = numeric.groupby(history["epoch"] + 1).mean()
    filled = [str(c) for c in by_epoch if by_epoch[c].notna().any()]
    losses = [c for c in ("train/loss", "train/loss_epoch", "val/loss") if c in filled]
    # What selects the epoch repeats one of the other figures.
    figures = [c for c in filled if c.startswith("val/") and "loss" not in c and c != "val/selection"]
    if not losses and not figures:
        return None
    figure = sheet(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    for column, (colour, dash) in zip(losses, ((ORANGE, "--"), (BLUE, "-"), (GREEN, ":")), strict=False):
        values = by_epoch[column].dropna()
        left.plot(values.index, values, color=colour, linestyle=dash, marker="o", markersize=3, label=column)
    if not figures and "val/selection" in filled:
        figures = ["val/selection"]
    styles = [(c, d) for d in ("-", "--", ":") for c in (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)]
    for name, (colour, dash) in zip(figures, styles, strict=False):
        values = by_epoch[name].dropna()
        label = _validation_name(name)
        right.plot(values.index, values, color=colour, linestyle=dash, marker="o", markersize=3, label=label)
    for ax in (left, right):
        if best_epoch is not None:
            ax.axvline(best_epoch + 1, color="0.6", linewidth=1, linestyle=":", label="epoch kept")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
    left.set(xlabel="epoch", ylabel="loss", title="Training and validation loss")
    of = "" if clips is None else f", {clips} clips, no intervals"
    right.set(xlabel="epoch", ylabel="value", title=f"Validation figures{of}")
    return save(figure, path)


def forest(metrics: Mapping[str, Any], head: str, path: Path) -> Path | None:
    """AUROC of the fused model and of every control with its 95 % interval; None where none has one."""
    rows: list[tuple[str, dict[str, Any]]] = [("fused", _aurocs(metrics["heads"][head]))]
    for name, control in metrics["controls"].items():
        if head in control:
            rows.append((name, _aurocs(control[head])))
    rows = [(name, found) for name, found in rows if any(f["value"] is not None for f in found.values())]
    if not rows:
        return None
    subsets = subsets_apart(metrics)
    figure = sheet(8.4, 1.6 + 0.42 * len(rows))
    ax = figure.subplots()
    ax.axvline(0.5, color="0.75", linewidth=1)
    styles = {"all_streams": (BLUE, "o", -0.13), "all": (ORANGE, "s", 0.13)}
    for subset in subsets:
        colour, marker, shift = styles[subset]
        label: str | None = SUBSET_NAMES[subset]
        for position, (_, found) in enumerate(rows):
            interval(ax, found.get(subset, {"value": None}), position + shift, colour, marker, label=label)
            label = None
    figures = [found.get(subset) for _, found in rows for subset in subsets]
    texts = [interval_text(found.get(subsets[0]), digits=2) for _, found in rows]
    named_rows(ax, [system_name(name) for name, _ in rows], texts, f"AUROC, {SUBSET_NAMES[subsets[0]]}")
    low = min((f["low"] for _, found in rows for f in found.values() if f["low"] is not None), default=0.4)
    ax.set(
        xlabel=f"AUROC with 95 % interval{few_legend(figures)}",
        xlim=(min(0.4, low - 0.02), 1.01),
        title=f"Fused model and controls, {head_name(metrics, head)}",
    )
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return save(figure, path)


def run_figures(
    folder: Path,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
    best_epoch: int | None = None,
) -> list[Path]:
    """Write every figure that the tables allow.

    Args:
        folder: where the PNG files go.
        metrics: what `evaluate` gave.
        predictions: predictions table.
        controls: controls table.
        history: a row an epoch.
        best_epoch: the epoch whose weights were kept.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path | None] = []
    for head in metrics["heads"]:
        written.append(forest(metrics, head, folder / f"controls_{head}.png"))
        asked = head_name(metrics, head)
        written.append(curves(predictions, controls, head, folder / f"roc_pr_{head}.png", metrics))
        written.append(reliability(predictions, head, folder / f"reliability_{head}.png", question=asked))
    written.append(confusion({"Incongruence type, all clips": metrics["type"]["all"]}, folder / "confusion_type.png"))
    polarity = {f"Polarity of the {MODALITY_NAMES[m]}": entry for m, entry in metrics["polarity"].items()}
    written.append(confusion(polarity, folder / "confusion_polarity.png"))
    if history is not None:
        clips = metrics["clips"].get("val")
        written.append(training_curves(history, folder / "training.png", best_epoch, clips))
    return [path for path in written if path is not None]


def _validation_name(column: str) -> str:
    """A column of the history for people: `val/incongruent_auroc` is the AUROC of incongruent."""
    what = column.removeprefix("val/")
    for metric, name in METRIC_NAMES.items():
        if what.endswith(f"_{metric}"):
            return f"{name}, {what.removesuffix(f'_{metric}').replace('_', ' ')}"
    return "score" if what == "selection" else what.replace("_", " ")


def _confusion_panel(ax: "Axes", counts: np.ndarray, names: Sequence[str], title: str) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        if totals[row, 0]:
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            colour = "white" if shares[row, column] > 0.55 else "black"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    few = {True: FEW_MARK, False: ""}
    labels = [
        f"{name}\n(n = {int(total)}){few[0 < total < FEW_CLUSTERS]}"
        for name, total in zip(names, totals[:, 0], strict=True)
    ]
    ax.set_yticks(range(len(names)), labels, fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
    # Where few clips bear a label, its shares are rough.
    mark = f"\n{FEW_MARK} fewer than {FEW_CLUSTERS} clips" if ((totals > 0) & (totals < FEW_CLUSTERS)).any() else ""
    ax.set(xlabel=f"predicted{mark}", ylabel="label", title=title)


def _aurocs(result: Mapping[str, Any]) -> dict[str, Any]:
    return {subset: entry["metrics"]["auroc"] for subset, entry in result["subsets"].items()}


def _test_scores(table: pd.DataFrame, head: str) -> tuple[np.ndarray, np.ndarray]:
    rows = table.loc[(table["split"] == "test") & table[head].notna() & table[f"prob_{head}"].notna()]
    return rows[head].to_numpy(dtype=bool), rows[f"prob_{head}"].to_numpy(dtype=np.float64)
