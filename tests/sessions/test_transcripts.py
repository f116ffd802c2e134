"""Reading turns: words stay as written, and what cannot be used says why instead of going missing."""

import json
from pathlib import Path

import pytest

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, printable, read_text, read_turns, seconds


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


SRT = """1
00:00:01,000 --> 00:00:02,500
- I'm fine, {really} = "fine" (I think).
- 3 < 5 & 5 > 3

00:00:03,000 --> 00:00:04,000
no number
7

3
0:00:05.5 --> 0:00:06
first half

second half
12
00:00:05,000 --> 00:00:07,250 X1:10 X2:20
<i>overlaps</i> <font color="#fff">it</font>{\\an8}
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_srt_keeps_words_as_written_and_needs_no_numbers(tmp_path: Path, ends: str, mark: str) -> None:
    turns = read_turns(write(tmp_path, "a.srt", mark + SRT.replace("\n", ends)))
    assert turns == [
        Turn(1.0, 2.5, '- I\'m fine, {really} = "fine" (I think).\n- 3 < 5 & 5 > 3'),
        Turn(3.0, 4.0, "no number\n7"),
        Turn(5.5, 6.0, "first half\n\nsecond half"),
        Turn(5.0, 7.25, "overlaps it"),
    ]


VTT = """WEBVTT - a title

STYLE
::cue(b) { color: red }

NOTE a comment
over two lines

REGION
id:x

intro
00:01.000 --> 00:02.500 align:start position:0%
<v.loud Mary Ann>Hi <c.yellow>you</c> &amp; me &lt;3</v>

NOTE between
00:03.000 --> 00:04.000
<v Bob>No <00:03.500>way, 3 < 5

