"""Evaluate a run folder: read its tables, write `metrics.json`, the figures and `report.md`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.evaluate import evaluate
from subtext.evaluation.seeds import Run, per_seed_rows, pool_seeds

PREDICTIONS: Final = "predictions.parquet"
CONTROLS: Final = "controls.parquet"
METRICS: Final = "metrics.json"


def evaluate_run(
    folder: Path, groups: Sequence[str] | None = None, *, n_bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compute everything that a run folder reports again, from its prediction tables.

    Rewrites `metrics.json`, `figures/*.png` and `report.md`.

    Args:
        folder: the run folder.
        groups: units that intervals are clustered by; those that the run was configured with where None.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling.

    Returns:
        What `metrics.json` holds.

    Raises:
        RunError: the folder is no finished run, or cannot be written.
    """
    from subtext.report.figures import run_figures
    from subtext.report.page import write_page

    predictions, controls = read_tables(folder)
    described = describe_run(folder)
    metrics = evaluate(
        predictions, controls, groups if groups is not None else described["groups"], n_bootstrap=n_bootstrap, seed=seed
    )
    try:
        _write_json(folder / METRICS, metrics)
        figures = run_figures(folder / "figures", metrics, predictions, controls, _history(folder))
        write_page(
            folder / "report.md", metrics, title=folder.name, provenance=described["provenance"], figures=figures
        )
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}; free space or change its permissions") from error
    return metrics


def evaluate_seeds(
    folders: Sequence[Path],
    out: Path,
    groups: Sequence[str] | None = None,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate several runs that differ in their seed, and pool them.

    Each run is evaluated as by `evaluate_run`. Into `out` go `per_seed.csv` (every figure of every run), `metrics.json`
    (means, standard deviations, and intervals of the mean AUROC and of its paired differences) and `report.md`.

    Raises:
        RunError: a folder is no finished run, or the runs were tested on different clips.
    """
    from subtext.report.seeds_page import write_seeds_page

    runs = []
    units = list(groups) if groups is not None else describe_run(folders[0])["groups"]
    for folder in folders:
        metrics = evaluate_run(folder, units, n_bootstrap=n_bootstrap, seed=seed)
        predictions, controls = read_tables(folder)
        runs.append(Run(folder.name, predictions, controls, metrics))
    pooled = pool_seeds(runs, units)
    try:
        out.mkdir(parents=True, exist_ok=True)
        per_seed_rows(runs).to_csv(out / "per_seed.csv", index=False, float_format="%.6g")
        _write_json(out / METRICS, pooled)
        write_seeds_page(out / "report.md", pooled)
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    return pooled


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The predictions of a run and its controls, None where it has none.

    Raises:
        RunError: the folder or its predictions are missing or damaged.
    """
    if not folder.is_dir():
        raise RunError(f"no run folder {folder}; give the folder that subtext-train wrote")
    if not (folder / PREDICTIONS).is_file():
        raise RunError(f"{folder} holds no {PREDICTIONS}; finish the run with: subtext-train resume={folder}")
    controls = folder / CONTROLS
    return _read_parquet(folder / PREDICTIONS), _read_parquet(controls) if controls.is_file() else None


def describe_run(folder: Path) -> dict[str, Any]:
    """The units and the provenance that a run folder states."""
    stated = _read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    provenance: dict[str, str] = {}
    for key, label in (("command", "command"), ("commit", "commit"), ("seed", "seed"), ("versions", "versions")):
        value = stated.get(key)
        if isinstance(value, Mapping):
            provenance[label] = ", ".join(f"{name} {version}" for name, version in value.items())
        elif isinstance(value, list):
            provenance[label] = " ".join(str(part) for part in value)
        elif value is not None:
            provenance[label] = str(value)
    config = folder / "config.yaml"
    if config.is_file():
        digest = hashlib.sha256(config.read_bytes()).hexdigest()
        provenance["configuration"] = f"`config.yaml`, sha256 {digest[:16]}"
    return {"groups": list(stated.get("groups", ["speaker"])), "provenance": provenance}


def _history(folder: Path) -> pd.DataFrame | None:
    """The CSV logger's table, which it keeps in a folder of its own."""
    found = sorted(folder.rglob("metrics.csv"), key=lambda path: path.stat().st_mtime)
    if not found:
        return None
    try:
        return pd.read_csv(found[-1])
    except (pd.errors.EmptyDataError, pd.errors.ParserError):
        # A run that was killed while logging leaves half a line; its results do not depend on it.
        return None


def _read_parquet(path: Path) -> pd.DataFrame:
    from pyarrow import ArrowException

    try:
        return pd.read_parquet(path)
    except (ArrowException, OSError) as error:
        raise RunError(f"cannot read {path}: {str(error).splitlines()[0]}; train the run again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}; train the run again") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} does not hold a JSON object; train the run again")
    return found


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    # Written beside and moved, so that a full disk leaves the old file whole.
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)
