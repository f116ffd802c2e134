"""`subtext-compare`: one table for many runs on the same clips, with paired tests of their differences."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from subtext.cli.arguments import TRUST, natural, positive
from subtext.cli.outcome import finish


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and compare; returns the exit code."""
    options = _parser().parse_args(arguments)
    return finish(lambda: _compare(options), options.debug)


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from subtext.report.compare_page import print_comparison
    from subtext.runs.compare import COMPARISON, PAGE
    from subtext.runs.front_door import compare

    found = compare(
        *options.runs,
        out=options.out,
        reference=options.reference,
        groups=options.groups,
        within=options.within,
        alpha=options.alpha,
        margin=options.margin,
        cost=options.cost,
        trust=options.trust,
        n_bootstrap=options.bootstrap,
        seed=options.seed,
    )
    print_comparison(found, Console())
    # Plain print, because a console would fold a long path.
    print(f"Written to {options.out}: {PAGE}, {COMPARISON}, tables (*.csv), figures")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="subtext-compare",
        description="Compare runs on the same test clips: figures with clustered intervals, paired tests with Holm's "
        "correction, controls, calibration, types, speakers, robustness and cost. Runs that differ in their seed only "
        "form one system, which is named by what sets it apart from the others, such as fusion=late.",
        epilog="Runs may be folders that subtext-train wrote, folders that hold such runs as seed-*, and sweep "
        "folders, whose refitted winner is taken. Curves of missing and degraded streams are included "
        "where subtext-robustness was run on the runs before.",
    )
    parser.add_argument("runs", metavar="[NAME=]RUN", nargs="+", help="run folder, with a name for its system if given")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("comparison"), help="where it goes (default: ./comparison)"
    )
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="compare the others with this system (default: the posterior strategy if it is there, else the first)",
    )
    parser.add_argument(
        "--alpha", type=_probability, default=0.05, help="family-wise error of the tests (default 0.05)"
    )
    parser.add_argument(
        "--margin",
        metavar="DIFFERENCE",
        type=_size,
        default=0.02,
        help="difference in AUROC up to which two systems are called a tie, if that can be shown (default 0.02)",
    )
    parser.add_argument(
        "--within", metavar="UNIT", help="compare AUROC inside each value of this column too, such as speaker"
    )
    parser.add_argument(
        "--no-cost", dest="cost", action="store_false", help="don't measure speed and memory, which takes time"
    )
    parser.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=TRUST)
    parser.add_argument(
        "--bootstrap", metavar="N", type=positive, default=1000, help="resamples of bootstrap intervals (default 1000)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the resampling (default 0)")
    parser.add_argument(
        "--groups",
        metavar="COLUMN",
        nargs="*",
        help="columns that intervals are clustered by; put them after the runs (default: those of the runs' corpus)",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, with words that it may hold"
    )
    return parser


def _probability(text: str) -> float:
    return _between(text, "probability")


def _size(text: str) -> float:
    return _between(text, "difference in AUROC")


def _between(text: str, what: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no {what} between 0 and 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
