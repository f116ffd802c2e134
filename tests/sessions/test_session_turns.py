"""Turn files of every format: the same session gives the same turns, and what cannot be used is said."""

import json
import logging
from pathlib import Path

import pytest
from pympi.Elan import Eaf

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn
from subtext.sessions.turns import read_session_turns
from subtext.sessions.words import Word, assign_words, read_words

SPOKEN = [
    (0.5, 2.0, "counsellor", "How was your week?"),
    (2.25, 5.0, "client", "Fine, really."),
    (4.5, 4.75, "counsellor", "mhm"),
    (6.0, 7.5, "client", "Nothing special."),
]
EXPECTED = [Turn(start, end, text, speaker) for start, end, speaker, text in SPOKEN]


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def region(id: str, start: float, end: float, label: str, text: str) -> list[dict]:
    common = {"id": id, "to_name": "audio"}
    times = {"start": start, "end": end}
    return [
        {**common, "from_name": "speaker", "type": "labels", "value": {**times, "labels": [label]}},
        {**common, "from_name": "words", "type": "textarea", "value": {**times, "text": [text]}},
    ]


def write_elan(path: Path) -> Path:
    eaf = Eaf(author="")
    eaf.remove_tier("default")
    for tier in ("counsellor", "client"):
        eaf.add_tier(tier)
    for start, end, speaker, text in SPOKEN:
        eaf.add_annotation(speaker, round(start * 1000), round(end * 1000), text)
    eaf.add_linguistic_type("code", "Symbolic_Association")
    eaf.add_tier("emotion@client", ling="code", parent="client")
    eaf.add_ref_annotation("emotion@client", "client", 2300, "neutral")
    eaf.to_file(str(path))
    return path


def write_table(path: Path, delimiter: str) -> Path:
    rows = [["start", "end", "speaker", "transcript"]]
    rows += [["0:00.500", "0:02", "counsellor", SPOKEN[0][3]]]
    rows += [[str(start), str(end), speaker, f'"{text}"'] for start, end, speaker, text in SPOKEN[1:]]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(delimiter.join(row) for row in rows).encode())
    return path


def write_vtt(path: Path) -> Path:
    cues = [f"00:00:{s:06.3f} --> 00:00:{e:06.3f}\n<v {who}>{text}" for s, e, who, text in SPOKEN]
    path.write_text("WEBVTT\n\n" + "\n\n".join(cues) + "\n", encoding="utf-8")
    return path


def write_rttm(folder: Path) -> tuple[Path, Path]:
    segments = folder / "turns.rttm"
    lines = [f"SPEAKER s 1 {s:.3f} {e - s:.3f} <NA> <NA> {who} <NA> <NA>" for s, e, who, _ in SPOKEN]
    segments.write_text(";; made by hand\n" + "\n".join(lines) + "\n", encoding="utf-8")
    words = []
    for start, end, _, text in SPOKEN:
        parts = text.split()
        step = (end - start) / len(parts)
        words += [f"s A {start + i * step:.3f} {step * 0.9:.3f} {part} 0.9" for i, part in enumerate(parts)]
    # The interjection lies within the client's turn: cut both to make the words' owners plain.
    path = folder / "words.ctm"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return segments, path


def whisperx() -> dict:
    segments = [
        {"start": s, "end": e, "text": f" {text}", "speaker": who, "words": [{"word": "x"}]}
        for s, e, who, text in SPOKEN
    ]
    return {"segments": segments, "word_segments": [], "language": "en"}


def by_time(turns: list[Turn]) -> list[Turn]:
    return sorted(turns, key=lambda turn: turn.start)


