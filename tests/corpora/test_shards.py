"""Parts of a corpus for processes that share nothing: every row once, no recording in two."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subtext.corpora.shards import Shard, recordings
from subtext.errors import ConfigError
from subtext.manifest import Manifest, build_manifest


def manifest(files: list[tuple[str | None, str | None]]) -> Manifest:
    table = pd.DataFrame(files, columns=["video", "audio"]).assign(transcript="words", speaker="s")
    table.insert(0, "id", [f"row-{n:03d}" for n in range(len(table))])
    return build_manifest(table, root=Path(), name="parts")


@given(
    files=st.lists(
        st.tuples(st.sampled_from([None, *"abcdef"]), st.sampled_from([None, *"xyz"])), min_size=1, max_size=40
    ),
    of=st.integers(1, 5),
)
def test_every_row_is_in_one_part_with_its_recording(files: list[tuple[str | None, str | None]], of: int) -> None:
    corpus = manifest(files)
    parts = [Shard(number, of).rows(corpus) for number in range(1, of + 1)]
    assert (sum(part.astype(int) for part in parts) == 1).all()
    for column in ("video", "audio"):
        for _, rows in corpus.table.groupby(column):
            assert sum(bool(part[rows.index].any()) for part in parts) == 1
    turned = corpus.with_table(corpus.table.iloc[::-1])
    for number, part in enumerate(parts, 1):
        assert set(turned.table["id"][Shard(number, of).rows(turned)]) == set(corpus.table["id"][part])


def test_rows_that_share_a_file_through_others_are_one_recording() -> None:
    corpus = manifest([("a", "x"), ("b", "x"), ("b", None), ("c", None), (None, None), (None, None)])
    assert recordings(corpus).nunique() == 4


def test_parts_are_about_as_large() -> None:
    corpus = manifest([(f"v{n % 12}", None) for n in range(120)])
    assert [int(Shard(number, 4).rows(corpus).sum()) for number in range(1, 5)] == [30] * 4


@pytest.mark.parametrize("text", ["0/8", "9/8", "2", "a/b", "2/8/1", "-1/8", "1/0", "", "1 /8"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write which part of how many"):
        Shard.parse(text)


def test_a_part_is_written_as_it_is_read() -> None:
    assert str(Shard.parse("2/8")) == "2/8"
