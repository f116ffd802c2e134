"""Write a reply to each turn of a client, by a text model or, with --human,
what the corpus's counsellors said.

--hint told adds what a prediction table says of the client's face and voice.
Corpora of words only have no such thing; there --hint placebo is a note of the
same length about nothing. A killed run goes on where it was: give the same
command again.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input, natural, positive
from subtext.cli.data.chosen import add_corpus_arguments, chosen_corpus

NAME = "generate"
HELP = "the counsellor's next reply: plain, told of the incongruence, or by a tuned adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_corpus_arguments(parser)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", metavar="MODEL", help="a folder (safetensors), or a hub id with --revision")
    who.add_argument("--human", action="store_true", help="the replies of the corpus's counsellors")
    parser.add_argument("--out", metavar="FILE.jsonl", type=Path, required=True)
    parser.add_argument("--system", metavar="NAME", help="what it is called; default: the file's name")
    parser.add_argument("--revision", metavar="COMMIT", help="of a hub id")
    parser.add_argument("--allow-download", action="store_true", help="fetch the model from the hub")
    parser.add_argument(
        "--adapter", metavar="FOLDER", type=Input("the folder that tune wrote", folder=True), help="what tune wrote"
    )
    parser.add_argument("--hint", choices=("none", "told", "placebo"), default="none", help="default: none")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        type=Input("the predictions.parquet of a run"),
        help="a run's predictions.parquet, for told",
    )
    parser.add_argument("--split", metavar="NAMES", help="reply to these splits only, with commas between")
    parser.add_argument("--shortest", metavar="N", type=natural, default=1, help="words of a turn; default 1")
    parser.add_argument("--limit", metavar="N", type=positive, help="as many turns, drawn with a fixed seed")
    parser.add_argument("--before", metavar="N", type=natural, default=2, help="turns before, in the prompt; default 2")
    parser.add_argument("--max-new-tokens", metavar="N", type=positive, default=60, help="default 60")
    parser.add_argument("--temperature", metavar="T", type=float, default=0.0, help="0 (default): likeliest words")
    parser.add_argument("--batch-size", metavar="N", type=positive, default=8, help="default 8")
    parser.add_argument("--device", default="cpu", help="such as cuda; default cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default float32")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="of drawn words; a training's number")


def run(options: argparse.Namespace) -> None:
    """Build, ask and write."""
    from subtext.errors import ConfigError, ManifestError
    from subtext.manifest.read import read_table
    from subtext.replies import prompts
    from subtext.replies.exchanges import HUMAN, client_turns, drawn, of_splits
    from subtext.replies.generate import Generator, write_replies
    from subtext.replies.language_model import LanguageModel

    manifest = of_splits(chosen_corpus(options).build(), options.split)
    turns = client_turns(manifest, options.before)
    if turns["reply"].notna().any():
        # Where people replied, only turns that they did reply to: systems are compared on those.
        turns = turns[turns["reply"].notna()].reset_index(drop=True)
    elif options.human:
        raise ManifestError(f"{manifest.name}: no counsellor's turn follows a client's; --human has nothing to write")
    turns = drawn(turns, options.limit, options.shortest)
    predictions = None if options.predictions is None else read_table(options.predictions)
    if options.human and (options.adapter or options.predictions or options.hint != "none"):
        raise ConfigError("--human takes no --adapter, --hint or --predictions")
    asked = prompts.make_prompts(turns, options.hint, predictions)
    settings = {"system": options.system or options.out.stem, "seed": options.seed, "corpus": manifest.name}
    generator: Generator
    if options.human:
        said = dict(zip(turns["id"].astype(str), turns["reply"], strict=True))
        settings |= {"model": HUMAN}

        def generator(batch: "list[prompts.Prompt]") -> list[str]:  # type: ignore[misc]
            return [said[prompt.id] for prompt in batch]
    else:
        generator = LanguageModel(
            options.model,
            revision=options.revision,
            allow_download=options.allow_download,
            adapter=options.adapter,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=options.seed,
            device=options.device,
            dtype=options.dtype,
        )
        settings |= {"prompts": prompts.VERSION, "hint": options.hint, "before": options.before}
        settings |= {"batch_size": options.batch_size, **generator.settings()}
    made = write_replies(asked, generator, options.out, settings, batch_size=options.batch_size)
    print(f"{made} of {len(asked)} replies made, the others were there." if made < len(asked) else f"{made} replies.")
    print(f"Written: {options.out}")
