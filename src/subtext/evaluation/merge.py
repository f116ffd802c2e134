"""Put the parts of a run together that several processes or machines did, each for its own recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.errors import RunError
from subtext.evaluation.prompted import calibrated, spread_over_wordings, summary
from subtext.evaluation.run import ANSWERS, CONTROLS, PREDICTIONS, WORDINGS, flat, read_parquet, read_tables
from subtext.privacy import write_csv
from subtext.run_folder import RunFolder, check_out

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
    check_out(out)
    target = RunFolder(out)
    merged_before = target.file("run.json").is_file() and "shards" in target.run()
    target.begin({**settings, "shard": None, "folder": str(out)}, overwrite=merged_before)
    tables = [read_tables(run) for run in runs]
    rows = pd.concat([predictions for predictions, _ in tables], ignore_index=True)
    repeated = rows["id"][rows[["id", "split", "fold"]].astype("string").duplicated()]
    if len(repeated):
        raise RunError(f"two parts hold the clip '{repeated.iloc[0]}'; score them again with this version")
    answers = pd.concat([read_parquet(run.file(ANSWERS)) for run in runs], ignore_index=True)
    predictions = calibrated(rows)
    controls = [table for _, table in tables if table is not None]
    if controls:
        together = pd.concat(controls, ignore_index=True)
        parts = [calibrated(part) for _, part in together.groupby("control", sort=False)]
        target.write_table(CONTROLS, pd.concat(parts, ignore_index=True))
    target.write_table(ANSWERS, answers)
    facts = [run.run() for run in runs]
    shared: dict[str, Any] = {key: facts[0][key] for key in ("groups", "labels", "question", "nature")}
    about = {**facts[0]["vlm"], **summary(predictions, answers)}
    for count in ("prompts_asked", "prompts_known"):
        about[count] = sum(fact["vlm"][count] for fact in facts)
    target.add_facts({**shared, "rows": len(rows), "vlm": about, "shards": facts})
    with target.writing():
        write_csv(spread_over_wordings(answers, predictions), target.file(WORDINGS))
    target.write_table(PREDICTIONS, predictions)
    return target


def _settings(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """What the parts have in common, once it is clear that they are all parts of one run."""
    found = [run.settings() for run in runs]
    first = flat(found[0])
    for run, settings in zip(runs[1:], found[1:], strict=True):
        ours = flat(settings)
        for key in sorted(first.keys() | ours.keys()):
            if key.split(".")[0] not in _FREE and first.get(key) != ours.get(key):
                raise RunError(f"{runs[0].path} and {run.path} differ in {key}, so they are not parts of one run")
    numbers = [str(settings["shard"]).partition("/") for settings in found]
    of = {total for _, _, total in numbers}
    given = sorted(int(number) for number, _, _ in numbers)
    wanted = list(range(1, int(next(iter(of))) + 1))
    if len(of) > 1 or given != wanted:
        shown = ", ".join(str(settings["shard"]) for settings in found)
        raise RunError(f"the parts given are {shown}; give each part of one division once")
    return found[0]
