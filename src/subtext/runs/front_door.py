"""What the commands do, as functions: `subtext.train`, `extract`, `evaluate`, `compare`, `load_run`.

Overrides are those of the command line, and configurations are composed as there. What goes wrong is a
`subtext.errors.SubtextError`.
"""

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subtext.core.targets import check_names
from subtext.errors import ConfigError
from subtext.runs.folder import RunFile, RunFolder

if TYPE_CHECKING:
    from subtext.core.composition import Composition
    from subtext.features.index import FeatureIndex

log = logging.getLogger(__name__)

_WHERE = ("resume", "trust", "debug")
"""Settings that may stand beside `resume`."""


def train(
    *overrides: str,
    config_dirs: Sequence[str | os.PathLike[str]] = (),
    folder: str | os.PathLike[str] | None = None,
    trust: Collection[str] = (),
) -> RunFolder:
    """Train and evaluate one run, or go on with one, as `subtext-train` does.

    Args:
        overrides: as on the command line: `"corpus=manifest"`, `"corpus.path=my.csv"`, `"fusion=late"`, `"resume=RUN"`.
        config_dirs: folders of further configuration (`--config-dir`).
        folder: the run folder; None leaves it to the configuration, usually `runs/NAME/TIME`.
        trust: packages that a run to go on with, and the model of the run that is returned, may have parts of, besides
            this one and installed plug-ins: `("mypackage",)`.

    Returns:
        The run, complete. Its log goes where `logging` of this process is told to; the command keeps it in the folder.

    Raises:
        ConfigError: the overrides cannot be composed, or a setting cannot be used.
        ManifestError: the corpus cannot be trained on.
        RunError: a run is in the folder already, or there is none to go on with.
        TrustError: a run to go on with has a part that is not trusted.

    Example:
        >>> streams = ["~encoder/visual", "encoder.text.embed_dim=8", "encoder.prosody.input_dim=6"]
        >>> few = ["encoder.prosody.trainable=true", "trainer.max_epochs=2", "controls=[majority]", "audit=false"]
        >>> run = subtext.train("corpus=manifest", "corpus.path=my.csv", *streams, *few, folder="runs/mine")
        >>> run.is_finished
        True
    """
    composed = _composed(overrides, config_dirs)
    settings = composed.settings({}, ())
    place = composed.run_folder() if folder is None else Path(folder)
    return train_composed(settings, place, overrides, trust)


def train_composed(
    settings: Mapping[str, Any],
    folder: Path,
    overrides: Sequence[str],
    trust: Collection[str] = (),
    *,
    print_table: bool = True,
) -> RunFolder:
    """Train what was composed; with `resume`, as the interrupted run was configured. See `train`.

    Args:
        settings: the resolved configuration.
        folder: the run folder.
        overrides: what it was composed from.
        trust: as `trust` in `settings`.
        print_table: print the run's figures; not where it is one of many, which are printed together.
    """
    from subtext.model.fit import is_main_process
    from subtext.report.terminal import print_results

    run = _trained(settings, folder, overrides, trust)
    if print_table and is_main_process():
        print_results(run.metrics())
    return run


def _trained(settings: Mapping[str, Any], folder: Path, overrides: Sequence[str], trust: Collection[str]) -> RunFolder:
    from subtext.runs.train import train as train_run

    asked = settings["trust"] or ()
    for names in (trust, asked):
        check_names(names)
    trust = (*trust, *asked)
    if settings["resume"] is None:
        run = RunFolder(folder)
        run.check_links()
        with _saying_how_to_go_on(run):
            return train_run(settings, run.path, trust=trust)
    others = [text for text in overrides if text.split("=")[0] not in _WHERE]
    if others:
        raise ConfigError(f"resume= goes on with the run as it was configured; leave out {', '.join(others)}")
    run = RunFolder(settings["resume"])
    if run.is_finished:
        log.info("%s was finished already: nothing is trained, and its figures are computed again", run.path)
    with _saying_how_to_go_on(run):
        return train_run(run.settings(), run.path, resume=True, trust=trust)


