"""Faces and voices of one actor's takes, exchanged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from subtext.corpora.ravdess_swap import (
    SUMMARIES,
    RavdessSwap,
    face_columns,
    read_summaries,
    voice_columns,
)
from subtext.errors import ConfigError, DatasetNotFound, ManifestError
from subtext.features.precomputed import PrecomputedFeatures

EMOTIONS = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def write_summaries(folder: Path, actors: int = 8) -> Path:
    """Every take's figures are its own number, so that a pair says where it comes from."""
    takes = [(actor, "neutral", 1) for actor in range(1, actors + 1)]
    takes += [(a, emotion, level) for a in range(1, actors + 1) for emotion in EMOTIONS for level in (1, 2)]
    rows = []
    for number, (actor, emotion, level) in enumerate(takes):
        figures = dict.fromkeys([*face_columns(), *voice_columns(), "shimmer_apq11"], float(number))
        rows.append(
            {**figures, "cpp_mean": "", "cpp_var": "", "file": f"take-{number:03d}", "emotion": emotion}
            | {"intensity": level, "actor": actor, "gender": "male" if actor % 2 else "female"}
        )
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / SUMMARIES, index=False)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_summaries(tmp_path_factory.mktemp("data") / "ravdess_av_features")


@pytest.fixture(scope="module", params=["emotion", "polarity"])
def corpus(request, data, tmp_path_factory):
    return RavdessSwap(data=data, folder=tmp_path_factory.mktemp("pairs"), variant=request.param)


@pytest.fixture(scope="module")
def manifest(corpus):
    return corpus.build()


def test_a_pair_is_one_actors_face_and_voice_at_different_intensities(data, manifest):
    takes = read_summaries(data).reset_index(drop=True)
    for row in manifest.table.sample(60, random_state=0).itertuples():
        arrays = load_file(manifest.path(row.features))
        face, voice = int(arrays["visual"][0, 0]), int(arrays["prosody"][0, 0])
        assert arrays["visual"].shape == (1, 56)
        assert arrays["prosody"].shape == (1, 66)
        assert f"actor-{takes.actor[face]}" == f"actor-{takes.actor[voice]}" == row.speaker
        assert (takes.emotion[face], takes.emotion[voice]) == (row.visual_emotion, row.vocal_emotion)
        assert takes.intensity[face] == row.face_intensity != row.voice_intensity == takes.intensity[voice]
    assert (manifest.table["face_clip"] != manifest.table["voice_clip"]).all()
    assert not manifest.table.duplicated(["face_clip", "voice_clip"]).any()


def test_neither_half_tells_the_label(corpus, manifest):
    table = manifest.table
    expected = {"emotion": 6 / 7, "polarity": 4 / 5}[corpus.variant]
    for half in ("visual", "vocal"):
        for unit in (f"{half}_emotion", f"{half}_polarity"):
            rates = table.groupby(["speaker", unit], dropna=False)["incongruent"].mean().astype(float)
            np.testing.assert_allclose(rates, expected, err_msg=unit)


def test_labels_follow_from_the_two_emotions(corpus, manifest):
    table = manifest.table
    if corpus.variant == "emotion":
        assert len(table) == 8 * 98
        assert (table["incongruent"] == (table["visual_emotion"] != table["vocal_emotion"])).all()
        each = table.groupby("face_clip")["incongruent"].agg(["size", "sum"])
        assert set(map(tuple, each.to_numpy().tolist())) == {(7, 6)}
        kinds = table.set_index(["visual_emotion", "vocal_emotion"])["pair_kind"].to_dict()
        assert kinds["angry", "happy"] == "opposite_polarity"
        assert kinds["sad", "angry"] == "same_polarity"
        assert kinds["calm", "surprised"] == kinds["happy", "calm"] == "calm"
        assert kinds["surprised", "sad"] == "surprise"
    else:
        assert len(table) == 8 * 40
        assert (table["incongruent"] == (table["visual_polarity"] != table["vocal_polarity"])).all()
        assert "surprised" not in set(table["visual_emotion"])
        # Half of the congruent negative pairs in either direction of intensity.
        negative = table[~table["incongruent"] & (table["visual_polarity"] == -1)]
        assert (negative["face_intensity"] == "normal").sum() == 8 * 2
    assert ((table["pair_kind"] == "congruent") == ~table["incongruent"]).all()
    assert (table["contradiction"] == (table["pair_kind"] == "opposite_polarity")).all()
    for column in ("verbal_polarity", "incongruence_type", "vocal_incongruent", "split"):
        assert table[column].isna().all(), column


