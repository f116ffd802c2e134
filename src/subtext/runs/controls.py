"""Run the controls that stand beside a model: what a result must be compared with before it means anything.

Those that need tables only are in `evaluation.controls`; the others are the model itself on mixed-up streams, and
models trained in the same way on fewer modalities or on shuffled pairs.
"""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from subtext.core.building import build
from subtext.encoders.encoder import Encoder
from subtext.errors import ConfigError
from subtext.evaluation import controls as table_controls
from subtext.evaluation.tables import ANSWERS
from subtext.manifest import SPLITS
from subtext.model.batches import ClipData, mix
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.fit import Fitted, calibration
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.prepare import Prepared, encoder_settings

log = logging.getLogger(__name__)

_QUICK: Final = ("majority", "metadata", "speaker", "posterior_product", "permuted", "permuted_persons")
"""Controls that train no model like the main one, and so take next to no time."""


def chosen_controls(setting: Any, modalities: Sequence[str], *, baseline: bool = False) -> list[str]:
    """The controls to run, in the order in which they are reported.

    Args:
        setting: true for all, false for none, or names.
        modalities: those of the model.
        baseline: whether any of them is read against a person's baseline.

    Raises:
        ConfigError: a name is unknown.
    """
    subsets = [
        "+".join(subset) for size in range(1, len(modalities)) for subset in itertools.combinations(modalities, size)
    ]
    known = ["majority", "metadata", "speaker", *subsets, "posterior_product", "permuted"]
    known += [*(["permuted_persons"] if baseline else []), "shuffled"]
    if isinstance(setting, bool):
        return known if setting else []
    for name in setting:
        if name not in known:
            raise ConfigError(f"no control '{name}'; controls takes true, false or some of: {', '.join(known)}")
    return [name for name in known if name in setting]


def time_left(seconds: float) -> str:
    """What a line of progress says of the time that is left; nothing where that is not worth a word."""
    if seconds < 2:
        return ""
    if seconds < 90:
        return f", about {seconds:.0f} s left"
    return f", about {seconds / 60:.0f} min left" if seconds < 5400 else f", about {seconds / 3600:.1f} h left"


