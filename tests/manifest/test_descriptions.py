"""What a table of ours still says of the corpus that it was made from: name, licence, labels, cautions."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from builders import tiny_runs
from subtext.cli.data import main
from subtext.corpora.files import ManifestCorpus
from subtext.errors import ManifestError
from subtext.manifest import build_manifest, write_manifest
from subtext.manifest.description import Description, joined
from subtext.runs.train import train

ABOUT = Description(
    title="Acted calls",
    nature="acted",
    licence="CC BY 4.0",
    citation="Somebody 2020",
    source="example.org/calls",
    labels="incongruent is the official sarcasm label, a proxy",
    layout="the README there",
    verified=False,
    cautions=("Two sentences only.",),
)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of 24 rows as `subtext-data build calls` leaves it."""
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(24)],
            "speaker": [f"s{i % 6}" for i in range(24)],
            "transcript": "words",
            "incongruent": [i % 2 for i in range(24)],
        }
    )
    manifest = build_manifest(rows, root=tmp_path, name="calls")
    return write_manifest(manifest, tmp_path / "work" / "data" / "calls" / "manifest.parquet", ABOUT.as_json())


def test_a_built_table_keeps_the_name_and_the_description_of_its_corpus(calls: Path) -> None:
    corpus = ManifestCorpus(path=calls)
    assert corpus.build().name == "calls"
    assert corpus.description == ABOUT
    assert ManifestCorpus(path=calls, name="other").build().name == "other"
    # Others' descriptions stay their own.
    assert ManifestCorpus(path=calls).description.nature == "your own"


def test_changed_columns_and_values_are_said_of_the_labels(calls: Path) -> None:
    corpus = ManifestCorpus(path=calls, values={"incongruent": {"1": 0}})
    corpus.build()
    assert corpus.description.labels == f"{ABOUT.labels} (changed by corpus.values)"


def test_descriptions_survive_their_file() -> None:
    assert Description.from_json(json.loads(json.dumps(ABOUT.as_json()))) == ABOUT


@pytest.mark.parametrize(
    "part", [{"licence": 3}, {"nature": "imagined"}, {"cautions": [1]}, {"cautions": 5}, {"verified": "no"}]
)
def test_a_damaged_description_is_refused(calls: Path, part: dict[str, object]) -> None:
    beside = calls.with_suffix(".json")
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps(content | {"about": ABOUT.as_json() | part}))
    with pytest.raises(ManifestError, match=r"manifest\.json, the description of manifest\.parquet: 'about'"):
        ManifestCorpus(path=calls).build()
    beside.write_text(json.dumps(content | {"about": {"title": "x", "nature": "acted"}}))
    with pytest.raises(ManifestError, match="a part of it is missing"):
        ManifestCorpus(path=calls).build()


@pytest.mark.parametrize("part", [{"groups": 5}, {"groups": None}, {"groups": [1]}, {"name": {}}, {"root": 1}])
def test_name_root_and_groups_of_another_kind_are_refused(calls: Path, part: dict[str, object]) -> None:
    beside = calls.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | part))
    with pytest.raises(ManifestError, match=rf"'{next(iter(part))}' is no (text|list of columns); repair or remove it"):
        ManifestCorpus(path=calls).build()


def test_cards_of_tables_say_whose_corpus_it_was(calls: Path) -> None:
    assert main(["card", str(calls)]) == 0
    page = (calls.parent / "card.md").read_text(encoding="utf-8")
    for words in ("# Acted calls", "- corpus: `calls`", "CC BY 4.0", "**unverified**", ABOUT.labels, ABOUT.cautions[0]):
        assert words in page


def test_splits_made_anew_are_said_and_official_ones_are_not(calls: Path) -> None:
    assert main(["split", str(calls), "--folds", "3", "--out", "folds.parquet"]) == 0
    corpus = ManifestCorpus(path="folds.parquet")
    assert corpus.build().name == "calls"
    assert corpus.description.cautions == (
        *ABOUT.cautions,
        "Divided anew by subtext-data split (3 folds by speaker, alike in incongruent, seed 0): not the corpus's own "
        "splits.",
    )
    assert main(["split", "folds.parquet", "--official", "--out", "again.parquet"]) == 0
    again = ManifestCorpus(path="again.parquet")
    again.build()
    assert again.description == corpus.description


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_exports_carry_licence_and_labels(calls: Path, kind: str) -> None:
    assert main(["export", str(calls), "--out", f"shared.{kind}"]) == 0
    corpus = ManifestCorpus(path=f"shared.{kind}")
    assert corpus.build().name == "calls"
    assert corpus.description == ABOUT


def test_joined_tables_say_what_each_part_is(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "speaker": ["s0", "s1"], "transcript": "x", "incongruent": [0, 1]})
    rows.to_csv("mine.csv", index=False)
    # Two tables called manifest.parquet are two corpora.
    other = build_manifest(rows, root=calls.parent, name="other")
    other_path = write_manifest(other, Path("work/data/other/manifest.parquet"))
    assert main(["join", str(calls), str(other_path), "mine.csv", "--out", "all.parquet"]) == 0
    corpus = ManifestCorpus(path="all.parquet", disjoint=())
    manifest = corpus.build()
    assert manifest.name == "all"
    assert manifest.table["corpus"].value_counts().to_dict() == {"calls": 24, "other": 2, "mine": 2}
    assert manifest.table["speaker"].nunique() == 10
    assert corpus.description.nature == "several"
    assert not corpus.description.verified
    assert "calls: CC BY 4.0; other: yours" in corpus.description.licence
    assert f"calls: {ABOUT.labels}; " in corpus.description.labels
    assert f"calls: {ABOUT.cautions[0]}" in corpus.description.cautions
    assert not json.loads(Path("all.json").read_text())["allow_links"]


def test_joining_alike_corpora_keeps_their_nature() -> None:
    both = joined({"a": ABOUT, "b": replace(ABOUT, verified=True)})
    assert (both.nature, both.verified) == ("acted", False)


def test_a_run_on_a_table_says_what_the_labels_of_its_corpus_are(tmp_path: Path) -> None:
    path = tiny_runs.write_corpus(tmp_path / "corpus")
    beside = {"name": "calls", "groups": ["speaker"], "escaped": None, "about": ABOUT.as_json()}
    path.with_suffix(".json").write_text(json.dumps(beside))
    train(tiny_runs.settings(tmp_path, path), tmp_path / "run")
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert f"What the labels of this corpus are: {ABOUT.labels}." in page
