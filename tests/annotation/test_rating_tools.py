"""ELAN and Label Studio: what is exported, filled in as the tool would, and read back, is the same."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi.Elan import Eaf

from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.elan import write_elan
from subtext.annotation.label_studio import (
    label_studio_tasks,
    labelling_interface,
    pages_of,
    write_label_studio,
)
from subtext.annotation.rater_files import read_rater_files
from subtext.annotation.turn_table import read_turn_table
from subtext.errors import AnnotationError, TranscriptError
from subtext.sessions.elan import parse_eaf
from subtext.sessions.turns import read_session_turns

CASES = Path(__file__).parent / "cases"
CODEBOOK = read_codebook()
# What XML can hold; a carriage return it gives back as a line break.
TEXT = st.text(
    st.one_of(
        st.sampled_from("<>&\"'-=;]\n\t 🙂é̈"), st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])
    ),
    min_size=1,
    max_size=30,
)
NAME = TEXT.map(str.strip).filter(bool)


def turn_table(names, words, times, session):
    edges = [time / 1000 for time in times]
    rows = [
        {"session": session, "turn": name, "role": "client", "start": start, "end": end, "transcript": said}
        for name, said, start, end in zip(names, words, edges, edges[1:], strict=False)
    ]
    return pd.DataFrame(rows)


@st.composite
def sessions(draw):
    count = draw(st.integers(1, 4))
    names = draw(st.lists(NAME, min_size=count, max_size=count, unique=True))
    words = draw(st.lists(TEXT, min_size=count, max_size=count))
    times = sorted(draw(st.sets(st.integers(0, 7_200_000), min_size=count + 1, max_size=count + 1)))
    answers = draw(st.lists(st.sampled_from(CODEBOOK.labels["visual_emotion"].answers), min_size=count, max_size=count))
    return turn_table(names, words, times, draw(NAME)), answers


def fill_in_elan(path, tier, answers):
    """As ELAN writes it: a REF_ANNOTATION below each turn."""
    document = ElementTree.parse(path)
    root = document.getroot()
    target = root.find(f"TIER[@TIER_ID='{tier}']")
    parents = root.findall(f"TIER[@TIER_ID='{target.get('PARENT_REF')}']//ALIGNABLE_ANNOTATION")
    for number, (parent, answer) in enumerate(zip(parents, answers, strict=True)):
        if answer is None:
            continue
        reference = ElementTree.SubElement(
            ElementTree.SubElement(target, "ANNOTATION"),
            "REF_ANNOTATION",
            {"ANNOTATION_ID": f"x{number}", "ANNOTATION_REF": parent.get("ANNOTATION_ID")},
        )
        ElementTree.SubElement(reference, "ANNOTATION_VALUE").text = answer
    document.write(path, encoding="UTF-8", xml_declaration=True)


@settings(max_examples=25, deadline=None)
@given(sessions())
def test_the_round_trip_through_elan_loses_nothing(tmp_path_factory, drawn):
    turns, answers = drawn
    path = tmp_path_factory.mktemp("elan") / "s.eaf"
    write_elan(turns, CODEBOOK, path, raters=["ann@x.org"])
    fill_in_elan(path, "visual_emotion@ann@x.org", answers)
    words = [value for _, _, value, _ in Eaf(str(path), suppress_version_warning=True).tiers["client"][0].values()]
    assert words == list(turns["transcript"])
    table = read_rater_files([path], CODEBOOK).table
    assert list(table["turn"]) == list(turns["turn"])
    assert list(table["value"]) == answers
    assert list(table["start"]) == list(turns["start"])
    assert list(table["end"]) == list(turns["end"])
    assert set(table["session"]) == set(turns["session"])
    assert set(table["rater"]) == {"ann@x.org"}


@settings(max_examples=25, deadline=None)
@given(sessions())
def test_the_round_trip_through_label_studio_loses_nothing(tmp_path_factory, drawn):
    turns, answers = drawn
    folder = tmp_path_factory.mktemp("label_studio")
    write_label_studio(turns.assign(video="s.mp4"), CODEBOOK, folder)
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    assert [task["data"]["transcript"] for task in words] == list(turns["transcript"])
    tasks = json.loads((folder / "face.json").read_text(encoding="utf-8"))
    for number, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        result = {"from_name": "visual_emotion", "to_name": "video", "type": "choices", "value": {"choices": [answer]}}
        task["id"], task["annotations"] = number, [{"completed_by": 7, "was_cancelled": False, "result": [result]}]
    path = folder / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    table = read_rater_files([path], CODEBOOK).table
    assert list(table["turn"]) == list(turns["turn"])
    assert list(table["value"]) == answers
    assert list(table["start"]) == list(turns["start"])
    assert set(table["session"]) == set(turns["session"])
    assert set(table["rater"]) == {"7"}


def two_turns():
    return turn_table(["1", "2"], ["- well", "fine"], [0, 1234, 5000], "s1")


def test_the_vocabularies_are_the_codebooks_answers_and_only_the_client_is_rated(tmp_path):
    turns = two_turns()
    turns.loc[1, "role"] = "counsellor"
    path = write_elan(turns, CODEBOOK, tmp_path / "s1.eaf", raters=["ann"], media="s1.mp4")
    document = parse_eaf(path)
    for label in CODEBOOK.labels.values():
        entries = document.controlled_vocabularies[label.name][1].values()
        assert tuple(values[0][0] for values, _ in entries) == label.answers
        assert document.linguistic_types[label.name]["CONTROLLED_VOCABULARY_REF"] == label.name
    assert document.tiers["visual_emotion@ann"][2]["PARENT_REF"] == "client"
    assert document.media_descriptors[0]["MEDIA_URL"] == "s1.mp4"


def test_a_score_of_the_session_comes_back_without_a_turn(tmp_path):
    path = write_elan(two_turns(), CODEBOOK, tmp_path / "s1.eaf", raters=["ann"])
    fill_in_elan(path, "engagement_client@ann", ["3"])
    table = read_rater_files([path], CODEBOOK).table
    assert table[["session", "label", "value"]].to_numpy().tolist() == [["s1", "engagement_client", "3"]]
    assert table["turn"].isna().all()


def test_an_answer_outside_the_codebook_names_the_tier(tmp_path):
    path = write_elan(two_turns(), CODEBOOK, tmp_path / "s1.eaf", raters=["ann"])
    fill_in_elan(path, "incongruent@ann", ["1", "perhaps"])
    with pytest.raises(AnnotationError, match="row 2, column 'incongruent': label 'incongruent': unknown value; use"):
        read_rater_files([path], CODEBOOK)


def test_an_entity_bomb_is_refused_by_whoever_reads_it(tmp_path):
    path = tmp_path / "bomb.eaf"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "boom">]><ANNOTATION_DOCUMENT>&b;</ANNOTATION_DOCUMENT>'
    )
    for read in (parse_eaf, read_session_turns, lambda path: read_rater_files([path], CODEBOOK)):
        with pytest.raises(TranscriptError, match="has a DOCTYPE"):
            read(path)
    path.write_text("<ANNOTATION_DOCUMENT>")
    with pytest.raises(TranscriptError, match=r"not readable as an ELAN file \(ExpatError: no element found: line 1"):
        parse_eaf(path)


def test_a_rating_below_nothing_is_one_of_no_turn(tmp_path):
    path = write_elan(two_turns(), CODEBOOK, tmp_path / "s1.eaf", raters=["ann"])
    fill_in_elan(path, "incongruent@ann", ["1", None])
    first = parse_eaf(path).tiers["incongruent@ann"][1]["x0"][0]
    path.write_text(path.read_text().replace(f'"x0" ANNOTATION_REF="{first}"', '"x0" ANNOTATION_REF="gone"'))
    with pytest.raises(AnnotationError, match="row 1, column 'turn': empty, and so is start"):
        read_rater_files([path], CODEBOOK)


def test_a_template_of_ours_is_also_a_file_of_turns(tmp_path):
    turns = two_turns().assign(turn=["t07", "t08"])
    path = write_elan(turns, CODEBOOK, tmp_path / "s1.eaf", raters=["ann"])
    fill_in_elan(path, "engagement_client@ann", ["3"])
    read = read_session_turns(path)
    assert [(turn.id, turn.start, turn.speaker) for turn in read] == [("t07", 0.0, "client"), ("t08", 1.234, "client")]


def test_what_elan_cannot_hold_is_said(tmp_path):
    overlapping = two_turns()
    overlapping.loc[1, "start"] = 1.0
    with pytest.raises(AnnotationError, match="row 1 and row 2 are turns of one role and overlap"):
        write_elan(overlapping, CODEBOOK, tmp_path / "a.eaf", raters=["ann"])
    control = two_turns()
    control.loc[0, "transcript"] = "a\x07b"
    with pytest.raises(AnnotationError, match=r"row 1, column 'transcript': holds the character U\+0007"):
        write_elan(control, CODEBOOK, tmp_path / "a.eaf", raters=["ann"])


def test_the_pages_offer_the_codebooks_answers_each_once():
    offered = {}
    for page in pages_of(CODEBOOK):
        root = ElementTree.fromstring(labelling_interface(page.labels, page.shows, muted=page.muted))
        shown = {tag.get("name") for kind in ("Text", "Video", "Audio") for tag in root.iter(kind)}
        for choices in root.iter("Choices"):
            assert choices.get("name") not in offered
            assert choices.get("toName") in shown
            offered[choices.get("name")] = tuple(choice.get("value") for choice in choices)
    assert offered == {name: label.answers for name, label in CODEBOOK.labels.items()}


def written_pages(folder, turns, codebook=CODEBOOK):
    """Page -> its interface and the data of its tasks."""
    write_label_studio(turns, codebook, folder)
    return {
        path.stem: (
            ElementTree.parse(path).getroot(),
            [task["data"] for task in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))],
        )
        for path in sorted(folder.glob("*.xml"))
    }


def test_a_page_of_a_channel_shows_the_recording_and_nothing_of_the_others(tmp_path):
    turns = two_turns().assign(video="/data/s1.mp4", audio="/data/s1.wav", transcript=["CANARY one", "CANARY two"])
    pages = written_pages(tmp_path, turns)
    assert list(pages) == ["face", "session", "together", "voice", "words"]
    shows = {
        name: {tag.tag: tag.get("value") for tag in root if tag.get("value", "").startswith("$")}
        for name, (root, _) in pages.items()
    }
    for shown in shows.values():
        assert shown.pop("Header") == "$heading"
    assert shows["words"] == {"Text": "$transcript"}
    assert shows["face"] == {"Video": "$video"}
    assert shows["voice"] == {"Audio": "$audio"}
    assert shows["together"] == shows["session"] == {"Text": "$transcript", "Video": "$video"}
    muted = {name: [video.get("muted") for video in root.iter("Video")] for name, (root, _) in pages.items()}
    assert muted == {"words": [], "face": ["true"], "voice": [], "together": [None], "session": [None]}
    asked = {name: {choices.get("name") for choices in root.iter("Choices")} for name, (root, _) in pages.items()}
    assert asked["words"] == {"verbal_emotion"}
    assert asked["face"] == {"visual_emotion"}
    assert asked["voice"] == {"vocal_emotion"}
    assert asked["together"] == {"incongruent", "incongruence_type", "engagement"}
    for name in ("face", "voice"):
        assert "CANARY" not in json.dumps(pages[name][1])
    assert {kind for data in pages["words"][1] for kind in data} & {"video", "audio"} == set()
    assert [data["video"] for data in pages["face"][1]] == ["/data/s1.mp4"] * 2
    assert [data["audio"] for data in pages["voice"][1]] == ["/data/s1.wav"] * 2
    assert "video" not in pages["voice"][1][0]


def test_the_voice_is_heard_from_a_video_where_it_has_no_file_of_its_own(tmp_path):
    root, tasks = written_pages(tmp_path, two_turns().assign(video="/data/s1.mp4"))["voice"]
    assert [(tag.tag, tag.get("value")) for tag in root][1] == ("Audio", "$video")
    assert tasks[0]["video"] == "/data/s1.mp4"


def test_a_page_that_has_nothing_to_show_is_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "pages"
    with pytest.raises(AnnotationError, match=r"page 'face' has to show the recording, .* column 'video'.*--media"):
        write_label_studio(two_turns(), CODEBOOK, folder)
    with pytest.raises(AnnotationError, match="page 'face' has to show the recording"):
        write_label_studio(two_turns().assign(audio="s1.wav"), CODEBOOK, folder)
    with pytest.raises(AnnotationError, match="turn 2 names no recording in column 'video'"):
        write_label_studio(two_turns().assign(video=["s1.mp4", None]), CODEBOOK, folder)
    assert not folder.exists()


def test_words_alone_need_no_recording(tmp_path):
    words = replace(CODEBOOK, labels={"verbal_emotion": CODEBOOK.labels["verbal_emotion"]})
    assert list(written_pages(tmp_path, two_turns(), words)) == ["words"]


def exported(path, *results):
    """An export of one task in which one rater gave these answers."""
    data = {"session": "s1", "turn": "1"}
    path.write_text(json.dumps([{"data": data, "annotations": [{"completed_by": 1, "result": list(results)}]}]))
    return path


def test_ratings_and_taxonomies_are_read(caplog):
    table = read_rater_files([CASES / "ls_rating.json"], CODEBOOK).table
    found = table[["turn", "rater", "label", "value"]].to_numpy().tolist()
    assert [row for row in found if row[2] == "engagement"] == [
        ["1", "1", "engagement", "4"],
        ["1", "2", "engagement", "2"],
    ]
    assert [row for row in found if row[2] == "verbal_emotion"] == [["1", "1", "verbal_emotion", "sadness"]]
    assert len(found) == 7
    assert not caplog.records


def test_a_taxonomy_is_read_by_its_last_level_and_double_answers_are_refused(tmp_path):
    way = {"from_name": "verbal_emotion", "type": "taxonomy", "value": {"taxonomy": [["negative", "sadness"]]}}
    path = exported(tmp_path / "e.json", way)
    assert list(read_rater_files([path], CODEBOOK).table["value"]) == ["sadness"]
    way["value"]["taxonomy"] = [["negative", "sadness"], ["negative", "fear"]]
    with pytest.raises(AnnotationError, match="row 1, column 'verbal_emotion'"):
        read_rater_files([exported(path, way)], CODEBOOK)


def test_answers_that_are_not_read_are_counted_without_their_words(tmp_path, caplog):
    read = {"from_name": "incongruent", "type": "choices", "value": {"choices": ["1"]}}
    note = {"from_name": "CANARY", "type": "textarea", "value": {"text": ["CANARY"]}}
    foreign = {"from_name": "CANARY", "type": "CANARY", "value": {}}
    found = read_rater_files([exported(tmp_path / "e.json", read, note, note, foreign, {})], CODEBOOK).table
    assert list(found["value"]) == ["1"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "4 answers are of types that are not read" in told
    assert "2 textarea, 2 unknown" in told
    assert "CANARY" not in told


@pytest.mark.parametrize(
    "broken", [{"result": 7}, {"result": {"a": 1}}, 7, {"result": [{"type": "choices", "value": 1}]}]
)
def test_an_export_of_other_kinds_than_lists_has_no_answers(tmp_path, broken):
    path = tmp_path / "e.json"
    path.write_text(json.dumps([{"data": {}, "annotations": [broken]}, {"data": {}, "annotations": 3}]))
    with pytest.raises(AnnotationError, match="no rating is left"):
        read_rater_files([path], CODEBOOK)


@pytest.mark.parametrize("name", ["ner_text.json", "paragraphs.json"])
def test_regions_of_text_are_no_turns(name):
    with pytest.raises(TranscriptError, match="result 1 is a region of text, which has no seconds") as refused:
        read_session_turns(CASES / name)
    assert "fine" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("hypertextlabels", {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 0, "endOffset": 4}),
        ("labels", {"start": 1, "end": 2, "startOffset": 0, "endOffset": 4, "labels": ["client"]}),
        ("choices", {"start": 0, "end": 9, "text": "I am fine", "choices": ["1"]}),
        ("timeserieslabels", {"start": 1592250751951, "end": 1592250767251, "timeserieslabels": ["client"]}),
    ],
)
def test_other_regions_without_seconds_are_no_turns(tmp_path, kind, value):
    with pytest.raises(TranscriptError, match="is a region of text"):
        read_session_turns(exported(tmp_path / "e.json", {"id": "a", "type": kind, "value": value}))


def test_regions_of_sound_with_words_stay_turns(tmp_path):
    times = {"start": 1.5, "end": 3.0, "channel": 0}
    speaker = {"id": "a", "type": "labels", "value": {**times, "labels": ["client"]}}
    words = {"id": "a", "type": "textarea", "value": {**times, "text": ["I am fine"]}}
    (turn,) = read_session_turns(exported(tmp_path / "e.json", speaker, words))
    assert (turn.start, turn.end, turn.speaker, turn.transcript) == (1.5, 3.0, "client", "I am fine")


def test_cancelled_and_double_answers_in_label_studio(tmp_path):
    tasks = label_studio_tasks(two_turns())
    answer = {"from_name": "incongruent", "to_name": "words", "type": "choices", "value": {"choices": ["1"]}}
    tasks[0]["annotations"] = [
        {"completed_by": {"id": 1, "email": "a@x.org"}, "was_cancelled": True, "result": [answer]},
        {"completed_by": {"id": 2, "email": "b@x.org"}, "was_cancelled": False, "result": [answer]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    assert list(read_rater_files([path], CODEBOOK).table["rater"]) == ["b@x.org"]
    answer["value"]["choices"] = ["1", "0"]
    path.write_text(json.dumps(tasks))
    with pytest.raises(AnnotationError, match="column 'incongruent': label 'incongruent': unknown value"):
        read_rater_files([path], CODEBOOK)
    path.write_text('[{"id": 1, "incongruent": "1"}]')
    with pytest.raises(AnnotationError, match="not as JSON-MIN"):
        read_rater_files([path], CODEBOOK)


def test_files_of_several_kinds_are_checked_together(tmp_path):
    turns = two_turns()
    eaf = write_elan(turns, CODEBOOK, tmp_path / "s1.eaf", raters=["ann"])
    fill_in_elan(eaf, "incongruent@ann", ["1", "0"])
    unanswered = tmp_path / "unanswered.json"
    unanswered.write_text(json.dumps(label_studio_tasks(turns)))
    table = tmp_path / "bea.csv"
    table.write_text("session,turn,incongruent\ns1,1,0\n")
    found = read_rater_files([eaf, unanswered, table], CODEBOOK).table
    assert found[["turn", "rater", "value"]].to_numpy().tolist() == [
        ["1", "ann", "1"],
        ["2", "ann", "0"],
        ["1", "bea", "0"],
    ]
    with pytest.raises(AnnotationError, match="no rating is left to use; fill in the files"):
        read_rater_files([unanswered], CODEBOOK)
    again = tmp_path / "again.csv"
    again.write_text("session,turn,rater,incongruent\ns1,2,ann,1\n")
    with pytest.raises(AnnotationError, match=r"this rater judges .* more than once"):
        read_rater_files([eaf, again], CODEBOOK)


def test_turn_tables_say_what_is_wrong(tmp_path):
    path = tmp_path / "s7.csv"
    path.write_text("start,end,transcript\n0:01,2.5,hi\n3,4,\n")
    turns = read_turn_table(path)
    assert turns[["session", "turn", "start"]].to_numpy().tolist() == [["s7", "1", 1.0], ["s7", "2", 3.0]]
    path.write_text("start,end\n1,2\n5,4\n")
    with pytest.raises(AnnotationError, match="row 2, column 'end': the turn from 5 to 4 s holds nothing"):
        read_turn_table(path)
    path.write_text("start,end\nx,2\n")
    with pytest.raises(AnnotationError, match="row 1, column 'start': no time"):
        read_turn_table(path)
