"""Compare run folders: read their tables, add what the folders alone tell, and write the comparison."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd

from subtext.core.natural_order import natural
from subtext.core.targets import CORPORA
from subtext.core.writing import write_json
from subtext.errors import RunError, SubtextError
from subtext.evaluation.compare import POSTERIOR, compare
from subtext.evaluation.conditions import CLEAN
from subtext.evaluation.evaluate import check_groups
from subtext.evaluation.multiple import holm
from subtext.evaluation.systems import System, TrainedRun
from subtext.evaluation.tables import BINARY_HEADS
from subtext.runs.evaluate import answer_notes_of
from subtext.runs.folder import RunFile, RunFolder, check_out
from subtext.runs.records import AUDIT, read_record
from subtext.runs.systems import read_systems

if TYPE_CHECKING:
    from subtext.evaluation.robustness import RobustnessCurves
    from subtext.manifest.description import Description

COMPARISON: Final = "comparison.json"
PAGE: Final = "comparison.md"
ROBUSTNESS: Final = "robustness.parquet"
CONSTRUCTED: Final = "constructed"


def compare_runs(
    arguments: Sequence[str],
    out: Path,
    *,
    reference: str | None = None,
    groups: Sequence[str] | None = None,
    within: str | None = None,
    alpha: float = 0.05,
    cost: bool = True,
    trust: Collection[str] = (),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare runs and write `comparison.json`, tables, figures and `comparison.md`.

    Args:
        arguments: `RUN` or `NAME=RUN`; see `read_systems`.
        out: the folder to write to.
        reference: see `compare`.
        groups: units that intervals are clustered by; those that the runs' corpus names where None.
        within: see `compare`.
        alpha: see `compare`.
        cost: measure speed and memory of a run of each system, which loads its model and takes some seconds each.
        trust: packages that these models may have parts of, besides this one and installed plug-ins.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling.

    Returns:
        What `comparison.json` holds.

    Raises:
        RunError: a folder holds no finished run, the runs were tested on different clips or name different units, or
            `out` holds something else or cannot be written.
        ConfigError: an option names what is not there.
    """
    from subtext.report.compare_figures import comparison_figures
    from subtext.report.compare_page import write_comparison_page
    from subtext.report.compare_tables import write_tables

    _check_out(out)
    systems = read_systems(arguments)
    units = shared_groups(systems) if groups is None else groups
    check_groups(groups or (), [run.predictions for system in systems for run in system.runs])
    found = compare(systems, units, reference=reference, within=within, alpha=alpha, n_bootstrap=n_bootstrap, seed=seed)
    # From here on the order in which runs were named decides nothing.
    systems = sorted(systems, key=lambda system: system.name)
    for name in ("labels", "question"):
        told = {_told(run, name) for system in systems for run in system.runs}
        if len(told) == 1 and None not in told:
            found[name] = told.pop()
    found["nature"] = nature_of(systems)
    found["corpus"] = _corpus(systems)
    found["audits"] = audits_of(systems)
    found["alarms"] = alarms(found)
    found["cost"] = {system.name: cost_of(system, measured=cost, trust=trust) for system in systems}
    found["robustness"], notes = robustness_of(systems, units, list(found["heads"]))
    found["notes"] += notes
    for system in systems:
        folder = system.runs[0].folder
        answers = [] if folder is None else answer_notes_of(RunFolder(folder), _facts(system.runs[0]))
        found["notes"] += [f"{system.name}: {note}" for note in answers]
    target = RunFolder(out)
    target.make()
    with target.writing():
        write_json(out / COMPARISON, found)
        write_tables(out, found)
        figures = comparison_figures(out / "figures", found)
        write_comparison_page(out / PAGE, found, figures=figures)
    return found


def shared_groups(systems: Sequence[System]) -> list[str]:
    """The units that the runs' corpus names.

    Raises:
        RunError: the runs name none, or different ones.
    """
    first: tuple[TrainedRun, list[str]] | None = None
    for system in systems:
        for run in system.runs:
            units = _facts(run).get("groups")
            if units is None:
                raise RunError(
                    f"{run.label} does not say which units its clips share; name their columns with --groups"
                )
            if first is None:
                first = run, list(units)
            elif list(units) != first[1]:
                raise RunError(
                    f"{first[0].label} names the units {', '.join(first[1])}, {run.label} names {', '.join(units)}; "
                    "name those to cluster by with --groups"
                )
    return [] if first is None else first[1]


def nature_of(systems: Sequence[System]) -> str | None:
    """Where the behaviour in the runs' corpus comes from, as its description says; None where that is not known."""
    natures = {_told(run, "nature") for system in systems for run in system.runs}
    return natures.pop() if len(natures) == 1 else None


