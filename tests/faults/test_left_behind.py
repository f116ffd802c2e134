"""What is left when a process is killed or a disk is full: no process, no half file, and words that say why."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders.dead_processes import being_written, content, full_disk, gone, left_by_the_dead
from subtext.core.processes import how_it_ended
from subtext.errors import CacheError, ConfigError, RunError, SubtextError

TESTS = Path(__file__).parents[1]

# -- parents that are killed -------------------------------------------------------------------------------------------

# Each starts workers that have something to do for a long time, and note their number where they begin.
OF_CORE = """
import multiprocessing, os, sys, time
from pathlib import Path
from subtext.core.processes import begin_work, starting_workers

def work(folder, depth):
    begin_work()
    if depth:
        with starting_workers(1):
            child = multiprocessing.get_context("spawn").Process(target=work, args=(folder, depth - 1))
            child.start()
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with starting_workers(1):
        for _ in range(2):
            context.Process(target=work, args=(sys.argv[1], 1)).start()
    time.sleep(600)
"""
OF_DDP = """
import os, subprocess, sys, time
from pathlib import Path
from subtext.core.processes import end_with_starter
end_with_starter()
if "LOCAL_RANK" not in os.environ:
    subprocess.Popen([sys.executable, *sys.argv], env=os.environ | {"LOCAL_RANK": "1"})
else:
    (Path(sys.argv[1]) / str(os.getpid())).touch()
