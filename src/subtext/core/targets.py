"""The wall around what a run or model folder may have built: its targets are compared by name, before any import.

A configuration that the user wrote is code, and may name anything. A folder that `resume=`, `subtext-robustness` or
`subtext-predict` reads may be somebody else's, so it may name what this package ships, each in its own place, and no
more: not another part of the package, and no other class of the libraries that the shipped configuration names.

The wall has a door, which the user opens by the name of a package (`--trust mypackage`, `trust=[mypackage]`) or by
installing a plug-in (`subtext.core.plugins`); never the folder. What comes in by it must still be of the kind that its
place takes.
"""

import inspect
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from subtext.core.located import MOVED, locate
from subtext.core.plugins import check_place, plugins
from subtext.errors import ConfigError, TrustError

CORPORA: Final = frozenset(
    {
        "subtext.corpora.annomi.AnnoMI",
        "subtext.corpora.bah.Bah",
        "subtext.corpora.ch_sims.ChSims",
        "subtext.corpora.collage.Collage",
        "subtext.corpora.crema_d.CremaD",
        "subtext.corpora.ether.Ether",
        "subtext.corpora.files.ManifestCorpus",
        "subtext.corpora.meld.Meld",
        "subtext.corpora.mustard.Mustard",
        "subtext.corpora.mustard_plus_plus.MustardPlusPlus",
        "subtext.corpora.ravdess.Ravdess",
        "subtext.corpora.ravdess_swap.RavdessSwap",
        "subtext.corpora.studio.Studio",
    }
)
_NUISANCE: Final = frozenset({"subtext.corpora.studio.Nuisance"})
_ENCODERS: Final = frozenset(
    {
        "subtext.encoders.precomputed.FeatureEncoder",
        "subtext.encoders.prosody.ProsodyEncoder",
        "subtext.encoders.text.TextEncoder",
        "subtext.encoders.visual.VisualEncoder",
    }
)
_AUGMENTATIONS: Final = frozenset(
    {"subtext.encoders.augmentation.FaceAugmentation", "subtext.encoders.augmentation.FrameAugmentation"}
)
_EXTRACTORS: Final = frozenset(
    {
        "subtext.features.faces.FaceExtractor",
        "subtext.features.precomputed.PrecomputedFeatures",
        "subtext.features.prosody.ProsodyExtractor",
        "subtext.features.text.TextExtractor",
    }
)
_FUSIONS: Final = frozenset(
    {
        "subtext.fusion.bottleneck.BottleneckFusion",
        "subtext.fusion.concat.ConcatFusion",
        "subtext.fusion.crossmodal.CrossModalFusion",
        "subtext.fusion.discrepancy.DiscrepancyFusion",
        "subtext.fusion.gated.GatedFusion",
        "subtext.fusion.late.LateFusion",
        "subtext.fusion.latent.LatentFusion",
        "subtext.fusion.lowrank.LowRankFusion",
        "subtext.fusion.shared_private.SharedPrivateFusion",
        "subtext.fusion.tensor.TensorFusion",
        "subtext.model.posterior.PosteriorCells",
    }
)

SLOTS: Final[Mapping[tuple[str, ...], frozenset[str]]] = {
    # A run's configuration.
    ("corpus",): CORPORA,
    ("corpus", "nuisance"): _NUISANCE,
    ("encoder", "*"): _ENCODERS,
    ("encoder", "*", "augment"): _AUGMENTATIONS,
    ("encoder", "*", "extractor"): _EXTRACTORS,
    ("fusion",): _FUSIONS,
    ("task",): frozenset({"subtext.model.task.IncongruenceTask"}),
    ("task", "optimizer"): frozenset({"torch.optim.AdamW"}),
    ("task", "scheduler"): frozenset({"subtext.model.task.warmup_cosine"}),
    ("trainer",): frozenset({"pytorch_lightning.Trainer"}),
    ("callbacks", "*"): frozenset({"pytorch_lightning.callbacks.EarlyStopping"}),
    # Those that write files; one that sends figures elsewhere is for the user to ask for, not for a folder.
    ("logger", "*"): frozenset({"pytorch_lightning.loggers.CSVLogger", "pytorch_lightning.loggers.TensorBoardLogger"}),
    # A model's description.
    ("encoders", "*"): _ENCODERS,
    ("encoders", "*", "augment"): _AUGMENTATIONS,
    ("extractors", "*"): _EXTRACTORS,
}
"""Where a target may stand, `*` for any name, and what it may be there."""

BASES: Final[Mapping[tuple[str, ...], str]] = {
    ("corpus",): "subtext.corpora.corpus.Corpus",
    ("encoder", "*"): "subtext.encoders.encoder.Encoder",
    ("encoder", "*", "augment"): "torch.nn.Module",
    ("encoder", "*", "extractor"): "subtext.features.extractor.Extractor",
    ("fusion",): "subtext.fusion.base.Fusion",
    ("task",): "subtext.model.task.IncongruenceTask",
    ("task", "optimizer"): "torch.optim.Optimizer",
    ("task", "scheduler"): "torch.optim.lr_scheduler.LRScheduler",
    ("callbacks", "*"): "pytorch_lightning.Callback",
    ("logger", "*"): "pytorch_lightning.loggers.Logger",
    ("encoders", "*"): "subtext.encoders.encoder.Encoder",
    ("encoders", "*", "augment"): "torch.nn.Module",
    ("extractors", "*"): "subtext.features.extractor.Extractor",
}
"""The places in which what the user trusts may stand too, and what it must be there."""


