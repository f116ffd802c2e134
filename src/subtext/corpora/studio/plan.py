"""Who says what, and how: the table of clips, drawn before anything is rendered.

Every clip has a twin of the same speaker that shows the same face and voice polarity in the same recording conditions
(duration, light, size, noise, gain, weak expression, occlusion, missing face or sound) and differs in the words: one of
the two is congruent, the other is not. And every sentence is said as often in congruent as in incongruent clips. So
neither face, nor voice, nor words, nor anything about the file tells the label, exactly and not only on average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import pandas as pd
from annotated_types import Interval

from subtext.core.schema import checked
from subtext.corpora.cells import draw_cells, quotas
from subtext.corpora.studio.sentences import SENTENCES, Sentence
from subtext.errors import ConfigError
from subtext.labels import POLARITIES
from subtext.manifest import SPLITS

CELL_UNIT: Final = 40
"""The shares of the cells are multiples of 1/40: other numbers of clips cannot be balanced exactly."""

_SENTENCE_SHARE: Final[Mapping[str, float]] = {"train": 7 / 12, "val": 2 / 12, "test": 3 / 12}


_Clips = Annotated[float, Interval(ge=0, le=0.5)]


@checked
@dataclass(frozen=True)
class Nuisance:
    """How much the recording conditions vary, all drawn independently of every polarity.

    Attributes:
        lighting: 0 is even studio light; 1 varies brightness, contrast, colour and direction widely.
        scale: spread of the face's size in the picture, as a share of its mean size.
        noise: 0 is clean; 1 gives up to 7 grey levels of picture noise and down to 12 dB of signal-to-noise ratio in
            the sound.
        weak_expression: share of clips whose face hardly moves, and, independently, whose voice does.
        occlusion: share of clips in which a hand, cup or microphone covers part of the face for a while.
        no_face: share of clips in which the speaker is out of the picture.
        no_sound: share of clips without an audio stream.
    """

    lighting: Annotated[float, Interval(ge=0, le=2)] = 1.0
    scale: Annotated[float, Interval(ge=0, le=0.3)] = 0.15
    noise: Annotated[float, Interval(ge=0, le=3)] = 1.0
    weak_expression: _Clips = 0.10
    occlusion: _Clips = 0.08
    no_face: _Clips = 0.05
    no_sound: _Clips = 0.05


@dataclass(frozen=True)
class SplitSize:
    """Clips and speakers of one split."""

    clips: int
    speakers: int


def draw_plan(
    sizes: Mapping[str, SplitSize],
    *,
    seed: int,
    voice_follows_face: float,
    nuisance: Nuisance,
    duration: tuple[float, float],
    sentences: Sequence[Sentence] = SENTENCES,
) -> pd.DataFrame:
    """The table of clips in random order, one row a clip, with everything that rendering needs.

    Args:
        sizes: clips and speakers of each split.
        seed: the same seed gives the same table.
        voice_follows_face: probability that the voice has the face's polarity; else it has one of the other two.
        nuisance: recording conditions.
        duration: shortest and longest clip in seconds.
        sentences: what can be said.

    Raises:
        ConfigError: a number of clips that cannot be balanced, or durations out of range.
    """
    if not 0.5 <= duration[0] <= duration[1] <= 30:
        raise ConfigError(f"studio: durations must rise and lie in 0.5-30 s, got {duration[0]} to {duration[1]}")
    said = _share_out(sentences, np.random.default_rng([seed, 1]))
    parts = []
    first_speaker = 0
    for number, split in enumerate(SPLITS):
        size = sizes[split]
        if size.clips <= 0 or size.clips % CELL_UNIT:
            raise ConfigError(
                f"studio: {size.clips} {split} clips cannot be balanced exactly; use a positive multiple of {CELL_UNIT}"
            )
        if not 0 < size.speakers <= size.clips // 2:
            raise ConfigError(
                f"studio: {size.clips} {split} clips cannot be shared by {size.speakers} speakers; "
                f"use 1 to {size.clips // 2} speakers"
            )
        rng = np.random.default_rng([seed, 2, number])
        pairs = _draw_pairs(size, voice_follows_face, nuisance, duration, rng)
        pairs["speaker_number"] = pairs["speaker_number"] + first_speaker
        clips = _twin(pairs)
        _assign_sentences(clips, said[split], rng)
        clips["split"] = split
        clips["pair"] = [f"{split}-{pair:05d}" for pair in clips["pair"]]
        parts.append(clips)
        first_speaker += size.speakers
    table = pd.concat(parts, ignore_index=True)
    order = np.random.default_rng([seed, 3]).permutation(len(table))
    return table.iloc[order].reset_index(drop=True)


def clip_id(number: int) -> str:
    """Name of a clip: its place in a random order, which tells nothing about it."""
    return f"studio-{number:06d}"


def _share_out(sentences: Sequence[Sentence], rng: np.random.Generator) -> dict[str, dict[int, list[Sentence]]]:
    """Sentences of each split by polarity, shared out within each topic."""
    said: dict[str, dict[int, list[Sentence]]] = {split: {p: [] for p in POLARITIES} for split in SPLITS}
    for topic in dict.fromkeys(sentence.topic for sentence in sentences):
        for polarity in POLARITIES:
            group = [s for s in sentences if s.topic == topic and s.polarity == polarity]
            counts = quotas(len(group), [_SENTENCE_SHARE[split] for split in SPLITS])
            shuffled = [group[index] for index in rng.permutation(len(group))]
            for split, count in zip(SPLITS, counts, strict=True):
                said[split][polarity] += shuffled[:count]
                shuffled = shuffled[count:]
    return said


def _draw_pairs(
    size: SplitSize,
    voice_follows_face: float,
    nuisance: Nuisance,
    duration: tuple[float, float],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row a pair of clips: face, voice, the words of the incongruent twin, speaker and recording conditions."""
    cells = draw_cells(size.clips, rng)
    rows = []
    for face in POLARITIES:
        # Neutral words with a smile do not occur in the table of cells, so unequal means incongruent by any rule.
        words = sorted(words for words, shown in cells if shown == face and words != face)
        for word in sorted(set(words)):
            voices = _voices(face, words.count(word), voice_follows_face, rng)
            rows += [(face, voice, word) for voice in voices]
    pairs = pd.DataFrame(rows, columns=["face", "voice", "incongruent_words"])
    # Dealt in sorted order, so that each speaker gets as nearly as possible the same mix. Within a cell the order is
    # random.
    pairs["tie"] = rng.random(len(pairs))
    pairs = pairs.sort_values(["face", "voice", "incongruent_words", "tie"], ignore_index=True).drop(columns="tie")
    pairs["pair"] = rng.permutation(len(pairs))
    pairs["speaker_number"] = rng.permutation(size.speakers)[np.arange(len(pairs)) % size.speakers]
    # A pair lacks the face or the sound, never both.
    missing = _every(nuisance.no_face + nuisance.no_sound, len(pairs), rng)
    faceless = np.zeros(len(pairs), dtype=bool)
    where = np.flatnonzero(missing)
    total = nuisance.no_face + nuisance.no_sound
    faceless[where[_every(nuisance.no_face / total if total else 0.0, len(where), rng)]] = True
    pairs["face_shown"] = ~faceless
    pairs["sound_recorded"] = ~(missing & ~faceless)
    pairs["weak_face"] = _every(nuisance.weak_expression, len(pairs), rng)
    pairs["weak_voice"] = _every(nuisance.weak_expression, len(pairs), rng)
    pairs["occluded"] = _every(nuisance.occlusion, len(pairs), rng) & pairs["face_shown"]
    _draw_conditions(pairs, nuisance, duration, rng)
    return pairs


