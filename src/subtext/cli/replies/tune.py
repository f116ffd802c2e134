"""Tune a text model with LoRA on AnnoMI's replies of high quality.

One epoch; only the reply's tokens are learned. Writes the adapter as safetensors,
and tuning.json. Name the splits to learn from by --split, and reply to the others
with `generate --adapter`.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input, natural, positive
from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "tune"
HELP = "a LoRA adapter of a text model, from replies of high quality"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        type=Input("the folder of the base model", folder=True),
        required=True,
        help="the base model",
    )
    parser.add_argument("--split", metavar="NAMES", help="learn from these splits only, with commas between")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--replies", metavar="N", type=positive, default=1000, help="at most; default 1000")
    parser.add_argument("--longest", metavar="N", type=positive, default=200, help="tokens with prompt; default 200")
    parser.add_argument("--before", metavar="N", type=natural, default=2, help="turns before, in the prompt; default 2")
    parser.add_argument("--batch-size", metavar="N", type=positive, default=8, help="default 8")
    parser.add_argument("--learning-rate", metavar="RATE", type=float, default=2e-4, help="default 2e-4")
    parser.add_argument("--rank", metavar="N", type=positive, default=8, help="default 8")
    parser.add_argument("--device", default="cpu", help="such as cuda; default cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default float32")
    parser.add_argument(
        "--seed", metavar="N", type=natural, default=0, help="draws replies and first weights; default 0"
    )


def run(options: argparse.Namespace) -> None:
    """Build, tune and write."""
    from subtext.errors import WeightsError
    from subtext.replies.exchanges import client_turns, of_splits
    from subtext.replies.tune import Tuning, examples_of, tune

    if not options.model.is_dir():
        raise WeightsError(f"{options.model} is no folder; name one with config.json, a tokenizer and *.safetensors")
    tuning = Tuning(
        replies=options.replies,
        longest=options.longest,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        rank=options.rank,
        seed=options.seed,
        device=options.device,
        dtype=options.dtype,
    )
    turns = client_turns(of_splits(chosen_corpus(options).build(), options.split), options.before)
    facts = tune(options.model, examples_of(turns, tuning), tuning, options.out)
    print(
        f"{facts['replies']} replies, {facts['tokens']:,} tokens, {facts['steps']} steps; mean loss of the first tenth "
        f"{facts['first_loss']:.3f}, of the last {facts['last_loss']:.3f}"
    )
    print(f"Written: {options.out}")
