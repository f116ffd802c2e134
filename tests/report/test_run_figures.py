import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from builders.prediction_tables import run_tables
from subtext.evaluation.evaluate import evaluate
from subtext.report import figures
from subtext.report.figures import confusion, curves, forest, reliability, run_figures, training_curves
from subtext.report.terminal import interval_text


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return run_tables(val=60, test=160)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures instead of files, to look into."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return path

    monkeypatch.setattr(figures, "save", keep)
    return kept


def test_files_are_pictures_with_something_on_them(tables, tmp_path: Path) -> None:
    metrics = evaluate(*tables, ("speaker",), n_bootstrap=10)
    metrics["heads"].pop("vocal_incongruent")
    history = pd.DataFrame({"epoch": [0, 1], "train/loss": [1.0, 0.5], "val/loss": [1.0, 0.7]})
    written = run_figures(tmp_path / "figures", metrics, *tables, history, best_epoch=1)
    assert len(written) == 6
    for path in written:
        pixels = imread(path)
        assert pixels.shape[0] > 300
        assert pixels.shape[1] > 500
        assert np.ptp(pixels[..., :3]) > 0.9


def test_every_axis_says_what_it_shows(tables, drawn: list[Figure], tmp_path: Path) -> None:
    metrics = evaluate(*tables, ("speaker",), n_bootstrap=10)
    history = pd.DataFrame({"epoch": [0, 1], "train/loss": [1.0, 0.5], "val/type_macro_f1": [0.1, 0.7]})
    run_figures(tmp_path, metrics, *tables, history)
    assert len(drawn) == 9
    for figure in drawn:
        for ax in figure.axes:
            assert ax.get_ylabel() or ax.get_yticklabels()
            shared = ax.get_shared_x_axes().joined(ax, figure.axes[-1]) and ax is not figure.axes[-1]
            assert ax.get_xlabel() or shared


def test_curves_show_the_fused_model_and_the_single_modalities(tables, drawn: list[Figure]) -> None:
    metrics = evaluate(*tables, ("speaker",), n_bootstrap=10)
    curves(*tables, "incongruent", Path("roc.png"), metrics)
    left, right = drawn[0].axes
    names = [text.get_text() for text in left.get_legend().get_texts()]
    area = metrics["heads"]["incongruent"]["subsets"]["all"]["metrics"]["auroc"]
    assert names[0] == f"fused {interval_text(area, digits=2)}"
    assert [re.sub(r" [0-9.]+ \[.*", "", name) for name in names] == [
        "fused",
        "face alone",
        "words alone",
        "voice alone",
        "posterior product",
        "metadata only",
    ]
    assert len({(line.get_color(), line.get_linestyle()) for line in left.lines[1:]}) == len(names)
    base_rate = tables[0].query("split == 'test'")["incongruent"].astype(float).mean()
    assert right.lines[0].get_ydata()[0] == pytest.approx(base_rate)


def test_forest_draws_each_interval_where_it_is(tables, drawn: list[Figure]) -> None:
    metrics = evaluate(*tables, ("speaker",), n_bootstrap=10)
    forest(metrics, "incongruent", Path("forest.png"))
    ax = drawn[0].axes[0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "fused"
    assert len(labels) == 13
    figure = metrics["heads"]["incongruent"]["subsets"]["all_streams"]["metrics"]["auroc"]
    ends = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert (figure["low"], figure["high"]) in ends
    low, high = ax.get_xlim()
    assert all(low < end < high for pair in ends for end in pair)


def test_reliability_points_are_the_shares_of_their_bins(tables, drawn: list[Figure]) -> None:
    predictions, _ = tables
    reliability(predictions, "incongruent", Path("reliability.png"))
    top, bottom = drawn[0].axes
    before, after = top.lines[1], top.lines[2]
    assert before.get_label().startswith("before")
    test = predictions[predictions["split"] == "test"]
    inside = test[(test["prob_incongruent"] >= 0.9)]
    assert after.get_ydata()[-1] == pytest.approx(inside["incongruent"].astype(float).mean())
    assert after.get_xdata()[-1] == pytest.approx(inside["prob_incongruent"].mean())
    assert sum(bar.get_height() for bar in bottom.patches) == 2 * len(test)


def test_confusion_leaves_a_class_without_clips_blank(drawn: list[Figure]) -> None:
    entry = {"classes": ["a", "b_c"], "confusion": [[3, 1], [0, 0]]}
    confusion({"Title": entry, "empty": {"classes": ["a"], "confusion": [[0]]}, "none": {}}, Path("confusion.png"))
    (ax,) = drawn[0].axes
    assert [text.get_text() for text in ax.texts] == ["3\n75%", "1\n25%"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b c"]


def test_training_curves_join_rows_that_each_hold_some_figures(drawn: list[Figure]) -> None:
    history = pd.DataFrame(
        {
            "epoch": [0, 0, 1, 1],
            "train/loss": [1.0, np.nan, 0.5, np.nan],
            "val/loss": [np.nan, 1.1, np.nan, 0.9],
            "val/selection": [np.nan, 0.6, np.nan, 0.8],
            "val/incongruent_auroc": [np.nan, 0.6, np.nan, 0.8],
            "lr": [0.1, 0.1, 0.1, 0.1],
        }
    )
    training_curves(history, Path("training.png"), best_epoch=1)
    left, right = drawn[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in left.lines}
    assert lines["train/loss"] == [1.0, 0.5]
    assert lines["val/loss"] == [1.1, 0.9]
    assert [line.get_label() for line in right.lines] == ["AUROC, incongruent", "epoch kept"]


def test_what_cannot_be_drawn_is_left_out(tables, drawn: list[Figure]) -> None:
    predictions, controls = tables
    one_class = predictions.assign(incongruent=True)
    assert curves(one_class, controls, "incongruent", Path("x.png"), {}) is None
    assert reliability(predictions.head(0), "incongruent", Path("x.png")) is None
    assert confusion({"empty": {"classes": ["a"], "confusion": [[0]]}}, Path("x.png")) is None
    assert training_curves(pd.DataFrame({"epoch": [0], "lr": [0.1]}), Path("x.png")) is None
    metrics = evaluate(one_class, controls, ("speaker",), n_bootstrap=10)
    assert forest(metrics, "incongruent", Path("x.png")) is None
    assert drawn == []


def test_colours_differ_in_lightness_or_hue_for_colour_blind_readers() -> None:
    """Deuteranope simulation (Vienot et al. 1999): no two curve colours fall together."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    see = np.linalg.inv(to_lms) @ blind @ to_lms
    colours = [figures.BLUE, *(colour for colour, _ in figures.CURVES.values())]
    seen = [see @ np.array(to_rgb(colour)) ** 2.2 for colour in colours]
    for i, one in enumerate(seen):
        for j, other in enumerate(seen[:i]):
            dashes = [None, *(dash for _, dash in figures.CURVES.values())]
            assert np.linalg.norm(one - other) > 0.08 or dashes[i] != dashes[j]
