"""Put the manifests of several corpora together, to train on all of them or to leave one out.

Then: subtext-data split JOINED --leave-one-out corpus, and subtext-train corpus=manifest corpus.path=... cv=N.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from subtext.cli.arguments import Input
from subtext.cli.data.chosen import manifest_file

NAME = "join"
HELP = "several manifests -> one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "tables",
        metavar="TABLE",
        nargs="+",
        type=Input("a manifest: .parquet, .csv or .jsonl"),
        help="manifests: .parquet, .csv, .jsonl",
    )
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, required=True, help="where the joined table goes")


def run(options: argparse.Namespace) -> None:
    """Read, join and write."""
    from subtext.corpora.files import ManifestCorpus
    from subtext.manifest import description, splits, write_manifest

    path = manifest_file(options.out)
    # Whether files are links out of a root is checked where the joined table is read, with its own root.
    corpora = [ManifestCorpus(path=table, disjoint=(), allow_links=True) for table in options.tables]
    manifests = [replace(corpus.build(), allow_links=False) for corpus in corpora]
    joined = splits.join(manifests, path.stem)
    about = description.joined(
        {manifest.name: corpus.description for manifest, corpus in zip(manifests, corpora, strict=True)}
    )
    write_manifest(joined, path, about.as_json())
    print(f"{joined.name}: {len(joined):,} segments of {len(corpora)} corpora")
    print(f"Written: {path}")
