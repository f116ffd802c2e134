"""Figures as text: one cell, and the table that a run prints on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
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
    "own_product": "its own readings",
    "permuted": "permuted streams",
    "permuted_persons": "permuted persons",
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
DIFFERENCE: Final = "(fused - control)"
"""Whose difference stands beside each control."""
FEW_MARK: Final = "†"
"""Stands beside an interval that rests on a unit with few clusters."""
FEW_LEGEND: Final = f"{FEW_MARK} fewer than 20 clusters of a unit: the interval is rough."


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


def subsets_apart(metrics: Mapping[str, Any]) -> list[str]:
    """The same, without all clips where they all have all streams."""
    first, *others = subsets_to_show(metrics)
    return [first, *(name for name in others if metrics["subsets"][name] != metrics["subsets"][first])]


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
                f"{head_name(metrics, head)}: mean AUROC inside {area['folds']} folds {area['mean']:.3f}{spread}. "
                "The pooled figures above also rank clips of different folds' models against each other."
            )
    _print_clusters(metrics, console)
    if metrics["heads"]:
        console.print(
            "Contradictions and mismatches with 0 are each held against congruent clips. They are not balanced on "
            "their own, so a single modality can tell them in part: report.md has the controls' figures.",
            style="dim",
        )
    for note in metrics["notes"]:
        console.print(f"Note: {escape(note)}", style="yellow")


def headline(metrics: Mapping[str, Any]) -> str:
    """A run's AUROC in a line, for instance `AUROC 0.948 (words against face), 0.871 (words against voice)`."""
    subset = subsets_to_show(metrics)[0]
    areas = {head: found["subsets"][subset]["metrics"]["auroc"]["value"] for head, found in metrics["heads"].items()}
    told = [f"{number_text(area)} ({head_name(metrics, head)})" for head, area in areas.items()]
    return f"AUROC {', '.join(told)}" if told else "no yes-no question"


def any_few(content: Any) -> bool:
    """Whether some interval among the figures of a run, or of several, bears `FEW_MARK`."""
    if isinstance(content, Mapping):
        own = "value" in content and content.get("low") is not None and rests_on_few(content)
        return own or any(any_few(value) for value in content.values())
    return isinstance(content, list) and any(any_few(value) for value in content)


def few_legend(figures: "Sequence[Mapping[str, Any] | None]") -> str:
    """What `FEW_MARK` and hollow points mean, on lines of their own below a picture's text, where it has such."""
    shown = [figure for figure in figures if figure]
    hollow = any(figure.get("value") is not None and figure.get("low") is None for figure in shown)
    return (f"\n{FEW_LEGEND}" if any_few(shown) else "") + ("\nhollow: no interval" if hollow else "")


def _controls_table(metrics: Mapping[str, Any], head: str, digits: int) -> "Table":
    subsets = subsets_apart(metrics)
    table = _table(f"{head_name(metrics, head)} ({head}), test split: AUROC")
    table.add_column("", no_wrap=True)
    for subset in subsets:
        clips = metrics["heads"][head]["subsets"][subset]["clips"]
        table.add_column(f"{_SHORT[subset]}\n({clips} clips)", no_wrap=True)
    table.add_column(f"difference\n{DIFFERENCE}", no_wrap=True)
    if len(subsets) > 1:
        table.caption = f"Differences are of {SUBSET_NAMES[subsets[0]]}."
        table.caption_justify = "left"
    fused = metrics["heads"][head]["subsets"]
    cells = [interval_text(fused[subset]["metrics"]["auroc"], digits=digits) for subset in subsets]
    table.add_row("fused", *cells, "", style="bold", end_section=True)
    for name, control in metrics["controls"].items():
        if head not in control:
            continue
        entry = control[head]["subsets"]
        cells = [interval_text(entry[subset]["metrics"]["auroc"], digits=digits) for subset in subsets]
        difference = entry[subsets[0]].get("fused_minus_control", {}).get("auroc")
        table.add_row(system_name(name), *cells, interval_text(difference, signed=True, digits=digits))
    return table


