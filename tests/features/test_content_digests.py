"""Digests of files are computed once and remembered, by several processes at once."""

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from subtext.features import content
from subtext.features.content import DigestMemory, file_digest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    seen: list[Path] = []
    digest = content.file_digest

    def counted(path: Path) -> str:
        seen.append(path)
        return digest(path)

    monkeypatch.setattr(content, "file_digest", counted)
    return seen


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    expected = {path: hashlib.sha256(b"abc").hexdigest()}
    database = tmp_path / "memory" / "digests.sqlite"
    assert DigestMemory(database).digests([path, path]) == expected
    assert DigestMemory(database).digests([path]) == expected
    assert reads == [path]


@pytest.mark.parametrize("new", [b"abd", b"abcd"])
def test_a_changed_file_is_read_again(tmp_path: Path, reads: list[Path], new: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    memory = DigestMemory(tmp_path / "digests.sqlite")
    memory.digests([path])
    path.write_bytes(new)
    os.utime(path, ns=(7, 7))
    assert memory.digests([path]) == {path: hashlib.sha256(new).hexdigest()}
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    memory = DigestMemory(tmp_path / "digests.sqlite")
    digest = content.file_digest

    def slow(path: Path) -> str:
        found = digest(path)
        path.write_bytes(b"changed meanwhile")
        return found

    monkeypatch.setattr(content, "file_digest", slow)
    memory.digests([path])
    assert memory.recall([path]) == {}


def test_an_unreadable_file_gives_its_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = DigestMemory(tmp_path / "digests.sqlite").digests([tmp_path / "none", tmp_path / "folder"])
    assert isinstance(found[tmp_path / "none"], FileNotFoundError)
    assert isinstance(found[tmp_path / "folder"], IsADirectoryError)


def test_a_database_that_is_none_is_begun_anew(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    database = tmp_path / "digests.sqlite"
    database.write_bytes(b"this is not a database, whatever its name may say" * 100)
    memory = DigestMemory(database)
    for _ in range(3):
        assert memory.digests([path]) == {path: hashlib.sha256(b"abc").hexdigest()}
    assert len(reads) == 2  # the first time, and once more because nothing could be remembered then


def test_no_place_to_remember_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert DigestMemory(path / "digests.sqlite").digests([path]) == {path: hashlib.sha256(b"abc").hexdigest()}


def _store(database: Path, paths: list[Path]) -> None:
    for path in paths:
        DigestMemory(database).digests([path])


def test_processes_may_share_a_database(tmp_path: Path) -> None:
    paths = []
    for number in range(80):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(bytes([number]))
    database = tmp_path / "digests.sqlite"
    context = multiprocessing.get_context("spawn")
    crew = [context.Process(target=_store, args=(database, paths[first::2])) for first in (0, 1)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert [process.exitcode for process in crew] == [0, 0]
    assert len(DigestMemory(database).recall(paths)) == len(paths)


@pytest.mark.parametrize("name", ["digests.sqlite", "digests.sqlite-wal", "digests.sqlite-journal"])
def test_a_memory_that_is_a_link_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    own, elsewhere = tmp_path / "own" / "digests.sqlite", tmp_path / "somebody.sqlite"
    file = tmp_path / "clip.wav"
    file.write_bytes(b"sound")
    DigestMemory(own).store({file: "of the own"})
    DigestMemory(elsewhere).store({file: "of somebody else"})
    if name == own.name:
        own.unlink()
    (own.parent / name).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    memory = DigestMemory(own)
    assert memory.recall([file]) == {}
    assert memory.digests([file]) == {file: file_digest(file)}
    memory.store({file: "changed"})
    assert elsewhere.read_bytes() == before
    assert (own.parent / name).is_symlink()
