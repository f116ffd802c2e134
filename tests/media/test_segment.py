import logging
import math
from pathlib import Path

import pytest

from subtext.errors import MediaError
from subtext.media.segment import Segment, Span, resolve

FILE = Path("session.mp4")


def test_open_ends_are_those_of_the_file() -> None:
    spans = resolve([Segment(), Segment(2, None), Segment(None, 3), Segment(math.nan, math.nan)], 10.0, FILE)
    assert spans == [Span(0, 10, False), Span(2, 10, False), Span(0, 3), Span(0, 10, False)]


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (Segment(12, 13), "starts at 12 s but the file ends at 10.00 s"),
        (Segment(10, None), "starts at 10 s but the file ends"),
        (Segment(10, 10), "starts at 10 s but the file ends"),
        (Segment(3, 2), "ends at 2 s before it starts at 3 s"),
        (Segment(3, 3), "lasts 0 s"),
        (Segment(0, 0), "lasts 0 s"),
        (Segment(-1, 3), "starts at -1 s"),
        (Segment(8, 30), "mostly past the file's end"),
    ],
)
def test_wrong_times_are_named(segment: Segment, words: str) -> None:
    (error,) = resolve([segment], 10.0, FILE)
    assert isinstance(error, MediaError)
    assert words in str(error)
    assert str(error).startswith("session.mp4: ")
    assert "\n" not in str(error)


def test_an_end_a_little_past_the_file_is_moved_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve([Segment(8, 10.3)], 10.0, FILE) == [Span(8, 10)]
        assert not caplog.records
        assert resolve([Segment(8, 11.5)], 10.0, FILE) == [Span(8, 10)]
    assert "8 to 11.5 s" in caplog.text


def test_without_a_declared_length_times_are_believed() -> None:
    assert resolve([Segment(), Segment(500, 501)], None, FILE) == [Span(0, math.inf, False), Span(500, 501)]


def test_one_wrong_segment_leaves_the_others() -> None:
    results = resolve([Segment(1, 2), Segment(5, 4), Segment(3, 4)], 10.0, FILE)
    assert results[0] == Span(1, 2)
    assert isinstance(results[1], MediaError)
    assert results[2] == Span(3, 4)