def test_the_same_session_in_every_format_gives_the_same_turns(tmp_path: Path) -> None:
    results = [entry for i, (s, e, who, text) in enumerate(SPOKEN) for entry in region(f"r{i}", s, e, who, text)]
    ratings = {"id": "r1", "from_name": "emotion", "to_name": "audio", "type": "choices", "value": {"choices": ["sad"]}}
    task = {"id": 1, "data": {"audio": "s.wav"}, "annotations": [{"id": 5, "result": [*results, ratings]}]}
    turns = [{"start": s, "end": e, "speaker": who, "text": text} for s, e, who, text in SPOKEN]
    files = [
        write_table(tmp_path / "a.csv", ","),
        write_table(tmp_path / "a.tsv", "\t"),
        write_json(tmp_path / "table.json", [{**turn, "transcript": turn["text"]} for turn in turns]),
        write_vtt(tmp_path / "a.vtt"),
        write_elan(tmp_path / "a.eaf"),
        write_json(tmp_path / "label_studio.json", [task]),
        write_json(tmp_path / "whisperx.json", whisperx()),
        write_json(tmp_path / "pyannote.json", {"output": {"turnLevelTranscription": turns, "diarization": []}}),
    ]
    for path in files:
        assert by_time(read_session_turns(path)) == EXPECTED, path.name


def test_segments_take_the_words_that_overlap_them_most(tmp_path: Path) -> None:
    segments, words = write_rttm(tmp_path)
    expected = [(turn.start, turn.end, turn.speaker) for turn in EXPECTED]
    assert [(t.start, t.end, t.speaker) for t in read_session_turns(segments)] == expected
    assert [t.transcript for t in read_session_turns(segments)] == [None] * 4
    said = [t.transcript for t in read_session_turns(segments, words)]
    # "mhm" lies wholly within both segments: the earlier one takes it.
    assert said == ["How was your week?", "Fine, really. mhm", None, "Nothing special."]
    timed = [{"word": f" {w.text}", "start": w.start, "end": w.end} for w in read_words(words)]
    from_json = write_json(tmp_path / "words.json", {"segments": [{"words": [*timed, {"word": "7"}]}]})
    # A word without a time stays with the one before it.
    assert [t.transcript for t in read_session_turns(segments, from_json)] == [*said[:3], "Nothing special. 7"]
    table = tmp_path / "words.csv"
    table.write_text(
        "word,start,end\n"
        + "".join(f"{w.text},{w.start},{w.end}\n" for w in read_words(words)).replace("Fine,,", '"Fine,",')
    )
    assert [t.transcript for t in read_session_turns(segments, table)] == said


def test_a_word_beside_every_segment_goes_to_the_near_one_or_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    turns = [Turn(0.0, 1.0, None, "a"), Turn(2.0, 3.0, None, "b")]
    words = [Word(1.1, 1.3, "near"), Word(1.8, 1.9, "later"), Word(9.0, 9.2, "secret")]
    with caplog.at_level(logging.WARNING):
        assert [t.transcript for t in assign_words(turns, words, Path("words.ctm"))] == ["near", "later"]
    assert "1 of 3 words" in caplog.text
    assert "secret" not in caplog.text


def test_diarisation_takes_the_words_of_its_own_file(tmp_path: Path) -> None:
    content = {
        "diarization": [{"start": 0, "end": 2, "speaker": "A"}, {"start": 2, "end": 4, "speaker": "B"}],
        "wordLevelTranscription": [
            {"start": 0.1, "end": 0.4, "text": "So", "speaker": "A"},
            {"start": 1.9, "end": 2.5, "text": "yes", "speaker": "B"},
        ],
    }
    assert read_session_turns(write_json(tmp_path / "d.json", content)) == [
        Turn(0.0, 2.0, "So", "A"),
        Turn(2.0, 4.0, "yes", "B"),
    ]


def test_frames_of_a_labelled_video_need_their_rate(tmp_path: Path) -> None:
    result = [
        {
            "id": "a",
            "type": "timelinelabels",
            "value": {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["client"]},
        }
    ]
    path = write_json(tmp_path / "video.json", [{"annotations": [{"result": result}]}])
    with pytest.raises(TranscriptError, match="set frame_rate"):
        read_session_turns(path)
    assert read_session_turns(path, frame_rate=25) == [Turn(1.0, 2.0, None, "client")]


