"""A run folder: everything that a run leaves behind, and the model in it.

Nothing in this module imports Lightning: prediction reads run folders too.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

from subtext.core.targets import renamed
from subtext.errors import ConfigError, RunError, TrustError, WeightsError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from subtext.features.extractor import Extractor
    from subtext.model.classifier import IncongruenceClassifier

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
_WRITTEN: Final = (
    "config.yaml",
    "run.json",
    "model.json",
    "model.safetensors",
    "best.safetensors",
    "last.ckpt",
    "previous.ckpt",
    "history.csv",
    "predictions.parquet",
    "controls.parquet",
    "answers.parquet",
    "wordings.csv",
    "adapter",
    "adapter.part",
    "examples.csv",
    "robustness.parquet",
    "robustness.json",
    "robustness.csv",
    "robustness_areas.csv",
    "rows.parquet",
    "rejects.csv",
    "metrics.json",
    "report.md",
    "extraction.parquet",
    "extraction.csv",
    "extraction.json",
    "figures",
    "controls",
    "folds",
    "logs",
)
"""What a run writes, and so what `overwrite` may remove. Anything else in the folder is the user's."""

_BEGINNING: Final = ("run.json",)
"""What is left of a run that was ended before it counted as begun; nothing is lost with it."""


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def file(self, name: str) -> Path:
        """One of the run's files, there or not."""
        return self.path / name

    @property
    def is_begun(self) -> bool:
        """Whether a run has been here."""
        return self.file("config.yaml").is_file()

    def owns(self, path: Path) -> bool:
        """Whether a path is, or would be, a file that a run writes here, whatever links lead to it."""
        real = Path(os.path.realpath(path))  # unlike resolve(), it bears links in a circle and names of any length
        return any(real.is_relative_to(os.path.realpath(self.file(name))) for name in _WRITTEN)

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
                replaced = place == top and name in _WRITTEN and os.path.isfile(path)
                if os.path.islink(path) and not replaced and not Path(os.path.realpath(path)).is_relative_to(inside):
                    raise TrustError(
                        f"{path} is a link that leads out of {self.path}, where what is written would go elsewhere; "
                        "nothing was written. Remove the link, or put in its place what it leads to"
                    )

    @property
    def is_trained(self) -> bool:
        """Whether the model is complete: its description is written last."""
        return self.file("model.json").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run has been evaluated, which is the last that it does."""
        return self.file("metrics.json").is_file()

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
            for name in _WRITTEN:
                place = self.file(name)
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
        self.write_json(
            "run.json",
            {
                "command": sys.argv,
                "seed": settings["seed"],
                "commit": git_commit(),
                "versions": package_versions(),
            },
        )
        # Last: with it the run counts as begun.
        self.write_text("config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    def _refuse_what_is_there(self) -> None:
        # A model that somebody shared is a run folder without its configuration, so more than that is looked for.
        there = [name for name in _WRITTEN if name not in _BEGINNING and os.path.lexists(self.file(name))]
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

        place = self.file("config.yaml")
        if not self.is_begun:
            raise RunError(f"{self.path} holds no config.yaml, so no run that could go on; give the folder of a run")
        try:
            settings = renamed(yaml.safe_load(place.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"cannot read {place}: {reason}; begin the run again") from error
        if not isinstance(settings, dict):
            raise RunError(f"{place} does not hold a configuration; begin the run again")
        return settings

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add to `run.json`."""
        self.write_json("run.json", self.run() | dict(facts))

    def write_text(self, name: str, text: str) -> None:
        """Write a file so that it appears whole or not at all."""
        with self.writing():
            place = self.file(name)
            beside = place.with_name(f"{name}.part")
            beside.unlink(missing_ok=True)  # a link would be written through
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write JSON so that it appears whole or not at all."""
        self.write_text(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def write_table(self, name: str, table: "pd.DataFrame") -> None:
        """Write a Parquet file so that it appears whole or not at all."""
        with self.writing():
            place = self.file(name)
            beside = place.with_name(f"{place.name}.part")
            table.to_parquet(beside, index=False)
            beside.replace(place)

    def writing(self) -> "_Writing":
        """Turns a full disk or missing rights into an error for a person."""
        return _Writing(self.path)

    def run(self) -> dict[str, Any]:
        """Command, seed, groups, commit and versions of the run.

        Raises:
            RunError: the folder holds no run.
        """
        return self._json("run.json")

    def model(self) -> dict[str, Any]:
        """How the model is rebuilt, and its calibration; see `training.describe_model`.

        Raises:
            RunError: the folder is missing, or holds no finished model.
            WeightsError: its description is of another format.
        """
        described = self._json("model.json")
        if described.get("format") != MODEL_FORMAT:
            raise WeightsError(
                f"{self.file('model.json')} is of format {described.get('format')!r}, this version of subtext reads "
                f"{MODEL_FORMAT}; use the version that the run.json beside it names"
            )
        return described

    def _json(self, name: str) -> dict[str, Any]:
        if not os.path.isdir(self.path):  # unlike pathlib's, it bears a name that no file system takes
            raise RunError(f"no run folder {self.path}; give the folder that subtext-train wrote")
        if not os.path.isfile(self.file(name)):
            advice = f"finish the run with: subtext-train resume={self.path}" if self.is_begun else "give a run folder"
            if self.is_finished and os.path.isdir(self.file("folds")):
                advice = f"it is cross-validated: give the run of one fold, such as {self.file('folds') / '0'}"
            raise RunError(f"{self.path} holds no {name}; {advice}")
        try:
            content = renamed(json.loads(self.file(name).read_text(encoding="utf-8")))
        except (ValueError, RecursionError, OSError) as error:
            raise RunError(f"cannot read {self.file(name)}: {error}; train the run again") from error
        if not isinstance(content, dict):
            raise RunError(f"{self.file(name)} does not hold a JSON object; train the run again")
        return content


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


class _Writing:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise RunError(
                f"cannot write to the run folder {self._folder}: {error.strerror or error}; free some space, change "
                "its permissions, or set paths.runs"
            ) from error


def load_classifier(folder: Path | str) -> "IncongruenceClassifier":
    """The trained model of a run, in eval mode.

    Raises:
        RunError: the folder holds no finished model.
        WeightsError: its weights are missing, unreadable, or of another model.
    """
    run = RunFolder(folder)
    classifier = build_classifier(run.model())
    path = run.file("model.safetensors")
    weights = read_weights(path)
    own = classifier.state_dict()
    different = sorted(
        {name for name, tensor in own.items() if name not in weights or weights[name].shape != tensor.shape}
        | (weights.keys() - own.keys())
    )
    if different:
        raise WeightsError(
            f"{path} does not fit the model that model.json beside it describes ({len(different)} tensors differ, "
            f"first '{different[0]}'); they come from different runs: copy a run folder as a whole"
        )
    classifier.load_state_dict(weights)
    return classifier.eval()


def build_classifier(described: Mapping[str, Any]) -> "IncongruenceClassifier":
    """The model that `model.json` describes, without its weights.

    Raises:
        TrustError: the description names anything that no model of this package consists of.
        WeightsError: it cannot be built from.
    """
    from subtext.core.building import build
    from subtext.core.targets import check_targets
    from subtext.encoders.encoder import Encoder
    from subtext.fusion.base import Fusion
    from subtext.model.classifier import IncongruenceClassifier
    from subtext.model.heads import Heads

    check_targets(described, "model.json")
    try:
        encoders = {
            # The weights come from the run, never from where they came from when it was trained.
            modality: build(
                {**node, **{k: None if k == "weights" else False for k in _SOURCES if k in node}},
                Encoder,
            )
            for modality, node in described["encoders"].items()
        }
        dim = next(iter(encoders.values())).dim
        fusion = described["fusion"]
        return IncongruenceClassifier(
            encoders=encoders,
            fusion=None if fusion is None else build(fusion, Fusion, modalities=list(encoders), dim=dim),
            heads=Heads(**described["heads"], dim=dim),
        )
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, RecursionError, StopIteration) as error:
        raise WeightsError(f"model.json does not describe a model of this version of subtext: {error}") from error


_SOURCES: Final = ("pretrained", "weights")


def load_extractors(folder: Path | str, models: Path | None = None) -> dict[str, "Extractor"]:
    """The extractors that made the streams a run was trained on.

    Args:
        folder: the run.
        models: folder with detector weights, where they are not where the run had them.

    Raises:
        RunError: the folder holds no finished model.
        TrustError: the description names anything that no model of this package consists of.
        WeightsError: it cannot be built from.
    """
    from subtext.core.building import build
    from subtext.core.targets import check_targets
    from subtext.features.extractor import Extractor

    described = RunFolder(folder).model()
    check_targets(described, RunFolder(folder).file("model.json"))
    extractors: dict[str, Extractor] = {}
    try:
        for modality, node in described["extractors"].items():
            # Leave to use the network is for the user to give, not for a folder that may be somebody else's.
            node = {**node, **({"allow_download": False} if "allow_download" in node else {})}
            if models is not None and "models" in node:
                node["models"] = str(models)
            extractors[modality] = build(node, Extractor)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{RunFolder(folder).file('model.json')} does not describe how recordings are read ({error}); "
            "train the run again"
        ) from error
    return extractors


def read_weights(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: it is missing, or anything else than safetensors; nothing is ever unpickled.
    """
    from subtext.encoders.encoder import read_safetensors

    if not path.is_file():
        raise WeightsError(f"no {path.name} in {path.parent}; give the folder of a finished training run")
    return read_safetensors(path)


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
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository.
        if not git("ls-files", "--", Path(__file__).name):
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.SubprocessError):
        return None
