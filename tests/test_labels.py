"""The polarity maps, the incongruence rule, and labels derived from polarities."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subtext.labels import (
    EMOTION_POLARITY,
    EMOTIONS,
    INCONGRUENCE_TYPES,
    POLARITIES,
    IncongruenceRule,
    derive_labels,
    emotion_names,
    emotion_polarity,
    incongruence_type,
)

POLARITY = st.sampled_from([*POLARITIES, None])

# Words' polarity down, face's across: the table of the E-THER types, spelled out.
EXPECTED = {
    (-1, -1): ("congruent", False),
    (-1, 0): ("minimizing", True),
    (-1, 1): ("masking", True),
    (0, -1): ("leakage", True),
    (0, 0): ("congruent", False),
    (0, 1): ("unvoiced_warmth", False),
    (1, -1): ("leakage", True),
    (1, 0): ("flat_positivity", True),
    (1, 1): ("congruent", False),
}


@pytest.mark.parametrize(("cell", "expected"), EXPECTED.items())
def test_every_cell_has_its_type_and_label(cell: tuple[int, int], expected: tuple[str, bool]) -> None:
    kind, incongruent = expected
    assert incongruence_type(*cell) == kind
    assert IncongruenceRule().is_incongruent(*cell) is incongruent
    assert IncongruenceRule(count_unvoiced_warmth=True).is_incongruent(*cell) is (kind != "congruent")


def test_types_are_all_reachable() -> None:
    assert {kind for kind, _ in EXPECTED.values()} == set(INCONGRUENCE_TYPES)


def test_matrix_agrees_with_the_single_decision() -> None:
    for warmth in (False, True):
        rule = IncongruenceRule(warmth)
        expected = [[rule.is_incongruent(said, shown) for shown in (-1, 0, 1)] for said in (-1, 0, 1)]
        assert rule.matrix().tolist() == expected
    assert IncongruenceRule(True).matrix().sum() == IncongruenceRule(False).matrix().sum() + 1


@pytest.mark.parametrize(("said", "shown"), [(2, 0), (0, -2), (0.5, 0)])
def test_other_polarities_are_refused(said: int, shown: int) -> None:
    with pytest.raises(ValueError, match="polarities must be"):
        incongruence_type(said, shown)


def test_emotions_have_their_polarity() -> None:
    assert [emotion_polarity(word) for word in ("Joy", " calm ", "contempt", "surprise")] == [1, 0, -1, None]
    with pytest.raises(KeyError):
        emotion_polarity("bored")
    assert {EMOTION_POLARITY[word] for word in ("anger", "sadness", "fear", "disgust", "contempt")} == {-1}


@given(st.lists(st.tuples(POLARITY, POLARITY, POLARITY), min_size=1, max_size=30))
def test_derived_labels_follow_the_rule_and_missing_stays_missing(rows: list[tuple[int | None, ...]]) -> None:
    table = pd.DataFrame(rows, columns=["verbal_polarity", "visual_polarity", "vocal_polarity"], dtype="Int64")
    out = derive_labels(table)
    rule = IncongruenceRule()
    for (said, shown, voiced), row in zip(rows, out.itertuples(), strict=True):
        if said is None or shown is None:
            assert row.incongruent is pd.NA
            assert pd.isna(row.incongruence_type)
            assert row.contradiction is pd.NA
        else:
            assert row.incongruent == rule.is_incongruent(said, shown)
            assert row.incongruence_type == incongruence_type(said, shown)
            assert row.contradiction == (said * shown < 0)
        if said is None or voiced is None:
            assert row.vocal_incongruent is pd.NA
        else:
            assert row.vocal_incongruent == rule.is_incongruent(said, voiced)


def test_labels_that_are_given_are_kept() -> None:
    table = pd.DataFrame(
        {
            "verbal_polarity": [-1, -1, 1],
            "visual_polarity": [1, 1, 1],
            "incongruent": [False, None, True],
            "incongruence_type": ["leakage", None, None],
        }
    )
    out = derive_labels(table)
    assert out["incongruent"].tolist() == [False, True, True]
    assert out["incongruence_type"].tolist() == ["leakage", "masking", "congruent"]
    assert table["incongruent"].tolist() == [False, None, True], "the caller's table was changed"


def test_repeating_index_is_no_obstacle() -> None:
    # Tables put together from others keep their indices.
    table = pd.DataFrame({"verbal_polarity": [-1, 1], "visual_polarity": [1, 1], "incongruent": [None, None]})
    out = derive_labels(pd.concat([table, table]))
    assert out["incongruent"].tolist() == [True, False, True, False]
    assert out.index.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("value", [-2, 2, 7])
def test_polarity_out_of_range_is_refused(value: int) -> None:
    # -2 once counted from the end of the table and became "positive".
    with pytest.raises(ValueError, match="verbal_polarity"):
        derive_labels(pd.DataFrame({"verbal_polarity": [value], "visual_polarity": [0]}))


def test_absent_columns_give_null_labels() -> None:
    out = derive_labels(pd.DataFrame({"id": ["a"]}))
    assert out[["incongruent", "vocal_incongruent", "incongruence_type", "contradiction"]].isna().all(axis=None)
    assert out["incongruent"].dtype == "boolean"


def test_labels_import_neither_torch_nor_pandas() -> None:
    code = "import sys, subtext.labels; print([m for m in ('torch', 'pandas', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rule_accepts_numpy_integers() -> None:
    assert incongruence_type(np.int64(-1), np.int8(1)) == "masking"  # type: ignore[arg-type]


def test_words_for_one_emotion_are_one_emotion() -> None:
    words = pd.Series([*EMOTION_POLARITY, " Joy ", "FEAR", "bored", None])
    names = emotion_names(words)
    assert set(names[: len(EMOTION_POLARITY)]) == set(EMOTIONS)
    assert [emotion_polarity(name) for name in names[: len(EMOTION_POLARITY)]] == list(EMOTION_POLARITY.values())
    assert names.tolist()[-4:-2] == ["happy", "fearful"]
    assert names[-2:].isna().all()
    for one, other in (("happiness", "joy"), ("anger", "angry"), ("fearful", "fear"), ("surprise", "surprised")):
        assert emotion_names(pd.Series([one]))[0] == emotion_names(pd.Series([other]))[0]
    assert emotion_names(pd.Series(["calm"]))[0] != emotion_names(pd.Series(["neutral"]))[0]
    assert emotion_names(pd.Series([np.nan, np.nan])).isna().all()