@dataclass(frozen=True)
class Controls:
    """The controls of one run.

    Attributes:
        prepared: what the main model was trained with.
        run: the run folder, which holds the trained model's description.
        resume: leave controls that are there already as they are.
        fit: as the main one is fitted.
        predict: predictions of validation and test rows, calibrated as the last argument says.
        training: seconds that the main model's training took, by which the time that is left is told at first.
    """

    prepared: Prepared
    run: RunFolder
    resume: bool
    fit: Callable[[IncongruenceClassifier, ClipData], Fitted]
    predict: Callable[[IncongruenceClassifier, ClipData, Mapping[str, Mapping[str, Any]]], pd.DataFrame]
    training: float = 0.0

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.prepared.settings["seed"])

    def all(self, classifier: IncongruenceClassifier, predictions: pd.DataFrame) -> None:
        """Every control that is asked for, one after the other; a finished one is not done again on resuming.

        One that the corpus does not allow, such as the posterior product without polarity labels, is left out; the
        evaluation names it.
        """
        binary = [spec.name for spec in classifier.heads.specs if spec.kind == "binary"]
        names = chosen_controls(
            self.prepared.settings.get("controls", True),
            classifier.modalities,
            baseline=bool(classifier.heads.baseline),
        )
        if not binary or not names:
            return
        target = self.run.file(RunFile.CONTROLS)
        if self.resume and target.is_file():
            return
        keep = [column for column in predictions if not str(column).startswith(ANSWERS)]
        base = predictions[keep]
        done = self.run.file(RunFile.CONTROL_TABLES)
        with self.run.writing():
            done.mkdir(exist_ok=True)
        parts = []
        seconds: list[float] = []
        for number, name in enumerate(names, start=1):
            own = f"{RunFile.CONTROL_TABLES}/{name}.parquet"
            if not (self.resume and self.run.file(own).is_file()):
                trained = sum(later not in _QUICK for later in names[number - 1 :])
                each = sum(seconds) / len(seconds) if seconds else self.training
                log.info("control %d of %d: %s%s", number, len(names), name, time_left(trained * each))
                began = time.perf_counter()
                shares = self._control(name, classifier, predictions, binary)
                if name not in _QUICK:
                    seconds.append(time.perf_counter() - began)
                if not shares:
                    continue
                rows = base.assign(control=name, **{f"prob_{head}": share for head, share in shares.items()})
                self.run.write_table(own, rows)
            parts.append(self.run.table(own))
        if not parts:
            return
        self.run.write_table(RunFile.CONTROLS, pd.concat(parts, ignore_index=True))
        with self.run.writing():
            for path in done.glob("*.parquet"):
                path.unlink()
            done.rmdir()

    def _control(
        self, name: str, classifier: IncongruenceClassifier, predictions: pd.DataFrame, binary: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Probabilities of one control for the rows of `predictions`, by binary head; without those it cannot judge."""
        train_rows = self.prepared.data.table[self.prepared.data.table["split"] == "train"]
        if name in ("majority", "metadata", "speaker", "posterior_product"):
            # Posteriors stand in the predictions, what describes the files in the corpus's own rows.
            own = self.prepared.data.table[self.prepared.data.table["split"].isin(["val", "test"])]
            judged = own if name == "metadata" else predictions
            everything = pd.concat([train_rows, judged], ignore_index=True)
            found = {}
            for head in binary:
                try:
                    found[head] = self._table_control(name, everything, head).to_numpy()[len(train_rows) :]
                except ConfigError as error:
                    log.warning("control %s left out for %s: %s", name, head, error)
            return found
        if name in ("permuted", "permuted_persons"):
            splits = [self.prepared.data.split(split) for split in ("val", "test")]
            mixed = ClipData.permuted if name == "permuted" else ClipData.with_permuted_persons
            parts = [mixed(part, mix(self.seed, number)) for number, part in enumerate(splits)]
            chosen = self.run.model()["calibration"]
            answers = pd.concat([self.predict(classifier, part, chosen) for part in parts])
        else:
            modalities = classifier.modalities if name == "shuffled" else name.split("+")
            answers = self.retrained(modalities, shuffled=name == "shuffled")
        answers = answers.set_index("id").loc[predictions["id"]]
        # A control that has nothing to go by says what it knows: the training split's share.
        return {
            head: answers[f"prob_{head}"].fillna(float(train_rows[head].mean())).to_numpy(dtype=np.float64)
            for head in binary
        }

    def _table_control(self, name: str, everything: pd.DataFrame, head: str) -> pd.Series:
        if name == "metadata":
            return table_controls.metadata(everything, self.prepared.metadata, head, self.seed)
        control = {
            "majority": table_controls.majority,
            "speaker": table_controls.speaker_lookup,
            "posterior_product": table_controls.posterior_product,
        }[name]
        return control(everything, head)

    def retrained(self, modalities: Sequence[str], *, shuffled: bool) -> pd.DataFrame:
        """Predictions of a model trained like the main one, on some of the modalities or on shuffled pairs.

        Shuffled pairs choose the epoch and the calibration too: true validation pairs would pick, among epochs that
        know nothing, the one that happens to be right.
        """
        torch.manual_seed(self.seed)
        nodes = {m: node for m, node in self.prepared.nodes.items() if m in modalities}
        encoders = {m: build(encoder_settings(node), Encoder) for m, node in nodes.items()}
        source = self.prepared.settings.get("encoders")
        for encoder in encoders.values():
            # A frozen backbone is not used any more: the streams are its output.
            if encoder.trainable and source is not None and encoder.backbone.state_dict():
                encoder.load_backbone(Path(source))
        judged = data = self.prepared.data.only(modalities)
        if shuffled:
            for number, split in enumerate(("train", "val")):
                data = data.replacing(split, data.split(split).permuted(mix(self.seed, len(SPLITS) + number)))
        fitted = self.fit(self.prepared.classifier(encoders), data)
        return self.predict(fitted.classifier, judged, calibration(fitted.classifier, data))
