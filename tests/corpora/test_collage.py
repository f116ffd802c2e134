"""The collage corpus, on a small made-up copy of the three layouts and on the real parts."""

import inspect
import itertools
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import soundfile
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from subtext.corpora.cells import CELL_SHARES
from subtext.corpora.collage import GROUPS, Collage, distinct_utterances, read_photographs, split_identities
from subtext.corpora.meld import Meld
from subtext.corpora.ravdess import read_voices
from subtext.errors import ConfigError, DatasetNotFound, MediaError
from subtext.labels import POLARITY_COLUMN, IncongruenceRule
from subtext.manifest import Manifest

SPLITS = ("train", "val", "test")


def make_faces(folder: Path) -> None:
    """Forty people with one to seven photographs, all polarities, some surprise, some film stills."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    emotions = itertools.cycle(["happiness", "neutral", "anger", "neutral", "happiness", "contempt", "surprise"])
    lines = ["image,emotion,identity,source"]
    for person in range(40):
        for photo in range(1 + (person % 7 if person % 5 == 0 else 0)):
            name = f"Null_{person}_{photo:04d}.jpg"
            source = "film_still" if person % 10 == 9 else "lfw"
            picture = rng.integers(0, 256, (40, 30 + person % 3, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / name), picture)
            lines.append(f"{name},{next(emotions)},Null_{person},{source}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def make_voices(folder: Path) -> None:
    """Six actors; official names; WAV and FLAC; a song and a film that are no voices."""
    for actor in range(1, 7):
        place = folder / f"Actor_{actor:02d}"
        place.mkdir(parents=True)
        for emotion, statement in itertools.product(range(1, 9), (1, 2)):
            ending = "flac" if actor % 2 else "wav"
            stem = f"{emotion:02d}-{1 + (actor % 2 and emotion > 1):02d}-{statement:02d}-01-{actor:02d}"
            soundfile.write(place / f"03-01-{stem}.{ending}", np.zeros(160), 16000)
        soundfile.write(place / f"03-02-01-01-01-01-{actor:02d}.wav", np.zeros(160), 16000)
        (place / f"01-01-01-01-01-01-{actor:02d}.mp4").write_bytes(b"film")


def make_utterances(folder: Path) -> None:
    folder.mkdir(parents=True)
    columns = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
    emotions = {"neutral": "neutral", "positive": "joy", "negative": "anger"}
    for part in ("train", "dev", "test"):
        rows = []
        for number, sentiment in enumerate(["neutral", "positive", "negative"] * 6):
            text = f"{sentiment} sentence {number} of {part}, “quoted”"
            rows.append([number, text, "NA", emotions[sentiment], sentiment, number // 6, number % 6])
        rows.append([90, "Hey!", "Joey", "joy", "positive", 9, 0])
        rows.append([91, f"Twice in {part}", "Joey", "joy", "positive", 9, 1])
        rows.append([92, f"twice in {part}!", "Joey", "joy", "positive", 9, 2])
        rows.append([93, f"Both in {part}", "Joey", "joy", "positive", 9, 3])
        rows.append([94, f"Both in {part}?", "Joey", "anger", "negative", 9, 4])
        rows.append([95, "...", "Joey", "anger", "negative", 9, 5])
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{part}_sent_emo.csv", index=False)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three layouts with small made-up parts."""
    folder = tmp_path_factory.mktemp("parts")
    make_faces(folder / "faces")
    make_voices(folder / "ravdess")
    make_utterances(folder / "meld")
    return folder


