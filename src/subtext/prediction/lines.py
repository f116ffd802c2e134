"""How one prediction is written: as a line of JSON, as a row of CSV, and as an entry for people."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subtext.evaluation.novelty import KEPT_SHARE
from subtext.labels import (
    INCONGRUENCE_TYPES,
    MODALITIES,
    POLARITIES,
    POLARITY_COLUMN,
    POLARITY_NAMES,
    IncongruenceRule,
    incongruence_type,
)
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
    rule: IncongruenceRule | None = None,
    gates: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """One turn's prediction.

    The answer is that of the binary head, by its threshold. The type is the most probable one among those that fit it,
    so that the two never contradict each other. Polarities come from heads of their own: where the most probable ones
    would make another answer by the rule, `agrees` is false.

    Args:
        row: of the predictions table, probabilities calibrated, without the columns of heads that the model lacks.
            `novelty_*` are distances to the training clips, in levels: above 1 a modality is unlike them.
        input_: what the user named.
        labels: those of `PAIRS` that the model answers.
        missing: why each modality that is not there is not there.
        failed: those among them that are not there because something went wrong.
        thresholds: by label: the probability from which a turn is called incongruent.
        levels: by label: the confidence below which the model abstains.
        provenance: fingerprints and version.
        warnings: what is odd about the input.
        rule: by which the run's labels were made of polarities.
        gates: by label: how far the fusion's own answer counts beside the readings that it stands on.

    Returns:
        Plain types, no NaN. `prob_LABEL` is null where its pair is not there, `LABEL` is null where the model abstains,
        `abstentions` has the reasons for each such label, and `abstain` is true where the model abstains on all.
        `rule` and `agrees` are null where a polarity is not there, `agrees` where the model abstains too.
    """
    rule = rule or IncongruenceRule()
    present = [m for m in MODALITIES if m not in missing]
    novelty = {m: found for m in present if (found := _plain(row.get(f"novelty_{m}"))) is not None}
    unlike = [modality for modality, distance in novelty.items() if distance > 1]
    # Whichever they are: a fusion reads all of them.
    strange = [_unlike(modality, novelty[modality]) for modality in unlike]
    line: dict[str, Any] = {"input": input_, "id": row["id"]}
    line |= {name: _plain(row.get(name)) for name in ("start", "end", "speaker", "role", "transcript", "events")}
    abstentions: dict[str, list[str]] = {}
    for label in labels:
        probability = _plain(row.get(f"prob_{label}"))
        why = _why_not(label, probability, missing, strange, thresholds.get(label, 0.5), levels.get(label, 0.0))
        line[f"prob_{label}"] = None if set(PAIRS[label]) & set(missing) else probability
        line[label] = None if why else probability >= thresholds.get(label, 0.5)
        if why:
            abstentions[label] = why
    types = {name: _plain(row.get(f"prob_type_{name}")) for name in INCONGRUENCE_TYPES}
    known = None not in types.values() and not set(PAIRS["incongruent"]) & set(missing)
    line["incongruence_type"] = _type(types, line.get("incongruent"), rule) if known else None
    line["type"] = types if known else None
    line["polarity"] = {m: found for m in present if (found := _polarity(row, POLARITY_COLUMN[m])) is not None}
    line["rule"] = {label: _by_rule(label, line["polarity"]) for label in labels}
    line["agrees"] = {label: _agrees(label, line, rule) for label in labels}
    line["engagement"] = _plain(row.get("pred_engagement"))
    line["evidence"] = {m: _plain(row.get(f"evidence_{m}")) for m in present}
    line["gate"] = {label: gate for label in labels if (gate := (gates or {}).get(label)) is not None}
    line["baseline"] = {m: turns for m in present if (turns := _plain(row.get(f"baseline_{m}"))) is not None}
    people = _plain(row.get("n_people"))
    line["faces"] = {"share": _plain(row.get("face_share")), "people": None if people is None else round(people)}
    line["missing"] = dict(missing)
    line["failed"] = list(failed)
    line["novelty"] = novelty
    line["unlike"] = unlike
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


def flat(line: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The same for one row of a table: nested fields by their path (`polarity.text.label`), lists as one text."""
    out: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        elif name != "type" or value is not None:  # elsewhere the six types have a column each
            out[f"{prefix}{name}"] = "; ".join(map(str, value)) if isinstance(value, list) else value
    return out


