"""Which headers were meant for one of our columns, and which are columns of their own."""

import pytest

from subtext.core.headers import did_you_mean, misspelt
from subtext.manifest.table import LABEL_COLUMNS, TEXT_COLUMNS, TIME_COLUMNS

OURS = (*TEXT_COLUMNS, *TIME_COLUMNS, *LABEL_COLUMNS, "fold")


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        ("visual_polarty", "visual_polarity"),
        ("Visual Polarity", "visual_polarity"),
        ("visualPolarity", "visual_polarity"),
        ("verbal_polairty", "verbal_polarity"),
        ("vocal_polaritty", "vocal_polarity"),
        ("visual_emotions", "visual_emotion"),
        ("incongruant", "incongruent"),
        ("incongruence", "incongruent"),
        ("incongruence_typ", "incongruence_type"),
        ("vocal-incongruent", "vocal_incongruent"),
        ("engagment", "engagement"),
        ("transcipt", "transcript"),
        ("transcription", "transcript"),
        ("speker", "speaker"),
        ("speakers", "speaker"),
        ("spilt", "split"),
        ("strat", "start"),
        ("ID", "id"),
        ("Fold", "fold"),
    ],
)
def test_a_slip_of_the_keys_is_seen(header: str, ours: str) -> None:
    assert misspelt(["number", header], OURS) == (ours, 2)


@pytest.mark.parametrize(
    "header",
    [
        *("visual_polarity_rater2", "rater_visual_polarity", "visual_polarity_b", "visualPolarityRater", "speaker_id"),
        *("speaker2", "start_frame", "end_frame", "start_s", "start_ms", "transcript_id", "transcriptId", "n_speakers"),
        *("congruent", "content", "audit", "star", "smart", "rate", "role_name", "gold", "hold", "folder", "ends"),
        *("dialogue", "show", "identity", "age", "gender", "video_id", "video2", "utterance", "emotion", "polarity"),
        *("sarcasm", "seen", "site", "state", "station", "stage", "arousal", "valence", "duration", "season", ""),
    ],
)
def test_columns_of_ones_own_are_let_be(header: str) -> None:
    assert misspelt([header], OURS) is None


@pytest.mark.parametrize("name", OURS)
def test_none_of_ours_is_taken_for_another(name: str) -> None:
    assert misspelt([name], OURS) is None


@pytest.mark.parametrize("name", [name for name in OURS if len(name) > 5])
def test_every_longer_name_with_a_letter_left_out_is_told(name: str) -> None:
    for place in range(1, len(name)):
        if name[place] != "_":
            assert misspelt([name[:place] + name[place + 1 :]], OURS) == (name, 1)


def test_the_name_itself_and_what_is_named_otherwise_settle_it() -> None:
    assert misspelt(["speaker", "Speaker"], OURS) is None
    assert misspelt(["speakers"], OURS, ["speakers"]) is None


def test_the_question_names_ours_and_the_place_only() -> None:
    assert did_you_mean(("speaker", 3)).startswith("did you mean speaker? (header cell 3)")
