"""A sweep from its configuration to its winner."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from subtext.core.composition import Composition, override, resolved
from subtext.core.targets import check_names
from subtext.core.writing import write_json
from subtext.errors import ConfigError, RunError, SweepError, safe_reason
from subtext.runs.folder import git_commit, package_versions, writing_into
from subtext.runs.stages import check_stage, with_stage_of_fold
from subtext.sweeps.composition import check_space, unresolved
from subtext.sweeps.settings import SweepSettings
from subtext.sweeps.space import Space
from subtext.sweeps.storage import LEASE_SECONDS, quiet_optuna
from subtext.sweeps.study import REASON, Sweep, counted_trials
from subtext.sweeps.winner import Winner, figures_of
from subtext.sweeps.workers import Plan, Worker, work

log = logging.getLogger(__name__)

STUDY_KEYS: Final = (
    "sweep",
    "sampler",
    "pruner",
    "space",
    "constants",
    "objective",
    "objectives",
    "trials",
    "seeds",
    "refit_seeds",
    "workers",
    "storage",
    "max_failures",
    "save_as",
    "study_seed",
    "name",
    "trust",
    "debug",
)
"""What the command line says about the study, and not about the trainings in it."""
_EPOCHS: Final = "trainer.max_epochs"
_NOT_SEARCHED: Final = {
    "seed": "a trial is trained with as many seeds as seeds= says, the same for all",
    "cv": "trials of different folds cannot be compared",
    "fold": "it would choose the fold that is easiest to test; without fold= each fold has a study of its own",
    "name": "it changes no figure",
}
"""Keys that cannot be in a space, and why."""


def make_plan(
    config: DictConfig, *, overrides: Sequence[str], choice: str, conf: Path, search_path: Sequence[str], folder: Path
) -> Plan:
    """Read a sweep's configuration, and check all that can be checked before the first trial.

    Args:
        config: composed from conf/study.yaml.
        overrides: of the command line.
        choice: the file of conf/sweep.
        conf: folder of the configuration.
        search_path: further configuration folders.
        folder: of the sweep.

    Raises:
        ConfigError: a setting cannot be used.
    """
    SweepSettings.check(resolved(config))
    where = f"sweep/{choice}.yaml"
    study = {key: _plain(config, key) for key in STUDY_KEYS if key in config}
    trust = study["trust"] or ()
    check_names(trust)
    if config.resume is not None:
        raise ConfigError("resume: the same command goes on with the same sweep; leave resume out")
    if config.overwrite:
        raise ConfigError(f"overwrite: trials are not thrown away; choose another name=, or remove {folder} yourself")
    objectives = study["objectives"]

    about_training = _about_training(overrides)
    constants = study["constants"] or {}
    fixed = {**{str(key): None for key in constants}, **about_training}
    given = [override(str(key), value) for key, value in constants.items() if str(key) not in about_training]
    _check_stray_settings(config, Composition(conf, list(about_training.values()), search_path), where)
    composition = Composition(conf, [*given, *about_training.values()], search_path)

    declared = study["space"] if isinstance(study["space"], Mapping) else {}
    declared = {name: _without_what_is_off(node, composition) for name, node in declared.items()}
    keys = {
        str(key)
        for name, node in declared.items()
        for key in ((node.get("keys") or [name]) if isinstance(node, Mapping) else [])
    }
    for key, why in _NOT_SEARCHED.items():
        if key in keys:
            raise ConfigError(f"{where}: {key} cannot be searched: {why}")
    groups = frozenset(composition.groups(keys))
    # A dictionary on the command line fixes all that is in it; the choice of a group does not.
    whole = set(fixed) - composition.groups(fixed)
    fixed_keys = {key for key in keys if key in fixed or any(key.startswith(f"{f}.") for f in whole)}
    space = Space.parse(declared, where=where, fixed=fixed_keys, value_of=composition.value)
    check_space(composition, space, groups, where)

    first = next(space.combinations({entry.name for entry in space.entries if set(entry.keys) & groups}))
    base = with_stage_of_fold(
        composition.settings({k: v for k, v in space.settings(first).items() if k in groups}, groups)
    )
    setters = [entry for entry in space.entries if _EPOCHS in entry.keys]
    # What the configuration says counts where a trial may go by it.
    said = () if any(not entry.when for entry in setters) else (composition.largest(_EPOCHS),)
    epochs = [*said, *(value for entry in setters for value in entry.values() or [])]
    seed = int(base["seed"])
    definition = {
        "space": space.as_dict(),
        "settings": unresolved(composition.config({})),
        "objective": study["objective"],
        "objectives": objectives,
        "seeds": study["seeds"],
        "sampler": study.get("sampler"),
        "pruner": study.get("pruner"),
        "study_seed": study["study_seed"],
    }
    return Plan(
        folder=folder,
        name=str(study["name"]),
        storage=study["storage"],
        space=space,
        groups=groups,
        conf=conf,
        overrides=(*given, *about_training.values()),
        search_path=tuple(search_path),
        objective=str(study["objective"]),
        objectives=objectives,
        sampler=study.get("sampler") or {},
        pruner=_with_epochs(study.get("pruner") or {}, max(epochs) * study["seeds"]),
        trials=study["trials"],
        max_failures=study["max_failures"],
        study_seed=study["study_seed"],
        seeds=tuple(range(seed, seed + study["seeds"])),
        epochs=max(epochs),
        definition=definition,
        base=base,
        workers=study["workers"],
        trust=tuple(trust),
    )


def run_sweep(plan: Plan, *, refit_seeds: int, save_as: str | None) -> None:
    """Run what is left of a sweep; where that ends it, keep and refit the winner.

    Args:
        plan: of the sweep.
        refit_seeds: how many fresh seeds the winner is trained with; 0: none.
        save_as: name under which the winner's configuration becomes an experiment.

    Raises:
        SweepError: more trials failed than may, or none completed.
        RunError: an encoder stage that a trial or the refit builds on is missing.
    """
    quiet_optuna()
    check_refit_stages(plan, refit_seeds)
    winner = Winner(plan, save_as)
    sweep = plan.open()
    _write_facts(plan, sweep)
    before = len(counted_trials(sweep.study))
    log.info("%s: %d of %d trials so far, in %s", plan.name, before, plan.trials, sweep.storage.shown)
    try:
        if before < plan.trials or sweep.unfinished():
            objective = plan.make_objective()
            objective.prepare()
            reason = Worker(plan, objective=objective).run() if plan.workers == 0 else work(plan)
        else:
            reason = "done"
    finally:
        report(plan, sweep)
    if reason == "failures" or sweep.failed_too_often():
        raise SweepError(
            f"{len(sweep.failures())} trials of {plan.name} failed, more than max_failures={plan.max_failures}; "
            f"{_most_common_reason(sweep)}. Correct that, or allow more by max_failures="
        )
    if reason == "exhausted":
        log.info("Every point of the space was tried: there are %d", len(counted_trials(sweep.study)))
    if sweep.unfinished():
        log.info(
            "Other sessions run %d trials still, and the last one refits the winner; if they have died, the same "
            "command takes these trials over, from another machine after %.0f minutes",
            len(sweep.unfinished()),
            LEASE_SECONDS / 60,
        )
        return
    best = sweep.best()
    if best is None:
        raise SweepError(
            f"no trial of {plan.name} completed ({_most_common_reason(sweep)}); correct that and begin anew by name="
        )
    log.info("Best: trial %d, %s", best.number, figures_of(plan, best))
    winner.keep(sweep, best)
    if refit_seeds:
        winner.refit(sweep, best, refit_seeds_of(plan, refit_seeds))
    log.info("Sweep folder: %s", plan.folder)


def check_refit_stages(plan: Plan, refit_seeds: int) -> None:
    """Whether the encoder stages of the seeds that only the refit uses are there, before anything is searched.

    Raises:
        RunError: one is not.
    """
    composition = plan.compose()
    for seed in refit_seeds_of(plan, refit_seeds):
        try:
            check_stage(with_stage_of_fold(composition.settings({"seed": seed}, set())))
        except RunError as error:
            raise RunError(
                f"the winner will be refitted with seed {seed}: {error}. One stage serves all seeds by encoders=RUN; "
                "refit_seeds=0 leaves the refit out"
            ) from error


def refit_seeds_of(plan: Plan, count: int) -> range:
    """Seeds that no trial has."""
    first = max(plan.seeds) + 1
    return range(first, first + count)


def report(plan: Plan, sweep: Sweep) -> None:
    """Write the sweep's page and figures; what goes wrong with a figure must not cost the refit, nor hide an error."""
    from subtext.sweeps.page import report_sweep

    try:
        report_sweep(plan.folder, sweep.study)
    except Exception as error:
        log.warning("the sweep's page could not be written: %s", safe_reason(error))


