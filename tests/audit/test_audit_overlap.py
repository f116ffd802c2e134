"""Planted overlaps of units and sentences, and what must not be mistaken for one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.audit import Audit, audit_corpus
from subtext.audit.division import divisions
from subtext.audit.overlap import normalised
from subtext.corpora.studio import Studio
from subtext.manifest import Manifest, build_manifest


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The plan of a studio corpus of 480 clips, nothing rendered."""
    corpus = Studio(tmp_path_factory.mktemp("studio"), size="demo", seed=3)
    return corpus._manifest(corpus.plan())


def alarms(found: Audit, kind: str = "overlap") -> set[str]:
    return {finding.subject for finding in found.alarms if finding.kind == kind}


def rows_of(manifest: Manifest, split: str) -> np.ndarray:
    return np.flatnonzero((manifest.table["split"] == split).to_numpy())


def with_cells(manifest: Manifest, column: str, rows: np.ndarray, values: object) -> Manifest:
    table = manifest.table.copy()
    table.loc[rows, column] = values
    return manifest.with_table(table)


def test_a_clean_corpus_raises_no_alarm(clean: Manifest) -> None:
    assert audit_corpus(clean).alarms == ()


@pytest.mark.parametrize("column", ["speaker", "session", "pair"])
def test_one_unit_on_both_sides_is_an_alarm(clean: Manifest, column: str) -> None:
    train, test = rows_of(clean, "train"), rows_of(clean, "test")
    planted = with_cells(clean, column, test[:3], clean.table[column][train[0]])
    found = [f for f in audit_corpus(planted).alarms if f.subject == column]
    assert len(found) == 1
    assert found[0].figures["rows"] == 3
    assert found[0].figures["units"] == 1
    assert set(found[0].examples) == set(clean.table["id"][test[:3]])
    assert "subtext-data split" in found[0].remedy


def test_units_across_folds_are_found(clean: Manifest) -> None:
    table = clean.table.assign(split=pd.NA, fold=np.arange(len(clean)) % 5)
    table["split"] = table["split"].astype("string")
    assert "speaker" in alarms(audit_corpus(clean.with_table(table)))


def test_only_earlier_sides_of_a_split_count() -> None:
    table = pd.DataFrame({"split": ["train", "val", "test", "test", "train"], "unit": ["a", "b", "b", "a", "c"]})
    (division,) = divisions(table)
    seen = division.seen_before(pd.factorize(table["unit"])[0])
    assert seen.tolist() == [False, False, True, True, False]


def test_the_same_sentence_in_other_spelling_is_an_alarm(clean: Manifest) -> None:
    train, test = rows_of(clean, "train"), rows_of(clean, "test")
    said = clean.table["transcript"][train[:6]].str.upper().str.replace(" ", "  ").to_numpy() + " !"
    found = audit_corpus(with_cells(clean, "transcript", test[:6], said))
    assert alarms(found) == {"sentence"}


def test_a_nearly_equal_sentence_is_an_alarm(clean: Manifest) -> None:
    train, test = rows_of(clean, "train"), rows_of(clean, "test")
    long = [row for row in train if len(clean.table["transcript"][row].split()) >= 8][:6]
    said = ["Well " + clean.table["transcript"][row] for row in long]
    assert alarms(audit_corpus(with_cells(clean, "transcript", test[: len(said)], said))) == {"near sentence"}


def test_short_texts_and_rare_chance_are_notes(clean: Manifest) -> None:
    train, val, test = (rows_of(clean, split) for split in ("train", "val", "test"))
    planted = with_cells(clean, "transcript", np.concatenate([train[:30], test[:20]]), "Yes, of course")
    planted = with_cells(planted, "transcript", val[:1], clean.table["transcript"][train[40]])
    found = audit_corpus(planted)
    assert alarms(found) == set()
    subjects = {finding.subject for finding in found.notes}
    assert {"short text", "sentence"} <= subjects


def test_a_reading_list_is_said_on_all_sides_by_design(clean: Manifest) -> None:
    said = np.array(["Kids are talking by the door", "Dogs are sitting by the door"])
    table = clean.table.assign(transcript=said[np.arange(len(clean)) // 2 % 2]).drop(columns="sentence")
    found = audit_corpus(Manifest(table, clean.root, clean.name, ("speaker",)))
    assert alarms(found) == set()
    assert any("reading list" in finding.text for finding in found.notes)


def test_a_label_that_follows_the_reading_list_is_an_alarm(clean: Manifest) -> None:
    rng = np.random.default_rng(0)
    follows = np.where(rng.random(len(clean)) < 0.8, clean.table["incongruent"], rng.random(len(clean)) < 0.5)
    said = np.array(["Kids are talking by the door", "Dogs are sitting by the door"])
    table = clean.table.assign(transcript=said[follows.astype(int)]).drop(columns="sentence")
    found = audit_corpus(Manifest(table, clean.root, clean.name, ("speaker",)))
    assert "text lookup" in alarms(found, "nuisance")


@pytest.mark.parametrize(
    ("times", "kind"),
    [([(0.0, 4.0), (1.0, 5.0)], "audio stretch"), ([(0.0, 4.0), (4.0, 8.0)], "audio file")],
)
def test_a_recording_on_both_sides_is_an_alarm(tmp_path: Path, times: list[tuple[float, float]], kind: str) -> None:
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "audio": ["one.wav", "one.wav", "two.wav"],
            "start": [times[0][0], times[1][0], 0.0],
            "end": [times[0][1], times[1][1], 3.0],
            "split": ["train", "test", "test"],
        }
    )
    manifest = build_manifest(table, root=tmp_path, name="mine", groups=())
    assert alarms(audit_corpus(manifest)) == {kind}


def test_normalised_text_keeps_words_only() -> None:
    assert normalised("  It’s  FINE -- really, Ｒeally!") == "it's fine really really"


def test_findings_hold_no_transcript_and_no_speaker(clean: Manifest) -> None:
    train, test = rows_of(clean, "train"), rows_of(clean, "test")
    secret = "My sister Gwendolyn told me never to mention it"
    planted = with_cells(clean, "transcript", np.concatenate([train[:9], test[:9]]), secret)
    planted = with_cells(planted, "speaker", np.concatenate([train[:9], test[:9]]), "Gwendolyn Price")
    found = audit_corpus(planted)
    assert alarms(found) >= {"speaker", "sentence"}
    assert "Gwendolyn" not in str(found.as_dict())
