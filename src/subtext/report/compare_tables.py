"""The CSV files of a comparison: everything that `comparison.json` holds, a figure a row."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.core.tables import write_csv

TABLES: Final[Mapping[str, list[str]]] = {
    name: columns.split()
    for name, columns in {
        "systems": "head subset system control metric value low high seed_sd seeds clips method reason",
        "differences": "head subset family inside system other metric value low high p p_holm sign_flip_p verdict "
        "minimal_detectable sampling_sd seed_sd degrees smallest_p clips test reason",
        "per_type": "head type system control metric value low high clips reason",
        "per_speaker": "head system unit speaker clips positive auroc accuracy worst",
        "per_unit": "head subset system unit value auroc",
        "per_seed": "head subset system control run seed metric value",
        "calibration": "head system when metric value low high seed_sd mean_temperature ece_if_calibrated",
        "robustness": "head system condition strength level auroc low high seed_sd seeds clips judged reason",
        "robustness_areas": "head system condition strengths area low high seed_sd seeds clips clean reason",
        "cost": "system cost value",
    }.items()
}
"""CSV file -> its columns. One without rows is not written."""


def write_tables(folder: Path, comparison: Mapping[str, Any]) -> list[Path]:
    """Write every table that has rows, and remove what an earlier comparison left of the others."""
    rows: dict[str, Iterator[dict[str, Any]]] = {
        "systems": _systems(comparison),
        "differences": _differences(comparison),
        "per_type": _types(comparison),
        "per_speaker": _speakers(comparison),
        "per_unit": _units(comparison),
        "per_seed": _seeds(comparison),
        "calibration": _calibration(comparison),
        "robustness": _robustness(comparison, "points"),
        "robustness_areas": _robustness(comparison, "areas"),
        "cost": _cost(comparison),
    }
    written = []
    for name, columns in TABLES.items():
        path = folder / f"{name}.csv"
        table = pd.DataFrame(list(rows[name]))
        if table.empty:
            path.unlink(missing_ok=True)
            continue
        written.append(write_csv(table.reindex(columns=columns), path, "%.6g"))
    return written


def _subsets(comparison: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    for head, result in comparison["heads"].items():
        for subset, entry in result["subsets"].items():
            yield {"head": head, "subset": subset}, entry


def _judged(entry: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    """Systems, then their controls."""
    for system, found in entry["systems"].items():
        yield {"system": system, "control": ""}, found
    for system, controls in entry["controls"].items():
        for control, found in controls.items():
            yield {"system": system, "control": control}, found


def _systems(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for where, entry in _subsets(comparison):
        for who, found in _judged(entry):
            for metric, figure in found["metrics"].items():
                seeds = len(figure.get("per_seed", [])) or None
                yield {**where, **who, **figure, "metric": metric, "seeds": seeds, "clips": found["clips"]}


def _differences(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for where, entry in _subsets(comparison):
        for inside, families in (
            ("", entry["differences"]),
            (entry.get("within", {}).get("unit", ""), entry.get("within", {}).get("differences", {})),
        ):
            for family, rows in families.items():
                for row in rows:
                    whose = {"family": family, "inside": inside, "system": row["system"], "other": row["other"]}
                    yield {**where, **row, **whose, "metric": "auroc"}
                    for metric, figure in row.get("metrics", {}).items():
                        yield {**where, **figure, **whose, "metric": metric}


def _types(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for head, result in comparison["heads"].items():
        if "reason" in result["types"]:
            continue
        for kind, entry in result["types"].items():
            for who, found in _judged(entry):
                for metric in ("auroc", "called"):
                    if metric in found:
                        yield {
                            **who,
                            **found[metric],
                            "head": head,
                            "type": kind,
                            "metric": "auroc" if metric == "auroc" else "called_incongruent",
                            "clips": found["clips"],
                        }


def _speakers(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for head, result in comparison["heads"].items():
        found = result["speakers"]
        for system, rows in found.get("systems", {}).items():
            worst = found["worst"][system].get("speaker")
            for row in rows:
                yield {
                    **row,
                    "head": head,
                    "system": system,
                    "unit": found["unit"],
                    "worst": row["speaker"] == worst,
                }


def _units(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for where, entry in _subsets(comparison):
        within = entry.get("within", {})
        for system, each in within.get("each", {}).items():
            for value, area in each.items():
                yield {**where, "system": system, "unit": within["unit"], "value": value, "auroc": area}


def _seeds(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for where, entry in _subsets(comparison):
        for who, found in _judged(entry):
            described = comparison["systems"][who["system"]]
            for metric, figure in found["metrics"].items():
                for place, value in enumerate(figure.get("per_seed", [])):
                    run = {"run": described["runs"][place], "seed": described["seeds"][place]}
                    yield {**where, **who, **run, "metric": metric, "value": value}


def _calibration(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for head, result in comparison["heads"].items():
        for system, found in result["calibration"].items():
            told = {"mean_temperature": mean_temperature(found), "ece_if_calibrated": found["ece_if_calibrated"]}
            for when in ("before", "after", "change"):
                for metric, figure in found.get(when, {}).items():
                    if isinstance(figure, Mapping):
                        yield {**figure, **told, "head": head, "system": system, "when": when, "metric": metric}


def _robustness(comparison: Mapping[str, Any], part: str) -> Iterator[dict[str, Any]]:
    for head, systems in comparison["robustness"].items():
        for system, found in systems.items():
            for row in found[part]:
                yield {**row, "head": head, "system": system}


def _cost(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for system, found in comparison["cost"].items():
        for name, value in flat_cost(found).items():
            yield {"system": system, "cost": name, "value": value}


def flat_cost(found: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Figures of cost by name, such as `parameters.trainable`; a reason is no figure."""
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, Mapping):
            flat |= flat_cost(value, f"{prefix}{key}.")
        elif not isinstance(value, str):
            flat[f"{prefix}{key}"] = value
    return flat


def mean_temperature(found: Mapping[str, Any]) -> float | None:
    """Of a system's calibration: over the trainings that have a temperature."""
    known = [value for value in found["temperatures"] if value is not None]
    return sum(known) / len(known) if known else None
