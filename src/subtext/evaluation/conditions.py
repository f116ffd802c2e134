"""The ways in which streams are spoiled, how strongly, and on which scale the strengths lie."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from subtext.errors import ConfigError
from subtext.labels import MODALITIES

CLEAN: Final = "clean"
"""The condition of the rows that nothing was done to: the run's own predictions."""
DROP: Final = "drop"
DROPPED: Final = 1.0
"""The strength that stands beside a dropped modality."""


@dataclass(frozen=True)
class Condition:
    """One way of spoiling one modality.

    Attributes:
        name: `modality:what`, as on the command line and in tables.
        modality: the stream that is spoiled; the others stay as they are.
        strength: what its strength is, for tables and axes.
        default: strengths that are tried where nobody names others.
        clean: the strength at which nothing is changed.
        highest: the largest strength that means anything.
        scale: what `level` gives, for captions.
        precomputed: whether it is done to figures that another tool measured, and not to recordings or words.
    """

    name: str
    modality: str
    strength: str
    default: tuple[float, ...]
    clean: float = 0.0
    highest: float = 1.0
    scale: str = ""
    precomputed: bool = False

    @property
    def noise(self) -> bool:
        """Whether the strength is a signal-to-noise ratio: less is stronger."""
        return self.clean == math.inf

    def level(self, strength: float) -> float:
        """Place of a strength on the axis along which areas are taken; 0 is clean.

        A signal-to-noise ratio has no finite clean end in dB, so noise is placed by its amplitude as a share of the
        signal's, 10^(-SNR / 20): 20 dB at 0.1, 0 dB at 1. Other strengths are their own place.
        """
        return 10 ** (-strength / 20) if self.noise else strength

    def check(self, strength: float) -> float:
        """The strength itself.

        Raises:
            ConfigError: it means nothing here.
        """
        if self.noise:
            if math.isnan(strength) or not -40 <= strength <= 80:
                raise ConfigError(f"{self.name}: {strength:g} is no {self.strength}; use -40 to 80")
        elif not 0 < strength <= self.highest:
            raise ConfigError(
                f"{self.name}: {strength:g} is no {self.strength}; use more than 0, up to {self.highest:g}"
            )
        return strength


_SNR: Final = (20.0, 10.0, 5.0, 0.0)
# Of blur and occlusion so little that YuNet still finds part of the faces: beyond, a spoiled face is a missing one.
_AMPLITUDE: Final = "amplitude of the noise by that of the signal"
CONDITIONS: Final[Mapping[str, Condition]] = {
    condition.name: condition
    for condition in (
        Condition("visual:blur", "visual", "sd of the blur by the height of the face", (0.01, 0.02, 0.04, 0.08)),
        Condition("visual:occlusion", "visual", "share of the face's box that is covered", (0.1, 0.2, 0.3, 0.5)),
        Condition("prosody:noise", "prosody", "SNR of white noise (dB)", _SNR, math.inf, scale=_AMPLITUDE),
        Condition("prosody:pink", "prosody", "SNR of pink noise (dB)", _SNR, math.inf, scale=_AMPLITUDE),
        Condition("text:word_error", "text", "word error rate", (0.1, 0.25, 0.5, 0.75)),
        *(
            Condition(
                f"{m}:feature_noise", m, "SNR of standardised figures (dB)", _SNR, math.inf, 1.0, _AMPLITUDE, True
            )
            for m in MODALITIES
        ),
    )
}


def dropped(name: str) -> tuple[str, ...]:
    """The modalities that a condition drops; none where it is of another kind."""
    kind, _, which = name.partition(":")
    return tuple(which.split("+")) if kind == DROP else ()


def drop_conditions(modalities: Sequence[str]) -> list[str]:
    """`drop:visual`, `drop:visual+text` ...: every set of modalities whose absence leaves at least one."""
    return [
        f"{DROP}:{'+'.join(gone)}"
        for size in range(1, len(modalities))
        for gone in itertools.combinations(modalities, size)
    ]


def chosen_conditions(
    asked: Sequence[str] | None,
    strengths: Mapping[str, Sequence[float]],
    modalities: Sequence[str],
    applies: Callable[[Condition], bool],
) -> list[tuple[str, float]]:
    """Conditions and strengths to try, in the order of `CONDITIONS`, what is dropped first.

    Args:
        asked: names, also `drop` for all that drop; None takes all that apply.
        strengths: by condition, instead of its defaults; what equals clean is left out, it is there anyway.
        modalities: those that the model reads.
        applies: whether there is anything in the test rows that a condition could be done to.

    Raises:
        ConfigError: a name or a strength cannot be used with this run.
    """
    if asked is not None and not asked:
        raise ConfigError("no condition is named; name some, or leave the option out to try all that apply")
    drops = drop_conditions(modalities)
    possible = [*drops, *(name for name, c in CONDITIONS.items() if c.modality in modalities and applies(c))]
    known = [*drops, DROP, *CONDITIONS]
    for name in (*(asked or ()), *strengths):
        if name not in known:
            raise ConfigError(f"there is no condition '{name}'; use {', '.join([DROP, *possible])}")
        if name not in possible and name != DROP:
            modality = CONDITIONS[name].modality
            why = (
                f"reads no {modality}"
                if modality not in modalities
                else f"reads {modality} from {'media or words' if CONDITIONS[name].precomputed else 'column features'}"
            )
            raise ConfigError(f"condition '{name}' does nothing to this run, which {why}; use {', '.join(possible)}")
    for name in strengths:
        if name not in CONDITIONS:
            raise ConfigError(f"'{name}' has no strength: a modality is there or it is not")
        if asked is not None and name not in asked:
            raise ConfigError(f"strengths are given for '{name}', which is not among the conditions; add or leave out")
    wanted = possible if asked is None else [n for n in possible if n in asked or (n in drops and DROP in asked)]
    pairs: list[tuple[str, float]] = []
    for name in wanted:
        if name in drops:
            pairs.append((name, DROPPED))
            continue
        condition = CONDITIONS[name]
        chosen = dict.fromkeys(strengths.get(name, condition.default))
        pairs += [(name, condition.check(float(s))) for s in chosen if float(s) != condition.clean]
    return pairs
