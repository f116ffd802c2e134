"""Seconds to cut a long transcript into chunks that the default text model reads, by its length.

    python benchmarks/long_text.py [--words 10000 20000 40000 80000]

Processor time of cutting alone, which is what grows; embedding costs the same for every chunk.
"""

import argparse
import random
import time

from subtext.features.text import DEFAULT_MODEL, TextExtractor, _load, _Text

SENTENCE = "I really thought that nothing of it would matter, and then everybody was friendly to us"


def main() -> None:
    """Measure and print one row a length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, nargs="+", default=[10_000, 20_000, 40_000, 80_000])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    embedder = _load(TextExtractor(model=options.model).folder)
    print("words   megabytes  chunks  seconds  microseconds a word")
    for count in options.words:
        text = " ".join(random.Random(0).choices(SENTENCE.split(), k=count))
        began = time.process_time()
        cut = _Text(embedder, text, embedder.max_tokens)
        took = time.process_time() - began
        print(f"{count:<7} {len(text) / 1e6:9.2f} {len(cut.chunks):7} {took:8.2f} {1e6 * took / count:21.1f}")


if __name__ == "__main__":
    main()
