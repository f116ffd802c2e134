"""Processes that decode files side by side."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from subtext.core.processes import begin_work, how_it_ended, starting_workers
from subtext.core.safe_path import without_script
from subtext.errors import ConfigError, MediaError, SubtextError, unforeseen
from subtext.features.cache import Cache
from subtext.features.extractor import Extractor, NoSource, Source
from subtext.features.stream import StreamInfo
from subtext.media.named import named_by, pathless
from subtext.media.segment import StreamMissing

_READY: Final = "ready"
Outcome = StreamInfo | NoSource
"""What became of one stream."""


@dataclass(frozen=True)
class Job:
    """All that is to be made of one file in one modality, so that it is decoded once.

    Attributes:
        extractor: name of the extractor.
        items: key and source of each stream.
    """

    extractor: str
    items: tuple[tuple[str, Source], ...]


def do_job(job: Job, extractor: Extractor, cache: Cache) -> Iterator[tuple[str, Outcome]]:
    """Extract and keep the streams of one job.

    Yields:
        The key of each stream and what became of it, each key once.

    Raises:
        SubtextError: nothing can be extracted at all (weights missing, cache not writable).
    """
    # Another process may have been here since the job was planned.
    present = cache.check(key for key, _ in job.items)
    yield from present.items()
    todo = [(key, source) for key, source in job.items if key not in present]
    left = {key: "no part of the file could be used" for key, _ in todo}
    problem: NoSource | None = None
    places = {source.path: source.place for _, source in todo[:1] if source.path is not None and source.place}
    try:
        with named_by(places):
            for number, result in extractor.extract([source for _, source in todo]) if todo else ():
                key, source = todo[number]
                if isinstance(result, MediaError):
                    outcome: Outcome = _problem(result, source)
                else:
                    cache.write(key, result)
                    outcome = StreamInfo.of(result)
                if left.pop(key, None) is not None:
                    yield key, outcome
    except MediaError as error:
        problem = _problem(error, todo[0][1])
    except SubtextError:
        raise
    except Exception as error:
        texts = [(key, source) for key, source in todo if key in left and source.path is None]
        if len(texts) > 1:
            # They share a job with many others, of which one tripped it.
            for item in texts:
                yield from do_job(Job(job.extractor, (item,)), extractor, cache)
            return
        # One file that trips a decoder, in whatever way, must not cost the others.
        problem = NoSource("failed", unforeseen(error))
    for key, reason in left.items():
        yield key, problem or NoSource("failed", reason)


def do_jobs(
    jobs: Sequence[Job], extractors: Mapping[str, Extractor], cache: Cache, workers: int
) -> Iterator[tuple[str, Outcome]]:
    """Do jobs in worker processes; 0 workers do them here.

    A worker that dies (out of memory, a fault in a decoder) costs what was left of its job, which is reported, and is
    replaced. Leaving the iterator early, by Ctrl-C or an error, ends the workers; what they wrote is whole.
    """
    if workers == 0 or not jobs:
        for job in jobs:
            yield from do_job(job, extractors[job.extractor], cache)
        return
    queue = list(reversed(jobs))
    crew: list[_Worker] = []
    try:
        crew = [_Worker(extractors, cache) for _ in range(min(workers, len(jobs)))]
        for worker in crew:
            worker.give(queue.pop())
        while any(worker.job for worker in crew):
            ready = wait([worker.pipe for worker in crew if worker.job])
            for position, worker in enumerate(crew):
                if worker.pipe not in ready:
                    continue
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionError):
                    yield from worker.lost()  # raises if it never began
                    crew[position] = worker = _Worker(extractors, cache) if queue else worker
                    message = None
                if isinstance(message, SubtextError):
                    raise message
                if message == _READY:
                    worker.started = True
                    continue
                if message is not None:
                    worker.waiting.discard(message[0])
                    yield message
                elif queue:
                    worker.give(queue.pop())
                else:
                    worker.job = None
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that does one job at a time and tells each outcome as it comes."""

    def __init__(self, extractors: Mapping[str, Extractor], cache: Cache) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process that holds threads of torch may hang
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(other, dict(extractors), cache), daemon=True)
        with starting_workers(threads=1), without_script():
            self.process.start()
        other.close()
        self.started = False
        self.job: Job | None = None
        self.waiting: set[str] = set()

    def give(self, job: Job) -> None:
        """Begin a job."""
        self.job, self.waiting = job, {key for key, _ in job.items}
        with suppress(ConnectionError):  # it died: reading from it says so
            self.pipe.send(job)

    def lost(self) -> Iterator[tuple[str, Outcome]]:
        """What a worker that died leaves undone."""
        self.process.join()
        code = self.process.exitcode or 0
        how = how_it_ended(code)
        if not self.started and code < 0:
            raise SubtextError(
                f"a worker process ended before it began: {how}; run the same command again, and set fewer workers= "
                "where that comes back"
            )
        if not self.started:
            raise ConfigError(
                f"worker processes cannot start ({how}); set workers=0, and put an extractor of your own into a module "
                "and not into the script that runs"
            )
        reason = f"the process that decoded it died: {how}"
        for key, _ in self.job.items if self.job else ():
            if key in self.waiting:
                yield key, NoSource("failed", reason)
        self.job = None

    def end(self) -> None:
        """End the process, in the midst of a job if it has one."""
        self.pipe.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join()


def _work(pipe: Connection, extractors: Mapping[str, Extractor], cache: Cache) -> None:
    begin_work()
    for extractor in extractors.values():
        extractor.threads = 1
    pipe.send(_READY)
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            for outcome in do_job(job, extractors[job.extractor], cache):
                pipe.send(outcome)
            pipe.send(None)
        except SubtextError as error:
            pipe.send(error)
        except ConnectionError:  # the parent is gone
            return


def _problem(error: MediaError, source: Source) -> NoSource:
    # The row says which file it is, and a table that is passed on should not tell where it lies on this machine.
    reason = str(error) if source.path is None else pathless(error, source.path)
    return NoSource("absent" if isinstance(error, StreamMissing) else "failed", reason)