def test_elan_takes_participants_named_tiers_and_the_times_of_parents(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    eaf = Eaf(author="")
    eaf.remove_tier("default")
    eaf.add_tier("ref@P07", part="P07")
    eaf.add_tier("notes")
    eaf.add_linguistic_type("words", "Symbolic_Association")
    eaf.add_tier("tx@P07", ling="words", parent="ref@P07", part="P07")
    eaf.add_annotation("ref@P07", 1000, 3000, "001")
    eaf.add_annotation("notes", 0, 500, "door")
    eaf.add_ref_annotation("tx@P07", "ref@P07", 1500, "I'm fine")
    eaf.to_file(str(path))
    assert read_session_turns(path, tiers=["tx@P07"]) == [Turn(1.0, 3.0, "I'm fine", "P07")]
    assert {turn.speaker for turn in read_session_turns(path)} == {"P07", "notes"}
    with pytest.raises(TranscriptError, match=r"a\.eaf: entry 1 of tiers is none of its 3 tiers; write it"):
        read_session_turns(path, tiers=["client"])


def test_an_elan_annotation_without_times_carries_its_problem(tmp_path: Path) -> None:
    path = write_elan(tmp_path / "a.eaf")
    text = path.read_text().replace('TIME_VALUE="500"', "")
    path.write_text(text)
    (turn,) = [turn for turn in read_session_turns(path) if turn.problem]
    assert "not aligned" in turn.problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.eaf", "<ANNOTATION_DOCUMENT>", "not readable as an ELAN file"),
        ("a.rttm", "SPEAKER s 1 0.0 1.0 client", "line 1 has 6 fields"),
        ("a.rttm", "SPEAKER s 1 zero 1.0 <NA> <NA> A <NA> <NA>", "line 1: onset and duration must be numbers"),
        (
            "a.rttm",
            "SPEAKER s 1 0 1 <NA> <NA> A <NA> <NA>\nSPEAKER t 1 0 1 <NA> <NA> A <NA> <NA>",
            "line 2: of a second recording",
        ),
        ("a.rttm", ";; nothing", "no turn in it"),
        ("a.json", '{"segments": [{"start": 1, "text": "x"}]}', "segments, entry 1 has no 'end'"),
        ("a.json", '{"segments": [{"start": "soon", "end": 2}]}', "entry 1, start: not a time"),
        ("a.json", '{"segments": []}', "no turn in it"),
        ("a.json", '[{"annotations": []}]', "no turn in it"),
        ("a.docx", "", "unknown kind of transcript '.docx'; use one of .srt, .vtt"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TranscriptError, match=message):
        read_session_turns(path)


def test_two_segmentations_in_one_export_are_refused(tmp_path: Path) -> None:
    annotation = {"result": region("a", 0, 1, "client", "x")}
    with pytest.raises(TranscriptError, match="2 annotations mark turns"):
        read_session_turns(write_json(tmp_path / "two.json", [{"annotations": [annotation, annotation]}]))
    cancelled = {**annotation, "was_cancelled": True}
    one = write_json(tmp_path / "one.json", [{"annotations": [annotation, cancelled]}])
    assert len(read_session_turns(one)) == 1


def test_negative_durations_carry_their_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text("SPEAKER s 1 5.0 -1.0 <NA> <NA> A <NA> <NA>\n")
    (turn,) = read_session_turns(path)
    assert "ends at 4 s before it starts at 5 s" in turn.problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.ctm", "s A 0.1 0.2", "line 1: no CTM line"),
        ("w.ctm", "s A * * <ALT_BEGIN>", "line 1: alternatives are not read"),
        ("w.ctm", "s A 0.1 x word", "line 1: not a time"),
        ("w.ctm", "s A 0 1 a\nt A 0 1 b", "line 2: words of a second recording"),
        ("w.csv", "token,start,end\n", "no column word"),
        ("w.csv", "word,start,end\na,2,1\n", "row 1 ends at 1 s before it starts at 2 s"),
        ("w.json", '{"text": "x"}', "no word with a time"),
        ("w.txt", "a", "unknown kind of words '.txt'"),
    ],
)
def test_words_that_cannot_be_used_are_said_with_their_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TranscriptError, match=message):
        read_words(path)
