"""What is printed: one answer a clip, nothing wider than its terminal, no verdict where too little was seen."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from subtext.labels import INCONGRUENCE_TYPES, MODALITIES, POLARITY_COLUMN, POLARITY_NAMES, IncongruenceRule
from subtext.labels import incongruence_type as type_of
from subtext.prediction.lines import prediction_line, readable

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
