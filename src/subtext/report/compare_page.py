"""`comparison.md`: what a comparison found, on one page, and the same on a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.evaluation.compare import LEAST_CLIPS, LEAST_OF_A_LABEL
from subtext.evaluation.conditions import CLEAN, CONDITIONS
from subtext.evaluation.intervals import FEW_CLUSTERS
from subtext.evaluation.multiple import VERDICTS
from subtext.report.compare_figures import headline, ranked, shown_controls
from subtext.report.compare_tables import TABLES
from subtext.report.table import (
    FEW_MARK,
    METRIC_NAMES,
    SUBSET_NAMES,
    any_few,
    clusters_text,
    head_name,
    interval_text,
    system_name,
)

if TYPE_CHECKING:
    from rich.console import Console

METRICS: Final = {**METRIC_NAMES, "log_loss": "log loss"}
CAPTIONS: Final[Mapping[str, str]] = {
    "auroc": "AUROC of systems and controls",
    "differences": "Paired differences against the reference",
    "pairs": "Paired differences of all pairs",
    "within": "AUROC inside each unit",
    "reliability": "Predicted probability against the share of positive clips",
    "types": "Each type against congruent clips",
    "robustness": "Missing and spoiled streams",
    "cost": "AUROC against operations a clip",
}
FEW_LEGEND: Final = f"{FEW_MARK} marks an interval that rests on a unit with fewer than {FEW_CLUSTERS} clusters."
BUSY: Final = 0.9
"""Share of the time with a core below which measured times are those of a machine with other work."""


def write_comparison_page(path: Path, comparison: Mapping[str, Any], *, figures: Sequence[Path] = ()) -> Path:
    """Write what `compare_runs` found as Markdown."""
    lines = list(_page(comparison, figures, path.parent))
    if any(FEW_MARK in line for line in lines):
        place = lines.index("## Reading") - 1
        lines.insert(place, FEW_LEGEND)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def print_comparison(comparison: Mapping[str, Any], console: "Console | None" = None) -> None:
    """Print alarms, the table of each question, and what is missing."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    for line in _alarm_lines(comparison):
        console.print(escape(line.replace("**", "")), style="bold red")
    if comparison.get("labels"):
        console.print(f"Labels: {escape(str(comparison['labels']))}")
    for head in comparison["heads"]:
        console.print(_terminal_table(comparison, head, headline(comparison, head), 3 if console.width >= 100 else 2))
        for sentence in head_reading(comparison, head):
            console.print(escape(sentence))
    console.print(f"95 % intervals clustered by {escape(clusters_text(comparison))}.", style="dim")
    if any_few(comparison):
        console.print(FEW_LEGEND, style="dim")
    for note in comparison["notes"]:
        console.print(f"Note: {escape(note)}", style="yellow")


