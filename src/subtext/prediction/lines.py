"""How one prediction is written: as a line of JSON, and as a line for people."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subtext.labels import INCONGRUENCE_TYPES, MODALITIES, POLARITY_COLUMN, POLARITY_NAMES
from subtext.sessions.transcripts import is_unicode, printable

PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "incongruent": ("text", "visual"),
    "vocal_incongruent": ("text", "prosody"),
}
"""The two channels that each label compares; without both it has no meaning."""

CHANNELS: Final[Mapping[str, str]] = {"visual": "face", "text": "words", "prosody": "voice"}
"""What people call the modalities."""


def prediction_line(
    row: Mapping[str, Any],
    *,
    input_: str,
    labels: Sequence[str],
    missing: Mapping[str, str],
    failed: Sequence[str] = (),
    thresholds: Mapping[str, float],
    levels: Mapping[str, float],
    provenance: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """One turn's prediction.

    Args:
        row: of the predictions table, probabilities calibrated, without the columns of heads that the model lacks.
        input_: what the user named.
        labels: those of `PAIRS` that the model answers.
        missing: why each modality that is not there is not there.
        failed: those among them that are not there because something went wrong.
        thresholds: by label: the probability from which a turn is called incongruent.
        levels: by label: the confidence below which the model abstains.
        provenance: fingerprints and version.
        warnings: what is odd about the input.

    Returns:
        Plain types, no NaN. `prob_LABEL` is null where its pair is not there, `LABEL` is null where the model abstains,
        `abstentions` has the reasons for each such label, and `abstain` is true where the model abstains on all.
    """
    present = [m for m in MODALITIES if m not in missing]
    line: dict[str, Any] = {"input": input_, "id": row["id"]}
    line |= {name: _plain(row.get(name)) for name in ("start", "end", "speaker", "role", "transcript", "events")}
    abstentions: dict[str, list[str]] = {}
    for label in labels:
        probability = _plain(row.get(f"prob_{label}"))
        why = _why_not(label, probability, missing, thresholds.get(label, 0.5), levels.get(label, 0.0))
        line[f"prob_{label}"] = None if set(PAIRS[label]) & set(missing) else probability
        line[label] = None if why else probability >= thresholds.get(label, 0.5)
        if why:
            abstentions[label] = why
    line["type"] = None
    if "prob_type_congruent" in row and not set(PAIRS["incongruent"]) & set(missing):
        line["type"] = {name: _plain(row[f"prob_type_{name}"]) for name in INCONGRUENCE_TYPES}
    line["polarity"] = {m: _polarity(row, POLARITY_COLUMN[m]) for m in present if _has_polarity(row, m)}
    line["engagement"] = _plain(row.get("pred_engagement"))
    line["evidence"] = {m: _plain(row.get(f"evidence_{m}")) for m in present}
    people = _plain(row.get("n_people"))
    line["faces"] = {"share": _plain(row.get("face_share")), "people": None if people is None else round(people)}
    line["missing"] = dict(missing)
    line["failed"] = list(failed)
    line["abstain"] = len(abstentions) == len(labels)
    line["abstentions"] = abstentions
    line["warnings"] = warnings
    return line | dict(provenance)


def error_line(
    input_: str,
    id_: str,
    problem: str,
    *,
    start: float | None = None,
    end: float | None = None,
    speaker: str | None = None,
    role: str | None = None,
) -> dict[str, Any]:
    """The line of a turn, or of a whole input, on which nothing could be predicted."""
    values = {"start": start, "end": end, "speaker": speaker, "role": role}
    return {"input": input_, "id": id_} | {name: _plain(value) for name, value in values.items()} | {"error": problem}


def to_json(line: Mapping[str, Any]) -> str:
    """Strict JSON on one line, readable in every script."""
    written = json.dumps(line, allow_nan=False, ensure_ascii=False)
    # A file name that is not UTF-8 reaches us with stand-ins that cannot be written as UTF-8, only as escapes.
    return written if is_unicode(written) else json.dumps(line, allow_nan=False)


def readable(line: Mapping[str, Any]) -> str:
    """The same for people, on one line; what a terminal would take for a command is written as an escape."""
    return printable(_told(line))


def _told(line: Mapping[str, Any]) -> str:
    where = " ".join(part for part in (str(line["id"]), _times(line), line.get("speaker") or "") if part)
    if "error" in line:
        return f"{where}: not done: {line['error']}"
    parts = []
    for label, (said, shown) in PAIRS.items():
        if line.get(f"prob_{label}") is not None:
            called = {True: "incongruent", False: "congruent", None: "uncertain"}[line[label]]
            parts.append(f"{CHANNELS[said]}-{CHANNELS[shown]} {called} (p {line[f'prob_{label}']:.2f})")
    if line["type"] and line.get("incongruent"):
        kind = max((name for name in line["type"] if name != "congruent"), key=lambda name: line["type"][name])
        parts.append(f"{kind.replace('_', ' ')} {line['type'][kind]:.2f}")
    parts += [f"{CHANNELS[m]} {p['label']} {p[p['label']]:.2f}" for m, p in line["polarity"].items()]
    if line["abstain"]:
        why = dict.fromkeys(reason for reasons in line["abstentions"].values() for reason in reasons)
        parts.append(f"abstains: {'; '.join(why) or 'the model answers neither question'}")
    elif line["missing"]:
        parts.append("; ".join(f"no {CHANNELS[m]}: {why}" for m, why in line["missing"].items()))
    return f"{where}: {', '.join(parts)}"


def sort_value(line: Mapping[str, Any]) -> tuple[float, float]:
    """Sorts the most probable incongruence of words and face first, then of words and voice, failures last."""
    values = [line.get(f"prob_{label}") for label in PAIRS]
    first, second = (-1.0 if value is None else float(value) for value in values)
    return -first, -second


def _why_not(
    label: str, probability: float | None, missing: Mapping[str, str], threshold: float, level: float
) -> list[str]:
    # Why the model abstains on a label; empty where it answers.
    absent = [m for m in PAIRS[label] if m in missing]
    if absent:
        return [f"no {CHANNELS[m]}: {missing[m]}" for m in absent]
    if probability is None:
        return ["the model gives no number for this turn"]
    confidence = probability if probability >= threshold else 1 - probability
    if confidence < level:
        return [f"confidence {confidence:.2f} is below {level:.2f}, the level chosen on validation"]
    return []


def _has_polarity(row: Mapping[str, Any], modality: str) -> bool:
    return _plain(row.get(f"prob_{POLARITY_COLUMN[modality]}_{POLARITY_NAMES[0]}")) is not None


def _polarity(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    probabilities = {name: _plain(row[f"prob_{column}_{name}"]) for name in POLARITY_NAMES}
    return {"label": max(probabilities, key=lambda name: probabilities[name])} | probabilities


def _plain(value: Any) -> Any:
    # Tables hold numpy numbers and several kinds of nothing; JSON knows neither.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _times(line: Mapping[str, Any]) -> str:
    if line["start"] is None and line["end"] is None:
        return ""
    return f"{_clock(line['start'] or 0.0)}-{'end' if line['end'] is None else _clock(line['end'])}"


def _clock(time: float) -> str:
    minutes, rest = divmod(round(abs(time), 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    sign = "-" if round(time, 2) < 0 else ""
    return sign + (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest:05.2f}"
