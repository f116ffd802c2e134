"""The whole audit: what is compared, what is tested, and which findings are alarms."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.audit.content import DEPTHS, Depth, read_content
from subtext.audit.division import Bools, Division, divisions, unit_codes
from subtext.audit.findings import Audit, Finding
from subtext.audit.overlap import (
    FIXED_TEXTS,
    PROMPTS,
    UNITS,
    copies,
    near_copies,
    normalised,
    recording_overlap,
    text_overlap,
    unit_overlap,
)
from subtext.audit.predictability import (
    Prediction,
    audited_labels,
    codes_of,
    lookup_predictions,
    numeric_predictions,
    sample_rows,
)
from subtext.audit.quality import count_findings, noise_findings, speaker_counts
from subtext.errors import AuditError, ConfigError
from subtext.evaluation.multiple import holm
from subtext.manifest import STREAM_COLUMNS, Manifest

if TYPE_CHECKING:
    from subtext.features.index import FeatureIndex

log = logging.getLogger(__name__)

LEVEL: Final = 0.01
"""Family-wise error of all alarms about predictability together (Holm 1979)."""
LEAST_AUROC: Final = 0.55
"""AUROC below which a variable that tells the label is a note: in a large corpus the least difference is certain."""
SAME_VARIABLE: Final = 0.999
"""Rank correlation from which two variables are one, of which the first is tested."""

_OWN_CHANNEL: Final[Mapping[str, tuple[str, ...]]] = {
    "verbal_polarity": ("transcript_words", "n_tokens", "n_chunks", "duration"),
    "vocal_polarity": (
        "loudness",
        "duration",
        "file_duration",
        "sound_duration",
        "voice_duration",
        "bitrate",
        "audio_bytes",
    ),
}
"""What belongs to what a polarity label is about, and so is no nuisance to it: anger is loud, and a loud voice
takes more bits of a lossless file."""
_CATEGORIES: Final = (*UNITS, "show", "topic")
_REMEDIES: Final[Mapping[str, str]] = {
    "duration": "match the durations of both classes, or crop all clips to one length",
    "words": "match the lengths of both classes' transcripts, or report a length-only control",
    "loudness": "bring all clips to one loudness before features are extracted",
    "encoding": "re-encode all files at one size, rate and quality before features are extracted",
    "picture": "crop faces to one size and even out light and colour, or balance the recording conditions",
    "stream": "leave out rows without the stream, or balance them over both classes",
    "other": "balance the variable over both classes, or report a control that has nothing else to go by",
}


def audit_corpus(
    manifest: Manifest,
    *,
    media: Depth = "none",
    labels: Sequence[str] | None = None,
    seed: int = 0,
) -> Audit:
    """Audit a corpus from its manifest and, if asked to, its media.

    Args:
        manifest: the corpus; columns `split` and `fold` are the divisions audited.
        media: "none" touches no file; "headers" opens each for its duration, resolution and bit rate and compares
            equal ones to the bit; "content" decodes every segment's sound and one picture.
        labels: label columns instead of `incongruent` and `vocal_incongruent`.
        seed: of folds and samples.

    Raises:
        ConfigError: a label is not in the table or has no classes; an unknown depth.
    """
    if media not in DEPTHS:
        raise ConfigError(f"audit: media is '{media}'; use one of {', '.join(DEPTHS)}")
    divided = divisions(manifest.table)
    content = read_content(manifest, media, divided)
    variables = _manifest_variables(manifest.table)
    for column in content.variables:
        variables.setdefault(str(column), content.variables[column].to_numpy(dtype=np.float64))
    skipped = [] if not content.unreadable else [f"{content.unreadable} files could not be read"]
    if media == "none":
        skipped.append("media were not read: no loudness, light, resolution or copies under other names")
    return _audit(
        manifest,
        media=media,
        labels=labels,
        variables=variables,
        digests=content.digests,
        prints=content.prints,
        divided=divided,
        skipped=skipped,
        seed=seed,
    )


def audit_training(
    manifest: Manifest,
    metadata: Sequence[str],
    index: "FeatureIndex",
) -> Audit:
    """Audit what a run is about to train on, from what extraction has kept; no file is opened.

    Rows whose streams have the same key in the cache are copies of each other, whatever their files are called.

    Args:
        manifest: the corpus, its table with the columns `metadata`.
        metadata: numeric columns about files and streams.
        index: the extraction's.
    """
    table = manifest.table
    variables = {name: table[name].astype("float64").to_numpy().astype(np.float64) for name in metadata}
    for name, values in _manifest_variables(table).items():
        variables.setdefault(name, values)
    digests = {}
    for modality in index.modalities:
        if modality == "text":  # the same words are no copy of a recording
            continue
        rows = index.table[index.table["modality"] == modality]
        keys = rows.set_index("id")["key"]
        digests[{"visual": "picture", "prosody": "sound"}[modality]] = table["id"].map(keys)
    return _audit(
        manifest,
        media="streams",
        labels=None,
        variables=variables,
        digests=digests,
        prints={},
        divided=divisions(table),
        skipped=["files were not opened: no light, resolution or re-encoded copies; see subtext-data audit --media"],
        seed=0,
    )


def tell_alarms(found: Audit, page: Path, *, strict: bool) -> None:
    """Warn of every alarm.

    Args:
        found: of a run.
        page: where it is reported.
        strict: stop on alarms.

    Raises:
        AuditError: there are alarms, and `strict` is on.
    """
    for finding in found.alarms:
        log.warning("audit: %s%s", _head(finding), finding.text)
    if found.alarms and strict:
        raise AuditError(
            f"{found.name}: the audit raised {len(found.alarms)} alarms, first: {_head(found.alarms[0])}"
            f"{found.alarms[0].text}; see {page}; {found.alarms[0].remedy}, or train with strict=false"
        )
    log.info("audit: %d alarms, %d notes; see %s", len(found.alarms), len(found.notes), page)


def _head(finding: Finding) -> str:
    return f"{finding.label}, {finding.subject}: " if finding.label else f"{finding.subject}: "


def _audit(
    manifest: Manifest,
    *,
    media: str,
    labels: Sequence[str] | None,
    variables: Mapping[str, npt.NDArray[np.float64]],
    digests: Mapping[str, pd.Series],
    prints: Mapping[str, tuple[npt.NDArray[np.float32], Bools]],
    divided: Sequence[Division],
    skipped: Sequence[str],
    seed: int,
) -> Audit:
    table = manifest.table.reset_index(drop=True)
    answers = audited_labels(table, labels)
    skipped = list(skipped)
    if not divided:
        skipped.append("the rows are on one side only (no split, no fold): nothing can stand on two")
    if not answers:
        skipped.append("no label has two classes: nothing was tested for being predictable")
    durations = variables.get("duration", np.full(len(table), np.nan))
    parts = [
        unit_overlap(table, divided, manifest.groups),
        recording_overlap(table, divided),
        copies(table, divided, digests),
        near_copies(table, divided, prints, variables.get("sound_duration", durations)),
        text_overlap(table, divided),
    ]
    findings = [finding for found, _ in parts for finding in found]
    predictions = _predictions(table, manifest.groups, answers, variables, divided, skipped, seed)
    tested, tested_findings = _tested(predictions)
    speakers = speaker_counts(table, answers)
    findings += tested_findings
    findings += count_findings(answers, speakers)
    findings += noise_findings(table, answers, seed)
    findings.sort(key=lambda finding: not finding.alarm)
    return Audit(
        name=manifest.name,
        rows=len(table),
        media=media,
        divisions={division.column: division.counts() for division in divided},
        labels={name: (int(values.fillna(False).sum()), int(values.notna().sum())) for name, values in answers.items()},
        findings=tuple(findings),
        overlap=pd.DataFrame([row for _, rows in parts for row in rows]),
        predictability=tested,
        speakers=speakers,
        skipped=tuple(skipped),
    )


def _manifest_variables(table: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Numeric variables that the manifest's own columns tell."""
    variables: dict[str, npt.NDArray[np.float64]] = {}
    if table["end"].notna().any():
        variables["duration"] = (table["end"] - table["start"].fillna(0.0)).to_numpy(dtype=np.float64)
    for column in ("transcript", "context"):
        if table[column].notna().any():
            words = table[column].str.count(r"\S+")
            variables[f"{column}_words"] = np.asarray(
                words.astype("Float64").to_numpy(na_value=np.nan), dtype=np.float64
            )
    for stream in STREAM_COLUMNS:
        there = table[stream].notna()
        if there.any() and not there.all():
            variables[f"has_{stream}"] = there.to_numpy().astype(np.float64)
    return variables


