"""What is printed: one answer a clip, nothing wider than its terminal, no verdict where too little was seen."""

import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from omegaconf import OmegaConf
from rich.console import Console

from builders.compared_runs import write_run
from builders.prediction_tables import run_tables
from subtext.cli.robustness import _print
from subtext.cli.train import GridTable
from subtext.core.natural_order import natural
from subtext.evaluation.compare import compare
from subtext.evaluation.evaluate import evaluate
from subtext.evaluation.robustness import RobustnessCurves
from subtext.evaluation.seeds import EvaluatedRun, pool_seeds
from subtext.evaluation.systems import System, TrainedRun
from subtext.labels import INCONGRUENCE_TYPES, MODALITIES, POLARITY_COLUMN, POLARITY_NAMES, IncongruenceRule
from subtext.labels import incongruence_type as type_of
from subtext.model.task import selection_name
from subtext.prediction.inputs import Words, find_inputs
from subtext.prediction.lines import prediction_line, readable
from subtext.report.compare_page import print_comparison
from subtext.report.figures import run_figures
from subtext.report.page import write_page
from subtext.report.terminal import FEW_MARK, print_pooled, print_results, print_runs
from subtext.runs.compare import compare_runs
from subtext.runs.controls import time_left
from subtext.runs.evaluate import evaluate_run
from subtext.runs.folder import RunFolder
from subtext.runs.front_door import train_composed
from subtext.sweeps.study import figures_told
from subtext.sweeps.winner import refit

pytestmark = pytest.mark.usefixtures("undrawn")

PROBABILITY = st.floats(0, 1)


@st.composite
def predicted(draw: st.DrawFn) -> dict[str, Any]:
    """A row of any probabilities, as heads that know nothing of each other give them."""
    row: dict[str, Any] = {"id": "a.mp4#1", "start": 0.0, "end": draw(st.floats(0.1, 9000)), "transcript": "fine"}
    row |= {f"prob_{label}": draw(PROBABILITY) for label in ("incongruent", "vocal_incongruent")}
    row |= {f"prob_type_{name}": draw(PROBABILITY) for name in INCONGRUENCE_TYPES}
    for column in POLARITY_COLUMN.values():
        row |= {f"prob_{column}_{name}": draw(PROBABILITY) for name in POLARITY_NAMES}
    return row


def line_of(row: dict[str, Any], threshold: float, missing: dict[str, str], warmth: bool) -> dict[str, Any]:
    return prediction_line(
        row,
        input_="a.mp4",
        labels=["incongruent", "vocal_incongruent"],
        missing=missing,
        thresholds={"incongruent": threshold},
        levels={"vocal_incongruent": 0.8},
        provenance={},
        warnings=[],
        rule=IncongruenceRule(count_unvoiced_warmth=warmth),
    )


