"""The annotation scheme: what is packaged, and what a faulty one is told."""

import pytest

from subtext.annotation.codebook_file import read_codebook
from subtext.errors import AnnotationError
from subtext.labels import INCONGRUENCE_TYPES

MOOD = """
labels:
  mood:
    scale: ordinal
    definition: How it is.
    values: [low, middle, high]
"""


def write(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_codebook_fills_the_manifests_columns():
    codebook = read_codebook()
    assert [label.column for label in codebook.of_unit("turn")] == [
        "verbal_emotion",
        "visual_emotion",
        "vocal_emotion",
        "incongruent",
        "incongruence_type",
        "engagement",
    ]
    assert tuple(codebook.labels["incongruence_type"].values) == INCONGRUENCE_TYPES
    for part in ("engagement", "engagement_client", "engagement_counsellor", "engagement_interaction"):
        assert list(codebook.labels[part].values) == ["0", "1", "2", "3", "4"]
        assert codebook.labels[part].source.startswith("In the manner of")


def test_markdown_has_every_label_value_and_rule():
    codebook = read_codebook()
    text = codebook.markdown(level=2)
    assert text.startswith("## Verbal-visual incongruence")
    for label in codebook.labels.values():
        assert f"### `{label.name}`" in text
        assert all(f"| {answer}" in text for answer in label.answers)
        assert all(rule in text for rule in label.rules)


@pytest.mark.parametrize(
    ("label", "written", "meant"),
    [
        ("engagement", "3.0", "3"),
        ("incongruent", "TRUE", "1"),
        ("incongruent", "no", "0"),
        ("incongruence_type", "Flat positivity", "flat_positivity"),
        ("visual_emotion", " Not visible ", "not_visible"),
    ],
)
def test_spellings_are_brought_to_the_codebooks(label, written, meant):
    assert read_codebook().labels[label].canonical(written) == meant


def test_an_unknown_value_names_the_nearest():
    with pytest.raises(ValueError, match="unknown value; did you mean 'happiness'"):
        read_codebook().labels["verbal_emotion"].canonical("hapiness")
    with pytest.raises(ValueError, match="unknown value; use one of 0, 1, 2, 3, 4"):
        read_codebook().labels["engagement"].canonical("5")


def test_words_of_an_ordinal_scale_are_ranked(tmp_path):
    mood = read_codebook(write(tmp_path, MOOD)).labels["mood"]
    assert [mood.number(value) for value in mood.values] == [0, 1, 2]
    assert (mood.unit, mood.column, mood.required) == ("turn", "mood", True)


def test_an_interval_scale_has_ends(tmp_path):
    text = "labels: {pace: {scale: interval, definition: Speed., minimum: 0, maximum: 10}}"
    pace = read_codebook(write(tmp_path, text)).labels["pace"]
    assert pace.canonical("2.50") == "2.5"
    with pytest.raises(ValueError, match="not a number from 0 to 10"):
        pace.canonical("11")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("scale: ordinal", "scale: ordnal"),
            r"own\.yaml, key 'label 1.scale': unknown value; use one of",
        ),
        (("    values", "    vales"), "label 1: key 3 is unknown; did you mean 'values'"),
        (("[low, middle, high]", "[low]"), "key 'label 1.values': fewer than two"),
        (("[low, middle, high]", "[no, yes]"), "quote values"),
        (("[low, middle, high]", '["3", "1"]'), "go from low to high"),
        (("[low, middle, high]", "[low, Low]"), "entry 2 stands twice"),
        (("definition: How it is.", "definition:"), "key 'label 1.definition': missing"),
        (("    scale", "    column: split\n    scale"), "key 'label 1.column': a label cannot fill this column"),
        (("    scale", "    column: incongruent\n    scale"), "'incongruent' takes a binary scale"),
        (("    scale", "    column: verbal_emotion\n    scale"), "'verbal_emotion' takes emotions out of"),
        (("    scale", "    column: engagement\n    scale"), "'engagement' takes numbers"),
        (("    scale", "    scale: nominal\n    scale"), "line 5: .*a key stands twice"),
        (("  mood", "  rater"), "label 1 cannot be called so"),
        (("    values", "    rules: one\n    values"), "'label 1.rules': expected a list"),
        (("labels:", "labels: ["), "not readable as YAML"),
    ],
)
def test_faults_are_named_with_file_key_and_remedy(tmp_path, change, message):
    with pytest.raises(AnnotationError, match=message):
        read_codebook(write(tmp_path, MOOD.replace(*change)))


def test_two_labels_cannot_fill_one_column(tmp_path):
    second = "  tone: {scale: nominal, column: mood, definition: D., values: [a, b]}\n"
    with pytest.raises(AnnotationError, match=r"'label 2\.column': label 1 fills that column already"):
        read_codebook(write(tmp_path, MOOD + second))