def readable(line: Mapping[str, Any], width: int = 80) -> str:
    """The same for people, below a heading that names the input; as many lines as the width takes.

    What a terminal would take for a command is written as an escape. Only a name that is longer than the width makes a
    line longer.
    """
    own = str(line["id"]).removeprefix(str(line["input"]))
    text = printable(" ".join(part for part in (own, _times(line), line.get("speaker") or "") if part))
    text = f"{text}: {printable(_told(line))}".removeprefix(": ")
    return textwrap.fill(text, max(width, 20), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def failure(line: Mapping[str, Any]) -> str:
    """The line of a turn or input that failed, for the error stream: without what is said and by whom."""
    where = " ".join(part for part in (str(line["id"]), _times(line)) if part)
    return printable(f"{where}: {_told(line)}")


def _told(line: Mapping[str, Any]) -> str:
    if "error" in line:
        own = f"{line['input']}: "  # which the heading, or the id, has said
        return f"not done: {str(line['error']).removeprefix(own)}"
    parts = [_answer(label, line) for label in PAIRS if line.get(f"prob_{label}") is not None]
    parts += [", ".join(_told_polarity(m, line) for m in line["polarity"])]
    if line["abstain"]:
        why = dict.fromkeys(reason for reasons in line["abstentions"].values() for reason in reasons)
        parts.append(f"abstains: {'; '.join(why) or 'the model answers neither question'}")
    elif line["missing"]:
        parts += [f"no {CHANNELS[m]}: {why}" for m, why in line["missing"].items()]
    return "; ".join(filter(None, parts))


def _answer(label: str, line: Mapping[str, Any]) -> str:
    """What the model says of one pair, and where the polarities that stand beside it would say something else."""
    pair = "-".join(CHANNELS[modality] for modality in PAIRS[label])
    called = {True: "incongruent", False: "congruent", None: "uncertain"}[line[label]]
    text = f"{pair} {called} (p {line[f'prob_{label}']:.2f})"
    if label == "incongruent" and line[label] and line["incongruence_type"]:
        text += f", {_named(line['incongruence_type'])}"
    if line["agrees"][label] is False:
        text += f" (but the polarities of {' and '.join(CHANNELS[m] for m in PAIRS[label])} make it "
        text += f"{_named(line['rule'][label])})"
    return text


def _told_polarity(modality: str, line: Mapping[str, Any]) -> str:
    found = line["polarity"][modality]
    doubt = " (not to be relied on)" if modality in line["unlike"] else ""
    return f"{CHANNELS[modality]} {found['label']} {found[found['label']]:.2f}{doubt}"


def _unlike(modality: str, distance: float) -> str:
    return (
        f"{CHANNELS[modality]} unlike those of training: distance {distance:.2f} is above 1.00, which "
        f"{KEPT_SHARE:.0%} of validation clips keep"
    )


def _named(kind: str) -> str:
    return kind.replace("_", " ")


def sort_value(line: Mapping[str, Any]) -> tuple[float, float]:
    """Sorts the most probable incongruence of words and face first, then of words and voice, failures last."""
    values = [line.get(f"prob_{label}") for label in PAIRS]
    first, second = (-1.0 if value is None else float(value) for value in values)
    return -first, -second


def _why_not(
    label: str,
    probability: float | None,
    missing: Mapping[str, str],
    strange: Sequence[str],
    threshold: float,
    level: float,
) -> list[str]:
    # Why the model abstains on a label; empty where it answers.
    absent = [f"no {CHANNELS[m]}: {missing[m]}" for m in PAIRS[label] if m in missing]
    if absent or strange:
        return [*absent, *strange]
    if probability is None:
        return ["the model gives no number for this turn"]
    confidence = probability if probability >= threshold else 1 - probability
    if confidence < level:
        return [f"confidence {confidence:.2f} is below {level:.2f}, the level chosen on validation"]
    return []


def _polarity(row: Mapping[str, Any], column: str) -> dict[str, Any] | None:
    probabilities = {name: _plain(row.get(f"prob_{column}_{name}")) for name in POLARITY_NAMES}
    if None in probabilities.values():
        return None
    return {"label": max(probabilities, key=lambda name: probabilities[name])} | probabilities


def _type(types: Mapping[str, float], answer: bool | None, rule: IncongruenceRule) -> str | None:
    """The most probable type that fits the answer."""
    if answer is None:
        return None
    if not answer:
        return "congruent"
    return max(_counted(rule), key=lambda name: types[name])


def _counted(rule: IncongruenceRule) -> list[str]:
    """The types that a rule counts as incongruent."""
    pairs = [(said, shown) for said in POLARITIES for shown in POLARITIES if rule.is_incongruent(said, shown)]
    found = {incongruence_type(*pair) for pair in pairs}
    return [name for name in INCONGRUENCE_TYPES if name in found]


def _by_rule(label: str, polarity: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The type that the most probable polarities of a pair make."""
    if not set(PAIRS[label]) <= polarity.keys():
        return None
    said, shown = (POLARITIES[POLARITY_NAMES.index(polarity[modality]["label"])] for modality in PAIRS[label])
    return incongruence_type(said, shown)


def _agrees(label: str, line: Mapping[str, Any], rule: IncongruenceRule) -> bool | None:
    """Whether the polarities make, by the rule, the answer that is given, and of words and face its type."""
    made, answer = line["rule"][label], line[label]
    if made is None or answer is None:
        return None
    counted = made in _counted(rule)
    if counted != answer or not counted or label != "incongruent":
        return bool(counted == answer)
    return line["incongruence_type"] in (made, None)


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