def extract(*overrides: str, config_dirs: Sequence[str | os.PathLike[str]] = ()) -> "FeatureIndex":
    """Make a corpus's manifest and extract its streams into the feature cache, as `subtext-extract` does.

    Args:
        overrides: as on the command line, see `train`.
        config_dirs: folders of further configuration (`--config-dir`).

    Returns:
        What became of every row and modality: `index.table`, `index.summary()`, `index.n_failed`.

    Raises:
        ConfigError: the overrides cannot be composed, or a setting cannot be used.
        ManifestError: the corpus cannot be read.
        CacheError: the cache cannot be written.

    Example:
        >>> index = subtext.extract("corpus=manifest", "corpus.path=my.csv", "~encoder/visual")
        >>> index.n_failed, index.missing()
        (0, {'text': 12, 'prosody': 12})
    """
    return extract_composed(_composed(overrides, config_dirs).settings({}, ()))[0]


def extract_composed(settings: Mapping[str, Any]) -> tuple["FeatureIndex", Path]:
    """Extract for what was composed; see `extract`.

    Returns:
        The index, and the folder that it is written to, which bears the corpus's name.
    """
    from subtext.core.building import build
    from subtext.corpora.corpus import Corpus
    from subtext.features.cache import FeatureCache
    from subtext.features.extract import extract as extract_streams
    from subtext.features.extractor import Extractor
    from subtext.manifest import Manifest
    from subtext.manifest.table import write_rejects
    from subtext.runs.settings import TrainingSettings

    TrainingSettings.check(settings)
    manifest: Manifest = build(settings["corpus"], Corpus).build()
    extractors: dict[str, Extractor] = {
        modality: build(node["extractor"], Extractor)
        for modality, node in settings["encoder"].items()
        if node is not None
    }
    features = Path(settings["paths"]["features"])
    index = extract_streams(manifest, extractors, FeatureCache(features), workers=settings["workers"])
    folder = features / manifest.name
    index.save(folder)
    write_rejects(manifest, folder / RunFile.REJECTS)
    return index, folder


def evaluate(
    *runs: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    groups: Sequence[str] | None = None,
    n_bootstrap: int = 1000,
    seed: int | None = None,
) -> dict[str, Any]:
    """Compute figures, pictures and page again from prediction tables, as `subtext-evaluate` does.

    Args:
        runs: run folders; several are pooled, which may differ in their seed only, and the parts of one run (`shard=`)
            are put together.
        out: where the result of several runs goes.
        groups: columns that intervals are clustered by; None takes those of the run's corpus.
        n_bootstrap: resamples of bootstrap intervals.
        seed: seeds the resampling; None takes the run's own.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConfigError: `out` does not go with the runs, or there is no such column.
        RunError: a folder holds no finished run, or runs cannot be pooled.

    Example:
        >>> metrics = subtext.evaluate("runs/mine", n_bootstrap=100)
        >>> found = metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
        >>> found["low"] <= found["value"] <= found["high"]
        True
    """
    from subtext.runs.evaluate import evaluate_run, evaluate_seeds
    from subtext.runs.merge import are_shards, merge_shards

    _check_runs(runs, groups)
    folders = [Path(run) for run in runs]
    if len(folders) > 1 and out is None:
        raise ConfigError("several runs are pooled into a folder of their own; name it: --out FOLDER, in Python out=")
    if len(folders) == 1 and out is not None:
        raise ConfigError("a folder for the result (--out, out=) is for several runs; one is evaluated in its own")
    if out is None:
        return evaluate_run(folders[0], groups, n_bootstrap=n_bootstrap, seed=seed)
    if are_shards(folders):
        merge_shards(folders, Path(out))
        return evaluate_run(Path(out), groups, n_bootstrap=n_bootstrap, seed=seed)
    return evaluate_seeds(folders, Path(out), groups, n_bootstrap=n_bootstrap, seed=seed)


