"""Turn-taking: conversations whose measures are counted by hand."""

import numpy as np
import pandas as pd
import pytest

from subtext.behaviour.turns import (
    BackchannelRule,
    backchannels,
    exchanges,
    latencies,
    overlap_share,
    overlap_shares,
    speaking_time,
    talk_share,
)


def conversation(*turns: tuple[str | None, float, float, str | None]) -> pd.DataFrame:
    """Turns of (person, start, end, words)."""
    return pd.DataFrame(turns, columns=["person", "start", "end", "transcript"])


TALK = conversation(
    ("counsellor", 0.0, 4.0, "How was your week?"),
    ("client", 4.5, 14.5, "Long. I hardly slept."),
    ("counsellor", 8.0, 8.5, "Mm-hm."),
    ("client", 16.0, 20.0, "And then he rang."),
    ("counsellor", 19.0, 22.0, "He rang you?"),
    ("counsellor", 23.0, 24.0, "At home?"),
    ("client", 24.25, 26.25, "At home."),
)


def test_talk_share_by_hand() -> None:
    seconds = speaking_time(TALK)
    assert seconds.to_dict() == {"client": 16.0, "counsellor": 8.5}
    assert talk_share(TALK).to_dict() == {"client": 16 / 24.5, "counsellor": 8.5 / 24.5}


def test_own_turns_that_overlap_count_once() -> None:
    turns = conversation(("client", 0.0, 10.0, None), ("client", 5.0, 12.0, None), ("client", 6.0, 7.0, None))
    assert speaking_time(turns)["client"] == 12.0


def test_latency_is_from_the_end_of_the_others_speech_and_negative_in_overlap() -> None:
    found = latencies(TALK)
    assert found.dropna().to_dict() == {1: 0.5, 4: -1.0, 6: 0.25}


def test_backchannel_and_own_continuation_transfer_no_floor() -> None:
    assert [(e.before, e.after) for e in exchanges(TALK)] == [(0, 1), (3, 4), (5, 6)]


def test_turn_inside_anothers_turn_takes_no_floor() -> None:
    turns = conversation(
        ("client", 0.0, 10.0, None), ("counsellor", 3.0, 6.0, "But did you tell him?"), ("counsellor", 11.0, 13.0, None)
    )
    assert latencies(turns).dropna().to_dict() == {2: 1.0}


def test_overlap_by_hand() -> None:
    # 0.5 s of backchannel and 1 s of taking over, of 23 s in which somebody speaks.
    assert overlap_share(TALK) == pytest.approx(1.5 / 23.0)
    shares = overlap_shares(TALK)
    assert shares.tolist() == pytest.approx([0.0, 0.05, 1.0, 0.25, 1 / 3, 0.0, 0.0])


def test_overlap_of_three_people_is_a_share() -> None:
    turns = conversation(("a", 0.0, 10.0, None), ("b", 0.0, 10.0, None), ("c", 5.0, 10.0, None))
    assert overlap_share(turns) == 1.0


def test_backchannels_inside_and_between_the_others_turns() -> None:
    turns = conversation(
        ("client", 0.0, 5.0, "I told her"),
        ("counsellor", 2.0, 2.5, "mm hm"),  # inside
        ("counsellor", 5.1, 5.6, "Okay, right."),  # between
        ("client", 6.0, 9.0, "and she left."),
        ("counsellor", 9.2, 9.8, "Why?"),  # no listener's word
        ("client", 10.0, 14.0, "I do not know."),
        ("counsellor", 14.1, 15.6, "Yeah, yeah, yeah."),  # too long
        ("client", 16.0, 17.5, "So it goes."),
        ("counsellor", 17.6, 18.0, "Okay."),  # nobody goes on for long
        ("client", 30.0, 33.0, "Well."),
    )
    assert backchannels(turns).tolist() == [False, True, True, False, False, False, False, False, False, False]
    longer = BackchannelRule(longest=2.0, resume=20.0)
    assert np.flatnonzero(backchannels(turns, longer)).tolist() == [1, 2, 6, 8]


def test_without_words_length_and_place_decide() -> None:
    turns = conversation(("client", 0, 5, None), ("counsellor", 5.1, 5.5, None), ("client", 5.6, 9, None))
    assert backchannels(turns).tolist() == [False, True, False]


def test_other_languages_words_can_be_set() -> None:
    turns = conversation(("client", 0, 5, "Ich war"), ("counsellor", 5.1, 5.5, "Ach so."), ("client", 5.6, 9, "da."))
    assert not backchannels(turns).any()
    assert backchannels(turns, BackchannelRule(words=("ach so", "ja"))).tolist() == [False, True, False]
    assert backchannels(turns, BackchannelRule(words=None)).tolist() == [False, True, False]


def test_a_first_or_last_short_turn_is_none() -> None:
    turns = conversation(("client", 0, 0.5, "Yeah."), ("counsellor", 1, 5, "So."), ("client", 5.1, 5.5, "Okay."))
    assert not backchannels(turns).any()


def test_turns_without_times_or_person_are_missing_not_zero() -> None:
    turns = conversation(
        ("client", 0, 5, None), ("counsellor", np.nan, np.nan, None), (None, 1, 4, None), ("counsellor", 6, 8, None)
    )
    assert overlap_shares(turns).isna().tolist() == [False, True, True, False]
    assert backchannels(turns).isna().tolist() == [False, True, True, False]
    assert latencies(turns).dropna().to_dict() == {3: 1.0}
    assert speaking_time(turns).to_dict() == {"client": 5.0, "counsellor": 2.0}


def test_nobody_speaks() -> None:
    turns = conversation(("client", np.nan, np.nan, None))
    assert np.isnan(overlap_share(turns))
    assert talk_share(turns).empty


@pytest.mark.parametrize("seed", range(10))
def test_properties_on_random_conversations(seed: int) -> None:
    generator = np.random.default_rng(seed)
    start = np.sort(generator.uniform(0, 300, 60))
    turns = pd.DataFrame(
        {
            "person": generator.choice(["client", "counsellor", "observer"], 60),
            "start": start,
            "end": start + generator.gamma(1.5, 2.0, 60),
        }
    )
    assert talk_share(turns).sum() == pytest.approx(1.0)
    assert 0 <= overlap_share(turns) <= 1
    assert overlap_shares(turns).between(0, 1 + 1e-9).all()
    later = turns.assign(start=turns["start"] + 1000, end=turns["end"] + 1000)
    pd.testing.assert_series_equal(talk_share(turns), talk_share(later))
    pd.testing.assert_series_equal(latencies(turns), latencies(later))
    pd.testing.assert_series_equal(backchannels(turns), backchannels(later))
    assert overlap_share(turns) == pytest.approx(overlap_share(later))
    shuffled = turns.sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(latencies(turns), latencies(shuffled).sort_index())
    pd.testing.assert_series_equal(overlap_shares(turns), overlap_shares(shuffled).sort_index())
