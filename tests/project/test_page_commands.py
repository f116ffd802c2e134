"""Commands that pages show: a shell, our parsers and Hydra take each of them, and those that a test can run are run.

A block that takes what no test has (data, weights, a network) says so in a comment before it, `composed only: ...`, as
do by where they stand those of experiments. All others are run here, word for word, in a folder with small constructed
data where pages name a file of the reader's; settings that make them short are put behind.
"""

import functools
import importlib
import re
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from builders.commands import command_here
from builders.compared_runs import write_run, write_system
from builders.ether_study import write_study
from builders.page_commands import PAGES, ROOT, blocks_of, commands_of
from builders.scored_runs import write_talking_corpus
from builders.talking_face import write_talking_face
from builders.untrained_run import write_untrained_run
from subtext.cli.vlm import MODES, register_resolvers
from subtext.core.composition import conf_folder, ready_hydra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOT_OF = {"train": "config", "extract": "config", "sweep": "study", "vlm": "vlm_run"}
WITH_COMMANDS = [page for page in PAGES if blocks_of(page)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@functools.cache
def compose_here(root: str, overrides: tuple[str, ...], places: tuple[str, ...]) -> None:
    ready_hydra()
    register_resolvers()
    search = [f"hydra.searchpath=[{','.join(places)}]"] if places else []
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        compose(root, [*search, *overrides])


def check_settings(program: str, words: Sequence[str], folder: Path) -> None:
    """Whether Hydra composes them, of a grid the first of its runs."""
    places = []
    given = []
    rest = iter(words)
    for word in rest:
        if word == "--config-dir":
            place = folder / next(rest)
            (place / "fusion").mkdir(parents=True, exist_ok=True)
            (place / "fusion" / "mine.yaml").write_text("_target_: mine.MeanFusion\n", encoding="utf-8")
            places.append(str(place))
        elif word not in ("-m", "--dry-run", "--settings"):
            given.append(word)
    first = []
    for override in OverridesParser.create().parse_overrides(given):
        grid = "-m" in words and override.is_sweep_override()
        first.append(re.sub(r"=([^,]*),.*", r"=\1", str(override.input_line)) if grid else str(override.input_line))
    compose_here(ROOT_OF[program], tuple(first), tuple(places))


def check_options(program: str, words: Sequence[str]) -> None:
    """Whether the command's parser takes them; settings of a corpus are composed."""
    module = importlib.import_module(f"subtext.cli.{program}")
    parser = module.parser() if hasattr(module, "parser") else module._parser()
    options, more = parser.parse_known_args(list(words))
    settings = [*getattr(options, "settings", []), *more]
    assert all("=" in setting and not setting.startswith("-") for setting in settings), settings
    corpus = getattr(options, "corpus", None)
    if isinstance(corpus, str):
        table = corpus.endswith((".csv", ".parquet")) or corpus.isupper()
        chosen = ("corpus=manifest", f"corpus.path={corpus}") if table else (f"corpus={corpus}",)
        compose_here("config", (*chosen, *settings), ())


def check_other(words: Sequence[str]) -> None:
    """Whether what is not ours is there: a target of make, an extra, a script, a package of the extra dev."""
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert arguments[0] in targets
    elif program in ("python", "bash"):
        assert (ROOT / arguments[0]).is_file(), arguments[0]
    elif program in ("pre-commit", "optuna-dashboard") or arguments[:1] == ["install"]:
        name = arguments[-1] if program == "pip" else program
        assert any(requirement.startswith(name) for requirement in PROJECT["optional-dependencies"]["dev"]), name
    else:
        assert words == ["source", "activate"], words


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_every_command_can_be_read(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    commands = commands_of(page, tmp_path)
    assert commands
    for _, words in commands:
        program = words[0].removeprefix("subtext-")
        if program == words[0]:
            check_other(words)
        elif program in ROOT_OF:
            rest = words[1:]
            if program == "vlm":
                assert rest.pop(0) in MODES
            check_settings(program, rest, tmp_path)
        else:
            check_options(program, words[1:])
    assert capsys.readouterr().err == ""


def test_commands_that_are_wrong_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Could not override 'detector'"):
        check_settings("train", ["detector=haar"], tmp_path)
    with pytest.raises(SystemExit):
        check_options("data", ["aggregate", "ratings.csv"])
    with pytest.raises(AssertionError):
        check_options("compare", ["a", "--outt", "b"])
    with pytest.raises(AssertionError):
        check_other(["make", "demos"])
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n    subtext-trane seed=1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="subtext-trane: command not found"):
        commands_of(page, tmp_path)


def test_every_line_that_begins_with_a_command_is_read() -> None:
    for page in PAGES:
        shown = re.findall(
            r"^ {4,}(?:\.venv/bin/)?(subtext-[^\n]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        read = "".join(block.text for block in blocks_of(page))
        assert [line for line in shown if line not in read] == [], page


# -- those that are run -----------------------------------------------------------------------------------------------

BRIEF = ["trainer.max_epochs=1", "controls=[majority]", "logger=none", "workers=0"]
STUDIO = [f"corpus.n_{split}=40" for split in ("train", "val", "test")]
STUDIO += ["corpus.width=160", "corpus.height=120", "corpus.fps=5", "corpus.workers=0", "task.max_steps.visual=3"]
STUDIO += ["corpus.min_duration=0.8", "corpus.max_duration=1.0"]
RUN_BY = {
    "tables": ["docs/commands/evaluate.md", "docs/commands/compare.md"],
    "settings": ["docs/settings.md"],
    "recordings": ["docs/commands/predict.md"],
    "sessions": ["docs/commands/data.md", "docs/first_table.md"],
    "studio": [
        *("docs/index.md", "README.md", "docs/results.md", "docs/commands/train.md", "docs/commands/robustness.md"),
        "docs/commands/extract.md",
    ],
}
"""Which test runs a page's blocks."""


def test_every_block_is_run_or_says_why_not() -> None:
    run = {page for pages in RUN_BY.values() for page in pages}
    free = {
        name_of(page)
        for page in WITH_COMMANDS
        for block in blocks_of(page)
        if not block.composed_only and "subtext-" in block.text
    }
    assert free == run


def shortened(words: Sequence[str]) -> list[str]:
    """The arguments with what makes the command short behind them."""
    program, arguments = words[0].removeprefix("subtext-"), list(words[1:])
    if program in ("train", "extract"):
        if "resume=RUN" in arguments:
            return ["resume=interrupted"]
        studio = any(argument.startswith("experiment=studio") for argument in arguments)
        own = ["encoder.visual.pretrained=false"] if "encoder.visual.pretrained=true" in arguments else []
        folds = ["cv=3"] if "cv=5" in arguments else []
        brief = [*BRIEF, "overwrite=true"] if program == "train" else BRIEF[-1:]
        return [*arguments, *(STUDIO if studio else []), *own, *folds, *brief]
    if program == "robustness" and "--conditions" not in arguments:
        return [*arguments, "--conditions", "drop"]
    if program in ("evaluate", "compare"):
        groups = arguments.index("--groups") if "--groups" in arguments else len(arguments)
        fast = ["--no-cost"] if program == "compare" and "--no-cost" not in arguments else []
        return [*arguments[:groups], "--bootstrap", "20", *fast, *arguments[groups:]]
    return arguments


def run_page(page: str, folder: Path) -> int:
    """Run a page's blocks, one after the other; all must end well. Gives how many commands that were."""
    number = 0
    for place in range(len(commands_of(ROOT / page, folder))):
        block, words = commands_of(ROOT / page, folder)[place]  # anew: patterns may match what is there by now
        if block.composed_only or not words[0].startswith("subtext-"):
            continue
        done = command_here(words[0].removeprefix("subtext-"), *shortened(words), folder=folder)
        assert done.code == 0, f"{page}: {' '.join(words)}\n{done.said}"
        assert done.out or done.written, words
        number += 1
    return number


def test_those_of_prediction_tables(tmp_path: Path, undrawn: None) -> None:
    write_run(tmp_path / "RUN")
    write_run(tmp_path / "VLM_RUN", strategy=None)
    for seed in (1, 2, 3):
        write_run(tmp_path / f"RUN{seed}", seed=seed, settings={"name": "seeds"})
    write_system(tmp_path / "runs" / "sweeps" / "A" / "winner", "crossmodal", 1.5)
    assert [run_page(page, tmp_path) for page in RUN_BY["tables"]] == [3, 2]
    assert (tmp_path / "FOLDER" / "per_seed.csv").is_file()
    assert (tmp_path / "comparison" / "comparison.md").is_file()


def test_those_that_show_settings(tmp_path: Path) -> None:
    assert [run_page(page, tmp_path) for page in RUN_BY["settings"]] == [1]
    assert list(tmp_path.iterdir()) == []


def with_recordings(folder: Path) -> None:
    """`session.mp4` with its words, `clip.flv`, a folder of recordings, and a table of turns."""
    write_talking_face(folder / "session.mp4", 4.0, width=160, height=120)
    turns = ["1\n00:00:00,000 --> 00:00:01,500\nI am fine.\n", "2\n00:00:02,000 --> 00:00:03,500\nThat was hard.\n"]
    (folder / "session.srt").write_text("\n".join(turns), encoding="utf-8")
    shutil.copy(folder / "session.mp4", folder / "clip.flv")
    (folder / "recordings").mkdir()
    for name in ("session.mp4", "session.srt"):
        shutil.copy(folder / name, folder / "recordings" / name)


def test_those_of_recordings(tmp_path: Path) -> None:
    with_recordings(tmp_path)
    write_untrained_run(tmp_path / "RUN")
    (tmp_path / "FOLDER").mkdir()
    shutil.copy(tmp_path / "session.mp4", tmp_path / "FOLDER" / "session.mp4")
    main = "id,video,start,end,transcript\na,session.mp4,0,1.5,I am fine.\n"
    (tmp_path / "manifest.csv").write_text(main, encoding="utf-8")
    done = command_here("data", "build", "manifest.csv", "--out", "manifest.parquet", folder=tmp_path)
    assert done.code == 0, done.said
    (tmp_path / "manifest.json").unlink()
    assert [run_page(page, tmp_path) for page in RUN_BY["recordings"]] == [6]


def write_my_table(folder: Path) -> None:
    """`my.csv`: turns of recordings, with labels and splits."""
    table = pd.read_csv(write_talking_corpus(folder)).drop(columns="features")
    table.to_csv(folder / "my.csv", index=False)


@pytest.mark.slow
def test_those_of_sessions(tmp_path: Path, undrawn: None) -> None:
    """Slow: a minute of pictures is looked at, and a model trained."""
    write_study(tmp_path / "my_data")
    for name in ("FOLDER", "data"):
        (tmp_path / name).symlink_to("my_data")
    shutil.copytree(tmp_path / "my_data" / "ether" / "S01" / "ratings", tmp_path / "ratings")
    write_my_table(tmp_path)
    for name in ("one", "two"):
        table = f"id,transcript,speaker\n{name},Fine.,{name}\n"
        (tmp_path / f"{name}.csv").write_text(table, encoding="utf-8")
        assert command_here("data", "build", f"{name}.csv", "--out", f"{name}.parquet", folder=tmp_path).code == 0
    assert [run_page(page, tmp_path) for page in RUN_BY["sessions"]] == [10, 11]
    (run,) = (tmp_path / "runs" / "first").glob("*/metrics.json")
    assert run.is_file()


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """What is there once the page of the start was followed."""
    folder = tmp_path_factory.mktemp("demonstration")
    assert run_page("docs/index.md", folder) == 10
    return folder


@pytest.mark.slow
def test_those_of_the_start(demonstration: Path) -> None:
    """Slow: eight short trainings."""
    runs = {path.relative_to(demonstration / "runs").parts[0] for path in demonstration.rglob("metrics.json")}
    assert runs == {"studio_encoders", "studio", "studio_concat", "grids"}
    assert (demonstration / "found.jsonl").is_file()


@pytest.mark.slow
def test_those_that_go_on_from_there(demonstration: Path) -> None:
    """Slow: a dozen short trainings, in the order in which a reader comes to them."""
    with_recordings(demonstration)
    write_my_table(demonstration)
    write_study(demonstration / "FOLDER", splits=True)
    shutil.copytree(demonstration / "runs" / "studio" / "demo-0" / "seed-0", demonstration / "RUN")
    shutil.copytree(demonstration / "RUN", demonstration / "interrupted")
    (demonstration / "interrupted" / "metrics.json").unlink()
    _, *others = RUN_BY["studio"]
    assert [run_page(page, demonstration) for page in others] == [6, 2, 5, 3, 1]
    assert {"my", "ether"} <= {path.name for path in (demonstration / "runs").iterdir()}
    assert (demonstration / "interrupted" / "metrics.json").is_file()
