"""`report.md`: a run's figures with their intervals, its controls, how it was made, and what may be read from it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from subtext.report.table import (
    FEW_MARK,
    HEAD_NAMES,
    METRIC_NAMES,
    MODALITY_NAMES,
    SUBSET_NAMES,
    any_few,
    clusters_text,
    figure_at,
    head_name,
    interval_text,
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
KIND_NAMES: Final[Mapping[str, str]] = {
    "contradiction": "AUROC, contradiction",
    "zero_cell": "AUROC, mismatch with 0",
}
_KINDS: Final[Mapping[str, str]] = {
    "contradiction": "contradictions (opposite signs)",
    "zero_cell": "mismatches with a zero",
}
POOLED: Final = (
    "figures over all clips pool the folds, each judged by a model of its own; intervals take these models as given. "
    "Pooled AUROC also ranks clips of different folds against each other. Folds differ in their share of incongruent "
    "clips, and the more a fold has, the fewer are left to train on: a score that knows nothing, as the majority, then "
    "lies below 0.5. Where pooled and fold figures differ, believe those inside the folds."
)
LIMITS: Final = (
    "Subtext reports an observable discrepancy between channels. It does not detect lies, motives or a diagnosis; flat "
    "affect has many causes. Results on constructed pairs do not transfer to natural recordings by themselves."
)


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
    path.unlink(missing_ok=True)  # a link would be written through
    path.write_text("\n".join(_page(metrics, title, provenance or {}, figures, path.parent)) + "\n", encoding="utf-8")
    return path


def reading(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences that say what the figures allow to be said, and what they don't."""
    said = [sentence for head in metrics["heads"] for sentence in _head_reading(metrics, head)]
    polarity = {m: figure_at(entry, "metrics", "macro_f1") for m, entry in metrics["polarity"].items()}
    known = [f"{MODALITY_NAMES[m]} {interval_text(figure)}" for m, figure in polarity.items() if figure is not None]
    if known:
        said.append(f"Each modality's polarity from that modality alone, macro-F1: {', '.join(known)}.")
    if any_few(metrics):
        said.append(
            f"A unit has fewer than 20 clusters among the test clips; intervals marked {FEW_MARK} rest on it and are "
            "wide for that reason."
        )
    return said


def _page(
    metrics: Mapping[str, Any], title: str, provenance: Mapping[str, str], figures: Sequence[Path], folder: Path
) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    clips = ", ".join(f"{count} {split}" for split, count in metrics["clips"].items())
    yield f"Predicted clips: {clips}. Figures are on the test split; thresholds and temperatures come from the"
    yield f"validation split only. 95 % intervals are clustered by {clusters_text(metrics)}."
    if any_few(metrics):
        yield f"{FEW_MARK} marks an interval that rests on a unit with fewer than 20 clusters."
    if metrics["presence"]:
        shares = ", ".join(f"{MODALITY_NAMES[m]} {share:.1%}" for m, share in metrics["presence"].items())
        yield f"Share of test clips in which a stream is present: {shares}."
    if metrics.get("labels"):
        yield ""
        yield f"What the labels of this corpus are: {metrics['labels']}."
    yield ""
    yield "## Reading"
    yield ""
    for sentence in reading(metrics):
        yield f"- {sentence}"
    yield f"- {LIMITS}"
    for note in metrics["notes"]:
        yield f"- Missing: {note}."
    for head in metrics["heads"]:
        yield from _head_section(metrics, head)
    yield from _choices(metrics)
    yield from _figure_section(metrics, figures, folder)
    yield ""
    yield "## How it was made"
    yield ""
    settings = metrics["settings"]
    for label, text in provenance.items():
        yield f"- {label}: {text}"
    yield f"- evaluation: {settings['n_bootstrap']} bootstrap resamples, seed {settings['seed']}"
    yield "- intervals: " + _methods(metrics)