100:00:00.000 --> 100:00:01.000
<v Ann>- yes
<v Bob>- no
"""


def test_vtt_reads_voices_and_leaves_out_styles_and_comments(tmp_path: Path) -> None:
    turns = read_turns(write(tmp_path, "a.vtt", VTT))
    assert turns == [
        Turn(1.0, 2.5, "Hi you & me <3", speaker="Mary Ann"),
        Turn(3.0, 4.0, "No way, 3 < 5", speaker="Bob"),
        Turn(360000.0, 360001.0, "- yes\n- no"),
    ]


def test_turns_with_impossible_times_stay_in_the_list_and_say_why(tmp_path: Path) -> None:
    text = "\n\n".join(
        [
            "1\n00:00:05,000 --> 00:00:05,000\nzero",
            "2\n00:00:07,000 --> 00:00:06,000\nreversed",
            "3\n-00:00:01,000 --> 00:00:06,000\nearly",
            "4\n0:00:10 --> later\nloose",
            "5\n00:00:11,000 --> 00:00:12,000\n",
            "6\n00:00:13,000 --> 00:00:14,000\nfine\n",
        ]
    )
    zero, reversed_, early, loose, silent, fine = read_turns(write(tmp_path, "a.srt", text))
    assert zero.problem is not None
    assert "5 s" in zero.problem
    assert (zero.start, zero.end, zero.transcript) == (5.0, 5.0, "zero")
    assert reversed_.problem is not None
    assert "ends at 6 s before it starts at 7 s" in reversed_.problem
    assert early.start == -1.0
    assert early.problem is not None
    assert loose.problem is not None
    assert "line 14 is not a timing" in loose.problem
    assert "later" not in loose.problem
    assert loose.transcript == "loose"
    assert silent == Turn(11.0, 12.0, None)
    assert fine == Turn(13.0, 14.0, "fine")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'start,end,transcript,speaker,role\n0,1.5,"NA, really",Ann,client\n00:01.5,,None,,\n'),
        ("a.tsv", "start\tend\ttranscript\tspeaker\trole\n0\t1.5\tNA, really\tAnn\tclient\n1.5\t\tNone\t\t\n"),
        (
            "a.json",
            json.dumps(
                [
                    {"start": 0, "end": 1.5, "transcript": "NA, really", "speaker": "Ann", "role": "client"},
                    {"start": 1.5, "end": None, "transcript": "None"},
                ]
            ),
        ),
        (
            "a.jsonl",
            '{"start": 0, "end": 1.5, "transcript": "NA, really", "speaker": "Ann", "role": "client"}\n\n'
            '{"start": 1.5, "end": null, "transcript": "None"}\n',
        ),
    ],
)
def test_tables_of_turns_keep_words_that_look_like_nothing(tmp_path: Path, name: str, text: str) -> None:
    assert read_turns(write(tmp_path, name, text)) == [
        Turn(0.0, 1.5, "NA, really", "Ann", "client"),
        Turn(1.5, None, "None"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "start,end,text\n0,1,hi\n", "turn 1 has no transcript; name the columns"),
        ("a.csv", "start,end,transcript\n0,1,well, hi\n", "line 2 has more cells"),
        ("a.csv", "start,end,transcript\n0,soon,hi\n", "turn 1, end: not a time"),
        ("a.csv", "start,end,transcript\n0,nan,hi\n", "turn 1, end: not a time"),
        ("a.csv", 'start,end,transcript\n0,1,a\n0,1,"hi\n', "line 3"),
        ("a.json", '{"start": 0}', "expected a list of turns"),
        ("a.json", "[{]", "line 1"),
        ("a.jsonl", '{"start": 0, "end": 1, "transcript": ""}\n{"start": 0,\n', "line 2"),
        ("a.json", '[{"start": true, "end": 1, "transcript": ""}]', "turn 1, start: not a time"),
        ("a.csv", "", "no turn in it"),
        ("a.srt", "", "no turn in it"),
        ("a.vtt", "WEBVTT\n\nNOTE nothing\n", "no turn in it"),
        ("a.csv", "start,end,transcript\n0,1,a\n1.0\n", "line 3 has fewer cells"),
        ("a.csv", "start,end,transcript,start\n0,1,a,2\n", "header cells 1 and 4 are named alike"),
        ("a.json", "[" * 100_000, "line 1"),
        ("a.jsonl", '\n{"start": ' + "1" * 5000 + ', "end": 1, "transcript": ""}\n', "line 2"),
        ("a.docx", "words", "unknown kind of transcript '.docx'"),
    ],
)
def test_unusable_files_say_what_and_where(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(TranscriptError) as error:
        read_turns(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_of_digits_is_a_number_only_where_cues_have_numbers(tmp_path: Path) -> None:
    bare = "00:00:01,000 --> 00:00:02,000\n42\n00:00:03,000 --> 00:00:04,000\nyes\n"
    assert [turn.transcript for turn in read_turns(write(tmp_path, "a.srt", bare))] == ["42", "yes"]
    numbered = "1\n00:00:01,000 --> 00:00:02,000\n42\n2\n00:00:03,000 --> 00:00:04,000\nyes\n"
    assert [turn.transcript for turn in read_turns(write(tmp_path, "b.srt", numbered))] == ["42", "yes"]


def test_columns_without_a_name_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    text = "start,end,transcript,,\n\n0,1,a,,\n\n"
    assert read_turns(write(tmp_path, "a.csv", text)) == [Turn(0.0, 1.0, "a")]


def test_halves_of_characters_in_json_are_replaced_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        tmp_path, "a.json", '[{"start": 0, "end": 1, "transcript": "so \\ud83d", "speaker": "\\ud83d\\ude43"}]'
    )
    assert read_turns(path) == [Turn(0.0, 1.0, "so \ufffd", "🙃")]
    assert "1 turns hold halves of characters" in caplog.text


def test_plain_text_is_one_turn_with_every_character(tmp_path: Path) -> None:
    words = "- Ça va 🙃, שלום 'מה' (a=b), {x}"
    assert read_turns(write(tmp_path, "a.txt", f"\ufeff{words}\r\n")) == [Turn(None, None, words)]
    assert read_turns(write(tmp_path, "b.txt", " \n")) == [Turn(None, None, None)]
    many = " ".join(["word"] * 10_000)
    assert read_turns(write(tmp_path, "c.txt", many))[0].transcript == many


def test_wrong_encoding_names_file_and_byte_and_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path, "a.srt", "1\n00:00:01,000 --> 00:00:02,000\ncafé\n".encode("latin-1"))
    with pytest.raises(TranscriptError, match=r"a\.srt: not valid utf-8 at byte 35 \(0xe9\).*latin-1"):
        read_turns(path)
    assert read_turns(path, "latin-1")[0].transcript == "café"
    assert read_turns(write(tmp_path, "b.txt", "café".encode("utf-16")), "utf-16")[0].transcript == "café"
    for unknown in ("klingon", "undefined", "a\0b"):
        with pytest.raises(TranscriptError, match="unknown text encoding"):
            read_turns(path, unknown)
    escaped = write(tmp_path, "c.txt", "\\ud83d")
    with pytest.raises(TranscriptError, match=r"c\.txt: holds halves of characters when read as unicode_escape"):
        read_turns(escaped, "unicode_escape")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match="No such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(TranscriptError, match="Is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("written", "value"), [("1.5", 1.5), ("01:02.25", 62.25), ("1:02:03", 3723.0), (7, 7.0), ("", None), (None, None)]
)
def test_seconds(written: object, value: float | None) -> None:
    assert seconds(written) == value


def test_printable_keeps_every_script_and_no_control() -> None:
    assert printable("a\nb\x1b[31m é🙃 שלום\udce9") == "a\\nb\\x1b[31m é🙃 שלום\\udce9"
