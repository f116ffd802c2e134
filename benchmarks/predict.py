"""How long prediction takes on one talking-face clip: warm in one process, and as a cold command.

    python benchmarks/predict.py --models ../shared/models

Weights are random, which costs the same as trained ones. Medians over several rounds on an idle machine; on a busy one
the least time and the CPU time say more.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

SECONDS = 10.0
WORDS = "I'm fine, really, it was nothing."


def measure(label: str, work: Callable[[], object], rounds: int) -> float:
    """Print and give the median wall time of one call, after one that is not counted; CPU time stands beside it."""
    work()
    wall, cpu = [], []
    for _ in range(rounds):
        begun, spent = time.perf_counter(), cpu_seconds()
        work()
        wall.append(time.perf_counter() - begun)
        cpu.append(cpu_seconds() - spent)
    figures = f"{statistics.median(wall):6.2f} s   least {min(wall):6.2f} s   CPU {statistics.median(cpu):6.2f} s"
    print(f"{label:28} {figures}", flush=True)
    return statistics.median(wall)


def cpu_seconds() -> float:
    """CPU time of this process, all its threads, and the processes that it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def decode(path: Path) -> int:
    """Decode every picture and nothing else: what any reader of the file has to do."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    """Measure and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder with YuNet's weights; without it only haar is measured")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()

    from builders.talking_face import write_talking_face
    from builders.untrained_run import write_untrained_run
    from subtext.prediction.predictor import Predictor
    from subtext.sessions.transcripts import Turn

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_talking_face(folder / "clip.mp4", SECONDS, width=640, height=480, fps=25)
        decoding = measure("decoding alone", lambda: decode(clip), options.rounds)
        turns = [Turn(None, None, WORDS)]
        run = folder
        for detector in ("yunet", "haar") if options.models else ("haar",):
            overrides = ["encoder/visual=mobilenet", f"encoder.visual.extractor.detector={detector}"]
            run = write_untrained_run(folder / detector, [*overrides, f"paths.models={options.models or folder}"])
            predictor = Predictor(run)
            (line,) = predictor.predict([("clip", clip)], turns)
            if line["missing"]:
                raise SystemExit(f"{detector}: not all streams are there: {line['missing']}")
            warm = measure(
                f"warm, {detector}", lambda p=predictor: list(p.predict([("clip", clip)], turns)), options.rounds
            )
            print(f"{'':28} {warm / decoding:6.1f} x decoding")
        command = [sys.executable, "-m", "subtext.cli.predict", str(run), str(clip), "--transcript", WORDS]
        rounds = max(3, options.rounds // 3)
        for label, arguments in {
            "import subtext": [sys.executable, "-c", "import subtext"],
            "subtext-predict --help": [*command[:3], "--help"],
            "import torch": [sys.executable, "-c", "import torch"],
            "cold subtext-predict": command,
        }.items():
            measure(label, lambda a=arguments: subprocess.run(a, check=True, capture_output=True), rounds)


if __name__ == "__main__":
    main()
