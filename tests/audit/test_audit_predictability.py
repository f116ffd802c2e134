"""Labels that can be told from nuisance variables: planted, absent, and on MUStARD as it is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.audit import Audit, audit_corpus
from subtext.audit.division import Division
from subtext.audit.predictability import audited_labels, lookup_predictions, numeric_predictions
from subtext.audit.quality import doubtful_labels
from subtext.errors import ConfigError
from subtext.evaluation.controls import speaker_lookup
from subtext.evaluation.intervals import Units, ranking_interval
from subtext.evaluation.metrics import auroc
from subtext.manifest import build_manifest


def corpus(seed: int = 0, speakers: int = 40, each: int = 10, divided_by: str | None = "speaker") -> pd.DataFrame:
    """Rows whose label follows nothing; speakers in shows; natural lengths that differ between speakers."""
    rng = np.random.default_rng(seed)
    n = speakers * each
    speaker = np.repeat(np.arange(speakers), each)
    habit = rng.normal(size=speakers)[speaker]
    words = np.clip(np.round(10 + 3 * habit + 3 * rng.normal(size=n)), 1, None).astype(int)
    lexicon = [f"w{number}" for number in range(5000)]
    table = pd.DataFrame(
        {
            "id": [f"r{number}" for number in range(n)],
            "speaker": [f"s{number}" for number in speaker],
            "show": [f"show{number % 20}" for number in speaker],
            "session": [f"s{number}-{part % 2}" for number, part in zip(speaker, np.arange(n), strict=True)],
            "start": 0.0,
            "end": 3 + 0.5 * habit + rng.random(n),
            "transcript": [" ".join(rng.choice(lexicon, size)) for size in words],
            "incongruent": rng.random(n) < 0.5,
        }
    )
    side = speaker if divided_by == "speaker" else rng.integers(0, 10, n)
    if divided_by is not None:
        table["split"] = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 2)[side % 10]
    return table


def audited(table: pd.DataFrame) -> Audit:
    return audit_corpus(build_manifest(table, root=Path(), name="mine", groups=("speaker",)))


def tellers(found: Audit) -> set[str]:
    return {finding.subject for finding in found.alarms if finding.kind == "nuisance"}


def follow(table: pd.DataFrame, seed: int = 1, strength: float = 0.75) -> np.ndarray:
    """Which rows follow the planted rule; the others stay as they are."""
    return np.random.default_rng(seed).random(len(table)) < strength


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_nothing_planted_nothing_found(seed: int) -> None:
    assert audited(corpus(seed)).alarms == ()


def test_a_label_that_follows_duration_is_found_and_explained() -> None:
    table = corpus()
    table["end"] += 0.6 * table["incongruent"]
    found = audited(table)
    assert {"duration", "all together"} <= tellers(found)
    (finding,) = [f for f in found.alarms if f.subject == "duration"]
    assert finding.figures["median_positive"] > finding.figures["median_negative"]
    assert finding.figures["low"] > 0.5
    assert finding.figures["p_holm"] >= finding.figures["p"]


def test_a_label_that_follows_transcript_length_is_found() -> None:
    table = corpus()
    longer = table["transcript"] + " and so on and so on"
    table["transcript"] = table["transcript"].where(~table["incongruent"] | ~follow(table), longer)
    assert "transcript_words" in tellers(audited(table))


def test_a_label_in_the_middle_of_a_range_is_found() -> None:
    table = corpus()
    length = np.random.default_rng(5).uniform(2, 6, len(table))
    table["end"] = length
    table["incongruent"] = np.where(follow(table), abs(length - 4) < 1, table["incongruent"])
    assert "duration" in tellers(audited(table))


def test_a_missing_stream_that_goes_with_the_label_is_found() -> None:
    table = corpus()
    table["audio"] = np.where(table["incongruent"] & follow(table, strength=0.5), None, table["id"] + ".wav")
    assert "has_audio" in tellers(audited(table))


def test_a_speaker_who_tells_the_label_is_an_alarm_only_where_he_is_on_both_sides() -> None:
    for divided_by, expected in (("speaker", False), ("row", True)):
        table = corpus(divided_by=divided_by)
        rate = np.random.default_rng(7).choice([0.15, 0.85], 40)
        table["incongruent"] = np.random.default_rng(8).random(len(table)) < np.repeat(rate, 10)
        assert ("speaker lookup" in tellers(audited(table))) == expected


def test_a_speaker_who_tells_the_label_of_undivided_rows_is_a_note() -> None:
    table = corpus(divided_by=None)
    rate = np.random.default_rng(7).choice([0.15, 0.85], 40)
    table["incongruent"] = np.random.default_rng(8).random(len(table)) < np.repeat(rate, 10)
    found = audited(table)
    assert tellers(found) == set()
    assert any(f.subject == "speaker lookup" and "not divided" in f.text for f in found.notes)


def test_a_show_that_tells_the_label_is_found_although_speakers_are_apart() -> None:
    table = corpus(speakers=80, each=8)
    rate = dict(zip([f"show{n}" for n in range(20)], np.random.default_rng(2).choice([0.1, 0.9], 20), strict=True))
    # Sides by speaker, so that every show has speakers on both.
    number = table["speaker"].str[1:].astype(int)
    table["split"] = np.array(["train", "train", "val", "test"])[number // 20]
    table["incongruent"] = np.random.default_rng(3).random(len(table)) < table["show"].map(rate)
    found = audited(table)
    assert "show lookup" in tellers(found)
    assert "speaker" not in {f.subject for f in found.alarms}


def test_p_values_under_the_null_are_not_too_small_with_strong_clusters() -> None:
    """Labels and a variable that each differ much between speakers, independently: rows would reject far too often."""
    small = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        speaker = np.repeat(np.arange(30), 10)
        truth = rng.random(300) < np.repeat(rng.uniform(0.1, 0.9, 30), 10)
        values = np.repeat(rng.normal(size=30), 10) + 0.5 * rng.normal(size=300)
        (found,) = numeric_predictions("label", truth, {"x": values}, {"speaker": speaker})
        small += found.p < 0.05
    assert small <= 9  # 5 % of 100 and two standard errors more


def test_lookups_that_know_nothing_reject_rarely() -> None:
    small = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = pd.Series(rng.random(240) < 0.5).astype("boolean")
        (found,) = lookup_predictions("label", truth, {"speaker": rng.integers(0, 24, 240)}, {}, [], seed)
        small += found.p < 0.05
    assert small <= 9


def test_a_lookups_interval_is_clustered_by_the_unit_that_is_looked_up() -> None:
    """A lookup tells much of each speaker's clips; other speakers would tell more or less."""
    rng = np.random.default_rng(0)
    speaker = rng.permutation(np.arange(600) % 24)
    truth = pd.Series(rng.random(600) < rng.choice([0.1, 0.5, 0.9], 24)[speaker]).astype("boolean")
    (found,) = lookup_predictions("label", truth, {"speaker": speaker}, {}, [], 0)
    assert found.interval.clusters == {"speaker": 24}
    with_others = {"take": np.arange(600) // 2, "speaker": speaker}
    (both,) = lookup_predictions("label", truth, {"speaker": speaker}, with_others, [], 0)
    assert both.interval.clusters == {"take": 300, "speaker": 24}
    # p is of there being no difference between speakers, which leaves their rows exchangeable.
    assert found.p < 1e-6


def test_a_lookup_has_the_interval_that_the_control_of_its_name_has() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"speaker": rng.permutation(np.arange(900) % 20), "split": rng.choice(["train", "test"], 900)})
    table["incongruent"] = rng.random(900) < rng.choice([0.2, 0.5, 0.8], 20)[table["speaker"]]
    division = Division("split", ("train", "test"), (table["split"] == "test").to_numpy(dtype=np.int64))
    codes = table["speaker"].to_numpy()
    (found,) = lookup_predictions("label", table["incongruent"].astype("boolean"), {"speaker": codes}, {}, [division])
    test = table[table["split"] == "test"].reset_index(drop=True)
    score = speaker_lookup(table)[table["split"] == "test"].to_numpy()
    labels = test["incongruent"].to_numpy()
    expected = ranking_interval(auroc(labels, score), Units.of(test, ["speaker"]))
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    by_clip = ranking_interval(auroc(labels, score), Units({}, len(test)))
    assert expected.width > 1.5 * by_clip.width, "clips must be less alike between speakers, or this test shows nothing"


