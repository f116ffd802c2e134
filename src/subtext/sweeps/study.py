"""A sweep's study: what is searched and how, the next trial to run, and what became of it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from subtext.core.targets import renamed
from subtext.errors import ConfigError, TrustError
from subtext.sweeps.cma_state import check_state
from subtext.sweeps.samplers import GridSampler, build_pruner, build_sampler, seed_at
from subtext.sweeps.space import Point, Space, point_key, suggest
from subtext.sweeps.storage import Storage, is_alive, own_lease

# Attributes that a trial carries, besides those of the objective.
WORKER: Final = "worker"
"""The last sign of life of the process that runs it."""
REQUEUED: Final = "requeued"
"""On a trial whose process died: its point waits again under another number, and this one counts for nothing."""
RETRY_OF: Final = "retry_of"
SAME_AS: Final = "same_as"
"""On a trial that the sampler drew a second time: it was not run, but got the values of the trial with this number."""
REASON: Final = "reason"
INTERRUPTED: Final = "interrupted"
"""On a trial whose process was ended on purpose, which says nothing against its point."""

SCORE_NAME: Final = "score"
"""On a trial: what its figure `selection` is, in words, such as "AUROC of incongruent"."""

_DEFINITION: Final = "definition"
_RUNG: Final = "completed_rung_"
_MOST_DEATHS: Final = 3
_MOST_REPEATS: Final = 5
_MOST_DRAWS: Final = 1000


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to run.

    Attributes:
        trial: Optuna's.
        point: the values of the entries searched.
    """

    trial: optuna.Trial
    point: dict[str, Any]


def figure_name(figure: str, trial: optuna.Trial | FrozenTrial) -> str:
    """A figure of a trial for people: its score by the name of the metric, where the trial says it."""
    if figure != "selection":
        return figure.replace("_", " ")
    return f"validation {trial.user_attrs.get(SCORE_NAME, 'score')}"


def figures_told(figures: Iterable[str], values: Iterable[float], trial: optuna.Trial | FrozenTrial) -> str:
    """A trial's figures with their names, for people."""
    return ", ".join(f"{figure_name(name, trial)} {value:.4g}" for name, value in zip(figures, values, strict=True))


Nothing = Literal["done", "exhausted", "failures"]
"""Why there is no further trial: all were taken, every point of the space was, or too many failed."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a study searches, and how.

    Attributes:
        name: of the study.
        space: what is searched.
        objectives: figure -> maximize or minimize.
        sampler: node of the configuration.
        pruner: node of the configuration.
        trials: how many are wanted in all.
        max_failures: more failures than these stop it; null: none do.
        study_seed: of the samplers.
        definition: what must be the same whenever the study goes on.
    """

    name: str
    space: Space
    objectives: Mapping[str, str]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    trials: int
    max_failures: int | None
    study_seed: int
    definition: Mapping[str, Any]


