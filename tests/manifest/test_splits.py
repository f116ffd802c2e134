"""Dividing a corpus: units stay on one side, labels stay alike, and the same seed gives the same division."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subtext.errors import ConfigError, ManifestError
from subtext.manifest import Manifest, build_manifest, check_splits
from subtext.manifest.splits import (
    describe_parts,
    fold_as_test,
    join,
    leave_one_out,
    split_by_shares,
    split_into_folds,
)


def corpus(n: int = 400, speakers: int = 40, seed: int = 0, name: str = "made", root: Path = Path(".")) -> Manifest:
    rng = np.random.default_rng(seed)
    speaker = rng.integers(0, speakers, n)
    speaker[:speakers] = np.arange(speakers)
    table = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "speaker": [f"s{s}" for s in speaker],
            "session": [f"d{s // 2}" for s in speaker],  # two speakers share a session
            "transcript": "words",
            "incongruent": rng.random(n) < 0.3,
        }
    )
    return build_manifest(table, root=root, name=name)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), speakers=st.integers(3, 60), k=st.integers(2, 6))
def test_no_unit_stands_on_two_sides(seed: int, speakers: int, k: int) -> None:
    made = corpus(200, speakers, seed)
    divided = split_by_shares(made, ["speaker"], "incongruent", seed=seed)
    check_splits(divided, ["speaker"])
    assert set(divided.table["split"]) == {"train", "val", "test"}
    if k <= speakers:
        folds = split_into_folds(made, k, ["speaker"], "incongruent", seed).table
        assert folds.groupby("speaker")["fold"].nunique().max() == 1
        assert set(folds["fold"]) == set(range(k))
        assert folds["split"].isna().all()


def test_units_that_share_a_row_stay_together() -> None:
    table = split_by_shares(corpus(), ["speaker", "session"], "incongruent").table
    assert table.groupby("session")["split"].nunique().max() == 1
    chain = corpus(6, 6).table.assign(
        speaker=["a", "a", "b", "b", "c", "d"], session=["1", "2", "2", "3", "4", "5"]
    )  # a and b are linked by session 2
    divided = split_by_shares(corpus().with_table(chain), ["speaker", "session"], None).table
    assert divided["split"][:4].nunique() == 1


def test_shares_of_rows_and_labels_are_kept() -> None:
    made = split_by_shares(corpus(4000, 200), ["speaker"], "incongruent", {"train": 0.6, "val": 0.2, "test": 0.2})
    shares = made.table["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.02)
    assert shares["test"] == pytest.approx(0.2, abs=0.02)
    rates = made.table.groupby("split")["incongruent"].mean()
    assert rates.max() - rates.min() < 0.02


def test_stratifying_beats_chance_where_speakers_differ() -> None:
    table = corpus(1000, 40).table
    table["incongruent"] = pd.array(table["speaker"].str[1:].astype(int) % 2 == 0, dtype="boolean")
    made = corpus().with_table(table)
    rates = split_into_folds(made, 5, ["speaker"], "incongruent").table.groupby("fold")["incongruent"].mean()
    blind = split_into_folds(made, 5, ["speaker"], None).table.groupby("fold")["incongruent"].mean()
    assert rates.max() - rates.min() < 0.1 < blind.max() - blind.min()


def test_same_seed_same_division_whatever_the_order_of_rows() -> None:
    made = corpus()
    first = split_by_shares(made, ["speaker"], "incongruent", seed=3).table["split"]
    again = split_by_shares(made, ["speaker"], "incongruent", seed=3).table["split"]
    other = split_by_shares(made, ["speaker"], "incongruent", seed=4).table["split"]
    assert first.equals(again)
    assert not first.equals(other)
    shuffled = made.with_table(made.table.sample(frac=1, random_state=0).reset_index(drop=True))
    moved = split_by_shares(shuffled, ["speaker"], "incongruent", seed=3).table.set_index("id")["split"]
    assert moved.loc[made.table["id"]].tolist() == first.tolist()


def test_seeds_differ_even_where_every_speaker_has_another_number_of_rows() -> None:
    speakers = [f"s{n:02d}" for n in range(20) for _ in range(n + 1)]
    made = corpus(len(speakers), 1)
    made = made.with_table(made.table.assign(speaker=speakers))
    divisions = {tuple(split_by_shares(made, ["speaker"], None, seed=seed).table["split"]) for seed in range(5)}
    assert len(divisions) > 2


def test_rows_without_a_unit_stand_for_themselves() -> None:
    table = corpus(100, 2).table
    table.loc[50:, "speaker"] = pd.NA
    made = split_by_shares(corpus().with_table(table), ["speaker"], None)
    assert made.table["split"][50:].nunique() == 3


def test_leaving_one_out() -> None:
    made = leave_one_out(corpus(100, 5), "speaker")
    assert made.table.groupby("fold")["speaker"].nunique().tolist() == [1] * 5
    assert made.table.loc[made.table["fold"] == 0, "speaker"].unique().tolist() == ["s0"]
    table = made.table.copy()
    table.loc[0, "speaker"] = pd.NA
    with pytest.raises(ManifestError, match="1 rows have no speaker"):
        leave_one_out(made.with_table(table), "speaker")


def test_each_fold_is_tested_once_and_never_validated_at_the_same_time() -> None:
    for folds, validations in ((5, 1), (24, 3)):
        made = split_into_folds(corpus(960, 48), folds, ["speaker"])
        tested = []
        for fold in range(folds):
            table = fold_as_test(made, fold, folds).table
            test = table[table["split"] == "test"]
            assert test["fold"].unique().tolist() == [fold]
            assert table.loc[table["split"] == "val", "fold"].nunique() == validations
            assert table.loc[table["split"] == "train", "fold"].nunique() == folds - 1 - validations
            tested += test["id"].tolist()
        assert sorted(tested) == sorted(made.table["id"])


def test_what_cannot_be_divided_says_why() -> None:
    made = corpus(20, 2)
    with pytest.raises(ManifestError, match="2 blocks of rows that share a speaker cannot fill 3 parts"):
        split_by_shares(made, ["speaker"])
    with pytest.raises(ConfigError, match="no column 'shoe'"):
        split_by_shares(made, ["shoe"])
    with pytest.raises(ConfigError, match=r"sum to 0\.9"):
        split_by_shares(made, [], None, {"train": 0.7, "test": 0.2})
    with pytest.raises(ManifestError, match="'fold' is empty"):
        fold_as_test(made, 0, 5)
    folds = split_into_folds(made, 4, [])
    with pytest.raises(ManifestError, match="set cv=4"):
        fold_as_test(folds, 0, 5)
    with pytest.raises(ConfigError, match="no fold to train on"):
        fold_as_test(folds, 0, 2)


def test_parts_are_described() -> None:
    made = split_by_shares(corpus(), ["speaker"], "incongruent")
    described = describe_parts(made.table, "split", ["speaker"], "incongruent").set_index("split")
    assert described["rows"].sum() == 400
    assert described["distinct speaker"].sum() == 40
    assert described.loc["train", "incongruent=True"] == pytest.approx(
        made.table.loc[made.table["split"] == "train", "incongruent"].mean(), abs=1e-3
    )


def test_joined_corpora_keep_their_speakers_and_files_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").touch()
    parts = []
    for name in ("a", "b"):
        table = corpus(10, 3).table.assign(audio="x.wav", corpus=pd.NA)
        parts.append(build_manifest(table, root=tmp_path / name, name=name))
    made = join(parts, "both")
    assert made.root == tmp_path.resolve()
    assert made.table["id"].is_unique
    assert made.table["speaker"].nunique() == 6
    assert all(made.path(path).is_file() for path in made.table["audio"])
    folds = leave_one_out(made, "corpus").table
    assert folds.groupby("fold")["corpus"].unique().map(list).tolist() == [["a"], ["b"]]
    with pytest.raises(ConfigError, match="share a name"):
        join([parts[0], parts[0]], "twice")


def test_scores_that_hardly_repeat_are_divided_by_fifths(tmp_path: Path) -> None:
    score = np.random.default_rng(0).random(200)
    table = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(200)],
            "transcript": "x",
            "speaker": [f"s{i % 40}" for i in range(200)],
            "engagement": score,
        }
    )
    manifest = build_manifest(table, root=str(tmp_path), name="scored")
    divided = split_by_shares(manifest, ["speaker"], "engagement").table
    assert divided["split"].value_counts().to_dict() == {"train": 140, "val": 30, "test": 30}
    means = divided.groupby("split")["engagement"].mean()
    assert (means - score.mean()).abs().max() < 0.1
