"""From a manifest to streams in a cache and a table that says what became of every row."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import ConfigError
from subtext.features.cache import Cache, MemoryCache, stream_key
from subtext.features.extractor import Extractor, NoSource, Source
from subtext.features.index import INDEX_COLUMNS, FeatureIndex
from subtext.features.precomputed import PrecomputedFeatures
from subtext.features.stream import StreamInfo
from subtext.features.workers import Job, Outcome, do_job, do_jobs
from subtext.manifest import Manifest

_Bars = Callable[[str, int], Callable[[int], object]]
"""Begins a bar of a name and a length; what it gives moves the bar on by so many."""
_PATHS_AT_ONCE: Final = 32
_TEXTS_AT_ONCE: Final = 1024
"""Texts embedded between two reports of progress; long enough for batches of like length."""


def extract(
    manifest: Manifest,
    extractors: Mapping[str, Extractor],
    cache: Cache,
    *,
    workers: int = 0,
    progress: bool = True,
) -> FeatureIndex:
    """Make every stream that is not in the cache yet.

    A row whose `features` file holds a modality takes it from there, whatever else the row names. Identical content is
    extracted once, wherever it stands. What fails is reported in the index and tried again the next time.

    Args:
        manifest: the rows.
        extractors: one for each modality.
        cache: where streams are looked up and kept.
        workers: processes that decode; 0 = none besides this one (a `MemoryCache` always has none).
        progress: show bars, if standard error is a terminal.

    Returns:
        One row per manifest row and modality.

    Raises:
        CacheError: the cache cannot be written.
        WeightsError: weights that an extractor needs are missing or altered.
        ConfigError: an extractor stands under another modality's name, or `workers` is negative.
    """
    for modality, extractor in extractors.items():
        if extractor.modality != modality:
            raise ConfigError(
                f"the extractor of '{extractor.modality}' stands under '{modality}'; put it under its own"
            )
    if workers < 0:
        raise ConfigError(f"workers={workers} must be 0 or more")
    with _bars(progress) as begin:
        plans = [_Plan(manifest, extractor) for extractor in extractors.values()]
        _name(plans, cache, begin)
        _fill(plans, cache, 0 if isinstance(cache, MemoryCache) else workers, begin)
        tables = [plan.table(manifest, cache) for plan in plans]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(INDEX_COLUMNS))
    return FeatureIndex(table, {plan.extractor.modality: plan.fingerprint() for plan in plans})


def _name(plans: Sequence["_Plan"], cache: Cache, begin: _Bars) -> None:
    """Find the key of every row, and which streams are there."""
    paths = list(dict.fromkeys(path for plan in plans for path in plan.paths()))
    contents: dict[Path, str | OSError] = {}
    advance = begin("Looking at files", len(paths))
    for first in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths[first : first + _PATHS_AT_ONCE]
        contents |= cache.contents(some)
        advance(len(some))
    for plan in plans:
        plan.name(contents)
        plan.outcomes |= cache.check(key for key in plan.keys if key is not None)


def _fill(plans: Sequence["_Plan"], cache: Cache, workers: int, begin: _Bars) -> None:
    """Make the streams that are not there: texts here and in batches, files in workers and the largest first."""
    planned = [(plan, job) for plan in plans for job in plan.jobs()]
    here = [(plan, job) for plan, job in planned if not plan.by(job).in_workers]
    away = [(plan, job) for plan, job in planned if plan.by(job).in_workers]
    away.sort(key=lambda pair: _size(pair[1]), reverse=True)
    owner = {key: plan for plan, job in (*here, *away) for key, _ in job.items}
    extractors = {name: extractor for plan in plans for name, extractor in plan.extractors().items()}
    done: list[str] = []

    def keep(outcomes: Iterator[tuple[str, Outcome]], advance: Callable[[int], object]) -> None:
        for key, outcome in outcomes:
            owner[key].outcomes[key] = outcome
            if isinstance(outcome, StreamInfo):
                done.append(key)
            advance(1)

    try:
        if here:
            advance = begin("Embedding texts", sum(len(job.items) for _, job in here))
            for plan, job in here:
                keep(do_job(job, plan.by(job), cache), advance)
        if away:
            advance = begin("Extracting from files", sum(len(job.items) for _, job in away))
            keep(do_jobs([job for _, job in away], extractors, cache, workers), advance)
    finally:
        cache.settle(done)


class _Plan:
    """What one modality's streams are made of, row by row, and what became of them."""

    def __init__(self, manifest: Manifest, extractor: Extractor) -> None:
        self.extractor = extractor
        self.given = PrecomputedFeatures(extractor.modality)
        self.sources = extractor.sources(manifest)
        self.is_given = [False] * len(self.sources)
        if manifest.table["features"].notna().any():
            for row, source in enumerate(self.given.sources(manifest)):
                if isinstance(source, Source) or source.status == "failed":
                    self.sources[row], self.is_given[row] = source, True
        self.keys: list[str | None] = [None] * len(self.sources)
        self.outcomes: dict[str, Outcome] = {}

    def extractors(self) -> dict[str, Extractor]:
        """Both by the names that jobs use."""
        return {self.extractor.modality: self.extractor, f"{self.extractor.modality} given": self.given}

    def by(self, job: Job) -> Extractor:
        """What does a job."""
        return self.extractors()[job.extractor]

    def paths(self) -> Iterator[Path]:
        """The files that rows name."""
        return (source.path for source in self.sources if isinstance(source, Source) and source.path is not None)

    def fingerprint(self) -> str:
        """Of the extractor, or of precomputed streams if there are no others."""
        given = [is_given for key, is_given in zip(self.keys, self.is_given, strict=True) if key is not None]
        return self.given.fingerprint() if given and all(given) else self.extractor.fingerprint()

    def name(self, contents: Mapping[Path, str | OSError]) -> None:
        """Find the key of every row."""
        prints: dict[bool, str] = {}
        for row, source in enumerate(self.sources):
            if isinstance(source, NoSource):
                continue
            content = _text_digest(source.texts) if source.path is None else contents[source.path]
            if isinstance(content, OSError):
                self.sources[row] = NoSource("failed", _unreadable(content))
                continue
            given = self.is_given[row]
            if given not in prints:
                prints[given] = (self.given if given else self.extractor).stream_fingerprint()
            self.keys[row] = stream_key(
                content, source.segment, prints[given], is_picture=source.is_picture, side=source.side
            )

    def jobs(self) -> list[Job]:
        """What is not there yet: the streams of one file together, texts in large portions."""
        files: dict[tuple[str, Path | None, bool], dict[str, Source]] = {}
        seen = set(self.outcomes)
        for key, source, given in zip(self.keys, self.sources, self.is_given, strict=True):
            if key is not None and key not in seen and isinstance(source, Source):
                seen.add(key)
                name = f"{self.extractor.modality} given" if given else self.extractor.modality
                files.setdefault((name, source.path, source.is_picture), {})[key] = source
        jobs = []
        for (name, path, _), streams in files.items():
            items = sorted(streams.items(), key=lambda item: len("".join(item[1].texts)))
            step = len(items) if path else _TEXTS_AT_ONCE
            jobs += [Job(name, tuple(items[first : first + step])) for first in range(0, len(items), step)]
        return jobs

    def table(self, manifest: Manifest, cache: Cache) -> pd.DataFrame:
        """One row per manifest row."""
        results = [self._result(row) for row in range(len(self.sources))]
        table = pd.DataFrame(results, columns=["status", "reason", "n_steps", "step_shape"])
        extracted = [
            key if status == "ok" and not given else None
            for key, status, given in zip(self.keys, table["status"], self.is_given, strict=True)
        ]
        final = self.extractor.finish(extracted, manifest, cache)
        table["key"] = [
            key if given else last for key, last, given in zip(self.keys, final, self.is_given, strict=True)
        ]
        _refuse_other_shapes(table)
        table["key"] = table["key"].astype("string").where(table["status"] == "ok")
        table.insert(0, "id", manifest.table["id"].to_numpy())
        table.insert(1, "modality", self.extractor.modality)
        known = [self.outcomes.get(key or "") for key in self.keys]
        quality = pd.DataFrame([dict(o.quality) if isinstance(o, StreamInfo) else {} for o in known], dtype="float64")
        return pd.concat([table[list(INDEX_COLUMNS)], quality], axis="columns")

    def _result(self, row: int) -> tuple[str, str, int, str]:
        source, key = self.sources[row], self.keys[row]
        outcome = source if isinstance(source, NoSource) else self.outcomes[key or ""]
        if isinstance(outcome, NoSource):
            return outcome.status, outcome.reason, 0, ""
        if not outcome.n_steps:
            return "absent", outcome.reason, 0, ""
        return "ok", "", outcome.n_steps, "x".join(str(side) for side in outcome.step_shape)


def _refuse_other_shapes(table: pd.DataFrame) -> None:
    # Streams of one modality go into one batch. Only precomputed ones can differ; most decide what is right.
    shapes = table.loc[table["status"] == "ok", "step_shape"].value_counts()
    for shape in shapes.index[1:]:
        rows = table.index[(table["status"] == "ok") & (table["step_shape"] == shape)]
        table.loc[rows, "reason"] = f"its steps have the size {shape}, most rows' {shapes.index[0]}; save them alike"
        table.loc[rows, "status"] = "failed"
        table.loc[rows, "n_steps"] = 0
        table.loc[rows, "step_shape"] = ""


def _text_digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; correct the manifest or put the file there"
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file; correct the manifest"
    remedy = "check its rights" if isinstance(error, PermissionError) else "correct the manifest or copy the file again"
    return f"the file cannot be read ({error.strerror}); {remedy}"


def _size(job: Job) -> int:
    path = job.items[0][1].path
    try:
        return path.stat().st_size if path else 0
    except OSError:
        return 0


@contextmanager
def _bars(progress: bool) -> Iterator[_Bars]:
    if not progress or not sys.stderr.isatty():
        yield lambda what, total: lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        yield lambda what, total: partial(shown.advance, shown.add_task(what, total=total))
