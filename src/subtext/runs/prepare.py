"""From a configuration to streams in memory and an untrained model: what training and every trial of a sweep share."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from subtext.core.building import build
from subtext.corpora.corpus import Corpus, Description
from subtext.encoders.encoder import Encoder
from subtext.errors import ConfigError, ManifestError
from subtext.features.cache import FeatureCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor
from subtext.features.index import FeatureIndex
from subtext.fusion.base import Fusion
from subtext.labels import MODALITIES
from subtext.manifest import SPLITS, Manifest, check_splits
from subtext.manifest.splits import fold_as_test, with_folds
from subtext.model.batches import ClipData, load_clips
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.fit import device_of
from subtext.model.heads import Heads, HeadSpec, head_specs
from subtext.model.losses import visible_targets
from subtext.runs.folder import RunFolder
from subtext.runs.stages import take_over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadCorpus:
    """A corpus with its splits.

    Attributes:
        manifest: the rows.
        description: what the corpus says of itself.
    """

    manifest: Manifest
    description: Description


def read_corpus(settings: Mapping[str, Any]) -> ReadCorpus:
    """Build the corpus and divide it as `cv` and `fold` say, or as its column `split` does.

    Args:
        settings: the resolved configuration.

    Raises:
        ManifestError: a split is empty, or two splits share a unit that must not be shared.
        DatasetNotFound: the corpus is not there.
    """
    node = dict(settings["corpus"])
    corpus: Corpus = build(node, Corpus)
    manifest = corpus.build()
    disjoint = disjoint_columns(node, manifest)
    if settings.get("cv") is not None:
        manifest = with_folds(manifest, settings["cv"], disjoint)
        manifest = fold_as_test(manifest, settings["fold"], settings["cv"])
    for column in disjoint:
        if column in manifest.table and manifest.table[column].isna().all():
            log.warning(
                "%s: no row says its %s, so nothing shows that the splits share none; fill the column",
                manifest.name,
                column,
            )
    check_splits(manifest, disjoint)
    for split in SPLITS:
        if not (manifest.table["split"] == split).any():
            raise ManifestError(
                f"{manifest.name}: no row is in the split '{split}'; fill the column 'split' with train, val, "
                "test, or divide it with subtext-data split and train on the manifest that it writes"
            )
    return ReadCorpus(manifest, corpus.description)


def check_folds(settings: Mapping[str, Any]) -> None:
    """Whether `cv` and `fold` are numbers that go together.

    Raises:
        ConfigError: they are not.
    """
    folds, fold = settings.get("cv"), settings.get("fold")
    if folds is None and fold is not None:
        raise ConfigError(f"fold={fold} names one fold of a cross-validation; say of how many by cv=, such as cv=5")
    if folds is not None and (not isinstance(folds, int) or folds < 3):
        raise ConfigError(f"cv={folds}: ask for a whole number of folds, at least 3")
    if folds is not None and fold is not None and (not isinstance(fold, int) or isinstance(fold, bool)):
        raise ConfigError(f"fold={fold}: name one fold by its number, 0 to {folds - 1}")


def disjoint_columns(node: Mapping[str, Any], manifest: Manifest) -> Sequence[str]:
    """Columns whose values must not stand in two splits: those that the corpus's settings name, else its groups."""
    named: Sequence[str] | None = node.get("disjoint")
    return manifest.groups if named is None else named


def encoder_nodes(settings: Mapping[str, Any], specs: Sequence[HeadSpec]) -> dict[str, dict[str, Any]]:
    """The encoders' settings by modality; without a fusion, only of those that a head reads.

    Raises:
        ConfigError: none is left.
    """
    read = {spec.modality for spec in specs}
    nodes = {m: dict(node) for m in MODALITIES if (node := settings["encoder"].get(m))}
    if not settings.get("fusion"):
        nodes = {modality: node for modality, node in nodes.items() if modality in read}
    if not nodes:
        raise ConfigError("no encoder is on that a head could read; set encoder/visual, encoder/text, encoder/prosody")
    return nodes


def extract_streams(
    settings: Mapping[str, Any], manifest: Manifest, nodes: Mapping[str, Mapping[str, Any]], cache: FeatureCache
) -> FeatureIndex:
    """Streams of every row, from the cache where they are there.

    Args:
        settings: the resolved configuration.
        manifest: the rows.
        nodes: the encoders' settings by modality.
        cache: where streams are kept.
    """
    extractors: dict[str, Extractor] = {m: build(node["extractor"], Extractor) for m, node in nodes.items()}
    index = extract(manifest, extractors, cache, workers=int(settings["workers"]))
    log.info(
        "%s: %d clips; without %s",
        manifest.name,
        len(manifest),
        ", ".join(f"{modality} {count}" for modality, count in index.missing().items()),
    )
    return index


def make_encoders(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Encoder]:
    """Encoders as their settings say."""
    return {m: build({k: v for k, v in node.items() if k != "extractor"}, Encoder) for m, node in nodes.items()}


