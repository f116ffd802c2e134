"""The same speaker, session, recording, sound, picture or sentence on several sides of a division.

Content is compared exactly (a digest, the same stream) and nearly (a copy that was re-encoded, turned up or down, or
lightly edited). What is compared of sound and picture comes from `subtext.audit.content`.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.audit.division import Bools, Division, Ints, unit_codes
from subtext.audit.findings import Finding

Floats32 = npt.NDArray[np.float32]

UNITS: Final = ("speaker", "session", "dialogue", "identity", "actor", "pair", "source_clip")
"""Columns whose values may not stand on two sides, beside the manifest's own groups."""
CONTEXTS: Final = ("show", "topic", "corpus", "role")
"""Columns whose values may: a remark at most. Whether the label follows them is for the lookups."""
PROMPTS: Final = ("sentence", "statement", "prompt")
"""Columns that name what is said; judged by the transcripts."""

FEWEST_WORDS: Final = 5
"""Words below which a text is common property: people say "yes" on both sides."""
NEAR_TEXT: Final = 0.85
"""Share of two texts' words that match in order (difflib's ratio) from which they are nearly the same: one word in
eight may differ."""
CANDIDATE: Final = 0.7
"""Cosine of rare character n-grams from which two texts are compared word by word."""
NEAR_SOUND: Final = 0.985
"""Correlation of two sound fingerprints from which one is taken for a copy of the other. Two takes of one sentence by
one RAVDESS actor reach 0.977; copies as Ogg 0.999 and as MP3 of low bit rate mostly 0.997 (at worst 0.954)."""
NEAR_PICTURE: Final = 0.985
"""Correlation of two thumbnails from which one is taken for a copy of the other. Different photographs of LFW reach
0.974; JPEG copies at quality 40, brighter, or at half the size, mostly 0.9997 (19 of 20 above 0.991)."""
SAME_LENGTH: Final = 0.03
"""Share by which the lengths of two copies of a sound may differ, or `LOST` if that is more."""
LOST: Final = 0.1
"""Seconds that a codec may add or take at the ends."""
TOLERATED: Final = 0.01
"""Share of judged rows whose sentence may stand on another side by chance before it is an alarm."""
FIXED_TEXTS: Final = 50
"""At most so many different texts are a reading list, which all speakers share by design."""
_CHUNK: Final = 1024
_EXAMPLES: Final = 5


def unit_overlap(
    table: pd.DataFrame, divided: Sequence[Division], groups: Sequence[str]
) -> tuple[list[Finding], list[dict[str, object]]]:
    """Units that stand on several sides, for each division and group column."""
    findings, rows = [], []
    columns = dict.fromkeys([*UNITS, *groups, *CONTEXTS])
    for division in divided:
        for column in columns:
            if column not in table or column in PROMPTS or table[column].notna().sum() == 0:
                continue
            codes = unit_codes(table[column])
            if column in CONTEXTS and codes.max() == 0:
                continue
            seen = division.seen_before(codes)
            row = _row(division, column, seen, _shared_units(division, codes))
            rows.append(row)
            if not row["units"]:
                continue
            alarm = column not in CONTEXTS
            findings.append(
                Finding(
                    "overlap",
                    column,
                    alarm,
                    f"{row['units']} {_plural(column, row['units'])} shared across splits ('{division.column}'): "
                    f"{row['rows']} of {row['judged']} judged rows ({row['share']:.1%}) have one seen in training",
                    f"divide by {column} (subtext-data split), or report the result as one for known "
                    f"{_plural(column, 2)} only, beside its lookup"
                    if alarm
                    else "",
                    figures=row,
                    examples=_examples(table, seen) if alarm else (),
                )
            )
    return findings, rows


