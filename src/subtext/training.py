"""One training run, from a corpus to an evaluated model in a run folder."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from subtext.building import build
from subtext.checkpoints import BEST
from subtext.classifier import IncongruenceClassifier
from subtext.clip_metadata import describe_clips
from subtext.control_systems import Controls
from subtext.corpora.audit import audit_training
from subtext.corpora.corpus import Corpus
from subtext.corpora.splits import fold_as_test, with_folds
from subtext.data import ClipData, load_clips
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.features.cache import FeatureCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor
from subtext.features.index import FeatureIndex
from subtext.fitting import Fitted, Fitter, calibration, device_of, is_main_process, quiet_lightning
from subtext.fusion.base import Fusion
from subtext.heads import Heads, HeadSpec, head_specs
from subtext.labels import MODALITIES
from subtext.losses import visible_targets
from subtext.manifest import SPLITS, Manifest, check_splits, write_rejects
from subtext.predictions import predict_table
from subtext.run_folder import MODEL_FORMAT, RunFolder, load_classifier
from subtext.stages import ROWS, check_recordings, check_stage, check_unseen, take_over

log = logging.getLogger(__name__)

VALIDATION_BATCH: Final = 128
PRECISIONS: Final = ("32-true", "32", "bf16-mixed", "16-mixed")
"""Streams stay in single precision; a trainer that keeps weights in another one cannot take them."""
_DATA_SETTINGS: Final = ("heads", "head_dropout", "rows", "batch_size", "max_steps", "swap")
"""Entries of the task's node that are not arguments of the LightningModule."""


def train(settings: Mapping[str, Any], folder: Path, *, resume: bool = False) -> RunFolder:
    """Run, or go on with a run.

    Args:
        settings: the resolved configuration, plain values.
        folder: the run folder.
        resume: go on with the run that was interrupted there; `settings` must be its own.

    Returns:
        The run folder, complete.

    Raises:
        RunError: a run is in the folder already, or there is none to go on with; the encoder stage is not there, or
            has seen rows that this run is judged on.
        ManifestError: the corpus cannot be trained on.
        ConfigError: a setting cannot be used.
    """
    run = RunFolder(folder)
    check_folds(settings)
    if settings.get("cv") is not None and settings.get("fold") is None:
        from subtext.cross_validation import train_folds

        return train_folds(settings, run, resume=resume)
    check_stage(settings)
    if is_main_process() and not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    with quiet_lightning():
        _Run(settings, run, resume).do()
    return run


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


