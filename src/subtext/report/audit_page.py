"""The audit's report: `audit.md`, its figures, and `audit.json` with everything behind them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from subtext.report.audit_figures import class_counts, predictability, sides

if TYPE_CHECKING:
    from subtext.audit.findings import Audit, Finding

PAGE: Final = "audit.md"
_MOST_SPEAKERS: Final = 30
_MEDIA: Final = {
    "none": "no file was opened",
    "headers": "files' headers were read, and files of equal size compared to the bit",
    "content": "every segment's sound and one picture of it were decoded",
    "streams": "what extraction had kept was compared; no file was opened",
}


def write_audit(audit: "Audit", folder: Path) -> Path:
    """Write `audit.md`, `audit.json` and figures.

    The report holds counts, figures and ids of rows; no transcripts, no names.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "sides": sides(audit.overlap, folder / "audit_sides.png"),
        "predictability": predictability(audit.predictability, folder / "audit_predictability.png"),
        "speakers": class_counts(audit.speakers, folder / "audit_speakers.png"),
    }
    drawn = {name: path.name for name, path in figures.items() if path is not None}
    _replace(folder / "audit.json", json.dumps(audit.as_dict(), indent=2, ensure_ascii=False, default=str) + "\n")
    _replace(folder / PAGE, "\n".join(_page(audit, drawn)) + "\n")
    return folder / PAGE


def finding_line(finding: "Finding") -> str:
    """A finding on one line, without its remedy."""
    head = f"{finding.subject}, {finding.label}" if finding.label else finding.subject
    return f"{head}: {finding.text}"


def _page(audit: "Audit", figures: dict[str, str]) -> Iterator[str]:
    yield f"# Audit of {audit.name}"
    yield ""
    yield f"**{len(audit.alarms)} alarms, {len(audit.notes)} notes** on {audit.rows:,} rows; {_MEDIA[audit.media]}."
    for column, counts in audit.divisions.items():
        yield f"Divided by `{column}`: {', '.join(f'{name} {count:,}' for name, count in counts.items())}."
    for label, (positive, known) in audit.labels.items():
        yield f"Label `{label}`: {positive:,} of {known:,} positive."
    for remark in audit.skipped:
        yield f"Not audited: {remark}."
    yield ""
    yield "## Alarms"
    yield ""
    if not audit.alarms:
        yield "None."
    for finding in audit.alarms:
        yield from _bullet(finding)
    yield ""
    yield "## Notes"
    yield ""
    for finding in audit.notes:
        yield from _bullet(finding)
    if len(audit.overlap):
        yield ""
        yield "## What stands on several sides"
        yield ""
        yield "Judged rows are those that a model is tried on: of folds all, of a split `val` and `test`."
        yield ""
        if "sides" in figures:
            yield f"![Share of judged rows whose unit or content stands on another side too]({figures['sides']})"
            yield ""
        yield from _markdown(
            audit.overlap.assign(share=audit.overlap["share"].map("{:.1%}".format)),
            ["division", "unit", "units", "rows", "judged", "share"],
            ["division", "what", "on several sides", "judged rows concerned", "of", "share"],
        )
    if len(audit.predictability):
        yield ""
        yield "## What tells the label"
        yield ""
        yield (
            "AUROC of predicting the label without its content, 95 % interval clustered by the corpus's reused units, "
            "one-sided p value, and that corrected by Holm's method over all tests of this audit. Numeric variables "
            "are cross-validated over folds that share no unit (each kind of unit in turn; the weakest figure is "
            "shown). A lookup gives each row the share of positive labels among the training rows of its speaker, "
            "show and so on."
        )
        yield ""
        if "predictability" in figures:
            yield f"![AUROC of each nuisance variable with its 95 % interval]({figures['predictability']})"
            yield ""
        shown = audit.predictability.assign(
            auroc=[_auroc(row) for row in audit.predictability.itertuples()],
            p=audit.predictability["p"].map("{:.2g}".format),
            p_holm=audit.predictability["p_holm"].map("{:.2g}".format),
            accuracy=[_percent(value) for value in audit.predictability["accuracy"]],
            majority=[_percent(value) for value in audit.predictability["majority"]],
            alarm=audit.predictability["alarm"].map({True: "alarm", False: ""}),
        )
        yield from _markdown(
            shown,
            ["label", "variable", "how", "rows", "auroc", "p", "p_holm", "accuracy", "majority", "alarm"],
            ["label", "variable", "how", "rows", "AUROC", "p", "p, Holm", "accuracy", "majority", ""],
        )
    if len(audit.speakers):
        yield ""
        yield "## Classes by speaker"
        yield ""
        if "speakers" in figures:
            yield f"![Negative and positive rows of each speaker]({figures['speakers']})"
            yield ""
        for name, of_label in audit.speakers.groupby("label", sort=False):
            yield from _markdown(
                of_label.head(_MOST_SPEAKERS),
                ["value", "negative", "positive"],
                ["speaker", f"not {name}", str(name)],
            )
            if len(of_label) > _MOST_SPEAKERS:
                yield ""
                yield f"and {len(of_label) - _MOST_SPEAKERS} more, in `audit.json`."
            yield ""
    yield ""
    yield "## What the audit is and is not"
    yield ""
    yield (
        "An alarm is a way in which a result on this corpus can look better than what it claims: something of the "
        "judged rows was there in training, or the label can be told without its content. Facts (a speaker on both "
        "sides, a copy) are alarms wherever they occur; repeated sentences from 1 % of the judged rows; a variable "
        "from AUROC 0.55 where its Holm-corrected p value is below 0.01. No alarm does not mean no leak: only what is "
        "listed here was looked for."
    )


def _bullet(finding: "Finding") -> Iterator[str]:
    head = f"**{finding.subject}**" + (f" (`{finding.label}`)" if finding.label else "")
    yield f"- {head}: {finding.text}."
    if finding.remedy:
        yield f"  Remedy: {finding.remedy}."
    if finding.examples:
        yield f"  For example {', '.join(f'`{_cell(example)}`' for example in finding.examples)}."


def _auroc(row: object) -> str:
    value, low, high = (getattr(row, name) for name in ("auroc", "low", "high"))
    if value is None or pd.isna(value):
        return "n/a"
    return f"{value:.3f} [n/a]" if low is None or pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _percent(value: object) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.1%}"  # type: ignore[call-overload]


def _markdown(table: pd.DataFrame, columns: list[str], headings: list[str]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in table[columns].itertuples(index=False):
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
