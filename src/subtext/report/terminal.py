"""Figures as text: one cell, and the table that a run prints on the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SYSTEM_NAMES: Final[Mapping[str, str]] = {
    "fused": "fused",
    "majority": "majority",
    "metadata": "metadata only",
    "speaker": "speaker lookup",
    "visual": "face alone",
    "text": "words alone",
    "prosody": "voice alone",
    "visual+text": "words + face",
    "visual+prosody": "face + voice",
    "text+prosody": "words + voice",
    "posterior_product": "posterior product",
    "permuted": "permuted streams",
    "shuffled": "shuffled pairs",
    "words_only": "words only",
    "frames_only": "frames only",
    "black_frames": "black frames",
    "other_frames": "other frames",
    "shuffled_frames": "shuffled frames",
    "content_free": "content-free",
}
HEAD_NAMES: Final[Mapping[str, str]] = {
    "incongruent": "words against face",
    "vocal_incongruent": "words against voice",
}
SUBSET_NAMES: Final[Mapping[str, str]] = {"all": "all clips", "all_streams": "clips with all streams"}
_SHORT: Final[Mapping[str, str]] = {"all": "all clips", "all_streams": "all streams"}
METRIC_NAMES: Final[Mapping[str, str]] = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "brier": "Brier",
    "ece": "ECE",
}
MODALITY_NAMES: Final[Mapping[str, str]] = {"visual": "face", "text": "words", "prosody": "voice"}
FEW_MARK: Final = "†"
"""Stands beside an interval that rests on a unit with few clusters."""


def head_name(metrics: Mapping[str, Any], head: str) -> str:
    """What a yes-no head asks: as the corpus says it, since `incongruent` is a proxy in some."""
    return str(metrics.get("question", HEAD_NAMES[head])) if head == "incongruent" else HEAD_NAMES[head]


def system_name(name: str) -> str:
    """What reports call a system; an unknown control keeps its own name."""
    return SYSTEM_NAMES.get(name, name)


def interval_text(figure: Mapping[str, Any] | None, signed: bool = False, digits: int = 3) -> str:
    """A figure of `metrics.json` with its interval, for instance `0.912 [0.890, 0.934]`."""
    if figure is None or figure.get("value") is None:
        return "n/a"
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    text = form.format(figure["value"])
    if figure.get("low") is None:
        return f"{text} [n/a]"
    mark = FEW_MARK if rests_on_few(figure) else ""
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]{mark}"


def number_text(value: float | None, form: str = ".3f") -> str:
    """A number without an interval."""
    return "n/a" if value is None else format(value, form)


def p_text(p: float | None) -> str:
    """A p value with four digits."""
    return "n/a" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def rests_on_few(figure: Mapping[str, Any]) -> bool:
    """Whether the interval was made from a unit with fewer clusters than can be resampled."""
    from subtext.evaluation.intervals import FEW_CLUSTERS

    counts = figure.get("clusters", {})
    few = any(counts.get(unit, FEW_CLUSTERS) < FEW_CLUSTERS for unit in figure.get("units", []))
    return few or bool(figure.get("few"))


def clusters_text(metrics: Mapping[str, Any]) -> str:
    """The units that intervals are clustered by, with their counts: `speaker (24 clusters)`."""
    parts = []
    for unit, entry in metrics["groups"].items():
        count = entry["clusters"]
        parts.append(f"{unit} ({entry['reason']})" if count is None else f"{unit} ({count} clusters)")
    used = [unit for unit, entry in metrics["groups"].items() if entry["clusters"] is not None]
    return " x ".join(parts) if used else " x ".join([*parts, "clip"])


def subsets_to_show(metrics: Mapping[str, Any]) -> list[str]:
    """Subsets in the order that tables give them: the headline first."""
    return [name for name in ("all_streams", "all") if name in metrics["subsets"]]


def result_tables(metrics: Mapping[str, Any], width: int = 80) -> "list[Table]":
    """The tables of a run for a terminal of `width` columns: the controls of each binary head, then the fused model."""
    digits = 3 if width >= 96 else 2
    controlled = [head for head in metrics["heads"] if any(head in control for control in metrics["controls"].values())]
    return [*(_controls_table(metrics, head, digits) for head in controlled), _fused_table(metrics, digits)]


def print_results(metrics: Mapping[str, Any], console: "Console | None" = None) -> None:
    """Print a run's tables, its clusters and what is missing."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console(markup=False)
    _print_labels(metrics, console)
    for table in result_tables(metrics, console.width):
        console.print(table)
    for head, result in metrics["heads"].items():
        area = result.get("folds", {}).get("auroc", {})
        if area.get("mean") is not None:
            spread = "" if area["sd"] is None else f" (sd {area['sd']:.3f})"
            console.print(
                f"{head_name(metrics, head)}: AUROC inside the folds, mean of {area['folds']}: "
                f"{area['mean']:.3f}{spread}. "
                "The pooled figures above also rank clips of different folds' models against each other."
            )
    _print_clusters(metrics, console)
    if metrics["heads"]:
        console.print(
            "Contradiction and mismatch with 0 are each held against congruent clips and not balanced on their own: a "
            "single modality can tell them in part. report.md gives the controls' figures.",
            style="dim",
        )
    for note in metrics["notes"]:
        console.print(f"Note: {escape(note)}", style="yellow")


