"""Evaluate a run folder: read its tables, write `metrics.json`, the figures and `report.md`."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.core.tables import write_csv
from subtext.errors import RunError
from subtext.evaluation.evaluate import check_groups, evaluate
from subtext.evaluation.novelty import unchecked
from subtext.evaluation.prompted import answer_notes
from subtext.evaluation.seeds import EvaluatedRun, per_seed_rows, pool_seeds
from subtext.runs.folder import RunFile, RunFolder, check_out

_FREE: Final = ("seed", "encoders", "resume", "overwrite", "workers", "debug", "paths", "folder", "logger")
"""Settings in which pooled runs may differ."""


def evaluate_run(
    folder: Path, groups: Sequence[str] | None = None, *, n_bootstrap: int = 1000, seed: int | None = None
) -> dict[str, Any]:
    """Compute everything that a run folder reports again, from its prediction tables.

    Rewrites `metrics.json`, `figures/*.png` and `report.md`.

    Args:
        folder: the run folder.
        groups: units that intervals are clustered by; those that the run's corpus names where None.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling; the run's own where None, so that doing it again gives the same figures.

    Returns:
        What `metrics.json` holds.

    Raises:
        RunError: the folder is no finished run, or cannot be written.
        ConfigError: there is no such unit.
    """
    check_groups(groups or (), [RunFolder(folder).predictions()])
    return _evaluate_run(folder, groups, n_bootstrap=n_bootstrap, seed=seed)


def _evaluate_run(folder: Path, groups: Sequence[str] | None, *, n_bootstrap: int, seed: int | None) -> dict[str, Any]:
    from subtext.report.figures import run_figures
    from subtext.report.page import write_page

    run = RunFolder(folder)
    run.check_links()
    predictions, controls = run.predictions(), run.controls()
    facts = run.run() if run.file(RunFile.RUN).is_file() else {}
    units = _units(run, facts, groups)
    chosen = int(facts.get("seed") or 0) if seed is None else seed
    metrics = evaluate(predictions, controls, units, n_bootstrap=n_bootstrap, seed=chosen)
    metrics["notes"] += [*answer_notes_of(run, facts), *_model_notes(run)]
    metrics |= {name: str(facts[name]) for name in ("labels", "question") if facts.get(name)}
    # The page first and the metrics last: with them the run counts as finished.
    with run.writing():
        figures = run_figures(
            run.file(RunFile.FIGURES), metrics, predictions, controls, _history(run), _best_epoch(run)
        )
        write_page(
            run.file(RunFile.REPORT),
            metrics,
            title=f"Results of run {run.path.name}",
            provenance=_provenance(run, facts),
            figures=figures,
        )
    run.write_json(RunFile.METRICS, metrics)
    return metrics


def evaluate_seeds(
    folders: Sequence[Path],
    out: Path,
    groups: Sequence[str] | None = None,
    *,
    n_bootstrap: int = 1000,
    seed: int | None = None,
) -> dict[str, Any]:
    """Evaluate several runs that differ in their seed, and pool them.

    Each run is evaluated as by `evaluate_run`. Into `out` go `per_seed.csv` (every figure of every run), `metrics.json`
    (means, standard deviations, and intervals of the mean AUROC and of its paired differences), `report.md`,
    `config.yaml` (the first run's) and `runs.json` (command, commit and versions of each).

    Raises:
        RunError: a folder is no finished run, the runs' settings differ in more than their seed, they were tested on
            different clips, or `out` is a run or cannot be written.
        ConfigError: there is no such unit, or `out` cannot be a folder.
    """
    _check_settings([RunFolder(folder) for folder in folders])
    check_groups(groups or (), [RunFolder(folder).predictions() for folder in folders])
    if (out / RunFile.PREDICTIONS).is_file() or RunFolder(out).is_trained:
        raise RunError(f"{out} is a run, whose configuration and metrics would be lost; name another folder with --out")
    check_out(out)
    from subtext.report.seeds_page import write_seeds_page

    runs, units = [], groups
    for folder in folders:
        metrics = _evaluate_run(folder, units, n_bootstrap=n_bootstrap, seed=seed)
        units = list(metrics["groups"])
        run = RunFolder(folder)
        runs.append(
            EvaluatedRun(folder.name, metrics["seed"], run.predictions(), run.controls(), folder, metrics=metrics)
        )
    pooled = pool_seeds(runs, units or ())
    pooled |= {name: runs[0].metrics[name] for name in ("labels", "question") if name in runs[0].metrics}
    target = RunFolder(out)
    with target.writing():
        out.mkdir(parents=True, exist_ok=True)
        write_csv(per_seed_rows(runs), target.file(RunFile.PER_SEED), "%.6g")
        write_seeds_page(target.file(RunFile.REPORT), pooled)
        if RunFolder(folders[0]).is_begun:
            target.write_text(RunFile.CONFIG, RunFolder(folders[0]).file(RunFile.CONFIG).read_text(encoding="utf-8"))
    target.write_json(
        RunFile.RUNS, {run.label: _made(RunFolder(folder)) for run, folder in zip(runs, folders, strict=True)}
    )
    target.write_json(RunFile.METRICS, pooled)
    return pooled


def _made(run: RunFolder) -> dict[str, Any]:
    """How a run was made, without what belongs to one machine."""
    facts = run.run() if run.file(RunFile.RUN).is_file() else {}
    if facts.get("command"):
        facts["command"] = _command(facts["command"])
    if run.is_trained:
        model = run.model()
        facts |= {key: model[key] for key in ("parameters", "flops_per_clip", "best", "calibration")}
    return facts


def _command(command: Sequence[str]) -> list[str]:
    """A run's command as a person would give it: without its place on one machine, and what it told Hydra itself."""
    name = Path(command[0]).name
    if name.endswith(".py"):  # where a run begins again in processes of its own
        name = f"subtext-{name.removesuffix('.py')}"
    return [name, *(argument for argument in command[1:] if not argument.lstrip("+").startswith("hydra."))]


def _check_settings(runs: Sequence[RunFolder]) -> None:
    """Refuse to pool runs of different settings; what follows from the seed, or changes no figure, may differ."""
    described = [(run, run.settings()) for run in runs if run.is_begun]
    for run, settings in described[1:]:
        first, reference = described[0]
        ours, theirs = flat(settings), flat(reference)
        for key in sorted(ours.keys() | theirs.keys()):
            if key.split(".")[0] not in _FREE and ours.get(key) != theirs.get(key):
                raise RunError(
                    f"runs {first.path.name} and {run.path.name} differ in {key} ({theirs.get(key)!r} and "
                    f"{ours.get(key)!r}); pool runs that differ in their seed only"
                )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Settings as one mapping, with keys as on the command line: `fusion.layers`."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {
        key: value for name, entry in node.items() for key, value in flat(entry, f"{prefix}.{name}".strip(".")).items()
    }


