"""How far raters agree, per label, pair and rater, with intervals over sessions, and where they don't.

With --out it writes agreement.md, agreement.json and disagreements.csv (worst first, for adjudication).
"""

import argparse
from pathlib import Path

from subtext.cli.data.rater_files import add_rater_arguments, chosen_ratings
from subtext.core.writing import write_text

NAME = "agreement"
HELP = "alpha, kappa and ICC of rater files, and what to adjudicate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_rater_arguments(parser)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write the report there")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=2000, help="resamples of sessions; default 2000")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the resampling; default 0")


def run(options: argparse.Namespace) -> None:
    """Compute, show and write."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from subtext.annotation.agreement import agreement
    from subtext.annotation.disagreements import disagreements
    from subtext.core.tables import write_csv
    from subtext.errors import ConfigError
    from subtext.evaluation.intervals import FEW_CLUSTERS
    from subtext.report.agreement_page import agreement_markdown, overview
    from subtext.report.terminal import FEW_MARK

    if options.bootstrap < 100:
        raise ConfigError(f"--bootstrap {options.bootstrap} is too few for an interval; use 100 or more")
    codebook, ratings = chosen_ratings(options)
    found = agreement(ratings.table, codebook, n_bootstrap=options.bootstrap, seed=options.seed)
    differing = disagreements(ratings.table, codebook)
    shown = overview(found)
    table = Table(title=f"Agreement ({escape(found.codebook)})", title_justify="left")
    for column in ("label, coefficient", "figure [95 % interval]", "rests on"):
        table.add_column(column.replace("[", "\\["), overflow="fold")
    for label, rows in shown.groupby("label", sort=False):
        table.add_section()
        table.add_row(str(label), "", f"{rows['raters'].iloc[0]} raters", style="bold")
        for coefficient, figure, units in zip(rows["coefficient"], rows[shown.columns[2]], rows["units"], strict=True):
            table.add_row(f"  {coefficient}", str(figure).replace("[", "\\["), units)
    Console(highlight=False).print(table)
    if shown["figure [95 % interval]"].str.endswith(FEW_MARK).any():
        print(f"{FEW_MARK} fewer than {FEW_CLUSTERS} sessions: the interval is rough.")
    for remark, rows in shown[shown["remark"] != ""].groupby("remark", sort=False):
        print(f"{', '.join(rows['label'].unique())}: {remark}")
    for note in found.notes:
        print(note)
    print(f"{len(ratings.raters)} raters; {len(differing)} judgements differ.")
    if options.out is not None:
        import json

        options.out.mkdir(parents=True, exist_ok=True)
        write_text(options.out / "agreement.md", agreement_markdown(found, differing))
        content = json.dumps(found.as_dict(), ensure_ascii=False, indent=1, allow_nan=False)
        write_text(options.out / "agreement.json", content + "\n")
        write_csv(differing, options.out / "disagreements.csv")
        if len(ratings.rejects):
            write_csv(ratings.rejects, options.out / "rejects.csv")
        print(f"Written: {options.out}")
