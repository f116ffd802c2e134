"""A run folder: everything that a run leaves behind."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

from subtext.core.targets import check_names, renamed
from subtext.core.writing import remove_leftovers, write_json, write_parquet, write_text
from subtext.errors import ConfigError, RunError, TrustError, WeightsError
from subtext.runs.records import MODEL, RUN, SETTINGS, Kind, Record, read_record, record

if TYPE_CHECKING:
    import pandas as pd

    from subtext.features.extractor import Extractor
    from subtext.model.classifier import IncongruenceClassifier
    from subtext.model.novelty import Reference

MODEL_FORMAT: Final = 1
_PACKAGES: Final = (
    "subtext",
    "torch",
    "torchvision",
    "torchaudio",
    "pytorch-lightning",
    "torchmetrics",
    "timm",
    "sentence-transformers",
    "transformers",
    "hydra-core",
    "numpy",
    "pandas",
    "scikit-learn",
    "av",
    "opencv-python-headless",
)


class RunFile(StrEnum):
    """The files and folders that a run writes, and so what `overwrite` removes; anything else is the user's.

    A run can write nothing that is not named here.
    """

    CONFIG = "config.yaml"
    RUN = "run.json"
    MODEL = "model.json"
    WEIGHTS = "model.safetensors"
    NOVELTY = "novelty.safetensors"
    BEST = "best.safetensors"
    LAST = "last.ckpt"
    PREVIOUS = "previous.ckpt"
    HISTORY = "history.csv"
    PREDICTIONS = "predictions.parquet"
    CONTROLS = "controls.parquet"
    CONTROL_TABLES = "controls"
    METRICS = "metrics.json"
    REPORT = "report.md"
    FIGURES = "figures"
    AUDIT = "audit"
    ROWS = "rows.parquet"
    REJECTS = "rejects.csv"
    EXTRACTION = "extraction.parquet"
    EXTRACTION_FOR_PEOPLE = "extraction.csv"
    EXTRACTION_DESCRIBED = "extraction.json"
    FOLDS = "folds"
    LOGS = "logs"
    ROBUSTNESS = "robustness.parquet"
    ROBUSTNESS_DESCRIBED = "robustness.json"
    ROBUSTNESS_CURVES = "robustness.csv"
    ROBUSTNESS_AREAS = "robustness_areas.csv"
    # Of a vision-language model.
    ANSWERS = "answers.parquet"
    WORDINGS = "wordings.csv"
    ADAPTER = "adapter"
    UNFINISHED_ADAPTER = "adapter.part"
    EXAMPLES = "examples.csv"
    # Of several runs that are evaluated together.
    PER_SEED = "per_seed.csv"
    RUNS = "runs.json"


_BEGINNING: Final = (RunFile.RUN,)
"""What is left of a run that was ended before it counted as begun; nothing is lost with it."""


class RunFolder:
    """One run: what it is made of, what it found, and its model. It stands wherever a path is asked for.

    Args:
        path: the folder.
        trust: packages that the model may have parts of, besides this one and installed plug-ins: `("mypackage",)`.

    Example:
        >>> run = subtext.load_run("runs/mine")
        >>> run.settings()["seed"], run.metrics()["clips"]["test"], len(run.predictions())
        (0, 40, 80)
        >>> run.report.name, run.figures()["roc_pr_incongruent"].name
        ('report.md', 'roc_pr_incongruent.png')
    """

    def __init__(self, path: str | os.PathLike[str], trust: Collection[str] = ()) -> None:
        self.path = Path(path)
        check_names(trust)
        self.trust = tuple(trust)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self.path)!r})"

    def file(self, name: str) -> Path:
        """One of the run's files, there or not, or one in a folder of it: `audit/audit.md`.

        Raises:
            ValueError: a run has no such file, see `RunFile`.
        """
        top, *inside = PurePosixPath(name).parts
        return self.path.joinpath(RunFile(top), *inside)

    @property
    def is_begun(self) -> bool:
        """Whether a run has been here."""
        return self.file(RunFile.CONFIG).is_file()

    def owns(self, path: Path) -> bool:
        """Whether a path is, or would be, a file that a run writes here, whatever links lead to it."""
        real = Path(os.path.realpath(path))  # unlike resolve(), it bears links in a circle and names of any length
        return any(real.is_relative_to(os.path.realpath(self.file(name))) for name in RunFile)

    def check_links(self) -> None:
        """Refuse a folder whose links lead elsewhere what is written into it: it may be somebody else's.

        The run's own files may be links, since they are never written into but replaced.

        Raises:
            TrustError: naming the first such link.
        """
        top, inside = os.fspath(self.path), os.path.realpath(self.path)
        for place, folders, files in os.walk(top):
            for name in (*folders, *files):
                path = os.path.join(place, name)
                replaced = place == top and name in set(RunFile) and os.path.isfile(path)
                if os.path.islink(path) and not replaced and not Path(os.path.realpath(path)).is_relative_to(inside):
                    raise TrustError(
                        f"{path} is a link that leads out of {self.path}, where what is written would go elsewhere; "
                        "nothing was written. Remove the link, or put in its place what it leads to"
                    )

    @property
    def is_trained(self) -> bool:
        """Whether the model is complete: its description is written last."""
        return self.file(RunFile.MODEL).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run has been evaluated, which is the last that it does."""
        return self.file(RunFile.METRICS).is_file()

    def begin(self, settings: dict[str, Any], *, overwrite: bool) -> None:
        """Make the folder ready for a fresh run.

        Args:
            settings: the resolved configuration.
            overwrite: remove what an earlier run left here.

        Raises:
            RunError: an earlier run, or a part of one, is here, or the folder cannot be written.
        """
        import yaml

        if not overwrite:
            self._refuse_what_is_there()
        self.make()
        with self.writing():
            remove_leftovers(self.path)
            for place in map(self.file, RunFile):
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
        self.write_json(
            RunFile.RUN,
            {
                "command": sys.argv,
                "seed": settings["seed"],
                "commit": git_commit(),
                "versions": package_versions(),
            },
        )
        # Last: with it the run counts as begun.
        self.write_text(RunFile.CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    def _refuse_what_is_there(self) -> None:
        # A model that somebody shared is a run folder without its configuration, so more than that is looked for.
        there = [name for name in RunFile if name not in _BEGINNING and os.path.lexists(self.file(name))]
        if not there:
            return
        if self.is_begun:
            state = "a finished run" if self.is_finished else "an interrupted run"
            raise RunError(
                f"{self.path} holds {state}; go on with it by resume={self.path}, replace it by overwrite=true, "
                "or choose another name="
            )
        raise RunError(
            f"{self.path} holds {', '.join(there)} of another run; choose another name=, or replace them by "
            "overwrite=true"
        )

    def make(self) -> None:
        """Make the folder where it is not there yet.

        Raises:
            RunError: it cannot be made, or nothing can be written in it.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path):
                pass

    def settings(self) -> dict[str, Any]:
        """The resolved configuration of the run.

        Raises:
            RunError: the folder holds no run, or its configuration cannot be read.
        """
        import yaml

        self.check_begun()
        place = self.file(RunFile.CONFIG)
        try:
            settings = renamed(yaml.safe_load(place.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"cannot read {place}: {reason}; begin the run again") from error
        yaml.SafeDumper.add_representer(Record, yaml.SafeDumper.represent_dict)  # a run that goes on writes it again
        return record(settings, place, SETTINGS, "begin the run again")

    def check_begun(self) -> None:
        """Whether a run has been here that could go on.

        Raises:
            RunError: none has.
        """
        if not self.is_begun:
            raise RunError(f"{self.path} holds no config.yaml, so no run that could go on; give the folder of a run")

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add to `run.json`."""
        self.write_json(RunFile.RUN, self.run() | dict(facts))

    def write_text(self, name: str, text: str) -> None:
        """Write a file so that it appears whole or not at all."""
        with self.writing():
            write_text(self.file(name), text)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write JSON so that it appears whole or not at all."""
        with self.writing():
            write_json(self.file(name), content)

    def write_table(self, name: str, table: "pd.DataFrame") -> None:
        """Write a Parquet file so that it appears whole or not at all."""
        with self.writing():
            write_parquet(self.file(name), table)

    def writing(self) -> AbstractContextManager[None]:
        """See `writing_into`."""
        return writing_into(self.path)

    def run(self) -> dict[str, Any]:
        """Command, seed, groups, commit and versions of the run.

        Raises:
            RunError: the folder holds no run.
        """
        return self._json(RunFile.RUN, RUN)

    def model(self) -> dict[str, Any]:
        """How the model is rebuilt, and its calibration; see `training.describe_model`.

        Raises:
            RunError: the folder is missing, or holds no finished model.
            WeightsError: its description is of another format.
        """
        described = self._json(RunFile.MODEL, MODEL)
        if described.get("format") != MODEL_FORMAT:
            raise WeightsError(
                f"{self.file('model.json')} is of format {described.get('format')!r}, this version of subtext reads "
                f"{MODEL_FORMAT}; use the version that the run.json beside it names"
            )
        return described

    def metrics(self) -> dict[str, Any]:
        """Every figure of the run with its interval, see docs/tables.md; after several runs were pooled, theirs.

        Raises:
            RunError: the run has not been evaluated.
        """
        return self._json(RunFile.METRICS, {})

    def table(self, name: str) -> "pd.DataFrame":
        """One of the run's tables, a Parquet file.

        Raises:
            RunError: it is not there or cannot be read.
        """
        from subtext.core.tables import read_parquet

        path = self._there(name)
        try:
            return read_parquet(path)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"cannot read {path}: {reason}; train the run again") from error

    def csv(self, name: str) -> "pd.DataFrame":
        """One of the run's tables that are CSV, such as the history of its epochs.

        Raises:
            RunError: it is not there or cannot be read.
        """
        import pandas as pd

        path = self._there(name)
        try:
            return pd.read_csv(path)
        except (OSError, ValueError) as error:  # pandas' own errors are of these kinds
            raise RunError(f"cannot read {path} as a table; remove it to do without what it tells") from error

    def _judged(self, name: str, also: Collection[str] = ()) -> "pd.DataFrame":
        """A table that figures are computed from."""
        from subtext.evaluation.tables import check_predictions

        table = self.table(name)
        check_predictions(table, self.file(name), also)
        return table

    def predictions(self) -> "pd.DataFrame":
        """What the model says of every validation and test clip, one row a clip.

        Raises:
            RunError: it is not there, cannot be read, or a column holds what it may not hold.
        """
        return self._judged(RunFile.PREDICTIONS)

    def controls(self) -> "pd.DataFrame | None":
        """What the controls say of the same clips, one row a clip and control; None where none were run.

        Raises:
            RunError: it cannot be read, or a column holds what it may not hold.
        """
        return self._judged(RunFile.CONTROLS, ["control"]) if self.file(RunFile.CONTROLS).is_file() else None

    def robustness(self) -> "pd.DataFrame":
        """What the model says of the test clips with streams missing or spoiled, one row a clip and condition.

        Raises:
            RunError: it is not there, cannot be read, or a column holds what it may not hold.
        """
        return self._judged(RunFile.ROBUSTNESS, ["condition", "strength"])

    def figures(self) -> dict[str, Path]:
        """The pictures that the evaluation drew, by name."""
        return {path.stem: path for path in sorted(self.file(RunFile.FIGURES).glob("*.png"))}

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.file(RunFile.REPORT)

    def classifier(self) -> "IncongruenceClassifier":
        """The trained model, in eval mode.

        Raises:
            RunError: the folder holds no finished model.
            TrustError: the model has a part that is not trusted.
            WeightsError: its weights are missing, unreadable, or of another model.
        """
        from subtext.runs.saved import load_classifier

        described, weights = self.file(RunFile.MODEL), self.file(RunFile.WEIGHTS)
        return load_classifier(self.model(), described, weights, self.trust)

    def novelty(self, classifier: "IncongruenceClassifier") -> dict[str, "Reference"]:
        """Where the training clips lie, by modality; of those alone that had enough validation clips for a level.

        Args:
            classifier: the run's model.

        Raises:
            RunError: the folder holds no finished model.
            WeightsError: what tells it is missing, unreadable, or of another model.
        """
        from subtext.runs.saved import load_novelty

        return load_novelty(self.model(), self.file(RunFile.NOVELTY), classifier)

    def extractors(self, models: Path | None = None) -> dict[str, "Extractor"]:
        """What made the streams that the model was trained on, by modality.

        Args:
            models: folder with detector weights, where they are not where the run had them.

        Raises:
            RunError: the folder holds no finished model.
            TrustError: one of them is not trusted.
            WeightsError: it cannot be built from.
        """
        from subtext.runs.saved import build_extractors

        return build_extractors(self.model(), self.file(RunFile.MODEL), models, self.trust)

    def _json(self, name: str, kinds: Mapping[str, Kind]) -> Record:
        return read_record(self._there(name), kinds, "train the run again")

    def _there(self, name: str) -> Path:
        """A file that must be there."""
        if not os.path.isdir(self.path):  # unlike pathlib's, it bears a name that no file system takes
            raise RunError(f"no run folder {self.path}; give the folder that subtext-train wrote")
        if not os.path.isfile(self.file(name)):
            advice = f"finish the run with: subtext-train resume={self.path}" if self.is_begun else "give a run folder"
            if self.is_finished and os.path.isdir(self.file(RunFile.FOLDS)):
                advice = f"it is cross-validated: give the run of one fold, such as {self.file('folds') / '0'}"
            raise RunError(f"{self.path} holds no {name}; {advice}")
        return self.file(name)


def check_out(folder: Path) -> None:
    """Whether a folder that a command line names with --out can be made, before anything is computed for it.

    Raises:
        ConfigError: it cannot.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is a file; name another folder with --out")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{there} cannot be written to; name another folder with --out")


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Turns a full disk or missing rights into an error for a person.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to the run folder {folder}: {error.strerror or error}; free some space, change its "
            "permissions, or set paths.runs"
        ) from error


def package_versions() -> dict[str, str]:
    """Python and the packages that results can depend on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """The commit of the code, marked where files differ from it; None outside a repository."""
    here = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository.
        if not git("ls-files", "--", __file__):
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.SubprocessError):
        return None
