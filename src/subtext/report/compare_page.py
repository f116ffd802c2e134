"""`comparison.md`: what a comparison found, on one page, and the same on a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.core.writing import write_text
from subtext.evaluation.compare import LEAST_CLIPS, LEAST_OF_A_LABEL
from subtext.evaluation.conditions import CLEAN, CONDITIONS, dropped
from subtext.evaluation.intervals import enough
from subtext.evaluation.multiple import VERDICT_WORDS, VERDICTS
from subtext.report.compare_figures import headline, ranked, shown_controls
from subtext.report.compare_tables import TABLES, flat_cost, mean_temperature
from subtext.report.markdown import markdown
from subtext.report.terminal import (
    FEW_LEGEND,
    METRIC_NAMES,
    SUBSET_NAMES,
    any_few,
    clusters_text,
    head_name,
    interval_text,
    number_text,
    p_text,
    system_name,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

METRICS: Final = {**METRIC_NAMES, "log_loss": "log loss"}
CAPTIONS: Final[Mapping[str, str]] = {
    "auroc": "AUROC of systems and controls",
    "differences": "Paired differences against the reference",
    "pairs": "Paired differences of all pairs",
    "within": "AUROC inside each unit",
    "reliability": "Predicted probability against the share of positive clips",
    "types": "Each type against congruent clips",
    "robustness": "Missing and degraded streams",
    "cost": "AUROC against operations a clip",
}
BUSY: Final = 0.9
"""Share of the time with a core below which measured times are those of a machine with other work."""


def write_comparison_page(path: Path, comparison: Mapping[str, Any], *, figures: Sequence[Path] = ()) -> Path:
    """Write what `compare_runs` found as Markdown."""
    flat = {name: flat_cost(found) for name, found in comparison["cost"].items()}
    page = markdown(
        "report/templates/comparison.md.j2",
        comparison=comparison,
        alarms=list(_alarms(comparison)),
        clusters=clusters_text(comparison),
        few_legend=FEW_LEGEND,
        words=VERDICT_WORDS,
        metrics=METRICS,
        other_metrics={name: words for name, words in METRICS.items() if name != "auroc"},
        least_clips=LEAST_CLIPS,
        least_of_a_label=LEAST_OF_A_LABEL,
        verdicts=VERDICTS,
        reading=lambda head: head_reading(comparison, head),
        headline=lambda head: headline(comparison, head),
        shown=lambda head: _shown(comparison, head),
        ranked=ranked,
        shown_controls=lambda entry: shown_controls(comparison, entry),
        above_all=_above_all,
        controls_of=lambda entry, owners: dict.fromkeys(name for owner in owners for name in entry["controls"][owner]),
        type_controls=_type_controls,
        units_in=lambda within: max(
            (sum(area is not None for area in each.values()) for each in within["each"].values()), default=0
        ),
        turned=_turned,
        setting=_setting,
        quantity=_quantity,
        mean_temperature=mean_temperature,
        robustness_section=robustness_section,
        costs={
            "flat": flat,
            "columns": dict.fromkeys(key for found in flat.values() for key in found),
            "slowed": [name for name, found in flat.items() if found.get("core_share", 1.0) < BUSY],
        },
        figures=[(_caption(comparison, figure), figure.relative_to(path.parent).as_posix()) for figure in figures],
        methods=_methods(comparison),
        tables=[name for name in TABLES if (path.parent / f"{name}.csv").is_file()],
    )
    return write_text(path, page)


def print_comparison(comparison: Mapping[str, Any], console: "Console | None" = None) -> None:
    """Print alarms, the table of each question, and what is missing."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    for loud, said in _alarms(comparison):
        console.print(escape(f"{loud} {said}".lstrip()), style="bold red")
    if comparison.get("labels"):
        console.print(f"Labels: {escape(str(comparison['labels']))}")
    for head in comparison["heads"]:
        for table in _terminal_tables(comparison, head, headline(comparison, head), 3 if console.width >= 100 else 2):
            console.print(table)
        for sentence in head_reading(comparison, head):
            console.print(escape(sentence))
    console.print(f"95 % intervals clustered by {escape(clusters_text(comparison))}.", style="dim")
    if any_few([_on_terminal(comparison, head) for head in comparison["heads"]]):
        console.print(FEW_LEGEND, style="dim")
    for note in comparison["notes"]:
        console.print(f"Note: {escape(note)}", style="yellow")


