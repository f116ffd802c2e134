from pathlib import Path

import numpy as np
import pytest

from builders.prediction_tables import run_tables
from subtext.evaluation.evaluate import evaluate
from subtext.report.page import write_page
from subtext.report.terminal import interval_text


@pytest.fixture(scope="module")
def metrics() -> dict:
    return evaluate(*run_tables(val=100, test=300), ("speaker",), n_bootstrap=30)


def test_page_holds_every_figure_of_every_system(metrics: dict, tmp_path: Path) -> None:
    figure = tmp_path / "figures" / "roc_pr_incongruent.png"
    page = write_page(
        tmp_path / "report.md", metrics, title="a run", provenance={"commit": "abc123"}, figures=[figure]
    ).read_text()
    assert page.startswith("# a run\n")
    for subset in ("all", "all_streams"):
        entry = metrics["heads"]["incongruent"]["subsets"][subset]
        for name in ("auroc", "auprc", "macro_f1", "balanced_accuracy", "mcc", "brier", "ece"):
            assert interval_text(entry["metrics"][name]) in page
        for control in metrics["controls"].values():
            assert interval_text(control["incongruent"]["subsets"][subset]["metrics"]["auroc"]) in page
            assert interval_text(control["incongruent"]["subsets"][subset]["contradiction"]["auroc"]) in page
        assert interval_text(entry["contradiction"]["auroc"]) in page
    assert "speaker (20 clusters)" in page
    assert "- commit: abc123" in page
    assert "(figures/roc_pr_incongruent.png)" in page
    assert "does not detect lies" in page


def test_rows_of_a_table_have_as_many_cells_as_its_head(metrics: dict, tmp_path: Path) -> None:
    page = write_page(tmp_path / "report.md", metrics, title="a run").read_text()
    width = None
    for line in page.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        width = width or line.count("|")
        assert line.count("|") == width


def set_auroc(metrics: dict, control: str, low: float, high: float, difference: tuple[float, float]) -> None:
    entry = metrics["controls"][control]["incongruent"]["subsets"]["all_streams"]
    entry["metrics"]["auroc"] = {"value": (low + high) / 2, "low": low, "high": high}
    entry["fused_minus_control"]["auroc"] = {"value": sum(difference) / 2, "low": difference[0], "high": difference[1]}


def test_reading_says_what_the_intervals_allow_and_no_more(tmp_path: Path) -> None:
    def reading(metrics: dict) -> list[str]:
        page = write_page(tmp_path / "r.md", metrics, title="x").read_text()
        return [line.removeprefix("- ") for line in page.split("## ")[1].splitlines()]

    metrics = evaluate(*run_tables(val=60, test=160), ("speaker",), n_bootstrap=10)
    for name in metrics["controls"]:
        if name == "shuffled":
            continue
        set_auroc(metrics, name, 0.45, 0.55, (0.2, 0.4))
    set_auroc(metrics, "visual+text", 0.8, 0.9, (-0.02, 0.06))
    set_auroc(metrics, "posterior_product", 0.8, 0.9, (0.01, 0.06))
    said = [line for line in reading(metrics) if line.startswith("Words against face")]
    (chance,) = [line for line in said if "0.5 lies inside" in line]
    assert "face alone" in chance
    assert "words + face" not in chance
    (above,) = [line for line in said if "lies above 0.5" in line]
    assert "words + face" in above
    assert "majority" not in above
    (unproven,) = [line for line in said if "is not distinguished from" in line]
    assert "words + face" in unproven
    assert "face alone" not in unproven
    assert any("model of shuffled pairs is one draw" in line for line in said)
    assert not any("shuffled pairs" in line and "0.5 lies inside" in line for line in said)
    assert not any("leak: look into it" in line for line in said)
    assert any("product of unimodal posteriors" in line and "not better fusion" in line for line in said)
    set_auroc(metrics, "posterior_product", 0.8, 0.9, (-0.01, 0.06))
    assert not any("not better fusion" in line for line in reading(metrics))
    set_auroc(metrics, "permuted", 0.53, 0.6, (0.2, 0.4))
    set_auroc(metrics, "visual+text", 0.8, 0.9, (-0.2, -0.1))
    set_auroc(metrics, "metadata", 0.2, 0.4, (0.2, 0.4))
    said = reading(metrics)
    assert any("permuted streams" in line and "leak: look into it" in line for line in said)
    assert any("worse than words + face" in line for line in said)
    assert any("metadata only lies below 0.5" in line for line in said)


def test_what_is_missing_is_on_the_page(tmp_path: Path) -> None:
    predictions, _ = run_tables(val=60, test=120)
    predictions.loc[predictions["split"] == "test", "incongruent"] = True
    metrics = evaluate(predictions, groups=("speaker", "show"), n_bootstrap=10)
    page = write_page(tmp_path / "report.md", metrics, title="a run").read_text()
    assert "n/a" in page
    assert "controls that were not run: majority" in page
    assert "show (no such column)" in page


def test_what_the_labels_are_stands_at_the_top(metrics: dict, tmp_path: Path) -> None:
    page = write_page(tmp_path / "r.md", metrics | {"labels": "sarcasm, a proxy"}, title="x")
    text = page.read_text()
    assert text.index("What the labels of this corpus are: sarcasm, a proxy.") < text.index("## What the figures say")


def test_a_page_of_folds_tells_each_fold_s_figures_and_what_pooling_does(tmp_path: Path) -> None:
    tables = [t.assign(fold=np.arange(len(t)) % 4) for t in run_tables(val=200, test=400)]
    found = evaluate(*tables, ("speaker",), n_bootstrap=10)
    page = write_page(tmp_path / "r.md", found, title="x").read_text()
    head = found["heads"]["incongruent"]
    limits = sorted(head["threshold"]["folds"].values())
    assert f"Thresholds of the folds {limits[0]:.3f} to {limits[-1]:.3f}" in page
    assert f"{head['folds']['auroc']['mean']:.3f}" in page
    assert "| majority | 0.500 | 0.000 | 4 |" in page
    assert "believe those inside the folds" in page
    assert "below each fold's own confidence" in page
    assert "pool" not in write_page(tmp_path / "o.md", evaluate(*run_tables(val=60, test=90)), title="x").read_text()


def test_headings_ask_what_the_corpus_asks(metrics: dict, tmp_path: Path) -> None:
    asked = metrics | {"question": "sarcasm"}
    page = write_page(tmp_path / "r.md", asked, title="x").read_text()
    assert "## Sarcasm (`incongruent`)" in page
    assert "words against face" not in page.lower()
    assert "Words against voice" in page


def test_words_of_a_stranger_are_text_on_the_page(metrics: dict, tmp_path: Path) -> None:
    said = "a|b\n# <script>x</script> ![p](http://x) `c"
    asked = metrics | {"question": said, "labels": said, "notes": [said]}
    page = write_page(tmp_path / "r.md", asked, title=said, provenance={"commit": said}).read_text()
    for read in ("<script", "![", "[p]", "\n# <", "a|b"):
        assert read not in page
    assert page.count("# A\\|b # &lt;script>x&lt;/script> !\\[p\\](http://x) \\`c (`incongruent`)\n") == 1
