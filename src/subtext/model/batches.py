"""Rows and their streams in memory, batch by batch, in an order that only the seed and the epoch decide."""

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from subtext.core.schema import Share, checked
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError
from subtext.features.cache import Cache
from subtext.features.index import FeatureIndex
from subtext.features.stream import Stream
from subtext.labels import EMOTION_COLUMN, MODALITIES, POLARITY_COLUMN
from subtext.model.heads import HEADS, HeadSpec

log = logging.getLogger(__name__)

EMBEDDING_BATCH: Final = 32


@dataclass(frozen=True)
class Batch:
    """Some rows.

    Attributes:
        streams: by modality; an absent one is a row of False.
        targets: float `[batch]` by head, NaN where unlabelled.
        rows: their numbers in the data, `[batch]`.
        readings: `[batch, classes]` by head, see `ClipData.readings`; empty where the model's own readers are to read.
        means: `[batch, width]` by head, see `ClipData.means`.
    """

    streams: dict[str, Tokens]
    targets: dict[str, Tensor]
    rows: Tensor
    readings: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        return Batch(
            {modality: tokens.to(device, non_blocking) for modality, tokens in self.streams.items()},
            {head: values.to(device, non_blocking=non_blocking) for head, values in self.targets.items()},
            self.rows.to(device, non_blocking=non_blocking),
            {head: values.to(device, non_blocking=non_blocking) for head, values in self.readings.items()},
            {head: values.to(device, non_blocking=non_blocking) for head, values in self.means.items()},
        )


class StreamTable:
    """One modality's distinct streams end to end in one tensor, so that a batch is one indexing operation.

    Args:
        sequences: `[time_i, ...]`, all of one kind.
    """

    def __init__(self, sequences: Sequence[Tensor]) -> None:
        self.lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long)
        self.starts = self.lengths.cumsum(0) - self.lengths
        # The row of zeros at the end is what padding points to.
        self.values = torch.cat([*sequences, torch.zeros_like(sequences[0][:1])])

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, numbers: Tensor) -> Tokens:
        """Pad some streams to the longest of them.

        Args:
            numbers: which ones, `[batch]`; -1 is an absent row.
        """
        lengths = torch.where(numbers >= 0, self.lengths[numbers], 0)
        steps = torch.arange(max(1, int(lengths.max())))
        mask = steps < lengths[:, None]
        index = torch.where(mask, self.starts[numbers][:, None] + steps, len(self.values) - 1)
        return Tokens(self.values[index], mask)