class _Run:
    """The steps of one run, sharing settings and data."""

    def __init__(self, settings: Mapping[str, Any], run: RunFolder, resume: bool) -> None:
        self.settings = settings
        self.run = run
        self.resume = resume
        self.seed = int(settings["seed"])
        self.task_settings = dict(settings["task"])
        self.fusion_node = settings.get("fusion") or None
        self.device = device_of(settings["trainer"])
        self.fitter = Fitter(settings, run, resume)
        self.seconds: dict[str, float] = {}

    def do(self) -> None:
        """All of it."""
        with self._timed("corpus"):
            manifest = self._manifest()
        self.corpus = manifest.name
        specs = head_specs(self.task_settings["heads"])
        self.nodes = self._encoder_nodes(specs)
        with self._timed("extraction"):
            cache = FeatureCache(self.settings["paths"]["features"])
            index = self._extract(manifest, cache)
        table, self.metadata = describe_clips(manifest, index)
        if self.settings.get("audit") and is_main_process():
            with self._timed("audit"), self.run.writing():
                strict = bool(self.settings.get("strict"))
                audit_training(
                    manifest.with_table(table), self.metadata, index, strict=strict, folder=self.run.file("audit")
                )
        extra = [column for column in table if column not in manifest.table]
        self.keep = [*manifest.groups, *map(str, extra), "corpus", "start", "end"]
        with self._timed("embedding"):
            torch.manual_seed(self.seed)
            encoders = self._encoders()
            self._take_backbones(encoders, index, manifest)
            self._remember_inputs(manifest, encoders)
            # Frozen backbones compute now, where the trainer will; afterwards the trainer moves the model itself.
            for encoder in encoders.values():
                encoder.to(self.device)
            data = load_clips(table, index, cache, encoders, self.task_settings["max_steps"])
            for encoder in encoders.values():
                encoder.to("cpu")
        if self.task_settings["rows"] not in ("clips", "streams"):
            raise ConfigError(f"task.rows must be clips or streams, got {self.task_settings['rows']!r}")
        if self.task_settings["rows"] == "streams":
            data = data.as_single_streams(specs)
        self.specs = usable_heads(specs, data, manifest.name, one_class_test=self.settings.get("cv") is not None)
        self.data = data
        if is_main_process():
            self.run.add_facts(
                {
                    "groups": list(manifest.groups),
                    "labels": self.labels,
                    "question": self.question,
                    "missing": index.missing(),
                    "rows": len(data),
                    "metadata": self.metadata,
                }
            )
        with self._timed("training"):
            fitted = self._model(encoders, index)
        if not is_main_process():
            return
        with self._timed("prediction"):
            predictions = self._predictions(fitted)
        with self._timed("controls"):
            self._controls(fitted, predictions)
        with self._timed("evaluation"):
            self._evaluate()
        self.run.add_facts({"seconds": {name: round(value, 1) for name, value in self.seconds.items()}})

    # -- from the corpus to streams -----------------------------------------------------------------------------------

    def _manifest(self) -> Manifest:
        node = dict(self.settings["corpus"])
        corpus: Corpus = build(node, Corpus)
        manifest = corpus.build()
        self.labels, self.question = corpus.description.labels, corpus.description.question
        write_rejects(manifest, self.run.file("rejects.csv"))
        disjoint = disjoint_columns(node, manifest)
        if self.settings.get("cv") is not None:
            manifest = with_folds(manifest, self.settings["cv"], disjoint)
            manifest = fold_as_test(manifest, self.settings["fold"], self.settings["cv"])
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
        return manifest

    def _encoder_nodes(self, specs: Sequence[HeadSpec]) -> dict[str, dict[str, Any]]:
        """The encoders' settings; without a fusion, only of those that a head reads."""
        read = {spec.modality for spec in specs}
        nodes = {m: dict(node) for m in MODALITIES if (node := self.settings["encoder"].get(m))}
        if self.fusion_node is None:
            nodes = {modality: node for modality, node in nodes.items() if modality in read}
        if not nodes:
            raise ConfigError(
                "no encoder is on that a head could read; set encoder/visual, encoder/text, encoder/prosody"
            )
        return nodes

    def _extract(self, manifest: Manifest, cache: FeatureCache) -> FeatureIndex:
        extractors: dict[str, Extractor] = {m: build(node["extractor"], Extractor) for m, node in self.nodes.items()}
        index = extract(manifest, extractors, cache, workers=int(self.settings["workers"]))
        missing = index.missing()
        log.info(
            "%s: %d clips; without %s",
            manifest.name,
            len(manifest),
            ", ".join(f"{modality} {count}" for modality, count in missing.items()),
        )
        if is_main_process():
            with self.run.writing():
                index.save(self.run.path)
            kept = dict.fromkeys(["id", "split", "corpus", *manifest.groups])
            self.run.write_table(ROWS, manifest.table[[c for c in kept if c in manifest.table]])
        if index.n_failed:
            log.warning(
                "%d streams could not be extracted; the reasons are in %s",
                index.n_failed,
                self.run.file("extraction.csv"),
            )
        check_recordings(manifest, index)
        return index

    def _encoders(self) -> dict[str, Encoder]:
        return {
            m: build({k: v for k, v in node.items() if k != "extractor"}, Encoder) for m, node in self.nodes.items()
        }

    def _take_backbones(self, encoders: Mapping[str, Encoder], index: FeatureIndex, manifest: Manifest) -> None:
        source = self.settings.get("encoders")
        if source is not None:
            check_unseen(RunFolder(source), manifest, index)
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

    def _remember_inputs(self, manifest: Manifest, encoders: Mapping[str, Encoder]) -> None:
        """Note what the run begins with, and refuse to go on with something else."""
        # The folds of a cross-validation share one manifest; their splits follow from its column fold.
        table = manifest.table if self.settings.get("cv") is None else manifest.table.drop(columns="split")
        inputs = {
            "manifest": hashlib.sha256(table.to_json(orient="split").encode()).hexdigest(),
            **{m: e.fingerprint() for m, e in encoders.items() if self.settings.get("encoders") and not e.trainable},
        }
        if self.resume:
            before = self.run.run().get("inputs", inputs)
            changed = sorted(name for name in inputs if before.get(name) != inputs[name])
            if changed:
                what = " and ".join("the corpus" if n == "manifest" else f"the {n} encoder" for n in changed)
                raise RunError(
                    f"{what} changed since the run in {self.run.path} began; begin anew with overwrite=true, or bring "
                    "back what it began with"
                )
        if is_main_process():
            self.run.add_facts({"inputs": inputs})

    # -- the model ---------------------------------------------------------------------------------------------------

    def _model(self, encoders: dict[str, Encoder], index: FeatureIndex) -> Fitted:
        """The main model: trained, calibrated and written; read back where an interrupted run had come so far."""
        if self.resume and self.run.is_trained:
            described = self.run.model()
            return Fitted(
                load_classifier(self.run.path).to(self.device),
                described["best"]["epoch"],
                described["best"]["score"],
                pd.read_csv(self.run.file("history.csv")),
            )
        parts = {m: encoders[m] for m in self.data.streams}
        for modality in encoders.keys() - parts.keys():
            log.warning("no clip has %s; the model is built without it", modality)
        classifier = self._classifier(parts)
        counts = classifier.counts()
        streams = typical_clip(index, classifier.modalities, self.task_settings["max_steps"])
        flops = classifier.flops(streams)
        log.info(
            "model: %.2f M trainable parameters, %.2f M frozen, %.3f GFLOPs a clip of %s steps%s",
            counts["trainable"] / 1e6,
            counts["frozen"] / 1e6,
            flops / 1e9,
            " + ".join(f"{tokens.mask.shape[1]} {modality}" for modality, tokens in streams.items()),
            "; the sentence model behind the text streams is not counted" if "text" in streams else "",
        )
        fitted = self.fitter.fit(classifier, self.data, self.run.path)
        if is_main_process():
            with self.run.writing():
                fitted.history.to_csv(self.run.file("history.csv"), index=False)
                weights = {k: v.cpu().contiguous() for k, v in fitted.classifier.state_dict().items()}
                beside = self.run.file("model.safetensors.part")
                beside.write_bytes(save(weights))
                beside.replace(self.run.file("model.safetensors"))
            self._describe(fitted, index, counts, flops)
            self.run.file(BEST).unlink(missing_ok=True)
        return fitted

    def _classifier(self, encoders: Mapping[str, Encoder]) -> IncongruenceClassifier:
        specs = [spec for spec in self.specs if spec.modality is None or spec.modality in encoders]
        dims = {encoder.dim for encoder in encoders.values()}
        dim = next(iter(dims))
        fusion = None
        if self.fusion_node is not None:
            fusion = build(self.fusion_node, Fusion, modalities=list(encoders), dim=dim)
        dropout = float(self.task_settings["head_dropout"])
        classifier = IncongruenceClassifier(
            encoders=encoders, fusion=fusion, heads=Heads(names=[s.name for s in specs], dim=dim, dropout=dropout)
        )
        if self.settings.get("encoders") is not None:
            take_over(classifier, Path(self.settings["encoders"]))
        return classifier

    # -- what the model says ------------------------------------------------------------------------------------------

    def _describe(self, fitted: Fitted, index: FeatureIndex, counts: Mapping[str, int], flops: int) -> None:
        """Write `model.json`: all that prediction needs besides the weights."""
        classifier = fitted.classifier
        self.run.write_json(
            "model.json",
            {
                "format": MODEL_FORMAT,
                "corpus": self.corpus,
                "modalities": list(classifier.modalities),
                "encoders": {
                    m: {k: v for k, v in self.nodes[m].items() if k != "extractor"} for m in classifier.modalities
                },
                "fusion": self.fusion_node,
                "heads": {"names": list(classifier.heads.names), "dropout": classifier.heads.dropout},
                "extractors": {m: self.nodes[m]["extractor"] for m in classifier.modalities},
                "max_steps": {m: self.task_settings["max_steps"][m] for m in classifier.modalities},
                "fingerprints": {
                    m: {"extractor": index.fingerprints[m], "encoder": classifier.encoder(m).fingerprint()}
                    for m in classifier.modalities
                },
                "calibration": calibration(classifier, self.data),
                "parameters": dict(counts),
                "flops_per_clip": flops,
                "best": {"epoch": fitted.best_epoch, "score": fitted.best_score},
            },
        )

    def _predictions(self, fitted: Fitted) -> pd.DataFrame:
        """Predict the validation and, this once, the test split."""
        path = self.run.file("predictions.parquet")
        if self.resume and path.is_file():
            return pd.read_parquet(path)
        predictions = self._predict(fitted.classifier, self.data, self.run.model()["calibration"])
        self.run.write_table(path.name, predictions)
        return predictions

    def _predict(
        self, classifier: IncongruenceClassifier, data: ClipData, chosen: Mapping[str, Mapping[str, Any]]
    ) -> pd.DataFrame:
        """The validation and test rows' predictions; streams that the model does not use count as absent."""
        judged = data.only(classifier.modalities)
        judged = judged.select(np.flatnonzero(judged.table["split"].isin(["val", "test"]).to_numpy()))
        table = predict_table(classifier, judged, calibration=chosen, keep=self.keep)
        table["seed"] = self.seed
        if self.settings.get("cv") is None:
            # A column of the corpus that this run did not go by would be taken for runs of several folds.
            table["fold"] = pd.NA
        return table

    def _controls(self, fitted: Fitted, predictions: pd.DataFrame) -> None:
        """Every control that is asked for."""
        Controls(
            settings=self.settings,
            run=self.run,
            data=self.data,
            metadata=self.metadata,
            nodes=self.nodes,
            resume=self.resume,
            make=self._classifier,
            fit=lambda classifier, data: self.fitter.fit(classifier, data, None),
            predict=self._predict,
        ).all(fitted.classifier, predictions)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        from rich.console import Console

        from subtext.evaluation.run import evaluate_run
        from subtext.report.table import print_results

        print_results(evaluate_run(self.run.path, seed=self.seed), Console())

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - began


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


def typical_clip(index: FeatureIndex, modalities: Sequence[str], max_steps: Mapping[str, int]) -> dict[str, Tokens]:
    """One clip of blank streams of the corpus's median lengths, to count operations with."""
    clip = {}
    for modality in modalities:
        rows = index.table[(index.table["modality"] == modality) & (index.table["status"] == "ok")]
        steps = min(int(rows["n_steps"].median()), max_steps[modality])
        shape = [int(side) for side in rows["step_shape"].iloc[0].split("x")]
        clip[modality] = Tokens(torch.zeros(1, steps, *shape), torch.ones(1, steps, dtype=torch.bool))
    return clip