def head_reading(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    """Sentences that say what may be concluded for one question, ties called ties."""
    subset = headline(comparison, head)
    entry = comparison["heads"][head]["subsets"][subset]
    rows = entry["differences"]["reference"]
    where = f"{head_name(comparison, head).capitalize()}, {SUBSET_NAMES[subset]}"
    alpha = comparison["settings"]["alpha"]
    if not rows:
        yield f"{where}: one system, so there is nothing to compare it with."
    else:
        tested = sum(row["p"] is not None for row in rows)
        yield f"{where}, against {comparison['reference']} (Holm over {tested}, {alpha:g}): {_sorted_out(rows)}."
    pairs = entry["differences"]["all_pairs"]
    if len(pairs) > 1:
        real = [row for row in pairs if row["verdict"] in ("better", "worse")]
        yield f"{where}: {len(real)} of {len(pairs)} pairs differ significantly (Holm over all pairs)."
    if "within" in entry and entry["within"]["differences"]["reference"]:
        unit = entry["within"]["unit"]
        yield f"{where}, inside each {unit}: {_sorted_out(entry['within']['differences']['reference'])}."


def _sorted_out(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for verdict, words in (
        ("better", "better"),
        ("worse", "worse"),
        ("tie", "tied with it"),
        ("undecided", "undecided"),
        ("untested", "not tested"),
    ):
        own = [row for row in rows if row["verdict"] == verdict]
        if not own:
            continue
        shown = []
        for row in own:
            size = row.get("minimal_detectable")
            # A tie says little without what it could have seen.
            told = "" if size is None or verdict in ("better", "worse") else f", smallest to be found {size:.3f}"
            if verdict == "untested" and row.get("reason"):
                told = f"; {row['reason']}"
            shown.append(f"{row['system']} ({_signed(row['value'])}{told})")
        text = f"{words}: {', '.join(shown)}"
        parts.append(text)
    return "; ".join(parts)


def _page(comparison: Mapping[str, Any], figures: Sequence[Path], folder: Path) -> Iterator[str]:
    systems = comparison["systems"]
    yield f"# Comparison of {len(systems)} system{'s' if len(systems) != 1 else ''}"
    yield ""
    for line in _alarm_lines(comparison):
        yield line
        yield ""
    if comparison.get("labels"):
        yield f"What the labels of this corpus are: {comparison['labels']}."
        yield ""
    if comparison.get("nature") == "constructed":
        yield "The clips are constructed: results on them do not transfer to natural recordings by themselves."
        yield ""
    yield f"{comparison['clips']} test clips, the same for every run. 95 % intervals are clustered by"
    yield f"{clusters_text(comparison)}. A figure is the mean over a system's seeds; its interval says how that mean"
    yield "would vary over other clips and units, *seed sd* how single trainings differ."
    yield ""
    yield "## Reading"
    yield ""
    for head in comparison["heads"]:
        for sentence in head_reading(comparison, head):
            yield f"- {sentence}"
        for sentence in (*_above_all(comparison, head), *_worst(comparison, head)):
            yield f"- {sentence}"
    for note in comparison["notes"]:
        yield f"- Note: {note}."
    yield ""
    yield "## Systems"
    yield ""
    yield from _systems(comparison)
    for head, result in comparison["heads"].items():
        yield ""
        yield f"## {head_name(comparison, head).capitalize()} (`{head}`)"
        for subset in _subsets(comparison, head):
            yield from _results(comparison, head, subset)
        yield from _pairs(comparison, head)
        yield from _within(comparison, head)
        yield from _folds(comparison, head)
        yield from _types(comparison, head)
        yield from _speakers(result)
        yield from _calibration(result)
        yield from _robustness(comparison, head)
    yield from _cost(comparison)
    if figures:
        yield ""
        yield "## Figures"
        for figure in figures:
            kind, _, head = figure.stem.partition("_")
            caption = f"{CAPTIONS[kind]}, {head_name(comparison, head)}"
            yield ""
            yield f"![{caption}]({figure.relative_to(folder).as_posix()})"
    yield from _how(comparison, folder)


def _alarm_lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    places: dict[tuple[str, str], list[str]] = {}
    for alarm in comparison["alarms"]:
        where = f"{head_name(comparison, alarm['head'])}, {SUBSET_NAMES[alarm['subset']]}"
        figures = f"{_signed(alarm['value'])}, Holm-corrected p {_p(alarm['p_holm'])}"
        places.setdefault((alarm["system"], alarm["posterior"]), []).append(f"{where}: {figures}")
    for (system, posterior), where_all in places.items():
        yield f"**ALARM: {system} is significantly above {posterior} on constructed clips** ({'; '.join(where_all)})."
    if places:
        yield (
            "Parts that were put together are independent given their labels, so calibrated posteriors are near "
            "optimal there: what is above them has found a leak, or has better-calibrated posteriors, and is no better "
            "fusion. Audit the corpus before using the result: `subtext-data audit "
            f"{comparison.get('corpus') or 'CORPUS'} --media`."
        )
    if comparison["alarms"]:
        found = [entry for entry in comparison["audits"] if entry["alarm"]]
        notes = [entry for entry in comparison["audits"] if not entry["alarm"]]
        if not comparison["audits"]:
            yield "The runs hold no findings of an audit."
        for entry in found:
            yield f"The audit before training raised an alarm: {entry['text']}."
        if not found and notes:
            yield "The audit before training raised no alarm; its notes:"
        for entry in notes:
            yield f"- {entry['text']}"


def _systems(comparison: Mapping[str, Any]) -> Iterator[str]:
    yield "| system | seeds | what sets it apart |"
    yield "|---|---|---|"
    for name, entry in comparison["systems"].items():
        seeds = ", ".join("?" if seed is None else str(seed) for seed in entry["seeds"])
        settings = ", ".join(f"{key}={_setting(value)}" for key, value in entry["settings"].items()) or "-"
        mark = " (reference)" if name == comparison["reference"] else ""
        yield f"| {name}{mark} | {seeds} | {settings} |"


def _subsets(comparison: Mapping[str, Any], head: str) -> list[str]:
    """The headline first; all clips once only where they all have all streams."""
    subsets = comparison["heads"][head]["subsets"]
    first = headline(comparison, head)
    return [first, *(name for name in subsets if name != first and subsets[name]["clips"] != subsets[first]["clips"])]


def _results(comparison: Mapping[str, Any], head: str, subset: str) -> Iterator[str]:
    entry = comparison["heads"][head]["subsets"][subset]
    reference = comparison["reference"]
    whose = shown_controls(comparison, entry)
    differences = {row["system"]: row for row in entry["differences"]["reference"]}
    yield ""
    yield f"### {SUBSET_NAMES[subset].capitalize()} ({entry['clips']}, {entry['positive']} of them incongruent)"
    yield ""
    if whose is not None:
        yield f"Controls are those of {whose}, each less that system (not tested)."
        yield ""
    yield f"| system | clips | AUROC | seed sd | less {reference} | p (Holm) | verdict | smallest to be found |"
    yield "|---|---|---|---|---|---|---|---|"
    controls = entry["controls"].get(whose or "", {})
    rows = [(f"**{name}**", name, entry["systems"][name]) for name in ranked(entry)]
    rows += [(f"control: {system_name(control)}", "", found) for control, found in controls.items()]
    for label, name, found in rows:
        area = found["metrics"]["auroc"]
        cells = [str(found["clips"]), interval_text(area), _number(area.get("seed_sd"))]
        row = differences.get(name)
        if row is not None:
            cells += _difference_cells(row)
        elif not name:
            cells += [interval_text(_turned(found.get("system_minus_control")), signed=True), "", "", ""]
        else:
            cells += ["reference" if name == reference else "", "", "", ""]
        yield f"| {label} | {' | '.join(cells)} |"
    others = [metric for metric in METRICS if metric != "auroc"]
    yield ""
    yield f"| system | {' | '.join(METRICS[metric] for metric in others)} |"
    yield "|" + "---|" * (len(others) + 1)
    for label, _, found in rows:
        yield f"| {label} | {' | '.join(interval_text(found['metrics'].get(metric)) for metric in others)} |"
    if whose is not None:
        also = [name for name in ranked(entry) if name in entry["controls"] and name != whose]
        if also:
            yield ""
            yield "AUROC of each system's own controls:"
            yield from _control_table(entry, [whose, *also])


def _control_table(entry: Mapping[str, Any], systems: Sequence[str]) -> Iterator[str]:
    controls = dict.fromkeys(control for name in systems for control in entry["controls"][name])
    yield ""
    yield f"| control | {' | '.join(systems)} |"
    yield "|" + "---|" * (len(systems) + 1)
    for control in controls:
        own = [entry["controls"][name].get(control, {}).get("metrics", {}).get("auroc") for name in systems]
        yield f"| {system_name(control)} | {' | '.join(interval_text(figure) for figure in own)} |"


def _pairs(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    subset = headline(comparison, head)
    rows = comparison["heads"][head]["subsets"][subset]["differences"]["all_pairs"]
    if len(rows) < 2:
        return
    yield ""
    yield f"### All pairs, {SUBSET_NAMES[subset]}"
    yield ""
    yield "The standard error of a difference is the root of the sum of the squares of the last two columns."
    yield ""
    yield "| pair | difference of AUROC | p (Holm) | verdict | smallest to be found | error, clips | error, seeds |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        parts = [_number(row.get(key)) for key in ("sampling_sd", "seed_sd")]
        yield f"| {row['system']} less {row['other']} | {' | '.join([*_difference_cells(row), *parts])} |"


def _within(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    subset = headline(comparison, head)
    entry = comparison["heads"][head]["subsets"][subset]
    within = entry.get("within")
    if within is None:
        return
    rows = {row["system"]: row for row in within["differences"]["reference"]}
    yield ""
    yield f"### Inside each {within['unit']}, {SUBSET_NAMES[subset]}"
    yield ""
    units = max((sum(value is not None for value in each.values()) for each in within["each"].values()), default=0)
    yield f"AUROC inside each {within['unit']} that has clips of both labels ({units} of them), then averaged. The t"
    yield "test knows of the seeds. The sign flips don't: they speak of these trained systems only, so that theirs is"
    yield "by far the smaller p where trainings differ much. It is not corrected and decides nothing."
    yield ""
    yield (
        f"| system | mean AUROC, t interval | seed sd | less {comparison['reference']} | p, paired t (Holm) | "
        "verdict | smallest to be found | p, sign flips (as it is) |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name in ranked(entry):
        figure = within["systems"][name]
        cells = [interval_text(figure), _number(figure.get("seed_sd"))]
        row = rows.get(name)
        cells += ["", "", "", "", ""] if row is None else [*_difference_cells(row), _p(row.get("sign_flip_p"))]
        yield f"| {name} | {' | '.join(cells)} |"


def _folds(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    entry = comparison["heads"][head]["subsets"]["all"]
    found = comparison["heads"][head]["folds"]
    if not found:
        return
    yield ""
    yield "### Inside each fold of cross-validation, all clips"
    yield ""
    yield "Pooled AUROC also ranks clips of one fold's model against those of another's, whose scores need not lie on"
    yield "one scale. The mean over folds does not. It has no interval: folds share training clips."
    yield ""
    yield "| system | folds | mean over folds and seeds | seed sd | pooled AUROC |"
    yield "|---|---|---|---|---|"
    for name in ranked(entry):
        if name in found:
            pooled = _number(entry["systems"][name]["metrics"]["auroc"]["value"])
            own = found[name]
            cells = [str(own.get("folds", "n/a")), _number(own["value"]), _number(own.get("seed_sd")), pooled]
            yield f"| {name} | {' | '.join(cells)} |"


def _above_all(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    """Controls that are clearly above the best system which has some: then that system is not what it seems."""
    subset = headline(comparison, head)
    entry = comparison["heads"][head]["subsets"][subset]
    best = next((name for name in ranked(entry) if name in entry["controls"]), None)
    for control, found in entry["controls"].get(best or "", {}).items():
        less = _turned(found.get("system_minus_control"))
        if less is not None and less["low"] is not None and less["low"] > 0:
            yield (
                f"{head_name(comparison, head).capitalize()}, {SUBSET_NAMES[subset]}: the control "
                f"{system_name(control)} is above {best}, by {interval_text(less, signed=True)}."
            )


def _turned(difference: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Control less system, from system less control."""
    if difference is None or difference["value"] is None:
        return None
    low, high = (None if difference[end] is None else -difference[end] for end in ("high", "low"))
    return {**difference, "value": -difference["value"], "low": low, "high": high}


def _types(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    found = comparison["heads"][head]["types"]
    yield ""
    yield "### By type"
    yield ""
    if "reason" in found:
        yield f"None: {found['reason']}."
        return
    entry = comparison["heads"][head]["subsets"]["all"]
    yield "AUROC of each type against congruent clips / share of its clips that are called incongruent. Where the label"
    yield "as a whole is balanced its types are not: compare with the single modalities, not with 0.5."
    yield ""
    headings = [f"{kind.replace('_', ' ')} ({entry_['clips']})" for kind, entry_ in found.items()]
    yield f"| system | {' | '.join(headings)} |"
    yield "|" + "---|" * (len(found) + 1)

    def cell(figures: Mapping[str, Any]) -> str:
        called = interval_text({**figures["called"], "low": None}).removesuffix(" [n/a]")
        return f"{interval_text(figures['auroc'])} / {called}" if "auroc" in figures else f"- / {called}"

    for name in ranked(entry):
        yield f"| {name} | {' | '.join(cell(kind['systems'][name]) for kind in found.values())} |"
    whose = shown_controls(comparison, entry)
    controls = dict.fromkeys(control for kind in found.values() for control in kind["controls"].get(whose or "", {}))
    for control in controls:
        if control in ("visual", "text", "prosody", "posterior_product"):
            cells = [cell(kind["controls"][whose][control]) for kind in found.values()]
            yield f"| control: {system_name(control)} | {' | '.join(cells)} |"


def _worst(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    found = comparison["heads"][head]["speakers"]
    if not found:
        return
    best = ranked(comparison["heads"][head]["subsets"][headline(comparison, head)])[0]
    row = found["worst"][best]
    if "speaker" in row:
        yield (
            f"{head_name(comparison, head).capitalize()}: the worst {found['unit']} of {best} is {row['speaker']}, "
            f"{_figure_name(row)} {interval_text(row)} on {row['clips']} clips"
            f"{'; ' + row['reason'] if row.get('reason') else ''}. The lowest of {row['of']} is low by chance too."
        )


def _speakers(result: Mapping[str, Any]) -> Iterator[str]:
    found = result["speakers"]
    if not found:
        return
    yield ""
    yield f"### By {found['unit']}"
    yield ""
    yield (
        f"The worst {found['unit']} of each system among those with {LEAST_CLIPS} clips, by AUROC where some have "
        f"{LEAST_OF_A_LABEL} clips of each label (*of* so many), else by accuracy. The interval "
        f"is of that {found['unit']}'s clips alone and does not know that the lowest of several was picked; "
        "`per_speaker.csv` has all."
    )
    yield ""
    yield f"| system | worst {found['unit']} | figure | clips | incongruent | of |"
    yield "|---|---|---|---|---|---|"
    for name, row in found["worst"].items():
        if "speaker" not in row:
            yield f"| {name} | none: {row['reason']} | | | | |"
            continue
        note = f" ({row['reason']})" if row.get("reason") else ""
        yield (
            f"| {name} | {row['speaker']} | {_figure_name(row)} {interval_text(row)}{note} | {row['clips']} | "
            f"{row['positive']} | {row['of']} |"
        )


def _calibration(result: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "### Calibration, before and after temperature scaling, all clips"
    yield ""
    yield "The temperature is what each training's validation clips chose, the mean over seeds (and folds). *Change*"
    yield "is after less before on the same test clips: below 0 is better. Chance alone gives even calibrated"
    yield "probabilities an expected calibration error (ECE), here *ECE if calibrated*."
    yield ""
    yield (
        "| system | temperature | ECE before | ECE after | ECE if calibrated | Brier before | Brier after | change | "
        "log loss before | log loss after | change |"
    )
    yield "|" + "---|" * 11
    for name, found in result["calibration"].items():
        known = [value for value in found["temperatures"] if value is not None]
        cells = [f"{sum(known) / len(known):.2f}" if known else "n/a"]
        for metric in ("ece", "brier", "log_loss"):
            cells += [interval_text(found[when].get(metric)) for when in ("before", "after")]
            if metric == "ece":
                cells.append(_number(found["ece_if_calibrated"]))
            else:
                cells.append(interval_text(found.get("change", {}).get(metric), signed=True))
        yield f"| {name} | {' | '.join(cells)} |"


def _robustness(comparison: Mapping[str, Any], head: str) -> Iterator[str]:
    found = comparison["robustness"].get(head, {})
    if not found:
        return
    yield ""
    yield "### Missing and spoiled streams"
    yield ""
    tried = [
        f"{name}: {points[0]['clips']} clips, {points[0]['seeds']} seed{'s' if points[0]['seeds'] != 1 else ''}"
        for name, each in sorted(found.items())
        if (points := each["points"])
    ]
    yield f"AUROC on all clips that a system can judge when nothing is missing, mean over seeds ({'; '.join(tried)})."
    yield "A clip of which nothing is left to judge by stays in, with one and the same probability."
    yield ""
    drops = dict.fromkeys(
        p["condition"] for each in found.values() for p in each["points"] if p["condition"].startswith("drop:")
    )
    if drops:
        yield f"| AUROC | nothing dropped | {' | '.join(drops)} |"
        yield "|" + "---|" * (len(drops) + 2)
        for name, each in sorted(found.items()):
            own = {p["condition"]: {**p, "value": p["auroc"]} for p in each["points"]}
            yield f"| {name} | {' | '.join(interval_text(own.get(key)) for key in ('clean', *drops))} |"
        yield ""
    areas = dict.fromkeys(a["condition"] for each in found.values() for a in each["areas"])
    if areas:
        yield "Area under the curve of AUROC over strength, from clean to the strongest (mean AUROC along that axis),"
        yield "of the strengths that all systems with the condition were tried at:"
        yield ""
        for condition in areas:
            told = {a["strengths"] for each in found.values() for a in each["areas"] if a["condition"] == condition}
            yield f"- {condition}: {CONDITIONS[condition].strength} {', '.join(sorted(told)).replace('inf', 'none')}"
        yield ""
        yield f"| system | clean | {' | '.join(areas)} |"
        yield "|" + "---|" * (len(areas) + 2)
        for name, each in sorted(found.items()):
            own = {a["condition"]: {**a, "value": a["area"]} for a in each["areas"]}
            clean = next((p["auroc"] for p in each["points"] if p["condition"] == CLEAN), None)
            yield f"| {name} | {_number(clean)} | {' | '.join(interval_text(own.get(key)) for key in areas)} |"


def _cost(comparison: Mapping[str, Any]) -> Iterator[str]:
    from subtext.report.compare_tables import flat_cost

    flat = {name: flat_cost(found) for name, found in comparison["cost"].items()}
    columns = list(dict.fromkeys(key for found in flat.values() for key in found))
    if not columns:
        return
    yield ""
    yield "## Cost"
    yield ""
    yield "Of encoders, fusion and heads, of each system's first seed, for a clip of median length. What comes before"
    yield "(finding faces, the sentence model, measuring prosody) is not in it."
    if "prompts_per_clip" in columns:
        yield "Of vision-language models the whole model, for all questions about a clip: operations are counted on"
        yield "shapes, `ms_per_clip` is by device and as the run's batches were, memory is that of the scoring process."
    if "ms_per_clip.1" in columns:
        yield "`ms_per_clip`: milliseconds on one thread of this machine's CPU, median, at 1 and at 64 clips at once."
        yield "`core_share`: for how much of that time the measuring process had a core. Memory is in MiB."
    slowed = [name for name, found in flat.items() if found.get("core_share", 1.0) < BUSY]
    if slowed:
        yield f"**The machine had other work** while {', '.join(slowed)} was measured: milliseconds are too long there."
    yield ""
    yield f"| system | {' | '.join(columns)} |"
    yield "|" + "---|" * (len(columns) + 1)
    for name, found in flat.items():
        yield f"| {name} | {' | '.join(_quantity(found.get(key)) for key in columns)} |"
    for name, found in comparison["cost"].items():
        if isinstance(found.get("reason"), str):
            yield ""
            yield f"{name}: {found['reason']}"


def _how(comparison: Mapping[str, Any], folder: Path) -> Iterator[str]:
    settings = comparison["settings"]
    methods = dict.fromkeys(
        row["test"]
        for result in comparison["heads"].values()
        for entry in result["subsets"].values()
        for families in (entry["differences"], entry.get("within", {}).get("differences", {}))
        for rows in families.values()
        for row in rows
        if row.get("test")
    )
    yield ""
    yield "## How it was computed"
    yield ""
    yield f"- Tests of AUROC: {'; '.join(methods) or 'none'}; two-sided, alpha {settings['alpha']:g}."
    yield "- Holm's correction within each question and set of clips, in two families of their own: the systems against"
    yield "  the reference, and all pairs. Other metrics have intervals and no test."
    yield "- Standard errors of differences join what other clips and what other seeds would change; `sampling_sd`"
    yield "  and `seed_sd` in `differences.csv` keep them apart. So p and interval speak of the strategies, trained"
    yield "  anew, and not of these trainings only. Where seeds differ more than clips do, three seeds of each system"
    yield "  leave about four degrees of freedom: p is then larger than a test of these trainings would say, and more"
    yield "  seeds help most."
    yield "- Systems that were given the same encoders, each seed its own, and a run and its own controls, are compared"
    yield "  seed by seed: what both share makes no difference."
    yield "- Intervals are not corrected for several tests: one may leave out 0 where the verdict is *undecided*."
    yield "- In simulations at 5 % (`benchmarks/false_positives.py`) the tests of AUROC call 3.3 to 6.7 % of"
    yield "  differences real where there is none and errors hang on shared units, and 2.2 % where they hang on none:"
    yield "  there they are cautious, and a tie may be called a little too often."
    yield "- *Smallest to be found*: the true difference that this design would call significant with probability 0.8,"
    yield "  without correction for several tests."
    for verdict, words in VERDICTS.items():
        yield f"- *{verdict}*: {words}."
    yield f"- {settings['n_bootstrap']} bootstrap resamples, seed {settings['seed']}."
    tables = [f"`{name}.csv`" for name in TABLES if (folder / f"{name}.csv").is_file()]
    yield f"- Tables: {', '.join(tables)}; everything: `comparison.json`."


def _terminal_table(comparison: Mapping[str, Any], head: str, subset: str, digits: int) -> Any:
    from rich.markup import escape

    from subtext.report.table import _table

    entry = comparison["heads"][head]["subsets"][subset]
    table = _table(f"{head_name(comparison, head)} ({head}), {SUBSET_NAMES[subset]} ({entry['clips']}): AUROC")
    for heading in ("", "mean over seeds", "seed sd", f"less {comparison['reference']}", "p (Holm)", "verdict"):
        table.add_column(escape(heading))
    differences = {row["system"]: row for row in entry["differences"]["reference"]}
    names = ranked(entry)
    for name in names:
        figure = entry["systems"][name]["metrics"]["auroc"]
        row = differences.get(name)
        cells = [interval_text(figure, digits=digits), _number(figure.get("seed_sd"))]
        if row is not None:
            cells += [interval_text(row, signed=True, digits=digits), _p(row["p_holm"]), row["verdict"]]
        table.add_row(escape(name), *map(escape, cells), style="bold", end_section=name == names[-1])
    whose = shown_controls(comparison, entry)
    for control, found in entry["controls"].get(whose or "", {}).items():
        figure = found["metrics"]["auroc"]
        table.add_row(
            escape(system_name(control)), escape(interval_text(figure, digits=digits)), _number(figure.get("seed_sd"))
        )
    return table


def _difference_cells(row: Mapping[str, Any]) -> list[str]:
    return [
        interval_text(row, signed=True),
        _p(row["p_holm"]),
        row["verdict"],
        _number(row.get("minimal_detectable")),
    ]


def _figure_name(row: Mapping[str, Any]) -> str:
    return METRICS.get(row["figure"], row["figure"])


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _setting(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text.removeprefix("subtext.").replace("|", r"\|")


def _quantity(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
    return str(value)
