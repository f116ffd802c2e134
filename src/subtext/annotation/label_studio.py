"""Label Studio: labelling interfaces and tasks, made from turns and codebook, and the ratings read back.

A page is an interface with its tasks, a project of its own in Label Studio. Each channel has one, that shows nothing of
the others: the words without the recording, the face without sound, the voice without picture and words. What is judged
from all of them has another, and what is judged per session.

A task is a turn, or a session. Formats as read at labelstud.io: tags/choices (`choice="single-radio"`, `required`,
`showInline`), tags/video (`muted`), tags/audio, tags/rating, tags/taxonomy, and guide/task_format: tasks with `data`
and `annotations`, each annotation with `completed_by`, `was_cancelled` and a list `result` of `from_name`, `to_name`,
`type`, `value`. The tag `Number`, a choice's `hint`, and `completed_by` as an object with `email` are from memory;
nothing here was tried in a running Label Studio.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pandas as pd

from subtext.annotation.codebook import Codebook, Label, Unit
from subtext.annotation.turn_table import rated_turns
from subtext.core.writing import write_text
from subtext.errors import AnnotationError
from subtext.sessions.transcripts import parse_json, read_text

TEXT: Final[Mapping[str, str]] = {"Text": "transcript"}
"""Of a page that shows words alone."""
_NAMES: Final = {"Text": "words", "Video": "video", "Audio": "audio"}
"""Tag that shows something -> its name on the page."""
_LINES: Final = {"words": "verbal", "face": "visual", "voice": "vocal"}
_READ: Final = ("choices", "rating", "taxonomy", "number")
_OTHERS: Final = (
    *("textarea", "datetime", "pairwise", "ranker", "labels", "timelinelabels", "rectanglelabels", "videorectangle"),
    *("brushlabels", "ellipselabels", "keypointlabels", "polygonlabels", "hypertextlabels", "paragraphlabels"),
    *("timeserieslabels", "relation"),
)
"""Types of answers that are none to a label, by the names that Label Studio gives them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """What one project in Label Studio asks, and what it shows for that.

    Attributes:
        name: of its files.
        unit: what a task is, a turn or a session.
        labels: what is asked.
        shows: tag of Label Studio (`Text`, `Video`, `Audio`) -> what of a task's data it shows (`transcript`, `video`,
            `audio`).
        muted: whether the video is shown without its sound.
    """

    name: str
    unit: Unit
    labels: tuple[Label, ...]
    shows: Mapping[str, str]
    muted: bool = False


def pages_of(codebook: Codebook, recordings: Sequence[str] = ("video",)) -> list[Page]:
    """The pages of a codebook in the order in which they are to be rated.

    A label's channel is that of the manifest column that it fills; one that fills none of a channel is judged from all.

    Args:
        codebook: the scheme.
        recordings: which of `video` and `audio` the tasks name.

    Raises:
        AnnotationError: a page has to show what the tasks do not name.
    """
    turns = codebook.of_unit("turn")
    channels = {
        name: tuple(label for label in turns if label.column in (f"{line}_emotion", f"{line}_polarity"))
        for name, line in _LINES.items()
    }
    apart = {label.name for labels in channels.values() for label in labels}
    seen = {"Audio": "audio"} if "audio" in recordings and "video" not in recordings else {"Video": "video"}
    heard = {"Audio": "audio" if "audio" in recordings else "video"}
    pages = [
        Page("words", "turn", channels["words"], TEXT),
        Page("face", "turn", channels["face"], {"Video": "video"}, muted=True),
        Page("voice", "turn", channels["voice"], heard),
        Page("together", "turn", tuple(x for x in turns if x.name not in apart), {**TEXT, **seen}),
        Page("session", "session", codebook.of_unit("session"), {**TEXT, **seen}),
    ]
    asked = [page for page in pages if page.labels]
    for page in asked:
        for kind in page.shows.values():
            if kind in ("video", "audio") and kind not in recordings:
                raise AnnotationError(
                    f"page '{page.name}' has to show the recording, and the turns name none in a column '{kind}'; add "
                    "it, with the address at which Label Studio finds the file, or give that with --media"
                )
    return asked