def recording_overlap(
    table: pd.DataFrame, divided: Sequence[Division]
) -> tuple[list[Finding], list[dict[str, object]]]:
    """The same stretch of a file, or another stretch of the same file, on several sides."""
    findings, rows = [], []
    for division in divided:
        for stream in ("video", "audio", "image"):
            if stream not in table or table[stream].notna().sum() == 0:
                continue
            codes = unit_codes(table[stream])
            same = division.seen_before(codes)
            if not same.any():
                rows.append(_row(division, f"{stream} file", same, 0))
                continue
            stretch = _overlapping(table, codes, division) if stream != "image" else same
            kinds = [(f"{stream} stretch", stretch), (f"{stream} file", same & ~stretch)]
            for kind, seen in kinds:
                row = _row(division, kind, seen, len(np.unique(codes[seen])))
                rows.append(row)
                if not seen.any():
                    continue
                what = "the same stretch of the same file" if kind.endswith("stretch") else "another part of a file"
                findings.append(
                    Finding(
                        "overlap",
                        kind,
                        True,
                        f"{row['rows']} of {row['judged']} judged rows ({row['share']:.1%}) name {what} ({stream}) as "
                        f"a row on another side of '{division.column}'",
                        "keep all rows of a recording on one side (subtext-data split with the session as group)",
                        figures=row,
                        examples=_examples(table, seen),
                    )
                )
    return findings, rows


def copies(
    table: pd.DataFrame, divided: Sequence[Division], digests: Mapping[str, pd.Series]
) -> tuple[list[Finding], list[dict[str, object]]]:
    """Rows on several sides whose content is the same to the bit.

    Args:
        table: the manifest's.
        divided: its divisions.
        digests: kind of content -> `[n]` digest or cache key, null where a row has none.
    """
    findings, rows = [], []
    for division in divided:
        for kind, digest in digests.items():
            codes = unit_codes(digest)
            seen = division.seen_before(codes)
            row = _row(division, f"{kind} copy", seen, _shared_units(division, codes))
            rows.append(row)
            if seen.any():
                findings.append(_copied(table, division, f"{kind} copy", seen, row, f"exactly the same {kind}"))
    return findings, rows


def near_copies(
    table: pd.DataFrame,
    divided: Sequence[Division],
    prints: Mapping[str, tuple[Floats32, Bools]],
    durations: npt.NDArray[np.float64],
) -> tuple[list[Finding], list[dict[str, object]]]:
    """Rows on several sides whose sound or picture is nearly the same.

    Args:
        table: the manifest's.
        divided: its divisions.
        prints: "audio" and "picture" -> fingerprints `[n, dim]` of length one, and which rows have any.
        durations: `[n]`, s; copies of a sound are equally long. NaN where unknown.
    """
    findings, rows = [], []
    for kind, (vectors, there) in prints.items():
        limit = NEAR_SOUND if kind == "audio" else NEAR_PICTURE
        pairs = list(near_pairs(vectors, there, limit))
        first = np.array([pair[0] for pair in pairs], dtype=np.int64)
        second = np.array([pair[1] for pair in pairs], dtype=np.int64)
        if kind == "audio" and len(pairs):
            alike = np.abs(durations[first] - durations[second]) <= np.maximum(SAME_LENGTH * durations[first], LOST)
            alike |= ~np.isfinite(durations[first] - durations[second])
            first, second = first[alike], second[alike]
        for division in divided:
            seen = _paired(division, first, second)
            row = _row(division, f"near {kind} copy", seen, int(seen.sum()))
            rows.append(row)
            if seen.any():
                findings.append(
                    _copied(
                        table, division, f"near {kind} copy", seen, row, f"nearly the same {kind} (a re-encoded copy)"
                    )
                )
    return findings, rows