def _without_what_is_off(node: Any, composition: Composition) -> Any:
    """An entry of the space without those of its several keys whose part of the model is switched off."""
    if not isinstance(node, Mapping) or not isinstance(node.get("keys"), list) or len(node["keys"]) < 2:
        return node
    return {**node, "keys": [key for key in node["keys"] if not composition.is_off(str(key))] or node["keys"]}


def _about_training(overrides: Sequence[str]) -> dict[str, str]:
    """Those overrides that are for subtext-train, by key."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {
        str(one.key_or_group): str(one.input_line)
        for one in parsed
        if one.key_or_group.partition(".")[0] not in (*STUDY_KEYS, "hydra")
        and not one.key_or_group.startswith("hydra/")
    }


def _check_stray_settings(config: DictConfig, training: Composition, where: str) -> None:
    """Refuse settings of training in the sweep's file: its trials would be composed without them."""
    kept = {key: value for key, value in unresolved(config).items() if key not in STUDY_KEYS}
    usual = unresolved(training.config({}))
    stray = [key for key in kept if kept[key] != usual.get(key)]
    if stray:
        raise ConfigError(
            f"{where} sets {', '.join(stray)}, which belongs to training; write it under constants, as KEY: VALUE"
        )


def _with_epochs(pruner: Any, epochs: int) -> Any:
    """A pruner's node with the number of epochs in place of Hyperband's `max_resource: auto`.

    Optuna would take the length of the first trial that completes: nothing would be pruned before, and brackets would
    differ between processes.
    """
    if not isinstance(pruner, Mapping):
        return pruner
    return {
        key: epochs if (key, value) == ("max_resource", "auto") else _with_epochs(value, epochs)
        for key, value in pruner.items()
    }


def _plain(config: DictConfig, key: str) -> Any:
    value = config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _write_facts(plan: Plan, sweep: Sweep) -> None:
    """Keep what the study is beside it: the folder alone tells how to repeat it."""
    facts = {
        "name": plan.name,
        "storage": sweep.storage.shown,
        "trials": plan.trials,
        "seeds": list(plan.seeds),
        "overrides": list(plan.overrides),
        "definition": plan.definition,
        "commit": git_commit(),
        "versions": package_versions() | {"optuna": optuna.__version__},
    }
    with writing_into(plan.folder):
        write_json(plan.folder / "sweep.json", facts)


def _most_common_reason(sweep: Sweep) -> str:
    reasons = [str(trial.user_attrs.get(REASON, "for no known reason")) for trial in sweep.failures()]
    if not reasons:
        return "all were pruned"
    most = max(dict.fromkeys(reasons), key=reasons.count)
    return f"{reasons.count(most)} of them: {most}"