def _voices(face: int, count: int, follows: float, rng: np.random.Generator) -> list[int]:
    others = [polarity for polarity in POLARITIES if polarity != face]
    others = [others[index] for index in rng.permutation(2)]
    counts = quotas(count, [follows, (1 - follows) / 2, (1 - follows) / 2])
    return [voice for voice, times in zip([face, *others], counts, strict=True) for _ in range(times)]


def _every(share: float, total: int, rng: np.random.Generator) -> np.ndarray:
    """`[total]` bool with a fixed number of True, one at random in each of as many stretches of the (sorted) rows.

    At a fixed step two conditions of the same share would meet always or never.
    """
    chosen = np.zeros(total, dtype=bool)
    edges = np.linspace(0, total, round(share * total) + 1).astype(int)
    chosen[rng.integers(edges[:-1], edges[1:])] = True
    return chosen


def _draw_conditions(
    pairs: pd.DataFrame, nuisance: Nuisance, duration: tuple[float, float], rng: np.random.Generator
) -> None:
    n = len(pairs)
    weak, strong = rng.uniform(0.05, 0.30, (2, n)), rng.uniform(0.70, 1.0, (2, n))
    pairs["face_intensity"] = np.where(pairs["weak_face"], weak[0], strong[0])
    pairs["voice_intensity"] = np.where(pairs["weak_voice"], weak[1], strong[1])
    pairs["duration"] = rng.uniform(*duration, n).round(2)
    pairs["face_scale"] = 1 + nuisance.scale * rng.uniform(-1, 1, n)
    pairs["light"] = nuisance.lighting * rng.uniform(-1, 1, n)
    pairs["light_angle"] = rng.uniform(-np.pi, np.pi, n)
    pairs["contrast"] = nuisance.lighting * rng.uniform(-1, 1, n)
    pairs["warmth"] = nuisance.lighting * rng.uniform(-1, 1, n)
    pairs["picture_noise"] = nuisance.noise * rng.uniform(0.5, 7, n)
    pairs["sound_noise"] = nuisance.noise * 10 ** rng.uniform(-1.6, -0.6, n)
    pairs["gain_db"] = rng.uniform(-4, 4, n)
    pairs["occluder"] = rng.integers(0, 3, n)


def _twin(pairs: pd.DataFrame) -> pd.DataFrame:
    """Two rows a pair: words that agree with the face, and words that do not."""
    congruent = pairs.assign(words=pairs["face"], twin=0)
    incongruent = pairs.assign(words=pairs["incongruent_words"], twin=1)
    return pd.concat([congruent, incongruent], ignore_index=True).drop(columns="incongruent_words")


def _assign_sentences(clips: pd.DataFrame, said: Mapping[int, Sequence[Sentence]], rng: np.random.Generator) -> None:
    """Give each clip a sentence: within a polarity the same sentences go to both twins, each nearly equally often."""
    words, twin = clips["words"].to_numpy(), clips["twin"].to_numpy()
    chosen = np.empty(len(clips), dtype=object)
    for polarity in POLARITIES:
        pool = [said[polarity][index] for index in rng.permutation(len(said[polarity]))]
        for either in (0, 1):
            rows = np.flatnonzero((words == polarity) & (twin == either))
            for place, row in enumerate(rng.permutation(rows)):
                chosen[row] = pool[place % len(pool)]
    clips["transcript"] = [sentence.text for sentence in chosen]
    clips["topic"] = [sentence.topic for sentence in chosen]
