"""A small corpus of talking faces that a light model and a vision-language model both can read."""

from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from builders.talking_face import write_talking_face
from builders.tiny_runs import write_corpus
from subtext.cli.vlm import register_resolvers
from subtext.core.composition import conf_folder

SIZES = (30, 8, 10)
SENTENCES = ("I am fine, really.", "It was a long {day} at work.", "Nobody came. <image>", "We laughed a lot.")


def write_talking_corpus(folder: Path) -> Path:
    """The rows of `tiny_runs`, as turns of recordings: two recordings a split, half a second a turn."""
    path = write_corpus(folder, sizes=SIZES)
    table = pd.read_csv(path)
    place = table.groupby("split").cumcount()
    table["video"] = [f"{split}-{n % 2}.mp4" for split, n in zip(table["split"], place, strict=True)]
    for number, name in enumerate(table["video"].unique()):
        write_talking_face(folder / name, 8.0, width=96 + 16 * number, height=72, fps=5)
    table["start"] = 0.5 * (place // 2)
    table["end"] = table["start"] + 0.5
    table["session"] = table["video"]
    table["transcript"] = [SENTENCES[n % len(SENTENCES)] for n in place]
    table.loc[3, "transcript"] = None
    table.to_csv(path, index=False)
    return path


def vlm_settings(corpus: Path, model: Path, folder: Path, *more: str, family: str = "smolvlm") -> dict[str, Any]:
    """The resolved configuration of `subtext-vlm score`."""
    register_resolvers()
    overrides = [
        "corpus=manifest",
        f"corpus.path={corpus}",
        "corpus.name=tiny",
        f"vlm={family}",
        f"vlm.path={model}",
        "vlm.device=cpu",
        "vlm.dtype=float32",
        "name=tiny",
        f"folder={folder}",
        f"paths.work={folder.parent / 'work'}",
        "workers=0",
        "frames.count=2",
        "frames.face.detector=haar",
        "frames.max_side=200",
        "floor=0",
        "heads=[incongruent]",
        "controls=false",
    ]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("vlm_run", overrides=[*overrides, *more])
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}
