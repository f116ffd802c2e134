"""Scheduling of extraction: once, side by side, nothing lost."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.errors import CacheError, ConfigError, MediaError, WeightsError
from subtext.features import content
from subtext.features.cache import Cache, FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor, NoSource, Source, file_sources, settings_digest
from subtext.features.index import FeatureIndex, summarise
from subtext.features.stream import Stream
from subtext.manifest import Manifest, build_manifest
from subtext.media.segment import StreamMissing


class ByteExtractor(Extractor):
    """Takes a file's bytes for frames, and does what its content says. Notes each pass in a log."""

    def __init__(self, log: Path, modality: str = "visual", setting: int = 0, pause: float = 0.0) -> None:
        self.log, self.modality, self.setting, self.pause = log, modality, setting, pause

    def fingerprint(self) -> str:
        return settings_digest({"setting": self.setting, "modality": self.modality})

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        return file_sources(manifest, ("video", "image"), "the row names no video or image")

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        path = sources[0].path
        assert path is not None
        with self.log.open("a") as log:
            log.write(f"{path.name} {len(sources)}\n")
        data = path.read_bytes()
        if data == b"no stream":
            raise StreamMissing(f"{path}: has no video stream; name one")
        if data == b"broken":
            raise MediaError(f"{path}: is cut off; copy it again")
        if data == b"bug":
            raise ValueError("shapes\ndo not match")
        if data == b"odd bug":
            raise AttributeError("no codec_context")
        if data == b"no weights":
            raise WeightsError("weights are gone; fetch them")
        for number, source in enumerate(sources):
            time.sleep(self.pause)
            if data == b"dies" and number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if data == b"forgets" and number == 1:
                continue
            if source.segment.start is not None and source.segment.start > 100:
                yield (
                    number,
                    MediaError(f"{path}: segment starts at {source.segment.start} s, past the end; correct it"),
                )
            elif data == b"empty":
                yield number, Stream(np.zeros((0, 1), np.uint8), np.zeros(0), {"face_share": 0.0}, "no face found")
            else:
                values = np.frombuffer(data, np.uint8)[:, None].copy()
                yield number, Stream(values, np.arange(len(values)) / 5.0, {"face_share": 1.0})


