"""Sessions in our own layout -> manifest: dialogue pairs, labels from raters, clocks, overlaps, and every bad input."""

import json
import logging
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pympi.Elan import Eaf

from builders.talking_face import write_talking_face
from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.elan import write_elan
from subtext.annotation.turn_table import read_turn_table
from subtext.cli.data import main
from subtext.corpora.ether import Ether
from subtext.errors import AnnotationError, ConfigError, DatasetNotFound, ManifestError, SessionError, SubtextError
from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.faces import FaceExtractor
from subtext.features.prosody import ProsodyExtractor
from subtext.sessions.elan import parse_eaf

TURNS = """start,end,speaker,transcript
0:00,1.0,counsellor,How are you?
0:01.2,00:00:03,client,"Fine, really."
2.5,2.8,counsellor,mhm
3.2,4.0,client,Nothing
4.2,5.0,client,
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_face(tmp_path_factory.mktemp("clip") / "clip.mp4", 6.0, width=160, height=120)


@pytest.fixture
def data(tmp_path: Path, clip: Path) -> Path:
    """Two sessions, one camera each, two raters."""
    for name in ("S01", "S02"):
        folder = tmp_path / "ether" / name
        (folder / "ratings").mkdir(parents=True)
        for role in ("client", "counsellor"):
            shutil.copy(clip, folder / f"{role}.mp4")
        (folder / "turns.csv").write_text(TURNS)
        for rater, face in (("r1", "happiness"), ("r2", "sadness")):
            (folder / "ratings" / f"{rater}.csv").write_text(
                "turn,verbal_emotion,visual_emotion,incongruent,engagement\n"
                f"2,sadness,{face},1,3\n4,neutral,neutral,{int(rater == 'r1')},\n"
            )
        split = "train" if name == "S01" else "test"
        (folder / "session.yaml").write_text(f"speakers: {{client: P{name}, counsellor: T{name}}}\nsplit: {split}\n")
    return tmp_path / "ether"


@pytest.fixture
def unrated(data: Path) -> Path:
    """The same sessions before anybody rated them."""
    for name in ("S01", "S02"):
        shutil.rmtree(data / name / "ratings")
    return data


def row(data: Path, id: str = "S01-2", **settings: object) -> dict:
    table = Ether(data=data, **settings).build().table.set_index("id")
    return table.loc[id].to_dict()


def test_a_clients_turn_and_the_counsellors_before_it_are_a_row(data: Path) -> None:
    manifest = Ether(data=data).build()
    table = manifest.table
    assert table["id"].tolist() == ["S01-2", "S01-4", "S02-2", "S02-4"]
    first = table.iloc[0]
    assert (first["transcript"], first["context"]) == ("Fine, really.", "How are you?")
    assert (first["start"], first["end"], first["video"]) == (1.2, 3.0, "S01/client.mp4")
    assert (first["speaker"], first["role"], first["session"], first["split"]) == ("PS01", "client", "S01", "train")
    assert (first["overlap_s"], first["overlapped_by"]) == (pytest.approx(0.3), "counsellor")
    assert first["overlap_share"] == pytest.approx(0.3 / 1.8, abs=1e-6)
    assert table["context"].iloc[1] == "mhm"
    assert "audio_offset" not in table
    assert "face_side" not in table
    assert manifest.groups == ("session", "speaker")


def test_labels_are_the_majoritys_and_a_tie_is_none(data: Path) -> None:
    table = Ether(data=data).build().table.set_index("id")
    assert table.loc["S01-2", "verbal_emotion"] == "sadness"
    assert pd.isna(table.loc["S01-2", "visual_emotion"])
    assert bool(table.loc["S01-2", "incongruent"])
    assert table.loc["S01-2", "incongruent_source"] == "raters"
    # Raters are tied on the second; words and face are both neutral, so it is derived and says so.
    assert not table.loc["S01-4", "incongruent"]
    assert table.loc["S01-4", "incongruent_source"] == "polarities"
    assert table.loc["S01-2", "engagement"] == 3
    assert pd.isna(table.loc["S01-4", "engagement"])
    assert table["raters"].tolist() == [2] * 4
    assert set(table["aggregation"]) == {"majority"}


def test_soft_labels_are_shares_of_raters(data: Path) -> None:
    found = row(data, aggregation="soft")
    assert found["visual_emotion_share_happiness"] == found["visual_emotion_share_sadness"] == 0.5
    assert found["visual_emotion_share_anger"] == 0.0
    assert found["incongruent_share_1"] == 1.0
    assert found["aggregation"] == "soft"


def test_dawid_skene_outvotes_the_rater_who_errs(data: Path) -> None:
    lines = ["session,turn,rater,label,value"]
    for session in ("S01", "S02"):
        for turn, truth in (("2", "1"), ("4", "0")):
            lines += [f"{session},{turn},good{n},incongruent,{truth}" for n in range(3)]
            lines += [f"{session},{turn},bad,incongruent,{1 - int(truth)}"]
        shutil.rmtree(data / session / "ratings")
    (data / "ratings").mkdir()
    (data / "ratings" / "all.csv").write_text("\n".join(lines))
    table = Ether(data=data, aggregation="dawid_skene").build().table
    assert table["incongruent"].astype(int).tolist() == [1, 0, 1, 0]


def test_ratings_by_time_find_their_turn(data: Path) -> None:
    (data / "S01" / "ratings" / "r1.csv").write_text("start,incongruent\n0:01.3,1\n")
    (data / "S01" / "ratings" / "r2.csv").unlink()
    assert row(data)["incongruent"]
    (data / "S01" / "ratings" / "r1.csv").write_text("turn,start,incongruent\n2,3.2,1\n")
    with pytest.raises(AnnotationError, match=r"S01.*column 'turn': starts at 1.2 s, but the rater's file has 3.2 s"):
        Ether(data=data).build()


@pytest.mark.parametrize(("rule", "times"), [("keep", (1.2, 3.0)), ("trim", (1.2, 2.5)), ("drop", None)])
def test_overlapped_turns_are_kept_trimmed_or_dropped(
    unrated: Path, rule: str, times: tuple | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        table = Ether(data=unrated, overlaps=rule).build().table.set_index("id")
    if times is None:
        assert table.index.tolist() == ["S01-4", "S02-4"]
        assert "2 overlapped" in caplog.text
    else:
        assert tuple(table.loc["S01-2", ["start", "end"]]) == times
    assert "2 without words" in caplog.text


def test_turns_without_words_are_rows_where_asked_for(unrated: Path) -> None:
    found = row(unrated, "S01-5", min_words=0)
    assert pd.isna(found["transcript"])
    assert found["context"] == "mhm"
    with pytest.raises(ManifestError, match=r"no turn of the client is left .* with too few words"):
        Ether(data=unrated, min_words=9).build()


def test_everybodys_turns_for_behavioural_measures(unrated: Path) -> None:
    table = Ether(data=unrated, who="all", min_words=0).build().table
    assert table["role"].tolist() == ["counsellor", "client", "counsellor", "client", "client"] * 2
    assert table["video"].iloc[0] == "S01/counsellor.mp4"


def test_each_file_is_read_by_its_own_clock(unrated: Path, clip: Path) -> None:
    shutil.copy(clip, unrated / "S01" / "client.wav")
    with (unrated / "S01" / "session.yaml").open("a") as settings:
        settings.write("offsets: {client.mp4: 0.25, client.wav: -0.5}\n")
    found = row(unrated)
    assert (found["start"], found["end"], found["audio_offset"]) == (1.45, 3.25, -0.75)
    assert (found["turn_start"], found["turn_end"], found["audio"]) == (1.2, 3.0, "S01/client.wav")
    manifest = Ether(data=unrated).build()
    heard = ProsodyExtractor().sources(manifest)[0].segment
    assert (heard.start, heard.end) == (pytest.approx(0.7), pytest.approx(2.5))


def test_where_one_camera_shows_both_the_side_is_a_setting(unrated: Path, caplog: pytest.LogCaptureFixture) -> None:
    (unrated / "S01" / "counsellor.mp4").unlink()
    (unrated / "S01" / "client.mp4").rename(unrated / "S01" / "room.mp4")
    assert row(unrated, faces={"client": "left", "counsellor": "right"})["face_side"] == "left"
    assert row(unrated, faces={"client": "left"})["video"] == "S01/room.mp4"
    assert "no `faces` says who sits where" not in caplog.text
    Ether(data=unrated).build()
    assert "no `faces` says who sits where" in caplog.text


def test_other_formats_of_turns_give_the_same_rows(data: Path) -> None:
    expected = Ether(data=data).build().table
    folder = data / "S01"
    (folder / "turns.csv").unlink()
    spoken = [(0, 1, "A", "How are you?"), (1.2, 3, "B", "Fine, really."), (2.5, 2.8, "A", "mhm")]
    spoken += [(3.2, 4, "B", "Nothing"), (4.2, 5, "B", "")]
    segments = [{"start": s, "end": e, "speaker": who, "text": text} for s, e, who, text in spoken]
    (folder / "turns.json").write_text(json.dumps({"segments": segments}))
    with (folder / "session.yaml").open("a") as settings:
        settings.write("roles: {A: counsellor, B: client}\n")
    pd.testing.assert_frame_equal(Ether(data=data).build().table, expected)


def test_marks_line_ends_and_encodings(unrated: Path) -> None:
    expected = Ether(data=unrated).build().table
    windows = TURNS.replace("\n", "\r\n").replace("How are you?", "Café?")
    (unrated / "S01" / "turns.csv").write_bytes(b"\xef\xbb\xbf" + windows.encode())
    found = Ether(data=unrated).build().table
    assert found["context"].iloc[0] == "Café?"
    assert found["transcript"].equals(expected["transcript"])
    (unrated / "S01" / "turns.csv").write_bytes(windows.encode("latin-1"))
    with pytest.raises(SubtextError, match=r"S01/turns.csv: not valid utf-8 at byte"):
        Ether(data=unrated).build()
    with (unrated / "S01" / "session.yaml").open("a") as settings:
        settings.write("encoding: latin-1\n")
    assert Ether(data=unrated).build().table["context"].iloc[0] == "Café?"


BAD_TURNS = [
    ("3,2,client,x", r"S01/turns.csv: turn 6, start, end: the turn ends at 2 s before it starts at 3 s"),
    ("-1,2,client,x", r"turn 6, start, end: the turn starts at -1 s, before the recording"),
    ("1.2,3,client,again", r"turn 6, start: is the same stretch of the same person as turn 2; remove one"),
    (
        "7,9,client,x",
        r"turn 6, start, end: a segment starts at 7 s but the file ends at 6\.\d+ s \(in client.mp4\)",
    ),
    ("5.5,9,client,x", r"turn 6, start, end: the segment 5.5 to 9 s lies mostly past the file's end"),
    (
        "5.2,5.5,Dr Miller,x",
        r"turn 6, speaker: has no role; name client, counsellor in the file, or say in session.yaml",
    ),
    ("5.2,,client,x", r"turn 6, end: is missing; write both times"),
]


@pytest.mark.parametrize(("line", "message"), BAD_TURNS)
def test_a_turn_that_cannot_be_used_is_named_or_skipped(unrated: Path, line: str, message: str) -> None:
    path = unrated / "S01" / "turns.csv"
    # The rest is numbered by the file, so that a turn too many does not rename it.
    rows = [f"{number}," + text for number, text in enumerate(TURNS.strip().split("\n")[1:], 1)]
    path.write_text("\n".join(["turn,start,end,speaker,transcript", *rows, f"6,{line}"]))
    with pytest.raises(SessionError, match=message) as caught:
        Ether(data=unrated).build()
    assert "Miller" not in str(caught.value)
    manifest = Ether(data=unrated, on_error="skip").build()
    assert len(manifest) == 4
    (reject,) = manifest.rejects.to_dict("records")
    assert (reject["row"], reject["id"]) == (6, "S01-6")
    assert reject["remedy"]


def test_ids_of_turns_are_unique(unrated: Path) -> None:
    (unrated / "S01" / "turns.csv").write_text("turn,start,end,role,transcript\na,0,1,client,x\na,2,3,client,y\n")
    with pytest.raises(SessionError, match=r"turn 2, turn: is also what turn 1 is called"):
        Ether(data=unrated).build()


BAD_SETTINGS = [
    ("speaker: {client: P1}", r"session.yaml: key 1 is unknown; did you mean 'speakers'\?"),
    ("split: dev", r"session.yaml: split: no such split; use train, val or test"),
    ("offsets: {client.mp4: late}", r"offsets: entry 1: its value is no number"),
    ("offsets: {other.mp4: 1}", r"offsets: entry 1: no such file in"),
    ("recordings: {client: gone.mp4}", r"recordings: entry 1: no such file in"),
    ("faces: {client: middle}", r"faces: entry 1 is no side"),
    ("faces: {client: left, counsellor: left}", r"both roles are on the same side"),
    ("turns: gone.csv", r"turns: no such file in"),
    ("roles: [client]", r"roles: expected name: value pairs"),
    ("split: train\nsplit: test", r"session.yaml, line 2: not readable as YAML \(a key stands twice\)"),
    ("session: S02", r"another folder's session has its name"),
]


@pytest.mark.parametrize(("text", "message"), BAD_SETTINGS)
def test_a_session_that_cannot_be_used_is_named_or_skipped(unrated: Path, text: str, message: str) -> None:
    (unrated / "S01" / "session.yaml").write_text(text)
    with pytest.raises(SessionError, match=message):
        Ether(data=unrated).build()
    manifest = Ether(data=unrated, on_error="skip").build()
    assert manifest.table["id"].tolist()[-2:] in (["S02-2", "S02-4"], ["S01-2", "S01-4"])
    assert len(manifest.rejects) >= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9,neutral,neutral,1,3", r"S01/ratings/r1.csv: row 1, column 'turn': is no turn of turns.csv"),
        ("4,neutral,bored,1,3", r"r1.csv: row 1, column 'visual_emotion':.*unknown value"),
        ("4,neutral,neutral,1,7", r"r1.csv: row 1, column 'engagement':.*unknown value"),
    ],
)
def test_a_rating_that_cannot_be_used_is_named_or_skipped(data: Path, line: str, message: str) -> None:
    header = "turn,verbal_emotion,visual_emotion,incongruent,engagement"
    (data / "S01" / "ratings" / "r1.csv").write_text(f"{header}\n{line}\n")
    with pytest.raises(AnnotationError, match=message):
        Ether(data=data).build()
    assert len(Ether(data=data, on_error="skip").build().rejects) == 1


def test_ratings_from_elan_find_turns_that_have_names(data: Path) -> None:
    turns = "turn,role,start,end,transcript\na1,counsellor,0,1,How?\na2,client,1.2,3,Fine\n"
    (data / "S01" / "turns.csv").write_text(turns)
    shutil.rmtree(data / "S01" / "ratings")
    table = read_turn_table(data / "S01" / "turns.csv", session="S01")
    path = write_elan(table, read_codebook(), data / "S01" / "ratings" / "ann.eaf", raters=["ann"])
    document = parse_eaf(path)
    (turn,) = document.tiers["client"][0]
    document.tiers["incongruent@ann"][1]["x1"] = (turn, "1", None, None)
    document.to_file(str(path))
    found = Ether(data=data).build().table
    assert found["incongruent"].iloc[0]
    assert found["id"].iloc[0] == "S01-a2"
    assert (found["incongruent_source"].iloc[0], found["raters"].iloc[0]) == ("raters", 1)
    # The same file is a session's turns.
    (data / "S01" / "turns.csv").unlink()
    shutil.copy(path, data / "S01" / "turns.eaf")
    pd.testing.assert_frame_equal(Ether(data=data).build().table, found)


def test_a_tier_of_smiles_moves_no_rating(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = data / "S01"
    (folder / "turns.csv").unlink()
    eaf = Eaf(author="")
    eaf.remove_tier("default")
    eaf.add_tier("client")
    eaf.add_tier("smile", part="client")
    said = [(0, 2000, "I am fine"), (2500, 4000, "I miss her"), (4500, 5500, "It is a lovely day")]
    for start, end, words in said:
        eaf.add_annotation("client", start, end, words)
    eaf.add_annotation("smile", 500, 900, "x")
    eaf.to_file(str(folder / "turns.eaf"))
    shutil.rmtree(folder / "ratings")
    (folder / "ratings").mkdir()
    (folder / "ratings" / "r1.csv").write_text(
        "turn,verbal_emotion,visual_emotion,incongruent\n1,happiness,happiness,0\n2,sadness,happiness,1\n"
        "3,happiness,happiness,0\n"
    )
    table = Ether(data=data).build().table.set_index("id")
    assert table.loc["S01-1":"S01-3", "transcript"].tolist() == [words for *_, words in said]
    assert table.loc["S01-2", ["verbal_emotion", "incongruence_type"]].tolist() == ["sadness", "masking"]
    assert "left aside: tier 2" in caplog.text


def test_labels_in_subtitles_say_who_speaks_and_events_are_kept(unrated: Path) -> None:
    folder = unrated / "S01"
    (folder / "turns.csv").unlink()
    lines = ["[SPEAKER_00]: How are you?", "[SPEAKER_01]: (laughs) Fine.", "[SPEAKER_01]: [Music]"]
    cues = [f"00:00:0{n},000 --> 00:00:0{n + 1},000\n{line}" for n, line in enumerate(lines)]
    (folder / "turns.srt").write_text("\n\n".join(cues))
    with (folder / "session.yaml").open("a") as settings:
        settings.write("roles: {SPEAKER_00: counsellor, SPEAKER_01: client}\n")
    found = row(unrated)
    assert (found["transcript"], found["context"], found["events"]) == ("Fine.", "How are you?", "(laughs)")
    assert "S01-3" not in Ether(data=unrated).build().table["id"].tolist()


def test_a_row_of_a_rater_file_is_one_reject_however_many_labels_it_has(data: Path, tmp_path: Path, capsys) -> None:
    for name in ("S01", "S02"):
        with (data / name / "ratings" / "r1.csv").open("a") as ratings:
            ratings.write("9,neutral,neutral,1,3\n")
        with (data / name / "turns.csv").open("a") as turns:
            turns.write("5.2,5.1,client,x\n")
    settings = [f"corpus.data={data}", "corpus.on_error=skip"]
    assert main(["build", "ether", *settings, "--out", str(tmp_path / "m.parquet")]) == 0
    assert "Left out: 4 rows" in capsys.readouterr().out
    rejects = pd.read_csv(tmp_path / "m.rejects.csv")
    assert rejects["id"].tolist() == ["S01-6", "S02-6", "S01/ratings/r1.csv", "S02/ratings/r1.csv"]
    assert rejects["row"].tolist() == [6, 6, 3, 3]


def test_one_judgement_in_two_files_is_refused_as_a_whole(data: Path) -> None:
    for name in ("r1", "again"):
        (data / "S01" / "ratings" / f"{name}.csv").write_text("start,rater,incongruent\n1.2,r1,1\n")
    (data / "S01" / "ratings" / "again.csv").write_text("turn,rater,incongruent\n2,r1,0\n")
    with pytest.raises(AnnotationError, match=r"again.csv: row 1, column 'incongruent': is one of several"):
        Ether(data=data).build()
    assert len(Ether(data=data, on_error="skip").build().rejects) == 2


def test_missing_files_are_said(unrated: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"no session under .*; expected a folder each.*paths.data"):
        Ether(data=tmp_path / "nothing").build()
    (unrated / "S01" / "turns.csv").rename(unrated / "S01" / "kept")
    with pytest.raises(SessionError, match=r"S01: no file of turns; expected turns.csv"):
        Ether(data=unrated).build()
    (unrated / "S01" / "kept").rename(unrated / "S01" / "turns.csv")
    shutil.copy(unrated / "S01" / "turns.csv", unrated / "S01" / "turns.tsv")
    with pytest.raises(SessionError, match=r"several files of turns \(turns.csv, turns.tsv\)"):
        Ether(data=unrated).build()
    (unrated / "S01" / "turns.tsv").unlink()
    for role in ("client", "counsellor"):
        (unrated / "S01" / f"{role}.mp4").unlink()
    with pytest.raises(SessionError, match=r"S01: no recording; expected one of everybody, or client.mp4"):
        Ether(data=unrated).build()
    (unrated / "S01" / "a.mp4").write_bytes(b"no film")
    with pytest.raises(SessionError, match=r"S01/a.mp4: "):
        Ether(data=unrated).build()
    (unrated / "S01" / "b.mp4").write_bytes(b"no film")
    with pytest.raises(SessionError, match=r"a.mp4 and b.mp4 could both be the video of everybody"):
        Ether(data=unrated).build()


def test_settings_are_checked() -> None:
    for setting, value in (("aggregation", "mean"), ("overlaps", "cut"), ("on_error", "go"), ("min_words", -1)):
        with pytest.raises(ConfigError, match=f"^Ether: {setting} is {value!r}; write "):
            Ether(data=".", **{setting: value})


def test_people_on_both_sides_of_a_split_are_refused(unrated: Path) -> None:
    (unrated / "S02" / "session.yaml").write_text("speakers: {client: PS01}\nsplit: test\n")
    with pytest.raises(ManifestError, match="one speaker is in the splits train, test"):
        Ether(data=unrated).build()
    table = unrated.parent / "splits.csv"
    table.write_text("session,split\nS01,val\nS02,val\n")
    assert set(Ether(data=unrated, splits=table).build().table["split"]) == {"val"}
    table.write_text("session,split\nS01,dev\n")
    with pytest.raises(ManifestError, match="row 1, column 'split': no split"):
        Ether(data=unrated, splits=table).build()


def test_without_pseudonyms_a_diarisers_numbers_are_not_people(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("S01", "S02"):
        (data / name / "turns.csv").write_text(
            "start,end,speaker,transcript\n0,1,SPEAKER_00,How?\n1.2,3,SPEAKER_01,Fine\n"
        )
        (data / name / "session.yaml").write_text("roles: {SPEAKER_00: counsellor, SPEAKER_01: client}\n")
        shutil.rmtree(data / name / "ratings")
    assert Ether(data=data).build().table["speaker"].tolist() == ["S01-client", "S02-client"]
    assert "give pseudonyms in session.yaml" in caplog.text
    assert "no ratings found" in caplog.text


def test_no_transcript_and_no_speaker_reaches_the_log(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "S01" / "turns.csv").write_text(TURNS + "5.2,5.5,Dr Miller,secret\n")
    with caplog.at_level(logging.INFO):
        rejects = Ether(data=data, on_error="skip").build().rejects.to_csv()
    for word in ("Miller", "secret", "Nothing", "Fine"):
        assert word not in caplog.text + rejects


def test_the_card_says_how_labels_came_about(data: Path) -> None:
    corpus = Ether(data=data)
    sessions, raters, scheme = corpus.card_sections(corpus.build())
    assert "`majority`" in sessions.text
    assert "2 without words" not in sessions.title
    assert sessions.table["overlapped"].tolist() == [1, 1]
    assert sessions.table["rows"].tolist() == [2, 2]
    assert scheme.table.set_index("label").loc["engagement", "scale"] == "ordinal"
    tied = raters.table.set_index("label")["rows_undecided"]
    assert (tied["visual_emotion"], tied["incongruent"], tied["verbal_emotion"]) == (2, 2, 0)


def test_faces_and_voices_of_its_rows_are_found(unrated: Path) -> None:
    shutil.rmtree(unrated / "S02")
    manifest = Ether(data=unrated).build()
    extractors = {"visual": FaceExtractor(detector="haar", size=48), "prosody": ProsodyExtractor()}
    index = extract(manifest, extractors, MemoryCache(), progress=False).table
    assert index["status"].tolist() == ["ok"] * 4
    voice = index[index["modality"] == "prosody"].set_index("id")["n_steps"]
    assert voice["S01-2"] == pytest.approx(1.8 / 0.02, abs=2)
