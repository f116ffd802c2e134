"""Dataset cards: what a corpus holds, as counts, and what a person must know before using it.

A card holds no media, no transcripts and no names: speakers are numbered by how many segments they have.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.templates import marked, render, table_of
from subtext.core.writing import write_text
from subtext.corpora.corpus import Corpus
from subtext.errors import MediaError
from subtext.manifest import LABEL_COLUMNS, STREAM_COLUMNS, Manifest
from subtext.manifest.description import CardSection

EMOTION_COLUMNS: Final = ("verbal_emotion", "visual_emotion", "vocal_emotion")
PROBED: Final = 5000
"""Files whose headers are read for durations; of more, every n-th."""
SPEAKERS: Final = 10
_ALL: Final = "all"


def write_card(corpus: Corpus, manifest: Manifest, path: Path) -> Path:
    """Write a corpus's card as Markdown, and its tables as JSON beside it.

    Args:
        corpus: what built the manifest.
        manifest: what it built.
        path: the Markdown file.
    """
    from subtext import __version__

    sections = [*common_sections(manifest), *corpus.card_sections(manifest)]
    page = render(
        "corpora/card.md.j2",
        about=corpus.description,
        manifest=manifest,
        sections=sections,
        table=marked(markdown_table),
        version=__version__,
    )
    write_text(path, page)
    tables = {
        section.title: json.loads(section.table.to_json(orient="records"))
        for section in sections
        if section.table is not None
    }
    content = {"corpus": manifest.name, "segments": len(manifest), "tables": tables}
    write_text(path.with_suffix(".json"), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def common_sections(manifest: Manifest) -> list[CardSection]:
    """What every card has: splits, labels, streams, speakers, durations."""
    sections = [
        CardSection("Splits", table=split_counts(manifest)),
        CardSection("Labels", "Segments with each value; `null` where the label is not known.", label_counts(manifest)),
        CardSection("Streams", "Segments that name each stream.", stream_counts(manifest)),
    ]
    speakers = speaker_counts(manifest)
    if len(speakers):
        n = manifest.table["speaker"].nunique()
        shown = f"The {SPEAKERS} with most segments of {n}, unnamed." if n > SPEAKERS else "All of them, unnamed."
        sections.append(CardSection("Speakers", shown, speakers))
    text, durations = duration_figures(manifest)
    sections.append(CardSection("Durations", text, durations))
    return sections


def split_counts(manifest: Manifest) -> pd.DataFrame:
    """Segments, and distinct values of each unit, by split (and fold, where the corpus has folds)."""
    rows = []
    for part, chosen in _parts(manifest.table):
        units = [unit for unit in ("session", *manifest.groups) if unit in chosen]
        distinct = {f"distinct {unit}": int(chosen[unit].nunique()) for unit in units}
        rows.append({"part": part, "segments": len(chosen), **distinct})
    table = pd.DataFrame(rows)
    return table.loc[:, [c for c in table if c in ("part", "segments") or (table[c] > 0).any()]]


def label_counts(manifest: Manifest) -> pd.DataFrame:
    """Segments with each value of each label, by split."""
    parts = _parts(manifest.table)
    rows = []
    for label in (*LABEL_COLUMNS, *EMOTION_COLUMNS):
        if manifest.table[label].isna().all():
            continue
        written = manifest.table[label].astype("string").fillna("null")
        for value in sorted(written.unique(), key=lambda v: (v == "null", v)):
            counts = {part: int((written[chosen.index] == value).sum()) for part, chosen in parts}
            rows.append({"label": label, "value": value, **counts})
    return pd.DataFrame(rows, columns=["label", "value", *(part for part, _ in parts)])


def stream_counts(manifest: Manifest) -> pd.DataFrame:
    """Segments that name each stream, how many lack it, by split."""
    rows = []
    for part, chosen in _parts(manifest.table):
        counts = {stream: int(chosen[stream].notna().sum()) for stream in STREAM_COLUMNS}
        rows.append({"part": part, "segments": len(chosen), **counts})
    table = pd.DataFrame(rows)
    return table.loc[:, [c for c in table if c not in STREAM_COLUMNS or (table[c] > 0).any()]]


def speaker_counts(manifest: Manifest) -> pd.DataFrame:
    """Segments of the speakers with most of them, and the share that is incongruent."""
    table = manifest.table[manifest.table["speaker"].notna()]
    counts = table.groupby("speaker").agg(
        segments=("id", "size"), labelled=("incongruent", "count"), incongruent=("incongruent", "mean")
    )
    counts = counts.sort_values("segments", ascending=False, kind="stable").head(SPEAKERS).reset_index(drop=True)
    counts["incongruent"] = counts["incongruent"].astype("Float64").round(3)
    counts.insert(0, "speaker", [f"no. {number}" for number in range(1, len(counts) + 1)])
    return counts


def duration_figures(manifest: Manifest) -> tuple[str, pd.DataFrame | None]:
    """Durations in s: of the segments where the manifest says them, else from the files' headers."""
    table = manifest.table
    spans = (table["end"] - table["start"].fillna(0)).dropna()
    if len(spans):
        return f"From start and end of {len(spans):,} of {len(table):,} segments.", _spread(spans.to_numpy(float))
    files = table["video"].fillna(table["audio"]).dropna().unique()
    if not len(files):
        return "No segment has times or a recording.", None
    step = -(-len(files) // PROBED)
    probed = [_header_duration(manifest.path(file)) for file in files[::step]]
    known = np.array([seconds for seconds in probed if seconds is not None])
    text = f"From the headers of {len(probed):,} of {len(files):,} recordings"
    lacking = len(probed) - len(known)
    text += f"; {lacking:,} could not be opened or do not say." if lacking else "."
    return text, _spread(known) if len(known) else None


def _header_duration(path: Path) -> float | None:
    import soundfile

    from subtext.media.container import Recording

    try:
        if path.suffix.lower() in (".wav", ".flac"):
            return float(soundfile.info(path).duration)
        with Recording(path) as recording:
            return recording.duration
    except (MediaError, soundfile.SoundFileError):
        return None


def _spread(seconds: np.ndarray) -> pd.DataFrame:
    figures: Mapping[str, float] = {
        "shortest": seconds.min(),
        "median": float(np.median(seconds)),
        "mean": seconds.mean(),
        "longest": seconds.max(),
        "total (h)": seconds.sum() / 3600,
    }
    return pd.DataFrame([{name: round(float(value), 2) for name, value in figures.items()}])


def _parts(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """All rows, then each split or fold."""
    column = "split"
    if table["split"].isna().all() and "fold" in table and table["fold"].notna().any():
        column = "fold"
    parts = [(_ALL, table)]
    for part, chosen in table.groupby(column, sort=column == "fold"):
        parts.append((f"fold {part}" if column == "fold" else str(part), chosen))
    if len(parts) > 1 and table[column].isna().any():
        parts.append((f"no {column}", table[table[column].isna()]))
    return parts


def markdown_table(found: pd.DataFrame) -> str:
    """A table in Markdown; what is missing is a dash."""

    def shown(value: Any) -> object:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return "-"
        if isinstance(value, (bool, np.bool_)):
            return str(bool(value)).lower()
        if isinstance(value, (int, np.integer)):
            return f"{int(value):,}"
        return f"{float(value):.4g}" if isinstance(value, (float, np.floating)) else value

    return table_of(found.columns, (map(shown, row) for row in found.itertuples(index=False)))
