"""What a result must be compared with: the same questions with a part of the evidence taken away or exchanged."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError
from subtext.vlm.inputs import Frames
from subtext.vlm.questions import Told


@dataclass(frozen=True)
class Clip:
    """All that a model may be shown of a row.

    Attributes:
        name: the row's id.
        told: in words.
        frames: pictures, None where the row has none.
    """

    name: str
    told: Told
    frames: Frames | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to judge by."""
        return self.frames is None and self.told == Told()


def _words_only(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    return replace(clip, frames=None)


def _frames_only(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    return replace(clip, told=Told())


def _black_frames(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    return _with_images(clip, lambda images: np.zeros_like(images))


def _other_frames(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    """Another clip's pictures; a row without pictures gets none."""
    return replace(clip, frames=None if clip.frames is None else other)


def _shuffled_frames(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    """The pictures in another order, at the times as they were."""
    rng = np.random.default_rng(_number(clip.name))
    return _with_images(clip, lambda images: images[rng.permutation(len(images))])


def _content_free(clip: Clip, other: Frames | None, content_free: str) -> Clip:
    """Nothing of the clip: what a model says for the words of the prompt alone (Zhao et al. 2021, arXiv 2102.09690)."""
    return replace(clip, told=Told(transcript=content_free), frames=None)


CONTROLS: Final[Mapping[str, Callable[[Clip, Frames | None, str], Clip]]] = {
    "words_only": _words_only,
    "frames_only": _frames_only,
    "black_frames": _black_frames,
    "other_frames": _other_frames,
    "shuffled_frames": _shuffled_frames,
    "content_free": _content_free,
}
"""Control -> the clip as it is shown, made of the clip, another clip's frames and what stands for no content."""


def chosen_controls(setting: bool | Sequence[str]) -> list[str]:
    """The controls to run.

    Args:
        setting: true for all, false for none, or names.

    Raises:
        ConfigError: a name is unknown.
    """
    if isinstance(setting, bool):
        return list(CONTROLS) if setting else []
    unknown = [name for name in setting if name not in CONTROLS]
    if unknown:
        raise ConfigError(f"no control '{unknown[0]}'; controls takes true, false or some of: {', '.join(CONTROLS)}")
    return [name for name in CONTROLS if name in setting]


def other_clips(table: pd.DataFrame, recordings: pd.Series, seed: int) -> dict[str, str]:
    """For each row one of another recording in the same split, whatever the order of the rows or the shard.

    Args:
        table: rows that may lend their frames, with `id` and `split`.
        recordings: number of each row's recording.
        seed: another seed, other pairs.

    Returns:
        id -> id; a row whose split has one recording only is left out.
    """
    ordered = table.assign(recording=recordings.reindex(table.index)).sort_values("id", kind="stable")
    found = {}
    for _, rows in ordered.groupby("split", sort=True):
        names, belongs = rows["id"].tolist(), rows["recording"].to_numpy()
        for name, recording in zip(names, belongs, strict=True):
            others = np.flatnonzero(belongs != recording)
            if len(others):
                found[name] = names[others[_number(f"{seed} {name}") % len(others)]]
    return found


def _with_images(clip: Clip, change: Callable[[np.ndarray], np.ndarray]) -> Clip:
    if clip.frames is None:
        return clip
    return replace(clip, frames=replace(clip.frames, images=change(clip.frames.images)))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
