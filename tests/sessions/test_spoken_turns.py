"""What recognisers and subtitle editors write beside the words: none of it is read as words, and no word is lost."""

import json
import logging
from pathlib import Path

import pytest
from pympi.Elan import Eaf

from subtext.errors import TranscriptError
from subtext.sessions.spoken import Spoken, begin_with_names, spoken
from subtext.sessions.transcripts import Turn, read_turns, seconds
from subtext.sessions.turns import read_session_turns
from subtext.sessions.words import read_words


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def srt(*cues: str, first: int = 1) -> str:
    """Cues of a second each."""
    return "\n".join(
        f"{number}\n00:00:{number:02d},000 --> 00:00:{number + 1:02d},000\n{words}\n"
        for number, words in enumerate(cues, first)
    )


def said(path: Path) -> list[tuple[str | None, str | None]]:
    return [(turn.transcript, turn.speaker) for turn in read_session_turns(path)]


LABELLED = [
    ("[SPEAKER_00]: How was your week?", "How was your week?", "SPEAKER_00"),
    ("[SPEAKER_01] Oh, fine.", "Oh, fine.", "SPEAKER_01"),
    ("SPEAKER_00: How was it?", "How was it?", "SPEAKER_00"),
    ("(speaker 1) I am fine.", "I am fine.", "speaker 1"),
    ("(speaker ?) I am fine.", "I am fine.", None),
    ("Speaker B: I am fine.", "I am fine.", "Speaker B"),
    ("[client]: I am fine.", "I am fine.", "client"),
    (">> So tell me.", "So tell me.", None),
    (">> [SPEAKER_01]: So tell me.", "So tell me.", "SPEAKER_01"),
    ("[SPEAKER_00]: a\n[SPEAKER_01]: b", "a\nb", None),
    # Words, whatever they look like.
    ("He said: no", "He said: no", None),
    ("Note: I am fine", "Note: I am fine", None),
    ("- How are you?\n- Fine.", "- How are you?\n- Fine.", None),
    ("Speaker of the house: no", "Speaker of the house: no", None),
    ("[00:01]: hi", "[00:01]: hi", None),
    ("I mean speaker 1: that one", "I mean speaker 1: that one", None),
]


@pytest.mark.parametrize(("written", "words", "speaker"), LABELLED)
@pytest.mark.parametrize("form", ["srt", "vtt", "csv", "json", "txt", "eaf"])
def test_a_label_is_who_speaks_and_no_words(
    tmp_path: Path, form: str, written: str, words: str, speaker: str | None
) -> None:
    turn = {"start": 1, "end": 2, "transcript": written}
    if form == "eaf":
        eaf = Eaf(author="")
        eaf.remove_tier("default")
        eaf.add_tier("A")
        eaf.add_annotation("A", 1000, 2000, written)
        eaf.to_file(str(tmp_path / "a.eaf"))
        assert said(tmp_path / "a.eaf") == [(words, "A")]
        return
    text = {
        "srt": srt(written),
        "vtt": "WEBVTT\n\n" + srt(written.replace(">", "&gt;")).replace(",", "."),
        "csv": 'start,end,transcript\n1,2,"{}"\n'.format(written.replace('"', '""')),
        "json": json.dumps([turn]),
        "txt": written,
    }[form]
    expected = words if form != "vtt" else words.replace(",", ".")
    assert said(write(tmp_path, f"a.{form}", text)) == [(expected, speaker)]


def test_names_are_labels_only_where_every_cue_begins_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    every = write(tmp_path, "a.srt", srt("Ann: Hi, Bob.", "(laughs)", "Dr Bob: Note: I am fine."))
    assert said(every) == [("Hi, Bob.", "Ann"), (None, None), ("Note: I am fine.", "Dr Bob")]
    assert "every turn's words begin with a name and a colon" in caplog.text
    assert not {"Ann", "Bob"} & set(caplog.text.replace(":", " ").split())
    caplog.clear()
    some = write(tmp_path, "b.srt", srt("Ann: Hi, Bob.", "I am fine.", "Note: me too."))
    assert said(some) == [("Ann: Hi, Bob.", None), ("I am fine.", None), ("Note: me too.", None)]
    assert said(write(tmp_path, "c.srt", srt("Ann: Hi."))) == [("Ann: Hi.", None)]
    assert caplog.text == ""