class Sweep:
    """One study in one storage, as every process that works on it sees it.

    Args:
        search: what it searches.
        storage: where it is.

    Raises:
        ConfigError: the sampler or the pruner cannot be used, or the study was begun with other settings.
        TrustError: the storage holds what this package would not have written.
    """

    def __init__(self, search: Search, storage: Storage) -> None:
        self.search = search
        self.storage = storage
        points = search.space.points()
        self._points = None if points is None else {point_key(point): point for point in points}
        sampler = self._sampler(0)
        if isinstance(sampler, GridSampler) and self._points is None:
            what = "it has too many points"
            if endless := search.space.endless():
                what = f"{endless[0]} has endlessly many values; give it choices or a step"
            raise ConfigError(f"sampler=grid cannot go over this space: {what}, or take another sampler")
        if isinstance(sampler, CmaEsSampler) and len(search.objectives) > 1:
            raise ConfigError("sampler=cmaes knows one objective only; take sampler=nsga2 or sampler=tpe for several")
        definition = json.loads(json.dumps(dict(search.definition), default=str))
        with storage.lock():
            self._forget_if_empty(definition)
            self.study = optuna.create_study(
                study_name=search.name,
                storage=storage.optuna,
                directions=[StudyDirection[way.upper()] for way in search.objectives.values()],
                sampler=sampler,
                pruner=build_pruner(search.pruner),
                load_if_exists=True,
            )
            self._agree(definition)
            for trial in self.study.get_trials(deepcopy=False):
                check_state(trial.system_attrs, storage.shown)
                self._check_point(trial)

    def _check_point(self, trial: FrozenTrial) -> None:
        """Refuse values from elsewhere than the space: the winner's become settings, and those may be code."""
        own = {entry.name: entry.distribution for entry in self.search.space.entries}
        strange = [name for name, distribution in trial.distributions.items() if own.get(name) != distribution]
        if strange:
            raise TrustError(
                f"{self.storage.shown}: trial {trial.number} has values of '{strange[0]}' that are not of the space; "
                "nothing of it was used. Begin another study by name="
            )

    def _forget_if_empty(self, mine: Any) -> None:
        """Remove a study of other settings that never came to a trial, as when these were wrong."""
        storage = self.storage.optuna
        for study in storage.get_all_studies():
            before = renamed(study.user_attrs.get(_DEFINITION))
            other = study.study_name == self.search.name and before not in (None, mine)
            if other and not storage.get_n_trials(study._study_id):
                storage.delete_study(study._study_id)

    def _agree(self, mine: Any) -> None:
        """Keep the definition with the study; refuse to go on with another one."""
        before = renamed(self.study.user_attrs.get(_DEFINITION))
        begun = f"the study '{self.search.name}' in {self.storage.shown} was"
        if before is None:
            if self.study.get_trials(deepcopy=False):
                raise ConfigError(f"{begun} not made by subtext-sweep; choose another name=")
            self.study.set_metric_names(list(self.search.objectives))
            self.study.set_user_attr(_DEFINITION, mine)
        elif differences := list(_differences(before, mine)):
            raise ConfigError(
                f"{begun} begun with other settings: {'; '.join(differences)}. Go on with those, or "
                "begin another study by name="
            )
        elif self.study.metric_names not in (None, list(self.search.objectives)):
            # Two mappings are equal in any order, but a trial's values have only one.
            raise ConfigError(
                f"{begun} begun with the objectives in the order {', '.join(self.study.metric_names or ())}. Go on "
                "with that, or begin another study by name="
            )

    # -- taking a trial -----------------------------------------------------------------------------------------------

    def claim(self) -> Claim | Nothing:
        """Take the next trial: one that waits, or a new one at a point that nobody has taken yet."""
        with self.storage.lock():
            self._requeue()
            for _ in range(_MOST_REPEATS):
                claim = self._next(fresh=False)
                if claim is not None:
                    return claim
            # The sampler comes back to the same points, as it may in a small space.
            return self._next(fresh=True) or "exhausted"

    def _next(self, *, fresh: bool) -> Claim | Nothing | None:
        trials = self.study.get_trials(deepcopy=False)
        taken = [trial for trial in trials if counts(trial)]
        if self.failed_too_often():
            return "failures"
        sampler: BaseSampler = self._sampler(len(trials))
        if any(trial.state == TrialState.WAITING for trial in taken):
            # Its values stand already; a sampler that counts its draws must not count this one.
            sampler = RandomSampler(seed=0)
        else:
            if len(taken) >= self.search.trials:
                return "done"
            if fresh or self._points is not None:
                point = self._fresh(taken, sampler)
                if point is None:
                    return "exhausted"
                if fresh or isinstance(sampler, GridSampler):
                    self.study.enqueue_trial(dict(point))
        self.study.sampler = sampler
        trial = self.study.ask()
        point = self.search.space.walk(lambda entry: suggest(trial, entry))
        key = point_key(point)
        same = next((t for t in taken if t.number != trial.number and point_key(t.params) == key), None)
        if same is not None:
            self._take_over(trial, same)
            return None
        trial.set_user_attr(WORKER, own_lease())
        return Claim(trial, point)

    def _requeue(self) -> None:
        """Let the trials wait again whose process is dead. Whoever holds the lock does it: nobody else is claiming."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            lease = trial.user_attrs.get(WORKER)
            if trial.state != TrialState.RUNNING or (lease is not None and is_alive(lease)):
                continue
            if lease is None:
                # It died while it drew its values, before anything was run.
                self._end(trial, {REQUEUED: True, REASON: "the process ended before the trial began"})
                continue
            first = trial.user_attrs.get(RETRY_OF, trial.number)
            tries = [t for t in trials if t.user_attrs.get(RETRY_OF, t.number) == first]
            deaths = sum(INTERRUPTED not in t.user_attrs for t in tries)
            if deaths >= _MOST_DEATHS:
                self._end(trial, {REASON: f"its process died {deaths} times: out of memory, or a fault in a library"})
                continue
            if tries[-1].number == trial.number:
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={RETRY_OF: first},
                        # Without the rungs of successive halving that it had come to: it begins anew.
                        system_attrs={k: v for k, v in trial.system_attrs.items() if not k.startswith(_RUNG)},
                    )
                )
            self._end(trial, {REQUEUED: True, REASON: "its process died; the point is run again"})

    def _end(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.storage.optuna.set_trial_user_attr(trial._trial_id, key, value)
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _take_over(self, trial: optuna.Trial, same: FrozenTrial) -> None:
        """End a trial whose point was taken before as that one ended, so that the sampler learns it without a run."""
        trial.set_user_attr(SAME_AS, same.number)
        match same.state:
            case TrialState.COMPLETE:
                self.study.tell(trial, same.values)
            case TrialState.PRUNED:
                for step, value in same.intermediate_values.items():
                    trial.report(value, step)
                self.study.tell(trial, state=TrialState.PRUNED)
            case _:
                trial.set_user_attr(REASON, f"the same point as trial {same.number}")
                self.study.tell(trial, state=TrialState.FAIL)

    def _fresh(self, taken: Sequence[FrozenTrial], sampler: BaseSampler) -> Point | None:
        """A point that nobody has taken; None where there is none."""
        keys = {point_key(trial.params) for trial in taken}
        seed = seed_at(self.search.study_seed, len(taken))
        if self._points is not None:
            left = [point for key, point in self._points.items() if key not in keys]
            if not left:
                return None
            return sampler.first(left) if isinstance(sampler, GridSampler) else left[seed % len(left)]
        draw = RandomSampler(seed=seed)
        nobody = create_trial(state=TrialState.RUNNING)
        for _ in range(_MOST_DRAWS):
            point = self.search.space.walk(
                lambda entry: draw.sample_independent(self.study, nobody, entry.name, entry.distribution)
            )
            if point_key(point) not in keys:
                return point
        return None

    def _sampler(self, number: int) -> BaseSampler:
        return build_sampler(self.search.sampler, seed_at(self.search.study_seed, number))

    # -- ending a trial -----------------------------------------------------------------------------------------------

    def complete(self, claim: Claim, values: Sequence[float]) -> bool:
        """Record a trial's values; False where it was taken over by another process meanwhile."""
        return self._tell(claim, values=list(values))

    def prune(self, claim: Claim) -> bool:
        """Record that a trial was pruned; False as in `complete`."""
        return self._tell(claim, state=TrialState.PRUNED)

    def fail(self, claim: Claim, reason: str) -> bool:
        """Record that a trial failed, and why; False as in `complete`."""
        return self._tell(claim, reason, state=TrialState.FAIL)

    def _tell(self, claim: Claim, reason: str | None = None, **outcome: Any) -> bool:
        # Under the lock, so that nobody requeues the trial in between.
        with self.storage.lock():
            if self.has_ended(claim):
                return False
            if reason is not None:
                claim.trial.set_user_attr(REASON, reason)
            self.study.sampler = self._sampler(claim.trial.number)
            self.study.tell(claim.trial, **outcome)
            return True

    def has_ended(self, claim: Claim) -> bool:
        """Whether somebody else has ended a trial that this process still runs: it took this process for dead."""
        return self.storage.optuna.get_trial(claim.trial._trial_id).state != TrialState.RUNNING

    def release(self, number: int) -> None:
        """Note that the process of a trial ends on purpose; the trial waits for the next one as after any other end."""
        with self.storage.lock():
            trial = self.study.get_trials(deepcopy=False)[number]
            if trial.state == TrialState.RUNNING:
                self.storage.optuna.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)

    def give_sign(self, claim: Claim, lease: Mapping[str, Any]) -> None:
        """Keep a sign of life of the process that runs a trial."""
        self.storage.optuna.set_trial_user_attr(claim.trial._trial_id, WORKER, dict(lease))

    # -- looking ------------------------------------------------------------------------------------------------------

    def failures(self) -> list[FrozenTrial]:
        """The trials that failed by what they did."""
        return [trial for trial in counted_trials(self.study) if trial.state == TrialState.FAIL]

    def failed_too_often(self) -> bool:
        """Whether more trials failed than `max_failures`."""
        return self.search.max_failures is not None and len(self.failures()) > self.search.max_failures

    def unfinished(self) -> list[FrozenTrial]:
        """The trials that have no outcome yet: other processes run them, or they wait since theirs died."""
        return [trial for trial in counted_trials(self.study) if not trial.state.is_finished()]

    def best(self) -> FrozenTrial | None:
        """The trial with the best value; of several objectives, the one on the Pareto front with the best first."""
        return next(iter(front(self.study)), None)


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial stands for a point of its own: no repeat, and not one that is run again under another number."""
    return SAME_AS not in trial.user_attrs and REQUEUED not in trial.user_attrs


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count towards the total, in order: each point once."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Those of them that completed with finite values."""
    done = (trial for trial in counted_trials(study) if trial.state == TrialState.COMPLETE)
    return [trial for trial in done if np.isfinite(trial.values).all()]


def best_first(study: optuna.Study, trials: Sequence[FrozenTrial], objective: int = 0) -> list[FrozenTrial]:
    """Completed trials in the order of an objective; the earlier of two equal ones first."""
    sign = -1 if study.directions[objective] == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * trial.values[objective], trial.number))


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Completed trials that no other one is as good as in every objective, and better in one; best first.

    Of trials with the same values all are kept.
    """
    trials = completed_trials(study)
    signs = [-1.0 if way == StudyDirection.MAXIMIZE else 1.0 for way in study.directions]
    values = np.array([trial.values for trial in trials]).reshape(len(trials), len(signs)) * signs
    no_worse = (values[:, None] <= values[None, :]).all(axis=2)
    better = (values[:, None] < values[None, :]).any(axis=2)
    beaten = (no_worse & better).any(axis=0)
    return best_first(study, [trials[place] for place in np.flatnonzero(~beaten)])


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*before, *now]):
            if before.get(name) != now.get(name):
                yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    else:
        yield f"{key} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
