"""A run folder with random weights: everything that prediction reads, without a training run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file

from subtext.core.composition import conf_folder
from subtext.labels import MODALITIES
from subtext.model.classifier import ANCHOR
from subtext.model.novelty import Novelty, Reference
from subtext.runs.folder import MODEL_FORMAT, RunFolder
from subtext.runs.prepare import encoder_settings
from subtext.runs.saved import build_classifier

HEADS = ("incongruent", "vocal_incongruent", "type", "visual_polarity", "verbal_polarity", "vocal_polarity")


def write_untrained_run(
    folder: Path, overrides: Sequence[str] = (), heads: Sequence[str] = HEADS, level: float = 0.0
) -> Path:
    """Write the model files of a run.

    Args:
        folder: made if need be.
        overrides: of the configuration, such as `encoder/visual=mobilenet`.
        heads: what the model answers.
        level: confidence below which it abstains.
    """
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=["seed=0", *overrides])
    nodes: dict[str, Any] = {m: OmegaConf.to_container(config.encoder[m], resolve=True) for m in MODALITIES}
    fusion: Any = OmegaConf.to_container(config.fusion, resolve=True)
    extractors = {modality: node["extractor"] for modality, node in nodes.items()}
    nodes = {modality: encoder_settings(node) for modality, node in nodes.items()}
    described: dict[str, Any] = {
        "format": MODEL_FORMAT,
        "corpus": "none",
        "modalities": list(nodes),
        "encoders": nodes,
        # An anchored fusion says nothing until it is trained.
        "fusion": {key: value for key, value in fusion.items() if key != ANCHOR} or None,
        "heads": {"names": list(heads), "dropout": 0.0},
        "extractors": extractors,
        "max_steps": OmegaConf.to_container(config.task.max_steps, resolve=True),
        "calibration": {name: {"temperature": 1.0} for name in heads},
        "novelty": {},
    }
    for name in set(heads) & {"incongruent", "vocal_incongruent"}:
        described["calibration"][name] |= {"threshold": 0.5, "abstention": {"level": level}}
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = build_classifier(described)
    save_file(classifier.state_dict(), run.file("model.safetensors"))
    run.write_json("model.json", described)
    described["fingerprints"] = {
        m: {"extractor": extractor.fingerprint(), "encoder": classifier.encoder(m).fingerprint()}
        for m, extractor in RunFolder(folder).extractors().items()
    }
    run.write_json("model.json", described)
    return folder


def write_novelty(folder: Path, levels: Mapping[str, float | None]) -> Path:
    """Give such a run a measure of novelty.

    Args:
        folder: of the run.
        levels: distance from the origin up to which a modality counts as alike; null: it had too few validation clips.
    """
    run = RunFolder(folder)
    classifier = run.classifier()
    references = {}
    for modality, level in levels.items():
        width = classifier.encoder(modality).embed_dim
        if level is not None:
            references[modality] = Reference(torch.zeros(width), torch.eye(width)[:4], torch.ones(5), level)
    clips = {modality: 80 if level is None else 120 for modality, level in levels.items()}
    novelty = Novelty(references, clips)
    if references:
        save_file(novelty.tensors, run.file("novelty.safetensors"))
    described = json.loads(run.file("model.json").read_text()) | {"novelty": novelty.described}
    run.file("model.json").unlink()  # it may be a link to the one that others use
    run.write_json("model.json", described)
    return folder