class Corpus:
    """A folder of files and a manifest of rows that name them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log.txt"
        self.rows: list[dict[str, object]] = []

    def add(self, row_id: str, data: bytes | None = None, name: str | None = None, **columns: object) -> None:
        name = name or f"{row_id}.bin"
        if data is not None:
            (self.root / name).write_bytes(data)
        self.rows.append({"id": row_id, "video": name, **columns})

    def manifest(self) -> Manifest:
        return build_manifest(pd.DataFrame(self.rows), root=self.root, name="corpus", groups=())

    def extract(self, cache: Cache, workers: int = 0, **settings: object) -> FeatureIndex:
        extractor = ByteExtractor(self.log, **settings)  # type: ignore[arg-type]
        return extract(self.manifest(), {extractor.modality: extractor}, cache, workers=workers)

    def passes(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "root").mkdir()
    return Corpus(tmp_path / "root")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


def results(index: FeatureIndex) -> Mapping[str, tuple[str, str]]:
    return {row.id: (row.status, row.reason) for row in index.table.itertuples()}


def test_all_segments_of_a_file_are_one_pass(corpus: Corpus, cache: FeatureCache) -> None:
    for number in range(400):
        corpus.add(f"turn{number}", b"session", name="session.bin", start=float(number) / 10, end=number / 10 + 1)
    index = corpus.extract(cache)
    assert corpus.passes() == ["session.bin 400"]
    assert (index.table["status"] == "ok").all()
    assert index.table["key"].nunique() == 400


def test_identical_content_is_extracted_once_and_shares_a_key(corpus: Corpus, cache: FeatureCache) -> None:
    corpus.add("a", b"same")
    corpus.add("b", b"same")
    corpus.add("c", None, name="a.bin")
    corpus.add("d", b"other")
    index = corpus.extract(cache)
    assert sorted(corpus.passes()) == ["a.bin 1", "d.bin 1"]
    assert index.key("a", "visual") == index.key("b", "visual") == index.key("c", "visual") != index.key("d", "visual")


def test_a_second_run_decodes_and_hashes_nothing(
    corpus: Corpus, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.add("a", b"one")
    corpus.add("b", b"empty")
    first = corpus.extract(cache)
    passes = corpus.passes()

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr(content, "file_digest", refuse)
    second = corpus.extract(FeatureCache(cache.folder))
    assert corpus.passes() == passes
    pd.testing.assert_frame_equal(first.table, second.table)


def test_another_setting_is_another_stream(corpus: Corpus, cache: FeatureCache) -> None:
    corpus.add("a", b"one")
    first, second = corpus.extract(cache, setting=0), corpus.extract(cache, setting=1)
    assert first.key("a", "visual") != second.key("a", "visual")
    assert first.fingerprints != second.fingerprints
    assert len(corpus.passes()) == 2


def test_a_half_written_stream_is_made_again(corpus: Corpus, cache: FeatureCache) -> None:
    corpus.add("a", b"one")
    corpus.add("b", b"two")
    index = corpus.extract(cache)
    path = cache.path(index.key("a", "visual") or "")
    path.write_bytes(path.read_bytes()[:-2])
    corpus.extract(cache)
    assert corpus.passes()[2:] == ["a.bin 1"]
    np.testing.assert_array_equal(cache.read(path.stem).values[:, 0], list(b"one"))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_is_reported_and_costs_nothing_else(corpus: Corpus, cache: FeatureCache, workers: int) -> None:
    corpus.add("good", b"good")
    corpus.add("gone")
    corpus.add("cut off", b"broken")
    corpus.add("no picture", b"no stream")
    corpus.add("no face", b"empty")
    corpus.add("bug", b"bug")
    corpus.add("odd bug", b"odd bug")
    corpus.add("inside", b"long", name="long.bin", start=1, end=2)
    corpus.add("outside", b"long", name="long.bin", start=101, end=102)
    corpus.add("kept", b"forgets", name="forgets.bin", start=0, end=1)
    corpus.add("forgotten", b"forgets", name="forgets.bin", start=1, end=2)
    corpus.rows.append({"id": "nothing", "transcript": "words only"})
    (corpus.root / "folder.bin").mkdir()
    corpus.add("folder")
    os.mkfifo(corpus.root / "pipe.bin")
    corpus.add("pipe")
    index = corpus.extract(cache, workers=workers)
    assert results(index) == {
        "good": ("ok", ""),
        "gone": ("failed", "no such file; correct the manifest or put the file there"),
        "cut off": ("failed", "is cut off; copy it again"),
        "no picture": ("absent", "has no video stream; name one"),
        "no face": ("absent", "no face found"),
        "bug": ("failed", "an error that nothing foresaw (ValueError); leave it out, and report the error"),
        "odd bug": ("failed", "an error that nothing foresaw (AttributeError); leave it out, and report the error"),
        "inside": ("ok", ""),
        "outside": ("failed", "segment starts at 101.0 s, past the end; correct it"),
        "kept": ("ok", ""),
        "forgotten": ("failed", "no part of the file could be used"),
        "nothing": ("absent", "the row names no video or image"),
        "folder": ("failed", "it is a folder, not a file; correct the manifest"),
        "pipe": (
            "failed",
            "the file cannot be read (a pipe or device, not a file); correct the manifest or copy the file again",
        ),
    }
    assert index.n_failed == 8
    assert index.missing() == {"visual": 11}
    ok = index.table["status"] == "ok"
    assert index.table.loc[ok, "key"].notna().all()
    assert index.table.loc[~ok, "key"].isna().all()
    assert index.key("gone", "visual") is None


@pytest.mark.parametrize("workers", [0, 2])
def test_failures_are_tried_again_and_successes_are_not(corpus: Corpus, cache: FeatureCache, workers: int) -> None:
    corpus.add("a", b"good")
    corpus.add("b", b"broken")
    corpus.extract(cache, workers=workers)
    corpus.add("b2", b"mended", name="b.bin")
    index = corpus.extract(cache, workers=workers)
    assert (index.table["status"] == "ok").all()
    assert sorted(corpus.passes()) == ["a.bin 1", "b.bin 1", "b.bin 1"]


def test_a_worker_that_dies_costs_what_was_left_of_its_file(corpus: Corpus, cache: FeatureCache) -> None:
    for number in range(3):
        corpus.add(f"dies{number}", b"dies", name="dies.bin", start=float(number), end=number + 1.0)
    for number in range(6):
        corpus.add(f"good{number}", bytes([number]) * 3)
    index = corpus.extract(cache, workers=2)
    found = results(index)
    assert found["dies0"] == ("ok", "")
    for row in ("dies1", "dies2"):
        assert found[row][0] == "failed"
        assert "died: it was killed (SIGKILL)" in found[row][1]
    assert all(found[f"good{number}"] == ("ok", "") for number in range(6))


def test_all_workers_dying_does_not_hang(corpus: Corpus, cache: FeatureCache) -> None:
    for number in range(4):
        for turn in range(2):
            corpus.add(f"{number}-{turn}", b"dies", name=f"{number}.bin", start=float(turn + 2 * number), end=99.0)
    index = corpus.extract(cache, workers=2)
    assert index.n_failed == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_what_stops_everything_is_raised(corpus: Corpus, cache: FeatureCache, workers: int) -> None:
    corpus.add("a", b"no weights")
    corpus.add("b", b"good")
    with pytest.raises(WeightsError, match="weights are gone"):
        corpus.extract(cache, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_that_cannot_be_written_is_one_line(corpus: Corpus, cache: FeatureCache, workers: int) -> None:
    corpus.add("a", b"good")
    cache.folder.mkdir()
    (cache.folder / "streams").write_text("in the way")
    with pytest.raises(CacheError, match="cannot write to the feature cache"):
        corpus.extract(cache, workers=workers)


def test_workers_and_one_process_give_the_same(corpus: Corpus, cache: FeatureCache, tmp_path: Path) -> None:
    for number in range(10):
        corpus.add(f"r{number}", bytes(range(number + 1)))
    alone = corpus.extract(cache)
    several = corpus.extract(FeatureCache(tmp_path / "other"), workers=2)
    pd.testing.assert_frame_equal(alone.table, several.table)


def test_memory_never_uses_workers(corpus: Corpus) -> None:
    corpus.add("a", b"abc")
    memory = MemoryCache()
    index = corpus.extract(memory, workers=2)
    np.testing.assert_array_equal(memory.read(index.key("a", "visual") or "").values[:, 0], list(b"abc"))


def test_settings_that_cannot_be_used(corpus: Corpus, cache: FeatureCache) -> None:
    corpus.add("a", b"abc")
    with pytest.raises(ConfigError, match="workers=-1"):
        corpus.extract(cache, workers=-1)
    with pytest.raises(ConfigError, match="'prosody' stands under 'visual'"):
        extract(corpus.manifest(), {"visual": ByteExtractor(corpus.log, "prosody")}, cache)


def test_a_script_needs_no_guard(corpus: Corpus, cache: FeatureCache) -> None:
    """Its workers do not run it again, which would begin a training in each of them."""
    corpus.add("r0", b"abc", name="0.bin")
    process = start(corpus, cache, 1, 1, 0.0, guard="print('begun') is None")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out.split()) == (0, ["begun", "1"]), errors


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_extraction import Corpus
from subtext.features.cache import FeatureCache

if {guard}:
    corpus = Corpus(Path({root!r}))
    for number in range({rows}):
        corpus.add(f"r{{number}}", name=f"{{number}}.bin")
    index = corpus.extract(FeatureCache({cache!r}), workers={workers}, pause={pause})
    print((index.table["status"] == "ok").sum())
"""


