"""Polarity and emotion maps, the incongruence rule and its types.

The type names describe patterns between two channels, not intentions. They follow E-THER (arXiv 2509.02100) and, behind
it, Ekman's display rules and Hill's verbal-nonverbal congruence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

NEGATIVE: Final = -1
NEUTRAL: Final = 0
POSITIVE: Final = 1
POLARITIES: Final = (NEGATIVE, NEUTRAL, POSITIVE)
POLARITY_NAMES: Final = ("negative", "neutral", "positive")

MODALITIES: Final = ("visual", "text", "prosody")
"""The three streams of evidence, in the order that every table and tensor keeps."""

POLARITY_COLUMN: Final[Mapping[str, str]] = {
    "visual": "visual_polarity",
    "text": "verbal_polarity",
    "prosody": "vocal_polarity",
}
"""The label column that says what each modality shows."""

EMOTION_COLUMN: Final[Mapping[str, str]] = {
    "visual": "visual_emotion",
    "text": "verbal_emotion",
    "prosody": "vocal_emotion",
}
"""The label column that says which emotion each modality shows."""

INCONGRUENCE_TYPES: Final = (
    "congruent",
    "minimizing",
    "masking",
    "leakage",
    "flat_positivity",
    "unvoiced_warmth",
)

ETHER_TYPES: Final = ("minimizing", "contradiction", "none")
"""The types of E-THER's own scheme, as far as its abstract and figure can be read."""

ETHER_OF_TYPE: Final[Mapping[str, str]] = {
    "congruent": "none",
    "minimizing": "minimizing",
    "masking": "contradiction",
    "leakage": "contradiction",
    "flat_positivity": "contradiction",
    "unvoiced_warmth": "none",
}
"""Our types in that scheme. Minimizing is distress in the words under a face that stays mostly neutral, as the paper's
figure says; every other pattern that the default rule counts as incongruent is taken for a contradiction, which is this
project's reading."""

EMOTION_POLARITY: Final[Mapping[str, int | None]] = {
    "happiness": POSITIVE,
    "happy": POSITIVE,
    "joy": POSITIVE,
    "neutral": NEUTRAL,
    "calm": NEUTRAL,
    "sadness": NEGATIVE,
    "sad": NEGATIVE,
    "anger": NEGATIVE,
    "angry": NEGATIVE,
    "fear": NEGATIVE,
    "fearful": NEGATIVE,
    "disgust": NEGATIVE,
    "contempt": NEGATIVE,
    "surprise": None,
    "surprised": None,
}
"""Emotion word -> polarity. Surprise has none: it may be pleasant or unpleasant."""

EMOTIONS: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "contempt", "surprised")
"""The emotions that the words of `EMOTION_POLARITY` name. Calm is not neutral: RAVDESS has both."""

_SYNONYMS: Final[Mapping[str, str]] = {
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "surprise": "surprised",
}

_TYPE_OF_CELL: Final[Mapping[tuple[int, int], str]] = {
    (NEGATIVE, NEUTRAL): "minimizing",
    (NEGATIVE, POSITIVE): "masking",
    (NEUTRAL, NEGATIVE): "leakage",
    (POSITIVE, NEGATIVE): "leakage",
    (POSITIVE, NEUTRAL): "flat_positivity",
    (NEUTRAL, POSITIVE): "unvoiced_warmth",
}


def emotion_polarity(emotion: str) -> int | None:
    """Polarity of an emotion word, None where the word has no settled polarity.

    Raises:
        KeyError: the word is not in `EMOTION_POLARITY`.
    """
    return EMOTION_POLARITY[emotion.strip().lower()]


def emotion_names(words: "pd.Series") -> "pd.Series":
    """Which of `EMOTIONS` each word is; missing where it is none, which a manifest refuses."""
    names = {word: _SYNONYMS.get(word, word) for word in EMOTION_POLARITY}
    return words.astype("string").str.strip().str.lower().map(names).astype("string")


def incongruence_type(said: int, shown: int) -> str:
    """The type of one (words, face) or (words, voice) pair of polarities."""
    if said not in POLARITIES or shown not in POLARITIES:
        raise ValueError(f"polarities must be -1, 0 or 1, got said={said}, shown={shown}")
    return "congruent" if said == shown else _TYPE_OF_CELL[said, shown]


@dataclass(frozen=True)
class IncongruenceRule:
    """Which pairs of polarities count as incongruent.

    Attributes:
        count_unvoiced_warmth: count a smile under neutral words too. An affiliative smile is ordinary, so it is not
            counted by default.
    """

    count_unvoiced_warmth: bool = False

    def is_incongruent(self, said: int, shown: int) -> bool:
        """Whether one pair of polarities counts as incongruent."""
        kind = incongruence_type(said, shown)
        return kind != "congruent" and (self.count_unvoiced_warmth or kind != "unvoiced_warmth")

    def matrix(self) -> npt.NDArray[np.bool_]:
        """`[3, 3]`: incongruent or not, words' polarity down (-, 0, +), face's or voice's across."""
        return np.array([[self.is_incongruent(said, shown) for shown in POLARITIES] for said in POLARITIES])


def derive_labels(table: "pd.DataFrame", rule: IncongruenceRule | None = None) -> "pd.DataFrame":
    """Fill in `incongruent`, `vocal_incongruent`, `incongruence_type` and `contradiction` from the polarity columns.

    A label that the table already carries is kept where it is not null; one whose polarities are missing stays null.

    Returns:
        A copy of `table` with the four columns (`boolean`, `boolean`, `string`, `boolean`).

    Raises:
        ValueError: a polarity is not -1, 0 or 1.
    """
    rule = rule or IncongruenceRule()
    out = table.copy()
    said = _polarity(out, "verbal_polarity")
    shown = _polarity(out, "visual_polarity")
    voiced = _polarity(out, "vocal_polarity")
    matrix = rule.matrix()
    types = np.array([[incongruence_type(v, f) for f in POLARITIES] for v in POLARITIES], dtype=object)
    _fill(out, "incongruent", _look_up(matrix, said, shown), "boolean")
    _fill(out, "vocal_incongruent", _look_up(matrix, said, voiced), "boolean")
    _fill(out, "incongruence_type", _look_up(types, said, shown), "string")
    _fill(out, "contradiction", _look_up(np.multiply.outer(POLARITIES, POLARITIES) < 0, said, shown), "boolean")
    return out


def _polarity(table: "pd.DataFrame", column: str) -> "pd.Series[int]":
    import pandas as pd

    if column not in table:
        return pd.Series(pd.NA, index=table.index, dtype="Int64")
    values = table[column].astype("Int64")
    if not values.dropna().isin(POLARITIES).all():
        raise ValueError(f"{column} must be -1, 0, 1 or null, got {sorted(set(values.dropna()))}")
    return values


def _look_up(cells: np.ndarray, rows: "pd.Series", columns: "pd.Series") -> "pd.Series":
    import pandas as pd

    known = (rows.notna() & columns.notna()).to_numpy()
    values = np.full(len(rows), None, dtype=object)
    values[known] = cells[rows[known].astype(int).to_numpy() + 1, columns[known].astype(int).to_numpy() + 1]
    return pd.Series(values, index=rows.index)


def _fill(table: "pd.DataFrame", column: str, derived: "pd.Series", dtype: str) -> None:
    derived = derived.astype(dtype)  # type: ignore[call-overload]
    if column in table:
        known = table[column].astype(dtype)  # type: ignore[call-overload]
        # By position: the index of a table put together from others may repeat.
        derived = known.where(known.notna(), derived.array)
    table[column] = derived.array
