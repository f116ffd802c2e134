"""How many alarms the audit raises on clean studio corpora, one a seed; every one of them is false.

Makes the corpora (tiny: 120 clips, about 10 s a seed on two cores) and decodes them. At most 2 alarms over 20 seeds are
allowed.

    python benchmarks/audit_false_alarms.py --seeds 20 --size tiny --media content
"""

import argparse
import tempfile
import time
from pathlib import Path

from subtext.audit import audit_corpus
from subtext.corpora.studio import Studio


def main() -> None:
    """Make, audit, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--size", default="tiny", choices=("tiny", "demo", "full"))
    parser.add_argument("--media", default="content", choices=("headers", "content"))
    parser.add_argument("--folder", type=Path, help="where corpora are made and kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        total = tests = 0
        for seed in range(options.seeds):
            manifest = Studio(folder / f"{options.size}-{seed}", seed=seed, size=options.size).build()
            began = time.perf_counter()
            found = audit_corpus(manifest, media=options.media)
            seconds = time.perf_counter() - began
            total += len(found.alarms)
            tests += len(found.predictability)
            print(f"seed {seed}: {len(found.alarms)} alarms, {len(found.predictability)} tests, {seconds:.1f} s")
            for finding in found.alarms:
                print(f"  {finding.subject} {finding.label}: {finding.text}")
        print(f"{total} alarms on {options.seeds} clean corpora of size {options.size} ({tests} tests)")


if __name__ == "__main__":
    main()
