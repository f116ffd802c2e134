"""`report.md` of several runs that differ in their seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subtext.core.writing import write_text
from subtext.report.markdown import markdown
from subtext.report.terminal import FEW_LEGEND, any_few, clusters_text


def write_seeds_page(path: Path, pooled: Mapping[str, Any]) -> Path:
    """Write what `pool_seeds` gave as Markdown."""
    values = {"pooled": pooled, "clusters": clusters_text(pooled), "few": any_few(pooled), "few_legend": FEW_LEGEND}
    return write_text(path, markdown("report/templates/seeds.md.j2", **values))
