"""Let a text model judge the pairs of a form, as one more rater.

Every question is asked in both orders of the replies. Give the file that it writes
to `ratings`, and name the judge there with --judge: it is reported apart from people.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input

NAME = "judge"
HELP = "a text model as one more rater of the form"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "replies",
        metavar="REPLIES",
        nargs="+",
        type=Input("a table of replies: .csv, .tsv, .parquet or .jsonl"),
        help="the tables that the form is made of",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Input("the file FOLDER_key.json that form wrote"),
        required=True,
        help="the form's FOLDER_key.json",
    )
    parser.add_argument("--model", metavar="MODEL", required=True, help="a folder, or a hub id with --revision")
    parser.add_argument("--revision", metavar="COMMIT", help="of a hub id")
    parser.add_argument("--allow-download", action="store_true", help="fetch the model from the hub")
    parser.add_argument("--device", default="cpu", help="such as cuda; default cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default float32")
    parser.add_argument("--name", default="judge", help="what it is called among raters; default judge")
    parser.add_argument("--out", metavar="FILE.csv", type=Path, required=True)


def run(options: argparse.Namespace) -> None:
    """Read, ask and write."""
    from subtext.core.tables import write_csv
    from subtext.errors import ConfigError
    from subtext.replies.exchanges import read_replies
    from subtext.replies.judge import judge_pairs, pairs_of
    from subtext.replies.language_model import LanguageModel
    from subtext.replies.rating_form import pairwise_codebook, read_key

    if options.out.suffix != ".csv":
        raise ConfigError(f"--out {options.out}: use a name that ends in .csv")
    pairs = pairs_of(read_key(options.key), read_replies(options.replies))
    model = LanguageModel(
        options.model,
        revision=options.revision,
        allow_download=options.allow_download,
        max_new_tokens=4,
        device=options.device,
        dtype=options.dtype,
    )
    found = judge_pairs(pairs, pairwise_codebook(), model, options.name)
    print(
        f"{found.asked} questions: {found.unread} without a readable answer, {found.turned} answered otherwise when "
        "the order was turned round"
    )
    if not len(found.ratings):
        raise ConfigError(f"{options.name} gave no readable answer, so there is nothing to write; take another model")
    print(f"Written: {write_csv(found.ratings, options.out)}")