def renamed(content: Any) -> Any:
    """What an earlier version wrote (a configuration, a model's description), with the names that classes have now.

    Example:
        >>> renamed({"task": {"_target_": "subtext.task.IncongruenceTask"}})
        {'task': {'_target_': 'subtext.model.task.IncongruenceTask'}}
    """
    if isinstance(content, Mapping):
        return {k: MOVED.get(str(v), v) if k == "_target_" else renamed(v) for k, v in content.items()}
    return [renamed(value) for value in content] if isinstance(content, list) else content


def check_targets(content: Mapping[str, Any], source: Path | str, trust: Collection[str] = ()) -> None:
    """Refuse a configuration or a model's description of a folder that names anything else than it may.

    That is what `SLOTS` lists, and in the places of `BASES` what lies in a trusted package. Names are compared as text,
    those in nested nodes and in arguments too; only when all of them have passed, trusted ones are imported, to see
    what they are.

    Args:
        content: plain values, as read from YAML or JSON.
        source: the file they were read from.
        trust: dotted names of packages, modules or single classes, besides those of installed plug-ins.

    Raises:
        TrustError: naming the first place that is not allowed.
        ConfigError: `trust` holds no such names, or what it lets in does not exist.
    """
    check_names(trust)
    own = []
    try:
        for place, target in _targets(content, ()):
            slot = _slot(place)
            if isinstance(target, str) and target in SLOTS.get(slot, ()):
                continue
            if slot not in BASES or not isinstance(target, str) or not _is_trusted(target, trust):
                raise _refusal(source, place, target, _door(slot, target))
            own.append((place, target))
        for place, value in _texts(content.get("logger"), ("logger",)):
            # A logger joins what it is given to the folder that it writes to.
            if PurePath(value).is_absolute() or ".." in PurePath(value).parts:
                raise TrustError(
                    f"{source}: {'.'.join(place)!r} is {value[:100]!r}, which leads out of the run's logs; nothing of "
                    "it was run. Write a name"
                )
    except RecursionError as error:
        raise TrustError(f"{source}: nested too deeply to be a configuration; nothing of it was run") from error
    for place, target in own:
        check_place(target, Path(source).parent)
        _check_kind(source, place, target)


def check_names(trust: Collection[str]) -> None:
    """Whether what is to be trusted are dotted names.

    Raises:
        ConfigError: naming the first that is none.
    """
    if isinstance(trust, str):
        raise ConfigError(f"trust is {trust!r}; write a list of names: [{trust}], in Python trust=({trust!r},)")
    for name in trust:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"trust: {name!r} is no package; write its name as in Python, such as mypackage")


def _is_trusted(target: str, trust: Collection[str]) -> bool:
    return any(f"{target}.".startswith(f"{name}.") for name in (*trust, *plugins()))


def _door(slot: tuple[str, ...], target: Any) -> str:
    """How the user lets a target in, where that may be."""
    if slot not in BASES or not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        return "Only what subtext ships is built from it, and nothing in that place"
    name = target.partition(".")[0]
    if name in {known.partition(".")[0] for known in SLOTS[slot]}:
        name = target  # one class, not all of a library that is large
    ways = f"--trust {name}, for subtext-train trust=[{name}], in Python trust=({name!r},)"
    return f"If you know '{name}' to be safe, let it in: {ways}"


def _refusal(source: Path | str, place: tuple[str, ...], target: Any, remedy: str) -> TrustError:
    return TrustError(
        f"{source}: {'.'.join((*place, '_target_'))!r} is {str(target)[:100]!r}, and no folder may name that there; "
        f"nothing of it was run. A folder may be somebody else's. {remedy}"
    )


def _check_kind(source: Path | str, place: tuple[str, ...], target: str) -> None:
    """Refuse what a trusted package holds for other ends, before it is called."""
    found, wanted = locate(target), BASES[_slot(place)]
    # What a package merely imports is not its own.
    is_own = str(getattr(found, "__module__", "")).partition(".")[0] == target.partition(".")[0]
    made = found if inspect.isclass(found) else _given_by(found)
    if not is_own or not inspect.isclass(made) or not issubclass(made, locate(wanted)):
        raise _refusal(
            source, place, target, f"Of a package that you trust, only a {wanted} of its own may stand in that place"
        )


def _given_by(function: Any) -> Any:
    """What a function says that it returns."""
    try:
        return typing.get_type_hints(function).get("return")
    except (AttributeError, NameError, TypeError):
        return None


def _targets(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield place, value["_target_"]
        for key, inner in value.items():
            yield from _targets(inner, (*place, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield from _targets(inner, (*place, str(number)))


def _texts(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*place, str(key)))


def _slot(place: tuple[str, ...]) -> tuple[str, ...]:
    """The entry of `SLOTS` that a place belongs to; the place itself where there is none."""
    return next((slot for slot in SLOTS if len(slot) == len(place) and _matches(slot, place)), place)


def _matches(slot: tuple[str, ...], place: tuple[str, ...]) -> bool:
    return all(part in ("*", own) for part, own in zip(slot, place, strict=True))
