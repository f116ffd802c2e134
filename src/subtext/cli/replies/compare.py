"""Compare systems' replies to the same turns: each measure, and E-THER's claims.

MEASURED are tables that `measure` wrote. Writes comparison.md, comparison.json
and comparison.csv.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input, natural
from subtext.core.writing import write_text

NAME = "compare"
HELP = "paired differences of systems, with intervals over dialogues and Holm's correction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "measured",
        metavar="MEASURED",
        nargs="+",
        type=Input("a table that measure wrote"),
        help="tables that measure wrote",
    )
    parser.add_argument("--reference", metavar="SYSTEM", required=True, help="hold the others against this one")
    parser.add_argument(
        "--validation",
        metavar="FILE.json",
        type=Input("the file that validate wrote"),
        help="what validate wrote; without it there are no claims",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("work/replies/comparison"))
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="of the sign flips; default 0")


def run(options: argparse.Namespace) -> None:
    """Read, compare, show and write."""
    import json

    from rich.console import Console

    from subtext.core.tables import write_csv
    from subtext.replies import pages
    from subtext.replies.compare import compare_systems
    from subtext.replies.measured import read_measured
    from subtext.sessions.transcripts import parse_json, read_text

    measured = read_measured(options.measured)
    validation = None if options.validation is None else parse_json(options.validation, read_text(options.validation))
    found = compare_systems(measured, options.reference, validation, seed=options.seed)
    content = {"reference": options.reference, "seed": options.seed, **found.as_dict()}
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(options.out / "comparison.json", text + "\n")
    write_text(options.out / "comparison.md", pages.comparison_markdown(content))
    write_csv(pages.comparison_table(content), options.out / "comparison.csv")
    console = Console(highlight=False)
    for table in pages.comparison_overview(content):
        console.print(table)
    print(f"Written: {options.out}")
