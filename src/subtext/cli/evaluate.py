"""`subtext-evaluate`: compute a run's metrics, figures and report again from its prediction tables."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from subtext.cli.arguments import natural, positive
from subtext.cli.outcome import finish


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and evaluate; returns the exit code."""
    options = _parser().parse_args(arguments)
    return finish(lambda: _evaluate(options), options.debug)


def _evaluate(options: argparse.Namespace) -> None:
    from rich.console import Console

    from subtext.report.terminal import print_pooled, print_results
    from subtext.runs.front_door import evaluate

    found = evaluate(
        *options.runs, out=options.out, groups=options.groups, n_bootstrap=options.bootstrap, seed=options.seed
    )
    (print_pooled if "seeds" in found else print_results)(found, Console(markup=False))
    folder = options.runs[0] if options.out is None else options.out
    # Plain print, because a console would fold a long path.
    print(f"Written: {folder / 'metrics.json'}, {folder / 'report.md'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="subtext-evaluate",
        description="Compute metrics, intervals, figures and the report of a run again from its prediction tables. "
        "Several runs, which may differ in their seed only, are pooled; the parts of one run (shard=) are put "
        "together.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run folder that subtext-train wrote")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the pooled result of several runs goes")
    parser.add_argument(
        "--bootstrap", metavar="N", type=positive, default=1000, help="resamples of bootstrap intervals (default 1000)"
    )
    parser.add_argument("--seed", type=natural, help="seed of the resampling (default: the run's own)")
    parser.add_argument(
        "--groups",
        metavar="COLUMN",
        nargs="*",
        help="columns that intervals are clustered by; put them after the runs (default: those of the run's corpus)",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, with words that it may hold"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
