"""One trial of a sweep: train as `subtext-train` would, on training and validation rows only, and say how it went."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import optuna

from subtext.errors import ConfigError, NotFiniteError
from subtext.model.batches import typical_clip
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.fit import Fitted, Fitter, quiet_lightning
from subtext.model.task import SELECTION
from subtext.runs.prepare import Prepared
from subtext.runs.settings import check_folds

log = logging.getLogger(__name__)

SCORE: Final = "selection"
"""The figure of the best epoch on the validation split, see `task.SELECTION`; the mean over a trial's seeds."""
FIGURES: Final = (SCORE, "flops_per_clip", "parameters")
"""What a sweep can optimise. `parameters` counts those that train."""

Settings = Mapping[str, Any]


class Objective:
    """Trains one trial after another; what trials have in common is read once and kept.

    Rows of the test split are left out before any stream is loaded, so that no trial can be chosen by them.

    Args:
        settings: the resolved configuration that every trial varies.
        objectives: which of `FIGURES` to give, in that order.
        seeds: every trial is trained with each of them, and its score is their mean.
        epochs: the longest training that any trial can ask for: what is reported of the n-th seed begins at step
            n * epochs, so that trials are compared at the same place.

    Raises:
        ConfigError: a figure is unknown, there is no seed, or the configuration is cross-validated without naming the
            fold that is tested.
    """

    def __init__(self, settings: Settings, *, objectives: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
        check_folds(settings)
        if settings.get("cv") is not None and settings.get("fold") is None:
            raise ConfigError(
                "an objective reads the validation fold of one tested fold; name it by fold=, so that no fold is "
                "tested with settings that it helped to choose"
            )
        self.settings = settings
        self.objectives = tuple(objectives)
        self.seeds = tuple(seeds)
        self.epochs = epochs
        self._last: Prepared | None = None

    def prepare(self) -> None:
        """Read the corpus, extract its streams and embed them, so that trials find the caches filled.

        Raises:
            SubtextError: nothing could be trained with the base configuration.
        """
        self._prepare(self.settings).classifier()

    def __call__(self, trial: optuna.Trial, settings_of: Callable[[int], Settings]) -> tuple[float, ...]:
        """Train one trial.

        Args:
            trial: is told every epoch's best score so far where the score is the only objective, and asked whether to
                go on. Its user attributes say what was done: `seed_scores`, `best_epochs`, `epochs`, `epochs_planned`,
                `seconds`, `clips_per_second`, `parameters`, `flops_per_clip` and, where pruned, `reason`.
            settings_of: the resolved configuration of this trial with a given seed.

        Returns:
            The figures, in the order of `objectives`.

        Raises:
            optuna.TrialPruned: the pruner thinks that it is not worth while.
            NotFiniteError: a loss or the score is not a number.
        """
        scores: dict[int, float] = {}
        best_epochs: dict[int, int] = {}
        progress = _Progress(trial, reports=self.objectives == (SCORE,))
        figures: dict[str, float] = {}
        planned = 0
        for place, seed in enumerate(self.seeds):
            settings = settings_of(seed)
            if not planned:
                planned = int(settings["trainer"]["max_epochs"]) * len(self.seeds)
                trial.set_user_attr("epochs_planned", planned)
            with quiet_lightning():
                prepared = self._prepare(settings)
                classifier = prepared.classifier()
                if not figures:
                    figures = self._costs(prepared, classifier)
                    for name, value in figures.items():
                        trial.set_user_attr(name, value)
                progress.begin(seed, list(scores.values()), place * self.epochs)
                try:
                    fitted = self._fit(prepared, classifier, progress)
                finally:
                    trial.set_user_attr("epochs", progress.epochs)
                    trial.set_user_attr("seconds", round(progress.seconds, 3))
            if not math.isfinite(fitted.best_score):
                raise NotFiniteError(f"the score of seed {seed} on the validation split is {fitted.best_score}")
            scores[seed], best_epochs[seed] = fitted.best_score, fitted.best_epoch
            trial.set_user_attr("seed_scores", {str(s): v for s, v in scores.items()})
            trial.set_user_attr("best_epochs", {str(s): v for s, v in best_epochs.items()})
        trial.set_user_attr("clips_per_second", round(progress.epochs * progress.clips / progress.seconds, 1))
        figures[SCORE] = sum(scores.values()) / len(scores)
        return tuple(float(figures[name]) for name in self.objectives)

    def _fit(self, prepared: Prepared, classifier: IncongruenceClassifier, progress: "_Progress") -> Fitted:
        progress.clips = int((prepared.data.table["split"] == "train").sum())
        began = time.perf_counter()
        try:
            return Fitter(prepared.settings, None).fit(classifier, prepared.data, None, progress.told)
        finally:
            progress.seconds += time.perf_counter() - began

    def _costs(self, prepared: Prepared, classifier: IncongruenceClassifier) -> dict[str, float]:
        clip = typical_clip(prepared.index, classifier.modalities, prepared.settings["task"]["max_steps"])
        return {"parameters": classifier.counts()["trainable"], "flops_per_clip": classifier.flops(clip)}

    def _prepare(self, settings: Settings) -> Prepared:
        # One corpus at a time: a space over corpora or extractors would fill the memory.
        self._last = Prepared(settings, splits=("train", "val"), before=self._last)
        return self._last


class _Progress:
    """Between the epochs of a training and its trial."""

    def __init__(self, trial: optuna.Trial, *, reports: bool) -> None:
        self.trial = trial
        self.reports = reports
        self.epochs = 0
        self.seconds = 0.0
        self.clips = 0

    def begin(self, seed: int, finished: Sequence[float], step: int) -> None:
        """A further seed, whose epochs are reported from `step` on."""
        self.seed, self.finished, self.step = seed, list(finished), step
        self.best, self.own = -math.inf, 0

    def told(self, figures: Mapping[str, float]) -> None:
        """Report the mean of the seeds so far, of this one the best epoch; stop where the pruner says so."""
        self.best = max(self.best, figures.get(SELECTION, -math.inf))
        step, self.own, self.epochs = self.step + self.own, self.own + 1, self.epochs + 1
        if not self.reports or not math.isfinite(self.best):
            return
        so_far = [*self.finished, self.best]
        self.trial.report(sum(so_far) / len(so_far), step)
        if self.trial.should_prune():
            reason = f"pruned in epoch {self.own} of seed {self.seed}, at {so_far[-1]:.3f}"
            self.trial.set_user_attr("reason", reason)
            raise optuna.TrialPruned(reason)