def _head_section(metrics: Mapping[str, Any], head: str) -> Iterator[str]:
    result = metrics["heads"][head]
    yield ""
    yield f"## {head_name(metrics, head).capitalize()} (`{head}`)"
    yield ""
    yield _threshold(result) + " " + _temperature(result)
    for subset in subsets_to_show(metrics):
        entry = result["subsets"][subset]
        yield ""
        yield f"### {SUBSET_NAMES[subset].capitalize()} ({entry['clips']}, {entry['positive']} of them incongruent)"
        yield ""
        if entry["without_label"] or entry["without_probability"]:
            yield (
                f"Left out: {entry['without_label']} clips without this label, "
                f"{entry['without_probability']} without a probability."
            )
            yield ""
        headings = [*METRIC_NAMES.values(), *KIND_NAMES.values()]
        yield f"| system | clips | {' | '.join(headings)} | fused less this, AUROC |"
        yield "|" + "---|" * (len(headings) + 3)
        yield f"| **fused** | {entry['clips']} | {' | '.join(_cells(entry))} | |"
        for name, control in metrics["controls"].items():
            other = control.get(head, {}).get("subsets", {}).get(subset)
            if other is None:
                continue
            difference = interval_text(other.get("fused_minus_control", {}).get("auroc"), signed=True)
            yield f"| {system_name(name)} | {other['clips']} | {' | '.join(_cells(other))} | {difference} |"
        yield ""
        yield from _kinds(entry)
    yield ""
    yield from _abstention(result["abstention"])
    if "folds" in result:
        yield from _folds(metrics, head)


def _folds(metrics: Mapping[str, Any], head: str) -> Iterator[str]:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    result = metrics["heads"][head]["folds"]
    yield ""
    yield "Fold by fold, with the fused model; no interval, since folds share training rows:"
    yield ""
    yield "| fold | clips | incongruent | AUROC | macro-F1 |"
    yield "|---|---|---|---|---|"
    for row in result["each"]:
        counts = f"{row['fold']} | {row['clips']} | {row['positive']}"
        yield f"| {counts} | {cell(row['auroc'])} | {cell(row['macro_f1'])} |"
    for name, key in (("mean", "mean"), ("standard deviation", "sd")):
        yield f"| {name} | | | {cell(result['auroc'][key])} | {cell(result['macro_f1'][key])} |"
    yield ""
    yield "Inside folds, every system; what is constant in each fold, as the majority, has an AUROC of 0.5 here:"
    yield ""
    yield "| system | AUROC, mean of folds | standard deviation | folds | macro-F1, mean of folds |"
    yield "|---|---|---|---|---|"
    systems = {"fused": result} | {
        name: control[head]["folds"] for name, control in metrics["controls"].items() if head in control
    }
    for name, entry in systems.items():
        area = entry["auroc"]
        figures = f"{cell(area['mean'])} | {cell(area['sd'])} | {area['folds']} | {cell(entry['macro_f1']['mean'])}"
        yield f"| {system_name(name)} | {figures} |"


def _cells(entry: Mapping[str, Any]) -> list[str]:
    return [
        *(interval_text(entry["metrics"][name]) for name in METRIC_NAMES),
        *(interval_text(entry[kind]["auroc"]) for kind in KIND_NAMES),
    ]


def _kinds(entry: Mapping[str, Any]) -> Iterator[str]:
    counts = [f"{entry[kind].get('clips', 0)} {words}" for kind, words in _KINDS.items()]
    yield (
        f"The last two AUROC hold {' and '.join(counts)} against congruent clips alone. Where the label as a whole is "
        "balanced its parts are not, so compare them with the same figure of the single modalities, not with 0.5."
    )
    if "unvoiced_warmth" in entry:
        warmth = entry["unvoiced_warmth"]
        yield ""
        yield (
            f"AUROC with the {warmth['clips']} clips of unvoiced warmth counted as incongruent: "
            f"{interval_text(warmth['counted_as_incongruent'])}; as congruent: "
            f"{interval_text(warmth['counted_as_congruent'])}."
        )


def _threshold(result: Mapping[str, Any]) -> str:
    found = result["threshold"]
    if "folds" in found:
        return f"Thresholds of the folds {_range(found['folds'].values(), 3)} ({found['chosen']})."
    return f"Threshold {found['value']:.3f} ({found['chosen']})."


def _range(values: Iterable[float], digits: int) -> str:
    found = sorted(values)
    return f"{found[0]:.{digits}f} to {found[-1]:.{digits}f}"