def any_few(metrics: Mapping[str, Any]) -> bool:
    """Whether a unit has fewer clusters among the test clips than can be resampled."""
    from subtext.evaluation.intervals import FEW_CLUSTERS

    counts = [entry["clusters"] for entry in metrics["groups"].values()]
    return any(count is not None and count < FEW_CLUSTERS for count in counts)


def _controls_table(metrics: Mapping[str, Any], head: str, digits: int) -> "Table":
    subsets = subsets_to_show(metrics)
    table = _table(f"{head_name(metrics, head)} ({head}), test split: AUROC")
    table.add_column("", no_wrap=True)
    for subset in subsets:
        clips = metrics["heads"][head]["subsets"][subset]["clips"]
        table.add_column(f"{_SHORT[subset]}\n({clips} clips)", no_wrap=True)
    table.add_column(f"fused less this,\n{_SHORT[subsets[0]]}", no_wrap=True)
    fused = metrics["heads"][head]["subsets"]
    cells = [interval_text(fused[subset]["metrics"]["auroc"], digits=digits) for subset in subsets]
    table.add_row("fused", *cells, "", style="bold", end_section=True)
    for name, control in metrics["controls"].items():
        if head not in control:
            continue
        entry = control[head]["subsets"]
        cells = [interval_text(entry[subset]["metrics"]["auroc"], digits=digits) for subset in subsets]
        difference = entry[subsets[0]].get("fused_minus_control", {}).get("auroc")
        table.add_row(system_name(name), *cells, interval_text(difference, digits=digits))
    return table


def _fused_table(metrics: Mapping[str, Any], digits: int) -> "Table":
    subsets = subsets_to_show(metrics)
    table = _table("fused model, test split")
    table.add_column("", no_wrap=True)
    for subset in subsets:
        table.add_column(_SHORT[subset], no_wrap=True)

    def add(name: str, entries: Mapping[str, Any], *path: str, last: bool = False) -> None:
        cells = [interval_text(figure_at(entries.get(subset, {}), *path), digits=digits) for subset in subsets]
        table.add_row(name, *cells, end_section=last)

    for head, result in metrics["heads"].items():
        table.add_row(head_name(metrics, head), style="bold")
        for metric, name in METRIC_NAMES.items():
            add(f"  {name}", result["subsets"], "metrics", metric)
        add("  AUROC, contradiction", result["subsets"], "contradiction", "auroc")
        add("  AUROC, mismatch with 0", result["subsets"], "zero_cell", "auroc", last=True)
    add("type, macro-F1", metrics["type"], "metrics", "macro_f1", last="ether_type" not in metrics)
    if "ether_type" in metrics:
        add("  in E-THER's view", metrics["ether_type"], "metrics", "macro_f1", last=True)
    table.add_row("polarity, macro-F1", *[""] * (len(subsets) - 1), "where present", style="bold")
    for modality, entry in metrics["polarity"].items():
        figure = interval_text(figure_at(entry, "metrics", "macro_f1"), digits=digits)
        table.add_row(f"  {MODALITY_NAMES[modality]}", *[""] * (len(subsets) - 1), figure)
    for modality, entry in metrics.get("emotion", {}).items():
        figure = interval_text(figure_at(entry, "metrics", "macro_f1"), digits=digits)
        table.add_row(f"emotion of the {MODALITY_NAMES[modality]}, macro-F1", *[""] * (len(subsets) - 1), figure)
    return table


def _table(title: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )


def figure_at(entry: Mapping[str, Any], *path: str) -> Mapping[str, Any] | None:
    """The figure under a path of keys, None where the path ends early."""
    found: Any = entry
    for key in path:
        if key not in found:
            return None
        found = found[key]
    return found


def print_pooled(pooled: Mapping[str, Any], console: "Console | None" = None) -> None:
    """Print the mean AUROC of several seeds with its interval, beside the controls."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console(markup=False)
    _print_labels(pooled, console)
    for head, subsets in pooled["auroc"].items():
        for subset in ("all_streams", "all"):
            if subset not in subsets:
                continue
            table = _table(
                f"{head_name(pooled, head)} ({head}), {SUBSET_NAMES[subset]}: AUROC, mean of {len(pooled['runs'])} runs"
            )
            for heading in ("", "mean", "sd", "fused less this"):
                table.add_column(heading, no_wrap=True)
            for name, entry in subsets[subset].items():
                spread = entry.get("seed_sd")
                table.add_row(
                    system_name(name),
                    interval_text(entry),
                    "n/a" if spread is None else f"{spread:.3f}",
                    interval_text(entry["fused_minus_control"]) if "fused_minus_control" in entry else "",
                    style="bold" if name == "fused" else None,
                )
            console.print(table)
    _print_clusters(pooled, console)
    for note in pooled["notes"]:
        console.print(f"Note: {escape(note)}", style="yellow")


def _print_labels(metrics: Mapping[str, Any], console: "Console") -> None:
    from rich.markup import escape

    if metrics.get("labels"):
        # The tables' headings say words against face also where the labels are sarcasm or something else.
        console.print(f"Labels: {escape(str(metrics['labels']))}")


def _print_clusters(metrics: Mapping[str, Any], console: "Console") -> None:
    from rich.markup import escape

    console.print(f"95 % intervals clustered by {escape(clusters_text(metrics))}.", style="dim")
    if any_few(metrics):
        console.print(f"{FEW_MARK} rests on fewer than 20 clusters of a unit.", style="dim")