def compare(
    *runs: str | os.PathLike[str],
    out: str | os.PathLike[str] = "comparison",
    reference: str | None = None,
    groups: Sequence[str] | None = None,
    within: str | None = None,
    alpha: float = 0.05,
    margin: float = 0.02,
    cost: bool = True,
    trust: Collection[str] = (),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare runs on the same test clips, as `subtext-compare` does: tables, figures and a page in a folder.

    Args:
        runs: run folders, each perhaps with a name for its system: `"mine=runs/mine"`. Runs that differ in their seed
            only are one system.
        out: the folder to write to.
        reference: the system that the others are held against; None: the posterior strategy if it is there, else the
            first.
        groups: columns that intervals are clustered by; None takes those of the runs' corpus.
        within: compare AUROC inside each value of this column too, such as speaker.
        alpha: family-wise error of the tests.
        margin: difference in AUROC up to which two systems are called a tie, which takes two one-sided tests.
        cost: measure speed and memory, which takes time.
        trust: packages that these models may have parts of, besides this one and installed plug-ins.
        n_bootstrap: resamples of bootstrap intervals.
        seed: seeds the resampling.

    Returns:
        What `comparison.json` holds; the tables are `out/*.csv`, the pictures `out/figures/*.png`.

    Raises:
        RunError: a folder holds no finished run, or the runs were tested on different clips.
        ConfigError: an option names what is not there.

    Example:
        >>> few = ["encoder.prosody.trainable=true", "trainer.max_epochs=2", "controls=[majority]", "audit=false"]
        >>> streams = ["~encoder/visual", "encoder.text.embed_dim=8", "encoder.prosody.input_dim=6"]
        >>> table = ["corpus=manifest", "corpus.path=my.csv"]
        >>> late = subtext.train(*table, *streams, *few, "fusion=late", folder="runs/late")
        >>> found = subtext.compare("crossmodal=runs/mine", f"late={late.path}", cost=False, n_bootstrap=100)
        >>> sorted(found["systems"])
        ['crossmodal', 'late']
    """
    from subtext.runs.compare import compare_runs

    _check_runs(runs, groups)
    return compare_runs(
        [os.fspath(run) for run in runs],
        Path(out),
        reference=reference,
        groups=groups,
        within=within,
        alpha=alpha,
        margin=margin,
        cost=cost,
        trust=trust,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def load_run(folder: str | os.PathLike[str], trust: Collection[str] = ()) -> RunFolder:
    """A finished run, to be looked at.

    Args:
        folder: of the run.
        trust: packages that its model may have parts of, besides this one and installed plug-ins: `("mypackage",)`.

    Returns:
        The run: `settings()`, `metrics()`, `predictions()`, `controls()`, `figures()`, `report`, `classifier()`.

    Raises:
        RunError: the folder holds no finished run.

    Example:
        >>> run = subtext.load_run("runs/mine")
        >>> run.predictions()["split"].value_counts().to_dict()
        {'val': 40, 'test': 40}
        >>> run.classifier().modalities
        ('text', 'prosody')
    """
    run = RunFolder(folder, trust)
    run.metrics()  # says what is missing, and what to do
    return run


@contextmanager
def _saying_how_to_go_on(run: RunFolder) -> Iterator[None]:
    """Where somebody interrupts a training."""
    from subtext.model.fit import is_main_process

    try:
        yield
    except KeyboardInterrupt:
        if run.is_begun and is_main_process():
            log.warning("What was done is kept; go on with it by resume=%s", run.path)
        raise


def _check_runs(runs: Sequence[Any], groups: object) -> None:
    """Refuse what would end in an error about lists or letters.

    Raises:
        ConfigError: what to write instead.
    """
    if not runs:
        raise ConfigError("no run is named; give the folders of one or more runs")
    _each_text("runs", runs, (str, os.PathLike))
    _check_list("groups", groups)


def _each_text(name: str, given: Sequence[Any], kinds: tuple[type, ...] = (str,)) -> None:
    """Refuse a list where its parts belong.

    Raises:
        ConfigError: what to write instead.
    """
    for place, one in enumerate(given, start=1):
        if not isinstance(one, kinds):
            hint = "put a star before the list" if isinstance(one, list | tuple | set) else "write text"
            raise ConfigError(f"{name}: argument {place} is a {type(one).__name__}; {hint}")


def _check_list(name: str, given: object) -> None:
    """Refuse one text in place of a list, which would be taken apart by letters.

    Raises:
        ConfigError: what to write instead.
    """
    if isinstance(given, str | os.PathLike):
        raise ConfigError(f"{name} is one text and not a list; write {name}=[{os.fspath(given)!r}]")


def _composed(overrides: Sequence[str], config_dirs: Sequence[str | os.PathLike[str]]) -> "Composition":
    from subtext.core.composition import Composition, check_config_dirs, conf_folder

    _each_text("overrides", overrides)
    _check_list("config_dirs", config_dirs)
    places = [Path(place).resolve() for place in config_dirs]
    check_config_dirs(places)
    return Composition(conf_folder(), overrides, [str(place) for place in places])
