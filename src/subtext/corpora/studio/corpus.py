"""The corpus `studio`: a generated, exactly balanced test of the whole machine."""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import pandas as pd
from annotated_types import Interval

from subtext.core.processes import begin_work, starting_workers
from subtext.core.safe_path import without_script
from subtext.core.schema import Count, Natural, Seed, Share, checked
from subtext.core.threads import cores
from subtext.core.writing import remove_leftovers, write_json
from subtext.corpora.corpus import Corpus
from subtext.corpora.made import read_json
from subtext.corpora.studio.plan import Nuisance, SplitSize, clip_id, draw_plan
from subtext.errors import ConfigError, ManifestError, SubtextError
from subtext.manifest import SPLITS, Manifest, build_manifest, check_splits, read_written_manifest, write_manifest
from subtext.manifest.description import Description

SIZES: Final = {
    "tiny": {"train": SplitSize(40, 10), "val": SplitSize(40, 8), "test": SplitSize(40, 8)},
    "demo": {"train": SplitSize(280, 70), "val": SplitSize(80, 20), "test": SplitSize(120, 30)},
    "full": {"train": SplitSize(2000, 200), "val": SplitSize(400, 40), "test": SplitSize(1200, 120)},
}
"""Clips and speakers of each split."""

T = TypeVar("T")

_CLIPS: Final = "clips"
_GENERATOR: Final = (
    "corpora/studio/sentences.csv",
    "corpora/studio/sentences.py",
    "corpora/studio/speakers.py",
    "corpora/studio/plan.py",
    "corpora/studio/face.py",
    "corpora/studio/voice.py",
    "corpora/studio/render.py",
    "corpora/cells.py",
    "corpora/studio/write.py",
)
"""What shapes the clips, within the package."""
_FEWEST: Final = 8
"""Clips for which another process is worth its start."""
_CARRIED: Final = (
    "topic",
    "pair",
    "face_shown",
    "sound_recorded",
    "occluded",
    "weak_face",
    "weak_voice",
)