def test_a_length_that_only_tells_the_sentence_is_no_alarm() -> None:
    """A handful of sentences, each with a label rate of its own: length is a name of the sentence, nothing more."""
    rng = np.random.default_rng(0)
    table = corpus()
    sentence = rng.integers(0, 8, len(table))
    table["transcript"] = [" ".join(["word"] * (6 + number)) for number in sentence]
    rate = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1])
    table["incongruent"] = rng.random(len(table)) < rate[sentence]
    found = tellers(audited(table))
    assert "transcript_words" not in found
    assert "text lookup" in found


def test_own_channel_of_a_polarity_is_no_nuisance() -> None:
    table = corpus().drop(columns="incongruent")
    rng = np.random.default_rng(0)
    table["vocal_polarity"] = rng.integers(-1, 2, len(table))
    table["end"] += 0.8 * (table["vocal_polarity"] == 1)
    found = audited(table)
    assert set(found.labels) == {"vocal_polarity=-1", "vocal_polarity=0", "vocal_polarity=1"}
    assert "duration" not in set(found.predictability["variable"])


def test_labels_that_cannot_be_audited_say_so() -> None:
    table = build_manifest(corpus(), root=Path(), name="mine").table
    with pytest.raises(ConfigError, match="no column 'quality'"):
        audited_labels(table, ["quality"])
    with pytest.raises(ConfigError, match="different values"):
        audited_labels(table, ["id"])
    assert list(audited_labels(table.assign(quality=np.where(table.index % 2, "high", "low")), ["quality"])) == [
        "quality=low"
    ]


