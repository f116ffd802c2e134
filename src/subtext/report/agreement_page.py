"""Agreement as Markdown, for people: one table over all labels, then each label's pairs and raters."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from subtext.annotation.agreement import COEFFICIENT_NAMES, Agreement, LabelAgreement
from subtext.evaluation.intervals import FEW_CLUSTERS
from subtext.report.table import FEW_MARK, interval_text

_SHOWN = ("alpha", "fleiss_kappa", "mean_pairwise_kappa", "icc_2_1", "icc_2_k", "pairwise_agreement")


def overview(agreement: Agreement) -> pd.DataFrame:
    """One row a label and coefficient: what it rests on, the figure with its interval, or why there is none."""
    rows = []
    for label in agreement.labels.values():
        for name in _SHOWN:
            if name in label.coefficients:
                figure = label.coefficients[name].as_dict()
                complete = name in ("fleiss_kappa", "icc_2_1", "icc_2_k")
                rows.append(
                    {
                        "label": label.label,
                        "coefficient": f"{COEFFICIENT_NAMES[name]}{_kind(name, label)}",
                        "figure [95 % interval]": interval_text(figure),
                        "raters": len(label.raters),
                        "units": f"{label.complete if complete else label.shared} {label.unit}s",
                        "remark": figure.get("reason") or "",
                    }
                )
    return pd.DataFrame(rows)


def agreement_markdown(agreement: Agreement, disagreements: pd.DataFrame) -> str:
    """The report that `subtext-data agreement --out` writes. It holds no transcripts."""
    lines = ["# Agreement between raters", "", f"Codebook: {agreement.codebook}.", ""]
    for note in agreement.notes:
        lines += [f"**{note}**", ""]
    lines += [*_table(overview(agreement)), ""]
    lines += [
        "Alpha rests on the units with values of two or more raters, Fleiss' kappa and the ICCs on those with a value "
        "of every rater. Cohen's kappa of ordinal labels has quadratic weights. ICC(2,1) says how reliable one rater "
        "is, ICC(2,k) the mean of all. Empty cells and answers such as `not_visible` count as missing. A low alpha or "
        "kappa beside a high share of equal values means that one value is far more frequent than the others. "
        f"Intervals take sessions for independent, not turns. {FEW_MARK}: fewer than {FEW_CLUSTERS} sessions; the "
        "interval is rough: a jackknife over sessions, or an F interval where each is judged once.",
    ]
    for label in agreement.labels.values():
        counts = ", ".join(f"{value} {count}" for value, count in label.values.items())
        lines += ["", f"## {label.label}", "", f"{label.units} {label.unit}s rated. Values given: {counts}.", ""]
        lines += [*_table(pd.DataFrame([_rater_cells(row) for row in label.per_rater])), ""]
        if label.pairs:
            lines += _table(pd.DataFrame([{key: _text(item) for key, item in pair.items()} for pair in label.pairs]))
    lines += ["", "## To settle in adjudication", ""]
    lines.append(
        f"{len(disagreements)} judgements differ (`disagreements.csv`, worst first)."
        if len(disagreements)
        else "No judgements differ."
    )
    return "\n".join(lines) + "\n"


def _kind(name: str, label: LabelAgreement) -> str:
    scale = "nominal" if label.scale == "binary" else label.scale
    if name == "alpha":
        return f" ({scale})"
    return " (quadratic weights)" if name == "mean_pairwise_kappa" and scale == "ordinal" else ""


def _rater_cells(row: Mapping[str, Any]) -> dict[str, str]:
    names = {"mean_kappa": "mean kappa with others", "alpha_without": "alpha without this rater"}
    return {
        names.get(key, key): interval_text(item.as_dict()) if hasattr(item, "as_dict") else _text(item)
        for key, item in row.items()
    }


def _text(item: object) -> str:
    if item is None:
        return "n/a"
    return f"{item:.3f}" if isinstance(item, float) else str(item)


def _table(table: pd.DataFrame) -> list[str]:
    def row(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    table = table.fillna("n/a")
    return [row(table.columns), "|" + "---|" * len(table.columns), *(row(cells) for cells in table.to_numpy())]
