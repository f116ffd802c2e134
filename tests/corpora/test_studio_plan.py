"""The studio's plan: exact balance, disjoint splits, nothing but words against face that tells the label."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from subtext.corpora.cells import CELL_SHARES
from subtext.corpora.studio import Nuisance
from subtext.corpora.studio.corpus import SIZES
from subtext.corpora.studio.plan import SplitSize, _every, draw_plan
from subtext.corpora.studio.sentences import SENTENCES
from subtext.errors import ConfigError
from subtext.labels import IncongruenceRule
from subtext.manifest import SPLITS

CONDITIONS = (
    "face_shown",
    "sound_recorded",
    "weak_face",
    "weak_voice",
    "occluded",
    "face_intensity",
    "voice_intensity",
    "duration",
    "face_scale",
    "light",
    "light_angle",
    "contrast",
    "warmth",
    "picture_noise",
    "sound_noise",
    "gain_db",
    "occluder",
    "speaker_number",
)


def plan_of(size: str = "demo", seed: int = 0, follows: float = 0.7, **nuisance: float) -> pd.DataFrame:
    return draw_plan(
        SIZES[size], seed=seed, voice_follows_face=follows, nuisance=Nuisance(**nuisance), duration=(1.6, 2.6)
    )


def label(plan: pd.DataFrame) -> np.ndarray:
    rule = IncongruenceRule()
    return np.array([rule.is_incongruent(v, f) for v, f in zip(plan["words"], plan["face"], strict=True)])


@pytest.mark.parametrize(("size", "seed"), [("tiny", 3), ("demo", 0), ("demo", 1), ("full", 0)])
def test_no_single_polarity_and_no_condition_tells_the_label(size: str, seed: int) -> None:
    plan = plan_of(size, seed)
    for split in SPLITS:
        clips = plan[plan["split"] == split]
        incongruent = label(clips)
        assert incongruent.mean() == 0.5
        for modality in ("words", "face", "voice"):
            # An oracle that knows the polarity can order its three values in three ways (and their reverses).
            for order in ((-1, 0, 1), (0, -1, 1), (0, 1, -1)):
                score = clips[modality].map(order.index)
                assert roc_auc_score(incongruent, score) == pytest.approx(0.5), (split, modality)
        for column in CONDITIONS:
            assert roc_auc_score(incongruent, clips[column].astype(float)) == pytest.approx(0.5), (split, column)
        assert roc_auc_score(incongruent, clips["transcript"].str.len()) == pytest.approx(0.5)
        assert roc_auc_score(incongruent, clips["transcript"].str.split().str.len()) == pytest.approx(0.5)


@pytest.mark.parametrize("size", ["demo", "full"])
def test_cells_follow_the_table_and_voice_the_face(size: str) -> None:
    plan = plan_of(size)
    for split in SPLITS:
        clips = plan[plan["split"] == split]
        counts = clips.groupby(["words", "face"]).size().to_dict()
        assert counts == {cell: round(share * len(clips)) for cell, share in CELL_SHARES.items()}
        assert (clips["voice"] == clips["face"]).mean() == pytest.approx(0.7, abs=0.03)
        shares = pd.crosstab(clips["face"], clips["voice"], normalize="index")
        assert shares.to_numpy() == pytest.approx(0.15 + 0.55 * np.eye(3), abs=0.06)


def test_voice_follows_as_often_as_asked() -> None:
    always, never = plan_of(follows=1.0), plan_of(follows=0.0)
    assert (always["voice"] == always["face"]).all()
    assert (never["voice"] != never["face"]).all()


def test_each_sentence_is_said_as_often_in_either_kind_of_clip() -> None:
    plan = plan_of("full")
    counts = pd.crosstab(plan["transcript"], label(plan))
    assert (counts[True] == counts[False]).all()
    said = {sentence.text: sentence.polarity for sentence in SENTENCES}
    assert (plan["transcript"].map(said) == plan["words"]).all()


def test_splits_share_neither_speaker_nor_sentence_nor_pair() -> None:
    plan = plan_of("full")
    for key in ("speaker_number", "transcript", "pair"):
        assert plan.groupby(key)["split"].nunique().max() == 1


@pytest.mark.parametrize(("size", "test_clips"), [("demo", 120), ("full", 600)])
def test_sizes_have_the_speakers_and_clips_that_intervals_need(size: str, test_clips: int) -> None:
    plan = plan_of(size)
    assert plan["speaker_number"].nunique() >= 60
    test = plan[plan["split"] == "test"]
    assert test["speaker_number"].nunique() >= 20
    assert len(test) >= test_clips


def test_every_speaker_has_both_labels_equally_and_a_like_mix_of_faces() -> None:
    plan = plan_of("full")
    assert set(label(plan).astype(float)) == {0.0, 1.0}
    for split in SPLITS:
        clips = plan[plan["split"] == split]
        assert pd.Series(label(clips)).groupby(clips["speaker_number"].to_numpy()).mean().eq(0.5).all()
        faces = pd.crosstab(clips["speaker_number"], clips["face"])
        # Faces come in pairs, so the nearest mixes differ by one pair.
        assert (faces.max() - faces.min()).max() <= 2


def test_order_and_pair_names_tell_nothing() -> None:
    plan = plan_of("full")
    place = np.arange(len(plan))
    pair = plan["pair"].str.slice(-5).astype(int)
    for polarity in ("words", "face", "voice"):
        for value in (-1, 0, 1):
            assert roc_auc_score(plan[polarity] == value, place) == pytest.approx(0.5, abs=0.05)
            assert roc_auc_score(plan[polarity] == value, pair) == pytest.approx(0.5, abs=0.10)
    assert roc_auc_score(label(plan), place) == pytest.approx(0.5, abs=0.05)


def test_missing_and_hampered_clips_are_as_many_as_asked() -> None:
    plan = plan_of("full", weak_expression=0.2, occlusion=0.1, no_face=0.04, no_sound=0.06)
    assert (~plan["face_shown"]).mean() == pytest.approx(0.04, abs=0.01)
    assert (~plan["sound_recorded"]).mean() == pytest.approx(0.06, abs=0.01)
    assert (plan["face_shown"] | plan["sound_recorded"]).all()
    assert plan["weak_face"].mean() == pytest.approx(0.2, abs=0.01)
    assert plan["weak_voice"].mean() == pytest.approx(0.2, abs=0.01)
    assert plan["face_intensity"][plan["weak_face"]].max() < plan["face_intensity"][~plan["weak_face"]].min()
    assert plan["occluded"].mean() == pytest.approx(0.1, abs=0.015)
    none = plan_of(weak_expression=0, occlusion=0, no_face=0, no_sound=0)
    assert none["face_shown"].all()
    assert none["sound_recorded"].all()
    assert not none[["weak_face", "weak_voice", "occluded"]].to_numpy().any()


def test_conditions_do_not_depend_on_any_polarity() -> None:
    plan = plan_of("full")
    for column in ("face_intensity", "voice_intensity", "duration", "picture_noise", "gain_db", "light"):
        for polarity in ("words", "face", "voice"):
            means = plan.groupby(polarity)[column].mean()
            assert (means.max() - means.min()) < 0.12 * plan[column].std() * 2, (column, polarity)


def test_the_seed_decides() -> None:
    pd.testing.assert_frame_equal(plan_of(seed=5), plan_of(seed=5))
    assert not plan_of(seed=5)["transcript"].equals(plan_of(seed=6)["transcript"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": {**SIZES["tiny"], "val": SplitSize(50, 5)}}, "50 val clips cannot be balanced .* multiple of 40"),
        ({"sizes": {**SIZES["tiny"], "test": replace(SIZES["tiny"]["test"], clips=0)}}, "0 test clips"),
        ({"sizes": {**SIZES["tiny"], "train": SplitSize(40, 21)}}, "cannot be shared by 21 speakers; use 1 to 20"),
        ({"duration": (2.0, 1.0)}, "durations must rise"),
    ],
)
def test_settings_that_cannot_be_used(change: dict[str, object], message: str) -> None:
    settings = {
        "sizes": SIZES["tiny"],
        "seed": 0,
        "voice_follows_face": 0.7,
        "nuisance": Nuisance(),
        "duration": (1.6, 2.6),
    }
    with pytest.raises(ConfigError, match=message):
        draw_plan(**{**settings, **change})


@pytest.mark.parametrize(("name", "value"), [("no_face", 0.6), ("occlusion", -0.1), ("noise", 9), ("scale", 0.5)])
def test_nuisance_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^Nuisance: {name} is {value}; write a number from 0 to "):
        Nuisance(**{name: value})


def test_sentences_are_many_and_balanced() -> None:
    assert len(SENTENCES) >= 150
    assert len({sentence.text.casefold() for sentence in SENTENCES}) == len(SENTENCES)
    counts = pd.DataFrame(SENTENCES).groupby(["topic", "polarity"]).size()
    assert len(counts) == 30
    assert counts.nunique() == 1
    assert all(sentence.text[-1] == "." and sentence.text[0].isupper() for sentence in SENTENCES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_conditions_are_independent_of_each_other(seed: int) -> None:
    plan = plan_of("full", seed, weak_expression=0.25, no_face=0.1, no_sound=0.15)
    flags = {
        "weak_face": plan["weak_face"],
        "weak_voice": plan["weak_voice"],
        "missing": ~(plan["face_shown"] & plan["sound_recorded"]),
        "no_sound": ~plan["sound_recorded"],
    }
    for split in SPLITS:
        rows = plan["split"] == split
        for one, other in [("weak_face", "weak_voice"), ("weak_face", "missing"), ("weak_voice", "no_sound")]:
            a, b = flags[one][rows], flags[other][rows]
            assert a.any()
            assert b.any()
            # Pairs of twins share their conditions, so that half as many clips are independent.
            pairs, expected = rows.sum() / 2, a.mean() * b.mean()
            spread = np.sqrt(expected * (1 - expected) / pairs)
            assert abs((a & b).mean() - expected) < 4 * spread, (split, one, other)


@pytest.mark.parametrize(("share", "total"), [(0.0, 40), (0.05, 40), (0.1, 600), (0.37, 41), (0.5, 40), (1.0, 7)])
def test_a_share_is_met_exactly(share: float, total: int) -> None:
    assert _every(share, total, np.random.default_rng(0)).sum() == round(share * total)
