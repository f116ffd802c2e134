"""One training run, from a corpus to an evaluated model in a run folder."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save

from subtext.audit import audit_training, tell_alarms
from subtext.core.tables import write_csv
from subtext.core.writing import write_bytes
from subtext.errors import RunError
from subtext.manifest.table import write_rejects
from subtext.model.batches import ClipData, typical_clip
from subtext.model.checkpoints import forget
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.fit import Fitted, Fitter, calibration, device_of, is_main_process, quiet_lightning
from subtext.model.novelty import Novelty, Reference
from subtext.model.predict import predict_table
from subtext.report.audit_page import write_audit
from subtext.runs.controls import Controls
from subtext.runs.folder import MODEL_FORMAT, RunFile, RunFolder
from subtext.runs.prepare import Prepared, encoder_settings
from subtext.runs.stages import with_stage_of_fold

log = logging.getLogger(__name__)


def train_one(settings: Mapping[str, Any], run: RunFolder, *, resume: bool) -> RunFolder:
    """Run, or go on with a run, on one division of the corpus; see `subtext.runs.train.train`."""
    settings = with_stage_of_fold(settings)
    prepared = Prepared(settings)
    if is_main_process() and not resume:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    with quiet_lightning():
        _Run(prepared, run, resume).do()
    return run


class _Run:
    """The steps of one run, sharing settings and data."""

    def __init__(self, prepared: Prepared, run: RunFolder, resume: bool) -> None:
        self.prepared = prepared
        self.settings = prepared.settings
        self.run = run
        self.resume = resume
        self.seed = int(self.settings["seed"])
        self.task_settings = dict(self.settings["task"])
        self.device = device_of(self.settings["trainer"])
        self.fitter = Fitter(self.settings, run.path, resume)
        self.seconds: dict[str, float] = {}

    def do(self) -> None:
        """All of it."""
        prepared = self.prepared
        with self._timed("corpus"):
            write_rejects(prepared.corpus.manifest, self.run.file(RunFile.REJECTS))
        with self._timed("extraction"):
            self._extract()
        table = prepared.table
        if self.settings.get("audit") and is_main_process():
            with self._timed("audit"), self.run.writing():
                found = audit_training(prepared.manifest.with_table(table), prepared.metadata, prepared.index)
                page = write_audit(found, self.run.file(RunFile.AUDIT))
                tell_alarms(found, page, strict=bool(self.settings.get("strict")))
        extra = [column for column in table if column not in prepared.manifest.table]
        self.keep = [*prepared.manifest.groups, *map(str, extra), "corpus", "start", "end"]
        with self._timed("embedding"):
            self._remember_inputs()
            self.data = prepared.data
        if is_main_process():
            description = prepared.corpus.description
            self.run.add_facts(
                {
                    "groups": list(prepared.manifest.groups),
                    "labels": description.labels,
                    "question": description.question,
                    "nature": description.nature,
                    "missing": prepared.index.missing(),
                    "rows": len(self.data),
                    "metadata": prepared.metadata,
                }
            )
        with self._timed("training"):
            fitted = self._model()
        if not is_main_process():
            return
        self._forget_checkpoints()
        with self._timed("prediction"):
            predictions = self._predictions(fitted)
        with self._timed("controls"):
            self._controls(fitted, predictions)
        with self._timed("evaluation"):
            self._evaluate()
        self.run.add_facts({"seconds": {name: round(value, 1) for name, value in self.seconds.items()}})

    # -- from the corpus to streams -----------------------------------------------------------------------------------

    def _extract(self) -> None:
        manifest, index = self.prepared.manifest, self.prepared.index
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

    def _remember_inputs(self) -> None:
        """Note what the run begins with, and refuse to go on with something else."""
        # The folds of a cross-validation share one manifest; their splits follow from its column fold.
        table = self.prepared.manifest.table
        if self.settings.get("cv") is not None:
            table = table.drop(columns="split")
        frozen = {m: e for m, e in self.prepared.encoders.items() if self.settings.get("encoders") and not e.trainable}
        inputs = {
            "manifest": hashlib.sha256(table.to_json(orient="split").encode()).hexdigest(),
            **{modality: encoder.fingerprint() for modality, encoder in frozen.items()},
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

    def _model(self) -> Fitted:
        """The main model: trained, calibrated and written; read back where an interrupted run had come so far."""
        if self.resume and self.run.is_trained:
            described = self.run.model()
            return Fitted(
                self.run.classifier().to(self.device),
                described["best"]["epoch"],
                described["best"]["score"],
                self.run.csv(RunFile.HISTORY),
            )
        for modality in self.prepared.encoders.keys() - self.data.streams.keys():
            log.warning("no clip has %s; the model is built without it", modality)
        classifier = self.prepared.classifier()
        counts = classifier.counts()
        streams = typical_clip(self.prepared.index, classifier.modalities, self.task_settings["max_steps"])
        flops = classifier.flops(streams)
        log.info(
            "model: %.2f M trainable parameters, %.2f M frozen; %.3f GFLOPs for a clip of %s steps%s",
            counts["trainable"] / 1e6,
            counts["frozen"] / 1e6,
            flops / 1e9,
            " + ".join(f"{tokens.mask.shape[1]} {modality}" for modality, tokens in streams.items()),
            ", without the sentence model" if "text" in streams else "",
        )
        fitted = self.fitter.fit(classifier, self.data, self.run.path)
        if is_main_process():
            with self.run.writing():
                write_csv(fitted.history, self.run.file(RunFile.HISTORY))
                weights = {k: v.cpu().contiguous() for k, v in fitted.classifier.state_dict().items()}
                write_bytes(self.run.file(RunFile.WEIGHTS), save(weights))
            self._describe(fitted, counts, flops)
        return fitted

    def _forget_checkpoints(self) -> None:
        with self.run.writing():
            forget(self.run.path)

    # -- what the model says ------------------------------------------------------------------------------------------

    def _describe(self, fitted: Fitted, counts: Mapping[str, int], flops: int) -> None:
        """Write `model.json`: all that prediction needs besides the weights."""
        classifier, nodes = fitted.classifier, self.prepared.nodes
        extracted = self.prepared.index.fingerprints
        novelty = Novelty.fit(classifier, self.data)
        if novelty.references:
            with self.run.writing():
                write_bytes(self.run.file(RunFile.NOVELTY), save(novelty.tensors))
        self.run.write_json(
            RunFile.MODEL,
            {
                "format": MODEL_FORMAT,
                "corpus": self.prepared.manifest.name,
                "modalities": list(classifier.modalities),
                "encoders": {m: encoder_settings(nodes[m]) for m in classifier.modalities},
                "fusion": self.settings.get("fusion") or None,
                "heads": classifier.heads.settings,
                "extractors": {m: nodes[m]["extractor"] for m in classifier.modalities},
                "max_steps": {m: self.task_settings["max_steps"][m] for m in classifier.modalities},
                "fingerprints": {
                    m: {"extractor": extracted[m], "encoder": classifier.encoder(m).fingerprint()}
                    for m in classifier.modalities
                },
                "calibration": calibration(classifier, self.data),
                "novelty": novelty.described,
                **({"gates": classifier.gates_by_head} if classifier.is_anchored else {}),
                "parameters": dict(counts),
                "flops_per_clip": flops,
                "best": {"epoch": fitted.best_epoch, "score": fitted.best_score},
            },
        )

    def _predictions(self, fitted: Fitted) -> pd.DataFrame:
        """Predict the validation and, this once, the test split."""
        path = self.run.file(RunFile.PREDICTIONS)
        if self.resume and path.is_file():
            return self.run.predictions()
        novelty = self.run.novelty(fitted.classifier)
        predictions = self._predict(fitted.classifier, self.data, self.run.model()["calibration"], novelty)
        self.run.write_table(RunFile.PREDICTIONS, predictions)
        return predictions

    def _predict(
        self,
        classifier: IncongruenceClassifier,
        data: ClipData,
        chosen: Mapping[str, Mapping[str, Any]],
        novelty: Mapping[str, Reference] | None = None,
    ) -> pd.DataFrame:
        """The validation and test rows' predictions; streams that the model does not use count as absent."""
        judged = data.only(classifier.modalities)
        judged = judged.select(np.flatnonzero(judged.table["split"].isin(["val", "test"]).to_numpy()))
        table = predict_table(classifier, judged, calibration=chosen, novelty=novelty, keep=self.keep)
        table["seed"] = self.seed
        if self.settings.get("cv") is None:
            # A column of the corpus that this run did not go by would be taken for runs of several folds.
            table["fold"] = pd.NA
        return table

    def _controls(self, fitted: Fitted, predictions: pd.DataFrame) -> None:
        """Every control that is asked for."""
        Controls(
            prepared=self.prepared,
            run=self.run,
            resume=self.resume,
            fit=lambda classifier, data: self.fitter.fit(classifier, data, None),
            predict=self._predict,
            training=self.seconds.get("training", 0.0),
        ).all(fitted.classifier, predictions)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        from subtext.runs.evaluate import evaluate_run

        evaluate_run(self.run.path, seed=self.seed)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - began
