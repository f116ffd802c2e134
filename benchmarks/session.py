"""A long session with many turns: is each recording decoded once, and how long does it take?

    python benchmarks/session.py [--minutes 60] [--turns 400]

A talking face of one minute, 640x480 at 25 fps, is repeated without encoding it again and stands in a folder as
`corpus=ether` reads it. Faces (Haar) and voices of all turns are extracted in this process; openings of the file and
decoded frames are counted.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--turns", type=int, default=400)
    options = parser.parse_args()

    from long_recording import repeat

    from builders.talking_face import write_talking_face
    from subtext.corpora.ether import Ether
    from subtext.features.cache import MemoryCache
    from subtext.features.extract import extract
    from subtext.features.faces import FaceExtractor
    from subtext.features.prosody import ProsodyExtractor
    from subtext.media.container import Recording

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "ether" / "S01"
        folder.mkdir(parents=True)
        minute = write_talking_face(Path(name) / "minute.mp4", 60.0, width=640, height=480, fps=25)
        repeat(minute, folder / "client.mp4", options.minutes)
        step = 60 * options.minutes / options.turns
        lines = [f"{i * step:.3f},{(i + 0.8) * step:.3f},client,So it goes." for i in range(options.turns)]
        (folder / "turns.csv").write_text("\n".join(["start,end,speaker,transcript", *lines]), encoding="utf-8")

        began = time.perf_counter()
        manifest = Ether(data=folder.parent, groups=["session"], disjoint=[]).build()
        print(f"manifest: {len(manifest)} rows, {time.perf_counter() - began:.2f} s", flush=True)

        opened: list[Recording] = []
        begin = Recording.__init__

        def count(recording: Recording, path: Path) -> None:
            begin(recording, path)
            opened.append(recording)

        Recording.__init__ = count  # type: ignore[method-assign]
        for extractor in (FaceExtractor(detector="haar"), ProsodyExtractor()):
            opened.clear()
            began = time.perf_counter()
            index = extract(manifest, {extractor.modality: extractor}, MemoryCache(), progress=False).table
            whole = int((index["status"] == "ok").sum())
            frames = sum(recording.decoded for recording in opened)
            print(
                f"{extractor.modality}: {whole} of {len(index)} turns, {len(opened)} openings, {frames:,} frames "
                f"decoded, {time.perf_counter() - began:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