def take_backbones(source: Path | str | None, encoders: Mapping[str, Encoder], index: FeatureIndex) -> None:
    """Load the backbones of an encoder stage, whose settings must be those of these encoders.

    Args:
        source: the run folder of the stage; None leaves the encoders as they are.
        encoders: by modality.
        index: of the streams that they will read.

    Raises:
        ConfigError: the stage's encoders were built otherwise.
    """
    if source is not None:
        described = RunFolder(source).model()
        theirs = described["fingerprints"]
        for modality, encoder in encoders.items():
            if not encoder.backbone.state_dict():
                continue
            for name, value in encoder.settings.items():
                was = described["encoders"][modality].get(name, value)
                if was != value:
                    raise ConfigError(
                        f"encoder.{modality}.{name} is {value}, but the encoder in {source} was trained with "
                        f"{was}; set encoder.{modality}.{name}={was}"
                    )
            encoder.load_backbone(Path(source))
            if theirs[modality]["extractor"] != index.fingerprints[modality]:
                log.warning(
                    "the %s encoder in %s was trained on streams of other extraction settings", modality, source
                )
    for modality, encoder in encoders.items():
        if (
            encoder.has_random_weights
            and not encoder.trainable
            and (index.table["modality"] == modality).sum() > index.missing()[modality]
        ):
            log.warning(
                "the %s encoder is frozen with random weights, so its features mean little; give a trained one by "
                "encoders=RUN, or set encoder.%s.trainable=true",
                modality,
                modality,
            )


def load_streams(
    settings: Mapping[str, Any],
    table: pd.DataFrame,
    index: FeatureIndex,
    cache: FeatureCache,
    encoders: Mapping[str, Encoder],
) -> ClipData:
    """Rows with their streams in memory; those of frozen backbones as embeddings, computed where training will be.

    Args:
        settings: the resolved configuration.
        table: the rows.
        index: which stream belongs to which row.
        cache: where streams and embeddings are kept.
        encoders: by modality; on the CPU afterwards, since the trainer moves the model itself.

    Raises:
        ConfigError: `task.rows` is neither clips nor streams.
    """
    task = settings["task"]
    if task["rows"] not in ("clips", "streams"):
        raise ConfigError(f"task.rows must be clips or streams, got {task['rows']!r}")
    device = device_of(settings["trainer"])
    for encoder in encoders.values():
        encoder.to(device)
    data = load_clips(table, index, cache, encoders, task["max_steps"])
    for encoder in encoders.values():
        encoder.to("cpu")
    return data.as_single_streams(head_specs(task["heads"])) if task["rows"] == "streams" else data


def make_classifier(
    settings: Mapping[str, Any], encoders: Mapping[str, Encoder], specs: Sequence[HeadSpec]
) -> IncongruenceClassifier:
    """An untrained classifier on these encoders; with an encoder stage, it begins where that ended.

    Args:
        settings: the resolved configuration.
        encoders: by modality, in the project's order.
        specs: heads; those of a modality without an encoder are left out.
    """
    specs = [spec for spec in specs if spec.modality is None or spec.modality in encoders]
    dim = next(iter(encoders.values())).dim
    fusion = None
    if settings.get("fusion"):
        fusion = build(settings["fusion"], Fusion, modalities=list(encoders), dim=dim)
    dropout = float(settings["task"]["head_dropout"])
    classifier = IncongruenceClassifier(
        encoders=encoders, fusion=fusion, heads=Heads(names=[s.name for s in specs], dim=dim, dropout=dropout)
    )
    if settings.get("encoders") is not None:
        take_over(classifier, Path(settings["encoders"]))
    return classifier


def usable_heads(
    specs: Sequence[HeadSpec], data: ClipData, name: str, *, one_class_test: bool = False
) -> list[HeadSpec]:
    """Those heads that the data has labels for; the others are off, and that is said.

    Args:
        specs: the heads asked for.
        data: all rows.
        name: of the corpus, for messages.
        one_class_test: bear a test split of one class or without labels, as of one speaker in a cross-validation that
            pools them.

    Raises:
        ManifestError: no head has labels, or the labels of a split are all of one class.
    """
    usable = []
    splits = {split: data.split(split) for split in SPLITS}
    for spec in specs:
        labels = {split: visible_targets(spec, part.targets, part.present) for split, part in splits.items()}
        labels = {split: values[~values.isnan()] for split, values in labels.items()}
        if not len(labels["train"]):
            rows = "row" if spec.modality is None else f"row that has {spec.modality}"
            log.warning("%s: no training %s carries '%s', so the head '%s' is off", name, rows, spec.column, spec.name)
            continue
        for split, values in labels.items():
            if spec.kind == "number" or (spec.kind == "choice" and split != "train" and not len(values)):
                continue
            if one_class_test and split == "test":
                continue
            if len(values.unique()) < 2:
                there = f"are all {spec.names[int(values[0])]}" if len(values) else "are missing"
                raise ManifestError(
                    f"{name}: the labels '{spec.column}' of the split '{split}' {there} ({len(values)} labelled rows); "
                    f"each split needs at least two classes: divide the rows otherwise, or drop '{spec.name}' from "
                    "task.heads"
                )
        usable.append(spec)
    if not usable:
        raise ManifestError(
            f"{name}: no training row carries a label of {', '.join(spec.column for spec in specs)}; add labels"
        )
    return usable