def small(parts: Path, folder: Path, **options: int) -> Collage:
    return Collage(**{"data": parts, "folder": folder, "n_train": 120, "n_val": 40, "n_test": 40} | options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return small(parts, tmp_path_factory.mktemp("tiny")).build()


@pytest.fixture(scope="session")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The default corpus on the real parts."""
    return Collage(data=shared_data, folder=tmp_path_factory.mktemp("collage")).build()


@pytest.fixture(params=["tiny", "real"])
def collage(request: pytest.FixtureRequest) -> Manifest:
    manifest = request.getfixturevalue(request.param)
    assert isinstance(manifest, Manifest)
    return manifest


def rows_of(manifest: Manifest) -> list[tuple[str, pd.DataFrame]]:
    return [(str(split), rows) for split, rows in manifest.table.groupby("split", sort=False)]


# What is promised of every collage


def test_sizes_ids_and_streams(collage: Manifest) -> None:
    table = collage.table
    assert table["id"].str.fullmatch(r"collage-\d{6}").all()
    assert table[["image", "audio", "transcript"]].notna().all(axis=None)
    assert table[["video", "features", "start", "end", "session", "role", "context"]].isna().all(axis=None)
    assert collage.groups == GROUPS
    assert (table["speaker"] == table["actor"]).all()
    for column in ("image", "audio"):
        assert all(collage.path(value).is_file() for value in table[column].unique())


def test_cells_are_exact_and_labels_follow_the_rule(collage: Manifest) -> None:
    rule = IncongruenceRule()
    for _, rows in rows_of(collage):
        counts = rows.groupby(["verbal_polarity", "visual_polarity"]).size()
        assert counts.to_dict() == {cell: round(share * len(rows)) for cell, share in CELL_SHARES.items()}
    for row in collage.table.drop_duplicates(["verbal_polarity", "visual_polarity", "vocal_polarity"]).itertuples():
        assert row.incongruent == rule.is_incongruent(row.verbal_polarity, row.visual_polarity)
        assert row.vocal_incongruent == rule.is_incongruent(row.verbal_polarity, row.vocal_polarity)


def test_no_single_polarity_tells_the_label(collage: Manifest) -> None:
    for _, rows in rows_of(collage):
        for column in ("verbal_polarity", "visual_polarity"):
            assert rows.groupby(column)["incongruent"].mean().tolist() == pytest.approx([0.5] * 3)
            assert roc_auc_score(rows["incongruent"].astype(bool), rows[column].astype(int)) == pytest.approx(0.5)


def test_voice_is_independent_within_every_cell(collage: Manifest) -> None:
    for _, rows in rows_of(collage):
        counts = pd.crosstab(
            [rows["verbal_polarity"], rows["visual_polarity"]], rows["vocal_polarity"], dropna=False
        ).to_numpy()
        assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
        # An oracle that knows the voice's polarity stays at chance, up to the remainders of the quotas.
        score = rows["vocal_polarity"].map(rows.groupby("vocal_polarity")["incongruent"].mean().astype(float))
        auroc = roc_auc_score(rows["incongruent"].astype(bool), score.astype(float))
        assert auroc == pytest.approx(0.5, abs=3 / len(rows) + 3 / len(rows) ** 0.5 / 10)


def test_splits_share_nothing(collage: Manifest) -> None:
    table = collage.table.assign(
        words=collage.table["transcript"].str.lower().str.replace(r"\W+", " ", regex=True).str.strip()
    )
    for column in ("identity", "actor", "dialogue", "image", "audio", "utterance", "transcript", "words"):
        assert table.groupby(column)["split"].nunique().max() == 1, column
    # The numbers of MELD's dialogues restart in every file.
    assert (table["dialogue"].str.split("-").str[0] == table["split"]).all()


def test_parts_are_reused_evenly_over_all_and_in_every_cell(collage: Manifest) -> None:
    part = {"visual": "image", "text": "utterance", "prosody": "audio"}
    for _, rows in rows_of(collage):
        cell = rows["verbal_polarity"].astype(str) + rows["visual_polarity"].astype(str)
        for modality, column in part.items():
            for _, used in rows.groupby(POLARITY_COLUMN[modality]):
                uses = used[column].value_counts()
                assert uses.max() - uses.min() <= 1
                within = pd.crosstab(used[column], cell.loc[used.index])
                assert (within.max() - within.min()).max() <= 1


def test_parts_are_not_coupled(collage: Manifest) -> None:
    # Were the decks dealt in step, the same photograph would meet the same voice again and again.
    for _, rows in rows_of(collage):
        pairs = rows.groupby(["image", "audio"]).size()
        expected = len(rows) / (rows["image"].nunique() * rows["audio"].nunique())
        assert pairs.max() <= max(4, 12 * expected)


def test_actors_are_balanced_and_everyone_says_everything(collage: Manifest) -> None:
    for _, rows in rows_of(collage):
        numbers = rows["actor"].str[-2:].astype(int).unique()
        assert (numbers % 2).sum() * 2 == len(numbers)
        assert rows.groupby("actor")["vocal_polarity"].nunique().min() == 3


def test_file_names_tell_nothing(collage: Manifest) -> None:
    names = pd.concat([collage.table["image"], collage.table["audio"]])
    assert names.str.fullmatch(r"(images|voices)/[0-9a-f]{20}\.(jpg|flac|wav)").all()
    assert collage.table["identity"].str.fullmatch(r"person-\d{4}").all()
    # The order of examples tells nothing either.
    for _, rows in rows_of(collage):
        label = rows["incongruent"].astype(bool).to_numpy()
        assert roc_auc_score(label, np.arange(len(rows))) == pytest.approx(0.5, abs=1.2 / len(rows) ** 0.5)


def test_photographs_are_grey_of_one_size(collage: Manifest) -> None:
    for value in collage.table["image"].unique()[::20]:
        picture = cv2.imread(str(collage.path(value)), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (192, 192)


def test_reuse_is_reported(collage: Manifest) -> None:
    reuse = json.loads((collage.root / "reuse.json").read_text())
    table = collage.table
    for split in SPLITS:
        rows = table[table["split"] == split]
        assert reuse[split]["units"] == {group: rows[group].nunique() for group in GROUPS}
        assert sum(figures["uses"] for figures in reuse[split]["visual"].values()) == len(rows)
        uses = rows.loc[rows["visual_polarity"] == -1, "image"].value_counts()
        figures = reuse[split]["visual"]["negative"]
        assert (figures["parts"], figures["min"], figures["max"]) == (len(uses), uses.min(), uses.max())


# The sources


def test_film_stills_and_surprise_are_left_out(parts: Path, tiny: Manifest) -> None:
    labels = pd.read_csv(parts / "faces" / "labels.csv", keep_default_na=False)
    sources = pd.read_csv(tiny.root / "sources.csv", keep_default_na=False)
    used = labels[("faces/images/" + labels["image"]).isin(sources["source"])]
    assert set(used["source"]) == {"lfw"}
    assert "surprise" not in set(used["emotion"])
    assert not set(tiny.table["vocal_emotion"]) & {"surprised"}
    contempt = used.loc[used["emotion"] == "contempt", "image"]
    assert len(contempt)
    images = sources.loc[sources["source"].isin("faces/images/" + contempt), "part"]
    assert set(tiny.table.loc[tiny.table["image"].isin(images), "visual_polarity"]) == {-1}


def test_sources_lead_back_to_the_parts(parts: Path, tiny: Manifest) -> None:
    sources = pd.read_csv(tiny.root / "sources.csv").set_index("part")["source"]
    assert set(sources.index) == set(tiny.table["image"]) | set(tiny.table["audio"])
    voices = read_voices(parts / "ravdess").set_index("file")
    for row in tiny.table.head(40).itertuples():
        voice = voices.loc[sources[row.audio].removeprefix("ravdess/")]
        assert (voice["emotion"], f"actor-{voice['actor']}") == (row.vocal_emotion, row.actor)
        assert tiny.path(row.audio).read_bytes() == (parts / sources[row.audio]).read_bytes()


def test_voices_are_read_from_their_names(parts: Path) -> None:
    voices = read_voices(parts / "ravdess")
    assert len(voices) == 6 * 16, "songs and films are no voices"
    row = voices[voices["file"] == "Actor_01/03-01-05-02-01-01-01.flac"].iloc[0]
    expected = ["01", "man", "angry", "strong", 1, 1]
    assert row[["actor", "gender", "emotion", "intensity", "statement", "repetition"]].tolist() == expected
    assert set(voices.loc[voices["actor"] == "02", "gender"]) == {"woman"}


def test_the_same_take_as_wav_and_flac_counts_once(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "ravdess", tmp_path / "ravdess")
    for path in list((tmp_path / "ravdess").glob("Actor_01/03-01-*.flac")):
        shutil.copyfile(path, path.with_suffix(".wav"))
    assert len(read_voices(tmp_path / "ravdess")) == 6 * 16


def test_utterances_keep_their_words_and_get_unique_dialogues(parts: Path) -> None:
    meld = Meld(data=parts / "meld").build()
    assert {"train-0", "val-0", "test-0"} <= set(meld.table["dialogue"])
    kept = distinct_utterances(meld)
    assert kept["utterance"].is_unique
    assert "NA" in set(kept["speaker"])
    # Stock phrases, doubtful words and dots are gone; what repeats within a split counts once.
    assert not kept["text"].str.contains(r"Hey|Both|\.\.\.").any()
    assert sorted(kept["text"][kept["text"].str.contains("wice")]) == [
        f"Twice in {s}" for s in ("dev", "test", "train")
    ]
    assert len(kept) == 3 * 19
    assert kept["polarity"].map({-1: "negative", 0: "neutral", 1: "positive"}).tolist() == kept["sentiment"].tolist()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([-1, 0, 1])), min_size=1, max_size=200),
    st.integers(0, 1000),
)
def test_identities_are_split_whole(photos: list[tuple[int, int]], seed: int) -> None:
    table = pd.DataFrame([(f"p{person}", polarity) for person, polarity in photos], columns=["identity", "polarity"])
    splits = split_identities(table, np.random.default_rng(seed))
    assert set(splits) == set(table["identity"])
    assert set(splits.values()) <= set(SPLITS)


# Determinism and reuse of what is there


def test_the_seed_decides_everything(parts: Path, tiny: Manifest, tmp_path: Path) -> None:
    again = small(parts, tmp_path / "again").build()
    pd.testing.assert_frame_equal(again.table, tiny.table)
    for value in tiny.table["image"].unique():
        assert again.path(value).read_bytes() == tiny.path(value).read_bytes()
    other = small(parts, tmp_path / "other", seed=1).build()
    for column in ("image", "audio", "transcript"):
        assert other.table[column].tolist() != tiny.table[column].tolist()


def test_the_size_of_a_split_leaves_identities_where_they_are(parts: Path, tiny: Manifest, tmp_path: Path) -> None:
    larger = small(parts, tmp_path, n_train=240).build()
    for rows, more in zip(rows_of(tiny), rows_of(larger), strict=True):
        if rows[0] != "train":
            assert rows[1]["identity"].tolist() == more[1]["identity"].tolist()


def test_a_whole_corpus_is_not_built_again(parts: Path, tmp_path: Path) -> None:
    first = small(parts, tmp_path).build()
    stamp = (tmp_path / "manifest.parquet").stat().st_mtime_ns
    pd.testing.assert_frame_equal(small(parts, tmp_path).build().table, first.table)
    assert (tmp_path / "manifest.parquet").stat().st_mtime_ns == stamp
    # Other settings, a lost file, or an end in the middle of building: built anew.
    assert small(parts, tmp_path, seed=5).build().table["image"].tolist() != first.table["image"].tolist()
    small(parts, tmp_path).build()
    lost = tmp_path / first.table["image"].iloc[0]
    lost.unlink()
    small(parts, tmp_path).build()
    assert lost.is_file()
    (tmp_path / "settings.json").unlink()
    (tmp_path / "manifest.parquet").write_bytes(b"half")
    assert len(small(parts, tmp_path).build()) == 200


def test_damaged_manifest_is_built_again(parts: Path, tmp_path: Path) -> None:
    small(parts, tmp_path).build()
    (tmp_path / "manifest.parquet").write_bytes(b"half")
    assert len(small(parts, tmp_path).build()) == 200


def test_changed_labels_build_another_corpus(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    first = small(tmp_path / "parts", tmp_path / "out").build()
    labels = tmp_path / "parts" / "faces" / "labels.csv"
    labels.write_text(labels.read_text().replace("contempt", "surprise"))
    second = small(tmp_path / "parts", tmp_path / "out").build()
    assert "contempt" in set(first.table["visual_emotion"])
    assert "contempt" not in set(second.table["visual_emotion"])


def test_nothing_is_written_into_the_data(parts: Path, tmp_path: Path) -> None:
    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(parts.rglob("*"))}

    before = state()
    small(parts, tmp_path).build()
    assert state() == before


def test_settings_reach_the_corpus(parts: Path, tmp_path: Path) -> None:
    manifest = small(parts, tmp_path, count_unvoiced_warmth=True, image_size=64, n_val=0).build()
    assert set(manifest.table["split"]) == {"train", "test"}
    warm = manifest.table[(manifest.table["verbal_polarity"] == 0) & (manifest.table["vocal_polarity"] == 1)]
    assert warm["vocal_incongruent"].all()
    assert cv2.imread(str(manifest.path(manifest.table["image"].iloc[0])), cv2.IMREAD_UNCHANGED).shape == (64, 64)


def test_the_choice_on_the_command_line_makes_the_corpus(parts: Path, tmp_path: Path) -> None:
    config = OmegaConf.load(Path(__file__).resolve().parents[2] / "conf" / "corpus" / "collage.yaml")
    both = OmegaConf.create({"paths": {"data": str(parts), "corpora": str(tmp_path)}, "corpus": config})
    both.corpus.update(n_train=40, n_val=40, n_test=40)
    manifest = instantiate(both.corpus).build()
    assert len(manifest) == 120
    assert manifest.root == tmp_path / "collage"
    # The file states the defaults of the class.
    defaults = {name: p.default for name, p in inspect.signature(Collage).parameters.items()}
    stated = OmegaConf.to_container(config, resolve=False)
    assert {name: stated[name] for name in defaults.keys() - {"data", "folder"}} == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in defaults.items()
        if name not in ("data", "folder")
    }


# Bad input


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("faces", r"no labels\.csv under .*faces\. Put the face photographs"),
        ("faces/images", "pictures are not there, the first that of row 1, column 'image'"),
        ("ravdess", r"no RAVDESS recordings under .*; expected Actor_01/03-01-\*\.wav\. Download"),
        ("ravdess/Actor_01", "too few for three splits"),
        ("meld", "no train_sent_emo.csv"),
        ("meld/dev_sent_emo.csv", "no dev_sent_emo.csv"),
    ],
)
def test_missing_parts_are_named(parts: Path, tmp_path: Path, lost: str, words: str) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    gone = tmp_path / "parts" / lost
    gone.unlink() if gone.is_file() else shutil.rmtree(gone)
    with pytest.raises(DatasetNotFound, match=words) as caught:
        small(tmp_path / "parts", tmp_path / "out").build()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_parts_that_are_not_what_they_should_be(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    labels = tmp_path / "parts" / "faces" / "labels.csv"
    whole = labels.read_text()
    labels.write_text(whole.replace("emotion", "feeling"))
    with pytest.raises(DatasetNotFound, match="lacks the columns emotion"):
        read_photographs(tmp_path / "parts" / "faces")
    labels.write_text(re.sub("anger|contempt", "happiness", whole))
    with pytest.raises(DatasetNotFound, match="no photographs of negative polarity"):
        small(tmp_path / "parts", tmp_path / "out").build()
    labels.write_text(whole)
    for picture in (tmp_path / "parts" / "faces" / "images").iterdir():
        picture.write_bytes(b"not a picture")
    with pytest.raises(MediaError, match="is not a picture"):
        small(tmp_path / "parts", tmp_path / "out").build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "Collage: seed is -1; write a whole number from 0 to 4294967295"),
        ({"n_train": -1}, "Collage: n_train is -1; write a whole number of at least 0"),
        ({"n_train": 0, "n_val": 0, "n_test": 0}, "corpus"),
        ({"image_size": 3}, "Collage: image_size is 3; write a whole number from 16 to 4096"),
        ({"jpeg_quality": 0}, "Collage: jpeg_quality is 0; write a whole number from 1 to 100"),
    ],
)
def test_unusable_settings_are_refused(parts: Path, tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(parts, tmp_path, **options)


def test_a_folder_that_cannot_be_written_is_named(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"set paths\.corpora"):
        small(parts, tmp_path / "file" / "collage").build()


# The real parts


def test_default_sizes(real: Manifest) -> None:
    assert real.table["split"].value_counts().to_dict() == {"train": 6000, "val": 1000, "test": 1000}
    actors = real.table.groupby("split")["actor"].nunique()
    assert actors.to_dict() == {"train": 14, "val": 4, "test": 6}
    reuse = json.loads((real.root / "reuse.json").read_text())
    assert reuse["train"]["visual"]["negative"]["max"] <= 12
    assert reuse["test"]["visual"]["negative"]["parts"] >= 60
    assert reuse["test"]["units"]["identity"] >= 400


def test_voice_is_chosen_without_regard_to_the_label(real: Manifest) -> None:
    voices = read_voices(real.path(real.table["audio"].iloc[0]).resolve().parents[1]).set_index("file")
    sources = pd.read_csv(real.root / "sources.csv").set_index("part")["source"].str.removeprefix("ravdess/")
    described = voices.loc[real.table["audio"].map(sources)].reset_index()
    for column in ("intensity", "statement", "repetition", "gender"):
        rates = real.table["incongruent"].astype(float).groupby(described[column]).mean()
        assert rates.max() - rates.min() < 0.03, column


@pytest.mark.slow
def test_metadata_tells_nothing(real: Manifest) -> None:
    table = real.table
    seconds = {value: soundfile.info(real.path(value)).duration for value in table["audio"].unique()}
    size = {value: real.path(value).stat().st_size for value in pd.concat([table["image"], table["audio"]]).unique()}
    features = pd.DataFrame(
        {
            "letters": table["transcript"].str.len(),
            "words": table["transcript"].str.split().str.len(),
            "seconds": table["audio"].map(seconds),
            "image_bytes": table["image"].map(size),
            "audio_bytes": table["audio"].map(size),
        }
    ).astype(float)
    label = table["incongruent"].astype(bool)
    train, test = table["split"] == "train", table["split"] == "test"
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[train], label[train])
    auroc = roc_auc_score(label[test], model.predict_proba(features[test])[:, 1])
    # One standard error of 1,000 examples is 0.018, somewhat more with parts that are reused.
    assert 0.44 < auroc < 0.56


@pytest.mark.slow
def test_a_hundred_thousand_examples(shared_data: Path, tmp_path: Path) -> None:
    manifest = Collage(data=shared_data, folder=tmp_path, n_train=98_000).build()
    assert len(manifest) == 100_000
