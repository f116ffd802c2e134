"""The wall around what a run or model folder may have built: its targets are compared by name, before any import.

A configuration that the user wrote is code, and may name anything. A folder that `resume=`, `subtext-robustness` or
`subtext-predict` reads may be somebody else's, so it may name what this package ships, each in its own place, and no
more: not another part of the package, and no other class of the libraries that the shipped configuration names.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from subtext.errors import TrustError

MOVED: Final[Mapping[str, str]] = {
    "subtext.task.IncongruenceTask": "subtext.model.task.IncongruenceTask",
    "subtext.task.warmup_cosine": "subtext.model.task.warmup_cosine",
    "subtext.sweeps.grid.GridSampler": "subtext.sweeps.samplers.GridSampler",
    "subtext.sweeps.pruners.PatientPruner": "subtext.sweeps.samplers.PatientPruner",
    "subtext.fusion.posterior.PosteriorFusion": "subtext.model.posterior.PosteriorCells",
}
"""Where the classes are that configurations and models of earlier versions name elsewhere."""

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


def renamed(content: Any) -> Any:
    """What an earlier version wrote (a configuration, a model's description), with the names that classes have now.

    Example:
        >>> renamed({"task": {"_target_": "subtext.task.IncongruenceTask"}})
        {'task': {'_target_': 'subtext.model.task.IncongruenceTask'}}
    """
    if isinstance(content, Mapping):
        return {k: MOVED.get(str(v), v) if k == "_target_" else renamed(v) for k, v in content.items()}
    return [renamed(value) for value in content] if isinstance(content, list) else content


def check_targets(content: Mapping[str, Any], source: Path | str) -> None:
    """Refuse a configuration or a model's description of a folder that names anything else than `SLOTS` lists.

    Nothing is imported, and so nothing is run: names are compared as text, those in nested nodes and in arguments too.

    Args:
        content: plain values, as read from YAML or JSON.
        source: the file they were read from, for the message.

    Raises:
        TrustError: naming the first place that is not allowed.
    """
    try:
        for place, target in _targets(content, ()):
            if not isinstance(target, str) or target not in SLOTS.get(_slot(place), ()):
                raise TrustError(
                    f"{source}: {'.'.join((*place, '_target_'))!r} is {str(target)[:100]!r}, and no folder may name "
                    "that there; nothing of it was run. A folder may be somebody else's: only what subtext ships is "
                    "built from it. To use parts of your own, train from a configuration of your own"
                )
        for place, value in _texts(content.get("logger"), ("logger",)):
            # A logger joins what it is given to the folder that it writes to.
            if PurePath(value).is_absolute() or ".." in PurePath(value).parts:
                raise TrustError(
                    f"{source}: {'.'.join(place)!r} is {value[:100]!r}, which leads out of the run's logs; nothing of "
                    "it was run. Write a name"
                )
    except RecursionError as error:
        raise TrustError(f"{source}: nested too deeply to be a configuration; nothing of it was run") from error


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
