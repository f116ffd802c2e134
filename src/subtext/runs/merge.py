"""Put the parts of a run together that several processes or machines did, each for its own recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.core.tables import write_csv
from subtext.errors import RunError
from subtext.evaluation.prompted import calibrated, spread_over_wordings, summary
from subtext.runs.evaluate import flat
from subtext.runs.folder import RunFile, RunFolder, check_out

_FREE: Final = ("shard", "folder", "overwrite", "workers", "debug", "paths")
"""Settings in which parts of one run may differ."""


def are_shards(folders: Sequence[Path]) -> bool:
    """Whether folders hold parts of a run."""
    runs = [RunFolder(folder) for folder in folders]
    return all(run.is_begun and run.settings().get("shard") is not None for run in runs)


def merge_shards(folders: Sequence[Path], out: Path) -> RunFolder:
    """One run of all parts: their rows together, calibrated on all validation rows.

    Args:
        folders: every part once.
        out: a run folder to write to; one that such a merging made is replaced.

    Raises:
        RunError: a part is missing, unfinished, given twice or of other settings, or `out` is something else.
        ConfigError: `out` cannot be a folder.
    """
    runs = [RunFolder(folder) for folder in folders]
    settings = _settings(runs)
    tables = [(run.predictions(), run.controls()) for run in runs]
    answers = pd.concat([run.table(RunFile.ANSWERS) for run in runs], ignore_index=True)
    facts = [run.run() for run in runs]
    about = _about(runs, facts)
    rows = pd.concat([predictions for predictions, _ in tables], ignore_index=True)
    repeated = rows[["id", "split", "fold"]].astype("string").duplicated()
    if repeated.any():
        raise RunError(f"two parts hold the same clips ({repeated.sum()} rows); score them again with this version")
    check_out(out)
    target = RunFolder(out)
    merged_before = target.file(RunFile.RUN).is_file() and "shards" in target.run()
    target.begin({**settings, "shard": None, "folder": str(out)}, overwrite=merged_before)
    predictions = calibrated(rows)
    controls = [table for _, table in tables if table is not None]
    if controls:
        together = pd.concat(controls, ignore_index=True)
        parts = [calibrated(part) for _, part in together.groupby("control", sort=False)]
        target.write_table(RunFile.CONTROLS, pd.concat(parts, ignore_index=True))
    target.write_table(RunFile.ANSWERS, answers)
    shared = {key: facts[0].get(key) for key in ("groups", "labels", "question", "nature")}
    target.add_facts({**shared, "rows": len(rows), "vlm": about | summary(predictions, answers), "shards": facts})
    with target.writing():
        write_csv(spread_over_wordings(answers, predictions), target.file(RunFile.WORDINGS))
    target.write_table(RunFile.PREDICTIONS, predictions)
    return target


def _about(runs: Sequence[RunFolder], facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of the one model of all parts."""
    try:
        told = [dict(fact["vlm"]) for fact in facts]
        other = next((n for n, one in enumerate(told) if one["sha256"] != told[0]["sha256"]), None)
        counts = {count: sum(int(one[count]) for one in told) for count in ("prompts_asked", "prompts_known")}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"a run.json does not describe the model ({error}); score the part again") from None
    if other is not None:
        raise RunError(f"{runs[0].path} and {runs[other].path} were answered by different weights; score one again")
    return told[0] | counts


def _settings(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """What the parts have in common, once it is clear that they are all parts of one run."""
    found = [run.settings() for run in runs]
    first = flat(found[0])
    for run, settings in zip(runs[1:], found[1:], strict=True):
        ours = flat(settings)
        for key in sorted(first.keys() | ours.keys()):
            if key.split(".")[0] not in _FREE and first.get(key) != ours.get(key):
                raise RunError(f"{runs[0].path} and {run.path} differ in {key}, so they are not parts of one run")
    given = sorted(str(settings["shard"]) for settings in found)
    if given != sorted(f"{number}/{len(runs)}" for number in range(1, len(runs) + 1)):
        shown = ", ".join(str(settings["shard"]) for settings in found)
        raise RunError(f"the parts given are {shown}; give each part of one division once")
    return found[0]
