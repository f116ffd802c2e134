"""From a configuration to streams in memory and a model: what training, trials of a sweep and robustness share."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

from subtext.core.building import build
from subtext.corpora.corpus import Corpus, Description
from subtext.encoders.encoder import Encoder
from subtext.errors import ConfigError, ManifestError
from subtext.evaluation.controls import CONTENT
from subtext.features.cache import Cache, FeatureCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor
from subtext.features.index import FeatureIndex
from subtext.labels import MODALITIES
from subtext.manifest import SPLITS, Manifest, check_splits
from subtext.manifest.splits import fold_as_test, with_folds
from subtext.model.batches import ClipData, SwappedClips, check_steps, load_clips
from subtext.model.classifier import IncongruenceClassifier, build_fusion
from subtext.model.fit import device_of
from subtext.model.heads import HEADS, Heads, HeadSpec, head_specs
from subtext.model.losses import visible_targets
from subtext.runs.folder import RunFolder
from subtext.runs.stages import check_recordings, check_stage, check_unseen, take_over

log = logging.getLogger(__name__)

FEWEST_FROM_RANDOM: Final = 265
"""Training clips with a face of the demonstration (`experiment=studio_encoders`), whose faces are drawn: no encoder of
pictures was seen to learn from fewer that began with random weights. Our own number, and for people's faces surely too
low: on photographs the fewest tried were those of 1,098 people (experiments/collage)."""
_NETWORK: Final = 1_000_000
"""Weights above which an encoder is a network for pictures, and not a few maps of measured figures."""


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
    nature = corpus.description.nature
    if settings.get("task", {}).get("swap") and nature not in ("constructed", "your own"):
        raise ConfigError(
            f"task.swap={settings['task']['swap']:g} exchanges faces, words and voices of different clips, and the "
            f"clips of this corpus are {nature}: theirs belong together; set task.swap=0"
        )
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


def encoder_settings(node: Mapping[str, Any]) -> dict[str, Any]:
    """What an encoder is built from, of its node, in which other settings of its modality stand too."""
    return {key: value for key, value in node.items() if key not in ("extractor", "baseline")}


def disjoint_columns(node: Mapping[str, Any], manifest: Manifest) -> Sequence[str]:
    """Columns whose values must not stand in two splits: those that the corpus's settings name, else its groups."""
    named: Sequence[str] | None = node.get("disjoint")
    return manifest.groups if named is None else named


