"""`subtext-robustness RUN`: what a trained model still tells when a stream is missing or spoiled."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from subtext.cli.arguments import TRUST, Input, Paragraphs, check_inputs, natural
from subtext.cli.outcome import finish

if TYPE_CHECKING:
    from rich.console import Console

    from subtext.evaluation.robustness import RobustnessCurves

DESCRIPTION: Final = """\
Try a run's model on its test clips with every set of streams missing, and with
streams spoiled before anything is extracted from them: faces out of focus or
covered, noise in the sound, words gone wrong. Writes robustness.parquet into
the run's folder (a row a clip, condition and strength), and from it
robustness.csv, robustness_areas.csv and figures/robustness_*.png. The run's own
predictions are left as they are. What is there already is not done again."""

EPILOG: Final = """\
Conditions and their strengths by default:
  drop              every set of streams that leaves one; drop:visual,
                    drop:visual+text ... for single ones
  visual:blur       sd of a Gaussian blur by the height of the face:
                    0.01, 0.02, 0.04, 0.08
  visual:occlusion  share of the face's box under a grey rectangle:
                    0.1, 0.2, 0.3, 0.5
  prosody:noise     white noise, dB that the speech is louder: 20, 10, 5, 0
  prosody:pink      pink noise, likewise
  text:word_error   word error rate: 0.1, 0.25, 0.5, 0.75
  visual:feature_noise, text:feature_noise, prosody:feature_noise
                    Gaussian noise on standardised figures, dB: 20, 10, 5, 0
                    (streams of the column features)
Areas are means of AUROC from the clean end to the largest strength, noise
being placed by its amplitude, 10^(-dB/20): 20 dB at 0.1, 0 dB at 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("subtext.runs.robustness").setLevel(logging.INFO)

    def run() -> None:
        check_inputs(parser, options)
        _measure(options)

    return finish(run, options.debug)


def _measure(options: argparse.Namespace) -> None:
    from rich.console import Console

    from subtext.runs.robustness import measure_robustness, write_curves

    strengths = _strengths(options.strengths or ())
    table = measure_robustness(
        options.run,
        None if options.conditions is None else _split(options.conditions),
        strengths,
        seed=options.seed,
        workers=options.workers,
        models=options.models,
        trust=options.trust,
        overwrite=options.overwrite,
    )
    curves, written = write_curves(options.run, table)
    for question, found in curves.items():
        _print(found, question, Console(markup=False))
    # Plain print, because a console would fold a long path.
    print(f"Written: {', '.join(map(str, written))}")


def _print(curves: "RobustnessCurves", question: str, console: "Console") -> None:
    from rich.table import Table

    from subtext.evaluation.conditions import CLEAN, CONDITIONS
    from subtext.evaluation.robustness import records
    from subtext.report.terminal import FEW_MARK, interval_text

    shown = Table(title=f"AUROC, {question}, {len(curves.clips)} test clips", title_justify="left")
    for column in ("condition", "strength", "AUROC", "judged", "found"):
        shown.add_column(column, justify="left" if column == "condition" else "right")
    points = records(curves.point_table())
    for row in points:
        strength = f"{row['strength']:g}" if row["condition"] in CONDITIONS else ""
        value = interval_text(row | {"value": row["auroc"]})
        shares = [f"{row['judged']:.0%}", "" if row["present"] is None else f"{row['present']:.0%}"]
        shown.add_row(str(row["condition"]), strength, value, *shares, end_section=row["condition"] == CLEAN)
    console.print(shown)
    console.print(
        "judged: clips of which anything is left to judge by, the others share one probability. found: clips in which "
        "the spoiled stream is still found.",
        style="dim",
    )
    if any(row["few"] for row in points):
        console.print(f"{FEW_MARK} rests on a unit with few clusters; it is less certain than it looks.", style="dim")
    areas = curves.area_table()
    if len(areas):
        shown = Table(title=f"Area under the curve, {question}", title_justify="left")
        for column in ("condition", "strengths", "area"):
            shown.add_column(column)
        for row in records(areas):
            value = interval_text(row | {"value": row["area"]})
            shown.add_row(str(row["condition"]), str(row["strengths"]).replace("inf", "none"), value)
        console.print(shown)


def _split(given: Sequence[str]) -> list[str]:
    return [name for text in given for name in text.split(",") if name]


def _strengths(given: Sequence[str]) -> dict[str, list[float]]:
    from subtext.errors import ConfigError

    out: dict[str, list[float]] = {}
    for text in given:
        name, equals, numbers = text.partition("=")
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        if not equals or not values:
            raise ConfigError(f"--strengths {text}: write a condition and its numbers, such as prosody:noise=20,10,0")
        if name in out:
            raise ConfigError(f"--strengths names {name} twice; give all its numbers at once")
        out[name] = values
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="subtext-robustness",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run, cross-validated or not")
    parser.add_argument(
        "--conditions", metavar="NAME", nargs="+", help="only these, put after RUN (default: all that apply to the run)"
    )
    parser.add_argument(
        "--strengths",
        metavar="NAME=S,S,...",
        nargs="+",
        help="other strengths of a condition, such as prosody:noise=20,10,0",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of noise, rectangles and word errors (default 0)")
    parser.add_argument("--workers", type=natural, help="processes that extract (default: as in the run)")
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        type=Input("the folder of detector weights", folder=True),
        help="where detector weights are, if not where the run had them",
    )
    parser.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=TRUST)
    parser.add_argument("--overwrite", action="store_true", help="begin anew instead of going on")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, with words that it may hold"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
