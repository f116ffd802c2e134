"""What commands cost in processor time, alone and on a machine that is busy with other work.

    python benchmarks/threads.py --models ../shared/models [--busy 4] [--rounds 3] [--compare]

The first row is a program of one thread that only loads libraries: what it rises by is the machine's own doing (cores
that share caches, a hypervisor's neighbours), and no choice of threads goes below it.

Trains face and voice encoders on the studio demonstration for two epochs, runs a sweep of two trials with two workers,
and predicts on a talking-face clip: each alone, and beside processes that do nothing but compute. The environment says
nothing of threads, so this is what a command chooses for itself. Given are the processor time (user and system, of all
processes of the command) and the time on the clock, both medians, and how many times the processor time rose.

`--compare` measures the training with other choices too: threads that wait by spinning, a number of threads each.
"""

import argparse
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

OF_THREADS = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "VECLIB_", "NUMEXPR_", "SLURM_", "OPENCV_")
WORDS = "I'm fine, really, it was nothing."


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other work on the machine."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def spent(command: Sequence[str], settings: Mapping[str, str]) -> tuple[float, float]:
    """Processor time and time on the clock of a command, s."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_THREADS)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=clean | dict(settings), capture_output=True, text=True, check=False)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, took


def measure(
    label: str, command: Sequence[str], rounds: int, others: int, settings: Mapping[str, str] | None = None
) -> None:
    """Print a row: alone, beside others, and the ratio of the processor times."""
    cells, medians = [], []
    for number in (0, others):
        found = []
        for _ in range(rounds):
            with busy(number):
                # A sweep of the same name would go on with the one before, which is done.
                named = [*command, f"name={secrets.token_hex(4)}"] if "subtext.cli.sweep" in command else command
                found.append(spent(named, settings or {}))
        cpu, wall = (statistics.median(values) for values in zip(*found, strict=True))
        medians.append(cpu)
        cells.append(f"{cpu:7.1f} s CPU {wall:7.1f} s")
    print(f"{label:26} {'   '.join(cells)}   {medians[1] / medians[0]:5.2f} times", flush=True)


def main() -> None:
    """Measure and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with YuNet's weights")
    parser.add_argument("--work", type=Path, help="where the corpus and its features are kept (default: made anew)")
    parser.add_argument("--busy", type=int, default=4, help="processes beside (default 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=("train", "sweep", "predict"), default=("train", "sweep", "predict")
    )
    parser.add_argument("--compare", action="store_true", help="measure the training with other choices too")
    options = parser.parse_args()

    from builders.talking_face import write_talking_face
    from builders.untrained_run import write_untrained_run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work, models = options.work or folder / "work", options.models.resolve()
        places = [f"paths.work={work}", f"paths.models={models}", f"paths.runs={folder / 'runs'}"]
        python = [sys.executable, "-m"]
        training = [*(*python, "subtext.cli.train", "experiment=studio_encoders", *places), "overwrite=true"]
        training += ["trainer.max_epochs=2", "audit=false"]
        sweep = [*python, "subtext.cli.sweep", "sweep=fusion", "corpus=studio", *places, "workers=2", "trials=2"]
        sweep += ["refit_seeds=0", "task.batch_size=16", "trainer.max_epochs=3"]
        clip = write_talking_face(folder / "clip.mp4", 10.0, width=640, height=480, fps=25)
        run = write_untrained_run(folder / "run", ["encoder/visual=mobilenet", f"paths.models={models}"])
        predict = [*python, "subtext.cli.predict", str(run), str(clip), "--transcript", WORDS]
        if options.compare or set(options.only) != {"predict"}:
            subprocess.run([*python, "subtext.cli.extract", "corpus=studio", *places], check=True)
        print(f"load average before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}; alone, beside {options.busy}")
        measure(
            "one thread, imports",
            [sys.executable, "-c", "import torch, cv2, transformers"],
            options.rounds,
            options.busy,
        )
        for label, command in {"train": training, "sweep": sweep, "predict": predict}.items():
            if label in options.only:
                measure(label, command, options.rounds, options.busy)
        if options.compare:
            measure("train, spinning", training, options.rounds, options.busy, {"OMP_WAIT_POLICY": "ACTIVE"})
            for threads in (1, 2, 4, 8):
                if threads <= (os.cpu_count() or 1):
                    measure(
                        f"train, {threads} threads",
                        training,
                        options.rounds,
                        options.busy,
                        {"OMP_NUM_THREADS": str(threads)},
                    )


if __name__ == "__main__":
    main()