class ClipData(Dataset[Batch]):
    """Rows of a manifest with their streams and labels.

    Args:
        table: the rows.
        streams: by modality, the distinct streams.
        numbers: by modality, which stream each row has, long `[rows]`; -1 for none.
        embedded: modalities whose streams are a frozen backbone's output.

    Attributes:
        readings: by head, what readers say that were not fitted to this speaker: of every stream of its modality,
            `[streams, classes]`, or of every row, `[rows, classes]`. Of training rows, where something learns from
            readings; empty otherwise.
        means: by head, the mean figures of each row's person, `[rows, width]`; empty without baselines.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        streams: Mapping[str, StreamTable],
        numbers: Mapping[str, Tensor],
        embedded: frozenset[str] = frozenset(),
    ) -> None:
        self.table = table.reset_index(drop=True)
        self.streams = dict(streams)
        self.numbers = dict(numbers)
        self.embedded = embedded
        self.targets = {name: spec.targets(self.table) for name, spec in HEADS.items()}
        self.readings: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.long)
        return self._batch(index, {modality: numbers[index] for modality, numbers in self.numbers.items()})

    def _batch(self, rows: Tensor, numbers: Mapping[str, Tensor]) -> Batch:
        """Some rows' labels with streams of these numbers."""
        return Batch(
            {modality: streams.batch(numbers[modality]) for modality, streams in self.streams.items()},
            {head: values[rows] for head, values in self.targets.items()},
            rows,
            {head: read[numbers.get(HEADS[head].modality or "", rows)] for head, read in self.readings.items()},
            {head: means[rows] for head, means in self.means.items()},
        )

    def distinct(self, modality: str) -> Iterator[Tensor]:
        """Every distinct stream that the rows have of a modality, once: `[time, ...]` each."""
        table, numbers = self.streams[modality], self.numbers[modality]
        for number in numbers[numbers >= 0].unique().tolist():
            start = int(table.starts[number])
            yield table.values[start : start + int(table.lengths[number])]

    @property
    def present(self) -> dict[str, Tensor]:
        """Which rows have which modality, bool `[rows]` each; False throughout for a modality that is off."""
        nowhere = torch.zeros(len(self), dtype=torch.bool)
        return {m: self.numbers[m] >= 0 if m in self.numbers else nowhere for m in MODALITIES}

    def select(self, rows: Sequence[int] | np.ndarray | Tensor) -> "ClipData":
        """Some of the rows, in that order."""
        index = torch.as_tensor(rows, dtype=torch.long)
        numbers = {modality: which[index] for modality, which in self.numbers.items()}
        return ClipData(self.table.iloc[index.numpy()], self.streams, numbers, self.embedded)

    def split(self, name: str) -> "ClipData":
        """The rows of one split."""
        return self.select(np.flatnonzero((self.table["split"] == name).fillna(False).to_numpy(dtype=bool)))

    def only(self, modalities: Sequence[str]) -> "ClipData":
        """The same rows with some of their modalities."""
        return ClipData(
            self.table,
            {m: s for m, s in self.streams.items() if m in modalities},
            {m: n for m, n in self.numbers.items() if m in modalities},
            self.embedded & frozenset(modalities),
        )

    def replacing(self, split: str, part: "ClipData") -> "ClipData":
        """The same rows with those of one split replaced by `part`, which shares their streams."""
        others = self.select(np.flatnonzero((self.table["split"] != split).fillna(True).to_numpy(dtype=bool)))
        numbers = {m: torch.cat([part.numbers[m], others.numbers[m]]) for m in self.numbers}
        table = pd.concat([part.table, others.table], ignore_index=True)
        return ClipData(table, self.streams, numbers, self.embedded)

    def permuted(self, seed: int) -> "ClipData":
        """The same rows with every modality's streams dealt out anew, independently of each other.

        Labels of the fusion stay where they are; polarity and emotion of a stream go with it, so that what is destroyed
        is the pairing alone. Streams change places only with streams, so that which modality a row lacks stays as it
        was.
        """
        table, numbers = self.table.copy(), {}
        for place, modality in enumerate(MODALITIES):
            if modality not in self.numbers:
                continue
            rows = torch.nonzero(self.numbers[modality] >= 0).squeeze(1)
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(mix(seed, place)))
            numbers[modality] = self.numbers[modality].clone()
            numbers[modality][rows] = self.numbers[modality][rows[order]]
            for spec in HEADS.values():
                if spec.modality == modality and spec.column in table:
                    moved = table[spec.column].array.copy()
                    moved[rows.numpy()] = moved[rows[order].numpy()]
                    table[spec.column] = moved
        return ClipData(table, self.streams, numbers, self.embedded)

    def with_permuted_persons(self, seed: int) -> "ClipData":
        """The same rows, of which another one's speaker and session are said: whose baseline they are read against."""
        columns = [column for column in ("speaker", "session") if column in self.table]
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).numpy()
        mixed = self.table[columns].iloc[order].reset_index(drop=True)
        return ClipData(self.table.assign(**mixed), self.streams, self.numbers, self.embedded)

    def as_single_streams(self, specs: Sequence[HeadSpec]) -> "ClipData":
        """One row for every distinct stream of the modalities that a head reads by itself, with that modality alone.

        For training encoders: a stream that many rows reuse counts once, with its polarity and its emotion (once a
        split and pair of labels, should these differ).
        """
        tables, picked = [], {}
        for modality in dict.fromkeys(spec.modality for spec in specs):
            if modality is None or modality not in self.numbers:
                continue
            labels = pd.DataFrame({s.name: self.targets[s.name].numpy() for s in specs if s.modality == modality})
            rows = labels.assign(n=self.numbers[modality].numpy(), split=self.table["split"])
            rows = rows[(rows["n"] >= 0) & labels.notna().any(axis=1)].drop_duplicates()
            table = self.table.loc[rows.index].copy()
            table["id"] = modality + ":" + table["id"]
            for other in HEADS.values():
                if other.modality != modality and other.column in table:
                    table[other.column] = table[other.column].mask(pd.Series(True, index=table.index))
            picked[modality] = torch.from_numpy(rows["n"].to_numpy(dtype=np.int64).copy())
            tables.append(table)
        sizes = {modality: len(which) for modality, which in picked.items()}
        numbers = {
            modality: torch.cat([picked[m] if m == modality else torch.full((n,), -1) for m, n in sizes.items()])
            for modality in sizes
        }
        table = pd.concat(tables, ignore_index=True)
        return ClipData(table, {m: self.streams[m] for m in sizes}, numbers, self.embedded & frozenset(sizes))