def _temperature(result: Mapping[str, Any]) -> str:
    found = result["temperature"]
    if "folds" in found:
        text = f"Temperatures {_range(found['folds'].values(), 2)}."
    elif found["value"] is not None:
        text = f"Temperature {found['value']:.2f}."
    else:
        text = f"No temperature: {found['reason']}."
    raw = result["subsets"]["all"]["uncalibrated"]
    if "ece" in raw:
        text += f" ECE without it {interval_text(raw['ece'])}."
    floor = result["subsets"]["all"]["ece_if_calibrated"]
    # Small test splits show an error even where there is none.
    return text + ("" if floor is None else f" Perfect calibration would show about {floor:.3f} on so many clips.")


def _abstention(result: Mapping[str, Any]) -> Iterator[str]:
    test = result["test"]
    if "folds" in result:
        yield from _fold_abstention(list(result["folds"].values()), test)
        return
    level = result["validation"]
    if level["reason"]:
        yield f"No abstention level: {level['reason']}."
    elif level["level"] == 0:
        yield (
            f"No clip is withheld for low confidence: on validation all answers together reach {level['accuracy']:.3f} "
            f"(target {level['target']:g})."
        )
    elif test["coverage"] is not None:
        accuracy = test["accuracy_of_answers"]
        yield (
            f"Abstaining below a confidence of {level['level']:.3f} (chosen on validation for an accuracy of "
            f"{level['target']:g}) answers {test['coverage']:.0%} of the test clips"
            + ("" if accuracy is None else f", with an accuracy of {accuracy:.3f}")
            + f" against {test['accuracy_without_abstention']:.3f} without abstaining."
        )


def _fold_abstention(levels: Sequence[Mapping[str, Any]], test: Mapping[str, Any]) -> Iterator[str]:
    withheld = [level["level"] for level in levels if level["level"] > 0]
    without = sum(level["reason"] is not None for level in levels)
    if withheld and test["coverage"] is not None:
        accuracy = test["accuracy_of_answers"]
        yield (
            f"Abstaining below each fold's own confidence ({_range(withheld, 3)} in {len(withheld)} of {len(levels)} "
            f"folds, chosen on its validation split for an accuracy of {levels[0]['target']:g}; the others withhold "
            f"nothing) answers {test['coverage']:.0%} of the test clips"
            + ("" if accuracy is None else f", with an accuracy of {accuracy:.3f}")
            + f" against {test['accuracy_without_abstention']:.3f} without abstaining."
        )
    else:
        yield "No clip is withheld for low confidence."
    if without:
        yield f"In {without} of {len(levels)} folds no level could be found."


