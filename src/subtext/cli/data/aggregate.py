"""Several raters' judgements -> one label a turn, in the manifest's columns, with vote shares beside.

Writes a table (.csv or .parquet) and, beside it as .json, how each label came about. A tie is a missing label.
"""

import argparse
from pathlib import Path

from subtext.cli.data.rater_files import add_rater_arguments, chosen_ratings
from subtext.core.writing import write_parquet, write_text

NAME = "aggregate"
HELP = "rater files -> one label a turn: majority, median or Dawid-Skene, and soft labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_rater_arguments(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="a .csv or .parquet file")
    parser.add_argument(
        "--method",
        choices=("majority", "dawid_skene"),
        default="majority",
        help="default majority; ordinal and interval labels then take the median",
    )
    parser.add_argument(
        "--label-method", metavar="LABEL=METHOD", action="append", default=[], help="for one label; may be repeated"
    )


def run(options: argparse.Namespace) -> None:
    """Aggregate and write."""
    import json

    from subtext.annotation.aggregation import aggregate, recorded
    from subtext.core.tables import write_csv
    from subtext.errors import AnnotationError, ConfigError

    if options.out.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--out {options.out} is neither .csv nor .parquet; name a file with one of these endings")
    for pair in options.label_method:
        if pair.count("=") != 1:
            raise ConfigError(f"--label-method {pair}: write LABEL=METHOD, for instance engagement=majority")
    codebook, ratings = chosen_ratings(options)
    per_label = dict(pair.split("=") for pair in options.label_method)
    table = aggregate(ratings.table, codebook, options.method, per_label)
    if not recorded(table, codebook)["labels"]:
        raise AnnotationError("no label has a value, so there is nothing to aggregate; fill in the ratings")
    record = {"raters": ratings.raters, **recorded(table, codebook)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.out.suffix.lower() == ".csv":
        write_csv(table, options.out)
        record["escaped"] = "leading apostrophe"
    else:
        write_parquet(options.out, table)
    beside = options.out.with_suffix(".json")
    write_text(beside, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    for name, entry in record["labels"].items():
        labelled, undecided = entry["rows_with_label"], entry["rows_undecided"]
        print(f"{name}: {labelled} turns labelled by {entry['method']}, {undecided} undecided")
    if len(ratings.rejects):
        rejects = options.out.with_name(f"{options.out.stem}.rejects.csv")
        write_csv(ratings.rejects, rejects)
        print(f"{len(ratings.rejects)} ratings left out: {rejects}")
    print(f"Written: {options.out} and {beside.name}")
