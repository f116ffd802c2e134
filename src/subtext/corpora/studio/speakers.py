"""Who the speakers are: looks and voices drawn from a seed."""

from dataclasses import dataclass
from typing import Final

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue in 0-255."""


def _colours(written: str) -> tuple[Colour, ...]:
    return tuple((red, green, blue) for red, green, blue in map(bytes.fromhex, written.split()))


SKINS: Final = _colours("f6d8c1 eec8ac e4b896 d6a882 c4926c ac7a58 96694e 845b45")
HAIRS: Final = _colours("221c1a 3a2a20 5c3e28 805430 ba9258 d6b880 964826 928e8b")
EYES: Final = _colours("462e1e 62462a 4a5c3c 466280 606c70")
SHIRTS: Final = _colours("3c4e6e 783c3e 46604e 605c5a 967e5c 564268 282e36 a8a8a0")
WALLS: Final = _colours("b0b4b2 96a2aa beb4a0 8c9684 80787c cac8c4 6e7a84")
BEARDS: Final = ("none", "stubble", "moustache", "full")
GLASSES: Final = ("none", "round", "square")


@dataclass(frozen=True)
class Look:
    """A face. Lengths are shares of the usual length, biases belong to the face at rest.

    Attributes:
        rest_mouth: curve of the resting mouth; above 0 the corners point up.
        rest_brow: tilt of the resting brows; above 0 the inner ends are high.
        rest_lid: opening of the resting eyes relative to the usual one.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    wall: Colour
    hair_style: str
    beard: str
    glasses: str
    face_width: float
    face_height: float
    jaw: float
    eye_size: float
    eye_distance: float
    eye_height: float
    brow_thickness: float
    brow_height: float
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    lip_thickness: float
    lip_redness: float
    wrinkles: float
    freckles: bool
    rest_mouth: float
    rest_brow: float
    rest_lid: float


@dataclass(frozen=True)
class Voice:
    """A voice.

    Attributes:
        f0: usual pitch, Hz.
        tract: length of the vocal tract relative to an average man's; formants are divided by it.
        rate: syllables per second.
        spread: usual spread of the pitch, semitones.
        tilt: frequency above which the glottal source falls off, Hz.
        breath: share of breath noise in the source.
        jitter: usual irregularity of the glottal periods, a share of the period.
        level: usual loudness relative to full scale (root mean square).
    """

    f0: float
    tract: float
    rate: float
    spread: float
    tilt: float
    breath: float
    jitter: float
    level: float


@dataclass(frozen=True)
class Speaker:
    """Looks and voice of one person."""

    look: Look
    voice: Voice


def draw_speaker(seed: int, number: int) -> Speaker:
    """The speaker of that number: always the same one for a seed."""
    rng = np.random.default_rng([seed, 11, number])
    deep = rng.random() < 0.5
    return Speaker(_draw_look(rng, deep), _draw_voice(rng, deep))


def _draw_look(rng: np.random.Generator, deep: bool) -> Look:
    styles = ("short", "side", "curly", "receding") if deep else ("short", "long", "bob", "curly", "bun", "long")
    beard = str(rng.choice(BEARDS, p=(0.5, 0.2, 0.12, 0.18))) if deep else "none"
    skin = int(rng.integers(len(SKINS)))
    # Hair is hardly ever brighter than the skin; the detector has learned that too.
    hair = int(rng.integers(len(HAIRS))) if skin < 3 else int(rng.choice([0, 0, 1, 1, 2]))
    return Look(
        skin=_vary(SKINS[skin], 8, rng),
        hair=_vary(HAIRS[hair], 8, rng),
        iris=_vary(EYES[rng.integers(len(EYES))], 8, rng),
        shirt=_vary(SHIRTS[rng.integers(len(SHIRTS))], 14, rng),
        wall=_vary(WALLS[rng.integers(len(WALLS))], 14, rng),
        hair_style=str(rng.choice(styles)),
        beard=beard,
        glasses=str(rng.choice(GLASSES, p=(0.74, 0.13, 0.13))),
        face_width=rng.uniform(0.92, 1.08),
        face_height=rng.uniform(0.94, 1.06),
        jaw=rng.uniform(0.0, 1.0) * (1.0 if deep else 0.6),
        eye_size=rng.uniform(0.88, 1.12),
        eye_distance=rng.uniform(0.94, 1.06),
        eye_height=rng.uniform(-1, 1),
        brow_thickness=rng.uniform(0.8, 1.3) if deep else rng.uniform(0.6, 1.0),
        brow_height=rng.uniform(-1, 1),
        nose_length=rng.uniform(0.9, 1.12),
        nose_width=rng.uniform(0.85, 1.2),
        mouth_width=rng.uniform(0.88, 1.12),
        mouth_height=rng.uniform(-1, 1),
        lip_thickness=rng.uniform(0.75, 1.3),
        lip_redness=rng.uniform(0.2, 0.7) if deep else rng.uniform(0.4, 1.0),
        wrinkles=rng.uniform(0, 1) ** 2,
        freckles=bool(rng.random() < 0.12),
        rest_mouth=rng.normal(0, 0.10),
        rest_brow=rng.normal(0, 0.15),
        rest_lid=rng.uniform(0.88, 1.08),
    )


def _draw_voice(rng: np.random.Generator, deep: bool) -> Voice:
    return Voice(
        f0=rng.uniform(92, 150) if deep else rng.uniform(165, 245),
        tract=rng.uniform(0.95, 1.06) if deep else rng.uniform(0.82, 0.92),
        rate=rng.uniform(3.9, 5.1),
        spread=rng.uniform(1.5, 2.4),
        tilt=rng.uniform(1000, 1500),
        breath=rng.uniform(0.02, 0.10),
        jitter=rng.uniform(0.004, 0.010),
        level=rng.uniform(0.045, 0.075),
    )


def _vary(colour: Colour, most: float, rng: np.random.Generator) -> Colour:
    red, green, blue = (int(np.clip(part + rng.uniform(-most, most), 0, 255)) for part in colour)
    return red, green, blue
