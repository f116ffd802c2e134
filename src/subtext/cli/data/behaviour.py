"""Measure behaviour in a corpus's sessions: turn-taking, faces, vocal synchrony.

CORPUS has one turn a row, of everybody who speaks, with session, role, start and end (s). Where it names recordings,
their sound and picture are read once each. Three tables are written, without any words: FILE.parquet has one row a
session, FILE_people.parquet one a person of a session, FILE_turns.parquet one a turn. What cannot be known is missing,
never 0. --list says what each column means.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subtext.cli.arguments import Input
from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus
from subtext.core.writing import write_parquet

NAME = "behaviour"
HELP = "talk share, latency, backchannels, facing the camera, head motion, vocal synchrony"


class _ListMeasures(argparse.Action):
    """Print the measures and end, as `--version` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from subtext.behaviour.measures import measures_markdown

        print(measures_markdown())
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument(
        "--list", nargs=0, action=_ListMeasures, help="print every measure as a Markdown table, and end"
    )
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="default: work/data/CORPUS/behaviour.parquet")
    parser.add_argument("--by", metavar="COLUMN", default="role", help="column that says who speaks (default: role)")
    parser.add_argument(
        "--detector",
        choices=("yunet", "haar", "none"),
        default="yunet",
        help="what finds faces; haar cannot tell which way they are turned (default: yunet)",
    )
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        type=Input("the folder of detector weights", folder=True),
        help="where YuNet's weights are (default: paths.models)",
    )
    parser.add_argument("--left", metavar="ROLE", help="who sits in the left half, where two are in one picture")
    parser.add_argument("--right", metavar="ROLE", help="who sits in the right half")
    parser.add_argument("--no-sound", action="store_true", help="do not read the recordings' sound")


def run(options: argparse.Namespace) -> None:
    """Build, measure and write."""
    from subtext.behaviour.face import Side
    from subtext.behaviour.session import measure_manifest
    from subtext.errors import ConfigError, ManifestError
    from subtext.media.face_detectors import make_detector

    if options.left is not None and options.left == options.right:
        raise ConfigError(f"--left and --right both name '{options.left}'; name two people")
    named: tuple[tuple[str | None, Side], ...] = ((options.left, "left"), (options.right, "right"))
    sides = {role: side for role, side in named if role is not None}
    chosen = chosen_corpus(options)
    manifest = chosen.build()
    measured = measure_manifest(
        manifest,
        detector=None
        if options.detector == "none"
        else make_detector(options.detector, options.models or chosen.models),
        sides=sides or None,
        by=options.by,
        sound=not options.no_sound,
    )
    tables = {"": measured.sessions, "_people": measured.people, "_turns": measured.turns}
    keys = ["id", "session", options.by]
    known = {ending: table.drop(columns=keys, errors="ignore").notna().any() for ending, table in tables.items()}
    if not any(columns.any() for columns in known.values()):
        counts = {column: int(manifest.table[column].notna().sum()) for column in ("start", "end", "audio", "video")}
        raise ManifestError(
            f"{manifest.name}: nothing can be measured: no turn has both start and end, and none a recording that can "
            f"be read. Of {len(manifest):,} turns {counts['start']:,} have a start, {counts['end']:,} an end, "
            f"{counts['audio']:,} audio, {counts['video']:,} video; fill the columns start and end (s), audio or video"
        )
    path = options.out or chosen.folder / "behaviour.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending, table in tables.items():
        file = path.with_name(f"{path.stem}{ending}{path.suffix}")
        write_parquet(file, table)
        columns = known[ending]
        print(f"Written: {file} ({len(table):,} rows; {columns.sum()} of {len(columns)} measures known somewhere)")