def _fused_table(metrics: Mapping[str, Any], digits: int) -> "Table":
    """What the fused model has figures of; a question that it does not answer has no row."""
    subsets = subsets_apart(metrics)
    table = _table("fused model, test split")
    table.add_column("", no_wrap=True)
    for subset in subsets:
        table.add_column(_SHORT[subset], no_wrap=True)

    def add(name: str, entries: Mapping[str, Any], *path: str) -> None:
        figures = [figure_at(entries.get(subset, {}), *path) for subset in subsets]
        if any(_is_known(figure) for figure in figures):
            table.add_row(name, *(interval_text(figure, digits=digits) for figure in figures))

    for head, result in metrics["heads"].items():
        table.add_row(head_name(metrics, head), style="bold")
        for metric, name in METRIC_NAMES.items():
            add(f"  {name}", result["subsets"], "metrics", metric)
        add("  AUROC, contradiction", result["subsets"], "contradiction", "auroc")
        add("  AUROC, mismatch with 0", result["subsets"], "zero_cell", "auroc")
        table.add_section()
    add("type, macro-F1", metrics["type"], "metrics", "macro_f1")
    add("  in E-THER's view", metrics.get("ether_type", {}), "metrics", "macro_f1")
    table.add_section()
    apart = list(_each_modality(metrics))
    if apart:
        table.add_row("macro-F1", *[""] * (len(subsets) - 1), "where present", style="bold")
    for name, figure in apart:
        table.add_row(f"  {name}", *[""] * (len(subsets) - 1), interval_text(figure, digits=digits))
    return table


def _each_modality(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Macro-F1 of each modality's polarity and emotion, where it is known."""
    for what in ("polarity", "emotion"):
        for modality, entry in metrics.get(what, {}).items():
            figure = figure_at(entry, "metrics", "macro_f1")
            if figure is not None and _is_known(figure):
                yield f"{what} of the {MODALITY_NAMES[modality]}", figure


def _is_known(figure: Mapping[str, Any] | None) -> bool:
    return figure is not None and figure.get("value") is not None


def print_runs(runs: "Sequence[tuple[str, Mapping[str, Any]]]", console: "Console | None" = None) -> None:
    """Print one table over several runs: the AUROC of each question, on the clips that come first in its own tables.

    Args:
        runs: what sets each apart from the others, and its figures.
        console: where to.
    """
    from rich.console import Console

    console = console or Console(markup=False)
    heads = list(dict.fromkeys(head for _, metrics in runs for head in metrics["heads"]))
    if not heads:
        return
    digits = 3 if console.width >= 96 else 2
    table = _table(f"{len(runs)} runs, test split: AUROC")
    table.add_column("run", overflow="fold")
    for head in heads:
        name = next(head_name(metrics, head) for _, metrics in runs if head in metrics["heads"])
        table.add_column(name, no_wrap=True)
    for name, metrics in runs:
        subset = subsets_to_show(metrics)[0]
        figures = [figure_at(metrics["heads"], head, "subsets", subset, "metrics", "auroc") for head in heads]
        table.add_row(name, *(interval_text(figure, digits=digits) for figure in figures))
    console.print(table)
    console.print("subtext-compare tests the differences between them.", style="dim")


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
    """Print the mean AUROC of several seeds with its interval, beside the controls: one table a question."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console(markup=False)
    _print_labels(pooled, console)
    for head, subsets in pooled["auroc"].items():
        for subset in [name for name in ("all_streams", "all") if name in subsets][:1]:
            table = _table(
                f"{head_name(pooled, head)} ({head}), {SUBSET_NAMES[subset]}: AUROC, mean of {len(pooled['runs'])} runs"
            )
            for heading in ("", "mean", "seed sd", f"difference\n{DIFFERENCE}"):
                table.add_column(heading, no_wrap=True)
            for name, entry in subsets[subset].items():
                spread = entry.get("seed_sd")
                table.add_row(
                    system_name(name),
                    interval_text(entry),
                    "" if spread is None else f"{spread:.3f}",
                    interval_text(entry["fused_minus_control"], signed=True) if "fused_minus_control" in entry else "",
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
        console.print(FEW_LEGEND, style="dim")