def test_ids_and_order_say_nothing(manifest):
    table = manifest.table.reset_index(drop=True)
    place = np.arange(len(table)) / len(table)
    apart = table["incongruent"].to_numpy(dtype=bool)
    assert abs(place[apart].mean() - place[~apart].mean()) < 0.1
    words = set(EMOTIONS) | {"normal", "strong"}
    for column in ("id", "features", "face_clip", "voice_clip"):
        assert not table[column].str.contains("|".join(words)).any()
    # The number of a take does not follow the emotions either.
    first = table.drop_duplicates("face_clip")
    means = first["face_clip"].str[-3:].astype(int).groupby(first["visual_emotion"]).mean()
    assert means.max() - means.min() < 0.75 * len(first)


def test_folds_hold_whole_actors_and_cover_all(manifest):
    folds = manifest.table.groupby("speaker")["fold"].nunique()
    assert (folds == 1).all()
    assert sorted(manifest.table["fold"].unique()) == list(range(8))


def test_building_again_finds_what_is_there(corpus, manifest):
    first = manifest.path(manifest.table["features"].iloc[0])
    before = first.stat().st_mtime_ns
    again = corpus.build()
    pd.testing.assert_frame_equal(again.table, manifest.table)
    assert first.stat().st_mtime_ns == before
    first.unlink()
    corpus.build()
    assert first.is_file()


def test_another_seed_gives_other_folds_of_the_same_pairs(data, manifest, corpus, tmp_path):
    other = RavdessSwap(data=data, folder=tmp_path, variant=corpus.variant, seed=1).build()
    assert len(other) == len(manifest)
    assert other.table.groupby("speaker")["fold"].first().tolist() != (
        manifest.table.groupby("speaker")["fold"].first().tolist()
    )


def test_streams_can_be_extracted(manifest):
    for modality, width in (("visual", 56), ("prosody", 66)):
        extractor = PrecomputedFeatures(modality)
        source = extractor.sources(manifest)[0]
        (_, stream), *_ = extractor.extract([source])
        assert stream.values.shape == (1, width)


def test_missing_and_damaged_summaries_say_the_remedy(data, tmp_path):
    with pytest.raises(DatasetNotFound, match=r"combined_summary\.csv.*paths\.data"):
        RavdessSwap(data=tmp_path / "none", folder=tmp_path / "out").build()
    table = pd.read_csv(data / SUMMARIES)
    folder = tmp_path / "damaged"
    folder.mkdir()
    without = table.drop(columns="AU12_mean")
    without.to_csv(folder / SUMMARIES, index=False)
    with pytest.raises(DatasetNotFound, match="lacks the columns AU12_mean"):
        RavdessSwap(data=folder, folder=tmp_path / "out").build()
    for damage, message in (
        (
            table.assign(f0_mean=table["f0_mean"].mask(table["file"] == "take-009")),
            "row 10, column 'f0_mean': an empty",
        ),
        (table.assign(intensity=table["intensity"].replace(2, 3)), "column 'intensity': the cell.*use one of 1, 2"),
        (pd.concat([table, table.tail(1)]), r"the same actor and emotion and intensity in rows 120, 121"),
        (table[table["actor"] < 8], "7 actors are too few for 8 folds"),
    ):
        damage.to_csv(folder / SUMMARIES, index=False)
        with pytest.raises(ManifestError, match=message):
            RavdessSwap(data=folder, folder=tmp_path / "out").build()
    with pytest.raises(ConfigError, match=r"^RavdessSwap: variant is 'valence'; write emotion or polarity"):
        RavdessSwap(data=data, folder=tmp_path, variant="valence")


def test_an_actor_without_a_take_cannot_be_balanced(data, tmp_path):
    table = pd.read_csv(data / SUMMARIES)
    lacking = table[~((table["actor"] == 3) & (table["emotion"] == "sad") & (table["intensity"] == 2))]
    lacking.to_csv(tmp_path / SUMMARIES, index=False)
    with pytest.raises(ManifestError, match="actor number 3 has no take sad, strong"):
        RavdessSwap(data=tmp_path, folder=tmp_path / "out", variant="polarity").build()


def test_the_real_summaries_give_the_stated_numbers(shared_data, tmp_path):
    corpus = RavdessSwap(data=shared_data / "ravdess_av_features", folder=tmp_path)
    table = corpus.build().table
    assert len(table) == 2352
    assert table["incongruent"].mean() == pytest.approx(6 / 7)
    assert table["speaker"].nunique() == 24
    assert (table.groupby("fold")["speaker"].nunique() == 3).all()
    assert table["face_clip"].nunique() == table["voice_clip"].nunique() == 336
    pairs, balance = corpus.card_sections(corpus.build())
    assert pairs.table["pairs"].sum() == 2352
    assert balance.table["incongruent"].nunique() == 1