time.sleep(600)
"""
OF_STUDIO = """
import sys
from functools import partial
from builders.slow_work import note_and_wait
from subtext.corpora.studio.corpus import _render_apart
_render_apart(2, [partial(note_and_wait, sys.argv[1])] * 4)
"""
OF_FEATURES = """
import sys
from pathlib import Path
from builders.slow_work import SlowExtractor
from subtext.features.cache import FeatureCache
from subtext.features.extractor import Source
from subtext.features.workers import Job, do_jobs
from subtext.media.segment import Segment
jobs = [Job("slow", ((f"key{n}", Source(path=Path("none"), segment=Segment())),)) for n in range(4)]
list(do_jobs(jobs, {"slow": SlowExtractor(sys.argv[1])}, FeatureCache(Path(sys.argv[1]) / "cache"), 2))
"""


def workers_of(program: str, folder: Path, number: int) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """A parent, and the numbers of its workers once they are at work."""
    script = folder / "parent.py"
    script.write_text(program)
    notes = folder / "notes"
    notes.mkdir()
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    parent = subprocess.Popen([sys.executable, str(script), str(notes)], env=os.environ | {"PYTHONPATH": paths})
    deadline = time.monotonic() + 120
    while len(pids := [int(note.name) for note in notes.iterdir() if note.name.isdecimal()]) < number:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return parent, pids


@pytest.mark.parametrize(
    ("program", "number", "how"),
    [
        pytest.param(OF_CORE, 4, signal.SIGKILL, id="any, killed"),
        pytest.param(OF_CORE, 4, signal.SIGTERM, id="any, ended"),
        pytest.param(OF_DDP, 1, signal.SIGKILL, id="copies of a command, killed"),
        pytest.param(OF_STUDIO, 2, signal.SIGKILL, id="studio, killed"),
        pytest.param(OF_STUDIO, 2, signal.SIGTERM, id="studio, ended", marks=pytest.mark.slow),
        pytest.param(OF_FEATURES, 2, signal.SIGKILL, id="features, killed"),
        pytest.param(OF_FEATURES, 2, signal.SIGTERM, id="features, ended", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_their_parent(tmp_path: Path, program: str, number: int, how: signal.Signals) -> None:
    parent, pids = workers_of(program, tmp_path, number)
    parent.send_signal(how)
    parent.wait(30)
    try:
        assert gone(pids)
    finally:
        for pid in pids:
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGKILL)


# -- what a worker that ended is said to have died of ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGTERM, "something outside ended it (SIGTERM)"),
        (-signal.SIGHUP, "something outside ended it (SIGHUP)"),
        (-signal.SIGKILL, "it was killed (SIGKILL), as a system does that is out of memory"),
        (-signal.SIGSEGV, "it crashed (SIGSEGV), a fault in a library"),
        (-200, "signal 200"),
        (3, "exit code 3"),
        (None, "exit code 0"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int | None, words: str) -> None:
    assert how_it_ended(code).startswith(words)


def ended_worker(code: int, started: bool) -> Any:
    from subtext.features.workers import Job, _Worker

    worker = _Worker.__new__(_Worker)
    worker.process = SimpleNamespace(join=lambda: None, exitcode=code)
    worker.started, worker.job, worker.waiting = started, Job("any", (("key", None),)), {"key"}
    return worker


def test_a_worker_that_was_ended_before_it_began_does_not_blame_the_extractor() -> None:
    with pytest.raises(SubtextError, match=r"SIGTERM\), as a time limit.*run the same command again") as raised:
        list(ended_worker(-signal.SIGTERM, started=False).lost())
    assert "extractor" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"cannot start \(exit code 1\).*extractor"):
        list(ended_worker(1, started=False).lost())


def test_a_worker_that_was_ended_in_its_midst_does_not_blame_the_decoder() -> None:
    ((_, outcome),) = ended_worker(-signal.SIGTERM, started=True).lost()
    assert "SIGTERM" in outcome.reason
    assert "decoder" not in outcome.reason
    assert "memory" not in outcome.reason


@pytest.mark.parametrize(("code", "words"), [(-signal.SIGTERM, "run the same command again"), (1, "__main__")])
def test_a_sweep_s_workers_that_end_before_they_begin_say_why(
    monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    from multiprocessing import Pipe

    from subtext.sweeps import workers

    class Dead:
        def __init__(self, plan: Any) -> None:
            self.pipe, other = Pipe()
            other.close()
            self.trial = None

        def told(self) -> tuple[str, int]:
            return "died", code

        def end(self) -> None:
            self.pipe.close()

    monkeypatch.setattr(workers, "_Process", Dead)
    with pytest.raises(SubtextError, match=words) as raised:
        workers.work(SimpleNamespace(workers=2))
    assert ("workers=0" in str(raised.value)) == (code == 1)


# -- files that were not finished --------------------------------------------------------------------------------------


def write_stream(folder: Path) -> None:
    from subtext.features.cache import FeatureCache
    from subtext.features.stream import Stream

    FeatureCache(folder).write("ab12", Stream(np.zeros((50, 40), np.float32), np.arange(50.0), {}))


def write_index(folder: Path) -> None:
    from subtext.features.index import INDEX_COLUMNS, FeatureIndex

    FeatureIndex(pd.DataFrame({name: ["x"] for name in INDEX_COLUMNS}), {}).save(folder)


def write_checkpoint(folder: Path) -> None:
    import torch

    from subtext.model.checkpoints import LAST, SafeCheckpointIO

    SafeCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.zeros(1000)}}, folder / LAST)


def write_weights(folder: Path) -> None:
    from safetensors.numpy import save

    from subtext.core.writing import write_bytes
    from subtext.model.checkpoints import BEST
    from subtext.runs.folder import writing_into

    with writing_into(folder):
        write_bytes(folder / BEST, save({"weight": np.zeros(1000, np.float32)}))


def write_trials(folder: Path) -> None:
    from subtext.core.tables import write_csv

    write_csv(pd.DataFrame({"score": np.arange(300.0)}), folder / "trials.csv")


def write_predictions(folder: Path) -> None:
    from subtext.runs.folder import RunFile, RunFolder

    RunFolder(folder).write_table(RunFile.PREDICTIONS, pd.DataFrame({"prob": np.random.default_rng(0).random(500)}))


def write_page(folder: Path) -> None:
    from subtext.core.writing import write_text

    write_text(folder / "report.md", "long" * 1000)


def write_figure(folder: Path) -> None:
    from subtext.report.drawing import save, sheet

    save(sheet(4, 3), folder / "figure.png")


def write_clip(folder: Path) -> None:
    from subtext.corpora.studio import Studio
    from subtext.corpora.studio.render import PictureFormat, clips_of, render_clip

    plan = Studio(folder, size="tiny").plan()
    render_clip(clips_of(plan, folder)[0], 0, PictureFormat(64, 48, 5))


def write_export(folder: Path) -> None:
    from subtext.core.writing import write_parquet

    write_parquet(folder / "export.parquet", pd.DataFrame({"id": np.random.default_rng(0).random(500)}))


WRITERS: dict[str, tuple[Callable[[Path], None], type[Exception]]] = {
    "a stream of the feature cache": (write_stream, CacheError),
    "the table of extraction results": (write_index, CacheError),
    "last.ckpt": (write_checkpoint, RunError),
    "best.safetensors": (write_weights, RunError),
    "trials.csv": (write_trials, OSError),
    "predictions.parquet": (write_predictions, RunError),
    "report.md": (write_page, OSError),
    "a figure": (write_figure, OSError),
    "a clip of studio": (write_clip, OSError),
    "an export": (write_export, OSError),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    write, error = WRITERS[name]
    with full_disk(1000), pytest.raises(error):
        write(tmp_path)
    assert content(tmp_path) == {}
    write(tmp_path)  # once there is room again
    assert content(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_run_removes_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path, name: str) -> None:
    write, _ = WRITERS[name]
    folder = tmp_path / "unfinished" if write is write_stream else tmp_path
    left = left_by_the_dead(folder / "half.bin")
    with being_written(folder / "other.bin") as living:
        write(tmp_path)
        assert living.exists()
        assert not left.exists()


def test_a_finished_corpus_is_rid_of_what_a_killed_build_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from subtext.corpora.studio import Studio

    def write(clip: Any, seed: int, picture: Any) -> None:
        clip.path.write_bytes(b"clip")

    monkeypatch.setattr("subtext.corpora.studio.render.render_clip", write)
    studio = Studio(tmp_path, size="tiny", workers=0)
    studio.build()
    left = left_by_the_dead(tmp_path / "clips" / "studio-000001.mp4")
    studio.build()
    assert not left.exists()


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_failure_s_notes_are_no_reason_to_fail_on_a_full_disk(tmp_path: Path) -> None:
    from subtext.sweeps.workers import Worker

    worker = Worker.__new__(Worker)
    worker.plan = SimpleNamespace(folder=tmp_path)
    claim = SimpleNamespace(trial=SimpleNamespace(number=1, user_attrs={}))
    with full_disk(10):
        worker._write_failure(claim, "a long traceback " * 100)
    assert content(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_s_workers_end_with_it(tmp_path: Path, how: signal.Signals) -> None:
    from builders.sweep_commands import Commands

    commands = Commands(tmp_path)
    process = commands.start("workers=2", "trials=4", env={"FAKE_SLEEP": "600"})
    deadline = time.monotonic() + 300
    while len(commands.runs()) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert gone([run["pid"] for run in commands.runs()])
