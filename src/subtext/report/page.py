"""`report.md`: a run's figures with their intervals, its controls, how it was made, and what may be read from it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from subtext.core.writing import write_text
from subtext.evaluation.intervals import FEWEST_CLUSTERS, enough
from subtext.report.markdown import markdown
from subtext.report.terminal import (
    FEW_LEGEND,
    HEAD_NAMES,
    MODALITY_NAMES,
    SUBSET_NAMES,
    any_few,
    clusters_text,
    figure_at,
    head_name,
    number_text,
    subsets_to_show,
    system_name,
)

FIGURE_CAPTIONS: Final[Mapping[str, str]] = {
    "controls": "AUROC of the fused model and of every control",
    "roc_pr": "ROC and precision-recall curves on all test clips",
    "reliability": "Predicted probability against the share of positive clips",
    "confusion_type": "Confusion of the incongruence types",
    "confusion_polarity": "Confusion of each modality's polarity, from that modality alone",
    "training": "Training",
}


def write_page(
    path: Path,
    metrics: Mapping[str, Any],
    *,
    title: str,
    provenance: Mapping[str, str] | None = None,
    figures: Sequence[Path] = (),
) -> Path:
    """Write a run's report.

    Args:
        path: the Markdown file.
        metrics: what `evaluate` gave.
        title: the run's name.
        provenance: how the run was made, label -> text, in the order to print.
        figures: PNG files under the page's folder.
    """
    controls = metrics["controls"]
    polarity = {modality: figure_at(entry, "metrics", "macro_f1") for modality, entry in metrics["polarity"].items()}
    page = markdown(
        "report/templates/run.md.j2",
        metrics=metrics,
        title=title,
        provenance=provenance or {},
        clusters=clusters_text(metrics),
        few=any_few(metrics),
        few_legend=FEW_LEGEND,
        fewest=FEWEST_CLUSTERS,
        shown=subsets_to_show(metrics),
        readings={head: _reading(metrics, head) for head in metrics["heads"]},
        polarity={modality: figure for modality, figure in polarity.items() if figure is not None},
        systems=lambda head, subset: {
            "fused": metrics["heads"][head]["subsets"][subset],
            **{
                name: entry[head]["subsets"][subset]
                for name, entry in controls.items()
                if subset in entry.get(head, {}).get("subsets", {})
            },
        },
        in_folds=lambda head: {
            "fused": metrics["heads"][head]["folds"],
            **{name: entry[head]["folds"] for name, entry in controls.items() if head in entry},
        },
        choices=list(_choices(metrics)),
        figure_at=figure_at,
        dashed=lambda value: "-" if value is None else number_text(value),
        figures=[(_caption(metrics, figure), figure.relative_to(path.parent).as_posix()) for figure in figures],
        methods=dict.fromkeys([*_methods(metrics["heads"]), *_methods(metrics["type"])]),
    )
    return write_text(path, page)


def _reading(metrics: Mapping[str, Any], head: str) -> dict[str, Any]:
    """What the intervals of the first subset allow to be said of each control."""
    subset = subsets_to_show(metrics)[0]
    found: dict[str, Any] = {side: [] for side in ("chance", "above", "below", "better", "worse", "unproven", "few")}
    judged = metrics["heads"][head]["subsets"][subset]
    lows: dict[tuple[str, str], float] = {}
    for control, entry in metrics["controls"].items():
        result = entry.get(head, {}).get("subsets", {}).get(subset)
        if result is None:
            continue
        difference = result.get("fused_minus_control", {}).get("auroc", {"low": None})
        for what, figure, middle, sides in (
            ("auroc", result["metrics"]["auroc"], 0.5, ("above", "below", "chance")),
            ("difference", difference, 0, ("better", "worse", "unproven")),
        ):
            if figure["low"] is None or control == "majority":
                continue
            if not enough(judged["clips"], judged["positive"], figure.get("clusters", {}).values()):
                found["few"] = sorted({*found["few"], system_name(control)})
                continue
            lows[control, what] = figure["low"]
            found[sides[0 if figure["low"] > middle else 1 if figure["high"] < middle else 2]].append(
                system_name(control)
            )
    leak = lows.get(("permuted", "auroc"), 0.5) > 0.5
    beats_product = lows.get(("posterior_product", "difference"), 0) > 0
    return {**found, "subset": subset, "leak": leak, "beats_product": beats_product}


def _choices(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for subset in subsets_to_show(metrics):
        yield f"type, {SUBSET_NAMES[subset]}", metrics["type"][subset]
        if "ether_type" in metrics:
            yield f"type in E-THER's view, {SUBSET_NAMES[subset]}", metrics["ether_type"][subset]
    for what in ("polarity", "emotion"):
        for modality, entry in metrics.get(what, {}).items():
            yield f"{what} of the {MODALITY_NAMES[modality]}, where present", entry


def _caption(metrics: Mapping[str, Any], figure: Path) -> str:
    kind = next((kind for kind in FIGURE_CAPTIONS if figure.stem.startswith(kind)), figure.stem)
    head = next((f", {head_name(metrics, head)}" for head in HEAD_NAMES if figure.stem == f"{kind}_{head}"), "")
    return FIGURE_CAPTIONS.get(kind, figure.stem) + head


def _methods(entry: Any) -> Iterator[str]:
    """How the intervals anywhere below were made."""
    if isinstance(entry, Mapping):
        if isinstance(entry.get("method"), str):
            yield entry["method"]
        for item in entry.values():
            yield from _methods(item)
