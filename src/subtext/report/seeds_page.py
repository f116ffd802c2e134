"""`report.md` of several runs that differ in their seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subtext.report.markdown import markdown
from subtext.report.table import any_few, clusters_text


def write_seeds_page(path: Path, pooled: Mapping[str, Any]) -> Path:
    """Write what `pool_seeds` gave as Markdown."""
    page = markdown("report/templates/seeds.md.j2", pooled=pooled, clusters=clusters_text(pooled), few=any_few(pooled))
    path.unlink(missing_ok=True)  # a link would be written through
    path.write_text(page, encoding="utf-8")
    return path