def _predictions(
    table: pd.DataFrame,
    groups: Sequence[str],
    answers: Mapping[str, pd.Series],
    variables: Mapping[str, npt.NDArray[np.float64]],
    divided: Sequence[Division],
    skipped: list[str],
    seed: int,
) -> list[Prediction]:
    units = codes_of(table, [*groups, "speaker"])
    categories = codes_of(table, [name for name in dict.fromkeys([*_CATEGORIES, *groups]) if name not in PROMPTS])
    text = unit_codes(table["transcript"].map(normalised, na_action="ignore"))
    if 1 < int(text.max(initial=-1)) + 1 <= FIXED_TEXTS < len(table):
        categories["text"] = text
    shared = [name for name, codes in categories.items() if any(d.seen_before(codes).any() for d in divided)]
    found: list[Prediction] = []
    for label, values in answers.items():
        own = _OWN_CHANNEL.get(label.partition("=")[0], ())
        rows = sample_rows(values.notna().to_numpy(), seed)
        truth = values.iloc[rows].to_numpy(dtype=bool)
        here = _distinct({name: figures[rows] for name, figures in variables.items() if name not in own})
        found += numeric_predictions(
            label,
            truth,
            here,
            {name: codes[rows] for name, codes in units.items()},
            lookups=[categories[name][rows] for name in shared],
            disjoint=[name for name in units if name not in shared],
            own_units={"transcript_words": {"text": text[rows]}, "n_tokens": {"text": text[rows]}},
            seed=seed,
        )
        found += lookup_predictions(label, values, categories, units, divided, seed)
    return found


