"""CREMA-D: from the official repository's files to labels of perceived disagreement."""

from pathlib import Path

import pandas as pd
import pytest

from subtext.corpora.crema_d import EMOTIONS, CremaD, disagreement_table
from subtext.errors import ConfigError, DatasetNotFound, ManifestError

# Votes A D F H N S of voice and face; the label at each level follows from them.
CLIPS = {
    "1001_DFA_ANG_XX": ((5, 0, 0, 0, 4, 0), (4, 3, 0, 0, 2, 0)),  # both angry
    "1001_IEO_HAP_LO": ((0, 0, 0, 2, 7, 0), (0, 0, 0, 9, 0, 0)),  # neutral voice, happy face
    "1002_TIE_SAD_XX": ((2, 2, 1, 0, 4, 0), (0, 0, 0, 8, 1, 0)),  # negative voice though neutral leads by emotion
    "1002_WSI_FEA_XX": ((0, 0, 3, 0, 3, 0), (0, 0, 6, 0, 0, 0)),  # the voice's votes tie
}


def write_corpus(folder: Path, clips=CLIPS) -> Path:
    rows = []
    for number, (name, channels) in enumerate(clips.items(), start=1):
        for channel, votes in enumerate((*channels, channels[1]), start=1):
            rows.append(
                {"": channel * 100_000 + number, **dict(zip(EMOTIONS, votes, strict=True)), "fileName": name}
                | {"numResponses": sum(votes), "agreement": max(votes) / sum(votes), "emoVote": "?"}
            )
    for name in ("processedResults", "VideoFlash", "AudioWAV"):
        (folder / name).mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "processedResults" / "tabulatedVotes.csv", index=False)
    (folder / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    )
    (folder / "VideoFlash" / "1001_DFA_ANG_XX.flv").touch()
    (folder / "VideoFlash" / "1002_TIE_SAD_XX.mp4").touch()
    (folder / "AudioWAV" / "1001_IEO_HAP_LO.wav").touch()
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_corpus(tmp_path / "crema_d")


def table(folder, **settings) -> pd.DataFrame:
    return CremaD(folder=folder, **settings).build().table.set_index("id")


def test_labels_compare_what_the_raters_of_face_and_voice_saw(folder):
    rows = table(folder)
    assert rows["incongruent"].tolist()[:3] == [False, True, True]
    assert pd.isna(rows.loc["1002_WSI_FEA_XX", "incongruent"])
    assert rows["contradiction"].tolist()[:3] == [False, False, True]
    assert rows["vocal_polarity"].tolist()[:3] == [-1, 0, -1]
    assert rows["vocal_emotion"].tolist()[:2] == ["anger", "neutral"]
    # Neutral leads among the emotions, but most raters heard something negative.
    assert pd.isna(rows.loc["1002_TIE_SAD_XX", "vocal_emotion"])
    assert pd.isna(rows.loc["1002_WSI_FEA_XX", "vocal_polarity"])


def test_nothing_is_claimed_of_the_words(folder):
    rows = table(folder)
    assert rows["transcript"]["1001_DFA_ANG_XX"] == "Don't forget a jacket."
    for column in ("verbal_polarity", "verbal_emotion", "vocal_incongruent", "incongruence_type", "split"):
        assert rows[column].isna().all(), column


def test_emotions_are_compared_as_such(folder):
    rows = table(folder, level="emotion")
    assert rows["incongruent"].tolist()[:3] == [False, True, True]
    assert rows["vocal_emotion"].tolist()[2] == "neutral"
    assert rows["contradiction"].tolist()[2] == False  # noqa: E712
    assert pd.isna(rows["incongruent"].iloc[3])


def test_a_threshold_takes_labels_away_where_raters_agree_less(folder):
    rows = table(folder, agreement=0.6)
    # The angry voice has 5 of 9 votes.
    assert rows["incongruent"].isna().tolist() == [True, False, True, True]
    assert pd.isna(rows.loc["1001_DFA_ANG_XX", "vocal_polarity"])
    assert rows.loc["1001_DFA_ANG_XX", "visual_polarity"] == -1


def test_soft_labels_are_shares(folder):
    row = table(folder, labels="soft").loc["1001_IEO_HAP_LO"]
    assert [row[f"vocal_share_{name}"] for name in ("negative", "neutral", "positive")] == [0, 7 / 9, 2 / 9]
    assert row["soft_disagreement"] == pytest.approx(7 / 9)
    assert table(folder, labels="soft", level="emotion").loc["1001_DFA_ANG_XX", "visual_share_disgust"] == 3 / 9
    assert "soft_disagreement" not in table(folder)


