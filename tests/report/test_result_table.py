import io

import pytest
from rich.console import Console

from builders.prediction_tables import run_tables
from subtext.evaluation.evaluate import evaluate
from subtext.report.terminal import clusters_text, interval_text, print_results


@pytest.fixture(scope="module")
def metrics() -> dict:
    return evaluate(*run_tables(val=100, test=300), ("identity", "actor", "dialogue"), n_bootstrap=50)


def printed(metrics: dict, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(metrics, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_its_terminal_without_cutting_a_figure(metrics: dict, width: int) -> None:
    shown = printed(metrics, width)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    # Rich marks what it cuts.
    assert "…" not in shown
    for name in ("fused", "face alone", "words + face", "posterior product", "shuffled pairs", "metadata only"):
        assert name in shown
    assert (
        interval_text(metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["mcc"], digits=2 + (width > 80))
        in shown
    )


def test_counts_of_clusters_stand_beside_the_intervals(metrics: dict) -> None:
    shown = " ".join(printed(metrics, 120).split())
    assert clusters_text(metrics) in shown
    assert "actor (5 clusters)" in shown
    assert "† fewer than 20 clusters of a unit: the interval is rough." in shown


def test_notes_are_printed_as_they_are(metrics: dict) -> None:
    assert "Note: [bold]not markup[/bold]" in printed(metrics | {"notes": ["[bold]not markup[/bold]"]}, 120)


def test_what_the_labels_are_stands_in_one_line(metrics: dict) -> None:
    assert "Labels: sarcasm [a proxy]\n" in printed(metrics | {"labels": "sarcasm [a proxy]"}, 120)
    assert "Labels:" not in printed(metrics, 120)


def test_a_run_without_controls_or_heads_still_prints() -> None:
    predictions, _ = run_tables(val=60, test=120)
    assert "fused model" in printed(evaluate(predictions, groups=(), n_bootstrap=10), 80)
    stage = predictions[
        [c for c in predictions if not c.startswith(("prob_inc", "prob_vocal_inc", "prob_type", "logit"))]
    ]
    shown = printed(evaluate(stage, groups=("speaker",), n_bootstrap=10), 80)
    assert "polarity of the face" in shown
    # A question that the model does not answer has no row.
    assert "n/a" not in shown
    assert "AUROC" not in shown


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ({"value": 0.5, "low": 0.25, "high": 0.75}, "0.500 [0.250, 0.750]"),
        ({"value": None, "low": None, "high": None, "reason": "one class"}, "n/a"),
        ({"value": 0.5, "low": None, "high": None}, "0.500 [n/a]"),
        (
            {"value": 0.5, "low": 0.2, "high": 0.8, "units": ["a"], "clusters": {"a": 4, "b": 90}},
            "0.500 [0.200, 0.800]†",
        ),
        (
            {"value": 0.5, "low": 0.2, "high": 0.8, "units": ["b"], "clusters": {"a": 4, "b": 90}},
            "0.500 [0.200, 0.800]",
        ),
        (None, "n/a"),
    ],
)
def test_interval_text(figure: dict | None, text: str) -> None:
    assert interval_text(figure) == text


def test_signed_and_short_forms() -> None:
    figure = {"value": 0.0471, "low": -0.01, "high": 0.1}
    assert interval_text(figure, signed=True, digits=2) == "+0.05 [-0.01, 0.10]"
