"""`report.md` of several runs that differ in their seed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from subtext.report.table import (
    FEW_MARK,
    MODALITY_NAMES,
    SUBSET_NAMES,
    any_few,
    clusters_text,
    head_name,
    interval_text,
    system_name,
)


def write_seeds_page(path: Path, pooled: Mapping[str, Any]) -> Path:
    """Write what `pool_seeds` gave as Markdown."""
    path.unlink(missing_ok=True)  # a link would be written through
    path.write_text("\n".join(_page(pooled)) + "\n", encoding="utf-8")
    return path


def _page(pooled: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {len(pooled['runs'])} runs: {', '.join(pooled['runs'])}"
    yield ""
    if pooled.get("labels"):
        yield f"What the labels of this corpus are: {pooled['labels']}."
        yield ""
    seeds = ", ".join(str(seed) for seed in pooled["seeds"])
    yield f"Seeds {seeds}; {pooled['clips']} test clips, the same in every run."
    yield f"{pooled['interval']}: {clusters_text(pooled)}. It holds for these trained"
    yield "systems; how systems of other seeds differ is the standard deviation beside it."
    if any_few(pooled):
        yield f"{FEW_MARK} marks an interval that rests on a unit with fewer than 20 clusters."
    for note in pooled["notes"]:
        yield f"Missing: {note}."
    for head, subsets in pooled["auroc"].items():
        for subset in ("all_streams", "all"):
            if subset in subsets:
                yield from _auroc_table(pooled, head, subset, subsets[subset])
    yield ""
    yield "## Fused model, mean over seeds"
    yield ""
    yield "| part | subset | metric | mean | sd | lowest | highest | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in pooled["figures"]:
        if row["system"] == "fused" and row["mean"] is not None:
            part = row["part"]
            for modality, name in MODALITY_NAMES.items():
                part = part.replace(f"polarity:{modality}", f"polarity of the {name}")
                part = part.replace(f"emotion:{modality}", f"emotion of the {name}")
            cells = [_number(row[key]) for key in ("mean", "sd", "lowest", "highest")]
            subset = SUBSET_NAMES.get(row["subset"], row["subset"])
            yield f"| {part} | {subset} | {row['metric']} | {' | '.join(cells)} | {row['seeds']} |"


def _auroc_table(pooled: Mapping[str, Any], head: str, subset: str, systems: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## AUROC, {head_name(pooled, head)} (`{head}`), {SUBSET_NAMES[subset]}"
    yield ""
    yield "| system | clips | mean over seeds | sd over seeds | per seed | fused less this | its sd | per seed |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, entry in systems.items():
        label = f"**{system_name(name)}**" if name == "fused" else system_name(name)
        cells = [str(entry.get("clips", 0)), interval_text(entry), _number(entry.get("seed_sd")), _each(entry)]
        difference = entry.get("fused_minus_control")
        if difference is None:
            cells += ["", "", ""]
        else:
            cells += [interval_text(difference, signed=True), _number(difference.get("seed_sd")), _each(difference)]
        yield f"| {label} | {' | '.join(cells)} |"


def _each(entry: Mapping[str, Any]) -> str:
    return ", ".join(_number(value) for value in entry.get("per_seed", []))


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