def start(
    corpus: Corpus, cache: FeatureCache, rows: int, workers: int, pause: float, guard: str = "__name__ == '__main__'"
) -> "subprocess.Popen[str]":
    script = corpus.root / f"script{time.time_ns()}.py"
    values = {"tests": str(Path(__file__).parent), "root": str(corpus.root), "cache": str(cache.folder)}
    script.write_text(textwrap.dedent(SCRIPT).format(**values, rows=rows, workers=workers, pause=pause, guard=guard))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def gone(group: int) -> bool:
    """Whether the last process of a group ends within some seconds (Python's own helper process takes a moment)."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_two_processes_at_once_do_not_harm_each_other(corpus: Corpus, cache: FeatureCache) -> None:
    for number in range(40):
        corpus.add(f"r{number}", bytes([number]) * 5000, name=f"{number}.bin")
    running = [start(corpus, cache, 40, workers, 0.01) for workers in (0, 2)]
    for process in running:
        out, errors = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, "40"), errors
    index = corpus.extract(cache)
    assert (index.table["status"] == "ok").all()
    for number in range(40):
        assert (cache.read(index.key(f"r{number}", "visual") or "").values == number).all()
    assert list((cache.folder / "unfinished").iterdir()) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_leaves_a_valid_cache_and_no_process(corpus: Corpus, cache: FeatureCache, workers: int) -> None:
    for number in range(30):
        corpus.add(f"r{number}", bytes([number]) * 5000, name=f"{number}.bin")
    process = start(corpus, cache, 30, workers, 0.3)
    deadline = time.monotonic() + 180
    while len(list(cache.folder.glob("streams/*/*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("KeyboardInterrupt") <= 2  # of the main process only: workers end in silence
    assert gone(process.pid)
    written = list(cache.folder.glob("streams/*/*"))
    assert 3 <= len(written) < 30
    assert len(cache.check(path.stem for path in written)) == len(written)
    index = corpus.extract(cache)
    assert (index.table["status"] == "ok").all()


def test_an_index_survives_its_file(corpus: Corpus, cache: FeatureCache, tmp_path: Path) -> None:
    corpus.add("a", b"good")
    corpus.add("b", b"empty")
    corpus.add("c", b"broken")
    index = corpus.extract(cache)
    index.save(tmp_path / "out")
    back = FeatureIndex.load(tmp_path / "out")
    assert back.fingerprints == index.fingerprints
    assert back.key("a", "visual") == index.key("a", "visual")
    pd.testing.assert_frame_equal(back.table, index.table)
    assert list(pd.read_csv(tmp_path / "out" / "extraction.csv")["status"]) == ["ok", "absent", "failed"]
    assert back.quality("visual")["face_share"].dropna().to_dict() == {"a": 1.0, "b": 0.0}
    with pytest.raises(CacheError, match="run subtext-extract"):
        FeatureIndex.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("extraction.parquet", b"PAR1 half a table"),
        ("extraction.parquet", b""),
        ("extraction.json", b"{"),
        ("extraction.json", b"[]"),
        ("extraction.json", b"\xff"),
    ],
)
def test_a_damaged_index_is_one_line(
    corpus: Corpus, cache: FeatureCache, tmp_path: Path, name: str, data: bytes
) -> None:
    corpus.add("a", b"good")
    corpus.extract(cache).save(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(data)
    with pytest.raises(CacheError, match=r"cannot be read .*; run subtext-extract for this corpus again") as raised:
        FeatureIndex.load(tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_an_index_that_cannot_be_written_leaves_the_earlier_one(
    corpus: Corpus, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.add("a", b"good")
    out = tmp_path / "out"
    corpus.extract(cache).save(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    corpus.add("b", b"other")
    index = corpus.extract(cache)

    def full(self: pd.DataFrame, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"id,modality")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(CacheError, match=r"No space left on device; .* set paths.features to a folder that can be"):
        index.save(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_file_may_be_a_picture_for_one_row_and_a_recording_for_another(
    corpus: Corpus, cache: FeatureCache, kind: str
) -> None:
    corpus.add("recording", b"abc", name="a.gif")
    corpus.rows.append({"id": "picture", "image": "a.gif"})
    index = corpus.extract(cache if kind == "folder" else MemoryCache())  # type: ignore[arg-type]
    assert corpus.passes() == ["a.gif 1", "a.gif 1"]
    assert index.key("recording", "visual") != index.key("picture", "visual")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_a_folder_whose_name_is_not_text(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    corpus = Corpus(root)
    corpus.add("a", b"good")
    for cache in (FeatureCache(root / "cache"), MemoryCache()):
        assert results(corpus.extract(cache)) == {"a": ("ok", "")}  # type: ignore[arg-type]
    passes = corpus.passes()
    again = FeatureCache(root / "cache")
    assert results(corpus.extract(again)) == {"a": ("ok", "")}
    assert corpus.passes() == passes


def test_a_summary_counts_reasons_apart_from_their_figures(corpus: Corpus, cache: FeatureCache) -> None:
    corpus.add("a", b"good")
    for number in range(3):
        corpus.add(f"late{number}", b"long", name="long.bin", start=101.0 + number, end=200.0)
    text = summarise(corpus.extract(cache), "corpus")
    assert text.splitlines()[:2] == ["corpus: 4 rows", "  visual: 1 ok, 0 absent, 3 failed"]
    assert text.splitlines()[2].startswith("    3 failed: segment starts at N s")
    assert "late0" in text.splitlines()[2]