@given(predicted(), PROBABILITY, st.dictionaries(st.sampled_from(MODALITIES), st.just("gone")), st.booleans())
def test_a_clip_has_one_answer_or_its_disagreement_is_named(
    row: dict[str, Any], threshold: float, missing: dict[str, str], warmth: bool
) -> None:
    line = line_of(row, threshold, missing, warmth)
    rule = IncongruenceRule(count_unvoiced_warmth=warmth)
    answer, kind, shown = line["incongruent"], line["incongruence_type"], readable(line)
    assert (kind is None) == (answer is None)
    if answer is not None:
        assert answer == (row["prob_incongruent"] >= threshold)
        assert (kind == "congruent") == (not answer)
    if answer:
        fitting = [type_of(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if rule.is_incongruent(a, b)]
        assert line["type"][kind] == max(line["type"][name] for name in fitting)
    for label, other in (("incongruent", "visual"), ("vocal_incongruent", "prosody")):
        if line["rule"][label] is None:
            continue
        said, seen = (POLARITY_NAMES.index(line["polarity"][m]["label"]) - 1 for m in ("text", other))
        assert line["rule"][label] == type_of(said, seen)
        fits = line[label] == rule.is_incongruent(said, seen)
        if label == "incongruent" and answer:
            fits = fits and kind == type_of(said, seen)
        assert line["agrees"][label] is (None if line[label] is None else fits)
    contradicted = [label for label, fits in line["agrees"].items() if fits is False]
    assert " ".join(shown.split()).count("(but the polarities of words and") == len(contradicted)
    assert all(len(part) <= 80 for part in shown.splitlines())


WIDE = "fusion=shared_private task.optimizer.lr=0.003 encoder.visual.backbone=mobilenet_v3_small"
OLD_WORDS = (
    "no difference shown",
    "smallest to be found",
    "fused less this",
    "tied with it",
    "several sides",
    "not shown to be better",
)


def table_of(clips: int, **more: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    return run_tables(val=60, test=clips, speakers=18, **more)


def printed(show: Callable[[Console], Any]) -> str:
    console = Console(file=io.StringIO(), width=80, markup=False)
    show(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def compared(clips: int, folder: Path, names: Sequence[str] = ("posterior", "late", "gated")) -> dict[str, Any]:
    """Three systems on so many clips, one of which is right about every clip."""
    runs = []
    for place, strategy in enumerate(names):
        path = write_run(folder / str(place), strategy=strategy, skill=(0.6, 0.6, 9.0)[place], noise=place, test=clips)
        runs.append(f"{strategy}={path}")
    return compare_runs(runs, folder / "out", cost=False, n_bootstrap=20)


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return evaluate(*table_of(60), ("identity", "actor"), n_bootstrap=10)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subtext.report.compare_figures.comparison_figures", lambda folder, comparison: [])
        return compared(60, tmp_path_factory.mktemp("many"), ("posterior", "late"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[Figure]]:
    """A comparison on six clips: where it was written, what it found, and its figures undrawn."""
    folder, figures = tmp_path_factory.mktemp("few"), []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("compare_figures", "robustness_figures"):
            patch.setattr(f"subtext.report.{module}.save", lambda figure, path: figures.append(figure) or path)
        found = compared(6, folder)
    return folder / "out", found, figures


def test_tables_of_a_run_fit_80_columns(metrics: dict[str, Any]) -> None:
    check_width(printed(lambda console: print_results(metrics, console)))


def test_tables_of_several_runs_fit_80_columns(metrics: dict[str, Any]) -> None:
    runs = [(WIDE, metrics), (WIDE.replace("late", "gated"), metrics)]
    check_width(printed(lambda console: print_runs(runs, console)))
    names = ("posterior", "shared_private")
    tables = [table_of(60, seed=seed, clip_seed=0) for seed in (0, 1)]
    pooled = pool_seeds(
        [
            EvaluatedRun(name, seed, *table, None, metrics=evaluate(*table, ("identity",), n_bootstrap=5))
            for seed, (name, table) in enumerate(zip(names, tables, strict=True))
        ],
        ("identity",),
    )
    check_width(printed(lambda console: print_pooled(pooled, console)))


def test_tables_of_a_comparison_fit_80_columns_and_no_row_wraps(many: dict[str, Any]) -> None:
    shown = printed(lambda console: print_comparison(many, console))
    check_width(shown)
    for name in many["systems"]:
        assert sum(line.startswith(name) for line in shown.splitlines()) >= 2, name
    long = json.loads(json.dumps(many).replace('"late"', json.dumps(WIDE)))
    check_width(printed(lambda console: print_comparison(long, console)))


def test_tables_of_robustness_fit_80_columns() -> None:
    predictions, _ = table_of(60)
    tried = [("clean", 0.0), ("drop:visual+prosody", 1.0), *(("prosody:feature_noise", s) for s in (20.0, 10.0, 5.0))]
    test = predictions[predictions["split"] == "test"]
    points = pd.concat([test.assign(condition=name, strength=strength) for name, strength in tried])
    curves = RobustnessCurves([points], ("actor",))
    shown = printed(lambda console: _print(curves, "words against face", console))
    check_width(shown)
    assert FEW_MARK in shown
    for name, _ in tried:
        assert any(f" {name} " in line for line in shown.splitlines()), f"{name} wraps"


def check_width(shown: str) -> None:
    assert shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown, "a name or a figure was cut"


@pytest.mark.parametrize("groups", [("identity",), ("speaker",), ()], ids=["identities", "speakers", "clips"])
@pytest.mark.parametrize("clips", [6, 10])
def test_six_clips_show_nothing_about_a_run(groups: tuple[str, ...], clips: int, tmp_path: Path) -> None:
    found = evaluate(*table_of(clips, skill=9.0), groups, n_bootstrap=10)
    page = write_page(tmp_path / "report.md", found, title="Results of run x").read_text()
    said = page.split("## What the figures say")[1].split("\n## ")[0]
    for verdict in ("better than", "worse than", "lies above", "lies below", "lies inside", "beats", "leak"):
        assert verdict not in said
    assert "too few to tell anything about" in said


def test_enough_clips_do_show_something(tmp_path: Path) -> None:
    found = evaluate(*table_of(60, skill=9.0), ("identity",), n_bootstrap=10)
    said = write_page(tmp_path / "report.md", found, title="x").read_text()
    assert "the fused model is better than" in said
    assert "too few to tell" not in said


def test_six_clips_give_no_verdict_of_a_comparison(few: tuple[Path, dict[str, Any], list[Figure]]) -> None:
    folder, found, _ = few
    for head in found["heads"].values():
        for entry in head["subsets"].values():
            for rows in entry["differences"].values():
                assert {row["verdict"] for row in rows} == {"untested"}
                assert all(row["p"] is None for row in rows)
    page = (folder / "comparison.md").read_text()
    shown = " ".join(printed(lambda console: print_comparison(found, console)).split())
    for text in (page.split("## How it was computed")[0], shown):
        assert "too few to tell" in text
        for verdict in ("| better |", "better: ", "worse: ", "tie: ", "not distinguished", "significant"):
            assert verdict not in text


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_every_figure_of_few_clips_bears_an_interval_or_a_mark(
    few: tuple[Path, dict[str, Any], list[Figure]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = list(few[2])
    assert len(drawn) >= 8
    monkeypatch.setattr("subtext.report.figures.save", lambda figure, path: drawn.append(figure) or path)
    history = pd.DataFrame({"epoch": [0, 1], "train/loss": [1.0, 0.5], "val/incongruent_auroc": [0.5, 0.7]})
    found = evaluate(*table_of(6), ("speaker",), n_bootstrap=10)
    run_figures(tmp_path, found, *table_of(6), history)
    assert len(drawn) >= 17
    for figure in drawn:
        said = texts_of(figure)
        assert FEW_MARK in said or "no intervals" in said or "95 % interval" in said or "hollow" in said, said


def test_a_comparison_of_few_clips_has_no_star(few: tuple[Path, dict[str, Any], list[Figure]]) -> None:
    (matrix, *_) = [figure for figure in few[2] if "(row - column)" in texts_of(figure)]
    assert "too few to tell" in texts_of(matrix)
    assert "*" not in texts_of(matrix)


def test_pages_speak_the_field_s_words(many: dict[str, Any], metrics: dict[str, Any], tmp_path: Path) -> None:
    from subtext.report.compare_page import write_comparison_page

    pages = [
        write_comparison_page(tmp_path / "comparison.md", many).read_text(),
        write_page(tmp_path / "report.md", metrics, title="Results of run x").read_text(),
        printed(lambda console: print_results(metrics, console)),
        printed(lambda console: print_comparison(many, console)),
    ]
    for page in pages:
        assert not [words for words in OLD_WORDS if words in page]
    assert "minimum detectable difference" in pages[0]
    assert "not distinguished" in pages[0]
    assert "difference (fused - control)" in pages[1]
    assert "(fused - control)" in pages[2]
    assert all(page.startswith(("# Comparison of", "# Results of")) for page in pages[:2])


def test_speakers_are_listed_in_natural_order(tmp_path: Path) -> None:
    names = [f"speaker {number}" for number in (1, 10, 2, 11, 3)]
    assert sorted(names, key=natural) == [f"speaker {number}" for number in (1, 2, 3, 10, 11)]
    assert sorted(["b", "a10", "a", "", "a2", "9" * 5000, "9" * 5001, "a02"], key=natural) == [
        *("", "9" * 5000, "9" * 5001, "a", "a02", "a2", "a10", "b"),
    ]
    predictions, controls = table_of(80)
    numbered = {name: f"{number}" for number, name in enumerate(sorted(predictions["speaker"].unique()), start=1)}
    predictions["speaker"] = predictions["speaker"].map(numbered)
    system = System("only", (TrainedRun("only", 0, predictions, controls),))
    found = compare([system], ("identity",), within="speaker", n_bootstrap=5)
    listed = [row["speaker"] for row in found["heads"]["incongruent"]["speakers"]["systems"]["only"]]
    assert [int(name) for name in listed] == sorted(int(name) for name in listed)
    assert len(listed) > 2
    inside = list(found["heads"]["incongruent"]["subsets"]["all"]["within"]["each"]["only"])
    assert inside == sorted(inside, key=int)
    for name in names:
        (tmp_path / f"{name}.wav").touch()
    found_inputs = find_inputs([str(tmp_path)], Words())
    assert [path.stem for _, path in found_inputs] == sorted(names, key=natural)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, ""),
        (1.9, ""),
        (40.4, ", about 40 s left"),
        (240.0, ", about 4 min left"),
        (9000.0, ", about 2.5 h left"),
    ],
)
def test_progress_tells_the_time_that_is_left(seconds: float, told: str) -> None:
    assert time_left(seconds) == told


def test_a_refit_says_a_line_a_seed_and_prints_one_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def train_with(seed: int, run: RunFolder) -> None:
        logging.getLogger("subtext.runs.controls").info("control 1 of 9: majority")
        write_run(run.path, seed=seed, test=60, settings={"name": "winner"})
        evaluate_run(run.path, n_bootstrap=5)

    with caplog.at_level(logging.INFO):
        refit(train_with, tmp_path / "winner", [3, 4])
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0] == "Refit: training the winner with 2 fresh seeds, each with its controls, for the test"
    for number, line in enumerate(lines[1:], start=1):
        assert line.startswith(f"Refit {number} of 2, seed {number + 2}: test AUROC 0.")
        assert "(words against face)" in line
    shown = capsys.readouterr().out
    assert shown.count("seed sd") == 2, "one table a question"
    check_width(shown)
    caplog.clear()
    refit(train_with, tmp_path / "winner", [3, 4])
    assert not [line for line in caplog.messages if line.startswith("Refit")]


def test_a_grid_ends_with_one_table_over_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = GridTable()
    for number, strategy in enumerate(("late", "gated", "broken")):
        folder = tmp_path / str(number)
        write_run(folder, strategy=strategy, test=60)
        if strategy != "broken":
            evaluate_run(folder, n_bootstrap=5)
        told = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
        done = SimpleNamespace(hydra_cfg=told, overrides=["corpus=manifest", f"fusion={strategy}"])
        table.on_job_end(OmegaConf.create({}), done)
    table.on_multirun_end(OmegaConf.create({}))
    shown = capsys.readouterr().out
    check_width(shown)
    assert "2 runs, test split: AUROC" in shown
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("fusion=")]
    assert rows == ["fusion=late", "fusion=gated"]
    assert "corpus=manifest" not in shown


def test_resuming_a_finished_run_says_that_it_was_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(write_run(tmp_path / "run", test=60))
    monkeypatch.setattr("subtext.runs.train.train", lambda settings, path, **_: RunFolder(path))
    asked = {"resume": str(run.path), "trust": None}
    said = f"{run.path} was finished already: nothing is trained, and its figures are computed again"
    with caplog.at_level(logging.INFO):
        train_composed(asked, tmp_path, [f"resume={run.path}"], print_table=False)
        assert said not in caplog.messages
        evaluate_run(run.path, n_bootstrap=5)
        train_composed(asked, tmp_path, [f"resume={run.path}"], print_table=False)
    assert said in caplog.messages


def test_a_trial_s_score_is_called_by_its_metric() -> None:
    specs = [SimpleNamespace(name=name, kind=kind) for name, kind in (("type", "choice"), ("incongruent", "binary"))]
    assert selection_name(specs) == "AUROC of incongruent"
    assert selection_name(specs[:1]) == "mean macro-F1"
    trial = SimpleNamespace(user_attrs={"score": "AUROC of incongruent"})
    told = figures_told(["selection", "flops_per_clip"], [0.948, 1.0], trial)
    assert told == "validation AUROC of incongruent 0.948, flops per clip 1"
    assert figures_told(["selection"], [0.948], SimpleNamespace(user_attrs={})) == "validation score 0.948"
