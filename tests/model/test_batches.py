"""Rows and streams in memory, batches and their order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subtext.encoders.prosody import ProsodyEncoder
from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.index import FeatureIndex
from subtext.features.stream import Stream
from subtext.model.batches import (
    ClipData,
    EpochSampler,
    StreamTable,
    SwappedClips,
    embeddings,
    load_clips,
    loader,
    mix,
    shorten,
)
from subtext.model.heads import HEADS, head_specs


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_a_batch_is_what_padding_one_by_one_gives(lengths: list[int], data: st.DataObject) -> None:
    sequences = [torch.arange(n * 2, dtype=torch.float32).view(n, 2) + 100 * i for i, n in enumerate(lengths)]
    numbers = data.draw(st.lists(st.integers(-1, len(lengths) - 1), min_size=1, max_size=8))
    batch = StreamTable(sequences).batch(torch.tensor(numbers))
    if all(number < 0 for number in numbers):
        assert not batch.mask.any()
        return
    expected = Tokens.pad([sequences[n] if n >= 0 else None for n in numbers])
    assert torch.equal(batch.mask, expected.mask)
    assert torch.equal(batch.values, expected.values)


def clips(rows: int = 60, seed: int = 0) -> ClipData:
    """Rows whose streams hold their polarity and their own number; a few lack one."""
    rng = np.random.default_rng(seed)
    polarity = {m: rng.integers(-1, 2, rows) for m in ("visual", "text", "prosody")}
    table = pd.DataFrame(
        {
            "id": [f"c{n}" for n in range(rows)],
            "split": np.where(np.arange(rows) < rows // 2, "train", np.where(np.arange(rows) % 2, "val", "test")),
            "visual_polarity": pd.array(polarity["visual"], dtype="Int64"),
            "verbal_polarity": pd.array(polarity["text"], dtype="Int64"),
            "vocal_polarity": pd.array(polarity["prosody"], dtype="Int64"),
            "incongruent": pd.array(polarity["text"] != polarity["visual"], dtype="boolean"),
        }
    )
    streams, numbers = {}, {}
    for modality, values in polarity.items():
        streams[modality] = StreamTable(
            [torch.tensor([[float(values[n]), float(n)]]).repeat(n % 3 + 1, 1) for n in range(rows)]
        )
        numbers[modality] = torch.where(torch.from_numpy(rng.random(rows) < 0.1), -1, torch.arange(rows))
    return ClipData(table, streams, numbers)


def test_swapped_streams_have_the_same_polarity_and_leave_labels_and_absences_alone() -> None:
    data = clips()
    swapped = SwappedClips(data, 0.5, seed=3)
    rows = list(range(60))
    plain, mixed = data.__getitems__(rows), swapped.__getitems__(rows)
    for modality in data.streams:
        before, after = plain.streams[modality], mixed.streams[modality]
        assert torch.equal(before.present, after.present)
        here = before.present
        assert torch.equal(before.values[here, 0, 0], after.values[here, 0, 0])
        share = float((before.values[here, 0, 1] != after.values[here, 0, 1]).float().mean())
        assert 0.25 < share < 0.65, modality
    for head, values in plain.targets.items():
        assert torch.equal(values.nan_to_num(-9), mixed.targets[head].nan_to_num(-9))


def test_what_is_swapped_depends_on_seed_and_batch_alone() -> None:
    def numbers(seed: int, rows: list[int]) -> torch.Tensor:
        return SwappedClips(clips(), 0.5, seed).__getitems__(rows).streams["text"].values[:, 0, 1]

    rows = list(range(40))
    assert torch.equal(numbers(0, rows), numbers(0, rows))
    assert not torch.equal(numbers(0, rows), numbers(1, rows))
    assert not torch.equal(numbers(0, rows), numbers(0, rows[::-1]).flip(0))
    with pytest.raises(ConfigError, match=r"probability is 1.5"):
        SwappedClips(clips(), 1.5, 0)


def test_labels_that_do_not_follow_from_the_parts_are_no_ground_for_exchange() -> None:
    data = clips()
    turned = data.table["incongruent"].to_numpy(copy=True)
    same = (data.table["verbal_polarity"] == 0) & (data.table["visual_polarity"] == 0)
    same &= data.table["vocal_polarity"] == 1
    turned[np.flatnonzero(same)[0]] ^= True
    assert same.sum() > 1
    wrong = ClipData(data.table.assign(incongruent=turned), data.streams, data.numbers)
    with pytest.raises(ConfigError, match=r"task\.swap=0\.5 .* 'incongruent' does not follow"):
        SwappedClips(wrong, 0.5, 0).check_labels(["incongruent"])
    SwappedClips(wrong, 0.5, 0).check_labels(["visual_polarity"])
    SwappedClips(data, 0.5, 0).check_labels(["incongruent"])
    # Words without labels stay in their rows, and what they make of a label stays with them.
    wordless = ClipData(data.table.drop(columns="verbal_polarity"), data.streams, data.numbers)
    SwappedClips(wordless, 0.5, 0).check_labels(["incongruent"])


def test_permuting_deals_streams_out_anew_and_their_polarity_with_them() -> None:
    data = clips()
    mixed = data.permuted(seed=1)
    for modality, column in (("visual", "visual_polarity"), ("text", "verbal_polarity"), ("prosody", "vocal_polarity")):
        before, after = data.numbers[modality], mixed.numbers[modality]
        assert torch.equal(before < 0, after < 0)
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert (before != after).float().mean() > 0.7
        here = after >= 0
        shown = mixed.__getitems__(range(60)).streams[modality].values[:, 0, 0]
        labels = torch.tensor(mixed.table[column].astype(int).to_numpy())
        assert torch.equal(shown[here].long(), labels[here])
    assert mixed.table["incongruent"].tolist() == data.table["incongruent"].tolist()
    assert not torch.equal(mixed.numbers["visual"], mixed.numbers["text"])
    assert torch.equal(mixed.numbers["visual"], data.permuted(seed=1).numbers["visual"])


def test_replacing_a_split_leaves_the_others() -> None:
    data = clips()
    whole = data.replacing("train", data.split("train").permuted(0))
    for split in ("val", "test"):
        assert whole.split(split).table["id"].tolist() == data.split(split).table["id"].tolist()
        assert torch.equal(whole.split(split).numbers["text"], data.split(split).numbers["text"])
    assert set(whole.split("train").table["id"]) == set(data.split("train").table["id"])
    assert not torch.equal(whole.split("train").numbers["text"], data.split("train").numbers["text"])


def test_single_streams_count_each_distinct_stream_once() -> None:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "split": ["train", "train", "train", "val"],
            "visual_polarity": pd.array([1, 1, -1, None], dtype="Int64"),
            "vocal_polarity": pd.array([0, 1, 0, 1], dtype="Int64"),
            "engagement": [1.0, 2.0, 3.0, 4.0],
        }
    )
    streams = {m: StreamTable([torch.full((2, 1), float(n)) for n in range(3)]) for m in ("visual", "prosody", "text")}
    numbers = {
        "visual": torch.tensor([0, 0, 1, 2]),
        "prosody": torch.tensor([0, 1, -1, 2]),
        "text": torch.tensor([0, 1, 2, 0]),
    }
    single = ClipData(table, streams, numbers).as_single_streams(head_specs(["visual_polarity", "vocal_polarity"]))
    assert single.table["id"].tolist() == ["visual:a", "visual:c", "prosody:a", "prosody:b", "prosody:d"]
    assert set(single.streams) == {"visual", "prosody"}
    present = torch.stack([single.present["visual"], single.present["prosody"]])
    assert (present.sum(dim=0) == 1).all()
    assert single.table["visual_polarity"].fillna(-9).tolist() == [1, -1, -9, -9, -9]
    assert single.table["vocal_polarity"].fillna(-9).tolist() == [-9, -9, 0, 1, 1]
    assert single.table["engagement"].isna().all()


def test_order_comes_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(7)  # the global generator is of no account
        sampler = EpochSampler(50, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert sorted(order(0, 3)) == list(range(50))
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


def test_the_same_seed_gives_the_same_batches() -> None:
    def rows(seed: int) -> list[list[int]]:
        return [batch.rows.tolist() for batch in loader(clips(), 16, seed=seed, shuffle=True)]

    assert rows(5) == rows(5)
    assert rows(5) != rows(6)
    assert [len(batch) for batch in rows(5)] == [16, 16, 16]
    assert [b.rows.tolist() for b in loader(clips(), 25)] == [list(range(25)), list(range(25, 50)), list(range(50, 60))]
    assert len(list(loader(clips(8), 16, shuffle=True))) == 1


def test_processes_share_the_order_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(3):
        monkeypatch.setattr("subtext.model.batches.rank_and_count", lambda rank=rank: (rank, 3))
        sampler = EpochSampler(32, 0)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == 10
    assert len(set().union(*shares)) == 30


def test_neighbouring_seeds_have_nothing_in_common() -> None:
    assert len({mix(a, b) for a in range(50) for b in range(50)}) == 2500
    assert mix(1, 2) != mix(2, 1)


def test_long_streams_are_thinned_evenly_and_voices_cut_to_their_middle() -> None:
    steps = np.arange(100)[:, None]
    assert shorten(steps, 200, "visual") is steps
    assert shorten(steps, 5, "visual")[:, 0].tolist() == [0, 25, 50, 74, 99]
    assert shorten(steps, 4, "prosody")[:, 0].tolist() == [48, 49, 50, 51]


def index_of(keys: dict[str, dict[str, str | None]]) -> FeatureIndex:
    rows = [(row, m, key, "ok" if key else "absent") for m, of in keys.items() for row, key in of.items()]
    table = pd.DataFrame(rows, columns=["id", "modality", "key", "status"])
    return FeatureIndex(table.assign(reason="", n_steps=1, step_shape="4"), {})


def voice(seed: int, steps: int) -> Stream:
    values = np.random.default_rng(seed).normal(size=(steps, 4)).astype(np.float32)
    return Stream(values, np.arange(steps, dtype=np.float64))


def test_frozen_embeddings_are_computed_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)
    for n in range(40):
        cache.write(f"{n:040x}", voice(n, 20 + n))
    keys = [f"{n:040x}" for n in range(40)]
    torch.manual_seed(0)
    encoder = ProsodyEncoder(input_dim=4, channels=8, layers=1, dim=16)
    calls = []
    embed = ProsodyEncoder.embed
    monkeypatch.setattr(ProsodyEncoder, "embed", lambda self, s: calls.append(len(s.mask)) or embed(self, s))
    first = embeddings(encoder, keys, cache, 100)
    assert sum(calls) == 40
    second = embeddings(encoder, keys, cache, 100)
    assert sum(calls) == 40
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    alone = encoder.eval().embed(Tokens.pad([torch.from_numpy(voice(7, 27).values)])).values[0]
    torch.testing.assert_close(first[7], alone, atol=1e-5, rtol=0)
    # Other weights and other limits are other embeddings.
    torch.manual_seed(1)
    embeddings(ProsodyEncoder(input_dim=4, channels=8, layers=1, dim=16), keys, cache, 100)
    assert sum(calls) == 81
    embeddings(encoder, keys, cache, 10)
    assert sum(calls) == 121


def test_an_interrupted_embedding_finds_the_same_digits_again(tmp_path: Path) -> None:
    keys = [f"{n:040x}" for n in range(40)]
    torch.manual_seed(0)
    encoder = ProsodyEncoder(input_dim=4, channels=8, layers=1, dim=16)
    results = []
    for name in ("whole", "broken"):
        cache = FeatureCache(tmp_path / name)
        for n, key in enumerate(keys):
            cache.write(key, voice(n, 20 + n))
        results.append(embeddings(encoder, keys, cache, 100))
    there = sorted((tmp_path / "broken").glob("??/*.safetensors"))
    made = [p for p in there if p.stem not in keys]
    for path in made[::3]:
        path.unlink()
    again = embeddings(encoder, keys, FeatureCache(tmp_path / "broken"), 100)
    for whole, broken, repaired in zip(*results, again, strict=True):
        assert torch.equal(whole, broken)
        assert torch.equal(whole, repaired)


def test_rows_of_identical_content_share_a_stream() -> None:
    cache = MemoryCache()
    for name in ("x", "y"):
        cache.write(name, voice(ord(name), 5))
    table = pd.DataFrame({"id": ["a", "b", "c"], "split": "train"})
    index = index_of({"prosody": {"a": "x", "b": "x", "c": None}, "text": {"a": "y", "b": None, "c": "y"}})
    encoders = {
        "text": TextEncoder(embed_dim=4, dim=16),
        "prosody": ProsodyEncoder(input_dim=4, channels=8, layers=1, dim=16, trainable=True),
    }
    data = load_clips(table, index, cache, encoders, {"text": 4, "prosody": 4})
    assert len(data.streams["prosody"]) == len(data.streams["text"]) == 1
    assert data.numbers["prosody"].tolist() == [0, 0, -1]
    assert data.present["text"].tolist() == [True, False, True]
    assert not data.present["visual"].any()
    assert data.embedded == {"text"}
    assert int(data.streams["prosody"].lengths[0]) == 4
    with pytest.raises(ConfigError, match=r"task.max_steps.prosody"):
        load_clips(table, index, cache, encoders, {"text": 4})
    empty = index_of({"prosody": {"a": None}})
    with pytest.raises(ConfigError, match="no row has a stream"):
        load_clips(table, empty, cache, encoders, {"text": 4, "prosody": 4})


def test_targets_follow_selection() -> None:
    data = clips()
    part = data.select([5, 3, 8])
    batch = part.__getitems__([0, 1, 2])
    for name in HEADS:
        torch.testing.assert_close(batch.targets[name], data.targets[name][[5, 3, 8]], equal_nan=True)
    assert part.only(["text"]).streams.keys() == {"text"}
    moved = batch.to("cpu")
    assert torch.equal(moved.rows, batch.rows)
