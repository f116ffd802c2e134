"""Fixtures that every test folder shares."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before torch is imported, and for the commands that tests start: workers must not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's, not ours.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not go over a million objects again and again."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def unsynced() -> Iterator[None]:
    """Waits for no disk: a test could only tell after the power had failed. Processes that tests start do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings, faces and texts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SUBTEXT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data under {folder}; set SUBTEXT_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder that holds the YuNet face detector's weights; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SUBTEXT_MODELS", REPOSITORY.parent / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip(f"no detector weights under {folder}; set SUBTEXT_MODELS to run this test")
    return folder


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model has random weights, for what reads run folders."""
    from builders.untrained_run import write_untrained_run

    return write_untrained_run(tmp_path_factory.mktemp("untrained") / "run")


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Leaves figures empty files where they are not what is tested: to draw them takes longer than to train."""

    def savefig(self: Any, place: str | os.PathLike[str], **_: Any) -> None:
        Path(place).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", savefig)
        yield
