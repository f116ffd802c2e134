"""Turns from Label Studio's JSON export.

Read at labelstud.io/guide/task_format (tasks with `annotations`, each with a list `result`), docs/source/tags/audio.md
of HumanSignal/label-studio (a region's `value.start` and `value.end` in seconds, `value.labels`),
tags/timelinelabels.md (video: `value.ranges` with `start` and `end` as numbers of frames, `value.timelinelabels`), and
the template "Automatic Speech Recognition using Segments" (the words of a region are a `textarea` result with the
region's `id`). Regions of text (tags/text, tags/hypertext, tags/paragraphs) have `start` and `end` too, in characters
or lines: their `value` has the marked `text` beside the labels, or a `startOffset`.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, checked_turn, seconds, with_whole_characters

_LABEL_TYPES: Final = ("labels", "timelinelabels")
_OF_TEXT: Final = ("hypertextlabels", "paragraphlabels", "hypertext", "paragraphs", "timeseries", "timeserieslabels")
"""Types of regions whose ends are counted in something else than seconds of a recording."""


def is_label_studio(content: Any) -> bool:
    """Whether a JSON file's content is a task of Label Studio or a list of them."""
    tasks = content if isinstance(content, list) else [content]
    return bool(tasks) and all(isinstance(task, dict) and ("annotations" in task or "result" in task) for task in tasks)


def label_studio_turns(content: Any, path: Path, frame_rate: float | None = None) -> list[Turn]:
    """One turn a region: its label is the speaker, its text the words.

    Args:
        content: what the file holds.
        path: the file, for messages.
        frame_rate: frames per second that the labelling interface counted (`frameRate` of its `<Video>` tag; 24 where
            it says nothing there); regions of a video's timeline cannot be read without it.

    Raises:
        TranscriptError: several annotations mark regions, or a region has no time, as one of text.
    """
    marked = [result for result in _annotations(content) if any(map(_is_region, result))]
    if len(marked) > 1:
        raise TranscriptError(
            f"{path}: {len(marked)} annotations mark turns; export one session, and one person's "
            "segmentation of it, a file"
        )
    regions: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(marked[0] if marked else ()):
        region = regions.setdefault(str(entry.get("id", f"#{number}")), {"speakers": [], "texts": []})
        value = entry["value"] if isinstance(entry.get("value"), dict) else {}
        if _is_of_text(entry.get("type"), value):
            raise TranscriptError(
                f"{path}: result {number + 1} is a region of text, which has no seconds; export a project whose "
                "labelling interface marks turns in <Audio> or <Video>"
            )
        if _is_region(entry):
            region.setdefault("times", _times(path, number, value, frame_rate))
        for kind in _LABEL_TYPES:
            if entry.get("type") == kind:
                labels = value.get(kind)
                region["speakers"] += [str(label) for label in (labels if isinstance(labels, list) else ())]
        if entry.get("type") == "textarea":
            text = value.get("text")
            region["texts"] += [str(part) for part in (text if isinstance(text, list) else [text]) if part is not None]
    return [_turn(region) for region in regions.values() if "times" in region]


def _annotations(content: Any) -> Iterator[list[Mapping[str, Any]]]:
    for task in content if isinstance(content, list) else [content]:
        for annotation in [task] if "result" in task else _objects(task["annotations"]):
            if not annotation.get("was_cancelled"):
                yield _objects(annotation.get("result"))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _is_region(entry: Mapping[str, Any]) -> bool:
    value = entry.get("value")
    return isinstance(value, dict) and ("ranges" in value or "start" in value)


def _is_of_text(kind: object, value: Mapping[str, Any]) -> bool:
    """The words of a region of sound are an answer of their own, of the type textarea, and a list."""
    return kind in _OF_TEXT or "startOffset" in value or ("start" in value and isinstance(value.get("text"), str))


def _times(path: Path, number: int, value: Mapping[str, Any], frame_rate: float | None) -> tuple[float, float]:
    try:
        if "ranges" in value:
            if frame_rate is None:
                raise TranscriptError(
                    f"{path}: its regions are counted in video frames; set frame_rate in session.yaml to the frameRate "
                    "of the labelling interface's <Video> tag"
                )
            (span,) = value["ranges"]
            # Frames are numbered from 1; a region includes its last one.
            start, end = (float(span["start"]) - 1) / frame_rate, float(span["end"]) / frame_rate
            if not (math.isfinite(start) and math.isfinite(end)):
                raise ValueError
            return start, end
        first, last = seconds(value["start"]), seconds(value["end"])
        if first is None or last is None:
            raise ValueError
    except (KeyError, ValueError, TypeError, OverflowError):
        raise TranscriptError(f"{path}: result {number + 1} has no readable times; export it again as JSON") from None
    return first, last


def _turn(region: Mapping[str, Any]) -> Turn:
    speakers = list(dict.fromkeys(region["speakers"]))
    words = with_whole_characters(" ".join(region["texts"]).strip())
    # A region that carries two people's labels belongs to neither.
    speaker = with_whole_characters(speakers[0]) if len(speakers) == 1 else None
    start, end = region["times"]
    return checked_turn(start, end, words, speaker)