class Prepared:
    """What a training begins with, or what a trained model is tried on; each part is made when it is first asked for.

    What is wrong should be found before what takes long, so ask in this order: `manifest`, `index`, `table`,
    `encoders`, `data`, `specs`, `classifier()`.

    Args:
        settings: the resolved configuration.
        splits: whose rows are loaded and embedded; None for all rows. Others are extracted, and held against an encoder
            stage, which must not have seen them.
        narrow: leaves rows out before anything is extracted.
        extractors: of a trained model; None makes those of the configuration.
        trained: gives a trained model, whose encoders are used; None makes those of the configuration.
        before: an earlier one, from which all is taken over that is the same for both.

    Raises:
        RunError: the encoder stage that `settings` name is not there.

    Example:
        >>> prepared = Prepared(settings)  # doctest: +SKIP
        >>> prepared.data.streams["prosody"], prepared.classifier()  # doctest: +SKIP
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        splits: Collection[str] | None = None,
        narrow: Callable[[Manifest], Manifest] | None = None,
        extractors: Mapping[str, Extractor] | None = None,
        trained: Callable[[], IncongruenceClassifier] | None = None,
        before: "Prepared | None" = None,
    ) -> None:
        check_stage(settings)
        self.settings = settings
        self.cache = FeatureCache(settings["paths"]["features"])
        self._splits, self._narrow = splits, narrow
        self._extractors, self._trained = extractors, trained
        self._seen: set[str] = set()
        self._loaded: tuple[str, ClipData, list[HeadSpec]] | None = None
        if before is not None and before._corpus_key == self._corpus_key:
            self._seen, self._loaded = before._seen, before._loaded
            for name in ("corpus", "manifest", "index", "_rows"):
                if name in before.__dict__:
                    self.__dict__[name] = before.__dict__[name]

    @property
    def asked(self) -> list[HeadSpec]:
        """The heads that are asked for; see `specs`."""
        return head_specs(self.settings["task"]["heads"])

    @cached_property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The encoders' settings by modality; without a fusion, only of those that a head reads.

        Raises:
            ConfigError: none is left.
        """
        nodes = {m: dict(node) for m in MODALITIES if (node := self.settings["encoder"].get(m))}
        if not self.settings.get("fusion"):
            read = {spec.modality for spec in self.asked}
            nodes = {modality: node for modality, node in nodes.items() if modality in read}
        if not nodes:
            raise ConfigError(
                "no encoder is on that a head could read; set encoder/visual, encoder/text, encoder/prosody"
            )
        return nodes

    @cached_property
    def corpus(self) -> ReadCorpus:
        """The corpus, all of it; see `read_corpus`."""
        return read_corpus(self.settings)

    @cached_property
    def manifest(self) -> Manifest:
        """The rows whose streams are extracted."""
        manifest = self.corpus.manifest
        return manifest if self._narrow is None else self._narrow(manifest)

    @cached_property
    def index(self) -> FeatureIndex:
        """Which stream belongs to which row; what is not in the cache is extracted."""
        extractors = self._extractors
        if extractors is None:
            extractors = {m: build(node["extractor"], Extractor) for m, node in self.nodes.items()}
        index = extract(self.manifest, extractors, self.cache, workers=int(self.settings["workers"]))
        missing = ", ".join(f"{modality} {count}" for modality, count in index.missing().items())
        log.info("%s: %d clips; without %s", self.manifest.name, len(self.manifest), missing)
        return index

    @property
    def table(self) -> pd.DataFrame:
        """The rows with figures about their files and streams.

        Raises:
            ManifestError: a recording stands in the training split and in another one.
        """
        return self._rows[0]

    @property
    def metadata(self) -> list[str]:
        """Columns of `table` that tell of a clip what can be known without looking or listening."""
        return self._rows[1]

    @cached_property
    def _rows(self) -> tuple[pd.DataFrame, list[str]]:
        check_recordings(self.manifest, self.index)
        return _described(self.manifest, self.index)

    @cached_property
    def encoders(self) -> Mapping[str, Encoder]:
        """By modality, those of an encoder stage with its backbones.

        Raises:
            RunError: the encoder stage has seen rows that this run is chosen or judged on.
            ConfigError: the stage's encoders were built otherwise.
        """
        if self._trained is not None:
            classifier = self._trained()
            return {m: classifier.encoder(m) for m in classifier.modalities}
        torch.manual_seed(int(self.settings["seed"]))
        encoders = {m: build(encoder_settings(node), Encoder) for m, node in self.nodes.items()}
        source = self.settings.get("encoders")
        if source is not None and str(source) not in self._seen:
            check_unseen(RunFolder(source), self.manifest, self.index)
            self._seen.add(str(source))
        if source is not None:
            _take_backbones(source, encoders, self.index)
        for encoder in encoders.values():
            check_steps(self.index, encoder)
        for modality, encoder in encoders.items():
            there = (self.index.table["modality"] == modality).sum() > self.index.missing()[modality]
            if encoder.has_random_weights and not encoder.trainable and there:
                log.warning(
                    "the %s encoder is frozen with random weights, so its features mean little; give a trained one by "
                    "encoders=RUN, or set encoder.%s.trainable=true",
                    modality,
                    modality,
                )
            self._tell_few_clips(encoder)
        return encoders

    def _tell_few_clips(self, encoder: Encoder) -> None:
        """Say where a network of random weights is to learn from fewer clips than any here was seen to learn from."""
        size = sum(weights.numel() for weights in encoder.backbone_parameters())
        if not encoder.has_random_weights or size < _NETWORK:
            return
        table = self.index.table
        seen = set(table.loc[(table["modality"] == encoder.modality) & (table["n_steps"] > 0), "id"])
        train = self.manifest.table.loc[self.manifest.table["split"] == "train", "id"]
        clips = int(train.isin(seen).sum())
        if 0 < clips < FEWEST_FROM_RANDOM:
            log.warning(
                "the %s encoder is to learn %.1f million random weights from %d training clips; the fewest from which "
                "that was seen to succeed here are %d, of drawn faces. Take published weights "
                "(encoder.visual.pretrained=true), those of a run (encoders=RUN), or more clips",
                encoder.modality,
                size / 1e6,
                clips,
                FEWEST_FROM_RANDOM,
            )

    @property
    def data(self) -> ClipData:
        """Rows with their streams in memory; those of frozen backbones as embeddings, computed where training is."""
        return self._streams[0]

    @property
    def specs(self) -> list[HeadSpec]:
        """Those heads that the data has labels for; the others are off, and that is said.

        Raises:
            ManifestError: no head has labels, or the labels of a split are all of one class.
        """
        return self._streams[1]

    @cached_property
    def _streams(self) -> tuple[ClipData, list[HeadSpec]]:
        task = self.settings["task"]
        # A frozen backbone's output depends on its weights; the raw streams of one that trains on no weights at all.
        inputs = {
            m: [dict(encoder.settings), encoder.trainable or encoder.fingerprint()]
            for m, encoder in self.encoders.items()
        }
        key = _key(inputs, dict(task["max_steps"]), task["rows"], list(task["heads"]))
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # its memory is needed
            device = device_of(self.settings["trainer"])
            for encoder in self.encoders.values():
                encoder.to(device)
            data = self.load(self.index, self.cache, list(self.encoders))
            for encoder in self.encoders.values():
                encoder.to("cpu")  # the trainer moves the model itself
            self._tell_long_streams()
            if task["rows"] == "streams":
                data = data.as_single_streams(self.asked)
            # One speaker may be all of a fold's test split, and is pooled with the others.
            pooled = self.settings.get("cv") is not None or self._splits is not None
            specs = usable_heads(self.asked, data, self.manifest.name, one_class_test=pooled)
            if task["swap"]:
                names = [spec.name for spec in specs]
                SwappedClips(data.split("train"), task["swap"], 0, names).check_labels(names)
            self._loaded = (key, data, specs)
        return self._loaded[1:]

    def load(self, index: FeatureIndex, cache: Cache, modalities: Sequence[str]) -> ClipData:
        """The rows with streams of some modalities, perhaps from elsewhere than `index` and `cache`."""
        table = self.table
        if self._splits is not None:
            table = table[table["split"].isin(list(self._splits))]
        encoders = {m: self.encoders[m] for m in modalities}
        return load_clips(table, index, cache, encoders, self.settings["task"]["max_steps"])

    def _tell_long_streams(self) -> None:
        found, limits = self.index.table, self.settings["task"]["max_steps"]
        for modality in self.encoders:
            long = int((found.loc[found["modality"] == modality, "n_steps"] > limits[modality]).sum())
            if long:
                kept = "their middle is used" if modality == "prosody" else "evenly spaced steps are used"
                limit = f"task.max_steps.{modality}={limits[modality]}"
                log.warning("%d %s streams are longer than %s steps; %s", long, modality, limit, kept)

    def classifier(self, encoders: Mapping[str, Encoder] | None = None) -> IncongruenceClassifier:
        """An untrained classifier; with an encoder stage, it begins where that ended.

        Args:
            encoders: by modality, in the project's order; None takes those that read any stream.
        """
        if encoders is None:
            encoders = {m: self.encoders[m] for m in self.data.streams}
        names = [spec.name for spec in self.specs if spec.modality is None or spec.modality in encoders]
        dim = next(iter(encoders.values())).dim
        fusion, cells = build_fusion(self.settings.get("fusion"), list(encoders), dim)
        task = self.settings["task"]
        heads = Heads(
            names=names,
            dim=dim,
            dropout=float(task["head_dropout"]),
            reader=task.get("reader"),
            read={m: encoder.embed_dim for m, encoder in encoders.items() if encoder.is_fixed},
            baseline={m: kind for m in encoders if (kind := self.nodes[m].get("baseline") or "none") != "none"},
            direct=cells is not None and not any(HEADS[name].modality for name in names),
        )
        classifier = IncongruenceClassifier(encoders=encoders, fusion=fusion, heads=heads, anchor=cells)
        if self.settings.get("encoders") is not None:
            take_over(classifier, Path(self.settings["encoders"]))
        return classifier

    @cached_property
    def _corpus_key(self) -> str:
        extractors = {m: node["extractor"] for m, node in self.nodes.items()}
        settings = self.settings
        return _key(settings["corpus"], settings.get("cv"), settings.get("fold"), settings["paths"], extractors)


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _take_backbones(source: Path | str, encoders: Mapping[str, Encoder], index: FeatureIndex) -> None:
    """Load the backbones of an encoder stage, whose settings must be those of these encoders.

    Raises:
        ConfigError: the stage's encoders were built otherwise.
    """
    described = RunFolder(source).model()
    theirs = described["fingerprints"]
    for modality, encoder in encoders.items():
        if not encoder.backbone.state_dict():
            continue
        for name, value in encoder.settings.items():
            was = described["encoders"][modality].get(name, value)
            if was != value:
                raise ConfigError(
                    f"encoder.{modality}.{name} is {value}, but the encoder in {source} was trained with {was}; set "
                    f"encoder.{modality}.{name}={was}"
                )
        encoder.load_backbone(Path(source))
        if theirs[modality]["extractor"] != index.fingerprints[modality]:
            log.warning("the %s encoder in %s was trained on streams of other extraction settings", modality, source)


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