def test_rows_without_media_stay_as_text(folder):
    rows = table(folder)
    assert rows["video"].tolist() == ["VideoFlash/1001_DFA_ANG_XX.flv", pd.NA, "VideoFlash/1002_TIE_SAD_XX.mp4", pd.NA]
    assert rows["audio"].notna().tolist() == [False, True, False, False]
    assert rows["sex"].tolist()[:2] == ["Male", "Male"]
    assert rows["speaker"].tolist() == ["1001", "1001", "1002", "1002"]
    assert rows["intended_intensity"].tolist() == ["unspecified", "low", "unspecified", "unspecified"]


def test_missing_and_damaged_files_say_the_remedy(folder):
    votes = folder / "processedResults" / "tabulatedVotes.csv"
    good = votes.read_text()
    votes.write_text(good.replace("1001_IEO_HAP_LO", "IEO_HAP"))
    with pytest.raises(ManifestError, match=r"row \d+, column 'fileName': the cell"):
        table(folder)
    votes.write_text(good.replace("200001,4,", "200001,-4,"))
    with pytest.raises(ManifestError, match=r"row 2, column 'A': the cell.*write a whole number from 0$"):
        table(folder)
    votes.write_text("\n".join(line for line in good.splitlines() if not line.startswith("200001")))
    with pytest.raises(ManifestError, match="one row each for voice, face and both"):
        table(folder)
    votes.write_text(good.replace("fileName", "name"))
    with pytest.raises(DatasetNotFound, match="lacks the columns fileName"):
        table(folder)
    votes.unlink()
    with pytest.raises(DatasetNotFound, match=r"processedResults/tabulatedVotes\.csv.*paths\.data"):
        table(folder)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"level": "valence"}, "level is 'valence'; write polarity or emotion"),
        ({"labels": "both"}, "labels is 'both'; write hard or soft"),
        ({"agreement": 1.5}, "agreement is 1.5; write a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_used(folder, setting, message):
    with pytest.raises(ConfigError, match=f"^CremaD: {message}"):
        CremaD(folder=folder, **setting)


def test_the_real_votes(shared_data):
    corpus = CremaD(folder=shared_data / "crema_d", level="emotion")
    rows = corpus.build().table.set_index("id")
    assert len(rows) == 7442
    assert rows["speaker"].nunique() == 91
    assert rows["transcript"].notna().all()
    assert rows["incongruent"].notna().sum() == 6383
    assert rows["incongruent"].mean() == pytest.approx(0.474, abs=0.0005)
    assert rows["contradiction"].mean() == pytest.approx(0.030, abs=0.0005)
    assert rows["video"].notna().sum() == 6
    # Winners are those that the authors' summary names; theirs joins ties by a colon.
    summary = pd.read_csv(shared_data / "crema_d" / "processedResults" / "summaryTable.csv").set_index("FileName")
    for column, vote in (("visual_emotion", "FaceVote"), ("vocal_emotion", "VoiceVote")):
        theirs = summary[vote].map(EMOTIONS).reindex(rows.index)
        assert (rows[column].fillna("tie") == theirs.fillna("tie")).all()


def test_the_card_sets_disagreement_beside_its_noise_ceiling(shared_data):
    corpus = CremaD(folder=shared_data / "crema_d")
    ceiling, controls = corpus.card_sections(corpus.build())
    figures = ceiling.table.set_index(["level", "votes", "compared"]).sort_index()
    half = figures.loc[("emotion", "halves")]
    assert 0.24 < half.loc["voice", "rate"] < 0.30
    assert 0.16 < half.loc["face", "rate"] < 0.22
    mean_within = half.loc[["voice", "face"], "rate"].mean()
    assert half.loc["excess", "rate"] == pytest.approx(half.loc["face and voice", "rate"] - mean_within)
    assert (figures["low"] < figures["rate"]).all()
    assert (figures["rate"] < figures["high"]).all()
    told = controls.table.set_index("known")
    assert told.loc["the sentence", "low"] < 0.5 < told.loc["the sentence", "high"]
    assert told.loc["the voice's label", "low"] > 0.6


def test_levels_and_thresholds_of_the_table(shared_data):
    corpus = CremaD(folder=shared_data / "crema_d")
    strict = disagreement_table(corpus, agreement=1.0, divisions=5, levels=["polarity"])
    assert set(strict["level"]) == {"polarity"}
    share = strict.set_index(["votes", "compared"])["share"]
    # Few clips have all raters of both channels of one mind; halves are smaller and so are of one mind more often.
    assert share["all", "face and voice"] < share["halves", "face and voice"] < 0.5