def text_overlap(table: pd.DataFrame, divided: Sequence[Division]) -> tuple[list[Finding], list[dict[str, object]]]:
    """The same and nearly the same sentence on several sides."""
    findings: list[Finding] = []
    rows: list[dict[str, object]] = []
    if not divided or table["transcript"].notna().sum() == 0:
        return findings, rows
    plain = table["transcript"].map(normalised, na_action="ignore")
    words = plain.str.count(" ").fillna(-1).to_numpy(dtype=np.int64) + 1
    long = words >= FEWEST_WORDS
    codes = unit_codes(plain)
    long_codes = np.where(long, codes, -1)
    texts, first, second = _near_texts(plain, long)
    for division in divided:
        judged = int((division.held_out & (codes >= 0)).sum())
        short = division.seen_before(np.where(long, -1, codes))
        exact = division.seen_before(long_codes)
        near = _paired_texts(division, texts, first, second, len(table)) & ~exact
        kinds = {"short text": short, "sentence": exact, "near sentence": near}
        shared = _shared_units(division, long_codes)
        fixed = len(np.unique(long_codes[long])) <= FIXED_TEXTS and shared >= 0.9 * len(np.unique(long_codes[long]))
        for kind, seen in kinds.items():
            row = _row(division, kind, seen, len(np.unique(codes[seen])), judged)
            rows.append(row)
            if not seen.any():
                continue
            # A speaker, a session: any is too many. Of sentences some recur by chance in every language.
            alarm = kind != "short text" and not fixed and row["share"] >= TOLERATED  # type: ignore[operator]
            what = {
                "short text": f"a text of fewer than {FEWEST_WORDS} words that is also said",
                "sentence": f"a sentence of at least {FEWEST_WORDS} words that is also said",
                "near sentence": "a sentence that is nearly said",
            }[kind]
            text = (
                f"{row['rows']} of {row['judged']} judged rows with words ({row['share']:.1%}) hold {what} on another "
                f"side of '{division.column}'"
            )
            if kind == "short text":
                text += "; short texts are common property"
            elif fixed:
                text += "; a short reading list, said by design on all sides"
            elif not alarm:
                text += f"; below {TOLERATED:.0%} it may be chance"
            findings.append(
                Finding(
                    "overlap",
                    kind,
                    bool(alarm),
                    text,
                    "keep rows with the same words on one side (subtext-data split with the sentence as group), or "
                    "remove the repeated ones"
                    if alarm
                    else "",
                    figures=row,
                    examples=_examples(table, seen) if alarm else (),
                )
            )
    return findings, rows


def normalised(text: str) -> str:
    """Words in lower case without accents of form, punctuation and runs of space."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain))


def near_pairs(vectors: Floats32, there: Bools, limit: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose fingerprints' cosine is at least `limit`; a thousand rows at a time against all."""
    rows = np.flatnonzero(there)
    known = vectors[rows]
    for begin in range(0, len(rows), _CHUNK):
        alike = known[begin : begin + _CHUNK] @ known[begin:].T >= limit
        for i, j in zip(*np.nonzero(alike), strict=True):
            if j > i:
                yield int(rows[begin + i]), int(rows[begin + j])


