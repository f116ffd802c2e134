"""Check an annotation codebook and print it, or make files to rate in: for ELAN or Label Studio.

Without FILE it is the packaged codebook in the style of E-THER; copy what --yaml prints and change it for your study.
Files to rate in hold the turns' words: keep them where the recordings are.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input

NAME = "codebook"
HELP = "check and print an annotation scheme; templates for ELAN and Label Studio"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Input("a codebook, a .yaml file"),
        help="a codebook (YAML); default: ours",
    )
    parser.add_argument("--yaml", action="store_true", help="print the file itself instead of its Markdown")
    parser.add_argument(
        "--elan",
        metavar="TURNS",
        type=Input("a table of turns"),
        help="write an .eaf file a session and rater from a turn table",
    )
    parser.add_argument(
        "--label-studio",
        metavar="TURNS",
        type=Input("a table of turns"),
        help="write interfaces and tasks, a page a channel, from a turn table",
    )
    parser.add_argument("--rater", metavar="NAME", action="append", default=[], help="for --elan; may be repeated")
    parser.add_argument("--media", metavar="PATH", help="the recording as ELAN or Label Studio finds it")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where templates go; needed with --elan, --label-studio"
    )


def run(options: argparse.Namespace) -> None:
    """Check, print or write."""
    from subtext.annotation.codebook_file import read_codebook
    from subtext.annotation.turn_table import read_turn_table
    from subtext.errors import ConfigError

    codebook = read_codebook(options.file)
    if options.elan is None and options.label_studio is None:
        if options.yaml and codebook.path is not None:
            print(codebook.path.read_text(encoding="utf-8-sig"), end="")
        else:
            print(codebook.markdown(), end="")
        return
    if options.out is None:
        raise ConfigError("templates need a folder to go to; add --out FOLDER")
    written: list[Path] = []
    if options.elan is not None:
        from subtext.annotation.elan import write_elan

        if not options.rater:
            raise ConfigError("a file to rate in is somebody's; add --rater NAME (once for each rater)")
        for session, turns in read_turn_table(options.elan).groupby("session", sort=False):
            for rater in options.rater:
                name = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{session}.{rater}")
                path = options.out / f"{name}.eaf"
                if path.exists():
                    raise ConfigError(f"{path} is there already and may hold ratings; move it, or name another --out")
                written.append(write_elan(turns, codebook, path, raters=[rater], media=options.media))
    if options.label_studio is not None:
        from subtext.annotation.label_studio import write_label_studio
        from subtext.sessions.settings import SOUND_SUFFIXES

        turns = read_turn_table(options.label_studio)
        if options.media is not None:
            kind = "audio" if Path(options.media).suffix.lower() in SOUND_SUFFIXES else "video"
            turns[kind] = turns[kind].fillna(options.media) if kind in turns else options.media
        written += write_label_studio(turns, codebook, options.out)
    print("\n".join(f"Written: {path}" for path in written))
