"""Peak memory of predicting on a long recording with many turns, against a short one.

    python benchmarks/long_recording.py [--minutes 60]

A talking face of one minute, 640x480 at 25 fps, is repeated without encoding it again; a turn every 5 s. Each length is
predicted by a process of its own, with Haar and random weights, which cost the same as trained ones.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

WORDS = "I'm fine, really, it was nothing."
PREDICT = """
import sys
from pathlib import Path
from subtext.prediction.predictor import Predictor
from subtext.sessions.transcripts import Turn
run, path, minutes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
turns = [Turn(begin, begin + 4.0, sys.argv[4]) for begin in range(0, 60 * minutes - 5, 5)]
lines = list(Predictor(run).predict([("clip", path)], turns))
whole = sum(not line["missing"] for line in lines)
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(len(lines), whole, int(peak) // 1024)
"""


def repeat(source: Path, path: Path, times: int) -> Path:
    """The same packets again and again, one stretch after the other."""
    import av

    with av.open(str(path), "w") as out:
        streams: dict[int, object] = {}
        for number in range(times):
            with av.open(str(source)) as container:
                # A little more than its length: sound and picture do not end, nor begin, at the same time.
                length = Fraction(container.duration, av.time_base) + Fraction(1, 5)
                for stream in container.streams:
                    if number == 0:
                        streams[stream.index] = out.add_stream_from_template(stream)
                for packet in container.demux():
                    if packet.dts is None:
                        continue
                    shift = int(number * length / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
    return path


def main() -> None:
    """Measure and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    options = parser.parse_args()

    from builders.talking_face import write_talking_face
    from builders.untrained_run import write_untrained_run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        minute = write_talking_face(folder / "minute.mp4", 60.0, width=640, height=480, fps=25)
        run = write_untrained_run(
            folder / "run", ["encoder/visual=mobilenet", "encoder.visual.extractor.detector=haar"]
        )
        for minutes in (1, options.minutes):
            path = repeat(minute, folder / f"{minutes}.mp4", minutes)
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", PREDICT, str(run), str(path), str(minutes), WORDS],
                check=True,
                capture_output=True,
                text=True,
            )
            turns, whole, peak = done.stdout.split()
            print(
                f"{minutes} min: {turns} turns, {whole} with all streams, peak {peak} MB, "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
