"""`subtext-vlm MODE vlm=...`: full vision-language models on the same clips, as the light model's opponent."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from omegaconf import DictConfig, OmegaConf

from subtext.cli.hydra_app import run
from subtext.cli.outcome import UNUSABLE

USAGE: Final = """\
usage: subtext-vlm MODE vlm=FAMILY vlm.path=FOLDER [--dry-run] [KEY=VALUE ...]

Modes:
  score   ask the model about every validation and test clip, and evaluate it

subtext-vlm MODE --help shows every setting."""


def main() -> NoReturn:
    """Run the command; its first word is the mode."""
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode in ("--help", "-h"):
        print(USAGE)
        sys.exit(0)
    if mode not in MODES:
        print(USAGE, file=sys.stderr)
        print(f"ConfigError: the first word is the mode: {', '.join(MODES)}", file=sys.stderr)
        sys.exit(UNUSABLE)
    sys.argv[1:] = ["dry_run=true" if a == "--dry-run" else a for a in sys.argv[2:]]
    register_resolvers()
    run(MODES[mode], "subtext-vlm", config_name="vlm_run", run_folder="${folder}")


def score_run(config: DictConfig) -> None:
    """Score as configured, or show what would be sent."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from subtext.transcripts import printable
    from subtext.vlm.score import dry_run, score

    folder = Path(HydraConfig.get().runtime.output_dir)
    settings = OmegaConf.to_container(config, resolve=True)
    if config.dry_run:
        text, picture = dry_run(settings, folder)
        Console().print("\n".join(map(printable, text.split("\n"))), markup=False, highlight=False)
        if picture is not None:
            print(f"Frames: {picture}")
        return
    score(settings, folder)
    print(f"Run folder: {folder}")


MODES: Final[Mapping[str, Callable[[DictConfig], int | None]]] = {"score": score_run}
"""Mode -> what it does; each is a Hydra task."""


def register_resolvers() -> None:
    """What the configuration needs besides Hydra's own: where a part of a run goes."""
    OmegaConf.register_new_resolver("shard_folder", _shard_folder, replace=True)


def _shard_folder(shard: str | None) -> str:
    return "" if shard is None else f"/shard-{str(shard).replace('/', '-of-')}"


if __name__ == "__main__":
    main()