def audits_of(systems: Sequence[System]) -> list[dict[str, Any]]:
    """What the runs' own audits found, each finding once: kind of finding, text and the runs that say so."""
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for system in systems:
        for run in system.runs:
            for audit in _audit_files(run):
                content = read_record(audit, AUDIT, "remove it to do without what the audit found")
                for level in ("alarms", "notes"):
                    for finding in content.get(level, []):
                        head = ", ".join(str(finding[key]) for key in ("subject", "label") if finding.get(key))
                        text = f"{head}: {finding.get('text', '')}"
                        entry = found.setdefault(
                            (text, level == "alarms"), {"alarm": level == "alarms", "text": text, "runs": []}
                        )
                        if run.label not in entry["runs"]:
                            entry["runs"].append(run.label)
    return sorted(found.values(), key=lambda entry: not entry["alarm"])


def alarms(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Learned strategies that are significantly above the posterior system on constructed clips.

    Parts that were put together are independent given their labels, so that a calibrated product of unimodal
    posteriors is near optimal: what beats it clearly has found a leak, or has better posteriors.
    """
    if comparison.get("nature") != CONSTRUCTED:
        return []
    strategies = {name: entry["strategy"] for name, entry in comparison["systems"].items()}
    alpha = comparison["settings"]["alpha"]
    found = []
    for head, result in comparison["heads"].items():
        for subset, entry in result["subsets"].items():
            for posterior in (name for name, strategy in strategies.items() if strategy == POSTERIOR):
                above = _above(entry["differences"]["all_pairs"], posterior, strategies)
                adjusted = holm({name: p for name, (_, p) in above.items()})
                for name, (value, _) in above.items():
                    p = adjusted[name]
                    if p is not None and p <= alpha and value > 0:
                        where = {"head": head, "subset": subset, "system": name, "posterior": posterior}
                        found.append(where | {"value": value, "p_holm": p})
    return found


def _above(
    pairs: Sequence[Mapping[str, Any]], posterior: str, strategies: Mapping[str, str | None]
) -> dict[str, tuple[float, float | None]]:
    """Every learned system's difference to the posterior one and its p before correction.

    They are a family of their own, so that what is an alarm does not depend on the reference that was asked for.
    """
    rows = {}
    for row in pairs:
        other, sign = (row["other"], -1) if row["system"] == posterior else (row["system"], 1)
        if posterior in (row["system"], row["other"]) and strategies[other] != POSTERIOR and row["value"] is not None:
            rows[other] = (sign * row["value"], row["p"])
    return rows


def cost_of(system: System, *, measured: bool, trust: Collection[str] = ()) -> dict[str, Any]:
    """Parameters and operations of a system's first run, and where asked for its measured speed and memory."""
    folder = system.runs[0].folder
    if folder is None:
        return {"reason": "no run folder"}
    if RunFolder(folder).file(RunFile.RUN).is_file() and "vlm" in (facts := RunFolder(folder).run()):
        scored: dict[str, Any] = facts["vlm"].get("cost", {})
        return scored
    model = folder
    if not RunFolder(folder).is_trained and (folder / RunFile.FOLDS / "0").is_dir():
        model = folder / RunFile.FOLDS / "0"
    try:
        described = RunFolder(model).model()
    except SubtextError as error:
        return {"reason": str(error).replace(str(model), system.runs[0].label)}
    found: dict[str, Any] = {"parameters": described["parameters"], "flops_per_clip": described["flops_per_clip"]}
    if not measured:
        return found
    from subtext.runs.cost import measure_cost

    try:
        return found | measure_cost(model, trust)
    except SubtextError as error:
        return found | {"reason": str(error).replace(str(model), system.runs[0].label)}


def robustness_of(
    systems: Sequence[System], groups: Sequence[str], heads: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Head -> system -> AUROC under every condition and area under each curve, where subtext-robustness was run.

    An area counts the strengths only that all systems have which have the condition: a mean up to a stronger noise
    would be lower for that alone.

    Returns:
        These, and a note for each system that has them in some of its runs only, or none while others have them, and
        for each condition whose strengths are not the same everywhere.

    Raises:
        RunError: a table cannot be read, or holds other clips or other predictions than its run.
    """
    from subtext.evaluation.robustness import RobustnessCurves, records

    tables: dict[str, list[pd.DataFrame]] = {}
    for system in systems:
        found = [
            _own_robustness(run, RunFolder(run.folder).robustness())
            for run in system.runs
            if run.folder is not None and (run.folder / ROBUSTNESS).is_file()
        ]
        if found:
            tables[system.name] = found
    if not tables:
        return {}, ["missing and degraded streams: subtext-robustness was run on none of these runs"]
    notes = [
        f"missing and degraded streams: {len(tables.get(system.name, []))} of {len(system.runs)} runs of {system.name}"
        for system in systems
        if len(tables.get(system.name, [])) < len(system.runs)
    ]
    out: dict[str, Any] = {}
    for head in heads:
        able = {name: each for name, each in tables.items() if all(f"prob_{head}" in table for table in each)}
        curves = {name: RobustnessCurves(each, groups, head) for name, each in able.items()}
        shared, unequal = _shared_strengths(curves)
        notes += [
            f"missing and degraded streams: {text}"
            for text in unequal
            if f"missing and degraded streams: {text}" not in notes
        ]
        for name, found_ in curves.items():
            out.setdefault(head, {})[name] = {
                "points": records(found_.point_table()),
                "areas": records(found_.area_table(shared)),
            }
    return out, notes


def _own_robustness(run: TrainedRun, table: pd.DataFrame) -> pd.DataFrame:
    """A run's robustness table, if it is of the run as it is now."""
    own = run.predictions.loc[run.predictions["split"] == "test"].set_index("id")
    again = "run subtext-robustness again"
    if set(table["id"]) != set(own.index):
        raise RunError(f"{ROBUSTNESS} of {run.label} holds other clips than its predictions; {again}")
    clean = table.loc[table["condition"] == CLEAN].set_index("id")
    for column in (f"prob_{head}" for head in BINARY_HEADS):
        if column in clean and column in own:
            before, now = (
                side[column].reindex(own.index).to_numpy(np.float64, na_value=np.nan) for side in (clean, own)
            )
            if not np.allclose(before, now, rtol=0, atol=1e-6, equal_nan=True):
                raise RunError(f"{ROBUSTNESS} of {run.label} was made of another training of it; {again}")
    return table


def _shared_strengths(curves: Mapping[str, "RobustnessCurves"]) -> tuple[dict[str, set[float]], list[str]]:
    """Condition -> the strengths that all systems with that condition have, and a sentence where some have others."""
    tried: dict[str, list[set[float]]] = {}
    for found in curves.values():
        for condition in found.conditions:
            tried.setdefault(condition, []).append({strength for strength, _ in found.curve(condition)[1:]})
    shared = {condition: set.intersection(*each) for condition, each in tried.items()}
    told = [
        f"{condition} was tried at other strengths in some systems; its areas are "
        + (
            f"up to what all have ({', '.join(f'{s:g}' for s in sorted(shared[condition]))})"
            if shared[condition]
            else "left out"
        )
        for condition, each in tried.items()
        if any(strengths != shared[condition] for strengths in each)
    ]
    return shared, told


def _check_out(out: Path) -> None:
    check_out(out)
    if out.is_dir() and any(out.iterdir()) and not (out / COMPARISON).is_file():
        raise RunError(f"{out} holds other files than a comparison; name another folder with --out")
    RunFolder(out).check_links()


def _facts(run: TrainedRun) -> dict[str, Any]:
    folder = None if run.folder is None else RunFolder(run.folder)
    return folder.run() if folder is not None and folder.file(RunFile.RUN).is_file() else {}


def _corpus(systems: Sequence[System]) -> str | None:
    """The corpus's name as subtext-data takes it, which is its module's; None where that is not known."""
    run = systems[0].runs[0]
    if run.folder is None or not RunFolder(run.folder).is_begun:
        return None
    target = str((RunFolder(run.folder).settings().get("corpus") or {}).get("_target_", ""))
    module = target.rpartition(".")[0].rpartition(".")[2]
    return module if target.startswith("subtext.corpora.") and module != "files" else None


def _told(run: TrainedRun, name: str) -> str | None:
    """What a run says of its corpus's labels; older runs leave it to the corpus."""
    facts = _facts(run)
    if facts.get(name):
        return str(facts[name])
    described = _description(run)
    return None if described is None else str(getattr(described, name))


def _description(run: TrainedRun) -> "Description | None":
    """What the class of the run's corpus says of it; the corpus's files need not be here."""
    if run.folder is None or not RunFolder(run.folder).is_begun:
        return None
    target = str((RunFolder(run.folder).settings().get("corpus") or {}).get("_target_", ""))
    if target not in CORPORA:  # somebody else's code is not run
        return None
    from subtext.core.located import locate

    return cast("Description", locate(target).description)


def _audit_files(run: TrainedRun) -> list[Path]:
    if run.folder is None:
        return []
    places = [run.folder / RunFile.AUDIT, *sorted((run.folder / RunFile.FOLDS).glob("*/audit"), key=natural)]
    return [place / "audit.json" for place in places if (place / "audit.json").is_file()]