def _near_texts(plain: pd.Series, long: Bools) -> tuple[list[Ints], Ints, Ints]:
    """Rows of each distinct long text, and pairs of such texts that are nearly the same.

    Candidates share character n-grams weighted by TF-IDF, without those of more than a hundredth of the texts, which
    would make every text a neighbour of every other; then their words are compared.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    distinct = plain[long].drop_duplicates()
    rows_of = [np.asarray(rows, dtype=np.int64) for rows in _rows_by(plain, long, distinct)]
    nothing = np.zeros(0, dtype=np.int64)
    if len(distinct) < 2:
        return rows_of, nothing, nothing
    most = max(20, len(distinct) // 100)
    vectors = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(4, 4), max_df=min(most, len(distinct)), dtype=np.float32, sublinear_tf=True
    )
    try:
        matrix = vectors.fit_transform(distinct)
    except ValueError:  # every n-gram is too frequent
        return rows_of, nothing, nothing
    firsts, seconds = [nothing], [nothing]
    for begin in range(0, matrix.shape[0], _CHUNK):
        alike = (matrix[begin : begin + _CHUNK] @ matrix[begin:].T).tocoo()
        close = (alike.data >= CANDIDATE) & (alike.col > alike.row)
        firsts.append(alike.row[close].astype(np.int64) + begin)
        seconds.append(alike.col[close].astype(np.int64) + begin)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    words = [text.split() for text in distinct]
    alike = np.array(
        [SequenceMatcher(None, words[i], words[j], autojunk=False).ratio() for i, j in zip(first, second, strict=True)]
    )
    return rows_of, first[alike >= NEAR_TEXT], second[alike >= NEAR_TEXT]


def _rows_by(plain: pd.Series, long: Bools, distinct: pd.Series) -> list[Ints]:
    codes = pd.Categorical(plain[long], categories=distinct).codes.astype(np.int64)
    rows = np.flatnonzero(long)
    order = np.argsort(codes, kind="stable")
    return np.split(rows[order], np.cumsum(np.bincount(codes, minlength=len(distinct)))[:-1]) if len(rows) else []


def _paired_texts(division: Division, rows_of: Sequence[Ints], first: Ints, second: Ints, n: int) -> Bools:
    seen = np.zeros(n, dtype=bool)
    for one, other in zip(first, second, strict=True):
        here, there = np.meshgrid(rows_of[one], rows_of[other], indexing="ij")
        seen[_later(division, here.ravel(), there.ravel())] = True
    return seen & division.held_out


def _paired(division: Division, first: Ints, second: Ints) -> Bools:
    """`[n]`: judged rows that are the later of a pair on different sides (of folds both are)."""
    seen = np.zeros(len(division.side), dtype=bool)
    seen[_later(division, first, second)] = True
    return seen & division.held_out


def _later(division: Division, first: Ints, second: Ints) -> Ints:
    apart = division.across(first, second)
    first, second = first[apart], second[apart]
    if division.column == "fold":
        return np.concatenate([first, second])
    return np.where(division.side[first] > division.side[second], first, second)


def _overlapping(table: pd.DataFrame, codes: Ints, division: Division) -> Bools:
    """Judged rows whose stretch of a file overlaps one on another side."""
    start = table["start"].fillna(0.0).to_numpy(dtype=np.float64)
    end = table["end"].fillna(np.inf).to_numpy(dtype=np.float64)
    seen = np.zeros(len(table), dtype=bool)
    rows = np.flatnonzero(codes >= 0)
    order = rows[np.lexsort((start[rows], codes[rows]))]
    for group in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(np.unique(division.side[group])) < 2:
            continue
        for place, row in enumerate(group):
            later = group[place + 1 :]
            later = later[: np.searchsorted(start[later], end[row])]
            # Turns that touch or talk over each other a little are neighbours, not copies.
            shared = np.minimum(end[row], end[later]) - start[later]
            least = np.minimum(end[row] - start[row], end[later] - start[later])
            with np.errstate(invalid="ignore"):
                copied = later[~(shared < 0.5 * least)]
            seen |= _paired(division, np.full(len(copied), row), copied)
    return seen


def _copied(
    table: pd.DataFrame, division: Division, kind: str, seen: Bools, row: dict[str, object], what: str
) -> Finding:
    return Finding(
        "overlap",
        kind,
        True,
        f"{row['rows']} of {row['judged']} judged rows ({row['share']:.1%}) have {what} as a row on another side of "
        f"'{division.column}'",
        "remove the copies, or keep them on one side",
        figures=row,
        examples=_examples(table, seen),
    )


def _row(division: Division, unit: str, seen: Bools, units: int, judged: int | None = None) -> dict[str, object]:
    judged = int(division.held_out.sum()) if judged is None else judged
    count = int(seen.sum())
    return {
        "division": division.column,
        "unit": unit,
        "units": units,
        "rows": count,
        "judged": judged,
        "share": count / judged if judged else 0.0,
    }


def _shared_units(division: Division, codes: Ints) -> int:
    """How many units stand on more than one side."""
    known = (codes >= 0) & (division.side >= 0)
    there = np.unique(np.stack([codes[known], division.side[known]]), axis=1)
    return int((np.bincount(there[0], minlength=1) > 1).sum())


def _examples(table: pd.DataFrame, rows: Bools) -> tuple[str, ...]:
    return tuple(str(value) for value in table["id"].to_numpy()[np.flatnonzero(rows)[:_EXAMPLES]])


def _plural(column: str, count: object) -> str:
    if count == 1:
        return column
    return f"{column[:-1]}ies" if column.endswith("y") else f"{column}s"
