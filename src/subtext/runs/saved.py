"""The model that a run folder describes, built again.

Nothing in this module imports Lightning: prediction reads run folders too.
"""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subtext.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from subtext.features.extractor import Extractor
    from subtext.model.classifier import IncongruenceClassifier
    from subtext.model.novelty import Reference


def build_classifier(
    described: Mapping[str, Any], source: Path | str = "model.json", trust: Collection[str] = ()
) -> "IncongruenceClassifier":
    """The model that `model.json` describes, with the weights of initialisation.

    Args:
        described: what the file says.
        source: the file.
        trust: packages that the model may have parts of, besides this one and installed plug-ins: `("mypackage",)`.

    Raises:
        TrustError: the model has a part that is not trusted.
        WeightsError: it cannot be built from.
    """
    from subtext.core.building import build
    from subtext.core.targets import check_targets
    from subtext.encoders.encoder import Encoder
    from subtext.model.classifier import IncongruenceClassifier, build_fusion
    from subtext.model.heads import Heads

    check_targets(described, source, trust)
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
        heads = Heads(**described["heads"], dim=dim)
        fusion, cells = build_fusion(described["fusion"], list(encoders), dim)
        return IncongruenceClassifier(encoders=encoders, fusion=fusion, heads=heads, anchor=cells)
    except (*_NOT_BUILT, StopIteration) as error:
        raise WeightsError(f"{source} does not describe a model of this version of subtext: {error}") from error


_SOURCES: Final = ("pretrained", "weights")

_NOT_BUILT: Final = (
    ConfigError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a class raises that is called with settings of a stranger."""


def load_classifier(
    described: Mapping[str, Any], source: Path, weights: Path, trust: Collection[str] = ()
) -> "IncongruenceClassifier":
    """The model that `model.json` describes, with its weights, in eval mode.

    Args:
        described: what the file says.
        source: the file.
        weights: the safetensors file of its weights.
        trust: see `build_classifier`.

    Raises:
        TrustError: the model has a part that is not trusted.
        WeightsError: it cannot be built from, or the weights are missing, unreadable, or of another model, which may be
            one that no memory would hold.
    """
    from subtext.core.targets import check_targets
    from subtext.model.bounded import Bounded
    from subtext.model.classifier import load_weights

    check_targets(described, source, trust)
    tensors = read_weights(weights)
    with warnings.catch_warnings(action="ignore"), Bounded(tensors, source):
        classifier = build_classifier(described, source, trust)
    load_weights(classifier, weights, source.name, tensors)
    return classifier.eval()


def load_novelty(
    described: Mapping[str, Any], path: Path, classifier: "IncongruenceClassifier"
) -> dict[str, "Reference"]:
    """Where the training clips lie, by modality, as `model.json` and the file beside it say.

    Args:
        described: what `model.json` says; that of an earlier version says nothing.
        path: the safetensors file.
        classifier: the model that both belong to.

    Raises:
        WeightsError: the file is missing, unreadable, or of another model.
    """
    from subtext.core.weights_file import opened
    from subtext.model.novelty import Reference

    levels = {m: entry["level"] for m, entry in described.get("novelty", {}).items() if m in classifier.modalities}
    levels = {modality: level for modality, level in levels.items() if level is not None}
    if not levels:
        return {}
    remedy = "copy a run folder as a whole, or predict without it: --no-novelty-check"
    if not path.is_file():
        raise WeightsError(f"no {path.name} in {path.parent}, from which novelty is told; {remedy}")
    found = {}
    with opened(path) as file:
        for modality, level in levels.items():
            names = Reference.tensor_names(modality)
            # Before anything is read: a stranger's file may be of any size.
            shapes = {name: file.get_slice(name).get_shape() for name in names if name in file.keys()}  # noqa: SIM118
            if Reference.fits(list(shapes.values()), classifier.encoder(modality).embed_dim):
                center, directions, spreads = map(file.get_tensor, names)
                found[modality] = Reference(center, directions, spreads, level)
            if modality not in found or not found[modality].is_usable:
                raise WeightsError(f"{path} does not fit the {modality} encoder of the model beside it; {remedy}")
    return found


def build_extractors(
    described: Mapping[str, Any], source: Path | str, models: Path | None = None, trust: Collection[str] = ()
) -> dict[str, "Extractor"]:
    """The extractors that `model.json` describes.

    Args:
        described: what the file says.
        source: the file.
        models: folder with detector weights, where they are not where the run had them.
        trust: see `build_classifier`.

    Raises:
        TrustError: one of them is not trusted.
        WeightsError: it cannot be built from.
    """
    from subtext.core.building import build
    from subtext.core.targets import check_targets
    from subtext.features.extractor import Extractor

    check_targets(described, source, trust)
    extractors: dict[str, Extractor] = {}
    try:
        for modality, node in described["extractors"].items():
            # Leave to use the network is for the user to give, not for a folder that may be somebody else's.
            node = {**node, **({"allow_download": False} if "allow_download" in node else {})}
            if models is not None and "models" in node:
                node["models"] = str(models)
            extractors[modality] = build(node, Extractor)
    except _NOT_BUILT as error:
        raise WeightsError(
            f"{source} does not describe how recordings are read ({error}); train the run again"
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
