"""Label Studio: a labelling interface and tasks, made from turns and codebook, and the ratings read back.

A task is a turn (or a session, for labels that are judged per session, which need a project of their own). Formats as
read at labelstud.io: tags/choices (`choice="single-radio"`, `required`, `showInline`), and guide/task_format: tasks
with `data` and `annotations`, each annotation with `completed_by`, `was_cancelled` and a list `result` of `from_name`,
`to_name`, `type`, `value`. The tag `Number`, a choice's `hint`, and `completed_by` as an object with `email` are from
memory; nothing here was tried in a running Label Studio.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pandas as pd

from subtext.annotation.codebook import Codebook, Unit
from subtext.annotation.turn_table import rated_turns
from subtext.errors import AnnotationError
from subtext.sessions.transcripts import parse_json, read_text

_TEXT: Final = "words"


def labelling_interface(codebook: Codebook, unit: Unit = "turn", video: bool = False) -> str:
    """The XML to paste under Settings > Labeling Interface > Code.

    Args:
        codebook: the scheme.
        unit: labels of turns or of sessions.
        video: show the recording that the tasks' `video` names.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$heading")
    if video:
        ElementTree.SubElement(view, "Video", name="video", value="$video")
    ElementTree.SubElement(view, "Text", name=_TEXT, value="$transcript")
    for label in codebook.of_unit(unit):
        ElementTree.SubElement(view, "Header", value=f"{label.name}: {label.definition}", size="5")
        common = {"name": label.name, "toName": _TEXT, "required": "true" if label.required else "false"}
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


def label_studio_tasks(turns: pd.DataFrame, unit: Unit = "turn") -> list[dict[str, Any]]:
    """The tasks to import, as the JSON that Label Studio reads: a turn of the client each, or a session each.

    Args:
        turns: as `read_turn_table` gives them, of one or several sessions; a column `video` is passed on as it is.
        unit: what a task is.
    """
    if unit == "session":
        return [
            {"data": {"session": str(name), "heading": f"session {name}", "transcript": _dialogue(own), **_video(own)}}
            for name, own in turns.groupby("session", sort=False)
        ]
    tasks = []
    for position in rated_turns(turns).index:
        row = turns.loc[position]
        heading = f"session {row['session']}, turn {row['turn']}, {row['start']:.3f} to {row['end']:.3f} s"
        data = {column: row[column] for column in ("session", "turn", "role") if row[column] is not None}
        words = {"transcript": row["transcript"] or "", "heading": heading}
        times = {"start": float(row["start"]), "end": float(row["end"])}
        tasks.append({"data": {**data, **times, **words, **_video(turns.loc[[position]])}})
    return tasks


def write_label_studio(turns: pd.DataFrame, codebook: Codebook, folder: Path) -> list[Path]:
    """Write `turn.xml` and `turn.json`, and the same for `session` where the codebook has such labels."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    units: tuple[Unit, ...] = ("turn", "session")
    for unit in units:
        if not codebook.of_unit(unit):
            continue
        interface, tasks = folder / f"{unit}.xml", folder / f"{unit}.json"
        video = "video" in turns and bool(turns["video"].notna().all())
        interface.write_text(labelling_interface(codebook, unit, video), encoding="utf-8")
        content = json.dumps(label_studio_tasks(turns, unit), ensure_ascii=False, indent=1)
        tasks.write_text(content + "\n", encoding="utf-8")
        written += [interface, tasks]
    return written


def label_studio_ratings(path: Path, session: str | None = None) -> pd.DataFrame:
    """The judgements in Label Studio's export in the format JSON (not JSON-MIN), for `check_ratings`.

    Cancelled annotations are left out. A task without answers gives nothing. Raters are called by their e-mail address
    or number.

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
    for number, task in enumerate(tasks, 1):
        data = task["data"]
        for annotation in task.get("annotations") or ():
            if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
                continue
            for entry in annotation.get("result") or ():
                value = _answer(entry) if isinstance(entry, dict) else None
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
    columns = ["session", "turn", "start", "end", "rater", "label", "value", "file", "row", "column"]
    return pd.DataFrame(rows, columns=columns).astype({"session": object, "turn": object, "start": float, "end": float})


def _answer(entry: Mapping[str, Any]) -> str | None:
    """What was chosen; several choices stand joined, so that the check refuses them by name."""
    value = entry.get("value")
    if not isinstance(value, dict):
        return None
    if entry.get("type") == "choices":
        return " + ".join(str(choice) for choice in value.get("choices") or ()) or None
    if entry.get("type") == "number" and value.get("number") is not None:
        return str(value["number"])
    return None


def _rater(user: Any) -> str | None:
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    return None if user is None else str(user)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _video(rows: pd.DataFrame) -> dict[str, str]:
    if "video" not in rows or rows["video"].isna().all():
        return {}
    return {"video": str(rows["video"].dropna().iloc[0])}


def _dialogue(turns: pd.DataFrame) -> str:
    said = turns.sort_values("start", kind="stable")
    lines = [f"{role or '?'}: {words or ''}" for role, words in zip(said["role"], said["transcript"], strict=True)]
    return "\n".join(lines)