def test_a_label_does_not_go_before_what_the_file_says(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", "start,end,speaker,transcript\n0,1,client,[SPEAKER_00]: Fine.\n")
    assert said(table) == [("Fine.", "client")]
    vtt = write(tmp_path, "a.vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Mary>SPEAKER_00: Fine.\n")
    assert said(vtt) == [("Fine.", "Mary")]


@pytest.mark.parametrize(
    ("written", "words", "events"),
    [
        ("[BLANK_AUDIO]", None, ("[BLANK_AUDIO]",)),
        (" [Music]", None, ("[Music]",)),
        ("(laughs)", None, ("(laughs)",)),
        ("(lacht)", None, ("(lacht)",)),
        ("[somebody drops a cup]", None, ("[somebody drops a cup]",)),
        ("((coughs)) (sighs.)", None, ("((coughs))", "(sighs.)")),
        ("*sighs*", None, ("*sighs*",)),
        ("♪♪", None, ("♪♪",)),
        ("[SPEAKER_00]: [Music] [SPEAKER_TURN]", None, ("[Music]", "[SPEAKER_TURN]")),
        ("(laughs) I am fine. [sighs]", "I am fine.", ("(laughs)", "[sighs]")),
        ("I am [inaudible] fine", "I am fine", ("[inaudible]",)),
        # Words, whatever they stand in: what was hard to hear, an aside.
        ("(I think so)", "(I think so)", ()),
        ("(So it goes.)", "(So it goes.)", ()),
        ("I'm fine (I think).", "I'm fine (I think).", ()),
        ("they are (human)", "they are (human)", ()),
        ("they were (laughing at me)", "they were (laughing at me)", ()),
        ("2 * 3 * 4", "2 * 3 * 4", ()),
    ],
)
def test_what_is_heard_beside_words_is_an_event(
    tmp_path: Path, written: str, words: str | None, events: tuple[str, ...]
) -> None:
    for path in (
        write(tmp_path, "a.srt", srt(written)),
        write(tmp_path, "a.json", json.dumps({"segments": [{"start": 1, "end": 2, "text": written}]})),
    ):
        (turn,) = read_session_turns(path)
        assert (turn.transcript, turn.events) == (words, events)


def test_overrides_of_layout_are_no_words_and_other_braces_are(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.srt",
        srt(
            r"{\an8}{\i1}I am fine{\i0}",
            r'{\an8\pos(192,230)}<font color="#ffff00">Really</font>, <I>I am</I>.',
            "{y:i}No{Y:b}!",
            "<c.yellow>Well</c>, a<b. AT&amp;T, R&D; <v Ann>hm",
        ),
    )
    assert said(path) == [
        ("I am fine", None),
        ("Really, I am.", None),
        ("{y:i}No{Y:b}!", None),
        ("Well, a<b. AT&T, R&D; hm", "Ann"),
    ]


def test_only_an_empty_line_ends_a_cue_of_webvtt(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:00.000 --> 00:02.000\n \nI cannot sleep.\n\nNOTE no words\n\n00:02.000 --> 00:04.000\nNo.\n"
    assert said(write(tmp_path, "a.vtt", text)) == [("I cannot sleep.", None), ("No.", None)]


ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.429 align:start position:0%
\x20
I<00:00:00.960><c> am</c><00:00:01.520><c> so</c><00:00:01.900><c> tired</c>

00:00:02.429 --> 00:00:02.439 align:start position:0%
I am so tired
\x20

00:00:02.439 --> 00:00:04.749 align:start position:0%
I am so tired
of<00:00:02.760><c> all</c><00:00:03.000><c> this</c>

00:00:04.749 --> 00:00:04.759 align:start position:0%
of all this
\x20
"""


def test_of_captions_that_roll_each_word_is_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = [Turn(0.16, 2.429, "I am so tired"), Turn(2.439, 4.749, "of all this")]
    assert read_session_turns(write(tmp_path, "a.vtt", ROLLING)) == expected
    assert "its captions roll; lines that 3 cues show again were left out" in caplog.text
    assert "tired" not in caplog.text
    two_lines = write(tmp_path, "a.srt", srt("I am", "I am\nso tired", "so tired\nof", "of\nall this"))
    assert [words for words, _ in said(two_lines)] == ["I am", "so tired", "of", "all this"]


def test_who_says_the_same_again_has_said_it_twice(tmp_path: Path) -> None:
    for words in (["mhm"] * 4, ["Are you?\nYes.", "Yes.\nI am.", "Good.", "Well."], ["Yes.", "Yes.\nI am."]):
        assert [text for text, _ in said(write(tmp_path, "a.srt", srt(*words)))] == words


def test_files_that_were_joined_keep_their_numbers_out_of_the_words(tmp_path: Path) -> None:
    mark = "\ufeff"
    joined = mark + srt("Good morning.") + "\n" + mark + srt("I am fine.", first=2)
    assert said(write(tmp_path, "a.srt", joined)) == [("Good morning.", None), ("I am fine.", None)]
    doubled = mark + mark + srt("Good morning.", "I am fine.", "Yes.")
    assert [words for words, _ in said(write(tmp_path, "b.srt", doubled))] == ["Good morning.", "I am fine.", "Yes."]
    head = "WEBVTT\n\n00:00.000 --> 00:01.000\nOne.\n"
    both = head + head.replace("00:00", "00:01").replace("00:01.000\nO", "00:02.000\nO")
    assert said(write(tmp_path, "a.vtt", both)) == [("One.", None)] * 2
    table = f"{mark}{mark}start,end,transcript\n0,1,Yes.\n"
    assert said(write(tmp_path, "a.csv", table)) == [("Yes.", None)]


def test_the_number_of_a_cue_without_words_is_no_words(tmp_path: Path) -> None:
    text = (
        "1\n00:01:10,040 --> 00:01:13,360\nK-A-R\n\n2\n\n2\n00:01:16,840 --> 00:01:19,080\nA-N-T\n\n"
        "4\n0:01:20,5 --> 0:01:21,50\nI have\n3\n\n \n5\n00:01:22,000 --> 00:01:23,000\nten\n\n6\n"
    )
    turns = read_turns(write(tmp_path, "a.srt", text))
    assert [turn.transcript for turn in turns] == ["K-A-R", "A-N-T", "I have\n3", "ten"]
    assert turns[0].start == 70.04


def test_an_arrow_in_words_is_no_timing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.srt", srt("I go --> there", "Yes."))
    assert said(path) == [("I go --> there", None), ("Yes.", None)]
    (problem,) = [t.problem for t in read_turns(write(tmp_path, "b.srt", srt("Yes.") + "\n00:01 --> soon\nNo\n"))[1:]]
    assert problem == "line 5 is not a timing; write 00:00:01.000 --> 00:00:02.500"


def test_a_time_of_thousands_of_digits_is_no_time(tmp_path: Path) -> None:
    many = "9" * 5000
    (turn,) = read_turns(write(tmp_path, "a.srt", f"1\n{many}:00:01,000 --> 00:00:02,000\nhi\n"))
    assert turn.problem is not None
    assert "line 2 is not a timing" in turn.problem
    for written in (many, f"{many}:00:01", "1_5", "nan", "inf"):
        with pytest.raises(ValueError, match=r"not a time|could not convert|invalid"):
            seconds(written)


def test_a_line_of_blanks_costs_no_time(tmp_path: Path) -> None:
    blanks = " " * 200_000
    assert read_turns(write(tmp_path, "a.srt", f"1\n00:00:00,000 -->{blanks}x\n<v{blanks}\n"))[0].problem


NULL = '{"segments": [{"start": 0.1, "end": null, "text": " Do not"}, {"start": 0.8, "end": 1.7, "text": " forget."}]}'


@pytest.mark.parametrize(
    ("name", "text", "problems"),
    [
        ("a.json", NULL, ["entry 1 of segments has no end", None]),
        (
            "b.json",
            '{"segments": [{"start": 1, "end": null, "text": "alone"}]}',
            ["entry 1 of segments has no end"],
        ),
        (
            "a.rttm",
            "SPEAKER s 1 0.5 -1.5 <NA> <NA> A <NA> <NA>\nSPEAKER s 1 3 0 <NA> <NA> A <NA> <NA>\n"
            "SPEAKER s 1 4 nan <NA> <NA> A <NA> <NA>\nSPEAKER s 1 inf 1 <NA> <NA> A <NA> <NA>\n"
            "speaker s 1 5 1 <NA> <NA> A <NA> <NA>\nLEXEME s 1 5 1 hi lex A 0.9 <NA>\n",
            ["before it starts", "holds nothing", "no number of seconds", "no number of seconds", None],
        ),
        ("a.csv", "start,end,transcript\n0,,a\n1,2,b\n,3,c\n3,,d\n", ["no end", None, "no start", None]),
        ("a.jsonl", '{"start": null, "end": null, "transcript": "a"}\n{"start": 1, "end": 2, "transcript": "b"}\n',
         ["no end", None]),
        ("b.csv", "start,end,transcript\n,1,a\n1,2,b\n2,,c\n", [None, None, None]),
    ],
)  # fmt: skip
def test_a_turn_without_an_end_does_not_run_over_the_others(
    tmp_path: Path, name: str, text: str, problems: list[str | None]
) -> None:
    turns = read_session_turns(write(tmp_path, name, text))
    for turn, problem in zip(turns, problems, strict=True):
        assert turn.problem is None if problem is None else problem in (turn.problem or "")
        assert not any(
            time is not None and (time != time or abs(time) == float("inf")) for time in (turn.start, turn.end)
        )


def test_an_open_turn_takes_no_words_of_the_next(tmp_path: Path) -> None:
    turns = write(tmp_path, "a.csv", "start,end,transcript,speaker\n0,,,A\n1,2,,B\n")
    words = write(tmp_path, "w.csv", "word,start,end\nyes,1.1,1.9\n")
    assert [turn.transcript for turn in read_session_turns(turns, words)] == [None, "yes"]


@pytest.mark.parametrize(
    ("line", "start", "end", "speaker"),
    [
        ("SPEAKER my clip 1 0.2 1.5 <NA> <NA> client", 0.2, 1.7, "client"),
        ("SPEAKER my session 1 0.5 1.5 <NA> <NA> A <NA> <NA>", 0.5, 2.0, "A"),
        ("SPEAKER my session 1 0.5 1.5 <NA> <NA> A", 0.5, 2.0, "A"),
        ("SPEAKER a b c 1 0.5 1.5 <NA> <NA> Ann Lee <NA> <NA>", 0.5, 2.0, "Ann Lee"),
        ("SPEAKER s1 1 0.5 1.5 <NA> <NA> A", 0.5, 2.0, "A"),
        ("SPEAKER s1 1 0.5 1.5 <NA> <NA> 1 0.9", 0.5, 2.0, "1"),
        ("SPEAKER s1 1 0.5 1.5 yes <NA> A <NA> <NA>", 0.5, 2.0, "A"),
    ],
)
def test_blanks_in_names_of_rttm_move_no_times(
    tmp_path: Path, line: str, start: float, end: float, speaker: str
) -> None:
    assert read_session_turns(write(tmp_path, "a.rttm", line)) == [Turn(start, end, None, speaker)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("SPEAKER s1 1 0.5 1.5 <NA> <NA> <NA> <NA> <NA>", "line 1 names no speaker"),
        ("SPEAKER s1 1 0.5 1.5 yes <NA> <NA> <NA> <NA>", "line 1 names no speaker"),
        ("SPEAKER s1 1 0.5 1.5 I am fine <NA> A <NA>", "line 1 has 11 fields"),
        ("SPEAKER s1 1 canary 1.5 <NA> <NA> A", "line 1: onset and duration must be numbers"),
    ],
)
def test_what_is_no_line_of_rttm_is_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(TranscriptError, match=says) as error:
        read_session_turns(write(tmp_path, "a.rttm", line))
    assert "canary" not in str(error.value)


def test_blanks_in_names_of_ctm_move_no_times(tmp_path: Path) -> None:
    text = "my clip 1 0.1 0.2 yes\nmy clip 1 0.5 0.2 7 0.9\nmy clip 1 0.9 0.1 no NA\n"
    words = [(round(w.start, 3), round(w.end, 3), w.text) for w in read_words(write(tmp_path, "a.ctm", text))]
    assert words == [(0.1, 0.3, "yes"), (0.5, 0.7, "7"), (0.9, 1.0, "no")]


SPOKEN_NUMBERS = {
    "segments": [
        {
            "start": 0.2,
            "end": 2.8,
            "words": [
                {"word": "I", "start": 0.2, "end": 0.3},
                {"word": "slept", "start": 0.4, "end": 0.8},
                {"word": "4"},
                {"word": "hours", "start": 1.2, "end": 1.6},
                {"word": "in", "start": 1.7, "end": 1.8},
                {"word": "2014."},
            ],
        },
        {
            "start": 3.1,
            "end": 4.5,
            "words": [{"word": "3"}, {"word": "or"}, {"word": "only", "start": 3.4, "end": 3.6}, {"word": "4?"}],
        },
        {"start": 4.6, "end": 4.9, "words": [{"word": "1."}]},
    ]
}


@pytest.mark.parametrize("form", ["segments", "word_segments", "csv"])
def test_words_without_times_stay_between_their_neighbours(tmp_path: Path, form: str) -> None:
    turns = write(
        tmp_path,
        "a.rttm",
        "SPEAKER s1 1 0.0 3.0 <NA> <NA> client <NA> <NA>\nSPEAKER s1 1 3.0 2.0 <NA> <NA> counsellor <NA> <NA>\n",
    )
    flat = [word for segment in SPOKEN_NUMBERS["segments"][:2] for word in segment["words"]]
    flat[6:8] = []  # without segments a word goes with the one before it
    if form == "csv":
        rows = [f"{word['word']},{word.get('start', '')},{word.get('end', '')}" for word in flat]
        words = write(tmp_path, "w.csv", "\n".join(["word,start,end", *rows]))
    else:
        content = SPOKEN_NUMBERS if form == "segments" else {"word_segments": flat}
        words = write(tmp_path, "w.json", json.dumps(content))
    expected = "3 or only 4? 1." if form == "segments" else "only 4?"
    assert [turn.transcript for turn in read_session_turns(turns, words)] == ["I slept 4 hours in 2014.", expected]


def test_words_that_have_no_times_at_all_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "w.json", '{"segments": [{"words": [{"word": "canary"}, {"word": "canary"}]}]}')
    with pytest.raises(TranscriptError, match="no word with a time"):
        read_words(path)
    assert "2 words have no time" in caplog.text
    assert "canary" not in caplog.text


def elan(path: Path, *tiers: tuple[str, str | None, list[tuple[int, int, str]]]) -> Path:
    eaf = Eaf(author="")
    eaf.remove_tier("default")
    for name, participant, annotations in tiers:
        eaf.add_tier(name, part=participant)
        for start, end, value in annotations:
            eaf.add_annotation(name, start, end, value)
    eaf.to_file(str(path))
    return path


CLIENT = [(0, 2000, "I am fine"), (2500, 6000, "I miss her"), (6500, 8000, "It is a lovely day")]


def test_a_tier_of_gestures_is_no_turn_of_the_client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = elan(tmp_path / "a.eaf", ("client", None, CLIENT), ("smile", "client", [(500, 900, "x")]))
    assert [turn.transcript for turn in read_session_turns(path)] == [words for *_, words in CLIENT]
    assert "turns are read from tier 1" in caplog.text
    assert "left aside: tier 2 of the same speaker" in caplog.text
    assert "tiers: [...]" in caplog.text
    assert "smile" not in caplog.text
    caplog.clear()
    assert len(read_session_turns(path, tiers=["client", "smile"])) == 4
    assert caplog.text == ""


def test_two_tiers_of_one_speaker_are_refused_where_none_is_called_like_them(tmp_path: Path) -> None:
    path = elan(tmp_path / "a.eaf", ("words", "P07", CLIENT), ("T02", None, []), ("smile", "P07", [(500, 900, "x")]))
    with pytest.raises(TranscriptError, match=r"tiers 1, 3 have the same participant.*session\.yaml \(tiers") as error:
        read_session_turns(path)
    assert "P07" not in str(error.value)
    assert len(read_session_turns(path, tiers=["words"])) == 3


def test_turns_that_are_too_short_for_a_word_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{n},{n + 0.02},canary\n" for n in range(1, 8))
    path = write(tmp_path, "a.csv", f"start,end,transcript\n0,0.1,a\n{rows}9,9,b\n")
    assert len(read_session_turns(path)) == 9
    assert "a.csv: turns 2, 3, 4, 5, 6 ... (7 in all) last less than 0.1 s" in caplog.text
    assert "canary" not in caplog.text
    caplog.clear()
    read_session_turns(write(tmp_path, "b.csv", "start,end,transcript\n0,1,a\n1,1.02,b\n"))
    assert "turn 2 lasts less than 0.1 s" in caplog.text


def test_a_near_name_is_asked_by_its_cell(tmp_path: Path) -> None:
    for name, text, place in (
        ("a.csv", "start,end,speaker,transcrpt\n0,1,canary,canary\n", r"did you mean transcript\? \(header cell 4\)"),
        ("a.jsonl", '{"start": 0, "end": 1, "transcrpt": "canary"}\n', r"did you mean transcript\?"),
        ("b.csv", "0,1,canary\n1,2,canary\n", "has no start, end, transcript; name the columns"),
    ):
        with pytest.raises(TranscriptError, match=place) as error:
            read_session_turns(write(tmp_path, name, text))
        assert "canary" not in str(error.value)
        assert "transcrpt" not in str(error.value)


def test_a_line_is_taken_apart_alone() -> None:
    assert spoken("[SPEAKER_00]: Fine. (laughs)") == Spoken("Fine.", ("(laughs)",), "SPEAKER_00")
    assert begin_with_names(["Ann: yes", "", "Bob: no"])
    assert not begin_with_names(["Ann: yes"])


@pytest.fixture(autouse=True)
def notices(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
