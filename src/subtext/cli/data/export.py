"""Write a corpus's table for other people and programs, as CSV, Parquet or JSON Lines; media are not copied.

In CSV, cells that a spreadsheet would take for formulas get an apostrophe in front. The file's description, FILE.json
beside it, says so, and with it beside the table Subtext reads the very same text again; keep the two together.

--privacy pseudonym replaces names (ids, speakers, sessions, other groups, files) by pseudonyms made with a secret key,
and leaves out what was said and every column of your own that --keep does not name. This is NO anonymisation: whoever
has the key can find names out by trying, and times and labels stay. Keep the key file to yourselves; with it a later
export uses the same pseudonyms.
"""

import argparse
from pathlib import Path

from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus
from subtext.errors import ConfigError

NAME = "export"
HELP = "a table for other people: no formulas, on request no names and no free text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="ends in .csv, .parquet or .jsonl")
    parser.add_argument("--privacy", choices=("none", "pseudonym"), default="none", help="default: none")
    parser.add_argument(
        "--key-file", metavar="FILE", type=Path, help="of --privacy pseudonym; made if it is not there, for you only"
    )
    parser.add_argument(
        "--keep", metavar="COLUMN", action="append", default=[], help="a column of your own to keep; may be repeated"
    )


def run(options: argparse.Namespace) -> None:
    """Build and write."""
    from subtext.manifest.export import export, pseudonymise, read_key

    if (options.privacy == "pseudonym") != (options.key_file is not None):
        raise ConfigError("--privacy pseudonym and --key-file belong together; give both or neither")
    if options.out.suffix.lower() not in (".csv", ".parquet", ".jsonl"):
        raise ConfigError(f"--out {options.out}: use a name that ends in .csv, .parquet or .jsonl")
    chosen = chosen_corpus(options)
    manifest = chosen.build()
    table = manifest.table
    if options.key_file is not None:
        table, left_out = pseudonymise(manifest, read_key(options.key_file), options.keep)
        print(f"Left out: {', '.join(left_out) or 'nothing'}")
        print(f"Names are pseudonyms of the key in {options.key_file}. This is no anonymisation.")
    about = chosen.corpus.description.as_json()
    written = export(manifest, table, options.out, keep_root=options.key_file is None, about=about)
    print(f"Written: {' and '.join(str(path) for path in written)} ({len(table):,} segments)")
