"""One training run, from a corpus to an evaluated model in a run folder."""

import hashlib
import itertools
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from safetensors.torch import save

from subtext.building import build
from subtext.checkpoints import BEST, Checkpoints, SafeCheckpointIO, resumable
from subtext.classifier import IncongruenceClassifier
from subtext.corpora.audit import audit_training
from subtext.corpora.corpus import Corpus
from subtext.corpora.splits import fold_as_test, with_folds
from subtext.data import ClipData, SwappedClips, load_clips, loader, mix
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.evaluation import controls as table_controls
from subtext.evaluation.calibration import abstention_level, calibrate, choose_threshold, fit_temperature
from subtext.features.cache import FeatureCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor
from subtext.features.index import FeatureIndex
from subtext.fusion.base import Fusion
from subtext.heads import Heads, HeadSpec, head_specs
from subtext.labels import MODALITIES
from subtext.losses import visible_targets
from subtext.manifest import SPLITS, Manifest, check_splits, write_rejects
from subtext.predictions import predict_table, raw_answers
from subtext.run_folder import MODEL_FORMAT, RunFolder, load_classifier
from subtext.stages import ROWS, check_recordings, check_stage, check_unseen, take_over
from subtext.task import IncongruenceTask

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
    if settings.get("cv") is not None and settings.get("fold") is None:
        from subtext.cross_validation import train_folds

        return train_folds(settings, run, resume=resume)
    check_stage(settings)
    if is_main_process() and not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    with _quiet_lightning():
        _Run(settings, run, resume).do()
    return run


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        classifier: with the weights of its best epoch, in eval mode.
        best_epoch: counted from 0.
        best_score: its figure on the validation split, see `task.SELECTION`.
        history: figures of every epoch.
    """

    classifier: IncongruenceClassifier
    best_epoch: int
    best_score: float
    history: pd.DataFrame


class _Run:
    """The steps of one run, sharing settings and data."""

    def __init__(self, settings: Mapping[str, Any], run: RunFolder, resume: bool) -> None:
        self.settings = settings
        self.run = run
        self.resume = resume
        self.seed = int(settings["seed"])
        self.task_settings = dict(settings["task"])
        self.fusion_node = settings.get("fusion") or None
        self.device = _device(settings["trainer"])
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
        self.specs = usable_heads(specs, data, manifest.name)
        self.data = data
        if is_main_process():
            self.run.add_facts(
                {
                    "groups": list(manifest.groups),
                    "labels": self.labels,
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
        self.labels = corpus.description.labels
        write_rejects(manifest, self.run.file("rejects.csv"))
        disjoint = node.get("disjoint")
        disjoint = manifest.groups if disjoint is None else disjoint
        if self.settings.get("cv") is not None:
            manifest = fold_as_test(
                with_folds(manifest, self.settings["cv"]), self.settings["fold"], self.settings["cv"]
            )
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
                _write_table(manifest.table[[c for c in kept if c in manifest.table]], self.run.file(ROWS))
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
        inputs = {
            "manifest": hashlib.sha256(manifest.table.to_json(orient="split").encode()).hexdigest(),
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

    # -- fitting ------------------------------------------------------------------------------------------------------

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
        fitted = self._fit(classifier, self.data, self.run.path)
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

    def _fit(self, classifier: IncongruenceClassifier, data: ClipData, folder: Path | None) -> Fitted:
        """Train on the training split, choose the epoch on the validation split; resumable where it has a folder."""
        training, validation = _with_streams(data.split("train")), _with_streams(data.split("val"))
        batch_size = int(self.task_settings["batch_size"])
        swap = float(self.task_settings["swap"])
        module: IncongruenceTask = build(
            {k: v for k, v in self.task_settings.items() if k not in _DATA_SETTINGS},
            IncongruenceTask,
            classifier=classifier,
            targets=training.targets,
            embedded=data.embedded,
            seed=self.seed,
        )
        checkpoints = Checkpoints(folder)
        trainer = self._trainer(checkpoints, folder)
        checkpoint = resumable(folder) if folder is not None and self.resume else None
        if checkpoint is not None:
            log.info("going on from %s", checkpoint)
        began = time.perf_counter()
        with _interruptible(trainer):
            trainer.fit(
                module,
                loader(
                    SwappedClips(training, swap, self.seed) if swap else training,
                    batch_size,
                    seed=self.seed,
                    shuffle=True,
                    processes=trainer.world_size,
                ),
                loader(validation, VALIDATION_BATCH),
                ckpt_path=checkpoint,
                weights_only=True,
            )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # What follows is done by one process alone.
            torch.distributed.destroy_process_group()
        took = time.perf_counter() - began
        classifier.load_state_dict(checkpoints.best_weights())
        classifier.to(self.device).eval()
        if folder is not None:
            epochs = len(checkpoints.history)
            log.info(
                "best of %d epochs: %d, with %.3f on the validation split (%.0f s, %.0f clips/s)",
                epochs,
                checkpoints.best_epoch + 1,
                checkpoints.best_score,
                took,
                epochs * len(training) / took if checkpoint is None else float("nan"),
            )
        return Fitted(classifier, checkpoints.best_epoch, checkpoints.best_score, pd.DataFrame(checkpoints.history))

    def _trainer(self, checkpoints: Checkpoints, folder: Path | None) -> pl.Trainer:
        node = dict(self.settings["trainer"])
        if str(node.get("precision", "32-true")) not in PRECISIONS:
            raise ConfigError(f"trainer.precision={node['precision']} is not one of {', '.join(PRECISIONS)}")
        # Filling fresh memory with NaN, a default of deterministic mode, costs time and only serves to find bugs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        main = folder is not None
        if not main:
            # Controls are small and run in this process alone.
            node |= {"strategy": "auto", "devices": 1, "num_nodes": 1}
        callbacks = [build(c) for c in (self.settings.get("callbacks") or {}).values() if c]
        shown = main and sys.stderr.isatty()
        trainer: pl.Trainer = _build_trainer(
            node,
            callbacks=[*callbacks, checkpoints, *([RichProgressBar()] if shown else [])],
            logger=self._loggers() if main else False,
            plugins=[SafeCheckpointIO()],
            default_root_dir=str(self.run.path),
            enable_progress_bar=shown,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        return trainer

    def _loggers(self) -> list[Any]:
        loggers = []
        for name, node in (self.settings.get("logger") or {}).items():
            if node is None:
                continue
            try:
                loggers.append(build(node, save_dir=str(self.run.file("logs"))))
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"logger={name} needs a package that is not installed ({error}); "
                    f"install it with: pip install 'subtext[{name}]'"
                ) from error
        return loggers

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
        with self.run.writing():
            _write_table(predictions, path)
        return predictions

    def _predict(
        self, classifier: IncongruenceClassifier, data: ClipData, chosen: Mapping[str, Mapping[str, Any]]
    ) -> pd.DataFrame:
        """The validation and test rows' predictions; streams that the model does not use count as absent."""
        judged = data.only(classifier.modalities)
        judged = judged.select(np.flatnonzero(judged.table["split"].isin(["val", "test"]).to_numpy()))
        table = predict_table(classifier, judged, calibration=chosen, keep=self.keep)
        table["seed"] = self.seed
        return table

    # -- controls -----------------------------------------------------------------------------------------------------

    def _controls(self, fitted: Fitted, predictions: pd.DataFrame) -> None:
        """Every control that is asked for, one after the other; a finished one is not done again on resuming.

        One that the corpus does not allow, such as the posterior product without polarity labels, is left out; the
        evaluation names it.
        """
        binary = [spec.name for spec in self.specs if spec.kind == "binary"]
        names = chosen_controls(self.settings.get("controls", True), fitted.classifier.modalities)
        if not binary or not names:
            return
        target = self.run.file("controls.parquet")
        if self.resume and target.is_file():
            return
        keep = [
            column for column in predictions if not str(column).startswith(("prob_", "logit_", "pred_", "evidence_"))
        ]
        base = predictions[keep]
        done = self.run.file("controls")
        with self.run.writing():
            done.mkdir(exist_ok=True)
        parts = []
        for name in names:
            path = done / f"{name}.parquet"
            if not (self.resume and path.is_file()):
                log.info("control: %s", name)
                shares = self._control(name, fitted, predictions, binary)
                if not shares:
                    continue
                rows = base.assign(control=name, **{f"prob_{head}": share for head, share in shares.items()})
                with self.run.writing():
                    _write_table(rows, path)
            parts.append(pd.read_parquet(path))
        if not parts:
            return
        with self.run.writing():
            _write_table(pd.concat(parts, ignore_index=True), target)
            for path in done.glob("*.parquet"):
                path.unlink()
            done.rmdir()

    def _control(
        self, name: str, fitted: Fitted, predictions: pd.DataFrame, binary: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Probabilities of one control for the rows of `predictions`, by binary head; without those it cannot judge."""
        train_rows = self.data.table[self.data.table["split"] == "train"]
        if name in ("majority", "metadata", "speaker", "posterior_product"):
            # Posteriors stand in the predictions, what describes the files in the corpus's own rows.
            judged = self._judged_rows() if name == "metadata" else predictions
            everything = pd.concat([train_rows, judged], ignore_index=True)
            found = {}
            for head in binary:
                try:
                    found[head] = self._table_control(name, everything, head).to_numpy()[len(train_rows) :]
                except ConfigError as error:
                    log.warning("control %s left out for %s: %s", name, head, error)
            return found
        if name == "permuted":
            parts = [self.data.split(split).permuted(mix(self.seed, n)) for n, split in enumerate(("val", "test"))]
            chosen = self.run.model()["calibration"]
            answers = pd.concat([self._predict(fitted.classifier, part, chosen) for part in parts])
        else:
            modalities = fitted.classifier.modalities if name == "shuffled" else name.split("+")
            answers = self._retrained(modalities, shuffled=name == "shuffled")
        answers = answers.set_index("id").loc[predictions["id"]]
        # A control that has nothing to go by says what it knows: the training split's share.
        return {
            head: answers[f"prob_{head}"].fillna(float(train_rows[head].mean())).to_numpy(dtype=np.float64)
            for head in binary
        }

    def _table_control(self, name: str, everything: pd.DataFrame, head: str) -> pd.Series:
        if name == "metadata":
            return table_controls.metadata(everything, self.metadata, head, self.seed)
        control = {
            "majority": table_controls.majority,
            "speaker": table_controls.speaker_lookup,
            "posterior_product": table_controls.posterior_product,
        }[name]
        return control(everything, head)

    def _judged_rows(self) -> pd.DataFrame:
        return self.data.table[self.data.table["split"].isin(["val", "test"])]

    def _retrained(self, modalities: Sequence[str], *, shuffled: bool) -> pd.DataFrame:
        """Predictions of a model trained like the main one, on some of the modalities or on shuffled pairs.

        Shuffled pairs choose the epoch and the calibration too: true validation pairs would pick, among epochs that
        know nothing, the one that happens to be right.
        """
        torch.manual_seed(self.seed)
        nodes = {m: node for m, node in self.nodes.items() if m in modalities}
        encoders = {m: build({k: v for k, v in node.items() if k != "extractor"}, Encoder) for m, node in nodes.items()}
        source = self.settings.get("encoders")
        for encoder in encoders.values():
            # A frozen backbone is not used any more: the streams are its output.
            if encoder.trainable and source is not None and encoder.backbone.state_dict():
                encoder.load_backbone(Path(source))
        judged = data = self.data.only(modalities)
        if shuffled:
            for number, split in enumerate(("train", "val")):
                data = data.replacing(split, data.split(split).permuted(mix(self.seed, len(SPLITS) + number)))
        fitted = self._fit(self._classifier(encoders), data, None)
        return self._predict(fitted.classifier, judged, calibration(fitted.classifier, data))

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


def calibration(classifier: IncongruenceClassifier, data: ClipData) -> dict[str, dict[str, Any]]:
    """Temperature of each head, threshold and abstention level of the yes-no heads, from the validation split alone."""
    data = data.split("val").only(classifier.modalities)
    answers = raw_answers(classifier, data)
    present = data.present
    anything = torch.stack([present[m] for m in classifier.modalities]).any(dim=0)
    chosen: dict[str, dict[str, Any]] = {}
    for spec in classifier.heads.specs:
        if spec.kind == "number" or spec.name not in answers:
            continue
        targets = visible_targets(spec, data.targets, present)
        known = ~targets.isnan() & anything
        logits, labels = answers[spec.name][known].numpy(), targets[known].numpy().astype(int)
        temperature = fit_temperature(logits, labels)
        chosen[spec.name] = {"temperature": temperature}
        if spec.kind == "binary":
            shares = calibrate(logits, temperature)
            threshold = choose_threshold(shares, labels)
            level = abstention_level(shares, labels, threshold=threshold)
            chosen[spec.name] |= {"threshold": threshold, "abstention": level.as_dict()}
    return chosen


def usable_heads(specs: Sequence[HeadSpec], data: ClipData, name: str) -> list[HeadSpec]:
    """Those heads that the data has labels for; the others are off, and that is said.

    Args:
        specs: the heads asked for.
        data: all rows.
        name: of the corpus, for messages.

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


def chosen_controls(setting: Any, modalities: Sequence[str]) -> list[str]:
    """The controls to run, in the order in which they are reported.

    Args:
        setting: true for all, false for none, or names.
        modalities: those of the model.

    Raises:
        ConfigError: a name is unknown.
    """
    subsets = [
        "+".join(subset) for size in range(1, len(modalities)) for subset in itertools.combinations(modalities, size)
    ]
    known = ["majority", "metadata", "speaker", *subsets, "posterior_product", "permuted", "shuffled"]
    if isinstance(setting, bool):
        return known if setting else []
    for name in setting:
        if name not in known:
            raise ConfigError(f"no control '{name}'; controls takes true, false or some of: {', '.join(known)}")
    return [name for name in known if name in setting]


def typical_clip(index: FeatureIndex, modalities: Sequence[str], max_steps: Mapping[str, int]) -> dict[str, Tokens]:
    """One clip of blank streams of the corpus's median lengths, to count operations with."""
    clip = {}
    for modality in modalities:
        rows = index.table[(index.table["modality"] == modality) & (index.table["status"] == "ok")]
        steps = min(int(rows["n_steps"].median()), max_steps[modality])
        shape = [int(side) for side in rows["step_shape"].iloc[0].split("x")]
        clip[modality] = Tokens(torch.zeros(1, steps, *shape), torch.ones(1, steps, dtype=torch.bool))
    return clip


def describe_clips(manifest: Manifest, index: FeatureIndex) -> tuple[pd.DataFrame, list[str]]:
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
            if column not in table_controls.CONTENT:
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


def _with_streams(data: ClipData) -> ClipData:
    """The rows that have any stream: there is nothing to learn from the others."""
    there = torch.stack(list(data.present.values())).any(dim=0)
    return data if bool(there.all()) else data.select(torch.nonzero(there).squeeze(1))


def _build_trainer(node: Mapping[str, Any], **more: Any) -> pl.Trainer:
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    try:
        trainer: pl.Trainer = build(node, pl.Trainer, **more)
    except MisconfigurationException as error:
        raise ConfigError(f"the trainer's settings do not fit: {' '.join(str(error).split())}") from error
    return trainer


def _write_table(table: pd.DataFrame, path: Path) -> None:
    beside = path.with_name(f"{path.name}.part")
    table.to_parquet(beside, index=False)
    beside.replace(path)


def _device(trainer: Mapping[str, Any]) -> torch.device:
    """Where embeddings and predictions are computed: where the trainer trains."""
    wanted = str(trainer.get("accelerator", "auto"))
    if wanted in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ConfigError("trainer.accelerator asks for a GPU, but torch finds none; use trainer=cpu")
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def is_main_process() -> bool:
    """Whether this is the process that writes, of those that trainer=ddp starts."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C end training as it ends everything else; Lightning would turn it into exit code 1."""
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's remarks about settings that are chosen on purpose, and its advertisements."""
    loggers = {"pytorch_lightning": logging.WARNING}
    if not is_main_process():
        loggers["subtext"] = logging.ERROR  # the main process has said it already
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name, level in loggers.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            for message in _REMARKS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


_REMARKS: Final = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*GPU available but not used.*",
    ".*It is recommended to use .self.log.*sync_dist=True.*",  # the metrics have been brought together already
    ".*in eval mode at the start of training.*",  # frozen backbones are meant to be
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
    ".*No positive samples in targets.*",
    ".*No negative samples in targets.*",
)