def _described(manifest: Manifest, index: FeatureIndex) -> tuple[pd.DataFrame, list[str]]:
    """The manifest's rows with figures about their files and streams.

    Returns:
        The table, and the columns among them that serve as metadata: what can be told without looking or listening.
    """
    table = manifest.table.copy()
    metadata: list[str] = []
    for modality in index.modalities:
        quality = index.quality(modality)
        for column in quality:
            name = str(column) if column not in table else f"{modality}_{column}"
            table[name] = table["id"].map(quality[column]).astype("float64")
            if column not in CONTENT:
                metadata.append(name)
    for stream in ("video", "image", "audio"):
        name = f"{stream}_bytes"
        if stream in table and name not in table and table[stream].notna().any():
            sizes = {path: _size(manifest.path(path)) for path in table[stream].dropna().unique()}
            table[name] = table[stream].map(sizes).astype("float64")
            metadata.append(name)
    if "duration" not in table:
        table["duration"] = (table["end"] - table["start"].fillna(0)).astype("float64")
        if "voice_duration" in table:
            table["duration"] = table["duration"].fillna(table["voice_duration"])
        metadata.append("duration")
    return table, metadata


def _size(path: Path) -> float:
    try:
        return float(path.stat().st_size)
    except OSError:
        return float("nan")
