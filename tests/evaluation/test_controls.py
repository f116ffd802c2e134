import numpy as np
import pandas as pd
import pytest

from builders.prediction_tables import labelled_clips
from subtext.errors import ConfigError
from subtext.evaluation.controls import (
    majority,
    metadata,
    posterior_product,
    speaker_lookup,
)
from subtext.evaluation.metrics import auroc
from subtext.labels import POLARITY_COLUMN, POLARITY_NAMES


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    return labelled_clips(train=800, val=400, test=800, seed=3)


def area_on_test(clips: pd.DataFrame, p: pd.Series, target: str = "incongruent") -> float:
    rows = clips["split"] == "test"
    return auroc(clips.loc[rows, target].to_numpy(dtype=bool), p[rows].to_numpy()).value


def test_majority_is_the_training_share(clips: pd.DataFrame) -> None:
    skewed = clips.copy()
    skewed.loc[(skewed["split"] == "train") & (np.arange(len(skewed)) % 2 == 0), "incongruent"] = True
    expected = skewed.loc[skewed["split"] == "train", "incongruent"].astype(float).mean()
    assert majority(skewed).unique() == pytest.approx([expected])
    assert expected > 0.6


def test_metadata_finds_a_linear_and_a_bent_leak_and_nothing_in_noise(clips: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    table = clips.copy()
    label = table["incongruent"].astype(float)
    table["linear"] = label + rng.normal(size=len(table))
    table["bent"] = np.where(label == 1, rng.choice([-1.5, 1.5], len(table)), 0) + rng.normal(0, 0.5, len(table))
    table["gaps"] = rng.normal(size=len(table))
    table.loc[(label == 1) & (rng.random(len(table)) < 0.5), "gaps"] = np.nan
    assert area_on_test(table, metadata(table, ["linear"])) > 0.7
    assert area_on_test(table, metadata(table, ["bent"])) > 0.85
    assert area_on_test(table, metadata(table, ["gaps"])) > 0.65
    assert 0.44 < area_on_test(table, metadata(table, ["duration", "face_share"])) < 0.56


def test_metadata_does_not_see_validation_or_test_labels(clips: pd.DataFrame) -> None:
    altered = clips.copy()
    held_out = altered["split"] != "train"
    altered.loc[held_out, "incongruent"] = ~altered.loc[held_out, "incongruent"]
    one, other = (metadata(table, ["duration", "face_share"]) for table in (clips, altered))
    assert np.array_equal(one, other)


def test_training_rows_are_cross_fitted(clips: pd.DataFrame) -> None:
    p = metadata(clips, ["duration", "face_share"])
    train = clips["split"] == "train"
    area = auroc(clips.loc[train, "incongruent"].to_numpy(dtype=bool), p[train].to_numpy()).value
    assert area < 0.56, "fitted and judged on the same rows, boosting would score far above chance"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(split="test"), "no training row"),
        (lambda t: t.assign(incongruent=True), "one value"),
        (lambda t: t.drop(columns="duration"), "'duration' is absent"),
    ],
)
def test_metadata_says_what_it_lacks(clips: pd.DataFrame, change, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        metadata(change(clips), ["duration"])


def test_speaker_lookup_is_the_majority_where_no_speaker_repeats(clips: pd.DataFrame) -> None:
    held_out = clips["split"] != "train"
    assert np.array_equal(speaker_lookup(clips)[held_out], majority(clips)[held_out])
    with pytest.raises(ConfigError, match="no training row says its speaker"):
        speaker_lookup(clips.assign(speaker=pd.NA))


def test_speaker_lookup_finds_a_speaker_leak(clips: pd.DataFrame) -> None:
    table = clips.copy()
    rng = np.random.default_rng(1)
    table["speaker"] = rng.choice(list("abcdefgh"), len(table))
    lean = dict(zip("abcdefgh", np.linspace(0.05, 0.95, 8), strict=True))
    table["incongruent"] = pd.array(rng.random(len(table)) < table["speaker"].map(lean), dtype="boolean")
    table.loc[table.index[-1], "speaker"] = "new"
    p = speaker_lookup(table)
    assert area_on_test(table, p) > 0.75
    share = table.loc[(table["split"] == "train") & (table["speaker"] == "a"), "incongruent"].astype(float).mean()
    assert p[table["speaker"] == "a"].unique() == pytest.approx([share])
    assert p.iloc[-1] == pytest.approx(table.loc[table["split"] == "train", "incongruent"].astype(float).mean())


def test_product_of_posteriors_equals_the_sum_written_out() -> None:
    table = labelled_clips(train=400, val=40, test=40, seed=5)
    # Without validation labels the posteriors are taken as they are.
    table.loc[table["split"] == "val", list(POLARITY_COLUMN.values())] = pd.NA
    for modality in POLARITY_COLUMN:
        table[f"present_{modality}"] = True
        columns = [f"prob_{POLARITY_COLUMN[modality]}_{name}" for name in POLARITY_NAMES]
        table[columns] = table[columns].fillna(1 / 3)
    train = table[table["split"] == "train"]
    p = posterior_product(table)
    clip = table[table["split"] == "test"].index[7]
    weights = {0.0: 0.0, 1.0: 0.0}
    for cell, rows in train.astype(dict.fromkeys(POLARITY_COLUMN.values(), int)).groupby([*POLARITY_COLUMN.values()]):
        weight = len(rows) / len(train)
        for column, polarity in zip(POLARITY_COLUMN.values(), cell, strict=True):
            posterior = table.loc[clip, f"prob_{column}_{POLARITY_NAMES[polarity + 1]}"]
            weight *= posterior / (train[column] == polarity).mean()
        weights[float(rows["incongruent"].iloc[0])] += weight
    assert p[clip] == pytest.approx(weights[1.0] / (weights[0.0] + weights[1.0]))


def test_product_is_better_than_chance_and_calibrated(clips: pd.DataFrame) -> None:
    for target in ("incongruent", "vocal_incongruent"):
        p = posterior_product(clips, target)
        assert area_on_test(clips, p, target) > 0.85
        rows = clips["split"] == "test"
        assert p[rows].mean() == pytest.approx(clips.loc[rows, target].astype(float).mean(), abs=0.05)


def test_product_undoes_the_prior_of_balanced_class_weights(clips: pd.DataFrame) -> None:
    balanced = clips.copy()
    for column in POLARITY_COLUMN.values():
        names = [f"prob_{column}_{name}" for name in POLARITY_NAMES]
        prior = clips[column].value_counts(normalize=True).sort_index().to_numpy()
        shares = (clips[names].to_numpy() / prior) ** 2
        balanced[names] = shares / shares.sum(axis=1, keepdims=True)
    plain, corrected = posterior_product(clips), posterior_product(balanced)
    assert np.abs(plain - corrected).mean() < 0.02


def test_product_falls_back_to_what_is_present(clips: pd.DataFrame) -> None:
    table = clips.copy()
    for modality in POLARITY_COLUMN:
        table[f"present_{modality}"] = False
    prior = clips.loc[clips["split"] == "train", "incongruent"].astype(float).mean()
    assert posterior_product(table).to_numpy() == pytest.approx(prior)
    table["present_text"] = clips["present_text"]
    alone = posterior_product(table)
    assert alone.notna().all()
    # One modality alone tells nothing where the label is balanced within each of its polarities.
    assert (alone - prior).abs().max() < 0.03


def test_product_without_posteriors_says_what_to_do(clips: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="train polarity heads"):
        posterior_product(clips.drop(columns=[c for c in clips if c.startswith("prob_")]))


def test_product_needs_training_rows_with_all_polarities(clips: pd.DataFrame) -> None:
    apart = clips.copy()
    odd = np.arange(len(apart)) % 2 == 1
    apart.loc[odd, "verbal_polarity"] = pd.NA
    apart.loc[~odd, "visual_polarity"] = pd.NA
    with pytest.raises(ConfigError, match="no training row carries all of"):
        posterior_product(apart)
