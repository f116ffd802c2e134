"""One label out of several judgements."""

import numpy as np
import pandas as pd
import pytest

from subtext.annotation.aggregation import aggregate, recorded
from subtext.annotation.codebook_file import read_codebook
from subtext.errors import AnnotationError
from subtext.manifest import build_manifest


def ratings(rows):
    columns = ["session", "turn", "rater", "label", "value"]
    return pd.DataFrame(rows, columns=columns, dtype=object).assign(start=np.nan, end=np.nan)


def votes(label, by_turn):
    return ratings(
        [
            ("s", turn, f"r{number}", label, value)
            for turn, values in by_turn.items()
            for number, value in enumerate(values)
        ]
    )


def test_majority_keeps_ties_missing_and_leaves_the_votes():
    table = aggregate(votes("incongruent", {"1": "110", "2": "10", "3": "0"}), read_codebook()).set_index("turn")
    assert list(table["incongruent"].astype(object)) == [True, pd.NA, False]
    assert list(table["incongruent_raters"]) == [3, 2, 1]
    assert table.loc["1", "incongruent_share_1"] == pytest.approx(2 / 3)
    assert table.loc["2", "incongruent_share_1"] == pytest.approx(1 / 2)
    assert table.loc["1", "incongruent_agreement"] == pytest.approx(2 / 3)
    assert pd.isna(table.loc["2", "incongruent_agreement"])
    assert set(table["incongruent_method"]) == {"majority"}


def test_a_turn_that_nobody_could_rate_has_no_label():
    rows = [("s", "1", "a", "visual_emotion", "not_visible"), ("s", "1", "a", "incongruent", "1")]
    rows += [("s", "2", "a", "visual_emotion", "fear")]
    table = aggregate(ratings(rows), read_codebook()).set_index("turn")
    assert pd.isna(table.loc["1", "visual_emotion"])
    assert table.loc["1", "visual_emotion_raters"] == 0
    assert table.loc["2", "visual_emotion"] == "fear"


def test_ordinal_labels_take_the_median_and_none_between_two_values():
    by_turn = {"1": "024", "2": "12", "3": "13", "4": "44"}
    table = aggregate(votes("engagement", by_turn), read_codebook()).set_index("turn")
    assert list(table["engagement"].astype(object)) == [2.0, pd.NA, 2.0, 4.0]
    assert set(table["engagement_method"]) == {"median"}
    by_vote = aggregate(votes("engagement", by_turn), read_codebook(), per_label={"engagement": "majority"})
    assert pd.isna(by_vote.set_index("turn").loc["1", "engagement"])


def test_labels_of_the_session_stand_in_all_its_turns():
    rows = [("s", "1", "a", "incongruent", "1"), ("s", "2", "a", "incongruent", "0")]
    table = aggregate(ratings([*rows, ("s", None, "a", "engagement_client", "3")]), read_codebook())
    assert list(table["engagement_client"]) == [3.0, 3.0]


def test_dawid_skene_outvotes_a_majority_of_bad_raters():
    rng = np.random.default_rng(0)
    rows, truth = [], {}
    for turn in range(200):
        true = int(rng.integers(0, 2))
        truth[str(turn)] = bool(true)
        for rater, right in (("good", 0.95), ("better", 0.97), ("coin", 0.5), ("coin2", 0.5), ("coin3", 0.5)):
            value = true if rng.random() < right else 1 - true
            rows.append(("s", str(turn), rater, "incongruent", str(value)))
    accuracy = {}
    for method in ("majority", "dawid_skene"):
        table = aggregate(ratings(rows), read_codebook(), method).set_index("turn")
        accuracy[method] = np.mean([table.loc[turn, "incongruent"] == true for turn, true in truth.items()])
    assert accuracy["majority"] < 0.9
    assert accuracy["dawid_skene"] > 0.93
    assert (table["incongruent_probability"] >= 0.5).all()


@pytest.mark.slow
def test_dawid_skene_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(3)
    table = votes("incongruent", {str(turn): "".join(map(str, rng.integers(0, 2, 3))) for turn in range(40)})
    first = aggregate(table, read_codebook(), "dawid_skene").set_index("turn")["incongruent_probability"]
    mixed = table.sample(frac=1, random_state=0)
    again = aggregate(mixed, read_codebook(), "dawid_skene").set_index("turn")["incongruent_probability"]
    np.testing.assert_allclose(again.loc[first.index], first, atol=1e-9)


def test_a_method_that_does_not_fit_is_refused():
    table = votes("incongruent", {"1": "10"})
    with pytest.raises(AnnotationError, match="'median' does not fit 'incongruent'"):
        aggregate(table, read_codebook(), per_label={"incongruent": "median"})
    with pytest.raises(AnnotationError, match="unknown way of aggregating 'mode'"):
        aggregate(table, read_codebook(), "mode")


def test_the_result_is_a_manifest_and_the_choice_is_recorded(tmp_path):
    rows = [("s", "1", "a", "verbal_emotion", "sadness"), ("s", "1", "a", "visual_emotion", "happiness")]
    table = aggregate(ratings(rows), read_codebook())
    manifest = build_manifest(table.assign(id="s1", speaker="p", transcript="x"), root=tmp_path, name="own")
    assert manifest.table.loc[0, "incongruence_type"] == "masking"
    assert recorded(table, read_codebook())["labels"]["verbal_emotion"] == {
        "column": "verbal_emotion",
        "unit": "turn",
        "method": "majority",
        "rows_with_ratings": 1,
        "rows_with_label": 1,
        "rows_undecided": 0,
        "rows_with_one_rater": 1,
    }


def test_a_session_that_was_judged_as_a_whole_only_is_not_lost():
    rows = [("s1", "1", "a", "incongruent", "1"), ("s1", None, "a", "engagement_client", "2")]
    table = aggregate(ratings([*rows, ("s2", None, "a", "engagement_client", "4")]), read_codebook())
    assert table["session"].tolist() == ["s1", "s2"]
    assert table["engagement_client"].tolist() == [2.0, 4.0]
    assert table["turn"].isna().tolist() == [False, True]
    assert table["incongruent_raters"].tolist() == [1, 0]
