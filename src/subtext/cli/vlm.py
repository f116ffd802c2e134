"""`subtext-vlm MODE vlm=...`: full vision-language models on the same clips, as the light model's opponent."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from omegaconf import DictConfig, OmegaConf

from subtext.cli.hydra_app import run
from subtext.cli.outcome import UNUSABLE
from subtext.core.composition import resolved

USAGE: Final = """\
usage: subtext-vlm MODE vlm=FAMILY vlm.path=FOLDER [--dry-run] [KEY=VALUE ...]

Modes:
  score   ask the model about every validation and test clip, and evaluate it
  tune    train a LoRA adapter on the training clips, labels=incongruence,
          polarity or placebo; score it by vlm.adapter=FOLDER/adapter
  reply   write the counsellor's next reply to every client's turn of the test
          clips, as subtext-replies reads it; reply.hint=none, told or placebo
  cost    parameters, operations, tokens and memory, without weights; without
          vlm.path of the family's published model; light=RUN beside it

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
    task, folder = MODES[mode]
    run(
        task,
        "subtext-vlm",
        form="subtext.vlm.settings.VlmSettings",
        config_name="vlm_run",
        has_run_folder=folder is not None,
        run_folder=folder,
    )


def score_run(config: DictConfig) -> None:
    """Score as configured, or show what would be sent."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from subtext.sessions.transcripts import printable
    from subtext.vlm.score import dry_run, score

    folder = Path(HydraConfig.get().runtime.output_dir)
    settings = resolved(config)
    if config.dry_run:
        text, picture = dry_run(settings, folder)
        Console().print("\n".join(map(printable, text.split("\n"))), markup=False, highlight=False)
        if picture is not None:
            print(f"Frames: {picture}")
        return
    score(settings, folder)
    print(f"Run folder: {folder}")


def tune_run(config: DictConfig) -> None:
    """Train an adapter as configured."""
    from hydra.core.hydra_config import HydraConfig

    from subtext.runs.folder import RunFile
    from subtext.vlm.tune import tune

    folder = Path(HydraConfig.get().runtime.output_dir)
    tune(resolved(config), folder)
    print(f"Adapter: {folder / RunFile.ADAPTER}")


def write_reply(config: DictConfig) -> None:
    """Write replies as configured."""
    from subtext.vlm.reply import reply

    path, made = reply(resolved(config))
    print(f"{made} replies made. Written: {path}")


def show_cost(config: DictConfig) -> None:
    """Print what a family costs, and the light model beside it."""
    from rich.console import Console
    from rich.table import Table

    from subtext.vlm.cost import configured_cost
    from subtext.vlm.light import light_cost

    settings = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("vlm", "frames")}
    found = configured_cost(settings, int(config.tune.rank))
    table = Table(title=f"{found.model} ({found.source})")
    for heading in ("", config.vlm.name, *(["light model"] if config.light else [])):
        table.add_column(heading, justify="right" if heading else "left")
    light = {}
    if config.light:
        light = light_cost(Path(config.light), Path(config.paths.models), trust=config.trust or ())["total"]
    beside = {"parameters": light.get("parameters"), "flops_per_prompt": light.get("flops")}
    for name, value in found.as_dict().items():
        if not isinstance(value, str):
            own = [beside.get(name)] if config.light else []
            table.add_row(
                name, *("" if v is None else f"{v:,.2f}" if isinstance(v, float) else f"{v:,}" for v in (value, *own))
            )
    Console().print(table)


MODES: Final[Mapping[str, tuple[Callable[[DictConfig], int | None], str | None]]] = {
    "score": (score_run, "${folder}"),
    "tune": (tune_run, "${tune.folder}"),
    "reply": (write_reply, None),
    "cost": (show_cost, None),
}
"""Mode -> what it does, as a Hydra task, and the folder that it writes."""


def register_resolvers() -> None:
    """What the configuration needs besides Hydra's own: where a part of a run goes."""
    OmegaConf.register_new_resolver("shard_folder", _shard_folder, replace=True)


def _shard_folder(shard: str | None) -> str:
    return "" if shard is None else f"/shard-{str(shard).replace('/', '-of-')}"


if __name__ == "__main__":
    main()
