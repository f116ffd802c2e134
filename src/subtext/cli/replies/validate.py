"""Check the behaviour coder and validate every measure on AnnoMI.

The question is which measures tell sessions of high from low quality. Writes
validation.md, validation.json (which `compare` reads), validation.csv, coder.csv
and validation.png. Folds keep films together; nothing is chosen on the rows that
are judged.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import natural
from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus
from subtext.core.writing import write_text

NAME = "validate"
HELP = "which measures tell high from low quality on AnnoMI, and how good the coder is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("work/replies/validation"))
    parser.add_argument("--folds", metavar="K", type=int, default=5, help="default 5")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=2000, help="resamples of films; default 2000")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="default 0")


def run(options: argparse.Namespace) -> None:
    """Build, check, validate, show and write."""
    import json

    from rich.console import Console

    from subtext.core.tables import write_csv
    from subtext.errors import ConfigError
    from subtext.replies import pages
    from subtext.replies.embedding import Embedder
    from subtext.replies.figures import draw_validation
    from subtext.replies.validate import validate_corpus

    if options.folds < 2 or options.bootstrap < 100:
        raise ConfigError("--folds must be 2 or more, --bootstrap 100 or more")
    manifest = chosen_corpus(options).build()
    checks, found = validate_corpus(
        manifest, Embedder(), folds=options.folds, n_bootstrap=options.bootstrap, seed=options.seed
    )
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "corpus": manifest.name,
        "seed": options.seed,
        "folds": options.folds,
        "n_bootstrap": options.bootstrap,
        **found.as_dict(),
        "coder": {head: check.as_dict() for head, check in checks.items()},
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(options.out / "validation.json", text + "\n")
    write_text(options.out / "validation.md", pages.validation_markdown(content))
    write_csv(pages.validation_table(content), options.out / "validation.csv")
    write_csv(pages.coder_table(content), options.out / "coder.csv")
    draw_validation(content, options.out / "validation.png")
    console = Console(highlight=False)
    for table in pages.validation_overview(content):
        console.print(table)
    print(f"Written: {options.out}")
