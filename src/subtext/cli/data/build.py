"""Read a corpus in its official layout, check it, and write its manifest: one row a segment, as Parquet.

Media stay where they are; of a table of your own, that they are there is checked. The first row that cannot be used
ends the command; with corpus.on_error=skip such rows are left out and listed in a file beside the manifest.
Train on the result with: subtext-train corpus=manifest corpus.path=FILE.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus, manifest_file

NAME = "build"
HELP = "official files -> manifest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="default: work/data/CORPUS/manifest.parquet")


def run(options: argparse.Namespace) -> None:
    """Build and write."""
    from subtext.manifest import write_manifest
    from subtext.manifest.table import write_rejects

    chosen = chosen_corpus(options, check_media=True)
    path = manifest_file(options.out or chosen.folder / "manifest.parquet")
    manifest = chosen.build()
    write_manifest(manifest, path, chosen.corpus.description.as_json())
    rejects = write_rejects(manifest, path.with_suffix(".rejects.csv"))
    splits = manifest.table["split"].value_counts(sort=False, dropna=False).items()
    counts = ", ".join(f"{'no split' if not isinstance(split, str) else split} {count:,}" for split, count in splits)
    print(f"{manifest.name}: {len(manifest):,} segments ({counts})")
    if rejects is not None:
        # Several files may have a row of the same number, and one row several faults.
        left_out = len(manifest.rejects.drop_duplicates(["row", "id"]))
        print(f"Left out: {left_out:,} rows; what is wrong with each: {rejects}")
    print(f"Written: {path}")
