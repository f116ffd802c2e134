"""Divide a corpus into train, val and test, or into folds, and write the manifest with that column.

Units named by --by stay on one side; the label's shares are kept alike. The same seed gives the same division.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus, manifest_file

NAME = "split"
HELP = "speaker-disjoint train, val, test or folds, as columns of the manifest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--shares",
        metavar=("TRAIN", "VAL", "TEST"),
        nargs=3,
        type=float,
        default=None,
        help="shares of the rows (default 0.7 0.15 0.15)",
    )
    how.add_argument("--folds", metavar="K", type=int, help="K folds, for training with cv=K")
    how.add_argument(
        "--leave-one-out",
        metavar="COLUMN",
        help="a fold for every value: speaker, session, or corpus of a joined table",
    )
    how.add_argument("--official", action="store_true", help="the division that the corpus came with, checked")
    parser.add_argument(
        "--by",
        metavar="COLUMNS",
        default="speaker",
        help="units that stay together, with commas between (default: speaker); --by= divides row by row",
    )
    parser.add_argument("--label", metavar="COLUMN", help="label whose shares are kept alike (default: incongruent)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default 0")
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="default: work/data/CORPUS/manifest.parquet")


def run(options: argparse.Namespace) -> None:
    """Build, divide, say what each part holds, and write."""
    from subtext.errors import ManifestError
    from subtext.manifest import check_splits, splits, write_manifest

    chosen = chosen_corpus(options, may_leak=True)
    path = manifest_file(options.out or chosen.folder / "manifest.parquet")
    manifest = chosen.build()
    by = [column for column in options.by.split(",") if column]
    label = options.label or ("incongruent" if manifest.table["incongruent"].notna().any() else None)
    for column in [] if options.official or options.leave_one_out else by:
        unknown = int(manifest.table[column].isna().sum()) if column in manifest.table else 0
        if unknown:
            logging.getLogger(__name__).warning(
                "%s: %d of %d rows have no %s, and each of them is divided by itself; fill the column, or name others "
                "with --by",
                manifest.name,
                unknown,
                len(manifest),
                column,
            )
    if options.folds is not None:
        manifest = splits.split_into_folds(manifest, options.folds, by, label, options.seed)
    elif options.leave_one_out is not None:
        manifest, by = splits.leave_one_out(manifest, options.leave_one_out), [options.leave_one_out]
    elif not options.official:
        shares = dict(zip(splits.SHARES, options.shares or splits.SHARES.values(), strict=True))
        manifest = splits.split_by_shares(manifest, by, label, shares, options.seed)
    column = "fold" if "fold" in manifest.table and manifest.table["fold"].notna().any() else "split"
    if manifest.table[column].isna().all():
        raise ManifestError(f"{manifest.name} came without a division; leave out --official to make one")
    if options.official and column == "split":
        check_splits(manifest, by)
    print(splits.describe_parts(manifest.table, column, by, label).to_string(index=False))
    about = chosen.corpus.description
    if not options.official:
        caution = f"Divided anew by subtext-data split ({_division(options, by, label)}): not the corpus's own splits."
        about = replace(about, cautions=(*about.cautions, caution))
    write_manifest(manifest, path, about.as_json())
    print(f"Written: {path}")


def _division(options: argparse.Namespace, by: Sequence[str], label: str | None) -> str:
    if options.leave_one_out is not None:
        return f"a fold for every {options.leave_one_out}"
    parts = "train, val, test" if options.folds is None else f"{options.folds} folds"
    alike = "" if label is None else f", alike in {label}"
    return f"{parts} by {' and '.join(by) or 'row'}{alike}, seed {options.seed}"