def _on_terminal(comparison: Mapping[str, Any], head: str) -> list[Any]:
    """The intervals of a question that stand in the tables of the terminal."""
    entry = comparison["heads"][head]["subsets"][headline(comparison, head)]
    controls = entry["controls"].get(shown_controls(comparison, entry) or "", {})
    areas = [found["metrics"]["auroc"] for found in (*entry["systems"].values(), *controls.values())]
    return [areas, entry["differences"]["reference"]]


def head_reading(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    """Sentences that say what may be concluded for one question."""
    subset = headline(comparison, head)
    entry = comparison["heads"][head]["subsets"][subset]
    rows = entry["differences"]["reference"]
    where = f"{head_name(comparison, head).capitalize()}, {SUBSET_NAMES[subset]}"
    alpha = comparison["settings"]["alpha"]
    if not rows:
        yield f"{where}: there is one system, and nothing to compare it with."
    else:
        tested = sum(row["p"] is not None for row in rows)
        margin = comparison["settings"]["margin"]
        tests = f"Holm over {tested} test{'s' if tested > 1 else ''}, alpha {alpha:g}, margin of a tie {margin:g}"
        how = f" ({tests})" if tested else ""
        yield f"{where}, AUROC against {comparison['reference']}{how}: {_sorted_out(rows)}."
    pairs = entry["differences"]["all_pairs"]
    if len(pairs) > 1:
        real = sum(row["verdict"] in ("better", "worse") for row in pairs)
        tested = sum(row["p"] is not None for row in pairs)
        if tested:
            yield f"{where}: {real} of {tested} pairs differ significantly (Holm over all pairs)."
        else:
            yield f"{where}: too few to tell whether any pair differs."
    if "within" in entry and entry["within"]["differences"]["reference"]:
        unit = entry["within"]["unit"]
        yield f"{where}, inside each {unit}: {_sorted_out(entry['within']['differences']['reference'])}."


def _sorted_out(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for verdict, words in VERDICT_WORDS.items():
        own = [row for row in rows if row["verdict"] == verdict]
        if not own:
            continue
        shown = []
        for row in own:
            size = row.get("minimal_detectable")
            # That no difference was shown says little without what could have been.
            known = size is not None and verdict not in ("better", "worse")
            told = f", minimum detectable difference {size:.3f}" if known else ""
            if verdict == "untested" and row.get("reason"):
                told = f"; {row['reason']}"
            shown.append(f"{row['system']} ({_signed(row['value'])}{told})")
        text = f"{words}: {', '.join(shown)}"
        parts.append(text)
    return "; ".join(parts)


def _alarms(comparison: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Sentences, each with what is to be read first."""
    places: dict[str, list[str]] = {}
    for alarm in comparison["alarms"]:
        where = f"{head_name(comparison, alarm['head'])}, {SUBSET_NAMES[alarm['subset']]}"
        figures = f"{_signed(alarm['value'])}, Holm-corrected p {p_text(alarm['p_holm'])}"
        places.setdefault(alarm["system"], []).append(f"{where}: {figures}")
    for system, where_all in places.items():
        loud = f"ALARM: {system} is significantly above the product of its own readings on constructed clips"
        yield loud, f"({'; '.join(where_all)})."
    if not places:
        return
    yield (
        "",
        "Parts that were put together are independent given their labels, so calibrated posteriors are near "
        "optimal there. A system above them has found a leak, or has better-calibrated posteriors. It is no better "
        "fusion. Audit the corpus before using the result: `subtext-data audit "
        f"{comparison.get('corpus') or 'CORPUS'} --media`.",
    )
    found = [entry["text"] for entry in comparison["audits"] if entry["alarm"]]
    notes = [entry["text"] for entry in comparison["audits"] if not entry["alarm"]]
    if not comparison["audits"]:
        yield "", "The runs have not been audited."
    for text in found:
        yield "", f"The audit before training raised an alarm: {text}."
    if not found and notes:
        yield "", "The audit before training raised no alarm; its notes:"
    for text in notes:
        yield "", f"- {text}"


def _shown(comparison: Mapping[str, Any], head: str) -> list[str]:
    """The headline first; all clips once only where they all have all streams."""
    subsets = comparison["heads"][head]["subsets"]
    first = headline(comparison, head)
    return [first, *(name for name in subsets if name != first and subsets[name]["clips"] != subsets[first]["clips"])]


def _above_all(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Controls that are clearly above the best system which has some: then that system is not what it seems."""
    best = next((name for name in ranked(entry) if name in entry["controls"]), "")
    for control, found in entry["controls"].get(best, {}).items():
        less = _turned(found.get("system_minus_control"))
        sure = less is not None and enough(entry["clips"], entry["positive"], (less.get("clusters") or {}).values())
        if less is not None and sure and less["low"] is not None and less["low"] > 0:
            yield best, control, less


def _turned(difference: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Control less system, from system less control."""
    if difference is None or difference["value"] is None:
        return None
    low, high = (None if difference[end] is None else -difference[end] for end in ("high", "low"))
    return {**difference, "value": -difference["value"], "low": low, "high": high}


def robustness_section(systems: Mapping[str, Any]) -> str:
    """What missing and spoiled streams cost, as Markdown.

    Args:
        systems: points and areas of each, for one question; of none, nothing is said.
    """
    told: dict[str, set[str]] = {}
    for row in (row for found in systems.values() for row in found["areas"]):
        told.setdefault(row["condition"], set()).add(row["strengths"])
    areas = {name: ", ".join(sorted(each)).replace("inf", "none") for name, each in told.items()}
    points = [row["condition"] for found in systems.values() for row in found["points"]]
    return markdown(
        "report/templates/comparison_robustness.md.j2",
        systems=dict(sorted(systems.items())),
        drops=list(dict.fromkeys(name for name in points if dropped(name))),
        areas={name: f"{CONDITIONS[name].strength} {each}" for name, each in areas.items()},
        clean=CLEAN,
        at_condition=_at_condition,
    )


def _at_condition(rows: Sequence[Mapping[str, Any]], condition: str, figure: str) -> dict[str, Any]:
    return next(({**row, "value": row[figure]} for row in rows if row["condition"] == condition), {"value": None})


def _type_controls(types: Mapping[str, Any], whose: str | None) -> list[str]:
    found = dict.fromkeys(name for kind in types.values() for name in kind["controls"].get(whose, {}))
    return [name for name in found if name in ("visual", "text", "prosody", "posterior_product")]


def _caption(comparison: Mapping[str, Any], figure: Path) -> str:
    kind, _, head = figure.stem.partition("_")
    return f"{CAPTIONS[kind]}, {head_name(comparison, head)}"


def _methods(comparison: Mapping[str, Any]) -> dict[str, None]:
    return dict.fromkeys(
        row["test"]
        for result in comparison["heads"].values()
        for entry in result["subsets"].values()
        for families in (entry["differences"], entry.get("within", {}).get("differences", {}))
        for rows in families.values()
        for row in rows
        if row.get("test")
    )


def _terminal_tables(comparison: Mapping[str, Any], head: str, subset: str, digits: int) -> "Iterator[Table]":
    """Systems and controls, then the differences against the reference: together they are wider than a terminal."""
    from rich.markup import escape

    from subtext.report.terminal import _table

    entry = comparison["heads"][head]["subsets"][subset]
    where = f"{head_name(comparison, head)} ({head}), {SUBSET_NAMES[subset]} ({entry['clips']})"
    names = ranked(entry)
    table = _table(escape(f"{where}: AUROC"))
    table.add_column("", overflow="fold")
    for heading in ("mean over seeds", "seed sd"):
        table.add_column(heading, no_wrap=True)

    def add(name: str, figure: Mapping[str, Any], **looks: Any) -> None:
        spread = figure.get("seed_sd")
        cells = [name, interval_text(figure, digits=digits), "" if spread is None else number_text(spread)]
        table.add_row(*map(escape, cells), **looks)

    for name in names:
        add(name, entry["systems"][name]["metrics"]["auroc"], style="bold", end_section=name == names[-1])
    for control, found in entry["controls"].get(shown_controls(comparison, entry) or "", {}).items():
        add(system_name(control), found["metrics"]["auroc"])
    yield table
    differences = {row["system"]: row for row in entry["differences"]["reference"]}
    if not differences:
        return
    table = _table(escape(f"{where}: difference in AUROC (system - {comparison['reference']})"))
    table.add_column("", overflow="fold")
    for heading in ("difference", "p (Holm)", "verdict"):
        table.add_column(heading, no_wrap=True)
    for name in (name for name in names if name in differences):
        row = differences[name]
        p = "" if row["p_holm"] is None else p_text(row["p_holm"])
        cells = [name, interval_text(row, signed=True, digits=digits), p, VERDICT_WORDS[row["verdict"]]]
        table.add_row(*map(escape, cells))
    yield table


def _signed(value: float | None) -> str:
    return number_text(value, "+.3f")


def _setting(value: Any) -> str:
    return "null" if value is None else str(value).removeprefix("subtext.")


def _quantity(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
    return str(value)
