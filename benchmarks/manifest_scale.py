"""What large corpora cost: a manifest of a million rows, and a collage of 100,000 examples.

Each measurement runs in a process of its own, so that its peak memory is its own; the median of --repeats is printed.

Usage: python benchmarks/manifest_scale.py --data ../shared/data
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and peak memory of large manifests and of a large collage.")
    parser.add_argument("--data", type=Path, help="folder with ravdess, faces and meld; without it no collage is built")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]), options.data)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tables(folder, options.rows)
        for what in ("csv", "parquet"):
            report(f"{options.rows:,} rows, {what}", what, [folder / f"mine.{what}"] * options.repeats, options.data)
        if options.data is not None:
            fresh = [folder / f"collage{number}" for number in range(options.repeats)]
            report("collage of 100,000, first build", "collage", fresh, options.data)
            report("collage of 100,000, built before", "collage", [fresh[0]] * options.repeats, options.data)


def write_tables(folder: Path, rows: int) -> None:
    """A table of the usual columns as CSV and Parquet: one file a row in 1,000 folders, which are not there."""
    rng = np.random.default_rng(0)
    speaker = rng.integers(0, 5000, rows)
    number = pd.Series(np.arange(rows)).astype(str)
    words = ["well I", "am fine", "really not", "today thanks", "- you know"]
    spoken = pd.Series([""] * rows)
    for _ in range(4):
        spoken = spoken + " " + rng.choice(words, rows)
    start = (rng.random(rows) * 3000).round(3)
    table = pd.DataFrame(
        {
            "id": "r" + number,
            "speaker": "s" + pd.Series(speaker).astype(str),
            "session": "t" + pd.Series(speaker // 2).astype(str),
            "video": "day" + number.str[-3:] + "/" + number + ".mp4",
            "audio": "day" + number.str[-3:] + "/" + number + ".wav",
            "start": start,
            "end": start + 2,
            "transcript": number + spoken,
            "verbal_emotion": rng.choice(["joy", "sad", "neutral", "surprise"], rows),
            "visual_polarity": rng.choice(["-1", "0", "1", ""], rows),
            "vocal_polarity": rng.choice([-1, 0, 1], rows),
            "split": np.where(speaker < 3000, "train", np.where(speaker < 4000, "val", "test")),
        }
    )
    table.to_csv(folder / "mine.csv", index=False)
    table.to_parquet(folder / "mine.parquet", index=False)


def report(name: str, what: str, paths: list[Path], data: Path | None) -> None:
    """Measure once a path, each in a process of its own, and print the medians."""
    runs = []
    for path in paths:
        command = [sys.executable, __file__, "--measure", what, str(path)]
        if data is not None:
            command += ["--data", str(data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        runs.append(json.loads(done.stdout))
    seconds, peak = (statistics.median(run[key] for run in runs) for key in ("seconds", "peak"))
    print(f"{name}: {seconds:.1f} s, peak {peak:.2f} GB (median of {len(runs)})", flush=True)


def measure(what: str, path: Path, data: Path | None) -> dict[str, float]:
    """Seconds to read, check and describe, without the imports; peak resident memory of this process in GB."""
    from subtext.corpora.collage import Collage
    from subtext.corpora.corpus import Corpus
    from subtext.corpora.files import ManifestCorpus

    corpus: Corpus
    if what == "collage":
        if data is None:
            sys.exit("the collage needs --data")
        corpus = Collage(data=data, folder=path, n_train=80_000, n_val=10_000, n_test=10_000)
    else:
        corpus = ManifestCorpus(path=path)
    began = time.perf_counter()
    corpus.build()
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}


if __name__ == "__main__":
    main()