class SwappedClips(ClipData):
    """Training rows in which streams are exchanged for others of the same polarity label, and emotion label if asked.

    Every row keeps all its labels, but is hardly ever seen twice in the same company, so that a fusion cannot learn the
    pairs by heart and has to learn what they share. This presumes that the modalities have nothing to do with each
    other beyond their labels: so it is by construction in the constructed corpora, hardly in natural recordings.

    Args:
        data: training rows.
        probability: of exchanging a stream that carries any of these labels.
        seed: with the rows of a batch in their order, decides what is exchanged.
        heads: those that are trained. Where a modality's emotion head is among them, its streams are exchanged for
            others of the same emotion as well; what is not labelled counts as one more label.
    """

    @checked
    def __init__(self, data: ClipData, probability: Share, seed: int, heads: Collection[str] = ()) -> None:
        super().__init__(data.table, data.streams, data.numbers, data.embedded)
        self.readings = data.readings
        self.probability = probability
        self.seed = seed
        self._kinds: dict[str, Tensor] = {}
        self._pools: dict[str, dict[int, Tensor]] = {}
        for modality, numbers in self.numbers.items():
            own = [EMOTION_COLUMN[modality]] if EMOTION_COLUMN[modality] in heads else []
            labels = torch.stack([self.targets[name] for name in (POLARITY_COLUMN[modality], *own)], dim=1)
            _, kinds = labels.nan_to_num(-1).unique(dim=0, return_inverse=True)
            kinds[labels.isnan().all(dim=1)] = -1
            self._kinds[modality] = kinds
            self._pools[modality] = {
                kind: numbers[(kinds == kind) & (numbers >= 0)] for kind in kinds[kinds >= 0].unique().tolist()
            }

    def check_labels(self, heads: Collection[str]) -> None:
        """Refuse a corpus of which rows whose parts bear the same labels do not bear the same label themselves.

        Args:
            heads: whose labels.

        Raises:
            ConfigError: it is one.
        """
        # A part without labels stays in its row, and is what it is.
        parts = pd.DataFrame(
            {m: torch.where(kinds >= 0, kinds, -2 - self.numbers[m]).numpy() for m, kinds in self._kinds.items()}
        )
        for spec in HEADS.values():
            if spec.name not in heads or spec.modality is not None or spec.kind == "number":
                continue
            labels = pd.Series(self.targets[spec.name].numpy())
            if (labels.groupby([parts[m] for m in parts], sort=False).nunique() > 1).any():
                raise ConfigError(
                    f"task.swap={self.probability:g} exchanges parts of training clips, but '{spec.column}' does not "
                    "follow from the labels of the parts, so that exchanged clips would be labelled wrongly; set "
                    "task.swap=0"
                )

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        # A batch never comes again in the same order, so its rows tell the epochs apart.
        generator = torch.Generator().manual_seed(mix(self.seed, *rows))
        index = torch.as_tensor(rows, dtype=torch.long)
        drawn = {}
        for modality in self.streams:
            numbers = self.numbers[modality][index]
            swapped = (torch.rand(len(index), generator=generator) < self.probability) & (numbers >= 0)
            kinds = self._kinds[modality][index]
            for kind, pool in self._pools[modality].items():
                chosen = swapped & (kinds == kind)
                if len(pool):
                    numbers[chosen] = pool[torch.randint(len(pool), (int(chosen.sum()),), generator=generator)]
            drawn[modality] = numbers
        return self._batch(index, drawn)


def check_steps(index: FeatureIndex, encoder: Encoder) -> None:
    """Whether an encoder can read the streams of its modality.

    Raises:
        ConfigError: they are of another width or form.
    """
    rows = index.table[(index.table["modality"] == encoder.modality) & index.table["key"].notna()]
    for shape in rows["step_shape"].unique():
        encoder.check_stream([int(side) for side in shape.split("x")])


def load_clips(
    table: pd.DataFrame,
    index: FeatureIndex,
    cache: Cache,
    encoders: Mapping[str, Encoder],
    max_steps: Mapping[str, int],
    *,
    done: Collection[str] = (),
) -> ClipData:
    """Read the streams of a table's rows; where a backbone is frozen, its output instead, computed once and cached.

    Args:
        table: rows with `id`.
        index: which stream belongs to which row.
        cache: where streams are and where embeddings are kept.
        encoders: the modalities to load.
        max_steps: longest stream by modality, in steps; longer ones are shortened (see `shorten`).
        done: modalities of whose streams the cache holds what the backbone makes of them.
    """
    streams, numbers, embedded = {}, {}, set()
    for modality, encoder in encoders.items():
        keys = [index.key(row_id, modality) for row_id in table["id"]]
        distinct = sorted({key for key in keys if key is not None})
        if not distinct:
            continue
        place = {key: number for number, key in enumerate(distinct)}
        numbers[modality] = torch.tensor([-1 if key is None else place[key] for key in keys])
        limit = max_steps.get(modality)
        if limit is None:
            raise ConfigError(f"task.max_steps names no limit for {modality}; set task.max_steps.{modality}")
        if modality in done:
            sequences = [torch.from_numpy(cache.read(key).values) for key in distinct]
        else:
            check_steps(index, encoder)
            if encoder.trainable:
                sequences = [torch.from_numpy(shorten(cache.read(key).values, limit, modality)) for key in distinct]
            else:
                sequences = embeddings(encoder, distinct, cache, limit)
        if modality in done or not encoder.trainable:
            embedded.add(modality)
        streams[modality] = StreamTable(sequences)
    if not streams:
        raise ConfigError(f"no row has a stream of {', '.join(encoders)}; see the extraction's table of results")
    return ClipData(table, streams, numbers, frozenset(embedded))


