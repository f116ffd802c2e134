"""The audit's report: `audit.md`, its figures, and `audit.json` with everything behind them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from subtext.core.writing import write_text
from subtext.report.audit_figures import class_counts, predictability, sides
from subtext.report.markdown import markdown

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
    write_text(folder / "audit.json", json.dumps(audit.as_dict(), indent=2, ensure_ascii=False, default=str) + "\n")
    tested = audit.predictability.astype(object)
    page = markdown(
        "report/templates/audit.md.j2",
        audit=audit,
        figures=drawn,
        media=_MEDIA[audit.media],
        tested=tested.where(tested.notna(), None).rename(columns={"auroc": "value"}).to_dict("records"),
        most_speakers=_MOST_SPEAKERS,
    )
    return write_text(folder / PAGE, page)


def finding_line(finding: "Finding") -> str:
    """A finding on one line, without its remedy."""
    head = f"{finding.subject}, {finding.label}" if finding.label else finding.subject
    return f"{head}: {finding.text}"