def _units(run: RunFolder, facts: Mapping[str, Any], groups: Sequence[str] | None) -> list[str]:
    units = facts.get("groups") if groups is None else groups
    if units is None:
        raise RunError(f"{run.path} does not say which units its clips share; name their columns with --groups")
    return list(units)


def answer_notes_of(run: RunFolder, facts: Mapping[str, Any]) -> list[str]:
    """What a run says of its answers, where its model was asked and not trained."""
    if "vlm" not in facts or not run.file(RunFile.WORDINGS).is_file():
        return []
    try:
        return answer_notes(facts["vlm"], run.csv(RunFile.WORDINGS))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{run.file('run.json')} does not describe the answers of its model ({error})") from error


def _model_notes(run: RunFolder) -> list[str]:
    """What must be known of a model, or of those of its folds, to read its figures."""
    from subtext.report.terminal import MODALITY_NAMES

    parts = sorted(run.file(RunFile.FOLDS).iterdir()) if run.file(RunFile.FOLDS).is_dir() else [run.path]
    models = [RunFolder(part).model() for part in parts if RunFolder(part).is_trained]
    notes = []
    for head in dict.fromkeys(head for model in models for head in model.get("gates", {})):
        gates = [f"{model['gates'][head]:g}" for model in models if head in model.get("gates", {})]
        what = (
            "the fusion adds nothing beyond the readings that it stands on"
            if set(gates) == {"0"}
            else "the fusion's own answer counts beside the readings that it stands on"
        )
        notes.append(f"{head}: {what} (gate {', '.join(gates)}, chosen on validation clips)")
    for modality, kind in (models[0]["heads"].get("baseline", {}) if models else {}).items():
        notes.append(
            f"{modality} is read against the person's own mean ({kind}): these figures use other unlabelled turns of "
            "the person that are judged with it, and are no figures of single clips"
        )
    of_novelty = dict.fromkeys(unchecked(model.get("novelty", {}), MODALITY_NAMES) for model in models)
    return [*notes, *(note for note in of_novelty if note is not None)]


def _history(run: RunFolder) -> pd.DataFrame | None:
    return run.csv(RunFile.HISTORY) if run.file(RunFile.HISTORY).is_file() else None


def _best_epoch(run: RunFolder) -> int | None:
    return run.model()["best"]["epoch"] if run.is_trained else None


def _provenance(run: RunFolder, facts: Mapping[str, Any]) -> dict[str, str]:
    """How the run was made, label -> text."""
    told: dict[str, str] = {}
    if facts.get("command"):
        told["command"] = f"`{' '.join(_command(facts['command']))}`"
    if run.is_begun:
        digest = hashlib.sha256(run.file(RunFile.CONFIG).read_bytes()).hexdigest()
        told["configuration"] = f"`{RunFile.CONFIG}`, sha256 {digest[:16]}"
    told["commit"] = str(facts.get("commit") or "not known")
    if "seed" in facts:
        told["seed"] = str(facts["seed"])
    if run.is_trained:
        model = run.model()
        counts = ", ".join(f"{count / 1e6:.2f} M {kind}" for kind, count in model["parameters"].items())
        told["model"] = f"{counts} parameters; epoch {model['best']['epoch'] + 1} kept, chosen on validation"
    if facts.get("metadata"):
        told["metadata control reads"] = ", ".join(facts["metadata"])
    if "versions" in facts:
        told["versions"] = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return told