def typical_clip(index: FeatureIndex, modalities: Sequence[str], max_steps: Mapping[str, int]) -> dict[str, Tokens]:
    """One clip of blank streams of the corpus's median lengths, to count operations with."""
    clip = {}
    for modality in modalities:
        rows = index.table[(index.table["modality"] == modality) & (index.table["status"] == "ok")]
        steps = min(int(rows["n_steps"].median()), max_steps[modality])
        shape = [int(side) for side in rows["step_shape"].iloc[0].split("x")]
        clip[modality] = Tokens(torch.zeros(1, steps, *shape), torch.ones(1, steps, dtype=torch.bool))
    return clip


def shorten(values: np.ndarray, limit: int, modality: str) -> np.ndarray:
    """At most `limit` steps of a stream `[time, ...]`.

    Of faces and texts evenly spaced steps are kept. Frames of prosody must stay neighbours, so their middle is kept.
    """
    if len(values) <= limit:
        return values
    if modality == "prosody":
        first = (len(values) - limit) // 2
        return values[first : first + limit]
    return values[np.linspace(0, len(values) - 1, limit).round().astype(int)]


def embeddings(
    encoder: Encoder,
    keys: Sequence[str],
    cache: Cache,
    limit: int,
) -> list[Tensor]:
    """What a frozen backbone makes of each stream, `[time', embed_dim]` each, from the cache where it is there.

    Streams are embedded in fixed groups: the last digit of a result can depend on what shared a batch with it, and an
    interrupted run must find the same digits again.
    """
    if not encoder.backbone.state_dict():  # nothing to compute that would be worth keeping
        return [_embedded(encoder, [cache.read(key).values], limit)[0] for key in keys]
    fingerprint = encoder.fingerprint()
    names = {k: hashlib.sha256(f"{k} {fingerprint} {limit}".encode()).hexdigest()[:40] for k in keys}
    there = cache.check(names.values())
    for first in range(0, len(keys), EMBEDDING_BATCH):
        group = keys[first : first + EMBEDDING_BATCH]
        if all(names[key] in there for key in group):
            continue
        results = _embedded(encoder, [cache.read(key).values for key in group], limit)
        for key, result in zip(group, results, strict=True):
            values = result.numpy()
            cache.write(names[key], Stream(values, np.arange(len(values), dtype=np.float64), {}, ""))
    return [torch.from_numpy(cache.read(names[key]).values) for key in keys]


def _embedded(encoder: Encoder, streams: Sequence[np.ndarray], limit: int) -> list[Tensor]:
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    raw = Tokens.pad([torch.from_numpy(shorten(values, limit, encoder.modality)) for values in streams])
    was_training = encoder.training
    encoder.eval()
    with torch.inference_mode():
        embedded = encoder.embed(raw.to(device)).to("cpu")
    encoder.train(was_training)
    return [values[mask].clone() for values, mask in zip(embedded.values, embedded.mask, strict=True)]


class EpochSampler(Sampler[int]):
    """Row numbers in an order that the seed and the epoch decide, and nothing else.

    Under several processes each takes its own share of the same order.

    Args:
        rows: how many rows there are.
        seed: the run's seed.
        shuffle: whether to shuffle at all.
    """

    def __init__(self, rows: int, seed: int, shuffle: bool = True) -> None:
        self.rows = rows
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the training loop does so before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // rank_and_count()[1] if self.shuffle else -(-self.rows // rank_and_count()[1])

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        order = torch.randperm(self.rows, generator=generator) if self.shuffle else torch.arange(self.rows)
        rank, number = rank_and_count()
        return iter(order[rank::number][: len(self)].tolist())


def loader(
    data: ClipData, batch_size: int, *, seed: int = 0, shuffle: bool = False, processes: int = 1
) -> DataLoader[Batch]:
    """Batches of a data set; in training order, without a short last batch, if `shuffle`.

    Args:
        data: the rows.
        batch_size: rows of a batch, in each process.
        seed: of the order.
        shuffle: whether this is for training.
        processes: how many will share the rows.
    """
    sampler = EpochSampler(len(data), seed, shuffle)
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_as_it_is,
        drop_last=shuffle and len(data) // processes >= batch_size,
    )


def mix(*numbers: int) -> int:
    """One seed out of several numbers, such that neighbours have nothing to do with each other."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")


def _as_it_is(batch: Any) -> Any:
    return batch


def rank_and_count() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