def labelling_interface(labels: Sequence[Label], shows: Mapping[str, str] = TEXT, *, muted: bool = False) -> str:
    """The XML to paste under Settings > Labeling Interface > Code.

    Args:
        labels: what is asked.
        shows: tag -> what of a task's data it shows, see `Page`.
        muted: show a video without its sound.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$heading")
    for tag, kind in shows.items():
        silent = {"muted": "true"} if muted and tag == "Video" else {}
        ElementTree.SubElement(view, tag, {"name": _NAMES[tag], "value": f"${kind}", **silent})
    rated = _NAMES[next(iter(shows))]
    for label in labels:
        ElementTree.SubElement(view, "Header", value=f"{label.name}: {label.definition}", size="5")
        common = {"name": label.name, "toName": rated, "required": "true" if label.required else "false"}
        if label.scale == "interval":
            ends = {"min": label.minimum, "max": label.maximum}
            limits = {key: f"{end:g}" for key, end in ends.items() if end is not None}
            ElementTree.SubElement(view, "Number", {**common, **limits})
            continue
        choices = ElementTree.SubElement(view, "Choices", {**common, "choice": "single-radio", "showInline": "true"})
        for value, meaning in {**label.values, **label.unratable}.items():
            ElementTree.SubElement(choices, "Choice", {"value": value, **({"hint": meaning} if meaning else {})})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def label_studio_tasks(
    turns: pd.DataFrame, shows: Collection[str] = ("transcript",), unit: Unit = "turn"
) -> list[dict[str, Any]]:
    """The tasks to import, as the JSON that Label Studio reads: a turn of the client each, or a session each.

    A task holds nothing but what its page shows: raters can look at all of it.

    Args:
        turns: as `read_turn_table` gives them, of one or several sessions; columns `video` and `audio` are passed on as
            they are.
        shows: what of a turn is seen and heard: `transcript`, `video`, `audio`.
        unit: what a task is.

    Raises:
        AnnotationError: a turn has no recording to show.
    """
    recordings = [kind for kind in ("video", "audio") if kind in shows]
    if unit == "session":
        groups = [(str(name), own) for name, own in turns.groupby("session", sort=False)]
        return [
            {
                "data": {
                    "session": name,
                    "heading": f"session {name}",
                    **({"transcript": _dialogue(own)} if "transcript" in shows else {}),
                    **_recordings(own, recordings),
                }
            }
            for name, own in groups
        ]
    tasks = []
    for position in rated_turns(turns).index:
        row = turns.loc[position]
        heading = f"session {row['session']}, turn {row['turn']}, {row['start']:.3f} to {row['end']:.3f} s"
        data = {column: row[column] for column in ("session", "turn", "role") if row[column] is not None}
        words = {"transcript": row["transcript"] or ""} if "transcript" in shows else {}
        shown = {"start": float(row["start"]), "end": float(row["end"]), "heading": heading, **words}
        tasks.append({"data": {**data, **shown, **_recordings(turns.loc[[position]], recordings)}})
    return tasks


def write_label_studio(turns: pd.DataFrame, codebook: Codebook, folder: Path) -> list[Path]:
    """Write an interface (.xml) and tasks (.json) for each page (see `pages_of`), in the order of rating.

    Raises:
        AnnotationError: a page has to show what the turns do not name.
    """
    recordings = [kind for kind in ("video", "audio") if kind in turns and turns[kind].notna().any()]
    pages = [
        (page, label_studio_tasks(turns, page.shows.values(), page.unit)) for page in pages_of(codebook, recordings)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page, tasks in pages:
        interface, content = folder / f"{page.name}.xml", folder / f"{page.name}.json"
        write_text(interface, labelling_interface(page.labels, page.shows, muted=page.muted))
        write_text(content, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
        written += [interface, content]
    return written


def label_studio_ratings(path: Path, session: str | None = None) -> pd.DataFrame:
    """The judgements in Label Studio's export in the format JSON (not JSON-MIN), for `check_ratings`.

    Answers of the types choices, rating, taxonomy (its last level) and number are read; others are counted, and the
    count is reported. Cancelled annotations are left out. A task without answers gives nothing. Raters are called by
    their e-mail address or number.

    Args:
        path: the export.
        session: of tasks that do not name theirs.

    Raises:
        AnnotationError: it is no such export.
        TranscriptError: it cannot be read.
    """
    tasks = parse_json(path, read_text(path))
    if not isinstance(tasks, list) or not all(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in tasks):
        raise AnnotationError(
            f"{path}: no list of tasks with 'data'; export the project as JSON, not as JSON-MIN or CSV"
        )
    rows: list[dict[str, Any]] = []
    unread: Counter[str] = Counter()
    for number, task in enumerate(tasks, 1):
        data = task["data"]
        for annotation in _objects(task.get("annotations")):
            if annotation.get("was_cancelled"):
                continue
            for entry in _objects(annotation.get("result")):
                kind = entry.get("type")
                if kind not in _READ:
                    unread[str(kind) if kind in _OTHERS else "unknown"] += 1
                    continue
                value = _answer(entry)
                if value is None:
                    continue
                rows.append(
                    {
                        "session": _text(data.get("session")) or session,
                        "turn": _text(data.get("turn")),
                        "start": _time(data.get("start")),
                        "end": _time(data.get("end")),
                        "rater": _rater(annotation.get("completed_by")),
                        "label": str(entry.get("from_name")),
                        "value": value,
                        "file": str(path),
                        "row": number,
                        "column": str(entry.get("from_name")),
                    }
                )
    if unread:
        counted = ", ".join(f"{count} {kind}" for kind, count in unread.most_common())
        log.warning(
            "%s: %d answers are of types that are not read and were left out (%s); ask with Choices, Rating, Taxonomy "
            "or Number",
            path,
            unread.total(),
            counted,
        )
    columns = ["session", "turn", "start", "end", "rater", "label", "value", "file", "row", "column"]
    return pd.DataFrame(rows, columns=columns).astype({"session": object, "turn": object, "start": float, "end": float})


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _answer(entry: Mapping[str, Any]) -> str | None:
    """What was chosen; several choices stand joined, so that the check refuses them by name."""
    value = entry.get("value")
    chosen = value.get(entry["type"]) if isinstance(value, dict) else None
    if entry["type"] == "taxonomy" and isinstance(chosen, list):
        # Each choice is the way to it through the levels.
        chosen = [way[-1] if isinstance(way, list) and way else way for way in chosen]
    if isinstance(chosen, list):
        return " + ".join(str(choice) for choice in chosen) or None
    return None if chosen is None else str(chosen)


def _rater(user: Any) -> str | None:
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    return None if user is None else str(user)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _recordings(rows: pd.DataFrame, kinds: Sequence[str]) -> dict[str, str]:
    shown = {}
    for kind in kinds:
        named = rows[kind].dropna()
        if named.empty:
            raise AnnotationError(
                f"turn {rows.index[0] + 1} names no recording in column '{kind}', and a page has to show it; fill the "
                "column in every row"
            )
        shown[kind] = str(named.iloc[0])
    return shown


def _dialogue(turns: pd.DataFrame) -> str:
    said = turns.sort_values("start", kind="stable")
    lines = [f"{role or '?'}: {words or ''}" for role, words in zip(said["role"], said["transcript"], strict=True)]
    return "\n".join(lines)