class Studio(Corpus):
    """Drawn faces, source-filter voices and written sentences, in real mp4 files, made on the spot.

    It tests the machine, not psychology. Words and faces follow `subtext.corpora.cells.CELL_SHARES`; see
    `subtext.corpora.studio.plan` for how single modalities and metadata are kept from telling the label.

    Args:
        folder: where clips and manifest are written. A complete corpus of the same settings is taken as it is, an
            interrupted one is completed, one of other settings is replaced.
        seed: the same seed gives the same corpus, however many workers make it.
        size: `tiny` (120 clips), `demo` (480) or `full` (3,600).
        n_train: clips of the training split instead of the size's, a multiple of 40; `n_val`, `n_test` likewise.
        n_val: see `n_train`.
        n_test: see `n_train`.
        speakers_train: speakers of the training split instead of the size's; `speakers_val`, `speakers_test` likewise.
        speakers_val: see `speakers_train`.
        speakers_test: see `speakers_train`.
        voice_follows_face: probability that the voice has the face's polarity.
        nuisance: variation of the recording conditions.
        min_duration: shortest clip, s.
        max_duration: longest clip, s.
        width: of the pictures, px.
        height: of the pictures, px.
        fps: frames per second.
        workers: processes that render; None takes one a core, 0 renders in this process.
        groups: columns of reused units, by which intervals resample: a speaker has several clips, and a sentence is
            said by several speakers.
        name: the corpus's name in manifest and messages.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    description = Description(
        may_leave_machine=True,
        title="Studio: drawn faces, source-filter voices, written sentences",
        nature="constructed",
        licence="Apache-2.0, as Subtext itself",
        citation="Subtext (CITATION.cff)",
        source="generated on the spot",
        labels="polarities of words, face and voice as they were drawn; incongruent and type by the rule",
        layout="none: it is generated",
        cautions=(
            "It tests the machine, not psychology.",
            "vocal_incongruent is not balanced against the words' polarity; read it beside its controls.",
        ),
    )

    @checked
    def __init__(
        self,
        folder: Path | str,
        *,
        seed: Seed = 0,
        size: Literal["tiny", "demo", "full"] = "demo",
        n_train: Count | None = None,
        n_val: Count | None = None,
        n_test: Count | None = None,
        speakers_train: Count | None = None,
        speakers_val: Count | None = None,
        speakers_test: Count | None = None,
        voice_follows_face: Share = 0.7,
        nuisance: Nuisance | None = None,
        min_duration: Annotated[float, Interval(ge=0.5, le=30)] = 1.6,
        max_duration: Annotated[float, Interval(ge=0.5, le=30)] = 2.6,
        width: Annotated[int, Interval(ge=64, le=1920)] = 320,
        height: Annotated[int, Interval(ge=48, le=1080)] = 240,
        fps: Annotated[float, Interval(ge=1, le=60)] = 12.5,
        workers: Natural | None = None,
        groups: Sequence[str] = ("speaker", "sentence"),
        name: str = "studio",
    ) -> None:
        self.folder = Path(folder)
        self.seed = seed
        self.name = name
        self.workers = workers
        self.groups = tuple(groups)
        self.sizes = {
            split: _resized(SIZES[size][split], clips, speakers)
            for split, clips, speakers in zip(
                SPLITS, (n_train, n_val, n_test), (speakers_train, speakers_val, speakers_test), strict=True
            )
        }
        self.voice_follows_face = voice_follows_face
        self.nuisance = nuisance or Nuisance()
        self.duration = (min_duration, max_duration)
        self.picture = (width, height, fps)

    def build(self) -> Manifest:
        """Render what is missing and describe the corpus.

        Raises:
            ConfigError: settings that cannot be balanced, or a folder that holds something else.
        """
        settings = self._settings()
        done, begun = self.folder / "studio.json", self.folder / "studio.part.json"
        manifest_path = self.folder / "manifest.parquet"
        # What was being rendered when an earlier build was killed, even if another one has finished the corpus since.
        remove_leftovers(self.folder / _CLIPS)
        plan = self.plan()
        manifest = self._manifest(plan)
        if read_json(done) == settings and all((self.folder / clip).is_file() for clip in manifest.table["video"]):
            if not _is_written(manifest, manifest_path):
                write_manifest(manifest, manifest_path)
            return manifest
        clips = self.folder / _CLIPS
        if not (done.exists() or begun.exists()) and (clips.exists() or manifest_path.exists()):
            raise ConfigError(
                f"{self.folder}: holds {_CLIPS} or a manifest that studio did not make; set another corpus.folder"
            )
        if settings not in (read_json(done), read_json(begun)):
            for clip in clips.glob("studio-*.mp4"):
                clip.unlink()
        clips.mkdir(parents=True, exist_ok=True)
        write_json(begun, settings)
        done.unlink(missing_ok=True)
        self._render(plan)
        write_manifest(manifest, manifest_path)
        os.replace(begun, done)
        return manifest

    def plan(self) -> pd.DataFrame:
        """Every clip's polarities, words, speaker and recording conditions, without rendering anything."""
        return draw_plan(
            self.sizes,
            seed=self.seed,
            voice_follows_face=self.voice_follows_face,
            nuisance=self.nuisance,
            duration=self.duration,
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "name": self.name,
            "sizes": {split: asdict(size) for split, size in self.sizes.items()},
            "voice_follows_face": self.voice_follows_face,
            "nuisance": asdict(self.nuisance),
            "duration": list(self.duration),
            "picture": list(self.picture),
            "generator": _generator_hash(),
        }

    def _render(self, plan: pd.DataFrame) -> None:
        # Imported here: a corpus that is already there needs no codec.
        from subtext.corpora.studio.render import PictureFormat, clips_of, render_clip

        width, height, fps = self.picture
        picture = PictureFormat(width, height, fps)
        clips = [clip for clip in clips_of(plan, self.folder / _CLIPS) if not clip.path.is_file()]
        workers = cores() if self.workers is None else self.workers
        workers = min(workers, len(clips) // _FEWEST)
        if workers <= 1:
            for clip in _progress(clips):
                render_clip(clip, self.seed, picture)
        else:
            _render_apart(workers, [partial(render_clip, clip, self.seed, picture) for clip in clips])

    def _manifest(self, plan: pd.DataFrame) -> Manifest:
        ids = [clip_id(number) for number in range(len(plan))]
        speakers = [f"speaker-{number:03d}" for number in plan["speaker_number"]]
        table = pd.DataFrame(
            {
                "id": ids,
                "session": [f"session-{number:03d}" for number in plan["speaker_number"]],
                "speaker": speakers,
                "role": "client",
                "video": [f"{_CLIPS}/{clip}.mp4" for clip in ids],
                "transcript": plan["transcript"],
                "sentence": [f"sentence-{number:03d}" for number in pd.factorize(plan["transcript"])[0]],
                "verbal_polarity": plan["words"],
                "visual_polarity": plan["face"],
                "vocal_polarity": plan["voice"],
                "split": plan["split"],
                **{column: plan[column] for column in _CARRIED},
            }
        )
        manifest = build_manifest(table, root=self.folder, name=self.name, groups=self.groups)
        check_splits(manifest, ("speaker", "sentence", "pair"))
        return manifest


def _resized(preset: SplitSize, clips: int | None, speakers: int | None) -> SplitSize:
    """The preset with other numbers; other clips alone keep the clips a speaker as they are."""
    if clips is None:
        clips = preset.clips
    if speakers is None:
        speakers = max(1, preset.speakers * clips // preset.clips)
    return SplitSize(clips, speakers)


def _is_written(manifest: Manifest, path: Path) -> bool:
    """Whether the file holds this very manifest, so that a complete corpus may lie on read-only storage."""
    try:
        there = read_written_manifest(path)
    except ManifestError:
        return False
    return there.groups == manifest.groups and there.table.equals(manifest.table)


def _generator_hash() -> str:
    """Changes with the code and the sentences that make the corpus."""
    digest = hashlib.sha256()
    for name in _GENERATOR:
        digest.update(resources.files("subtext").joinpath(name).read_bytes())
    return digest.hexdigest()


def _render_apart(workers: int, jobs: Sequence[Callable[[], Path]]) -> None:
    """Render in processes of their own; an error or Ctrl-C ends it after the clips in work."""
    # Spawned, not forked: a fork of a process that has threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        try:
            with starting_workers(threads=1), without_script():
                rendered = [pool.submit(job) for job in jobs]
            for future in _progress(rendered):
                future.result()
        except BrokenProcessPool as error:
            raise SubtextError(
                "studio: a worker process died, as where memory runs out or something outside ends it; run it again "
                "(finished clips stay), or set corpus.workers=0"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    import cv2

    begin_work()
    cv2.setNumThreads(1)


def _progress(items: Sequence[T]) -> Iterable[T]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, "Making the studio corpus", console=console, disable=not console.is_terminal)
