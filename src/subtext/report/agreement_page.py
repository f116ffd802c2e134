"""Agreement as Markdown, for people: one table over all labels, then each label's pairs and raters."""

from typing import Any

import pandas as pd

from subtext.annotation.agreement import COEFFICIENT_NAMES, Agreement, LabelAgreement
from subtext.core.templates import marked
from subtext.evaluation.intervals import FEW_CLUSTERS, Interval
from subtext.report.markdown import markdown
from subtext.report.terminal import interval_text, number_text

_SHOWN = ("alpha", "fleiss_kappa", "mean_pairwise_kappa", "icc_2_1", "icc_2_k", "pairwise_agreement")
_OF_ALL = ("fleiss_kappa", "icc_2_1", "icc_2_k")
"""Rest on the units with a value of every rater."""


def overview(agreement: Agreement) -> pd.DataFrame:
    """One row a label and coefficient: what it rests on, the figure with its interval, or why there is none."""
    return pd.DataFrame({name: str(_text(found)) for name, found in row.items()} for row in _rows(agreement))


def _rows(agreement: Agreement) -> list[dict[str, Any]]:
    return [
        {
            "label": label.label,
            "coefficient": f"{COEFFICIENT_NAMES[name]}{_kind(name, label)}",
            "figure [95 % interval]": label.coefficients[name],
            "raters": len(label.raters),
            "units": f"{label.complete if name in _OF_ALL else label.shared} {label.unit}s",
            "remark": label.coefficients[name].reason or "",
        }
        for label in agreement.labels.values()
        for name in _SHOWN
        if name in label.coefficients
    ]


def agreement_markdown(agreement: Agreement, disagreements: pd.DataFrame) -> str:
    """The report that `subtext-data agreement --out` writes. It holds no transcripts."""
    return markdown(
        "report/templates/agreement.md.j2",
        agreement=agreement,
        overview=_rows(agreement),
        headings={"mean_kappa": "mean kappa with others", "alpha_without": "alpha without this rater"},
        differing=len(disagreements),
        few_clusters=FEW_CLUSTERS,
        text=_text,
    )


def _kind(name: str, label: LabelAgreement) -> str:
    scale = "nominal" if label.scale == "binary" else label.scale
    if name == "alpha":
        return f" ({scale})"
    return " (quadratic weights)" if name == "mean_pairwise_kappa" and scale == "ordinal" else ""


def _text(item: object) -> object:
    if isinstance(item, Interval):
        return marked(interval_text)(item.as_dict())
    return number_text(item) if item is None or isinstance(item, float) else item
