"""What the machinery of a sweep costs a trial, and how much faster two workers are than one.

    python benchmarks/sweep.py [--trials 40] [--seconds 2] [--rounds 3] [--storage study.db]

Runs `subtext-sweep sweep=fusion corpus=collage` with an objective that trains nothing, so no corpus is needed:

- overhead: an objective that takes no time reports ten epochs, asks each time whether to go on, and keeps what the
  real one keeps. All the rest is the sweep's: drawing a point, composing and resolving the configuration, the storage
  and its lock, signs of life. Given is the time from the begin of a trial to the begin of the next one, and how much of
  it the processor worked for the sweep, which other work on the machine changes less.
- workers: an objective that computes in one thread for about `--seconds`, always the same work, with one worker and
  with two in turn. Given are the time from the first trial's begin to the last one's end, and that of the whole
  command, which also starts the processes and draws the figures. It needs two cores that are free; the load is printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROUNDS = "SWEEP_BENCHMARK_LOOPS"
"""Loops of computing that a trial does, for the processes of the sweep."""
EPOCHS = 10


class Busy:
    """An objective that trains nothing; arguments as `subtext.sweeps.objective.Objective`."""

    def __init__(
        self, settings: Mapping[str, Any], *, objectives: Sequence[str], seeds: Sequence[int], epochs: int
    ) -> None:
        self.seed = seeds[0]
        self.loops = int(os.environ[ROUNDS])

    def prepare(self) -> None:
        """Nothing is shared."""

    def __call__(self, trial: Any, settings_of: Callable[[int], Mapping[str, Any]]) -> tuple[float, ...]:
        import optuna

        trial.set_user_attr("cpu", time.process_time())
        settings = settings_of(self.seed)
        trial.set_user_attr("epochs_planned", EPOCHS)
        trial.set_user_attr("parameters", 1)
        trial.set_user_attr("flops_per_clip", 1)
        score = 0.7 - abs(settings["task"]["optimizer"]["lr"] - 1e-3)
        for epoch in range(EPOCHS):
            compute(self.loops // EPOCHS)
            trial.report(score - 0.1 / (epoch + 1), epoch)
            # Asked as always, but never heeded when the work of every trial is to be the same.
            if trial.should_prune() and not self.loops:
                trial.set_user_attr("epochs", epoch + 1)
                trial.set_user_attr("reason", f"pruned in epoch {epoch + 1}")
                raise optuna.TrialPruned
        for name, value in {"epochs": EPOCHS, "seconds": 1.0, "clips_per_second": 1.0}.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("seed_scores", {str(self.seed): score})
        trial.set_user_attr("best_epochs", {str(self.seed): EPOCHS - 1})
        return (score,)


def compute(loops: int) -> int:
    """Work for one thread."""
    found = 1
    for number in range(loops):
        found = (found * 1103515245 + number) % 2147483648
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="of the overhead")
    parser.add_argument("--worker-trials", type=int, default=12, help="of the workers")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time of a trial of the workers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--storage",
        help="file name in the sweep's folder: study.journal, study.log or study.db (default: study.journal)",
    )
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}", flush=True)
    for number in range(options.rounds):
        table, _ = sweep(0, options.trials, 0, options.storage)
        gaps, cpu = (table[column].diff().dropna() for column in ("began", "cpu"))
        print(
            f"overhead, round {number + 1}: median {gaps.median():.3f} s a trial, mean {gaps.mean():.3f}, "
            f"most {gaps.max():.3f}; last ten {gaps.tail(10).median():.3f}; CPU: median {cpu.median():.3f} s a trial, "
            f"last ten {cpu.tail(10).median():.3f}; {len(table)} trials, load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    began = time.process_time()
    compute(2_000_000)
    loops = round(2_000_000 * options.seconds / (time.process_time() - began))
    ratios = []
    for number in range(options.rounds):
        spans, wholes = [], []
        for workers in (1, 2):
            table, whole = sweep(loops, options.worker_trials, workers, options.storage)
            spans.append(table["ended"].max() - table["began"].min())
            wholes.append(whole)
        ratios.append(spans[0] / spans[1])
        print(
            f"workers, round {number + 1}: {options.worker_trials} trials with one worker {spans[0]:.1f} s, with two "
            f"{spans[1]:.1f} s: {ratios[-1]:.2f} times as fast; whole commands {wholes[0]:.1f} and {wholes[1]:.1f} s: "
            f"{wholes[0] / wholes[1]:.2f}; load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"workers, median: {statistics.median(ratios):.2f} times as fast")


def sweep(loops: int, trials: int, workers: int, storage: str | None) -> tuple[pd.DataFrame, float]:
    """Run a sweep.

    Returns:
        A row a trial, in the order they began in: `began`, `ended`, and the `cpu` of its process at its begin (s).
        The seconds that the whole command took.
    """
    here = Path(__file__).resolve()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "subtext.cli.sweep", "sweep=fusion", "corpus=collage", "name=benchmark"),
            *(f"paths.runs={folder}", f"objective={here.stem}.{Busy.__name__}", "refit_seeds=0"),
            *(f"trials={trials}", f"workers={workers}"),
            *([] if storage is None else [f"storage={folder}/{storage}"]),
        ]
        paths = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env=os.environ | {ROUNDS: str(loops), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        table = pd.read_csv(Path(folder) / "sweeps" / "benchmark" / "trials.csv")
    times = {
        new: pd.to_datetime(table[old]) for new, old in (("began", "datetime_start"), ("ended", "datetime_complete"))
    }
    origin = times["began"].min()
    found = pd.DataFrame({name: (column - origin).dt.total_seconds() for name, column in times.items()})
    found["cpu"] = table["user_attrs_cpu"]
    return found.sort_values("began", ignore_index=True), whole


if __name__ == "__main__":
    main()
