"""Where a third modality could help: fused against words + face, on clips whose face hardly moves and on the rest.

    python experiments/studio/weak_faces.py RUN... --manifest work/corpora/studio/full-1/manifest.parquet

Means over runs; 95 % intervals clustered by the runs' units, for these trained systems. The split by `weak_face`, which
the generator draws and no model sees, is a look at where errors lie, not a test that was planned.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from subtext.evaluation.intervals import Units, mean_of, ranking_interval
from subtext.evaluation.metrics import auroc
from subtext.runs.folder import RunFolder

PRESENT = ["present_visual", "present_text", "present_prosody"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    options = parser.parse_args()
    weak = pd.read_parquet(options.manifest).set_index("id")["weak_face"]
    tables = [read(run) for run in options.runs]
    groups = RunFolder(options.runs[0]).run()["groups"]
    for name, wanted in (("weak faces", True), ("other faces", False)):
        parts = [table[weak[table["id"]].to_numpy(dtype=bool) == wanted] for table in tables]
        labels, units = parts[0]["incongruent"].to_numpy(dtype=bool), Units.of(parts[0], groups)
        fused = [auroc(labels, part["prob_incongruent"].to_numpy()) for part in parts]
        pair = [auroc(labels, part["words_face"].to_numpy()) for part in parts]
        rows = {
            "fused": ranking_interval(mean_of(fused), units),
            "words + face": ranking_interval(mean_of(pair), units),
            "difference": ranking_interval(mean_of([f - p for f, p in zip(fused, pair, strict=True)]), units, low=-1.0),
        }
        for system, found in rows.items():
            print(f"{name} ({len(labels)} clips), {system}: {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")


def read(run: Path) -> pd.DataFrame:
    """Test clips with all streams, in one order, with the probabilities of the fused model and of words + face."""
    table = pd.read_parquet(run / "predictions.parquet")
    controls = pd.read_parquet(run / "controls.parquet")
    pair = controls[controls["control"] == "visual+text"].set_index("id")["prob_incongruent"]
    table = table.assign(words_face=pair[table["id"]].to_numpy())
    shown = (table["split"] == "test") & np.logical_and.reduce([table[column] for column in PRESENT])
    return table[shown].sort_values("id").reset_index(drop=True)


if __name__ == "__main__":
    main()