def test_confident_learning_finds_flipped_labels() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(2000) < 0.5
    flipped = rng.random(2000) < 0.1
    shares = np.clip(np.where(true, 0.9, 0.1) + 0.05 * rng.normal(size=2000), 0, 1)
    doubtful = doubtful_labels(true ^ flipped, shares)
    assert (doubtful & flipped).sum() / flipped.sum() > 0.6
    assert (doubtful & ~flipped).mean() < 0.01


def test_mustard_gives_its_speaker_leak_away(shared_data: Path) -> None:
    """Each speaker's majority label scores about 69 % on the authors' folds, above most published unimodal models."""
    clips = json.loads((shared_data / "mustard" / "sarcasm_data.json").read_text(encoding="utf-8"))
    folds = json.loads((shared_data / "mustard" / "speaker_dependent_folds.json").read_text(encoding="utf-8"))
    table = pd.DataFrame(
        [
            {
                "id": name,
                # Guests without a name share one, in every show.
                "speaker": f"{clip['speaker']} {clip['show']}",
                "show": clip["show"],
                "transcript": clip["utterance"],
                "incongruent": clip["sarcasm"],
            }
            for name, clip in clips.items()
        ]
    )
    table["fold"] = 0
    for number, fold in enumerate(folds):
        table.loc[fold["test"], "fold"] = number
    found = audit_corpus(build_manifest(table, root=Path(), name="mustard", groups=("speaker",)))
    (leak,) = [f for f in found.alarms if f.subject == "speaker lookup"]
    assert leak.figures["accuracy"] == pytest.approx(0.69, abs=0.005)
    # By clips it would be .74, as if the same 24 speakers were all there are.
    assert leak.figures["low"] == pytest.approx(0.673, abs=0.005)
    assert {"speaker", "speaker lookup", "all together"} <= {f.subject for f in found.alarms}
    apart = table.assign(split=np.where(table["show"] == "FRIENDS", "test", "train")).drop(columns="fold")
    found = audit_corpus(build_manifest(apart, root=Path(), name="mustard", groups=("speaker",)))
    assert not {"speaker", "speaker lookup"} & {f.subject for f in found.alarms}


def test_a_manifest_without_labels_or_split_is_audited_as_far_as_it_goes() -> None:
    table = corpus(divided_by=None).drop(columns="incongruent")
    found = audited(table)
    assert found.alarms == ()
    assert len(found.skipped) == 3