def _distinct(variables: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Variables that vary, without those that rank all rows as an earlier one does."""
    from scipy.stats import rankdata

    kept: dict[str, npt.NDArray[np.float64]] = {}
    ranks: list[npt.NDArray[np.float64]] = []
    for name, values in variables.items():
        filled = np.where(np.isfinite(values), values, -np.inf)
        rank = rankdata(filled)
        rank -= rank.mean()
        length = np.linalg.norm(rank)
        if length == 0:
            continue
        rank /= length
        if not any(abs(rank @ other) >= SAME_VARIABLE for other in ranks):
            kept[name] = values
            ranks.append(rank)
    return kept


def _tested(predictions: Sequence[Prediction]) -> tuple[pd.DataFrame, list[Finding]]:
    """Holm's correction over all tests, and what stands out after it."""
    if not predictions:
        return pd.DataFrame(), []
    corrected_of = holm({str(number): prediction.p for number, prediction in enumerate(predictions)})
    adjusted = [corrected for corrected in corrected_of.values() if corrected is not None]
    rows, findings = [], []
    for prediction, corrected in zip(predictions, adjusted, strict=True):
        value = prediction.interval.value
        certain = corrected < LEVEL and value is not None
        alarm = bool(certain and prediction.carries and value is not None and value >= LEAST_AUROC)
        rows.append({**prediction.as_dict(), "p_holm": corrected, "alarm": alarm})
        if certain:
            findings.append(_finding(prediction, corrected, alarm))
    table = pd.DataFrame(rows).sort_values(["label", "auroc"], ascending=[True, False], ignore_index=True)
    findings.sort(key=lambda finding: -finding.figures["auroc"])
    return table, findings


def _finding(prediction: Prediction, corrected: float, alarm: bool) -> Finding:
    interval = prediction.interval
    ends = "" if interval.low is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    variable = prediction.variable
    named = f"its {variable.removesuffix(' lookup')}" if prediction.accuracy is not None else variable
    text = (
        f"the label can be told from {_NAMES.get(variable, named)}{'' if variable == 'all together' else ' alone'}: "
        f"AUROC {interval.value:.2f}{ends}, {prediction.rows:,} rows, Holm-corrected p {_p_text(corrected)}"
    )
    if prediction.accuracy is not None:
        text += f"; accuracy {prediction.accuracy:.1%} (majority {prediction.majority:.1%}), {prediction.how}"
    if prediction.medians is not None:
        low, high = prediction.medians
        text += f"; median {low:.3g} in negative, {high:.3g} in positive rows"
    if prediction.accuracy is not None:
        unit = variable.removesuffix(" lookup")
        remedy = f"divide by {unit} (subtext-data split), and show the {unit} lookup beside every result"
        if unit == "text":
            remedy = "balance the label over the sentences, or show what the sentence alone tells beside every result"
        if not prediction.carries:
            text += "; the rows are not divided yet, and a random division would let this through"
    elif variable == "all together":
        remedy = "show the metadata control beside every result, and remove what the single variables above name"
    else:
        remedy = _REMEDIES[_kind(variable)]
    if not alarm and prediction.carries:
        text += f"; below {LEAST_AUROC} a note"
    figures = {key: value for key, value in prediction.as_dict().items() if value is not None and key != "method"}
    return Finding("nuisance", variable, alarm, text, remedy, prediction.label, {**figures, "p_holm": corrected})


_NAMES: Final[Mapping[str, str]] = {
    "all together": "all of these variables together",
    "transcript_words": "the transcript's length",
    "context_words": "the context's length",
    "face_height": "the face's size",
}


def _kind(variable: str) -> str:
    if variable.startswith("has_"):
        return "stream"
    for kind, parts in {
        "duration": ("duration", "n_pictures"),
        "words": ("words", "n_tokens", "n_chunks", "n_context_steps"),
        "loudness": ("loudness",),
        "encoding": ("resolution", "bitrate", "bits", "bytes", "rate"),
        "picture": ("brightness", "contrast", "warmth", "saturation", "face"),
    }.items():
        if any(part in variable for part in parts):
            return kind
    return "other"


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"
