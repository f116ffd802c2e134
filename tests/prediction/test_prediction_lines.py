"""How predictions are written: strict JSON, abstention with its reason, one readable line."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from subtext.labels import INCONGRUENCE_TYPES, POLARITY_COLUMN, POLARITY_NAMES, IncongruenceRule
from subtext.prediction.lines import error_line, failure, flat, prediction_line, readable, sort_value, to_json


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": "a.mp4#1",
        "start": np.float64(62.5),
        "end": np.float64(64.0),
        "speaker": pd.NA,
        "role": "client",
        "transcript": 'I\'m fine, "really"',
        "prob_incongruent": np.float32(0.8),
        "prob_vocal_incongruent": 0.3,
        "evidence_visual": 0.5,
        "evidence_text": 0.3,
        "evidence_prosody": 0.2,
        "face_share": 0.9,
        "n_people": 2.0,
        "duration": 1.5,
    }
    values |= {f"prob_type_{name}": 1 / 6 for name in INCONGRUENCE_TYPES} | {"prob_type_masking": 0.5}
    for column in POLARITY_COLUMN.values():
        values |= {f"prob_{column}_{name}": p for name, p in zip(POLARITY_NAMES, (0.2, 0.1, 0.7), strict=True)}
    return values | changes


def line(
    missing: dict[str, str] | None = None, levels: dict[str, float] | None = None, **changes: Any
) -> dict[str, Any]:
    return prediction_line(
        row(**changes),
        input_="a.mp4",
        labels=["incongruent", "vocal_incongruent"],
        missing=missing or {},
        thresholds={"incongruent": 0.6, "vocal_incongruent": 0.5},
        levels=levels or {},
        provenance={"model": "abc", "features": {"visual": "v"}, "subtext": "0.1"},
        warnings=[],
    )


def test_a_complete_turn() -> None:
    got = json.loads(to_json(line()))
    assert got["prob_incongruent"] == pytest.approx(0.8)
    assert got["incongruent"] is True
    assert got["vocal_incongruent"] is False
    assert got["abstain"] is False
    assert got["abstentions"] == {}
    assert got["missing"] == {}
    assert got["speaker"] is None
    assert got["transcript"] == 'I\'m fine, "really"'
    assert set(got["type"]) == set(INCONGRUENCE_TYPES)
    assert got["polarity"]["text"] == {"label": "positive", "negative": 0.2, "neutral": 0.1, "positive": 0.7}
    assert got["evidence"] == {"visual": 0.5, "text": 0.3, "prosody": 0.2}
    assert got["faces"] == {"share": 0.9, "people": 2}
    assert (got["model"], got["subtext"]) == ("abc", "0.1")


def test_it_abstains_on_both_where_one_modality_is_unlike_those_of_training() -> None:
    got = line(novelty_visual=np.float32(2.5), novelty_text=1.0, novelty_prosody=float("nan"))
    assert got["novelty"] == {"visual": 2.5, "text": 1.0}
    assert got["unlike"] == ["visual"]
    reason = "face unlike those of training: distance 2.50 is above 1.00, which 99% of validation clips keep"
    # A fusion reads the face for its answer about words and voice too.
    assert got["abstentions"] == {"incongruent": [reason], "vocal_incongruent": [reason]}
    assert got["abstain"] is True
    assert got["incongruent"] is got["vocal_incongruent"] is got["incongruence_type"] is None
    assert got["prob_incongruent"] == pytest.approx(0.8)  # what the model said is not hidden
    told = readable(got, 1000)
    assert told.count(reason) == 1
    assert "face positive 0.70 (not to be relied on), words positive 0.70, voice" in told
    assert flat(got)["novelty.visual"] == 2.5
    assert flat(got)["unlike"] == "visual"


def test_what_is_missing_and_what_is_unlike_are_both_told() -> None:
    got = line(missing={"text": "no transcript"}, novelty_visual=1.01, novelty_prosody=0.2)
    assert [reason.split(":")[0] for reason in got["abstentions"]["incongruent"]] == [
        "no words",
        "face unlike those of training",
    ]
    assert got["unlike"] == ["visual"]
    missing = line(missing={"visual": "no face"}, novelty_visual=7.0)
    assert missing["novelty"] == {}
    assert missing["unlike"] == []


def test_without_words_it_abstains_on_both_labels_and_keeps_polarities() -> None:
    got = line(missing={"text": "no transcript"})
    assert got["abstain"] is True
    assert got["abstentions"] == {
        "incongruent": ["no words: no transcript"],
        "vocal_incongruent": ["no words: no transcript"],
    }
    assert got["prob_incongruent"] is None
    assert got["incongruent"] is None
    assert got["type"] is None
    assert set(got["polarity"]) == {"visual", "prosody"}
    assert readable(got, 200).endswith("abstains: no words: no transcript")
    assert "face positive 0.70" in readable(got, 200)


def test_without_a_face_only_words_and_voice_are_compared() -> None:
    got = line(missing={"visual": "no face found"})
    assert got["abstain"] is False
    assert got["prob_incongruent"] is None
    assert got["abstentions"] == {"incongruent": ["no face: no face found"]}
    assert got["vocal_incongruent"] is False
    assert "no face: no face found" in readable(got, 200)


@pytest.mark.parametrize(("probability", "answer"), [(0.95, True), (0.05, False), (0.7, None), (0.4, None)])
def test_it_abstains_below_the_confidence_chosen_on_validation(probability: float, answer: bool | None) -> None:
    got = line(levels={"incongruent": 0.8}, prob_incongruent=probability)
    assert got["incongruent"] is answer
    assert got["prob_incongruent"] == probability
    assert ("incongruent" in got["abstentions"]) == (answer is None)
    if answer is None:
        assert "below 0.80" in got["abstentions"]["incongruent"][0]


def test_a_model_with_fewer_heads_says_nothing_about_the_others() -> None:
    few = {name: value for name, value in row().items() if "vocal" not in name and "type" not in name}
    got = prediction_line(
        few, input_="a", labels=["incongruent"], missing={}, thresholds={}, levels={}, provenance={}, warnings=[]
    )
    assert "prob_vocal_incongruent" not in got
    assert got["type"] is None
    assert "prosody" not in got["polarity"]
    assert got["abstain"] is False


def test_nothing_that_json_lacks_is_written() -> None:
    got = line(prob_incongruent=float("nan"), face_share=np.nan, evidence_text=np.float32("inf"), engagement=None)
    assert got["incongruent"] is None
    assert got["abstentions"]["incongruent"] == ["the model gives no number for this turn"]
    parsed = json.loads(to_json(got), parse_constant=pytest.fail)
    assert parsed["faces"]["share"] is None
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


def test_a_readable_entry_tells_place_time_and_answer_and_no_more_than_its_width() -> None:
    text = readable(line(speaker="Anna"))
    assert text.startswith("#1 1:02.50-1:04.00 Anna: words-face incongruent (p 0.80), masking")
    assert "words-voice congruent (p 0.30)" in " ".join(text.split())
    assert "n/a" not in text
    assert max(len(one) for one in text.splitlines()) <= 80
    assert readable(error_line("a", "a\n\x1b[2J\udce9.mp4", "x")) == r"\n\x1b[2J\udce9.mp4: not done: x"
    failed = error_line("a.mp4", "a.mp4#2", "it broke", start=3600.0, speaker="Anna")
    assert readable(failed) == "#2 1:00:00.00-end Anna: not done: it broke"
    assert failure(failed) == "a.mp4#2 1:00:00.00-end: not done: it broke"
    assert json.loads(to_json(failed))["error"] == "it broke"
    assert failure(error_line("a.mp4", "a.mp4", "a.mp4: cut off")) == "a.mp4: not done: cut off"


def test_the_type_is_the_most_probable_one_that_fits_the_answer() -> None:
    assert line()["incongruence_type"] == "masking"
    likely = {"prob_type_congruent": 0.6, "prob_type_masking": 0.3}
    assert line(**likely)["incongruence_type"] == "masking"
    assert line(**likely, prob_incongruent=0.2)["incongruence_type"] == "congruent"
    warm = {"prob_type_unvoiced_warmth": 0.9}
    assert line(**warm)["incongruence_type"] == "masking"
    assert line(**warm, prob_incongruent=0.2)["incongruence_type"] == "congruent"
    assert line(levels={"incongruent": 0.9})["incongruence_type"] is None
    assert line(missing={"visual": "no face found"})["incongruence_type"] is None
    assert line(prob_type_leakage=float("nan"))["type"] is None
    counted = prediction_line(
        row(**warm),
        input_="a.mp4",
        labels=["incongruent"],
        missing={},
        thresholds={},
        levels={},
        provenance={},
        warnings=[],
        rule=IncongruenceRule(count_unvoiced_warmth=True),
    )
    assert counted["incongruence_type"] == "unvoiced_warmth"


def test_polarities_that_make_another_answer_are_named() -> None:
    positive = line()  # words, face and voice
    assert positive["rule"] == {"incongruent": "congruent", "vocal_incongruent": "congruent"}
    assert positive["agrees"] == {"incongruent": False, "vocal_incongruent": True}
    assert "(but the polarities of words and face make it congruent)" in " ".join(readable(positive).split())
    negative = {f"prob_verbal_polarity_{name}": p for name, p in zip(POLARITY_NAMES, (0.7, 0.2, 0.1), strict=True)}
    agreed = line(**negative)
    assert agreed["rule"]["incongruent"] == "masking"
    assert agreed["agrees"] == {"incongruent": True, "vocal_incongruent": False}
    other = line(**negative, prob_type_leakage=0.9)
    assert (other["incongruence_type"], other["agrees"]["incongruent"]) == ("leakage", False)
    assert line(missing={"text": "none"})["rule"] == {"incongruent": None, "vocal_incongruent": None}


def test_a_row_of_a_table_holds_the_same() -> None:
    got = flat(line(missing={"visual": "no face found"}))
    assert got["polarity.text.label"] == "positive"
    assert got["abstentions.incongruent"] == "no face: no face found"
    assert got["missing.visual"] == "no face found"
    assert not any(isinstance(value, (dict, list)) for value in got.values())
    assert "type" not in got
    assert flat(line())["type.masking"] == 0.5


def test_names_that_are_no_unicode_become_escapes() -> None:
    written = to_json(error_line("caf\udce9.mp4", "🙃", "x"))
    written.encode("utf-8")
    assert json.loads(written)["input"] == "caf\udce9.mp4"
    assert "🙃" in to_json(error_line("a", "🙃", "x"))


def test_sorting_puts_the_most_probable_first_and_failures_last() -> None:
    lines = [
        line(prob_incongruent=0.2),
        error_line("a", "a", "x"),
        line(prob_incongruent=0.9),
        line({"visual": "gone"}),
    ]
    ordered = sorted(lines, key=sort_value)
    assert [entry.get("prob_incongruent") for entry in ordered] == [0.9, 0.2, None, None]
    assert "error" in ordered[-1]


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [(-1.0, 2.0, "-0:01.00-0:02.00"), (-3661.5, -0.001, "-1:01:01.50-0:00.00"), (59.999, 3600.0, "1:00.00-1:00:00.00")],
)
def test_times_before_the_beginning_have_one_sign(start: float, end: float, shown: str) -> None:
    said = readable(error_line("a.mp4", "a.mp4#1", "it starts too early", start=start, end=end))
    assert said == f"#1 {shown}: not done: it starts too early"


def test_what_is_heard_beside_words_has_a_field() -> None:
    assert line(events="[Music]")["events"] == "[Music]"
    assert line()["events"] is None