def _choices(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Type and polarity"
    yield ""
    yield "| what | clips | macro-F1 | accuracy |"
    yield "|---|---|---|---|"
    for subset in subsets_to_show(metrics):
        yield _choice_row(f"type, {SUBSET_NAMES[subset]}", metrics["type"][subset])
        if "ether_type" in metrics:
            yield _choice_row(f"type in E-THER's view, {SUBSET_NAMES[subset]}", metrics["ether_type"][subset])
    for modality, entry in metrics["polarity"].items():
        yield _choice_row(f"polarity of the {MODALITY_NAMES[modality]}, where present", entry)
    for modality, entry in metrics.get("emotion", {}).items():
        yield _choice_row(f"emotion of the {MODALITY_NAMES[modality]}, where present", entry)
    engagement = metrics["engagement"]
    if engagement["clips"]:
        yield ""
        figures = [
            f"{name} {interval_text(figure_at(engagement, 'metrics', key))}"
            for key, name in (("mae", "mean absolute error"), ("pearson", "Pearson correlation"))
        ]
        yield f"Engagement, {engagement['clips']} clips: {', '.join(figures)}."


def _choice_row(name: str, entry: Mapping[str, Any]) -> str:
    figures = [interval_text(figure_at(entry, "metrics", metric)) for metric in ("macro_f1", "accuracy")]
    return f"| {name} | {entry['clips']} | {' | '.join(figures)} |"


def _figure_section(metrics: Mapping[str, Any], figures: Sequence[Path], folder: Path) -> Iterator[str]:
    if not figures:
        return
    yield ""
    yield "## Figures"
    for figure in figures:
        kind = next((kind for kind in FIGURE_CAPTIONS if figure.stem.startswith(kind)), figure.stem)
        head = next((f", {head_name(metrics, head)}" for head in HEAD_NAMES if figure.stem == f"{kind}_{head}"), "")
        caption = FIGURE_CAPTIONS.get(kind, figure.stem) + head
        yield ""
        yield f"![{caption}]({figure.relative_to(folder).as_posix()})"


def _methods(metrics: Mapping[str, Any]) -> str:
    found: dict[str, None] = {}

    def walk(entry: Any) -> None:
        if isinstance(entry, Mapping):
            if isinstance(entry.get("method"), str):
                found[entry["method"]] = None
            for item in entry.values():
                walk(item)

    walk(metrics["heads"])
    walk(metrics["type"])
    return "; ".join(found) or "none"


def _head_reading(metrics: Mapping[str, Any], head: str) -> Iterator[str]:
    name = head_name(metrics, head).capitalize()
    subsets = subsets_to_show(metrics)
    result = metrics["heads"][head]["subsets"]
    parts = [
        f"{interval_text(result[s]['metrics']['auroc'])} on {SUBSET_NAMES[s]} ({result[s]['clips']})" for s in subsets
    ]
    yield f"{name}: AUROC {'; '.join(parts)}."
    if "folds" in metrics["heads"][head]:
        area = metrics["heads"][head]["folds"]["auroc"]
        if area["mean"] is not None:
            spread = "" if area["sd"] is None else f" (standard deviation {area['sd']:.3f})"
            yield f"{name}: mean of the AUROC inside {area['folds']} folds {area['mean']:.3f}{spread}."
        yield f"{name}: {POOLED}"
    first = subsets[0]
    chance: list[str] = []
    above: list[str] = []
    below: list[str] = []
    better: list[str] = []
    worse: list[str] = []
    unproven: list[str] = []
    for control, entry in metrics["controls"].items():
        found = entry.get(head, {}).get("subsets", {}).get(first)
        if found is None or control == "majority":
            continue
        area = found["metrics"]["auroc"]
        if area["low"] is not None:
            side = above if area["low"] > 0.5 else below if area["high"] < 0.5 else chance
            side.append(system_name(control))
        difference = found.get("fused_minus_control", {}).get("auroc", {"low": None})
        if difference["low"] is not None:
            side = better if difference["low"] > 0 else worse if difference["high"] < 0 else unproven
            side.append(system_name(control))
    where = f"{name}, {SUBSET_NAMES[first]}:"
    if chance:
        yield f"{where} 0.5 lies inside the interval of {_listed(chance)}."
    if above:
        yield f"{where} the whole interval of {_listed(above)} lies above 0.5."
    if below:
        yield f"{where} the whole interval of {_listed(below)} lies below 0.5."
    if "shuffled" in metrics["controls"]:
        yield (
            f"{where} the model of shuffled pairs is one draw, which scatters around 0.5 from seed to seed more than "
            "an interval over clips would say: judge by the mean over several seeds."
        )
    if better:
        yield (
            f"{where} the fused model is better than {_listed(better)} (the interval of the paired difference lies "
            "above 0)."
        )
    if worse:
        yield f"{where} the fused model is worse than {_listed(worse)} (the interval of the difference lies below 0)."
    if unproven:
        yield f"{where} it is not shown to be better than {_listed(unproven)}."
    permuted = figure_at(metrics["controls"].get("permuted", {}), head, "subsets", first, "metrics", "auroc")
    if permuted is not None and permuted["low"] is not None and permuted["low"] > 0.5:
        yield f"{where} permuted streams score above chance, which points to a leak: look into it first."
    product = figure_at(
        metrics["controls"].get("posterior_product", {}), head, "subsets", first, "fused_minus_control", "auroc"
    )
    if product is not None and product["low"] is not None and product["low"] > 0:
        yield (
            f"{where} the fused model beats the product of unimodal posteriors. On constructed pairs, whose parts are "
            "independent given their labels, that means better posteriors or a leak, not better fusion."
        )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
