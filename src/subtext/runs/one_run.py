"""One training run, from a corpus to an evaluated model in a run folder."""

import hashlib
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from subtext.audit import audit_training, tell_alarms
from subtext.core.tables import write_csv
from subtext.core.writing import write_bytes
from subtext.encoders.encoder import Encoder
from subtext.errors import RunError
from subtext.features.cache import FeatureCache
from subtext.features.index import FeatureIndex
from subtext.manifest import Manifest
from subtext.manifest.table import write_rejects
from subtext.model.batches import ClipData, typical_clip
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.fit import Fitted, Fitter, calibration, device_of, is_main_process, quiet_lightning
from subtext.model.heads import head_specs
from subtext.model.predict import predict_table
from subtext.report.audit_page import write_audit
from subtext.runs.clip_metadata import describe_clips
from subtext.runs.controls import Controls
from subtext.runs.folder import MODEL_FORMAT, RunFile, RunFolder
from subtext.runs.prepare import (
    encoder_nodes,
    extract_streams,
    load_streams,
    make_classifier,
    make_encoders,
    read_corpus,
    take_backbones,
    usable_heads,
)
from subtext.runs.saved import load_classifier
from subtext.runs.stages import check_recordings, check_stage, check_unseen, with_stage_of_fold

log = logging.getLogger(__name__)


def train_one(settings: Mapping[str, Any], run: RunFolder, *, resume: bool, trust: Collection[str] = ()) -> RunFolder:
    """Run, or go on with a run, on one division of the corpus; see `subtext.runs.train.train`."""
    settings = with_stage_of_fold(settings)
    check_stage(settings)
    if is_main_process() and not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    with quiet_lightning():
        _Run(settings, run, resume, trust).do()
    return run


class _Run:
    """The steps of one run, sharing settings and data."""

    def __init__(self, settings: Mapping[str, Any], run: RunFolder, resume: bool, trust: Collection[str]) -> None:
        self.settings = settings
        self.run = run
        self.resume = resume
        self.trust = trust
        self.seed = int(settings["seed"])
        self.task_settings = dict(settings["task"])
        self.fusion_node = settings.get("fusion") or None
        self.device = device_of(settings["trainer"])
        self.fitter = Fitter(settings, run.path, resume)
        self.seconds: dict[str, float] = {}

    def do(self) -> None:
        """All of it."""
        with self._timed("corpus"):
            manifest = self._corpus()
        self.corpus = manifest.name
        specs = head_specs(self.task_settings["heads"])
        self.nodes = encoder_nodes(self.settings, specs)
        with self._timed("extraction"):
            cache = FeatureCache(self.settings["paths"]["features"])
            index = self._extract(manifest, cache)
        table, self.metadata = describe_clips(manifest, index)
        if self.settings.get("audit") and is_main_process():
            with self._timed("audit"), self.run.writing():
                found = audit_training(manifest.with_table(table), self.metadata, index)
                page = write_audit(found, self.run.file(RunFile.AUDIT))
                tell_alarms(found, page, strict=bool(self.settings.get("strict")))
        extra = [column for column in table if column not in manifest.table]
        self.keep = [*manifest.groups, *map(str, extra), "corpus", "start", "end"]
        with self._timed("embedding"):
            torch.manual_seed(self.seed)
            encoders = make_encoders(self.nodes)
            source = self.settings.get("encoders")
            if source is not None:
                check_unseen(RunFolder(source), manifest, index)
            take_backbones(source, encoders, index)
            self._remember_inputs(manifest, encoders)
            data = load_streams(self.settings, table, index, cache, encoders)
        self.specs = usable_heads(specs, data, manifest.name, one_class_test=self.settings.get("cv") is not None)
        self.data = data
        if is_main_process():
            self.run.add_facts(
                {
                    "groups": list(manifest.groups),
                    "labels": self.description.labels,
                    "question": self.description.question,
                    "nature": self.description.nature,
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

    def _corpus(self) -> Manifest:
        corpus = read_corpus(self.settings)
        self.description = corpus.description
        write_rejects(corpus.manifest, self.run.file(RunFile.REJECTS))
        return corpus.manifest

    def _extract(self, manifest: Manifest, cache: FeatureCache) -> FeatureIndex:
        index = extract_streams(self.settings, manifest, self.nodes, cache)
        if is_main_process():
            with self.run.writing():
                index.save(self.run.path)
            kept = dict.fromkeys(["id", "split", "corpus", *manifest.groups])
            self.run.write_table(RunFile.ROWS, manifest.table[[c for c in kept if c in manifest.table]])
        if index.n_failed:
            log.warning(
                "%d streams could not be extracted; the reasons are in %s",
                index.n_failed,
                self.run.file(RunFile.EXTRACTION_FOR_PEOPLE),
            )
        check_recordings(manifest, index)
        return index

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
                load_classifier(self.run.path, self.trust).to(self.device),
                described["best"]["epoch"],
                described["best"]["score"],
                pd.read_csv(self.run.file(RunFile.HISTORY)),
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
                write_csv(fitted.history, self.run.file(RunFile.HISTORY))
                weights = {k: v.cpu().contiguous() for k, v in fitted.classifier.state_dict().items()}
                write_bytes(self.run.file(RunFile.WEIGHTS), save(weights))
            self._describe(fitted, index, counts, flops)
            self.run.file(RunFile.BEST).unlink(missing_ok=True)
        return fitted

    def _classifier(self, encoders: Mapping[str, Encoder]) -> IncongruenceClassifier:
        return make_classifier(self.settings, encoders, self.specs)

    # -- what the model says ------------------------------------------------------------------------------------------

    def _describe(self, fitted: Fitted, index: FeatureIndex, counts: Mapping[str, int], flops: int) -> None:
        """Write `model.json`: all that prediction needs besides the weights."""
        classifier = fitted.classifier
        self.run.write_json(
            RunFile.MODEL,
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
        path = self.run.file(RunFile.PREDICTIONS)
        if self.resume and path.is_file():
            return pd.read_parquet(path)
        predictions = self._predict(fitted.classifier, self.data, self.run.model()["calibration"])
        self.run.write_table(RunFile.PREDICTIONS, predictions)
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

        from subtext.report.table import print_results
        from subtext.runs.evaluate import evaluate_run

        print_results(evaluate_run(self.run.path, seed=self.seed), Console(markup=False))

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - began
