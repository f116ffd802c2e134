"""Audit a corpus: what would let a model look better on it than it is.

The same speaker, session, recording, sound, picture or sentence on both sides of a split or of folds; labels that can
be told from the speaker, the show, duration, loudness, resolution, bit rate, light or length; classes by speaker; label
noise. Writes audit.md, audit.json and figures; they hold no transcripts.

Exit code 1 with --strict if there are alarms.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "audit"
HELP = "leaks across splits, labels told by nuisance variables, label noise"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="default: work/data/CORPUS/audit")
    parser.add_argument(
        "--media",
        nargs="?",
        choices=("headers", "content"),
        const="content",
        default="none",
        help="read the media too: only their headers, or (the default of --media) each segment's sound and one picture",
    )
    parser.add_argument(
        "--label",
        metavar="COLUMN",
        action="append",
        help="audit this label column instead of incongruent and vocal_incongruent; may be given several times",
    )
    parser.add_argument("--strict", action="store_true", help="end with exit code 1 if there are alarms")


def run(options: argparse.Namespace) -> int:
    """Build, audit, print and write."""
    from rich.console import Console
    from rich.markup import escape

    from subtext.audit import audit_corpus
    from subtext.report.audit_page import finding_line, write_audit

    chosen = chosen_corpus(options, may_leak=True)
    manifest = chosen.build()
    found = audit_corpus(manifest, media=options.media, labels=options.label)
    path = write_audit(found, options.out or chosen.folder / "audit")
    console = Console(highlight=False)
    console.print(f"{escape(found.name)}: {len(found.alarms)} alarms, {len(found.notes)} notes on {found.rows:,} rows")
    for finding in found.alarms:
        console.print(f"[bold red]ALARM[/] {escape(finding_line(finding))}")
        console.print(f"      [dim]-> {escape(finding.remedy)}[/]")
    for finding in found.notes:
        console.print(f"note  {escape(finding_line(finding))}")
    for remark in found.skipped:
        console.print(f"[dim]not audited: {escape(remark)}[/]")
    console.print(f"Written: {escape(str(path))}", soft_wrap=True)
    return 1 if options.strict and found.alarms else 0
