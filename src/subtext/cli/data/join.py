"""Put the manifests of several corpora together, to train on all of them or to leave one out.

Then: subtext-data split JOINED --leave-one-out corpus, and subtext-train corpus=manifest corpus.path=... cv=N.
"""

import argparse
from pathlib import Path

NAME = "join"
HELP = "several manifests -> one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("tables", metavar="TABLE", nargs="+", type=Path, help="manifests: .parquet, .csv, .jsonl")
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, required=True, help="where the joined table goes")


def run(options: argparse.Namespace) -> None:
    """Read, join and write."""
    from subtext.corpora.files import ManifestCorpus
    from subtext.corpora.splits import join
    from subtext.manifest import read_manifest, write_manifest

    corpora = [
        read_manifest(path) if path.suffix == ".parquet" else ManifestCorpus(path=path, disjoint=()).build()
        for path in options.tables
    ]
    joined = join(corpora, options.out.stem)
    write_manifest(joined, options.out)
    print(f"{joined.name}: {len(joined):,} segments of {len(corpora)} corpora")
    print(f"Written: {options.out}")
