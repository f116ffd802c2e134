"""What a stranger reads is true as far as a machine can tell: links lead somewhere, and what is named exists."""

import csv
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "experiments").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
)
KEPT = Path(__file__).with_name("kept_runs")
"""Runs, a sweep and predicted lines that this package wrote."""
SCRIPTS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"])

_CODE = re.compile(r"```.*?```|(?<=\n)(?: {4}[^\n]*\n)+", flags=re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#{1,6} (.+)$", _CODE.sub("\n", text_of(page)), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    parts = re.split(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def first_cells(text: str) -> set[str]:
    """Everything in code type in the first column of the tables of a text."""
    cells = re.findall(r"^\| *(`[^|]*?) *\|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def code_in(text: str) -> set[str]:
    """Everything in code type."""
    return set(re.findall(r"`([^`\n]+)`", text))


def is_listed(name: str, listed: set[str]) -> bool:
    """Whether a name is there, or a pattern of it: a word in capitals stands for any."""
    return any(re.fullmatch(re.sub(r"[A-Z]{3,}", "[A-Za-z_.]+", re.escape(one)), name) for one in listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("\n", text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors_of(target), link


def test_every_page_is_in_the_table_of_contents() -> None:
    index = DOCS / "index.md"
    listed = {index}
    for page in DOCS.rglob("*.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text_of(page), flags=re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    assert set(DOCS.rglob("*.md")) <= listed


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_has_a_page_and_is_named_in_readme(script: str) -> None:
    page = DOCS / "commands" / f"{script.removeprefix('subtext-')}.md"
    assert text_of(page).startswith(f"# {script}\n")
    assert f"`{script}`" in text_of(ROOT / "README.md")
    assert f"`{script}`" in text_of(DOCS / "commands" / "index.md")


def test_pages_name_no_command_that_is_not_there() -> None:
    pages = [*PAGES, *(ROOT / "notebooks").glob("*.ipynb")]
    named = {name for page in pages for name in re.findall(r"\bsubtext-[a-z]+\b", text_of(page))}
    assert named <= {*SCRIPTS}


def test_every_extra_is_described_and_every_one_that_is_named_is_there() -> None:
    extras = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"].keys()
    assert extras - {"docs", "dev"} == first_cells(section(DOCS / "index.md", "Install"))
    source = [*(ROOT / "src").rglob("*.py"), *PAGES]
    named = {name for page in source for name in re.findall(r"(?:subtext|\.)\[([a-z]+)\]'", text_of(page))}
    assert named <= extras


def test_every_config_group_is_listed_and_every_choice_of_the_small_ones() -> None:
    listed = section(DOCS / "commands" / "index.md", "Two kinds of command line")
    conf = ROOT / "conf"
    groups = {path.parent.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")} - {"."}
    own = {group for group in groups if not group.startswith("hydra")}
    assert own <= first_cells(listed)
    for group in ("task", "trainer", "callbacks", "logger", "experiment"):
        for choice in (conf / group).glob("*.yaml"):
            assert f"`{choice.stem}`" in listed, f"{group}={choice.stem}"


@pytest.mark.parametrize(
    ("group", "page", "heading"),
    [
        ("fusion", "concepts.md", "Strategies of fusion"),
        ("corpus", "corpora.md", "The corpora"),
        ("sampler", "commands/sweep.md", "subtext-sweep"),
        ("pruner", "commands/sweep.md", "subtext-sweep"),
        ("vlm", "commands/vlm.md", "subtext-vlm"),
    ],
)
def test_every_choice_is_described(group: str, page: str, heading: str) -> None:
    described = section(DOCS / page, heading)
    for choice in (ROOT / "conf" / group).glob("*.yaml"):
        assert f"`{choice.stem}`" in described, f"{group}={choice.stem}"


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)`", text_of(page))}
    assert named <= targets


def test_commits_are_checked_by_what_is_installed() -> None:
    config = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert all(hook["entry"].startswith(".venv/bin/") and hook["language"] == "system" for hook in hooks)


def test_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 130


class TestTables:
    """Columns and files in the pages are those of the code."""

    PAGE = DOCS / "tables.md"

    def test_manifest(self) -> None:
        from subtext.manifest.checks import REJECT_COLUMNS
        from subtext.manifest.table import LABEL_COLUMNS, TEXT_COLUMNS, TIME_COLUMNS

        columns = {*TEXT_COLUMNS, *TIME_COLUMNS, *LABEL_COLUMNS, "fold"}
        assert first_cells(section(self.PAGE, "The manifest")) == columns | set(REJECT_COLUMNS)

    def test_extractions(self) -> None:
        from subtext.features.index import INDEX_COLUMNS

        assert first_cells(section(self.PAGE, "The table of extractions")) == set(INDEX_COLUMNS)

    def test_predictions(self) -> None:
        from subtext.labels import EMOTION_COLUMN, MODALITIES, POLARITY_COLUMN
        from subtext.manifest import LABEL_COLUMNS
        from subtext.model.predict import IDENTITY

        listed = first_cells(section(self.PAGE, "The predictions table"))
        assert {*IDENTITY, *EMOTION_COLUMN.values(), *LABEL_COLUMNS} <= listed
        assert {
            f"{kind}_{modality}" for kind in ("present", "evidence", "novelty") for modality in MODALITIES
        } <= listed
        choices = {f"prob_{column}_NAME" for column in (*POLARITY_COLUMN.values(), *EMOTION_COLUMN.values())}
        assert choices <= listed

    def test_run_folder(self) -> None:
        from subtext.runs.folder import RunFile

        pooled = {RunFile.PER_SEED, RunFile.RUNS}
        assert set(RunFile) - pooled <= first_cells(section(self.PAGE, "A run folder"))
        assert pooled <= first_cells(text_of(self.PAGE))

    def test_metrics(self) -> None:
        from subtext.evaluation.evaluate import BINARY_METRICS, CONTROLS

        described = section(self.PAGE, "Metrics")
        assert all(f"`{metric}`" in described for metric in BINARY_METRICS)
        assert set(CONTROLS) == first_cells(section(DOCS / "judging.md", "How results are judged"))

    def test_comparison(self) -> None:
        from subtext.report.compare_tables import TABLES

        page = text_of(DOCS / "commands" / "compare.md")
        for name, columns in TABLES.items():
            assert f"| `{name}.csv` | {', '.join(f'`{column}`' for column in columns)} |" in page

    def test_robustness(self) -> None:
        from subtext.evaluation.conditions import CONDITIONS
        from subtext.evaluation.robustness import AREA_COLUMNS, POINT_COLUMNS

        page = text_of(DOCS / "commands" / "robustness.md")
        assert {*CONDITIONS, *POINT_COLUMNS} <= first_cells(page)
        assert ", ".join(f"`{column}`" for column in (*AREA_COLUMNS, "head")) in page

    def test_measures_are_what_the_commands_print(self) -> None:
        from subtext.behaviour import measures as of_behaviour
        from subtext.replies import measures as of_replies

        assert of_behaviour.measures_markdown() in text_of(DOCS / "commands" / "data.md")
        assert of_replies.measures_markdown() in text_of(DOCS / "commands" / "replies.md")

    def test_sweep(self) -> None:
        from subtext.sweeps.figures import FIGURES

        page = text_of(DOCS / "commands" / "sweep.md")
        assert all(f"`{name}.png`" in page for name in FIGURES)

    def test_prediction_line(self) -> None:
        from subtext.prediction.lines import error_line, prediction_line

        row = {"id": "a", "prob_incongruent": 0.7, "prob_vocal_incongruent": 0.2}
        line = prediction_line(
            row,
            input_="a.mp4",
            labels=("incongruent", "vocal_incongruent"),
            missing={},
            thresholds={},
            levels={},
            provenance={},
            warnings=[],
        )
        listed = first_cells(text_of(DOCS / "commands" / "predict.md"))
        assert listed == {*line, "model", "features", "subtext"}
        assert all(f"`{field}`" in text_of(DOCS / "commands" / "predict.md") for field in error_line("a.mp4", "a", ""))


class TestKept:
    """What stands in folders that were really written is described."""

    TABLES = DOCS / "tables.md"

    @pytest.mark.parametrize("name", ["streams", "posterior", "recordings"])
    def test_run(self, name: str) -> None:
        import pyarrow.parquet as pq

        folder = KEPT / name
        files = {path.name for path in folder.iterdir()} - {"lines.jsonl"}  # of subtext-predict
        assert files <= first_cells(section(self.TABLES, "A run folder"))
        described = code_in(section(self.TABLES, "A run folder"))
        for file in ("run.json", "model.json"):
            assert set(json.loads(text_of(folder / file))) <= described
        described = code_in(section(self.TABLES, "Metrics"))
        metrics = json.loads(text_of(folder / "metrics.json"))
        assert set(metrics) <= described
        for head in metrics["heads"].values():
            assert {*head, *head["subsets"]["all"], *head["abstention"], *head["abstention"]["test"]} <= described
        streams = set(pq.read_schema(folder / "extraction.parquet").names)
        assert streams <= code_in(section(self.TABLES, "The table of extractions"))
        listed = code_in(section(self.TABLES, "The predictions table")) | streams
        listed |= set(json.loads(text_of(folder / "run.json"))["groups"])
        for table in ("predictions.parquet", "controls.parquet"):
            columns = pq.read_schema(folder / table).names
            assert [column for column in columns if not is_listed(column, listed)] == []

    def test_sweep(self) -> None:
        page = text_of(DOCS / "commands" / "sweep.md")
        with (KEPT / "sweep" / "trials.csv").open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file))
        assert [column for column in columns if not is_listed(column, code_in(page))] == []
        assert set(json.loads(text_of(KEPT / "sweep" / "sweep.json"))) <= code_in(page)
        files = [path for path in (KEPT / "sweep").rglob("*") if path.is_file()]
        assert {path.relative_to(KEPT / "sweep").as_posix() for path in files} <= first_cells(page)

    def test_predicted_line(self) -> None:
        line = json.loads(text_of(KEPT / "recordings" / "lines.jsonl").splitlines()[0])
        assert set(line) <= first_cells(text_of(DOCS / "commands" / "predict.md"))


def test_the_example_of_features_of_other_tools_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from subtext.features.cache import MemoryCache
    from subtext.features.extract import extract
    from subtext.features.precomputed import PrecomputedFeatures
    from subtext.manifest import build_manifest

    (code,) = re.findall(
        r"```python\n(.*?)```", section(DOCS / "tables.md", "Features of other tools"), flags=re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "tables.md", "exec"), {})
    table = pd.DataFrame({"id": ["whole", "part"], "features": "a.npz", "start": [None, 1.0], "end": [None, 1.5]})
    manifest = build_manifest(table, root=tmp_path, name="own")
    index = extract(manifest, {"visual": PrecomputedFeatures("visual")}, MemoryCache())
    assert index.table["n_steps"].tolist() == [50, 13]  # 25 times a second, both ends of half a second but the last
    assert set(index.table["step_shape"]) == {"17"}


def test_examples_of_parts_of_ones_own_work(tmp_path: Path) -> None:
    import torch

    from subtext.encoders.tokens import Tokens

    code = re.findall(r"```python\n(.*?)```", text_of(DOCS / "add_your_own.md"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, "add_your_own.md", "exec"), names)
    fusion = names["MeanFusion"](modalities=["visual", "text"], dim=4)  # type: ignore[operator]
    tokens = Tokens(torch.randn(2, 3, 4), torch.tensor([[True, True, False], [False, False, False]]))
    fused = fusion({"text": tokens})
    assert fused.embedding.shape == (2, 4)
    assert fused.evidence.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    (tmp_path / "turns.csv").write_text("id,speaker,transcript,verbal_polarity,visual_polarity\n1,a,Fine.,1,-1\n")
    manifest = names["Interviews"](data=str(tmp_path)).build()  # type: ignore[operator]
    assert manifest.table["incongruence_type"].tolist() == ["leakage"]
