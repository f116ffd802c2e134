"""Read a corpus in its official layout, check it, and write its manifest: one row a segment, as Parquet.

Media stay where they are. Train on the result with: subtext-train corpus=manifest corpus.path=FILE.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "build"
HELP = "official files -> manifest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="default: work/data/CORPUS/manifest.parquet")


def run(options: argparse.Namespace) -> None:
    """Build and write."""
    from subtext.manifest import write_manifest

    chosen = chosen_corpus(options)
    manifest = chosen.build()
    path = options.out or chosen.folder / "manifest.parquet"
    write_manifest(manifest, path)
    splits = manifest.table["split"].value_counts(sort=False, dropna=False).items()
    counts = ", ".join(f"{'no split' if not isinstance(split, str) else split} {count:,}" for split, count in splits)
    print(f"{manifest.name}: {len(manifest):,} segments ({counts})")
    print(f"Written: {path}")
